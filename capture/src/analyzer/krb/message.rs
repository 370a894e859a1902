//! Kerberos' messages.
//!
//! Every parser says `None` for what is malformed. Source: Zeek's `krb-protocol.pac`.

use super::types::{
    addresses, elements, encrypted_field, field, metas, optional_padata, padata_list, principal,
    ticket, tickets, within,
};
use crate::analyzer::asn1;
use crate::analyzer::wire::Reader;

/// What was seen on the way, even of a message that did not parse to its end.
#[derive(Debug, Default)]
pub struct Seen {
    /// A whole message, though it may be inside of one that is malformed.
    pub message: bool,
}

/// Numbers of messages.
mod kind {
    pub const AS_REQ: u8 = 10;
    pub const AS_REP: u8 = 11;
    pub const TGS_REQ: u8 = 12;
    pub const TGS_REP: u8 = 13;
    pub const AP_REQ: u8 = 14;
    pub const AP_REP: u8 = 15;
    pub const PRIV: u8 = 21;
    pub const CRED: u8 = 22;
    pub const ERROR: u8 = 30;
}

/// The error that comes with what the client is to send first.
const PREAUTH_REQUIRED: u64 = 25;

/// One message.
pub fn message(data: &[u8], seen: &mut Seen) -> Option<()> {
    let mut r = Reader::new(data);
    let r = &mut r;
    match asn1::meta(r)?.number() {
        kind::AS_REQ | kind::TGS_REQ => request(r, seen)?,
        kind::AS_REP | kind::TGS_REP => reply(r, seen)?,
        kind::AP_REQ => ap_request(r, seen)?,
        kind::AP_REP | kind::PRIV => {
            field(r)?;
            field(r)?;
            encrypted_field(r)?;
        }
        kind::CRED => {
            field(r)?;
            field(r)?;
            metas(r, 2)?;
            tickets(r)?;
            encrypted_field(r)?;
        }
        kind::ERROR => error(r, seen)?,
        // KRB-SAFE as well: Zeek's parser takes its body to the end and then misses the checksum.
        _ => return None,
    }
    seen.message = true;
    Some(())
}

fn request(r: &mut Reader<'_>, seen: &mut Seen) -> Option<()> {
    asn1::meta(r)?;
    field(r)?;
    field(r)?;
    optional_padata(r, 3, seen)?;
    asn1::meta(r)?;
    while !r.is_empty() {
        let meta = asn1::meta(r)?;
        let mut value = within(r, meta.len)?;
        let value = &mut value;
        match meta.index() {
            0 => {
                asn1::meta(value)?;
                value.skip(1 + 4)?;
            }
            1 | 3 => principal(value)?,
            4..=6 => metas(value, 1)?,
            2 | 7 | 10 => {
                asn1::element(value)?;
            }
            8 => {
                asn1::meta(value)?;
                elements(value)?;
            }
            9 => addresses(value)?,
            11 => tickets(value)?,
            _ => {}
        }
    }
    Some(())
}

fn reply(r: &mut Reader<'_>, seen: &mut Seen) -> Option<()> {
    asn1::meta(r)?;
    field(r)?;
    field(r)?;
    let realm = optional_padata(r, 2, seen)?;
    asn1::element(&mut within(r, realm.len)?)?;
    let name = asn1::meta(r)?;
    principal(&mut within(r, name.len)?)?;
    ticket(r, true)?;
    encrypted_field(r)
}

/// A request to a service, after its own head.
pub fn ap_request(r: &mut Reader<'_>, seen: &mut Seen) -> Option<()> {
    asn1::meta(r)?;
    field(r)?;
    field(r)?;
    metas(r, 2)?;
    r.skip(1 + 4)?;
    ticket(r, true)?;
    encrypted_field(r)?;
    seen.message = true;
    Some(())
}

fn error(r: &mut Reader<'_>, seen: &mut Seen) -> Option<()> {
    asn1::meta(r)?;
    let mut code = 0;
    while !r.is_empty() {
        let meta = asn1::meta(r)?;
        if meta.index() == 6 {
            let (_, number) = asn1::element(r)?;
            code = if number.len() > 8 { 0 } else { asn1::number(number) };
            continue;
        }
        let mut value = within(r, meta.len)?;
        let value = &mut value;
        match meta.index() {
            2 | 4 => metas(value, 1)?,
            0 | 1 | 3 | 5 | 7 | 9 | 11 => {
                asn1::element(value)?;
            }
            8 | 10 => principal(value)?,
            12 if code == PREAUTH_REQUIRED => padata_list(value, true, seen)?,
            12 => {}
            _ => return None,
        }
    }
    Some(())
}
