//! Dead letters: records that a consumer could not use, kept with the reason under the headers that
//! Kafka Connect gives its own, so that tools for those read these.

use bytes::Bytes;

use crate::codec::MAX_PAYLOAD;
use crate::{Outgoing, Payload, Record, topic};

/// What a dead letter holds in memory beside its bytes, roughly.
const LETTER_BYTES: usize = 1024;

/// Who could not use a record.
#[derive(Debug, Clone, Copy)]
pub struct Consumer<'a> {
    /// Prefix of topics on the broker: people look for the name that they see there.
    pub prefix: &'a str,
    /// Role, with the format where it has one.
    pub name: &'a str,
    /// The node.
    pub node: &'a str,
    /// Partitions of a topic.
    pub lanes: u32,
}

impl Consumer<'_> {
    /// The record as a dead letter, as far as a topic takes it. `stage` is Kafka Connect's:
    /// `VALUE_CONVERTER` for what cannot be read, `TRANSFORMATION` for what makes no sense.
    pub fn letter(&self, record: Record, stage: &str, reason: &str) -> Outgoing {
        let from = record.topic.full(self.prefix);
        let key = format!("{from}-{}", record.lane);
        let payload = match record.payload {
            Payload::Bad(bytes, _) | Payload::Bytes(bytes) => {
                Payload::Bytes(bytes.slice(..bytes.len().min(MAX_PAYLOAD)))
            }
            other => other,
        };
        let header = |name: &str, value: String| (format!("__connect.errors.{name}"), value);
        let headers = vec![
            header("topic", from),
            header("partition", record.lane.to_string()),
            header("offset", record.offset.to_string()),
            header("connector.name", self.name.to_owned()),
            header("task.id", self.node.to_owned()),
            header("stage", stage.to_owned()),
            header("class.name", format!("weir.{}", self.name)),
            header("exception.class.name", "weir.BadRecord".to_owned()),
            header("exception.message", reason.to_owned()),
        ];
        let lane = model::id::partition(key.as_bytes(), self.lanes);
        let key = Some(Bytes::from(key));
        Outgoing { key, headers, ..Outgoing::bare(topic::DEADLETTER, lane, payload) }
    }
}

/// Roughly what a dead letter holds in memory.
pub fn weight(letter: &Outgoing) -> usize {
    letter.payload.size() + LETTER_BYTES
}
