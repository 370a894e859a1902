//! Sinks that hardly get to run: nothing before them waits, and their memory is bounded.
//!
//! On Kafka what a slow sink has not read stays in the topics, a week of it unless set otherwise: capture need not
//! wait for it, let alone spool.

use std::fs;
use std::time::Duration;

use crate::field::{Field, Stage};
use crate::harness::cluster::Cluster;
use crate::harness::kafka;
use crate::harness::random::Random;
use crate::load::Load;
use crate::{SETTINGS, seeded};

/// What a sink of two formats may take: prefetched records and rows that wait for their row group, of each.
const MEMORY_MOST_KB: u64 = 900 << 10;
/// How long sinks run and do not, in turn.
const RUNS: Duration = Duration::from_millis(20);
const RESTS: Duration = Duration::from_millis(180);

fn peak_kb(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|line| line.trim().strip_suffix(" kB"));
    peak.and_then(|kb| kb.trim().parse().ok()).unwrap_or(0)
}

/// Sinks have a tenth of the time until all else is done.
pub fn sinks(load: &'static Load, random: &Random) {
    let cluster = Cluster::on(kafka::shared().brokers(), SETTINGS);
    let mut field = Field::start(cluster, load, random);
    let mut peak = 0;
    while field.is_under_load() {
        let sinks = field.running(|stage| stage == Stage::Sink);
        let signal = |name| {
            for at in &sinks {
                field.members[*at].running.as_ref().expect("it runs").signal(name);
            }
        };
        signal("STOP");
        std::thread::sleep(RESTS);
        signal("CONT");
        std::thread::sleep(RUNS);
        let peaks = sinks.iter().filter_map(|at| field.members[*at].running.as_ref());
        peak = peaks.map(|running| peak_kb(running.id())).fold(peak, u64::max);
    }
    eprintln!("a slow sink took up to {} MiB", peak >> 10);
    assert!((1..MEMORY_MOST_KB).contains(&peak), "{peak} kB");
    field.finish();
}

#[test]
fn slow_sinks_hold_nobody_up_and_stay_small() {
    sinks(Load::short(), &seeded());
}
