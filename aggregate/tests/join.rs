//! Captures divided between sensors and joined again are the rows of the whole; the same capture at two taps is
//! its rows once.
//!
//! Over the captures of `tests/traces`, and where `WEIR_CASES` names a folder, over every `trace.pcap` below it. How many
//! rows are equal and what differs is printed (`-- --nocapture`), with `WEIR_SHOW` the rows too; `WEIR_CASE` picks
//! captures by a part of their name.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "all of it is test, helpers too")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use capture::config::Joins;
use proptest::prelude::*;

#[path = "join/rows.rs"]
mod rows;
#[path = "join/sensors.rs"]
mod sensors;

use rows::Score;
use sensors::{Sensor, aggregated, alone, read};

/// The captures of this project.
fn own_captures() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/traces");
    let names = ["dns", "http", "mixed", "scan", "ssh", "tls", "vlan", "sll", "raw"];
    names.iter().map(|name| dir.join(format!("{name}.pcap"))).collect()
}

/// Those of other test suites, where there are any.
fn foreign_captures() -> Option<Vec<PathBuf>> {
    let Some(dir) = std::env::var_os("WEIR_CASES") else {
        println!("skipped: WEIR_CASES names no folder with captures of other suites");
        return None;
    };
    let dirs = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<PathBuf> = dirs.map(|dir| dir.join("trace.pcap")).collect();
    let only = std::env::var("WEIR_CASE").unwrap_or_default();
    all.retain(|path| path.exists() && path.to_string_lossy().contains(&only));
    all.sort();
    Some(all)
}

/// Streams whose rows are compared where taps overlap.
const COPIED: [&str; 6] = ["conn", "dns", "http", "ssl", "files", "x509"];

/// Rows of copies that have to be equal, in a hundred.
const COPIES_LEAST: f64 = 99.0;
/// The same over the captures of other suites, as far as was reached.
const FOREIGN_COPIES_LEAST: f64 = 99.5;
/// The same of halves.
const HALVES_LEAST: f64 = 99.0;
/// Over the captures of other suites, as far as was reached; and over those of them whose packets are in order of
/// time, as a sensor's are. Many are broken on purpose, or begin in the middle of flows that only both directions
/// together tell apart.
const FOREIGN_HALVES_LEAST: [f64; 2] = [96.8, 97.0];

fn report(what: &str, score: &Score, worst: &BTreeMap<String, usize>) {
    println!(
        "{what}: {:.2} % ({} of {} rows equal, {} too many)",
        score.percent(),
        score.equal,
        score.want,
        score.more
    );
    for (column, (count, example)) in &score.differing {
        println!("  {column}: {count}, such as {example}");
    }
    let mut worst: Vec<_> = worst.iter().filter(|(_, wrong)| **wrong > 0).collect();
    worst.sort_by_key(|(_, wrong)| std::cmp::Reverse(**wrong));
    worst.iter().take(20).for_each(|(name, wrong)| println!("  {wrong} in {name}"));
}

/// Who saw a flow is told beside it, and is what the halves are about.
const OBSERVERS: [&str; 2] = ["observers", "observer_uids"];

fn is_for_many(row: &rows::Row) -> bool {
    ["id.orig_h", "id.resp_h"].iter().filter_map(|name| row.get(name)?.parse().ok()).any(|ip| {
        match ip {
            IpAddr::V4(ip) => {
                ip.is_multicast() || ip.is_broadcast() || ip.is_link_local() || ip.is_unspecified()
            }
            IpAddr::V6(ip) => {
                ip.is_multicast() || ip.is_unicast_link_local() || ip.is_unspecified()
            }
        }
    })
}

/// Scores of captures that are divided by direction: of all, and of those in order of time.
fn halves(captures: &[PathBuf]) -> [Score; 2] {
    let (mut score, mut worst) = (Score::default(), BTreeMap::new());
    let mut orderly = Score::default();
    for path in captures {
        if std::env::var_os("WEIR_SHOW").is_some() {
            println!("{}", path.display());
        }
        let packets = read(path);
        let want = alone(&packets);
        let halves = [true, false].map(|up| {
            let node = if up { "up" } else { "down" };
            let sensor = Sensor::new(node, Joins::Halves);
            sensor.sends(packets.iter().filter(|packet| packet.is_up == up))
        });
        let mut turn = 0;
        let got = aggregated(&|_| {}, halves.into(), &mut |n| {
            turn += 1;
            turn % n
        });
        let none = Vec::new();
        // What goes to many is left alone.
        let rows = |of: &rows::Rows| -> Vec<rows::Row> {
            of.get("conn")
                .unwrap_or(&none)
                .iter()
                .filter(|row| !is_for_many(row))
                .cloned()
                .collect()
        };
        let before = score.equal as i64 - score.more as i64;
        score.add(&rows(&want), &rows(&got), &OBSERVERS);
        if packets.is_sorted_by_key(|packet| packet.ts_us) {
            orderly.count(&rows(&want), &rows(&got), &OBSERVERS);
        }
        let gained = score.equal as i64 - score.more as i64 - before;
        let wrong = rows(&want).len() as i64 - gained;
        worst.insert(path.display().to_string(), usize::try_from(wrong).unwrap_or(0));
    }
    report("halves", &score, &worst);
    report("halves of captures in order of time", &orderly, &BTreeMap::new());
    [score, orderly]
}

fn holds(score: &Score, least: f64) {
    assert!(score.percent() >= least, "{:.2} % of {} rows", score.percent(), score.want);
}

#[test]
fn halves_of_a_capture_join_to_the_rows_of_the_whole() {
    let [score, _] = halves(&own_captures());
    holds(&score, HALVES_LEAST);
}

#[test]
fn halves_of_captures_of_other_suites_join() {
    let Some(captures) = foreign_captures() else { return };
    let scores = halves(&captures);
    let is_picked = std::env::var_os("WEIR_CASE").is_some();
    for (score, least) in scores.iter().zip(FOREIGN_HALVES_LEAST).filter(|_| !is_picked) {
        holds(score, least);
    }
}

#[test]
fn the_same_capture_at_two_taps_gives_its_rows_once() {
    copies(&own_captures(), COPIES_LEAST);
}

#[test]
fn captures_of_other_suites_at_two_taps_give_their_rows_once() {
    if let Some(captures) = foreign_captures() {
        copies(&captures, FOREIGN_COPIES_LEAST);
    }
}

/// Captures that two taps see: so many rows of each stream have to be equal, in a hundred.
fn copies(captures: &[PathBuf], least: f64) {
    let mut scores: BTreeMap<&str, Score> = BTreeMap::new();
    let mut worst = BTreeMap::new();
    for path in captures {
        let packets = read(path);
        let want = alone(&packets);
        let taps =
            ["north", "south"].map(|node| Sensor::new(node, Joins::Copies).sends(packets.iter()));
        let mut turn = 0;
        let got = aggregated(&|config| config.overlap = true, taps.into(), &mut |n| {
            turn += 1;
            turn % n
        });
        for stream in COPIED {
            let none = Vec::new();
            // What goes to many is left alone.
            let rows = |of: &rows::Rows| -> Vec<rows::Row> {
                of.get(stream)
                    .unwrap_or(&none)
                    .iter()
                    .filter(|row| !is_for_many(row))
                    .cloned()
                    .collect()
            };
            let score = scores.entry(stream).or_default();
            let before = score.equal as i64 - score.more as i64;
            score.add(&rows(&want), &rows(&got), &[&OBSERVERS[..], &["peer"]].concat());
            let wrong =
                rows(&want).len() as i64 - (score.equal as i64 - score.more as i64 - before);
            worst.insert(
                format!("{stream} {}", path.display()),
                usize::try_from(wrong).unwrap_or(0),
            );
        }
    }
    for (stream, score) in &scores {
        let of = worst.iter().filter(|(name, _)| name.starts_with(&format!("{stream} ")));
        report(stream, score, &of.map(|(name, wrong)| (name.clone(), *wrong)).collect());
    }
    for (stream, score) in scores {
        assert!(score.percent() >= least, "{:.2} % of {stream}", score.percent());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// In whatever order records of two sensors arrive, however many packets lie between their flushes, and whichever
    /// of them saw which direction of a flow.
    #[test]
    fn any_order_and_any_division_give_the_same_rows(
        seed in any::<u64>(),
        flushes in [1..300usize, 1..300usize],
        overlap in any::<bool>(),
    ) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/traces/mixed.pcap");
        let packets = read(&path);
        let joins = if overlap { Joins::Copies } else { Joins::Halves };
        let run = |flushes: [usize; 2], seed: u64| {
            let sent = [("a", true), ("b", false)].into_iter().zip(flushes).map(|((node, up), flush)| {
                let sensor = Sensor { flush, ..Sensor::new(node, joins) };
                // Every third flow is seen by both where they may see the same.
                let sees = |packet: &&sensors::Owned| {
                    packet.is_up == up || (overlap && packet.flow.is_multiple_of(3))
                };
                sensor.sends(packets.iter().filter(sees))
            });
            let mut state = seed;
            aggregated(&|config| config.overlap = overlap, sent.collect(), &mut |n| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) as usize % n
            })
        };
        let (want, got) = (run([1000, 1000], 0), run(flushes, seed));
        prop_assert!(want.get("conn").is_some_and(|rows| rows.len() > 50));
        for stream in COPIED {
            prop_assert_eq!(want.get(stream), got.get(stream), "{}", stream);
        }
    }
}
