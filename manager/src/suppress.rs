//! Suppression: the same notice is logged once in a while, for the whole cluster.
//!
//! As in Zeek the span begins with the notice that was logged and is not extended by those held back.
//! Time is that of the notices themselves. A notice somewhat older than the one logged counts as the
//! same too: it only came later.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::state::{Key, Line};

/// How long a span that is over is still known on the live timeline, microseconds: notices may be
/// read that much after the watermark, which comes by another topic.
const KEPT_US: i64 = 3_600_000_000;

/// Timeline, type and identifier of a notice.
pub type Kind = (Line, String, String);

/// A span in which the same notice is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Time of the notice that was logged.
    pub first: i64,
    /// End of the span.
    pub until: i64,
    /// Notices held back.
    pub suppressed: u64,
}

impl Span {
    fn holds(&self, ts: i64) -> bool {
        let before = self.first.saturating_sub(self.until.saturating_sub(self.first));
        ts < self.until && ts > before
    }
}

/// All spans of a lane.
#[derive(Debug)]
pub struct Suppressions {
    max: usize,
    by: BTreeMap<Kind, Span>,
    /// The same by their end.
    ends: BTreeSet<(Line, i64, Kind)>,
    changed: BTreeSet<Kind>,
}

impl Suppressions {
    /// None yet, and never more than `max`.
    pub fn new(max: usize) -> Suppressions {
        Suppressions { max, by: BTreeMap::new(), ends: BTreeSet::new(), changed: BTreeSet::new() }
    }

    /// A span as it was kept.
    pub fn restore(&mut self, kind: Kind, span: Span) {
        self.remove(&kind);
        self.ends.insert((kind.0, span.until, kind.clone()));
        self.by.insert(kind, span);
    }

    /// Whether a notice of time `ts` is held back; if not, its span begins.
    pub fn holds_back(&mut self, kind: Kind, ts: i64, suppress_for_us: i64) -> bool {
        if let Some(span) = self.by.get_mut(&kind)
            && span.holds(ts)
        {
            span.suppressed = span.suppressed.saturating_add(1);
            self.changed.insert(kind);
            return true;
        }
        if self.by.get(&kind).is_some_and(|span| ts < span.first) {
            // Long before the last one logged: that one's span stays.
            return false;
        }
        self.changed.insert(kind.clone());
        let until = ts.saturating_add(suppress_for_us.max(0));
        self.restore(kind, Span { first: ts, until, suppressed: 0 });
        while self.by.len() > self.max {
            let Some((_, _, kind)) = self.ends.first().cloned() else { break };
            self.remove(&kind);
        }
        false
    }

    /// Forgets live spans that no notice can fall in any more.
    pub fn expire(&mut self, watermark: i64) {
        while let Some((Line::Live, until, kind)) = self.ends.first()
            && until.saturating_add(KEPT_US) <= watermark
        {
            let kind = kind.clone();
            self.remove(&kind);
        }
    }

    /// Forgets the spans of files: their round is over.
    pub fn forget_files(&mut self) {
        let files: Vec<Kind> =
            self.by.keys().filter(|kind| kind.0 == Line::File).cloned().collect();
        files.iter().for_each(|kind| self.remove(kind));
    }

    fn remove(&mut self, kind: &Kind) {
        if let Some(span) = self.by.remove(kind) {
            self.ends.remove(&(kind.0, span.until, kind.clone()));
            self.changed.insert(kind.clone());
        }
    }

    /// Changes since it was last asked.
    pub fn changes(&mut self) -> Vec<(Key, Option<Span>)> {
        std::mem::take(&mut self.changed)
            .into_iter()
            .map(|kind| {
                let span = self.by.get(&kind).copied();
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

    #[test]
    fn a_span_is_fixed_by_the_notice_that_was_logged() {
        let mut all = Suppressions::new(10);
        let mut held = |ts| all.holds_back(kind(Line::Live, "x"), ts, HOUR);
        assert!(!held(10 * HOUR));
        assert!(held(10 * HOUR) && held(11 * HOUR - 1) && held(9 * HOUR + 1));
        assert!(!held(11 * HOUR), "not extended");
        assert!(!held(2 * HOUR), "another one, long before");
        assert!(held(11 * HOUR + 1), "which changed nothing");
        assert!(!all.holds_back(kind(Line::File, "x"), 11 * HOUR, HOUR), "timelines are apart");
        assert!(!all.holds_back(kind(Line::Live, "y"), 11 * HOUR, HOUR));
    }

    #[test]
    fn spans_end_and_are_bounded() {
        let mut all = Suppressions::new(2);
        for (at, identifier) in ["a", "b", "c"].into_iter().enumerate() {
            all.holds_back(kind(Line::Live, identifier), at as i64, HOUR);
        }
        let kept: Vec<bool> = all.changes().iter().map(|(_, span)| span.is_some()).collect();
        assert_eq!(kept, [false, true, true]);
        all.expire(2 * HOUR);
        assert!(all.changes().is_empty());
        all.expire(2 * HOUR + 1);
        assert_eq!(all.changes().len(), 1);
        all.holds_back(kind(Line::File, "f"), 0, HOUR);
        all.changes();
        all.expire(i64::MAX);
        all.forget_files();
        assert_eq!(all.changes().len(), 2);
        assert!(all.by.is_empty() && all.ends.is_empty());
    }

    #[test]
    fn absurd_times_are_only_times() {
        let mut all = Suppressions::new(2);
        for ts in [i64::MIN, i64::MAX, 0] {
            all.holds_back(kind(Line::Live, "a"), ts, i64::MAX);
        }
    }
}
