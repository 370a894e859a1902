//! What a compacted log means: the newest value of each key.

use std::collections::HashMap;

use bytes::Bytes;

use crate::{Payload, Record};

/// The newest values of the records pushed so far, in order of the first writing of their keys since
/// these were last removed. On Kafka the cleaner moves that order: nothing may rest on it.
#[derive(Default)]
pub(crate) struct Newest {
    places: HashMap<Bytes, usize>,
    found: Vec<Option<(Bytes, Bytes)>>,
}

impl Newest {
    /// The next record of the log; no value removes the key.
    pub(crate) fn push(&mut self, key: Bytes, value: Option<Bytes>) {
        match (value, self.places.get(&key)) {
            (Some(value), Some(&place)) => self.found[place] = Some((key, value)),
            (Some(value), None) => {
                self.places.insert(key.clone(), self.found.len());
                self.found.push(Some((key, value)));
            }
            (None, Some(&place)) => {
                self.found[place] = None;
                self.places.remove(&key);
            }
            (None, None) => {}
        }
    }

    /// The same for a record that was read; rows and records without a key are no documents.
    pub(crate) fn push_record(&mut self, record: &Record) {
        let Some(key) = record.key.clone() else { return };
        match &record.payload {
            Payload::Bytes(value) => self.push(key, Some(value.clone())),
            Payload::Empty => self.push(key, None),
            Payload::Rows(..) | Payload::Bad(..) => {}
        }
    }

    /// Keys and values.
    pub(crate) fn into_pairs(self) -> impl Iterator<Item = (Bytes, Bytes)> {
        self.found.into_iter().flatten()
    }
}
