//! XMPP (RFC 6120) as far as Zeek follows it: until stanzas come, or STARTTLS hands the flow to TLS.
//!
//! As in Zeek's `xmpp-protocol.pac` each segment stands for itself: one that does not consist of whole
//! tags is not XMPP.

use super::{Analyzer, Cx, Dir, Kind, Start, Transport, Verdict, ssl};

/// XMPP, on Zeek's `XMPP::ports`.
pub static KIND: Kind = Kind {
    name: "xmpp",
    tcp_ports: &[5222, 5269],
    udp_ports: &[],
    probe: Some(probe),
    skips_partial: true,
    new: |_| Box::<Xmpp>::default(),
};

/// `dpd.sig`: either end opens a stream of Jabber's.
fn probe(start: &Start<'_>) -> Verdict {
    if start.transport != Transport::Tcp {
        return Verdict::No;
    }
    match start.bytes.map(opens) {
        [Verdict::Yes, _] | [_, Verdict::Yes] => Verdict::Yes,
        [Verdict::No, Verdict::No] => Verdict::No,
        _ => Verdict::More,
    }
}

fn opens(bytes: &[u8]) -> Verdict {
    const DECLARATION: &[u8] = b"<?xml";
    const STREAM: &[u8] = b"<stream:stream ";
    let mut rest = bytes;
    if let Some(after) = bytes.strip_prefix(DECLARATION) {
        let Some(end) = after.iter().position(|byte| matches!(byte, b'?' | b'>')) else {
            return Verdict::More;
        };
        match after.get(end..).unwrap_or_default() {
            [b'?', b'>', after @ ..] => rest = after,
            [b'?'] => return Verdict::More,
            _ => return Verdict::No,
        }
    } else if DECLARATION.starts_with(bytes) {
        return Verdict::More;
    }
    let from = rest.iter().position(|byte| !matches!(byte, b'\r' | b'\n' | b' '));
    let rest = from.and_then(|from| rest.get(from..)).unwrap_or_default();
    let Some(tag) = rest.strip_prefix(STREAM) else {
        return if STREAM.starts_with(rest) { Verdict::More } else { Verdict::No };
    };
    let end = tag.iter().position(|byte| *byte == b'>');
    let attributes = tag.get(..end.unwrap_or(tag.len())).unwrap_or_default();
    if memchr::memmem::find(attributes, b"xmlns='jabber:").is_some() {
        return Verdict::Yes;
    }
    if end.is_some() { Verdict::No } else { Verdict::More }
}

#[derive(Debug, Default)]
struct Xmpp {
    starttls: bool,
    tls: bool,
}

/// The segment is not of XMPP.
struct Malformed;

fn skip(bytes: &[u8], is: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().position(|byte| !is(*byte)).unwrap_or(bytes.len()))
}

impl Xmpp {
    fn segment(&mut self, cx: &mut Cx<'_>, dir: Dir, bytes: &mut &[u8]) -> Result<(), Malformed> {
        let text = |byte: u8| !matches!(byte, b'<' | b'>');
        while !bytes.is_empty() && !self.tls && !cx.is_done {
            let (_, rest) = skip(bytes, |byte| matches!(byte, b' ' | b'\r' | b'\n'));
            let rest = rest.strip_prefix(b"<").ok_or(Malformed)?;
            let slash = usize::from(rest.starts_with(b"/"));
            let is_name = |byte: u8| matches!(byte, b'?' | b':') || byte.is_ascii_alphanumeric();
            let (letters, after) = skip(rest.get(slash..).unwrap_or_default(), is_name);
            if letters.is_empty() {
                return Err(Malformed);
            }
            let name = rest.get(..slash + letters.len()).unwrap_or_default();
            let (_, after) = skip(after, text);
            let after = after.strip_prefix(b">").ok_or(Malformed)?;
            *bytes = skip(after, text).1;
            self.tag(cx, dir, name);
        }
        Ok(())
    }

    fn tag(&mut self, cx: &mut Cx<'_>, dir: Dir, name: &[u8]) {
        let colon = name.iter().position(|byte| *byte == b':');
        let bare = colon.and_then(|at| name.get(at + 1..)).filter(|bare| !bare.is_empty());
        let is = |word: &[u8]| name == word || bare == Some(word);
        if dir == Dir::Orig && name == b"stream:stream" {
            cx.confirm();
        }
        let late: [&[u8]; 5] = [b"success", b"message", b"db:result", b"db:verify", b"presence"];
        if late.contains(&name) {
            // The time for STARTTLS is over.
            cx.done();
        }
        match dir {
            Dir::Orig => self.starttls |= is(b"starttls"),
            Dir::Resp if is(b"proceed") && self.starttls => self.tls = true,
            Dir::Resp if name == b"proceed" => {
                cx.weird("XMPP: proceed without starttls", None, Some("XMPP"));
            }
            Dir::Resp => {}
        }
    }
}

impl Analyzer for Xmpp {
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
    use super::super::{Act, Signal};
    use super::*;

    const OPEN: &str = "<?xml version='1.0'?><stream:stream to='a' xmlns='jabber:client'>";

    fn talk(lines: &[(Dir, &str)]) -> Bench {
        testing::talk(&KIND, lines)
    }

    #[test]
    fn a_stream_of_the_client_makes_it_xmpp() {
        let bench = talk(&[(Dir::Orig, OPEN), (Dir::Resp, OPEN), (Dir::Resp, "<success a='b'/>")]);
        assert_eq!(bench.signals, [Signal::Confirmed]);
        assert!(bench.gone);
        assert_eq!(talk(&[(Dir::Resp, OPEN)]).signals, []);
    }

    #[test]
    fn what_is_no_xmpp() {
        for text in ["hello", "<a", "<>", "< a>", "<a><"] {
            assert_eq!(talk(&[(Dir::Orig, text)]).signals, [Signal::Violated], "{text}");
        }
    }

    #[test]
    fn starttls_hands_on() {
        let bench = talk(&[
            (Dir::Orig, OPEN),
            (Dir::Orig, "<t:starttls/>"),
            (Dir::Resp, "<proceed xmlns='x'/>"),
            (Dir::Orig, "\x16\x03"),
        ]);
        // The tags here end in a slash, which is not of the name.
        assert!(matches!(bench.inner.acts[0], Act::Attach(kind) if kind.name == "ssl"));
        assert_eq!(bench.inner.bytes, b"\x16\x03");
        assert_eq!(talk(&[(Dir::Resp, "<proceed/>")]).weirds, ["XMPP: proceed without starttls"]);
    }

    #[test]
    fn hostile() {
        testing::hostile(
            &KIND,
            Transport::Tcp,
            &[
                (Dir::Orig, OPEN.as_bytes()),
                (Dir::Orig, b"<starttls/>"),
                (Dir::Resp, b"<proceed/>"),
                (Dir::Orig, b"\x16\x03\x01"),
            ],
        );
    }

    #[test]
    fn told_by_content() {
        for (text, want) in [
            (OPEN, Verdict::Yes),
            ("<stream:stream xmlns='jabber:server'", Verdict::Yes),
            ("<stream:stream a='b'>", Verdict::No),
            ("<stream:stream a='b'", Verdict::More),
            ("<?xml a", Verdict::More),
            ("<html", Verdict::No),
        ] {
            assert_eq!(opens(text.as_bytes()), want, "{text}");
        }
    }
}
