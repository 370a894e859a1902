//! Headers of every tunnel, whole, cut short and hostile.

use super::udp::Says;
use super::*;
use crate::decode::proto;
use crate::source::testing::Random;

/// An IPv4 packet with so many bytes of payload and a length that says so.
fn ip4(payload: u8) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 20 + payload, 0, 0, 0, 0, 64, 253, 0, 0, 10, 0, 0, 1];
    packet.extend([10, 0, 0, 2]);
    packet.resize(20 + usize::from(payload), 0xaa);
    packet
}

/// An IPv6 packet from a Teredo address.
fn ip6(next: u8, payload: u8) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, payload, next, 64, 0x20, 0x01, 0, 0];
    packet.resize(40 + usize::from(payload), 7);
    packet
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// The verdict, the length of the inner packet, and the weird.
fn told(says: &Says<'_>) -> (Option<bool>, Option<usize>, Option<&'static str>) {
    (says.is, says.inner.map(|inner| inner.bytes.len()), says.odd.map(|odd| odd.name))
}

fn hosts(number: u8) -> Layer {
    let (src, dst) = ([10, 0, 0, number].into(), [10, 0, 0, 200].into());
    Layer::Hosts(Pair { src, dst, over: Over::Gre, proto: proto::GRE, first: 7 })
}

fn in_gtp() -> Stack {
    let (key, _) =
        Key::new(0, ([10, 0, 0, 1].into(), 2152), ([10, 0, 0, 2].into(), 2152), 17, false);
    Stack::NONE.with(Layer::Flow { key, swapped: false, first: 1, repeat: 0, kind: Kind::Gtpv1 })
}

#[test]
fn a_stack_holds_so_many_and_no_more() {
    let mut stack = Stack::NONE;
    assert!(stack.is_empty() && stack.last().is_none());
    for number in 1..=4 {
        assert!(!stack.is_full());
        stack = stack.with(hosts(number));
        assert_eq!((stack.depth(), stack.last()), (number, Some(&hosts(number))));
    }
    assert!(stack.is_full());
    assert_eq!(stack.with(hosts(9)), stack);
}

#[test]
fn a_flow_notes_five_changes_of_its_tunnels() {
    let stacks: Vec<Stack> = (1..9).map(|number| Stack::NONE.with(hosts(number))).collect();
    let mut around = Around::new(&stacks[0], 0);
    assert_eq!(Around::see(&mut around, &stacks[0], 0), Seen::Same);
    for stack in &stacks[1..6] {
        assert_eq!(Around::see(&mut around, stack, 0), Seen::Changed);
    }
    assert_eq!(Around::see(&mut around, &stacks[6], 0), Seen::TooOften);
    // The same again is no change, another is one too many again.
    assert_eq!(Around::see(&mut around, &stacks[6], 0), Seen::Same);
    assert_eq!(Around::see(&mut around, &stacks[7], 0), Seen::TooOften);
    assert_eq!(around.map(|around| around.parents().count()), Some(6));
}

#[test]
fn a_flow_may_get_its_tunnel_later_and_lose_it() {
    let mut around = Around::new(&Stack::NONE, 0);
    assert!(around.is_none());
    assert_eq!(Around::see(&mut around, &Stack::NONE, 0), Seen::Same);
    assert!(around.is_none());
    for stack in [Stack::NONE.with(hosts(1)), Stack::NONE, Stack::NONE.with(hosts(1))] {
        assert_eq!(Around::see(&mut around, &stack, 0), Seen::Changed);
    }
    let around = around.expect("kept");
    assert_eq!((around.parents().count(), around.changes), (1, 3));
}

#[test]
fn ip_in_ip_must_fit() {
    use ip::{Misfit, fits};
    let packet = ip4(4);
    assert_eq!(fits(proto::IPV4, &packet), Ok(()));
    assert_eq!(fits(proto::IPV4, &packet[..23]), Err(Misfit::Short));
    assert_eq!(fits(proto::IPV4, &packet[..19]), Err(Misfit::Version));
    assert_eq!(fits(proto::IPV4, &joined(&[&packet, &[0]])), Err(Misfit::Long));
    assert_eq!(fits(proto::IPV6, &ip6(59, 0)), Ok(()));
    assert_eq!(fits(proto::IPV6, &ip6(59, 0)[..39]), Err(Misfit::Short));
    assert_eq!(fits(proto::IPV6, &ip4(20)), Err(Misfit::Version));
    assert_eq!(fits(proto::UDP, &packet), Err(Misfit::Version));
    assert_eq!(fits(proto::IPV4, &[]), Err(Misfit::Version));
}

#[test]
fn gre_of_version_0() {
    let frame = [9; 40];
    let cases: [(&[u8], usize, Link); 9] = [
        (&[0, 0, 0x08, 0], 0, Link::Raw),
        (&[0xb0, 0, 0x86, 0xdd, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3], 0, Link::Raw),
        (&[0, 0, 0x65, 0x58], 0, Link::Ethernet),
        // ERSPAN I, II and III; the last without and with the platform's part.
        (&[0, 0, 0x88, 0xbe], 0, Link::Ethernet),
        (&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1], 8, Link::Ethernet),
        (&[0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, Link::Ethernet),
        (&[0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 8, Link::Ethernet),
        (&[0, 0, 0x82, 0x10], 0, Link::Other(105)),
        // MPLS is tried as IP, and found to be none.
        (&[0, 0, 0x88, 0x47], 0, Link::Raw),
    ];
    for (header, skip, link) in cases {
        let packet = joined(&[header, &frame]);
        let inner = gre::open(&packet).expect("opens");
        assert_eq!((inner.link, inner.bytes), (link, &frame[skip..]), "{header:?}");
    }
}

#[test]
fn gre_of_version_1_is_ppp() {
    let header = [0x30, 0x81, 0x88, 0x0b, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2];
    let packet = ip4(8);
    let whole = joined(&[&header, &[0xff, 3, 0, 0x21], &packet]);
    assert_eq!(gre::open(&whole).expect("opens").bytes, packet);
    let name = |bytes: &[u8]| gre::open(bytes).err().map(|odd| odd.name);
    assert_eq!(name(&whole[..whole.len() - 1]), Some("truncated_inner_IP"));
    assert_eq!(name(&joined(&[&whole, &[0]])), Some("inner_IP_payload_length_mismatch"));
    assert_eq!(name(&header), Some("truncated_GRE"));
    let lcp = joined(&[&header, &[0xff, 3, 0xc0, 0x21], &packet]);
    assert_eq!(name(&lcp), Some("non_ip_packet_in_encap"));
}

#[test]
fn broken_gre_is_named() {
    let odd = |bytes: &[u8]| gre::open(bytes).expect_err("broken");
    assert_eq!(odd(&[]).name, "truncated_GRE");
    assert_eq!(odd(&[0, 0, 8]).name, "truncated_GRE");
    assert_eq!(odd(&[0xb0, 0, 8, 0, 1, 2]).name, "truncated_GRE");
    assert_eq!(odd(&[0, 0, 0x65, 0x58, 1, 2]).name, "truncated_GRE");
    assert_eq!(odd(&[0x40, 0, 8, 0, 1, 2]).name, "gre_routing");
    assert_eq!(odd(&[0, 0x08, 8, 0, 1, 2]).name, "unknown_gre_flags");
    let version = odd(&[0, 5, 8, 0]);
    assert_eq!((version.name, version.addl), ("unknown_gre_version", Some(("version=", 5))));
    let kind = odd(&[0, 1, 8, 0]);
    assert_eq!((kind.name, kind.addl), ("egre_protocol_type", Some(("proto=", 0x800))));
}

#[test]
fn vxlan_geneve_and_ayiya() {
    let vxlan = [8, 0, 0, 0, 0, 0, 1, 0];
    assert_eq!(told(&vxlan::open(&joined(&[&vxlan, &[1; 30]]))), (Some(true), Some(30), None));
    assert_eq!(told(&vxlan::open(&vxlan)), (Some(true), None, Some("vxlan_empty_packet")));
    assert_eq!(told(&vxlan::open(&vxlan[..7])), (Some(false), None, None));
    assert_eq!(told(&vxlan::open(&[0; 40])), (Some(false), None, None));

    let geneve = |first: u8, kind: u8| [first, 0, 0x65, kind, 0, 0, 1, 0, 5, 5, 5, 5];
    assert_eq!(told(&geneve::open(&geneve(0, 0x58))), (Some(true), Some(4), None));
    assert_eq!(told(&geneve::open(&geneve(0, 0x59))), (Some(true), None, None));
    let empty = (Some(true), None, Some("geneve_empty_packet"));
    assert_eq!(told(&geneve::open(&geneve(1, 0x58))), empty);
    assert_eq!(told(&geneve::open(&geneve(2, 0x58))), (Some(false), None, None));
    let version = (None, None, Some("geneve_invalid_version"));
    assert_eq!(told(&geneve::open(&geneve(0x40, 0x58))), version);

    let ayiya = joined(&[&[0x40, 0x52, 0x11, 41, 0, 0, 0, 0], &[0; 36], &ip6(59, 0)]);
    assert!(ayiya::detect(&ayiya));
    assert_eq!(told(&ayiya::open(&ayiya)), (Some(true), Some(40), None));
    assert_eq!(told(&ayiya::open(&ayiya[..44])), (Some(true), None, Some("ayiya_empty_packet")));
    assert_eq!(told(&ayiya::open(&ayiya[..43])), (Some(false), None, None));
    // An identity of 2^15 bytes that is not there.
    assert_eq!(told(&ayiya::open(&[0xf0; 200])), (Some(false), None, None));
}

#[test]
fn gtp_carries_packets() {
    let packet = ip4(6);
    let gtp = |flags: u8, more: &[u8]| joined(&[&[flags, 255, 0, 0, 0, 0, 0, 1], more, &packet]);
    let says = |data: &[u8], around: &Stack| told(&gtpv1::open(data, around));
    let (yes, no) = ((Some(true), Some(26), None), (Some(false), None, None));
    assert_eq!(says(&gtp(0x30, &[]), &Stack::NONE), yes);
    assert_eq!(says(&gtp(0x32, &[0, 1, 0, 0]), &Stack::NONE), yes);
    // Two extension headers, of four and of eight bytes.
    let extended = gtp(0x34, &[0, 1, 0, 0xc0, 1, 9, 9, 0x85, 2, 9, 9, 9, 9, 9, 9, 0]);
    assert_eq!(says(&extended, &Stack::NONE), yes);
    // One of no length, and one that is not there whole.
    assert_eq!(says(&gtp(0x34, &[0, 1, 0, 0xc0, 0, 0, 0, 0]), &Stack::NONE), no);
    assert_eq!(says(&gtp(0x34, &[0, 1, 0, 0xc0, 255]), &Stack::NONE), no);
    assert_eq!(says(&gtp(0x50, &[]), &Stack::NONE), no, "version 2");
    assert_eq!(says(&gtp(0x20, &[]), &Stack::NONE), (None, None, None), "GTP'");
    assert_eq!(says(&gtp(0x30, &[0]), &Stack::NONE), no, "no packet");
    let whole = gtp(0x30, &[]);
    assert_eq!(says(&whole[..whole.len() - 1], &Stack::NONE), no, "cut short");
    assert_eq!(says(&whole, &in_gtp()), no, "in GTP");
    let deep = in_gtp().with(hosts(1)).with(hosts(2)).with(hosts(3));
    assert_eq!(says(&whole, &deep), (None, None, Some("tunnel_depth")));
}

#[test]
fn teredo_with_and_without_its_headers() {
    let packet = ip6(17, 12);
    let origin = [0, 0, 1, 1, 2, 2, 2, 2];
    let authentication = joined(&[&[0, 1, 2, 1], &[0; 3 + 9]]);
    for headers in
        [vec![], origin.to_vec(), authentication.clone(), joined(&[&authentication, &origin])]
    {
        let data = joined(&[&headers, &packet]);
        let bytes = teredo::open(&data).map(|found| found.bytes);
        assert_eq!(bytes, Ok(packet.as_slice()), "{headers:?}");
        let bare = headers == authentication;
        assert_eq!(teredo::detect(&data), !bare, "{headers:?}");
    }
    assert_eq!(teredo::open(&joined(&[&origin, &origin, &packet])), Err(None));
    assert_eq!(teredo::open(&joined(&[&origin, &authentication, &packet])), Err(None));
    assert_eq!(teredo::open(&packet[..51]), Err(None));
    assert_eq!(teredo::open(&[0x60; 39]), Err(Some("truncated_IPv6_in_Teredo")));
    assert_eq!(teredo::open(&[0]), Err(Some("truncated_Teredo")));
    assert_eq!(teredo::open(&origin[..7]), Err(Some("truncated_Teredo_origin_indication")));
    assert_eq!(teredo::open(&authentication[..14]), Err(Some("truncated_Teredo_authentication")));
}

#[test]
fn a_bubble_ends_with_its_header_or_is_odd() {
    let bubble = ip6(59, 0);
    assert_eq!(teredo::open(&bubble).map(|found| found.padded_bubble), Ok(false));
    let padded = joined(&[&bubble, &[0; 4]]);
    assert_eq!(teredo::open(&padded).map(|found| found.padded_bubble), Ok(true));
    assert_eq!(teredo::open(&joined(&[&ip6(17, 0), &[0; 4]])), Err(None));
}

#[test]
fn ports_come_before_looks() {
    let teredo = ip6(17, 12);
    assert_eq!(Kind::of(4789, &teredo), Some(Kind::Vxlan));
    assert_eq!(Kind::of(2123, &[]), Some(Kind::Gtpv1));
    assert_eq!(Kind::of(40000, &teredo), Some(Kind::Teredo));
    assert_eq!(Kind::of(40000, &[0, 0x52, 0x11]), Some(Kind::Ayiya));
    assert_eq!(Kind::of(40000, &[0; 60]), None);
    assert_eq!(Kind::of(40000, &[]), None);
}

#[test]
fn random_bytes_are_read_without_harm() {
    let mut random = Random(7);
    for round in 0..20_000u32 {
        let len = (random.next() % 90) as usize;
        let mut data: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        // A plausible beginning gets further.
        let starts: [&[u8]; 5] =
            [&[0x34, 255], &[0, 1], &[0x10, 0, 0x22, 0xeb], &[0x30, 1, 0x88, 0x0b], &[0x60]];
        if let Some(start) = starts.get(round as usize % 8) {
            let n = start.len().min(len);
            data[..n].copy_from_slice(&start[..n]);
        }
        let inside = |inner: Inner<'_>| assert!(inner.bytes.len() <= len);
        gre::open(&data).into_iter().for_each(inside);
        for says in [
            vxlan::open(&data),
            geneve::open(&data),
            ayiya::open(&data),
            gtpv1::open(&data, &Stack::NONE),
        ] {
            says.inner.into_iter().for_each(inside);
        }
        let _ = (teredo::open(&data), teredo::detect(&data));
    }
}
