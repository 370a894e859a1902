//! Statistics by pane, rule and entity.
//!
//! A row falls into the pane of its `_write_ts`: that is the time the watermark speaks of, so a pane is
//! complete when the watermark passes its end. What is *observed* keeps the row's own `ts`, so that
//! what a detector says of times does not depend on when flows were written.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use detect::detector::Attempt;
use detect::{Detector, Observation, Value};

use crate::sources::Input;
use crate::tries::{Closed, Tries};

/// Nodes named in one entry; a cluster has fewer.
pub(crate) const OBSERVERS_MAX: usize = 1024;

/// What was seen of one entity in one pane.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The statistic.
    pub value: Value,
    /// Earliest observation.
    pub first_ts: i64,
    /// Latest observation.
    pub last_ts: i64,
    /// How many.
    pub observations: u64,
    /// Nodes that saw them.
    pub observers: BTreeSet<String>,
}

/// Place of an entry: pane, rule, entity.
pub type Place = (i64, &'static str, String);

#[derive(Debug, Default)]
struct Pane {
    /// By rule and entity.
    entries: BTreeMap<&'static str, BTreeMap<String, Entry>>,
    /// What several rules share.
    tries: Tries,
    /// What it holds, as limits count.
    weight: usize,
    /// Oldest record of each input that it was built from.
    oldest: BTreeMap<Input, i64>,
}

/// A pane that is over.
#[derive(Debug)]
pub struct Over {
    start: i64,
    entries: BTreeMap<&'static str, BTreeMap<String, Entry>>,
    tries: Closed,
}

impl Over {
    /// Its entries, by rule and entity. Those of attempts are only made on the way: together they are large.
    pub fn each(mut self, detectors: &[Box<dyn Detector>], each: &mut dyn FnMut(Place, Entry)) {
        let gathers = detectors.iter().filter_map(|d| Some((d.rule(), (&**d, d.facets()?))));
        let gathers: BTreeMap<_, _> = gathers.collect();
        let rules: BTreeSet<&str> = self.entries.keys().chain(gathers.keys()).copied().collect();
        for rule in rules {
            for (entity, entry) in self.entries.remove(rule).unwrap_or_default() {
                each((self.start, rule, entity), entry);
            }
            let Some((detector, facets)) = gathers.get(rule) else { continue };
            for (entity, entry) in self.tries.entries(*detector, *facets) {
                each((self.start, rule, entity), entry);
            }
        }
    }
}

/// Observations of an entity in the rows of one batch, added up.
#[derive(Debug)]
pub struct Sum {
    /// Earliest and latest of them.
    pub times: (i64, i64),
    /// How many.
    pub observations: u64,
    /// Nodes that saw them.
    pub observers: BTreeSet<String>,
}

/// Open panes of one timeline of a lane.
#[derive(Debug)]
pub struct Panes {
    pane_us: i64,
    by: BTreeMap<i64, Pane>,
    weight: usize,
}

impl Panes {
    /// None yet, of this length.
    pub fn new(pane_us: i64) -> Panes {
        Panes { pane_us: pane_us.max(1), by: BTreeMap::new(), weight: 0 }
    }

    /// End of the pane that a time falls in.
    pub fn end_of(&self, time: i64) -> i64 {
        self.end(detect::pane_start(time, self.pane_us))
    }

    fn end(&self, start: i64) -> i64 {
        start.saturating_add(self.pane_us)
    }

    /// Adds an observation of a rule from the row written at `written` in the record `from` (input and offset),
    /// which `observers` saw. `begin` gives the rule's empty statistic.
    pub fn observe<'a>(
        &mut self,
        written: i64,
        (input, offset): (Input, i64),
        rule: &'static str,
        begin: impl FnOnce() -> Value,
        seen: &Observation<'_>,
        observers: impl Iterator<Item = &'a str>,
    ) {
        let start = detect::pane_start(written, self.pane_us);
        let pane = self.by.entry(start).or_default();
        let oldest = pane.oldest.entry(input).or_insert(offset);
        *oldest = offset.min(*oldest);
        let before = pane.weight;
        let entries = pane.entries.entry(rule).or_default();
        let entry = match entries.get_mut(seen.entity) {
            Some(entry) => entry,
            None => {
                pane.weight += 1;
                entries.entry(seen.entity.to_owned()).or_insert(Entry {
                    value: begin(),
                    first_ts: seen.at,
                    last_ts: seen.at,
                    observations: 0,
                    observers: BTreeSet::new(),
                })
            }
        };
        pane.weight += entry.value.observe(seen.seen());
        entry.first_ts = entry.first_ts.min(seen.at);
        entry.last_ts = entry.last_ts.max(seen.at);
        entry.observations = entry.observations.saturating_add(1);
        for observer in observers {
            if entry.observers.len() < OBSERVERS_MAX && !entry.observers.contains(observer) {
                entry.observers.insert(observer.to_owned());
            }
        }
        self.weight += pane.weight - before;
    }

    /// Adds an attempt in vain, for all detectors that observe those. Else as [`Panes::observe`].
    pub fn tried<'a>(
        &mut self,
        written: i64,
        (input, offset): (Input, i64),
        tried: &Attempt<'_>,
        observers: impl Iterator<Item = &'a str>,
        detectors: &[Box<dyn Detector>],
    ) {
        let start = detect::pane_start(written, self.pane_us);
        let pane = self.by.entry(start).or_default();
        let oldest = pane.oldest.entry(input).or_insert(offset);
        *oldest = offset.min(*oldest);
        let before = pane.tries.weight();
        pane.tries.observe(tried, observers, detectors);
        let now = pane.tries.weight();
        pane.weight = (pane.weight + now).saturating_sub(before);
        self.weight = (self.weight + now).saturating_sub(before);
    }

    /// Adds what was added up of rows that were written in one pane, at `written` or so; `grow` adds it to the
    /// statistic. Else as [`Panes::observe`].
    pub fn add(
        &mut self,
        written: i64,
        (input, offset): (Input, i64),
        rule: &'static str,
        entity: String,
        sum: Sum,
        (begin, grow): (impl FnOnce() -> Value, impl FnOnce(&mut Value)),
    ) {
        let start = detect::pane_start(written, self.pane_us);
        let pane = self.by.entry(start).or_default();
        let oldest = pane.oldest.entry(input).or_insert(offset);
        *oldest = offset.min(*oldest);
        let ((first_ts, last_ts), Sum { observations, observers, .. }) = (sum.times, sum);
        match pane.entries.entry(rule).or_default().entry(entity) {
            btree_map::Entry::Vacant(vacant) => {
                let mut value = begin();
                grow(&mut value);
                let more = 1 + value.weight();
                vacant.insert(Entry { value, first_ts, last_ts, observations, observers });
                pane.weight += more;
                self.weight += more;
            }
            btree_map::Entry::Occupied(mut known) => {
                let entry = known.get_mut();
                let before = entry.value.weight();
                grow(&mut entry.value);
                entry.first_ts = entry.first_ts.min(first_ts);
                entry.last_ts = entry.last_ts.max(last_ts);
                entry.observations = entry.observations.saturating_add(observations);
                let room = OBSERVERS_MAX.saturating_sub(entry.observers.len());
                entry.observers.extend(observers.into_iter().take(room));
                let now = entry.value.weight();
                pane.weight = (pane.weight + now).saturating_sub(before);
                self.weight = (self.weight + now).saturating_sub(before);
            }
        }
    }

    /// Takes out all panes that end by `time`, in order.
    pub fn release(&mut self, time: i64) -> Vec<Over> {
        let mut out = Vec::new();
        while let Some((start, _)) = self.by.first_key_value()
            && self.end(*start) <= time
        {
            out.extend(self.pop());
        }
        out
    }

    /// Takes the oldest pane out whatever the time, and tells its end.
    pub fn force(&mut self) -> Option<(i64, Over)> {
        let over = self.pop()?;
        Some((self.end(over.start), over))
    }

    fn pop(&mut self) -> Option<Over> {
        let (start, pane) = self.by.pop_first()?;
        self.weight = self.weight.saturating_sub(pane.weight);
        Some(Over { start, entries: pane.entries, tries: pane.tries.close() })
    }

    /// What is held, as limits count.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// The oldest record of an input that a pane was built from.
    pub fn oldest(&self, input: Input) -> Option<i64> {
        self.by.values().filter_map(|pane| pane.oldest.get(&input)).min().copied()
    }

    /// Length of a pane.
    pub fn pane_us(&self) -> i64 {
        self.pane_us
    }
}

#[cfg(test)]
mod tests {
    use detect::stat::{Unique, Value};

    use super::*;

    const HTTP: Input = Input::Log(&model::stream::http::DEF);

    fn observe(panes: &mut Panes, written: i64, offset: i64, entity: &str, member: &str) {
        let from = (if offset % 2 == 0 { HTTP } else { Input::Conn }, offset);
        let seen = Observation { row: 0, at: written - 1, entity, key: "", number: 0, member };
        let begin = || Value::Unique(Unique::new(9));
        panes.observe(written, from, "r", begin, &seen, ["w1"].into_iter());
    }

    fn entries(of: Vec<Over>) -> Vec<(Place, Entry)> {
        let mut all = Vec::new();
        of.into_iter()
            .for_each(|over| over.each(&[], &mut |place, entry| all.push((place, entry))));
        all
    }

    #[test]
    fn panes_close_in_order_and_what_they_held_is_accounted() {
        let mut panes = Panes::new(10);
        observe(&mut panes, 25, 7, "e", "a");
        observe(&mut panes, 9, 8, "e", "a");
        observe(&mut panes, 9, 9, "e", "b");
        observe(&mut panes, 9, 9, "d", "b");
        assert_eq!(panes.weight(), 7);
        assert_eq!((panes.oldest(Input::Conn), panes.oldest(HTTP)), (Some(7), Some(8)));
        assert!(panes.release(9).is_empty());
        let out = entries(panes.release(10));
        let places: Vec<_> = out.iter().map(|(place, _)| (place.0, place.2.as_str())).collect();
        assert_eq!(places, [(0, "d"), (0, "e")]);
        assert_eq!((out[1].1.observations, out[1].1.first_ts), (2, 8));
        assert_eq!((panes.oldest(Input::Conn), panes.oldest(HTTP)), (Some(7), None));
        let forced = panes.force().map(|(end, over)| (end, entries(vec![over]).len()));
        assert_eq!(forced, Some((30, 1)));
        assert_eq!((panes.weight(), panes.oldest(Input::Conn)), (0, None));
        assert!(panes.force().is_none());
    }

    #[test]
    fn sums_of_batches_are_accounted_like_observations() {
        let mut panes = Panes::new(10);
        let mut add = |written, from, entity: &str, members: &[&str], at: i64| {
            let observations = members.len() as u64;
            let observers = [format!("w{at}")].into();
            let sum = Sum { times: (at, at), observations, observers };
            let grow = |value: &mut Value| {
                for member in members {
                    value.observe(detect::Seen { at, key: "", member, number: 0 });
                }
            };
            let begin = || Value::Unique(Unique::new(9));
            panes.add(written, from, "s", entity.into(), sum, (begin, grow));
        };
        add(3, (Input::Conn, 9), "e", &["a", "b"], 2);
        add(4, (Input::Conn, 7), "e", &["b", "c"], 1);
        add(4, (HTTP, 8), "f", &["x"], 1);
        observe(&mut panes, 4, 10, "e", "a");
        assert_eq!((panes.weight(), panes.oldest(Input::Conn)), (4 + 2 + 2, Some(7)));
        let out = entries(panes.release(10));
        let of = |at: usize| (out[at].0.1, out[at].1.observations, out[at].1.first_ts);
        assert_eq!((of(0), of(1), of(2)), (("r", 1, 3), ("s", 4, 1), ("s", 1, 1)));
        assert_eq!(out[1].1.observers.len(), 2);
        assert_eq!((panes.weight(), panes.oldest(HTTP)), (0, None));
    }

    #[test]
    fn absurd_times_are_only_times() {
        let mut panes = Panes::new(10);
        for time in [i64::MIN + 1, i64::MAX, 0, -1] {
            observe(&mut panes, time, 0, "e", "a");
        }
        assert_eq!(entries(panes.release(i64::MAX)).len(), 4);
    }
}
