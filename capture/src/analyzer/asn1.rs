//! ASN.1 as the Basic Encoding Rules have it, as far as the analyzers need it (X.690; Zeek's
//! `asn1.pac`, which takes a tag for one byte).

use super::wire::Reader;

/// Tags.
pub mod tag {
    /// INTEGER.
    pub const INTEGER: u8 = 0x02;
    /// OCTET STRING.
    pub const OCTETS: u8 = 0x04;
    /// OBJECT IDENTIFIER.
    pub const OID: u8 = 0x06;
    /// SEQUENCE.
    pub const SEQUENCE: u8 = 0x30;
}

/// Head of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Tag byte.
    pub tag: u8,
    /// Bytes that follow.
    pub len: usize,
}

impl Meta {
    /// Number of a context tag such as `[3]`; any other tag wraps around.
    pub fn index(self) -> u8 {
        self.tag.wrapping_sub(0xa0)
    }

    /// Number of the tag in its class.
    pub fn number(self) -> u8 {
        self.tag & 0x1f
    }
}

/// A head.
pub fn meta(r: &mut Reader<'_>) -> Option<Meta> {
    let tag = r.u8()?;
    let len = r.u8()?;
    if len & 0x80 == 0 {
        return Some(Meta { tag, len: len.into() });
    }
    let bytes = r.take(usize::from(len & 0x7f))?;
    // More bytes than a number has are a length of nothing, as in Zeek.
    let len = if bytes.len() > 8 { 0 } else { number(bytes) };
    // A length that no memory holds comes up short like any other.
    Some(Meta { tag, len: usize::try_from(len).unwrap_or(usize::MAX) })
}

/// An element with its content.
pub fn element<'a>(r: &mut Reader<'a>) -> Option<(Meta, &'a [u8])> {
    let meta = meta(r)?;
    Some((meta, r.take(meta.len)?))
}

/// The content of an element that must have this tag.
pub fn tagged<'a>(r: &mut Reader<'a>, tag: u8) -> Option<&'a [u8]> {
    let (meta, content) = element(r)?;
    (meta.tag == tag).then_some(content)
}

/// A big-endian number of up to eight bytes; of more the last count.
pub fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_short_and_long_form() {
        let mut r = Reader::new(&[0x30, 0x81, 3, 2, 1, 5, 9]);
        let (meta, content) = element(&mut r).unwrap();
        assert_eq!((meta.tag, meta.len), (0x30, 3));
        assert_eq!(tagged(&mut Reader::new(content), tag::INTEGER), Some(&[5][..]));
        assert_eq!(tagged(&mut Reader::new(content), tag::OCTETS), None);
        assert_eq!(element(&mut Reader::new(&[4, 5, 1])), None);
        assert_eq!(element(&mut Reader::new(&[4, 0x84, 0xff, 0xff, 0xff, 0xff, 1])), None);
        assert_eq!(meta2(&[0xa3, 0]), Some((3, 3)));
    }

    fn meta2(bytes: &[u8]) -> Option<(u8, u8)> {
        super::meta(&mut Reader::new(bytes)).map(|m| (m.index(), m.number()))
    }
}
