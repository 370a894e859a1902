//! Distinguished names as OpenSSL prints them for RFC 2253 (`XN_FLAG_RFC2253`): last part first, bytes other than
//! ASCII in hex, values that are no text as a dump of their DER.

use std::fmt::Write as _;

use x509_parser::asn1_rs::Tag;

use super::der::{Element, Reader};
use super::oids;

/// Bytes of a name that Zeek reads.
const NAME_BYTES_MAX: usize = 2047;

/// The last common name in the content of a Name, as its bytes lie there.
pub fn common_name(name: &[u8]) -> Option<&[u8]> {
    let parts = parts(name)?;
    parts.iter().rev().find(|part| part.oid == "2.5.4.3").map(|part| part.value.data)
}

struct Part<'a> {
    /// Which set it belongs to.
    set: usize,
    oid: String,
    value: Element<'a>,
}

/// How characters of a string type are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    /// Bytes that are UTF-8 already.
    Utf8,
    /// So many bytes a character.
    Bytes(usize),
}

fn width(value: &Element<'_>) -> Option<Width> {
    let tags = [
        (Tag::Utf8String, Width::Utf8),
        (Tag::NumericString, Width::Bytes(1)),
        (Tag::PrintableString, Width::Bytes(1)),
        (Tag::T61String, Width::Bytes(1)),
        (Tag::Ia5String, Width::Bytes(1)),
        (Tag::VisibleString, Width::Bytes(1)),
        (Tag::UniversalString, Width::Bytes(4)),
        (Tag::BmpString, Width::Bytes(2)),
    ];
    tags.into_iter().find(|(tag, _)| value.is(*tag)).map(|(_, width)| width)
}

/// The name in the content of a Name; `None` where it is none.
pub fn print(name: &[u8]) -> Option<String> {
    let parts = parts(name)?;
    let mut text = String::new();
    let mut set = None;
    for part in parts.iter().rev() {
        match set.replace(part.set) {
            None => {}
            Some(before) if before == part.set => text.push('+'),
            Some(_) => text.push(','),
        }
        let known = oids::attribute(&part.oid);
        text.push_str(known.unwrap_or(&part.oid));
        text.push('=');
        match width(&part.value).filter(|_| known.is_some()) {
            Some(width) => escape(part.value.data, width, &mut text),
            None => {
                text.push('#');
                for byte in part.value.whole {
                    let _ = write!(text, "{byte:02X}");
                }
            }
        }
    }
    text.truncate(NAME_BYTES_MAX);
    Some(text)
}

fn parts(name: &[u8]) -> Option<Vec<Part<'_>>> {
    let mut found = Vec::new();
    let mut sets = Reader(name);
    let mut set = 0;
    while !sets.is_empty() {
        let mut entries = Reader(sets.expect(Tag::Set)?);
        while !entries.is_empty() {
            let mut entry = Reader(entries.expect(Tag::Sequence)?);
            let (oid, value) = (entry.oid()?, entry.any()?);
            if !entry.is_empty() || !is_text_good(&value) {
                return None;
            }
            found.push(Part { set, oid, value });
        }
        set += 1;
    }
    Some(found)
}

/// OpenSSL takes no name whose strings it cannot turn into UTF-8.
fn is_text_good(value: &Element<'_>) -> bool {
    match width(value) {
        Some(Width::Utf8) => std::str::from_utf8(value.data).is_ok(),
        Some(Width::Bytes(width)) => value.data.len().is_multiple_of(width),
        None => true,
    }
}

fn escape(data: &[u8], width: Width, text: &mut String) {
    let bytes = match width {
        Width::Utf8 => 1,
        Width::Bytes(bytes) => bytes,
    };
    let last = (data.len() / bytes).saturating_sub(1);
    for (i, piece) in data.chunks_exact(bytes).enumerate() {
        let code = piece.iter().fold(0u32, |code, byte| code << 8 | u32::from(*byte));
        let is_end =
            |c| (i == last && c == b' ') || (i == 0 && last > 0 && matches!(c, b' ' | b'#'));
        let mut utf8 = [0; 4];
        let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        let bytes = match width {
            Width::Utf8 => piece,
            Width::Bytes(_) => character.encode_utf8(&mut utf8).as_bytes(),
        };
        for &byte in bytes {
            match byte {
                b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => {
                    text.push('\\');
                    text.push(char::from(byte));
                }
                byte if is_end(byte) => {
                    text.push('\\');
                    text.push(char::from(byte));
                }
                b' '..=b'~' => text.push(char::from(byte)),
                byte => {
                    let _ = write!(text, "\\{byte:02X}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tlv(tag: u8, data: &[u8]) -> Vec<u8> {
        [&[tag, data.len() as u8][..], data].concat()
    }

    fn attribute(oid: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        tlv(0x30, &[tlv(6, oid), tlv(tag, value)].concat())
    }

    const CN: &[u8] = b"\x55\x04\x03";

    fn one(tag: u8, value: &[u8]) -> Option<String> {
        print(&tlv(0x31, &attribute(CN, tag, value)))
    }

    #[test]
    fn names() {
        let country = tlv(0x31, &attribute(b"\x55\x04\x06", 0x13, b"US"));
        let two = [attribute(CN, 12, b"a"), attribute(b"\x55\x04\x0a", 12, b"b, c")].concat();
        let name = [country, tlv(0x31, &two)].concat();
        assert_eq!(print(&name).as_deref(), Some("O=b\\, c+CN=a,C=US"));
        assert_eq!(print(b"").as_deref(), Some(""));
        assert_eq!(print(b"\x31\x05abc"), None);
    }

    /// As `openssl x509 -subject -nameopt RFC2253` prints them.
    #[test]
    fn values() {
        assert_eq!(one(12, "\u{e9}".as_bytes()).as_deref(), Some("CN=\\C3\\A9"));
        assert_eq!(one(20, b"\xe9").as_deref(), Some("CN=\\C3\\A9"));
        assert_eq!(one(30, b"\0a\x20\xac").as_deref(), Some("CN=a\\E2\\82\\AC"));
        assert_eq!(one(12, b" #a ").as_deref(), Some("CN=\\ #a\\ "));
        assert_eq!(one(12, b"#").as_deref(), Some("CN=#"));
        assert_eq!(one(12, b"#a").as_deref(), Some("CN=\\#a"));
        assert_eq!(one(12, b"a\0\n=").as_deref(), Some("CN=a\\00\\0A="));
        assert_eq!(one(3, b"\0a").as_deref(), Some("CN=#03020061"));
        assert_eq!(one(12, b"\xff"), None);
        assert_eq!(one(30, b"abc"), None);
        let unknown = tlv(0x31, &attribute(b"\x2a\x03", 12, b"x"));
        assert_eq!(print(&unknown).as_deref(), Some("1.2.3=#0C0178"));
    }
}
