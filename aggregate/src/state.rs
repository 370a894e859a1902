//! What an aggregator keeps for its next start: beside a position and in its state topic.

use bus::{Position, Timeline, Topic};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The timeline's name in keys.
pub fn timeline_name(timeline: Timeline) -> &'static str {
    match timeline {
        Timeline::Live => "live",
        Timeline::File => "file",
    }
}

fn timeline_of(name: &str) -> Option<Timeline> {
    [Timeline::Live, Timeline::File].into_iter().find(|t| timeline_name(*t) == name)
}

/// How far windows of one timeline were released, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// The watermark: every window that ends by it is out.
    pub time: i64,
    /// Panes that end by this are out too, though before their time: the lane held too much.
    pub forced: i64,
    /// Observations of assets before this are out, for the same reason.
    #[serde(default = "never")]
    pub known: i64,
}

fn never() -> i64 {
    i64::MIN
}

impl Default for Released {
    fn default() -> Released {
        Released { time: i64::MIN, forced: i64::MIN, known: i64::MIN }
    }
}

impl Released {
    /// Up to which end panes are out.
    pub fn panes(&self) -> i64 {
        self.time.max(self.forced)
    }

    /// Before which time observations of assets are out.
    pub fn assets(&self) -> i64 {
        self.time.max(self.known)
    }

    fn max(self, other: Released) -> Released {
        Released {
            time: self.time.max(other.time),
            forced: self.forced.max(other.forced),
            known: self.known.max(other.known),
        }
    }
}

/// The note beside a position. The position itself is the oldest record that an open window needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Offset to read next: below it records were used already and only rebuild windows.
    pub read: i64,
    /// Below this offset records of files belong to rounds that are over.
    pub file_from: i64,
    /// Live windows released.
    pub live: Released,
    /// File windows released, in the present round.
    pub file: Released,
}

impl Note {
    /// The note of a position; one without (set by a tool) stands where it says and released nothing.
    pub fn of(position: &Position) -> serde_json::Result<Note> {
        if position.metadata.is_empty() {
            return Ok(Note { read: position.offset, ..Note::default() });
        }
        serde_json::from_str(&position.metadata)
    }

    /// What of it holds for all inputs of a lane.
    pub fn released_with(&self, other: &Note) -> (Released, Released) {
        (self.live.max(other.live), self.file.max(other.file))
    }
}

/// A key of the state topic, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// Progress of a source: timeline and name.
    Source(String, String),
    /// A merged notice went out and its copies may still come: timeline, note, identifier.
    Cover(String, String, String),
    /// Rows of a record that are held: timeline, topic, offset.
    Held(String, String, i64),
    /// Rows of a record of `raw.conn` that left, and of which copies may come: timeline, offset.
    Left(String, i64),
}

impl Key {
    /// Of a source.
    pub fn source(timeline: Timeline, name: &str) -> Key {
        Key::Source(timeline_name(timeline).to_owned(), name.to_owned())
    }

    /// Of a notice that went out.
    pub fn cover(timeline: Timeline, (note, identifier): &(String, String)) -> Key {
        Key::Cover(timeline_name(timeline).to_owned(), note.clone(), identifier.clone())
    }

    /// Of a record of which rows are held.
    pub fn held(timeline: Timeline, topic: &Topic, offset: i64) -> Key {
        Key::Held(timeline_name(timeline).to_owned(), topic.to_string(), offset)
    }

    /// Of a record of which rows left.
    pub fn left(timeline: Timeline, offset: i64) -> Key {
        Key::Left(timeline_name(timeline).to_owned(), offset)
    }

    /// The timeline it names.
    pub fn timeline(&self) -> Option<Timeline> {
        match self {
            Key::Source(timeline, _)
            | Key::Cover(timeline, ..)
            | Key::Held(timeline, ..)
            | Key::Left(timeline, _) => timeline_of(timeline),
        }
    }

    /// As bytes.
    pub fn bytes(&self) -> Bytes {
        json(self)
    }
}

/// A value as JSON bytes.
pub fn json<T: Serialize>(value: &T) -> Bytes {
    // Plain structs of text and numbers always have a JSON form.
    Bytes::from(serde_json::to_vec(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::sources::Source;

    /// What lies in a cluster's state reads, and is written the same: who changes the form has to read this one too.
    fn stays<T: Serialize + DeserializeOwned>(kept: &str) {
        let value: T = serde_json::from_str(kept).unwrap();
        assert_eq!(json(&value), kept);
    }

    #[test]
    fn what_this_version_keeps_stays_readable() {
        let released = r#"{"time":1,"forced":-9223372036854775808,"known":2}"#;
        stays::<Note>(&format!(
            r#"{{"read":7,"file_from":3,"live":{released},"file":{released}}}"#
        ));
        stays::<Source>(
            r#"{"http":{"time":5,"ended":false},"raw.conn":{"time":9223372036854775807,"ended":true}}"#,
        );
        stays::<Key>(r#"{"source":["live","n/eth0@tap"]}"#);
        stays::<Key>(r#"{"cover":["file","A::B","x"]}"#);
        stays::<Key>(r#"{"held":["live","raw.conn",7]}"#);
    }

    #[test]
    fn notes_and_keys_come_back() {
        let note = Note {
            read: 7,
            file_from: 3,
            live: Released { time: 9, ..Released::default() },
            ..Note::default()
        };
        let mut position = Position {
            topic: bus::topic::RAW_CONN,
            lane: 1,
            offset: 5,
            metadata: serde_json::to_string(&note).unwrap(),
        };
        assert_eq!(Note::of(&position).unwrap(), note);
        position.metadata.clear();
        assert_eq!(Note::of(&position).unwrap(), Note { read: 5, ..Note::default() });
        position.metadata = "?".into();
        assert!(Note::of(&position).is_err());

        let key = Key::source(Timeline::File, "w1/9f");
        assert_eq!(&key.bytes()[..], br#"{"source":["file","w1/9f"]}"#);
        assert_eq!(serde_json::from_slice::<Key>(&key.bytes()).unwrap(), key);
        assert_eq!(key.timeline(), Some(Timeline::File));
    }
}
