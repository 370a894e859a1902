//! How far a lane's sources have come. The watermark is the least of them.
//!
//! A source counts with the least of its times on the inputs: capture punctuates all of them on every
//! lane, so a source not yet heard on one of them may still send early rows there. That holds for the logs that
//! detectors observe too: what a source says on one topic says nothing of how far another was read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use bus::{Position, Stamp, Timeline, Topic, topic};
use model::stream::Def;
use serde::{Deserialize, Serialize};

use crate::join::sites::Sites;
use crate::state::Key;

/// Sources that a lane follows: far above any cluster's nodes and files at one time.
const SOURCES_MAX: usize = 10_000;

/// An input of the lane.
#[derive(Debug, Clone, Copy)]
pub enum Input {
    /// `raw.conn`.
    Conn,
    /// `raw.notice`.
    Notice,
    /// `raw.known`.
    Known,
    /// The log of a stream that detectors observe, such as `log.http`.
    Log(&'static Def),
    /// Rows of a flow stream on their way to its log, such as `raw.http`: where taps overlap.
    Raw(&'static Def),
}

const MERGED: [Input; 3] = [Input::Conn, Input::Notice, Input::Known];

/// All of them: what is merged, and what detectors observe besides. Where taps overlap, all flow streams instead
/// of that.
pub fn inputs(overlap: bool) -> &'static [Input] {
    static INPUTS: LazyLock<[Vec<Input>; 2]> = LazyLock::new(|| {
        let observed = detect::detector::logs().map(Input::Log);
        let copied = topic::raw_copies().map(Input::Raw);
        [MERGED.into_iter().chain(observed).collect(), MERGED.into_iter().chain(copied).collect()]
    });
    let [observed, copied] = &*INPUTS;
    if overlap { copied } else { observed }
}

/// Whether a lane that stood here can be gone on with by who reads these inputs. What stands in the others would never
/// be read, or be observed a second time.
///
/// # Errors
/// It was read with the others.
pub fn check(stood: &[Position], overlap: bool) -> anyhow::Result<()> {
    let is_of =
        |topic: &Topic, overlap| inputs(overlap).iter().any(|input| input.topic() == *topic);
    let is_other = |topic: &Topic| is_of(topic, !overlap) && !is_of(topic, overlap);
    let Some(position) = stood.iter().find(|position| is_other(&position.topic)) else {
        return Ok(());
    };
    let (topic, was) = (&position.topic, !overlap);
    anyhow::bail!(
        "`[cluster] overlap` is {overlap}, and was {was} when {topic} was read: it holds for the life of the topics. \
         Set it to {was} again on all nodes; or stop capture, drain all that reads, and begin under another prefix"
    )
}

impl Input {
    /// Its topic.
    pub fn topic(self) -> Topic {
        match self {
            Input::Conn => topic::RAW_CONN,
            Input::Notice => topic::RAW_NOTICE,
            Input::Known => topic::RAW_KNOWN,
            Input::Log(def) => Topic::log(def),
            Input::Raw(def) => Topic::raw(def),
        }
    }

    /// The input that a topic is.
    pub fn of(topic: &Topic) -> Input {
        static BY_TOPIC: LazyLock<BTreeMap<Topic, Input>> = LazyLock::new(|| {
            let all = inputs(false).iter().chain(inputs(true));
            all.map(|input| (input.topic(), *input)).collect()
        });
        BY_TOPIC.get(topic).copied().unwrap_or(Input::Notice)
    }

    /// Its name, also in what is kept.
    fn name(self) -> &'static str {
        match self {
            Input::Conn => "raw.conn",
            Input::Notice => "raw.notice",
            Input::Known => "raw.known",
            Input::Log(def) | Input::Raw(def) => def.name,
        }
    }
}

impl Input {
    /// Whether it is plain without a look at names that it is the same.
    fn is_same(self, other: Input) -> bool {
        match (self, other) {
            (Input::Log(a) | Input::Raw(a), Input::Log(b) | Input::Raw(b)) => std::ptr::eq(a, b),
            _ => std::mem::discriminant(&self) == std::mem::discriminant(&other),
        }
    }
}

impl PartialEq for Input {
    fn eq(&self, other: &Input) -> bool {
        self.is_same(*other) || self.name() == other.name()
    }
}

impl Eq for Input {}

impl PartialOrd for Input {
    fn partial_cmp(&self, other: &Input) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Input {
    fn cmp(&self, other: &Input) -> std::cmp::Ordering {
        // Rows come by the thousand from the same input: then no names are compared.
        if self.is_same(*other) {
            return std::cmp::Ordering::Equal;
        }
        self.name().cmp(other.name())
    }
}

/// Progress on one input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    /// Latest time, if one was heard.
    time: Option<i64>,
    ended: bool,
}

impl Progress {
    fn reached(&self) -> i64 {
        if self.ended { i64::MAX } else { self.time.unwrap_or(i64::MIN) }
    }
}

/// Progress of one source, as it is kept: by the names of inputs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Source {
    by: BTreeMap<String, Progress>,
    /// When it was heard last; unknown after a restart until the lane wakes.
    #[serde(skip)]
    heard_ms: Option<i64>,
}

impl Source {
    fn on(&self, input: &Input) -> Progress {
        self.by.get(input.name()).copied().unwrap_or_default()
    }

    fn reached(&self, inputs: &[Input]) -> i64 {
        inputs.iter().map(|input| self.on(input).reached()).min().unwrap_or(i64::MIN)
    }

    fn has_ended(&self, inputs: &[Input]) -> bool {
        inputs.iter().all(|input| self.on(input).ended)
    }
}

/// Where the file sources stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// None is known.
    None,
    /// Some are missing or not at their end: nothing may close.
    Waiting,
    /// All that belong together are there and have reached this time.
    At(i64),
    /// All known have ended; whether more may come is a question of patience where their number is
    /// not given.
    Ended,
}

/// All sources of a lane.
#[derive(Debug, Default)]
pub struct Sources {
    by: BTreeMap<(Timeline, String), Source>,
    changed: BTreeSet<(Timeline, String)>,
    /// Who taps where, while nobody came or went.
    sites: Option<Sites>,
    overlap: bool,
}

impl Sources {
    /// None yet; taps may overlap.
    pub fn new(overlap: bool) -> Sources {
        Sources { overlap, ..Sources::default() }
    }

    /// What each of them tells of its progress on.
    pub fn inputs(&self) -> &'static [Input] {
        inputs(self.overlap)
    }

    /// A source as it was kept.
    pub fn restore(&mut self, timeline: Timeline, name: String, source: Source) {
        self.by.insert((timeline, name), source);
        self.sites = None;
    }

    /// Who taps where.
    pub fn sites(&mut self) -> &Sites {
        self.sites.get_or_insert_with(|| Sites::of(self.by.keys()))
    }

    /// A source spoke. False if it is one too many and stays unknown.
    pub fn hear(&mut self, input: Input, stamp: &Stamp, now_ms: i64) -> bool {
        let key = (stamp.timeline, stamp.source.clone());
        if self.by.len() >= SOURCES_MAX && !self.by.contains_key(&key) {
            return false;
        }
        if !self.by.contains_key(&key) {
            self.sites = None;
        }
        let source = self.by.entry(key.clone()).or_default();
        source.heard_ms = Some(now_ms);
        if !source.by.contains_key(input.name()) {
            source.by.insert(input.name().to_owned(), Progress::default());
        }
        let Some(progress) = source.by.get_mut(input.name()) else { return false };
        progress.time = progress.time.max(Some(stamp.time));
        progress.ended |= stamp.end;
        self.changed.insert(key);
        true
    }

    /// Live sources that ended, or were silent for too long, leave. Tells whether one did and none
    /// is left.
    pub fn part(&mut self, now_ms: i64, silence_ms: i64) -> bool {
        let mut gone = Vec::new();
        let inputs = self.inputs();
        for (key, source) in &mut self.by {
            if key.0 != Timeline::Live {
                continue;
            }
            let heard_ms = *source.heard_ms.get_or_insert(now_ms);
            if source.has_ended(inputs) || now_ms.saturating_sub(heard_ms) > silence_ms {
                gone.push(key.clone());
            }
        }
        for key in &gone {
            self.sites = None;
            self.by.remove(key);
            self.changed.insert(key.clone());
        }
        !gone.is_empty() && self.live().is_none()
    }

    /// The time that all live sources have reached; `None` without one.
    pub fn live(&self) -> Option<i64> {
        self.of(Timeline::Live).map(|source| source.reached(self.inputs())).min()
    }

    /// Where the file sources stand, of which `want` belong together.
    pub fn files(&self, want: Option<usize>) -> Files {
        let (files, inputs) = (|| self.of(Timeline::File), self.inputs());
        let count = files().count();
        let have_all = count >= want.unwrap_or(1);
        match want {
            _ if count == 0 => Files::None,
            _ if have_all && files().all(|source| source.has_ended(inputs)) => Files::Ended,
            Some(_) if have_all => {
                let reached = files().map(|source| source.reached(inputs)).min();
                reached.map_or(Files::None, Files::At)
            }
            _ => Files::Waiting,
        }
    }

    /// The round of files is over: they are forgotten.
    pub fn forget_files(&mut self) {
        let files: Vec<_> = self.by.keys().filter(|key| key.0 == Timeline::File).cloned().collect();
        for key in files {
            self.sites = None;
            self.by.remove(&key);
            self.changed.insert(key);
        }
    }

    /// What changed since it was last asked: the keys and their new values.
    pub fn changes(&mut self) -> Vec<(Key, Option<Source>)> {
        std::mem::take(&mut self.changed)
            .into_iter()
            .map(|key| (Key::source(key.0, &key.1), self.by.get(&key).cloned()))
            .collect()
    }

    fn of(&self, timeline: Timeline) -> impl Iterator<Item = &Source> {
        self.by.iter().filter(move |(key, _)| key.0 == timeline).map(|(_, source)| source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(source: &str, timeline: Timeline, time: i64, end: bool) -> Stamp {
        Stamp { source: source.into(), timeline, time, end }
    }

    fn all(sources: &mut Sources, stamp: Stamp, now_ms: i64) {
        for input in inputs(false) {
            assert!(sources.hear(*input, &stamp, now_ms));
        }
    }

    const HTTP: Input = Input::Log(&model::stream::http::DEF);

    #[test]
    fn inputs_are_told_by_their_topics() {
        for input in inputs(false).iter().chain(inputs(true)) {
            assert_eq!(Input::of(&input.topic()), *input);
        }
        assert!(inputs(false).contains(&HTTP), "{:?}", inputs(false));
        assert_eq!(HTTP.topic(), Topic::named("log.http"));
    }

    #[test]
    fn the_least_of_all_inputs_and_all_sources() {
        let mut sources = Sources::default();
        assert_eq!(sources.live(), None);
        sources.hear(Input::Conn, &stamp("a", Timeline::Live, 10, false), 0);
        assert_eq!(sources.live(), Some(i64::MIN));
        sources.hear(Input::Notice, &stamp("a", Timeline::Live, 9, false), 0);
        assert_eq!(sources.live(), Some(i64::MIN));
        sources.hear(Input::Known, &stamp("a", Timeline::Live, 8, false), 0);
        assert_eq!(sources.live(), Some(i64::MIN), "logs are waited for too");
        for log in detect::detector::logs() {
            sources.hear(Input::Log(log), &stamp("a", Timeline::Live, 12, false), 0);
        }
        all(&mut sources, stamp("b", Timeline::Live, 20, false), 0);
        all(&mut sources, stamp("f", Timeline::File, 1, false), 0);
        assert_eq!(sources.live(), Some(8));
        all(&mut sources, stamp("a", Timeline::Live, 5, false), 0);
        assert_eq!(sources.live(), Some(8), "time never goes back");
    }

    #[test]
    fn the_silent_and_the_ended_leave() {
        let mut sources = Sources::default();
        all(&mut sources, stamp("a", Timeline::Live, 10, false), 0);
        all(&mut sources, stamp("b", Timeline::Live, 20, false), 100);
        assert!(!sources.part(100, 50));
        assert_eq!(sources.live(), Some(20));
        sources.hear(Input::Conn, &stamp("b", Timeline::Live, i64::MAX, true), 110);
        sources.hear(Input::Known, &stamp("b", Timeline::Live, i64::MAX, true), 110);
        for log in detect::detector::logs() {
            sources.hear(Input::Log(log), &stamp("b", Timeline::Live, i64::MAX, true), 110);
        }
        assert_eq!(sources.live(), Some(20));
        sources.hear(Input::Notice, &stamp("b", Timeline::Live, i64::MAX, true), 110);
        assert!(sources.part(110, 50));
        let changes = sources.changes();
        assert!(changes.len() == 2 && changes.iter().all(|(_, value)| value.is_none()));
    }

    #[test]
    fn files_wait_for_each_other() {
        let mut sources = Sources::default();
        assert_eq!(sources.files(Some(2)), Files::None);
        all(&mut sources, stamp("a", Timeline::File, 10, false), 0);
        assert_eq!((sources.files(Some(2)), sources.files(None)), (Files::Waiting, Files::Waiting));
        all(&mut sources, stamp("a", Timeline::File, i64::MAX, true), 0);
        assert_eq!((sources.files(Some(2)), sources.files(None)), (Files::Waiting, Files::Ended));
        all(&mut sources, stamp("b", Timeline::File, 30, false), 0);
        assert_eq!((sources.files(Some(2)), sources.files(None)), (Files::At(30), Files::Waiting));
        all(&mut sources, stamp("b", Timeline::File, i64::MAX, true), 0);
        assert_eq!(sources.files(Some(2)), Files::Ended);
        sources.forget_files();
        assert_eq!(sources.files(Some(2)), Files::None);
    }

    #[test]
    fn an_overflow_of_sources_is_refused() {
        let mut sources = Sources::default();
        for n in 0..SOURCES_MAX {
            assert!(sources.hear(Input::Conn, &stamp(&n.to_string(), Timeline::Live, 1, false), 0));
        }
        assert!(!sources.hear(Input::Conn, &stamp("x", Timeline::Live, 1, false), 0));
        assert!(sources.hear(Input::Conn, &stamp("0", Timeline::Live, 1, false), 0));
    }
}
