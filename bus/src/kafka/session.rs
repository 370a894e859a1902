//! A member's session on Kafka.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::producer::{BaseProducer, Producer};

use super::Shared;
use super::client::{self, Deliveries};
use super::ends::Offsets;
use super::guard::Kept;
use super::line::Line;
use super::member::Membership;
use super::transaction::{Proof, Transaction, UnderWay, Workers};
use crate::newest::Newest;
use crate::{BusError, Gap, Lane, Member, Position, Session, Step, Topic, Wake};

/// How long opening may take: the transaction that an earlier session left open ends first.
const INIT: Duration = Duration::from_secs(45);

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
    /// Shared with steps that may outlive the session.
    producer: Arc<Kept<BaseProducer<Deliveries>>>,
    /// Steps that are being committed, in their order, and where they wait.
    under_way: VecDeque<UnderWay>,
    line: Arc<Line>,
    /// Once there was a step.
    workers: Option<Workers>,
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
        Ok(KafkaSession {
            shared,
            me: me.clone(),
            member,
            told_home: false,
            states: BTreeMap::new(),
            documents_end: BTreeMap::new(),
            producer,
            under_way: VecDeque::new(),
            line: Arc::default(),
            workers: None,
        })
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

    /// Before a topic of documents is read: what comes meanwhile may be read, and is then only read once more.
    fn note_end(&mut self, topic: &Topic) -> Result<(), BusError> {
        let ends = self.shared.decided_ends(topic)?;
        self.documents_end.insert(topic.clone(), ends);
        Ok(())
    }

    /// Positions with the proof that the lanes are still ours. A step without any repeats one for that proof's sake.
    fn proof(&mut self, positions: Vec<Position>) -> Option<Proof> {
        let member = self.member.as_mut()?;
        let generation = member.generation()?;
        let positions = if positions.is_empty() { member.any_position() } else { positions };
        // Already: if this step does not become lasting no other of this session does.
        member.reached(&positions);
        Some(Proof { positions, generation })
    }
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
        self.note_end(topic)?;
        self.shared.documents(topic, each)
    }

    fn follow(
        &mut self,
        topic: &Topic,
        each: &mut dyn FnMut(Bytes, Bytes),
    ) -> Result<(), BusError> {
        self.note_end(topic)?;
        self.shared.decided_documents(topic, each)
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

    fn commit(self: Box<Self>, step: Step) -> Result<Box<dyn Session>, BusError> {
        let mut session = self.begin(step)?;
        session.complete()?;
        Ok(session)
    }

    fn begin(mut self: Box<Self>, mut step: Step) -> Result<Box<dyn Session>, BusError> {
        self.me.check(&step, self.shared.lanes)?;
        let proof = self.proof(std::mem::take(&mut step.positions));
        let transaction = Transaction {
            shared: Arc::clone(&self.shared),
            me: self.me.clone(),
            producer: Arc::clone(&self.producer),
            line: Arc::clone(&self.line),
        };
        let workers = match &mut self.workers {
            Some(workers) => workers,
            none => none.insert(Workers::new(&self.me)?),
        };
        let step = transaction.begin(step, proof, workers)?;
        self.under_way.push_back(step);
        Ok(self)
    }

    fn complete(&mut self) -> Result<(), BusError> {
        let Some(step) = self.under_way.pop_front() else { return Ok(()) };
        step.wait(&self.shared, &self.me)
    }
}
