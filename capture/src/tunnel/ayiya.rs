//! AYIYA (draft-massar-v6ops-ayiya-02 section 4.1), as Zeek's `AYIYA` analyzer reads it.

use super::udp::{Kind, Says};
use super::{Inner, Oddity};
use crate::decode::proto;

/// The operation that carries a packet; all others are the tunnel's own.
const FORWARD: u8 = 1;

/// Whether a datagram on any port looks like it.
pub fn detect(data: &[u8]) -> bool {
    matches!(data, [_, 0x52, 0x11, ..])
}

/// Reads one datagram.
pub fn open(data: &[u8]) -> Says<'_> {
    let Some((header, rest)) = data.split_first_chunk::<8>() else { return Says::NO };
    let identity = 1usize << (header[0] >> 4);
    let signature = usize::from(header[1] >> 4) * 4;
    let Some(payload) = rest.get(identity + signature..) else { return Says::NO };
    if header[2] & 0x0f != FORWARD {
        return Says::NOTHING;
    }
    if payload.is_empty() {
        return Says::yes_but(Oddity::new("ayiya_empty_packet", Kind::Ayiya.source()));
    }
    Says::yes(match header[3] {
        proto::IPV4 | proto::IPV6 => Some(Inner::ip(payload)),
        _ => None,
    })
}
