//! The aggregator (Zeek's proxy): what workers saw, merged lane by lane.
//!
//! Reads `raw.conn`, `raw.notice` and `raw.known`, and the logs that detectors observe, such as `log.http`. Rows of conn
//! go on to `log.conn`; every detector observes its stream into panes, which go to the managers on `partial` when the lane's watermark passes their end. The
//! same notice from several workers goes on to `notice` as one row. Observations of assets go
//! on to `known` in order of time.
//!
//! - [`sources`]: the watermark. [`windows`]: what is open, of [`panes`] (and in them [`tries`]), [`holds`] and [`assets`].
//! - [`lane`]: one lane's input, windows and position. [`observe`], [`summary`]: rows into windows.
//! - [`emit`]: what is sent. [`state`]: what a restart needs.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use bus::{Lane, Member, Position, Record, Restored, Role, Session, Step, Wake, stand, topic};
use bytes::Bytes;
use detect::Detector;

pub mod assets;
pub mod books;
pub mod config;
pub mod emit;
pub mod holds;
pub mod join;
pub mod lane;
pub mod observe;
pub mod panes;
pub mod sources;
pub mod state;
pub mod summary;
pub mod tries;
pub mod windows;

pub use config::{Config, Counters};
use lane::{LaneState, Work};

/// Records that a step may take: enough that a transaction's cost does not show.
const STEP_RECORDS: usize = 1_000;
/// Bytes of records that a step may take: what it sends of them is held until it is committed.
const STEP_BYTES: usize = 32 << 20;
/// How long input may wait for its step, milliseconds: what a reader downstream sees as delay.
const STEP_MS: i64 = 200;

/// The consumer group's member for a node; `overlap` as in [`Config::overlap`].
pub fn member(node: &str, overlap: bool) -> Member {
    Member {
        group: "aggregate".to_owned(),
        node: node.to_owned(),
        topics: sources::inputs(overlap).iter().map(|input| input.topic()).collect(),
        state: Some(topic::STATE_AGGREGATE),
        home: Vec::new(),
    }
}

/// The role.
pub struct Aggregate {
    config: Config,
    detectors: Vec<Box<dyn Detector>>,
    lanes: BTreeMap<Lane, LaneState>,
    counters: Counters,
    tally: books::Tally,
    /// Records and their bytes taken since the last step, and when the first of them came.
    records: usize,
    bytes: usize,
    since_ms: Option<i64>,
}

impl Aggregate {
    /// An aggregator without lanes.
    pub fn new(config: Config) -> Aggregate {
        let detectors = detect::detector::all(&config.site, &config.detect);
        Aggregate {
            config,
            detectors,
            lanes: BTreeMap::new(),
            counters: Counters::default(),
            tally: books::Tally::default(),
            records: 0,
            bytes: 0,
            since_ms: None,
        }
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn take(&mut self, records: Vec<Record>, now_ms: i64) -> Result<()> {
        for record in records {
            self.records += 1;
            self.bytes += record.payload.size();
            let Aggregate { config, detectors, counters, lanes, .. } = self;
            let lane = lanes.get_mut(&record.lane).with_context(|| {
                format!("a record of {}[{}], which is not ours", record.topic, record.lane)
            })?;
            lane.take(record, &mut Work { config, detectors, counters, now_ms })?;
        }
        self.since_ms.get_or_insert(now_ms);
        Ok(())
    }

    fn is_step_due(&self, now_ms: i64) -> bool {
        let waits = self.since_ms.is_some_and(|since| now_ms.saturating_sub(since) >= STEP_MS);
        waits || self.records >= STEP_RECORDS || self.bytes >= STEP_BYTES
    }

    /// Everything done since the last step.
    fn step(&mut self, is_drained: bool, now_ms: i64) -> Result<Option<Step>> {
        let mut step = Step::default();
        let mut has_done = false;
        let Aggregate { config, detectors, counters, lanes, .. } = self;
        for (number, lane) in lanes {
            let mut work = Work { config, detectors, counters, now_ms };
            lane.settle(is_drained, &mut work).with_context(|| format!("lane {number}"))?;
            has_done |= lane.collect(&mut step)?;
        }
        (self.records, self.bytes, self.since_ms) = (0, 0, None);
        if !has_done {
            return Ok(None); // what was counted is told with the next one
        }
        self.tally.grown(&self.counters, &mut step.counts);
        Ok(Some(step))
    }
}

impl Role for Aggregate {
    fn opened(&mut self, _: &mut dyn Session) -> Result<()> {
        self.lanes.clear();
        self.tally.forget(&self.counters);
        (self.records, self.bytes, self.since_ms) = (0, 0, None);
        Ok(())
    }

    fn restored(&mut self, lane: Lane, from: Restored) -> Result<()> {
        self.counters.records_gone += from.records_gone();
        self.lanes.insert(lane, LaneState::restore(lane, from, &self.config)?);
        Ok(())
    }

    fn stood(&self, lane: Lane, state: &[(Bytes, Bytes)]) -> Vec<Position> {
        stand::all(lane, state)
    }

    fn on(&mut self, wake: Wake, now_ms: i64) -> Result<Option<Step>> {
        match wake {
            Wake::Assigned(_) | Wake::Documents(..) => Ok(None),
            Wake::Records(records) => {
                self.take(records, now_ms)?;
                if self.is_step_due(now_ms) { self.step(false, now_ms) } else { Ok(None) }
            }
            Wake::End(topic, lane) => {
                if let Some(lane) = self.lanes.get_mut(&lane) {
                    lane.at_end(&topic);
                }
                Ok(None)
            }
            Wake::Idle | Wake::Stop => self.step(false, now_ms),
            Wake::Drained => self.step(true, now_ms),
            Wake::Revoked(lanes) => {
                let step = self.step(false, now_ms)?;
                lanes.iter().for_each(|lane| drop(self.lanes.remove(lane)));
                Ok(step)
            }
            Wake::Lost(lanes) => {
                // All lanes go at once: whoever has them does again what was not committed.
                self.tally.forget(&self.counters);
                lanes.iter().for_each(|lane| drop(self.lanes.remove(lane)));
                Ok(None)
            }
        }
    }

    fn committed(&mut self) -> Result<()> {
        Ok(())
    }

    fn works_ahead(&self) -> bool {
        true
    }

    fn used(&self, position: &Position) -> i64 {
        state::Note::of(position).map_or(position.offset, |note| note.read.max(position.offset))
    }
}

#[cfg(test)]
mod tests;
