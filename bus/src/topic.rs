//! The one table of topics: what each holds, who writes and reads it, how long it is kept.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use model::stream::{self, Def};

/// A topic's name without the prefix, such as `log.conn`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(pub Cow<'static, str>);

impl Topic {
    /// A topic by its name.
    pub const fn named(name: &'static str) -> Topic {
        Topic(Cow::Borrowed(name))
    }

    /// The log topic of a stream.
    pub fn log(def: &Def) -> Topic {
        Topic(Cow::Owned(format!("log.{}", def.topic_name())))
    }

    /// The topic on which rows of a stream are on their way to the log.
    pub fn raw(def: &Def) -> Topic {
        Topic(Cow::Owned(format!("raw.{}", def.topic_name())))
    }

    /// The name on the broker.
    pub fn full(&self, prefix: &str) -> String {
        format!("{prefix}.{}", self.0)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Conn rows on their way to be joined.
pub const RAW_CONN: Topic = Topic::named("raw.conn");
/// Notices on their way to be merged.
pub const RAW_NOTICE: Topic = Topic::named("raw.notice");
/// Observations of assets, on their way into one order.
pub const RAW_KNOWN: Topic = Topic::named("raw.known");
/// Observations of assets in order of time, for the manager to remember.
pub const KNOWN: Topic = Topic::named("known");
/// Notices merged, for the manager to decide on.
pub const NOTICE: Topic = Topic::named("notice");
/// Partial statistics for the manager.
pub const PARTIAL: Topic = Topic::named("partial");
/// Policy documents.
pub const POLICY: Topic = Topic::named("policy");
/// Positions of capture sources.
pub const STATE_CAPTURE: Topic = Topic::named("state.capture");
/// Watermarks and what else an aggregator must not forget.
pub const STATE_AGGREGATE: Topic = Topic::named("state.aggregate");
/// Suppressions and what else the manager must not forget.
pub const STATE_MANAGER: Topic = Topic::named("state.manager");
/// Files that sinks committed and published.
pub const FILES: Topic = Topic::named("files");
/// Counters of every role.
pub const METRICS: Topic = Topic::named("metrics");
/// Actions that a manager wants done; nothing writes here yet but tests of the bus.
pub const RESPONSE: Topic = Topic::named("response");
/// Records that could not be used, with the reason.
pub const DEADLETTER: Topic = Topic::named("deadletter");

/// How a topic is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// Deleted after so many hours.
    Delete {
        /// Retention.
        hours: u32,
    },
    /// The newest record of each key stays.
    Compact,
}

/// One row of the table.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The topic.
    pub topic: Topic,
    /// What places a record in a partition.
    pub key: &'static str,
    /// What a record holds.
    pub payload: &'static str,
    /// Roles that write it.
    pub writers: &'static str,
    /// Roles that read it.
    pub readers: &'static str,
    /// How long it is kept.
    pub cleanup: Cleanup,
}

/// Whether a topic's records are rows, so that one without a stream named is a mistake.
pub fn carries_rows(topic: &Topic) -> bool {
    let name = &topic.0;
    let between = [NOTICE, PARTIAL, KNOWN];
    name.starts_with("log.") || name.starts_with("raw.") || between.contains(topic)
}

/// Streams of what several taps may see at once, other than conn: where taps overlap their rows pass through the
/// aggregators, as those of a flow come from one observer, and a certificate is told of once.
pub fn raw_copies() -> impl Iterator<Item = &'static Def> {
    let is_flow = |def: &&'static Def| def.key == stream::Key::Flow && def.name != "conn";
    stream::ALL.iter().copied().filter(is_flow).chain([&stream::x509::DEF])
}

/// Names of the topics of which the newest record of each key stays.
pub fn compacted() -> BTreeSet<Topic> {
    let compact = |spec: &Spec| spec.cleanup == Cleanup::Compact;
    table().into_iter().filter(compact).map(|spec| spec.topic).collect()
}

/// A week: long enough to mend a sink after a holiday.
const LOG_HOURS: u32 = 168;
/// A day: metrics are for the present.
const METRICS_HOURS: u32 = 24;

/// The table.
pub fn table() -> Vec<Spec> {
    let row = |topic, key, payload, writers, readers, cleanup| Spec {
        topic,
        key,
        payload,
        writers,
        readers,
        cleanup,
    };
    let keep = Cleanup::Delete { hours: LOG_HOURS };
    let mut rows = vec![
        row(RAW_CONN, "flow", "rows of conn", "capture", "aggregate", keep),
        row(
            RAW_NOTICE,
            "notice identifier, else uid",
            "rows of notice",
            "capture",
            "aggregate",
            keep,
        ),
        row(RAW_KNOWN, "asset", "rows of known", "capture", "aggregate", keep),
        row(
            Topic::log(&stream::failed_auth::DEF),
            "flow",
            "rows of failed_auth",
            "capture",
            "aggregate",
            keep,
        ),
        row(KNOWN, "asset", "rows of known", "aggregate", "manager", keep),
        row(NOTICE, "notice identifier, else uid", "rows of notice", "aggregate", "manager", keep),
        row(PARTIAL, "rule and entity", "rows of partial", "aggregate, manager", "manager", keep),
        row(
            POLICY,
            "document",
            "TOML; who runs it: JSON",
            "CLI, every role",
            "every role",
            Cleanup::Compact,
        ),
        row(STATE_CAPTURE, "node", "JSON by source", "capture", "capture", Cleanup::Compact),
        row(STATE_AGGREGATE, "lane", "JSON by source", "aggregate", "aggregate", Cleanup::Compact),
        row(STATE_MANAGER, "lane", "JSON by item", "manager", "manager", Cleanup::Compact),
        row(FILES, "file name", "JSON", "sink", "sink, downstream jobs", Cleanup::Compact),
        row(
            METRICS,
            "node",
            "JSON",
            "every role",
            "manager",
            Cleanup::Delete { hours: METRICS_HOURS },
        ),
        row(RESPONSE, "action", "JSON", "manager", "responders", keep),
        row(DEADLETTER, "source partition", "the record", "any consumer", "people", keep),
    ];
    for def in raw_copies() {
        let key = if def.key == stream::Key::Flow { "flow" } else { "asset" };
        rows.push(row(Topic::raw(def), key, "rows", "capture", "aggregate", keep));
    }
    for def in stream::ALL {
        let (key, writers) = match def.key {
            stream::Key::Flow if def.name == "conn" => ("flow", "aggregate"),
            stream::Key::Flow => ("flow", "capture"),
            stream::Key::Node => ("node", "capture"),
            stream::Key::Asset if def.name == stream::x509::DEF.name => ("asset", "capture"),
            stream::Key::Asset => ("asset", "manager"),
        };
        // Which those are follows from the detectors; see `detect::detector::logs`.
        let readers = match writers {
            "capture" => "sink; aggregate where detectors observe it",
            _ => "sink",
        };
        rows.push(row(Topic::log(def), key, "rows", writers, readers, keep));
    }
    rows
}
