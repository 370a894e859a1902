//! TLS and SSL over TCP: records out of the stream of each direction.
//!
//! Source: RFC 5246 section 6.2, RFC 8446 section 5.1, draft-hickman-netscape-ssl-00; Zeek
//! `ssl-protocol.pac`, `ssl-analyzer.pac`, `SSL.cc`.

use super::names::version;
use super::record::{Common, Malformed, content};
use super::session::session_id;
use super::v2;
use crate::analyzer::{Analyzer, Cx, Dir};

/// Head of a record; SSL 2.0's, of three bytes, is taken with two bytes of the message.
const HEAD_LEN: usize = 5;
/// No record is longer: two bytes of length. So much of each direction is kept at most.
const RECORD_BYTES_MAX: usize = u16::MAX as usize;

/// The analyzer.
pub struct Tls {
    common: Common,
    /// Version of the record layer, [`version::UNKNOWN`] until a record of it was seen.
    layer: u16,
    halves: [Half; 2],
}

/// The record that one direction is in.
#[derive(Default)]
struct Half {
    record: Option<Head>,
    /// Its bytes, or those of its head while it has none.
    kept: Vec<u8>,
    /// For an encrypted record, how many bytes of it are still to come.
    skip: usize,
}

/// Head of a record.
#[derive(Debug, Clone, Copy)]
struct Head {
    kind: u16,
    /// Bytes that follow.
    len: usize,
    /// Last two bytes of the head, which SSL 2.0 has for its message.
    tail: u16,
    /// Nobody looks into it: the end encrypts.
    opaque: bool,
}

impl Tls {
    /// Nothing seen yet.
    pub fn new() -> Tls {
        Tls { common: Common::new("SSL"), layer: version::UNKNOWN, halves: Default::default() }
    }

    fn half(&mut self, dir: Dir) -> &mut Half {
        let [orig, resp] = &mut self.halves;
        match dir {
            Dir::Orig => orig,
            Dir::Resp => resp,
        }
    }

    fn forget(&mut self) {
        self.halves = Default::default();
        self.common.handshake.clear();
    }

    /// Handles all records that `data` completes and keeps the rest.
    fn records(&mut self, cx: &mut Cx<'_>, dir: Dir, mut data: &[u8]) -> Result<(), Malformed> {
        while !self.common.session.skip {
            let Some(head) = self.head(cx, dir, &mut data)? else { return Ok(()) };
            if head.opaque {
                if !self.half(dir).pass(&mut data) {
                    return Ok(());
                }
                if head.len > 0 {
                    self.common.ciphertext(cx, dir);
                }
            } else {
                let mut kept = std::mem::take(&mut self.half(dir).kept);
                let body = match collect(&mut kept, head.len, &mut data) {
                    Some(body) => body,
                    None => {
                        self.half(dir).kept = kept;
                        return Ok(());
                    }
                };
                self.record(cx, dir, head, body)?;
                kept.clear();
                self.half(dir).kept = kept;
            }
            self.half(dir).record = None;
        }
        Ok(())
    }

    /// The head of the record that this direction is in, once all of it is there.
    fn head(
        &mut self,
        cx: &mut Cx<'_>,
        dir: Dir,
        data: &mut &[u8],
    ) -> Result<Option<Head>, Malformed> {
        let half = self.half(dir);
        if half.record.is_some() {
            return Ok(half.record);
        }
        let mut kept = std::mem::take(&mut half.kept);
        let bytes = collect(&mut kept, HEAD_LEN, data).and_then(|b| b.first_chunk::<HEAD_LEN>());
        let Some(bytes) = bytes.copied() else {
            self.half(dir).kept = kept;
            return Ok(None);
        };
        kept.clear();
        self.half(dir).kept = kept;
        let Some(layer) = self.layer_of(dir, &bytes, cx.is_half) else {
            self.common.session.violation(cx);
            self.common.session.skip = true;
            return Ok(None);
        };
        let [h0, h1, h2, h3, h4] = bytes;
        let tail = u16::from_be_bytes([h3, h4]);
        let (kind, len) = if layer == version::SSLV2 {
            let len = u16::from_be_bytes([h0 & 0x7f, h1]);
            (u16::from(h2) + 300, usize::from(len).checked_sub(3).ok_or(Malformed)?)
        } else {
            (h0.into(), tail.into())
        };
        let opaque = self.common.is_encrypted(dir);
        let head = Head { kind, len, tail, opaque };
        let half = self.half(dir);
        half.record = Some(head);
        half.skip = if opaque { len } else { 0 };
        Ok(half.record)
    }

    /// Which record layer a head is of; `None` if it is of none, or another than before.
    fn layer_of(&mut self, dir: Dir, head: &[u8; HEAD_LEN], is_half: bool) -> Option<u16> {
        let [h0, h1, h2, h3, h4] = *head;
        let named = u16::from_be_bytes([h1, h2]);
        match self.layer {
            version::SSLV2 => return Some(version::SSLV2),
            version::UNKNOWN => {}
            layer => return version::is_record_layer(named).then_some(layer),
        }
        if h0 & 0x80 != 0 {
            let wanted = u16::from_be_bytes([h3, h4]);
            return match (h2, dir) {
                // A hello of this form may well lead to TLS.
                (1, Dir::Orig) => (wanted == version::SSLV2 || version::is_record_layer(wanted))
                    .then_some(version::SSLV2),
                (4, Dir::Resp) if h4 < 2 => {
                    self.layer = version::SSLV2;
                    Some(version::SSLV2)
                }
                // The key comes after a server's hello of this form, which another sensor saw.
                (2, Dir::Orig) if is_half => {
                    self.layer = version::SSLV2;
                    Some(version::SSLV2)
                }
                _ => None,
            };
        }
        if !version::is_record_layer(named) || !(20..=30).contains(&h0) {
            return None;
        }
        self.layer = named;
        Some(named)
    }

    /// A whole record. Several pieces of content fill it, mostly one.
    fn record(
        &mut self,
        cx: &mut Cx<'_>,
        dir: Dir,
        head: Head,
        mut body: &[u8],
    ) -> Result<(), Malformed> {
        while !body.is_empty() {
            if self.is_ciphertext(dir, head.kind) {
                self.common.ciphertext(cx, dir);
                return Ok(());
            }
            let used = match head.kind {
                content::HANDSHAKE => {
                    let Common { handshake, session, .. } = &mut self.common;
                    handshake.push(cx, session, dir, body);
                    body.len()
                }
                300.. => self.v2_message(cx, dir, head, body)?,
                _ => self.common.plaintext(cx, dir, head.kind, body)?,
            };
            self.common.session.plaintext(cx, head.kind == content::APPLICATION_DATA);
            body = body.get(used.max(1)..).unwrap_or_default();
        }
        Ok(())
    }

    /// Whether the content is encrypted. Application data always is in TLS 1.3, so that the first
    /// of it marks the passage; a version that is not known, or none, counts as TLS 1.3.
    fn is_ciphertext(&mut self, dir: Dir, kind: u16) -> bool {
        let chosen = self.common.handshake.version();
        let classic = chosen == version::SSLV2 || version::is_record_layer(chosen);
        if kind == content::APPLICATION_DATA && !classic {
            self.common.encrypt(dir);
        }
        self.common.is_encrypted(dir)
    }

    /// A message of SSL 2.0; says how many bytes of `body` it takes.
    fn v2_message(
        &mut self,
        cx: &mut Cx<'_>,
        dir: Dir,
        head: Head,
        body: &[u8],
    ) -> Result<usize, Malformed> {
        let client = self.common.handshake.is_client(dir);
        let session = &mut self.common.session;
        match head.kind {
            v2::content::ERROR => {
                session.alert(cx, client, head.tail);
                Ok(body.len())
            }
            v2::content::CLIENT_HELLO => {
                let (id, len) = v2::client_hello(body).ok_or(Malformed)?;
                session.client_hello(cx, head.tail, &session_id(id), true);
                Ok(len)
            }
            v2::content::SERVER_HELLO => {
                let hello = v2::server_hello(body).ok_or(Malformed)?;
                if hello.version != version::SSLV2 {
                    session.violation(cx);
                    session.skip = true;
                    return Ok(hello.len);
                }
                session.server_hello(cx, hello.version, hello.cipher, &[0; 32], false);
                session.certificates(cx, client, &[hello.certificate]);
                // After it the client sends the key, and what this end says is encrypted.
                self.common.encrypted[dir.index()] |= cx.is_half;
                Ok(hello.len)
            }
            v2::content::CLIENT_MASTER_KEY => {
                let len = v2::client_master_key(body).ok_or(Malformed)?;
                session.established(cx);
                self.common.encrypted = [true; 2];
                Ok(len)
            }
            _ => {
                session.violation(cx);
                Ok(body.len())
            }
        }
    }
}

impl Half {
    /// Passes over the rest of an encrypted record; says whether it is all there.
    fn pass(&mut self, data: &mut &[u8]) -> bool {
        let (passed, rest) = data.split_at(self.skip.min(data.len()));
        self.skip -= passed.len();
        *data = rest;
        self.skip == 0
    }
}

/// Takes `want` bytes from what is kept and the front of `data`; keeps `data` if they are not all
/// there. Nothing is copied when nothing is kept.
fn collect<'k, 'd: 'k>(
    kept: &'k mut Vec<u8>,
    want: usize,
    data: &mut &'d [u8],
) -> Option<&'k [u8]> {
    let want = want.min(RECORD_BYTES_MAX);
    if kept.is_empty()
        && let Some((whole, rest)) = data.split_at_checked(want)
    {
        *data = rest;
        return Some(whole);
    }
    let (more, rest) = data.split_at(want.saturating_sub(kept.len()).min(data.len()));
    kept.extend_from_slice(more);
    *data = rest;
    (kept.len() >= want).then_some(kept.as_slice())
}

impl Analyzer for Tls {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        self.common.bytes += data.len() as u64;
        if !self.common.is_over() && self.records(cx, dir, data).is_err() {
            self.common.session.violation(cx);
            *self.half(dir) = Half::default();
        }
        if self.common.is_over() {
            self.forget();
        }
        self.common.settle(cx);
    }

    /// What comes after a gap in either direction is not looked at, as in Zeek; the row waits for
    /// the end.
    fn gap(&mut self, _cx: &mut Cx<'_>, _dir: Dir, len: u64) {
        self.common.bytes = self.common.bytes.saturating_add(len);
        self.common.session.skip = true;
        self.forget();
    }

    fn end(&mut self, _cx: &mut Cx<'_>, _dir: Dir) {}

    fn finish(&mut self, cx: &mut Cx<'_>) {
        self.common.session.log(cx);
    }
}
