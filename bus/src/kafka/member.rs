//! A session's place in its group: which lanes it holds, where it reads them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::client::{self, Role};
use super::ends::Partition;
use super::gone::{Others, Vigil};
use super::guard::Kept;
use super::inputs::{Event, Inputs, Reader, reader};
use super::positions::Positions;
use super::{Shared, code, said};
use crate::{BusError, Gap, Lane, Member, Position, Topic, Wake};

/// How long a group takes to hand lanes out anew.
const REBALANCE: Duration = Duration::from_secs(5);

/// The group is served at least this often while nothing else happens.
const SERVE: Duration = Duration::from_millis(100);

/// How long a group that has said something takes to be heard.
const LAST_WORD: Duration = Duration::from_millis(2);

/// More than a group and connections have to say to a session that ends.
const LAST_WORDS: usize = 100;

/// What the group waits for us to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owed {
    Nothing,
    /// To read what was assigned.
    Read,
    /// To give up what was revoked or lost.
    GiveUp,
}

/// Membership in a group.
pub(super) struct Membership {
    shared: Arc<Shared>,
    me: Member,
    owed: Owed,
    lanes: BTreeSet<Lane>,
    /// Lanes restored since they were assigned, with where to begin.
    begin: Vec<super::inputs::Start>,
    /// Positions that were asked for and not given to the role yet.
    found: BTreeMap<Lane, Vec<Position>>,
    // Before the consumer: its queues hold it too.
    inputs: Inputs,
    /// Who we were to the group when the lanes were assigned. A later answer could be of a group that
    /// we left.
    generation: Option<Arc<ConsumerGroupMetadata>>,
    /// Positions of lanes held, as they are once all steps under way are lasting.
    known: BTreeMap<(Lane, Topic), Position>,
    ends: VecDeque<(Topic, Lane)>,
    /// What retention took of the lanes restored, and of those that are to be.
    gaps: Vec<Gap>,
    lost: Vec<Gap>,
    served: Instant,
    /// Since when we wait for the lanes of others.
    others_since: Option<Instant>,
    others: Arc<Mutex<Others>>,
    /// While it has no lanes yet.
    vigil: Vigil,
    consumer: Kept<Arc<Reader>>,
}

impl Membership {
    pub(super) fn join(shared: Arc<Shared>, me: &Member) -> Result<Membership, BusError> {
        let partitions = me.topics.len() * shared.lanes as usize;
        let consumer = reader(&shared.config, Role::Member(me, partitions))?;
        let names: Vec<String> = me.topics.iter().map(|topic| shared.full(topic)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        // Before we join: who died before that is in the group for a while yet.
        let others = Others::now(&shared, me);
        consumer
            .subscribe(&names)
            .map_err(|e| shared.failed(&e, &format!("{} joining its group", me.name())))?;
        Ok(Membership {
            shared,
            me: me.clone(),
            owed: Owed::Nothing,
            lanes: BTreeSet::new(),
            begin: Vec::new(),
            found: BTreeMap::new(),
            inputs: Inputs::default(),
            generation: None,
            known: BTreeMap::new(),
            ends: VecDeque::new(),
            gaps: Vec::new(),
            lost: Vec::new(),
            served: Instant::now(),
            others_since: None,
            others,
            vigil: Vigil::begin(),
            consumer,
        })
    }

    /// The proof of holding the lanes; `None` while none were assigned.
    pub(super) fn generation(&self) -> Option<Arc<ConsumerGroupMetadata>> {
        self.generation.clone()
    }

    /// Lanes held.
    pub(super) fn lanes(&self) -> impl Iterator<Item = Lane> {
        self.lanes.iter().copied()
    }

    /// A position that may be committed again without saying anything new: the last of some lane, or
    /// else one in the state topic, where nobody reads positions.
    pub(super) fn any_position(&self) -> Vec<Position> {
        if let Some(position) = self.known.values().next() {
            return vec![position.clone()];
        }
        let Some((topic, &lane)) = self.me.state.clone().zip(self.lanes.first()) else {
            return Vec::new();
        };
        vec![Position { topic, lane, offset: 0, metadata: String::new() }]
    }

    /// These positions are committed, or about to be.
    pub(super) fn reached(&mut self, positions: &[Position]) {
        for position in positions {
            self.known.insert((position.lane, position.topic.clone()), position.clone());
        }
    }

    pub(super) fn next(&mut self, wait: Duration) -> Result<Wake, BusError> {
        let until = Instant::now() + wait;
        self.serve()?;
        self.pay()?;
        loop {
            self.serve()?;
            if let Some(event) = self.consumer.context().event() {
                return self.wake(event);
            }
            if let Some((topic, lane)) = self.ends.pop_front() {
                return Ok(Wake::End(topic, lane));
            }
            let found = self.inputs.take(&self.shared.config)?;
            self.ends.extend(found.ends);
            if !found.records.is_empty() {
                return Ok(Wake::Records(found.records));
            }
            if !self.ends.is_empty() {
                continue;
            }
            if self.generation.is_none() {
                self.vigil.look(&self.shared);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Wake::Idle);
            }
            self.consumer.context().bell().wait(left.min(SERVE));
        }
    }

    /// Does what the group waits for.
    fn pay(&mut self) -> Result<(), BusError> {
        match self.owed {
            Owed::Nothing => return Ok(()),
            Owed::Read => {
                let begin = std::mem::take(&mut self.begin);
                self.inputs = Inputs::assign(&self.shared.config, &self.consumer, begin)?;
            }
            Owed::GiveUp => {
                self.forget();
                let given = self.consumer.unassign();
                let what = || format!("{} giving up", self.me.name());
                given.map_err(|e| self.shared.failed(&e, &what()))?;
            }
        }
        // Not before: it is owed still where that failed.
        self.owed = Owed::Nothing;
        Ok(())
    }

    fn forget(&mut self) {
        self.inputs = Inputs::default();
        self.ends.clear();
        self.begin.clear();
        self.found.clear();
        self.lost.clear();
        self.known.clear();
        self.lanes.clear();
        self.generation = None;
    }

    /// Lets librdkafka tell what happened to the group and to its connections.
    fn serve(&mut self) -> Result<(), BusError> {
        let silent = std::mem::replace(&mut self.served, Instant::now()).elapsed();
        if self.owed == Owed::Read && silent > client::poll_interval(&self.shared.config) {
            // librdkafka has left the group for it, and in this state does not say so.
            return Err(BusError::Session(format!(
                "{}: restoring a lane took {silent:?}, longer than the group waits                  ([kafka] max.poll.interval.ms)",
                self.me.name()
            )));
        }
        while let Some(polled) = self.consumer.poll(Duration::ZERO) {
            match polled {
                Err(KafkaError::PartitionEOF(_)) => {}
                Err(error) => self.group_error(&error)?,
                Ok(message) => {
                    use rdkafka::Message;
                    // Each partition has a queue of its own, so that this cannot be in order.
                    return Err(BusError::Session(format!(
                        "{}: a record of {}[{}] came out of turn",
                        self.me.name(),
                        message.topic(),
                        message.partition()
                    )));
                }
            }
        }
        match self.consumer.client().fatal_error() {
            None => Ok(()),
            Some((code, reason)) => Err(BusError::Session(match code {
                RDKafkaErrorCode::FencedInstanceId => format!(
                    "{}: another process joined under the same group and node; two processes must \
                     not share a node name",
                    self.me.name()
                ),
                code => format!("{}: {code}: {reason}", self.me.name()),
            })),
        }
    }

    /// Most errors that come up here librdkafka mends by itself.
    fn group_error(&self, error: &KafkaError) -> Result<(), BusError> {
        use RDKafkaErrorCode as Code;
        match code(error) {
            Some(
                Code::AllBrokersDown
                | Code::BrokerTransportFailure
                | Code::Resolve
                | Code::OperationTimedOut
                | Code::PollExceeded,
            ) => {
                tracing::debug!(member = self.me.name(), "{}", said(error));
                Ok(())
            }
            _ => Err(self.shared.failed(error, &format!("{} in its group", self.me.name()))),
        }
    }

    fn wake(&mut self, event: Event) -> Result<Wake, BusError> {
        // Whatever it says, the group waits for an answer, also where nothing can be made of it.
        self.owed = Owed::GiveUp;
        let held = || self.lanes.iter().copied().collect();
        match event {
            Event::Assigned(places) => {
                let lanes = self.whole_lanes(&places)?;
                self.forget();
                self.lanes = lanes.iter().copied().collect();
                self.generation = self.consumer.group_metadata().map(Arc::new);
                self.others_since = None;
                let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
                others.fence_gone(&self.shared);
                drop(others);
                self.owed = Owed::Read;
                Ok(Wake::Assigned(lanes))
            }
            Event::Revoked if self.consumer.assignment_lost() => Ok(Wake::Lost(held())),
            Event::Revoked => Ok(Wake::Revoked(held())),
            Event::Lost => Ok(Wake::Lost(held())),
            Event::Failed(reason) => {
                Err(BusError::Session(format!("{}: its group: {reason}", self.me.name())))
            }
        }
    }

    /// The lanes that an assignment means: partition n of every topic, or the assignor is not ours.
    fn whole_lanes(&self, places: &[(String, i32)]) -> Result<Vec<Lane>, BusError> {
        let mut counts: BTreeMap<Lane, usize> = BTreeMap::new();
        for (topic, partition) in places {
            let lane = Lane::try_from(*partition).map_err(|_| {
                BusError::Session(format!("assigned was {topic}[{partition}], which is none"))
            })?;
            *counts.entry(lane).or_default() += 1;
        }
        if let Some((lane, count)) = counts.iter().find(|(_, n)| **n != self.me.topics.len()) {
            return Err(BusError::Fatal(format!(
                "{}: was assigned partition {lane} of {count} of its {} topics; all members of a \
                 group must read the same topics: are they of one version, and have all topics the \
                 same number of partitions (`weir topics describe`)?",
                self.me.name(),
                self.me.topics.len()
            )));
        }
        Ok(counts.into_keys().collect())
    }

    /// Where a lane was committed; it is read from there once it was given to the role.
    pub(super) fn restore(&mut self, lane: Lane) -> Result<Vec<Position>, BusError> {
        self.serve()?; // restoring many lanes takes its time
        if !self.lanes.contains(&lane) || self.owed != Owed::Read {
            let name = self.me.name();
            return Err(BusError::Session(format!("{name}: lane {lane} was not just assigned")));
        }
        let positions = match self.found.remove(&lane) {
            Some(positions) => positions,
            None => {
                // Asked for together, as they are restored together.
                let lanes: Vec<Lane> = self.lanes().collect();
                let mut found = self.positions().of(&lanes)?;
                let mut all: Vec<&mut Position> = found.values_mut().flatten().collect();
                self.lost = self.positions().keep(&mut all)?;
                self.found = found;
                self.found.remove(&lane).unwrap_or_default()
            }
        };
        self.gaps.extend(self.lost.extract_if(.., |gap| gap.lane == lane));
        for topic in &self.me.topics {
            let position = positions.iter().find(|position| position.topic == *topic);
            self.begin.push((topic.clone(), lane, position.map(|position| position.offset)));
        }
        self.reached(&positions);
        Ok(positions)
    }

    /// Makes this where a partition is read from that the group has no position of.
    pub(super) fn stood(&mut self, position: &mut Position) -> Result<Option<Gap>, BusError> {
        let gap = self.positions().keep(&mut [&mut *position])?.pop();
        let is_it = |(topic, lane, _): &&mut super::inputs::Start| {
            *topic == position.topic && *lane == position.lane
        };
        if let Some((_, _, next)) = self.begin.iter_mut().find(is_it) {
            *next = Some(position.offset);
        }
        self.reached(std::slice::from_ref(position));
        Ok(gap)
    }

    pub(super) fn gaps(&mut self) -> Vec<Gap> {
        std::mem::take(&mut self.gaps)
    }

    /// Whether everything that is written to our partitions was read.
    pub(super) fn settled(&self) -> Result<bool, BusError> {
        let places: Vec<Partition> =
            self.inputs.places().map(|(topic, lane, _)| (topic, lane)).collect();
        let (firsts, written) = (self.shared.firsts(&places)?, self.shared.written(&places)?);
        let stable = self.shared.stable(&places)?;
        if places.iter().any(|place| stable.get(place) < written.get(place)) {
            return Ok(false);
        }
        let mut behind = Vec::with_capacity(self.inputs.len());
        for (topic, lane, next) in self.inputs.places() {
            let place = (topic, lane);
            // The marks that transactions leave are after the last record, so that only a look tells.
            if next.or(firsts.get(&place).copied()) < written.get(&place).copied() {
                behind.push((place.0, lane, next));
            }
        }
        Ok(!self.shared.more_after(behind)?)
    }

    /// Whether the group has committed the lanes of others to their end. Those of a member that is
    /// gone come to us when the group's patience ends: longer than that nobody waits for them.
    pub(super) fn group_done(&mut self) -> Result<bool, BusError> {
        let others: Vec<Lane> =
            (0..self.shared.lanes).filter(|lane| !self.lanes.contains(lane)).collect();
        if self.positions().at_end(&others)? {
            return Ok(true);
        }
        let since = *self.others_since.get_or_insert_with(Instant::now);
        let patience = client::session_timeout(&self.shared.config) + REBALANCE;
        if since.elapsed() < patience {
            return Ok(false);
        }
        tracing::warn!(
            member = self.me.name(),
            ?others,
            "drained; other members have not committed all of their lanes"
        );
        Ok(true)
    }

    pub(super) fn positions(&self) -> Positions<'_> {
        Positions { shared: &self.shared, consumer: &self.consumer, me: &self.me }
    }
}

impl Drop for Membership {
    /// Leaves without waiting for anybody: as a static member its lanes stay reserved for a new
    /// session of the same name until the group's patience ends.
    fn drop(&mut self) {
        let context = Arc::clone(self.consumer.context());
        // What the group waits for has to be answered, or closing waits for good; but before that, as nobody hears an
        // answer once the consumer is closed, and whoever gives it waits for good then. So what it has said already, and
        // nobody has listened to (a session that was lost while it began), is heard first.
        // Not by one that was silent for so long that it has left: it would join once more.
        let is_in = self.served.elapsed() < client::poll_interval(&self.shared.config);
        let mut unanswered = self.owed != Owed::Nothing || context.event().is_some();
        for _ in 0..if is_in { LAST_WORDS } else { 0 } {
            let is_heard = self.consumer.poll(LAST_WORD).is_some();
            let is_asked = context.event().is_some();
            unanswered |= is_asked;
            if !is_heard && !is_asked {
                break;
            }
        }
        context.close();
        self.forget();
        if unanswered {
            let _ = self.consumer.unassign();
        }
    }
}
