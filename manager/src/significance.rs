//! What rules of the policy wait for: so many workers that saw the same notice, so many hosts that notices
//! are about.
//!
//! [`Workers`] lie in the lane of the notice, which all its copies come to in one order. [`Hosts`] of one rule
//! lie in one lane for the whole cluster: the lanes of notices send what they counted on, and it is judged in
//! order of time once all of them have passed it. So neither depends on how notices were spread or when they
//! came.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ends::Ends;
use crate::state::{Key, Line};

/// Workers named in one count; a cluster has fewer.
const WORKERS_MAX: usize = 1024;
/// How long counts of the live timeline are kept after they are over, microseconds: notices may be read that
/// much after the watermark.
const KEPT_US: i64 = 3_600_000_000;

/// Timeline, rule, type and identifier: what workers are counted for.
pub type Same = (Line, String, String, String);

/// Who saw a notice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saw {
    /// Workers, and when each saw it first and last.
    by: BTreeMap<String, (i64, i64)>,
    /// When it is over.
    until: i64,
}

/// A notice that enough workers saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// When the first of them did.
    pub first: i64,
    /// When the last did.
    pub last: i64,
    /// All of them.
    pub workers: BTreeSet<String>,
}

/// Workers by what they saw.
#[derive(Debug)]
pub struct Workers {
    max: usize,
    by: BTreeMap<Same, Saw>,
    ends: Ends<Same>,
    changed: BTreeSet<Same>,
    /// Counts that went before they were over.
    pub forgotten: u64,
}

impl Workers {
    /// None yet, and never more counts than `max`.
    pub fn new(max: usize) -> Workers {
        let (by, ends, changed) = Default::default();
        Workers { max, by, ends, changed, forgotten: 0 }
    }

    /// A count as it was kept.
    pub fn restore(&mut self, same: Same, saw: Saw) {
        self.ends.insert(same.0, saw.until, same.clone());
        self.by.insert(same, saw);
    }

    /// These workers saw it at `ts`. Gives all that did within the time before the newest sighting, if they are
    /// enough, and whether they were too few until now. A sighting from longer ago came late and counts with
    /// none that are known: in order it would have been forgotten by now.
    pub fn see(
        &mut self,
        same: Same,
        ts: i64,
        workers: &[&str],
        (least, within_us): (u32, i64),
    ) -> Option<(Agreed, bool)> {
        let lasts = self.by.get(&same).into_iter().flat_map(|saw| saw.by.values());
        let latest = lasts.map(|(_, last)| *last).fold(ts, i64::max);
        let over = latest.saturating_sub(within_us);
        if ts < latest && ts <= over {
            let workers = workers.iter().take(WORKERS_MAX).map(|worker| (*worker).to_owned());
            let workers: BTreeSet<String> = workers.collect();
            let is_enough = workers.len() >= least as usize;
            return is_enough.then_some((Agreed { first: ts, last: ts, workers }, true));
        }
        let mut saw = self.take(&same).unwrap_or_default();
        saw.by.retain(|_, (_, last)| *last > over);
        let before = saw.by.len();
        for worker in workers {
            if saw.by.len() < WORKERS_MAX || saw.by.contains_key(*worker) {
                let seen = saw.by.entry((*worker).to_owned()).or_insert((ts, ts));
                *seen = (seen.0.min(ts), seen.1.max(ts));
            }
        }
        saw.until = latest.saturating_add(within_us);
        let agreed = (saw.by.len() >= least as usize).then(|| {
            let first = saw.by.values().map(|(first, _)| *first).fold(ts, i64::min);
            let workers = saw.by.keys().cloned().collect();
            (Agreed { first, last: latest, workers }, before < least as usize)
        });
        self.changed.insert(same.clone());
        self.restore(same, saw);
        while self.by.len() > self.max {
            let Some(oldest) = self.ends.to_evict().cloned() else { break };
            self.take(&oldest);
            self.forgotten += 1;
        }
        agreed
    }

    /// Forgets live counts that are over.
    pub fn expire(&mut self, watermark: i64) {
        while let Some((until, same)) = self.ends.first(Line::Live)
            && until.saturating_add(KEPT_US) <= watermark
        {
            let same = same.clone();
            self.take(&same);
        }
    }

    /// Forgets what `which` says.
    pub fn forget(&mut self, which: impl Fn(Line, &str) -> bool) {
        let gone: Vec<Same> = self.by.keys().filter(|s| which(s.0, &s.1)).cloned().collect();
        gone.iter().for_each(|same| drop(self.take(same)));
    }

    fn take(&mut self, same: &Same) -> Option<Saw> {
        let saw = self.by.remove(same)?;
        self.ends.remove(same.0, saw.until, same.clone());
        self.changed.insert(same.clone());
        Some(saw)
    }

    /// Changes since it was last asked.
    pub fn changes(&mut self) -> Vec<(Key, Option<Saw>)> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        changed
            .map(|same| {
                let saw = self.by.get(&same).cloned();
                (Key::Saw(same.0, same.1, same.2, same.3), saw)
            })
            .collect()
    }
}

/// Timeline and rule: what hosts are counted for.
pub type Counted = (Line, String);

/// A host in a count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// When the earliest of the notices happened.
    pub first: i64,
    /// When the latest did.
    pub last: i64,
    /// Who saw them.
    pub workers: BTreeSet<String>,
}

impl Sight {
    fn merge(&mut self, other: Sight) {
        (self.first, self.last) = (self.first.min(other.first), self.last.max(other.last));
        for worker in other.workers {
            if self.workers.len() < WORKERS_MAX {
                self.workers.insert(worker);
            }
        }
    }
}

/// A rule whose hosts are enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enough {
    /// The timeline.
    pub line: Line,
    /// The rule's name.
    pub rule: String,
    /// The time that completed it.
    pub written: i64,
    /// The hosts.
    pub hosts: Vec<String>,
    /// When it began, and when its last notice happened; and who saw them.
    pub sight: Sight,
}

/// How much is enough: a rule's least and its time, microseconds; `None` where there is no such rule.
pub type Enoughs<'a> = &'a dyn Fn(&str) -> Option<(u32, i64)>;

/// Hosts of one rule.
#[derive(Debug, Default)]
struct Group {
    /// By the time their notice was written, to be judged: all lanes have not passed it.
    waiting: BTreeMap<(i64, String), Sight>,
    /// Judged, with the time of the last.
    judged: BTreeMap<String, (i64, Sight)>,
    order: BTreeSet<(i64, String)>,
}

impl Group {
    fn weight(&self) -> usize {
        self.waiting.len() + self.judged.len()
    }
}

/// Hosts of all rules that are counted in a lane.
#[derive(Debug)]
pub struct Hosts {
    max: usize,
    by: BTreeMap<Counted, Group>,
    weight: usize,
    changed: BTreeSet<(Counted, String, Option<i64>)>,
    /// Hosts that were judged before all lanes had passed them.
    pub early: u64,
}

impl Hosts {
    /// None yet, and never more than `max`.
    pub fn new(max: usize) -> Hosts {
        Hosts { max, by: BTreeMap::new(), weight: 0, changed: BTreeSet::new(), early: 0 }
    }

    /// A host as it was kept; one that waits has the time that it waits for.
    pub fn restore(&mut self, of: Counted, host: String, waits: Option<i64>, kept: (i64, Sight)) {
        let group = self.by.entry(of).or_default();
        let before = group.weight();
        match waits {
            Some(written) => drop(group.waiting.insert((written, host), kept.1)),
            None => {
                group.order.insert((kept.0, host.clone()));
                group.judged.insert(host, kept);
            }
        }
        self.weight += group.weight() - before;
    }

    /// A host is counted, by a notice that was written then.
    pub fn take(&mut self, of: Counted, written: i64, host: String, sight: Sight) {
        self.changed.insert((of.clone(), host.clone(), Some(written)));
        let group = self.by.entry(of).or_default();
        match group.waiting.get_mut(&(written, host.clone())) {
            Some(known) => known.merge(sight),
            None => {
                group.waiting.insert((written, host), sight);
                self.weight += 1;
            }
        }
    }

    /// Judges all that was written before `until`, in order of time. What is counted for rules that are not known
    /// goes on waiting.
    pub fn judge(&mut self, line: Line, until: i64, enough: Enoughs<'_>, out: &mut Vec<Enough>) {
        let is_one = |of: &&Counted| of.0 == line && enough(&of.1).is_some();
        let rules: Vec<Counted> = self.by.keys().filter(is_one).cloned().collect();
        for of in rules {
            while let Some(written) = self.next(&of)
                && (written < until || until == i64::MAX)
            {
                out.extend(self.judge_next(&of, enough));
            }
        }
    }

    /// While there is too much the oldest that waits is judged as it is, or forgotten.
    pub fn relieve(&mut self, enough: Enoughs<'_>, out: &mut Vec<Enough>) {
        while self.weight > self.max {
            let oldest = self.by.keys().filter_map(|of| Some((self.next(of)?, of.clone()))).min();
            let Some((_, of)) = oldest else { return self.forget(|_, _| true) };
            self.early += 1;
            out.extend(self.judge_next(&of, enough));
        }
    }

    fn next(&self, of: &Counted) -> Option<i64> {
        self.by.get(of)?.waiting.first_key_value().map(|((written, _), _)| *written)
    }

    /// Counts the host that has waited longest. Enough hosts are taken out: none is found twice.
    fn judge_next(&mut self, of: &Counted, enough: Enoughs<'_>) -> Option<Enough> {
        let group = self.by.get_mut(of)?;
        let before = group.weight();
        let ((written, host), mut sight) = group.waiting.pop_first()?;
        self.changed.insert((of.clone(), host.clone(), Some(written)));
        let found = enough(&of.1).and_then(|(least, within_us)| {
            // One that all lanes had passed already, or one that was judged early, comes out of order.
            let newest = group.order.last().map_or(written, |(last, _)| written.max(*last));
            let over = newest.saturating_sub(within_us);
            if written < newest && written <= over {
                return None;
            }
            while let Some((last, _)) = group.order.first()
                && *last <= over
                && let Some((_, old)) = group.order.pop_first()
            {
                group.judged.remove(&old);
                self.changed.insert((of.clone(), old, None));
            }
            let mut latest = written;
            if let Some((last, known)) = group.judged.remove(&host) {
                group.order.remove(&(last, host.clone()));
                sight.merge(known);
                latest = latest.max(last);
            }
            self.changed.insert((of.clone(), host.clone(), None));
            group.order.insert((latest, host.clone()));
            group.judged.insert(host, (latest, sight));
            (group.judged.len() >= least as usize).then(|| take_out(of, written, group))
        });
        if let Some(found) = &found {
            self.changed.extend(found.hosts.iter().map(|host| (of.clone(), host.clone(), None)));
        }
        self.weight = self.weight + group.weight() - before;
        if group.weight() == 0 {
            self.by.remove(of);
        }
        found
    }

    /// Forgets hosts that no notice after `until` is counted with.
    pub fn expire(&mut self, line: Line, until: i64, enough: Enoughs<'_>) {
        for (of, group) in self.by.iter_mut().filter(|(of, _)| of.0 == line) {
            let over = enough(&of.1).map_or(i64::MAX, |(_, us)| until.saturating_sub(us));
            let before = group.weight();
            while let Some((last, _)) = group.order.first()
                && *last <= over
                && let Some((_, old)) = group.order.pop_first()
            {
                group.judged.remove(&old);
                self.changed.insert((of.clone(), old, None));
            }
            self.weight = self.weight + group.weight() - before;
        }
        self.by.retain(|_, group| group.weight() > 0);
    }

    /// Forgets live hosts that wait for a rule that nobody has told of for long: it is one that was, not one
    /// that will be.
    pub fn expire_unknown(&mut self, watermark: i64, enough: Enoughs<'_>) {
        let over = watermark.saturating_sub(KEPT_US);
        let is_one = |of: &Counted| of.0 == Line::Live && enough(&of.1).is_none();
        for (of, group) in self.by.iter_mut().filter(|(of, _)| is_one(of)) {
            while let Some(((written, _), _)) = group.waiting.first_key_value()
                && *written <= over
                && let Some(((written, host), _)) = group.waiting.pop_first()
            {
                self.changed.insert((of.clone(), host, Some(written)));
                self.weight -= 1;
            }
        }
        self.by.retain(|_, group| group.weight() > 0);
    }

    /// Forgets the counts that `which` says.
    pub fn forget(&mut self, which: impl Fn(Line, &str) -> bool) {
        let gone: Vec<Counted> = self.by.keys().filter(|of| which(of.0, &of.1)).cloned().collect();
        for of in gone {
            let Some(group) = self.by.remove(&of) else { continue };
            self.weight -= group.weight();
            let waiting = group.waiting.into_keys();
            let waiting = waiting.map(|(at, host)| (of.clone(), host, Some(at)));
            self.changed.extend(waiting);
            let judged = group.judged.into_keys().map(|host| (of.clone(), host, None));
            self.changed.extend(judged);
        }
    }

    /// Changes since it was last asked.
    pub fn changes(&mut self) -> Vec<(Key, Option<(i64, Sight)>)> {
        let mut all = Vec::new();
        for (of, host, waits) in std::mem::take(&mut self.changed) {
            let group = self.by.get(&of);
            let kept = group.and_then(|group| match waits {
                Some(at) => Some((at, group.waiting.get(&(at, host.clone()))?.clone())),
                None => group.judged.get(&host).cloned(),
            });
            all.push((Key::Host(of.0, of.1, host, waits), kept));
        }
        all
    }
}

/// What is to be told of a group that is complete; it begins anew.
fn take_out(of: &Counted, written: i64, group: &mut Group) -> Enough {
    group.order.clear();
    let judged = std::mem::take(&mut group.judged);
    let mut all = Sight { first: i64::MAX, last: i64::MIN, workers: BTreeSet::new() };
    let mut hosts = Vec::new();
    for (host, (_, sight)) in judged {
        hosts.push(host);
        all.merge(sight);
    }
    Enough { line: of.0, rule: of.1.clone(), written, hosts, sight: all }
}

#[cfg(test)]
mod tests;
