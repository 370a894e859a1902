//! Rows of other streams than conn where taps overlap: a flow's come from one observer.
//!
//! Sensors that see the same packets write the same rows at the same time, as far as their clocks agree. So a row
//! waits for as long as they may differ; then it goes, unless a sensor of another tap that is preferred for its
//! flow wrote any row of that flow meanwhile: then that one's rows stand for all. Which is preferred follows from
//! the flow and the names alone ([`rank`]), so that all rows of a flow, its row of conn too, have one observer
//! as long as that one sees it, and no choice has to be remembered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow_array::RecordBatch;
use model::stream::Def;

use super::Open;
use super::flows::rank;

/// Who wrote a row, at which tap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Observer {
    /// The node.
    pub sensor: Arc<str>,
    /// Its tap.
    pub tap: Arc<str>,
}

/// A row that waits.
#[derive(Debug)]
pub struct Item {
    /// Its stream.
    pub def: &'static Def,
    /// The batch that it stands in, and which row it is there.
    pub rows: Arc<RecordBatch>,
    /// Its row.
    pub row: usize,
    /// The flow that it is of.
    pub flow: Arc<str>,
    /// Who wrote it.
    pub by: Observer,
}

/// When a row was written, its stream, its writer, its record and its row there.
type Place = (i64, &'static str, Observer, i64, usize);

/// When somebody wrote a row, its stream and its record.
type Witness = (i64, &'static str, i64);

/// A row that goes, and when.
pub struct Chosen {
    /// The row.
    pub item: Item,
    /// The time that completed it.
    pub at: i64,
    /// The record it came in.
    pub offset: i64,
}

/// Rows of one timeline of a lane.
#[derive(Debug, Default)]
pub struct Copies {
    pending: BTreeMap<Place, Item>,
    /// Who wrote rows of a flow.
    seen: HashMap<Arc<str>, BTreeMap<Observer, BTreeSet<Witness>>>,
    /// The same by time, to be forgotten.
    ages: BTreeSet<(i64, Arc<str>, Observer, &'static str, i64)>,
    /// The same by stream and record: what a restart has to read again.
    needed: BTreeMap<&'static str, BTreeMap<i64, usize>>,
    open: BTreeMap<&'static str, Open>,
    /// Rows that wait, by stream.
    held: BTreeMap<&'static str, i64>,
    /// Rows that another observer's stood for, by stream, and that were not told of yet.
    merged: BTreeMap<&'static str, i64>,
}

impl Copies {
    /// A row, which was written at a time and is `origin` in its record.
    pub fn take(&mut self, item: Item, written: i64, offset: i64, origin: usize) {
        let written = written.min(i64::MAX - 1);
        self.witness(&item, written, offset);
        self.open_of(item.def.name).take(offset, origin);
        let place = (written, item.def.name, item.by.clone(), offset, origin);
        let name = item.def.name;
        if self.pending.insert(place, item).is_none() {
            *self.held.entry(name).or_default() += 1;
        }
    }

    /// Somebody wrote a row of a flow.
    pub fn witness(&mut self, item: &Item, written: i64, offset: i64) {
        let (flow, by, name) = (&item.flow, &item.by, item.def.name);
        let times = self.seen.entry(flow.clone()).or_default().entry(by.clone()).or_default();
        if times.insert((written, name, offset)) {
            self.ages.insert((written, flow.clone(), by.clone(), name, offset));
            *self.needed.entry(name).or_default().entry(offset).or_default() += 1;
        }
    }

    /// Rows whose time has come before `horizon`, in order, less those that another observer's stand for.
    /// Tells too how many those were.
    pub fn release(&mut self, horizon: i64, wait_us: i64) -> (Vec<Chosen>, u64) {
        let (mut out, mut merged) = (Vec::new(), 0);
        while let Some((place, _)) = self.pending.first_key_value()
            && place.0.saturating_add(wait_us) < horizon
        {
            merged += self.pop(wait_us, &mut out);
        }
        while let Some((at, ..)) = self.ages.first()
            && at.saturating_add(wait_us.saturating_mul(2)) < horizon
        {
            self.forget_oldest();
        }
        (out, merged)
    }

    /// The older half, before its time.
    pub fn force(&mut self, wait_us: i64) -> (Vec<Chosen>, u64) {
        let (mut out, mut merged) = (Vec::new(), 0);
        for _ in 0..self.pending.len().div_ceil(2) {
            merged += self.pop(wait_us, &mut out);
        }
        for _ in 0..self.ages.len() / 2 {
            self.forget_oldest();
        }
        (out, merged)
    }

    fn pop(&mut self, wait_us: i64, out: &mut Vec<Chosen>) -> u64 {
        let Some(((written, name, _, offset, origin), item)) = self.pending.pop_first() else {
            return 0;
        };
        self.open_of(name).let_go(offset, origin);
        *self.held.entry(name).or_default() -= 1;
        if self.is_merged(&item, written, wait_us) {
            *self.merged.entry(name).or_default() += 1;
            return 1;
        }
        out.push(Chosen { item, at: written.saturating_add(wait_us), offset });
        0
    }

    /// Whether a preferred observer at another tap wrote rows of the flow at about this time.
    fn is_merged(&self, item: &Item, written: i64, wait_us: i64) -> bool {
        let Some(seen) = self.seen.get(&item.flow) else { return false };
        let mine = rank(&item.flow, &item.by.sensor);
        let from = (written.saturating_sub(wait_us), "", i64::MIN);
        let to = (written.saturating_add(wait_us), "\u{10ffff}", i64::MAX);
        seen.iter().any(|(by, times)| {
            by.tap != item.by.tap
                && rank(&item.flow, &by.sensor) < mine
                && times.range(from..=to).next().is_some()
        })
    }

    fn forget_oldest(&mut self) {
        let Some((at, flow, by, name, offset)) = self.ages.pop_first() else { return };
        if let Some(observers) = self.seen.get_mut(&flow) {
            if let Some(times) = observers.get_mut(&by) {
                times.remove(&(at, name, offset));
                if times.is_empty() {
                    observers.remove(&by);
                }
            }
            if observers.is_empty() {
                self.seen.remove(&flow);
            }
        }
        if let Some(needed) = self.needed.get_mut(name)
            && let Some(count) = needed.get_mut(&offset)
        {
            *count -= 1;
            if *count == 0 {
                needed.remove(&offset);
            }
        }
    }

    /// Forgets who wrote what.
    pub fn forget(&mut self) {
        self.seen.clear();
        self.ages.clear();
        self.needed.clear();
    }

    /// How many rows wait, by stream.
    pub fn held(&self) -> impl Iterator<Item = (&'static str, i64)> {
        self.held.iter().map(|(name, rows)| (*name, *rows))
    }

    /// How many rows another observer's stood for since this was asked last, by stream.
    pub fn take_merged(&mut self) -> BTreeMap<&'static str, i64> {
        std::mem::take(&mut self.merged)
    }

    /// Which rows of a stream are held.
    pub fn open_of(&mut self, name: &'static str) -> &mut Open {
        self.open.entry(name).or_default()
    }

    /// Whether a row that is read again was held.
    pub fn holds(&self, name: &str, offset: i64, row: usize) -> bool {
        self.open.get(name).is_some_and(|open| open.holds(offset, row))
    }

    /// Changes of what is held, by stream and record.
    pub fn changes(&mut self) -> Vec<(&'static str, i64, Option<Vec<u64>>)> {
        let of = |(name, open): (&&'static str, &mut Open)| {
            let name = *name;
            open.changes().into_iter().map(move |(offset, rows)| (name, offset, rows)).collect()
        };
        self.open.iter_mut().flat_map(|each| -> Vec<_> { of(each) }).collect()
    }

    /// Rows held, and what is known of others.
    pub fn weight(&self) -> usize {
        self.pending.len() + self.ages.len()
    }

    /// The oldest record of a stream that is needed.
    pub fn oldest(&self, name: &str) -> Option<i64> {
        let held = self.open.get(name).and_then(Open::oldest);
        let needed = self.needed.get(name).and_then(|by| by.first_key_value());
        [held, needed.map(|(offset, _)| *offset)].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use model::stream::dns;

    use super::*;

    fn item(flow: &str, sensor: &str, tap: &str) -> Item {
        Item {
            def: &dns::DEF,
            rows: Arc::new(dns::Batch::default().finish("x").0),
            row: 0,
            flow: flow.into(),
            by: Observer { sensor: sensor.into(), tap: tap.into() },
        }
    }

    fn gone(copies: &mut Copies, horizon: i64) -> Vec<(String, i64)> {
        let (chosen, _) = copies.release(horizon, 10);
        chosen.iter().map(|c| (c.item.by.sensor.to_string(), c.at)).collect()
    }

    /// Of these two the one whose rows stand for the other's, and the other.
    fn preferred(flow: &str) -> (&'static str, &'static str) {
        if rank(flow, "a") < rank(flow, "b") { ("a", "b") } else { ("b", "a") }
    }

    #[test]
    fn one_observers_rows_stand_for_all() {
        let (first, second) = preferred("f");
        for order in [[first, second], [second, first]] {
            let mut copies = Copies::default();
            for (offset, sensor) in order.into_iter().enumerate() {
                copies.take(item("f", sensor, sensor), 100 + offset as i64, offset as i64, 0);
                copies.take(item("f", sensor, sensor), 300, offset as i64, 1);
            }
            assert!(gone(&mut copies, 110).is_empty());
            let one = gone(&mut copies, 200);
            assert_eq!(one.iter().map(|(s, _)| &**s).collect::<Vec<_>>(), [first]);
            assert_eq!(gone(&mut copies, 311), [(first.to_owned(), 310)]);
            assert_eq!(copies.oldest("dns"), Some(0));
            assert!(gone(&mut copies, 400).is_empty());
            assert_eq!((copies.weight(), copies.oldest("dns")), (0, None));
        }
    }

    #[test]
    fn what_another_saw_at_another_time_or_behind_the_same_tap_is_no_copy() {
        let (first, second) = preferred("f");
        let mut copies = Copies::default();
        copies.take(item("f", first, "t"), 100, 0, 0);
        copies.take(item("f", second, "t"), 100, 1, 0);
        copies.take(item("g", second, "u"), 100, 2, 0);
        copies.take(item("f", second, "u"), 111, 3, 0);
        assert_eq!(gone(&mut copies, 1000).len(), 4);
    }

    #[test]
    fn a_witness_that_went_is_kept_for_those_that_wait() {
        let (first, second) = preferred("f");
        let mut copies = Copies::default();
        copies.take(item("f", first, "t"), 100, 0, 0);
        copies.take(item("f", second, "u"), 109, 1, 0);
        assert_eq!(gone(&mut copies, 111).len(), 1);
        assert_eq!(copies.changes(), [("dns", 0, None), ("dns", 1, Some(vec![1]))]);
        assert_eq!(copies.oldest("dns"), Some(0), "needed to judge the other");
        // As a restart finds it.
        let mut again = Copies::default();
        again.open_of("dns").restore(1, vec![1]);
        again.witness(&item("f", first, "t"), 100, 0);
        again.take(item("f", second, "u"), 109, 1, 0);
        assert!(gone(&mut again, 1000).is_empty() && gone(&mut copies, 1000).is_empty());
    }
}
