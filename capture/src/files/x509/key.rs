//! What a certificate says of its key, as far as OpenSSL understands it.

use x509_parser::asn1_rs::Tag;

use super::der::Reader;
use super::oids;

/// A key.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// Algorithm: OpenSSL's long name, or the identifier with dots.
    pub algorithm: String,
    /// `rsa`, `dsa`, `ecdsa`, or OpenSSL's name of another type.
    pub kind: Option<&'static str>,
    /// Bits.
    pub bits: Option<u64>,
    /// Exponent of an RSA key.
    pub exponent: Option<String>,
    /// Curve of an elliptic key.
    pub curve: Option<&'static str>,
}

/// Reads the content of a SubjectPublicKeyInfo.
pub fn read(info: &[u8]) -> Option<Key> {
    let mut info = Reader(info);
    let mut algorithm = Reader(info.expect(Tag::Sequence)?);
    let key = info.expect(Tag::BitString)?;
    let oid = algorithm.oid()?;
    let name = oids::algorithm(&oid).map_or_else(|| oid.clone(), str::to_owned);
    let mut found = Key { algorithm: name, ..Key::default() };
    let key = key.get(1..).unwrap_or_default();
    let understood = match oid.as_str() {
        "1.2.840.113549.1.1.1" => rsa(key, "rsa"),
        "1.2.840.113549.1.1.10" => rsa(key, "RSA-PSS").map(|key| Key { exponent: None, ..key }),
        "1.2.840.10040.4.1" => dsa(algorithm),
        "1.2.840.10045.2.1" => elliptic(algorithm, key),
        "1.3.101.110" => plain(key, "X25519", 253, 32),
        "1.3.101.111" => plain(key, "X448", 448, 56),
        "1.3.101.112" => plain(key, "ED25519", 256, 32),
        "1.3.101.113" => plain(key, "ED448", 456, 57),
        _ => None,
    };
    if let Some(key) = understood {
        found = Key { algorithm: found.algorithm, ..key };
    }
    Some(found)
}

fn plain(key: &[u8], kind: &'static str, bits: u64, len: usize) -> Option<Key> {
    (key.len() == len).then(|| Key { kind: Some(kind), bits: Some(bits), ..Key::default() })
}

fn rsa(key: &[u8], kind: &'static str) -> Option<Key> {
    let mut fields = Reader(Reader(key).expect(Tag::Sequence)?);
    let ((_, modulus), (negative, exponent)) = (fields.integer()?, fields.integer()?);
    let sign = if negative { "-" } else { "" };
    Some(Key {
        kind: Some(kind),
        bits: bits(&modulus),
        exponent: Some(format!("{sign}{}", decimal(&exponent))),
        ..Key::default()
    })
}

fn dsa(mut algorithm: Reader<'_>) -> Option<Key> {
    let mut parameters = Reader(algorithm.expect(Tag::Sequence)?);
    let (_, prime) = parameters.integer()?;
    Some(Key { kind: Some("dsa"), bits: bits(&prime), ..Key::default() })
}

/// Only curves with a name; the key must be a point in one of its forms.
fn elliptic(mut algorithm: Reader<'_>, key: &[u8]) -> Option<Key> {
    let (curve, bits) = oids::curve(&algorithm.oid()?)?;
    let is_point = matches!(key.first(), Some(2 | 3 | 4 | 6 | 7)) && key.len() > 1;
    is_point.then(|| Key {
        kind: Some("ecdsa"),
        bits: Some(bits),
        curve: Some(curve),
        ..Key::default()
    })
}

fn bits(magnitude: &[u8]) -> Option<u64> {
    let first = magnitude.first()?;
    let bits = magnitude.len() as u64 * 8 - u64::from(first.leading_zeros());
    (bits > 0).then_some(bits)
}

/// Bytes of an exponent that are turned into decimal: the time that takes grows with the square.
const EXPONENT_BYTES_MAX: usize = 512;

/// A magnitude in decimal.
fn decimal(magnitude: &[u8]) -> String {
    let magnitude = magnitude.get(..EXPONENT_BYTES_MAX).unwrap_or(magnitude);
    // Nine digits each, the lowest first.
    let mut groups: Vec<u32> = vec![0];
    for byte in magnitude {
        let mut carry = u64::from(*byte);
        for group in &mut groups {
            let value = u64::from(*group) * 256 + carry;
            *group = (value % 1_000_000_000) as u32;
            carry = value / 1_000_000_000;
        }
        if carry > 0 {
            groups.push(carry as u32);
        }
    }
    let mut digits = groups.iter().rev();
    let mut text = digits.next().map_or_else(String::new, u32::to_string);
    for group in digits {
        text.push_str(&format!("{group:09}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals() {
        assert_eq!(decimal(&[0]), "0");
        assert_eq!(decimal(&[1, 0, 1]), "65537");
        assert_eq!(decimal(&[0xff; 8]), "18446744073709551615");
        assert_eq!(decimal(&[0x0d, 0xe0, 0xb6, 0xb3, 0xa7, 0x64, 0, 0]), "1000000000000000000");
    }

    #[test]
    fn an_rsa_key() {
        let body = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\
                     \x03\x0a\x00\x30\x07\x02\x02\x00\xf1\x02\x01\x03";
        let key = read(body).expect("a key");
        assert_eq!((key.algorithm.as_str(), key.kind), ("rsaEncryption", Some("rsa")));
        assert_eq!((key.bits, key.exponent.as_deref()), (Some(8), Some("3")));
        for end in 0..body.len() {
            read(&body[..end]);
        }
    }
}
