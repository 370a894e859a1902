//! What an aggregator counts of its own for the books ([`bus::books`]).

use std::collections::BTreeMap;

use bus::books::Counts;
use model::stream;

use crate::config::Counters;
use crate::windows::Windows;

/// What was told of counters that only grow; steps of a session that was lost are told again by those that do
/// their work again.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally(Counters);

impl Tally {
    /// What was counted until now is not told.
    pub fn forget(&mut self, now: &Counters) {
        self.0 = *now;
    }

    /// What the counters have grown by since the last step.
    pub fn grown(&mut self, now: &Counters, counts: &mut Counts) {
        let was = std::mem::replace(&mut self.0, *now);
        for (name, now, was) in [
            ("merged.notice", now.notice_merged, was.notice_merged),
            ("merged.conn", now.conn_merged, was.conn_merged),
            ("late", now.late, was.late),
            ("early", now.early, was.early),
            ("hurried", now.hurried, was.hurried),
            ("copies_forgotten", now.copies_forgotten, was.copies_forgotten),
            ("records_gone", now.records_gone, was.records_gone),
            ("sources_refused", now.sources_refused, was.sources_refused),
        ] {
            counts.add(name, i64::try_from(now.saturating_sub(was)).unwrap_or(i64::MAX));
        }
        let cut = now.conn_cut.saturating_sub(was.conn_cut);
        counts.add("merged.conn", i64::try_from(cut).map_or(i64::MIN, |cut| -cut));
    }
}

/// Rows of windows that wait and are in no topic that is written, by stream.
pub fn open(windows: &Windows) -> BTreeMap<&'static str, i64> {
    let mut open: BTreeMap<&'static str, i64> = windows.copies.held().collect();
    let held = [
        (stream::conn::DEF.name, windows.join.weight()),
        (stream::notice::DEF.name, windows.holds.weight()),
        (stream::known::DEF.name, windows.assets.weight()),
    ];
    for (name, rows) in held {
        *open.entry(name).or_default() += i64::try_from(rows).unwrap_or(i64::MAX);
    }
    open
}

/// Tells of rows that wait more or less than by the last commit.
pub fn grown_open(was: &mut BTreeMap<&'static str, i64>, now: &[&Windows], counts: &mut Counts) {
    let mut open = BTreeMap::new();
    for (name, rows) in now.iter().flat_map(|windows| self::open(windows)) {
        *open.entry(name).or_default() += rows;
    }
    let was = std::mem::replace(was, open.clone());
    was.iter().for_each(|(name, rows)| counts.add(format!("open.{name}"), -rows));
    open.iter().for_each(|(name, rows)| counts.add(format!("open.{name}"), *rows));
    counts.0.retain(|_, by| *by != 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_or_went_before_its_time_is_told() {
        let (mut tally, mut counts) = (Tally::default(), Counts::default());
        let (hurried, copies_forgotten, sources_refused) = (1, 2, 3);
        let now = Counters { hurried, copies_forgotten, sources_refused, ..Counters::default() };
        tally.grown(&now, &mut counts);
        tally.grown(&now, &mut counts);
        let told = ["hurried", "copies_forgotten", "sources_refused"].map(|name| counts.get(name));
        assert_eq!(told, [1, 2, 3]);
    }

    #[test]
    fn a_row_that_was_cut_is_one_that_was_not_merged() {
        let (mut tally, mut counts) = (Tally::default(), Counts::default());
        let now = Counters { conn_merged: 3, conn_cut: 5, ..Counters::default() };
        tally.grown(&now, &mut counts);
        assert_eq!(counts.0.get("merged.conn"), Some(&-2));
    }
}
