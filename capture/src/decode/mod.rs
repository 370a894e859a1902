//! From a captured frame to an IP packet and its transport header, as views into the capture buffer.
//!
//! Nothing here allocates or keeps state. The order of the checks, and the names of what fails,
//! are those of Zeek's packet analyzers, so that the same broken packet gives the same `weird`.

mod bytes;
mod ext;
mod ip;
mod link;
mod transport;
mod weird;
mod wifi;

use std::net::IpAddr;

pub use ip::{Fragment, IpPacket};
pub use link::{Glance, glance};
pub use transport::{Icmp, TcpFlags, TcpSegment, Transport, UdpDatagram};
pub use weird::{Weird, WeirdSet};
pub use wifi::Aggregate;

/// Headers that one packet may stack before it is given up as hostile, link layers and IPv6
/// extension headers counted apart. Zeek stops at 15; real stacks (QinQ, PPPoE, MPLS, IP) need 6.
pub const MAX_LAYERS: usize = 16;

/// IP protocol numbers that decoding itself looks at (IANA "Protocol Numbers").
pub mod proto {
    #![expect(missing_docs, reason = "the names are the registry's")]
    pub const ICMP: u8 = 1;
    pub const IPV4: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6: u8 = 41;
    pub const GRE: u8 = 47;
    pub const ESP: u8 = 50;
    pub const ICMP6: u8 = 58;
    pub const NO_NEXT: u8 = 59;
    pub const MOBILITY: u8 = 135;
}

/// What a frame held.
#[derive(Clone, Copy, Debug)]
pub enum Decoded<'a> {
    /// An IPv4 or IPv6 packet whose header holds together.
    Ip(IpPacket<'a>),
    /// A frame of Wi-Fi with several packets.
    Aggregate(Aggregate<'a>),
    /// Something else.
    NotIp {
        /// Its EtherType (ARP is 0x0806). Below 0x600 it is what the frame had in place of one: the
        /// destination SAP of an 802.2 frame, the address family of a BSD loopback. For PPP it is
        /// the PPP protocol number.
        ethertype: u16,
        /// Oddities of the link layers.
        weirds: WeirdSet,
    },
}

/// Why a packet is none: the reason, what else was odd on the way there, and the addresses where
/// the IP header got that far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Undecodable {
    /// The check that failed.
    pub reason: Weird,
    /// Oddities noted before it failed, without `reason`.
    pub also: WeirdSet,
    /// Source and destination, for the oddities that Zeek logs with addresses (those of IPv6
    /// extension headers); `None` when no IP header could be read.
    pub addrs: Option<(IpAddr, IpAddr)>,
}

impl From<Weird> for Undecodable {
    fn from(reason: Weird) -> Self {
        Undecodable { reason, also: WeirdSet::NONE, addrs: None }
    }
}

/// Decodes frames. Holds the one setting that changes what decodes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decoder {
    /// With checksums ignored (`-C`), an IPv4 total length of zero is taken for segmentation
    /// offload, as Zeek does, and the captured length stands in for it. Otherwise such a packet is
    /// undecodable.
    pub ignore_checksums: bool,
}

#[cfg(test)]
mod tests;
