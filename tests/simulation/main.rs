//! Whole clusters under simulated trouble: whatever is late, lost, revoked or killed, and at whatever point of a
//! step, what is published is what one process without trouble publishes.
//!
//! A run is one thread, one seed and no clock but its own. `WEIR_TEST_SIM_SEED=N` runs one seed and prints what
//! happened in it; `WEIR_TEST_SIM_SEEDS=N` runs so many instead of the few that fit a test run.

#![allow(clippy::unwrap_used, reason = "all of it is test, helpers too")]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

mod books;
mod cluster;
mod halves;
mod mortal;
mod node;
mod plan;
mod policy;
mod published;
mod script;
#[path = "../../manager/tests/cluster/traffic.rs"]
mod traffic;

use plan::Plan;
use published::Rows;

/// Seeds of a test run: what a machine with two cores does in about a minute. A night does more.
const SEEDS: u64 = 2_000;
/// What has to have happened somewhere in a handful of seeds.
const TROUBLES: [&str; 23] = [
    "opening fails",
    "waiting fails",
    "restoring a lane fails",
    "reading documents fails",
    ": a commit fails",
    "the answer of a commit fails",
    "its lanes are taken away",
    "is missed",
    "no positions of lane",
    "another process of its name",
    "hangs, and another begins",
    "is stopped",
    "poison in",
    "a good policy is pushed at turn",
    "a bad policy is pushed at turn",
    "killed before its commit",
    "killed before opened",
    "killed inside opened",
    "killed after restored",
    "killed before committed",
    "killed inside committed",
    "Revoked(",
    "Lost(",
];
/// Rows that a message shows, each way.
const SHOWN: usize = 5;

#[test]
fn every_seed_publishes_what_the_plain_run_does() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("WEIR_TEST_SIM_SEED") {
        let (wrong, trace) = run(seed, true);
        trace.iter().for_each(|line| println!("{line}"));
        assert!(wrong.is_none(), "seed {seed}: {}", wrong.unwrap_or_default());
        return;
    }
    let (seeds, next) = (number("WEIR_TEST_SIM_SEEDS").unwrap_or(SEEDS), AtomicU64::new(0));
    let failed = Mutex::new(BTreeMap::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    if let (Some(wrong), _) = run(seed, false) {
                        failed.lock().unwrap().insert(seed, wrong);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let Some((seed, wrong)) = failed.first_key_value() else { return };
    let (_, trace) = run(*seed, true);
    trace.iter().for_each(|line| println!("{line}"));
    let count = failed.len();
    panic!(
        "{count} of {seeds} seeds are wrong: {:?}\nseed {seed}: {wrong}\nto replay it: \
         WEIR_TEST_SIM_SEED={seed} cargo test -p weir --test simulation -- --nocapture",
        failed.keys().take(50).collect::<Vec<_>>()
    );
}

/// A seed that cannot be replayed is of no use.
#[test]
fn one_seed_is_one_run() {
    let traces = (0..60).map(|seed| (run(seed, true).1, run(seed, true).1));
    let mut said = std::collections::BTreeSet::new();
    for (seed, (first, again)) in traces.enumerate() {
        let differs = first.iter().zip(&again).find(|(first, again)| first != again);
        assert!(differs.is_none() && first.len() == again.len(), "seed {seed}: {differs:?}");
        said.extend(first.into_iter().flat_map(|line| {
            let known = TROUBLES.iter().filter(move |what| line.contains(**what));
            known.copied().collect::<Vec<_>>()
        }));
    }
    let missing: Vec<_> = TROUBLES.iter().filter(|what| !said.contains(**what)).collect();
    assert!(missing.is_empty(), "these never happened: {missing:?}");
}

/// Runs a seed: what is wrong with what it published, and what happened where that is asked for.
fn run(seed: u64, is_traced: bool) -> (Option<String>, Vec<String>) {
    let plan = Plan::of(seed);
    let want = plain(plan.traffic);
    let mut cluster = cluster::Cluster::new(&plan, is_traced);
    let ran = catch_unwind(AssertUnwindSafe(|| cluster.run()));
    let wrong = match ran {
        Ok(Ok(rows)) => published::difference(want, &rows, &|stream| is_sure(&plan, stream), SHOWN),
        Ok(Err(error)) => Some(error),
        Err(panic) => Some(match panic.downcast_ref::<String>() {
            Some(text) => format!("panicked: {text}"),
            None => "panicked".to_owned(),
        }),
    };
    let wrong = wrong.map(|wrong| format!("{plan:?}: {wrong}"));
    (wrong, cluster.trace())
}

/// Whether what is told under this name has to be as in the plain run. What is not, is as a sum or a set.
fn is_sure(plan: &Plan, name: &str) -> bool {
    let is_waited_for = plan.patience_ms.is_none();
    match name {
        // Files that nobody waited for are another round, which finds assets anew ("found" has each once) and adds
        // rows to intervals.
        "assets" => is_waited_for,
        "cluster_summary" => is_waited_for && !plan.other_intervals,
        "summed" | "intervals" => !plan.other_intervals,
        // What goes before its time need not have met its like, or have been the first.
        "notice" | "notice_alarm" | "tallied" | "counted" | "merged" | "known_hosts"
        | "known_services" => is_waited_for && plan.held_max.is_none(),
        // How much of it is told when is a question of who drains when: "tallied" has the sums.
        "notice_tally" => false,
        _ => true,
    }
}

fn conns(row: &str) -> i64 {
    let row: serde_json::Value = serde_json::from_str(row).unwrap();
    row["conns"].as_i64().unwrap()
}

/// What one node of each role publishes when nothing goes wrong.
fn plain(traffic: usize) -> &'static Rows {
    static PLAIN: [OnceLock<Rows>; plan::TRAFFICS] = [const { OnceLock::new() }; plan::TRAFFICS];
    PLAIN[traffic].get_or_init(|| {
        let rows = cluster::Cluster::new(&Plan::plain(traffic), false).run().unwrap();
        assert!(rows["conn"].len() > 50 && !rows["notice"].is_empty(), "{rows:?}");
        let conns: i64 = rows["cluster_summary"].iter().map(|row| conns(row)).sum();
        let rows_of_conn = i64::try_from(rows["conn"].len()).unwrap();
        assert_eq!(conns, rows_of_conn, "a flow counts once: {:?}", rows["cluster_summary"]);
        if traffic == plan::HALVES {
            let joined = rows["conn"].iter().filter(|row| row.contains("\"observer_uids\":["));
            assert!(joined.count() > 10, "{rows:?}");
        }
        if traffic == plan::COPIES {
            // What goes to a group is left alone.
            let is_shared = |row: &String| {
                [r#""w0","w1""#, r#""w2","w3""#, r#""id.resp_h":"ff02:"#]
                    .iter()
                    .any(|of| row.contains(of))
            };
            let apart: Vec<_> = rows["conn"].iter().filter(|row| !is_shared(row)).collect();
            assert!(apart.is_empty(), "{apart:?}");
        }
        rows
    })
}
