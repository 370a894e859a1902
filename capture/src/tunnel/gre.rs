//! GRE (RFC 2784, RFC 2890), ERSPAN over it, and the enhanced GRE of PPTP (RFC 2637), as Zeek's `GRE`
//! analyzer opens them.

use super::ip;
use super::{Inner, Oddity};
use crate::decode::proto;
use crate::source::Link;

/// UDP port of GRE in UDP (RFC 8086).
pub const UDP_PORT: u16 = 4754;

/// Ethernet header, bytes.
const ETHERNET: usize = 14;
/// ERSPAN header of version 1 ("type II"), bytes.
const ERSPAN_2: usize = 8;
/// ERSPAN header of version 2 ("type III"), bytes, without the platform's own eight.
const ERSPAN_3: usize = 12;
/// LINKTYPE_IEEE802_11, which Aruba's access points carry.
const WIFI: Link = Link::Other(105);

const SOURCE: &str = "GRE";
const SHORT: Oddity = Oddity::new("truncated_GRE", SOURCE);

/// Optional parts of the header, by the first sixteen bits: checksum, key, sequence number, and (in
/// version 1) acknowledgement number, four bytes each.
const OPTIONAL: [u16; 4] = [0x8000, 0x2000, 0x1000, 0x0080];
const SEQUENCE: u16 = 0x1000;
/// The routing field of RFC 1701, of any length.
const ROUTING: u16 = 0x4000;
const RESERVED: u16 = 0x0078;

/// What a GRE packet carries.
pub fn open(bytes: &[u8]) -> Result<Inner<'_>, Oddity> {
    let [a, b, c, d, ..] = *bytes else { return Err(SHORT) };
    let (flags, kind) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let header = 4 + 4 * OPTIONAL.iter().filter(|bit| flags & **bit != 0).count();
    let version = flags & 7;
    let (skip, link) = match version {
        0 => version_0(bytes, header, flags, kind)?,
        1 if kind == 0x880b => (0, Link::Raw),
        1 => {
            return Err(Oddity::new("egre_protocol_type", SOURCE).with("proto=", kind.into()));
        }
        _ => {
            return Err(Oddity::new("unknown_gre_version", SOURCE).with("version=", version.into()));
        }
    };
    if flags & ROUTING != 0 {
        return Err(Oddity::new("gre_routing", SOURCE));
    }
    if flags & RESERVED != 0 {
        return Err(Oddity::new("unknown_gre_flags", SOURCE));
    }
    let rest = bytes.get(header..).ok_or(SHORT)?;
    if version == 1 {
        return ppp(rest);
    }
    Ok(Inner { bytes: rest.get(skip..).ok_or(SHORT)?, link })
}

/// Bytes to skip behind a header of version 0, and what is then next.
fn version_0(bytes: &[u8], header: usize, flags: u16, kind: u16) -> Result<(usize, Link), Oddity> {
    let room = |more: usize| bytes.len() > header + more;
    match kind {
        // Transparent Ethernet bridging.
        0x6558 if room(ETHERNET) => Ok((0, Link::Ethernet)),
        0x88be if room(ETHERNET) => erspan(bytes, header, flags),
        0x22eb if room(ETHERNET + ERSPAN_3) => erspan_3(bytes, header),
        0x6558 | 0x88be | 0x22eb => Err(SHORT),
        kind if is_aruba(kind) => {
            if room(0) {
                Ok((0, WIFI))
            } else {
                Err(SHORT)
            }
        }
        // Anything else is tried as IP.
        _ => Ok((0, Link::Raw)),
    }
}

/// ERSPAN type I has no header, type II has one and the sequence number of GRE.
fn erspan(bytes: &[u8], header: usize, flags: u16) -> Result<(usize, Link), Oddity> {
    let skip = if flags & SEQUENCE != 0 { ERSPAN_2 } else { 0 };
    if bytes.len() < header + ETHERNET + skip {
        return Err(SHORT);
    }
    Ok((skip, Link::Ethernet))
}

/// ERSPAN type III: the last bit of the header says whether the platform's own part follows.
fn erspan_3(bytes: &[u8], header: usize) -> Result<(usize, Link), Oddity> {
    let optional = bytes.get(header + ERSPAN_3 - 1).is_some_and(|last| last & 1 == 1);
    let skip = if optional { ERSPAN_3 + 8 } else { ERSPAN_3 };
    if optional && bytes.len() <= header + skip + ETHERNET {
        return Err(SHORT);
    }
    Ok((skip, Link::Ethernet))
}

/// Zeek's test for the types that Aruba made up, as wide as it is there.
fn is_aruba(kind: u16) -> bool {
    let even = kind & 0x0f == 0;
    (kind & 0x8200 == 0x8200 && even)
        || (kind & 0x8300 == 0x8300 && even && kind <= 0x8370)
        || kind == 0x9000
}

/// PPTP: a PPP frame with address and control bytes, whose packet must fit exactly.
fn ppp(frame: &[u8]) -> Result<Inner<'_>, Oddity> {
    let [_, _, high, low, packet @ ..] = frame else { return Err(SHORT) };
    let version = match u16::from_be_bytes([*high, *low]) {
        0x0021 => proto::IPV4,
        0x0057 => proto::IPV6,
        _ => return Err(Oddity::new("non_ip_packet_in_encap", SOURCE)),
    };
    ip::fits(version, packet).map_err(ip::Misfit::oddity)?;
    Ok(Inner::ip(packet))
}
