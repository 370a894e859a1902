//! ClientHello and ServerHello with their extensions: pure parsers.
//!
//! Source: RFC 5246 section 7.4.1, RFC 8446 section 4.1 and 4.2, RFC 6066 (server name), RFC 7301
//! (ALPN), RFC 6962 (signed certificate timestamps). What counts as malformed is what Zeek's
//! `tls-handshake-protocol.pac` cannot parse, so that the same handshakes are given up.

use super::names::version;
use super::wire::Reader;

/// Extension numbers that are looked into.
pub mod ext {
    /// server_name.
    pub const SERVER_NAME: u16 = 0;
    /// supported_groups.
    pub const GROUPS: u16 = 10;
    /// ec_point_formats.
    pub const POINT_FORMATS: u16 = 11;
    /// signature_algorithms.
    pub const SIGNATURE_ALGORITHMS: u16 = 13;
    /// application_layer_protocol_negotiation.
    pub const ALPN: u16 = 16;
    /// signed_certificate_timestamp.
    pub const TIMESTAMPS: u16 = 18;
    /// session_ticket.
    pub const SESSION_TICKET: u16 = 35;
    /// key_share in drafts of TLS 1.3.
    pub const KEY_SHARE_OLD: u16 = 40;
    /// pre_shared_key.
    pub const PRE_SHARED_KEY: u16 = 41;
    /// supported_versions.
    pub const VERSIONS: u16 = 43;
    /// psk_key_exchange_modes.
    pub const PSK_MODES: u16 = 45;
    /// key_share.
    pub const KEY_SHARE: u16 = 51;
    /// connection_id.
    pub const CONNECTION_ID: u16 = 54;
}

/// A ClientHello up to its extensions.
#[derive(Debug)]
pub struct ClientHello<'a> {
    /// Version the client names.
    pub version: u16,
    /// Session to resume.
    pub session_id: &'a [u8],
    /// Cipher suites, two bytes each.
    pub suites: &'a [u8],
    /// Extensions, not parsed yet.
    pub extensions: Extensions<'a>,
}

/// A ServerHello up to its extensions.
#[derive(Debug)]
pub struct ServerHello<'a> {
    /// Version the server names; supported_versions may overrule it.
    pub version: u16,
    /// Server's random: one value of it stands for HelloRetryRequest.
    pub random: &'a [u8],
    /// The session, empty in early drafts of TLS 1.3.
    pub session_id: &'a [u8],
    /// Chosen cipher suite.
    pub cipher: u16,
    /// Extensions, not parsed yet.
    pub extensions: Extensions<'a>,
}

/// The random that makes a ServerHello a HelloRetryRequest (RFC 8446 section 4.1.3).
pub const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Parses the body of a ClientHello.
pub fn client(body: &[u8]) -> Option<ClientHello<'_>> {
    let mut r = Reader::new(body);
    let version = r.u16()?;
    r.take(32)?;
    let session_id = r.vec8()?;
    if matches!(version, version::DTLSV10 | version::DTLSV12) {
        r.vec8()?;
    }
    let suites = r.u16()?;
    // An odd length leaves its last byte to what follows, as in Zeek.
    let suites = r.take(usize::from(suites / 2) * 2)?;
    r.vec8()?;
    Some(ClientHello { version, session_id, suites, extensions: Extensions::new(r)? })
}

/// Parses the body of a ServerHello.
pub fn server(body: &[u8]) -> Option<ServerHello<'_>> {
    let mut r = Reader::new(body);
    let version = r.u16()?;
    let random = r.take(32)?;
    // TLS 1.3 as the outer version was what its drafts did: no session, no compression.
    let draft = version == version::TLSV13 || version.to_be_bytes()[0] == version::DRAFT;
    let session_id = if draft { &[][..] } else { r.vec8()? };
    let cipher = r.u16()?;
    if !draft {
        r.u8()?;
    }
    Some(ServerHello { version, random, session_id, cipher, extensions: Extensions::new(r)? })
}

/// Extensions of a hello, one at a time: those before a malformed one still count.
#[derive(Debug, Clone, Copy)]
pub struct Extensions<'a>(Reader<'a>);

/// One extension.
#[derive(Debug, Clone, Copy)]
pub struct Extension<'a> {
    /// Its number.
    pub kind: u16,
    /// What it holds.
    pub data: &'a [u8],
}

impl<'a> Extensions<'a> {
    /// The list's own length is read and not trusted: the message bounds it.
    fn new(mut r: Reader<'a>) -> Option<Extensions<'a>> {
        if !r.is_empty() {
            r.u16()?;
        }
        Some(Extensions(r))
    }

    /// All of them up to the first that is malformed.
    pub fn all(mut self) -> impl Iterator<Item = Extension<'a>> {
        std::iter::from_fn(move || self.next().flatten())
    }

    /// The next extension; the inner `None` says that the list is malformed there.
    pub fn next(&mut self) -> Option<Option<Extension<'a>>> {
        if self.0.is_empty() {
            return None;
        }
        Some(self.one())
    }

    fn one(&mut self) -> Option<Extension<'a>> {
        Some(Extension { kind: self.0.u16()?, data: self.0.vec16()? })
    }
}

/// What an extension says, as far as the log wants to know.
#[derive(Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// Server names asked for, and the types of names that are none.
    ServerNames {
        /// Host names in order.
        names: Vec<&'a [u8]>,
        /// Types of the others.
        unknown: Vec<u8>,
    },
    /// First application protocol of the list.
    Protocol(Option<&'a [u8]>),
    /// Version that the server chose.
    Version(u16),
    /// Group that the server chose or wants.
    Group(u16),
    /// Nothing that is logged.
    Other,
}

/// Looks into an extension of a ClientHello or ServerHello; `None` if it is malformed. Empty ones
/// are always well-formed.
pub fn content<'a>(extension: &Extension<'a>, client: bool) -> Option<Content<'a>> {
    if extension.data.is_empty() {
        return Some(Content::Other);
    }
    let mut r = Reader::new(extension.data);
    match extension.kind {
        ext::SERVER_NAME => return server_names(Reader::new(r.vec16()?)),
        ext::ALPN => return protocols(Reader::new(r.vec16()?)),
        ext::VERSIONS if !client => return Some(Content::Version(r.u16()?)),
        ext::KEY_SHARE | ext::KEY_SHARE_OLD if !client => return chosen_group(r),
        ext::VERSIONS => u16_list(Reader::new(r.vec8()?))?,
        ext::KEY_SHARE | ext::KEY_SHARE_OLD => key_shares(Reader::new(r.vec16()?))?,
        ext::GROUPS => {
            let n = r.u16()?;
            r.take(usize::from(n / 2) * 2)?;
        }
        ext::SIGNATURE_ALGORITHMS => u16_list(Reader::new(r.vec16()?))?,
        ext::TIMESTAMPS => timestamps(Reader::new(r.vec16()?))?,
        ext::PRE_SHARED_KEY if client => pre_shared_keys(r)?,
        ext::PRE_SHARED_KEY => drop(r.u16()?),
        ext::POINT_FORMATS | ext::PSK_MODES | ext::CONNECTION_ID => drop(r.vec8()?),
        _ => {}
    }
    Some(Content::Other)
}

fn server_names(mut r: Reader<'_>) -> Option<Content<'_>> {
    let (mut names, mut unknown) = (Vec::new(), Vec::new());
    while !r.is_empty() {
        match r.u8()? {
            0 => names.push(r.vec16()?),
            other => {
                unknown.push(other);
                r.rest();
            }
        }
    }
    Some(Content::ServerNames { names, unknown })
}

fn protocols(mut r: Reader<'_>) -> Option<Content<'_>> {
    let mut first = None;
    while !r.is_empty() {
        let name = r.vec8()?;
        first = first.or(Some(name));
    }
    Some(Content::Protocol(first))
}

/// A HelloRetryRequest names the group it wants, a ServerHello adds its share.
fn chosen_group(mut r: Reader<'_>) -> Option<Content<'_>> {
    let retry = r.len() == 2;
    let group = r.u16()?;
    if !retry {
        r.vec16()?;
    }
    Some(Content::Group(group))
}

fn u16_list(mut r: Reader<'_>) -> Option<()> {
    while !r.is_empty() {
        r.u16()?;
    }
    Some(())
}

fn key_shares(mut r: Reader<'_>) -> Option<()> {
    while !r.is_empty() {
        r.u16()?;
        r.vec16()?;
    }
    Some(())
}

fn timestamps(mut list: Reader<'_>) -> Option<()> {
    while !list.is_empty() {
        let mut r = Reader::new(list.vec16()?);
        // Version, log id and time.
        r.take(1 + 32 + 8)?;
        r.vec16()?;
        r.u16()?;
        r.vec16()?;
    }
    Some(())
}

fn pre_shared_keys(mut r: Reader<'_>) -> Option<()> {
    let mut identities = Reader::new(r.vec16()?);
    while !identities.is_empty() {
        identities.vec16()?;
        identities.take(4)?;
    }
    let mut binders = Reader::new(r.vec16()?);
    while !binders.is_empty() {
        binders.vec8()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(kind: u16, data: &[u8], client: bool) -> Option<Content<'_>> {
        content(&Extension { kind, data }, client)
    }

    #[test]
    fn server_name_alpn_and_version() {
        let sni = b"\0\x06\0\0\x03a.b";
        let names = Content::ServerNames { names: vec![b"a.b"], unknown: vec![] };
        assert_eq!(look(ext::SERVER_NAME, sni, true), Some(names));
        assert_eq!(look(ext::SERVER_NAME, b"\0\x07\0\0\x03a.b", true), None);
        let other = Content::ServerNames { names: vec![], unknown: vec![9] };
        assert_eq!(look(ext::SERVER_NAME, b"\0\x02\x09x", true), Some(other));
        assert_eq!(look(ext::SERVER_NAME, b"", false), Some(Content::Other));
        let h2 = Content::Protocol(Some(b"h2"));
        assert_eq!(look(ext::ALPN, b"\0\x03\x02h2", false), Some(h2));
        assert_eq!(look(ext::VERSIONS, b"\x03\x04", false), Some(Content::Version(0x304)));
        assert_eq!(look(ext::VERSIONS, b"\x03\x03\x04\x03", true), None);
        assert_eq!(look(ext::KEY_SHARE, b"\0\x17", false), Some(Content::Group(23)));
    }

    #[test]
    fn hellos_without_extensions_are_fine() {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        let hello = client(&body).expect("well-formed");
        assert_eq!((hello.version, hello.session_id.len()), (0x303, 0));
        body.pop();
        assert!(client(&body).is_none());
    }

    #[test]
    fn no_prefix_of_a_hello_panics() {
        let bytes: Vec<u8> = (0..200u8).map(|n| n.wrapping_mul(37)).collect();
        for end in 0..bytes.len() {
            let part = bytes.get(..end).unwrap_or_default();
            let _ = (client(part), server(part));
            for kind in 0..60 {
                let _ = (look(kind, part, true), look(kind, part, false));
            }
        }
    }
}
