//! What a manager keeps for its next start, by lane.

use bus::Timeline;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A timeline as it is written in keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// Live capture.
    Live,
    /// Capture files.
    File,
}

impl From<Timeline> for Line {
    fn from(timeline: Timeline) -> Line {
        match timeline {
            Timeline::Live => Line::Live,
            Timeline::File => Line::File,
        }
    }
}

/// Both.
pub const LINES: [Line; 2] = [Line::Live, Line::File];

/// A key of the state topic, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// What was seen in a pane: timeline, rule, entity, start.
    Pane(Line, String, String, i64),
    /// A notice that is held back: timeline, note, identifier.
    Suppress(Line, String, String),
    /// Progress of an aggregator's lane: timeline and its name.
    Source(Line, String),
    /// An asset that is known: timeline and what a worker calls it.
    Asset(Line, String),
    /// Which inputs have ended the present round of files.
    Round,
    /// The policy document in force.
    Policy,
    /// Who saw a notice: timeline, rule, note, identifier.
    Saw(Line, String, String, String),
    /// A host that is counted for a rule: timeline, rule, host; while it waits to be judged, for which time.
    Host(Line, String, String, Option<i64>),
    /// An interval of the cluster's summary: timeline and its name.
    Summary(Line, String),
}

impl Key {
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
    use crate::progress::Source;
    use crate::significance::{Saw, Sight};
    use crate::{assets, summaries, suppress, windows};

    /// What lies in a cluster's state reads, and is written the same: who changes the form has to read this one too.
    fn stays<T: Serialize + DeserializeOwned>(kept: &str) {
        let value: T = serde_json::from_str(kept).unwrap();
        assert_eq!(json(&value), kept);
    }

    #[test]
    fn what_this_version_keeps_stays_readable() {
        for key in [
            r#"{"pane":["live","Scan::Port_Scan","10.0.0.1",5]}"#,
            r#"{"suppress":["file","A::B","x"]}"#,
            r#"{"source":["live","aggregate/0"]}"#,
            r#"{"asset":["live","host 10.0.0.1"]}"#,
            r#"{"saw":["live","rule","A::B","x"]}"#,
            r#"{"host":["live","rule","10.0.0.1",null]}"#,
            r#"{"summary":["file","1/2"]}"#,
            r#""round""#,
            r#""policy""#,
        ] {
            stays::<Key>(key);
        }
        let count = r#"{"count":{"n":3,"keep":2,"times":[4,5]}}"#;
        stays::<windows::Pane>(&format!(
            r#"{{"end":9,"first_ts":1,"last_ts":2,"observations":3,"observers":["w1"],"value":{count}}}"#
        ));
        stays::<summaries::Open>(&format!(r#"{{"value":{count},"due":7}}"#));
        stays::<suppress::Span>(
            r#"{"first":1,"until":9,"action":"log","suppressed":2,"last":3,"workers":["w1"]}"#,
        );
        stays::<Source>(r#"{"time":1,"notice_time":2,"partial_ended":false,"notice_ended":true}"#);
        stays::<assets::Seen>(r#"{"first":1,"services":["http"]}"#);
        stays::<Saw>(r#"{"by":{"w1":[1,2]},"until":9}"#);
        stays::<Sight>(r#"{"first":1,"last":2,"workers":["w1"]}"#);
    }

    #[test]
    fn keys_come_back() {
        let key = Key::Suppress(Line::Live, "A::B".into(), "x\0\"y".into());
        assert_eq!(serde_json::from_slice::<Key>(&key.bytes()).unwrap(), key);
        assert_eq!(&Key::Round.bytes()[..], br#""round""#);
    }
}
