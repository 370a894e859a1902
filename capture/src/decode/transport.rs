//! Transport headers: TCP, UDP, ICMP and ICMPv6, as views into the IP payload.

use std::net::IpAddr;

use super::bytes::{array_at, u8_at, u16_at, u32_at};
use super::{IpPacket, Weird, proto};

/// Smallest TCP header (RFC 9293 section 3.1), bytes.
const TCP_HEADER: usize = 20;
/// UDP header (RFC 768), bytes.
const UDP_HEADER: usize = 8;
/// The part of an ICMP header that every message has (RFC 792), bytes.
const ICMP_HEADER: usize = 8;

/// What an IP packet carries.
#[derive(Clone, Copy, Debug)]
pub enum Transport<'a> {
    /// A TCP segment.
    Tcp(TcpSegment<'a>),
    /// A UDP datagram.
    Udp(UdpDatagram<'a>),
    /// An ICMP message over IPv4.
    Icmp4(Icmp<'a>),
    /// An ICMPv6 message.
    Icmp6(Icmp<'a>),
    /// Any other protocol; tunnels too (4, 41, 47), whose inner packet the caller decodes with
    /// [`Decoder::ip`](super::Decoder::ip).
    Other,
    /// IPv6 ESP or mobility header: complete, but no flow is made of it, as in Zeek.
    NoFlow,
}

/// A TCP segment (RFC 9293 section 3.1).
#[derive(Clone, Copy, Debug)]
pub struct TcpSegment<'a> {
    /// Sender's port.
    pub src_port: u16,
    /// Receiver's port.
    pub dst_port: u16,
    /// Sequence number of the first payload byte (of the SYN, where there is one).
    pub seq: u32,
    /// Acknowledgement number; has a meaning with the ACK flag only.
    pub ack: u32,
    /// Control bits.
    pub flags: TcpFlags,
    /// Window as in the header, not scaled.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Length of the header with its options, bytes.
    pub data_offset: u32,
    /// Raw options, padding included.
    pub options: &'a [u8],
    /// Payload, as much as was captured.
    pub payload: &'a [u8],
    /// Payload bytes by the IP length.
    pub payload_len: u32,
    /// The data offset is impossible. Ports, numbers and flags are right, options and payload
    /// empty: Zeek opens a connection on such a segment, reports this, and ignores the segment.
    pub broken: Option<Weird>,
}

/// A UDP datagram (RFC 768).
#[derive(Clone, Copy, Debug)]
pub struct UdpDatagram<'a> {
    /// Sender's port.
    pub src_port: u16,
    /// Receiver's port.
    pub dst_port: u16,
    /// The header's own length, header included, bytes; may disagree with the IP length.
    pub len: u16,
    /// Payload, as much as was captured, cut at the IP length.
    pub payload: &'a [u8],
    /// Payload bytes by the IP length.
    pub payload_len: u32,
    /// `len` and the IP length disagree (`UDP_datagram_length_mismatch`).
    pub mismatch: bool,
}

/// An ICMP (RFC 792) or ICMPv6 (RFC 4443) message.
#[derive(Clone, Copy, Debug)]
pub struct Icmp<'a> {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The four header bytes whose meaning the type gives: for an echo, identifier and sequence
    /// number.
    pub rest: [u8; 4],
    /// What follows the eight header bytes, as much as was captured.
    pub payload: &'a [u8],
    /// The same by the IP length, bytes.
    pub payload_len: u32,
}

/// TCP control bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const fn fin(self) -> bool {
        self.0 & 0x01 != 0
    }
    /// Synchronize sequence numbers: opens a connection.
    pub const fn syn(self) -> bool {
        self.0 & 0x02 != 0
    }
    /// Reset the connection.
    pub const fn rst(self) -> bool {
        self.0 & 0x04 != 0
    }
    /// Push.
    pub const fn psh(self) -> bool {
        self.0 & 0x08 != 0
    }
    /// The acknowledgement number counts.
    pub const fn ack(self) -> bool {
        self.0 & 0x10 != 0
    }
    /// The urgent pointer counts.
    pub const fn urg(self) -> bool {
        self.0 & 0x20 != 0
    }
}

impl<'a> IpPacket<'a> {
    /// Decodes the transport header. For packets that are no fragment, were reassembled, or are the
    /// first fragment of which no more was captured.
    pub fn transport(&self) -> Result<Transport<'a>, Weird> {
        match (self.proto, self.src) {
            (proto::TCP, _) => self.tcp().map(Transport::Tcp),
            (proto::UDP, _) => self.udp().map(Transport::Udp),
            (proto::ICMP, _) => self.icmp().map(Transport::Icmp4),
            (proto::ICMP6, _) => self.icmp().map(Transport::Icmp6),
            (proto::ESP | proto::MOBILITY, IpAddr::V6(_)) => Ok(Transport::NoFlow),
            (proto::NO_NEXT, _) => Err(Weird::Ipv6NoNext),
            _ => Ok(Transport::Other),
        }
    }

    fn tcp(&self) -> Result<TcpSegment<'a>, Weird> {
        self.check_room(TCP_HEADER)?;
        let data = self.payload;
        let segment = tcp_fixed(data).ok_or(Weird::InternallyTruncatedHeader)?;
        let header = segment.data_offset as usize;
        if header < TCP_HEADER {
            return Ok(TcpSegment { broken: Some(Weird::BadTcpHeaderLength), ..segment });
        }
        let (Some(options), Some(payload), Some(payload_len)) = (
            data.get(TCP_HEADER..header),
            data.get(header..),
            self.payload_len.checked_sub(segment.data_offset),
        ) else {
            return Ok(TcpSegment { broken: Some(Weird::TruncatedHeader), ..segment });
        };
        Ok(TcpSegment { options, payload, payload_len, ..segment })
    }

    fn udp(&self) -> Result<UdpDatagram<'a>, Weird> {
        self.check_room(UDP_HEADER)?;
        let data = self.payload;
        let (Some(src_port), Some(dst_port), Some(len)) =
            (u16_at(data, 0), u16_at(data, 2), u16_at(data, 4))
        else {
            return Err(Weird::InternallyTruncatedHeader);
        };
        Ok(UdpDatagram {
            src_port,
            dst_port,
            len,
            payload: data.get(UDP_HEADER..).unwrap_or_default(),
            payload_len: self.payload_len.saturating_sub(UDP_HEADER as u32),
            mismatch: u32::from(len) != self.payload_len,
        })
    }

    fn icmp(&self) -> Result<Icmp<'a>, Weird> {
        self.check_room(ICMP_HEADER)?;
        let data = self.payload;
        let (Some([kind, code]), Some(rest)) = (array_at(data, 0), array_at(data, 4)) else {
            return Err(Weird::InternallyTruncatedHeader);
        };
        Ok(Icmp {
            kind,
            code,
            rest,
            payload: data.get(ICMP_HEADER..).unwrap_or_default(),
            payload_len: self.payload_len.saturating_sub(ICMP_HEADER as u32),
        })
    }

    /// Room for a header: in the packet by its length, and in what was captured of it.
    fn check_room(&self, header: usize) -> Result<(), Weird> {
        if self.payload_len != 0 && (self.payload_len as usize) < header {
            return Err(Weird::TruncatedHeader);
        }
        if self.payload.len() < header {
            return Err(Weird::InternallyTruncatedHeader);
        }
        Ok(())
    }
}

/// The fixed part of a TCP header, with no payload yet.
fn tcp_fixed(data: &[u8]) -> Option<TcpSegment<'_>> {
    Some(TcpSegment {
        src_port: u16_at(data, 0)?,
        dst_port: u16_at(data, 2)?,
        seq: u32_at(data, 4)?,
        ack: u32_at(data, 8)?,
        data_offset: u32::from(u8_at(data, 12)? >> 4) * 4,
        flags: TcpFlags(u8_at(data, 13)?),
        window: u16_at(data, 14)?,
        urgent: u16_at(data, 18)?,
        options: &[],
        payload: &[],
        payload_len: 0,
        broken: None,
    })
}
