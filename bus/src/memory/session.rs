//! A member's session on the memory bus.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::newest::Newest;
use crate::topic::Topic;
use crate::{
    BusError, Gap, Lane, MAX_WAKE_BYTES, Member, Outgoing, Payload, Position, Record, Session,
    Step, Wake,
};

use super::log::Log;
use super::{Retain, SAY_EVERY, Shared, State};

/// Where reading of a partition is.
struct Cursor {
    next: i64,
    /// The end was told, and nothing came since.
    ended: bool,
}

/// A session.
pub(crate) struct MemorySession {
    shared: Arc<Shared>,
    me: Member,
    epoch: u64,
    reading: BTreeMap<(Lane, Topic), Cursor>,
    /// Where the last wake stopped, so that no partition starves another.
    after: Option<(Lane, Topic)>,
    told_home: bool,
    /// Nudges taken note of.
    nudges: u64,
    /// Its lanes stay its own when the session ends, until somebody takes them away.
    is_static: bool,
    /// What was found to be gone.
    gaps: Vec<Gap>,
    /// Where the lanes of topics of documents ended when they were read.
    documents_end: BTreeMap<Topic, Vec<i64>>,
}

impl MemorySession {
    pub(super) fn open(shared: Arc<Shared>, me: &Member, is_static: bool) -> MemorySession {
        let mut state = shared.lock();
        state.last_epoch += 1;
        let epoch = state.last_epoch;
        // A session that this member has is fenced by the new number.
        state.epochs.insert((me.group.clone(), me.node.clone()), epoch);
        state.compacted.extend(me.state.clone());
        if !me.topics.is_empty() {
            let group = state.groups.entry(me.group.clone()).or_default();
            match is_static {
                true => group.rejoin(&me.node, shared.lanes),
                false => group.join(&me.node, shared.lanes),
            }
        }
        let nudges = state.nudges;
        drop(state);
        MemorySession {
            shared,
            me: me.clone(),
            epoch,
            reading: BTreeMap::new(),
            after: None,
            told_home: false,
            nudges,
            is_static,
            gaps: Vec::new(),
            documents_end: BTreeMap::new(),
        }
    }

    /// Where each lane of a topic ends.
    fn ends(&self, state: &State, topic: &Topic) -> Vec<i64> {
        let end = |lane| state.log(topic, lane).map_or(0, Log::next);
        (0..self.shared.lanes).map(end).collect()
    }

    fn current(&self, state: &State) -> bool {
        let key = (self.me.group.clone(), self.me.node.clone());
        state.epochs.get(&key) == Some(&self.epoch)
    }

    fn alive(&self, state: &State) -> Result<(), BusError> {
        if self.current(state) {
            return Ok(());
        }
        Err(BusError::Session(format!("{}: another session was opened", self.me.name())))
    }

    /// What the group has to say.
    fn turn(&mut self, state: &mut State) -> Option<Wake> {
        if self.me.topics.is_empty() {
            let told = std::mem::replace(&mut self.told_home, true);
            return (!told).then(|| Wake::Assigned(self.me.home.clone()));
        }
        let group = state.groups.get_mut(&self.me.group)?;
        let wake = group.turn(&self.me.node, self.shared.lanes);
        self.reading.retain(|(lane, _), _| group.holds(&self.me.node, *lane));
        if wake.is_some() {
            self.shared.changed.notify_all();
        }
        wake
    }

    /// Records that wait, from the partition after the last one served on.
    fn collect(&mut self, state: &mut State) -> Vec<Record> {
        let start = self.after.take();
        let mut places: Vec<(Lane, Topic)> = self.reading.keys().cloned().collect();
        if let Some(start) = start {
            let first = places.partition_point(|place| *place <= start);
            places.rotate_left(first);
        }
        let (mut found, mut bytes) = (Vec::new(), 0);
        for (lane, topic) in places {
            let Some(cursor) = self.reading.get_mut(&(lane, topic.clone())) else { continue };
            let Some(log) = state.log(&topic, lane) else { continue };
            let before = found.len();
            for record in log.from(cursor.next) {
                if found.len() >= state.wake_records || bytes >= MAX_WAKE_BYTES {
                    break;
                }
                bytes += record.payload.size();
                cursor.next = record.offset + 1;
                cursor.ended = false;
                found.push(record.clone());
            }
            if found.len() > before {
                self.note_read(state, lane, &topic);
                self.after = Some((lane, topic));
            }
        }
        found.sort_by(|a, b| (a.lane, &a.topic, a.offset).cmp(&(b.lane, &b.topic, b.offset)));
        found
    }

    fn note_read(&self, state: &mut State, lane: Lane, topic: &Topic) {
        let Some(cursor) = self.reading.get(&(lane, topic.clone())) else { return };
        let Some(group) = state.groups.get_mut(&self.me.group) else { return };
        let place = (topic.clone(), lane);
        let read = group.read.entry(place.clone()).or_default();
        *read = cursor.next.max(*read);
        state.trim(self.shared.retain, &place);
        self.shared.changed.notify_all();
    }

    fn end(&mut self) -> Option<Wake> {
        let ((lane, topic), cursor) = self.reading.iter_mut().find(|(_, cursor)| !cursor.ended)?;
        cursor.ended = true;
        Some(Wake::End(topic.clone(), *lane))
    }

    /// Where to begin in a partition: `None` if it was never committed.
    fn committed(&self, state: &State, lane: Lane, topic: &Topic) -> Option<Position> {
        let place = (topic.clone(), lane);
        let group = state.groups.get(&self.me.group)?;
        let (offset, metadata) = group.committed.get(&place)?;
        Some(Position { topic: topic.clone(), lane, offset: *offset, metadata: metadata.clone() })
    }

    /// Where reading begins, or why it cannot.
    fn begin(&self, state: &State, lane: Lane, topic: &Topic, at: i64) -> Result<i64, BusError> {
        let trimmed = state.log(topic, lane).map_or(0, Log::trimmed);
        let expected = state.expected.get(&self.me.group).is_some_and(|t| t.contains(topic));
        if at >= trimmed {
            return Ok(at);
        }
        if !expected {
            return Ok(trimmed);
        }
        Err(BusError::Fatal(format!(
            "{}: {topic}[{lane}] was read to {trimmed} and dropped, and is to be read from {at}: \
             a run in one process cannot go back; use Kafka to survive restarts of a role",
            self.me.name()
        )))
    }

    /// Waits until readers have caught up with the topics that this step writes to.
    fn admit<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        step: &Step,
    ) -> Result<MutexGuard<'a, State>, BusError> {
        if self.shared.retain == Retain::UntilCommitted {
            return Ok(state);
        }
        let mut said = Instant::now();
        loop {
            self.alive(&state)?;
            let full = step.out.iter().find_map(|out| {
                let bytes = state.bytes.get(&out.topic).copied().unwrap_or(0);
                // A reader that waits for itself would wait for good.
                if bytes < self.shared.limit || self.me.topics.contains(&out.topic) {
                    return None;
                }
                Some((out.topic.clone(), state.awaited(&out.topic)?.to_owned()))
            });
            let Some((topic, reader)) = full else { return Ok(state) };
            if said.elapsed() >= SAY_EVERY {
                said = Instant::now();
                tracing::warn!(writer = self.me.name(), %topic, reader, "waiting for the reader");
            }
            state = self.shared.wait(state, SAY_EVERY);
        }
    }

    fn owns(&self, state: &State, step: &Step) -> Result<(), BusError> {
        self.alive(state)?;
        if self.me.topics.is_empty() {
            return Ok(());
        }
        let Some(group) = state.groups.get(&self.me.group) else { return Ok(()) };
        if group.lost(&self.me.node) {
            return Err(BusError::Session(format!("{}: its lanes were lost", self.me.name())));
        }
        let positions = step.positions.iter().map(|position| position.lane);
        let lanes = step.state.iter().map(|change| change.lane).chain(positions);
        for lane in lanes {
            if !group.holds(&self.me.node, lane) {
                let name = self.me.name();
                return Err(BusError::Session(format!("{name}: lane {lane} is not its own")));
            }
        }
        Ok(())
    }

    fn apply(&self, state: &mut State, step: Step) {
        let mut touched = BTreeSet::new();
        let changes = step.state.into_iter().map(|change| (self.me.state.clone(), change));
        let changes = changes.filter_map(|(topic, change)| {
            let payload = change.value.map_or(Payload::Empty, Payload::Bytes);
            let (lane, key) = (change.lane, Some(change.key));
            Some(Record { topic: topic?, lane, offset: 0, key, payload, stamp: None, packed: None })
        });
        for record in step.out.into_iter().map(sent).chain(changes) {
            touched.insert((record.topic.clone(), record.lane));
            state.push(record);
        }
        for place in touched {
            if let Some(log) = state.logs.get_mut(&place) {
                log.end_transaction();
            }
            state.trim(self.shared.retain, &place);
        }
        let Some(group) = state.groups.get_mut(&self.me.group) else { return };
        for position in step.positions {
            let place = (position.topic, position.lane);
            group.committed.insert(place, (position.offset, position.metadata));
        }
    }
}

/// What is sent as it is read; its offset comes with its place in the log.
pub(crate) fn sent(out: Outgoing) -> Record {
    // As on Kafka: bytes that were bad to somebody are bytes to the reader of dead letters.
    let payload = match out.payload {
        Payload::Bad(bytes, _) => Payload::Bytes(bytes),
        payload => payload,
    };
    let Outgoing { topic, lane, key, stamp, .. } = out;
    Record { topic, lane, offset: 0, key, payload, stamp, packed: None }
}

impl Session for MemorySession {
    fn next(&mut self, wait: Duration) -> Result<Wake, BusError> {
        let until = Instant::now() + wait;
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            self.alive(&state)?;
            if let Some(wake) = self.turn(&mut state) {
                return Ok(wake);
            }
            let records = self.collect(&mut state);
            if !records.is_empty() {
                return Ok(Wake::Records(records));
            }
            if let Some(wake) = self.end() {
                return Ok(wake);
            }
            let nudged = std::mem::replace(&mut self.nudges, state.nudges) != state.nudges;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || nudged {
                return Ok(Wake::Idle);
            }
            state = shared.wait(state, left);
        }
    }

    fn restore(
        &mut self,
        lane: Lane,
        each: &mut dyn FnMut(Bytes, Bytes),
    ) -> Result<Vec<Position>, BusError> {
        let shared = Arc::clone(&self.shared);
        let state = shared.lock();
        self.alive(&state)?;
        let group = state.groups.get(&self.me.group);
        if group.is_some_and(|group| !group.holds(&self.me.node, lane)) {
            let name = self.me.name();
            return Err(BusError::Session(format!("{name}: lane {lane} is not its own")));
        }
        let mut positions = Vec::new();
        for topic in &self.me.topics {
            let mut committed = self.committed(&state, lane, topic);
            let at = committed.as_ref().map_or(0, |position| position.offset);
            let next = self.begin(&state, lane, topic, at)?;
            if let Some(position) = &mut committed
                && next > at
            {
                position.offset = next;
                self.gaps.push(Gap { topic: topic.clone(), lane, from: at, to: next });
            }
            self.reading.insert((lane, topic.clone()), Cursor { next, ended: false });
            positions.extend(committed);
        }
        let log = self.me.state.as_ref().and_then(|topic| state.log(topic, lane));
        let found = log.map(Log::newest).unwrap_or_default();
        drop(state); // `each` is the caller's: it must not hold everybody up
        found.into_pairs().for_each(|(key, value)| each(key, value));
        Ok(positions)
    }

    fn gaps(&mut self) -> Vec<Gap> {
        std::mem::take(&mut self.gaps)
    }

    fn stood(&mut self, position: &mut Position) -> Result<Option<Gap>, BusError> {
        let shared = Arc::clone(&self.shared);
        let state = shared.lock();
        let log = state.log(&position.topic, position.lane);
        let (first, end) = log.map_or((0, 0), |log| (log.trimmed(), log.next()));
        let gap = position.kept(first, end, || self.me.name())?;
        position.offset = position.offset.max(first);
        if let Some(cursor) = self.reading.get_mut(&(position.lane, position.topic.clone())) {
            cursor.next = position.offset;
        }
        Ok(gap)
    }

    fn settled(&mut self) -> Result<bool, BusError> {
        let state = self.shared.lock();
        self.alive(&state)?;
        let unread = |((lane, topic), cursor): (&(Lane, Topic), &Cursor)| {
            state.log(topic, *lane).is_some_and(|log| log.from(cursor.next).next().is_some())
        };
        Ok(!self.reading.iter().any(unread))
    }

    fn documents(
        &mut self,
        topic: &Topic,
        each: &mut dyn FnMut(Bytes, Bytes),
    ) -> Result<(), BusError> {
        let shared = Arc::clone(&self.shared);
        let state = shared.lock();
        self.alive(&state)?;
        let ends = self.ends(&state, topic);
        self.documents_end.insert(topic.clone(), ends);
        let logs = (0..self.shared.lanes).filter_map(|lane| state.log(topic, lane));
        let found: Vec<_> = logs.map(Log::newest).collect();
        drop(state);
        found.into_iter().flat_map(Newest::into_pairs).for_each(|(key, value)| each(key, value));
        Ok(())
    }

    fn documents_changed(&mut self, topic: &Topic) -> Result<bool, BusError> {
        let state = self.shared.lock();
        self.alive(&state)?;
        Ok(self.documents_end.get(topic) != Some(&self.ends(&state, topic)))
    }

    fn commit(self: Box<Self>, step: Step) -> Result<Box<dyn Session>, BusError> {
        self.me.check(&step, self.shared.lanes)?;
        let mut state = self.admit(self.shared.lock(), &step)?;
        self.owns(&state, &step)?;
        self.apply(&mut state, step);
        drop(state);
        self.shared.changed.notify_all();
        Ok(self)
    }
}

impl Drop for MemorySession {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if !self.current(&state) {
            return;
        }
        state.epochs.remove(&(self.me.group.clone(), self.me.node.clone()));
        if let Some(group) = state.groups.get_mut(&self.me.group)
            && !self.is_static
        {
            group.leave(&self.me.node, self.shared.lanes);
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}
