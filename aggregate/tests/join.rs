//! Captures divided between sensors and joined again are the rows of the whole; the same capture at two taps is
//! its rows once.
//!
//! Over the captures of `tests/traces`, and where `WEIR_TEST_CASES` names a folder, over every `trace.pcap` below it. How many
//! rows are equal and what differs is printed (`-- --nocapture`), with `WEIR_TEST_SHOW` the rows too; `WEIR_TEST_CASE` picks
//! captures by a part of their name, and prints what each sensor told.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "all of it is test, helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use capture::config::Joins;
use proptest::prelude::*;

#[path = "join/apart.rs"]
mod apart;
#[path = "join/made.rs"]
mod made;
#[path = "join/rows.rs"]
mod rows;
#[path = "join/sensors.rs"]
mod sensors;
#[path = "join/timely.rs"]
mod timely;

use rows::Score;
use sensors::{Sensor, aggregated, alone, read};

/// The captures of this project.
fn own_captures() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/traces");
    let names =
        ["dns", "ftp", "guess", "http", "mixed", "scan", "ssh", "tls", "vlan", "sll", "raw"];
    names.iter().map(|name| dir.join(format!("{name}.pcap"))).collect()
}

/// All captures of this project, whatever is in them.
fn all_own_captures() -> Vec<PathBuf> {
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/traces")];
    let mut all = Vec::new();
    while let Some(dir) = dirs.pop() {
        for path in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            let is_capture = path.extension().is_some_and(|e| e == "pcap" || e == "pcapng");
            dirs.extend(path.is_dir().then(|| path.clone()));
            all.extend(is_capture.then_some(path));
        }
    }
    all.sort();
    all
}

/// Those of other test suites, where there are any.
fn foreign_captures() -> Option<Vec<PathBuf>> {
    let Some(dir) = std::env::var_os("WEIR_TEST_CASES") else {
        println!("skipped: WEIR_TEST_CASES names no folder with captures of other suites");
        return None;
    };
    let dirs = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<PathBuf> = dirs.map(|dir| dir.join("trace.pcap")).collect();
    let only = std::env::var("WEIR_TEST_CASE").unwrap_or_default();
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
const FOREIGN_HALVES_LEAST: [f64; 2] = [98.2, 99.0];

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
    let mut hosts =
        ["id.orig_h", "id.resp_h"].iter().filter_map(|name| row.get(name)?.parse().ok());
    hosts.any(|ip| model::id::is_for_many(&ip))
}

/// Scores of captures that are divided by direction: of all, and of those in order of time.
fn halves(captures: &[PathBuf]) -> [Score; 2] {
    skewed(captures, 0, &OBSERVERS)
}

/// The same with the clock of one sensor ahead of the other's; `not` may differ.
fn skewed(captures: &[PathBuf], skew_us: i64, not: &[&str]) -> [Score; 2] {
    let (mut score, mut worst) = (Score::default(), BTreeMap::new());
    let mut orderly = Score::default();
    for path in captures {
        let packets = read(path);
        let is_orderly = packets.is_sorted_by_key(|packet| packet.ts_us);
        if std::env::var_os("WEIR_TEST_SHOW").is_some() {
            println!(
                "{}{}",
                path.display(),
                if is_orderly { "" } else { ", whose clock goes back" }
            );
        }
        let want = alone(&packets);
        let halves = [true, false].map(|up| {
            let node = if up { "up" } else { "down" };
            let sensor = Sensor {
                ahead_us: if up { 0 } else { skew_us },
                ..Sensor::new(node, Joins::Halves)
            };
            sensor.sends(packets.iter().filter(|packet| packet.is_up == up))
        });
        if std::env::var_os("WEIR_TEST_CASE").is_some() {
            halves.iter().flatten().flatten().for_each(rows::show_halves);
        }
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
        score.add(&rows(&want), &rows(&got), not);
        if is_orderly {
            orderly.count(&rows(&want), &rows(&got), not);
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

/// Columns that have the time of one sensor or another, or are made of it.
const TIMES: [&str; 4] = ["ts", "duration", "uid", "tunnel_parents"];

#[test]
fn halves_join_though_the_clocks_of_sensors_differ() {
    let not = [&OBSERVERS[..], &TIMES].concat();
    for skew_ms in [-20, -5, 5, 20] {
        println!("{skew_ms} ms");
        let [score, _] = skewed(&own_captures(), skew_ms * 1000, &not);
        holds(&score, HALVES_LEAST);
        if let Some(captures) = foreign_captures() {
            skewed(&captures, skew_ms * 1000, &not);
        }
    }
}

#[test]
fn halves_of_captures_of_other_suites_join() {
    let Some(captures) = foreign_captures() else { return };
    let scores = halves(&captures);
    let is_picked = std::env::var_os("WEIR_TEST_CASE").is_some();
    for (score, least) in scores.iter().zip(FOREIGN_HALVES_LEAST).filter(|_| !is_picked) {
        holds(score, least);
    }
}

/// Streams that go to the logs as capture wrote them, or through the aggregators alone.
fn is_log(stream: &str) -> bool {
    !["notice", "known", "partial", "failed_auth"].contains(&stream)
}

/// What one sensor of a cluster logs is what a single process does, whatever it keeps for others.
fn one_sensor(captures: &[PathBuf], joins: Joins) {
    let (mut scores, mut wrong) = (BTreeMap::<&str, Score>::new(), BTreeMap::new());
    for path in captures {
        if std::env::var_os("WEIR_TEST_SHOW").is_some() {
            println!("{}", path.display());
        }
        let packets = read(path);
        let want = alone(&packets);
        let sent = Sensor::new("alone", joins).sends(packets.iter());
        let got =
            aggregated(&|config| config.overlap = joins == Joins::Copies, vec![sent], &mut |_| 0);
        let none = Vec::new();
        let streams = want.keys().chain(got.keys()).filter(|stream| is_log(stream));
        for stream in streams.collect::<BTreeSet<_>>() {
            let rows = |of: &rows::Rows| of.get(stream).unwrap_or(&none).clone();
            let score = scores.entry(stream).or_default();
            let before = score.equal as i64 - score.more as i64;
            score.add(&rows(&want), &rows(&got), &OBSERVERS);
            let gained = score.equal as i64 - score.more as i64 - before;
            let lost = rows(&want).len() as i64 - gained;
            wrong.insert(
                format!("{stream} of {}", path.display()),
                usize::try_from(lost).unwrap_or(0),
            );
        }
    }
    for (stream, score) in &scores {
        let of = wrong.iter().filter(|(name, _)| name.starts_with(&format!("{stream} ")));
        report(stream, score, &of.map(|(name, wrong)| (name.clone(), *wrong)).collect());
    }
    for (stream, score) in scores {
        assert_eq!((score.equal, score.more), (score.want, 0), "{stream}");
    }
}

#[test]
fn one_sensor_of_a_cluster_logs_what_one_process_does() {
    one_sensor(&all_own_captures(), Joins::Halves);
    one_sensor(&all_own_captures(), Joins::Copies);
    if let Some(captures) = foreign_captures() {
        one_sensor(&captures, Joins::Halves);
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
