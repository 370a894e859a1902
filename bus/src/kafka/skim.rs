//! What audits and status ask of the broker: records by their headers, positions of groups, ends of partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{self, Logged, Role};
use super::read::{SILENCE, Visit};
use super::{ASK, Kafka, Shared, partition};
use crate::{BusError, Lane, Position, Topic};

/// A record that was not decoded.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Where from.
    pub topic: Topic,
    /// Partition.
    pub lane: Lane,
    /// Its place.
    pub offset: i64,
    /// Its headers that are text.
    pub headers: Vec<(String, String)>,
}

impl Seen {
    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, text)| text.as_str())
    }

    /// How many rows it says that it has.
    pub fn rows(&self) -> u64 {
        self.header(crate::codec::ROWS).and_then(|rows| rows.parse().ok()).unwrap_or(0)
    }
}

impl Kafka {
    /// Shows what is committed to a topic by now, all lanes as they come, from these offsets on or from the
    /// beginning, by the headers alone. Transactions that are known to be lasting are waited for.
    ///
    /// # Errors
    /// The topic cannot be read.
    pub fn skim(
        &self,
        topic: &Topic,
        from: &BTreeMap<Lane, i64>,
        each: &mut dyn FnMut(Seen),
    ) -> Result<(), BusError> {
        let lanes: Vec<Lane> = (0..self.0.lanes).collect();
        self.0.wait_decided(topic, &lanes)?;
        let start = |lane: &Lane| (topic.clone(), *lane, from.get(lane).copied());
        let mut left: BTreeSet<Lane> = lanes.iter().copied().collect();
        let mut visit = Visit::begin(&self.0, lanes.iter().map(start).collect())?;
        visit.inputs.skims = true;
        let mut heard = Instant::now();
        while !left.is_empty() {
            let found = visit.inputs.take(&self.0.config)?;
            if found.seen.is_empty() && found.ends.is_empty() {
                if heard.elapsed() > SILENCE {
                    return Err(BusError::Session(format!("no end of {topic} in {SILENCE:?}")));
                }
                visit.serve();
                continue;
            }
            heard = Instant::now();
            found.seen.into_iter().for_each(&mut *each);
            for (_, lane) in found.ends {
                left.remove(&lane);
            }
        }
        visit.end();
        Ok(())
    }

    /// Where a group stands in these topics; partitions that it never committed are absent.
    ///
    /// # Errors
    /// The broker does not answer, or not in time.
    pub fn positions(&self, group: &str, topics: &[Topic]) -> Result<Vec<Position>, BusError> {
        let shared = &self.0;
        let asks = client::consumer(&shared.config, Role::Asks(group), Logged)?;
        let what = format!("asking for the positions of {group}");
        let places = || topics.iter().flat_map(|t| (0..shared.lanes).map(move |lane| (t, lane)));
        let found = shared.ask(&what, Duration::from_secs(45), || {
            let mut asked = TopicPartitionList::new();
            for (topic, lane) in places() {
                asked.add_partition(&shared.full(topic), partition(lane));
            }
            asks.committed_offsets(asked, ASK)
        })?;
        let mut positions = Vec::new();
        for (topic, lane) in places() {
            let element = found.find_partition(&shared.full(topic), partition(lane));
            let Some(element) = element else { continue };
            if let Offset::Offset(offset) = element.offset() {
                let metadata = element.metadata().to_owned();
                positions.push(Position { topic: topic.clone(), lane, offset, metadata });
            }
        }
        Ok(positions)
    }

    /// The first offset of each partition that the broker took at this time or later, milliseconds.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn since(&self, topic: &Topic, ms: i64) -> Result<BTreeMap<Lane, i64>, BusError> {
        let at = |lane| Ok((lane, self.0.since(topic, lane, ms)?));
        (0..self.0.lanes).map(at).collect()
    }

    /// The first offset that is kept of a partition, and the one after what is committed.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn ends(&self, topic: &Topic, lane: Lane) -> Result<(i64, i64), BusError> {
        self.0.stable(topic, lane)
    }
}

impl Shared {
    /// The first offset of a partition that was written at this time or later.
    pub(super) fn since(&self, topic: &Topic, lane: Lane, ms: i64) -> Result<i64, BusError> {
        let full = self.full(topic);
        let what = format!("asking for the time of records in {topic}[{lane}]");
        let found = self.ask(&what, ASK, || {
            let mut asked = TopicPartitionList::new();
            asked.add_partition_offset(&full, partition(lane), Offset::Offset(ms))?;
            self.stable.offsets_for_times(asked, ASK)
        })?;
        match found.find_partition(&full, partition(lane)).map(|element| element.offset()) {
            Some(Offset::Offset(offset)) => Ok(offset),
            _ => Ok(self.stable(topic, lane)?.1),
        }
    }
}
