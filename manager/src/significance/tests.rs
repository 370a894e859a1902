//! Counts by case, in any order, and through restarts.

use proptest::prelude::*;

use super::*;

const MINUTE: i64 = 60_000_000;

fn same(identifier: &str) -> Same {
    (Line::Live, "r".into(), "A::B".into(), identifier.into())
}

#[test]
fn three_workers_within_the_time() {
    let mut all = Workers::new(10);
    let mut see = |at: i64, worker: &str| {
        all.see(same("x"), at * MINUTE, &[worker], (3, 10 * MINUTE))
            .map(|(agreed, _)| (agreed.first / MINUTE, agreed.last / MINUTE, agreed.workers.len()))
    };
    assert_eq!((see(0, "w1"), see(1, "w1"), see(2, "w2")), (None, None, None));
    assert_eq!(see(9, "w3"), Some((0, 9, 3)));
    assert_eq!(see(11, "w3"), None, "the first one's are over");
    assert_eq!(see(12, "w4"), None, "and the second's");
    assert_eq!(see(13, "w5"), Some((9, 13, 3)));
    assert!(all.see(same("y"), 0, &["w1", "w2", "w3"], (3, 1)).is_some(), "all at once");
    all.expire(23 * MINUTE + KEPT_US);
    assert!(all.by.is_empty() && all.ends.is_empty());
}

#[test]
fn a_sighting_that_comes_late_counts_with_none_of_now() {
    for order in [[(0, "w1"), (60, "w2")], [(60, "w2"), (0, "w1")]] {
        let mut all = Workers::new(10);
        for (at, worker) in order {
            let agreed = all.see(same("x"), at * MINUTE, &[worker], (2, 10 * MINUTE));
            assert_eq!(agreed, None, "{order:?}");
        }
        let agreed = all.see(same("x"), 61 * MINUTE, &["w3"], (2, 10 * MINUTE)).unwrap().0;
        assert_eq!((agreed.first, agreed.workers.len()), (60 * MINUTE, 2), "{order:?}");
        let late = all.see(same("x"), MINUTE, &["w4", "w5"], (2, 10 * MINUTE)).unwrap();
        assert_eq!((late.0.first, late.0.last, late.0.workers.len()), (MINUTE, MINUTE, 2));
    }
}

#[test]
fn workers_are_enough_once() {
    let mut all = Workers::new(10);
    let mut see = |at: i64, worker: &str| {
        let agreed = all.see(same("x"), at * MINUTE, &[worker], (2, 10 * MINUTE));
        agreed.map(|(_, is_new)| is_new)
    };
    assert_eq!([see(0, "w1"), see(1, "w2"), see(2, "w2")], [None, Some(true), Some(false)]);
    assert_eq!([see(30, "w1"), see(31, "w2")], [None, Some(true)], "and anew");
}

#[test]
fn counts_of_workers_are_bounded() {
    let mut all = Workers::new(2);
    for (at, identifier) in ["a", "b", "c"].into_iter().enumerate() {
        all.see(same(identifier), at as i64, &["w1"], (2, MINUTE));
    }
    assert_eq!((all.forgotten, all.by.len()), (1, 2));
    let kept: Vec<bool> = all.changes().iter().map(|(_, saw)| saw.is_some()).collect();
    assert_eq!(kept, [false, true, true]);
    all.forget(|line, rule| line == Line::Live && rule == "r");
    assert!(all.changes().iter().all(|(_, saw)| saw.is_none()) && all.by.is_empty());
    for ts in [i64::MIN, i64::MAX, 0] {
        all.see(same("a"), ts, &["w1"], (2, i64::MAX));
        all.expire(ts);
    }
}

#[test]
fn a_capture_file_does_not_push_out_who_saw_what_is_live() {
    let mut all = Workers::new(10);
    let file = |n: i64| (Line::File, "r".into(), "A::B".into(), n.to_string());
    (0..4).for_each(|n| drop(all.see(same(&n.to_string()), n, &["w1"], (2, MINUTE))));
    (0..50).for_each(|n| drop(all.see(file(n), n, &["w1"], (2, MINUTE))));
    let live = all.by.keys().filter(|same| same.0 == Line::Live).count();
    assert_eq!((live, all.by.len(), all.forgotten), (4, 10, 44));
}

fn sight(at: i64, worker: &str) -> Sight {
    Sight { first: at, last: at, workers: BTreeSet::from([worker.to_owned()]) }
}

fn counted() -> Counted {
    (Line::Live, "r".into())
}

/// Judged so far: when, how many hosts, how many workers.
fn judged(all: &mut Hosts, until: i64) -> Vec<(i64, usize, usize)> {
    let mut out = Vec::new();
    all.judge(Line::Live, until, &|_| Some((3, 10)), &mut out);
    out.iter().map(|e| (e.written, e.hosts.len(), e.sight.workers.len())).collect()
}

#[test]
fn three_hosts_within_the_time() {
    let mut all = Hosts::new(100);
    for (at, host) in [(0, "a"), (1, "a"), (9, "b"), (11, "c"), (12, "d"), (13, "a"), (30, "a")] {
        all.take(counted(), at, host.into(), sight(at, host));
    }
    assert_eq!(judged(&mut all, 12), [], "the first is over when the third comes");
    assert_eq!(judged(&mut all, 13), [(12, 3, 3)]);
    assert_eq!(judged(&mut all, i64::MAX), [], "and none counts twice");
    assert_eq!((all.weight, all.by[&counted()].judged.len()), (1, 1));
    all.expire(Line::Live, 40, &|_| Some((3, 10)));
    assert!(all.by.is_empty() && all.weight == 0);
    assert!(all.changes().iter().all(|(_, kept)| kept.is_none()));
}

#[test]
fn a_host_that_comes_late_sets_no_time_back() {
    let mut all = Hosts::new(100);
    let mut at = |written: i64, host: &str| {
        all.take(counted(), written, host.into(), sight(written, host));
        judged(&mut all, 1_000)
    };
    assert_eq!((at(20, "a"), at(12, "a"), at(25, "b")), (vec![], vec![], vec![]));
    assert_eq!(at(29, "c"), [(29, 3, 3)], "a was seen nine before");
    assert_eq!((at(50, "a"), at(51, "b"), at(3, "c")), (vec![], vec![], vec![]), "c long before");
    assert_eq!(at(45, "d"), [(45, 3, 3)]);
}

#[test]
fn hosts_of_a_rule_that_is_not_known_wait_for_it() {
    let mut all = Hosts::new(4);
    let mut out = Vec::new();
    let count = |all: &mut Hosts, at: i64| all.take(counted(), at, at.to_string(), sight(at, "w"));
    (0..3).for_each(|at| count(&mut all, at));
    all.judge(Line::Live, i64::MAX, &|_| None, &mut out);
    all.expire(Line::Live, 100, &|_| None);
    all.expire_unknown(KEPT_US - 1, &|_| None);
    assert_eq!(all.weight, 3);
    let mut known = Hosts::new(4);
    for (key, kept) in all.changes() {
        let Key::Host(line, rule, host, waits) = key else { panic!("{key:?}") };
        known.restore((line, rule), host, waits, kept.unwrap());
    }
    assert_eq!(judged(&mut known, 100), [(2, 3, 1)], "whoever takes over knows them too");
    (3..9).for_each(|at| count(&mut all, at));
    all.relieve(&|_| None, &mut out);
    assert_eq!((all.weight, all.early, out.len()), (4, 5, 0), "bounded");
    all.expire_unknown(KEPT_US + 7, &|_| Some((3, 10)));
    assert_eq!(all.weight, 4, "known");
    all.expire_unknown(KEPT_US + 7, &|_| None);
    assert_eq!(all.weight, 1);
    all.expire_unknown(i64::MAX, &|_| None);
    assert!(all.by.is_empty() && all.weight == 0);
}

#[test]
fn hosts_are_bounded() {
    let mut all = Hosts::new(4);
    let mut out = Vec::new();
    for at in 0..9 {
        all.take(counted(), at, at.to_string(), sight(at, "w"));
        all.relieve(&|_| Some((100, 100)), &mut out);
        assert!(all.weight <= 4);
    }
    assert!(out.is_empty() && all.early > 0);
    all.forget(|_, _| true);
    assert!(all.by.is_empty() && all.weight == 0);
}

/// One host counted: when, which, and whether all before it is judged first.
fn event() -> impl Strategy<Value = (i64, u8, u8)> {
    (0i64..40, 0u8..8, 0u8..3)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever order counts come in, however far they are judged between, and wherever the lane is
    /// restored: the same is found.
    #[test]
    fn hosts_are_found_in_any_order(
        events in proptest::collection::vec(event(), 0..60),
        order in proptest::collection::vec(any::<u32>(), 60),
        cuts in proptest::collection::vec(0i64..45, 0..5),
    ) {
        let take = |all: &mut Hosts, (at, host, worker): (i64, u8, u8)| {
            all.take(counted(), at, format!("h{host}"), sight(at, &format!("w{worker}")));
        };
        let mut plain = Hosts::new(1_000);
        events.iter().for_each(|event| take(&mut plain, *event));
        let want = judged(&mut plain, i64::MAX);

        let mut shuffled: Vec<_> = events.iter().copied().zip(order).collect();
        shuffled.sort_by_key(|(_, order)| *order);
        let mut cuts = cuts;
        cuts.sort_unstable();
        let (mut other, mut got) = (Hosts::new(1_000), Vec::new());
        let mut state = BTreeMap::new();
        for until in cuts.into_iter().chain([i64::MAX]) {
            // A watermark promises that what is before it has come.
            let mut later = Vec::new();
            for (event, order) in shuffled {
                if event.0 < until || order % 2 == 0 {
                    take(&mut other, event);
                } else {
                    later.push((event, order));
                }
            }
            shuffled = later;
            got.extend(judged(&mut other, until));
            state.extend(other.changes());
            other = Hosts::new(1_000);
            for (key, kept) in &state {
                let Key::Host(line, rule, host, waits) = key.clone() else { panic!("{key:?}") };
                if let Some(kept) = kept {
                    other.restore((line, rule), host, waits, kept.clone());
                }
            }
        }
        prop_assert_eq!(got, want);
    }

    /// The same workers agree whatever order their copies come in, if all are within the time.
    #[test]
    fn workers_agree_in_any_order(
        seen in proptest::collection::vec((0i64..9, 0u8..5), 1..12),
        order in proptest::collection::vec(any::<u32>(), 12),
    ) {
        let agree = |seen: &[(i64, u8)]| {
            let mut all = Workers::new(10);
            let mut last = None;
            for (at, worker) in seen {
                last = all.see(same("x"), *at, &[&format!("w{worker}")], (3, 10)).map(|(agreed, _)| agreed);
            }
            last
        };
        let mut shuffled: Vec<_> = seen.iter().copied().zip(order).collect();
        shuffled.sort_by_key(|(_, order)| *order);
        let shuffled: Vec<_> = shuffled.into_iter().map(|(seen, _)| seen).collect();
        prop_assert_eq!(agree(&shuffled), agree(&seen));
    }
}
