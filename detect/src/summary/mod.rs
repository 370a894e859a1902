//! The cluster's summary: totals, talkers, services and workers' shares of each interval of event time, as one
//! value that merges.
//!
//! A flow counts once, by its last row, in the interval that its last packet lies in: that is the same however
//! traffic was split, which the time of its row is not. Aggregators add up what their lanes pass ([`Part`]); a
//! manager merges all lanes' and says what came of it ([`Summary`]) when nothing more can come.

use std::collections::BTreeMap;

use crate::stat::{Distinct, Sum, Top, Value};

mod part;

pub use part::{Flows, Part};

/// The rule's name on `partial`.
pub const RULE: &str = "cluster-summary";

/// Length of an interval where nothing else is said, microseconds: a quarter of an hour, often enough to see a
/// sensor fall behind and few enough rows to keep for years.
pub const INTERVAL_US: i64 = 900_000_000;
/// The shortest, microseconds: two panes.
pub const INTERVAL_MIN_US: i64 = 2 * crate::PANE_US;
/// The longest, microseconds: a day.
pub const INTERVAL_MAX_US: i64 = 86_400_000_000;

/// How long after its last packet a flow of the live timeline may be written and still count there,
/// microseconds: TCP's five minutes without packets, and the wait of a half for its other.
pub const LIVE_GRACE_US: i64 = 660_000_000;
/// The same of files, for which nobody waits: longer than any flow lasts without packets (SSH and FTP: an hour), so
/// that a flow that the end of a file cuts off counts where it would have counted without.
pub const FILE_GRACE_US: i64 = 7_200_000_000;

/// Hosts and workers counted exactly; beyond them the lightest give way, and by how much is said.
const TALKERS_MAX: usize = 4096;
/// Services told apart: their names come of weir's analyzers, which are far fewer.
const SERVICES_MAX: usize = 256;
/// Workers told apart; a cluster has fewer.
const WORKERS_MAX: usize = 1024;
/// Hosts counted exactly as distinct; beyond them it is an estimate.
const HOSTS_EXACT: usize = 1024;
/// What is added up.
const SUMS: [&str; 8] =
    ["conns", "tcp", "udp", "icmp", "pkts", "bytes", "payload_bytes", "missed_bytes"];
/// Talkers and services that a row names.
const NAMED: usize = 10;

/// An interval of event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval {
    /// Where it begins, microseconds.
    pub start: i64,
    /// Its length, microseconds.
    pub length: i64,
}

impl Interval {
    /// The one that a time falls in.
    pub fn of(time: i64, length: i64) -> Interval {
        let length = length.max(1);
        Interval { start: crate::pane_start(time, length), length }
    }

    /// Its end.
    pub fn end(self) -> i64 {
        self.start.saturating_add(self.length)
    }

    /// Its name as an entity on `partial`, which says all of it: managers need not be told the length.
    pub fn entity(self) -> String {
        format!("{}/{}", self.start, self.length)
    }

    /// The interval that an entity names.
    pub fn parse(entity: &str) -> Option<Interval> {
        let (start, length) = entity.split_once('/')?;
        let (start, length) = (start.parse().ok()?, length.parse().ok()?);
        let interval = Interval::of(start, length);
        let is_one = (INTERVAL_MIN_US..=INTERVAL_MAX_US).contains(&length);
        (is_one && interval.start == start).then_some(interval)
    }
}

/// The time that a flow counts at: that of its last packet, but no longer before the pane of its row than the
/// `grace`, so that managers know when an interval is complete.
pub fn counts_at(last: i64, written: i64, grace_us: i64) -> i64 {
    let earliest = crate::pane_start(written, crate::PANE_US).saturating_sub(grace_us);
    last.min(written).max(earliest)
}

/// When all lanes must have come to before an interval is complete.
pub fn complete_at(interval: Interval, grace_us: i64) -> i64 {
    interval.end().saturating_add(grace_us).saturating_add(crate::PANE_US)
}

/// The statistic before anything was observed.
pub fn start() -> Value {
    let sums = SUMS.map(|name| (name, Value::Sum(Sum::default())));
    let hosts = || Value::Distinct(Distinct::new(HOSTS_EXACT));
    let others = [
        ("orig_hosts", hosts()),
        ("resp_hosts", hosts()),
        ("talkers", Value::Top(Top::new(TALKERS_MAX))),
        ("service_conns", Value::Top(Top::new(SERVICES_MAX))),
        ("service_bytes", Value::Top(Top::new(SERVICES_MAX))),
        ("workers", Value::Top(Top::new(WORKERS_MAX))),
    ];
    let all = sums.into_iter().chain(others);
    Value::Named(all.map(|(name, value)| (name.to_owned(), value)).collect())
}

/// A service, its flows and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service<'a> {
    /// As conn names it.
    pub name: &'a str,
    /// Flows.
    pub conns: u64,
    /// Bytes of IP packets.
    pub bytes: u64,
}

/// What there is to say of an interval.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary<'a> {
    /// Flows, of whichever protocol.
    pub conns: u64,
    /// Those of TCP, UDP and ICMP.
    pub by_proto: [u64; 3],
    /// Packets, and bytes of IP packets.
    pub pkts: u64,
    /// Bytes of IP packets.
    pub bytes: u64,
    /// Bytes of payload.
    pub payload_bytes: u64,
    /// Bytes in content gaps.
    pub missed_bytes: u64,
    /// Distinct originators and responders.
    pub hosts: [u64; 2],
    /// Hosts with the most bytes, sent and received, most first.
    pub talkers: Vec<(&'a str, u64)>,
    /// How much more any host has at most.
    pub talker_error: u64,
    /// Services with the most bytes, most first.
    pub services: Vec<Service<'a>>,
    /// Workers and their shares of all packets, the largest first.
    pub workers: Vec<(&'a str, f64)>,
    /// The largest share over the mean.
    pub imbalance: Option<f64>,
}

impl Summary<'_> {
    /// What a value says; none if it is no value of a summary.
    pub fn of(value: &Value) -> Option<Summary<'_>> {
        let Value::Named(of) = value else { return None };
        let workers = top(of, "workers")?.top(WORKERS_MAX);
        let all: u64 = workers.iter().map(|(_, pkts)| *pkts).fold(0, u64::saturating_add);
        let share = |pkts: u64| if all == 0 { 0.0 } else { pkts as f64 / all as f64 };
        let workers: Vec<_> = workers.into_iter().map(|(name, pkts)| (name, share(pkts))).collect();
        let conns: BTreeMap<&str, u64> =
            top(of, "service_conns")?.top(SERVICES_MAX).into_iter().collect();
        let service =
            |(name, bytes)| Service { name, conns: conns.get(name).copied().unwrap_or(0), bytes };
        let talkers = top(of, "talkers")?;
        Some(Summary {
            conns: sum(of, "conns")?,
            by_proto: [sum(of, "tcp")?, sum(of, "udp")?, sum(of, "icmp")?],
            pkts: sum(of, "pkts")?,
            bytes: sum(of, "bytes")?,
            payload_bytes: sum(of, "payload_bytes")?,
            missed_bytes: sum(of, "missed_bytes")?,
            hosts: [distinct(of, "orig_hosts")?.estimate(), distinct(of, "resp_hosts")?.estimate()],
            talkers: talkers.top(NAMED),
            talker_error: talkers.error(),
            services: top(of, "service_bytes")?.top(NAMED).into_iter().map(service).collect(),
            imbalance: workers.first().map(|(_, largest)| largest * workers.len() as f64),
            workers,
        })
    }
}

type Named = BTreeMap<String, Value>;

fn sum(of: &Named, name: &str) -> Option<u64> {
    let Value::Sum(sum) = of.get(name)? else { return None };
    Some(u64::try_from(sum.sum().max(0)).unwrap_or(u64::MAX))
}

fn top<'a>(of: &'a Named, name: &str) -> Option<&'a Top> {
    if let Value::Top(top) = of.get(name)? { Some(top) } else { None }
}

fn distinct<'a>(of: &'a Named, name: &str) -> Option<&'a Distinct> {
    if let Value::Distinct(distinct) = of.get(name)? { Some(distinct) } else { None }
}

#[cfg(test)]
mod tests;
