//! A step as a transaction: on a thread beside the role's, so that the next step can be made, and turned into bytes, while
//! the broker is busy with this one.
//!
//! A session has one producer, which has one transaction at a time: steps wait in a [`Line`] until those before them are
//! lasting, and are given up where that failed; those that wait together share a transaction.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::client::Deliveries;
use super::guard::{self, Kept};
use super::line::{Line, Packed, Place};
use super::patience::Patience;
use super::{Shared, code, partition};
use crate::codec::{self, Encoded};
use crate::{BusError, Change, Member, Outgoing, Payload, Position, Step};

/// How long a commit may take. After it the outcome is open, and a new session settles it.
const COMMIT: Duration = Duration::from_secs(45);

/// How long committing positions may take: longer than a group takes to find its coordinator anew, and less than a
/// transaction may stay open.
const POSITIONS: Duration = Duration::from_secs(15);

/// How much longer than it should a step may take, before its thread is left alone.
const GRACE: Duration = Duration::from_secs(5);

/// One is at work while the other waits.
const WORKERS: usize = 2;

/// Between two looks for what is on its way.
const ARRIVE_LOOK: Duration = Duration::from_millis(1);

/// How soon a stop is seen meanwhile.
const LOOK: Duration = Duration::from_millis(200);

/// A step that is being committed.
pub(super) struct UnderWay(Receiver<Result<(), BusError>>);

/// What a worker does.
type Work = Box<dyn FnOnce() + Send>;

/// Threads of a session that pack and commit its steps: one packs while the other waits for the broker. They stay for the
/// session's sake alone: the memory of a thread that ends goes back to the system, and the next one's is made anew.
pub(super) struct Workers(Sender<Work>);

impl Workers {
    pub(super) fn new(me: &Member) -> Result<Workers, BusError> {
        let (sender, work) = channel::<Work>();
        let work = Arc::new(Mutex::new(work));
        for _ in 0..WORKERS {
            let work = Arc::clone(&work);
            // What is in line when the session goes is still done, as it may be lasting.
            let next = move || work.lock().unwrap_or_else(PoisonError::into_inner).recv();
            std::thread::Builder::new()
                .name("kafka-step".into())
                .spawn(move || {
                    while let Ok(work) = next() {
                        work();
                    }
                })
                .map_err(|e| BusError::Session(format!("{}: no thread: {e}", me.name())))?;
        }
        Ok(Workers(sender))
    }
}

/// What a transaction needs of its session.
pub(super) struct Transaction {
    pub(super) shared: Arc<Shared>,
    pub(super) me: Member,
    pub(super) producer: Arc<Kept<BaseProducer<Deliveries>>>,
    pub(super) line: Arc<Line>,
}

/// Positions to commit, and the proof that the lanes are still ours.
pub(super) struct Proof {
    pub(super) positions: Vec<Position>,
    pub(super) generation: Arc<ConsumerGroupMetadata>,
}

impl UnderWay {
    /// Waits until it is lasting. Where librdkafka does not come back, that is an open outcome as any other.
    pub(super) fn wait(self, shared: &Shared, me: &Member) -> Result<(), BusError> {
        let mut patience = shared.patience(COMMIT + GRACE);
        let mut over: Option<Instant> = None;
        loop {
            match self.0.recv_timeout(LOOK) {
                Ok(done) => return done,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(BusError::Session(format!("{}: a commit broke off", me.name())));
                }
                Err(RecvTimeoutError::Timeout) if !patience.is_over() => {}
                // A stop takes the patience of the thread too, which says what it waited for.
                Err(RecvTimeoutError::Timeout) => {
                    if over.get_or_insert_with(Instant::now).elapsed() > GRACE {
                        let name = me.name();
                        return Err(BusError::Session(format!(
                            "{name}: a commit did not come back"
                        )));
                    }
                }
            }
        }
    }
}

impl Transaction {
    /// Begins to commit a step, behind those before it; `proof` is `None` for who reads nothing.
    pub(super) fn begin(
        self,
        step: Step,
        proof: Option<Proof>,
        workers: &Workers,
    ) -> Result<UnderWay, BusError> {
        let (answers, answer) = channel();
        let name = self.me.name();
        let place = Place::join(&self.line, answers);
        let work = move || match self.encoded(step) {
            Ok(records) => {
                let packed = Packed { records, proof };
                place.packed(packed, &mut |steps| self.commit(steps));
            }
            Err(error) => place.failed(error),
        };
        match workers.0.send(Box::new(work)) {
            Ok(()) => Ok(UnderWay(answer)),
            Err(_) => Err(BusError::Session(format!("{name}: a commit broke off"))),
        }
    }

    /// Steps in their order, as one transaction.
    fn commit(&self, steps: &[Packed]) -> Result<(), BusError> {
        let patience = &mut self.shared.patience(COMMIT);
        self.producer.begin_transaction().map_err(|e| self.failed(&e, "beginning a step"))?;
        for (out, parts) in steps.iter().flat_map(|step| &step.records) {
            for part in parts {
                self.send(out, part, patience)?;
            }
        }
        self.arrive(patience)?;
        self.send_positions(steps, patience)?;
        let committed = patience.resume(|slice| self.producer.commit_transaction(slice));
        if let Some(failure) = self.producer.context().first_failure() {
            return Err(BusError::Session(format!("{}: {failure}", self.me.name())));
        }
        committed.map_err(|e| self.failed(&e, "committing a step"))
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
    fn encoded(&self, step: Step) -> Result<Vec<(Outgoing, Vec<Encoded>)>, BusError> {
        let mut records = Vec::with_capacity(step.out.len() + step.state.len());
        let changes = step.state.iter().filter_map(|change| change_record(&self.me, change));
        for out in step.out.into_iter().chain(changes) {
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
    /// transaction.
    fn send_positions(
        &self,
        steps: &[Packed],
        patience: &mut Patience<'_>,
    ) -> Result<(), BusError> {
        let proofs = || steps.iter().filter_map(|step| step.proof.as_ref());
        // Lanes come and go only while no step is under way.
        let Some(Proof { generation, .. }) = proofs().next_back() else { return Ok(()) };
        let positions = last_of_each(proofs().flat_map(|proof| &proof.positions).cloned());
        let (producer, generation) = (Arc::clone(&self.producer), Arc::clone(generation));
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for position in &positions {
            let full = self.shared.full(&position.topic);
            let mut element = list.add_partition(&full, partition(position.lane));
            element
                .set_offset(Offset::Offset(position.offset))
                .map_err(|e| self.failed(&e, &format!("at {position}")))?;
            element.set_metadata(&position.metadata);
        }
        let send =
            move |limit: Duration| producer.send_offsets_to_transaction(&list, &generation, limit);
        match guard::within(POSITIONS, patience, send) {
            Some(sent) => sent.map_err(|e| self.failed(&e, "committing positions")),
            None => Err(BusError::Session(format!(
                "{}: committing positions did not come back",
                self.me.name()
            ))),
        }
    }
}

/// The last position of each partition.
fn last_of_each(positions: impl IntoIterator<Item = Position>) -> Vec<Position> {
    let mut last: Vec<Position> = Vec::new();
    for position in positions {
        match last.iter_mut().find(|p| p.topic == position.topic && p.lane == position.lane) {
            Some(earlier) => *earlier = position,
            None => last.push(position),
        }
    }
    last
}

/// A change of state as a record of the state topic.
fn change_record(me: &Member, change: &Change) -> Option<Outgoing> {
    let topic = me.state.clone()?;
    Some(Outgoing::document(topic, change.lane, change.key.clone(), change.value.clone()))
}
