//! Capture files made up in memory, and a stream of random numbers, for tests.

use super::{Next, PacketSource, SourceError};

/// A little-endian microsecond pcap of Ethernet frames at whole seconds.
pub(crate) fn pcap(packets: &[(u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for field in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1] {
        out.extend(u32::to_le_bytes(field));
    }
    for (seconds, data) in packets {
        for field in [*seconds, 0, data.len() as u32, data.len() as u32] {
            out.extend(field.to_le_bytes());
        }
        out.extend_from_slice(data);
    }
    out
}

/// Everything a source gives: times and bytes of packets, and errors.
pub(crate) fn read_all(source: &mut dyn PacketSource) -> (Vec<(i64, Vec<u8>)>, Vec<SourceError>) {
    let (mut packets, mut errors) = (Vec::new(), Vec::new());
    loop {
        match source.next() {
            Ok(Next::Packet(packet)) => packets.push((packet.ts_us, packet.data.to_vec())),
            Ok(Next::Idle) => {}
            Ok(Next::End) => return (packets, errors),
            Err(error) => errors.push(error),
        }
    }
}

/// Marsaglia's xorshift64: the same bytes in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}
