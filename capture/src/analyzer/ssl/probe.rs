//! Tells TLS and DTLS by the first bytes, as Zeek's `base/protocols/ssl/dpd.sig` does.

use crate::analyzer::{Start, Transport, Verdict};

/// What one byte may be.
#[derive(Clone, Copy)]
enum Byte {
    Any,
    Is(u8),
    Between(u8, u8),
    Either(u8, u8),
}
use Byte::{Any, Between, Either, Is};

impl Byte {
    fn fits(self, byte: u8) -> bool {
        match self {
            Any => true,
            Is(want) => byte == want,
            Between(low, high) => (low..=high).contains(&byte),
            Either(a, b) => byte == a || byte == b,
        }
    }
}

/// Record head, type and length of the message, version of the client.
const CLIENT: &[Byte] =
    &[Is(0x16), Is(3), Between(0, 3), Any, Any, Is(1), Any, Any, Any, Is(3), Between(0, 3)];
/// An alert that may come first, as servers warn of a name they do not know.
const ALERT: &[Byte] = &[Is(0x15), Is(3), Between(0, 3), Any, Any, Any, Any];
/// The same as for a client, with the version as TLS 1.3 and its drafts have it.
const SERVER: &[Byte] =
    &[Is(0x16), Is(3), Between(0, 3), Any, Any, Is(2), Any, Any, Any, Is(3), Between(0, 4)];
const SERVER_DRAFT: &[Byte] =
    &[Is(0x16), Is(3), Between(0, 3), Any, Any, Is(2), Any, Any, Any, Is(0x7f), Between(0, 0x50)];
/// First record of a DTLS client: epoch 0 and a small number, a ClientHello, and its version.
#[rustfmt::skip]
const DTLS_CLIENT: &[Byte] = &[
    Is(0x16), Is(0xfe), Either(0xff, 0xfd), Is(0), Is(0), Is(0), Is(0), Is(0), Is(0), Is(0), Any,
    Any, Any, Is(1), Any, Any, Any, Any, Any, Any, Any, Any, Any, Any, Any, Is(0xfe),
    Either(0xff, 0xfd),
];

fn matches(bytes: &[u8], pattern: &[Byte]) -> Verdict {
    if !bytes.iter().zip(pattern).all(|(byte, want)| want.fits(*byte)) {
        Verdict::No
    } else if bytes.len() < pattern.len() {
        Verdict::More
    } else {
        Verdict::Yes
    }
}

/// One of several is enough.
fn any(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
    let mut all = Verdict::No;
    for verdict in verdicts {
        match verdict {
            Verdict::Yes => return Verdict::Yes,
            Verdict::More => all = Verdict::More,
            Verdict::No => {}
        }
    }
    all
}

/// Whether a TCP flow is TLS.
pub fn tls(start: &Start<'_>) -> Verdict {
    if start.transport != Transport::Tcp {
        return Verdict::No;
    }
    let [orig, resp] = start.bytes;
    let after_alert = match matches(resp, ALERT) {
        Verdict::Yes => resp.get(ALERT.len()..).unwrap_or_default(),
        other => return any([other, server(resp), matches(orig, CLIENT)]),
    };
    any([server(after_alert), matches(orig, CLIENT)])
}

fn server(bytes: &[u8]) -> Verdict {
    any([matches(bytes, SERVER), matches(bytes, SERVER_DRAFT)])
}

/// Whether a UDP flow is DTLS. Each datagram is looked at by itself, so that one that is not may be
/// followed by one that is (STUN goes first in WebRTC).
pub fn dtls(start: &Start<'_>) -> Verdict {
    if start.transport != Transport::Udp {
        return Verdict::No;
    }
    match any(start.bytes.map(|bytes| matches(bytes, DTLS_CLIENT))) {
        Verdict::Yes => Verdict::Yes,
        Verdict::No | Verdict::More => Verdict::More,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(orig: &[u8], resp: &[u8]) -> Verdict {
        tls(&Start { transport: Transport::Tcp, bytes: [orig, resp], resp_p: 4433 })
    }

    #[test]
    fn either_end_is_enough() {
        let client = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03";
        let server = b"\x16\x03\x03\0\x7a\x02\0\0\x76\x03\x03";
        let alert = b"\x15\x03\x01\0\x02\x01\x70";
        assert_eq!(tcp(client, b""), Verdict::Yes);
        assert_eq!(tcp(b"GET / HTTP/1.1", server), Verdict::Yes);
        assert_eq!(tcp(b"GET", &[&alert[..], server].concat()), Verdict::Yes);
        assert_eq!(tcp(b"GET", alert), Verdict::More);
        assert_eq!(tcp(b"\x16\x03", b"HTTP"), Verdict::More);
        assert_eq!(tcp(b"GET ", b""), Verdict::More);
        assert_eq!(tcp(b"GET ", b"HTTP"), Verdict::No);
        assert_eq!(tcp(server, client), Verdict::No);
    }

    #[test]
    fn dtls_client_hello() {
        let mut hello = b"\x16\xfe\xff\0\0\0\0\0\0\0\0\0\x7a\x01".to_vec();
        hello.extend([0; 11]);
        hello.extend([0xfe, 0xfd]);
        let probe =
            |b: &[u8]| dtls(&Start { transport: Transport::Udp, bytes: [b, b""], resp_p: 9 });
        assert_eq!(probe(&hello), Verdict::Yes);
        assert_eq!(probe(b"\0\x01\0\0"), Verdict::More);
    }
}
