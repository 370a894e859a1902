//! One partition in memory: its committed records in order.

use std::collections::{HashSet, VecDeque};

use crate::newest::Newest;
use crate::{Payload, Record};

/// Superseded records that a compacted log may hold beside as many live ones before it is cleaned.
const SLACK: usize = 256;

/// The log of a partition.
#[derive(Default)]
pub(super) struct Log {
    entries: VecDeque<(Record, usize)>,
    /// Offset of the next record.
    next: i64,
    /// Everything before this is gone, as nobody needs it.
    trimmed: i64,
    bytes: usize,
    clean_at: usize,
}

impl Log {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first offset that a reader may still ask for.
    pub(super) fn trimmed(&self) -> i64 {
        self.trimmed
    }

    pub(super) fn next(&self) -> i64 {
        self.next
    }

    pub(super) fn push(&mut self, mut record: Record) {
        record.offset = self.next;
        self.next += 1;
        let size = record.payload.size();
        self.bytes += size;
        self.entries.push_back((record, size));
    }

    /// The mark that a transaction leaves in every partition it wrote to, as on Kafka: nobody may
    /// rely on offsets without holes.
    pub(super) fn end_transaction(&mut self) {
        self.next += 1;
    }

    /// Committed records from an offset on.
    pub(super) fn from(&self, offset: i64) -> impl Iterator<Item = &Record> {
        let first = self.entries.partition_point(|(record, _)| record.offset < offset);
        self.entries.range(first..).map(|(record, _)| record)
    }

    /// Drops what is before an offset.
    pub(super) fn trim(&mut self, before: i64) {
        while self.entries.front().is_some_and(|(record, _)| record.offset < before) {
            if let Some((_, size)) = self.entries.pop_front() {
                self.bytes -= size;
            }
        }
        self.trimmed = self.trimmed.max(before.min(self.next));
    }

    /// Drops what is before an offset and no longer the newest of its key; tombstones too. Does so
    /// only once in a while: the cost is that of the whole log.
    pub(super) fn compact(&mut self, before: i64) {
        if self.entries.len() < self.clean_at {
            return;
        }
        let mut newer = HashSet::new();
        let mut kept = VecDeque::with_capacity(self.entries.len());
        while let Some((record, size)) = self.entries.pop_back() {
            let newest = record.key.as_ref().is_some_and(|key| newer.insert(key.clone()));
            let live = newest && !matches!(record.payload, Payload::Empty);
            if live || record.offset >= before {
                kept.push_front((record, size));
            } else {
                self.bytes -= size;
            }
        }
        self.entries = kept;
        self.clean_at = self.entries.len() * 2 + SLACK;
    }

    /// The newest value of each key.
    pub(super) fn newest(&self) -> Newest {
        let mut newest = Newest::default();
        self.entries.iter().for_each(|(record, _)| newest.push_record(record));
        newest
    }
}
