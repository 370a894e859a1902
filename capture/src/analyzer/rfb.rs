//! RFB, the protocol of VNC (RFC 6143), with Apple's way to log in.
//!
//! The client's version confirms. What the server sends after the handshake is not looked into. Source:
//! Zeek's `RFB.cc`, `rfb-protocol.pac`, `rfb-analyzer.pac`, `dpd.sig`.

use super::units::{Framed, Malformed, Units};
use super::wire::Reader;
use super::{Analyzer, Cx, Dir, Kind, Start, Transport, Verdict};

/// The analyzer; it is found by content only.
pub static KIND: Kind = Kind {
    name: "rfb",
    tcp_ports: &[],
    udp_ports: &[],
    probe: Some(probe),
    skips_partial: true,
    new: |_| Box::<Rfb>::default(),
};

/// What both ends begin with.
const MAGIC: &[u8] = b"RFB";

fn probe(start: &Start<'_>) -> Verdict {
    if start.transport != Transport::Tcp {
        return Verdict::No;
    }
    let begins = |bytes: &[u8]| bytes.iter().zip(MAGIC).all(|(a, b)| a == b);
    match start.bytes {
        sides if !sides.iter().all(|side| begins(side)) => Verdict::No,
        sides if sides.iter().all(|side| side.len() >= MAGIC.len()) => Verdict::Yes,
        _ => Verdict::More,
    }
}

/// Texts are shorter than this (Zeek's `MAX_DATA_LENGTH`).
const TEXT_LEN_MAX: u32 = 65_536;

/// What an end sends next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Version,
    /// Version 3.3: the server decides.
    SecurityType,
    /// Version 3.7 on: those that the server offers, and the one that the client takes.
    SecurityTypes,
    Selection,
    Failure,
    Challenge,
    Response,
    AppleChallenge,
    AppleResponse,
    Result,
    Init,
    MessageType,
    Message(u8),
    /// Nothing: the other end is to speak.
    Wait,
}

#[derive(Default)]
struct Rfb {
    units: [Units; 2],
    session: Session,
    /// Nothing more is looked at: bytes are missing, or did not parse.
    is_lost: bool,
}

struct Session {
    steps: [Step; 2],
    minor: u32,
    key_len: usize,
    is_open: bool,
}

impl Default for Session {
    fn default() -> Session {
        Session { steps: [Step::Version; 2], minor: 0, key_len: 0, is_open: false }
    }
}

impl Framed for Session {
    fn size(&self, dir: Dir, bytes: &[u8]) -> usize {
        let at = |i: usize| bytes.get(i).copied().map_or(0, usize::from);
        let number = |i: usize| at(i) << 24 | at(i + 1) << 16 | at(i + 2) << 8 | at(i + 3);
        match (self.steps[dir.index()], dir) {
            (Step::Version, _) => 12,
            (Step::SecurityType | Step::Result, _) => 4,
            (Step::SecurityTypes, _) => 1 + at(0),
            (Step::Challenge | Step::Response, _) => 16,
            (Step::Failure, _) => 4 + text_len(number(0)),
            (Step::AppleChallenge, _) => 4 + 2 * (at(2) << 8 | at(3)),
            (Step::AppleResponse, _) => 2 * self.key_len,
            (Step::Init, Dir::Resp) => 24 + text_len(number(20)),
            (Step::Message(kind), _) => match kind {
                0 => 19,
                2 => 3 + 4 * (at(1) << 8 | at(2)),
                3 => 9,
                4 => 7,
                5 => 5,
                6 => 7 + text_len(number(3)),
                _ => 1,
            },
            _ => 1,
        }
    }

    fn unit(&mut self, cx: &mut Cx<'_>, dir: Dir, unit: &[u8]) -> Result<(), Malformed> {
        let step = self.steps[dir.index()];
        if cx.is_half && step != Step::Version {
            // What comes next is for the other end to say.
            return Ok(());
        }
        match dir {
            Dir::Orig => self.client(cx, step, unit),
            Dir::Resp => self.server(cx, step, unit),
        }
        .ok_or(Malformed)
    }

    fn is_done(&self) -> bool {
        false
    }
}

/// A text that is too long is told by its length alone, as soon as that is there.
fn text_len(len: usize) -> usize {
    if len < TEXT_LEN_MAX as usize { len } else { 0 }
}

impl Session {
    fn client(&mut self, cx: &mut Cx<'_>, step: Step, unit: &[u8]) -> Option<()> {
        let mut r = Reader::new(unit);
        let [orig, resp] = &mut self.steps;
        match step {
            Step::Version => {
                self.minor = version(unit)?;
                let new = self.minor >= 7;
                *orig = if new { Step::Selection } else { Step::Wait };
                *resp = if new { Step::SecurityTypes } else { Step::SecurityType };
                cx.confirm();
            }
            Step::Selection => match r.u8()? {
                1 => {
                    *resp = if self.minor > 7 { Step::Result } else { Step::Init };
                    *orig = Step::Init;
                }
                2 => (*orig, *resp) = (Step::Response, Step::Challenge),
                30 => (*orig, *resp) = (Step::Wait, Step::AppleChallenge),
                _ => cx.violation(),
            },
            Step::Response | Step::AppleResponse => *orig = Step::Init,
            Step::Init => *orig = Step::MessageType,
            Step::MessageType => *orig = Step::Message(r.u8()?),
            Step::Message(kind) => {
                if !matches!(kind, 0 | 2..=6) || kind == 6 && text(unit, 3).is_none() {
                    return None;
                }
                *orig = Step::MessageType;
            }
            _ => return None,
        }
        Some(())
    }

    fn server(&mut self, cx: &mut Cx<'_>, step: Step, unit: &[u8]) -> Option<()> {
        let mut r = Reader::new(unit);
        let [orig, resp] = &mut self.steps;
        match step {
            Step::Version => {
                version(unit)?;
                *resp = Step::Wait;
            }
            Step::SecurityType => match r.u32()? {
                0 => (*orig, *resp) = (Step::Init, Step::Failure),
                1 => (*orig, *resp) = (Step::Init, Step::Init),
                2 => (*orig, *resp) = (Step::Response, Step::Challenge),
                _ => cx.violation(),
            },
            Step::SecurityTypes => {
                *resp = if r.u8()? == 0 { Step::Failure } else { Step::Wait };
            }
            Step::Failure => {
                text(unit, 0)?;
                *resp = Step::Init;
            }
            Step::Challenge => (*orig, *resp) = (Step::Response, Step::Result),
            Step::AppleChallenge => {
                r.skip(2)?;
                self.key_len = r.u16()?.into();
                (*orig, *resp) = (Step::AppleResponse, Step::Result);
            }
            Step::Result => match r.u32()? {
                0 => *resp = Step::Init,
                1 => *resp = Step::Failure,
                _ => cx.violation(),
            },
            Step::Init => {
                text(unit, 20)?;
                *resp = Step::MessageType;
                self.is_open = true;
            }
            // What came with the end of the handshake.
            Step::MessageType if self.is_open => {}
            _ => return None,
        }
        Some(())
    }
}

/// Minor version of `RFB 003.008` and a byte.
fn version(unit: &[u8]) -> Option<u32> {
    let mut r = Reader::new(unit);
    if r.take(4)? != b"RFB " {
        return None;
    }
    r.skip(3)?;
    if r.u8()? != b'.' {
        return None;
    }
    let digits = r.take(3)?.iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |n, byte| n * 10 + u32::from(byte - b'0')))
}

/// The text behind a length at `at`.
fn text(unit: &[u8], at: usize) -> Option<()> {
    let mut r = Reader::new(unit);
    r.skip(at)?;
    let len = r.u32()?;
    (len < TEXT_LEN_MAX).then(|| r.skip(len as usize)).flatten()
}

impl Analyzer for Rfb {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        if self.is_lost || self.session.is_open && dir == Dir::Resp {
            return;
        }
        let Some(units) = self.units.get_mut(dir.index()) else { return };
        if units.feed(&mut self.session, cx, dir, data).is_err() {
            self.is_lost = true;
            cx.violation();
        }
    }

    fn gap(&mut self, _: &mut Cx<'_>, _: Dir, _: u64) {
        self.is_lost = true;
    }

    fn end(&mut self, _: &mut Cx<'_>, _: Dir) {}
    fn finish(&mut self, _: &mut Cx<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyzer::Signal;
    use crate::analyzer::testing::{Bench, endures};

    const VERSION: &[u8] = b"RFB 003.008\n";
    /// Size, form of a pixel, name.
    const INIT: &[u8] = &[
        4, 0, 3, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0, 0, 0, 0, 2, b'm', b'e',
    ];

    #[test]
    fn a_login_without_a_password() {
        let mut bench = Bench::new(&KIND, Transport::Tcp);
        bench.feed(Dir::Resp, VERSION);
        assert!(bench.signals.is_empty());
        bench.feed(Dir::Orig, VERSION);
        assert_eq!(bench.signals, [Signal::Confirmed]);
        bench.feed(Dir::Resp, &[1, 1]);
        bench.feed(Dir::Orig, &[1]);
        bench.feed(Dir::Resp, &[0, 0, 0, 0]);
        bench.feed(Dir::Orig, &[1]);
        bench.feed(Dir::Resp, INIT);
        bench.feed(Dir::Resp, &[0; 100]);
        bench.feed(Dir::Orig, &[4, 1, 0, 0, 0, 0, 0, b'a', 6, 0, 0, 0, 0, 0, 0, 1, b'x']);
        assert_eq!(bench.signals, [Signal::Confirmed]);
        bench.feed(Dir::Orig, &[9, 0]);
        assert_eq!(bench.signals, [Signal::Confirmed, Signal::Violated]);
    }

    #[test]
    fn out_of_turn_or_unknown() {
        let mut bench = Bench::new(&KIND, Transport::Tcp);
        bench.feed(Dir::Resp, VERSION);
        bench.feed(Dir::Resp, &[1]);
        assert_eq!(bench.signals, [Signal::Violated]);
        let mut bench = Bench::new(&KIND, Transport::Tcp);
        bench.feed(Dir::Orig, VERSION);
        bench.feed(Dir::Orig, &[77]);
        assert_eq!(bench.signals, [Signal::Confirmed, Signal::Violated]);
    }

    #[test]
    fn both_ends_tell() {
        let start = |bytes| Start { transport: Transport::Tcp, bytes, resp_p: 1 };
        assert_eq!(probe(&start([&[], VERSION])), Verdict::More);
        assert_eq!(probe(&start([VERSION, VERSION])), Verdict::Yes);
        assert_eq!(probe(&start([b"GET", VERSION])), Verdict::No);
    }

    #[test]
    fn hostile_messages() {
        let messages: [(Dir, &[u8]); 7] = [
            (Dir::Resp, VERSION),
            (Dir::Orig, VERSION),
            (Dir::Resp, &[2, 1, 30]),
            (Dir::Orig, &[30]),
            (Dir::Resp, &[0, 2, 0, 1, 9, 9]),
            (Dir::Orig, &[7, 7]),
            (Dir::Resp, INIT),
        ];
        endures(&KIND, Transport::Tcp, &messages);
    }
}
