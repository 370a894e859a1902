//! IP reassembly, version 4 (RFC 791 section 3.2) and 6 (RFC 8200 section 4.5).
//!
//! Where fragments overlap, the bytes that came first win, as in Zeek; that they overlapped is
//! reported. The table is bounded in datagrams and bytes; the oldest datagram makes room. It is
//! never iterated, so nothing depends on the order of its hash.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::decode::{Fragment, IpPacket, Weird, WeirdSet};

/// Fragments but the last with an IP length below this are odd: no network has so small an MTU.
const SMALL_FRAGMENT: u32 = 64;
/// Datagrams that reach beyond this are odd.
const LARGE_DATAGRAM: u32 = 64_000;
/// A longer datagram cannot be: its length field has 16 bits. Such fragments are dropped.
const MAX_DATAGRAM: u32 = 65_535;
/// What one datagram costs beside its bytes: table slot, age index, vectors. Counted towards the
/// limit so that many tiny fragments cannot slip under it.
const OVERHEAD: usize = 256;
/// Emptied datagrams kept with their buffers for the next ones.
const SPARE: usize = 4;

/// Bounds of a [`Reassembler`].
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Incomplete datagrams held.
    pub datagrams: usize,
    /// Bytes held by all of them, with overhead.
    pub bytes: usize,
    /// Fragments of one datagram. 64 KiB at the smallest MTU of IPv4, 68 bytes, are 1366.
    pub fragments: u32,
    /// How long after its first fragment a datagram is given up, microseconds of packet time.
    pub timeout_us: i64,
}

impl Default for Limits {
    fn default() -> Self {
        // Of one shard and depth of tunnels: for all shards 32,768 datagrams and 256 MiB. The timeout is Zeek's
        // frag_timeout.
        Limits { datagrams: 512, bytes: 4 << 20, fragments: 2048, timeout_us: 5 * 60 * 1_000_000 }
    }
}

/// What became of datagrams that are not returned, and how many were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams completed.
    pub completed: u64,
    /// Datagrams given up because their time was over.
    pub timed_out: u64,
    /// Datagrams given up to make room.
    pub evicted: u64,
    /// Datagrams given up because of too many fragments.
    pub too_many: u64,
    /// Fragments dropped alone: cut by the capture, empty, or beyond the longest datagram.
    pub dropped: u64,
}

/// The payload of a complete datagram.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// IP protocol of `bytes`: of the first fragment in IPv6, of the one seen first in IPv4.
    pub proto: u8,
    /// Length of the headers that all fragments share, bytes.
    pub hdr_len: u32,
    /// Everything behind them.
    pub bytes: &'a [u8],
}

/// What to do with the packet that was given.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// It is no fragment, or a first fragment that the capture cut, of which what is there is all
    /// there will be: decode it as it is.
    AsIs,
    /// It completed this datagram: go on with [`IpPacket::reassembled`].
    Complete(Datagram<'a>),
    /// It is kept, or was dropped and counted: nothing to decode.
    Held,
}

/// Puts fragments together.
#[derive(Debug, Default)]
pub struct Reassembler {
    limits: Limits,
    counters: Counters,
    // std's hash is keyed and hard to attack; fragments are too rare for its speed to matter.
    table: HashMap<Key, Partial>,
    /// Keys by order of arrival, oldest first.
    by_age: BTreeMap<u64, Key>,
    next_serial: u64,
    bytes: usize,
    spare: Vec<Partial>,
    /// The datagram last completed.
    done: Vec<u8>,
}

/// Zeek leaves the protocol out, and reports fragments of one id that disagree on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    src: IpAddr,
    dst: IpAddr,
    id: u32,
}

/// A datagram of which something is missing.
#[derive(Debug, Default)]
struct Partial {
    serial: u64,
    first_us: i64,
    proto: u8,
    hdr_len: u32,
    /// Length of the payload, once a last fragment told it.
    size: Option<u32>,
    fragments: u32,
    /// Sorted by place, never overlapping.
    pieces: Vec<Piece>,
    /// The bytes of the pieces, in order of arrival.
    data: Vec<u8>,
}

/// Bytes `start..end` of the datagram are at `at` of the data.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: u32,
    end: u32,
    at: u32,
}

impl Reassembler {
    /// An empty one with bounds.
    pub fn new(limits: Limits) -> Reassembler {
        Reassembler { limits, ..Reassembler::default() }
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Incomplete datagrams held.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no datagram is held.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Takes one packet at its time, epoch microseconds. Returns what to do with it and what was
    /// odd. Packets that are no fragments cost a comparison.
    #[inline]
    pub fn add<'p>(&'p mut self, ts_us: i64, ip: &IpPacket<'p>) -> (Outcome<'p>, WeirdSet) {
        match ip.fragment {
            None => (Outcome::AsIs, WeirdSet::NONE),
            Some(fragment) => self.add_fragment(ts_us, ip, fragment),
        }
    }

    fn add_fragment<'p>(
        &'p mut self,
        ts_us: i64,
        ip: &IpPacket<'p>,
        fragment: Fragment,
    ) -> (Outcome<'p>, WeirdSet) {
        self.expire(ts_us);
        let mut weirds = WeirdSet::NONE;
        if ip.truncated {
            weirds.insert(Weird::FragmentCut);
            if fragment.offset == 0 {
                return (Outcome::AsIs, weirds);
            }
            self.counters.dropped += 1;
            return (Outcome::Held, weirds);
        }
        // IPv6 alone knows fragments that are whole; they need no state (RFC 6946). With nothing
        // in it there is nothing to decode: Zeek waits for more of it, in vain.
        if fragment.offset == 0 && !fragment.more {
            if ip.payload.is_empty() {
                self.counters.dropped += 1;
                return (Outcome::Held, weirds);
            }
            self.counters.completed += 1;
            let hdr_len = ip.unfragmented_hdr_len();
            let whole = Datagram { proto: ip.proto, hdr_len, bytes: ip.payload };
            return (Outcome::Complete(whole), weirds);
        }
        let key = Key { src: ip.src, dst: ip.dst, id: fragment.id };
        let complete = self.store(key, ts_us, ip, fragment, &mut weirds);
        let facts = if complete { self.take(key) } else { None };
        self.make_room(self.limits.datagrams);
        let Some((proto, hdr_len)) = facts else { return (Outcome::Held, weirds) };
        self.counters.completed += 1;
        (Outcome::Complete(Datagram { proto, hdr_len, bytes: &self.done }), weirds)
    }

    /// Adds a fragment to its datagram; true when that is complete.
    fn store(
        &mut self,
        key: Key,
        ts_us: i64,
        ip: &IpPacket<'_>,
        fragment: Fragment,
        weirds: &mut WeirdSet,
    ) -> bool {
        if !self.table.contains_key(&key) {
            self.make_room(self.limits.datagrams.saturating_sub(1));
            self.open(key, ts_us, ip);
        }
        let Some(partial) = self.table.get_mut(&key) else { return false };
        partial.note(ip, fragment, weirds);
        if fragment.offset + ip.payload_len + ip.hdr_len > MAX_DATAGRAM {
            weirds.insert(Weird::FragmentLarge);
            self.counters.dropped += 1;
            return false;
        }
        partial.fragments += 1;
        if partial.fragments > self.limits.fragments {
            self.counters.too_many += 1;
            self.remove(key);
            return false;
        }
        let before = partial.cost();
        partial.insert(fragment.offset, ip.payload, weirds);
        self.bytes += partial.cost() - before;
        !ip.payload.is_empty() && partial.is_complete(weirds)
    }

    fn open(&mut self, key: Key, ts_us: i64, ip: &IpPacket<'_>) {
        let mut partial = self.spare.pop().unwrap_or_default();
        partial.serial = self.next_serial;
        partial.first_us = ts_us;
        partial.proto = ip.proto;
        partial.hdr_len = ip.unfragmented_hdr_len();
        self.bytes += partial.cost();
        self.by_age.insert(self.next_serial, key);
        self.next_serial += 1;
        self.table.insert(key, partial);
    }

    /// Copies a complete datagram out and forgets it; its protocol and header length.
    fn take(&mut self, key: Key) -> Option<(u8, u32)> {
        let partial = self.table.get(&key)?;
        let facts = (partial.proto, partial.hdr_len);
        partial.copy_to(&mut self.done);
        self.remove(key);
        Some(facts)
    }

    fn remove(&mut self, key: Key) {
        let Some(mut partial) = self.table.remove(&key) else { return };
        self.by_age.remove(&partial.serial);
        self.bytes -= partial.cost();
        if self.spare.len() < SPARE {
            partial.clear();
            self.spare.push(partial);
        }
    }

    /// Gives up the oldest datagrams until at most `datagrams` are left and the bytes are within
    /// bounds.
    fn make_room(&mut self, datagrams: usize) {
        while self.table.len() > datagrams || self.bytes > self.limits.bytes {
            let Some((_, &oldest)) = self.by_age.first_key_value() else { return };
            self.remove(oldest);
            self.counters.evicted += 1;
        }
    }

    /// Gives up datagrams whose first fragment is too long ago.
    fn expire(&mut self, now_us: i64) {
        while let Some((_, &oldest)) = self.by_age.first_key_value() {
            let first = self.table.get(&oldest).map_or(i64::MIN, |partial| partial.first_us);
            if now_us.saturating_sub(first) <= self.limits.timeout_us {
                return;
            }
            self.remove(oldest);
            self.counters.timed_out += 1;
        }
    }
}

impl Partial {
    /// Checks a fragment against what is known of its datagram, as Zeek does, and learns the size.
    fn note(&mut self, ip: &IpPacket<'_>, fragment: Fragment, weirds: &mut WeirdSet) {
        if ip.proto != self.proto || ip.unfragmented_hdr_len() != self.hdr_len {
            weirds.insert(Weird::FragmentProtocol);
        }
        if fragment.dont {
            weirds.insert(Weird::FragmentWithDf);
        }
        // In IPv6 only the first fragment's next header counts (RFC 8200 section 4.5).
        if fragment.offset == 0 && ip.src.is_ipv6() {
            self.proto = ip.proto;
        }
        let upper = fragment.offset + ip.payload_len;
        if fragment.more && ip.total_len < SMALL_FRAGMENT {
            weirds.insert(Weird::FragmentSmall);
        }
        if upper > LARGE_DATAGRAM {
            weirds.insert(Weird::FragmentLarge);
        }
        if self.size.is_some_and(|size| if fragment.more { upper > size } else { upper != size }) {
            weirds.insert(Weird::FragmentSize);
        }
        if !fragment.more || self.size.is_some() {
            self.size = Some(self.size.unwrap_or(0).max(upper));
        }
    }

    /// Adds the bytes that are new; compares those that are not.
    fn insert(&mut self, start: u32, bytes: &[u8], weirds: &mut WeirdSet) {
        let mut rest = bytes;
        let mut at = start;
        let mut next = self.pieces.partition_point(|piece| piece.end <= start);
        while !rest.is_empty() {
            let piece = self.pieces.get(next).copied();
            // Up to the end of the piece that we are in, or to the start of the next.
            let (room, covered) = match piece {
                Some(piece) if piece.start <= at => (piece.end - at, Some(piece)),
                Some(piece) => (piece.start - at, None),
                None => (u32::MAX, None),
            };
            let (part, after) = rest.split_at(rest.len().min(room as usize));
            let part_end = at + part.len() as u32;
            if let Some(piece) = covered {
                let known = self.data.get((piece.at + at - piece.start) as usize..);
                let same = known.is_some_and(|known| known.starts_with(part));
                weirds.insert(if same {
                    Weird::FragmentOverlap
                } else {
                    Weird::FragmentInconsistency
                });
            } else {
                let place = Piece { start: at, end: part_end, at: self.data.len() as u32 };
                self.pieces.insert(next, place);
                self.data.extend_from_slice(part);
            }
            next += 1;
            at = part_end;
            rest = after;
        }
    }

    /// The pieces from the start on without a hole: how many, and where they end.
    fn contiguous(&self) -> (usize, u32) {
        let mut upper = 0;
        for (n, piece) in self.pieces.iter().enumerate() {
            if piece.start != upper {
                return (n, upper);
            }
            upper = piece.end;
        }
        (self.pieces.len(), upper)
    }

    /// Whether the pieces reach from the start to the size without a hole. Pieces beyond the size
    /// are an inconsistency: with a hole before them they are left out, else they count.
    fn is_complete(&self, weirds: &mut WeirdSet) -> bool {
        let Some(size) = self.size else { return false };
        let (pieces, upper) = self.contiguous();
        if upper < size {
            return false;
        }
        if pieces < self.pieces.len() || upper > size {
            weirds.insert(Weird::FragmentSize);
        }
        true
    }

    /// Writes the contiguous pieces, in order, over `out`.
    fn copy_to(&self, out: &mut Vec<u8>) {
        out.clear();
        let (pieces, _) = self.contiguous();
        for piece in self.pieces.iter().take(pieces) {
            let from = piece.at as usize;
            let len = (piece.end - piece.start) as usize;
            out.extend_from_slice(self.data.get(from..from + len).unwrap_or_default());
        }
    }

    /// Memory held, bytes.
    fn cost(&self) -> usize {
        OVERHEAD + self.data.capacity() + self.pieces.capacity() * size_of::<Piece>()
    }

    /// Empties it but for its buffers.
    fn clear(&mut self) {
        self.pieces.clear();
        self.data.clear();
        let (pieces, data) = (std::mem::take(&mut self.pieces), std::mem::take(&mut self.data));
        *self = Partial { pieces, data, ..Partial::default() };
    }
}

#[cfg(test)]
mod tests;
