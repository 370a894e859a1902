//! How far the aggregator's lanes have come, and those of the managers that send each other counts. A pane can be judged when all of them have passed it: any
//! of them may have seen a part.

use std::collections::{BTreeMap, BTreeSet};

use bus::{Lane, Stamp, Topic, topic};
use serde::{Deserialize, Serialize};

use crate::state::{Key, LINES, Line};

/// An input of the lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Input {
    /// `partial`.
    Partial,
    /// `notice`.
    Notice,
    /// `known`, whose order says all: nothing there waits for other lanes.
    Known,
}

impl Input {
    /// Its topic.
    pub fn topic(self) -> Topic {
        match self {
            Input::Partial => topic::PARTIAL,
            Input::Notice => topic::NOTICE,
            Input::Known => topic::KNOWN,
        }
    }

    /// The input that a topic is.
    pub fn of(topic: &Topic) -> Input {
        let all = [Input::Partial, Input::Known];
        all.into_iter().find(|input| input.topic() == *topic).unwrap_or(Input::Notice)
    }
}

/// Progress of one aggregator lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its watermark on `partial`.
    time: i64,
    /// Its watermark on `notice`.
    #[serde(default = "never")]
    notice_time: i64,
    partial_ended: bool,
    notice_ended: bool,
}

impl Default for Source {
    fn default() -> Source {
        let (time, notice_time) = (never(), never());
        Source { time, notice_time, partial_ended: false, notice_ended: false }
    }
}

fn never() -> i64 {
    i64::MIN
}

/// How far all lanes of a role are, by timeline, and whether the round of files is over: on `partial`, and on both inputs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    times: [[i64; 2]; 2],
    ended: [bool; 2],
}

/// Progress of the lanes of a role.
#[derive(Debug)]
pub struct Progress {
    /// What their names begin with.
    role: &'static str,
    lanes: u32,
    by: BTreeMap<(Line, String), Source>,
    changed: BTreeSet<(Line, String)>,
}

impl Progress {
    /// Of so many lanes of `aggregate/` or `manager/`; nothing is known of them.
    pub fn new(role: &'static str, lanes: u32) -> Progress {
        Progress { role, lanes, by: BTreeMap::new(), changed: BTreeSet::new() }
    }

    /// A source as it was kept.
    pub fn restore(&mut self, line: Line, name: String, source: Source) {
        self.by.insert((line, name), source);
    }

    /// Where a lane said that it is, on `partial`.
    pub fn of_lane(&self, line: Line, lane: Lane) -> i64 {
        let source = self.by.get(&(line, format!("{}{lane}", self.role)));
        source.map_or(i64::MIN, |source| source.time)
    }

    /// Whether a source is one of these lanes.
    pub fn is_of(&self, source: &str) -> bool {
        source.starts_with(self.role)
    }

    /// A source spoke. Who is no such lane is not waited for.
    pub fn hear(&mut self, input: Input, stamp: &Stamp) {
        let lane = stamp.source.strip_prefix(self.role).and_then(|n| n.parse::<u32>().ok());
        if input == Input::Known || lane.is_none_or(|lane| lane >= self.lanes) {
            return;
        }
        let key = (Line::from(stamp.timeline), stamp.source.clone());
        let source = self.by.entry(key.clone()).or_default();
        let before = *source;
        match input {
            // After its end it has begun another round.
            Input::Partial if source.partial_ended && !stamp.end => {
                (source.time, source.partial_ended) = (stamp.time, false);
            }
            Input::Partial => {
                source.time = source.time.max(stamp.time);
                source.partial_ended |= stamp.end;
            }
            Input::Notice => {
                source.notice_time = source.notice_time.max(stamp.time);
                source.notice_ended |= stamp.end;
            }
            Input::Known => {}
        }
        if *source != before {
            self.changed.insert(key);
        }
    }

    /// The time that every lane has passed on `partial`.
    pub fn watermark(&self, line: Line) -> i64 {
        let reached = |source: &Source| if source.partial_ended { i64::MAX } else { source.time };
        self.least(line, reached, i64::MIN)
    }

    /// The time that every lane has passed on `partial` and on `notice`.
    pub fn both(&self, line: Line) -> i64 {
        let reached = |source: &Source| {
            let partial = if source.partial_ended { i64::MAX } else { source.time };
            let notice = if source.notice_ended { i64::MAX } else { source.notice_time };
            partial.min(notice)
        };
        self.least(line, reached, i64::MIN)
    }

    /// How far all are.
    pub fn standing(&self) -> Standing {
        Standing {
            times: LINES.map(|line| [self.watermark(line), self.both(line)]),
            ended: [Input::Partial, Input::Notice].map(|input| self.has_ended(input)),
        }
    }

    /// Whether every lane has ended the round of files on an input.
    pub fn has_ended(&self, input: Input) -> bool {
        let ended = |source: &Source| match input {
            Input::Partial => source.partial_ended,
            Input::Notice => source.notice_ended,
            Input::Known => false,
        };
        self.least(Line::File, ended, false)
    }

    /// The round of files is over on an input: what was said of it is forgotten.
    pub fn forget(&mut self, input: Input) {
        for (key, source) in self.by.iter_mut().filter(|(key, _)| key.0 == Line::File) {
            match input {
                Input::Partial => (source.time, source.partial_ended) = (i64::MIN, false),
                Input::Notice => (source.notice_time, source.notice_ended) = (i64::MIN, false),
                Input::Known => {}
            }
            self.changed.insert(key.clone());
        }
        self.by.retain(|key, source| key.0 != Line::File || *source != Source::default());
    }

    /// The least over all lanes; `missing` if one was not heard.
    fn least<T: Ord>(&self, line: Line, of: impl Fn(&Source) -> T, missing: T) -> T {
        let sources = self.by.iter().filter(|(key, _)| key.0 == line);
        if sources.clone().count() < self.lanes as usize {
            return missing;
        }
        sources.map(|(_, source)| of(source)).min().unwrap_or(missing)
    }

    /// Changes since it was last asked.
    pub fn changes(&mut self) -> Vec<(Key, Option<Source>)> {
        std::mem::take(&mut self.changed)
            .into_iter()
            .map(|key| {
                let source = self.by.get(&key).copied();
                (Key::Source(key.0, key.1), source)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use bus::Timeline;

    use super::*;

    fn stamp(source: &str, time: i64, end: bool) -> Stamp {
        Stamp { source: source.into(), timeline: Timeline::File, time, end }
    }

    #[test]
    fn all_lanes_are_waited_for_and_nobody_else() {
        let mut progress = Progress::new("aggregate/", 2);
        progress.hear(Input::Partial, &stamp("aggregate/0", 10, false));
        assert_eq!(progress.watermark(Line::File), i64::MIN);
        progress.hear(Input::Partial, &stamp("aggregate/1", 8, false));
        progress.hear(Input::Partial, &stamp("aggregate/2", 1, false));
        progress.hear(Input::Partial, &stamp("w1", 1, false));
        assert_eq!(progress.watermark(Line::File), 8);
        assert_eq!(progress.watermark(Line::Live), i64::MIN);
        progress.hear(Input::Partial, &stamp("aggregate/1", i64::MAX, true));
        assert_eq!(progress.watermark(Line::File), 10);
        assert!(!progress.has_ended(Input::Partial));
        progress.hear(Input::Partial, &stamp("aggregate/0", i64::MAX, true));
        assert!(progress.has_ended(Input::Partial) && !progress.has_ended(Input::Notice));
        progress.forget(Input::Partial);
        assert_eq!(progress.watermark(Line::File), i64::MIN);
        assert!(progress.changes().iter().all(|(_, source)| source.is_none()));
    }

    #[test]
    fn a_lane_that_ended_may_begin_anew() {
        let mut progress = Progress::new("aggregate/", 1);
        progress.hear(Input::Partial, &stamp("aggregate/0", i64::MAX, true));
        progress.hear(Input::Partial, &stamp("aggregate/0", 5, false));
        assert_eq!(progress.watermark(Line::File), 5);
    }
}
