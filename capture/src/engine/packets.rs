//! Each transport's packets: into their flow, or out of their tunnel.

use crate::analyzer::{Dir, Transport as Carrier};
use crate::checksum;
use crate::config::Joins;
use crate::decode::{Decoded, Icmp, IpPacket, TcpSegment, UdpDatagram};
use crate::flow::{Key, Meta, Proto, seen};
use crate::host::Host;
use crate::source::Link;
use crate::tcp::{self, Syn};
use crate::trace::Packet;
use crate::tunnel::{self, Around, Inner, Layer, Oddity, Over, Pair, Seen, Stack};
use model::id::{self, ip_proto};
use std::net::IpAddr;

use super::*;

impl Engine {
    pub(super) fn tcp(
        &mut self,
        now: i64,
        shard: u8,
        ip: &IpPacket<'_>,
        seg: &TcpSegment<'_>,
        tunnels: &Stack,
    ) {
        let (src, dst) = ((ip.src, seg.src_port), (ip.dst, seg.dst_port));
        let (key, from_high) = Key::new(self.realm(shard), src, dst, ip.proto, false);
        let ports = &self.shared.ports;
        let (syn, ack) = (seg.flags.syn(), seg.flags.ack());
        // A beginning that was not seen: guess the server by its port.
        let flip = (!syn || ack)
            && ports.tcp(seg.src_port)
            && (!ports.tcp(seg.dst_port) || (!syn && seg.src_port < seg.dst_port));
        let mut at = self.live_flow(&key);
        if let Some(old) = at.filter(|at| self.is_outlived(*at, from_high)) {
            self.end_flow(old, self.clock);
            at = None;
        }
        let mut repeat = 0;
        if let Some(old) = at
            && seg.flags.syn()
            && let Some((again, first)) = self.tcp_reuse(old, seg, now)
        {
            if first == now {
                repeat = again + 1;
            }
            if let Some(flow) = self.table.get(old) {
                flow.meta.is_replaced = true;
                if let Some(app) = flow.app.as_mut() {
                    app.reused();
                }
            }
            self.end_flow(old, self.clock);
            at = None;
        }
        let at = match at {
            Some(at) => {
                self.check_tunnels(at, now, tunnels);
                at
            }
            None => {
                let proto = Proto::Syn(Syn::default());
                let at = self.new_flow(key, from_high, flip, shard, now, proto, repeat, tunnels);
                self.expect_announced(at, now, syn && !ack);
                at
            }
        };
        self.counters.in_flows += 1;
        let checked = self.shared.config.ignore_checksums;
        let Some(flow) = self.table.get(at) else { return };
        let mut opened = None;
        let tcp = match &mut flow.proto {
            Proto::Tcp(tcp) => &mut **tcp,
            Proto::Syn(syn) => opened.insert(syn.open()),
            Proto::Datagram(_) => return,
        };
        let held = tcp.holds();
        let dir = flow.meta.dir(from_high);
        // What is broken in another way is not summed up.
        let verifies = seg.broken.is_none() && !checked;
        let unsound = verifies.then(|| checksum::verify_transport(ip)).flatten();
        if self.shared.config.joins != Joins::Nothing {
            let took_number = tcp::took_number(&flow.meta.history);
            let before = || tcp.before(dir, took_number);
            let packet = match (seg.broken, unsound) {
                (None, None) => (tcp::packet_of(seg, now), Some(tcp::start_of(seg))),
                // Nobody is to believe its numbers.
                _ => (Packet { at: now, end: None, ack: None }, None),
            };
            flow.meta.follow(dir, packet, before);
        }
        let mut host = Host::new(
            (now, self.clock),
            Carrier::Tcp,
            &mut flow.meta,
            &mut flow.app,
            &mut self.shared,
        );
        if let Some(weird) = seg.broken {
            // Found by the flow's TCP analyzer, whatever finds the like before there is a flow.
            host.weird(weird.name());
        } else if let Some(weird) = unsound {
            host.weird_with(weird.name(), None, weird.source());
            bad_checksum(host.meta, dir);
        } else {
            let dir = tcp.segment(dir, seg, &mut host);
            count_packet(&mut flow.meta, dir, ip);
        }
        let holds = tcp.holds();
        if let Some(tcp) = opened {
            let syn = Syn::of(&tcp).map(Proto::Syn);
            flow.proto = syn.unwrap_or_else(|| Proto::Tcp(Box::new(tcp)));
        }
        if holds != held {
            self.holes_changed(at, held, holds);
        }
        self.note_assets(at);
        self.reschedule(at);
    }

    /// Whether a flow lasts for its other half at another sensor alone, and here comes the other direction: then there
    /// is none, and the flow would have been given up before.
    fn is_outlived(&mut self, at: u32, from_high: bool) -> bool {
        if self.shared.config.joins == Joins::Nothing {
            return false;
        }
        let Some(flow) = self.table.get(at) else { return false };
        let Proto::Tcp(tcp) = &flow.proto else { return false };
        let dir = flow.meta.dir(from_high);
        flow.meta.packets[dir.index()] == 0 && tcp.is_outlived(self.clock)
    }

    /// Whether this segment begins a new flow over an old one: then that one's repeat and first time.
    pub(super) fn tcp_reuse(
        &mut self,
        at: u32,
        seg: &TcpSegment<'_>,
        now: i64,
    ) -> Option<(u32, i64)> {
        let flow = self.table.get(at)?;
        let opened;
        let tcp = match &flow.proto {
            Proto::Tcp(tcp) => &**tcp,
            Proto::Syn(syn) => {
                opened = syn.open();
                &opened
            }
            Proto::Datagram(_) => return None,
        };
        let mut host = Host::new(
            (now, self.clock),
            Carrier::Tcp,
            &mut flow.meta,
            &mut flow.app,
            &mut self.shared,
        );
        let reuse = tcp.is_reuse(seg, now, &mut host);
        reuse.then_some((flow.meta.repeat(), flow.meta.first))
    }

    pub(super) fn udp(
        &mut self,
        now: i64,
        shard: u8,
        ip: &IpPacket<'_>,
        udp: &UdpDatagram<'_>,
        tunnels: &Stack,
    ) {
        let (src, dst) = ((ip.src, udp.src_port), (ip.dst, udp.dst_port));
        let (key, from_high) = Key::new(self.realm(shard), src, dst, ip.proto, false);
        let flip = self.shared.ports.udp(udp.src_port) && !self.shared.ports.udp(udp.dst_port);
        let flows = self.counters.flows;
        let at = self.datagram_flow(key, from_high, flip, shard, now, tunnels);
        let checked = self.shared.config.ignore_checksums;
        let Some(flow) = self.table.get(at) else { return };
        let Proto::Datagram(sent) = &mut flow.proto else { return };
        let dir = flow.meta.dir(from_high);
        let mut host = Host::new(
            (now, self.clock),
            Carrier::Udp,
            &mut flow.meta,
            &mut flow.app,
            &mut self.shared,
        );
        if let Some(weird) = (!checked).then(|| checksum::verify_transport(ip)).flatten() {
            host.weird_with(weird.name(), None, weird.source());
            bad_checksum(host.meta, dir);
            return;
        }
        if udp.mismatch {
            let addl = format!("{} != {}", udp.len, u64::from(udp.payload_len) + 8);
            host.weird_with("UDP_datagram_length_mismatch", Some(&addl), Some("UDP"));
        }
        host.meta.seen_at(now);
        host.meta.letter_once(dir, seen::DATA, b'D');
        let len = u64::from(udp.len).saturating_sub(8);
        sent.add(dir, len);
        let resp_p = host.meta.resp_p();
        let found = tunnel::udp::look(&mut host, dir, udp.payload, tunnels);
        if let (Some((_, layer)), true) = (found.inner, self.counters.flows != flows)
            && let Some(rare) = &mut host.meta.rare
            && let Some(around) = &mut rare.around
        {
            around.grow(layer);
        }
        // Where that turns the flow, Zeek leaves what was counted of the payload with the same roles,
        // and counts this packet for the role that its sender had.
        host.data(dir, udp.payload);
        count_packet(host.meta, dir, ip);
        self.note_assets(at);
        self.reschedule(at);
        self.inside_udp(now, shard, ip, resp_p, &found, tunnels);
    }

    /// What a datagram carries as a tunnel; it was counted with the flow outside.
    pub(super) fn inside_udp(
        &mut self,
        now: i64,
        shard: u8,
        ip: &IpPacket<'_>,
        resp_p: u16,
        found: &tunnel::udp::Found<'_>,
        tunnels: &Stack,
    ) {
        if found.inner.is_none() && found.odd.is_none() && resp_p != tunnel::gre::UDP_PORT {
            return;
        }
        let counted = self.counters;
        if let Some(odd) = &found.odd {
            let ends = Some((ip.src, ip.dst));
            self.oddity(now, shard, odd, ends, !tunnels.is_empty());
        }
        if let Some((inner, layer)) = &found.inner {
            // What the capture cut off is missing inside as well.
            let cut = ip.payload_len.saturating_sub(ip.payload.len() as u32);
            self.inside(now, shard, inner, cut, &tunnels.with(*layer));
        }
        if resp_p == tunnel::gre::UDP_PORT {
            let gre = tunnel::gre::open(ip.payload.get(8..).unwrap_or_default());
            self.inside_hosts(now, shard, ip, Over::Gre, gre, tunnels);
        }
        let Counters { flows, evicted, .. } = self.counters;
        self.counters = Counters { flows, evicted, ..counted };
    }

    pub(super) fn icmp(
        &mut self,
        now: i64,
        shard: u8,
        ip: &IpPacket<'_>,
        icmp: &Icmp<'_>,
        tunnels: &Stack,
    ) {
        let v6 = ip.proto == ip_proto::ICMP6;
        let (kind, other, one_way) = id::icmp_ports(icmp.kind, icmp.code, v6);
        let (key, from_high) =
            Key::new(self.realm(shard), (ip.src, kind), (ip.dst, other), ip.proto, one_way);
        let at = self.datagram_flow(key, from_high, false, shard, now, tunnels);
        let checked = self.shared.config.ignore_checksums;
        let Some(flow) = self.table.get(at) else { return };
        let Proto::Datagram(sent) = &mut flow.proto else { return };
        let dir = flow.meta.dir(from_high);
        if let Some(weird) = (!checked).then(|| checksum::verify_transport(ip)).flatten() {
            let mut host = Host::new(
                (now, self.clock),
                Carrier::Udp,
                &mut flow.meta,
                &mut flow.app,
                &mut self.shared,
            );
            host.weird_with(weird.name(), None, weird.source());
            return;
        }
        flow.meta.seen_at(now);
        let len = u64::from(icmp.payload_len);
        sent.add(dir, len);
        if icmp.payload.len() as u64 >= len {
            count_packet(&mut flow.meta, dir, ip);
        }
        self.reschedule(at);
    }

    /// Tunnels are opened; any other protocol is a flow of its own.
    pub(super) fn other(&mut self, now: i64, shard: u8, ip: &IpPacket<'_>, tunnels: &Stack) {
        use crate::decode::proto::{GRE, IPV4, IPV6};
        use tunnel::ip::{Misfit, fits};
        match ip.proto {
            IPV4 | IPV6 => {
                let inner = fits(ip.proto, ip.payload).map(|()| Inner::ip(ip.payload));
                let inner = inner.map_err(Misfit::oddity);
                return self.inside_hosts(now, shard, ip, Over::Ip, inner, tunnels);
            }
            GRE => {
                let inner = tunnel::gre::open(ip.payload);
                return self.inside_hosts(now, shard, ip, Over::Gre, inner, tunnels);
            }
            _ => {}
        }
        let (key, from_high) =
            Key::new(self.realm(shard), (ip.src, 0), (ip.dst, 0), ip.proto, false);
        let at = self.datagram_flow(key, from_high, false, shard, now, tunnels);
        let Some(flow) = self.table.get(at) else { return };
        flow.meta.seen_at(now);
        let dir = flow.meta.dir(from_high);
        count_packet(&mut flow.meta, dir, ip);
        self.reschedule(at);
    }

    /// What a tunnel between two hosts carries; it has no flow of its own.
    pub(super) fn inside_hosts(
        &mut self,
        now: i64,
        shard: u8,
        outer: &IpPacket<'_>,
        over: Over,
        inner: Result<Inner<'_>, Oddity>,
        tunnels: &Stack,
    ) {
        let inner = match inner {
            // Zeek reads the header of GRE before it counts, and the inner packet after.
            Err(odd) if odd.source != tunnel::ip::TOO_DEEP.source => Err(odd),
            _ if tunnels.is_full() => Err(tunnel::ip::TOO_DEEP),
            inner => inner,
        };
        match inner {
            // Zeek takes what was captured for the whole of it.
            Ok(inner) => {
                let (src, dst, proto) = (outer.src, outer.dst, outer.proto);
                let found = Pair { src, dst, over, proto, first: self.clock };
                let layer = Layer::Hosts(self.pairs.of(shard, found));
                self.inside(now, shard, &inner, 0, &tunnels.with(layer));
            }
            Err(odd) => {
                self.counters.undecodable += 1;
                let ends = Some((outer.src, outer.dst));
                self.oddity(now, shard, &odd, ends, !tunnels.is_empty());
            }
        }
    }

    /// The packet in these tunnels, the last `cut` bytes of which were not captured.
    pub(super) fn inside(
        &mut self,
        now: i64,
        shard: u8,
        inner: &Inner<'_>,
        cut: u32,
        tunnels: &Stack,
    ) {
        let len = u32::try_from(inner.bytes.len()).unwrap_or(u32::MAX).saturating_add(cut);
        let decoded = match inner.link {
            // Not as a frame, which Zeek finds odd when it is empty.
            Link::Raw => self.decoder.ip(inner.bytes, len).map(Decoded::Ip),
            link => self.decoder.decode(link, len, inner.bytes),
        };
        self.decoded(now, shard, &decoded, tunnels);
    }

    /// The tunnels around a packet of a flow that is known; a flow that keeps changing them is odd.
    #[inline]
    pub(super) fn check_tunnels(&mut self, at: u32, now: i64, tunnels: &Stack) {
        let Some(flow) = self.table.get(at) else { return };
        // Nearly always: no tunnel, now as before.
        if tunnels.is_empty() && flow.meta.around().is_none() {
            return;
        }
        match Around::see(&mut flow.meta.rare_mut().around, tunnels, now) {
            Seen::Same => return,
            Seen::Changed => {
                let shard = flow.meta.shard;
                return self.shared.out.tunnels_used(shard, tunnels, self.clock);
            }
            Seen::TooOften => {}
        }
        let mut host = Host::new(
            (now, self.clock),
            Carrier::Udp,
            &mut flow.meta,
            &mut flow.app,
            &mut self.shared,
        );
        let addl = tunnel::CHANGES_MAX.to_string();
        host.weird_with("tunnel_max_changes_per_connection_exceeded", Some(&addl), None);
        host.meta.letter_once(Dir::Orig, seen::GAVE_UP, b'X');
    }
}

fn count_packet(meta: &mut Meta, dir: Dir, ip: &IpPacket<'_>) {
    meta.packets[dir.index()] += 1;
    meta.ip_bytes[dir.index()] += u64::from(header_total_len(ip));
}

/// The length as the header has it: segmentation offload leaves a zero there, and Zeek counts that.
fn header_total_len(ip: &IpPacket<'_>) -> u32 {
    match (ip.src, ip.header) {
        (IpAddr::V4(_), [_, _, 0, 0, ..]) => 0,
        // There it is the length behind the fixed header of 40 bytes.
        (IpAddr::V6(_), [_, _, _, _, 0, 0, ..]) => 40,
        _ => ip.total_len,
    }
}

fn bad_checksum(meta: &mut Meta, dir: Dir) {
    if meta.checksum[dir.index()].hit() {
        meta.letter(dir, b'C');
    }
}
