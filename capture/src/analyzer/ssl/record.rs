//! What TLS and DTLS records have in common: content in the clear, and the passage to encryption.
//!
//! Source: RFC 5246 section 6 and 7.1, 7.2; RFC 6520 (heartbeat); Zeek `ssl-dtls-protocol.pac`,
//! `ssl-dtls-analyzer.pac`.

use super::handshake::Handshake;
use super::session::Session;
use super::wire::Reader;
use crate::analyzer::{Cx, Dir};

/// Content types.
pub mod content {
    /// change_cipher_spec.
    pub const CHANGE_CIPHER_SPEC: u16 = 20;
    /// alert.
    pub const ALERT: u16 = 21;
    /// handshake.
    pub const HANDSHAKE: u16 = 22;
    /// application_data.
    pub const APPLICATION_DATA: u16 = 23;
    /// heartbeat.
    pub const HEARTBEAT: u16 = 24;
}

/// Alerts of one record that are looked at (Zeek's `SSL::max_alerts_per_record`).
const ALERTS_MAX: usize = 10;
/// Bytes into a connection from which on a violation does not end the analysis (Zeek's
/// `DPD::ignore_violations_after`).
const IGNORE_VIOLATIONS_AFTER: u64 = 10 * 1024;

/// A record cannot be parsed.
pub struct Malformed;

/// The part of an analyzer that does not know how records are framed.
pub struct Common {
    /// The handshake layer.
    pub handshake: Handshake,
    /// The row in the making.
    pub session: Session,
    /// By [`Dir::index`]: the end encrypts.
    pub encrypted: [bool; 2],
    /// Payload seen so far, both directions.
    pub bytes: u64,
    established: bool,
    leaving: bool,
}

impl Common {
    /// Nothing seen yet; `source` is the analyzer's name in weirds.
    pub fn new(source: &'static str) -> Common {
        Common {
            handshake: Handshake::default(),
            session: Session::new(source),
            encrypted: [false; 2],
            bytes: 0,
            established: false,
            leaving: false,
        }
    }

    /// Whether nothing more is parsed: given up, or the row is out.
    pub fn is_over(&self) -> bool {
        self.session.skip || self.session.logged
    }

    /// Whether this end encrypts.
    pub fn is_encrypted(&self, dir: Dir) -> bool {
        let [orig, resp] = self.encrypted;
        match dir {
            Dir::Orig => orig,
            Dir::Resp => resp,
        }
    }

    /// From here on this end encrypts.
    pub fn encrypt(&mut self, dir: Dir) {
        let [orig, resp] = &mut self.encrypted;
        match dir {
            Dir::Orig => *orig = true,
            Dir::Resp => *resp = true,
        }
    }

    /// An encrypted record of an end: the first one after both ends turned to encryption completes the
    /// handshake. Of a half that is all that will be known.
    pub fn ciphertext(&mut self, cx: &mut Cx<'_>, dir: Dir) {
        let is_complete = self.encrypted == [true; 2] || (cx.is_half && self.is_encrypted(dir));
        if !self.established && is_complete {
            self.established = true;
            self.session.established(cx);
        }
    }

    /// Content in the clear, but for handshakes; says how many bytes of it are used up.
    pub fn plaintext(
        &mut self,
        cx: &mut Cx<'_>,
        dir: Dir,
        kind: u16,
        body: &[u8],
    ) -> Result<usize, Malformed> {
        let client = self.handshake.is_client(dir);
        match kind {
            content::CHANGE_CIPHER_SPEC => {
                // In TLS 1.3 it is there for middleboxes only (RFC 8446 appendix D.4).
                if !self.handshake.is_tls13() {
                    self.encrypt(dir);
                }
                self.session.change_cipher_spec(cx, client);
                return Ok(1);
            }
            content::ALERT => self.alerts(cx, client, body)?,
            content::HEARTBEAT => {
                Reader::new(body).take(3).ok_or(Malformed)?;
                self.session.heartbeat(cx, client);
            }
            content::APPLICATION_DATA => {}
            _ => self.session.violation(cx),
        }
        Ok(body.len())
    }

    fn alerts(&mut self, cx: &mut Cx<'_>, client: bool, body: &[u8]) -> Result<(), Malformed> {
        let max = if self.handshake.is_tls13() { 1 } else { ALERTS_MAX };
        let counted = body.get(..max * 2).unwrap_or(body);
        if counted.len() < body.len() {
            let n = (body.len() / 2).to_string();
            self.session.weird(cx, "SSL_excessive_alerts_in_record", Some(&n));
        }
        let mut r = Reader::new(counted);
        while !r.is_empty() {
            let (Some(_level), Some(description)) = (r.u8(), r.u8()) else {
                return Err(Malformed);
            };
            self.session.alert(cx, client, description.into());
        }
        Ok(())
    }

    /// Takes the consequences of a call: the analyzer leaves when the row is out, or what it saw is
    /// not its protocol. Zeek's events run
    /// after the packet in the same way.
    pub fn settle(&mut self, cx: &mut Cx<'_>) {
        if self.session.take_violated() && self.bytes <= IGNORE_VIOLATIONS_AFTER {
            self.session.log(cx);
            cx.violate();
            return;
        }
        if !self.session.logged {
            return;
        }
        self.session.release();
        self.handshake.clear();
        // A call says one thing only: the confirmation goes first.
        if cx.signal == crate::analyzer::Signal::Confirmed && !self.leaving {
            self.leaving = true;
            return;
        }
        cx.done();
    }
}
