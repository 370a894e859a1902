//! Fragments in and out of order, overlapping, lying, and too many.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;
use crate::source::testing::Random;

const V4: (IpAddr, IpAddr) =
    (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)));

/// A fragment of 10.0.0.1's datagram.
fn part(id: u32, offset: u32, more: bool, payload: &[u8]) -> IpPacket<'_> {
    IpPacket {
        src: V4.0,
        dst: V4.1,
        proto: 17,
        total_len: 20 + payload.len() as u32,
        hdr_len: 20,
        ttl: 64,
        fragment: Some(Fragment { id, offset, more, dont: false }),
        payload,
        payload_len: payload.len() as u32,
        header: &[],
        truncated: false,
        vlan: None,
        inner_vlan: None,
        weirds: WeirdSet::NONE,
    }
}

/// Adds packets at time zero; the bytes of the datagram that the last one completed, and all names.
fn add_all(
    table: &mut Reassembler,
    packets: &[IpPacket<'_>],
) -> (Option<Vec<u8>>, Vec<&'static str>) {
    let mut whole = None;
    let mut weirds = WeirdSet::NONE;
    for packet in packets {
        let (outcome, odd) = table.add(0, packet);
        weirds = weirds.union(odd);
        whole = match outcome {
            Outcome::Complete(datagram) => Some(datagram.bytes.to_vec()),
            Outcome::AsIs | Outcome::Held => None,
        };
    }
    (whole, weirds.iter().map(Weird::name).collect())
}

#[test]
fn any_order_gives_the_same_bytes() {
    let mut random = Random(42);
    for round in 0..2000 {
        let len = 8 + random.below(4000);
        let data = random.bytes(len);
        let mut parts = Vec::new();
        let mut at = 0;
        while at < data.len() {
            let end = (at + 8 * (6 + random.below(40))).min(data.len());
            parts.push(part(round, at as u32, end < data.len(), &data[at..end]));
            at = end;
        }
        if parts.len() < 2 {
            continue;
        }
        for n in (1..parts.len()).rev() {
            parts.swap(n, random.below(n + 1));
        }
        let mut table = Reassembler::default();
        let (whole, weirds) = add_all(&mut table, &parts);
        assert!(whole.as_deref() == Some(&data[..]) && weirds.is_empty(), "{weirds:?}");
        assert!(table.is_empty() && table.bytes == 0 && table.by_age.is_empty());
    }
}

#[test]
fn the_first_bytes_win_and_overlaps_are_named() {
    let (a, b, c) = ([b'a'; 64], [b'b'; 64], [b'a'; 32]);
    let table = &mut Reassembler::default();
    let (whole, weirds) = add_all(table, &[part(1, 0, true, &a), part(1, 32, false, &b)]);
    assert_eq!(whole.unwrap(), [&[b'a'; 64][..], &[b'b'; 32]].concat());
    assert_eq!(weirds, ["fragment_inconsistency"]);
    let (whole, weirds) =
        add_all(table, &[part(2, 0, true, &a), part(2, 32, true, &c), part(2, 64, false, &b)]);
    assert_eq!(whole.unwrap().len(), 128);
    assert_eq!(weirds, ["excessively_small_fragment", "fragment_overlap"]);
    // One fragment over a hole between two: only the hole is filled.
    let (whole, weirds) = add_all(
        table,
        &[part(3, 0, true, &b), part(3, 128, false, &b), part(3, 0, true, &[b'a'; 192])],
    );
    assert_eq!(whole.unwrap(), [[b'b'; 64], [b'a'; 64], [b'b'; 64]].concat());
    assert_eq!(weirds, ["fragment_size_inconsistency", "fragment_inconsistency"][1..]);
}

#[test]
fn sizes_and_headers_that_contradict_are_named() {
    let bytes = [0; 64];
    let table = &mut Reassembler::default();
    let (whole, weirds) =
        add_all(table, &[part(1, 64, false, &bytes), part(1, 128, false, &bytes)]);
    assert_eq!((whole, &weirds[..]), (None, &["fragment_size_inconsistency"][..]));
    let other = IpPacket { proto: 6, ..part(1, 0, true, &bytes) };
    let (whole, weirds) = add_all(table, &[other]);
    assert_eq!(
        (whole.map(|w| w.len()), &weirds[..]),
        (Some(192), &["fragment_protocol_inconsistency"][..])
    );
    let (_, weirds) = add_all(table, &[part(2, 65_528, true, &bytes)]);
    assert_eq!(weirds, ["excessively_large_fragment"]);
    assert_eq!(table.counters().dropped, 1);
}

#[test]
fn cut_fragments_are_used_only_at_the_start() {
    let table = &mut Reassembler::default();
    let first = IpPacket { truncated: true, payload_len: 100, ..part(1, 0, true, &[0; 64]) };
    let (outcome, weirds) = table.add(0, &first);
    assert!(matches!(outcome, Outcome::AsIs) && weirds.contains(Weird::FragmentCut));
    let later = IpPacket { truncated: true, payload_len: 100, ..part(1, 100, true, &[0; 64]) };
    assert!(matches!(table.add(0, &later).0, Outcome::Held));
    assert!(table.is_empty());
}

#[test]
fn ipv6_goes_on_behind_the_fragment_header() {
    let fragment = |offset, more, payload: &'static [u8]| IpPacket {
        src: IpAddr::V6(Ipv6Addr::LOCALHOST),
        dst: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        proto: 60,
        hdr_len: 48,
        total_len: 1000,
        ..part(9, offset, more, payload)
    };
    let table = &mut Reassembler::default();
    let first = fragment(0, true, &[17, 0, 1, 4, 0, 0, 0, 0]);
    let last = fragment(8, false, &[0, 1, 0, 2, 0, 8, 0, 0]);
    assert!(matches!(table.add(0, &last).0, Outcome::Held));
    let (Outcome::Complete(datagram), _) = table.add(0, &first) else { panic!() };
    let whole = last.reassembled(datagram);
    assert_eq!((whole.proto, whole.hdr_len, whole.total_len, whole.fragment), (17, 48, 56, None));
    assert_eq!(whole.payload, [0, 1, 0, 2, 0, 8, 0, 0]);
    // A fragment that is whole needs no table.
    let atomic = fragment(0, false, &[17, 0, 1, 4, 0, 0, 0, 0, 1]);
    assert!(matches!(table.add(0, &atomic).0, Outcome::Complete(_)) && table.is_empty());
}

#[test]
fn limits_hold_and_the_oldest_goes_first() {
    let limits = Limits { datagrams: 3, ..Limits::default() };
    let mut table = Reassembler::new(limits);
    for id in 0..5 {
        table.add(i64::from(id), &part(id, 0, true, &[1; 64]));
    }
    assert_eq!((table.len(), table.counters().evicted), (3, 2));
    // The two oldest are gone, so their rest completes nothing.
    assert!(add_all(&mut table, &[part(4, 64, false, &[2; 8])]).0.is_some());
    assert!(add_all(&mut table, &[part(1, 64, false, &[2; 8])]).0.is_none());

    let mut table = Reassembler::new(Limits { bytes: 100_000, ..Limits::default() });
    for id in 0..5000 {
        table.add(0, &part(id, 8 * (id % 5000), true, &[1; 64]));
        assert!(table.bytes <= 100_000);
    }
    let mut table = Reassembler::new(Limits { fragments: 10, ..Limits::default() });
    for n in 0..11 {
        table.add(0, &part(1, n * 128, true, &[1; 64]));
    }
    assert_eq!((table.len(), table.counters().too_many, table.bytes), (0, 1, 0));
}

#[test]
fn time_runs_out_by_packet_time() {
    let mut table = Reassembler::default();
    table.add(0, &part(1, 0, true, &[1; 64]));
    table.add(300_000_000, &part(2, 0, true, &[1; 64]));
    assert_eq!(table.len(), 2);
    table.add(300_000_001, &part(3, 0, true, &[1; 64]));
    assert_eq!((table.len(), table.counters().timed_out), (2, 1));
}

#[test]
fn random_fragments_stay_within_the_limits() {
    let limits = Limits { datagrams: 20, bytes: 200_000, fragments: 50, timeout_us: 1000 };
    let mut random = Random(99);
    let data = random.bytes(2000);
    let mut table = Reassembler::new(limits);
    for ts in 0..100_000 {
        let payload = &data[..random.below(data.len())];
        let offset = 8 * random.below(8192) as u32;
        let packet =
            part(random.below(40) as u32, offset >> random.below(14), random.below(4) > 0, payload);
        if let (Outcome::Complete(datagram), _) = table.add(ts, &packet) {
            assert!(datagram.bytes.len() <= MAX_DATAGRAM as usize);
        }
        assert!(table.len() <= limits.datagrams && table.bytes <= limits.bytes);
        assert!(table.by_age.len() == table.len());
    }
}
