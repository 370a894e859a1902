//! SIP over UDP (RFC 3261): requests and replies, with the rules of Zeek's
//! `sip-protocol.pac` for what makes a flow SIP: a reply that could be read.

use std::sync::LazyLock;

use memchr::memmem;
use model::text as wire;

use super::{Analyzer, Cx, Dir, Kind, Start, Transport, Verdict, text};

/// SIP, on Zeek's `SIP::ports`.
pub static KIND: Kind = Kind {
    name: "sip",
    tcp_ports: &[],
    udp_ports: &[5060],
    probe: Some(probe),
    skips_partial: false,
    new: |_| Box::<Sip>::default(),
};

/// Methods that Zeek finds nothing odd about (`SIP::sip_methods`).
const METHODS: &[&[u8]] =
    &[b"REGISTER", b"INVITE", b"ACK", b"CANCEL", b"BYE", b"OPTIONS", b"NOTIFY", b"SUBSCRIBE"];

/// `dpd.sig`: a line ends with the version, or the first one begins with it.
fn probe(start: &Start<'_>) -> Verdict {
    if start.transport != Transport::Udp {
        return Verdict::No;
    }
    let is = |bytes: &&[u8]| begins_reply(bytes) || ends_request(bytes);
    if start.bytes.iter().any(is) { Verdict::Yes } else { Verdict::More }
}

/// `SIP/2.0`; what follows.
fn version(bytes: &[u8]) -> Option<&[u8]> {
    match bytes.strip_prefix(b"SIP/")? {
        [b'0'..=b'9', b'.', b'0'..=b'9', rest @ ..] => Some(rest),
        _ => None,
    }
}

fn begins_reply(bytes: &[u8]) -> bool {
    let Some(rest) = version(bytes.strip_prefix(b" ").unwrap_or(bytes)) else { return false };
    let code = rest.strip_prefix(b" ").unwrap_or_default();
    rest.starts_with(b"\r\n") || (text::reply_code(code).is_some() && code.get(3) == Some(&b' '))
}

fn ends_request(bytes: &[u8]) -> bool {
    // Made once: that takes longer than to look through a datagram.
    static SIGN: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(" SIP/"));
    SIGN.find_iter(bytes).any(|at| {
        let rest = bytes.get(at + 1..).and_then(version);
        rest.is_some_and(|rest| rest.starts_with(b"\r\n"))
    })
}

/// Bytes of an unfinished line that are kept; what follows is dropped with it.
const LINE_MAX: usize = 64 * 1024;

/// Where in a message the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Next {
    #[default]
    First,
    Fields,
    /// So many bytes of a body.
    Body(usize),
}

/// Requests or replies. As in Zeek they are a stream: a line or a body may go on in the next datagram.
#[derive(Debug, Default)]
struct Side {
    next: Next,
    kept: Vec<u8>,
    /// The last datagram ended in a CR that ended a line: an LF belongs to it.
    after_cr: bool,
    /// The last length of a body that was given. Zeek never forgets it.
    length: usize,
}

/// Hops of a transaction that are counted, each way (`max_request_path_length` and its like).
const PATH_MAX: u32 = 100;

/// What Zeek's script keeps of the transaction at hand. It tells none from another until a final reply.
#[derive(Debug, Default)]
struct Transaction {
    has_method: bool,
    code: u16,
    /// Hops that requests and replies went over.
    hops: [u32; 2],
}

impl Transaction {
    fn via(&mut self, cx: &mut Cx<'_>, is_reply: bool) {
        let Some(hops) = self.hops.get_mut(usize::from(is_reply)) else { return };
        if *hops < PATH_MAX {
            *hops += 1;
            return;
        }
        let name = match is_reply {
            true => "sip_max_response_path_length_exceeded",
            false => "sip_max_request_path_length_exceeded",
        };
        cx.weird(name, None, None);
    }

    /// A message is over.
    fn end(&mut self, is_reply: bool) {
        if is_reply && !(self.has_method && (100..200).contains(&self.code)) {
            *self = Transaction::default();
        }
    }
}

#[derive(Debug, Default)]
struct Sip {
    sides: [Side; 2],
    transaction: Transaction,
}

/// What was met is not of SIP.
struct Malformed;

fn run(bytes: &[u8], is: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().position(|byte| !is(*byte)).unwrap_or(bytes.len()))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_.!%*+`'~-".contains(&byte)
}

fn is_number(text: &[u8]) -> bool {
    let (high, rest) = run(text, |byte| byte.is_ascii_digit());
    let low = rest.strip_prefix(b".").and_then(<[u8]>::first);
    !high.is_empty() && low.is_some_and(u8::is_ascii_digit)
}

fn request(cx: &mut Cx<'_>, line: &[u8]) -> Result<(), Malformed> {
    let (junk, rest) = run(line, |byte| !is_token(byte));
    let (method, rest) = run(rest, is_token);
    let (uri, rest) = run(text::skip_blanks(rest), |byte| byte.is_ascii_graphic());
    let version = text::skip_blanks(rest).strip_prefix(b"SIP/").ok_or(Malformed)?;
    if method.is_empty() || uri.is_empty() || !is_number(version) {
        return Err(Malformed);
    }
    if !junk.is_empty() {
        cx.weird("sip_junk_before_request", Some(&wire::from_wire(junk)), Some("SIP"));
    }
    if !METHODS.contains(&method) {
        cx.weird("unknown_SIP_method", Some(&wire::from_wire(method)), None);
    }
    Ok(())
}

/// The code of a reply.
fn reply(cx: &mut Cx<'_>, line: &[u8]) -> Result<u16, Malformed> {
    let version = line.strip_prefix(b"SIP/").ok_or(Malformed)?;
    let (number, rest) = run(version, |byte| byte == b'.' || byte.is_ascii_digit());
    let code = text::reply_code(text::skip_blanks(rest)).ok_or(Malformed)?;
    if !is_number(number) {
        return Err(Malformed);
    }
    cx.confirm();
    Ok(code)
}

/// What is of interest about a field.
enum Field {
    /// The length of the body.
    Length(usize),
    /// A hop of the message's way.
    Via,
    Other,
}

fn field(line: &[u8]) -> Result<Field, Malformed> {
    let (name, rest) = run(line, |byte| !matches!(byte, b':' | b' ' | b'\t'));
    let value = text::skip_blanks(rest).strip_prefix(b":").ok_or(Malformed)?;
    if name.is_empty() {
        return Err(Malformed);
    }
    if name.eq_ignore_ascii_case(b"Via") || name.eq_ignore_ascii_case(b"V") {
        return Ok(Field::Via);
    }
    if !matches!(name, b"Content-Length" | b"L") {
        return Ok(Field::Other);
    }
    let (digits, _) = run(text::skip_blanks(value), |byte| byte.is_ascii_digit());
    let length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    Ok(Field::Length(length.unwrap_or(0)))
}

impl Side {
    fn feed(
        &mut self,
        cx: &mut Cx<'_>,
        transaction: &mut Transaction,
        is_reply: bool,
        data: &[u8],
    ) -> Result<(), Malformed> {
        let mut rest = data;
        if std::mem::take(&mut self.after_cr) {
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while !rest.is_empty() {
            if let Next::Body(left) = self.next {
                let count = left.min(rest.len());
                rest = rest.get(count..).unwrap_or_default();
                self.next = Next::Body(left - count);
                if count == left {
                    self.end(transaction, is_reply);
                }
                continue;
            }
            let Some(end) = memchr::memchr2(b'\r', b'\n', rest) else {
                let room = LINE_MAX.saturating_sub(self.kept.len());
                self.kept.extend(rest.iter().take(room));
                return Ok(());
            };
            let (line, after) = rest.split_at(end);
            rest = match after {
                [b'\r', b'\n', rest @ ..] | [_, rest @ ..] => rest,
                [] => after,
            };
            self.after_cr = after == b"\r";
            if self.kept.is_empty() {
                self.line(cx, transaction, is_reply, line)?;
                continue;
            }
            let mut kept = std::mem::take(&mut self.kept);
            kept.extend_from_slice(line);
            self.line(cx, transaction, is_reply, &kept)?;
        }
        Ok(())
    }

    fn line(
        &mut self,
        cx: &mut Cx<'_>,
        transaction: &mut Transaction,
        is_reply: bool,
        line: &[u8],
    ) -> Result<(), Malformed> {
        if self.next == Next::First {
            if is_reply {
                transaction.code = reply(cx, line)?;
            } else {
                request(cx, line)?;
                transaction.has_method = true;
            }
            self.next = Next::Fields;
        } else if !line.is_empty() {
            match field(line)? {
                Field::Length(length) => self.length = length,
                Field::Via => transaction.via(cx, is_reply),
                Field::Other => {}
            }
        } else if self.length > 0 {
            self.next = Next::Body(self.length);
        } else {
            self.end(transaction, is_reply);
        }
        Ok(())
    }

    fn end(&mut self, transaction: &mut Transaction, is_reply: bool) {
        self.next = Next::First;
        transaction.end(is_reply);
    }
}

impl Analyzer for Sip {
    fn feed(&mut self, cx: &mut Cx<'_>, _dir: Dir, data: &[u8]) {
        // Some send nothing but a line end, to keep an address translation alive.
        if data.len() == 2 && data.starts_with(b"\r") {
            return;
        }
        let is_reply = data.len() > 6 && data.starts_with(b"SIP/");
        let side = &mut self.sides[usize::from(is_reply)];
        if side.feed(cx, &mut self.transaction, is_reply, data).is_err() {
            *side = Side { length: side.length, ..Side::default() };
            cx.violation();
        }
    }

    fn gap(&mut self, _cx: &mut Cx<'_>, _dir: Dir, _len: u64) {}

    fn end(&mut self, _cx: &mut Cx<'_>, _dir: Dir) {}

    fn finish(&mut self, _cx: &mut Cx<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::super::Signal;
    use super::super::testing::{self, Bench};
    use super::*;

    fn play(talk: &[(Dir, &str)]) -> Bench {
        let mut bench = Bench::new(&KIND, Transport::Udp);
        for (dir, data) in talk {
            bench.feed(*dir, data.as_bytes());
        }
        bench
    }

    const REQUEST: &str = "INVITE sip:a@b SIP/2.0\r\nVia: x\r\nContent-Length: 3\r\n\r\nabc";

    #[test]
    fn a_reply_makes_it_sip() {
        assert_eq!(play(&[(Dir::Orig, REQUEST)]).signals, []);
        let bench = play(&[
            (Dir::Orig, REQUEST),
            (Dir::Orig, "\r\n"),
            (Dir::Resp, "SIP/2.0 200 OK\r\nL : 0\r\n\r\n"),
        ]);
        assert_eq!(bench.signals, [Signal::Confirmed]);
    }

    #[test]
    fn what_is_no_sip() {
        for data in [
            "hello\r\n",
            "INVITE sip:a@b HTTP/1.1\r\n\r\n",
            "INVITE sip:a@b SIP/2.0\r\nno colon\r\n\r\n",
            "INVITE sip:a@b SIP/2.0\r\nContent-Length: 2\r\n\r\nabc\r\n",
            "SIP/2.0 OK\r\n\r\n",
        ] {
            assert_eq!(play(&[(Dir::Orig, data)]).signals, [Signal::Violated], "{data}");
        }
    }

    #[test]
    fn lines_and_bodies_go_on_in_the_next_datagram() {
        let bench = play(&[
            (Dir::Orig, "     "),
            (Dir::Orig, "INVITE sip:a@b SIP/2.0\r\nL: 4\r\n\r\nab"),
            (Dir::Orig, "\r\nACK sip:a@b SIP/2.0\r\nL: 0\r\n\r\n"),
            (Dir::Resp, "SIP/2.0 200 OK\r\n"),
        ]);
        assert_eq!(bench.signals, [Signal::Confirmed]);
        assert_eq!(bench.weirds, ["sip_junk_before_request"]);
    }

    #[test]
    fn ways_are_followed_so_far_only() {
        let via = |count| "v: SIP/2.0/UDP a\r\n".repeat(count);
        let request = |count| format!("ACK sip:a@b SIP/2.0\r\n{}\r\n", via(count));
        let reply = |code, count| format!("SIP/2.0 {code} x\r\n{}\r\n", via(count));
        let odd = |talk: &[String]| {
            let talk: Vec<_> = talk.iter().map(|said| (Dir::Orig, said.as_str())).collect();
            play(&talk).weirds
        };
        assert!(odd(&[request(100), reply(200, 100), request(1), reply(200, 1)]).is_empty());
        let both = [request(100), reply(180, 100), request(1), reply(200, 1)];
        let (requests, replies) =
            ("sip_max_request_path_length_exceeded", "sip_max_response_path_length_exceeded");
        assert_eq!(odd(&both), [requests, replies]);
        assert_eq!(odd(&[reply(180, 101), reply(180, 1)]), [replies]);
    }

    #[test]
    fn oddities() {
        let bench = play(&[(Dir::Orig, "\r\nPUBLISH sip:a@b SIP/2.0\r\n\r\n")]);
        assert_eq!(bench.signals, [Signal::Violated]);
        let bench = play(&[(Dir::Orig, " PUBLISH sip:a@b SIP/2.0\r\n\r\n")]);
        assert_eq!(bench.weirds, ["sip_junk_before_request", "unknown_SIP_method"]);
    }

    #[test]
    fn hostile() {
        testing::hostile(
            &KIND,
            Transport::Udp,
            &[
                (Dir::Orig, REQUEST.as_bytes()),
                (Dir::Resp, b"SIP/2.0 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"),
            ],
        );
    }

    #[test]
    fn told_by_content() {
        let probe = |orig: &[u8]| {
            probe(&Start { transport: Transport::Udp, bytes: [orig, b""], resp_p: 9 })
        };
        assert_eq!(probe(REQUEST.as_bytes()), Verdict::Yes);
        assert_eq!(probe(b"SIP/2.0 200 OK\r\n"), Verdict::Yes);
        assert_eq!(probe(b"\nINVITE a SIP/2.0\r\n"), Verdict::Yes);
        assert_eq!(probe(b"INVITE a SIP/2.0 \r\n"), Verdict::More);
        assert_eq!(probe(b"SIP/2.0\n"), Verdict::More);
    }
}
