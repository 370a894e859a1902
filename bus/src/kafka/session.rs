//! A member's session on Kafka.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::client::{self, Deliveries};
use super::ends::Offsets;
use super::guard;
use super::member::Membership;
use super::patience::Patience;
use super::{Shared, code, partition};
use crate::codec::{self, Encoded};
use crate::newest::Newest;
use crate::{
    BusError, Change, Gap, Lane, Member, Outgoing, Payload, Position, Session, Step, Topic, Wake,
};

/// How long opening may take: the transaction that an earlier session left open ends first.
const INIT: Duration = Duration::from_secs(45);

/// How long a commit may take. After it the outcome is open, and a new session settles it.
const COMMIT: Duration = Duration::from_secs(45);

/// How long committing positions may take: longer than a group takes to find its coordinator anew, and less than a
/// transaction may stay open.
const POSITIONS: Duration = Duration::from_secs(15);

/// Between two looks for what is on its way.
const ARRIVE_LOOK: Duration = Duration::from_millis(1);

/// A session.
pub(super) struct KafkaSession {
    shared: Arc<Shared>,
    me: Member,
    /// Its place in the group; `None` for a member that reads nothing.
    member: Option<Membership>,
    told_home: bool,
    /// State that was read and not given to the role yet.
    states: BTreeMap<Lane, Newest>,
    /// Where the lanes of topics of documents ended when they were read.
    documents_end: BTreeMap<Topic, Offsets>,
    /// Shared with a call that may outlive the session.
    producer: Arc<BaseProducer<Deliveries>>,
}

impl KafkaSession {
    /// Settles what an earlier session left open, then joins the group.
    pub(super) fn open(shared: Arc<Shared>, me: &Member) -> Result<KafkaSession, BusError> {
        let identity = client::identity(&shared.config, me);
        let producer = Arc::new(client::producer(&shared.config, &identity)?);
        let begun = shared.patience(INIT).resume(|slice| producer.init_transactions(slice));
        begun.map_err(|e| {
            shared.failed(&e, &format!("opening the transactions of {}", me.name()))
        })?;
        let member = match me.topics.is_empty() {
            true => None,
            false => Some(Membership::join(Arc::clone(&shared), me)?),
        };
        let (me, states, documents_end) = (me.clone(), BTreeMap::new(), BTreeMap::new());
        Ok(KafkaSession { shared, me, member, told_home: false, states, documents_end, producer })
    }

    /// The state of a lane: read together with that of all lanes assigned with it.
    fn state_of(&mut self, lane: Lane) -> Result<Option<Newest>, BusError> {
        let Some(topic) = &self.me.state else { return Ok(None) };
        if !self.states.contains_key(&lane) {
            let lanes: Vec<Lane> = match &self.member {
                Some(member) => member.lanes().collect(),
                None if self.me.home.contains(&lane) => self.me.home.clone(),
                None => vec![lane],
            };
            let states = self.shared.newest(topic, &lanes)?;
            self.states = lanes.into_iter().zip(states).collect();
        }
        Ok(self.states.remove(&lane))
    }

    fn failed(&self, error: &KafkaError, what: &str) -> BusError {
        let what = format!("{} {what}", self.me.name());
        match code(error) {
            Some(
                RDKafkaErrorCode::Fenced
                | RDKafkaErrorCode::ProducerFenced
                | RDKafkaErrorCode::FencedInstanceId,
            ) => BusError::Session(format!(
                "{what}: its group took it for gone and others have its lanes, or another process has the \
                 same group and node; two processes must not share a node name"
            )),
            _ => self.shared.failed(error, &what),
        }
    }

    /// The records of a step with their names on the broker.
    fn encoded(&self, step: &Step) -> Result<Vec<(Outgoing, Vec<Encoded>)>, BusError> {
        let mut records = Vec::with_capacity(step.out.len() + step.state.len());
        let changes = step.state.iter().filter_map(|change| change_record(&self.me, change));
        for out in step.out.iter().cloned().chain(changes) {
            let parts = codec::encode(&out)?;
            // What is encoded is not needed twice.
            records.push((Outgoing { payload: Payload::Empty, ..out }, parts));
        }
        Ok(records)
    }

    fn send(
        &self,
        out: &Outgoing,
        part: &Encoded,
        patience: &mut Patience<'_>,
    ) -> Result<(), BusError> {
        let full = self.shared.full(&out.topic);
        let headers = part.headers.iter().fold(OwnedHeaders::new(), |headers, (name, text)| {
            headers.insert(Header { key: name.as_ref(), value: Some(text.as_str()) })
        });
        let mut record =
            BaseRecord::<[u8], [u8]>::to(&full).partition(partition(out.lane)).headers(headers);
        record.payload = part.payload.as_deref();
        record.key = out.key.as_deref();
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, back)) => {
                    let full = code(&error) == Some(RDKafkaErrorCode::QueueFull);
                    if !full || patience.is_over() {
                        let what = format!("sending to {}[{}]", out.topic, out.lane);
                        return Err(self.failed(&error, &what));
                    }
                    record = back;
                    // The broker is slower than we are: this is where it holds us up.
                    self.producer.poll(Duration::from_millis(50));
                }
            }
        }
    }

    /// Waits until the broker has everything that was sent. The commit would do so too, but rdkafka
    /// looks only every tenth of a second.
    fn arrive(&self, patience: &mut Patience<'_>) -> Result<(), BusError> {
        let from = Instant::now();
        while self.producer.in_flight_count() > 0 {
            if patience.is_over() {
                let (name, waited) = (self.me.name(), from.elapsed());
                return Err(BusError::Session(format!(
                    "{name}: no broker took a step in {waited:.0?}"
                )));
            }
            // Not `poll(ARRIVE_LOOK)`: rdkafka counts whole milliseconds and spins through what is left.
            self.producer.poll(Duration::ZERO);
            std::thread::sleep(ARRIVE_LOOK);
        }
        Ok(())
    }

    /// Puts the positions, and with them the proof that the lanes are still ours, into the
    /// transaction. A step without positions repeats one for that proof's sake.
    fn send_positions(
        &self,
        positions: Vec<Position>,
        patience: &mut Patience<'_>,
    ) -> Result<(), BusError> {
        let Some((member, metadata)) =
            self.member.as_ref().and_then(|member| Some((member, member.generation()?)))
        else {
            return Ok(());
        };
        let positions = if positions.is_empty() { member.any_position() } else { positions };
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for position in positions {
            let full = self.shared.full(&position.topic);
            let mut element = list.add_partition(&full, partition(position.lane));
            element
                .set_offset(Offset::Offset(position.offset))
                .map_err(|e| self.failed(&e, &format!("at {position}")))?;
            element.set_metadata(&position.metadata);
        }
        let producer = Arc::clone(&self.producer);
        let send =
            move |limit: Duration| producer.send_offsets_to_transaction(&list, &metadata, limit);
        match guard::within(POSITIONS, patience, send) {
            Some(sent) => sent.map_err(|e| self.failed(&e, "committing positions")),
            None => Err(BusError::Session(format!(
                "{}: committing positions did not come back",
                self.me.name()
            ))),
        }
    }

    fn transaction(&self, step: &Step, positions: Vec<Position>) -> Result<(), BusError> {
        let records = self.encoded(step)?;
        let patience = &mut self.shared.patience(COMMIT);
        self.producer.begin_transaction().map_err(|e| self.failed(&e, "beginning a step"))?;
        for (out, parts) in &records {
            for part in parts {
                self.send(out, part, patience)?;
            }
        }
        self.arrive(patience)?;
        self.send_positions(positions, patience)?;
        let committed = patience.resume(|slice| self.producer.commit_transaction(slice));
        if let Some(failure) = self.producer.context().first_failure() {
            return Err(BusError::Session(format!("{}: {failure}", self.me.name())));
        }
        committed.map_err(|e| self.failed(&e, "committing a step"))
    }
}

/// A change of state as a record of the state topic.
fn change_record(me: &Member, change: &Change) -> Option<Outgoing> {
    let topic = me.state.clone()?;
    Some(Outgoing::document(topic, change.lane, change.key.clone(), change.value.clone()))
}

/// The last position of each partition.
fn last_of_each(positions: Vec<Position>) -> Vec<Position> {
    let mut last: Vec<Position> = Vec::with_capacity(positions.len());
    for position in positions {
        match last.iter_mut().find(|p| p.topic == position.topic && p.lane == position.lane) {
            Some(earlier) => *earlier = position,
            None => last.push(position),
        }
    }
    last
}

impl Session for KafkaSession {
    fn next(&mut self, wait: Duration) -> Result<Wake, BusError> {
        self.producer.poll(Duration::ZERO);
        if let Some((code, reason)) = self.producer.client().fatal_error() {
            return Err(BusError::Session(format!("{}: {code}: {reason}", self.me.name())));
        }
        self.states.clear(); // of lanes that nobody restored
        if let Some(member) = &mut self.member {
            return member.next(wait);
        }
        if !std::mem::replace(&mut self.told_home, true) {
            return Ok(Wake::Assigned(self.me.home.clone()));
        }
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        Ok(Wake::Idle)
    }

    fn restore(
        &mut self,
        lane: Lane,
        each: &mut dyn FnMut(Bytes, Bytes),
    ) -> Result<Vec<Position>, BusError> {
        // Positions first: they are given only once no transaction of an earlier owner is open.
        let positions = match &mut self.member {
            Some(member) => member.restore(lane)?,
            None => Vec::new(),
        };
        if let Some(newest) = self.state_of(lane)? {
            newest.into_pairs().for_each(|(key, value)| each(key, value));
        }
        Ok(positions)
    }

    fn documents(
        &mut self,
        topic: &Topic,
        each: &mut dyn FnMut(Bytes, Bytes),
    ) -> Result<(), BusError> {
        // Before it is read: what comes meanwhile may be read, and is then only read once more.
        let ends = self.shared.decided_ends(topic)?;
        self.documents_end.insert(topic.clone(), ends);
        self.shared.documents(topic, each)
    }

    fn documents_changed(&mut self, topic: &Topic) -> Result<bool, BusError> {
        match self.documents_end.get(topic) {
            None => Ok(true),
            Some(ends) => Ok(*ends != self.shared.decided_ends(topic)?),
        }
    }

    fn gaps(&mut self) -> Vec<Gap> {
        self.member.as_mut().map(Membership::gaps).unwrap_or_default()
    }

    fn stood(&mut self, position: &mut Position) -> Result<Option<Gap>, BusError> {
        self.member.as_mut().map_or(Ok(None), |member| member.stood(position))
    }

    fn settled(&mut self) -> Result<bool, BusError> {
        self.member.as_ref().map_or(Ok(true), Membership::settled)
    }

    fn group_done(&mut self) -> Result<bool, BusError> {
        self.member.as_mut().map_or(Ok(true), Membership::group_done)
    }

    fn commit(mut self: Box<Self>, mut step: Step) -> Result<Box<dyn Session>, BusError> {
        self.me.check(&step, self.shared.lanes)?;
        if step.is_empty() {
            return Ok(self);
        }
        let positions = last_of_each(std::mem::take(&mut step.positions));
        self.transaction(&step, positions.clone())?;
        if let Some(member) = &mut self.member {
            member.committed(positions);
        }
        Ok(self)
    }
}
