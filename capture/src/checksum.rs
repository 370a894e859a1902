//! The internet checksum (RFC 1071) of IPv4 headers and of TCP, UDP, ICMP and mobility headers.
//!
//! Sums are taken over words in the machine's own byte order: the one's complement sum of swapped
//! words is the swapped sum, and a correct one, all ones, looks the same either way.

use std::net::IpAddr;

use crate::decode::{IpPacket, Weird, proto};

/// UDP port of VXLAN, whose senders may leave the checksum out over IPv6 too (RFC 7348 section 5).
const VXLAN_PORT: u16 = 4789;

/// What a sum over data and its correct checksum folds to.
const CORRECT: u16 = 0xffff;

/// A running one's complement sum. Data is added in pieces, each but the last of even length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds `data`, padded with a zero byte to an even length.
    #[inline]
    #[must_use]
    pub fn plus(self, data: &[u8]) -> Sum {
        let mut sum = self.0;
        let (words, tail) = data.as_chunks::<8>();
        for word in words {
            // Halves, so that gigabytes can be added before the sum could overflow.
            let word = u64::from_ne_bytes(*word);
            sum += (word & 0xffff_ffff) + (word >> 32);
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(tail) {
            *to = *from;
        }
        let last = u64::from_ne_bytes(last);
        Sum(sum + (last & 0xffff_ffff) + (last >> 32))
    }

    /// The sum folded to 16 bits, in the machine's byte order.
    #[inline]
    pub fn fold(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// Whether the data added, its checksum field among it, adds up.
    #[inline]
    pub fn is_correct(self) -> bool {
        self.fold() == CORRECT
    }
}

/// The checksum to put into a header over `data`, whose checksum field is zero: two bytes in
/// network order.
pub fn of(sum: Sum) -> [u8; 2] {
    (!sum.fold()).to_ne_bytes()
}

/// The pseudo header in front of a transport header (RFC 9293 section 3.1, RFC 8200 section 8.1).
pub fn pseudo_header(src: IpAddr, dst: IpAddr, proto: u8, len: u32) -> Sum {
    let sum = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            Sum::default().plus(&src.octets()).plus(&dst.octets())
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            Sum::default().plus(&src.octets()).plus(&dst.octets())
        }
        // Addresses of one packet are of one family.
        _ => Sum::default(),
    };
    sum.plus(&len.to_be_bytes()).plus(&[0, proto])
}

/// Checks the header checksum of an IPv4 packet and the one of its transport header. `None` when
/// all is well, or when it cannot be said: no checksum in the protocol, a fragment, or a capture
/// that does not hold the whole packet (Zeek gives the benefit of the doubt too).
pub fn verify(ip: &IpPacket<'_>) -> Option<Weird> {
    verify_ip(ip).or_else(|| verify_transport(ip))
}

/// Checks the header checksum of an IPv4 packet.
pub fn verify_ip(ip: &IpPacket<'_>) -> Option<Weird> {
    let good = ip.src.is_ipv6() || Sum::default().plus(ip.header).is_correct();
    (!good).then_some(Weird::BadIpChecksum)
}

/// Checks the checksum of the transport header; see [`verify`] for what passes unchecked.
pub fn verify_transport(ip: &IpPacket<'_>) -> Option<Weird> {
    if ip.truncated || ip.fragment.is_some() {
        return None;
    }
    let (covered, weird) = match (ip.proto, ip.src) {
        (proto::TCP, _) => (covered(ip, 20)?, Weird::BadTcpChecksum),
        (proto::UDP, _) if udp_unchecked(ip) => return None,
        (proto::UDP, _) => (covered(ip, 8)?, Weird::BadUdpChecksum),
        // ICMP over IPv4 has no pseudo header.
        (proto::ICMP, _) if ip.payload.len() < 8 => return None,
        (proto::ICMP, _) => (Sum::default().plus(ip.payload), Weird::BadIcmpChecksum),
        (proto::ICMP6, _) => (covered(ip, 8)?, Weird::BadIcmpChecksum),
        (proto::MOBILITY, IpAddr::V6(_)) => (mobility(ip)?, Weird::BadMobilityChecksum),
        _ => return None,
    };
    (!covered.is_correct()).then_some(weird)
}

/// Pseudo header and payload, if a header of `least` bytes is there.
fn covered(ip: &IpPacket<'_>, least: usize) -> Option<Sum> {
    if ip.payload.len() < least {
        return None;
    }
    Some(pseudo_header(ip.src, ip.dst, ip.proto, ip.payload_len).plus(ip.payload))
}

/// A UDP checksum of zero means none: always over IPv4 (RFC 768), and over IPv6 in tunnels only
/// (RFC 6935), of which this knows VXLAN, as Zeek does.
fn udp_unchecked(ip: &IpPacket<'_>) -> bool {
    let Some((header, _)) = ip.payload.split_first_chunk::<8>() else { return true };
    if header[6] != 0 || header[7] != 0 {
        return false;
    }
    ip.src.is_ipv4() || u16::from_be_bytes([header[2], header[3]]) == VXLAN_PORT
}

/// A mobility header states its own length (RFC 6275 section 6.1.1).
fn mobility(ip: &IpPacket<'_>) -> Option<Sum> {
    let len = 8 + 8 * usize::from(*ip.payload.get(1)?);
    let header = ip.payload.get(..len)?;
    Some(pseudo_header(ip.src, ip.dst, proto::MOBILITY, len as u32).plus(header))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071 section 1 spelled out, a word at a time.
    fn reference(data: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in data.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn agrees_with_the_rfc_at_every_length() {
        let data: Vec<u8> =
            (0..3000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for len in (0..64).chain([1459, 1460, 2999]) {
            let fast = Sum::default().plus(&data[..len]).fold();
            assert_eq!(u16::from_be(fast), reference(&data[..len]), "{len} bytes");
        }
        let ones = [0xff; 70_001];
        assert_eq!(u16::from_be(Sum::default().plus(&ones).fold()), reference(&ones));
    }

    #[test]
    fn the_example_header_of_rfc_1071_tutorials_is_correct() {
        let mut header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8,
            0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert!(Sum::default().plus(&header).is_correct());
        header[10] = 0;
        header[11] = 0;
        assert_eq!(of(Sum::default().plus(&header)), [0xb8, 0x61]);
        header[8] = 1;
        assert!(!Sum::default().plus(&header).is_correct());
    }
}
