//! One flow: its key, what every protocol counts, and what its protocol adds.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::id::FiveTuple;

use crate::analyzer::Dir;
use crate::app::App;
use crate::config::SECOND;
use crate::history::History;
use crate::tcp::{Syn, Tcp};
use crate::trace::{Packet, Start, Sums, Trace};
use crate::tunnel::Carrier;

pub use rare::Rare;

mod rare;
#[cfg(test)]
mod tests;

/// A flow's tuple, the same for both directions: the lower end first.
#[derive(Debug, Clone, Copy, Eq)]
pub struct Key {
    low: [u8; 16],
    high: [u8; 16],
    low_port: u16,
    high_port: u16,
    proto: u8,
    v6: bool,
    /// Flows of different realms have nothing to do with each other, whatever their tuples.
    realm: u8,
    /// ICMP messages that have no answer keep their direction: two of them are two flows.
    one_way: bool,
}

impl Key {
    /// The key of a packet, and whether its sender is the higher end.
    #[inline]
    pub fn new(
        realm: u8,
        src: (IpAddr, u16),
        dst: (IpAddr, u16),
        proto: u8,
        one_way: bool,
    ) -> (Key, bool) {
        let swapped = !one_way && is_lower(dst, src);
        let (s, d) = ((octets(src.0), src.1), (octets(dst.0), dst.1));
        let (low, high) = if swapped { (d, s) } else { (s, d) };
        let key = Key {
            low: low.0,
            high: high.0,
            low_port: low.1,
            high_port: high.1,
            proto,
            v6: src.0.is_ipv6(),
            realm,
            one_way,
        };
        (key, swapped)
    }

    /// All of it but the addresses.
    #[inline]
    fn kinds(&self) -> u64 {
        let kinds = [self.proto, self.realm, u8::from(self.v6), u8::from(self.one_way)];
        let ports = u32::from(self.low_port) << 16 | u32::from(self.high_port);
        u64::from(ports) << 32 | u64::from(u32::from_le_bytes(kinds))
    }

    #[inline]
    fn words(&self) -> (u64, u128, u128) {
        (self.kinds(), u128::from_le_bytes(self.low), u128::from_le_bytes(self.high))
    }

    /// IP protocol number.
    pub fn proto(&self) -> u8 {
        self.proto
    }

    /// Whether its messages have no answer.
    pub fn is_one_way(&self) -> bool {
        self.one_way
    }

    /// The tuple with the lower end as originator: the same whichever way the flow goes.
    pub fn tuple(&self) -> FiveTuple {
        self.tuple_from(false)
    }

    /// The tuple with one end as originator: the higher one, or the lower.
    pub fn tuple_from(&self, high: bool) -> FiveTuple {
        let (orig, resp) = (self.end(high), self.end(!high));
        FiveTuple {
            orig_h: orig.0,
            orig_p: orig.1,
            resp_h: resp.0,
            resp_p: resp.1,
            proto: self.proto,
        }
    }

    fn end(&self, high: bool) -> (IpAddr, u16) {
        let (bytes, port) =
            if high { (self.high, self.high_port) } else { (self.low, self.low_port) };
        if self.v6 {
            return (IpAddr::V6(Ipv6Addr::from(bytes)), port);
        }
        (IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])), port)
    }
}

/// By words: every packet compares a key, and by bytes that is a call for each address.
impl PartialEq for Key {
    #[inline]
    fn eq(&self, other: &Key) -> bool {
        self.words() == other.words()
    }
}

/// By words: a hash a byte or a field at a time is a good part of a packet's cost.
impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.kinds());
        if self.v6 {
            state.write_u128(u128::from_le_bytes(self.low));
            state.write_u128(u128::from_le_bytes(self.high));
            return;
        }
        let [[a, b, c, d], [e, f, g, h]] = [self.low, self.high].map(first_four);
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

fn first_four(octets: [u8; 16]) -> [u8; 4] {
    let [a, b, c, d, ..] = octets;
    [a, b, c, d]
}

/// Whether one end of a packet is lower than the other: by the address as a number, then by the port.
#[inline]
fn is_lower(a: (IpAddr, u16), b: (IpAddr, u16)) -> bool {
    match (a.0, b.0) {
        (IpAddr::V4(x), IpAddr::V4(y)) => (u32::from(x), a.1) < (u32::from(y), b.1),
        (IpAddr::V6(x), IpAddr::V6(y)) => (u128::from(x), a.1) < (u128::from(y), b.1),
        // No packet has both.
        (x, _) => x.is_ipv4(),
    }
}

#[inline]
fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.octets());
            bytes
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Which history letters a side has had (Zeek's `hist_seen`); responder's bits stand 8 higher.
pub mod seen {
    /// SYN.
    pub const SYN: u16 = 1;
    /// FIN.
    pub const FIN: u16 = 1 << 1;
    /// RST.
    pub const RST: u16 = 1 << 2;
    /// FIN and RST at once.
    pub const FIN_RST: u16 = 1 << 3;
    /// Payload.
    pub const DATA: u16 = 1 << 4;
    /// Pure ACK.
    pub const ACK: u16 = 1 << 5;
    /// Other flags at once.
    pub const MULTI: u16 = 1 << 6;
    /// Analysis gave up at a limit; of no side.
    pub const GAVE_UP: u16 = 1 << 7;
    /// No letter: the flow's time was over when its last packet came, as the capture's times went back.
    pub const LATE: u16 = 1 << 15;
}

/// The longest history that is kept. Zeek has no limit, but a flow can add a letter with every SYN of a
/// new number; beyond this nothing more is said.
const HISTORY_MAX: usize = 1024;

/// A counter that writes a history letter at its 1st, 10th, 100th … event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scaled(u32);

/// The last power of ten that 32 bits hold: from there on, a letter each time so many have come.
const SCALE_LAST: u32 = 1_000_000_000;

impl Scaled {
    /// Counts one event; says whether its letter is due.
    pub fn hit(&mut self) -> bool {
        self.0 += 1;
        match self.0 {
            1 | 10 | 100 | 1_000 | 10_000 | 100_000 | 1_000_000 => true,
            10_000_000 | 100_000_000 | SCALE_LAST => true,
            count if count == 2 * SCALE_LAST => {
                self.0 = SCALE_LAST;
                true
            }
            _ => false,
        }
    }
}

/// An idle time, in the whole seconds that all of them are: a flow has no bytes to spare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Patience(u32);

impl Patience {
    /// Of one of [`timeout`](crate::config::timeout), microseconds.
    pub const fn of(micros: i64) -> Patience {
        Patience((micros / SECOND) as u32)
    }

    /// Microseconds.
    pub fn micros(self) -> i64 {
        i64::from(self.0) * SECOND
    }
}

/// Payload bytes of both ends, by [`Dir::index`]; an end that sent nothing is not one that sent no bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent([u64; 2]);

impl Sent {
    /// A datagram.
    pub fn add(&mut self, dir: Dir, bytes: u64) {
        // One more than the bytes, so that 0 says that there was none: half the room of an `Option`.
        let sum = &mut self.0[dir.index()];
        *sum = (*sum).max(1).saturating_add(bytes);
    }

    /// Payload bytes; none where the end sent nothing.
    pub fn of(&self, dir: Dir) -> Option<u64> {
        self.0[dir.index()].checked_sub(1)
    }
}

/// What was noted of the assets that a flow shows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Assets {
    /// Its handshake is complete, which is not noted yet.
    pub is_established: bool,
    /// Its service was noted.
    pub is_done: bool,
    /// The responder is local, once that was asked.
    pub is_local: Option<bool>,
    /// Confirmed protocols that were noted.
    pub confirmed: u8,
}

/// What all flows have.
#[derive(Debug)]
pub struct Meta {
    /// Canonical tuple.
    pub key: Key,
    /// The originator is the key's higher end.
    pub swapped: bool,
    /// Virtual shard.
    pub shard: u8,
    /// Number within the shard.
    pub number: u64,
    /// Time of the first packet, microseconds.
    pub first: i64,
    /// Time of the last packet that counted.
    pub last: i64,
    /// Idle time after which it ends.
    pub timeout: Patience,
    /// Packets by [`Dir::index`].
    pub packets: [u64; 2],
    /// IP bytes.
    pub ip_bytes: [u64; 2],
    /// History letters.
    pub history: History,
    /// Letters that each side has had, as in [`seen`].
    pub history_seen: u16,
    /// A SYN began another flow in its place.
    pub is_replaced: bool,
    /// Bad checksums.
    pub checksum: [Scaled; 2],
    /// What it has shown of being a tunnel.
    pub carrier: Carrier,
    /// The assets that it shows.
    pub assets: Assets,
    /// What few flows have.
    pub rare: Option<Box<Rare>>,
}

impl Meta {
    /// The tuple in the flow's direction.
    pub fn tuple(&self) -> FiveTuple {
        self.key.tuple_from(self.swapped)
    }

    /// The ends as another flow announces them: all but the originator's port.
    pub fn ends(&self) -> crate::expected::Ends {
        let tuple = self.tuple();
        (tuple.orig_h, tuple.resp_h, tuple.resp_p)
    }

    /// The responder's port.
    pub fn resp_p(&self) -> u16 {
        if self.swapped { self.key.low_port } else { self.key.high_port }
    }

    /// The place of its rows among those of one time.
    pub fn order(&self) -> u64 {
        u64::from(self.shard) << 56 | self.number
    }

    /// Direction of a packet whose sender is the higher end or not.
    pub fn dir(&self, from_high: bool) -> Dir {
        if from_high == self.swapped { Dir::Orig } else { Dir::Resp }
    }

    /// Adds a letter, lower case for the responder.
    pub fn letter(&mut self, dir: Dir, letter: u8) {
        if let Some(trace) = self.trace_mut() {
            trace.letter(letter);
        }
        if self.history.len() < HISTORY_MAX {
            self.history.push(match dir {
                Dir::Orig => letter,
                Dir::Resp => letter.to_ascii_lowercase(),
            });
        }
    }

    /// A TCP packet is about to be handled; `before` says how far the numbers of its sender went before it, and what
    /// the first packet was.
    pub fn follow(
        &mut self,
        dir: Dir,
        (packet, start): (Packet, Option<Start>),
        before: impl FnOnce() -> (u64, Packet),
    ) {
        let [packets, ip_bytes] = [self.packets, self.ip_bytes].map(|of| of[dir.index()]);
        let sums = Sums { packets, ip_bytes };
        if self.packets[dir.other().index()] > 0 {
            if let Some(rare) = &mut self.rare {
                rare.trace = None;
            }
        } else if let Some(trace) = self.trace_mut() {
            trace.packet(packet, start, sums);
        } else if self.packets[dir.index()] == 1 {
            let (reached, first) = before();
            let mut trace = Trace::new(Packet { at: self.first, ..first }, &self.history, reached);
            trace.packet(packet, start, sums);
            self.rare_mut().trace = Some(Box::new(trace));
        }
    }

    /// Adds a letter once a side; says whether the side had it already.
    pub fn letter_once(&mut self, dir: Dir, mask: u16, letter: u8) -> bool {
        let mask = if dir == Dir::Resp { mask << 8 } else { mask };
        if self.history_seen & mask != 0 {
            return true;
        }
        self.history_seen |= mask;
        self.letter(dir, letter);
        false
    }

    /// The roles change sides. The protocol's own state must be swapped by the caller.
    pub fn flip(&mut self) {
        self.swapped = !self.swapped;
        self.assets.is_local = None;
        self.packets.swap(0, 1);
        self.ip_bytes.swap(0, 1);
        self.checksum.swap(0, 1);
        self.letter(Dir::Orig, b'^');
    }
}

/// What a protocol adds.
#[derive(Debug)]
pub enum Proto {
    /// TCP of which nothing or one SYN was seen.
    Syn(Syn),
    /// TCP.
    Tcp(Box<Tcp>),
    /// UDP, ICMP and others.
    Datagram(Sent),
}

/// A flow.
pub struct Flow {
    /// What all flows have.
    pub meta: Meta,
    /// What its protocol adds.
    pub proto: Proto,
    /// Analyzers, once there is payload.
    pub app: Option<Box<App>>,
    /// Before this moment nothing happens to it but by a packet.
    pub due: i64,
    /// Time of its one valid entry in the timer wheel.
    pub wheel_at: i64,
    /// Time of its one valid entry among the deadlines of analyzers.
    pub asked_at: i64,
}

/// What is read of a flow before its packet's turn, only to have it near: what comes of it means nothing.
impl Flow {
    /// The flow itself.
    #[inline]
    pub fn touch(&self) -> u64 {
        let meta = &self.meta;
        let ends = meta.number ^ meta.packets[0] ^ meta.ip_bytes[1] ^ u64::from(meta.history_seen);
        ends ^ (self.due ^ self.wheel_at ^ self.asked_at ^ meta.last) as u64
    }

    /// What it leads to.
    #[inline]
    pub fn touch_parts(&self) -> u64 {
        let tcp = match &self.proto {
            Proto::Tcp(tcp) => tcp.touch(),
            Proto::Syn(_) | Proto::Datagram(_) => 0,
        };
        tcp ^ self.app.as_ref().map_or(0, |app| app.touch())
    }

    /// What its analyzers lead to.
    #[inline]
    pub fn touch_inside(&self) -> u64 {
        self.app.as_ref().map_or(0, |app| app.touch_inside())
    }
}
