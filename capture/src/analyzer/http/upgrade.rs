//! The handshake of an upgrade to WebSocket (RFC 6455 section 4), with the oddities that Zeek's
//! `base/protocols/websocket/main.zeek` finds in it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::text;
use sha1::{Digest, Sha1};

use crate::analyzer::{Cx, Dir};

/// What RFC 6455 section 1.3 adds to a key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bytes of a key that are kept; those of the standard have 24.
const VALUE_MAX: usize = 256;

/// What the headers of a request and its reply say.
#[derive(Debug, Default)]
pub struct Handshake {
    seen: bool,
    /// The request asks for another protocol by its `Upgrade`; for WebSocket.
    asks: bool,
    is_named: bool,
    key: Option<Vec<u8>>,
    accept: Option<Vec<u8>>,
    has_protocol: bool,
}

fn weird(cx: &mut Cx<'_>, name: &'static str, addl: Option<&str>) {
    cx.weird(name, addl, Some("WebSocket"));
}

impl Handshake {
    /// A request asks for one, and has its key.
    pub fn is_asked(&self) -> bool {
        self.is_named && self.key.is_some()
    }

    /// A request asks for any other protocol.
    pub fn asks(&self) -> bool {
        self.asks
    }

    /// Any header.
    pub fn header(&mut self, cx: &mut Cx<'_>, dir: Dir, name: &[u8], value: &[u8]) {
        const PREFIX: &[u8] = b"sec-websocket-";
        if dir == Dir::Orig && name.eq_ignore_ascii_case(b"upgrade") {
            let mut named = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            self.asks = true;
            self.is_named |= named.any(|name| name.eq_ignore_ascii_case(b"websocket"));
            return;
        }
        let Some((prefix, name)) = name.split_at_checked(PREFIX.len()) else { return };
        if !prefix.eq_ignore_ascii_case(PREFIX) {
            return;
        }
        self.seen = true;
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        let value = value.get(..VALUE_MAX).unwrap_or(value).to_vec();
        let again = match dir {
            Dir::Orig if is(b"key") => {
                self.key.replace(value).map(|_| "websocket_multiple_key_headers")
            }
            Dir::Resp if is(b"accept") => {
                self.accept.replace(value).map(|_| "websocket_multiple_accept_headers")
            }
            Dir::Resp if is(b"protocol") => std::mem::replace(&mut self.has_protocol, true)
                .then_some("websocket_multiple_protocol_headers"),
            _ => None,
        };
        if let Some(again) = again {
            weird(cx, again, None);
        }
    }

    /// The reply was complete and upgrades.
    pub fn check(&self, cx: &mut Cx<'_>) {
        if !self.seen {
            weird(cx, "websocket_established_unexpected", None);
        }
        if self.key.is_none() {
            weird(cx, "websocket_missing_key_header", None);
        }
        if self.accept.is_none() {
            weird(cx, "websocket_missing_accept_header", None);
        }
        let (Some(key), Some(accept)) = (&self.key, &self.accept) else { return };
        let expected = STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize());
        if expected.as_bytes() != accept {
            let addl = format!("expected={expected}, found={}", text::from_wire(accept));
            weird(cx, "websocket_wrong_accept_header", Some(&addl));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Transport;
    use super::super::super::testing::Bench;
    use super::super::KIND;
    use super::*;

    fn weirds(headers: &[(Dir, &str, &str)]) -> Vec<&'static str> {
        let mut bench = Bench::new(&KIND, Transport::Tcp);
        bench.call(|_, cx| {
            let mut handshake = Handshake::default();
            for (dir, name, value) in headers {
                handshake.header(cx, *dir, name.as_bytes(), value.as_bytes());
            }
            handshake.check(cx);
        });
        bench.weirds
    }

    #[test]
    fn a_key_alone_asks_for_nothing() {
        let asks = |upgrade: Option<(Dir, &str)>| {
            let mut handshake = Handshake::default();
            let mut bench = Bench::new(&KIND, Transport::Tcp);
            bench.call(|_, cx| {
                handshake.header(cx, Dir::Orig, b"Sec-WebSocket-Key", b"x");
                if let Some((dir, value)) = upgrade {
                    handshake.header(cx, dir, b"UPGRADE", value.as_bytes());
                }
            });
            handshake.is_asked()
        };
        assert!(!asks(None));
        assert!(!asks(Some((Dir::Orig, "h2c"))));
        assert!(!asks(Some((Dir::Resp, "websocket"))));
        assert!(asks(Some((Dir::Orig, "WebSocket"))));
        assert!(asks(Some((Dir::Orig, "h2c, websocket "))));
    }

    #[test]
    fn handshakes() {
        // The example of RFC 6455 section 1.3.
        let key = (Dir::Orig, "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        let accept = (Dir::Resp, "sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(weirds(&[key, accept]), [""; 0]);
        assert_eq!(weirds(&[key, (Dir::Resp, accept.1, "x")]), ["websocket_wrong_accept_header"]);
        assert_eq!(weirds(&[key, key, accept]), ["websocket_multiple_key_headers"]);
        assert_eq!(weirds(&[accept]), ["websocket_missing_key_header"]);
        assert_eq!(
            weirds(&[(Dir::Orig, "Host", "h")]),
            [
                "websocket_established_unexpected",
                "websocket_missing_key_header",
                "websocket_missing_accept_header"
            ]
        );
    }
}
