//! Attempts that were gathered come to what detectors see of them one by one.

use std::collections::BTreeMap;

use detect::Site;
use detect::detector::{self, Settings};
use detect::stat::Seen;
use proptest::prelude::*;

use super::*;

type Tried = (u8, u8, u16, i64);

fn detectors() -> Vec<Box<dyn Detector>> {
    detector::all(&Site::default(), &Settings::default())
}

fn host(net: u8, host: u8) -> String {
    format!("10.{net}.0.{host}")
}

fn gathered(all: &[Tried], detectors: &[Box<dyn Detector>]) -> Tries {
    let mut tries = Tries::default();
    for (scanner, victim, port, at) in all {
        let (scanner, victim) = (host(1, *scanner), host(2, *victim));
        let tried = Attempt { row: 0, at: *at, scanner: &scanner, victim: &victim, port: *port };
        tries.observe(&tried, ["w1", "w0", "w1"].into_iter(), detectors);
    }
    tries
}

fn entries(tries: Tries, detectors: &[Box<dyn Detector>]) -> BTreeMap<(&str, String), Entry> {
    let closed = tries.close();
    let mut all = BTreeMap::new();
    for (detector, facets) in observing(detectors) {
        let of = closed.entries(detector, facets);
        all.extend(of.map(|(entity, entry)| ((detector.rule(), entity), entry)));
    }
    all
}

/// The same as detectors see it.
fn one_by_one<'a>(
    all: &[Tried],
    detectors: &'a [Box<dyn Detector>],
) -> BTreeMap<(&'a str, String), Value> {
    let mut by: BTreeMap<_, Value> = BTreeMap::new();
    for (detector, facets) in observing(detectors) {
        for (scanner, victim, port, at) in all {
            let victim = host(2, *victim);
            let text = |facet: Facet| facet.text(&victim, *port, *at);
            let (key, member) = (text(facets.key), text(facets.member));
            let value = by.entry((detector.rule(), host(1, *scanner)));
            value.or_insert_with(|| detector.start()).observe(Seen {
                at: *at,
                key: &key,
                member: &member,
                number: 1,
            });
        }
    }
    by
}

#[test]
fn every_detector_of_attempts_asks_which_and_not_how_often() {
    let detectors = detectors();
    let all = [(1, 1, 22, 5)];
    assert_eq!(
        entries(gathered(&all, &detectors), &detectors).len(),
        observing(&detectors).count()
    );
    assert_eq!(observing(&detectors).count(), 4);
}

#[test]
fn what_is_repeated_takes_no_more() {
    let detectors = detectors();
    let all: Vec<Tried> = (0..100_000).map(|at| (1, (at % 5) as u8, 443, 99_999 - at)).collect();
    let tries = gathered(&all, &detectors);
    assert!(tries.weight() <= 6 + TRY_WEIGHT * ROOM, "{}", tries.weight());
    let entries = entries(tries, &detectors);
    let (_, entry) = entries.first_key_value().unwrap();
    assert_eq!((entry.observations, entry.first_ts, entry.last_ts), (100_000, 0, 99_999));
    assert_eq!(entry.observers.iter().collect::<Vec<_>>(), ["w0", "w1"]);
    assert_eq!(entry.value, one_by_one(&all[99_990..], &detectors).into_iter().next().unwrap().1);
}

#[test]
fn however_many_there_are_what_is_held_is_bounded() {
    let detectors = detectors();
    let mut tries = Tries::default();
    for n in 0..400_000_u32 {
        let victim = format!("10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255);
        let tried =
            Attempt { row: 0, at: i64::from(n), scanner: "1.2.3.4", victim: &victim, port: 22 };
        tries.observe(&tried, ["w1"].into_iter(), &detectors);
        assert!(tries.weight() <= VICTIMS_MAX + 2 * TRY_WEIGHT * TRIES_MAX + 4096);
    }
    let entries = entries(tries, &detectors);
    let scans = &entries[&("address-scan", "1.2.3.4".to_owned())];
    let Value::UniqueBy(ports) = &scans.value else { unreachable!() };
    let hosts = ports.iter().next().unwrap().1;
    assert_eq!(
        (scans.observations, hosts.reached(25), hosts.has_more()),
        (400_000, Some(24), true)
    );
    let slow = &entries[&("slow-scan", "1.2.3.4".to_owned())].value;
    let Value::Several(slow) = slow else { unreachable!() };
    let Value::Distinct(pairs) = &slow[0] else { unreachable!() };
    let off = pairs.estimate() as f64 / 400_000.0;
    assert!((0.85..1.15).contains(&off), "{off}");
}

#[test]
fn ports_are_in_the_order_of_their_texts() {
    let mut ports: Vec<u16> = (0..=u16::MAX).collect();
    ports.sort_by_key(|port| port_number(*port));
    assert!(ports.is_sorted_by_key(|port| format!("{port}/tcp")));
    let ranks = Ranks::of_all(&["b".into(), "a".into()]);
    let tried = Try { victim: 0, port: 65_535, at: -1 };
    let text = |facet| ranks.text(facet, ranks.number(facet, &tried));
    assert_eq!(text(Facet::Pair), "b 65535/tcp");
    assert_eq!((text(Facet::Victim), text(Facet::Port)), ("b".into(), "65535/tcp".into()));
    assert_eq!((text(Facet::Hour), text(Facet::None)), ("-1".into(), String::new()));
}

proptest! {
    // Below the limits on keys of each statistic.
    #[test]
    fn gathered_is_as_one_by_one_in_whatever_order(
        all in proptest::collection::vec((0u8..3, 0u8..40, 20u16..30, 0i64..3 * HOUR_US), 1..300),
    ) {
        let detectors = detectors();
        let have = entries(gathered(&all, &detectors), &detectors);
        let want = one_by_one(&all, &detectors);
        prop_assert_eq!(have.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
        let mut backward = all.clone();
        backward.reverse();
        let backward = entries(gathered(&backward, &detectors), &detectors);
        for (place, entry) in &have {
            prop_assert_eq!(&entry.value, &want[place]);
            prop_assert_eq!(entry.value.encode(), backward[place].value.encode());
            prop_assert_eq!(entry.observations, backward[place].observations);
        }
    }

    // A pane whose statistics were made early comes to the same.
    #[test]
    fn what_was_made_early_is_not_lost(
        all in proptest::collection::vec((0u8..3, 0u8..40, 20u16..30, 0i64..HOUR_US), 1..300),
        cut in 0usize..300,
    ) {
        let detectors = detectors();
        let whole = entries(gathered(&all, &detectors), &detectors);
        let mut tries = gathered(&all[..cut.min(all.len())], &detectors);
        tries.make_all(&detectors);
        for (scanner, victim, port, at) in all.iter().skip(cut) {
            let (scanner, victim) = (host(1, *scanner), host(2, *victim));
            let tried =
                Attempt { row: 0, at: *at, scanner: &scanner, victim: &victim, port: *port };
            tries.observe(&tried, ["w0", "w1"].into_iter(), &detectors);
        }
        for (place, entry) in entries(tries, &detectors) {
            prop_assert_eq!(&entry.value, &whole[&place].value);
            prop_assert_eq!(entry.observations, whole[&place].observations);
        }
    }
}
