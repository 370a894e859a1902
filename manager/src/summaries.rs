//! The cluster's summary: what lanes added up, merged by interval, and one row when nothing more can come.
//!
//! A flow's row is written no later than the grace after the interval that it counts in; so an interval is complete
//! when all lanes of the aggregators have passed that. What is late all the same (a source that nobody waited for any
//! more) has another row for the same interval later: rows of one `ts` add up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bus::{Lane, Outgoing, Topic};
use detect::Value;
use detect::summary::{self, Interval, Summary};
use model::stream::{Mark, cluster_summary};
use serde::{Deserialize, Serialize};

use crate::state::{Key, Line};

/// Intervals that a lane keeps open: of the shortest, those that the grace of files leaves open; each takes up to
/// some 200 KB, where it has seen thousands of hosts. Above it the earliest go as they are.
const OPEN_MAX: usize = 256;

/// An interval that is not complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    value: Value,
    /// When all lanes must have come to before it is.
    due: i64,
}

/// The intervals of a lane.
#[derive(Debug, Default)]
pub struct Summaries {
    by: BTreeMap<(Line, Interval), Open>,
    changed: BTreeSet<(Line, Interval)>,
}

impl Summaries {
    /// An interval as it was kept; one that is none, or keeps other statistics now, goes.
    pub fn restore(&mut self, line: Line, entity: &str, open: Open) -> bool {
        let Some(interval) = Interval::parse(entity) else { return false };
        if open.value.is_like(&summary::start()) {
            return self.by.insert((line, interval), open).is_none();
        }
        self.changed.insert((line, interval));
        false
    }

    /// Adds what a lane saw. False if it is no summary.
    pub fn take(&mut self, line: Line, entity: &str, value: &Value, watermark: i64) -> bool {
        // What is of another kind begins no interval: its row would be of zeros.
        let is_one = |_: &Interval| value.is_like(&summary::start());
        let Some(interval) = Interval::parse(entity).filter(is_one) else { return false };
        let open = self.by.entry((line, interval)).or_insert_with(|| {
            let grace_us = match line {
                Line::Live => summary::LIVE_GRACE_US,
                Line::File => summary::FILE_GRACE_US,
            };
            let due = summary::complete_at(interval, grace_us);
            // What is late waits for what may be so as well: not each gets a row of its own.
            let late = watermark.saturating_add(interval.length);
            Open { value: summary::start(), due: if watermark < due { due } else { late } }
        });
        self.changed.insert((line, interval));
        open.value.merge(value).is_ok()
    }

    /// Takes out what is complete by the watermark, and what is too much, in order of time.
    pub fn close(&mut self, line: Line, watermark: i64) -> Vec<(Interval, Value)> {
        let of_line = self.by.iter().filter(|((of, _), _)| *of == line);
        let mut due: Vec<_> =
            of_line.clone().filter(|(_, open)| open.due <= watermark).map(|(of, _)| *of).collect();
        let more = of_line.count().saturating_sub(due.len()).saturating_sub(OPEN_MAX);
        let rest = self.by.iter().filter(|((of, _), open)| *of == line && open.due > watermark);
        due.extend(rest.take(more).map(|(of, _)| *of));
        due.sort_unstable();
        due.into_iter()
            .filter_map(|of| {
                self.changed.insert(of);
                Some((of.1, self.by.remove(&of)?.value))
            })
            .collect()
    }

    /// Changes since it was last asked.
    pub fn changes(&mut self) -> Vec<(Key, Option<Open>)> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        changed.map(|of| (Key::Summary(of.0, of.1.entity()), self.by.get(&of).cloned())).collect()
    }
}

/// Intervals as rows of their log.
pub fn rows(complete: &[(Interval, Value)], lane: Lane, node: &str) -> Option<Outgoing> {
    let mut batch = cluster_summary::Batch::default();
    for (interval, value) in complete {
        let Some(said) = Summary::of(value) else { continue };
        // A talker that is no address is somebody's nonsense.
        let address = |(host, bytes): &(&str, u64)| Some((host.parse::<IpAddr>().ok()?, *bytes));
        let talkers = said.talkers.iter().filter_map(address);
        let (talkers, talker_bytes): (Vec<IpAddr>, Vec<u64>) = talkers.unzip();
        let services: Vec<&str> = said.services.iter().map(|service| service.name).collect();
        let conns: Vec<u64> = said.services.iter().map(|service| service.conns).collect();
        let bytes: Vec<u64> = said.services.iter().map(|service| service.bytes).collect();
        let (workers, shares): (Vec<&str>, Vec<f64>) = said.workers.iter().copied().unzip();
        let [tcp_conns, udp_conns, icmp_conns] = said.by_proto;
        let [orig_hosts, resp_hosts] = said.hosts;
        let row = cluster_summary::Row {
            ts: interval.start,
            ts_delta: interval.length,
            conns: said.conns,
            tcp_conns,
            udp_conns,
            icmp_conns,
            pkts: said.pkts,
            ip_bytes: said.bytes,
            payload_bytes: said.payload_bytes,
            missed_bytes: said.missed_bytes,
            orig_hosts,
            resp_hosts,
            talkers: &talkers,
            talker_bytes: &talker_bytes,
            talker_error: said.talker_error,
            services: &services,
            service_conns: &conns,
            service_bytes: &bytes,
            workers: &workers,
            shares: &shares,
            imbalance: said.imbalance,
        };
        batch.push(Mark::at(interval.end(), lane), row);
    }
    let def = &cluster_summary::DEF;
    (!batch.is_empty()).then(|| Outgoing::rows(Topic::log(def), lane, def, batch.finish(node).0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;

    fn entity(start: i64) -> String {
        Interval { start, length: MINUTE }.entity()
    }

    /// A value of so many flows.
    fn flows(n: i64) -> Value {
        let mut value = summary::start();
        let seen = |key| detect::Seen { at: 0, key, member: "w0", number: n };
        value.observe(seen("conns"));
        value.observe(seen("workers"));
        value
    }

    fn conns(closed: &[(Interval, Value)]) -> Vec<(i64, u64)> {
        let conns = |(of, value): &(Interval, Value)| (of.start, Summary::of(value).unwrap().conns);
        closed.iter().map(conns).collect()
    }

    #[test]
    fn an_interval_closes_once_all_lanes_have_passed_its_grace() {
        let mut all = Summaries::default();
        for (line, start, n) in
            [(Line::Live, MINUTE, 1), (Line::Live, 0, 2), (Line::Live, 0, 4), (Line::File, 0, 8)]
        {
            assert!(all.take(line, &entity(start), &flows(n), i64::MIN));
        }
        let end =
            summary::complete_at(Interval { start: 0, length: MINUTE }, summary::LIVE_GRACE_US);
        assert!(all.close(Line::Live, end - 1).is_empty());
        // Another process takes the lane over.
        let mut other = Summaries::default();
        for (key, open) in all.changes() {
            let (Key::Summary(line, entity), Some(open)) = (key, open) else { panic!() };
            let kept: Open = serde_json::from_str(&serde_json::to_string(&open).unwrap()).unwrap();
            assert!(other.restore(line, &entity, kept));
        }
        assert_eq!(conns(&other.close(Line::Live, end)), [(0, 6)]);
        assert!(other.changes().iter().all(|(_, open)| open.is_none()));
        // What comes now is late, and has a row of its own, but not each.
        assert!(other.take(Line::Live, &entity(0), &flows(1), end));
        assert!(other.take(Line::Live, &entity(0), &flows(1), end));
        assert_eq!(conns(&other.close(Line::Live, end + MINUTE)), [(0, 2), (MINUTE, 1)]);
        assert_eq!(conns(&other.close(Line::File, i64::MAX)), [(0, 8)]);
    }

    #[test]
    fn what_is_no_summary_is_not_taken_and_there_are_never_too_many() {
        let mut all = Summaries::default();
        assert!(!all.take(Line::Live, "nonsense", &flows(1), 0));
        assert!(!all.take(Line::Live, &entity(0), &Value::Named(BTreeMap::new()), 0));
        let nothing = Open { value: Value::Named(BTreeMap::new()), due: 0 };
        assert!(!all.restore(Line::Live, &entity(0), nothing));
        for n in 0..OPEN_MAX as i64 + 3 {
            assert!(all.take(Line::Live, &entity(n * MINUTE), &flows(1), i64::MIN));
        }
        assert_eq!(conns(&all.close(Line::Live, i64::MIN)), [(0, 1), (MINUTE, 1), (2 * MINUTE, 1)]);
    }

    #[test]
    fn a_row_says_what_the_value_holds() {
        let mut value = flows(3);
        for (member, number) in [("10.0.0.1", 7), ("no address", 9)] {
            value.observe(detect::Seen { at: 0, key: "talkers", member, number });
        }
        let out = rows(&[(Interval { start: 0, length: MINUTE }, value)], 2, "m0").unwrap();
        assert_eq!((&*out.topic.0, out.lane), ("log.cluster-summary", 2));
        let bus::Payload::Rows(_, rows) = &out.payload else { panic!() };
        let list = |name| model::read::texts(model::read::list(rows, name).unwrap(), 0);
        assert_eq!(
            (list("talkers"), list("workers")),
            (vec!["10.0.0.1".into()], vec!["w0".into()])
        );
        assert_eq!(model::read::count(rows, "conns").unwrap().value(0), 3);
        assert_eq!(model::read::time(rows, "_write_ts").unwrap().value(0), MINUTE);
    }
}
