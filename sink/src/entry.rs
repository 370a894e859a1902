//! What `weir.files` says of a file, as JSON under its key: first that it is committed, then that it
//! is published, which is when it lies where people look.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use anyhow::{Context as _, Result, ensure};
use bus::{Lane, Outgoing, topic};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// How far a file has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its rows are behind the sink's position, it lies under its temporary name.
    Committed,
    /// It lies under its name.
    Published,
    /// It was committed, and found under neither name when the sink started: somebody removed it.
    Missing,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The stream.
    pub stream: String,
    /// Version of the stream's definition.
    pub version: u32,
    /// The format.
    pub format: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Earliest `_write_ts`, microseconds.
    pub first: i64,
    /// Latest `_write_ts`, microseconds.
    pub last: i64,
    /// The node that wrote it.
    pub writer: String,
    /// Rises with every file of that node and format.
    pub counter: u64,
    /// The folder.
    pub dir: String,
    /// Its temporary name below the folder.
    pub temp: String,
    /// Its name below the folder.
    pub name: String,
    /// Offsets behind the records that the step of this file committed, by partition of the stream's topic. They
    /// tell where to go on when the group's own positions have expired.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub positions: BTreeMap<Lane, i64>,
    /// How far it has come.
    pub state: State,
}

impl Entry {
    /// Its key: the name, after writer and folder where the name does not tell files apart (unrotated).
    pub fn key(&self) -> String {
        if self.is_rotated() {
            return self.name.clone();
        }
        format!("{}:{}/{}", self.writer, self.dir, self.name)
    }

    /// Whether the name carries an interval, the writer and a counter.
    pub fn is_rotated(&self) -> bool {
        self.name.contains('/')
    }

    /// The record that says so.
    pub(crate) fn document(&self, lanes: u32) -> Result<Outgoing> {
        let key = self.key();
        let lane: Lane = model::id::partition(key.as_bytes(), lanes);
        let json = serde_json::to_vec(self).with_context(|| format!("cannot tell of {key}"))?;
        Ok(Outgoing::document(topic::FILES, lane, Bytes::from(key), Some(Bytes::from(json))))
    }

    /// Reads a document. Names that lead out of the folder are refused: whoever may write the topic
    /// must not be able to move any file of this machine.
    pub fn parse(json: &[u8]) -> Result<Entry> {
        let entry: Entry = serde_json::from_slice(json)?;
        for name in [&entry.temp, &entry.name] {
            let is_inside = Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
            ensure!(is_inside && !name.is_empty(), "`{name}` is no name below a folder");
        }
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_folder() {
        let entry = Entry {
            stream: "conn".into(),
            version: 1,
            format: "tsv".into(),
            rows: 1,
            bytes: 2,
            first: 3,
            last: 4,
            writer: "n1".into(),
            counter: 5,
            dir: "out".into(),
            temp: ".tmp/conn.log".into(),
            name: "conn.log".into(),
            positions: BTreeMap::from([(3, 17)]),
            state: State::Committed,
        };
        let parse = |entry: &Entry| Entry::parse(&serde_json::to_vec(entry).unwrap());
        assert_eq!(parse(&entry).unwrap(), entry);
        assert_eq!(entry.key(), "n1:out/conn.log");
        for name in ["/etc/passwd", "../x", "a/../../b", ""] {
            assert!(parse(&Entry { name: name.into(), ..entry.clone() }).is_err(), "{name}");
            assert!(parse(&Entry { temp: name.into(), ..entry.clone() }).is_err(), "{name}");
        }
    }
}
