//! The bus: how roles are woken, and how what they did becomes lasting, all or nothing.
//!
//! - [`Bus`], [`Session`]: what a bus is; [`memory`], [`kafka`]: the two there are, and [`sim`] for simulations;
//!   all pass the one suite in [`contract`].
//! - [`Role`], [`drive`]: a role is a synchronous state machine; one loop runs them all.
//! - [`books`]: what every step took in and gave out, told on `metrics`.
//! - [`stand`]: positions in a role's own state. [`topic`]: the one table of topics. [`codec`]: batches as Arrow IPC, stamps as headers. [`dead`]:
//!   what becomes of records that are of no use. [`documents`]: who runs which.
//!
//! The promise: **a [`Step`] is one transaction**. What it sends, what it changes in the role's state
//! and where it stands in its input become visible together or not at all, and readers see committed
//! records only. A record of a lane is read in the order it was written. After any failure there is
//! one way on: drop the session, open another, read state and positions back.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use bytes::Bytes;
use model::stream::Def;

pub mod books;
pub mod clock;
pub mod codec;
#[doc(hidden)]
pub mod contract;
pub mod dead;
pub mod documents;
pub mod drive;
pub mod kafka;
pub mod memory;
mod newest;
pub mod place;
mod position;
pub mod sim;
pub mod stand;
pub mod topic;

pub use place::Place;
pub use position::{Gap, Position};
pub use topic::Topic;

/// Partition n of all topics that a group reads: always held by one member.
pub type Lane = u32;

/// What the metadata of a position may take: Kafka's `offset.metadata.max.bytes` unless set.
pub const MAX_METADATA: usize = 4096;

/// Records that one [`Wake::Records`] brings at most: what one step has to hold.
pub const MAX_WAKE_RECORDS: usize = 256;

/// Bytes of records after which a [`Wake::Records`] takes no more.
pub const MAX_WAKE_BYTES: usize = 16 << 20;

/// Who opens a session.
#[derive(Debug, Clone)]
pub struct Member {
    /// The consumer group, such as `aggregate` or `sink.parquet`; without the prefix.
    pub group: String,
    /// The node: with the group it names the transaction and the static member.
    pub node: String,
    /// Topics read, all with the same partition count. Empty for a role that reads none (capture).
    pub topics: Vec<Topic>,
    /// Compacted topic that holds the role's state by lane.
    pub state: Option<Topic>,
    /// Lanes of a member that reads no topic: where its state lives.
    pub home: Vec<Lane>,
}

/// Whether a source follows the present or replays a file: the two never wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timeline {
    /// Live capture.
    Live,
    /// A capture file.
    File,
}

/// What a source says of its progress with each record, punctuation included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Node and input, such as `w1/9f2c…`; for an aggregator its lane.
    pub source: String,
    /// Which time it moves in.
    pub timeline: Timeline,
    /// Packet time reached: no row with an earlier `_write_ts` follows from this source on this topic
    /// and lane. Microseconds. [`i64::MAX`] where nothing follows at all.
    pub time: i64,
    /// The source is finished.
    pub end: bool,
}

/// What a record holds.
#[derive(Debug, Clone)]
pub enum Payload {
    /// Rows of one stream. The memory bus hands the batch on as it is; Kafka carries Arrow IPC.
    Rows(&'static Def, RecordBatch),
    /// A document or a piece of state.
    Bytes(Bytes),
    /// Nothing: punctuation where there is a stamp, a tombstone where there is a key.
    Empty,
    /// Bytes that do not decode, and why: for the dead letters.
    Bad(Bytes, String),
}

impl Payload {
    /// What it takes in memory, bytes. Batches that share arrays each count them.
    pub fn size(&self) -> usize {
        match self {
            Payload::Rows(_, rows) => rows.get_array_memory_size(),
            Payload::Bytes(bytes) | Payload::Bad(bytes, _) => bytes.len(),
            Payload::Empty => 0,
        }
    }
}

/// A record to send.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Where to.
    pub topic: Topic,
    /// Partition.
    pub lane: Lane,
    /// Key of the record; rows of many keys share a record and have none.
    pub key: Option<Bytes>,
    /// What it holds.
    pub payload: Payload,
    /// The source's progress, on topics that have a watermark.
    pub stamp: Option<Stamp>,
    /// Further headers, such as those of a dead letter.
    pub headers: Vec<(String, String)>,
    /// The rows as bytes, where they came so and nothing of them was changed: then nobody packs them anew.
    pub packed: Option<Bytes>,
}

impl Outgoing {
    /// Rows for a lane.
    pub fn rows(topic: Topic, lane: Lane, def: &'static Def, rows: RecordBatch) -> Outgoing {
        Outgoing::bare(topic, lane, Payload::Rows(def, rows))
    }

    /// A payload and nothing else.
    pub(crate) fn bare(topic: Topic, lane: Lane, payload: Payload) -> Outgoing {
        Outgoing { topic, lane, key: None, payload, stamp: None, headers: Vec::new(), packed: None }
    }

    /// The same with the source's progress.
    pub fn stamped(mut self, stamp: Stamp) -> Outgoing {
        self.stamp = Some(stamp);
        self
    }

    /// Only the source's progress.
    pub fn punctuation(topic: Topic, lane: Lane, stamp: Stamp) -> Outgoing {
        Outgoing::bare(topic, lane, Payload::Empty).stamped(stamp)
    }

    /// A document under a key; without bytes, its tombstone.
    pub fn document(topic: Topic, lane: Lane, key: Bytes, bytes: Option<Bytes>) -> Outgoing {
        let payload = bytes.map_or(Payload::Empty, Payload::Bytes);
        Outgoing { key: Some(key), ..Outgoing::bare(topic, lane, payload) }
    }
}

/// A record that was read.
#[derive(Debug, Clone)]
pub struct Record {
    /// Where from.
    pub topic: Topic,
    /// Partition.
    pub lane: Lane,
    /// Its place in the partition; transactions leave holes.
    pub offset: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// What it holds.
    pub payload: Payload,
    /// The source's progress.
    pub stamp: Option<Stamp>,
    /// The bytes that its rows came as, if they are all of them and nothing else: whoever passes the rows on unchanged
    /// may pass these on ([`Outgoing::packed`]).
    pub packed: Option<Bytes>,
}

/// A change of a role's state: a value under a key, or its removal.
#[derive(Debug, Clone)]
pub struct Change {
    /// The lane the state belongs to.
    pub lane: Lane,
    /// What it is.
    pub key: Bytes,
    /// Its new value; `None` removes it.
    pub value: Option<Bytes>,
}

/// One transaction.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// Records to send, in order.
    pub out: Vec<Outgoing>,
    /// Changes of the role's state.
    pub state: Vec<Change>,
    /// Positions reached.
    pub positions: Vec<Position>,
    /// What the role counted of its own in this step, for the [`books`].
    pub counts: books::Counts,
    /// Files that are committed with it (sink).
    pub files: Vec<books::File>,
}

/// Why a role is called.
#[derive(Debug, Clone)]
pub enum Wake {
    /// These lanes are ours now; each was given to [`Role::restored`] already.
    Assigned(Vec<Lane>),
    /// Records in order of their lanes and topics.
    Records(Vec<Record>),
    /// Nothing more in this partition for now.
    End(Topic, Lane),
    /// Nothing came for the time that was waited.
    Idle,
    /// These lanes go to somebody else, but are still ours: commit now what is done for them, forget
    /// the rest.
    Revoked(Vec<Lane>),
    /// These lanes are gone: forget them.
    Lost(Vec<Lane>),
    /// Every partition is read to its end and the process is to finish there (`--drain`): let go what
    /// waits only for time.
    Drained,
    /// The process stops: commit what is done. Lanes stay ours until the session closes.
    Stop,
    /// A topic of documents that the role [follows](Role::follows), whole: the newest of each key. Comes
    /// whenever lanes were assigned, and soon after anything was written there; it may bring nothing new.
    Documents(Topic, Vec<(Bytes, Bytes)>),
}

/// What a restart finds of one lane.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// Committed positions in the lane's partitions; a partition never committed is absent and is
    /// read from its beginning. Where records are gone, the first that is kept.
    pub positions: Vec<Position>,
    /// What is gone: said and counted, as nothing brings it back.
    pub gaps: Vec<Gap>,
    /// The lane's state, the newest value of each key, in order of first writing; where the log was
    /// compacted in between that order is another, so that nothing may rest on it.
    pub state: Vec<(Bytes, Bytes)>,
}

impl Member {
    /// How it is called in messages.
    pub fn name(&self) -> String {
        format!("{} on node {}", self.group, self.node)
    }

    /// Whether a step can be committed by this member at all, on a bus of so many lanes.
    ///
    /// # Errors
    /// [`BusError::Fatal`]: a role made a step that no bus can take, which is a mistake in it.
    pub fn check(&self, step: &Step, lanes: u32) -> Result<(), BusError> {
        let fatal = |what: String| Err(BusError::Fatal(format!("{}: {what}", self.name())));
        for out in &step.out {
            if out.lane >= lanes {
                return fatal(format!("a record for {}[{}] of {lanes} lanes", out.topic, out.lane));
            }
            if let Payload::Bytes(bytes) | Payload::Bad(bytes, _) = &out.payload
                && bytes.len() > codec::MAX_PAYLOAD
            {
                return Err(codec::too_large(out, bytes.len(), "a document"));
            }
        }
        for change in &step.state {
            if self.state.is_none() || change.lane >= lanes {
                let key = String::from_utf8_lossy(&change.key);
                return fatal(format!("state `{key}` of lane {} has no topic", change.lane));
            }
            if change.value.as_ref().is_some_and(|value| value.len() > codec::MAX_PAYLOAD) {
                let key = String::from_utf8_lossy(&change.key);
                return fatal(format!("state `{key}` of lane {} is too large", change.lane));
            }
        }
        for position in &step.positions {
            if position.lane >= lanes || !self.topics.contains(&position.topic) {
                return fatal(format!("{position} is a position in a topic it does not read"));
            }
            if position.metadata.len() > MAX_METADATA {
                let length = position.metadata.len();
                return fatal(format!(
                    "{position} has {length} bytes of metadata, {MAX_METADATA} fit"
                ));
            }
        }
        Ok(())
    }
}

impl Step {
    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty() && self.state.is_empty() && self.positions.is_empty()
    }
}

/// What can go wrong on a bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The session is gone and the outcome of its last step may be open: only `open` remains.
    #[error("{0}")]
    Session(String),
    /// Nothing that a new session would mend: the message says what a person must do.
    #[error("{0}")]
    Fatal(String),
}

/// A bus. Opening settles whatever an earlier session of the same member left open.
pub trait Bus: Send + Sync {
    /// Joins the group; reads committed records only.
    fn open(&self, me: &Member) -> Result<Box<dyn Session>, BusError>;
    /// The partition count of every partitioned topic.
    fn lanes(&self) -> u32;
}

/// One member's time on a bus.
pub trait Session: Send {
    /// What happened next; [`Wake::Idle`] after `wait`. Never gives `Drained`, `Stop` or `Documents`. Lanes that
    /// were revoked are given up when this is called after [`Wake::Revoked`].
    fn next(&mut self, wait: Duration) -> Result<Wake, BusError>;
    /// Reads back a lane just assigned, calls `each` with its state, and begins to read the lane's
    /// partitions where they were committed, else at their beginning, or at the first record kept.
    fn restore(
        &mut self,
        lane: Lane,
        each: &mut dyn FnMut(Bytes, Bytes),
    ) -> Result<Vec<Position>, BusError>;
    /// What was found to be gone in the lanes restored since this was last asked.
    fn gaps(&mut self) -> Vec<Gap> {
        Vec::new()
    }
    /// A role itself says where it stood in a partition just restored, of which the group has no position: it is
    /// read from there. What retention took after that is given back, and the position moved behind it. Refused
    /// where the log ends before.
    fn stood(&mut self, _position: &mut Position) -> Result<Option<Gap>, BusError> {
        Ok(None)
    }
    /// Reads a compacted topic of documents whole, to its present end, all lanes in order.
    fn documents(
        &mut self,
        topic: &Topic,
        each: &mut dyn FnMut(Bytes, Bytes),
    ) -> Result<(), BusError>;
    /// The same for who follows the topic: no further than all is decided by now, and without a wait for a transaction
    /// that is open. Once that has ended, [`Session::documents_changed`] says that there is more.
    fn follow(
        &mut self,
        topic: &Topic,
        each: &mut dyn FnMut(Bytes, Bytes),
    ) -> Result<(), BusError> {
        self.documents(topic, each)
    }
    /// Whether anything was committed to a topic of documents since this session last read it whole;
    /// `true` where it never did. Cheap enough to ask every few seconds.
    fn documents_changed(&mut self, topic: &Topic) -> Result<bool, BusError>;
    /// Whether the ends that were given are the end of all that was written before this call. A bus
    /// that shows a transaction some time after its writer knows of it looks again; `false` means
    /// that more is coming.
    fn settled(&mut self) -> Result<bool, BusError> {
        Ok(true)
    }
    /// Whether the group has committed also the lanes that this member does not hold to their end.
    /// Those of a member that died come to the others after a while, so that one that would finish
    /// waits as long; `true` once there is nothing to wait for.
    fn group_done(&mut self) -> Result<bool, BusError> {
        Ok(true)
    }
    /// One transaction. On error the session is gone.
    fn commit(self: Box<Self>, step: Step) -> Result<Box<dyn Session>, BusError>;
    /// Begins to commit a step, and need not wait until it is lasting: [`Session::complete`] does. [`drive::AHEAD`] others may
    /// be under way. Steps become lasting in their order, some of them together in one transaction: then they are lasting
    /// or lost together, and positions move together. On error the session is gone.
    fn begin(self: Box<Self>, step: Step) -> Result<Box<dyn Session>, BusError> {
        self.commit(step)
    }
    /// When this comes back the first of the steps under way is lasting. On error the session is gone.
    fn complete(&mut self) -> Result<(), BusError> {
        Ok(())
    }
}

/// A role: turns what woke it into a step, a value. It never touches the bus itself.
pub trait Role: Send {
    /// A session begins: everything held is void. Documents may be read here.
    fn opened(&mut self, session: &mut dyn Session) -> anyhow::Result<()>;
    /// One lane as its last commit left it.
    fn restored(&mut self, lane: Lane, from: Restored) -> anyhow::Result<()>;
    /// Where it stands in a lane with this state by its own books, which hold where the group has no position of a
    /// partition: Kafka forgets those of a group that was away for long (`offsets.retention.minutes`).
    fn stood(&self, _lane: Lane, _state: &[(Bytes, Bytes)]) -> Vec<Position> {
        Vec::new()
    }
    /// The next event; `now_ms` is the steady time of the injected clock ([`clock::Clock::steady_ms`]), for ages only.
    fn on(&mut self, wake: Wake, now_ms: i64) -> anyhow::Result<Option<Step>>;
    /// The step is lasting: what may only follow it is done here (the sink renames files).
    fn committed(&mut self) -> anyhow::Result<()>;
    /// Whether it may be woken by records, or by nothing, while steps of it are being committed ([`drive::AHEAD`] at most): it
    /// is told of each, in their order, once it has made further ones, or has nothing to make one of.
    fn works_ahead(&self) -> bool {
        false
    }
    /// Topics of documents that it is to be told of, by [`Wake::Documents`].
    fn follows(&self) -> Vec<Topic> {
        Vec::new()
    }
    /// Nothing more will ever come of it (a capture file is read to its end).
    fn done(&self) -> bool {
        false
    }
    /// Whether it has made what it cannot make again, and what no commit has confirmed: then a stop
    /// waits for a session that takes it, until it is insisted on.
    fn owes(&self) -> bool {
        false
    }
    /// Whether it is at work before there was any session (live capture with a spool): then the first one that does
    /// not open is no failure.
    fn is_ahead(&self) -> bool {
        false
    }
    /// Whether it can work now. While it cannot (a disk is full) no session is opened, so that its lanes go to
    /// others; it is asked again soon.
    fn ready(&mut self, _now_ms: i64) -> bool {
        true
    }
    /// Whether it has steps ready that it still makes when it stops, one for each time that it is asked.
    fn backlog(&self) -> bool {
        false
    }
    /// Up to where a partition's input is done with at a position of this role, and not to be counted again
    /// when it is read once more from there.
    fn used(&self, position: &Position) -> i64 {
        position.offset
    }
    /// What else it says of itself on `metrics`, such as the version of the policy that it follows.
    fn facts(&self) -> std::collections::BTreeMap<String, String> {
        std::collections::BTreeMap::new()
    }
    /// How long [`Session::next`] may wait for records.
    fn wait(&self) -> Duration {
        Duration::from_millis(200)
    }
}

/// A shared bus.
pub type SharedBus = Arc<dyn Bus>;

impl Restored {
    /// How many records are gone.
    pub fn records_gone(&self) -> u64 {
        self.gaps.iter().map(|gap| gap.from.abs_diff(gap.to)).sum()
    }
}
