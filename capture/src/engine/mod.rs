//! One capture thread's engine: every packet of its shards through decoding, the flow table and the
//! protocols, with timers by packet time.

mod ahead;
mod assets;
mod conn_row;
mod half;
mod holes;
#[cfg(test)]
mod hostile;
mod packets;
mod timers;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::IpAddr;
use std::sync::Arc;

use model::id::{self, ip_proto};
use model::stream::weird;

use crate::checksum;
use crate::config::{Config, SHARDS};
use crate::decode::{Decoded, Decoder, IpPacket, Transport, Undecodable, Weird, WeirdSet};
use crate::fragment::{Outcome, Reassembler};
use crate::host::Shared;
use crate::out::Out;
use crate::source::{Burst, Packet};
use crate::table::Table;
use crate::tunnel::{Kind, Oddity, Pairs, Stack};
use crate::wheel::{Entry, Wheel};
use ahead::Hint;
use holes::Holes;

pub use ahead::{AHEAD, shard_of_frame};

/// Weirds without a flow that are remembered for a shard so as not to be written again; beyond that all of
/// the shard's are forgotten. By shard, so that it makes no difference how many threads there are.
const PACKET_WEIRDS_MAX: usize = 256;
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
    /// Files ended early to make room.
    pub files_evicted: u64,
    /// Weirds not written.
    pub weirds_held: u64,
    /// Streams given up as there was no more room for bytes above holes.
    pub streams_given_up: u64,
    /// Flows seen one way that were not judged as halves, as there was no more room for what they had.
    pub halves_unjudged: u64,
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
        self.files_evicted += other.files_evicted;
        self.weirds_held += other.weirds_held;
        self.streams_given_up += other.streams_given_up;
        self.halves_unjudged += other.halves_unjudged;
    }
}

/// Who sent a packet to whom, where that is known.
type Ends = Option<(IpAddr, IpAddr)>;

/// The engine.
pub struct Engine {
    pub(crate) shared: Shared,
    decoder: Decoder,
    table: Table,
    wheel: Wheel,
    /// Deadlines of analyzers, each with its flow's place and serial number. What happens there depends
    /// on the time of the first packet after it, so that they are not rounded as the wheel's are.
    asked: BinaryHeap<Reverse<(i64, u32, u32)>>,
    /// By virtual shard and number of tunnels around.
    fragments: BTreeMap<(u8, u8), Reassembler>,
    /// What waits for missing segments.
    holes: Holes,
    /// Tunnels that no flow carries.
    pairs: Pairs,
    packet_weirds: Vec<BTreeMap<(&'static str, bool, Ends), i64>>,
    counters: Counters,
    /// The virtual shards of this thread, a bit each.
    mine: u64,
    /// Where the flow of the packet at hand may be.
    hint: Hint,
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
        let holes = Holes::new(config.reassembly_max);
        let shared = Shared::new(config);
        Engine {
            shared,
            decoder,
            table,
            wheel: Wheel::default(),
            asked: BinaryHeap::new(),
            fragments: BTreeMap::new(),
            holes,
            pairs: Pairs::default(),
            packet_weirds: (0..SHARDS).map(|_| BTreeMap::new()).collect(),
            counters: Counters::default(),
            mine: (0..SHARDS)
                .filter(|n| n % threads.max(1) == index)
                .fold(0, |all, n| all | 1 << n),
            hint: Hint::default(),
            clock: i64::MIN,
        }
    }

    /// Rows since the last flush.
    pub fn out(&mut self) -> &mut Out {
        &mut self.shared.out
    }

    /// Counters so far.
    pub fn counters(&self) -> Counters {
        Counters {
            weirds_held: self.shared.out.weirds_held,
            files_evicted: self.shared.files.evicted,
            streams_given_up: self.holes.given_up,
            halves_unjudged: self.shared.out.halves_unjudged,
            ..self.counters
        }
    }

    /// Flows open.
    pub fn open_flows(&self) -> usize {
        self.table.held()
    }

    /// Latest packet time, microseconds; [`i64::MIN`] before the first packet.
    pub fn clock(&self) -> i64 {
        self.clock
    }

    /// Packets in their order: so many of these from the one with that number on, [`AHEAD`] at most. Those of other
    /// threads' shards only move the clock.
    pub fn packets(&mut self, burst: &Burst<'_>, from: usize, count: usize) {
        let hints = self.look_ahead(burst, from, count);
        for (packet, hint) in burst.some(from, count).zip(hints) {
            self.handle(&packet, hint);
        }
    }

    /// One captured packet, the same.
    pub fn packet(&mut self, packet: &Packet<'_>) {
        let is_all_mine = self.mine == u64::MAX;
        let hint = if is_all_mine { Hint::None } else { self.glance(packet) };
        self.handle(packet, hint);
    }

    fn handle(&mut self, packet: &Packet<'_>, hint: Hint) {
        self.clock = self.clock.max(packet.ts_us);
        // Each of these is a comparison for nearly all packets, also for those of other threads.
        self.shared.out.expire_tunnels(self.clock);
        self.shared.out.expire_unnamed(self.clock);
        self.call_asked();
        if self.wheel.is_due(self.clock) {
            self.turn_wheel();
        }
        if hint.is_foreign() {
            return;
        }
        self.hint = hint;
        match self.decoder.decode(packet.link, packet.wire_len, packet.data) {
            Ok(Decoded::Aggregate(several)) => {
                for one in several {
                    self.outermost(packet, &one);
                }
            }
            one => self.outermost(packet, &one),
        }
    }

    /// What a frame holds, which is left alone if its hosts are another thread's.
    #[inline]
    fn outermost(&mut self, packet: &Packet<'_>, decoded: &Result<Decoded<'_>, Undecodable>) {
        let ends = match decoded {
            Ok(Decoded::Ip(ip)) => Some((ip.src, ip.dst)),
            Ok(Decoded::NotIp { .. } | Decoded::Aggregate(_)) => None,
            Err(error) => error.addrs,
        };
        let shard = ends.map_or(0, |(src, dst)| shard_of(src, dst));
        if self.is_mine(shard) {
            self.count(packet);
            self.decoded(packet.ts_us, shard, decoded, &Stack::NONE);
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
            Ok(Decoded::Aggregate(several)) => {
                several.for_each(|one| self.decoded(now, shard, &one, tunnels));
            }
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
        self.shared.out.expire_tunnels(self.clock);
        self.shared.out.expire_unnamed(self.clock);
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
        self.shared.out.finish_unnamed(self.clock);
        // In one order for any number of threads, as a flow may tell another of its shard what it carried: the latest
        // first, which is how Zeek's table mostly goes too.
        let flows = self.table.places().map(|at| (self.table.get(at).map(|f| f.meta.order()), at));
        let mut flows: Vec<_> = flows.collect();
        flows.sort_unstable();
        for (_, at) in flows.into_iter().rev() {
            self.end_flow(at, self.clock);
        }
        self.shared.files.finish(&mut self.shared.out, self.clock);
    }

    fn is_mine(&self, shard: u8) -> bool {
        self.mine >> shard & 1 == 1
    }

    /// Flows inside tunnels belong to the shard of the outermost hosts, whatever the number of threads.
    fn realm(&self, shard: u8) -> u8 {
        shard
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
            return self.packet_weird(now, shard, weird, ends, inside);
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
            Ok(Transport::NoFlow) => self.no_flow(now, shard, ip, !tunnels.is_empty()),
            // A bubble is meant to be nothing but its header.
            Err(Weird::Ipv6NoNext) if tunnels.last_kind() == Some(Kind::Teredo) => {
                self.counters.undecodable += 1;
            }
            Err(weird) => {
                self.counters.undecodable += 1;
                let source = weird.source().or(match ip.proto {
                    ip_proto::TCP => Some("TCP"),
                    ip_proto::UDP => Some("UDP"),
                    ip_proto::ICMP | ip_proto::ICMP6 => Some("ICMP"),
                    _ => None,
                });
                let odd = Oddity { name: weird.name(), source, addl: None, of_packet: true };
                let ends = Some((ip.src, ip.dst));
                self.write_oddity(now, shard, &odd, ends, !tunnels.is_empty());
            }
        }
    }

    /// ESP, or a mobility header, which has a checksum.
    fn no_flow(&mut self, now: i64, shard: u8, ip: &IpPacket<'_>, inside: bool) {
        let verifies = !self.shared.config.ignore_checksums;
        let Some(weird) = verifies.then(|| checksum::verify_transport(ip)).flatten() else {
            self.counters.undecodable += 1;
            return;
        };
        self.counters.bad_checksums += 1;
        self.packet_weird(now, shard, weird, Some((ip.src, ip.dst)), inside);
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
        let ends = ends.filter(|_| !weird.is_before_addresses());
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
        let Some(written) = self.packet_weirds.get_mut(usize::from(shard)) else { return };
        if written.len() >= PACKET_WEIRDS_MAX {
            written.clear();
        }
        let key = (odd.name, inside, ends);
        let last = written.get(&key).copied();
        // Without hosts all shards hold it back together, which is decided where their rows meet.
        let hold = if ends.is_some() { PACKET_WEIRD_HOLD } else { crate::config::SECOND };
        if last.is_some_and(|last| now - last < hold) {
            self.shared.out.weirds_held += 1;
            return;
        }
        written.insert(key, now);
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
