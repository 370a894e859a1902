//! Dead letters: records that cannot be a row, kept with the reason under the headers that Kafka
//! Connect gives its own, so that tools for those read these.

use bus::codec::MAX_PAYLOAD;
use bus::{Outgoing, Payload, Record, topic};
use bytes::Bytes;

/// Where dead letters come from.
pub struct Source<'a> {
    /// Prefix of topics on the broker.
    pub prefix: &'a str,
    /// The format.
    pub format: &'a str,
    /// The node.
    pub node: &'a str,
    /// Partitions of the topic they go to.
    pub lanes: u32,
}

/// A record as a dead letter.
pub fn letter(source: &Source<'_>, record: &Record, payload: Payload, reason: &str) -> Outgoing {
    let key = format!("{}-{}", record.topic.full(source.prefix), record.lane);
    let header = |name: &str, value: String| (format!("__connect.errors.{name}"), value);
    let headers = vec![
        header("topic", record.topic.full(source.prefix)),
        header("partition", record.lane.to_string()),
        header("offset", record.offset.to_string()),
        header("connector.name", format!("sink.{}", source.format)),
        header("task.id", source.node.to_owned()),
        header("stage", "VALUE_CONVERTER".to_owned()),
        header("class.name", "weir.sink".to_owned()),
        header("exception.class.name", "weir.BadRecord".to_owned()),
        header("exception.message", reason.to_owned()),
    ];
    Outgoing {
        topic: topic::DEADLETTER,
        lane: model::id::partition(key.as_bytes(), source.lanes),
        key: Some(Bytes::from(key)),
        payload,
        stamp: None,
        headers,
    }
}

/// What a dead letter holds: the record, as far as a topic takes it.
pub fn payload(found: &Payload) -> Payload {
    match found {
        Payload::Bad(bytes, _) | Payload::Bytes(bytes) => {
            Payload::Bytes(bytes.slice(..bytes.len().min(MAX_PAYLOAD)))
        }
        other => other.clone(),
    }
}

/// Roughly what a dead letter holds in memory.
pub fn weight(payload: &Payload) -> usize {
    match payload {
        Payload::Bytes(bytes) | Payload::Bad(bytes, _) => bytes.len(),
        Payload::Rows(_, rows) => rows.get_array_memory_size(),
        Payload::Empty => 0,
    }
}
