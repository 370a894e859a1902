//! What the ends of a flow say first where content tells the protocol by both of them, so that one direction can be
//! judged alone: the probe is shown it beside what the other end typically says. For halves, see [`super::Cx::is_half`].

use super::{Dir, Kind, Start, Transport, Verdict};
use super::{ftp, http, irc, pop3, rfb, smtp, socks, ssh, ssl};

/// A protocol's ends.
pub struct Peers {
    /// The protocol, which has a probe and is met on TCP.
    pub kind: &'static Kind,
    /// What its ends say first, by [`Dir::index`].
    ends: [&'static [u8]; 2],
    /// That is not enough: each end shows later that it is of the protocol.
    pub shows_later: bool,
}

impl Peers {
    const fn of(kind: &'static Kind, ends: [&'static [u8]; 2]) -> Peers {
        Peers { kind, ends, shows_later: false }
    }
}

/// Protocols whose server, once the client has made the flow theirs, says something else at the cost of that.
pub static STRICT: [&Kind; 2] = [&http::KIND, &ssl::KIND];

/// Whether a direction is the server's and does not begin as the protocol's do, which either end tells by itself.
pub fn is_strange(kind: &Kind, dir: Dir, own: &[u8], resp_p: u16) -> bool {
    // Bytes that are of no protocol's client.
    let start = Start { transport: Transport::Tcp, bytes: [&[1; 64], own], resp_p };
    dir == Dir::Resp && kind.probe.is_some_and(|probe| probe(&start) == Verdict::No)
}

/// Those that are known. At most eight of each, as what fits is kept as bits.
pub static ALL: [Peers; 7] = [
    Peers::of(&ftp::KIND, [b"USER a\r\n", b"220 a\r\n331 a\r\n"]),
    Peers::of(&irc::KIND, [b"NICK a\r\nUSER a b c d\r\n", b":a 001 a :b\r\n"]),
    Peers::of(&pop3::KIND, [b"USER a\r\n", b"+OK\r\n"]),
    Peers::of(&rfb::KIND, [b"RFB 003.008\n", b"RFB 003.008\n"]),
    Peers::of(&smtp::KIND, [b"EHLO a\r\n", b"220 a\r\n"]),
    Peers::of(&socks::KIND, [b"\x05\x01\x00", b"\x05\x00"]),
    Peers { shows_later: true, ..Peers::of(&ssh::KIND, [b"SSH-2.0-a\r\n", b"SSH-2.0-a\r\n"]) },
];

impl Peers {
    /// Whether a direction that begins so is of the protocol if the other one is.
    pub fn fit(&self, dir: Dir, own: &[u8], resp_p: u16) -> bool {
        let mut bytes = self.ends;
        let judge = |bytes: [&[u8]; 2]| {
            let start = Start { transport: Transport::Tcp, bytes, resp_p };
            self.kind.probe.is_some_and(|probe| probe(&start) == Verdict::Yes)
        };
        bytes[dir.index()] = own;
        judge(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_are_strange() {
        let is = |kind: &Kind, dir: Dir, own: &[u8]| is_strange(kind, dir, own, 9);
        assert!(
            is(&http::KIND, Dir::Resp, b"INFO {}\r\n")
                && is(&ssl::KIND, Dir::Resp, b"HTTP/1.1 400")
        );
        assert!(!is(&http::KIND, Dir::Resp, b"HTTP/1.1 400") && !is(&http::KIND, Dir::Resp, b"HT"));
        assert!(
            !is(&ssl::KIND, Dir::Resp, b"\x16\x03\x01") && !is(&http::KIND, Dir::Orig, b"INFO")
        );
    }

    #[test]
    fn typical_ends_fit_each_other_and_neither_alone_is_enough() {
        for peers in &ALL {
            for dir in [Dir::Orig, Dir::Resp] {
                let name = peers.kind.name;
                assert!(peers.fit(dir, peers.ends[dir.index()], 9), "{name}");
                assert!(!peers.fit(dir, b"hello\r\n", 9), "{name}");
                let mut bytes = peers.ends;
                bytes[dir.index()] = b"";
                let start = Start { transport: Transport::Tcp, bytes, resp_p: 9 };
                let verdict = peers.kind.probe.map(|probe| probe(&start));
                assert_eq!(verdict, Some(Verdict::More), "{name}");
            }
        }
    }
}
