//! One capture thread's engine: every packet of its shards through decoding, the flow table and the
//! protocols, with timers by packet time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::IpAddr;
use std::sync::Arc;

use model::conn_state;
use model::id::{self, ip_proto};
use model::stream::{conn, weird};

use crate::analyzer::{Dir, Transport as Carrier};
use crate::app::{App, make_ids};
use crate::checksum;
use crate::config::{Config, SHARDS, timeout};
use crate::decode::{
    Decoded, Decoder, Icmp, IpPacket, TcpSegment, Transport, UdpDatagram, Undecodable, Weird,
    WeirdSet,
};
use crate::flow::{Flow, Key, Meta, Proto, seen};
use crate::fragment::{Outcome, Reassembler};
use crate::host::{Host, Shared};
use crate::out::Out;
use crate::ports::Ports;
use crate::source::{Link, Packet};
use crate::table::Table;
use crate::tcp::Tcp;
use crate::tunnel::{self, Around, Inner, Kind, Layer, Oddity, Stack};
use crate::wheel::{Entry, Wheel};

/// Weirds without a flow that are remembered so as not to be written again; beyond that all are forgotten.
const PACKET_WEIRDS_MAX: usize = 4096;
/// How long a weird without a flow is held back (Zeek's `weird_ignore`).
const PACKET_WEIRD_HOLD: i64 = 600 * crate::config::SECOND;

/// What a thread counts. Packets seen = not IP + undecodable + bad checksums + fragments held + in flows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets of this thread's shards.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Packets that are not IP.
    pub not_ip: u64,
    /// Packets with broken headers.
    pub undecodable: u64,
    /// Packets with a bad IP checksum.
    pub bad_checksums: u64,
    /// Fragments held, dropped or completed into another packet.
    pub fragments: u64,
    /// Packets that found or made a flow.
    pub in_flows: u64,
    /// Flows made.
    pub flows: u64,
    /// Flows ended early to make room.
    pub evicted: u64,
    /// Weirds not written.
    pub weirds_held: u64,
}

impl Counters {
    /// Adds another thread's.
    pub fn add(&mut self, other: Counters) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.not_ip += other.not_ip;
        self.undecodable += other.undecodable;
        self.bad_checksums += other.bad_checksums;
        self.fragments += other.fragments;
        self.in_flows += other.in_flows;
        self.flows += other.flows;
        self.evicted += other.evicted;
        self.weirds_held += other.weirds_held;
    }
}

/// Who sent a packet to whom, where that is known.
type Ends = Option<(IpAddr, IpAddr)>;

/// The engine.
pub struct Engine {
    shared: Shared,
    decoder: Decoder,
    table: Table,
    wheel: Wheel,
    /// Deadlines of analyzers, each with its flow's place and serial number. What happens there depends
    /// on the time of the first packet after it, so that they are not rounded as the wheel's are.
    asked: BinaryHeap<Reverse<(i64, u32, u32)>>,
    /// By virtual shard and number of tunnels around.
    fragments: BTreeMap<(u8, u8), Reassembler>,
    packet_weirds: BTreeMap<(&'static str, bool, Ends), i64>,
    counters: Counters,
    /// Which of how many threads this is.
    share: (u32, u32),
    /// The latest packet time.
    clock: i64,
}

/// The virtual shard of two hosts, the same both ways.
pub fn shard_of(a: IpAddr, b: IpAddr) -> u8 {
    fn bits(ip: IpAddr) -> u64 {
        match ip {
            IpAddr::V4(ip) => u64::from(u32::from(ip)),
            IpAddr::V6(ip) => {
                let bits = u128::from(ip);
                (bits >> 64) as u64 ^ bits as u64
            }
        }
    }
    let (a, b) = (bits(a), bits(b));
    let mut mix = (a ^ b).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ a.wrapping_add(b);
    mix = (mix ^ (mix >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((mix >> 32) % u64::from(SHARDS)) as u8
}

impl Engine {
    /// The engine of thread `index` of `threads`.
    pub fn new(config: Arc<Config>, index: u32, threads: u32) -> Engine {
        let decoder = Decoder { ignore_checksums: config.ignore_checksums };
        let table = Table::new(config.flows_max);
        let out = Out::new(config.lanes);
        let shared = Shared { config, out, ports: Ports::default() };
        Engine {
            shared,
            decoder,
            table,
            wheel: Wheel::default(),
            asked: BinaryHeap::new(),
            fragments: BTreeMap::new(),
            packet_weirds: BTreeMap::new(),
            counters: Counters::default(),
            share: (index, threads.max(1)),
            clock: i64::MIN,
        }
    }

    /// Rows since the last flush.
    pub fn out(&mut self) -> &mut Out {
        &mut self.shared.out
    }

    /// Counters so far.
    pub fn counters(&self) -> Counters {
        Counters { weirds_held: self.shared.out.weirds_held, ..self.counters }
    }

    /// Flows open.
    pub fn open_flows(&self) -> usize {
        self.table.held()
    }

    /// Latest packet time, microseconds; [`i64::MIN`] before the first packet.
    pub fn clock(&self) -> i64 {
        self.clock
    }

    /// One captured packet. Packets of other threads' shards only move the clock.
    pub fn packet(&mut self, packet: &Packet<'_>) {
        self.clock = self.clock.max(packet.ts_us);
        self.call_asked();
        if self.wheel.is_due(self.clock) {
            self.turn_wheel();
        }
        let decoded = self.decoder.decode(packet.link, packet.wire_len, packet.data);
        let ends = match &decoded {
            Ok(Decoded::Ip(ip)) => Some((ip.src, ip.dst)),
            Ok(Decoded::NotIp { .. }) => None,
            Err(error) => error.addrs,
        };
        let shard = ends.map_or(0, |(src, dst)| shard_of(src, dst));
        if self.is_mine(shard) {
            self.count(packet);
            self.decoded(packet.ts_us, shard, &decoded, &Stack::NONE);
        }
    }

    /// A frame, outside or inside a tunnel.
    fn decoded(
        &mut self,
        now: i64,
        shard: u8,
        decoded: &Result<Decoded<'_>, Undecodable>,
        tunnels: &Stack,
    ) {
        let inside = !tunnels.is_empty();
        match decoded {
            Ok(Decoded::Ip(ip)) => self.ip(now, shard, ip, tunnels),
            Ok(Decoded::NotIp { weirds, .. }) => {
                self.counters.not_ip += 1;
                self.packet_weirds(now, shard, *weirds, None, inside);
            }
            Err(error) => {
                self.counters.undecodable += 1;
                self.packet_weirds(now, shard, error.also, error.addrs, inside);
                self.packet_weird(now, shard, error.reason, error.addrs, inside);
            }
        }
    }

    /// Nothing was captured up to this time: timers go on.
    pub fn tick(&mut self, now: i64) {
        self.clock = self.clock.max(now);
        self.call_asked();
        self.turn_wheel();
    }

    /// Fires what is due by the latest packet time: nothing earlier is written after this.
    pub fn settle(&mut self) {
        self.turn_wheel();
        let due: Vec<Entry> =
            self.wheel.current(self.clock).iter().filter(|e| e.at <= self.clock).copied().collect();
        for entry in due {
            self.look_at(entry);
        }
    }

    /// The capture is over: every open flow is written as it stands.
    pub fn finish(&mut self) {
        self.settle();
        for at in self.table.places() {
            self.end_flow(at, self.clock);
        }
    }

    fn is_mine(&self, shard: u8) -> bool {
        u32::from(shard) % self.share.1 == self.share.0
    }

    /// Within what the tuple of a flow is unique. One thread sees all tunnels, so that what comes in
    /// those of different hosts can be one flow, as in Zeek. Several threads keep it apart by shard, so
    /// that it does not depend on which of them has which shard.
    fn realm(&self, shard: u8) -> u8 {
        if self.share.1 == 1 { 0 } else { shard }
    }

    fn count(&mut self, packet: &Packet<'_>) {
        self.counters.packets += 1;
        self.counters.bytes += u64::from(packet.wire_len);
    }

    /// One IP packet, whole or a fragment, outside or inside a tunnel.
    fn ip(&mut self, now: i64, shard: u8, ip: &IpPacket<'_>, tunnels: &Stack) {
        let (ends, inside) = (Some((ip.src, ip.dst)), !tunnels.is_empty());
        if !ip.weirds.is_empty() {
            self.packet_weirds(now, shard, ip.weirds, ends, inside);
        }
        if !self.shared.config.ignore_checksums
            && let Some(weird) = checksum::verify_ip(ip)
        {
            self.counters.bad_checksums += 1;
            return self.packet_weird(now, shard, weird, None, inside);
        }
        if ip.fragment.is_none() {
            return self.transport(now, shard, ip, tunnels);
        }
        // One for each depth: this one is away while its datagram is looked into.
        let place = (shard, tunnels.depth());
        let mut reassembler = self.fragments.remove(&place).unwrap_or_default();
        let (outcome, weirds) = reassembler.add(now, ip);
        self.packet_weirds(now, shard, weirds, ends, inside);
        match outcome {
            Outcome::AsIs => self.transport(now, shard, ip, tunnels),
            Outcome::Complete(datagram) => {
                self.transport(now, shard, &ip.reassembled(datagram), tunnels);
            }
            Outcome::Held => self.counters.fragments += 1,
        }
        self.fragments.insert(place, reassembler);
    }

    fn transport(&mut self, now: i64, shard: u8, ip: &IpPacket<'_>, tunnels: &Stack) {
        match ip.transport() {
            Ok(Transport::Tcp(seg)) => self.tcp(now, shard, ip, &seg, tunnels),
            Ok(Transport::Udp(udp)) => self.udp(now, shard, ip, &udp, tunnels),
            Ok(Transport::Icmp4(icmp) | Transport::Icmp6(icmp)) => {
                self.icmp(now, shard, ip, &icmp, tunnels);
            }
            Ok(Transport::Other) => self.other(now, shard, ip, tunnels),
            Ok(Transport::NoFlow) => self.counters.undecodable += 1,
            // A bubble is meant to be nothing but its header.
            Err(Weird::Ipv6NoNext) if tunnels.last_kind() == Some(Kind::Teredo) => {
                self.counters.undecodable += 1;
            }
            Err(weird) => {
                self.counters.undecodable += 1;
                let ends = Some((ip.src, ip.dst));
                self.packet_weird(now, shard, weird, ends, !tunnels.is_empty());
            }
        }
    }

    fn tcp(
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
        let mut repeat = 0;
        if let Some(old) = at
            && let Some((again, first)) = self.tcp_reuse(old, seg, now)
        {
            if first == now {
                repeat = again + 1;
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
                let proto = Proto::Tcp(Box::default());
                self.new_flow(key, from_high, flip, shard, now, proto, repeat, tunnels)
            }
        };
        self.counters.in_flows += 1;
        let checked = self.shared.config.ignore_checksums;
        let Some(flow) = self.table.get(at) else { return };
        let Proto::Tcp(tcp) = &mut flow.proto else { return };
        let dir = flow.meta.dir(from_high);
        let mut host = Host {
            now,
            clock: self.clock,
            partial: false,
            meta: &mut flow.meta,
            app: &mut flow.app,
            shared: &mut self.shared,
            transport: Carrier::Tcp,
        };
        if let Some(weird) = seg.broken {
            host.weird_with(weird.name(), None, weird.source());
        } else if let Some(weird) = (!checked).then(|| checksum::verify_transport(ip)).flatten() {
            host.weird_with(weird.name(), None, weird.source());
            bad_checksum(host.meta, dir);
        } else {
            let dir = tcp.segment(dir, seg, &mut host);
            count_packet(&mut flow.meta, dir, ip);
        }
        self.reschedule(at);
    }

    /// Whether this segment begins a new flow over an old one: then that one's repeat and first time.
    fn tcp_reuse(&mut self, at: u32, seg: &TcpSegment<'_>, now: i64) -> Option<(u32, i64)> {
        let flow = self.table.get(at)?;
        let Proto::Tcp(tcp) = &flow.proto else { return None };
        let mut host = Host {
            now,
            clock: self.clock,
            partial: false,
            meta: &mut flow.meta,
            app: &mut flow.app,
            shared: &mut self.shared,
            transport: Carrier::Tcp,
        };
        let reuse = tcp.is_reuse(seg, now, &mut host);
        reuse.then_some((flow.meta.repeat, flow.meta.first))
    }

    fn udp(
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
        let mut host = Host {
            now,
            clock: self.clock,
            partial: false,
            meta: &mut flow.meta,
            app: &mut flow.app,
            shared: &mut self.shared,
            transport: Carrier::Udp,
        };
        if let Some(weird) = (!checked).then(|| checksum::verify_transport(ip)).flatten() {
            host.weird_with(weird.name(), None, weird.source());
            bad_checksum(host.meta, dir);
            return;
        }
        if udp.mismatch {
            let addl = format!("{} != {}", udp.len, u64::from(udp.payload_len) + 8);
            host.weird_with("UDP_datagram_length_mismatch", Some(&addl), Some("UDP"));
        }
        host.meta.last = now;
        host.meta.letter_once(dir, seen::DATA, b'D');
        let len = u64::from(udp.len).saturating_sub(8);
        sent[dir.index()] = Some(sent[dir.index()].unwrap_or(0) + len);
        let resp_p = host.meta.resp_p();
        let found = tunnel::udp::look(&mut host, dir, udp.payload, tunnels);
        if let (Some((_, layer)), true) = (found.inner, self.counters.flows != flows)
            && let Some(around) = &mut host.meta.around
        {
            around.grow(layer);
        }
        // Where that turns the flow, Zeek leaves what was counted of the payload with the same roles,
        // and counts this packet for the role that its sender had.
        host.data(dir, udp.payload);
        count_packet(host.meta, dir, ip);
        self.reschedule(at);
        self.inside_udp(now, shard, ip, resp_p, &found, tunnels);
    }

    /// What a datagram carries as a tunnel; it was counted with the flow outside.
    fn inside_udp(
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
            self.inside_hosts(now, shard, ip, gre, tunnels);
        }
        let Counters { flows, evicted, .. } = self.counters;
        self.counters = Counters { flows, evicted, ..counted };
    }

    fn icmp(&mut self, now: i64, shard: u8, ip: &IpPacket<'_>, icmp: &Icmp<'_>, tunnels: &Stack) {
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
            let mut host = Host {
                now,
                clock: self.clock,
                partial: false,
                meta: &mut flow.meta,
                app: &mut flow.app,
                shared: &mut self.shared,
                transport: Carrier::Udp,
            };
            host.weird_with(weird.name(), None, weird.source());
            return;
        }
        flow.meta.last = now;
        let len = u64::from(icmp.payload_len);
        sent[dir.index()] = Some(sent[dir.index()].unwrap_or(0) + len);
        if icmp.payload.len() as u64 >= len {
            count_packet(&mut flow.meta, dir, ip);
        }
        self.reschedule(at);
    }

    /// Tunnels are opened; any other protocol is a flow of its own.
    fn other(&mut self, now: i64, shard: u8, ip: &IpPacket<'_>, tunnels: &Stack) {
        use crate::decode::proto::{GRE, IPV4, IPV6};
        use tunnel::ip::{Misfit, fits};
        match ip.proto {
            IPV4 | IPV6 => {
                let inner = fits(ip.proto, ip.payload).map(|()| Inner::ip(ip.payload));
                let inner = inner.map_err(Misfit::oddity);
                return self.inside_hosts(now, shard, ip, inner, tunnels);
            }
            GRE => {
                let inner = tunnel::gre::open(ip.payload);
                return self.inside_hosts(now, shard, ip, inner, tunnels);
            }
            _ => {}
        }
        let (key, from_high) =
            Key::new(self.realm(shard), (ip.src, 0), (ip.dst, 0), ip.proto, false);
        let at = self.datagram_flow(key, from_high, false, shard, now, tunnels);
        let Some(flow) = self.table.get(at) else { return };
        flow.meta.last = now;
        let dir = flow.meta.dir(from_high);
        count_packet(&mut flow.meta, dir, ip);
        self.reschedule(at);
    }

    /// What a tunnel between two hosts carries; it has no flow of its own.
    fn inside_hosts(
        &mut self,
        now: i64,
        shard: u8,
        outer: &IpPacket<'_>,
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
                let layer = Layer::hosts(outer.src, outer.dst);
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
    fn inside(&mut self, now: i64, shard: u8, inner: &Inner<'_>, cut: u32, tunnels: &Stack) {
        let len = u32::try_from(inner.bytes.len()).unwrap_or(u32::MAX).saturating_add(cut);
        let decoded = match inner.link {
            // Not as a frame, which Zeek finds odd when it is empty.
            Link::Raw => self.decoder.ip(inner.bytes, len).map(Decoded::Ip),
            link => self.decoder.decode(link, len, inner.bytes),
        };
        self.decoded(now, shard, &decoded, tunnels);
    }

    /// The tunnels around a packet of a flow that is known; a flow that keeps changing them is odd.
    fn check_tunnels(&mut self, at: u32, now: i64, tunnels: &Stack) {
        let Some(flow) = self.table.get(at) else { return };
        if Around::see(&mut flow.meta.around, tunnels) {
            return;
        }
        let mut host = Host {
            now,
            clock: self.clock,
            partial: false,
            meta: &mut flow.meta,
            app: &mut flow.app,
            shared: &mut self.shared,
            transport: Carrier::Udp,
        };
        let addl = tunnel::CHANGES_MAX.to_string();
        host.weird_with("tunnel_max_changes_per_connection_exceeded", Some(&addl), None);
        host.meta.letter_once(Dir::Orig, seen::GAVE_UP, b'X');
    }

    /// The flow of this key, after its own timers were looked at.
    fn live_flow(&mut self, key: &Key) -> Option<u32> {
        let at = self.table.find(key)?;
        // By the latest packet time, not by this packet's: timers never go back.
        if self.fire(at, self.clock) { None } else { Some(at) }
    }

    fn datagram_flow(
        &mut self,
        key: Key,
        from_high: bool,
        flip: bool,
        shard: u8,
        now: i64,
        tunnels: &Stack,
    ) -> u32 {
        self.counters.in_flows += 1;
        match self.live_flow(&key) {
            Some(at) => {
                self.check_tunnels(at, now, tunnels);
                at
            }
            None => {
                let proto = Proto::Datagram([None; 2]);
                self.new_flow(key, from_high, flip, shard, now, proto, 0, tunnels)
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what a flow is made of")]
    fn new_flow(
        &mut self,
        key: Key,
        from_high: bool,
        flip: bool,
        shard: u8,
        now: i64,
        proto: Proto,
        repeat: u32,
        tunnels: &Stack,
    ) -> u32 {
        if let Some(oldest) = self.table.to_evict(shard) {
            self.counters.evicted += 1;
            self.end_flow(oldest, self.clock);
        }
        self.counters.flows += 1;
        let mut meta = Meta {
            key,
            swapped: from_high,
            shard,
            number: self.table.next_number(shard),
            repeat,
            first: now,
            last: now,
            timeout: inactivity(key.proto()),
            packets: [0; 2],
            ip_bytes: [0; 2],
            missed_bytes: 0,
            history: Vec::new(),
            history_seen: 0,
            checksum: Default::default(),
            around: Around::new(tunnels),
            carrier: Default::default(),
        };
        if flip && meta.tuple().resp_h != IpAddr::from([255, 255, 255, 255]) {
            meta.flip();
        }
        let wheel_at = i64::MAX;
        let at = self.table.insert(Flow { meta, proto, app: None, wheel_at, asked_at: i64::MAX });
        self.reschedule(at);
        at
    }

    /// Puts a flow into the wheel if it has become due earlier than its entry there says.
    fn reschedule(&mut self, at: u32) {
        let serial = self.table.serial(at);
        let Some(flow) = self.table.get(at) else { return };
        let asked = flow.app.as_ref().map_or(i64::MAX, |app| app.deadline());
        if asked < flow.asked_at {
            flow.asked_at = asked;
            self.asked.push(Reverse((asked, at, serial)));
        }
        let due = deadline(flow);
        if due < flow.wheel_at {
            flow.wheel_at = due;
            self.wheel.add(Entry { index: at, serial, at: due }, self.clock);
        }
    }

    /// Calls the analyzers whose deadline has passed.
    fn call_asked(&mut self) {
        while let Some(Reverse((asked, at, serial))) = self.asked.peek().copied() {
            if asked > self.clock {
                return;
            }
            self.asked.pop();
            let Some(flow) = self.table.get_serial(at, serial) else { continue };
            if flow.asked_at != asked {
                continue;
            }
            flow.asked_at = i64::MAX;
            if !self.fire(at, self.clock) {
                self.reschedule(at);
            }
        }
    }

    fn turn_wheel(&mut self) {
        while let Some(entries) = self.wheel.take(self.clock) {
            for entry in &entries {
                self.look_at(*entry);
            }
            self.wheel.give_back(entries);
        }
    }

    fn look_at(&mut self, entry: Entry) {
        let Some(flow) = self.table.get_serial(entry.index, entry.serial) else { return };
        if flow.wheel_at != entry.at {
            return;
        }
        flow.wheel_at = i64::MAX;
        if !self.fire(entry.index, self.clock) {
            self.reschedule(entry.index);
        }
    }

    /// Does what a flow's timers say up to `now`; says whether the flow ended by it.
    fn fire(&mut self, at: u32, now: i64) -> bool {
        loop {
            let Some(flow) = self.table.get(at) else { return true };
            let due = deadline(flow);
            let asked = flow.app.as_ref().map_or(i64::MAX, |app| app.deadline());
            if due.min(asked) > now {
                return false;
            }
            if asked > due {
                self.end_flow(at, due);
                return true;
            }
            if let Some(app) = &mut flow.app {
                app.expire(&flow.meta, &mut self.shared, now);
                if app.over {
                    self.end_flow(at, now);
                    return true;
                }
                // An analyzer that does not move its deadline must not hold the loop.
                if app.deadline() <= now {
                    return false;
                }
            }
        }
    }

    /// Writes a flow's row and forgets it.
    fn end_flow(&mut self, at: u32, now: i64) {
        let Some(mut flow) = self.table.remove(at) else { return };
        if let Some(app) = &mut flow.app {
            app.finish(&flow.meta, &mut self.shared, now);
        }
        write_conn(&mut flow, &mut self.shared, now);
    }

    fn packet_weirds(&mut self, now: i64, shard: u8, weirds: WeirdSet, ends: Ends, inside: bool) {
        for weird in weirds.iter() {
            self.packet_weird(now, shard, weird, ends, inside);
        }
    }

    /// A weird that belongs to no flow. `inside` says that the packet came in a tunnel.
    fn packet_weird(&mut self, now: i64, shard: u8, weird: Weird, ends: Ends, inside: bool) {
        let (name, source, of_packet) = (weird.name(), weird.source(), weird.is_of_packet());
        let odd = Oddity { name, source, addl: None, of_packet };
        // Its addresses are those that it comes with, whether it is of the packet or of the header.
        self.write_oddity(now, shard, &odd, ends, inside && of_packet);
    }

    /// A weird of a tunnel.
    fn oddity(&mut self, now: i64, shard: u8, odd: &Oddity, ends: Ends, inside: bool) {
        let ends = ends.filter(|_| odd.of_packet);
        self.write_oddity(now, shard, odd, ends, inside && odd.of_packet);
    }

    /// The same one of the same hosts is held back for a while.
    fn write_oddity(&mut self, now: i64, shard: u8, odd: &Oddity, ends: Ends, inside: bool) {
        if self.packet_weirds.len() >= PACKET_WEIRDS_MAX {
            self.packet_weirds.clear();
        }
        let key = (odd.name, inside, ends);
        let last = self.packet_weirds.get(&key).copied();
        if last.is_some_and(|last| now - last < PACKET_WEIRD_HOLD) {
            self.shared.out.weirds_held += 1;
            return;
        }
        self.packet_weirds.insert(key, now);
        let suffix = if inside { "_in_tunnel" } else { "" };
        let name = format!("{}{suffix}", odd.name);
        let addl = odd.addl.map(|(words, number)| format!("{words}{number}"));
        let lanes = self.shared.config.lanes;
        let lane = id::partition(name.as_bytes(), lanes);
        let mark = self.shared.out.mark(self.clock, u64::from(shard) << 56, lane);
        let row = weird::Row {
            ts: now,
            orig_h: ends.map(|(src, _)| src),
            orig_p: ends.map(|_| 0),
            resp_h: ends.map(|(_, dst)| dst),
            resp_p: ends.map(|_| 0),
            name: &name,
            addl: addl.as_deref(),
            peer: &self.shared.config.node,
            source: odd.source,
            ..weird::Row::unset()
        };
        self.shared.out.weird.push(mark, row);
    }
}

fn inactivity(proto: u8) -> i64 {
    match proto {
        // TCP starts in the handshake, which has UDP's patience.
        ip_proto::TCP | ip_proto::UDP => timeout::UDP_INACTIVITY,
        ip_proto::ICMP | ip_proto::ICMP6 => timeout::ICMP_INACTIVITY,
        _ => timeout::OTHER_INACTIVITY,
    }
}

fn deadline(flow: &Flow) -> i64 {
    let meta = &flow.meta;
    let mut due = meta.last.saturating_add(meta.timeout);
    if let Proto::Tcp(tcp) = &flow.proto {
        due = due.min(tcp.deadline(meta.first, meta.last));
    }
    due
}

fn count_packet(meta: &mut Meta, dir: Dir, ip: &IpPacket<'_>) {
    meta.packets[dir.index()] += 1;
    meta.ip_bytes[dir.index()] += u64::from(header_total_len(ip));
}

/// The length as the header has it: segmentation offload leaves a zero there, and Zeek counts that.
fn header_total_len(ip: &IpPacket<'_>) -> u32 {
    match (ip.src, ip.header) {
        (IpAddr::V4(_), [_, _, 0, 0, ..]) => 0,
        _ => ip.total_len,
    }
}

fn bad_checksum(meta: &mut Meta, dir: Dir) {
    if meta.checksum[dir.index()].hit() {
        meta.letter(dir, b'C');
    }
}

fn write_conn(flow: &mut Flow, shared: &mut Shared, now: i64) {
    let meta = &flow.meta;
    let config = shared.config.clone();
    let mut app = flow.app.take().unwrap_or_default();
    let service = service(meta, &app);
    let made;
    let ids = if app.did_weird() || service.is_some() {
        app.ids(meta, config.lanes)
    } else {
        made = make_ids(meta, config.lanes);
        &made
    };
    let (state, sizes) = match &flow.proto {
        Proto::Tcp(tcp) => tcp_summary(tcp, meta),
        Proto::Datagram(sent) => {
            let state = match meta.key.proto() {
                ip_proto::UDP => conn_state::udp(sent[0].is_some(), sent[1].is_some()),
                _ => conn_state::OTHER,
            };
            (state, [sent[0].unwrap_or(0), sent[1].unwrap_or(0)])
        }
    };
    let duration = meta.last - meta.first;
    let lasted = duration > 0;
    let local = |ip| (!config.local_nets.is_empty()).then(|| config.local_nets.contains(ip));
    let tunnels: Vec<&str> = meta.around.iter().flat_map(|around| around.parents()).collect();
    let mark = shared.out.mark(now, ids.order, ids.lane);
    let row = conn::Row {
        ts: meta.first,
        uid: &ids.uid,
        orig_h: ids.tuple.orig_h,
        orig_p: ids.tuple.orig_p,
        resp_h: ids.tuple.resp_h,
        resp_p: ids.tuple.resp_p,
        proto: ids.tuple.proto_name(),
        service: service.as_deref(),
        duration: lasted.then_some(duration),
        orig_bytes: lasted.then_some(sizes[0]),
        resp_bytes: lasted.then_some(sizes[1]),
        conn_state: Some(state),
        local_orig: local(ids.tuple.orig_h),
        local_resp: local(ids.tuple.resp_h),
        missed_bytes: meta.missed_bytes,
        history: (!meta.history.is_empty()).then(|| letters(&meta.history)),
        orig_pkts: Some(meta.packets[0]),
        orig_ip_bytes: Some(meta.ip_bytes[0]),
        resp_pkts: Some(meta.packets[1]),
        resp_ip_bytes: Some(meta.ip_bytes[1]),
        tunnel_parents: (!tunnels.is_empty()).then_some(&tunnels),
        ip_proto: Some(u64::from(ids.tuple.proto)),
        community_id: &ids.community_id,
        observers: &[&config.node],
    };
    shared.out.conn.push(mark, row);
}

/// Confirmed protocols: what the flow is a tunnel for, and what its payload is.
fn service(meta: &Meta, app: &App) -> Option<String> {
    let names: Vec<&str> = meta.carrier.services().collect();
    match (names.is_empty(), app.service()) {
        (true, service) => service,
        (false, None) => Some(names.join(",")),
        (false, Some(service)) => Some(format!("{},{service}", names.join(","))),
    }
}

fn tcp_summary(tcp: &Tcp, meta: &Meta) -> (&'static str, [u64; 2]) {
    let [orig, resp] = &tcp.ends;
    let sizes = [orig.size(resp.state), resp.size(orig.state)];
    let state = conn_state::tcp(conn_state::Tcp {
        orig: orig.state,
        resp: resp.state,
        has_payload: sizes != [0, 0],
        history: &meta.history,
    });
    (state, sizes)
}

/// History is ASCII by construction.
fn letters(history: &[u8]) -> &str {
    std::str::from_utf8(history).unwrap_or_default()
}
