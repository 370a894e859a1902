//! Topics on the broker: made by the table, and checked against it.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::client::{self, Logged};
use super::guard::Kept;
use super::{ASK, Config, failed, said, specs};
use crate::BusError;
use crate::topic::{Cleanup, Spec};

/// Largest batch that topics accept, bytes: `max.message.bytes`.
pub const MAX_MESSAGE: usize = 8 << 20;

/// More lanes than any cluster of ours has cores.
pub const MAX_PARTITIONS: u32 = 1024;

/// How long the controller may take to make all topics.
const CREATE: Duration = Duration::from_secs(60);

/// Between two looks for topics just made.
const LOOK: Duration = Duration::from_millis(100);

/// With so many replicas, two have to have a record before it counts.
const REPLICATION_FOR_TWO: i32 = 3;

/// A topic as it is, and what is wrong with it.
#[derive(Debug, Clone, Default)]
pub struct Described {
    /// Its name on the broker.
    pub name: String,
    /// Whether it is there.
    pub exists: bool,
    /// Whether it was made just now.
    pub created: bool,
    /// Number of partitions.
    pub partitions: u32,
    /// Replicas of its first partition.
    pub replication: u32,
    /// `cleanup.policy`.
    pub cleanup: String,
    /// `retention.ms`, for topics that are deleted from.
    pub retention_ms: Option<i64>,
    /// What does not match the table, each with what to do. Retention may be set at will.
    pub problems: Vec<String>,
}

impl Described {
    /// Whether it is there and as the table has it.
    pub fn matches(&self) -> bool {
        self.exists && self.problems.is_empty()
    }
}

/// What the table wants of a topic's configuration, exactly.
fn wanted(spec: &Spec) -> Vec<(&'static str, String)> {
    let policy = match spec.cleanup {
        Cleanup::Delete { .. } => "delete",
        Cleanup::Compact => "compact",
    };
    vec![
        ("cleanup.policy", policy.to_owned()),
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        ("max.message.bytes", MAX_MESSAGE.to_string()),
    ]
}

/// What a new topic gets beside that, and an operator may change.
fn initial(spec: &Spec, replication: i32) -> Vec<(&'static str, String)> {
    let mut initial = Vec::new();
    match spec.cleanup {
        Cleanup::Delete { hours } => {
            let retention = Duration::from_secs(u64::from(hours) * 3600);
            initial.push(("retention.ms", retention.as_millis().to_string()));
        }
        // Whoever takes a lane over reads all of it, and the newest segment, which with Kafka's own settings has up to
        // a gigabyte or a week, is never compacted.
        Cleanup::Compact => {
            initial.push(("segment.bytes", (16 << 20).to_string()));
            initial.push(("segment.ms", Duration::from_secs(600).as_millis().to_string()));
            initial.push(("min.cleanable.dirty.ratio", "0.1".to_owned()));
        }
    }
    if replication >= REPLICATION_FOR_TWO {
        initial.push(("min.insync.replicas", "2".to_owned()));
        initial.push(("unclean.leader.election.enable", "false".to_owned()));
    }
    initial
}

/// Makes the topics that are missing, and says of all how they are. `replication` -1 leaves it to the
/// broker.
///
/// # Errors
/// [`BusError`] where the broker does not answer or refuses; a topic that exists otherwise than it
/// should is no error but a problem in its row.
pub fn create_topics(
    config: &Config,
    partitions: u32,
    replication: i32,
) -> Result<Vec<Described>, BusError> {
    if !(1..=MAX_PARTITIONS).contains(&partitions) {
        return Err(BusError::Fatal(format!("{partitions} partitions: 1 to {MAX_PARTITIONS} go")));
    }
    let before = describe(config, Some(partitions))?;
    let missing: Vec<String> =
        before.into_iter().filter(|row| !row.exists).map(|row| row.name).collect();
    if !missing.is_empty() {
        create(config, &missing, partitions, replication)?;
    }
    let until = Instant::now() + CREATE;
    loop {
        let mut rows = describe(config, Some(partitions))?;
        // The controller has made them; the broker that answers may hear of it later.
        if rows.iter().any(|row| !row.exists) && Instant::now() < until {
            std::thread::sleep(LOOK);
            continue;
        }
        for row in &mut rows {
            row.created = missing.contains(&row.name);
        }
        return Ok(rows);
    }
}

fn create(
    config: &Config,
    missing: &[String],
    partitions: u32,
    replication: i32,
) -> Result<(), BusError> {
    let specs = specs(config);
    let settings: Vec<(&str, Vec<(&str, String)>)> = specs
        .iter()
        .filter(|(name, _)| missing.contains(name))
        .map(|(name, spec)| (name.as_str(), [wanted(spec), initial(spec, replication)].concat()))
        .collect();
    let new: Vec<NewTopic<'_>> = settings
        .iter()
        .map(|(name, settings)| {
            let replication = TopicReplication::Fixed(replication);
            let topic = NewTopic::new(name, super::partition(partitions), replication);
            settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        })
        .collect();
    let admin = client(config)?;
    let options = options().operation_timeout(Some(CREATE)).request_timeout(Some(CREATE));
    let made = wait(admin.create_topics(&new, &options));
    for made in made.map_err(|e| failed(config, &e, "creating topics"))? {
        match made {
            // Somebody else did it at the same time; how it came out is seen below.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                return Err(failed(
                    config,
                    &KafkaError::AdminOp(code),
                    &format!("creating {name}"),
                ));
            }
        }
    }
    Ok(())
}

/// Every topic of the table as it is on the broker. Without `partitions`, that of the first topic
/// found is what the others should have.
///
/// # Errors
/// [`BusError`] where the broker does not answer or refuses.
pub fn describe(config: &Config, partitions: Option<u32>) -> Result<Vec<Described>, BusError> {
    describe_within(config, partitions, ASK)
}

fn describe_within(
    config: &Config,
    partitions: Option<u32>,
    patience: Duration,
) -> Result<Vec<Described>, BusError> {
    let admin = client(config)?;
    let metadata = admin.inner().fetch_metadata(None, patience).map_err(|e| match e {
        KafkaError::MetadataFetch(code) if unreachable(code) => BusError::Session(format!(
            "cannot reach Kafka at {}: {}: is it running, and is [kafka] right for it?",
            config.brokers,
            said(&e)
        )),
        other => failed(config, &other, "asking for topics"),
    })?;
    let mut rows: Vec<Described> = Vec::new();
    for (name, _) in specs(config) {
        let found = metadata.topics().iter().find(|topic| topic.name() == name);
        let partitions = found.map_or(&[][..], |topic| topic.partitions());
        rows.push(Described {
            name,
            exists: !partitions.is_empty(),
            partitions: partitions.len() as u32,
            replication: partitions.first().map_or(0, |first| first.replicas().len() as u32),
            ..Described::default()
        });
    }
    let first = rows.iter().find(|row| row.exists).map(|row| row.partitions);
    let should = partitions.or(first).unwrap_or_default();
    let settings = settings(config, &admin, &rows)?;
    for (row, (_, spec)) in rows.iter_mut().zip(specs(config)) {
        check(row, &spec, should, settings.get(&row.name));
    }
    Ok(rows)
}

type Settings = HashMap<String, String>;

/// The configuration of the topics that exist, by name.
fn settings(
    config: &Config,
    admin: &AdminClient<Logged>,
    rows: &[Described],
) -> Result<HashMap<String, Settings>, BusError> {
    let names: Vec<ResourceSpecifier<'_>> =
        rows.iter().filter(|r| r.exists).map(|r| ResourceSpecifier::Topic(&r.name)).collect();
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let what = "asking for the configuration of topics";
    let found = wait(admin.describe_configs(&names, &options()));
    let found = found.map_err(|e| failed(config, &e, what))?;
    let mut settings = HashMap::new();
    for (resource, name) in found.into_iter().zip(names) {
        let resource = resource.map_err(|code| failed(config, &KafkaError::AdminOp(code), what))?;
        let ResourceSpecifier::Topic(name) = name else { continue };
        let entries = resource.entries.into_iter().filter_map(|e| Some((e.name, e.value?)));
        settings.insert(name.to_owned(), entries.collect());
    }
    Ok(settings)
}

fn check(row: &mut Described, spec: &Spec, partitions: u32, settings: Option<&Settings>) {
    if !row.exists {
        row.problems.push("it is missing: run `weir topics create`".into());
        return;
    }
    if row.partitions != partitions {
        row.problems.push(format!(
            "it has {} partitions and should have {partitions}: use a new prefix, the number is \
             fixed for the life of the topics",
            row.partitions
        ));
    }
    let get = |key: &str| settings.and_then(|s| s.get(key)).map_or("", String::as_str);
    row.cleanup = get("cleanup.policy").to_owned();
    if let Cleanup::Delete { .. } = spec.cleanup {
        row.retention_ms = get("retention.ms").parse().ok();
    }
    for (key, value) in wanted(spec) {
        let is = get(key);
        let enough = key == "max.message.bytes"
            && is.parse::<usize>().is_ok_and(|bytes| bytes >= MAX_MESSAGE);
        if is != value && !enough {
            row.problems.push(format!(
                "{key} is `{is}` and should be `{value}`: kafka-configs --alter --topic {} \
                 --add-config {key}={value}",
                row.name
            ));
        }
    }
}

/// Checks all topics; gives the partition count. A broker has so long to answer.
///
/// # Errors
/// [`BusError::Session`] where no broker answers, [`BusError::Fatal`] naming what is wrong.
pub(super) fn check_topics(config: &Config, patience: Duration) -> Result<u32, BusError> {
    let rows = describe_within(config, None, patience)?;
    let wrong: Vec<&Described> = rows.iter().filter(|row| !row.matches()).collect();
    if wrong.len() == rows.len() && rows.iter().all(|row| !row.exists) {
        return Err(BusError::Fatal(format!(
            "there are no topics `{}.…` at {}: run `weir topics create`",
            config.prefix, config.brokers
        )));
    }
    if !wrong.is_empty() {
        let each = wrong.iter().map(|row| format!("{}: {}", row.name, row.problems.join("; ")));
        let each: Vec<String> = each.collect();
        return Err(BusError::Fatal(format!(
            "topics are not as they should be: {}",
            each.join("; ")
        )));
    }
    Ok(rows.first().map_or(0, |row| row.partitions))
}

fn unreachable(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::Resolve
    )
}

fn client(config: &Config) -> Result<Kept<AdminClient<Logged>>, BusError> {
    let admin = client::plain(config)?.create_with_context(Logged);
    admin
        .map(|admin| Kept::new("an admin client", admin))
        .map_err(|e| failed(config, &e, "an admin client"))
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ASK))
}

/// Waits for one of rdkafka's futures: its own thread moves them on, so that parking is all it takes.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
