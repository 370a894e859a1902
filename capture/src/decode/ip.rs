//! The IP header, version 4 and 6: addresses, lengths, fragmentation and the transport bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::bytes::{array_at, u8_at, u16_at};
use super::ext::{self, Chain};
use super::{Decoder, Undecodable, Weird, WeirdSet, proto};
use crate::fragment::Datagram;

/// Smallest IPv4 header (RFC 791 section 3.1), bytes.
const IPV4_HEADER: usize = 20;
/// The fixed IPv6 header (RFC 8200 section 3), bytes.
const IPV6_HEADER: usize = 40;
/// The IPv6 fragment header (RFC 8200 section 4.5), bytes.
const FRAGMENT_HEADER: u32 = 8;

/// One IP packet, borrowed from the capture buffer or from a reassembled datagram.
#[derive(Clone, Copy, Debug)]
pub struct IpPacket<'a> {
    /// Sender: the header's, or the home address that a mobile IPv6 node states.
    pub src: IpAddr,
    /// Receiver: the header's, or the last hop of an IPv6 routing header.
    pub dst: IpAddr,
    /// What `payload` is, by IP protocol number; behind IPv6 extension headers if there are any.
    pub proto: u8,
    /// Length of the packet by its header, bytes: IPv4 total length, IPv6 40 plus payload length.
    /// Where the header says zero (segmentation offload) what was captured.
    pub total_len: u32,
    /// Bytes of all IP headers, up to `payload`.
    pub hdr_len: u32,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Set when the packet is a fragment: `payload` is then a part of a datagram.
    pub fragment: Option<Fragment>,
    /// Transport bytes, as many as were captured, cut where the IP packet ends.
    pub payload: &'a [u8],
    /// Transport bytes by the IP header.
    pub payload_len: u32,
    /// The IP headers captured: for IPv4 exactly what the header checksum covers.
    pub header: &'a [u8],
    /// Less was captured than the header says: `payload` is shorter than `payload_len`.
    pub truncated: bool,
    /// Outer VLAN id, 12 bits.
    pub vlan: Option<u16>,
    /// Inner VLAN id of a doubly tagged frame.
    pub inner_vlan: Option<u16>,
    /// Oddities that did not keep the packet from being decoded.
    pub weirds: WeirdSet,
}

/// Where a fragment belongs (RFC 791 section 2.3, RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Identification of the datagram, 16 bits in IPv4 and 32 in IPv6.
    pub id: u32,
    /// Place of `payload` in the datagram's payload, bytes.
    pub offset: u32,
    /// More fragments follow this one.
    pub more: bool,
    /// IPv4's "don't fragment" is set, a contradiction that some stacks produce.
    pub dont: bool,
}

impl Decoder {
    /// Decodes the IP packet that `data` begins with. `wire_len` is how many bytes the frame had
    /// from here on; it is more than `data` where the capture was cut. Also for packets found
    /// inside others.
    #[inline]
    pub fn ip<'a>(&self, data: &'a [u8], wire_len: u32) -> Result<IpPacket<'a>, Undecodable> {
        if data.len() < IPV4_HEADER {
            return Err(Weird::TruncatedIp.into());
        }
        match u8_at(data, 0).unwrap_or(0) >> 4 {
            4 => self.ipv4(data, wire_len),
            6 => ipv6(data, wire_len),
            _ => Err(Weird::UnknownIpVersion.into()),
        }
    }

    #[inline]
    fn ipv4<'a>(&self, data: &'a [u8], wire_len: u32) -> Result<IpPacket<'a>, Undecodable> {
        let h: &[u8; IPV4_HEADER] = data.first_chunk().ok_or(Weird::TruncatedIp)?;
        let hdr_len = usize::from(h[0] & 0x0f) * 4;
        let mut total_len = u32::from(u16::from_be_bytes([h[2], h[3]]));
        let mut weirds = WeirdSet::NONE;
        if total_len == 0 {
            if !self.ignore_checksums {
                return Err(Weird::IpLengthZero.into());
            }
            weirds.insert(Weird::IpLengthZero);
            total_len = len32(data);
        }
        check_lengths(data, wire_len, total_len, hdr_len).map_err(|reason| Undecodable {
            reason,
            also: weirds,
            addrs: None,
        })?;
        if hdr_len < IPV4_HEADER {
            return Err(Weird::MinIpv4HeaderSize.into());
        }
        let payload_len = total_len - hdr_len as u32;
        let payload = clip(data, hdr_len, payload_len);
        Ok(IpPacket {
            src: IpAddr::V4(Ipv4Addr::new(h[12], h[13], h[14], h[15])),
            dst: IpAddr::V4(Ipv4Addr::new(h[16], h[17], h[18], h[19])),
            proto: h[9],
            total_len,
            hdr_len: hdr_len as u32,
            ttl: h[8],
            fragment: ipv4_fragment(u16::from_be_bytes([h[4], h[5]]), [h[6], h[7]]),
            payload,
            payload_len,
            header: data.get(..hdr_len).unwrap_or_default(),
            truncated: payload.len() < payload_len as usize,
            vlan: None,
            inner_vlan: None,
            weirds,
        })
    }
}

/// Identification, flags and offset: a packet is a fragment if more follow or it is not the first.
fn ipv4_fragment(id: u16, flags: [u8; 2]) -> Option<Fragment> {
    let word = u16::from_be_bytes(flags);
    if word & 0x3fff == 0 {
        return None;
    }
    Some(Fragment {
        id: u32::from(id),
        offset: u32::from(word & 0x1fff) * 8,
        more: word & 0x2000 != 0,
        dont: word & 0x4000 != 0,
    })
}

fn ipv6(data: &[u8], wire_len: u32) -> Result<IpPacket<'_>, Undecodable> {
    let (Some(src), Some(dst), Some(claimed), Some(first), Some(ttl)) = (
        array_at::<16>(data, 8),
        array_at::<16>(data, 24),
        u16_at(data, 4),
        u8_at(data, 6),
        u8_at(data, 7),
    ) else {
        return Err(Weird::TruncatedIp.into());
    };
    let mut chain = Chain::new(Ipv6Addr::from(src), Ipv6Addr::from(dst), first);
    // Zeek walks what was captured and only then looks at the length that the header states.
    ext::walk(&mut chain, data.get(IPV6_HEADER..).unwrap_or_default());
    let mut total_len = u32::from(claimed) + IPV6_HEADER as u32;
    let broken = |reason| Undecodable {
        reason,
        also: chain.weirds,
        addrs: Some((IpAddr::V6(chain.src), IpAddr::V6(chain.dst))),
    };
    check_lengths(data, wire_len, total_len, IPV6_HEADER + chain.seen).map_err(broken)?;

    let hdr_len = IPV6_HEADER + chain.len;
    // A payload length of zero with a transport protocol is segmentation offload (RFC 2675 jumbo
    // payloads carry an extension header and fail the length check above, as they do in Zeek).
    if claimed == 0 && first != proto::NO_NEXT {
        total_len = len32(data);
    }
    let payload_len = total_len.saturating_sub(hdr_len as u32);
    let payload = clip(data, hdr_len, payload_len);
    Ok(IpPacket {
        src: IpAddr::V6(chain.src),
        dst: IpAddr::V6(chain.dst),
        proto: chain.next,
        total_len,
        hdr_len: hdr_len as u32,
        ttl,
        fragment: chain.fragment,
        payload,
        payload_len,
        header: data.get(..hdr_len).unwrap_or_default(),
        truncated: payload.len() < payload_len as usize,
        vlan: None,
        inner_vlan: None,
        weirds: chain.weirds,
    })
}

impl<'a> IpPacket<'a> {
    /// The whole datagram that this fragment completed. IPv6 extension headers that were in the
    /// fragmented part are walked here.
    #[must_use]
    pub fn reassembled<'b>(&self, datagram: Datagram<'b>) -> IpPacket<'b>
    where
        'a: 'b,
    {
        let mut whole = IpPacket::<'b> {
            proto: datagram.proto,
            fragment: None,
            hdr_len: datagram.hdr_len,
            total_len: datagram.hdr_len + len32(datagram.bytes),
            payload: datagram.bytes,
            payload_len: len32(datagram.bytes),
            truncated: false,
            ..*self
        };
        if let (IpAddr::V6(src), IpAddr::V6(dst)) = (self.src, self.dst) {
            let mut chain = Chain::new(src, dst, datagram.proto);
            ext::walk(&mut chain, datagram.bytes);
            whole.src = IpAddr::V6(chain.src);
            whole.dst = IpAddr::V6(chain.dst);
            whole.proto = chain.next;
            whole.payload = datagram.bytes.get(chain.len..).unwrap_or_default();
            whole.payload_len = len32(whole.payload);
            whole.hdr_len += chain.len as u32;
            whole.weirds = whole.weirds.union(chain.weirds);
        }
        whole
    }

    /// Length of the headers that every fragment repeats, bytes: all but the IPv6 fragment header.
    pub(crate) fn unfragmented_hdr_len(&self) -> u32 {
        match self.src {
            IpAddr::V4(_) => self.hdr_len,
            IpAddr::V6(_) => self.hdr_len.saturating_sub(FRAGMENT_HEADER),
        }
    }
}

/// Zeek's checks of the lengths against each other, in its order.
fn check_lengths(data: &[u8], wire_len: u32, total_len: u32, hdr_len: usize) -> Result<(), Weird> {
    if wire_len < total_len {
        return Err(Weird::TruncatedIpLength);
    }
    if hdr_len > total_len as usize {
        return Err(Weird::InvalidIpHeaderSize);
    }
    if hdr_len > data.len() {
        return Err(Weird::TruncatedIpHeader);
    }
    Ok(())
}

/// `len` bytes of `data` from `at`, or as many as there are.
fn clip(data: &[u8], at: usize, len: u32) -> &[u8] {
    let rest = data.get(at..).unwrap_or_default();
    rest.get(..len as usize).unwrap_or(rest)
}

/// A length as the 32 bits in which lengths are kept; packets are far shorter.
fn len32(data: &[u8]) -> u32 {
    u32::try_from(data.len()).unwrap_or(u32::MAX)
}
