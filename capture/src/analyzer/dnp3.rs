//! DNP3 over TCP and UDP, IEEE 1815: link frames with their checksums, put together to fragments.
//!
//! A header whose checksum is right confirms, as in Zeek's `DNP3.cc`; objects are not looked into.

use super::{Analyzer, Cx, Dir, Kind, Start, Transport, Verdict};

/// Over TCP. Source: Zeek's `base/protocols/dnp3/{main.zeek,dpd.sig}`.
pub static TCP_KIND: Kind = Kind {
    name: "dnp3_tcp",
    tcp_ports: &[20000],
    udp_ports: &[],
    probe: Some(|start| probe(start, Transport::Tcp)),
    skips_partial: false,
    new: |_| Box::new(Dnp3::new("DNP3_TCP")),
};

/// Over UDP.
pub static UDP_KIND: Kind = Kind {
    name: "dnp3_udp",
    tcp_ports: &[],
    udp_ports: &[20000],
    probe: Some(|start| probe(start, Transport::Udp)),
    skips_partial: false,
    new: |_| Box::new(Dnp3::new("DNP3_UDP")),
};

/// What each frame begins with.
const MAGIC: [u8; 2] = [0x05, 0x64];
/// Bytes of the link header without its checksum.
const LINK_LEN: usize = 8;
/// With its checksum, and the transport's byte.
const HEAD_LEN: usize = 11;
/// Bytes that have a checksum of their own.
const BLOCK_LEN: usize = 16;

fn probe(start: &Start<'_>, transport: Transport) -> Verdict {
    if start.transport != transport {
        return Verdict::No;
    }
    let [orig, resp] = start.bytes;
    // Over TCP only the server's side tells.
    let sides: &[&[u8]] = if transport == Transport::Tcp { &[resp] } else { &[orig, resp] };
    match sides {
        sides if sides.iter().any(|bytes| bytes.starts_with(&MAGIC)) => Verdict::Yes,
        [resp] if !MAGIC.starts_with(resp.get(..2).unwrap_or(resp)) => Verdict::No,
        _ => Verdict::More,
    }
}

struct Dnp3 {
    source: &'static str,
    halves: [Half; 2],
    skip: bool,
}

/// The frame that one end is in.
#[derive(Default)]
struct Half {
    /// At most the longest frame, 292 bytes.
    kept: Vec<u8>,
    /// The header was handled; the rest of the frame is awaited.
    has_head: bool,
    /// A first frame of the fragment was seen.
    has_first: bool,
}

/// The analyzer wants no more of the flow.
struct Stop;

impl Dnp3 {
    fn new(source: &'static str) -> Dnp3 {
        Dnp3 { source, halves: Default::default(), skip: false }
    }

    fn frames(&mut self, cx: &mut Cx<'_>, dir: Dir, mut data: &[u8]) -> Result<(), Stop> {
        while !data.is_empty() {
            if !self.halves[dir.index()].has_head {
                if !self.fill(dir, HEAD_LEN, &mut data) {
                    return Ok(());
                }
                if !self.head(cx, dir)? {
                    return Ok(());
                }
            }
            let half = &mut self.halves[dir.index()];
            let need = frame_len(&half.kept).ok_or(Stop)?;
            if !self.fill(dir, need, &mut data) {
                return Ok(());
            }
            self.body(cx, dir)?;
            let half = &mut self.halves[dir.index()];
            half.kept.clear();
            half.has_head = false;
        }
        Ok(())
    }

    /// Whether `len` bytes of the frame are there.
    fn fill(&mut self, dir: Dir, len: usize, data: &mut &[u8]) -> bool {
        let kept = &mut self.halves[dir.index()].kept;
        let (more, rest) = data.split_at(data.len().min(len.saturating_sub(kept.len())));
        kept.extend_from_slice(more);
        *data = rest;
        kept.len() >= len
    }

    /// The header; says whether more of the frame follows, else what came with it is lost, as in Zeek.
    fn head(&mut self, cx: &mut Cx<'_>, dir: Dir) -> Result<bool, Stop> {
        let kept = &self.halves[dir.index()].kept;
        if !kept.starts_with(&MAGIC) {
            cx.weird("dnp3_header_lacks_magic", None, Some(self.source));
            return Err(Stop);
        }
        let (link, rest) = kept.split_at_checked(LINK_LEN).ok_or(Stop)?;
        if !rest.starts_with(&checksum(link)) {
            cx.weird("dnp3_corrupt_header_checksum", None, Some(self.source));
            cx.violation();
            return Err(Stop);
        }
        let &[_, _, len, control, ..] = link else { return Err(Stop) };
        cx.confirm();
        if len == 5 {
            self.halves[dir.index()] = Half::default();
            return Ok(false);
        }
        if (dir == Dir::Orig) != (control & 0x80 != 0) {
            cx.weird("dnp3_unexpected_flow_direction", None, Some(self.source));
        }
        if len == 0 {
            cx.weird("dnp3_negative_or_zero_length_link_layer", None, Some(self.source));
            return Err(Stop);
        }
        self.halves[dir.index()].has_head = true;
        Ok(true)
    }

    /// The blocks after the header.
    fn body(&mut self, cx: &mut Cx<'_>, dir: Dir) -> Result<(), Stop> {
        let half = &mut self.halves[dir.index()];
        let len = half.kept.get(2).copied().unwrap_or(0);
        let transport = half.kept.get(HEAD_LEN - 1).copied().unwrap_or(0);
        let mut blocks = half.kept.get(HEAD_LEN - 1..).unwrap_or_default();
        let mut left = usize::from(len).saturating_sub(5);
        while left > 0 {
            let n = left.min(BLOCK_LEN);
            let (block, rest) = blocks.split_at_checked(n).ok_or(Stop)?;
            if !rest.starts_with(&checksum(block)) {
                cx.weird("dnp3_corrupt_app_chunk_checksum", None, Some(self.source));
                return Err(Stop);
            }
            blocks = rest.get(2..).unwrap_or_default();
            left -= n;
        }
        half.has_first |= transport & 0x40 != 0;
        if !half.has_first {
            let name = "dnp3_first_application_layer_chunk_missing";
            cx.weird(name, None, Some(self.source));
            return Err(Stop);
        }
        half.has_first &= transport & 0x80 == 0;
        Ok(())
    }
}

/// Bytes of the frame with this header, with all checksums; none if it is shorter than its header.
fn frame_len(head: &[u8]) -> Option<usize> {
    let len = usize::from(*head.get(2)?).checked_sub(5)?;
    let frame = HEAD_LEN - 1 + len + len.div_ceil(BLOCK_LEN) * 2;
    (frame >= head.len()).then_some(frame)
}

/// The checksum of a block: polynomial 0x3d65 from the low bit, inverted, low byte first.
fn checksum(block: &[u8]) -> [u8; 2] {
    let mut crc = 0u16;
    for byte in block {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xa6bc } else { crc >> 1 };
        }
    }
    (!crc).to_le_bytes()
}

impl Analyzer for Dnp3 {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        if !self.skip && self.frames(cx, dir, data).is_err() {
            self.skip = true;
        }
    }

    fn gap(&mut self, _: &mut Cx<'_>, _: Dir, _: u64) {}
    fn end(&mut self, _: &mut Cx<'_>, _: Dir) {}
    fn finish(&mut self, _: &mut Cx<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyzer::Signal;
    use crate::analyzer::testing::{Bench, endures};

    /// A read of class 0 from master 1 to outstation 4.
    fn read() -> Vec<u8> {
        let mut frame = vec![5, 0x64, 11, 0xc4, 4, 0, 1, 0];
        frame.extend_from_slice(&checksum(&frame));
        let body = [0xc0, 0xc1, 1, 60, 1, 6];
        frame.extend_from_slice(&body);
        frame.extend_from_slice(&checksum(&body));
        frame
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // A frame of Zeek's documentation of the link layer: reset of the link.
        assert_eq!(checksum(&[5, 0x64, 5, 0xc0, 1, 0, 0, 4]), [0xe9, 0x21]);
    }

    #[test]
    fn a_header_confirms_in_pieces_as_well() {
        let mut bench = Bench::new(&TCP_KIND, Transport::Tcp);
        let frame = read();
        bench.feed(Dir::Orig, &frame[..10]);
        assert!(bench.signals.is_empty());
        bench.feed(Dir::Orig, &frame[10..]);
        bench.feed(Dir::Orig, &frame);
        assert_eq!(bench.signals, [Signal::Confirmed]);
        assert!(bench.weirds.is_empty());
        bench.feed(Dir::Resp, &frame);
        assert_eq!(bench.weirds, ["dnp3_unexpected_flow_direction"]);
    }

    #[test]
    fn broken_checksums() {
        let mut bench = Bench::new(&TCP_KIND, Transport::Tcp);
        let mut frame = read();
        frame[12] ^= 1;
        bench.feed(Dir::Orig, &frame);
        assert_eq!(bench.signals, [Signal::Confirmed]);
        assert_eq!(bench.weirds, ["dnp3_corrupt_app_chunk_checksum"]);
        let mut bench = Bench::new(&UDP_KIND, Transport::Udp);
        frame[3] ^= 1;
        bench.feed(Dir::Orig, &frame);
        assert_eq!(bench.signals, [Signal::Violated]);
    }

    #[test]
    fn only_a_server_is_found_by_content_over_tcp() {
        let start = |transport, bytes| Start { transport, bytes, resp_p: 9 };
        let frame = read();
        assert_eq!((TCP_KIND.probe.unwrap())(&start(Transport::Tcp, [&frame, &[]])), Verdict::More);
        assert_eq!((TCP_KIND.probe.unwrap())(&start(Transport::Tcp, [&[], &frame])), Verdict::Yes);
        assert_eq!((TCP_KIND.probe.unwrap())(&start(Transport::Tcp, [&[], b"HT"])), Verdict::No);
        assert_eq!((UDP_KIND.probe.unwrap())(&start(Transport::Udp, [&frame, &[]])), Verdict::Yes);
    }

    #[test]
    fn hostile_messages() {
        endures(&TCP_KIND, Transport::Tcp, &[(Dir::Orig, &read()), (Dir::Resp, &read())]);
        endures(&UDP_KIND, Transport::Udp, &[(Dir::Orig, &read())]);
    }
}
