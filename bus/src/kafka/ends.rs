//! Where partitions begin and end: of many at once, as asking costs a round trip.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Logged, TRANSACTION_MS};
use super::gone::Vigil;
use super::{ASK, ASK_ONCE, Shared, partition};
use crate::{BusError, Lane, Topic};

/// How long to wait for transactions that are open: a writer that died holds them no longer.
const SETTLE: Duration = Duration::from_millis(TRANSACTION_MS as u64 + 15_000);

/// Between two looks at an open transaction.
const LOOK: Duration = Duration::from_millis(10);

/// A partition.
pub(super) type Partition = (Topic, Lane);

/// Offsets by partition.
pub(super) type Offsets = BTreeMap<Partition, i64>;

impl Shared {
    /// The first offset that is kept of each.
    pub(super) fn firsts(&self, of: &[Partition]) -> Result<Offsets, BusError> {
        self.offsets(&self.written, of, Offset::Beginning)
    }

    /// The one after the last, transactions still open included.
    pub(super) fn written(&self, of: &[Partition]) -> Result<Offsets, BusError> {
        self.offsets(&self.written, of, Offset::End)
    }

    /// The one up to which everything is decided.
    pub(super) fn stable(&self, of: &[Partition]) -> Result<Offsets, BusError> {
        self.offsets(&self.stable, of, Offset::End)
    }

    /// The first that was written at this time or later, milliseconds; the end where there is none.
    pub(super) fn since(&self, of: &[Partition], ms: i64) -> Result<Offsets, BusError> {
        let mut since = self.offsets(&self.stable, of, Offset::Offset(ms))?;
        let none: Vec<Partition> =
            of.iter().filter(|place| !since.contains_key(*place)).cloned().collect();
        since.extend(self.stable(&none)?);
        Ok(since)
    }

    /// An offset of each that has one.
    fn offsets(
        &self,
        asks: &BaseConsumer<Logged>,
        of: &[Partition],
        at: Offset,
    ) -> Result<Offsets, BusError> {
        let Some((topic, lane)) = of.first() else { return Ok(Offsets::new()) };
        asks.poll(Duration::ZERO); // what it has to tell would pile up
        let what = format!("asking for offsets of {topic}[{lane}] and others");
        self.ask(&what, ASK, || {
            let mut asked = TopicPartitionList::with_capacity(of.len());
            for (topic, lane) in of {
                asked.add_partition_offset(&self.full(topic), partition(*lane), at)?;
            }
            let found = asks.offsets_for_times(asked, ASK_ONCE)?;
            let mut offsets = Offsets::new();
            for place in of {
                let found = found.find_partition(&self.full(&place.0), partition(place.1));
                let Some(found) = found else { continue };
                found.error()?;
                if let Offset::Offset(offset) = found.offset() {
                    offsets.insert(place.clone(), offset);
                }
            }
            Ok(offsets)
        })
    }

    /// Waits until all that is written now to these partitions is decided. A transaction is lasting
    /// once its coordinator says so, and shows in the partitions a little later: who read only to
    /// the end of what shows could miss what it goes with.
    pub(super) fn wait_decided(&self, of: &[Partition]) -> Result<(), BusError> {
        self.wait_decided_for(SETTLE, of)
    }

    /// The same for so long at most.
    pub(super) fn wait_decided_for(
        &self,
        most: Duration,
        of: &[Partition],
    ) -> Result<(), BusError> {
        let (mut patience, mut vigil) = (self.patience(most), Vigil::begin());
        let mut open = self.written(of)?;
        loop {
            let asked: Vec<Partition> = open.keys().cloned().collect();
            let stable = self.stable(&asked)?;
            open.retain(|place, written| stable.get(place).is_none_or(|stable| stable < written));
            let Some((topic, lane)) = open.keys().next() else { return Ok(()) };
            if patience.is_over() {
                return Err(BusError::Session(format!(
                    "{topic}[{lane}]: a transaction stays open for long, {most:?} at most"
                )));
            }
            vigil.look(self);
            std::thread::sleep(LOOK);
        }
    }

    /// All lanes of a topic.
    pub(super) fn places(&self, topic: &Topic) -> Vec<Partition> {
        (0..self.lanes).map(|lane| (topic.clone(), lane)).collect()
    }
}
