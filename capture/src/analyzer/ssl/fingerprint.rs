//! Fingerprints of hellos: JA3 and JA3S (salesforce/ja3), JA4 (FoxIO `technical_details/JA4.md`, the part
//! for TLS clients, which is freely licensed).
//!
//! They tell implementations apart by what they offer and in which order. GREASE values (RFC 8701), which
//! clients put in at random, are left out.

use md5::{Digest as _, Md5};
use sha2::Sha256;

use super::hello::{ClientHello, Extension, ServerHello, ext};
use super::names::version;
use super::wire::Reader;
use crate::files::hash::{hex, push_hex};

/// Characters of a hash that JA4 keeps.
const JA4_HASH: usize = 12;
/// JA4 has two digits for how many there are.
const JA4_COUNT_MAX: usize = 99;

/// What a client is known by.
#[derive(Debug, PartialEq, Eq)]
pub struct Client {
    /// MD5 of version, cipher suites, extensions, groups and point formats.
    pub ja3: String,
    /// In three parts: what it is, its cipher suites, its extensions and signature algorithms.
    pub ja4: String,
}

/// Fingerprints of a well-formed ClientHello.
pub fn client(hello: &ClientHello<'_>) -> Client {
    let suites = plain(hello.suites);
    let extensions: Vec<Extension<'_>> =
        hello.extensions.all().filter(|extension| !is_grease(extension.kind)).collect();
    Client {
        ja3: ja3(hello.version, &suites, &extensions),
        ja4: ja4(hello.version, suites, &extensions),
    }
}

/// JA3S of a well-formed ServerHello: MD5 of version, cipher suite and extensions.
pub fn server(hello: &ServerHello<'_>) -> String {
    let kinds: Vec<u16> = hello.extensions.all().map(|extension| extension.kind).collect();
    md5(&format!("{},{},{}", hello.version, hello.cipher, decimals(&kinds)))
}

fn ja3(version: u16, suites: &[u16], extensions: &[Extension<'_>]) -> String {
    let kinds: Vec<u16> = extensions.iter().map(|extension| extension.kind).collect();
    let groups = find(extensions, ext::GROUPS).map(after_length16).unwrap_or_default();
    let formats = find(extensions, ext::POINT_FORMATS).and_then(|data| data.get(1..));
    let formats: Vec<u16> = formats.unwrap_or_default().iter().copied().map(u16::from).collect();
    md5(&format!(
        "{version},{},{},{},{}",
        decimals(suites),
        decimals(&kinds),
        decimals(&plain(groups)),
        decimals(&formats)
    ))
}

fn ja4(version: u16, mut suites: Vec<u16>, extensions: &[Extension<'_>]) -> String {
    let protocol = if version.to_be_bytes()[0] == DTLS { 'd' } else { 't' };
    let name = if find(extensions, ext::SERVER_NAME).is_some() { 'd' } else { 'i' };
    let (count, more) = (suites.len().min(JA4_COUNT_MAX), extensions.len().min(JA4_COUNT_MAX));
    let version = ja4_version(highest(version, extensions));
    let alpn = ja4_alpn(find(extensions, ext::ALPN));
    suites.sort_unstable();
    let mut kinds: Vec<u16> = extensions.iter().map(|extension| extension.kind).collect();
    kinds.retain(|kind| !matches!(*kind, ext::SERVER_NAME | ext::ALPN));
    kinds.sort_unstable();
    let mut last = hexes(&kinds);
    let signatures = find(extensions, ext::SIGNATURE_ALGORITHMS).map(after_length16);
    let signatures = plain(signatures.unwrap_or_default());
    if !signatures.is_empty() {
        last = format!("{last}_{}", hexes(&signatures));
    }
    let (second, third) = (ja4_hash(&hexes(&suites)), ja4_hash(&last));
    format!("{protocol}{version}{name}{count:02}{more:02}{alpn}_{second}_{third}")
}

/// First byte of DTLS versions.
const DTLS: u8 = 0xfe;

/// The highest version that the client offers. Those of DTLS count down.
fn highest(named: u16, extensions: &[Extension<'_>]) -> u16 {
    let offered = find(extensions, ext::VERSIONS).and_then(|data| data.get(1..));
    let offered = plain(offered.unwrap_or_default());
    let rank = |version: &u16| match version.to_be_bytes()[0] {
        DTLS => u16::MAX - version,
        _ => *version,
    };
    offered.into_iter().max_by_key(rank).unwrap_or(named)
}

fn ja4_version(version: u16) -> &'static str {
    match version {
        version::TLSV13 => "13",
        version::TLSV12 => "12",
        version::TLSV11 => "11",
        version::TLSV10 => "10",
        version::SSLV3 => "s3",
        version::SSLV2 => "s2",
        version::DTLSV10 => "d1",
        version::DTLSV12 => "d2",
        version::DTLSV13 => "d3",
        _ => "00",
    }
}

/// First and last character of the first protocol; of its hexadecimal digits where one is no letter or
/// digit of ASCII.
fn ja4_alpn(data: Option<&[u8]>) -> String {
    let first = data.and_then(|data| Reader::new(after_length16(data)).vec8());
    let Some((first, last)) = first.and_then(|name| Some((*name.first()?, *name.last()?))) else {
        return "00".to_owned();
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return format!("{}{}", char::from(first), char::from(last));
    }
    format!("{:x}{:x}", first >> 4, last & 0xf)
}

fn ja4_hash(text: &str) -> String {
    if text.is_empty() {
        return "0".repeat(JA4_HASH);
    }
    let mut hash = hex(&Sha256::digest(text));
    hash.truncate(JA4_HASH);
    hash
}

/// RFC 8701: two equal bytes whose lower half is `a`.
fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0xf == 0xa
}

/// Pairs of bytes as numbers, without GREASE.
fn plain(bytes: &[u8]) -> Vec<u16> {
    let pairs =
        bytes.chunks_exact(2).filter_map(|pair| Some(u16::from_be_bytes(pair.try_into().ok()?)));
    pairs.filter(|value| !is_grease(*value)).collect()
}

fn find<'a>(extensions: &[Extension<'a>], kind: u16) -> Option<&'a [u8]> {
    extensions.iter().find(|extension| extension.kind == kind).map(|extension| extension.data)
}

/// A list behind its length of two bytes.
fn after_length16(data: &[u8]) -> &[u8] {
    Reader::new(data).vec16().unwrap_or_default()
}

fn decimals(values: &[u16]) -> String {
    joined(values, '-', |text, value| {
        let first = [10_000, 1000, 100, 10].iter().position(|power| value >= *power);
        for power in [10_000u16, 1000, 100, 10, 1].into_iter().skip(first.unwrap_or(4)) {
            text.push(char::from(b'0' + (value / power % 10) as u8));
        }
    })
}

fn hexes(values: &[u16]) -> String {
    joined(values, ',', |text, value| push_hex(text, &value.to_be_bytes()))
}

/// Without `write!`, which takes several times as long for so short numbers.
fn joined(values: &[u16], between: char, push: impl Fn(&mut String, u16)) -> String {
    let mut text = String::with_capacity(values.len() * 6);
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            text.push(between);
        }
        push(&mut text, *value);
    }
    text
}

fn md5(text: &str) -> String {
    hex(&Md5::digest(text))
}

#[cfg(test)]
mod tests {
    use super::super::hello;
    use super::*;

    fn numbers(text: &str, radix: u32, between: char) -> Vec<u16> {
        text.split(between).map(|n| u16::from_str_radix(n, radix).unwrap()).collect()
    }

    fn pairs(values: &[u16]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_be_bytes()).collect()
    }

    fn with_length16(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
    }

    /// A hello's body.
    fn body(version: u16, suites: &[u16], extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut body = version.to_be_bytes().to_vec();
        body.extend([7; 32]);
        // No session; DTLS has a cookie too.
        body.extend(if version >> 8 == 0xfe { &[0, 0][..] } else { &[0] });
        body.extend(with_length16(&pairs(suites)));
        body.extend([1, 0]);
        let list = extensions
            .iter()
            .flat_map(|(kind, data)| [&kind.to_be_bytes()[..], &with_length16(data)].concat());
        body.extend(with_length16(&list.collect::<Vec<u8>>()));
        body
    }

    fn of(body: &[u8]) -> Client {
        client(&hello::client(body).expect("well-formed"))
    }

    /// The example of JA3's own description.
    #[test]
    fn ja3_of_its_description() {
        let suites = numbers("47-53-5-10-49161-49162-49171-49172-50-56-19-4", 10, '-');
        let groups = with_length16(&pairs(&[23, 24, 25]));
        let extensions = [(0, Vec::new()), (10, groups), (11, vec![1, 0])];
        let with = of(&body(769, &suites, &extensions));
        assert_eq!(with.ja3, "ada70206e40642a3e4461f35503241d5");
        let suites = numbers("4-5-10-9-100-98-3-6-19-18-99", 10, '-');
        let mut without = body(769, &suites, &[]);
        without.truncate(without.len() - 2);
        assert_eq!(of(&without).ja3, "de350869b8c85de67a350c8d186f11e6");
    }

    /// The example of JA4's own description, with GREASE put in where clients do.
    #[test]
    fn ja4_of_its_description() {
        let suites = "1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035";
        let suites = [&[0x2a2a], &numbers(suites, 16, ',')[..]].concat();
        let signatures = numbers("0403,0804,0401,0503,0805,0501,0806,0601", 16, ',');
        let order =
            "001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015";
        let data = |kind| match kind {
            ext::SERVER_NAME => b"\0\x06\0\0\x03a.b".to_vec(),
            ext::ALPN => b"\0\x0c\x02h2\x08http/1.1".to_vec(),
            ext::SIGNATURE_ALGORITHMS => with_length16(&pairs(&signatures)),
            ext::VERSIONS => [&[6], &pairs(&[0x3a3a, 0x304, 0x303])[..]].concat(),
            ext::KEY_SHARE => with_length16(&[]),
            ext::GROUPS => with_length16(&pairs(&[0x1a1a, 0x1d])),
            ext::TIMESTAMPS | ext::SESSION_TICKET => Vec::new(),
            ext::POINT_FORMATS | ext::PSK_MODES => vec![1, 1],
            _ => vec![0],
        };
        let mut extensions: Vec<(u16, Vec<u8>)> =
            numbers(order, 16, ',').into_iter().map(|kind| (kind, data(kind))).collect();
        extensions.insert(0, (0x4a4a, Vec::new()));
        extensions.push((0xfafa, vec![0]));
        let made = of(&body(0x303, &suites, &extensions));
        assert_eq!(made.ja4, "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn ja4_of_little() {
        let bare = of(&body(0x301, &[], &[]));
        assert_eq!(bare.ja4, "t10i000000_000000000000_000000000000");
        let alpn = |name: &[u8]| {
            let list = with_length16(&[&[name.len() as u8], name].concat());
            of(&body(0xfefd, &[0x2f], &[(ext::ALPN, list)])).ja4
        };
        for (name, want) in [
            (&b"h"[..], "hh"),
            (b"http/1.1", "h1"),
            (b"\xab", "ab"),
            (b"\xab\xcd", "ad"),
            (b"0\xab", "3b"),
            (b"\xe2\x82\xac", "ec"),
            (b"", "00"),
        ] {
            let got = alpn(name);
            assert!(got.starts_with(&format!("dd2i0101{want}_")), "{name:?}: {got}");
            assert!(got.ends_with("_000000000000"), "{got}");
        }
    }

    #[test]
    fn ja3s_is_of_what_the_server_chose() {
        let mut body = vec![3, 1];
        body.extend([9; 32]);
        body.extend([0, 0, 47, 0]);
        body.extend(with_length16(&[0xff, 1, 0, 1, 0, 0, 0, 0, 0]));
        let made = server(&hello::server(&body).expect("well-formed"));
        // MD5 of `769,47,65281-0`.
        assert_eq!(made, "b2cfd6a98647494d47ed4ae63fe82b92");
    }

    #[test]
    fn no_hello_is_too_odd() {
        let full = body(
            0x303,
            &[0x1301],
            &[(10, vec![9]), (11, vec![]), (13, vec![0]), (16, vec![0, 9, 9])],
        );
        for at in 0..full.len() {
            for value in [0, 1, 0x0a, 0x7f, 0xff] {
                let mut odd = full.clone();
                odd[at] = value;
                hello::client(&odd).map(|hello| client(&hello));
                hello::server(&odd).map(|hello| server(&hello));
            }
            hello::client(&full[..at]).map(|hello| client(&hello));
        }
    }
}
