//! Names for numbers: versions, curves, alerts, and what kind of key exchange a cipher suite has.
//!
//! Source: Zeek `base/protocols/ssl/consts.zeek`, which follows IANA's TLS parameters registry.

use std::borrow::Cow;

use super::ciphers::CIPHERS;

/// Protocol versions as they stand on the wire.
pub mod version {
    /// None seen yet.
    pub const UNKNOWN: u16 = 0;
    /// SSL 2.0.
    pub const SSLV2: u16 = 0x0002;
    /// SSL 3.0.
    pub const SSLV3: u16 = 0x0300;
    /// TLS 1.0.
    pub const TLSV10: u16 = 0x0301;
    /// TLS 1.1.
    pub const TLSV11: u16 = 0x0302;
    /// TLS 1.2.
    pub const TLSV12: u16 = 0x0303;
    /// TLS 1.3.
    pub const TLSV13: u16 = 0x0304;
    /// DTLS 1.0.
    pub const DTLSV10: u16 = 0xfeff;
    /// DTLS 1.2.
    pub const DTLSV12: u16 = 0xfefd;
    /// DTLS 1.3.
    pub const DTLSV13: u16 = 0xfefc;
    /// High byte of the TLS 1.3 drafts.
    pub const DRAFT: u8 = 0x7f;

    /// TLS 1.3 or a draft of it, by Zeek's arithmetic (0x7e81 to 0x7f7f count as drafts).
    pub fn is_tls13(version: u16) -> bool {
        version == TLSV13 || is_draft(version)
    }

    /// A draft of TLS 1.3, by the same arithmetic.
    pub fn is_draft(version: u16) -> bool {
        version / 0xff == u16::from(DRAFT)
    }

    /// Versions that a hello may name (Zeek's `version_ok`).
    pub fn is_known(version: u16) -> bool {
        version.to_be_bytes()[0] == DRAFT
            || matches!(version, SSLV2 | TLSV13 | DTLSV10 | DTLSV12 | DTLSV13)
            || is_record_layer(version)
    }

    /// Versions that a record of SSL 3.0 or later may name.
    pub fn is_record_layer(version: u16) -> bool {
        matches!(version, SSLV3 | TLSV10 | TLSV11 | TLSV12)
    }
}

/// How a version is called in the log.
pub fn version_name(number: u16) -> Cow<'static, str> {
    let name = match number {
        version::SSLV2 => "SSLv2",
        version::SSLV3 => "SSLv3",
        version::TLSV10 => "TLSv10",
        version::TLSV11 => "TLSv11",
        version::TLSV12 => "TLSv12",
        version::TLSV13 => "TLSv13",
        version::DTLSV10 => "DTLSv10",
        version::DTLSV12 => "DTLSv12",
        version::DTLSV13 => "DTLSv13",
        _ if version::is_draft(number) => return format!("TLSv13-draft{}", number % 0x7f).into(),
        _ => return format!("unknown-{number}").into(),
    };
    name.into()
}

/// How a cipher suite is called in the log.
pub fn cipher(number: u32) -> Cow<'static, str> {
    find(CIPHERS, number)
}

/// How a curve or named group is called in the log.
pub fn curve(number: u16) -> Cow<'static, str> {
    find(CURVES, number.into())
}

/// How an alert is called in the log.
pub fn alert(number: u16) -> Cow<'static, str> {
    find(ALERTS, number.into())
}

fn find(table: &'static [(u32, &'static str)], number: u32) -> Cow<'static, str> {
    match lookup(table, number) {
        Some(name) => name.into(),
        None => format!("unknown-{number}").into(),
    }
}

fn lookup(table: &'static [(u32, &'static str)], number: u32) -> Option<&'static str> {
    let at = table.binary_search_by_key(&number, |entry| entry.0).ok()?;
    table.get(at).map(|entry| entry.1)
}

/// What a ServerKeyExchange of a cipher suite holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyExchange {
    /// A named curve, a point and a signature.
    Ecdhe,
    /// A named curve and a point.
    EcdhAnon,
    /// Finite-field parameters and a signature.
    Dhe,
    /// Finite-field parameters.
    DhAnon,
    /// Something that is not looked into.
    Other,
}

/// The key exchange of a cipher suite, as Zeek's `tls-handshake-protocol.pac` sorts them: by name,
/// but for two PSK suites with a name of another order and two that it leaves out.
pub fn key_exchange(number: u32) -> KeyExchange {
    match number {
        0xc0aa | 0xc0ab => return KeyExchange::Dhe,
        0xccac | 0xd004 => return KeyExchange::Other,
        _ => {}
    }
    let name = lookup(CIPHERS, number).unwrap_or_default();
    let kinds = [
        ("TLS_ECDHE_", KeyExchange::Ecdhe),
        ("TLS_ECDH_ANON_", KeyExchange::EcdhAnon),
        ("TLS_DHE_", KeyExchange::Dhe),
        ("TLS_DH_ANON_", KeyExchange::DhAnon),
    ];
    kinds.iter().find(|kind| name.starts_with(kind.0)).map_or(KeyExchange::Other, |kind| kind.1)
}

#[rustfmt::skip]
static CURVES: &[(u32, &str)] = &[
    (0x0001, "sect163k1"),
    (0x0002, "sect163r1"),
    (0x0003, "sect163r2"),
    (0x0004, "sect193r1"),
    (0x0005, "sect193r2"),
    (0x0006, "sect233k1"),
    (0x0007, "sect233r1"),
    (0x0008, "sect239k1"),
    (0x0009, "sect283k1"),
    (0x000a, "sect283r1"),
    (0x000b, "sect409k1"),
    (0x000c, "sect409r1"),
    (0x000d, "sect571k1"),
    (0x000e, "sect571r1"),
    (0x000f, "secp160k1"),
    (0x0010, "secp160r1"),
    (0x0011, "secp160r2"),
    (0x0012, "secp192k1"),
    (0x0013, "secp192r1"),
    (0x0014, "secp224k1"),
    (0x0015, "secp224r1"),
    (0x0016, "secp256k1"),
    (0x0017, "secp256r1"),
    (0x0018, "secp384r1"),
    (0x0019, "secp521r1"),
    (0x001a, "brainpoolP256r1"),
    (0x001b, "brainpoolP384r1"),
    (0x001c, "brainpoolP512r1"),
    (0x001d, "x25519"),
    (0x001e, "x448"),
    (0x001f, "brainpoolP256r1tls13"),
    (0x0020, "brainpoolP384r1tls13"),
    (0x0021, "brainpoolP512r1tls13"),
    (0x0022, "GC256A"),
    (0x0023, "GC256B"),
    (0x0024, "GC256C"),
    (0x0025, "GC256D"),
    (0x0026, "GC512A"),
    (0x0027, "GC512B"),
    (0x0028, "GC512C"),
    (0x0029, "curveSM2"),
    (0x0100, "ffdhe2048"),
    (0x0101, "ffdhe3072"),
    (0x0102, "ffdhe4096"),
    (0x0103, "ffdhe6144"),
    (0x0104, "ffdhe8192"),
    (0x0200, "MLKEM512"),
    (0x0201, "MLKEM768"),
    (0x0202, "MLKEM1024"),
    (0x0a0a, "grease_0x0A0A"),
    (0x11eb, "SecP256r1MLKEM768"),
    (0x11ec, "X25519MLKEM768"),
    (0x11ed, "SecP384r1MLKEM1024"),
    (0x11ee, "curveSM2MLKEM768"),
    (0x1a1a, "grease_0x1A1A"),
    (0x2a2a, "grease_0x2A2A"),
    (0x3a3a, "grease_0x3A3A"),
    (0x4138, "CECPQ2"),
    (0x4a4a, "grease_0x4A4A"),
    (0x5a5a, "grease_0x5A5A"),
    (0x6399, "X25519Kyber768Draft00"),
    (0x639a, "SecP256r1Kyber768Draft00"),
    (0x6a6a, "grease_0x6A6A"),
    (0x7a7a, "grease_0x7A7A"),
    (0x8a8a, "grease_0x8A8A"),
    (0x9a9a, "grease_0x9A9A"),
    (0xaaaa, "grease_0xAAAA"),
    (0xbaba, "grease_0xBABA"),
    (0xcaca, "grease_0xCACA"),
    (0xdada, "grease_0xDADA"),
    (0xeaea, "grease_0xEAEA"),
    (0xfafa, "grease_0xFAFA"),
    (0xff01, "arbitrary_explicit_prime_curves"),
    (0xff02, "arbitrary_explicit_char2_curves"),
];

#[rustfmt::skip]
static ALERTS: &[(u32, &str)] = &[
    (0, "close_notify"),
    (10, "unexpected_message"),
    (20, "bad_record_mac"),
    (21, "decryption_failed"),
    (22, "record_overflow"),
    (30, "decompression_failure"),
    (40, "handshake_failure"),
    (41, "no_certificate"),
    (42, "bad_certificate"),
    (43, "unsupported_certificate"),
    (44, "certificate_revoked"),
    (45, "certificate_expired"),
    (46, "certificate_unknown"),
    (47, "illegal_parameter"),
    (48, "unknown_ca"),
    (49, "access_denied"),
    (50, "decode_error"),
    (51, "decrypt_error"),
    (60, "export_restriction"),
    (70, "protocol_version"),
    (71, "insufficient_security"),
    (80, "internal_error"),
    (86, "inappropriate_fallback"),
    (90, "user_canceled"),
    (100, "no_renegotiation"),
    (110, "unsupported_extension"),
    (111, "certificate_unobtainable"),
    (112, "unrecognized_name"),
    (113, "bad_certificate_status_response"),
    (114, "bad_certificate_hash_value"),
    (115, "unknown_psk_identity"),
    (116, "certificate_required"),
    (117, "general_error"),
    (120, "no_application_protocol"),
    (121, "ech_required"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted() {
        for table in [CIPHERS, CURVES, ALERTS] {
            assert!(table.is_sorted_by(|a, b| a.0 < b.0));
        }
    }

    #[test]
    fn known_and_unknown_numbers() {
        assert_eq!(version_name(0x0303), "TLSv12");
        assert_eq!(version_name(0x7f17), "TLSv13-draft23");
        assert_eq!(version_name(0x7e01), "unknown-32257");
        assert_eq!(cipher(0x1301), "TLS_AES_128_GCM_SHA256");
        assert_eq!(cipher(0x07_00c0), "SSLv20_CK_DES_192_EDE3_CBC_WITH_MD5");
        assert_eq!(cipher(0x1234), "unknown-4660");
        assert_eq!(curve(29), "x25519");
        assert_eq!(alert(40), "handshake_failure");
        assert_eq!(alert(7), "unknown-7");
    }

    #[test]
    fn key_exchanges_are_as_many_as_in_zeek() {
        let count = |kind| CIPHERS.iter().filter(|(n, _)| key_exchange(*n) == kind).count();
        assert_eq!(count(KeyExchange::Ecdhe), 59);
        assert_eq!(count(KeyExchange::EcdhAnon), 5);
        assert_eq!(count(KeyExchange::Dhe), 78);
        assert_eq!(count(KeyExchange::DhAnon), 22);
    }
}
