//! The bus on Apache Kafka.
//!
//! A session is a transactional producer, whose identity is group and node, and a consumer that is a
//! static member of the group under the same name. Positions are committed inside the transaction
//! together with the member's place in the group, so that one whose lanes were taken away cannot
//! commit for them. Nothing is ever retried inside a session: whatever leaves an outcome open ends
//! it, and a new one with the same identity settles it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::drive::Stop;
use crate::topic::{self, Topic};
use crate::{Bus, BusError, Lane, Member, Session};

use self::client::{Asker, Role};
use self::guard::Kept;
use self::inputs::Reader;
use self::patience::Patience;
use self::session::KafkaSession;

pub use self::read::From;
pub use self::skim::Seen;

pub mod admin;
mod client;
mod ends;
mod gone;
mod guard;
mod inputs;
mod line;
mod member;
mod patience;
mod positions;
mod read;
mod session;
mod skim;
mod transaction;

/// How long a broker may take to answer a question.
const ASK: Duration = Duration::from_secs(10);

/// How long it may take before it is asked again.
const ASK_ONCE: Duration = Duration::from_secs(2);

/// Between two times that the same is asked.
const ASK_AGAIN: Duration = Duration::from_millis(20);

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
    /// Its topics were looked at.
    checked: AtomicBool,
    /// Once it is raised nobody waits long for a broker.
    stop: OnceLock<Stop>,
    /// Sees the end of what is written.
    written: Asker,
    /// Sees the end of what is committed and not behind an open transaction.
    stable: Asker,
    /// Reads partitions outside of groups, unless somebody is just doing so.
    visitor: Mutex<Option<Kept<Arc<Reader>>>>,
    /// Groups that its sessions are members of.
    groups: gone::Groups,
}

impl Kafka {
    /// Connects, and checks that every topic is there and as it should be.
    ///
    /// # Errors
    /// [`BusError::Session`] where no broker answers within ten seconds; [`BusError::Fatal`] for
    /// options that librdkafka does not take and topics that are missing or otherwise wrong.
    pub fn connect(config: Config) -> Result<Kafka, BusError> {
        Kafka::connect_within(config, ASK)
    }

    /// The same for those who do not wait ten seconds.
    ///
    /// # Errors
    /// As [`Kafka::connect`].
    pub fn connect_within(config: Config, patience: Duration) -> Result<Kafka, BusError> {
        let lanes = admin::check_topics(&config, patience)?;
        let kafka = Kafka::later(config, lanes)?;
        kafka.0.checked.store(true, Ordering::SeqCst);
        Ok(kafka)
    }

    /// Connects when a session is opened: for who has work to do without a broker, and knows from an earlier time
    /// how many lanes there are.
    ///
    /// # Errors
    /// [`BusError::Fatal`] for options that librdkafka does not take.
    pub fn later(config: Config, lanes: u32) -> Result<Kafka, BusError> {
        let written = client::asker(&config, Role::Written)?;
        let stable = client::asker(&config, Role::Stable)?;
        let (checked, stop) = (AtomicBool::new(false), OnceLock::new());
        let (visitor, groups) = (Mutex::default(), gone::Groups::default());
        let shared = Shared { config, lanes, checked, stop, written, stable, visitor, groups };
        Ok(Kafka(Arc::new(shared)))
    }

    /// Once this is raised no call waits long for a broker that does not answer.
    pub fn hurried_by(self, stop: &Stop) -> Kafka {
        // There is only one stop of a process.
        let _ = self.0.stop.set(stop.clone());
        self
    }

    /// How it is reached.
    pub fn config(&self) -> &Config {
        &self.0.config
    }
}

impl Bus for Kafka {
    fn open(&self, me: &Member) -> Result<Box<dyn Session>, BusError> {
        self.0.check()?;
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
    /// Looks at the topics, where that was not done when the process began.
    fn check(&self) -> Result<(), BusError> {
        if self.checked.load(Ordering::SeqCst) {
            return Ok(());
        }
        let lanes = admin::check_topics(&self.config, ASK_ONCE)?;
        if lanes != self.lanes {
            return Err(BusError::Fatal(format!(
                "topics have {lanes} partitions, and when this process began without a broker they were \
                 thought to have {}: start it again",
                self.lanes
            )));
        }
        self.checked.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// A wait for a broker.
    fn patience(&self, most: Duration) -> Patience<'_> {
        Patience::new(most, self.stop.get_or_init(Stop::new))
    }

    fn full(&self, topic: &Topic) -> String {
        topic.full(&self.config.prefix)
    }

    /// A topic that was deleted or made anew since the process began must not be used.
    fn check_partitions(&self, topic: &Topic) -> Result<(), BusError> {
        let full = self.full(topic);
        // What the broker said last: one that says nothing has not said that there is none.
        let is_missing = Cell::new(false);
        let count = || {
            is_missing.set(false);
            let found = self.written.fetch_metadata(Some(&full), ASK_ONCE)?;
            let topic = found.topics().iter().find(|topic| topic.name() == full);
            match topic.map_or(0, |topic| topic.partitions().len()) {
                // A broker that has just started may not have heard of it yet.
                0 => {
                    is_missing.set(!found.brokers().is_empty());
                    Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition))
                }
                count => Ok(count),
            }
        };
        match self.ask("asking for topics", ASK, count) {
            Ok(count) if count == self.lanes as usize => Ok(()),
            Ok(count) => Err(BusError::Fatal(format!(
                "topic {full} has {count} partitions, the others have {}",
                self.lanes
            ))),
            Err(BusError::Session(why)) if is_missing.get() => Err(BusError::Fatal(format!(
                "topic {full} is missing: run `weir topics create` ({why})"
            ))),
            Err(error) => Err(error),
        }
    }

    /// Asks a question that changes nothing, again while the answer is one that passes.
    fn ask<T>(
        &self,
        what: &str,
        patience: Duration,
        question: impl Fn() -> Result<T, KafkaError>,
    ) -> Result<T, BusError> {
        let mut patience = self.patience(patience);
        loop {
            match question() {
                Ok(answer) => return Ok(answer),
                Err(error) if passes(&error) && !patience.is_over() => {
                    std::thread::sleep(ASK_AGAIN);
                }
                Err(error) => return Err(self.failed(&error, what)),
            }
        }
    }

    /// An error of a client.
    fn failed(&self, error: &KafkaError, what: &str) -> BusError {
        failed(&self.config, error, what)
    }
}

/// Whether an error is of a broker or a group that is about to find itself.
fn passes(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code(error),
        Some(
            Code::UnstableOffsetCommit
                | Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::OffsetNotAvailable
                | Code::UnknownTopicOrPartition
                | Code::UnknownPartition
                | Code::NotCoordinator
                | Code::CoordinatorLoadInProgress
                | Code::CoordinatorNotAvailable
                | Code::WaitingForCoordinator
                | Code::BrokerTransportFailure
                // One that the others no longer know of.
                | Code::DestroyBroker
                // A leader that changed since we heard of it, or that has not heard of it yet.
                | Code::FencedLeaderEpoch
                | Code::UnknownLeaderEpoch
                | Code::RequestTimedOut
                | Code::OperationTimedOut
        )
    )
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
