//! Teredo (RFC 4380 section 5.1.1), as Zeek's `Teredo` analyzer reads it.

use super::ip::{self, Misfit};
use crate::decode::proto;

/// An origin indication, bytes.
const ORIGIN: usize = 8;
/// What an authentication header has beside its two fields of variable length: four bytes before
/// them, nonce and confirmation after.
const AUTHENTICATION: usize = 4 + 8 + 1;
/// The fixed IPv6 header, bytes.
const IPV6: usize = 40;
/// The prefix of Teredo addresses, 2001::/32.
const PREFIX: [u8; 4] = [0x20, 0x01, 0, 0];

/// A datagram that is Teredo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The IPv6 packet, with what may follow it.
    pub bytes: &'a [u8],
    /// A bubble, which should end with its header, does not.
    pub padded_bubble: bool,
}

/// Reads one datagram. What is none gives a weird, if Zeek has one for it.
pub fn open(data: &[u8]) -> Result<Packet<'_>, Option<&'static str>> {
    let bytes = ipv6(data)?;
    match ip::fits(proto::IPV6, bytes) {
        Ok(()) => Ok(Packet { bytes, padded_bubble: false }),
        Err(Misfit::Long) if is_bubble(bytes) => Ok(Packet { bytes, padded_bubble: true }),
        Err(_) => Err(None),
    }
}

/// The IPv6 packet behind authentication and origin indication, each at most once and in this order.
fn ipv6(mut data: &[u8]) -> Result<&[u8], Option<&'static str>> {
    let (mut origin, mut authentication) = (false, false);
    loop {
        let skip = match data {
            [] | [_] => return Err(Some("truncated_Teredo")),
            [0, 0, ..] if origin => return Err(None),
            [0, 0, ..] => {
                origin = true;
                data.get(ORIGIN..).ok_or("truncated_Teredo_origin_indication")
            }
            [0, 1, ..] if origin || authentication => return Err(None),
            [0, 1, ..] => {
                authentication = true;
                behind_authentication(data).ok_or("truncated_Teredo_authentication")
            }
            [0x60..=0x6f, ..] if data.len() < IPV6 => return Err(Some("truncated_IPv6_in_Teredo")),
            [0x60..=0x6f, ..] => return Ok(data),
            _ => return Err(None),
        };
        data = skip?;
    }
}

fn behind_authentication(data: &[u8]) -> Option<&[u8]> {
    let [_, _, id, value, ..] = *data else { return None };
    data.get(AUTHENTICATION + usize::from(id) + usize::from(value)..)
}

/// A packet that is nothing but its header, to open a path through address translation.
fn is_bubble(bytes: &[u8]) -> bool {
    matches!(bytes, [_, _, _, _, 0, 0, proto::NO_NEXT, ..])
}

/// Whether a datagram on any port looks like it (`TeredoAnalyzer::DetectProtocol`): an IPv6 packet
/// from or to a Teredo address, or one behind an origin indication.
pub fn detect(data: &[u8]) -> bool {
    let &[first, second, ..] = data else { return false };
    let is_ip = first >> 4 == 6;
    if data.len() < IPV6 || (!is_ip && (first != 0 || second > 1)) {
        return false;
    }
    let at = |place: usize| data.get(place..).is_some_and(|rest| rest.starts_with(&PREFIX));
    if is_ip && (at(8) || at(24)) {
        return true;
    }
    // From here on Zeek looks at the second byte alone.
    let behind = match second {
        0 => Some(data),
        1 => behind_authentication(data).filter(|rest| rest.starts_with(&[0, 0])),
        _ => None,
    };
    let packet = behind.and_then(|rest| rest.get(ORIGIN..));
    packet.is_some_and(|packet| packet.len() >= IPV6 && matches!(packet, [0x60..=0x6f, ..]))
}
