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

#[cfg(test)]
mod tests {
    use detect::{Site, detector};

    use super::*;

    const PANE: i64 = detect::PANE_US;

    fn whom(entity: &str) -> Whom {
        (Line::Live, "address-scan".into(), entity.into())
    }

    /// Takes in a pane in which those hosts were tried, one each microsecond.
    fn take(windows: &mut Windows, entity: &str, pane: i64, hosts: std::ops::Range<i64>) {
        let detector = &detector::all(&Site::default())[0];
        let mut value = detector.start();
        for host in hosts {
            let (at, member) = (pane * PANE + host, host.to_string());
            value.observe(detect::Seen { at, key: "22/tcp", member: &member });
        }
        let observers = BTreeSet::from([format!("w{pane}")]);
        let (start, end) = (pane * PANE, (pane + 1) * PANE);
        let (first_ts, last_ts) = (start, end - 1);
        let pane = Pane { end, first_ts, last_ts, observations: 1, observers, value };
        windows.take(whom(entity), start, pane, detector.as_ref());
    }

    fn judge(windows: &mut Windows, watermark: i64) -> Vec<(String, i64)> {
        let mut found = Vec::new();
        windows.judge(Line::Live, watermark, &detector::all(&Site::default()), &mut found);
        found.into_iter().map(|found| (found.finding.identifier, found.last_ts)).collect()
    }

    #[test]
    fn panes_are_judged_together_when_the_last_is_passed() {
        let mut windows = Windows::default();
        take(&mut windows, "10.0.0.2", 9, 12..25);
        take(&mut windows, "10.0.0.2", 0, 0..12);
        take(&mut windows, "10.0.0.1", 9, 0..25);
        take(&mut windows, "10.0.0.3", 10, 0..12);
        take(&mut windows, "10.0.0.3", 0, 12..25);
        assert_eq!(judge(&mut windows, 10 * PANE - 1), []);
        let last = 10 * PANE - 1;
        let want = [("10.0.0.1".to_owned(), last), ("10.0.0.2".to_owned(), last)];
        assert_eq!(judge(&mut windows, 10 * PANE), want);
        assert_eq!(judge(&mut windows, i64::MAX), [], "out of the window, or found already");
        windows.expire(Line::Live, i64::MAX, &detector::all(&Site::default()));
        assert!(windows.by.is_empty() && windows.ages.is_empty() && windows.due.is_empty());
        assert_eq!(windows.weight[&Line::Live], 0);
    }

    #[test]
    fn a_late_pane_is_judged_with_those_after_it() {
        let mut windows = Windows::default();
        take(&mut windows, "10.0.0.1", 3, 12..25);
        assert_eq!(judge(&mut windows, 4 * PANE), []);
        take(&mut windows, "10.0.0.1", 1, 0..12);
        assert_eq!(judge(&mut windows, 4 * PANE).len(), 1);
    }

    #[test]
    fn what_is_too_much_is_judged_and_goes() {
        let mut windows = Windows::default();
        take(&mut windows, "10.0.0.1", 1, 0..25);
        take(&mut windows, "10.0.0.2", 2, 0..9);
        let mut found = Vec::new();
        let gone = windows.relieve(11, &detector::all(&Site::default()), &mut found);
        assert_eq!((gone, found.len(), windows.by.len()), (1, 1, 1));
        assert_eq!(windows.relieve(0, &detector::all(&Site::default()), &mut found), 1);
        assert_eq!((found.len(), windows.by.len()), (1, 0));
    }
}
