//! Where a role stands, kept in its own state too: Kafka forgets the positions of a group that was away for long
//! (`offsets.retention.minutes`), and reading again from what is kept would send again what was sent.
//!
//! One record for each partition, under the key `{"at": TOPIC}`, changed in every step that moves the position: the
//! two never differ.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Change, Lane, Position, Topic};

/// The key of a topic.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    at: String,
}

/// What is kept of a position.
#[derive(Debug, Serialize, Deserialize)]
struct Stand {
    offset: i64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    note: String,
}

/// The change of state that goes with a new position.
pub fn change(position: &Position) -> Change {
    let key = Key { at: position.topic.0.to_string() };
    let stand = Stand { offset: position.offset, note: position.metadata.clone() };
    // Text and numbers always have a JSON form.
    let json = |json: serde_json::Result<Vec<u8>>| Bytes::from(json.unwrap_or_default());
    let (key, value) = (json(serde_json::to_vec(&key)), json(serde_json::to_vec(&stand)));
    Change { lane: position.lane, key, value: Some(value) }
}

/// Whether a piece of state is such a one.
pub fn is_one(key: &[u8]) -> bool {
    key.starts_with(br#"{"at""#) && serde_json::from_slice::<Key>(key).is_ok()
}

/// Whether the value of such a piece reads: a role that went on without it could read again what it has sent.
///
/// # Errors
/// It does not.
pub fn check(value: &[u8]) -> Result<(), serde_json::Error> {
    serde_json::from_slice::<Stand>(value).map(drop)
}

/// The positions in a lane's state. What does not read is none, and the role says so when it is restored ([`check`]).
pub fn all(lane: Lane, state: &[(Bytes, Bytes)]) -> Vec<Position> {
    let position = |(key, value): &(Bytes, Bytes)| {
        let key: Key = serde_json::from_slice(key).ok()?;
        let Stand { offset, note } = serde_json::from_slice(value).ok()?;
        Some(Position { topic: Topic(key.at.into()), lane, offset, metadata: note })
    };
    state.iter().filter(|(key, _)| is_one(key)).filter_map(position).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic;

    #[test]
    fn positions_come_back() {
        let position = |topic, offset, metadata: &str| Position {
            topic,
            lane: 3,
            offset,
            metadata: metadata.into(),
        };
        let all_of =
            [position(topic::RAW_CONN, 7, ""), position(topic::KNOWN, 0, "{\"read\":\"x\"}")];
        let changes = all_of.each_ref().map(change);
        assert_eq!(&changes[0].key[..], br#"{"at":"raw.conn"}"#);
        assert_eq!(changes[0].value.as_deref(), Some(&br#"{"offset":7}"#[..]));
        let mut state: Vec<(Bytes, Bytes)> =
            changes.map(|change| (change.key, change.value.unwrap())).into();
        let others: [(&str, &str); 3] =
            [(r#"{"source":["file","at"]}"#, "{}"), ("\"round\"", "1"), (r#"{"at":"x"}"#, "?")];
        state.extend(others.map(|(key, value)| (key.into(), value.into())));
        assert_eq!(all(3, &state), all_of);
        let ones: Vec<_> = state.iter().filter(|(key, _)| is_one(key)).collect();
        assert_eq!(ones.len(), 3);
        assert_eq!(ones.iter().filter(|(_, value)| check(value).is_ok()).count(), 2);
    }
}
