//! Where a group stands, and whether the log still has it.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::client::TRANSACTION_MS;
use super::ends::Partition;
use super::inputs::Reader;
use super::{ASK_ONCE, Shared, partition};
use crate::{BusError, Gap, Lane, Member, Position};

/// How long positions may be withheld by a transaction of an earlier owner of the lane.
const SETTLE: Duration = Duration::from_millis(TRANSACTION_MS as u64 + 15_000);

/// The positions of a member's group.
pub(super) struct Positions<'a> {
    pub(super) shared: &'a Shared,
    pub(super) consumer: &'a Reader,
    pub(super) me: &'a Member,
}

impl Positions<'_> {
    /// The committed positions in these lanes, once no transaction is open that may yet change them.
    pub(super) fn of(&self, lanes: &[Lane]) -> Result<BTreeMap<Lane, Vec<Position>>, BusError> {
        let what = format!("{} asking for its positions", self.me.name());
        self.shared.ask(&what, SETTLE, || {
            let mut asked = TopicPartitionList::new();
            for (lane, topic) in
                lanes.iter().flat_map(|l| self.me.topics.iter().map(move |t| (l, t)))
            {
                asked.add_partition(&self.shared.full(topic), partition(*lane));
            }
            self.read(lanes, &self.consumer.committed_offsets(asked, ASK_ONCE)?)
        })
    }

    fn read(
        &self,
        lanes: &[Lane],
        found: &TopicPartitionList,
    ) -> Result<BTreeMap<Lane, Vec<Position>>, KafkaError> {
        let mut positions: BTreeMap<Lane, Vec<Position>> = BTreeMap::new();
        for &lane in lanes {
            let positions = positions.entry(lane).or_default();
            for topic in &self.me.topics {
                let element = found.find_partition(&self.shared.full(topic), partition(lane));
                let Some(element) = element else { continue };
                element.error()?;
                if let Offset::Offset(offset) = element.offset() {
                    let metadata = element.metadata().to_owned();
                    positions.push(Position { topic: topic.clone(), lane, offset, metadata });
                }
            }
        }
        Ok(positions)
    }

    /// Whether the log still has what positions stand before. Where retention took it, a position
    /// moves to the first record that is kept, and what lies between is given back.
    pub(super) fn keep(&self, positions: &mut [&mut Position]) -> Result<Vec<Gap>, BusError> {
        let place = |position: &&mut Position| (position.topic.clone(), position.lane);
        let places: Vec<Partition> = positions.iter().map(place).collect();
        let (firsts, ends) = (self.shared.firsts(&places)?, self.shared.written(&places)?);
        let mut gaps = Vec::new();
        for (position, place) in positions.iter_mut().zip(places) {
            let (Some(&first), Some(&end)) = (firsts.get(&place), ends.get(&place)) else {
                continue;
            };
            gaps.extend(position.kept(first, end, || self.me.name())?);
            position.offset = position.offset.max(first);
        }
        Ok(gaps)
    }

    /// Whether there is nothing after the committed positions of these lanes.
    pub(super) fn at_end(&self, lanes: &[Lane]) -> Result<bool, BusError> {
        if lanes.is_empty() {
            return Ok(true);
        }
        let committed = self.of(lanes)?;
        let of = |lane: Lane| self.me.topics.iter().map(move |topic| (topic.clone(), lane));
        let places: Vec<Partition> = lanes.iter().copied().flat_map(of).collect();
        let (firsts, ends) = (self.shared.firsts(&places)?, self.shared.written(&places)?);
        let mut behind = Vec::new();
        for place in places {
            let (Some(&first), Some(&end)) = (firsts.get(&place), ends.get(&place)) else {
                continue;
            };
            let positions = committed.get(&place.1).into_iter().flatten();
            let position = positions.into_iter().find(|position| position.topic == place.0);
            let next = position.map(|position| position.offset.max(first));
            if next.unwrap_or(first) < end {
                behind.push((place.0, place.1, next));
            }
        }
        Ok(!self.shared.more_after(behind)?)
    }
}
