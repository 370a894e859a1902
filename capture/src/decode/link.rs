//! Link layers: from a frame of any supported link type to the IP header, one header a step.

use std::net::Ipv4Addr;

use super::bytes::{array_at, u8_at, u16_at, u32_at};
use super::wifi::Aggregate;
use super::{Decoded, Decoder, MAX_LAYERS, Undecodable, Weird, WeirdSet};
use crate::source::Link;

/// EtherTypes (IEEE 802 numbers) that lead on.
pub(super) mod ethertype {
    pub(in crate::decode) const IPV4: u16 = 0x0800;
    pub(super) const VLAN: u16 = 0x8100;
    pub(in crate::decode) const IPV6: u16 = 0x86dd;
    pub(super) const MPLS: u16 = 0x8847;
    pub(super) const MPLS_MULTICAST: u16 = 0x8848;
    pub(super) const PPPOE_SESSION: u16 = 0x8864;
    /// 802.1ad, the outer tag of QinQ.
    pub(super) const VLAN_SERVICE: u16 = 0x88a8;
    /// 802.1ah provider backbone bridging.
    pub(super) const BACKBONE: u16 = 0x88e7;
    /// Cisco FabricPath, a header in front of a whole Ethernet frame.
    pub(super) const FABRIC_PATH: u16 = 0x8903;
    pub(super) const VNTAG: u16 = 0x8926;
    /// QinQ before 802.1ad was written.
    pub(super) const VLAN_OLD: u16 = 0x9100;
}

/// Values up to this in the type field of Ethernet are a length (IEEE 802.3).
const MAX_LENGTH_FIELD: u16 = 1500;
/// Values from this on are an EtherType.
const MIN_ETHERTYPE: u16 = 1536;

/// BSD address families in the header of a loopback capture: IPv4 everywhere, IPv6 on NetBSD,
/// FreeBSD and macOS in this order, and Linux.
const LOOPBACK_FAMILIES: [u32; 5] = [2, 24, 28, 30, 10];

/// Link types of Wi-Fi, without and with a radiotap header.
const WIFI: u32 = 105;
const WIFI_RADIOTAP: u32 = 127;

/// What the next bytes are.
#[derive(Clone, Copy)]
pub(super) enum Layer {
    Ethernet,
    Vlan,
    VnTag,
    Backbone,
    Mpls,
    Pppoe,
    Wifi,
    /// Several packets of Wi-Fi.
    Aggregate,
    Ip,
    Other(u16),
}

/// What the link layers said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk<'a> {
    /// Not yet decoded. Length fields on the way cut its end.
    pub(super) rest: &'a [u8],
    /// Bytes of the frame before `rest`.
    at: usize,
    vlan: Option<u16>,
    inner_vlan: Option<u16>,
    weirds: WeirdSet,
}

/// Ethertypes of ARP and of its reverse (RFC 826, RFC 903).
const ARP: [u16; 2] = [0x0806, 0x8035];

/// Whether ARP breaks off before its addresses do.
fn is_cut_arp(data: &[u8]) -> bool {
    let [_, _, _, _, hardware, protocol, _, _, addresses @ ..] = data else { return true };
    addresses.len() < 2 * (usize::from(*hardware) + usize::from(*protocol))
}

impl Decoder {
    /// Decodes one captured frame down to its IP header. `wire_len` is the frame's length on the
    /// wire, which a snap length may have cut `data` short of.
    pub fn decode<'a>(
        &self,
        link: Link,
        wire_len: u32,
        data: &'a [u8],
    ) -> Result<Decoded<'a>, Undecodable> {
        if data.is_empty() || wire_len == 0 {
            return Err(Weird::EmptyPacket.into());
        }
        // Nearly all frames are Ethernet with IP behind it, which needs no walk.
        if link == Link::Ethernet && is_plain(data) {
            let rest = data.get(ETHERNET..).unwrap_or_default();
            return self.ip(rest, wire_len.saturating_sub(ETHERNET as u32)).map(Decoded::Ip);
        }
        let mut walk =
            Walk { rest: data, at: 0, vlan: None, inner_vlan: None, weirds: WeirdSet::NONE };
        let found = walk.find_network(link);
        self.network(walk, found, wire_len)
    }

    /// What the link layers led to, in a frame of `wire_len` bytes.
    pub(super) fn network<'a>(
        &self,
        mut walk: Walk<'a>,
        found: Result<Layer, Weird>,
        wire_len: u32,
    ) -> Result<Decoded<'a>, Undecodable> {
        let end = found.map_err(|reason| Undecodable { reason, also: walk.weirds, addrs: None })?;
        match end {
            Layer::Aggregate => {
                return Ok(Decoded::Aggregate(Aggregate { decoder: *self, walk, wire_len }));
            }
            Layer::Other(ethertype) => {
                if ARP.contains(&ethertype) && is_cut_arp(walk.rest) {
                    walk.weirds.insert(Weird::TruncatedArp);
                }
                return Ok(Decoded::NotIp { ethertype, weirds: walk.weirds });
            }
            _ => {}
        }
        let wire_left = wire_len.saturating_sub(u32::try_from(walk.at).unwrap_or(u32::MAX));
        match self.ip(walk.rest, wire_left) {
            Ok(mut ip) => {
                ip.vlan = walk.vlan;
                ip.inner_vlan = walk.inner_vlan;
                ip.weirds = ip.weirds.union(walk.weirds);
                Ok(Decoded::Ip(ip))
            }
            Err(e) => Err(Undecodable { also: e.also.union(walk.weirds), ..e }),
        }
    }
}

/// Bytes of a header of Ethernet.
const ETHERNET: usize = 14;

/// Whether a frame of Ethernet has an IP header next, and as many bytes as [`Walk::ethernet`] wants.
#[inline]
fn is_plain(frame: &[u8]) -> bool {
    frame.len() > 16
        && u16_at(frame, 12).is_some_and(|kind| matches!(kind, ethertype::IPV4 | ethertype::IPV6))
}

/// What can be told of a frame at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// Sender.
    pub src: Ipv4Addr,
    /// Receiver.
    pub dst: Ipv4Addr,
    /// IP protocol number.
    pub proto: u8,
    /// Ports of TCP or UDP, the sender's first, unless the packet is a fragment.
    pub ports: Option<(u16, u16)>,
}

/// The hosts of a frame that [`Decoder::decode`] is sure to find an IPv4 packet between, where that can be
/// told at once; `None` where it takes decoding.
#[inline]
pub fn glance(link: Link, wire_len: u32, data: &[u8]) -> Option<Glance> {
    let head: &[u8; 34] = data.first_chunk()?;
    if link != Link::Ethernet || head[12..14] != ethertype::IPV4.to_be_bytes() || head[14] != 0x45 {
        return None;
    }
    let total_len = u32::from(u16::from_be_bytes([head[16], head[17]]));
    if total_len < 20 || total_len + 14 > wire_len {
        return None;
    }
    let at = |i: usize| Ipv4Addr::new(head[i], head[i + 1], head[i + 2], head[i + 3]);
    let proto = head[23];
    let is_whole = u16::from_be_bytes([head[20], head[21]]) & 0x3fff == 0;
    let has_ports = is_whole && matches!(proto, super::proto::TCP | super::proto::UDP);
    let ports = || Some((u16_at(data, 34)?, u16_at(data, 36)?));
    Some(Glance { src: at(26), dst: at(30), proto, ports: has_ports.then(ports).flatten() })
}

impl Walk<'_> {
    /// Steps through the headers to `Layer::Ip` or `Layer::Other`.
    fn find_network(&mut self, link: Link) -> Result<Layer, Weird> {
        let mut layer = self.first(link)?;
        for _ in 0..MAX_LAYERS {
            layer = match layer {
                Layer::Ethernet => self.ethernet()?,
                Layer::Vlan => self.vlan()?,
                Layer::VnTag => self.vntag()?,
                Layer::Backbone => self.backbone()?,
                Layer::Mpls => self.mpls()?,
                Layer::Pppoe => self.pppoe()?,
                Layer::Wifi => self.wifi()?,
                Layer::Ip | Layer::Other(_) | Layer::Aggregate => return Ok(layer),
            };
        }
        Err(Weird::TooManyLayers)
    }

    /// The header that the link type itself defines.
    fn first(&mut self, link: Link) -> Result<Layer, Weird> {
        match link {
            Link::Ethernet => Ok(Layer::Ethernet),
            Link::Raw => Ok(Layer::Ip),
            Link::Null | Link::Loop => self.loopback(),
            Link::LinuxSll => self.cooked(16, 14, Weird::TruncatedSll),
            Link::LinuxSll2 => self.cooked(20, 0, Weird::TruncatedSll2),
            Link::Ppp => self.ppp(),
            Link::PppSerial => self.ppp_serial(),
            Link::PppEther => Ok(Layer::Pppoe),
            Link::Fddi => self.skip_more_than(21, Weird::TruncatedFddi).map(|()| Layer::Ip),
            Link::Nflog => self.nflog(),
            Link::Other(WIFI) => Ok(Layer::Wifi),
            Link::Other(WIFI_RADIOTAP) => self.radiotap(),
            // All others are tried as bare IP, as Zeek does.
            Link::Other(_) => Ok(Layer::Ip),
        }
    }

    /// Moves past `n` bytes that have been checked to be there.
    pub(super) fn skip(&mut self, n: usize) {
        self.rest = self.rest.get(n..).unwrap_or_default();
        self.at += n;
    }

    /// Moves past a header of `n` bytes; like Zeek, wants at least a byte behind it.
    pub(super) fn skip_more_than(&mut self, n: usize, or: Weird) -> Result<(), Weird> {
        if self.rest.len() <= n {
            return Err(or);
        }
        self.skip(n);
        Ok(())
    }

    fn ethernet(&mut self) -> Result<Layer, Weird> {
        let short = Weird::TruncatedEthernet;
        if self.rest.len() <= 16 {
            return Err(short);
        }
        let mut kind = u16_at(self.rest, 12).ok_or(short)?;
        if kind == ethertype::FABRIC_PATH {
            if self.rest.len() <= 16 + 14 {
                return Err(Weird::TruncatedFabricPath);
            }
            self.skip(16);
            kind = u16_at(self.rest, 12).ok_or(short)?;
        }
        self.skip(14);
        self.type_or_length(kind, short, Weird::UndefinedEtherType)
    }

    /// IEEE 802.1Q: priority and VLAN id, then the type of what follows.
    fn vlan(&mut self) -> Result<Layer, Weird> {
        let short = Weird::TruncatedVlan;
        let tag = u16_at(self.rest, 0).ok_or(short)?;
        let kind = u16_at(self.rest, 2).ok_or(short)?;
        self.skip_more_than(4, short)?;
        if self.vlan.is_none() {
            self.vlan = Some(tag & 0x0fff);
        } else {
            if self.inner_vlan.is_some() {
                self.weirds.insert(Weird::TripleVlan);
            }
            self.inner_vlan = Some(tag & 0x0fff);
        }
        self.type_or_length(kind, short, Weird::UndefinedVlanProtocol)
    }

    /// The field that is an EtherType or, in 802.3 frames, a length that an 802.2 header follows.
    fn type_or_length(
        &mut self,
        kind: u16,
        short: Weird,
        undefined: Weird,
    ) -> Result<Layer, Weird> {
        if kind >= MIN_ETHERTYPE {
            return Ok(by_ethertype(kind));
        }
        if kind > MAX_LENGTH_FIELD {
            return Err(undefined);
        }
        let head = array_at::<2>(self.rest, 0).ok_or(short)?;
        // What is behind the length is padding.
        let len = self.rest.len().min(usize::from(kind));
        self.rest = self.rest.get(..len).unwrap_or_default();
        match head {
            [0xaa, 0xaa] => self.snap(),
            // Novell's raw 802.3: IPX, with no 802.2 header.
            [0xff, 0xff] => Ok(Layer::Other(0xff)),
            [sap, _] => self.llc(sap),
        }
    }

    /// An 802.2 header names its payload by SAP; none of them is IP in practice.
    fn llc(&self, sap: u8) -> Result<Layer, Weird> {
        let control = u8_at(self.rest, 2).ok_or(Weird::TruncatedLlc)?;
        if self.rest.len() < llc_len(control) {
            return Err(Weird::TruncatedLlc);
        }
        Ok(Layer::Other(u16::from(sap)))
    }

    /// 802.2 with a SNAP header: an organisation code, zero for EtherTypes, and a type.
    fn snap(&mut self) -> Result<Layer, Weird> {
        let control = u8_at(self.rest, 2).ok_or(Weird::TruncatedSnapLlc)?;
        let llc = llc_len(control);
        let oui = array_at::<3>(self.rest, llc).ok_or(Weird::TruncatedSnap)?;
        let kind = u16_at(self.rest, llc + 3).ok_or(Weird::TruncatedSnap)?;
        self.skip(llc + 5);
        Ok(if oui == [0; 3] { by_ethertype(kind) } else { Layer::Other(kind) })
    }

    fn vntag(&mut self) -> Result<Layer, Weird> {
        let kind = u16_at(self.rest, 4).ok_or(Weird::TruncatedVnTag)?;
        self.skip_more_than(6, Weird::TruncatedVnTag)?;
        Ok(by_ethertype(kind))
    }

    /// 802.1ah: a service tag, then the customer's whole Ethernet frame.
    fn backbone(&mut self) -> Result<Layer, Weird> {
        if self.rest.len() <= 18 {
            return Err(Weird::TruncatedPbb);
        }
        self.skip(4);
        Ok(Layer::Ethernet)
    }

    /// RFC 3032: labels of four bytes up to the one with the bottom-of-stack bit. What follows is
    /// not said; it is tried as IP, and what is neither version is reported so, as in Zeek.
    fn mpls(&mut self) -> Result<Layer, Weird> {
        // Every round consumes four bytes, so the packet bounds the loop.
        loop {
            let bottom = u8_at(self.rest, 2).ok_or(Weird::TruncatedMpls)? & 1 == 1;
            self.skip_more_than(4, Weird::TruncatedMpls)?;
            if bottom {
                return Ok(Layer::Ip);
            }
        }
    }

    /// RFC 2516 section 4: six bytes, the last two the payload's length; then a PPP protocol.
    fn pppoe(&mut self) -> Result<Layer, Weird> {
        let short = Weird::TruncatedPppoe;
        let claimed = usize::from(u16_at(self.rest, 4).ok_or(short)?);
        let protocol = u16_at(self.rest, 6).ok_or(short)?;
        let present = self.rest.len().saturating_sub(6);
        self.skip_more_than(8, short)?;
        if claimed < present {
            self.weirds.insert(Weird::PppoeExtraData);
        } else if claimed > present {
            self.weirds.insert(Weird::PppoeTruncated);
        }
        let len = self.rest.len().min(claimed.saturating_sub(2));
        self.rest = self.rest.get(..len).unwrap_or_default();
        Ok(by_ppp_protocol(protocol))
    }

    /// LINKTYPE_PPP: with or without the two bytes of HDLC-like framing (RFC 1662 section 3.1).
    fn ppp(&mut self) -> Result<Layer, Weird> {
        let head = array_at::<2>(self.rest, 0).ok_or(Weird::TruncatedPpp)?;
        if head == [0xff, 0x03] {
            let protocol = u16_at(self.rest, 2).ok_or(Weird::TruncatedPppHdlc)?;
            self.skip_more_than(4, Weird::TruncatedPppHdlc)?;
            return Ok(by_ppp_protocol(protocol));
        }
        self.skip_more_than(2, Weird::TruncatedPpp)?;
        Ok(by_ppp_protocol(u16::from_be_bytes(head)))
    }

    /// LINKTYPE_PPP_HDLC: always framed.
    fn ppp_serial(&mut self) -> Result<Layer, Weird> {
        let protocol = u16_at(self.rest, 2).ok_or(Weird::TruncatedPppSerial)?;
        self.skip_more_than(4, Weird::TruncatedPppSerial)?;
        Ok(by_ppp_protocol(protocol))
    }

    /// BSD loopback: an address family in the byte order of the host that captured.
    fn loopback(&mut self) -> Result<Layer, Weird> {
        let family = u32_at(self.rest, 0).ok_or(Weird::TruncatedNull)?;
        self.skip_more_than(4, Weird::TruncatedNull)?;
        // Families are small, so the order that gives a small number is the right one.
        let family = family.min(family.swap_bytes());
        if LOOPBACK_FAMILIES.contains(&family) {
            return Ok(Layer::Ip);
        }
        Ok(Layer::Other(u16::try_from(family).unwrap_or(0)))
    }

    /// Linux "cooked" captures, whose header has an EtherType at `type_at`.
    fn cooked(&mut self, len: usize, type_at: usize, short: Weird) -> Result<Layer, Weird> {
        let kind = u16_at(self.rest, type_at).ok_or(short)?;
        self.skip_more_than(len, short)?;
        // Below are Linux's own numbers for frames without an EtherType.
        Ok(if kind < MIN_ETHERTYPE { Layer::Other(kind) } else { by_ethertype(kind) })
    }

    /// Packets from the Linux firewall: attributes of length, type and value in the byte order of
    /// the capturing host (little-endian taken for granted), one of them the packet.
    fn nflog(&mut self) -> Result<Layer, Weird> {
        const PAYLOAD: u16 = 9;
        let [family, version] = array_at::<2>(self.rest, 0).ok_or(Weird::TruncatedNflog)?;
        self.skip_more_than(4, Weird::TruncatedNflog)?;
        if version != 0 {
            return Err(Weird::NflogVersion);
        }
        // Every round consumes at least four bytes, so the packet bounds the loop.
        while self.rest.len() > 4 {
            let len = array_at(self.rest, 0).map(u16::from_le_bytes).unwrap_or_default();
            let kind = array_at(self.rest, 2).map(u16::from_le_bytes).unwrap_or_default();
            if kind == PAYLOAD {
                self.skip(4);
                let ip = LOOPBACK_FAMILIES.contains(&u32::from(family));
                return Ok(if ip { Layer::Ip } else { Layer::Other(u16::from(family)) });
            }
            let padded = usize::from(len).next_multiple_of(4);
            if len < 4 || padded > self.rest.len() {
                return Err(Weird::NflogBadLength);
            }
            self.skip(padded);
        }
        Err(Weird::NflogNoPayload)
    }
}

/// The layer that an EtherType stands for.
fn by_ethertype(kind: u16) -> Layer {
    match kind {
        ethertype::IPV4 | ethertype::IPV6 => Layer::Ip,
        ethertype::VLAN | ethertype::VLAN_SERVICE | ethertype::VLAN_OLD => Layer::Vlan,
        ethertype::MPLS | ethertype::MPLS_MULTICAST => Layer::Mpls,
        ethertype::PPPOE_SESSION => Layer::Pppoe,
        ethertype::BACKBONE => Layer::Backbone,
        ethertype::VNTAG => Layer::VnTag,
        other => Layer::Other(other),
    }
}

/// The layer that a PPP protocol number stands for (IANA "PPP DLL Protocol Numbers").
fn by_ppp_protocol(protocol: u16) -> Layer {
    match protocol {
        0x0021 | 0x0057 => Layer::Ip,
        0x0281 => Layer::Mpls,
        other => Layer::Other(other),
    }
}

/// An 802.2 header has one control byte in unnumbered frames, else two (IEEE 802.2 section 5.2).
fn llc_len(control: u8) -> usize {
    if control & 0x03 == 0x03 { 3 } else { 4 }
}
