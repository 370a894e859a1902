//! Windows: what is judged with what, and what goes.

use detect::detector::{self, Settings};
use detect::{Seen, Site};
use proptest::prelude::*;

use super::*;

const PANE: i64 = detect::PANE_US;
/// Panes of the window of a scan of addresses.
const WINDOW: i64 = detector::address_scan::LIMITS.window_us / PANE;

fn whom(entity: &str) -> Whom {
    (Line::Live, "address-scan".into(), entity.into())
}

fn detectors() -> Vec<Box<dyn Detector>> {
    detector::all(&Site::default(), &Settings::default())
}

fn of<'a>(detectors: &'a [Box<dyn Detector>], rule: &str) -> &'a dyn Detector {
    detectors.iter().find(|detector| detector.rule() == rule).unwrap().as_ref()
}

/// A pane in which so many things were seen, one each microsecond.
fn pane_of(rule: &str, pane: i64, members: std::ops::Range<i64>) -> Pane {
    let detectors = detectors();
    let mut value = of(&detectors, rule).start();
    let observations = members.clone().count() as u64;
    for member in members {
        let (at, member) = (pane * PANE + member, member.to_string());
        let key =
            if rule == "slow-scan" { (at / 3_600_000_000).to_string() } else { "22/tcp".into() };
        value.observe(Seen { at, key: &key, member: &member, number: 1 });
    }
    let observers = BTreeSet::from([format!("w{pane}")]);
    let (start, end) = (pane * PANE, (pane + 1) * PANE);
    Pane { end, first_ts: start, last_ts: end - 1, observations, observers, value }
}

/// Takes in a pane in which those hosts were tried.
fn take(windows: &mut Windows, entity: &str, pane: i64, hosts: std::ops::Range<i64>) {
    let made = pane_of("address-scan", pane, hosts);
    windows.take(whom(entity), pane * PANE, made, of(&detectors(), "address-scan"));
}

fn judge(windows: &mut Windows, watermark: i64) -> Vec<(String, i64)> {
    let mut found = Vec::new();
    windows.judge(Line::Live, watermark, &detectors(), &mut found);
    found.into_iter().map(|found| (found.finding.identifier, found.last_ts)).collect()
}

fn assert_empty(windows: &Windows) {
    assert!(windows.by.is_empty() && windows.ages.is_empty() && windows.light.is_empty());
    assert!(windows.due.is_empty() && windows.weight.values().all(|weight| *weight == 0));
}

#[test]
fn panes_are_judged_together_when_the_last_is_passed() {
    let mut windows = Windows::default();
    take(&mut windows, "10.0.0.2", WINDOW - 1, 12..25);
    take(&mut windows, "10.0.0.2", 0, 0..12);
    take(&mut windows, "10.0.0.1", WINDOW - 1, 0..25);
    take(&mut windows, "10.0.0.3", WINDOW + 1, 0..12);
    take(&mut windows, "10.0.0.3", 0, 12..25);
    let last = WINDOW * PANE - 1;
    assert_eq!(judge(&mut windows, last), []);
    let want = [("10.0.0.1".to_owned(), last), ("10.0.0.2".to_owned(), last)];
    assert_eq!(judge(&mut windows, WINDOW * PANE), want);
    assert_eq!(judge(&mut windows, i64::MAX), [], "out of the window, or found already");
    windows.expire(Line::Live, i64::MAX);
    assert_empty(&windows);
}

#[test]
fn nobody_hides_at_the_edge_of_a_window() {
    // Whatever the place of five minutes between panes, what lies in them is judged together.
    let window = of(&detectors(), "address-scan").window_us();
    for shift in [0, 1, PANE / 2, PANE - 1] {
        let (first, last) = (shift, shift + window - 1);
        let mut windows = Windows::default();
        take(&mut windows, "10.0.0.1", first / PANE, 0..12);
        take(&mut windows, "10.0.0.1", last / PANE, 12..25);
        // It is seen when its pane ends: half a minute later at most.
        let end = (last / PANE + 1) * PANE;
        assert!(end - last <= 30_000_000);
        assert_eq!(judge(&mut windows, end - 1), []);
        assert_eq!(judge(&mut windows, end).len(), 1, "shift {shift}");
    }
}

#[test]
fn a_late_pane_is_judged_with_those_after_it() {
    let mut windows = Windows::default();
    take(&mut windows, "10.0.0.1", 3, 12..25);
    assert_eq!(judge(&mut windows, 4 * PANE), []);
    take(&mut windows, "10.0.0.1", 1, 0..12);
    assert_eq!(judge(&mut windows, 4 * PANE).len(), 1);
}

#[test]
fn the_lightest_go_and_are_judged_as_they_are() {
    let mut windows = Windows::default();
    take(&mut windows, "10.0.0.1", 1, 0..25);
    take(&mut windows, "10.0.0.2", 2, 0..9);
    take(&mut windows, "10.0.0.2", 3, 0..9);
    for n in 0..50 {
        take(&mut windows, &format!("10.0.1.{n}"), 4, 0..1);
    }
    let mut found = Vec::new();
    assert_eq!(windows.relieve(50, &detectors(), &mut found), 50, "a flood pushes nobody out");
    assert_eq!((windows.by.len(), found.len()), (2, 0));
    assert_eq!(windows.relieve(30, &detectors(), &mut found), 2);
    assert_eq!((windows.by.len(), found.len()), (1, 0));
    assert_eq!(windows.relieve(0, &detectors(), &mut found), 0, "its pane is in what was found");
    assert_eq!(found.len(), 1);
    assert_empty(&windows);
}

#[test]
fn a_day_is_kept_in_few_panes_and_a_restart_changes_nothing() {
    let detectors = detectors();
    let slow = of(&detectors, "slow-scan");
    let whom: Whom = (Line::Live, "slow-scan".into(), "8.8.8.8".into());
    let every = 20;
    let mut kept: BTreeMap<(Whom, i64), Pane> = BTreeMap::new();
    for restarts in [false, true] {
        let (mut windows, mut found, mut most) = (Windows::default(), Vec::new(), 0);
        kept.clear();
        // One attempt each ten minutes: forty-nine say nothing, the fiftieth does, at once.
        for n in 0..50 {
            assert!(found.is_empty(), "{n}");
            let made = pane_of("slow-scan", n * every, n..n + 1);
            windows.take(whom.clone(), n * every * PANE, made, slow);
            let watermark = (n * every + 1) * PANE;
            windows.judge(Line::Live, watermark, &detectors, &mut found);
            windows.expire(Line::Live, watermark);
            for (key, pane) in windows.changes() {
                let Key::Pane(line, rule, entity, start) = key else { continue };
                let key = ((line, rule, entity), start);
                match pane {
                    Some(pane) => drop(kept.insert(key, pane)),
                    None => drop(kept.remove(&key)),
                }
            }
            most = most.max(kept.len());
            if restarts {
                windows = Windows::default();
                for ((whom, start), pane) in kept.clone() {
                    windows.restore(whom, start, pane, watermark, &detectors);
                }
            }
        }
        assert_eq!(found[0].finding.note, "Scan::Slow_Scan");
        assert_eq!(found[0].end, (49 * every + 1) * PANE);
        assert!(most <= 17, "{most} panes for eight hours");
        assert!(kept.is_empty());
        assert_empty(&windows);
    }
}

#[test]
fn panes_that_nothing_judges_any_more_go() {
    let detectors = detectors();
    let mut windows = Windows::default();
    let old = (Line::Live, "no-such-rule".to_owned(), "x".to_owned());
    windows.restore(old, 0, pane_of("address-scan", 0, 0..3), 0, &detectors);
    let other = (Line::Live, "slow-scan".to_owned(), "x".to_owned());
    windows.restore(other, 0, pane_of("address-scan", 0, 0..3), 0, &detectors);
    assert_empty(&windows);
    assert!(windows.changes().iter().all(|(_, pane)| pane.is_none()));
}

proptest! {
    /// However partials are cut over lanes and in whatever order they come before the watermark passes.
    #[test]
    fn the_order_of_partials_does_not_matter(
        seen in proptest::collection::vec((0i64..40, 0i64..60, 0usize..3), 0..80),
        order in any::<u64>(),
    ) {
        let run = |parts: Vec<(i64, i64, usize)>| {
            let mut windows = Windows::default();
            for (pane, host, _) in parts {
                take(&mut windows, "10.0.0.1", pane, host..host + 1);
            }
            let mut found = Vec::new();
            windows.judge(Line::Live, 50 * PANE, &detectors(), &mut found);
            found
        };
        let mut other = seen.clone();
        other.sort_by_key(|(pane, host, lane)| (*lane, host.wrapping_mul(order as i64 | 1), *pane));
        prop_assert_eq!(run(seen), run(other));
    }
}
