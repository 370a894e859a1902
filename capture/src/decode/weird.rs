//! The oddities that decoding, checksums and reassembly report, under the names Zeek logs them by.
//!
//! A packet can raise several at once, so they travel as a set: a bit each, no allocation, and
//! always listed in the order of this file, whatever order they were found in.

use std::fmt;

/// Declares the enum with its Zeek name and the analyzer that `weird.log` gives as source.
macro_rules! weirds {
    ($($variant:ident = $name:literal, $source:expr;)*) => {
        /// One kind of oddity. `name` is what Zeek calls it in `weird.log`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Weird {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Weird {
            /// Every kind, in the order in which a set lists them.
            pub const ALL: &'static [Weird] = &[$(Weird::$variant,)*];

            /// Zeek's name, as in the `name` column of `weird.log`.
            pub const fn name(self) -> &'static str {
                match self { $(Weird::$variant => $name,)* }
            }

            /// Zeek's analyzer, as in the `source` column of `weird.log`; `None` where Zeek
            /// leaves it empty or where it is the transport protocol of the packet at hand.
            pub const fn source(self) -> Option<&'static str> {
                match self { $(Weird::$variant => $source,)* }
            }
        }
    };
}

weirds! {
    // Link layers.
    EmptyPacket = "empty_pcap_header", None;
    TruncatedEthernet = "truncated_ethernet_frame", Some("ETHERNET");
    TruncatedFabricPath = "truncated_link_header_cfp", Some("ETHERNET");
    UndefinedEtherType = "undefined_ether_type", Some("ETHERNET");
    TruncatedVlan = "truncated_VLAN_header", Some("VLAN");
    TripleVlan = "triple_tagged_vlan_unsupported", Some("VLAN");
    UndefinedVlanProtocol = "undefined_vlan_protocol", Some("VLAN");
    TruncatedMpls = "truncated_link_header", Some("MPLS");
    TruncatedVnTag = "truncated_vntag_header", Some("VNTAG");
    TruncatedPbb = "truncated_PBB_header", Some("PBB");
    TruncatedLlc = "truncated_llc_header", Some("LLC");
    TruncatedSnapLlc = "truncated_snap_llc_header", Some("SNAP");
    TruncatedSnap = "truncated_snap_header", Some("SNAP");
    TruncatedNull = "null_analyzer_failed", Some("NULL");
    TruncatedFddi = "FDDI_analyzer_failed", Some("FDDI");
    TruncatedNflog = "truncated_nflog_header", Some("NFLOG");
    NflogVersion = "unknown_nflog_version", Some("NFLOG");
    NflogNoPayload = "nflog_no_pcap_payload", Some("NFLOG");
    NflogBadLength = "nflog_bad_tlv_len", Some("NFLOG");
    TruncatedPpp = "truncated_ppp_header", Some("PPP");
    TruncatedPppHdlc = "truncated_ppp_hdlc_header", Some("PPP");
    TruncatedPppSerial = "truncated_ppp_serial_header", Some("PPPSERIAL");
    TruncatedPppoe = "truncated_pppoe_header", Some("PPPOE");
    PppoeExtraData = "pppoe_extra_data_after_payload", Some("PPPOE");
    PppoeTruncated = "pppoe_truncated_payload", None;
    TruncatedArp = "truncated_ARP", Some("ARP");
    TruncatedSll = "truncated_Linux_SLL_header", Some("LINUXSLL");
    TruncatedSll2 = "truncated_Linux_SLL2_header", Some("LINUXSLL2");
    TruncatedRadiotap = "truncated_radiotap_header", Some("IEEE802_11_RADIO");
    TruncatedWifi = "truncated_802_11_header", Some("IEEE802_11");
    TruncatedWifiLlc = "truncated_802_11_llc_header", Some("IEEE802_11");
    TruncatedSubframe = "truncated_802_11_amsdu_header", Some("IEEE802_11");
    TruncatedSubframePacket = "truncated_802_11_amsdu_packet", Some("IEEE802_11");
    InvalidSubframe = "invalid_802_11_amsdu_inner_packet", Some("IEEE802_11");
    TooManyLayers = "max_packet_analyzer_depth_exceeded", None;

    // IPv4 and IPv6.
    TruncatedIp = "truncated_IP", Some("IP");
    UnknownIpVersion = "unknown_ip_version", Some("IP");
    IpLengthZero = "ip_hdr_len_zero", Some("IP");
    TruncatedIpLength = "truncated_IP_len", Some("IP");
    InvalidIpHeaderSize = "invalid_IP_header_size", Some("IP");
    TruncatedIpHeader = "internally_truncated_header", Some("IP");
    MinIpv4HeaderSize = "IPv4_min_header_size", Some("IP");
    BadIpChecksum = "bad_IP_checksum", Some("IP");
    BadMobilityChecksum = "bad_MH_checksum", Some("IP");
    MobilityPiggyback = "mobility_piggyback", Some("IP");
    Ipv6NoNext = "ipv6_no_next", Some("IP");

    // IPv6 extension headers.
    MultipleRoutingHeaders = "multiple_routing_headers", None;
    OddRouting0Length = "odd_routing0_len", None;
    Routing0Header = "routing0_hdr", None;
    BadRouting2Length = "bad_routing2_len", None;
    UnknownRoutingType = "unknown_routing_type", None;
    BadDestinationOption = "bad_ipv6_dest_opt_len", None;
    MultipleHomeAddresses = "multiple_home_addr_opts", None;
    BadHomeAddressLength = "bad_home_addr_len", None;

    // Fragments.
    FragmentCut = "incompletely_captured_fragment", Some("IP");
    FragmentProtocol = "fragment_protocol_inconsistency", None;
    FragmentWithDf = "fragment_with_DF", None;
    FragmentSize = "fragment_size_inconsistency", None;
    FragmentSmall = "excessively_small_fragment", None;
    FragmentLarge = "excessively_large_fragment", None;
    FragmentInconsistency = "fragment_inconsistency", None;
    FragmentOverlap = "fragment_overlap", None;

    // Transport headers.
    InternallyTruncatedHeader = "internally_truncated_header", None;
    TruncatedHeader = "truncated_header", None;
    BadTcpHeaderLength = "bad_TCP_header_len", Some("TCP");
    UdpLengthMismatch = "UDP_datagram_length_mismatch", Some("UDP");
    BadTcpChecksum = "bad_TCP_checksum", Some("TCP");
    BadUdpChecksum = "bad_UDP_checksum", Some("UDP");
    BadIcmpChecksum = "bad_ICMP_checksum", Some("ICMP");
}

// A set is one word of 128 bits.
const _: () = assert!(Weird::ALL.len() <= 128);

impl Weird {
    /// Zeek raises it with the packet, so that the name ends in `_in_tunnel` inside of one. Those of
    /// fragments and IPv6 extension headers are raised with the IP header alone.
    pub const fn is_of_packet(self) -> bool {
        use Weird::{InternallyTruncatedHeader, PppoeTruncated, TooManyLayers, TruncatedHeader};
        let nameless = matches!(
            self,
            InternallyTruncatedHeader | PppoeTruncated | TooManyLayers | TruncatedHeader
        );
        nameless || self.source().is_some()
    }

    /// It is found before the packet's IP header is known to be sound, so that no addresses go with it
    /// (`packet_analysis/protocol/ip/IP.cc`), whatever was read since.
    pub const fn is_before_addresses(self) -> bool {
        self as u8 <= Weird::MinIpv4HeaderSize as u8
    }
}

impl fmt::Display for Weird {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of oddities, each at most once, iterated in the order of [`Weird::ALL`].
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct WeirdSet(u128);

impl WeirdSet {
    /// Nothing odd.
    pub const NONE: WeirdSet = WeirdSet(0);

    /// Adds one.
    #[inline]
    pub fn insert(&mut self, weird: Weird) {
        self.0 |= 1 << weird as u8;
    }

    /// Whether `weird` is in the set.
    #[inline]
    pub fn contains(self, weird: Weird) -> bool {
        self.0 & (1 << weird as u8) != 0
    }

    /// Whether nothing is in the set.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in either set.
    #[inline]
    #[must_use]
    pub fn union(self, other: WeirdSet) -> WeirdSet {
        WeirdSet(self.0 | other.0)
    }

    /// The members in a fixed order.
    pub fn iter(self) -> impl Iterator<Item = Weird> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let weird = Weird::ALL.get(left.trailing_zeros() as usize).copied()?;
            left &= left - 1;
            Some(weird)
        })
    }
}

impl From<Weird> for WeirdSet {
    fn from(weird: Weird) -> Self {
        let mut set = WeirdSet::NONE;
        set.insert(weird);
        set
    }
}

impl fmt::Debug for WeirdSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_before_the_header_is_sound_has_no_addresses() {
        let is = Weird::is_before_addresses;
        assert!(is(Weird::PppoeExtraData) && is(Weird::IpLengthZero) && is(Weird::TruncatedIp));
        assert!(is(Weird::TruncatedIpLength) && is(Weird::InvalidIpHeaderSize));
        assert!(!is(Weird::BadIpChecksum) && !is(Weird::BadHomeAddressLength));
        assert!(is(Weird::TruncatedIpHeader) && !is(Weird::InternallyTruncatedHeader));
        assert!(!is(Weird::TruncatedHeader));
    }

    #[test]
    fn a_set_lists_each_once_in_declared_order() {
        let mut set = WeirdSet::from(Weird::TruncatedHeader);
        set.insert(Weird::TruncatedIp);
        set.insert(Weird::TruncatedHeader);
        let names: Vec<_> = set.iter().map(Weird::name).collect();
        assert_eq!(names, ["truncated_IP", "truncated_header"]);
        assert!(set.contains(Weird::TruncatedIp) && !set.contains(Weird::FragmentWithDf));
        assert_eq!(WeirdSet::NONE.iter().count(), 0);
    }
}
