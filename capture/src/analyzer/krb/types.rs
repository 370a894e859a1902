//! Types that Kerberos' messages are made of, and pre-authentication data.
//!
//! Every parser says `None` for what is malformed. Source: Zeek's `krb-types.pac`, `krb-padata.pac`, which
//! take fields by place rather than by tag.

use super::message::{self, Seen};
use crate::analyzer::asn1::{self, Meta, tag};
use crate::analyzer::wire::Reader;

/// Types of pre-authentication data whose form matters.
mod padata {
    pub const TGS_REQ: u64 = 1;
    pub const ENC_TIMESTAMP: u64 = 2;
    pub const PW_SALT: u64 = 3;
    pub const ENCTYPE_INFO: u64 = 11;
    pub const PK_AS_REQ: u64 = 16;
    pub const PK_AS_REP: u64 = 17;
    pub const ENCTYPE_INFO2: u64 = 19;
}

/// Heads, one inside the other.
pub fn metas(r: &mut Reader<'_>, count: usize) -> Option<()> {
    for _ in 0..count {
        asn1::meta(r)?;
    }
    Some(())
}

/// An element inside of a tagged one, as the fields of a sequence are.
pub fn field<'a>(r: &mut Reader<'a>) -> Option<&'a [u8]> {
    asn1::meta(r)?;
    asn1::element(r).map(|(_, content)| content)
}

/// What a length that was read bounds.
pub fn within<'a>(r: &mut Reader<'a>, len: usize) -> Option<Reader<'a>> {
    r.take(len).map(Reader::new)
}

/// Elements up to the end.
pub fn elements(r: &mut Reader<'_>) -> Option<()> {
    while !r.is_empty() {
        asn1::element(r)?;
    }
    Some(())
}

/// A principal's name.
pub fn principal(r: &mut Reader<'_>) -> Option<()> {
    metas(r, 2)?;
    asn1::element(r)?;
    metas(r, 2)?;
    elements(r)
}

/// A ticket; `in_field` says that it stands in a tagged field.
pub fn ticket(r: &mut Reader<'_>, in_field: bool) -> Option<()> {
    metas(r, if in_field { 3 } else { 2 })?;
    field(r)?;
    field(r)?;
    let name = asn1::meta(r)?;
    principal(&mut within(r, name.len)?)?;
    encrypted_field(r)
}

/// Tickets with their head.
pub fn tickets(r: &mut Reader<'_>) -> Option<()> {
    let all = asn1::meta(r)?;
    let mut all = within(r, all.len)?;
    while !all.is_empty() {
        ticket(&mut all, false)?;
    }
    Some(())
}

/// Encrypted data in a field of its own.
pub fn encrypted_field(r: &mut Reader<'_>) -> Option<()> {
    let meta = asn1::meta(r)?;
    encrypted(&mut within(r, meta.len)?)
}

/// Encrypted data: type, maybe the version of the key, and the text.
pub fn encrypted(r: &mut Reader<'_>) -> Option<()> {
    asn1::meta(r)?;
    field(r)?;
    let mut meta = asn1::meta(r)?;
    if meta.index() == 1 {
        asn1::element(r)?;
        meta = asn1::meta(r)?;
    }
    asn1::element(&mut within(r, meta.len)?).map(|_| ())
}

/// Addresses of a host, with their head.
pub fn addresses(r: &mut Reader<'_>) -> Option<()> {
    asn1::meta(r)?;
    while !r.is_empty() {
        address(r)?;
    }
    Some(())
}

fn address(r: &mut Reader<'_>) -> Option<()> {
    metas(r, 2)?;
    asn1::element(r)?;
    field(r).map(|_| ())
}

/// Pre-authentication data where it may be missing: then the head of what follows, which was read.
pub fn optional_padata(r: &mut Reader<'_>, index: u8, seen: &mut Seen) -> Option<Meta> {
    let first = asn1::meta(r)?;
    if first.index() != index {
        return Some(first);
    }
    padata_list(&mut within(r, first.len)?, false, seen)?;
    asn1::meta(r)
}

/// Pre-authentication data; that of an error is not looked into.
pub fn padata_list(r: &mut Reader<'_>, of_error: bool, seen: &mut Seen) -> Option<()> {
    let meta = asn1::meta(r)?;
    if meta.tag != tag::SEQUENCE {
        return r.skip(meta.len);
    }
    while !r.is_empty() {
        asn1::meta(r)?;
        let kind = field(r)?;
        let meta = asn1::meta(r)?;
        let kind = if kind.len() > 8 { 0 } else { asn1::number(kind) };
        if of_error {
            r.skip(meta.len)?;
        } else {
            padata(r, kind, meta.len, seen)?;
        }
    }
    Some(())
}

fn padata(r: &mut Reader<'_>, kind: u64, len: usize, seen: &mut Seen) -> Option<()> {
    match kind {
        // These two end where they end, whatever the length says.
        padata::TGS_REQ => {
            metas(r, 2)?;
            message::ap_request(r, seen)
        }
        padata::PW_SALT => asn1::element(r).map(|_| ()),
        padata::ENC_TIMESTAMP => encrypted(&mut within(r, len)?),
        padata::PK_AS_REQ => certificate(&mut within(r, len)?, 4, 2),
        padata::PK_AS_REP => certificate(&mut within(r, len)?, 5, 2),
        padata::ENCTYPE_INFO | padata::ENCTYPE_INFO2 => encryption_type(&mut within(r, len)?),
        _ => asn1::element(&mut within(r, len)?).map(|_| ()),
    }
}

/// A signed message with a certificate, behind heads before and after its identifier.
fn certificate(r: &mut Reader<'_>, before: usize, after: usize) -> Option<()> {
    metas(r, before)?;
    asn1::element(r)?;
    metas(r, after)?;
    for _ in 0..3 {
        asn1::element(r)?;
    }
    let meta = asn1::meta(r)?;
    r.skip(meta.len)
}

fn encryption_type(r: &mut Reader<'_>) -> Option<()> {
    /// An entry with nothing but the type of encryption.
    const TYPE_LEN: usize = 7;
    asn1::meta(r)?;
    let entry = asn1::meta(r)?;
    asn1::meta(r)?;
    asn1::element(r)?;
    if entry.len > TYPE_LEN {
        asn1::meta(r)?;
        let salt = asn1::meta(r)?;
        r.skip(salt.len)?;
    }
    Some(())
}
