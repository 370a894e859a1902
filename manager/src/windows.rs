//! What was seen of entities in the last panes, and when it is judged.
//!
//! The panes of all aggregator lanes merge by timeline, rule, entity and start. When the watermark
//! passes a pane's end, all panes of the entity that lie within the rule's window before that end are
//! merged and judged: the window slides in steps of a pane. A finding takes its panes out, so that
//! the same attempts are not found twice.

use std::collections::{BTreeMap, BTreeSet};

use detect::{Detector, Finding, Value};
use serde::{Deserialize, Serialize};

use crate::state::{Key, Line};

/// Nodes named in one notice; a cluster has fewer.
const OBSERVERS_MAX: usize = 1024;

/// Timeline, rule, entity.
pub type Whom = (Line, String, String);

/// What was seen of an entity in one pane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pane {
    /// End of the pane.
    pub end: i64,
    /// Earliest observation.
    pub first_ts: i64,
    /// Latest observation.
    pub last_ts: i64,
    /// How many.
    pub observations: u64,
    /// Nodes that saw them.
    pub observers: BTreeSet<String>,
    /// The statistic.
    pub value: Value,
}

impl Pane {
    fn weight(&self) -> usize {
        1 + self.value.weight()
    }

    /// Adds another that has a like value.
    fn merge(&mut self, other: &Pane) {
        if self.value.merge(&other.value).is_err() {
            return;
        }
        self.first_ts = self.first_ts.min(other.first_ts);
        self.last_ts = self.last_ts.max(other.last_ts);
        self.observations = self.observations.saturating_add(other.observations);
        for observer in &other.observers {
            if self.observers.len() < OBSERVERS_MAX {
                self.observers.insert(observer.clone());
            }
        }
    }
}

/// A finding and who saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The timeline it belongs to.
    pub line: Line,
    /// What the detector says.
    pub finding: Finding,
    /// End of the pane that completed it.
    pub end: i64,
    /// The latest observation in its panes.
    pub last_ts: i64,
    /// Nodes that saw it.
    pub observers: BTreeSet<String>,
}

/// The panes of a lane.
#[derive(Debug, Default)]
pub struct Windows {
    by: BTreeMap<Whom, BTreeMap<i64, Pane>>,
    /// Panes to be judged, by their end.
    due: BTreeSet<(Line, i64, Whom, i64)>,
    /// All panes by their start.
    ages: BTreeSet<(Line, i64, Whom)>,
    changed: BTreeSet<(Whom, i64)>,
    /// What is kept of each timeline, as limits count.
    weight: BTreeMap<Line, usize>,
}

impl Windows {
    /// A pane as it was kept; to be judged if the watermark has not passed its end.
    pub fn restore(&mut self, whom: Whom, start: i64, pane: Pane, watermark: i64) {
        if pane.end > watermark {
            self.due.insert((whom.0, pane.end, whom.clone(), start));
        }
        self.ages.insert((whom.0, start, whom.clone()));
        *self.weight.entry(whom.0).or_default() += pane.weight();
        self.by.entry(whom).or_default().insert(start, pane);
    }

    /// Adds what one lane saw. `detector` is that of the rule.
    pub fn take(&mut self, whom: Whom, start: i64, pane: Pane, detector: &dyn Detector) {
        let panes = self.by.entry(whom.clone()).or_default();
        let weight = self.weight.entry(whom.0).or_default();
        match panes.get_mut(&start) {
            Some(known) => {
                let before = known.weight();
                known.merge(&pane);
                *weight = *weight - before + known.weight();
            }
            None => {
                *weight += pane.weight();
                self.ages.insert((whom.0, start, whom.clone()));
                panes.insert(start, pane);
            }
        }
        // A late one changes what the windows after it hold.
        let reach = start.saturating_add(detector.window_us().max(1));
        for (at, pane) in panes.range(start..reach) {
            self.due.insert((whom.0, pane.end, whom.clone(), *at));
        }
        self.changed.insert((whom, start));
    }

    /// Judges every pane that ends by the watermark, in order of their ends.
    pub fn judge(
        &mut self,
        line: Line,
        watermark: i64,
        detectors: &[Box<dyn Detector>],
        found: &mut Vec<Found>,
    ) {
        let first = (line, i64::MIN, (Line::Live, String::new(), String::new()), i64::MIN);
        while let Some(next) = self.due.range(first.clone()..).next()
            && next.0 == line
            && next.1 <= watermark
        {
            let next = next.clone();
            self.due.remove(&next);
            let (_, end, whom, start) = next;
            found.extend(self.judge_one(&whom, start, end, detectors));
        }
    }

    fn judge_one(
        &mut self,
        whom: &Whom,
        start: i64,
        end: i64,
        detectors: &[Box<dyn Detector>],
    ) -> Option<Found> {
        let detector = detectors.iter().find(|d| d.rule() == whom.1)?;
        let begin = end.saturating_sub(detector.window_us()).min(start);
        let mut panes = self.by.get(whom)?.range(begin..=start);
        let mut all = panes.next()?.1.clone();
        panes.for_each(|(_, pane)| all.merge(pane));
        let finding = detector.judge(&whom.2, &all.value)?;
        let used: Vec<i64> =
            self.by.get(whom)?.range(begin..=start).map(|(start, _)| *start).collect();
        used.iter().for_each(|start| self.remove(whom, *start));
        let (last_ts, observers) = (all.last_ts, all.observers);
        Some(Found { line: whom.0, finding, end, last_ts, observers })
    }

    /// Forgets panes that no window after the watermark reaches.
    pub fn expire(&mut self, line: Line, watermark: i64, detectors: &[Box<dyn Detector>]) {
        let longest = detectors.iter().map(|d| d.window_us()).max().unwrap_or(0);
        self.forget(line, watermark.saturating_sub(longest));
    }

    /// Forgets panes that start before a time.
    pub fn forget(&mut self, line: Line, before: i64) {
        let first = (line, i64::MIN, (Line::Live, String::new(), String::new()));
        while let Some((of, start, whom)) = self.ages.range(first.clone()..).next()
            && *of == line
            && *start < before
        {
            let (start, whom) = (*start, whom.clone());
            self.remove(&whom, start);
        }
    }

    /// While more than `max` is kept the oldest panes are judged as they are, and go. Tells how many.
    pub fn relieve(
        &mut self,
        max: usize,
        detectors: &[Box<dyn Detector>],
        found: &mut Vec<Found>,
    ) -> u64 {
        let mut gone = 0;
        while self.weight.values().sum::<usize>() > max {
            // Of the timeline that holds more: a big file costs live detection nothing.
            let Some((line, _)) = self.weight.iter().max_by_key(|(_, weight)| **weight) else {
                break;
            };
            let first = (*line, i64::MIN, (Line::Live, String::new(), String::new()));
            let Some((_, start, whom)) = self.ages.range(first..).next().cloned() else { break };
            let end = self.by.get(&whom).and_then(|panes| panes.get(&start)).map(|pane| pane.end);
            if let Some(end) = end
                && self.due.contains(&(whom.0, end, whom.clone(), start))
            {
                found.extend(self.judge_one(&whom, start, end, detectors));
            }
            self.remove(&whom, start);
            gone += 1;
        }
        gone
    }

    fn remove(&mut self, whom: &Whom, start: i64) {
        let Some(panes) = self.by.get_mut(whom) else { return };
        let Some(pane) = panes.remove(&start) else { return };
        if panes.is_empty() {
            self.by.remove(whom);
        }
        if let Some(weight) = self.weight.get_mut(&whom.0) {
            *weight -= pane.weight();
        }
        self.due.remove(&(whom.0, pane.end, whom.clone(), start));
        self.ages.remove(&(whom.0, start, whom.clone()));
        self.changed.insert((whom.clone(), start));
    }

    /// Changes since it was last asked.
    pub fn changes(&mut self) -> Vec<(Key, Option<Pane>)> {
        std::mem::take(&mut self.changed)
            .into_iter()
            .map(|(whom, start)| {
                let pane = self.by.get(&whom).and_then(|panes| panes.get(&start)).cloned();
                (Key::Pane(whom.0, whom.1, whom.2, start), pane)
            })
            .collect()
    }
}
