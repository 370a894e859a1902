//! Reading partitions whole, outside of any group: state, documents, and whether there is more.

use std::collections::BTreeSet;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rdkafka::consumer::Consumer;

use super::Shared;
use super::client::Role;
use super::ends::{Offsets, Partition};
use super::guard::Kept;
use super::inputs::{Inputs, Reader, Start, reader};
use crate::newest::Newest;
use crate::{BusError, Lane, Topic};

/// How long the broker may leave a reader without a record or an end.
pub(super) const SILENCE: Duration = Duration::from_secs(30);

/// How long what was committed a moment ago takes to be seen.
const SOON: Duration = Duration::from_secs(3);

/// One reading of some partitions. The process has one consumer for all of them, one after another:
/// making one takes most of a second.
pub(super) struct Visit<'a> {
    // Before the consumer: its queues hold it too.
    pub(super) inputs: Inputs,
    consumer: Kept<Arc<Reader>>,
    home: MutexGuard<'a, Option<Kept<Arc<Reader>>>>,
}

impl<'a> Visit<'a> {
    pub(super) fn begin(shared: &'a Shared, starts: Vec<Start>) -> Result<Visit<'a>, BusError> {
        let mut home = shared.visitor.lock().unwrap_or_else(PoisonError::into_inner);
        let consumer = match home.take() {
            Some(consumer) => consumer,
            None => reader(&shared.config, Role::Reads)?,
        };
        let inputs = Inputs::assign(&shared.config, &consumer, starts)?;
        Ok(Visit { inputs, consumer, home })
    }

    /// Waits a little for more.
    pub(super) fn serve(&self) {
        while self.consumer.poll(Duration::ZERO).is_some() {} // connections lost and found
        self.consumer.context().bell().wait(Duration::from_millis(50));
    }

    /// Gives the consumer back for the next reading; one that failed is not kept.
    pub(super) fn end(mut self) {
        self.inputs = Inputs::default();
        if self.consumer.unassign().is_ok() {
            *self.home = Some(self.consumer);
        }
    }
}

/// Where a reading of a topic begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// At the oldest record that is kept.
    Beginning,
    /// Behind what is committed now.
    Now,
    /// At the first record that the broker took at this time or later, milliseconds.
    Time(i64),
}

impl super::Kafka {
    /// Reads what is committed to a topic, all lanes as they come, outside of any group: nobody's position
    /// moves. `each` is given a record, or nothing while there is none; it says whether to go on. Without
    /// `follow` the reading is over at the present end.
    ///
    /// # Errors
    /// The topic cannot be read, or without `follow` no end is found in time.
    pub fn tail(
        &self,
        topic: &Topic,
        from: From,
        follow: bool,
        each: &mut dyn FnMut(Option<crate::Record>) -> bool,
    ) -> Result<(), BusError> {
        let places = self.0.places(topic);
        let at = match from {
            From::Beginning => Offsets::new(),
            From::Now => self.0.stable(&places)?,
            From::Time(ms) => self.0.since(&places, ms)?,
        };
        let start = |place: Partition| {
            let at = at.get(&place).copied();
            (place.0, place.1, at)
        };
        let starts = places.into_iter().map(start).collect();
        tracing::info!(topic = %self.0.full(topic), ?from, follow, "reading from here on");
        self.0.read_on(starts, follow, each)
    }

    /// Reads a compacted topic of documents whole, outside of any session: what was committed before this call, but
    /// nothing behind a transaction that stays open.
    ///
    /// # Errors
    /// The topic cannot be read, or no end of it is found in time.
    pub fn documents(
        &self,
        topic: &Topic,
        each: &mut dyn FnMut(Bytes, Bytes),
    ) -> Result<(), BusError> {
        // In vain where a writer died in the middle of one: it is not waited for.
        let _ = self.0.wait_decided_for(SOON, &self.0.places(topic));
        self.0.decided_documents(topic, each)
    }
}

impl Shared {
    /// The newest value of each key in some lanes of a compacted topic, lane by lane, up to the end of
    /// what was committed before this call.
    pub(super) fn newest(&self, topic: &Topic, lanes: &[Lane]) -> Result<Vec<Newest>, BusError> {
        let places: Vec<Partition> = lanes.iter().map(|lane| (topic.clone(), *lane)).collect();
        self.wait_decided(&places)?;
        self.newest_decided(topic, lanes)
    }

    /// The same up to where everything is decided by now.
    fn newest_decided(&self, topic: &Topic, lanes: &[Lane]) -> Result<Vec<Newest>, BusError> {
        let mut newest: Vec<Newest> = lanes.iter().map(|_| Newest::default()).collect();
        let starts = lanes.iter().map(|&lane| (topic.clone(), lane, None)).collect();
        self.read(starts, &mut |record| {
            if let Some(i) = lanes.iter().position(|&lane| lane == record.lane) {
                newest[i].push_record(&record);
            }
            true
        })?;
        Ok(newest)
    }

    /// Reads a compacted topic of documents whole.
    pub(super) fn documents(
        &self,
        topic: &Topic,
        each: &mut dyn FnMut(Bytes, Bytes),
    ) -> Result<(), BusError> {
        self.wait_decided(&self.places(topic))?;
        self.decided_documents(topic, each)
    }

    /// The same without a wait for a transaction that is open.
    pub(super) fn decided_documents(
        &self,
        topic: &Topic,
        each: &mut dyn FnMut(Bytes, Bytes),
    ) -> Result<(), BusError> {
        let lanes: Vec<Lane> = (0..self.lanes).collect();
        let newest = self.newest_decided(topic, &lanes)?;
        newest.into_iter().flat_map(Newest::into_pairs).for_each(|(key, value)| each(key, value));
        Ok(())
    }

    /// Up to where everything is decided, of each lane of a topic.
    pub(super) fn decided_ends(&self, topic: &Topic) -> Result<Offsets, BusError> {
        self.stable(&self.places(topic))
    }

    /// Whether there are committed records after these places.
    pub(super) fn more_after(&self, starts: Vec<Start>) -> Result<bool, BusError> {
        let mut more = false;
        self.read(starts, &mut |_| {
            more = true;
            false
        })?;
        Ok(more)
    }

    /// Reads partitions to their end, or until `each` wants no more.
    fn read(
        &self,
        starts: Vec<Start>,
        each: &mut dyn FnMut(crate::Record) -> bool,
    ) -> Result<(), BusError> {
        self.read_on(starts, false, &mut |record| record.is_none_or(&mut *each))
    }

    /// The same, and beyond the end where it is to follow; `each` is also called when nothing comes.
    fn read_on(
        &self,
        starts: Vec<Start>,
        follow: bool,
        each: &mut dyn FnMut(Option<crate::Record>) -> bool,
    ) -> Result<(), BusError> {
        let mut left: BTreeSet<(Topic, Lane)> =
            starts.iter().map(|(topic, lane, _)| (topic.clone(), *lane)).collect();
        if left.is_empty() {
            return Ok(());
        }
        let mut visit = Visit::begin(self, starts)?;
        let mut patience = self.patience(SILENCE);
        while follow || !left.is_empty() {
            let found = visit.inputs.take(&self.config)?;
            if !found.records.is_empty() || !found.ends.is_empty() {
                patience = self.patience(SILENCE);
            } else if !follow && patience.is_over() {
                let places: Vec<_> = left.iter().map(|(t, lane)| format!("{t}[{lane}]")).collect();
                let places = places.join(" ");
                return Err(BusError::Session(format!(
                    "no end of {places} for long, {SILENCE:?} at most"
                )));
            } else {
                visit.serve();
                if !each(None) {
                    break;
                }
            }
            if !found.records.into_iter().all(|record| each(Some(record))) {
                break;
            }
            for end in found.ends {
                left.remove(&end);
            }
        }
        visit.end();
        Ok(())
    }
}
