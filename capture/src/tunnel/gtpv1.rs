//! GTP version 1 (3GPP TS 29.060 section 6, TS 29.281 section 5): the user plane's packets, as Zeek's
//! `GTPv1` analyzer opens them.
//!
//! Of the control plane's messages nothing is read: Zeek parses them for events that nobody handles.

use super::udp::{Kind, Says};
use super::{Inner, Oddity, Stack, ip};
use crate::decode::proto;

/// The message that carries a packet.
const G_PDU: u8 = 255;
/// Flag: this is GTP, not GTP'.
const PROTOCOL: u8 = 0x10;
/// Flag: extension headers follow.
const EXTENSIONS: u8 = 0x04;
/// Flags any of which brings four bytes more.
const OPTIONAL: u8 = 0x07;

/// Reads one datagram, which came in these tunnels.
pub fn open<'a>(data: &'a [u8], around: &Stack) -> Says<'a> {
    let Some((flags, message, payload)) = headers(data) else { return Says::NO };
    if around.is_full() {
        let deep = Oddity::new("tunnel_depth", Kind::Gtpv1.source());
        return Says::nothing_but(Oddity { of_packet: false, ..deep });
    }
    // GTP is never carried in GTP.
    if around.last_kind() == Some(Kind::Gtpv1) || flags >> 5 != 1 {
        return Says::NO;
    }
    if flags & PROTOCOL == 0 || message != G_PDU {
        return Says::NOTHING;
    }
    let version = match payload.first() {
        Some(first) if payload.len() >= 20 => match first >> 4 {
            4 => proto::IPV4,
            6 => proto::IPV6,
            _ => return Says::NO,
        },
        _ => return Says::NO,
    };
    match ip::fits(version, payload) {
        Ok(()) => Says::yes(Some(Inner::ip(payload))),
        Err(_) => Says::NO,
    }
}

/// The flags, the kind of message, and what follows the headers; nothing where they are cut short.
fn headers(data: &[u8]) -> Option<(u8, u8, &[u8])> {
    let (&[flags, message, ..], mut rest) = data.split_first_chunk::<8>()?;
    if flags & OPTIONAL != 0 {
        rest = rest.get(4..)?;
    }
    if flags & EXTENSIONS != 0 {
        rest = extensions(rest)?;
    }
    Some((flags, message, rest))
}

/// Extension headers say their length in units of four bytes, and end with the type of the next.
fn extensions(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let len = usize::from(*rest.first()?) * 4;
        let (header, behind) = rest.split_at_checked(len)?;
        rest = behind;
        // A length of zero is no header: this ends the loop whatever is sent.
        if *header.last()? == 0 {
            return Some(rest);
        }
    }
}
