//! The bus on Apache Kafka.
//!
//! A session is a transactional producer, whose identity is group and node, and a consumer that is a
//! static member of the group under the same name. Positions are committed inside the transaction
//! together with the member's place in the group, so that one whose lanes were taken away cannot
//! commit for them. Nothing is ever retried inside a session: whatever leaves an outcome open ends
//! it, and a new one with the same identity settles it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::topic::{self, Topic};
use crate::{Bus, BusError, Lane, Member, Session};

use self::client::{Logged, Role};
use self::inputs::Reader;
use self::session::KafkaSession;

pub mod admin;
mod client;
mod inputs;
mod member;
mod read;
mod session;

/// How long a broker may take to answer a question.
const ASK: Duration = Duration::from_secs(10);

/// How to reach Kafka.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Bootstrap servers, `HOST:PORT,…`.
    pub brokers: String,
    /// What the names of topics, groups and transactions begin with.
    pub prefix: String,
    /// `[kafka]` of the configuration: handed to librdkafka as it is, for every client.
    pub options: BTreeMap<String, String>,
}

/// The bus.
pub struct Kafka(Arc<Shared>);

struct Shared {
    config: Config,
    lanes: u32,
    /// Sees the end of what is written.
    written: BaseConsumer<Logged>,
    /// Sees the end of what is committed and not behind an open transaction.
    stable: BaseConsumer<Logged>,
    /// Reads partitions outside of groups, unless somebody is just doing so.
    visitor: Mutex<Option<Arc<Reader>>>,
}

impl Kafka {
    /// Connects, and checks that every topic is there and as it should be.
    ///
    /// # Errors
    /// [`BusError::Session`] where no broker answers within ten seconds; [`BusError::Fatal`] for
    /// options that librdkafka does not take and topics that are missing or otherwise wrong.
    pub fn connect(config: Config) -> Result<Kafka, BusError> {
        let lanes = admin::check_topics(&config)?;
        let written = client::consumer(&config, Role::Written, Logged)?;
        let stable = client::consumer(&config, Role::Stable, Logged)?;
        Ok(Kafka(Arc::new(Shared { config, lanes, written, stable, visitor: Mutex::default() })))
    }

    /// How it is reached.
    pub fn config(&self) -> &Config {
        &self.0.config
    }
}

impl Bus for Kafka {
    fn open(&self, me: &Member) -> Result<Box<dyn Session>, BusError> {
        for topic in me.topics.iter().chain(&me.state) {
            self.0.check_partitions(topic)?;
        }
        Ok(Box::new(KafkaSession::open(Arc::clone(&self.0), me)?))
    }

    fn lanes(&self) -> u32 {
        self.0.lanes
    }
}

impl Shared {
    fn full(&self, topic: &Topic) -> String {
        topic.full(&self.config.prefix)
    }

    /// A topic that was deleted or made anew since the process began must not be used.
    fn check_partitions(&self, topic: &Topic) -> Result<(), BusError> {
        let full = self.full(topic);
        let found = self.written.fetch_metadata(Some(&full), ASK);
        let found = found.map_err(|e| self.failed(&e, "asking for topics"))?;
        let count =
            found.topics().iter().find(|t| t.name() == full).map_or(0, |t| t.partitions().len());
        if count == self.lanes as usize {
            return Ok(());
        }
        Err(BusError::Fatal(if count == 0 {
            format!("topic {full} is missing: run `weir topics create`")
        } else {
            format!("topic {full} has {count} partitions, the others have {}", self.lanes)
        }))
    }

    /// First offset and the one after the last, transactions still open included.
    fn written(&self, topic: &Topic, lane: Lane) -> Result<(i64, i64), BusError> {
        self.ends(&self.written, topic, lane)
    }

    /// First offset and the one up to which everything is decided.
    fn stable(&self, topic: &Topic, lane: Lane) -> Result<(i64, i64), BusError> {
        self.ends(&self.stable, topic, lane)
    }

    fn ends(
        &self,
        asks: &BaseConsumer<Logged>,
        topic: &Topic,
        lane: Lane,
    ) -> Result<(i64, i64), BusError> {
        asks.poll(Duration::ZERO); // what it has to tell would pile up
        let ends = asks.fetch_watermarks(&self.full(topic), partition(lane), ASK);
        ends.map_err(|e| self.failed(&e, &format!("asking for the end of {topic}[{lane}]")))
    }

    /// An error of a client.
    fn failed(&self, error: &KafkaError, what: &str) -> BusError {
        failed(&self.config, error, what)
    }
}

/// A lane as Kafka counts. There are never more than [`admin::MAX_PARTITIONS`].
fn partition(lane: Lane) -> i32 {
    i32::try_from(lane).unwrap_or(i32::MAX)
}

/// What an error means: for most a new session is the answer, for what only a person can grant or
/// set right it is not.
fn failed(config: &Config, error: &KafkaError, what: &str) -> BusError {
    use RDKafkaErrorCode as Code;
    let message = format!("Kafka at {}: {what}: {}", config.brokers, said(error));
    match code(error) {
        Some(
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::Authentication,
        ) => BusError::Fatal(format!("{message}: grant it, or set other credentials in [kafka]")),
        _ if matches!(error, KafkaError::ClientConfig(..)) => BusError::Fatal(message),
        _ => BusError::Session(message),
    }
}

/// The code of an error, also where rdkafka's own accessor does not look.
fn code(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::Transaction(error) => Some(error.code()),
        other => other.rdkafka_error_code(),
    }
}

/// What an error says, without the name of its type.
fn said(error: &KafkaError) -> String {
    match error {
        KafkaError::Transaction(error) => error.string(),
        other => other.to_string(),
    }
}

/// The topics that `weir topics create` makes, with the names they have on the broker.
fn specs(config: &Config) -> Vec<(String, topic::Spec)> {
    topic::table().into_iter().map(|spec| (spec.topic.full(&config.prefix), spec)).collect()
}
