//! WebSocket (RFC 6455), inside HTTP that was upgraded: messages and their frames, unmasked. What text and
//! binary messages carry is told by its content. Source: Zeek's `websocket-protocol.pac`.

use super::{Analyzer, Cx, Dir, Kind};

/// WebSocket, which HTTP's upgrade attaches.
pub static KIND: Kind = Kind {
    name: "websocket",
    tcp_ports: &[],
    udp_ports: &[],
    probe: None,
    skips_partial: true,
    new: |_| Box::<WebSocket>::default(),
};

/// Payload of a frame that is handed on at once (`WebSocket::payload_chunk_size`).
const CHUNK: u64 = 8192;

/// The longest payload of a control frame (`WebSocket::max_control_frame_size`, RFC 6455 section 5.5).
const CONTROL_MAX: u64 = 125;

/// The longest head of a frame.
const HEAD_MAX: usize = 14;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PONG: u8 = 10;

/// Head of a frame.
#[derive(Debug, Clone, Copy, Default)]
struct Frame {
    is_last: bool,
    opcode: u8,
    mask: Option<[u8; 4]>,
    len: u64,
}

/// A frame that cannot stand where it does.
struct Malformed;

#[derive(Debug, Default)]
struct Side {
    head: Vec<u8>,
    frame: Option<Frame>,
    /// Payload of the frame so far.
    at: u64,
    chunk: Vec<u8>,
    /// Kind of the message that is not complete yet.
    message: Option<u8>,
}

/// The first bytes of a frame as its head, with the head's length; nothing if there are too few.
fn head(bytes: &[u8]) -> Option<(Frame, usize)> {
    let [first, second, rest @ ..] = bytes else { return None };
    let (len, after, size) = match second & 0x7f {
        126 => {
            let (len, after) = rest.split_first_chunk::<2>()?;
            (u64::from(u16::from_be_bytes(*len)), after, 4)
        }
        127 => {
            let (len, after) = rest.split_first_chunk::<8>()?;
            (u64::from_be_bytes(*len), after, 10)
        }
        short => (u64::from(short), rest, 2),
    };
    let (mask, size) = match second & 0x80 {
        0 => (None, size),
        _ => (Some(*after.first_chunk::<4>()?), size + 4),
    };
    Some((Frame { is_last: first & 0x80 != 0, opcode: first & 0x0f, mask, len }, size))
}

impl Side {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) -> Result<(), Malformed> {
        let mut rest = data;
        loop {
            let Some(frame) = self.frame else {
                if rest.is_empty() {
                    return Ok(());
                }
                self.begin(cx, &mut rest)?;
                continue;
            };
            let want = (frame.len - self.at).min(CHUNK) as usize - self.chunk.len();
            let (now, after) = rest.split_at(want.min(rest.len()));
            self.chunk.extend_from_slice(now);
            rest = after;
            if now.len() < want {
                return Ok(());
            }
            self.chunk(cx, dir, frame)?;
            if self.at == frame.len {
                self.end(cx, frame);
            }
        }
    }

    /// Reads a head, or what there is of it.
    fn begin(&mut self, cx: &mut Cx<'_>, rest: &mut &[u8]) -> Result<(), Malformed> {
        let had = self.head.len();
        self.head.extend(rest.iter().take(HEAD_MAX - had));
        let Some((frame, size)) = head(&self.head) else {
            *rest = &[];
            return Ok(());
        };
        *rest = rest.get(size - had..).unwrap_or_default();
        self.head.clear();
        let kind = match (self.message, frame.opcode) {
            (None, 0) => return Err(Malformed),
            (None, opcode) => opcode,
            (Some(kind), 0) => kind,
            // RFC 6455 lets control frames stand inside of a message; Zeek does not.
            (Some(_), _) => return Err(Malformed),
        };
        self.message = Some(kind);
        if (CLOSE..=PONG).contains(&kind) && frame.len > CONTROL_MAX {
            let addl = format!("{} > {CONTROL_MAX}", frame.len);
            cx.weird("websocket_control_frame_size_exceeded", Some(&addl), Some("WEBSOCKET"));
        }
        self.frame = Some(frame);
        self.at = 0;
        Ok(())
    }

    /// A part of a frame's payload is complete.
    fn chunk(&mut self, cx: &mut Cx<'_>, dir: Dir, frame: Frame) -> Result<(), Malformed> {
        let at = self.at;
        self.at += self.chunk.len() as u64;
        if let Some(mask) = frame.mask {
            // A chunk begins at a multiple of the mask's length.
            for (i, byte) in self.chunk.iter_mut().enumerate() {
                *byte ^= mask[i % mask.len()];
            }
        }
        let kind = self.message.unwrap_or_default();
        if matches!(kind, TEXT | BINARY) {
            cx.hand_on(dir, &self.chunk);
        }
        // A reason for closing begins with a number.
        let shown = (self.chunk.len() as u64).min(CONTROL_MAX.saturating_sub(at));
        let is_short = frame.opcode == CLOSE && frame.len > 0 && shown < 2;
        self.chunk.clear();
        if is_short { Err(Malformed) } else { Ok(()) }
    }

    fn end(&mut self, cx: &mut Cx<'_>, frame: Frame) {
        self.frame = None;
        if frame.is_last {
            self.message = None;
            cx.confirm();
        }
    }
}

#[derive(Debug, Default)]
struct WebSocket {
    sides: [Side; 2],
    carries: bool,
}

impl Analyzer for WebSocket {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        if !std::mem::replace(&mut self.carries, true) {
            cx.carry_any();
        }
        let side = &mut self.sides[dir.index()];
        if side.feed(cx, dir, data).is_err() {
            *side = Side::default();
            cx.violation();
        }
    }

    fn gap(&mut self, cx: &mut Cx<'_>, _dir: Dir, _len: u64) {
        cx.done();
    }

    fn end(&mut self, _cx: &mut Cx<'_>, _dir: Dir) {}

    fn finish(&mut self, _cx: &mut Cx<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Bench};
    use super::super::{Act, Signal, Transport};
    use super::*;

    fn play(talk: &[(Dir, &[u8])]) -> Bench {
        let mut bench = Bench::new(&KIND, Transport::Tcp);
        for (dir, data) in talk {
            bench.feed(*dir, data);
        }
        bench
    }

    #[test]
    fn messages_are_unmasked_and_handed_on() {
        // The example of RFC 6455 section 5.7, in two frames, and a ping.
        let bench = play(&[
            (Dir::Orig, b"\x01\x83\x37\xfa\x21\x3d\x7f\x9f\x4d"),
            (Dir::Orig, b"\x80\x02lo"),
            (Dir::Resp, b"\x89\x01x\x82\x01y"),
        ]);
        assert_eq!(bench.signals, [Signal::Confirmed]);
        assert_eq!(bench.inner.bytes, b"Helloy");
        assert!(matches!(bench.inner.acts[0], Act::Probe));
        assert_eq!(bench.inner.acts.len(), 4);
    }

    #[test]
    fn whatever_the_segments() {
        let mut bench = Bench::new(&KIND, Transport::Tcp);
        let mut message = b"\x82\x7e\x23\x28".to_vec();
        message.extend(vec![7; 9000]);
        for byte in &message[..8195] {
            bench.feed(Dir::Resp, &[*byte]);
        }
        assert!(bench.inner.bytes.is_empty());
        for byte in &message[8195..] {
            bench.feed(Dir::Resp, &[*byte]);
        }
        assert_eq!(bench.inner.bytes.len(), 9000);
        assert_eq!(bench.inner.acts.len(), 3);
        assert_eq!(bench.signals, [Signal::Confirmed]);
    }

    #[test]
    fn frames_out_of_place() {
        for data in [&b"\x80\x01x"[..], b"\x01\x01x\x89\x00", b"\x88\x01x"] {
            assert_eq!(play(&[(Dir::Orig, data)]).signals, [Signal::Violated], "{data:?}");
        }
        assert_eq!(play(&[(Dir::Orig, b"\x88\x00")]).signals, [Signal::Confirmed]);
        let bench = play(&[(Dir::Orig, b"\x89\x7e\x01\x00")]);
        assert_eq!(bench.weirds, ["websocket_control_frame_size_exceeded"]);
    }

    #[test]
    fn hostile() {
        testing::hostile(
            &KIND,
            Transport::Tcp,
            &[
                (Dir::Orig, b"\x01\x83\x37\xfa\x21\x3d\x7f\x9f\x4d\x80\x02lo"),
                (Dir::Resp, b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xffabc"),
                (Dir::Orig, b"\x88\x02\x03\xe8\x89\x7e\x01\x00abc"),
            ],
        );
    }
}
