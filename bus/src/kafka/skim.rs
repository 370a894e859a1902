//! What audits and status ask of the broker: records by their headers, positions of groups, ends of partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{self, Role};
use super::ends::Partition;
use super::read::{SILENCE, Visit};
use super::{ASK, Kafka, partition};
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

/// First offset and the one after the last, by partition.
pub type Spans = BTreeMap<(Topic, Lane), (i64, i64)>;

impl Kafka {
    /// Shows what is committed to partitions by now, as it comes, each from an offset on or from its beginning, by the
    /// headers alone. Transactions that are known to be lasting are waited for.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn skim(
        &self,
        from: Vec<(Topic, Lane, Option<i64>)>,
        each: &mut dyn FnMut(Seen),
    ) -> Result<(), BusError> {
        let places: Vec<Partition> =
            from.iter().map(|(topic, lane, _)| (topic.clone(), *lane)).collect();
        self.0.wait_decided(&places)?;
        let mut left: BTreeSet<Partition> = places.into_iter().collect();
        let mut visit = Visit::begin(&self.0, from)?;
        visit.inputs.skims = true;
        let mut patience = self.0.patience(SILENCE);
        while !left.is_empty() {
            let found = visit.inputs.take(&self.0.config)?;
            if found.seen.is_empty() && found.ends.is_empty() {
                if patience.is_over() {
                    let places: Vec<_> =
                        left.iter().map(|(t, lane)| format!("{t}[{lane}]")).collect();
                    let places = places.join(" ");
                    return Err(BusError::Session(format!(
                        "no end of {places} for long, {SILENCE:?} at most"
                    )));
                }
                visit.serve();
                continue;
            }
            patience = self.0.patience(SILENCE);
            found.seen.into_iter().for_each(&mut *each);
            for end in found.ends {
                left.remove(&end);
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
        let asks = client::asker(&shared.config, Role::Asks(group))?;
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

    /// All partitions of a topic.
    pub fn partitions(&self, topic: &Topic) -> Vec<(Topic, Lane)> {
        self.0.places(topic)
    }

    /// The first offset of each partition that the broker took at this time or later, milliseconds; the end where there
    /// is none.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn since(
        &self,
        of: &[(Topic, Lane)],
        ms: i64,
    ) -> Result<BTreeMap<(Topic, Lane), i64>, BusError> {
        self.0.since(of, ms)
    }

    /// The first offset that is kept of each partition, and the one after what is committed.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn ends(&self, of: &[(Topic, Lane)]) -> Result<Spans, BusError> {
        let (firsts, mut ends) = (self.0.firsts(of)?, self.0.stable(of)?);
        let both = |(place, first)| {
            let end = ends.remove(&place).unwrap_or(first);
            (place, (first, end))
        };
        Ok(firsts.into_iter().map(both).collect())
    }
}
