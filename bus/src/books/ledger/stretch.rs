//! What a group has read of one partition, as its books say and as the bus has it.

use std::collections::BTreeMap;

use super::Range;

/// Stretches of a partition, which grow together as the books are read.
#[derive(Debug, Default)]
pub struct Stretches {
    /// By their first offset; none touches another.
    by: BTreeMap<i64, Stretch>,
    /// Rows of ranges that overlap one before.
    pub again: u64,
    /// Rows on the bus before the first, between two, and after the last.
    pub before: u64,
    /// See above.
    pub between: u64,
    /// See above.
    pub waiting: u64,
}

/// One stretch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stretch {
    /// The offset after it.
    pub to: i64,
    /// Rows in it by the books.
    pub rows: u64,
    /// Rows in it on the bus.
    pub on_bus: u64,
}

impl Stretches {
    /// A range of the books.
    pub fn add(&mut self, range: Range) {
        let Range { mut from, mut to, rows, .. } = range;
        let mut sum = rows;
        let before = self.by.range(..=from).next_back().map(|(at, s)| (*at, *s));
        let after = self.by.range(from..).next().map(|(at, s)| (*at, *s));
        let is_again =
            before.is_some_and(|(_, s)| s.to > from) || after.is_some_and(|(at, _)| at < to);
        if is_again || to < from {
            self.again += rows;
            return;
        }
        if let Some((at, s)) = before.filter(|(_, s)| s.to == from) {
            (from, sum) = (at, sum + s.rows);
        }
        if let Some((at, s)) = after.filter(|(at, _)| *at == to) {
            self.by.remove(&at);
            (to, sum) = (s.to, sum + s.rows);
        }
        self.by.insert(from, Stretch { to, rows: sum, on_bus: 0 });
    }

    /// A record on the bus; all ranges are known.
    pub fn found(&mut self, offset: i64, rows: u64) {
        let is_last = self.by.range(offset..).next().is_none();
        match self.by.range_mut(..=offset).next_back() {
            Some((_, s)) if offset < s.to => s.on_bus += rows,
            _ if is_last => self.waiting += rows,
            Some(_) => self.between += rows,
            None => self.before += rows,
        }
    }

    /// The stretches, by their first offset.
    pub fn iter(&self) -> impl Iterator<Item = (i64, Stretch)> + '_ {
        self.by.iter().map(|(from, stretch)| (*from, *stretch))
    }

    /// The offset after all of them.
    pub fn end(&self) -> Option<i64> {
        self.by.last_key_value().map(|(_, stretch)| stretch.to)
    }

    /// Rows by the books.
    pub fn rows(&self) -> u64 {
        self.by.values().map(|stretch| stretch.rows).sum::<u64>() + self.again
    }
}
