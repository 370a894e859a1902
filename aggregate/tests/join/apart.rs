//! Who is told to have seen a flow, and what stays apart: tuples used again, other sites, and what is for many hosts.

use std::collections::{BTreeMap, BTreeSet};

use bus::{Outgoing, Place};
use capture::config::Joins;

use crate::made::{ACK, C, RST, carried, closed, packets};
use crate::rows::{Row, rows_of};
use crate::sensors::{Owned, Sensor, aggregated};

type Sent = Vec<Vec<Vec<Outgoing>>>;

/// What two sensors send, the clock of the second a millisecond ahead; where they are halves each of one direction.
fn sent(joins: Joins, places: [Place; 2], packets: &[Owned]) -> Sent {
    let sends = |(n, place): (usize, Place)| {
        let sensor = Sensor::new(["north", "south"][n], joins);
        let sensor = Sensor { place, ahead_us: n as i64 * 1000, ..sensor };
        let sees = |packet: &&Owned| joins == Joins::Copies || packet.is_up == (n == 0);
        sensor.sends(packets.iter().filter(sees))
    };
    places.into_iter().enumerate().map(sends).collect()
}

/// Rows of conn that aggregators make of it.
fn conn(joins: Joins, sent: Sent) -> Vec<Row> {
    let overlap = joins == Joins::Copies;
    let rows = aggregated(&|config| config.overlap = overlap, sent, &mut |_| 0).remove("conn");
    rows.unwrap_or_default()
}

/// Each at a tap of its own.
fn own() -> [Place; 2] {
    ["north", "south"].map(Place::of_node)
}

const BOTH: [Joins; 2] = [Joins::Halves, Joins::Copies];

#[test]
fn a_row_of_several_names_them_and_their_uids() {
    for joins in BOTH {
        let sent = sent(joins, own(), &packets(80, &closed(0, 100)));
        let written = rows_of(sent.iter().flatten().flatten()).remove("conn").unwrap();
        let uids: BTreeSet<&str> = written.iter().map(|row| &*row["uid"]).collect();
        let uids: Vec<&str> = uids.into_iter().collect();
        let rows = conn(joins, sent.clone());
        assert_eq!((rows.len(), uids.len()), (1, 2), "{joins:?}");
        assert_eq!(rows[0]["observers"], "north,south", "{joins:?}");
        assert_eq!(rows[0]["observer_uids"], uids.join(","), "{joins:?}");
        assert!(uids.contains(&&*rows[0]["uid"]), "{joins:?}");
    }
}

#[test]
fn a_tuple_that_is_used_again_is_another_flow() {
    let twice = [closed(0, 100), closed(3000, 70_000)].concat();
    // And one that is reset, which begins anew at once.
    let mut reset = closed(0, 100)[..4].to_vec();
    reset.push((12, C, RST | ACK, 102, 501, b""));
    reset.extend(closed(400, 9000));
    for segments in [twice, reset] {
        let rows = conn(Joins::Copies, sent(Joins::Copies, own(), &packets(80, &segments)));
        let observers: Vec<_> = rows.iter().map(|row| &*row["observers"]).collect();
        assert_eq!(observers, ["north,south"; 2]);
    }
    // Nor is it one flow where each tap missed one of the two.
    let seen = [("north", closed(0, 100)), ("south", closed(3000, 70_000))];
    let each = seen.map(|(node, segments)| {
        Sensor::new(node, Joins::Copies).sends(packets(80, &segments).iter())
    });
    assert_eq!(conn(Joins::Copies, each.into()).len(), 2);
}

#[test]
fn sites_have_nothing_to_do_with_each_other() {
    let at = |sites: [&str; 2]| {
        let mut places = own();
        places.iter_mut().zip(sites).for_each(|(place, site)| place.site = site.to_owned());
        places
    };
    let packets = packets(80, &closed(0, 100));
    for joins in BOTH {
        let observers = |sites| -> Vec<String> {
            let rows = conn(joins, sent(joins, at(sites), &packets));
            rows.iter().map(|row| row["observers"].clone()).collect()
        };
        assert_eq!(observers(["a", "a"]), ["north,south"], "{joins:?}");
        let mut apart = observers(["a", "b"]);
        apart.sort();
        assert_eq!(apart, ["north", "south"], "{joins:?}");
    }
}

/// A datagram between two hosts of one family, from and to the same port.
fn datagram(ms: i64, hosts: [&str; 2]) -> Owned {
    let ends = hosts.map(|host| (host.parse().unwrap(), 40_001));
    carried(ms * 1000, 17, C, ends, &[0, 12, 0, 0, 1, 2, 3, 4])
}

/// How many rows came of each pair of hosts.
fn rows_by_pair(joins: Joins, packets: &[Owned]) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for row in conn(joins, sent(joins, own(), packets)) {
        let pair = format!("{} {}", row["id.orig_h"], row["id.resp_h"]);
        *count.entry(pair).or_default() += 1;
    }
    count
}

const FOR_MANY: [[&str; 2]; 9] = [
    ["10.0.0.1", "224.0.0.251"],
    ["10.0.0.1", "239.1.2.3"],
    ["10.0.0.1", "255.255.255.255"],
    ["0.0.0.0", "255.255.255.255"],
    ["169.254.7.7", "10.0.0.9"],
    ["10.0.0.1", "169.254.7.7"],
    ["2001:db8::1", "ff02::fb"],
    ["fe80::1", "2001:db8::1"],
    ["2001:db8::5", "fe80::1"],
];
/// A directed broadcast is one of these: no packet says how long the prefix of its network is.
const FOR_ONE: [[&str; 2]; 3] =
    [["10.0.0.1", "10.0.0.9"], ["10.0.0.1", "10.0.0.255"], ["2001:db8::1", "2001:db8::2"]];

#[test]
fn what_is_for_many_or_of_a_link_is_left_alone() {
    let all = || FOR_MANY.iter().chain(&FOR_ONE);
    let counts = |rows: &BTreeMap<String, usize>| -> Vec<usize> {
        all().map(|pair| rows.get(&pair.join(" ")).copied().unwrap_or(0)).collect()
    };
    let copies: Vec<Owned> = all().map(|pair| datagram(0, *pair)).collect();
    assert_eq!(
        counts(&rows_by_pair(Joins::Copies, &copies)),
        [[2; 9].as_slice(), &[1; 3]].concat()
    );
    // Answers come to one host alone; each direction is a sensor's own.
    let answered =
        |[src, dst]: &[&'static str; 2]| [datagram(0, [src, dst]), datagram(50, [dst, src])];
    for pair in [["10.0.0.1", "169.254.7.7"], ["2001:db8::1", "fe80::1"]] {
        let rows = rows_by_pair(Joins::Halves, &answered(&pair));
        assert_eq!(rows.values().sum::<usize>(), 2, "{pair:?}");
    }
    for pair in FOR_ONE {
        let rows = rows_by_pair(Joins::Halves, &answered(&pair));
        assert_eq!(rows, [(pair.join(" "), 1)].into(), "{pair:?}");
    }
}
