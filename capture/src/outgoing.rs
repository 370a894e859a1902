//! Rows as the records of a step.

use std::collections::BTreeMap;

use bus::books::Counts;
use bus::topic::{self, Topic};
use bus::{Lane, Outgoing, Stamp};
use model::stream::{weird, x509};

use crate::config::{Joins, SECOND};
use crate::flush::{self, Seen};
use crate::out::Rows;
use crate::tally;

/// Packet time after which a lane that had no rows is told of the progress, with the next flush: each such record costs a
/// broker as much as one with rows does, and windows last minutes.
const PUNCTUATION: i64 = 5 * SECOND;

/// The topics that aggregators read: on each of them a source tells its progress.
fn stamped(joins: Joins) -> Vec<Topic> {
    let merged = [topic::RAW_CONN, topic::RAW_NOTICE, topic::RAW_KNOWN];
    let mut topics = merged.to_vec();
    match joins {
        // Where taps overlap logs of flows are the aggregators' own.
        Joins::Copies => topics.extend(topic::raw_copies().map(Topic::raw)),
        _ => topics.extend(detect::detector::logs().map(Topic::log)),
    }
    topics
}

/// What is remembered between the flushes of a source.
#[derive(Debug, Default)]
pub struct Outbox {
    /// What was logged already.
    seen: Seen,
    /// The latest time that was told on a topic's lane.
    told: BTreeMap<(Topic, Lane), i64>,
}

impl Outbox {
    /// Rows that an earlier run committed: what they leave behind is remembered all the same.
    ///
    /// # Errors
    /// Rows that cannot be put in order.
    pub fn pass(&mut self, threads: Vec<Vec<Rows>>, lanes: u32) -> anyhow::Result<()> {
        flush::merge(threads, lanes, &mut self.seen).map(drop)
    }

    /// Puts the rows of some threads in order and addresses them. Where there is a watermark every lane is told
    /// of the source's progress: with its rows, and after some seconds without any. Also says what was made,
    /// and what was logged already.
    ///
    /// # Errors
    /// Rows that cannot be put in order.
    pub fn outgoing(
        &mut self,
        threads: Vec<Vec<Rows>>,
        lanes: u32,
        stamp: &Stamp,
        joins: Joins,
    ) -> anyhow::Result<(Vec<Outgoing>, Counts)> {
        let mut counts = Counts::default();
        tally::made(threads.iter().flatten(), &mut counts);
        // Rows that are logged once for a time: see `Seen`.
        let mut once = [weird::DEF.name, x509::DEF.name].map(|name| (name, of(&counts, name)));
        let mut sent = Vec::new();
        let stamped = stamped(joins);
        for rows in flush::merge(threads, lanes, &mut self.seen)? {
            for (_, left) in once.iter_mut().filter(|(name, _)| *name == rows.def.name) {
                *left = left.saturating_sub(rows.batch.num_rows() as u64);
            }
            let topic = match rows.def.name {
                "conn" | "raw_conn" => topic::RAW_CONN,
                "notice" => topic::RAW_NOTICE,
                "known" => topic::RAW_KNOWN,
                _ if stamped.contains(&Topic::raw(rows.def)) => Topic::raw(rows.def),
                _ => Topic::log(rows.def),
            };
            let mut out = Outgoing::rows(topic.clone(), rows.lane, rows.def, rows.batch);
            if stamped.contains(&topic) {
                out = out.stamped(stamp.clone());
                self.told.insert((topic, rows.lane), stamp.time);
            }
            sent.push(out);
        }
        for topic in stamped {
            for lane in 0..lanes {
                if !self.owes(&topic, lane, stamp) {
                    continue;
                }
                sent.push(Outgoing::punctuation(topic.clone(), lane, stamp.clone()));
                self.told.insert((topic.clone(), lane), stamp.time);
            }
        }
        for (stream, again) in once {
            tally::dropped("repeated", stream, again, &mut counts);
        }
        Ok((sent, counts))
    }

    /// Whether a lane waits to be told of the progress. Not told of the end, for one, where it had rows with that.
    fn owes(&self, topic: &Topic, lane: Lane, stamp: &Stamp) -> bool {
        let told = self.told.get(&(topic.clone(), lane));
        told.is_none_or(|told| match stamp.end {
            true => *told < stamp.time,
            false => stamp.time.saturating_sub(*told) >= PUNCTUATION,
        })
    }
}

fn of(counts: &Counts, stream: &str) -> u64 {
    counts.get(&format!("made.{stream}")).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use bus::{Payload, Timeline};

    use super::*;

    const LANES: u32 = 3;

    fn told(outbox: &mut Outbox, time: i64, end: bool) -> Vec<(Topic, Lane)> {
        let time = if end { i64::MAX } else { time };
        let stamp = Stamp { source: "s".into(), timeline: Timeline::Live, time, end };
        let (out, _) = outbox.outgoing(Vec::new(), LANES, &stamp, Joins::Halves).unwrap();
        out.into_iter()
            .map(|out| {
                assert!(matches!(out.payload, Payload::Empty), "there are no rows");
                assert_eq!(out.stamp.as_ref(), Some(&stamp));
                (out.topic, out.lane)
            })
            .collect()
    }

    #[test]
    fn quiet_lanes_are_told_at_once_after_a_while_and_at_the_end() {
        let mut outbox = Outbox::default();
        let all = stamped(Joins::Halves).len() * LANES as usize;
        assert!(all > 6);
        let mut at = |time, end| told(&mut outbox, time, end).len();
        assert_eq!(at(1_000 * SECOND, false), all, "nobody knows of the source yet");
        assert_eq!(at(1_002 * SECOND, false), 0);
        assert_eq!(at(1_004 * SECOND, false), 0);
        assert_eq!(at(1_005 * SECOND, false), all);
        assert_eq!(at(1_006 * SECOND, false), 0);
        assert_eq!(at(0, true), all);
        assert_eq!(at(0, true), 0, "all know");
    }
}
