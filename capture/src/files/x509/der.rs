//! Reading DER as leniently as OpenSSL does: elements in turn.

use x509_parser::asn1_rs::{Any, Class, FromBer, Oid, Tag};

/// One element.
#[derive(Debug, Clone)]
pub struct Element<'a> {
    /// Kind of its tag.
    pub class: Class,
    /// Its tag.
    pub tag: Tag,
    /// Its content.
    pub data: &'a [u8],
    /// All of it.
    pub whole: &'a [u8],
}

impl Element<'_> {
    /// Whether it is of this universal type.
    pub fn is(&self, tag: Tag) -> bool {
        self.class == Class::Universal && self.tag == tag
    }

    /// Whether it is the alternative or option of this number.
    pub fn is_context(&self, number: u32) -> bool {
        self.class == Class::ContextSpecific && self.tag == Tag(number)
    }
}

/// Elements in turn.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element.
    pub fn any(&mut self) -> Option<Element<'a>> {
        let (rest, any) = Any::from_ber(self.0).ok()?;
        let whole = self.0.get(..self.0.len().checked_sub(rest.len())?)?;
        self.0 = rest;
        Some(Element { class: any.header.class(), tag: any.header.tag(), data: any.data, whole })
    }

    /// The next element, which must be of this type.
    pub fn expect(&mut self, tag: Tag) -> Option<&'a [u8]> {
        self.any().filter(|element| element.is(tag)).map(|element| element.data)
    }

    /// The next element if it is the option of this number.
    pub fn option(&mut self, number: u32) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let element = ahead.any().filter(|element| element.is_context(number))?;
        *self = ahead;
        Some(element.data)
    }

    /// The next element if it is of this type.
    pub fn optional(&mut self, tag: Tag) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let data = ahead.expect(tag)?;
        *self = ahead;
        Some(data)
    }

    /// An object identifier, with dots.
    pub fn oid(&mut self) -> Option<String> {
        let data = self.expect(Tag::Oid)?;
        // No number begins with a zero digit or lacks its end.
        let is_good = data.last().is_some_and(|last| last & 0x80 == 0)
            && data.first() != Some(&0x80)
            && data.windows(2).all(|two| two[0] & 0x80 != 0 || two[1] != 0x80);
        is_good.then(|| Oid::new(data.into()).to_id_string())
    }

    /// A whole number: whether it is negative, and its magnitude without zeros in front.
    pub fn integer(&mut self) -> Option<(bool, Vec<u8>)> {
        magnitude(self.expect(Tag::Integer)?)
    }
}

/// Sign and magnitude of an INTEGER's content, which must be as short as can be.
fn magnitude(data: &[u8]) -> Option<(bool, Vec<u8>)> {
    let first = *data.first()?;
    let padded = data.get(1).is_some_and(|second| {
        (first == 0 && second & 0x80 == 0) || (first == 0xff && second & 0x80 != 0)
    });
    if padded {
        return None;
    }
    let negative = first & 0x80 != 0;
    let mut bytes = data.to_vec();
    if negative {
        let mut carry = true;
        for byte in bytes.iter_mut().rev() {
            let (sum, over) = (!*byte).overflowing_add(u8::from(carry));
            (*byte, carry) = (sum, over);
        }
    }
    if bytes.len() > 1 && bytes.first() == Some(&0) {
        bytes.remove(0);
    }
    Some((negative, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        for (der, want) in [
            (&b"\x02\x01\x00"[..], Some((false, vec![0]))),
            (b"\x02\x02\x00\x80", Some((false, vec![0x80]))),
            (b"\x02\x01\xff", Some((true, vec![1]))),
            (b"\x02\x02\xff\x00", Some((true, vec![1, 0]))),
            (b"\x02\x01\x80", Some((true, vec![0x80]))),
            (b"\x02\x02\x00\x7f", None),
            (b"\x02\x02\xff\x80", None),
            (b"\x02\x00", None),
            (b"\x04\x01\x00", None),
        ] {
            assert_eq!(Reader(der).integer(), want, "{der:?}");
        }
    }

    #[test]
    fn identifiers() {
        assert_eq!(Reader(b"\x06\x03\x55\x04\x03").oid().as_deref(), Some("2.5.4.3"));
        assert_eq!(Reader(b"\x06\x03\x55\x04\x83").oid(), None);
        assert_eq!(Reader(b"\x06\x03\x55\x80\x03").oid(), None);
        assert_eq!(Reader(b"\x06\x00").oid(), None);
    }
}
