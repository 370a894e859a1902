//! What was seen of entities in the last panes, and when it is judged.
//!
//! The panes of all aggregator lanes merge by timeline, rule, entity and start. When the watermark
//! passes a pane's end, it is merged with all panes of the entity that begin within the rule's window before it, and
//! judged: the window slides in steps of a pane, and as it reaches back from the pane's begin, what lies
//! within a window is judged together wherever panes begin and end. A finding takes its panes out, so that
//! the same attempts are not found twice.
//!
//! A lane may send of one pane several times (late rows, a lane that held too much); each time it is of other rows, and
//! the bus gives each record once. So partials are added up, and sums and counts are right too.
//!
//! Panes of a rule with a coarser grain are joined once they were judged: a day is then some tens of them. Above the
//! limit the lightest entities go, and of those the ones that were silent longest; what goes is judged as it is.

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
        self.end = self.end.max(other.end);
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

/// What is known of an entity.
#[derive(Debug)]
struct Entity {
    reach: Reach,
    /// By their start.
    panes: BTreeMap<i64, Pane>,
    weight: usize,
    /// Latest end of a pane.
    latest: i64,
}

/// The panes of a lane.
#[derive(Debug, Default)]
pub struct Windows {
    by: BTreeMap<Whom, Entity>,
    /// Panes to be judged, by their end.
    due: BTreeSet<(Line, i64, Whom, i64)>,
    /// All panes by the time when no window reaches them any more.
    ages: BTreeSet<(Line, i64, Whom, i64)>,
    /// Entities, those to go first first.
    light: BTreeSet<(Line, usize, i64, Whom)>,
    changed: BTreeSet<(Whom, i64)>,
    /// What is kept of each timeline, as limits count.
    weight: BTreeMap<Line, usize>,
}

/// How far the windows of a rule reach, and the grain of its panes.
#[derive(Debug, Clone, Copy)]
struct Reach {
    window: i64,
    grain: i64,
}

impl Reach {
    fn of(detector: &dyn Detector) -> Reach {
        Reach { window: detector.window_us().max(1), grain: detector.grain_us().max(1) }
    }

    /// The earliest start that the window of a pane reaches.
    fn begin(self, start: i64) -> i64 {
        detect::pane_start(start.saturating_sub(self.window), self.grain)
    }

    /// From when on no window reaches a pane.
    fn until(self, start: i64) -> i64 {
        start.saturating_add(self.window).saturating_add(self.grain.saturating_mul(2))
    }
}

/// The least place of a timeline in an order of entities.
fn nobody(line: Line) -> Whom {
    (line, String::new(), String::new())
}

impl Windows {
    /// A pane as it was kept; to be judged if the watermark has not passed its end. One of a rule that is gone,
    /// or keeps another statistic now, goes.
    pub fn restore(
        &mut self,
        whom: Whom,
        start: i64,
        pane: Pane,
        watermark: i64,
        detectors: &[Box<dyn Detector>],
    ) {
        let detector = detectors.iter().find(|detector| detector.rule() == whom.1);
        let Some(detector) = detector.filter(|d| pane.value.is_like(&d.start())) else {
            self.changed.insert((whom, start));
            return;
        };
        if pane.end > watermark {
            self.due.insert((whom.0, pane.end, whom.clone(), start));
        }
        self.put(&whom, start, pane, Reach::of(detector.as_ref()));
    }

    /// Adds what one lane saw. `detector` is that of the rule.
    pub fn take(&mut self, whom: Whom, start: i64, pane: Pane, detector: &dyn Detector) {
        let reach = Reach::of(detector);
        self.put(&whom, start, pane, reach);
        // A late one changes what the windows after it hold.
        let panes = self.by.get(&whom).into_iter().flat_map(|e| e.panes.range(start..));
        for (at, pane) in panes.take_while(|(at, _)| reach.begin(**at) <= start) {
            self.due.insert((whom.0, pane.end, whom.clone(), *at));
        }
        self.changed.insert((whom, start));
    }

    /// Adds a pane to what is kept.
    fn put(&mut self, whom: &Whom, start: i64, pane: Pane, reach: Reach) {
        let begin = || Entity { reach, panes: BTreeMap::new(), weight: 0, latest: i64::MIN };
        let entity = self.by.entry(whom.clone()).or_insert_with(begin);
        let latest = pane.end;
        let (minus, plus) = match entity.panes.get_mut(&start) {
            Some(known) => {
                let before = known.weight();
                known.merge(&pane);
                (before, known.weight())
            }
            None => {
                let weight = pane.weight();
                entity.panes.insert(start, pane);
                self.ages.insert((whom.0, reach.until(start), whom.clone(), start));
                (0, weight)
            }
        };
        self.weigh(whom, minus, plus, latest);
    }

    /// An entity weighs less and more by so much, and was seen until then.
    fn weigh(&mut self, whom: &Whom, minus: usize, plus: usize, latest: i64) {
        let Some(entity) = self.by.get_mut(whom) else { return };
        self.light.remove(&(whom.0, entity.weight, entity.latest, whom.clone()));
        entity.weight = entity.weight.saturating_sub(minus).saturating_add(plus);
        entity.latest = entity.latest.max(latest);
        if entity.panes.is_empty() {
            self.by.remove(whom);
        } else {
            self.light.insert((whom.0, entity.weight, entity.latest, whom.clone()));
        }
        let all = self.weight.entry(whom.0).or_default();
        *all = all.saturating_sub(minus).saturating_add(plus);
    }

    /// Judges every pane that ends by the watermark, in order of their ends.
    pub fn judge(
        &mut self,
        line: Line,
        watermark: i64,
        detectors: &[Box<dyn Detector>],
        found: &mut Vec<Found>,
    ) {
        let first = (line, i64::MIN, nobody(Line::Live), i64::MIN);
        while let Some(next) = self.due.range(first.clone()..).next()
            && next.0 == line
            && next.1 <= watermark
        {
            let next = next.clone();
            self.due.remove(&next);
            let (_, end, whom, start) = next;
            found.extend(self.judge_one(&whom, start, end, detectors));
            self.coarsen(&whom, start);
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
        let begin = Reach::of(detector.as_ref()).begin(start);
        let panes = &self.by.get(whom)?.panes;
        let counts = panes.range(begin..=start).map(|(_, pane)| pane.observations);
        if counts.fold(0, u64::saturating_add) < detector.needs() {
            return None;
        }
        let mut window = panes.range(begin..=start);
        let mut all = window.next()?.1.clone();
        window.for_each(|(_, pane)| all.merge(pane));
        let finding = detector.judge(&whom.2, &all.value)?;
        let used: Vec<i64> = panes.range(begin..=start).map(|(start, _)| *start).collect();
        used.iter().for_each(|start| drop(self.remove(whom, *start)));
        let (last_ts, observers) = (all.last_ts, all.observers);
        Some(Found { line: whom.0, finding, end, last_ts, observers })
    }

    /// Joins a pane that was judged with those of its grain.
    fn coarsen(&mut self, whom: &Whom, start: i64) {
        let Some(reach) = self.by.get(whom).map(|entity| entity.reach) else { return };
        let home = detect::pane_start(start, reach.grain);
        if home == start {
            return;
        }
        if let Some(pane) = self.remove(whom, start) {
            self.put(whom, home, pane, reach);
            self.changed.insert((whom.clone(), home));
        }
    }

    /// Forgets panes that no window after the watermark reaches.
    pub fn expire(&mut self, line: Line, watermark: i64) {
        let first = (line, i64::MIN, nobody(Line::Live), i64::MIN);
        while let Some((of, until, whom, start)) = self.ages.range(first.clone()..).next()
            && *of == line
            && *until <= watermark
        {
            let (whom, start) = (whom.clone(), *start);
            self.remove(&whom, start);
        }
    }

    /// While more than `max` is kept the lightest entities are judged as they are, and go. Tells how many panes
    /// went.
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
            let first = (*line, 0, i64::MIN, nobody(Line::Live));
            let Some((.., whom)) = self.light.range(first..).next().cloned() else { break };
            let panes = self.by.get(&whom).map(|entity| &entity.panes);
            let panes: Vec<(i64, i64)> =
                panes.into_iter().flatten().map(|(start, pane)| (*start, pane.end)).collect();
            for (start, end) in &panes {
                if self.due.contains(&(whom.0, *end, whom.clone(), *start)) {
                    found.extend(self.judge_one(&whom, *start, *end, detectors));
                }
            }
            for (start, _) in &panes {
                gone += u64::from(self.remove(&whom, *start).is_some());
            }
        }
        gone
    }

    fn remove(&mut self, whom: &Whom, start: i64) -> Option<Pane> {
        let entity = self.by.get_mut(whom)?;
        let pane = entity.panes.remove(&start)?;
        self.ages.remove(&(whom.0, entity.reach.until(start), whom.clone(), start));
        self.weigh(whom, pane.weight(), 0, pane.end);
        self.due.remove(&(whom.0, pane.end, whom.clone(), start));
        self.changed.insert((whom.clone(), start));
        Some(pane)
    }

    /// Changes since it was last asked.
    pub fn changes(&mut self) -> Vec<(Key, Option<Pane>)> {
        std::mem::take(&mut self.changed)
            .into_iter()
            .map(|(whom, start)| {
                let pane = self.by.get(&whom).and_then(|entity| entity.panes.get(&start)).cloned();
                (Key::Pane(whom.0, whom.1, whom.2, start), pane)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
