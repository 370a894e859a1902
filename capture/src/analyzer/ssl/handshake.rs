//! The handshake layer: messages out of the records of each direction, whatever the records' bounds.
//!
//! Source: RFC 5246 section 7.4; Zeek `tls-handshake-protocol.pac`, `tls-handshake-analyzer.pac`.

use super::fingerprint;
use super::hello::{self, Content, Extensions};
use super::messages::{self, kind};
use super::names::{key_exchange, version};
use super::session::{Session, session_id};
use super::wire::Reader;
use crate::analyzer::{Cx, Dir};

/// Bytes of one unfinished message that are kept for each direction. A chain of certificates is the
/// longest of them: 10 KiB as a rule, 100 KiB with post-quantum signatures; Zeek's tests have one of
/// 350 KiB. Memory is taken as the bytes arrive, not by the length that a message claims.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// A message cannot be parsed.
struct Malformed;

/// Handshake state of both directions.
#[derive(Default)]
pub struct Handshake {
    /// The beginning of the message that each direction is in.
    pending: [Vec<u8>; 2],
    cipher: Option<u16>,
    version: u16,
    flipped: bool,
    flip_back_told: bool,
}

impl Handshake {
    /// Version that the server chose; [`version::UNKNOWN`] before.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Whether the server chose TLS 1.3.
    pub fn is_tls13(&self) -> bool {
        version::is_tls13(self.version)
    }

    /// Whether what this end sends is the client's.
    pub fn is_client(&self, dir: Dir) -> bool {
        (dir == Dir::Orig) != self.flipped
    }

    /// Forgets unfinished messages.
    pub fn clear(&mut self) {
        self.pending = Default::default();
    }

    /// Handshake bytes of one record. What follows a malformed message in them is not looked at.
    pub fn push(&mut self, cx: &mut Cx<'_>, s: &mut Session, dir: Dir, data: &[u8]) {
        let mut pending = std::mem::take(self.buffer(dir));
        if pending.is_empty() {
            let used = self.messages(cx, s, dir, data);
            pending.extend_from_slice(data.get(used..).unwrap_or_default());
        } else {
            pending.extend_from_slice(data);
            let used = self.messages(cx, s, dir, &pending);
            pending.drain(..used.min(pending.len()));
        }
        if pending.len() > MESSAGE_BYTES_MAX {
            // Not one of Zeek's, which keeps up to 10 MB.
            s.weird(cx, "SSL_handshake_message_too_long", None);
            s.skip = true;
            pending = Vec::new();
        }
        *self.buffer(dir) = pending;
    }

    /// A message of DTLS, with its head as TLS has it; `data` may hold more than the message.
    pub fn push_message(
        &mut self,
        cx: &mut Cx<'_>,
        s: &mut Session,
        dir: Dir,
        message: u8,
        len: usize,
        data: &[u8],
    ) {
        let [_, _, _, _, _, l0, l1, l2] = (len as u64).to_be_bytes();
        let bytes = [&[message, l0, l1, l2][..], data].concat();
        self.push(cx, s, dir, &bytes);
    }

    fn buffer(&mut self, dir: Dir) -> &mut Vec<u8> {
        let [orig, resp] = &mut self.pending;
        match dir {
            Dir::Orig => orig,
            Dir::Resp => resp,
        }
    }

    /// Handles all whole messages in `data` and says how many bytes are used up.
    fn messages(&mut self, cx: &mut Cx<'_>, s: &mut Session, dir: Dir, data: &[u8]) -> usize {
        let mut r = Reader::new(data);
        loop {
            let left = r;
            let (Some(message), Some(body)) = (r.u8(), r.vec24()) else {
                return data.len() - left.len();
            };
            if self.message(cx, s, dir, message, body).is_err() {
                s.violation(cx);
                return data.len();
            }
        }
    }

    fn message(
        &mut self,
        cx: &mut Cx<'_>,
        s: &mut Session,
        dir: Dir,
        message: u8,
        body: &[u8],
    ) -> Result<(), Malformed> {
        match message {
            kind::HELLO_REQUEST => self.sent_by(cx, s, dir, Dir::Resp),
            kind::CLIENT_HELLO => self.client_hello(cx, s, dir, body)?,
            kind::SERVER_HELLO => self.server_hello(cx, s, dir, body)?,
            kind::HELLO_VERIFY_REQUEST => messages::hello_verify_request(body).ok_or(Malformed)?,
            kind::SESSION_TICKET => messages::session_ticket(body).ok_or(Malformed)?,
            kind::CERTIFICATE => {
                let chain = messages::certificates(body).ok_or(Malformed)?;
                s.certificates(cx, self.is_client(dir), &chain);
            }
            kind::SERVER_KEY_EXCHANGE => self.server_key_exchange(cx, s, body)?,
            kind::CERTIFICATE_REQUEST => {
                messages::certificate_request(body, self.version).ok_or(Malformed)?;
            }
            kind::CERTIFICATE_STATUS => {
                let (kind, response) = messages::certificate_status(body).ok_or(Malformed)?;
                if response.is_empty() {
                    s.weird(cx, "SSL_zero_length_stapled_OCSP_message", None);
                } else if kind == messages::STATUS_OCSP {
                    s.ocsp(cx, response);
                }
            }
            kind::SERVER_HELLO_DONE
            | kind::CERTIFICATE_VERIFY
            | kind::CLIENT_KEY_EXCHANGE
            | kind::FINISHED
            | kind::CERTIFICATE_URL => {}
            _ => s.violation(cx),
        }
        s.handshake_message(cx, self.is_client(dir), message);
        Ok(())
    }

    /// Some messages tell which end is the client, the one that should have sent it or not.
    fn sent_by(&mut self, cx: &mut Cx<'_>, s: &mut Session, dir: Dir, should: Dir) {
        let flipped = dir != should;
        if flipped == self.flipped {
            return;
        }
        self.flipped = flipped;
        s.flipped(cx);
        if !flipped && !self.flip_back_told {
            self.flip_back_told = true;
            s.weird(cx, "SSL_unclear_connection_direction", None);
        }
    }

    fn client_hello(
        &mut self,
        cx: &mut Cx<'_>,
        s: &mut Session,
        dir: Dir,
        body: &[u8],
    ) -> Result<(), Malformed> {
        self.sent_by(cx, s, dir, Dir::Orig);
        let hello = hello::client(body).ok_or(Malformed)?;
        self.extensions(cx, s, hello.extensions, true)?;
        s.client_prints(cx, || fingerprint::client(&hello));
        s.client_hello(cx, hello.version, &session_id(hello.session_id), false);
        Ok(())
    }

    fn server_hello(
        &mut self,
        cx: &mut Cx<'_>,
        s: &mut Session,
        dir: Dir,
        body: &[u8],
    ) -> Result<(), Malformed> {
        self.sent_by(cx, s, dir, Dir::Resp);
        let hello = hello::server(body).ok_or(Malformed)?;
        self.extensions(cx, s, hello.extensions, false)?;
        s.server_print(cx, || fingerprint::server(&hello));
        self.cipher = Some(hello.cipher);
        let retry = hello.random == hello::RETRY_RANDOM;
        let id = session_id(hello.session_id);
        s.server_hello(cx, hello.version, hello.cipher.into(), &id, retry);
        self.choose(hello.version);
        Ok(())
    }

    /// The first version that the server names stays.
    fn choose(&mut self, version: u16) {
        if self.version == version::UNKNOWN {
            self.version = version;
        }
    }

    fn extensions(
        &mut self,
        cx: &mut Cx<'_>,
        s: &mut Session,
        mut extensions: Extensions<'_>,
        client: bool,
    ) -> Result<(), Malformed> {
        while let Some(extension) = extensions.next() {
            let extension = extension.ok_or(Malformed)?;
            match hello::content(&extension, client).ok_or(Malformed)? {
                Content::ServerNames { names, unknown } => {
                    s.server_names(cx, client, &names, &unknown);
                }
                Content::Protocol(first) => s.protocol(cx, client, first),
                Content::Version(version) => {
                    self.choose(version);
                    s.version(cx, version);
                }
                Content::Group(group) => s.curve(cx, group),
                Content::Other => {}
            }
            s.extension(cx, client, extension.kind, extension.data.is_empty());
        }
        Ok(())
    }

    fn server_key_exchange(
        &mut self,
        cx: &mut Cx<'_>,
        s: &mut Session,
        body: &[u8],
    ) -> Result<(), Malformed> {
        let Some(cipher) = self.cipher else { return Ok(()) };
        let kind = key_exchange(cipher.into());
        let curve = messages::server_key_exchange(body, kind, self.version).ok_or(Malformed)?;
        if let Some(curve) = curve {
            s.curve(cx, curve);
        }
        Ok(())
    }
}
