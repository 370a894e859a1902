//! The other handshake messages: pure parsers.
//!
//! Source: RFC 5246 section 7.4, RFC 8422 section 5.4 (curves), RFC 5077 (tickets), RFC 6347
//! (HelloVerifyRequest), RFC 6066 section 8 (CertificateStatus).

use super::names::{KeyExchange, version};
use super::wire::Reader;

/// Certificates of one chain that are looked at: Zeek's log holds no more elements in one cell
/// (`Log::default_max_field_container_elements`).
pub const CERTIFICATES_MAX: usize = 100;

/// Handshake message types that are told apart.
pub mod kind {
    /// HelloRequest.
    pub const HELLO_REQUEST: u8 = 0;
    /// ClientHello.
    pub const CLIENT_HELLO: u8 = 1;
    /// ServerHello.
    pub const SERVER_HELLO: u8 = 2;
    /// HelloVerifyRequest (DTLS).
    pub const HELLO_VERIFY_REQUEST: u8 = 3;
    /// NewSessionTicket.
    pub const SESSION_TICKET: u8 = 4;
    /// Certificate.
    pub const CERTIFICATE: u8 = 11;
    /// ServerKeyExchange.
    pub const SERVER_KEY_EXCHANGE: u8 = 12;
    /// CertificateRequest.
    pub const CERTIFICATE_REQUEST: u8 = 13;
    /// ServerHelloDone.
    pub const SERVER_HELLO_DONE: u8 = 14;
    /// CertificateVerify.
    pub const CERTIFICATE_VERIFY: u8 = 15;
    /// ClientKeyExchange.
    pub const CLIENT_KEY_EXCHANGE: u8 = 16;
    /// Finished.
    pub const FINISHED: u8 = 20;
    /// CertificateURL.
    pub const CERTIFICATE_URL: u8 = 21;
    /// CertificateStatus.
    pub const CERTIFICATE_STATUS: u8 = 22;
}

/// Letter of a handshake message in `ssl_history`, lower case (Zeek `ssl/main.zeek`); `j` for
/// HelloRetryRequest is the caller's, who knows the random.
pub fn letter(message: u8) -> char {
    match message {
        0 => 'h',
        1 => 'c',
        2 => 's',
        3 => 'v',
        4 => 't',
        5 => 'e',
        6 => 'j',
        8 => 'o',
        11 => 'x',
        12 => 'k',
        13 => 'r',
        14 => 'n',
        15 => 'y',
        16 => 'g',
        20 => 'f',
        21 => 'w',
        22 => 'u',
        23 => 'a',
        24 => 'p',
        254 => 'm',
        _ => 'z',
    }
}

/// Whether signatures name their algorithm: since TLS 1.2, not in DTLS 1.0.
fn signatures_name_algorithm(chosen: u16) -> bool {
    chosen > version::TLSV11 && chosen != version::DTLSV10
}

/// The certificates of a Certificate message in TLS 1.2 or earlier, at most [`CERTIFICATES_MAX`].
pub fn certificates(body: &[u8]) -> Option<Vec<&[u8]>> {
    let mut list = Reader::new(Reader::new(body).vec24()?);
    let mut found = Vec::new();
    while !list.is_empty() {
        let certificate = list.vec24()?;
        if found.len() < CERTIFICATES_MAX {
            found.push(certificate);
        }
    }
    Some(found)
}

/// The named curve of a ServerKeyExchange, if it has one; the outer `None` is "malformed".
pub fn server_key_exchange(body: &[u8], kind: KeyExchange, chosen: u16) -> Option<Option<u16>> {
    /// ECCurveType named_curve.
    const NAMED_CURVE: u8 = 3;
    let mut r = Reader::new(body);
    match kind {
        KeyExchange::Ecdhe | KeyExchange::EcdhAnon => {
            if r.u8()? != NAMED_CURVE {
                return Some(None);
            }
            let curve = r.u16()?;
            r.vec8()?;
            if kind == KeyExchange::Ecdhe {
                signature(&mut r, chosen)?;
            }
            Some(Some(curve))
        }
        KeyExchange::Dhe | KeyExchange::DhAnon => {
            // Prime, generator, public value.
            for _ in 0..3 {
                r.vec16()?;
            }
            if kind == KeyExchange::Dhe {
                signature(&mut r, chosen)?;
            }
            Some(None)
        }
        KeyExchange::Other => Some(None),
    }
}

fn signature(r: &mut Reader<'_>, chosen: u16) -> Option<()> {
    if signatures_name_algorithm(chosen) {
        r.u16()?;
    }
    r.vec16().map(drop)
}

/// Checks a CertificateRequest.
pub fn certificate_request(body: &[u8], chosen: u16) -> Option<()> {
    let mut r = Reader::new(body);
    r.vec8()?;
    if signatures_name_algorithm(chosen) && r.vec16()?.len() % 2 != 0 {
        return None;
    }
    let mut authorities = Reader::new(r.vec16()?);
    while !authorities.is_empty() {
        authorities.vec16()?;
    }
    Some(())
}

/// Checks a NewSessionTicket.
pub fn session_ticket(body: &[u8]) -> Option<()> {
    let mut r = Reader::new(body);
    r.take(4)?;
    r.vec16().map(drop)
}

/// Checks a HelloVerifyRequest.
pub fn hello_verify_request(body: &[u8]) -> Option<()> {
    let mut r = Reader::new(body);
    r.u16()?;
    r.vec8().map(drop)
}

/// Status type of OCSP.
pub const STATUS_OCSP: u8 = 1;

/// Status type and response of a CertificateStatus; the response may be empty.
pub fn certificate_status(body: &[u8]) -> Option<(u8, &[u8])> {
    let mut r = Reader::new(body);
    let kind = r.u8()?;
    r.u24()?;
    Some((kind, r.rest()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains() {
        assert_eq!(certificates(b"\0\0\x05\0\0\x02ab"), Some(vec![&b"ab"[..]]));
        assert_eq!(certificates(b"\0\0\0"), Some(vec![]));
        assert_eq!(certificates(b"\0\0\x06\0\0\x03ab"), None);
        let many = [&[0u8, 2, 88][..], &[0; 600]].concat();
        assert_eq!(certificates(&many).map(|c| c.len()), Some(CERTIFICATES_MAX));
    }

    #[test]
    fn curves() {
        let body = b"\x03\0\x17\x01x\x04\x01\0\x01s";
        let kind = KeyExchange::Ecdhe;
        assert_eq!(server_key_exchange(body, kind, version::TLSV12), Some(Some(23)));
        assert_eq!(server_key_exchange(body, kind, version::TLSV10), None);
        assert_eq!(server_key_exchange(b"\x01", kind, version::TLSV12), Some(None));
    }
}
