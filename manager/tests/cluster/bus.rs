//! A bus for tests in which every commit and every crash is chosen by hand: topics are vectors, a
//! step is applied whole or not at all.

use std::collections::BTreeMap;
use std::time::Duration;

use bus::books::Counts;
use bus::{
    BusError, Lane, Member, Outgoing, Payload, Position, Record, Restored, Role, Session, Step,
    Topic, Wake,
};
use bytes::Bytes;

/// Topics, positions and state.
#[derive(Default)]
pub struct Fake {
    pub lanes: u32,
    topics: BTreeMap<(Topic, Lane), Vec<Record>>,
    positions: BTreeMap<(String, Topic, Lane), Position>,
    state: BTreeMap<(String, Lane), Vec<(Bytes, Bytes)>>,
    /// What steps told of themselves.
    pub counts: Counts,
}

impl Fake {
    pub fn new(lanes: u32) -> Fake {
        Fake { lanes, ..Fake::default() }
    }

    pub fn put(&mut self, out: Outgoing) {
        assert!(out.lane < self.lanes, "{}[{}]", out.topic, out.lane);
        let Outgoing { topic, lane, key, payload, stamp, .. } = out;
        let records = self.topics.entry((topic.clone(), lane)).or_default();
        // Transactions leave holes between offsets.
        let offset = records.last().map_or(3, |last| last.offset + 1 + last.offset % 2);
        records.push(Record { topic, lane, offset, key, payload, stamp, packed: None });
    }

    pub fn apply(&mut self, me: &Member, step: Step) {
        me.check(&step, self.lanes).unwrap();
        self.counts.add_all(&step.counts);
        for out in step.out {
            self.put(out);
        }
        for change in step.state {
            let state = self.state.entry((me.group.clone(), change.lane)).or_default();
            let at = state.iter().position(|(key, _)| *key == change.key);
            match (at, change.value) {
                (Some(at), Some(value)) => state[at].1 = value,
                (Some(at), None) => drop(state.remove(at)),
                (None, Some(value)) => state.push((change.key, value)),
                (None, None) => {}
            }
        }
        for position in step.positions {
            let key = (me.group.clone(), position.topic.clone(), position.lane);
            self.positions.insert(key, position);
        }
    }

    pub fn state(&self, group: &str) -> Vec<String> {
        let of = self.state.iter().filter(|((g, _), _)| g == group);
        // Where it stands is never forgotten.
        of.flat_map(|(_, items)| items)
            .filter(|(key, _)| !bus::stand::is_one(key))
            .map(|(key, value)| {
                format!("{} {}", String::from_utf8_lossy(key), String::from_utf8_lossy(value))
            })
            .collect()
    }

    /// All rows of a topic, cell by cell as `of` gives them, sorted.
    pub fn rows(
        &self,
        topic: &Topic,
        of: fn(&arrow_array::RecordBatch, usize) -> String,
    ) -> Vec<String> {
        let mut rows = Vec::new();
        for ((_, _), records) in self.topics.iter().filter(|((t, _), _)| t == topic) {
            for record in records {
                if let Payload::Rows(_, batch) = &record.payload {
                    rows.extend((0..batch.num_rows()).map(|row| of(batch, row)));
                }
            }
        }
        rows.sort();
        rows
    }

    pub fn count(&self, topic: &Topic) -> usize {
        self.topics.iter().filter(|((t, _), _)| t == topic).map(|(_, records)| records.len()).sum()
    }

    /// What was written to a topic, in order by lane.
    pub fn outgoing(&self, topic: &Topic) -> Vec<Outgoing> {
        let records = self.topics.iter().filter(|((of, _), _)| of == topic);
        let again = |record: &Record| {
            let mut out = Outgoing::document(topic.clone(), record.lane, Bytes::new(), None);
            (out.key, out.payload) = (record.key.clone(), record.payload.clone());
            out.stamp = record.stamp.clone();
            out
        };
        records.flat_map(|(_, records)| records).map(again).collect()
    }

    /// Keys and texts on a topic of documents, in order of writing by lane.
    pub fn documents(&self, topic: &Topic) -> Vec<(Bytes, Bytes)> {
        let records = self.topics.iter().filter(|((of, _), _)| of == topic);
        let pair = |record: &Record| match &record.payload {
            Payload::Bytes(bytes) => Some((record.key.clone()?, bytes.clone())),
            _ => None,
        };
        records.flat_map(|(_, records)| records).filter_map(pair).collect()
    }

    pub fn read(&self, topic: &Topic, lane: Lane, from: i64, most: usize) -> Vec<Record> {
        let Some(records) = self.topics.get(&(topic.clone(), lane)) else { return Vec::new() };
        records.iter().filter(|record| record.offset >= from).take(most).cloned().collect()
    }

    fn restored(&self, me: &Member, lane: Lane) -> Restored {
        let position =
            |topic: &Topic| self.positions.get(&(me.group.clone(), topic.clone(), lane)).cloned();
        let state = self.state.get(&(me.group.clone(), lane)).cloned().unwrap_or_default();
        let positions = me.topics.iter().filter_map(position).collect();
        Restored { positions, state, ..Restored::default() }
    }
}

/// A session of which nothing is asked.
struct Nothing;

impl Session for Nothing {
    fn next(&mut self, _: Duration) -> Result<Wake, BusError> {
        Err(BusError::Fatal("not this way".into()))
    }
    fn restore(
        &mut self,
        _: Lane,
        _: &mut dyn FnMut(Bytes, Bytes),
    ) -> Result<Vec<Position>, BusError> {
        Err(BusError::Fatal("not this way".into()))
    }
    fn documents(&mut self, _: &Topic, _: &mut dyn FnMut(Bytes, Bytes)) -> Result<(), BusError> {
        Ok(())
    }
    fn documents_changed(&mut self, _: &Topic) -> Result<bool, BusError> {
        Ok(false)
    }
    fn commit(self: Box<Self>, _: Step) -> Result<Box<dyn Session>, BusError> {
        Err(BusError::Fatal("not this way".into()))
    }
}

/// A member that runs a role.
pub struct Run<R> {
    pub role: R,
    pub me: Member,
    lanes: Vec<Lane>,
    next: BTreeMap<(Topic, Lane), i64>,
    /// The next step is lost: the member dies before it is committed.
    pub dies: bool,
}

impl<R: Role> Run<R> {
    pub fn new(role: R, me: Member, fake: &Fake) -> Run<R> {
        let lanes = (0..fake.lanes).collect();
        let mut run = Run { role, me, lanes, next: BTreeMap::new(), dies: false };
        run.restart(fake);
        run
    }

    /// All that was not committed is gone.
    pub fn restart(&mut self, fake: &Fake) {
        self.dies = false;
        self.next.clear();
        self.role.opened(&mut Nothing).unwrap();
        let lanes = std::mem::take(&mut self.lanes);
        self.assign(&lanes, fake);
    }

    pub fn assign(&mut self, lanes: &[Lane], fake: &Fake) {
        for &lane in lanes {
            let restored = fake.restored(&self.me, lane);
            // Its own books say the same as the group's.
            let (mut stood, mut group) =
                (self.role.stood(lane, &restored.state), restored.positions.clone());
            stood.sort_by(|a, b| a.topic.cmp(&b.topic));
            group.sort_by(|a, b| a.topic.cmp(&b.topic));
            assert_eq!(stood, group);
            for position in &restored.positions {
                self.next.insert((position.topic.clone(), lane), position.offset);
            }
            self.role.restored(lane, restored).unwrap();
            self.lanes.push(lane);
        }
        assert!(self.role.on(Wake::Assigned(lanes.to_vec()), 0).unwrap().is_none());
    }

    /// Gives lanes up.
    pub fn revoke(&mut self, lanes: &[Lane], fake: &mut Fake, now_ms: i64) {
        self.wake(Wake::Revoked(lanes.to_vec()), fake, now_ms);
        self.lanes.retain(|lane| !lanes.contains(lane));
        self.next.retain(|(_, lane), _| !lanes.contains(lane));
    }

    pub fn wake(&mut self, wake: Wake, fake: &mut Fake, now_ms: i64) {
        let Some(step) = self.role.on(wake, now_ms).unwrap() else { return };
        if self.dies {
            self.restart(fake);
            return;
        }
        fake.apply(&self.me, step);
        self.role.committed().unwrap();
    }

    /// Reads up to `most` records of one partition, chosen by `pick`. False if it is at its end.
    pub fn read(&mut self, pick: usize, most: usize, fake: &mut Fake, now_ms: i64) -> bool {
        if self.lanes.is_empty() {
            return false;
        }
        let lane = self.lanes[pick % self.lanes.len()];
        let topic = self.me.topics[pick / self.lanes.len() % self.me.topics.len()].clone();
        let next = self.next.entry((topic.clone(), lane)).or_insert(0);
        let records = fake.read(&topic, lane, *next, most);
        let Some(last) = records.last() else {
            self.wake(Wake::End(topic, lane), fake, now_ms);
            return false;
        };
        *next = last.offset + 1;
        self.wake(Wake::Records(records), fake, now_ms);
        true
    }

    /// Reads all there is, and idles.
    pub fn catch_up(&mut self, fake: &mut Fake, now_ms: i64) {
        let partitions = self.lanes.len() * self.me.topics.len();
        while (0..partitions).filter(|pick| self.read(*pick, 7, fake, now_ms)).count() > 0 {}
        self.wake(Wake::Idle, fake, now_ms);
    }
}
