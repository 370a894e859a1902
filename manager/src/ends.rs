//! When what a lane keeps is over, by timeline: what to forget next, and what to evict where it is too much.

use std::collections::BTreeSet;

use crate::state::Line;

/// Keys by the time that they are over at.
#[derive(Debug)]
pub struct Ends<K> {
    by: [BTreeSet<(i64, K)>; 2],
}

impl<K> Default for Ends<K> {
    fn default() -> Ends<K> {
        Ends { by: Default::default() }
    }
}

impl<K: Ord> Ends<K> {
    /// A key is over then.
    pub fn insert(&mut self, line: Line, until: i64, key: K) {
        self.by[line as usize].insert((until, key));
    }

    /// It is kept no more.
    pub fn remove(&mut self, line: Line, until: i64, key: K) {
        self.by[line as usize].remove(&(until, key));
    }

    /// What is over first of a timeline.
    pub fn first(&self, line: Line) -> Option<&(i64, K)> {
        self.by[line as usize].first()
    }

    /// What goes where there is too much: what is over first of the timeline that holds more, so that neither
    /// pushes out the other.
    pub fn to_evict(&self) -> Option<&K> {
        let [live, file] = &self.by;
        let fuller = if live.len() > file.len() { live } else { file };
        fuller.first().map(|(_, key)| key)
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.by.iter().all(BTreeSet::is_empty)
    }
}
