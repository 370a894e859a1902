//! Frames built by hand, one for each header and each way to be broken, and random ones.

use super::*;
use crate::checksum;
use crate::source::Link;
use crate::source::testing::Random;

/// A TCP SYN from 10.0.0.1:4000 to 10.0.0.2:80 with one option and the payload "hi", checksums
/// right.
fn tcp4() -> Vec<u8> {
    let mut tcp = vec![0x0f, 0xa0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x60, 0x12, 1, 0, 0, 0, 0, 7];
    tcp.extend([2, 4, 5, 0xb4]);
    tcp.extend(b"hi");
    let mut ip = vec![0x45, 0, 0, 20 + tcp.len() as u8, 0, 1, 0x40, 0, 64, 6, 0, 0];
    ip.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    let sum = checksum::of(checksum::Sum::default().plus(&ip));
    ip[10..12].copy_from_slice(&sum);
    let pseudo =
        checksum::pseudo_header([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 6, tcp.len() as u32);
    let sum = checksum::of(pseudo.plus(&tcp));
    tcp[16..18].copy_from_slice(&sum);
    ip.extend(tcp);
    ip
}

/// An IPv6 packet from ::1 to ::2 with a payload.
fn ip6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut ip = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next, 64];
    ip.extend([0; 15]);
    ip.push(1);
    ip.extend([0; 15]);
    ip.push(2);
    ip.extend(payload);
    ip
}

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

fn decode(link: Link, frame: &[u8]) -> Result<Decoded<'_>, Undecodable> {
    Decoder::default().decode(link, frame.len() as u32, frame)
}

fn ip(link: Link, frame: &[u8]) -> IpPacket<'_> {
    match decode(link, frame) {
        Ok(Decoded::Ip(ip)) => ip,
        other => panic!("{other:?}"),
    }
}

/// Whatever the bytes: where a glance says something, decoding finds just that.
#[test]
fn a_glance_agrees_with_decoding() {
    let mut random = Random(5);
    let (mut told, mut with_ports) = (0, 0);
    for round in 0..20_000 {
        let mut frame = ethernet(0x0800, &tcp4());
        for _ in 0..round % 4 {
            let at = random.below(frame.len());
            frame[at] = random.below(256) as u8;
        }
        frame.truncate(frame.len() - random.below(frame.len()) * (round % 3 / 2));
        let wire_len = frame.len() as u32 + random.below(3) as u32;
        let Some(seen) = glance(Link::Ethernet, wire_len, &frame) else { continue };
        told += 1;
        let ip = match Decoder::default().decode(Link::Ethernet, wire_len, &frame) {
            Ok(Decoded::Ip(ip)) => ip,
            other => panic!("{other:?}"),
        };
        assert_eq!((ip.src, ip.dst, ip.proto), (seen.src.into(), seen.dst.into(), seen.proto));
        match (ip.transport(), seen.ports) {
            (Ok(Transport::Tcp(tcp)), Some(ports)) => {
                with_ports += 1;
                assert_eq!((tcp.src_port, tcp.dst_port), ports);
            }
            (Ok(Transport::Tcp(_)), None) => assert!(ip.fragment.is_some(), "{ip:?}"),
            _ => {}
        }
    }
    assert!(told > 5_000 && with_ports > 4_000, "{told} {with_ports}");
}

fn reason(frame: &[u8]) -> &'static str {
    decode(Link::Raw, frame).err().map_or("none", |broken| broken.reason.name())
}

fn assert_is_tcp4(ip: &IpPacket<'_>) {
    let Ok(Transport::Tcp(tcp)) = ip.transport() else { panic!("{ip:?}") };
    assert_eq!((tcp.src_port, tcp.dst_port, tcp.seq, tcp.ack), (4000, 80, 1, 2));
    assert!(tcp.flags.syn() && tcp.flags.ack() && !tcp.flags.fin() && !tcp.flags.rst());
    assert_eq!((tcp.window, tcp.urgent, tcp.data_offset), (256, 7, 24));
    assert_eq!((tcp.options, tcp.payload, tcp.payload_len), (&[2, 4, 5, 0xb4][..], &b"hi"[..], 2));
    assert_eq!(checksum::verify(ip), None);
}

#[test]
fn every_link_layer_leads_to_the_same_packet() {
    let tcp = tcp4();
    let mpls = [&[0, 1, 0, 64, 0, 2, 0x01, 64][..], &tcp].concat();
    let len = tcp.len() as u8 + 2;
    let pppoe = [&[0x11, 0, 0, 1, 0, len, 0, 0x21][..], &tcp].concat();
    let snap = [&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], &tcp].concat();
    let qinq = [&[0, 5, 0x81, 0, 0x20, 6, 8, 0][..], &tcp].concat();
    let sll = [&[0; 14][..], &[8, 0], &tcp].concat();
    let sll2 = [&[8, 0][..], &[0; 18], &tcp].concat();
    let nflog = [&[2, 0, 0, 0, 5, 0, 1, 0, 7, 0, 0, 0, 4, 0, 9, 0][..], &tcp].concat();
    let frames = [
        (Link::Raw, tcp.clone()),
        (Link::Other(4711), tcp.clone()),
        (Link::Ethernet, [&ethernet(0x0800, &tcp)[..], &[0; 9]].concat()),
        (Link::Ethernet, ethernet(0x8847, &mpls)),
        (Link::Ethernet, ethernet(0x8864, &pppoe)),
        (Link::Ethernet, ethernet(snap.len() as u16, &snap)),
        (Link::Ethernet, ethernet(0x88a8, &qinq)),
        (
            Link::Ethernet,
            ethernet(0x8926, &[&[0, 0, 0, 0, 0x81, 0, 0, 5, 8, 0][..], &tcp].concat()),
        ),
        (Link::Ethernet, ethernet(0x88e7, &[&[0; 4][..], &ethernet(0x0800, &tcp)].concat())),
        (Link::LinuxSll, sll),
        (Link::LinuxSll2, sll2),
        (Link::Null, [&[2, 0, 0, 0][..], &tcp].concat()),
        (Link::Loop, [&[0, 0, 0, 2][..], &tcp].concat()),
        (Link::Ppp, [&[0xff, 3, 0, 0x21][..], &tcp].concat()),
        (Link::Ppp, [&[0, 0x21][..], &tcp].concat()),
        (Link::PppSerial, [&[0x0f, 0, 0, 0x21][..], &tcp].concat()),
        (Link::PppEther, pppoe),
        (Link::Fddi, [&[0; 21][..], &tcp].concat()),
        (Link::Nflog, nflog),
    ];
    for (link, frame) in frames {
        let packet = ip(link, &frame);
        assert_is_tcp4(&packet);
        assert!(packet.weirds.is_empty(), "{link:?} {:?}", packet.weirds);
    }
    let frame = ethernet(0x88a8, &qinq);
    assert_eq!(
        (ip(Link::Ethernet, &frame).vlan, ip(Link::Ethernet, &frame).inner_vlan),
        (Some(5), Some(6))
    );
}

#[test]
fn what_is_not_ip_says_what_it_is() {
    let code = |link, frame: &[u8]| match decode(link, frame) {
        Ok(Decoded::NotIp { ethertype, .. }) => ethertype,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(Link::Ethernet, &ethernet(0x0806, &[0; 28])), 0x0806);
    assert_eq!(code(Link::Ethernet, &ethernet(4, &[0x42, 0x42, 3, 0])), 0x42);
    assert_eq!(code(Link::LinuxSll, &[[0; 14].as_slice(), &[0, 4, 1, 2]].concat()), 4);
    assert_eq!(code(Link::Other(105), &[0; 30]), 0);
}

#[test]
fn broken_ip_headers_have_zeeks_names() {
    let good = tcp4();
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    assert_eq!(reason(&good[..19]), "truncated_IP");
    assert_eq!(reason(&with(0, 0x55)), "unknown_ip_version");
    assert_eq!(reason(&with(3, 0)), "ip_hdr_len_zero");
    assert_eq!(reason(&with(3, 47)), "truncated_IP_len");
    assert_eq!(reason(&with(3, 10)), "invalid_IP_header_size");
    assert_eq!(reason(&with(0, 0x44)), "IPv4_min_header_size");
    assert_eq!(reason(&ip6(6, &[])[..39]), "truncated_IP");
    assert_eq!(reason(&[]), "empty_pcap_header");
    let options = with(0, 0x46);
    let cut = Decoder::default().decode(Link::Raw, 46, &options[..22]);
    let cut = cut.err().map(|broken| (broken.reason, broken.reason.source()));
    assert_eq!(cut, Some((Weird::TruncatedIpHeader, Some("IP"))));
    assert_eq!(checksum::verify(&ip(Link::Raw, &with(8, 63))), Some(Weird::BadIpChecksum));
    assert_eq!(checksum::verify(&ip(Link::Raw, &with(45, b'!'))), Some(Weird::BadTcpChecksum));
}

#[test]
fn a_zero_length_is_offload_when_checksums_are_ignored() {
    let mut bytes = tcp4();
    bytes[3] = 0;
    let decoder = Decoder { ignore_checksums: true };
    let Ok(Decoded::Ip(ip)) = decoder.decode(Link::Raw, 46, &bytes) else { panic!() };
    assert_eq!((ip.total_len, ip.payload_len), (46, 26));
    assert!(ip.weirds.contains(Weird::IpLengthZero));
}

#[test]
fn a_short_capture_keeps_the_lengths_apart() {
    let bytes = tcp4();
    let Ok(Decoded::Ip(ip)) = Decoder::default().decode(Link::Raw, 46, &bytes[..45]) else {
        panic!()
    };
    assert!(ip.truncated);
    let Ok(Transport::Tcp(tcp)) = ip.transport() else { panic!() };
    assert_eq!((tcp.payload, tcp.payload_len), (&b"h"[..], 2));
    assert_eq!(checksum::verify(&ip), None, "cannot be checked");
    let Ok(Decoded::Ip(ip)) = Decoder::default().decode(Link::Raw, 46, &bytes[..30]) else {
        panic!()
    };
    assert_eq!(ip.transport().err(), Some(Weird::InternallyTruncatedHeader));
}

#[test]
fn broken_tcp_offsets_keep_the_fixed_header() {
    for (offset, weird) in [(0x40, Weird::BadTcpHeaderLength), (0xf0, Weird::TruncatedHeader)] {
        let mut bytes = tcp4();
        bytes[32] = offset;
        let Ok(Transport::Tcp(tcp)) = ip(Link::Raw, &bytes).transport() else { panic!() };
        assert_eq!((tcp.broken, tcp.dst_port, tcp.payload_len), (Some(weird), 80, 0));
    }
}

#[test]
fn ipv6_extension_headers_are_walked() {
    let udp = [0, 53, 0, 99, 0, 9, 0, 0, b'x'];
    // Hop-by-hop, destination options with a home address of ::9, and an authentication header.
    let mut chain = vec![60, 0, 1, 4, 0, 0, 0, 0];
    chain.extend([51, 2, 0, 0, 0, 0, 201, 16]);
    chain.extend([0; 15]);
    chain.push(9);
    chain.extend([17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let bytes = ip6(0, &[&chain[..], &udp].concat());
    let packet = ip(Link::Raw, &bytes);
    assert_eq!(packet.src.to_string(), "::9");
    assert_eq!((packet.proto, packet.hdr_len as usize), (17, 40 + chain.len()));
    let Ok(Transport::Udp(udp)) = packet.transport() else { panic!() };
    assert_eq!((udp.src_port, udp.dst_port, udp.payload, udp.mismatch), (53, 99, &b"x"[..], false));
}

#[test]
fn routing_headers_give_the_last_hop_and_fragments_their_place() {
    let mut header = vec![44, 2, 2, 1, 0, 0, 0, 0];
    header.extend([0; 15]);
    header.push(7);
    header.extend([6, 0, 0x00, 0x11, 0, 0, 0, 5]);
    let bytes = ip6(43, &[&header[..], b"12345678"].concat());
    let packet = ip(Link::Raw, &bytes);
    assert_eq!(packet.dst.to_string(), "::7");
    let expected = Fragment { id: 5, offset: 16, more: true, dont: false };
    assert_eq!(
        (packet.fragment, packet.proto, packet.payload),
        (Some(expected), 6, &b"12345678"[..])
    );
}

#[test]
fn chains_that_end_in_no_transport() {
    assert!(matches!(ip(Link::Raw, &ip6(50, &[0; 16])).transport(), Ok(Transport::NoFlow)));
    assert_eq!(ip(Link::Raw, &ip6(59, &[])).transport().err(), Some(Weird::Ipv6NoNext));
    assert!(matches!(ip(Link::Raw, &ip6(41, &ip6(59, &[]))).transport(), Ok(Transport::Other)));
    // An extension header that says it is longer than the packet.
    assert!(matches!(
        ip(Link::Raw, &ip6(0, &[6, 9, 0, 0, 0, 0, 0, 0])).transport(),
        Ok(Transport::Other)
    ));
    let mobility = ip6(135, &[6, 0, 1, 0, 0, 0, 0, 0]);
    assert!(ip(Link::Raw, &mobility).weirds.contains(Weird::MobilityPiggyback));
    assert_eq!(checksum::verify(&ip(Link::Raw, &mobility)), Some(Weird::BadMobilityChecksum));
}

#[test]
fn stacked_headers_come_to_an_end() {
    let tags: Vec<u8> = [0, 1, 0x81, 0].repeat(200);
    let broken = decode(Link::Ethernet, &ethernet(0x8100, &tags)).err().unwrap();
    assert_eq!(broken.reason, Weird::TooManyLayers);
    assert!(broken.also.contains(Weird::TripleVlan));
    // Labels of MPLS are one layer to Zeek, however many.
    let labels = [[0, 1, 0, 64].repeat(200), vec![0, 2, 1, 64], tcp4()].concat();
    assert_is_tcp4(&ip(Link::Ethernet, &ethernet(0x8847, &labels)));
    let options: Vec<u8> = [60, 0, 0, 0, 0, 0, 0, 0].repeat(20);
    assert!(matches!(ip(Link::Raw, &ip6(60, &options)).transport(), Ok(Transport::Other)));
}

/// Decodes to the end whatever the bytes are, and looks at all that was decoded.
fn decode_all(link: Link, wire_len: u32, bytes: &[u8]) {
    let decoder = Decoder { ignore_checksums: bytes.len().is_multiple_of(2) };
    match decoder.decode(link, wire_len, bytes) {
        Ok(Decoded::Ip(ip)) => look_at_all(&ip),
        Ok(Decoded::Aggregate(several)) => {
            for one in several {
                let Ok(Decoded::Ip(ip)) = one else { continue };
                look_at_all(&ip);
            }
        }
        _ => {}
    }
}

fn look_at_all(ip: &IpPacket<'_>) {
    assert!(ip.payload.len() <= ip.payload_len as usize);
    assert!(ip.truncated == (ip.payload.len() < ip.payload_len as usize));
    assert!(ip.total_len == ip.hdr_len + ip.payload_len);
    checksum::verify(ip);
    match ip.transport() {
        Ok(Transport::Tcp(tcp)) => assert!(tcp.payload.len() <= tcp.payload_len as usize),
        Ok(Transport::Udp(udp)) => assert!(udp.payload.len() <= udp.payload_len as usize),
        Ok(Transport::Icmp4(icmp) | Transport::Icmp6(icmp)) => {
            assert!(icmp.payload.len() <= icmp.payload_len as usize);
        }
        Ok(Transport::Other | Transport::NoFlow) | Err(_) => {}
    }
}

#[test]
fn no_bytes_make_decoding_panic() {
    let mut random = Random(0x0ddba11);
    let extensions =
        ip6(0, &[60, 0, 1, 4, 0, 0, 0, 0, 43, 0, 1, 4, 0, 0, 0, 0, 44, 2, 0, 1, 0, 0, 0, 0]);
    let seeds = [
        (1, ethernet(0x8100, &[&[0, 1, 8, 0][..], &tcp4()].concat())),
        (1, ethernet(0x8864, &[&[0x11, 0, 0, 1, 0, 48, 0, 0x21][..], &tcp4()].concat())),
        (101, extensions),
        (239, [&[2, 0, 0, 0, 5, 0, 1, 0, 7, 0, 0, 0, 4, 0, 9, 0][..], &tcp4()].concat()),
        (113, random.bytes(80)),
        (276, random.bytes(80)),
        (0, random.bytes(60)),
        (9, random.bytes(60)),
        (105, [&[0x88, 1][..], &[0; 22], &[0x80, 0], &random.bytes(60)].concat()),
        (
            127,
            [&[0, 0, 4, 0, 8, 1][..], &[0; 22], &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &tcp4()].concat(),
        ),
    ];
    for round in 0..200_000 {
        let (link, seed) = &seeds[round % seeds.len()];
        let mut bytes = seed.clone();
        for _ in 0..random.below(5) {
            let at = random.below(bytes.len());
            bytes[at] = [0, 0xff, 1, random.next() as u8][random.below(4)];
        }
        bytes.truncate(random.below(bytes.len() * 2));
        let wire_len = bytes.len() as u32 + [0, 0, 1000, u32::MAX / 2][random.below(4)];
        decode_all(Link::from(*link), wire_len, &bytes);
    }
}

#[test]
fn arp_that_breaks_off_is_odd() {
    let mut frame = [&[2; 12][..], &[8, 6], &[0, 1, 8, 0, 6, 4, 0, 1], &[7; 20]].concat();
    let is_odd = |frame: &[u8]| {
        let decoder = Decoder { ignore_checksums: true };
        match decoder.decode(Link::Ethernet, frame.len() as u32, frame) {
            Ok(Decoded::NotIp { weirds, .. }) => weirds.contains(Weird::TruncatedArp),
            other => panic!("{other:?}"),
        }
    };
    assert!(!is_odd(&frame));
    assert!(is_odd(&frame[..frame.len() - 1]) && is_odd(&frame[..20]));
    frame[12] = 9;
    assert!(!is_odd(&frame[..20]));
}
