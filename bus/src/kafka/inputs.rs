//! Partitions that are being read, each through a queue of its own: librdkafka tells of the end of a
//! partition by its number only, and a lane has that number on every topic.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::guard::Kept;
use super::{Config, Seen, code, failed, partition, said};
use crate::{BusError, Lane, MAX_WAKE_BYTES, MAX_WAKE_RECORDS, Record, Topic, codec};

/// A consumer with our context.
pub(super) type Reader = BaseConsumer<Context>;

/// What the group said, in the order it did.
#[derive(Debug)]
pub(super) enum Event {
    /// Partitions, by the topic's name on the broker.
    Assigned(Vec<(String, i32)>),
    /// All partitions are asked back.
    Revoked,
    /// All partitions are gone.
    Lost,
    /// The group cannot be joined.
    Failed(String),
}

/// Wakes the one thread that waits for any of its queues.
#[derive(Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    condvar: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.condvar.notify_one();
    }

    /// Returns when it rings or rang since it was last waited for, or after the time.
    pub(super) fn wait(&self, time: Duration) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.condvar.wait_timeout_while(rung, time, |rung| !*rung);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

/// Keeps what the group says until the session asks. librdkafka waits with the group's next step
/// until the consumer's assignment is changed, which is how lanes stay ours while they are revoked.
#[derive(Default)]
pub(super) struct Context {
    events: Mutex<VecDeque<Event>>,
    closing: AtomicBool,
    bell: Arc<Bell>,
}

impl Context {
    pub(super) fn event(&self) -> Option<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// From here on whatever the group asks is granted: nobody listens any more.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    pub(super) fn bell(&self) -> &Bell {
        &self.bell
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", "{error}: {reason}");
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        if self.closing.load(Ordering::SeqCst) {
            // What closing takes back has to be answered, or it has no way on. An assignment that came up just before
            // closing drops by itself, unless its lanes were lost; and who answers a consumer that is closed by then is
            // never told so.
            let is_new = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
            if !consumer.closed() && (!is_new || consumer.assignment_lost()) {
                let _ = consumer.unassign();
            }
            return;
        }
        let event =
            match kind {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                    let place = |e: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
                        (e.topic().to_owned(), e.partition())
                    };
                    Event::Assigned(partitions.elements().iter().map(place).collect())
                }
                RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                    if consumer.assignment_lost() { Event::Lost } else { Event::Revoked }
                }
                other => Event::Failed(RDKafkaErrorCode::from(other).to_string()),
            };
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
        self.bell.ring();
    }
}

/// A consumer whose queues ring its bell.
pub(super) fn reader(
    config: &Config,
    role: super::client::Role<'_>,
) -> Result<Kept<Arc<Reader>>, BusError> {
    let context = Context::default();
    let bell = Arc::clone(&context.bell);
    let mut consumer = super::client::consumer(config, role, context)?;
    consumer.set_nonempty_callback(move || bell.ring());
    Ok(Kept::new("a consumer", Arc::new(consumer)))
}

/// One partition.
struct Input {
    topic: Topic,
    lane: Lane,
    /// After the last record read.
    next: Option<i64>,
    queue: PartitionQueue<Context>,
}

/// Where to begin: after a record, or at the beginning of the log.
pub(super) type Start = (Topic, Lane, Option<i64>);

/// The partitions of one assignment, in order of lanes and topics.
#[derive(Default)]
pub(super) struct Inputs {
    list: Vec<Input>,
    /// Where the next look begins, so that no partition starves another.
    turn: usize,
    /// Records are only looked at.
    pub(super) skims: bool,
}

/// What one look found.
#[derive(Default)]
pub(super) struct Found {
    /// Records in order of lanes and topics.
    pub(super) records: Vec<Record>,
    /// Those that are only looked at, as they come.
    pub(super) seen: Vec<Seen>,
    /// Partitions whose end was reached after these records.
    pub(super) ends: Vec<(Topic, Lane)>,
}

impl Found {
    fn is_full(&self) -> bool {
        self.records.len() + self.seen.len() >= MAX_WAKE_RECORDS
    }
}

impl Inputs {
    /// Makes these the partitions that the consumer reads.
    pub(super) fn assign(
        config: &Config,
        consumer: &Arc<Reader>,
        starts: Vec<Start>,
    ) -> Result<Inputs, BusError> {
        let mut partitions = TopicPartitionList::with_capacity(starts.len());
        let mut list = Vec::with_capacity(starts.len());
        for (topic, lane, next) in starts {
            let full = topic.full(&config.prefix);
            let offset = next.map_or(Offset::Beginning, Offset::Offset);
            partitions
                .add_partition_offset(&full, partition(lane), offset)
                .map_err(|e| failed(config, &e, &format!("{topic}[{lane}]")))?;
            // Before the assignment, which does not touch a queue that was split off already.
            let queue = consumer.split_partition_queue(&full, partition(lane));
            let Some(mut queue) = queue else {
                return Err(BusError::Session(format!("{topic}[{lane}] has no queue")));
            };
            let bell = Arc::clone(&consumer.context().bell);
            queue.set_nonempty_callback(move || bell.ring());
            list.push(Input { topic, lane, next, queue });
        }
        list.sort_by(|a, b| (a.lane, &a.topic).cmp(&(b.lane, &b.topic)));
        consumer.assign(&partitions).map_err(|e| failed(config, &e, "beginning to read"))?;
        Ok(Inputs { list, turn: 0, skims: false })
    }

    /// Where each partition is read next; `None` is the beginning of its log.
    pub(super) fn places(&self) -> impl Iterator<Item = Start> {
        self.list.iter().map(|input| (input.topic.clone(), input.lane, input.next))
    }

    /// Whether a partition is among these.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Takes what is there, without waiting, within the bounds of a wake.
    pub(super) fn take(&mut self, config: &Config) -> Result<Found, BusError> {
        let mut found = Found::default();
        let (count, mut bytes) = (self.list.len(), 0);
        for i in 0..count {
            let at = (self.turn + i) % count;
            if found.is_full() || bytes >= MAX_WAKE_BYTES {
                self.turn = at;
                break;
            }
            self.list[at].take(config, &mut found, &mut bytes, self.skims)?;
        }
        let order = |r: &Record| (r.lane, r.topic.clone(), r.offset);
        if !found.records.is_sorted_by_key(order) {
            found.records.sort_by_cached_key(order);
        }
        Ok(found)
    }
}

impl Input {
    fn take(
        &mut self,
        config: &Config,
        found: &mut Found,
        bytes: &mut usize,
        skims: bool,
    ) -> Result<(), BusError> {
        while !found.is_full() && *bytes < MAX_WAKE_BYTES {
            match self.queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) if skims => {
                    *bytes += message.payload_len();
                    self.next = Some(message.offset() + 1);
                    found.seen.push(seen(&self.topic, self.lane, &message));
                }
                Some(Ok(message)) => {
                    let record = record(&self.topic, self.lane, &message);
                    *bytes += message.payload_len();
                    self.next = Some(record.offset + 1);
                    found.records.push(record);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    found.ends.push((self.topic.clone(), self.lane));
                    break;
                }
                Some(Err(error)) => return Err(self.broken(config, &error)),
            }
        }
        Ok(())
    }

    fn broken(&self, config: &Config, error: &KafkaError) -> BusError {
        let (topic, lane) = (&self.topic, self.lane);
        match code(error) {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                let next = self.next.map_or("its beginning".to_owned(), |next| next.to_string());
                // A new session tells a log that lost its beginning from one that was made anew.
                BusError::Session(format!(
                    "{topic}[{lane}] cannot be read from {next} ({}): retention took it, or the topic \
                     was made anew",
                    said(error)
                ))
            }
            _ => failed(config, error, &format!("reading {topic}[{lane}]")),
        }
    }
}

/// A message as a record.
fn record(topic: &Topic, lane: Lane, message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers();
    let headers = headers.into_iter().flat_map(|headers| headers.iter());
    let headers = headers.filter_map(|header| Some((header.key, header.value?)));
    let key = message.key().map(Bytes::copy_from_slice);
    let payload = message.payload().map(Bytes::copy_from_slice);
    codec::decode(topic, lane, message.offset(), key, payload, headers)
}

/// A message by its headers.
fn seen(topic: &Topic, lane: Lane, message: &BorrowedMessage<'_>) -> Seen {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let headers = headers.filter_map(|h| Some((h.key.to_owned(), text(h.value?)))).collect();
    Seen { topic: topic.clone(), lane, offset: message.offset(), headers }
}
