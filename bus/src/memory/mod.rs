//! The bus of one process: records are handed on by reference, nothing is encoded.
//!
//! It keeps every promise of the bus but that of outliving the process. [`Retain`] says how much it
//! holds on to: a one-process run drops a record as soon as every group that was announced with
//! [`Memory::expect`] has read it, and holds writers up when readers fall behind.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::topic::{self, Topic};
use crate::{Bus, BusError, Lane, MAX_WAKE_RECORDS, Member, Record, Session};

use self::group::{Group, Place};
use self::log::Log;
use self::session::MemorySession;
pub(crate) use self::session::sent;

mod group;
mod log;
mod session;
#[cfg(test)]
mod tests;

/// What the records of one topic may take before a writer waits for readers: some steps of a fast
/// capture, and little beside the flow table.
const TOPIC_BYTES: usize = 64 << 20;

/// How often a writer that waits says so.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retain {
    /// A record until every group announced with [`Memory::expect`] has read it; of compacted topics
    /// the newest of each key. A session cannot be restored to before what was read.
    UntilRead,
    /// Everything.
    UntilCommitted,
}

/// A bus in memory.
#[derive(Clone)]
pub struct Memory(Arc<Shared>);

struct Shared {
    lanes: u32,
    retain: Retain,
    limit: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    logs: BTreeMap<Place, Log>,
    bytes: HashMap<Topic, usize>,
    compacted: BTreeSet<Topic>,
    groups: HashMap<String, Group>,
    expected: BTreeMap<String, Vec<Topic>>,
    /// The session that a member has now.
    epochs: HashMap<(String, String), u64>,
    last_epoch: u64,
    /// Records that a wake brings at most.
    wake_records: usize,
    /// Rises when everybody is to look up; see [`Memory::nudge`].
    nudges: u64,
}

impl Memory {
    /// Every session that waits for records says [`crate::Wake::Idle`] now: somebody has asked its role
    /// for something, such as to drain.
    pub fn nudge(&self) {
        self.0.lock().nudges += 1;
        self.0.changed.notify_all();
    }

    /// A bus with so many lanes.
    pub fn new(lanes: u32, retain: Retain) -> Memory {
        Memory::with_limit(lanes, retain, TOPIC_BYTES)
    }

    /// The same with another limit of bytes a topic.
    pub fn with_limit(lanes: u32, retain: Retain, limit: usize) -> Memory {
        let compacted = topic::compacted();
        let state = State { compacted, wake_records: MAX_WAKE_RECORDS, ..State::default() };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Memory(Arc::new(Shared { lanes, retain, limit, state, changed }))
    }

    /// Announces a group that will read these topics, before anything is written to them: nothing is
    /// dropped that it has not read.
    pub fn expect(&self, group: &str, topics: &[Topic]) {
        self.0.lock().expected.entry(group.to_owned()).or_default().extend_from_slice(topics);
    }

    /// A group that reads no more: nothing is held for it, no writer waits for it.
    pub fn forget(&self, group: &str) {
        let mut state = self.0.lock();
        state.expected.remove(group);
        let places: Vec<Place> = state.logs.keys().cloned().collect();
        for place in &places {
            state.trim(self.0.retain, place);
        }
        drop(state);
        self.0.changed.notify_all();
    }

    /// Hands out no lane of this group before it has so many members, so that a group whose members
    /// start one after another is not assigned anew each time.
    pub fn gather(&self, group: &str, members: usize) {
        self.0.lock().groups.entry(group.to_owned()).or_default().gather = members;
    }

    /// Takes a member's lanes away as if it had been silent for too long.
    pub fn expire(&self, group: &str, node: &str) {
        let lanes = self.0.lanes;
        if let Some(group) = self.0.lock().groups.get_mut(group) {
            group.expire(node, lanes);
        }
        self.0.changed.notify_all();
    }

    /// A session whose lanes stay its own when it ends, until [`Memory::leave`].
    pub(crate) fn open_static(&self, me: &Member) -> MemorySession {
        MemorySession::open(Arc::clone(&self.0), me, true)
    }

    /// A member leaves its group for good.
    pub(crate) fn leave(&self, group: &str, node: &str) {
        if let Some(group) = self.0.lock().groups.get_mut(group) {
            group.leave(node, self.0.lanes);
        }
    }

    /// What one transaction wrote to one partition.
    pub(crate) fn deliver(&self, records: Vec<Record>) {
        let mut state = self.0.lock();
        let Some(place) = records.first().map(|record| (record.topic.clone(), record.lane)) else {
            return;
        };
        records.into_iter().for_each(|record| state.push(record));
        if let Some(log) = state.logs.get_mut(&place) {
            log.end_transaction();
        }
    }

    /// Wakes bring so many records at most from now on.
    pub(crate) fn set_wake_records(&self, most: usize) {
        self.0.lock().wake_records = most.clamp(1, MAX_WAKE_RECORDS);
    }

    /// Retention takes what is before an offset.
    pub(crate) fn cut(&self, topic: &Topic, lane: Lane, before: i64) {
        let mut state = self.0.lock();
        let Some(log) = state.logs.get_mut(&(topic.clone(), lane)) else { return };
        let bytes = log.bytes();
        log.trim(before);
        let freed = bytes - log.bytes();
        if let Some(bytes) = state.bytes.get_mut(topic) {
            *bytes -= freed;
        }
    }

    /// Whether a group has committed these lanes of its topics to their end.
    pub(crate) fn is_behind(&self, me: &Member) -> bool {
        let state = self.0.lock();
        let Some(group) = state.groups.get(&me.group) else { return false };
        let places = me.topics.iter().flat_map(|t| (0..self.0.lanes).map(move |l| (t.clone(), l)));
        places.filter(|(_, lane)| !group.holds(&me.node, *lane)).any(|place| {
            let at = group.committed.get(&place).map_or(0, |(offset, _)| *offset);
            state.logs.get(&place).is_some_and(|log| log.from(at).next().is_some())
        })
    }

    /// The committed records of a topic that are kept, by lane and offset.
    pub fn records(&self, topic: &Topic) -> Vec<Record> {
        let state = self.0.lock();
        let lanes = (0..self.0.lanes).filter_map(|lane| state.logs.get(&(topic.clone(), lane)));
        lanes.flat_map(|log| log.from(0)).cloned().collect()
    }

    /// Bytes that the records of a topic take.
    pub fn retained(&self, topic: &Topic) -> usize {
        self.0.lock().bytes.get(topic).copied().unwrap_or(0)
    }
}

impl Bus for Memory {
    fn open(&self, me: &Member) -> Result<Box<dyn Session>, BusError> {
        let session = MemorySession::open(Arc::clone(&self.0), me, false);
        self.0.changed.notify_all();
        Ok(Box::new(session))
    }

    fn lanes(&self) -> u32 {
        self.0.lanes
    }
}

impl Shared {
    /// A thread that panicked left nothing half done: every change is made in one piece.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, time);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl State {
    /// Drops what nobody needs of a partition.
    fn trim(&mut self, retain: Retain, place: &Place) {
        if retain == Retain::UntilCommitted {
            return;
        }
        let Some(log) = self.logs.get_mut(place) else { return };
        let readers = self.expected.iter().filter(|(_, topics)| topics.contains(&place.0));
        let read = readers
            .map(|(group, _)| self.groups.get(group).and_then(|g| g.read.get(place)).copied())
            .map(Option::unwrap_or_default)
            .min()
            .unwrap_or(log.next());
        let before = log.bytes();
        if self.compacted.contains(&place.0) {
            log.compact(read);
        } else {
            log.trim(read);
        }
        let freed = before - log.bytes();
        if let Some(bytes) = self.bytes.get_mut(&place.0) {
            *bytes -= freed;
        }
    }

    fn push(&mut self, record: Record) {
        let topic = record.topic.clone();
        let log = self.logs.entry((record.topic.clone(), record.lane)).or_default();
        let before = log.bytes();
        log.push(record);
        let added = log.bytes() - before;
        *self.bytes.entry(topic).or_default() += added;
    }

    /// Whether a group that is expected to read this topic has a lane to read it through.
    fn awaited(&self, topic: &Topic) -> Option<&str> {
        let reads = |(_, topics): &(&String, &Vec<Topic>)| topics.contains(topic);
        self.expected.iter().find(reads).map(|(group, _)| group.as_str())
    }

    fn log(&self, topic: &Topic, lane: Lane) -> Option<&Log> {
        self.logs.get(&(topic.clone(), lane))
    }
}
