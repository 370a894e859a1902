//! Messages of SSL 2.0: pure parsers. The five bytes of the record head (length, type and the first
//! two bytes of the message) are the caller's.
//!
//! Source: draft-hickman-netscape-ssl-00; RFC 5246 appendix E.2; Zeek `ssl-protocol.pac`.

use super::wire::Reader;

/// Content types that Zeek gives the messages: 300 and the message's own type.
pub mod content {
    /// ERROR.
    pub const ERROR: u16 = 300;
    /// CLIENT-HELLO.
    pub const CLIENT_HELLO: u16 = 301;
    /// CLIENT-MASTER-KEY.
    pub const CLIENT_MASTER_KEY: u16 = 302;
    /// SERVER-HELLO.
    pub const SERVER_HELLO: u16 = 304;
}

/// Session id of a CLIENT-HELLO and how many bytes it takes.
pub fn client_hello(body: &[u8]) -> Option<(&[u8], usize)> {
    let mut r = Reader::new(body);
    let (suites, session, challenge) = (r.u16()?, r.u16()?, r.u16()?);
    let len = 6 + usize::from(suites) + usize::from(session) + usize::from(challenge);
    let mut r = Reader::new(body.get(6..len)?);
    r.take(usize::from(suites / 3) * 3)?;
    Some((r.take(session.into())?, len))
}

/// A SERVER-HELLO.
pub struct ServerHello<'a> {
    /// Version the server names.
    pub version: u16,
    /// Its certificate.
    pub certificate: &'a [u8],
    /// First of its cipher suites, 0 if there is none.
    pub cipher: u32,
    /// Bytes it takes.
    pub len: usize,
}

/// Parses a SERVER-HELLO.
pub fn server_hello(body: &[u8]) -> Option<ServerHello<'_>> {
    let mut r = Reader::new(body);
    let version = r.u16()?;
    let (certificate, suites, connection) = (r.u16()?, r.u16()?, r.u16()?);
    let certificate = r.take(certificate.into())?;
    let cipher = Reader::new(r.take(usize::from(suites / 3) * 3)?).u24().unwrap_or_default();
    r.take(connection.into())?;
    Some(ServerHello { version, certificate, cipher, len: body.len() - r.len() })
}

/// How many bytes a CLIENT-MASTER-KEY takes.
pub fn client_master_key(body: &[u8]) -> Option<usize> {
    let mut r = Reader::new(body);
    r.u8()?;
    let (clear, encrypted, argument) = (r.u16()?, r.u16()?, r.u16()?);
    let len = 7 + usize::from(clear) + usize::from(encrypted) + usize::from(argument);
    body.get(..len).map(|whole| whole.len())
}
