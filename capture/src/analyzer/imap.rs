//! IMAP (RFC 9051) as far as Zeek follows it: until a client logs in, or STARTTLS hands the flow to TLS.
//!
//! As in Zeek's `imap-protocol.pac` each segment stands for itself: one that does not consist of whole
//! lines of a tag, a command and the rest is not IMAP.

use super::{Analyzer, Cx, Dir, Kind, ssl};

/// IMAP, on Zeek's `IMAP::ports` only.
pub static KIND: Kind = Kind {
    name: "imap",
    tcp_ports: &[143],
    udp_ports: &[],
    probe: None,
    skips_partial: true,
    new: |_| Box::<Imap>::default(),
};

/// Tags longer than this are compared by their beginning.
const TAG_MAX: usize = 256;

#[derive(Debug, Default)]
struct Imap {
    /// Tag of the client's STARTTLS.
    starttls: Vec<u8>,
    tls: bool,
}

/// The line is not of IMAP.
struct Malformed;

fn run<'a>(bytes: &mut &'a [u8], is: impl Fn(u8) -> bool) -> &'a [u8] {
    let end = bytes.iter().position(|byte| !is(*byte)).unwrap_or(bytes.len());
    let (head, rest) = bytes.split_at(end);
    *bytes = rest;
    head
}

fn some<'a>(bytes: &mut &'a [u8], is: impl Fn(u8) -> bool) -> Result<&'a [u8], Malformed> {
    let found = run(bytes, is);
    if found.is_empty() { Err(Malformed) } else { Ok(found) }
}

fn is_graphic(byte: u8) -> bool {
    byte.is_ascii_graphic()
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

impl Imap {
    fn segment(&mut self, cx: &mut Cx<'_>, dir: Dir, bytes: &mut &[u8]) -> Result<(), Malformed> {
        while !bytes.is_empty() && !self.tls && !cx.is_done {
            let tag = some(bytes, is_graphic)?;
            some(bytes, |byte| byte == b' ')?;
            let command = some(bytes, is_graphic)?;
            run(bytes, |byte| byte == b' ');
            let is_capability = command.eq_ignore_ascii_case(b"capability");
            if dir == Dir::Resp && tag == b"*" && is_capability {
                capabilities(bytes)?;
            } else {
                run(bytes, |byte| !is_line_end(byte));
                some(bytes, is_line_end)?;
            }
            self.line(cx, dir, tag, command);
        }
        Ok(())
    }

    fn line(&mut self, cx: &mut Cx<'_>, dir: Dir, tag: &[u8], command: &[u8]) {
        let is = |word: &[u8]| command.eq_ignore_ascii_case(word);
        let tag = tag.get(..TAG_MAX).unwrap_or(tag);
        match dir {
            Dir::Resp if tag == b"*" && is(b"ok") => cx.confirm(),
            Dir::Orig if command == b"capability" || is(b"starttls") => cx.confirm(),
            _ => {}
        }
        // Zeek knows these in lower case only: the time for STARTTLS is over.
        let late: [&[u8]; 6] =
            [b"authenticate", b"login", b"examine", b"create", b"list", b"fetch"];
        if late.contains(&command) {
            cx.confirm();
            cx.done();
            return;
        }
        match dir {
            Dir::Orig if is(b"starttls") => {
                if !self.starttls.is_empty() {
                    weird(cx, "IMAP: client sent duplicate StartTLS");
                }
                self.starttls = tag.to_vec();
            }
            Dir::Resp if !self.starttls.is_empty() && tag == self.starttls => {
                if is(b"ok") {
                    self.tls = true;
                } else {
                    weird(cx, "IMAP: server refused StartTLS");
                }
            }
            _ => {}
        }
    }
}

/// Words up to the end of a line.
fn capabilities(bytes: &mut &[u8]) -> Result<(), Malformed> {
    loop {
        some(bytes, is_graphic)?;
        run(bytes, |byte| byte == b' ');
        if !run(bytes, is_line_end).is_empty() {
            return Ok(());
        }
    }
}

fn weird(cx: &mut Cx<'_>, name: &'static str) {
    cx.weird(name, None, Some("IMAP"));
}

impl Analyzer for Imap {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        if self.tls {
            cx.hand_on(dir, data);
            return;
        }
        let mut rest = data;
        if self.segment(cx, dir, &mut rest).is_err() {
            cx.violation();
        }
        if self.tls {
            cx.carry(&ssl::KIND);
            cx.hand_on(dir, rest);
        }
    }

    fn gap(&mut self, cx: &mut Cx<'_>, dir: Dir, len: u64) {
        if self.tls {
            cx.hand_on_gap(dir, len);
        } else {
            cx.done();
        }
    }

    fn end(&mut self, _cx: &mut Cx<'_>, _dir: Dir) {}

    fn finish(&mut self, _cx: &mut Cx<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Bench};
    use super::super::{Act, Signal, Transport};
    use super::*;

    fn talk(lines: &[(Dir, &str)]) -> Bench {
        testing::talk(&KIND, lines)
    }

    #[test]
    fn a_greeting_makes_it_imap() {
        let bench = talk(&[(Dir::Resp, "* OK ready\r\n"), (Dir::Orig, "a CAPABILITY\r\n")]);
        assert_eq!(bench.signals, [Signal::Confirmed]);
        let bench = talk(&[(Dir::Orig, "a login b c\r\n"), (Dir::Resp, "what\r\n")]);
        assert_eq!(bench.signals, [Signal::Confirmed]);
        assert!(bench.gone);
    }

    #[test]
    fn what_is_no_imap() {
        for line in ["220\r\n", "* OK", "* CAPABILITY\r\n", "\x01 a\r\n"] {
            assert_eq!(talk(&[(Dir::Resp, line)]).signals, [Signal::Violated], "{line}");
        }
    }

    #[test]
    fn starttls_hands_on() {
        let bench = talk(&[
            (Dir::Resp, "* OK ready\r\n"),
            (Dir::Orig, "t1 STARTTLS\r\n"),
            (Dir::Resp, "* CAPABILITY a b\r\nt1 OK go\r\n"),
            (Dir::Orig, "\x16\x03"),
        ]);
        assert!(matches!(bench.inner.acts[0], Act::Attach(kind) if kind.name == "ssl"));
        assert_eq!(bench.inner.bytes, b"\x16\x03");
    }

    #[test]
    fn hostile() {
        testing::hostile(
            &KIND,
            Transport::Tcp,
            &[
                (Dir::Resp, b"* OK r\r\n* CAPABILITY a b\r\n"),
                (Dir::Orig, b"t1 STARTTLS\r\n"),
                (Dir::Resp, b"t1 OK go\r\n"),
                (Dir::Orig, b"\x16\x03\x01"),
            ],
        );
    }
}
