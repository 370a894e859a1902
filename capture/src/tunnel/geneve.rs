//! Geneve (RFC 8926 section 3.4): eight bytes, options, and what the protocol type says, as Zeek's
//! `Geneve` analyzer reads it.

use super::udp::{Kind, Says};
use super::{Inner, Oddity};
use crate::source::Link;

/// Reads one datagram.
pub fn open(data: &[u8]) -> Says<'_> {
    let Some((header, rest)) = data.split_first_chunk::<8>() else { return Says::NO };
    let version = header[0] >> 6;
    if version != 0 {
        let odd = Oddity::new("geneve_invalid_version", Kind::Geneve.source());
        return Says::nothing_but(odd.with("", version.into()));
    }
    let options = usize::from(header[0] & 0x3f) * 4;
    let Some(payload) = rest.get(options..) else { return Says::NO };
    if payload.is_empty() {
        return Says::yes_but(Oddity::new("geneve_empty_packet", Kind::Geneve.source()));
    }
    Says::yes(match u16::from_be_bytes([header[2], header[3]]) {
        0x6558 => Some(Inner { bytes: payload, link: Link::Ethernet }),
        0x0800 | 0x86dd => Some(Inner::ip(payload)),
        _ => None,
    })
}
