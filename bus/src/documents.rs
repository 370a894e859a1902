//! What lies on a topic of documents beside them: who runs which version.
//!
//! Every node that follows a document says so under a key of its own on the same topic, compacted with it:
//! one read of the topic tells what is in force, and where. Versions are hashes of the document's bytes, so
//! that nobody has to hand out numbers.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::id;
use serde::{Deserialize, Serialize};

use crate::{Lane, Outgoing, Topic};

mod follower;

pub use follower::{Follower, Heard, Reads, push};

/// Key of the notice policy on [`crate::topic::POLICY`].
pub const NOTICE_POLICY: &str = "notice";

/// What the keys of acknowledgements begin with; no document has such a name.
const ACK: &str = "ack/";

/// What a role on a node runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The role's name.
    pub role: String,
    /// The node.
    pub node: String,
    /// Version of the document in force; empty where there is none.
    pub version: String,
    /// A newer one that it refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// Wall-clock time since when, milliseconds.
    pub since_ms: i64,
}

/// A document that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Its version.
    pub version: String,
    /// What is wrong with it.
    pub why: String,
}

impl Ack {
    /// Whether it says the same, whenever.
    pub fn says(&self, other: &Ack) -> bool {
        Ack { since_ms: 0, ..self.clone() } == Ack { since_ms: 0, ..other.clone() }
    }

    /// The acknowledgement that a record of the topic is, if it is one.
    pub fn of(key: &[u8], value: &[u8]) -> Option<Ack> {
        key.starts_with(ACK.as_bytes()).then(|| serde_json::from_slice(value).ok()).flatten()
    }

    fn key(&self) -> String {
        format!("{ACK}{}/{}", self.role, self.node)
    }

    /// Its removal: the node is gone. One that is not writes it again.
    pub fn removal(&self, topic: &Topic, lanes: u32) -> Outgoing {
        put(topic, &self.key(), None, lanes)
    }

    /// As a record, unless it is among the topic's documents already.
    pub fn record(
        &self,
        topic: &Topic,
        documents: &[(Bytes, Bytes)],
        lanes: u32,
    ) -> Option<Outgoing> {
        let key = self.key();
        let last = documents.iter().filter(|(of, _)| of[..] == *key.as_bytes());
        let mut last = last.filter_map(|(of, value)| Ack::of(of, value));
        if last.any(|last| last.says(self)) {
            return None;
        }
        // Plain structs of text and numbers always have a JSON form.
        let json = serde_json::to_vec(self).unwrap_or_default();
        Some(put(topic, &key, Some(json.into()), lanes))
    }
}

/// Puts the version of the policy that a role runs among what it says of itself ([`crate::Role::facts`]).
pub fn tell(facts: &mut BTreeMap<String, String>, version: &str) {
    if !version.is_empty() {
        facts.insert("policy".to_owned(), version.to_owned());
    }
}

/// A document as a record; without bytes its removal.
pub fn put(topic: &Topic, name: &str, bytes: Option<Bytes>, lanes: u32) -> Outgoing {
    let lane: Lane = id::partition(name.as_bytes(), lanes);
    Outgoing::document(topic.clone(), lane, Bytes::copy_from_slice(name.as_bytes()), bytes)
}

#[cfg(test)]
mod tests {
    use crate::{Payload, topic::POLICY};

    use super::*;

    #[test]
    fn an_acknowledgement_is_written_once() {
        let ack = Ack {
            role: "manager".into(),
            node: "m1".into(),
            version: "abc".into(),
            refused: None,
            since_ms: 7,
        };
        let out = ack.record(&POLICY, &[], 3).unwrap();
        let (Some(key), Payload::Bytes(value)) = (out.key, out.payload) else { panic!() };
        assert_eq!(&key[..], b"ack/manager/m1");
        assert_eq!(Ack::of(&key, &value), Some(ack.clone()));
        assert_eq!(Ack::of(b"notice", &value), None);
        let there = [(key, value)];
        assert!(Ack { since_ms: 8, ..ack.clone() }.record(&POLICY, &there, 3).is_none());
        let refused = Some(Refused { version: "x".into(), why: "line 1".into() });
        assert!(Ack { refused, ..ack }.record(&POLICY, &there, 3).is_some());
    }
}
