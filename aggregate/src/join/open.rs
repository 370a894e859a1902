//! Which rows of which records are still held: what a restart needs to know of them, and all it needs.
//!
//! A record's rows go one by one, in an order that other records have a part in. So the state topic has, for
//! each record of which any row is held, which those are. A restart reads its records again, takes these rows
//! and no others, and is where it was.

use std::collections::{BTreeMap, BTreeSet};

/// Rows of one record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Rows {
    /// A bit a row.
    words: Vec<u64>,
    held: usize,
}

/// Rows held, by the offset of their record.
#[derive(Debug, Default)]
pub struct Open {
    by: BTreeMap<i64, Rows>,
    changed: BTreeSet<i64>,
}

impl Open {
    /// A record as it was kept.
    pub fn restore(&mut self, offset: i64, words: Vec<u64>) {
        let held = words.iter().map(|word| word.count_ones() as usize).sum();
        self.by.insert(offset, Rows { words, held });
    }

    /// Whether a row of a record that is read again was held.
    pub fn holds(&self, offset: i64, row: usize) -> bool {
        let word = self.by.get(&offset).and_then(|rows| rows.words.get(row / 64));
        word.is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// A row is held from now on.
    pub fn take(&mut self, offset: i64, row: usize) {
        let rows = self.by.entry(offset).or_default();
        if rows.words.len() <= row / 64 {
            rows.words.resize(row / 64 + 1, 0);
        }
        let bit = 1 << (row % 64);
        rows.held += usize::from(rows.words[row / 64] & bit == 0);
        rows.words[row / 64] |= bit;
        self.changed.insert(offset);
    }

    /// A row went.
    pub fn let_go(&mut self, offset: i64, row: usize) {
        let Some(rows) = self.by.get_mut(&offset) else { return };
        let Some(word) = rows.words.get_mut(row / 64) else { return };
        let bit = 1 << (row % 64);
        if *word & bit == 0 {
            return;
        }
        *word &= !bit;
        rows.held -= 1;
        self.changed.insert(offset);
        if rows.held == 0 {
            self.by.remove(&offset);
        }
    }

    /// The oldest record of which a row is held.
    pub fn oldest(&self) -> Option<i64> {
        self.by.first_key_value().map(|(offset, _)| *offset)
    }

    /// What changed since it was last asked.
    pub fn changes(&mut self) -> Vec<(i64, Option<Vec<u64>>)> {
        let changed = std::mem::take(&mut self.changed);
        let of = |offset| (offset, self.by.get(&offset).map(|rows| rows.words.clone()));
        changed.into_iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_is_held() {
        let mut open = Open::default();
        for row in [0, 3, 64] {
            open.take(7, row);
        }
        open.take(9, 1);
        open.take(7, 3);
        assert_eq!(open.changes(), [(7, Some(vec![9, 1])), (9, Some(vec![2]))]);
        open.let_go(7, 0);
        open.let_go(9, 1);
        open.let_go(9, 1);
        assert_eq!(
            (open.changes(), open.oldest()),
            (vec![(7, Some(vec![8, 1])), (9, None)], Some(7))
        );
        assert!(open.changes().is_empty());
        let mut again = Open::default();
        again.restore(7, vec![8, 1]);
        assert!(
            again.holds(7, 3) && again.holds(7, 64) && !again.holds(7, 0) && !again.holds(9, 1)
        );
        again.let_go(7, 3);
        again.let_go(7, 64);
        assert_eq!(again.oldest(), None);
    }
}
