//! VXLAN (RFC 7348 section 5): eight bytes, then an Ethernet frame, as Zeek's `VXLAN` analyzer reads it.

use super::udp::{Kind, Says};
use super::{Inner, Oddity};
use crate::source::Link;

/// The network identifier is valid, which it has to be.
const VALID: u8 = 0x08;

/// Reads one datagram.
pub fn open(data: &[u8]) -> Says<'_> {
    let Some((header, frame)) = data.split_first_chunk::<8>() else { return Says::NO };
    if header[0] & VALID == 0 {
        return Says::NO;
    }
    if frame.is_empty() {
        return Says::yes_but(Oddity::new("vxlan_empty_packet", Kind::Vxlan.source()));
    }
    Says::yes(Some(Inner { bytes: frame, link: Link::Ethernet }))
}
