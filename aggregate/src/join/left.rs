//! Flows of TCP that left while other taps might still write copies of them: a sensor that missed the last packets of a
//! flow ends it by a timer, minutes after those that saw its end.
//!
//! The row that left stands for such a copy. Which rows are remembered is state, as for those that are held ([`Open`]): a
//! restart reads them again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::extent::Extent;
use super::{Key, Open, Piece};

/// Rows remembered, of a timeline of a lane: about 300 bytes each.
const LEFT_MAX: usize = 200_000;

/// Where a row stood: its record and which it was in it.
type Origin = (i64, usize);

/// A row that left.
#[derive(Debug)]
struct Row {
    origin: Origin,
    extent: Extent,
    tap: Arc<str>,
}

/// All that are remembered.
#[derive(Debug)]
pub struct Left {
    max: usize,
    by: HashMap<Key, Vec<Row>>,
    /// The same by when they are forgotten.
    ends: BTreeSet<(i64, Key, Origin)>,
    /// Which rows they are.
    pub open: Open,
    /// Those forgotten before their time, as there were too many.
    pub forgotten: u64,
}

impl Default for Left {
    fn default() -> Left {
        Left::at_most(LEFT_MAX)
    }
}

impl Left {
    /// None yet, and never more than `max`.
    pub fn at_most(max: usize) -> Left {
        let (by, ends, open) = Default::default();
        Left { max, by, ends, open, forgotten: 0 }
    }

    /// A row left, or did before a restart; what it stands for comes within `window_us` after it was written.
    pub fn remember(&mut self, key: &Key, piece: &Piece, window_us: i64) {
        let origin = (piece.offset, piece.origin);
        if !self.ends.insert((piece.stamped.saturating_add(window_us), key.clone(), origin)) {
            return;
        }
        self.open.take(piece.offset, piece.origin);
        let row = Row { origin, extent: piece.extent(), tap: piece.tap.clone() };
        self.by.entry(key.clone()).or_default().push(row);
        if self.ends.len() > self.max {
            self.forget_first();
            self.forgotten += 1;
        }
    }

    /// Whether a piece is a copy of what left: of a flow that other taps saw, and its own did not.
    pub fn has(&self, key: &str, piece: &Piece) -> bool {
        let Some(rows) = self.by.get(key) else { return false };
        let extent = piece.extent();
        let mut same = rows.iter().filter(|row| row.extent.is_same(&extent)).peekable();
        // Two of one tap are two flows.
        same.peek().is_some() && same.all(|row| row.tap != piece.tap)
    }

    /// Forgets what nothing written from `now` on can be a copy of.
    pub fn expire(&mut self, now: i64) {
        while self.ends.first().is_some_and(|(until, ..)| *until <= now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some((_, key, origin)) = self.ends.pop_first() else { return };
        self.open.let_go(origin.0, origin.1);
        let Some(rows) = self.by.get_mut(&key) else { return };
        rows.retain(|row| row.origin != origin);
        if rows.is_empty() {
            self.by.remove(&key);
        }
    }
}
