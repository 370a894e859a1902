//! Suppression: the same notice is logged once in a while, for the whole cluster.
//!
//! As in Zeek the span begins with the notice that was logged and is not extended by those held back.
//! Time is that of the notices themselves. A notice somewhat older than the one logged counts as the
//! same too: it only came later. Those held back are counted, and told when the span is over. One that
//! policy wants more of than of the one logged (an alarm after a row) is not held back.

use std::collections::{BTreeMap, BTreeSet};

use detect::policy::Action;
use serde::{Deserialize, Serialize};

use crate::ends::Ends;
use crate::state::{Key, Line};

/// How long a span that is over is still known on the live timeline, microseconds: notices may be
/// read that much after the watermark, which comes by another topic.
const KEPT_US: i64 = 3_600_000_000;
/// Workers named with those held back; a cluster has fewer.
const WORKERS_MAX: usize = 1024;

/// Timeline, type and identifier of a notice.
pub type Kind = (Line, String, String);

/// A span in which the same notice is held back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Time of the notice that was logged.
    pub first: i64,
    /// End of the span.
    pub until: i64,
    /// What was done with it.
    #[serde(default)]
    pub action: Action,
    /// Notices held back and not told of.
    pub suppressed: u64,
    /// The latest of them.
    #[serde(default)]
    pub last: i64,
    /// Who saw them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub workers: BTreeSet<String>,
}

impl Span {
    fn holds(&self, ts: i64) -> bool {
        let before = self.first.saturating_sub(self.until.saturating_sub(self.first));
        ts < self.until && ts > before
    }
}

/// A notice that may be held back.
#[derive(Debug, Clone, Copy)]
pub struct Copied<'a> {
    /// When it happened.
    pub ts: i64,
    /// What is to be done with it.
    pub action: Action,
    /// Who saw it.
    pub workers: &'a [&'a str],
}

/// A span that is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Over {
    /// Whose it is.
    pub kind: Kind,
    /// What was held back.
    pub span: Span,
    /// Packet time that completed it: its end; of one that is told of before, the last notice held back, as
    /// nobody may speak of a time that has not come.
    pub written: i64,
}

/// All spans of a lane.
#[derive(Debug)]
pub struct Suppressions {
    max: usize,
    by: BTreeMap<Kind, Span>,
    /// The same by their end, for each timeline.
    ends: Ends<Kind>,
    changed: BTreeSet<Kind>,
    /// Spans that are over and held something back.
    over: Vec<Over>,
    /// Spans that went before they were over.
    pub forgotten: u64,
}

impl Suppressions {
    /// None yet, and never more than `max`.
    pub fn new(max: usize) -> Suppressions {
        let (by, ends, changed, over) = Default::default();
        Suppressions { max, by, ends, changed, over, forgotten: 0 }
    }

    /// A span as it was kept.
    pub fn restore(&mut self, kind: Kind, span: Span) {
        self.ends.insert(kind.0, span.until, kind.clone());
        self.by.insert(kind, span);
    }

    /// Whether a notice is held back by one that was logged; then it is counted.
    pub fn holds_back(&mut self, kind: &Kind, copy: &Copied<'_>) -> bool {
        let Some(span) = self.by.get_mut(kind) else { return false };
        if !span.holds(copy.ts) || span.action < copy.action {
            return false;
        }
        span.last = if span.suppressed == 0 { copy.ts } else { span.last.max(copy.ts) };
        span.suppressed = span.suppressed.saturating_add(1);
        for worker in copy.workers {
            if span.workers.len() < WORKERS_MAX && !span.workers.contains(*worker) {
                span.workers.insert((*worker).to_owned());
            }
        }
        self.changed.insert(kind.clone());
        true
    }

    /// A notice is logged: its span begins, unless one that holds it goes on with more to do.
    pub fn begin(&mut self, kind: Kind, ts: i64, action: Action, suppress_for_us: i64) {
        if let Some(span) = self.by.get_mut(&kind) {
            if span.holds(ts) {
                span.action = span.action.max(action);
                self.changed.insert(kind);
                return;
            }
            if ts < span.first {
                // Long before the last one logged: that one's span stays.
                return;
            }
        }
        if suppress_for_us <= 0 {
            return;
        }
        // One that is there is over, as it does not hold this notice, which is later.
        self.remove(&kind, true);
        self.changed.insert(kind.clone());
        let until = ts.saturating_add(suppress_for_us);
        let (suppressed, last, workers) = (0, ts, BTreeSet::new());
        self.restore(kind, Span { first: ts, until, action, suppressed, last, workers });
        while self.by.len() > self.max {
            let Some(kind) = self.ends.to_evict().cloned() else { break };
            self.remove(&kind, false);
            self.forgotten += 1;
        }
    }

    /// Forgets live spans that no notice can fall in any more.
    pub fn expire(&mut self, watermark: i64) {
        while let Some((until, kind)) = self.ends.first(Line::Live)
            && until.saturating_add(KEPT_US) <= watermark
        {
            let kind = kind.clone();
            self.remove(&kind, true);
        }
    }

    /// Forgets the spans of files of these types: their round is over.
    pub fn forget_files(&mut self, is_of: impl Fn(&str) -> bool) {
        let files = self.by.keys().filter(|kind| kind.0 == Line::File && is_of(&kind.1));
        let files: Vec<Kind> = files.cloned().collect();
        files.iter().for_each(|kind| self.remove(kind, false));
    }

    /// Nobody may ask again: what was held back so far is told, and counted anew.
    pub fn tell_all(&mut self) {
        for (kind, span) in self.by.iter_mut().filter(|(_, span)| span.suppressed > 0) {
            let written = span.first.max(span.last);
            self.over.push(Over { kind: kind.clone(), span: span.clone(), written });
            (span.suppressed, span.workers) = (0, BTreeSet::new());
            self.changed.insert(kind.clone());
        }
    }

    /// Spans that ended, or were told of, since it was last asked.
    pub fn over(&mut self) -> Vec<Over> {
        std::mem::take(&mut self.over)
    }

    fn remove(&mut self, kind: &Kind, is_over: bool) {
        if let Some(span) = self.by.remove(kind) {
            self.ends.remove(kind.0, span.until, kind.clone());
            self.changed.insert(kind.clone());
            if span.suppressed > 0 {
                let last = span.first.max(span.last);
                let written = if is_over { last.max(span.until) } else { last };
                self.over.push(Over { kind: kind.clone(), span, written });
            }
        }
    }

    /// Changes since it was last asked.
    pub fn changes(&mut self) -> Vec<(Key, Option<Span>)> {
        std::mem::take(&mut self.changed)
            .into_iter()
            .map(|kind| {
                let span = self.by.get(&kind).cloned();
                (Key::Suppress(kind.0, kind.1, kind.2), span)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn kind(line: Line, identifier: &str) -> Kind {
        (line, "A::B".into(), identifier.into())
    }

    /// Whether a notice is held back; if not it is logged.
    fn held(all: &mut Suppressions, kind: Kind, ts: i64, action: Action, us: i64) -> bool {
        let is_held = all.holds_back(&kind, &Copied { ts, action, workers: &["w1"] });
        if !is_held {
            all.begin(kind, ts, action, us);
        }
        is_held
    }

    #[test]
    fn a_span_is_fixed_by_the_notice_that_was_logged() {
        let mut all = Suppressions::new(10);
        let mut live = |ts| held(&mut all, kind(Line::Live, "x"), ts, Action::Log, HOUR);
        assert!(!live(10 * HOUR));
        assert!(live(10 * HOUR) && live(11 * HOUR - 1) && live(9 * HOUR + 1));
        assert!(!live(11 * HOUR), "not extended");
        assert!(!live(2 * HOUR), "another one, long before");
        assert!(live(11 * HOUR + 1), "which changed nothing");
        let other = |all: &mut _, kind| held(all, kind, 11 * HOUR, Action::Log, HOUR);
        assert!(!other(&mut all, kind(Line::File, "x")), "timelines are apart");
        assert!(!other(&mut all, kind(Line::Live, "y")));
    }

    #[test]
    fn an_alarm_is_not_held_back_by_a_row() {
        let mut all = Suppressions::new(10);
        let mut live = |ts, action| held(&mut all, kind(Line::Live, "x"), ts, action, HOUR);
        assert!(!live(0, Action::Log) && live(1, Action::Log));
        assert!(!live(2, Action::Alarm));
        assert!(live(3, Action::Alarm) && live(4, Action::Log), "from now on it is");
        assert!(!live(HOUR, Action::Log), "and the span is that of the first");
    }

    #[test]
    fn what_was_held_back_is_told_when_it_is_over() {
        let mut all = Suppressions::new(10);
        for ts in [0, 5, 9, 7] {
            held(&mut all, kind(Line::Live, "x"), ts, Action::Log, HOUR);
            held(&mut all, kind(Line::Live, "0"), ts, Action::Log, 0);
        }
        assert_eq!(all.by.len(), 1, "none begins where nothing is to be held back");
        assert!(all.over().is_empty());
        all.tell_all();
        let told = |all: &mut Suppressions| {
            let over = all.over().into_iter();
            over.map(|Over { span, written, .. }| {
                (span.suppressed, span.last, span.workers.len(), written)
            })
            .collect::<Vec<_>>()
        };
        assert_eq!(told(&mut all), [(3, 9, 1, 9)], "before its end");
        held(&mut all, kind(Line::Live, "x"), 3, Action::Log, HOUR);
        held(&mut all, kind(Line::Live, "x"), HOUR, Action::Log, HOUR);
        assert_eq!(told(&mut all), [(1, 3, 1, HOUR)], "the next one ends it");
        all.expire(i64::MAX);
        assert_eq!(told(&mut all), [], "it held nothing back");
        for ts in [5 * HOUR, 5 * HOUR + 1] {
            held(&mut all, kind(Line::Live, "x"), ts, Action::Log, HOUR);
            held(&mut all, kind(Line::File, "x"), ts, Action::Log, HOUR);
        }
        all.expire(6 * HOUR + KEPT_US);
        assert_eq!(told(&mut all), [(1, 5 * HOUR + 1, 1, 6 * HOUR)]);
        all.forget_files(|_| true);
        assert_eq!(
            told(&mut all),
            [(1, 5 * HOUR + 1, 1, 5 * HOUR + 1)],
            "the round is over, not it"
        );
    }

    #[test]
    fn spans_end_and_are_bounded() {
        let mut all = Suppressions::new(2);
        for (at, identifier) in ["a", "b", "c"].into_iter().enumerate() {
            held(&mut all, kind(Line::Live, identifier), at as i64, Action::Log, HOUR);
        }
        let kept: Vec<bool> = all.changes().iter().map(|(_, span)| span.is_some()).collect();
        assert_eq!((&kept[..], all.forgotten), (&[false, true, true][..], 1));
        all.expire(2 * HOUR);
        assert!(all.changes().is_empty());
        all.expire(2 * HOUR + 1);
        assert_eq!(all.changes().len(), 1);
        held(&mut all, kind(Line::File, "f"), 0, Action::Log, HOUR);
        all.changes();
        all.expire(i64::MAX);
        all.forget_files(|_| true);
        assert_eq!(all.changes().len(), 2);
        assert!(all.by.is_empty() && all.ends.is_empty());
    }

    #[test]
    fn a_capture_file_does_not_push_out_what_is_live() {
        let mut all = Suppressions::new(10);
        let add = |all: &mut Suppressions, line, n: i64| {
            let kind = kind(line, &n.to_string());
            held(all, kind, n, Action::Log, HOUR);
        };
        (0..4).for_each(|n| add(&mut all, Line::Live, n));
        (0..50).for_each(|n| add(&mut all, Line::File, n));
        let count = |all: &Suppressions, line| all.by.keys().filter(|kind| kind.0 == line).count();
        assert_eq!((count(&all, Line::Live), count(&all, Line::File)), (4, 6));
        // Nor the other way about: each has its half.
        (4..50).for_each(|n| add(&mut all, Line::Live, n));
        assert_eq!((count(&all, Line::Live), count(&all, Line::File)), (5, 5));
        assert!(all.by.contains_key(&kind(Line::Live, "49")), "the oldest went");
    }

    #[test]
    fn absurd_times_are_only_times() {
        let mut all = Suppressions::new(2);
        for ts in [i64::MIN, i64::MAX, 0] {
            held(&mut all, kind(Line::Live, "a"), ts, Action::Log, i64::MAX);
        }
    }
}
