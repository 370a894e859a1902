//! Steps that wait for the bus, in one order: memory, then disk, then a counted drop of the newest.
//!
//! What is on disk is older than what is in memory. Memory goes to disk when there is too much of it or it
//! has waited for long, and once something is on disk what is new follows it there. An entry stays until it
//! is committed, also while the role has it in hand.

use std::collections::VecDeque;

use bus::Payload;
use bus::books::Counts;

use super::entry::{Entry, Outline};
use super::spool::Spool;
use crate::position::Id;
use crate::tally;

/// How long steps wait in memory before they go to disk, which the next one brings there: so much of them, and what came since, a kill
/// may cost.
pub const SPILL_AFTER_MS: i64 = 10_000;

/// What was given up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Steps.
    pub steps: u64,
    /// Their rows.
    pub rows: u64,
}

/// The queue.
pub struct Queue {
    memory: VecDeque<(i64, Entry)>,
    memory_bytes: usize,
    memory_max: usize,
    spool: Option<Spool>,
    lanes: u32,
    /// The last one that the role was given.
    given: Option<Id>,
    dropped: Dropped,
    /// What was counted in steps that were given up, to be told with the next.
    counts: Counts,
    /// What is wrong with the spool, said once.
    trouble: Option<String>,
    /// Rows are being dropped, which was said.
    drops: bool,
}

impl Queue {
    /// Empty but for what the spool holds.
    pub fn new(memory_max: usize, spool: Option<Spool>, lanes: u32) -> Queue {
        Queue {
            memory: VecDeque::new(),
            memory_bytes: 0,
            memory_max,
            spool,
            lanes,
            given: None,
            dropped: Dropped::default(),
            counts: Counts::default(),
            trouble: None,
            drops: false,
        }
    }

    /// What was given up so far.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.memory.is_empty() && self.spool.as_ref().is_none_or(Spool::is_empty)
    }

    /// The newest step on disk.
    pub fn last_spooled(&self) -> Option<Outline> {
        self.spool.as_ref().and_then(Spool::last)
    }

    /// Rows in memory, and on disk.
    pub fn rows(&self) -> (u64, u64) {
        let memory = self.memory.iter().map(|(_, entry)| entry.rows()).sum();
        (memory, self.spool.as_ref().map_or(0, Spool::rows))
    }

    /// Adds the newest step.
    pub fn push(&mut self, mut entry: Entry, now_ms: i64) {
        let size = entry.memory();
        let waits = self.memory.front().is_some_and(|(at, _)| now_ms - at >= SPILL_AFTER_MS);
        if waits || self.is_spooling() || self.memory_bytes + size > self.memory_max {
            self.spill();
        }
        // One alone may be larger than the limit: there would be no way on for it.
        let fits = self.memory.is_empty() || self.memory_bytes + size <= self.memory_max;
        if !fits {
            self.give_up(&entry);
            return;
        }
        entry.counts.add_all(&std::mem::take(&mut self.counts));
        if self.drops && self.memory_bytes + size <= self.memory_max / 2 {
            self.drops = false;
            tracing::warn!(rows = self.dropped.rows, "rows are kept again; so many were dropped");
        }
        self.memory_bytes += size;
        self.memory.push_back((now_ms, entry));
        if self.is_spooling() || self.memory_bytes > self.memory_max {
            self.spill();
        }
    }

    fn is_spooling(&self) -> bool {
        self.spool.as_ref().is_some_and(|spool| !spool.is_empty())
    }

    fn give_up(&mut self, entry: &Entry) {
        self.dropped.steps += 1;
        self.dropped.rows += entry.rows();
        self.counts.add_all(&entry.counts);
        for out in &entry.out {
            if let Payload::Rows(def, rows) = &out.payload {
                let rows = rows.num_rows() as u64;
                tally::dropped("queue_full", def.name, rows, &mut self.counts);
            }
        }
        if !std::mem::replace(&mut self.drops, true) {
            let why = match (&self.spool, &self.trouble) {
                (None, _) => "there is no spool (capture.spool)",
                (_, Some(trouble)) => trouble,
                (_, None) => "the spool is full",
            };
            tracing::error!(
                "the bus does not take rows, and memory is full: new rows are dropped; {why}"
            );
        }
    }

    /// Moves what is in memory to disk, as far as that goes.
    pub fn spill(&mut self) {
        let Some(spool) = &mut self.spool else { return };
        while let Some((_, entry)) = self.memory.front() {
            let was_empty = spool.is_empty();
            if let Err(error) = spool.append(entry) {
                let dir = spool.dir().display();
                let trouble = format!("the spool {dir} takes no more: {error}");
                if self.trouble.is_none() {
                    tracing::error!("{trouble}; rows wait in memory");
                }
                self.trouble = Some(trouble);
                return;
            }
            if self.trouble.take().is_some() {
                tracing::warn!("the spool {} works again", spool.dir().display());
            } else if was_empty {
                tracing::warn!(
                    "the bus does not take rows: they wait in {}",
                    spool.dir().display()
                );
            }
            self.memory_bytes -= entry.memory().min(self.memory_bytes);
            self.memory.pop_front();
        }
    }

    /// The oldest step that the role was not given yet.
    pub fn take(&mut self) -> Option<Entry> {
        while let Some(spool) = &mut self.spool
            && let Some(read) = spool.after(self.given, self.lanes)
        {
            match read {
                Ok((entry, refused)) => {
                    for why in refused {
                        tracing::error!(
                            "a record in {} is of no use: {why}",
                            spool.dir().display()
                        );
                    }
                    self.given = Some(entry.id);
                    return Some(entry);
                }
                Err((lost, error)) => {
                    let dir = spool.dir().display();
                    tracing::error!(rows = lost.rows, "rows in {dir} cannot be read: {error:#}");
                    self.dropped.steps += 1;
                    self.dropped.rows += lost.rows;
                    self.given = Some(lost.id);
                }
            }
        }
        let given = self.given;
        let is_next = |entry: &Entry| given.is_none_or(|given| entry.id > given);
        let entry =
            self.memory.iter().map(|(_, entry)| entry).find(|entry| is_next(entry))?.clone();
        self.given = Some(entry.id);
        Some(entry)
    }

    /// Steps up to this one are committed.
    pub fn release(&mut self, upto: Id) {
        if let Some(spool) = &mut self.spool {
            spool.release(upto);
        }
        while let Some((_, entry)) = self.memory.front()
            && entry.id <= upto
        {
            self.memory_bytes -= entry.memory().min(self.memory_bytes);
            self.memory.pop_front();
        }
    }

    /// Gives up what an earlier process spooled and committed.
    pub fn forget(&mut self, is_done: impl Fn(Id) -> bool) {
        if let Some(spool) = &mut self.spool {
            spool.forget(is_done);
        }
    }
}

#[cfg(test)]
mod tests;
