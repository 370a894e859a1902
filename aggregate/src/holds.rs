//! Notices waiting for their copies.
//!
//! Of one type and identifier the earliest opens a hold; what is written before the hold's end is a
//! copy of it. Holds are laid out when the watermark has passed their end, so the order in which
//! workers' rows arrived does not matter. After that the hold *covers* its span for a while: what
//! arrives for it then only counts up, and a restart that reads its rows again knows them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::RecordBatch;
use bus::Timeline;

use crate::state::Key;

/// Nodes named in one notice; a cluster has fewer.
const OBSERVERS_MAX: usize = 1024;

/// Type and identifier.
pub type Kind = (String, String);

/// One notice that waits.
#[derive(Debug, Clone)]
pub struct Item {
    /// `_write_ts`: the time that holds go by.
    pub written: i64,
    /// When it happened.
    pub ts: i64,
    /// The node that wrote it.
    pub sensor: String,
    /// Nodes that saw it, the writer included.
    pub observers: BTreeSet<String>,
    /// The batch it stands in.
    pub rows: Arc<RecordBatch>,
    /// Its row there.
    pub row: usize,
    /// The record it came in.
    pub offset: i64,
}

/// Copies merged.
#[derive(Debug, Clone)]
pub struct Merged {
    /// Identifier, where it has one.
    pub identifier: Option<String>,
    /// The earliest: its cells stand for all.
    pub first: Item,
    /// When the latest copy happened.
    pub last_ts: i64,
    /// All nodes that saw it.
    pub observers: BTreeSet<String>,
    /// How many there were; none where it is a copy of one that went out.
    pub copies: u64,
}

/// What became of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It waits.
    Held,
    /// It belongs to one that is out already.
    Covered,
}

/// Copies that wait, by their time and, as several have the same, a number of their own.
type Copies = BTreeMap<(i64, u64), Item>;

/// Notices of one timeline of a lane.
#[derive(Debug)]
pub struct Holds {
    timeline: Timeline,
    hold_us: i64,
    by: BTreeMap<Kind, Copies>,
    /// The same by the time of their earliest.
    due: BTreeSet<(i64, Kind)>,
    /// Without an identifier: nothing to wait for.
    loose: Vec<Item>,
    /// Until when copies are covered.
    covers: BTreeMap<Kind, i64>,
    expiry: BTreeSet<(i64, Kind)>,
    changed: BTreeSet<Kind>,
    /// How many notices of each record are held.
    records: BTreeMap<i64, usize>,
    /// Copies of what went out, on their way to be counted.
    late: Vec<Merged>,
    count: usize,
    /// Number of the next copy.
    next: u64,
}

impl Holds {
    /// None yet.
    pub fn new(timeline: Timeline, hold_us: i64) -> Holds {
        Holds {
            timeline,
            hold_us: hold_us.max(0),
            by: BTreeMap::new(),
            due: BTreeSet::new(),
            loose: Vec::new(),
            covers: BTreeMap::new(),
            expiry: BTreeSet::new(),
            changed: BTreeSet::new(),
            records: BTreeMap::new(),
            late: Vec::new(),
            count: 0,
            next: 0,
        }
    }

    /// A cover as it was kept.
    pub fn restore(&mut self, kind: Kind, until: i64) {
        self.expiry.insert((until, kind.clone()));
        self.covers.insert(kind, until);
    }

    /// A notice that cannot be merged.
    pub fn take_loose(&mut self, item: Item) {
        self.hold(&item);
        self.loose.push(item);
    }

    /// A notice.
    pub fn take(&mut self, kind: Kind, item: Item) -> Taken {
        if self.covers.get(&kind).is_some_and(|until| item.written < *until) {
            return Taken::Covered;
        }
        self.hold(&item);
        let written = item.written;
        let copies = self.by.entry(kind.clone()).or_default();
        let earliest = copies.first_key_value().map(|((written, _), _)| *written);
        copies.insert((written, self.next), item);
        self.next += 1;
        match earliest {
            Some(earliest) if earliest <= written => {}
            Some(earliest) => {
                self.due.remove(&(earliest, kind.clone()));
                self.due.insert((written, kind));
            }
            None => {
                self.due.insert((written, kind));
            }
        }
        Taken::Held
    }

    /// A copy of one that went out ([`Taken::Covered`]): whoever decided on that one counts it.
    pub fn take_late(&mut self, kind: Kind, item: Item) {
        let merged = merge(Some(kind.1), vec![item]);
        self.late.push(Merged { copies: 0, ..merged });
    }

    /// Such copies since it was last asked.
    pub fn late_copies(&mut self) -> Vec<Merged> {
        std::mem::take(&mut self.late)
    }

    fn hold(&mut self, item: &Item) {
        self.count += 1;
        *self.records.entry(item.offset).or_default() += 1;
    }

    fn let_go(&mut self, item: &Item) {
        self.count -= 1;
        if let Some(held) = self.records.get_mut(&item.offset) {
            *held -= 1;
            if *held == 0 {
                self.records.remove(&item.offset);
            }
        }
    }

    /// When a hold that begins at `written` ends.
    pub fn end_of(&self, written: i64) -> i64 {
        written.saturating_add(self.hold_us)
    }

    /// Takes out every hold that ends by `time`, in order, and all that wait for nothing.
    pub fn release(&mut self, time: i64) -> Vec<Merged> {
        let loose = std::mem::take(&mut self.loose);
        loose.iter().for_each(|item| self.let_go(item));
        let mut out: Vec<Merged> = loose.into_iter().map(|item| merge(None, vec![item])).collect();
        while let Some((start, _)) = self.due.first()
            && self.end_of(*start) <= time
        {
            out.extend(self.pop());
        }
        self.uncover(time);
        out.sort_by(|a, b| order(&a.first).cmp(&order(&b.first)));
        out
    }

    /// Takes everything out whatever the time.
    pub fn force(&mut self, time: i64) -> Vec<Merged> {
        let mut out = Vec::new();
        while !self.due.is_empty() {
            out.extend(self.pop());
        }
        out.extend(self.release(time));
        out
    }

    /// Takes out the hold that begins first.
    fn pop(&mut self) -> Option<Merged> {
        let (start, kind) = self.due.pop_first()?;
        let end = self.end_of(start);
        let mut copies = self.by.remove(&kind)?;
        // A hold of no length still holds those that opened it.
        let after = copies.split_off(&if end > start { (end, 0) } else { (start, u64::MAX) });
        if let Some(((next, _), _)) = after.first_key_value() {
            self.due.insert((*next, kind.clone()));
            self.by.insert(kind.clone(), after);
        }
        copies.values().for_each(|item| self.let_go(item));
        self.cover(&kind, end);
        Some(merge(Some(kind.1), copies.into_values().collect()))
    }

    fn cover(&mut self, kind: &Kind, until: i64) {
        if let Some(before) = self.covers.get(kind).copied() {
            if before >= until {
                return;
            }
            self.expiry.remove(&(before, kind.clone()));
        }
        self.restore(kind.clone(), until);
        self.changed.insert(kind.clone());
    }

    /// Forgets covers that no row can need: read again, it is known by its age alone.
    fn uncover(&mut self, time: i64) {
        while let Some((until, _)) = self.expiry.first()
            && self.end_of(*until) <= time
        {
            let Some((_, kind)) = self.expiry.pop_first() else { return };
            self.covers.remove(&kind);
            self.changed.insert(kind);
        }
    }

    /// Forgets all covers.
    pub fn forget(&mut self) {
        self.expiry.clear();
        self.changed.extend(std::mem::take(&mut self.covers).into_keys());
    }

    /// Changes of covers since it was last asked.
    pub fn changes(&mut self) -> Vec<(Key, Option<i64>)> {
        std::mem::take(&mut self.changed)
            .into_iter()
            .map(|kind| (Key::cover(self.timeline, &kind), self.covers.get(&kind).copied()))
            .collect()
    }

    /// Notices held.
    pub fn weight(&self) -> usize {
        self.count
    }

    /// The oldest record that a held notice came in.
    pub fn oldest(&self) -> Option<i64> {
        self.records.first_key_value().map(|(offset, _)| *offset)
    }
}

/// Earliest first; of the same time the sensor whose name comes first.
fn order(item: &Item) -> (i64, &str, i64, i64) {
    (item.ts, &item.sensor, item.written, item.offset)
}

/// One notice of all copies; there is at least one.
fn merge(identifier: Option<String>, mut items: Vec<Item>) -> Merged {
    items.sort_by(|a, b| order(a).cmp(&order(b)));
    let copies = items.len() as u64;
    let last_ts = items.iter().map(|item| item.ts).max().unwrap_or_default();
    let mut observers = BTreeSet::new();
    for observer in items.iter().flat_map(|item| &item.observers) {
        if observers.len() < OBSERVERS_MAX {
            observers.insert(observer.clone());
        }
    }
    let first = items.swap_remove(0);
    Merged { identifier, first, last_ts, observers, copies }
}

#[cfg(test)]
mod tests {
    use model::stream::notice;

    use super::*;

    fn item(written: i64, sensor: &str) -> Item {
        let rows = Arc::new(notice::Batch::default().finish("x").0);
        let observers = BTreeSet::from([sensor.to_owned()]);
        Item {
            written,
            ts: written,
            sensor: sensor.into(),
            observers,
            rows,
            row: 0,
            offset: written,
        }
    }

    fn kind(identifier: &str) -> Kind {
        ("Note".into(), identifier.into())
    }

    fn told(merged: &[Merged]) -> Vec<(i64, i64, usize)> {
        merged.iter().map(|m| (m.first.ts, m.last_ts, m.observers.len())).collect()
    }

    #[test]
    fn copies_merge_in_any_order() {
        for order in [[10, 12, 14, 16], [16, 14, 12, 10], [14, 10, 16, 12]] {
            let mut holds = Holds::new(Timeline::Live, 5);
            for at in order {
                assert_eq!(holds.take(kind("a"), item(at, &format!("w{at}"))), Taken::Held);
            }
            assert_eq!((holds.weight(), holds.oldest()), (4, Some(10)));
            assert!(holds.release(14).is_empty());
            assert_eq!(told(&holds.release(15)), [(10, 14, 3)]);
            assert_eq!((holds.weight(), holds.oldest()), (1, Some(16)));
            assert_eq!(told(&holds.release(21)), [(16, 16, 1)]);
        }
    }

    #[test]
    fn late_copies_of_a_released_notice_only_count() {
        let mut holds = Holds::new(Timeline::Live, 5);
        holds.take(kind("a"), item(10, "w1"));
        assert_eq!(holds.release(16).len(), 1);
        assert_eq!(holds.take(kind("a"), item(14, "w2")), Taken::Covered);
        assert_eq!(holds.take(kind("b"), item(14, "w2")), Taken::Held);
        assert_eq!(holds.changes(), [(Key::cover(Timeline::Live, &kind("a")), Some(15))]);
        assert_eq!(told(&holds.release(30)), [(14, 14, 1)]);
        let gone = holds.changes();
        assert!(gone.iter().all(|(_, until)| until.is_none()) && gone.len() == 2);
    }

    #[test]
    fn without_an_identifier_nothing_waits() {
        let mut holds = Holds::new(Timeline::Live, 5);
        holds.take_loose(item(10, "w2"));
        holds.take_loose(item(10, "w1"));
        let out = holds.release(i64::MIN);
        assert_eq!(out.iter().map(|m| m.first.sensor.as_str()).collect::<Vec<_>>(), ["w1", "w2"]);
        assert_eq!(holds.weight(), 0);
    }

    /// Each look at all copies of a notice for each copy would take hours here.
    #[test]
    fn a_flood_of_one_notice_is_no_more_work_than_of_many() {
        let mut holds = Holds::new(Timeline::Live, 5);
        let (mut merged, one) = (0, item(0, "w"));
        for at in 0..200_000 {
            holds.take(kind("a"), Item { written: at, ts: at, offset: at, ..one.clone() });
            assert_eq!(holds.oldest(), Some(0));
        }
        for at in (0..200_000).step_by(50) {
            merged += holds.release(at).len();
        }
        assert_eq!((merged, holds.weight(), holds.oldest()), (39_990, 50, Some(199_950)));
    }

    #[test]
    fn everything_goes_when_it_must() {
        let mut holds = Holds::new(Timeline::Live, 5);
        for at in [10, 12, 20, 40] {
            holds.take(kind("a"), item(at, "w"));
        }
        assert_eq!(told(&holds.force(i64::MIN)), [(10, 12, 1), (20, 20, 1), (40, 40, 1)]);
        assert_eq!(holds.weight(), 0);
        assert_eq!(holds.take(kind("a"), item(11, "w")), Taken::Covered);
    }

    #[test]
    fn a_hold_of_no_length_and_absurd_times() {
        let mut holds = Holds::new(Timeline::File, 0);
        for at in [i64::MIN, 0, i64::MAX] {
            holds.take(kind("a"), item(at, "w"));
        }
        assert_eq!(holds.release(i64::MAX).len(), 3);
    }
}
