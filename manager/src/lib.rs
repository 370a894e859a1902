//! The manager: decides for the whole cluster.
//!
//! Reads `notice`, `partial` and `known`, writes `log.notice`, the logs of known assets and `log.cluster-summary`. Partials of all aggregator lanes merge and are
//! judged when all lanes have passed a pane; notices, its own and those of workers, are logged once in
//! their suppression span.
//!
//! - [`progress`]: how far the aggregator's lanes are. [`windows`]: panes, and judging them.
//! - [`decide`]: what becomes of a notice, by the policy; [`significance`]: what its rules wait for.
//! - [`suppress`]: what is held back. [`assets`]: what is known. [`lane`]: one lane of all this.
//! - [`summaries`]: the cluster's summary. [`ends`]: until when things are kept. [`emit`]: what is sent.
//! - [`state`]: what a restart needs.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use bus::{
    Lane, Member, Position, Record, Restored, Role, Session, Step, Topic, Wake, documents, stand,
    topic,
};
use bytes::Bytes;
use detect::Detector;

pub mod assets;
pub mod books;
pub mod config;
pub mod decide;
pub mod emit;
pub mod ends;
mod follow;
pub mod lane;
pub mod progress;
pub mod significance;
pub mod state;
pub mod summaries;
pub mod suppress;
mod take;
pub mod windows;

pub use config::{Config, Counters};
use follow::Following;
use lane::{LaneState, Work};

/// Records that a step may take: enough that a transaction's cost does not show.
const STEP_RECORDS: usize = 1_000;
/// Bytes of records that a step may take: what it sends of them is held until it is committed.
const STEP_BYTES: usize = 32 << 20;
/// How long input may wait for its step, milliseconds.
const STEP_MS: i64 = 200;

/// The consumer group's member for a node.
pub fn member(node: &str) -> Member {
    Member {
        group: "manager".to_owned(),
        node: node.to_owned(),
        topics: vec![topic::NOTICE, topic::PARTIAL, topic::KNOWN],
        state: Some(topic::STATE_MANAGER),
        home: Vec::new(),
    }
}

/// The role.
pub struct Manager {
    config: Config,
    detectors: Vec<Box<dyn Detector>>,
    lanes: BTreeMap<Lane, LaneState>,
    counters: Counters,
    following: Following,
    tally: books::Tally,
    /// Records and their bytes taken since the last step, and when the first of them came.
    records: usize,
    bytes: usize,
    since_ms: Option<i64>,
}

impl Manager {
    /// A manager without lanes.
    pub fn new(config: Config) -> Manager {
        let detectors = detect::detector::all(&config.site, &config.detect);
        let (lanes, counters) = (BTreeMap::new(), Counters::default());
        let following = Following::new();
        let (records, bytes, since_ms) = (0, 0, None);
        let tally = books::Tally::default();
        Manager { config, detectors, lanes, counters, tally, following, records, bytes, since_ms }
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn take(&mut self, records: Vec<Record>, now_ms: i64) -> Result<()> {
        for record in records {
            self.records += 1;
            self.bytes += record.payload.size();
            let Manager { config, detectors, counters, lanes, .. } = self;
            let lane = lanes.get_mut(&record.lane).with_context(|| {
                format!("a record of {}[{}], which is not ours", record.topic, record.lane)
            })?;
            lane.take(record, &mut Work { config, detectors, counters })?;
        }
        self.since_ms.get_or_insert(now_ms);
        Ok(())
    }

    fn is_step_due(&self, now_ms: i64) -> bool {
        let waits = self.since_ms.is_some_and(|since| now_ms.saturating_sub(since) >= STEP_MS);
        waits || self.records >= STEP_RECORDS || self.bytes >= STEP_BYTES
    }

    /// Everything done since the last step.
    fn step(&mut self, is_drained: bool) -> Option<Step> {
        let mut step = Step::default();
        let mut has_done = false;
        let Manager { config, detectors, counters, lanes, .. } = self;
        for lane in lanes.values_mut() {
            lane.settle(is_drained, &mut Work { config, detectors, counters });
            has_done |= lane.collect(&mut step);
        }
        (self.records, self.bytes, self.since_ms) = (0, 0, None);
        if !has_done {
            return None; // what was counted is told with the next one
        }
        self.tally.grown(&self.counters, &mut step.counts);
        Some(step)
    }
}

impl Role for Manager {
    fn opened(&mut self, _: &mut dyn Session) -> Result<()> {
        self.lanes.clear();
        self.following.forget();
        self.tally.forget(&self.counters);
        (self.records, self.bytes, self.since_ms) = (0, 0, None);
        Ok(())
    }

    fn restored(&mut self, lane: Lane, from: Restored) -> Result<()> {
        self.counters.records_gone += from.records_gone();
        let mut state = LaneState::restore(lane, from, &self.config, &self.detectors)?;
        if state.version().is_empty() {
            state.adopt(self.config.policy.as_ref());
        }
        self.lanes.insert(lane, state);
        Ok(())
    }

    fn stood(&self, lane: Lane, state: &[(Bytes, Bytes)]) -> Vec<Position> {
        stand::all(lane, state)
    }

    fn on(&mut self, wake: Wake, now_ms: i64) -> Result<Option<Step>> {
        match wake {
            Wake::Assigned(_) | Wake::End(..) => Ok(None),
            Wake::Documents(_, documents) => {
                // What was taken until now is decided: the new one holds from the next record on.
                let Manager { config, lanes, counters, following, .. } = self;
                let said = following.hear(&documents, config, lanes, counters, now_ms);
                let mut step = self.step(false).unwrap_or_default();
                step.out.extend(said);
                Ok((!step.is_empty()).then_some(step))
            }
            Wake::Records(records) => {
                self.take(records, now_ms)?;
                Ok(if self.is_step_due(now_ms) { self.step(false) } else { None })
            }
            Wake::Idle | Wake::Stop => Ok(self.step(false)),
            Wake::Drained => Ok(self.step(true)),
            Wake::Revoked(lanes) => {
                let step = self.step(false);
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

    fn follows(&self) -> Vec<Topic> {
        vec![topic::POLICY]
    }

    fn facts(&self) -> BTreeMap<String, String> {
        let mut facts = BTreeMap::new();
        documents::tell(&mut facts, &self.following.version(&self.lanes));
        facts
    }
}
