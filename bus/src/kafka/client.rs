//! Clients of librdkafka: what each is set to, and where its log goes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, DeliveryResult, ProducerContext};

use super::guard::Kept;
use super::{Config, failed};
use crate::{BusError, Member};

/// How long a transaction may stay open: as long, readers wait behind one whose writer died.
pub(super) const TRANSACTION_MS: u32 = 30_000;

/// Bytes that a session prefetches, shared by its partitions, of which few are busy.
const PREFETCH_BYTES: usize = 256 << 20;

/// Bytes that a partition prefetches at least and at most. A partition with as much is left out of the next request to
/// the broker, and librdkafka makes one at a time: it then waits for the others, which have nothing, for
/// `fetch.wait.max.ms`. What it holds has to keep its reader at work for so long.
const PREFETCH_PARTITION: (usize, usize) = (64 << 10, 4 << 20);

/// Bytes that a producer holds at most: the commit waits for the broker when there are more.
const PRODUCER_KBYTES: usize = 128 << 10;

/// What is set for every client unless `[kafka]` says otherwise.
const DEFAULTS: &[(&str, &str)] = &[
    // A static member that died keeps its lanes for so long: with what a rebalance and reading back take, others
    // have them within ten seconds. Brokers allow no less unless group.min.session.timeout.ms says so.
    ("session.timeout.ms", "6000"),
    ("heartbeat.interval.ms", "1000"),
    // Longer than any step.
    ("max.poll.interval.ms", "300000"),
    ("fetch.wait.max.ms", "50"),
    // A partition that has prefetched its share looks again soon.
    ("fetch.queue.backoff.ms", "10"),
    ("linger.ms", "5"),
    // Bodies of Arrow records are compressed already; lz4 once more makes a million rows of conn 139 MB instead of
    // 145, for a tenth of the processor time of the way from capture to Parquet.
    ("compression.type", "none"),
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.max.ms", "2000"),
];

/// What the promise of the bus rests on, and `[kafka]` may therefore not say.
const FIXED: &[&str] = &[
    "bootstrap.servers",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "partition.assignment.strategy",
    "isolation.level",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "enable.partition.eof",
    "transactional.id",
    "transaction.timeout.ms",
    "enable.idempotence",
    "acks",
    "request.required.acks",
    "message.max.bytes",
];

/// What a consumer is for.
pub(super) enum Role<'a> {
    /// Asks for the end of what is written.
    Written,
    /// Asks for the end of what is decided.
    Stable,
    /// Reads partitions that it is told, outside of any group.
    Reads,
    /// Asks where a group stands, and joins nothing.
    Asks(&'a str),
    /// A member of a group that reads so many partitions at most.
    Member(&'a Member, usize),
}

/// How long a member may not call for its group before it loses its lanes.
pub(super) fn poll_interval(config: &Config) -> Duration {
    setting(config, "max.poll.interval.ms")
}

/// How long a group waits for a member that is gone.
pub(super) fn session_timeout(config: &Config) -> Duration {
    setting(config, "session.timeout.ms")
}

/// A duration as librdkafka will have it; it refuses what is no number.
fn setting(config: &Config, name: &str) -> Duration {
    let default = DEFAULTS.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| *value);
    let value = config.options.get(name).map_or(default, String::as_str);
    Duration::from_millis(value.parse().unwrap_or_default())
}

fn base(config: &Config) -> Result<ClientConfig, BusError> {
    let mut native = ClientConfig::new();
    for (key, value) in DEFAULTS {
        native.set(*key, *value);
    }
    for (key, value) in &config.options {
        if FIXED.contains(&key.as_str()) {
            return Err(BusError::Fatal(format!(
                "[kafka] {key}: weir sets this itself, as its delivery rests on it; remove it"
            )));
        }
        native.set(key, value);
    }
    native
        .set("bootstrap.servers", &config.brokers)
        .set("client.id", &config.prefix)
        .set("allow.auto.create.topics", "false");
    Ok(native)
}

/// A client for administration.
pub(super) fn plain(config: &Config) -> Result<ClientConfig, BusError> {
    base(config)
}

/// The name that a member has as a static member and in transactions.
pub(super) fn identity(config: &Config, me: &Member) -> String {
    format!("{}.{}.{}", config.prefix, me.group, me.node)
}

/// A consumer. None commits offsets by itself or moves to where it was not told.
pub(super) fn consumer<C: ConsumerContext>(
    config: &Config,
    role: Role<'_>,
    context: C,
) -> Result<BaseConsumer<C>, BusError> {
    let mut native = base(config)?;
    let isolation = match role {
        Role::Written => "read_uncommitted",
        _ => "read_committed",
    };
    native
        .set("isolation.level", isolation)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true");
    match role {
        Role::Written | Role::Stable => {}
        Role::Reads => {
            // librdkafka wants a name of a group even of a consumer that joins none.
            native.set("group.id", format!("{}.reads", config.prefix));
        }
        Role::Asks(group) => {
            native.set("group.id", format!("{}.{group}", config.prefix));
        }
        Role::Member(me, partitions) => {
            let (least, most) = PREFETCH_PARTITION;
            let share = (PREFETCH_BYTES / partitions.max(1)).clamp(least, most);
            native
                .set("client.id", identity(config, me))
                .set("group.id", format!("{}.{}", config.prefix, me.group))
                .set("group.instance.id", identity(config, me))
                .set("partition.assignment.strategy", "range")
                .set("queued.max.messages.kbytes", (share >> 10).to_string())
                .set("fetch.message.max.bytes", share.to_string());
        }
    }
    native.create_with_context(context).map_err(|e| failed(config, &e, "a consumer"))
}

/// A consumer that only asks.
pub(super) type Asker = Kept<BaseConsumer<Logged>>;

/// Such a one.
pub(super) fn asker(config: &Config, role: Role<'_>) -> Result<Asker, BusError> {
    Ok(Kept::new("a consumer", consumer(config, role, Logged)?))
}

/// The transactional producer of the member of this [`identity`].
pub(super) fn producer(
    config: &Config,
    identity: &str,
) -> Result<Kept<BaseProducer<Deliveries>>, BusError> {
    let mut native = base(config)?;
    native
        .set("client.id", identity)
        .set("transactional.id", identity)
        .set("transaction.timeout.ms", TRANSACTION_MS.to_string())
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.max.bytes", super::admin::MAX_MESSAGE.to_string())
        .set("queue.buffering.max.kbytes", PRODUCER_KBYTES.to_string());
    let context = Deliveries::default();
    let producer = native.create_with_context(context);
    producer
        .map(|producer| Kept::new("a producer", producer))
        .map_err(|e| failed(config, &e, "a producer"))
}

/// Sends librdkafka's log to ours. It is told of every lost connection, which is no news to a person
/// while librdkafka mends it: sessions report what they could not mend.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", "{facility}: {message}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            tracing::info!(target: "librdkafka", "{facility}: {message}");
        }
        _ => tracing::debug!(target: "librdkafka", "{facility}: {message}"),
    }
}

/// A context that does nothing but log.
#[derive(Clone, Copy)]
pub(super) struct Logged;

impl ClientContext for Logged {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", "{error}: {reason}");
    }
}

impl ConsumerContext for Logged {}

/// Remembers the first record that did not arrive.
#[derive(Default)]
pub(super) struct Deliveries(Mutex<Option<String>>);

impl Deliveries {
    pub(super) fn first_failure(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", "{error}: {reason}");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        use rdkafka::Message;
        let Err((error, message)) = result else { return };
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| {
            format!("{}[{}]: {error}", message.topic(), message.partition())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_delivery_rests_on_is_not_for_the_configuration() {
        for key in FIXED {
            let options = [((*key).to_owned(), "x".to_owned())].into();
            let config = Config { brokers: "b:1".into(), prefix: "p".into(), options };
            let refused = base(&config);
            assert!(matches!(&refused, Err(BusError::Fatal(why)) if why.contains(key)), "{key}");
        }
    }

    #[test]
    fn an_option_that_librdkafka_does_not_have_is_named() {
        let options = [("no.such.thing".to_owned(), "1".to_owned())].into();
        let config = Config { brokers: "b:1".into(), prefix: "p".into(), options };
        let refused = consumer(&config, Role::Stable, super::Logged);
        let error = refused.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("no.such.thing"), "{error}");
    }
}
