//! The books: what every role took in and gave out, told on `metrics` in the step that did it, and so lasting
//! if and only if the step is.
//!
//! [`Record`] is what is told; [`Counts`] is what a role adds of its own ([`crate::Step::counts`]). What was
//! read and what is sent is counted here, for all roles alike, from the records of wakes and steps
//! ([`Books`]; [`crate::drive`] keeps them). [`ledger`] adds records up and says where they do not balance.
//!
//! A record on `metrics`, as JSON under the key of its node (parts that are empty are left out):
//!
//! ```json
//! {"group": "aggregate", "node": "a0", "run": 1764100000000, "step": 17, "at_ms": 1764100031234,
//!  "weir": "0.1.0", "lanes": [0, 1], "facts": {"policy": "3"},
//!  "in":   {"raw.conn": {"0": [40, 52, 11, 9120]}},
//!  "out":  {"log.conn": {"0": [11, 9120]}},
//!  "dead": {"raw.conn": {"0": [1, 0]}},
//!  "counts": {"merged.notice": 2, "open.notice": -1},
//!  "files": [[7, "conn", 9120]], "end": true}
//! ```
//!
//! - `group` and `node`: the member ([`crate::Member`]). `run`: when its process began, by its clock; `step`
//!   counts from 1 in it. Steps that were not committed leave holes.
//! - `in`: by topic and partition: offsets from and to (the one after the last) that this step is done with,
//!   records and rows between. Ranges of a group follow each other; what is read again after a restart is not
//!   counted again.
//! - `out`: records and rows sent, without punctuation and state. `dead`: those of `out` that are dead letters, by
//!   where they were read.
//! - `counts`: see [`Counts`]. `files`: those a sink committed: counter, stream, rows.
//! - A role that has nothing to commit tells of itself every [`HEARTBEAT_MS`]; `end` is its last word.
//!
//! Every record with rows has the header `by`: group, node, run and step of who wrote it ([`By`]), so that an audit
//! knows whose rows are missing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Lane, Member, Outgoing, Payload, Record as Read, Step, Topic, topic};

pub mod ledger;
#[cfg(test)]
mod tests;

/// How long a role without a step to commit is silent, milliseconds.
pub const HEARTBEAT_MS: i64 = 5_000;

/// The header that names the writer of a record.
pub const BY: &str = "by";

/// What a role counts of its own, a step at a time; all are added up.
///
/// Names are flat, with the stream last: `packets`, `kernel_drops`, `not_ip`, `undecodable`, `bad_checksums`,
/// `fragments`, `in_flows` and others of capture's; `made.STREAM` rows made, `dropped.REASON.STREAM` rows that were
/// made and not sent; `merged.STREAM` rows that became part of another, `open.STREAM` rows that wait (more
/// or less than before the step), `found.STREAM` rows that a role made of its own, `held_back.STREAM` rows that it
/// kept to itself; and what went before its time or was refused (`early`, `hurried`, `significance_lost`, `policy_refused` and
/// others), which `weir status` tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counts(pub BTreeMap<Cow<'static, str>, i64>);

impl Counts {
    /// Adds to a count; nothing is not told.
    pub fn add(&mut self, name: impl Into<Cow<'static, str>>, by: i64) {
        if by != 0 {
            let count = self.0.entry(name.into()).or_default();
            *count = count.saturating_add(by);
        }
    }

    /// Adds what was counted elsewhere.
    pub fn add_all(&mut self, more: &Counts) {
        more.0.iter().for_each(|(name, by)| self.add(name.clone(), *by));
    }

    /// A count; 0 where there is none.
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A file that a sink committed: its counter, stream and rows.
pub type File = (u64, String, u64);

/// A stretch of a partition that is done with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(i64, i64, u64, u64)", into = "(i64, i64, u64, u64)")]
pub struct Range {
    /// The first offset.
    pub from: i64,
    /// The one after the last.
    pub to: i64,
    /// Records in it, punctuation included.
    pub records: u64,
    /// Their rows, as far as they could be read.
    pub rows: u64,
}

impl From<(i64, i64, u64, u64)> for Range {
    fn from((from, to, records, rows): (i64, i64, u64, u64)) -> Range {
        Range { from, to, records, rows }
    }
}

impl From<Range> for (i64, i64, u64, u64) {
    fn from(Range { from, to, records, rows }: Range) -> Self {
        (from, to, records, rows)
    }
}

/// Records and rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub struct Sum {
    /// Records.
    pub records: u64,
    /// Their rows.
    pub rows: u64,
}

impl From<(u64, u64)> for Sum {
    fn from((records, rows): (u64, u64)) -> Sum {
        Sum { records, rows }
    }
}

impl From<Sum> for (u64, u64) {
    fn from(Sum { records, rows }: Sum) -> Self {
        (records, rows)
    }
}

impl Sum {
    fn add(&mut self, rows: u64) {
        self.records += 1;
        self.rows += rows;
    }
}

/// Something by topic and partition.
pub type Places<T> = BTreeMap<String, BTreeMap<Lane, T>>;

/// What a step tells on `metrics`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The role, as a group is called: `capture`, `aggregate`, `manager`, `sink.parquet`.
    pub group: String,
    /// The node.
    pub node: String,
    /// When its process began, milliseconds by its clock.
    pub run: i64,
    /// Which step of the process this is, from 1.
    pub step: u64,
    /// When it was made, milliseconds by the node's clock.
    pub at_ms: i64,
    /// The version of the software.
    pub weir: String,
    /// Lanes that it holds.
    pub lanes: Vec<Lane>,
    /// What else the role says of itself, such as the version of the policy that it follows.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
    /// What the step is done with, by topic and partition.
    #[serde(rename = "in", skip_serializing_if = "BTreeMap::is_empty")]
    pub input: Places<Range>,
    /// What it sent.
    #[serde(rename = "out", skip_serializing_if = "BTreeMap::is_empty")]
    pub output: Places<Sum>,
    /// Its dead letters by where they were read.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dead: Places<Sum>,
    /// What the role counted.
    #[serde(skip_serializing_if = "Counts::is_empty")]
    pub counts: Counts,
    /// Files that it committed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<File>,
    /// The process ends in good order.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub end: bool,
}

/// Who wrote a record, and in which step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// Group.
    pub group: String,
    /// Node.
    pub node: String,
    /// When its process began.
    pub run: i64,
    /// The step.
    pub step: u64,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A node may be called anything, so that it comes last.
        write!(f, "{} {} {} {}", self.group, self.run, self.step, self.node)
    }
}

impl FromStr for By {
    type Err = ();

    fn from_str(text: &str) -> Result<By, ()> {
        let mut parts = text.splitn(4, ' ');
        let mut next = || parts.next().ok_or(());
        Ok(By {
            group: next()?.to_owned(),
            run: next()?.parse().map_err(drop)?,
            step: next()?.parse().map_err(drop)?,
            node: next()?.to_owned(),
        })
    }
}

/// What was read of a partition and is not committed yet.
#[derive(Debug, Default)]
struct Pending {
    /// Up to where it is counted; unknown before the first record.
    at: Option<i64>,
    /// After the last record read.
    next: i64,
    records: u64,
    rows: u64,
}

/// The books of one member.
#[derive(Debug)]
pub(crate) struct Books {
    me: Member,
    run: i64,
    step: u64,
    pending: BTreeMap<(Topic, Lane), Pending>,
    /// When it told of itself last.
    told_ms: Option<i64>,
}

impl Books {
    pub(crate) fn new(me: &Member) -> Books {
        Books { me: me.clone(), run: 0, step: 0, pending: BTreeMap::new(), told_ms: None }
    }

    /// A session begins: what was read and not committed is void.
    pub(crate) fn opened(&mut self) {
        self.pending.clear();
    }

    /// A lane is read from where it was used up to; `used` has the partitions that were ever committed.
    pub(crate) fn restored(&mut self, lane: Lane, used: Vec<(Topic, i64)>) {
        self.forget(&[lane]);
        // Who holds a lane now is news.
        self.told_ms = None;
        for (topic, at) in used {
            let pending = Pending { at: Some(at), next: at, ..Pending::default() };
            self.pending.insert((topic, lane), pending);
        }
    }

    pub(crate) fn forget(&mut self, lanes: &[Lane]) {
        self.pending.retain(|(_, lane), _| !lanes.contains(lane));
    }

    pub(crate) fn read(&mut self, records: &[Read]) {
        for record in records {
            let place = (record.topic.clone(), record.lane);
            let pending = self.pending.entry(place).or_default();
            let at = *pending.at.get_or_insert(record.offset);
            if record.offset < at {
                continue; // read again, to rebuild what is open
            }
            pending.next = record.offset.saturating_add(1);
            pending.records += 1;
            pending.rows += rows(&record.payload);
        }
    }

    /// Whether it has been silent for so long that it should say that it is there.
    pub(crate) fn is_due(&self, now_ms: i64) -> bool {
        self.told_ms.is_none_or(|told| now_ms < told || now_ms - told >= HEARTBEAT_MS)
    }

    /// Adds to a step what it comes to. `used` says of each of its positions up to where input is done with.
    pub(crate) fn close(&mut self, step: &mut Step, used: &[i64], told: Told) {
        if self.step == 0 {
            self.run = told.now_ms;
        }
        self.step += 1;
        self.told_ms = Some(told.now_ms);
        let mut record = Record {
            group: self.me.group.clone(),
            node: self.me.node.clone(),
            run: self.run,
            step: self.step,
            at_ms: told.now_ms,
            weir: env!("CARGO_PKG_VERSION").to_owned(),
            lanes: told.held,
            facts: told.facts,
            counts: std::mem::take(&mut step.counts),
            files: std::mem::take(&mut step.files),
            end: told.end,
            ..Record::default()
        };
        for (position, &used) in step.positions.iter().zip(used) {
            let place = (position.topic.clone(), position.lane);
            let Some(range) = self.pending.get_mut(&place).and_then(|p| p.take(used)) else {
                continue;
            };
            let of_topic = record.input.entry(position.topic.0.to_string()).or_default();
            of_topic.insert(position.lane, range);
        }
        let Record { group, node, run, step: number, .. } = &record;
        let by = By { group: group.clone(), node: node.clone(), run: *run, step: *number };
        let by = by.to_string();
        for out in &mut step.out {
            if matches!(out.payload, Payload::Empty) {
                continue;
            }
            let rows = rows(&out.payload);
            let of_topic = record.output.entry(out.topic.0.to_string()).or_default();
            of_topic.entry(out.lane).or_default().add(rows);
            if let Some((topic, lane)) = self.read_from(out) {
                record.dead.entry(topic).or_default().entry(lane).or_default().add(rows);
            }
            if matches!(out.payload, Payload::Rows(..)) {
                out.headers.push((BY.to_owned(), by.clone()));
            }
        }
        let key = Bytes::from(self.me.node.clone());
        let lane = model::id::partition(&key, told.lanes);
        // Text and numbers always have a JSON form.
        let json = Bytes::from(serde_json::to_vec(&record).unwrap_or_default());
        step.out.push(Outgoing::document(topic::METRICS, lane, key, Some(json)));
    }

    /// Where a dead letter was read.
    fn read_from(&self, out: &Outgoing) -> Option<(String, Lane)> {
        if out.topic != topic::DEADLETTER {
            return None;
        }
        let header = |name| out.headers.iter().find(|(n, _)| n == name).map(|(_, text)| text);
        let full = header("__connect.errors.topic")?;
        let lane = header("__connect.errors.partition")?.parse().ok()?;
        // The letter has the name with the prefix, which is the broker's business alone.
        let ends = |topic: &&Topic| full.strip_suffix(&*topic.0).is_some_and(|p| p.ends_with('.'));
        let topic = self.me.topics.iter().filter(ends).max_by_key(|topic| topic.0.len())?;
        Some((topic.0.to_string(), lane))
    }
}

/// What a record says beside what was counted.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) now_ms: i64,
    /// Partitions of a topic.
    pub(crate) lanes: u32,
    pub(crate) held: Vec<Lane>,
    pub(crate) facts: BTreeMap<String, String>,
    pub(crate) end: bool,
}

impl Pending {
    /// What is done with at a position. A position covers all that was read of its partition; one in the middle
    /// is counted when a later one has passed it.
    fn take(&mut self, used: i64) -> Option<Range> {
        let at = self.at?;
        if used < self.next || used <= at {
            return None;
        }
        let range = Range { from: at, to: used, records: self.records, rows: self.rows };
        *self = Pending { at: Some(used), next: used, ..Pending::default() };
        Some(range)
    }
}

fn rows(payload: &Payload) -> u64 {
    match payload {
        Payload::Rows(_, rows) => rows.num_rows() as u64,
        _ => 0,
    }
}
