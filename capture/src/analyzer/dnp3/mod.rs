//! DNP3 over TCP and UDP, IEEE 1815: link frames with their checksums, put together to fragments.
//!
//! A header whose checksum is right confirms, as in Zeek's `DNP3.cc`; objects are not looked into. Each
//! response is a row with the request before it (`base/protocols/dnp3/main.zeek`).

use model::stream::dnp3::Row;

mod names;
#[cfg(test)]
mod tests;

use self::names::function_name;
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
    /// Time and function of the last request, until a response or the end of the flow.
    request: Option<(i64, u8)>,
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
    /// First bytes of the fragment: control, function, and the indications of a response.
    app: Vec<u8>,
}

/// So many of them.
const APP_HEAD_LEN: usize = 4;

/// The analyzer wants no more of the flow.
struct Stop;

impl Dnp3 {
    fn new(source: &'static str) -> Dnp3 {
        Dnp3 { source, halves: Default::default(), skip: false, request: None }
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
            if half.app.is_empty() {
                // The transport's byte comes first.
                half.app.extend(block.iter().skip(1).take(APP_HEAD_LEN));
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
        if transport & 0x80 != 0 {
            half.has_first = false;
            let mut app = std::mem::take(&mut half.app);
            self.fragment(cx, dir, &app);
            app.clear();
            self.halves[dir.index()].app = app;
        }
        Ok(())
    }

    /// A whole fragment, by its first bytes.
    fn fragment(&mut self, cx: &mut Cx<'_>, dir: Dir, app: &[u8]) {
        match (dir, app) {
            (Dir::Orig, &[_, function, ..]) => self.request = Some((cx.now, function)),
            (Dir::Resp, &[_, function, a, b]) => {
                let request = self.request.take().map(|(_, function)| function);
                log(cx, cx.now, request, Some((function, u16::from_be_bytes([a, b]))));
            }
            _ => {}
        }
    }
}

/// Writes a row.
fn log(cx: &mut Cx<'_>, ts: i64, request: Option<u8>, reply: Option<(u8, u16)>) {
    let (mark, ids) = (cx.mark(), cx.ids);
    let request = request.map(function_name);
    let function = reply.map(|(function, _)| function_name(function));
    let row = Row {
        ts,
        uid: &ids.uid,
        orig_h: ids.tuple.orig_h,
        orig_p: ids.tuple.orig_p,
        resp_h: ids.tuple.resp_h,
        resp_p: ids.tuple.resp_p,
        fc_request: request.as_deref(),
        fc_reply: function.as_deref(),
        iin: reply.map(|(_, indications)| indications.into()),
        community_id: &ids.community_id,
    };
    cx.out.dnp3.push(mark, row);
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

    fn finish(&mut self, cx: &mut Cx<'_>) {
        if let Some((ts, function)) = self.request.take() {
            log(cx, ts, Some(function), None);
        }
    }
}
