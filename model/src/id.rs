//! Identifiers: a flow's tuple, its Community ID and uid, and the partition of a key on the bus.

use std::net::IpAddr;

use base64::Engine as _;
use sha1::{Digest, Sha1};

/// IP protocol numbers that weir gives a meaning.
pub mod ip_proto {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMP6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

/// A flow's tuple with its direction. For ICMP the ports are the type and, at the responder, the
/// counterpart's type or the code, as [`icmp_ports`] gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FiveTuple {
    /// Originator's address.
    pub orig_h: IpAddr,
    /// Originator's port.
    pub orig_p: u16,
    /// Responder's address.
    pub resp_h: IpAddr,
    /// Responder's port.
    pub resp_p: u16,
    /// IP protocol number.
    pub proto: u8,
}

impl FiveTuple {
    /// Zeek's name of the transport protocol.
    pub fn proto_name(&self) -> &'static str {
        match self.proto {
            ip_proto::TCP => "tcp",
            ip_proto::UDP => "udp",
            ip_proto::ICMP | ip_proto::ICMP6 => "icmp",
            _ => "unknown_transport",
        }
    }
}

/// The pair of ports that stand for an ICMP message, and whether it goes one way only: then the
/// second is the code. Source: Community ID specification v1; Zeek's `ICMP.cc` uses the same pairs.
pub fn icmp_ports(icmp_type: u8, code: u8, v6: bool) -> (u16, u16, bool) {
    let counterpart = if v6 {
        match icmp_type {
            128 => 129,
            129 => 128,
            130 => 131,
            131 => 130,
            133 => 134,
            134 => 133,
            135 => 136,
            136 => 135,
            139 => 140,
            140 => 139,
            144 => 145,
            145 => 144,
            _ => return (icmp_type.into(), code.into(), true),
        }
    } else {
        match icmp_type {
            0 => 8,
            8 => 0,
            9 => 10,
            10 => 9,
            13 => 14,
            14 => 13,
            15 => 16,
            16 => 15,
            17 => 18,
            18 => 17,
            _ => return (icmp_type.into(), code.into(), true),
        }
    };
    (icmp_type.into(), counterpart, false)
}

/// Community ID version 1 with seed 0: the same for both directions of a flow.
pub fn community_id(flow: &FiveTuple) -> String {
    let (mut a, mut b) = ((flow.orig_h, flow.orig_p), (flow.resp_h, flow.resp_p));
    let one_way = matches!(flow.proto, ip_proto::ICMP | ip_proto::ICMP6)
        && icmp_ports(flow.orig_p as u8, flow.resp_p as u8, flow.proto == ip_proto::ICMP6).2;
    // Between two ports of one address Zeek compares the ports as they lie in memory, low byte first on
    // the machines it runs on; its column is what people join with, so the same is done here.
    let place = |end: &(IpAddr, u16)| (end.0, end.1.swap_bytes());
    if !one_way && place(&b) < place(&a) {
        std::mem::swap(&mut a, &mut b);
    }
    let mut message = [0u8; 40];
    let mut at = 2; // the seed, zero
    for ip in [a.0, b.0] {
        match ip {
            IpAddr::V4(v4) => at = put(&mut message, at, &v4.octets()),
            IpAddr::V6(v6) => at = put(&mut message, at, &v6.octets()),
        }
    }
    at = put(&mut message, at, &[flow.proto, 0]);
    if has_ports(flow.proto) {
        at = put(&mut message, at, &a.1.to_be_bytes());
        at = put(&mut message, at, &b.1.to_be_bytes());
    }
    let digest = Sha1::digest(&message[..at]);
    let mut text = String::with_capacity(30);
    text.push_str("1:");
    base64::engine::general_purpose::STANDARD.encode_string(digest, &mut text);
    text
}

fn has_ports(proto: u8) -> bool {
    use ip_proto::{ICMP, ICMP6, SCTP, TCP, UDP};
    matches!(proto, ICMP | ICMP6 | TCP | UDP | SCTP)
}

fn put(message: &mut [u8; 40], at: usize, bytes: &[u8]) -> usize {
    message[at..at + bytes.len()].copy_from_slice(bytes);
    at + bytes.len()
}

/// A uid in Zeek's form: `prefix` (C for flows, F for files) and 96 bits in base 62. The bits are a
/// hash of what identifies the thing, so that every run gives the same.
pub fn uid(prefix: char, parts: &[&[u8]]) -> String {
    let mut hash = Sha1::new();
    for part in parts {
        hash.update((part.len() as u32).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut text = String::with_capacity(18);
    text.push(prefix);
    let mut high = [0u8; 8];
    high.copy_from_slice(&digest[..8]);
    let mut low = [0u8; 8];
    low[4..].copy_from_slice(&digest[8..12]);
    base62(u64::from_be_bytes(high), &mut text);
    base62(u64::from_be_bytes(low), &mut text);
    text
}

fn base62(mut value: u64, text: &mut String) {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    while value > 0 {
        text.push(char::from(DIGITS[(value % 62) as usize]));
        value /= 62;
    }
}

/// The uid of a flow: its first packet's tuple and time, and how many flows with just these went before.
pub fn flow_uid(flow: &FiveTuple, first_us: i64, repeat: u32) -> String {
    let mut ips = [0u8; 32];
    for (half, ip) in [flow.orig_h, flow.resp_h].into_iter().enumerate() {
        match ip {
            IpAddr::V4(v4) => ips[half * 16..half * 16 + 4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => ips[half * 16..half * 16 + 16].copy_from_slice(&v6.octets()),
        }
    }
    uid(
        'C',
        &[
            &ips,
            &flow.orig_p.to_be_bytes(),
            &flow.resp_p.to_be_bytes(),
            &[flow.proto],
            &first_us.to_be_bytes(),
            &repeat.to_be_bytes(),
        ],
    )
}

/// The partition that Kafka's Java client gives a key: murmur2, made positive, modulo the count.
pub fn partition(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

/// Murmur2 as in `org.apache.kafka.common.utils.Utils.murmur2`, as unsigned bits.
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut h: u32 = 0x9747_b28c ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in words.by_ref() {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    for (i, byte) in rest.iter().enumerate() {
        h ^= u32::from(*byte) << (8 * i);
    }
    if !rest.is_empty() {
        h = h.wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^ (h >> 15)
}

/// Whether an address is of many hosts or of a link: flows of such are nobody else's.
pub fn is_for_many(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            ip.is_multicast() || ip.is_broadcast() || ip.is_link_local() || ip.is_unspecified()
        }
        IpAddr::V6(ip) => ip.is_multicast() || ip.is_unicast_link_local() || ip.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors printed by Kafka's own Java `Utils.murmur2`.
    #[test]
    fn murmur2_is_kafkas() {
        for (key, want) in [
            ("21", -973932308i32),
            ("foobar", -790332482),
            ("a-little-bit-long-string", -985981536),
            ("a-little-bit-longer-string", -1486304829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
            ("abc", 479470107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, want, "{key}");
        }
    }

    #[test]
    fn groups_and_links_are_for_many() {
        let many = "224.0.0.0 224.0.0.251 239.255.255.255 255.255.255.255 169.254.0.0 169.254.255.255 0.0.0.0 \
                    ff02::1 ff05::fb fe80::1 febf::1 ::";
        // What a network's broadcast address is only its hosts know.
        let one = "223.255.255.255 240.0.0.1 169.253.255.255 169.255.0.0 10.0.0.255 0.0.0.1 127.0.0.1 \
                   fec0::1 fd00::1 2001:db8::1 ::1";
        for (all, want) in [(many, true), (one, false)] {
            for ip in all.split_whitespace() {
                assert_eq!(is_for_many(&ip.parse().unwrap()), want, "{ip}");
            }
        }
    }

    fn flow(orig: &str, orig_p: u16, resp: &str, resp_p: u16, proto: u8) -> FiveTuple {
        let ip = |s: &str| s.parse().expect("an address");
        FiveTuple { orig_h: ip(orig), orig_p, resp_h: ip(resp), resp_p, proto }
    }

    /// Vectors of the Community ID specification's baseline files (seed 0).
    #[test]
    fn community_id_is_the_specifications() {
        for (flow, want) in [
            (
                flow("128.232.110.120", 34855, "66.35.250.204", 80, 6),
                "1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
            ),
            (
                flow("66.35.250.204", 80, "128.232.110.120", 34855, 6),
                "1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
            ),
            (flow("192.168.1.52", 54585, "8.8.8.8", 53, 17), "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
            (flow("192.168.0.89", 8, "192.168.0.1", 0, 1), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
            (
                flow("fe80::200:86ff:fe05:80da", 135, "fe80::260:97ff:fe07:69ea", 136, 58),
                "1:dGHyGvjMfljg6Bppwm3bg0LO8TY=",
            ),
        ] {
            assert_eq!(community_id(&flow), want, "{flow:?}");
        }
    }

    #[test]
    fn uids_are_stable_and_apart() {
        let f = flow("10.0.0.1", 1, "10.0.0.2", 2, 6);
        assert_eq!(flow_uid(&f, 5, 0), flow_uid(&f, 5, 0));
        assert_ne!(flow_uid(&f, 5, 0), flow_uid(&f, 5, 1));
        assert_ne!(flow_uid(&f, 5, 0), flow_uid(&f, 6, 0));
        assert!(flow_uid(&f, 5, 0).starts_with('C'));
    }
}
