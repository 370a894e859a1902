//! Packets that lie in memory together, so that whoever takes them can look ahead.

use super::{Link, Packet};

/// What a source has at the moment.
#[derive(Clone, Copy, Debug)]
pub enum Several<'a> {
    /// Packets, one at least.
    Packets(Burst<'a>),
    /// None for now; ask again. Live sources only.
    Idle,
    /// None any more.
    End,
}

/// Packets in their order, borrowed from the source's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Burst<'a> {
    packets: Packets<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Packets<'a> {
    One(Packet<'a>),
    /// A buffer and where in it they are.
    Many(&'a [u8], &'a [Place]),
}

/// A packet and where its bytes are in a buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) ts_us: i64,
    pub(super) link: Link,
    pub(super) wire_len: u32,
    pub(super) at: u32,
    pub(super) len: u32,
    /// The virtual shard of its hosts, where somebody has looked.
    pub(super) shard: Option<u8>,
}

impl<'a> Burst<'a> {
    pub(super) fn one(packet: Packet<'a>) -> Burst<'a> {
        Burst { packets: Packets::One(packet) }
    }

    pub(super) fn of(buffer: &'a [u8], places: &'a [Place]) -> Burst<'a> {
        Burst { packets: Packets::Many(buffer, places) }
    }

    /// How many there are; one at least.
    pub fn count(&self) -> usize {
        match self.packets {
            Packets::One(_) => 1,
            Packets::Many(_, places) => places.len(),
        }
    }

    /// Some of them, from the packet with this number, the first is 0.
    pub fn some(&self, from: usize, count: usize) -> impl Iterator<Item = Packet<'a>> + use<'a> {
        let (one, buffer): (_, &[u8]) = match self.packets {
            Packets::One(packet) => ((from == 0).then_some(packet), &[]),
            Packets::Many(buffer, _) => (None, buffer),
        };
        let packets = self.places(from, count).iter().map(move |place| place.packet(buffer));
        one.into_iter().chain(packets)
    }

    /// Their virtual shards, where somebody has looked.
    pub fn shards(&self, from: usize, count: usize) -> impl Iterator<Item = Option<u8>> + use<'a> {
        let one = matches!(self.packets, Packets::One(_)).then_some(None);
        one.into_iter().chain(self.places(from, count).iter().map(|place| place.shard))
    }

    fn places(&self, from: usize, count: usize) -> &'a [Place] {
        let Packets::Many(_, places) = self.packets else { return &[] };
        let places = places.get(from..).unwrap_or_default();
        places.get(..count).unwrap_or(places)
    }
}

impl Place {
    #[inline]
    pub(super) fn packet<'a>(&self, buffer: &'a [u8]) -> Packet<'a> {
        let at = self.at as usize;
        let data = buffer.get(at..at + self.len as usize).unwrap_or_default();
        Packet { ts_us: self.ts_us, link: self.link, wire_len: self.wire_len, data }
    }
}
