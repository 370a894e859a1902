//! RDP: what comes before encryption, and the switch to TLS (MS-RDPBCGR).
//!
//! The parameters of client or server confirm, so that a session that turns to TLS at once is `ssl` only.
//! Source: Zeek's `RDP.cc`, `rdp-analyzer.pac`, `dpd.sig`; the messages are in [`message`].

use super::units::{Framed, Malformed, Units};
use super::{Analyzer, Cx, Dir, Kind, Start, Transport, Verdict, ssl};
use crate::files::x509;

mod message;

/// The analyzer.
pub static KIND: Kind = Kind {
    name: "rdp",
    tcp_ports: &[3389],
    udp_ports: &[],
    probe: Some(probe),
    skips_partial: true,
    new: |_| Box::<Rdp>::default(),
};

/// A client's cookie or channels, and a server's confirmation or parameters.
fn probe(start: &Start<'_>) -> Verdict {
    if start.transport != Transport::Tcp {
        return Verdict::No;
    }
    let [orig, resp] = start.bytes;
    let answers = resp.get(5) == Some(&0xd0) && !resp.iter().take(5).any(|byte| *byte == b'\n')
        || find(line(resp), b"McDn").is_some();
    // Asked of every flow again and again, as it never says no: the cheaper half goes first.
    if !answers {
        return Verdict::More;
    }
    let client = line(orig);
    let channels = |rest: &[u8]| {
        let all: [&[u8]; 4] = [b"rdpdr", b"rdpsnd", b"drdynvc", b"cliprdr"];
        all.iter().any(|name| find(rest, name).is_some())
    };
    let asks = find(client, b"Cookie: mstshash=").is_some()
        || find(client, b"Duca").is_some_and(|at| channels(client.get(at..).unwrap_or_default()));
    if asks { Verdict::Yes } else { Verdict::More }
}

/// The first line: no pattern reaches beyond it.
fn line(bytes: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
    bytes.get(..end).unwrap_or_default()
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    let (first, rest) = text.split_first()?;
    memchr::memchr_iter(*first, bytes)
        .find(|at| bytes.get(at + 1..).is_some_and(|after| after.starts_with(rest)))
}

/// Head of a TPKT.
const HEAD_LEN: usize = 4;

#[derive(Default)]
struct Rdp {
    units: [Units; 2],
    session: Session,
    carries: bool,
    had_gap: bool,
}

/// Channels that a client may ask for (MS-RDPBCGR 2.2.1.3.4).
const CHANNELS_MAX: u32 = 31;

/// How a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Security {
    #[default]
    None,
    /// RDP's own encryption.
    Native,
    Tls,
}

#[derive(Default)]
struct Session {
    security: Security,
    /// An end has told its parameters.
    is_known: bool,
}

impl Framed for Session {
    fn size(&self, _: Dir, bytes: &[u8]) -> usize {
        match bytes {
            [_, _, a, b, ..] => HEAD_LEN.max(u16::from_be_bytes([*a, *b]).into()),
            _ => HEAD_LEN,
        }
    }

    fn unit(&mut self, cx: &mut Cx<'_>, _: Dir, unit: &[u8]) -> Result<(), Malformed> {
        let mut seen = message::Seen::default();
        let parsed = message::tpkt(unit, &mut seen);
        if cx.is_half && self.is_known {
            // The other end says how it goes on.
            return Ok(());
        }
        self.is_known |= seen.parameters;
        if seen.parameters {
            cx.confirm();
        }
        if seen.security != Security::None {
            self.security = seen.security;
        }
        if seen.channels > CHANNELS_MAX {
            let channels = seen.channels.to_string();
            cx.weird("RDP_channels_requested_exceeds_max", Some(&channels), None);
        }
        for (place, der) in seen.certificates.iter().enumerate() {
            // Each is a file of its own to Zeek, so that each is the first of its chain.
            let role = x509::Role { host: true, client: false };
            x509::seen(cx, der, role, &[b"rdp", &place.to_be_bytes()]);
        }
        parsed.ok_or(Malformed)
    }

    fn is_done(&self) -> bool {
        self.security != Security::None
    }
}

impl Analyzer for Rdp {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        if self.had_gap {
            return;
        }
        match self.session.security {
            Security::None => {}
            Security::Native => return,
            Security::Tls => {
                if !self.carries {
                    self.carries = true;
                    self.units = Default::default();
                    cx.carry(&ssl::KIND);
                }
                return cx.hand_on(dir, data);
            }
        }
        let Some(units) = self.units.get_mut(dir.index()) else { return };
        if units.feed(&mut self.session, cx, dir, data).is_err() {
            cx.violation();
        }
    }

    fn gap(&mut self, cx: &mut Cx<'_>, dir: Dir, len: u64) {
        if self.carries && !self.had_gap {
            cx.hand_on_gap(dir, len);
        }
        self.had_gap = true;
    }

    fn end(&mut self, cx: &mut Cx<'_>, dir: Dir) {
        if self.carries {
            cx.hand_on_end(dir);
        }
    }

    fn finish(&mut self, _: &mut Cx<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyzer::testing::{Bench, endures};
    use crate::analyzer::{Act, Signal};

    const REQUEST: &[u8] = &[
        3, 0, 0, 46, 41, 0xe0, 0, 0, 0, 0, 0, b'C', b'o', b'o', b'k', b'i', b'e', b':', b' ', b'm',
        b's', b't', b's', b'h', b'a', b's', b'h', b'=', b'e', b'l', b't', b'o', b'n', b's', b'x',
        b'x', b'\r', b'\n', 1, 0, 8, 0, 0, 0, 0, 0,
    ];
    /// The server takes TLS.
    const CONFIRM: &[u8] = &[3, 0, 0, 19, 14, 0xd0, 0, 0, 0x12, 0x34, 0, 2, 0, 8, 0, 1, 0, 0, 0];

    /// The server's parameters, without encryption.
    fn parameters() -> Vec<u8> {
        let mut bytes = vec![3, 0, 0, 0, 2, 0xf0, 0x80, 0x7f, 0x66, 0x82, 1, 0];
        bytes.extend_from_slice(&[10, 1, 0, 2, 1, 0, 0x30, 2, 2, 0, 4, 0x82, 0, 0, 0, 1, 9, 42]);
        bytes
            .extend_from_slice(&[0, 0x76, 0x0a, 1, 1, 0, 1, 0xc0, 0, b'M', b'c', b'D', b'n', 0, 8]);
        bytes.extend_from_slice(&[1, 0x0c, 8, 0, 4, 0, 8, 0]);
        bytes[3] = bytes.len() as u8;
        bytes
    }

    #[test]
    fn tls_is_handed_on() {
        let mut bench = Bench::new(&KIND, Transport::Tcp);
        bench.feed(Dir::Orig, REQUEST);
        bench.feed(Dir::Resp, CONFIRM);
        bench.feed(Dir::Orig, &[0x16, 3, 1]);
        assert!(bench.signals.is_empty());
        let acts = &bench.inner.acts;
        assert!(
            matches!(acts[..], [Act::Attach(kind), Act::Data(Dir::Orig, _)] if kind.name == "ssl")
        );
    }

    #[test]
    fn parameters_confirm() {
        let mut bench = Bench::new(&KIND, Transport::Tcp);
        bench.feed(Dir::Resp, &parameters());
        assert_eq!(bench.signals, [Signal::Confirmed]);
    }

    #[test]
    fn certificates_are_looked_into() {
        let mut bytes = parameters();
        // A block of security without encryption: two certificates, of which neither is one.
        bytes.extend_from_slice(&[2, 0x0c, 40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0]);
        bytes.extend_from_slice(&[2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 9, 3, 0, 0, 0, 1, 2, 3]);
        bytes[3] = bytes.len() as u8;
        let mut bench = Bench::new(&KIND, Transport::Tcp);
        bench.feed(Dir::Resp, &bytes);
        assert_eq!(bench.signals, [Signal::Confirmed]);
        assert_eq!(bench.weirds, ["x509_cert_parse_error"]);
        assert_eq!(bench.out.weirds_held, 1);
        endures(&KIND, Transport::Tcp, &[(Dir::Resp, &bytes)]);
    }

    #[test]
    fn another_cookie_violates() {
        let mut bench = Bench::new(&KIND, Transport::Tcp);
        let mut request = REQUEST.to_vec();
        request[11] = b'c';
        bench.feed(Dir::Orig, &request);
        assert_eq!(bench.signals, [Signal::Violated]);
    }

    #[test]
    fn found_when_both_ends_speak_it() {
        let start = |bytes| Start { transport: Transport::Tcp, bytes, resp_p: 1 };
        assert_eq!(probe(&start([REQUEST, &[]])), Verdict::More);
        assert_eq!(probe(&start([REQUEST, CONFIRM])), Verdict::Yes);
        assert_eq!(probe(&start([b"\nCookie: mstshash=", CONFIRM])), Verdict::More);
    }

    #[test]
    fn hostile_messages() {
        endures(&KIND, Transport::Tcp, &[(Dir::Orig, REQUEST), (Dir::Resp, CONFIRM)]);
        endures(&KIND, Transport::Tcp, &[(Dir::Resp, &parameters())]);
    }
}
