//! Known assets: each is logged once a day, for the whole cluster.
//!
//! Observations come in order of time, so that the first is the one that is logged. As in Zeek the day
//! begins with that one and what is seen later does not extend it. A port of a host is one asset; of the
//! protocols spoken there each is logged once in the port's day.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::state::{Key, Line};

/// How long an asset is known (`&create_expire=1day`), microseconds.
pub const DAY_US: i64 = 24 * 3_600_000_000;
/// How long one is still kept after that on the live timeline, microseconds: late rows may be read that
/// much after the watermark, which comes by another topic.
const KEPT_US: i64 = 3_600_000_000;
/// Protocols of one port; one that speaks more is no service but an attempt to fill our state.
const SERVICES_MAX: usize = 64;

/// Timeline and what a worker calls it.
pub type Asset = (Line, String);

/// What is known of an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// When it was first seen.
    pub first: i64,
    /// Protocols spoken there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub services: BTreeSet<String>,
}

impl Seen {
    fn holds(&self, time: i64) -> bool {
        time < self.first.saturating_add(DAY_US) && time > self.first.saturating_sub(DAY_US)
    }
}

/// All assets of a lane.
#[derive(Debug)]
pub struct Assets {
    max: usize,
    by: BTreeMap<Asset, Seen>,
    /// The same by when they were first seen.
    ages: BTreeSet<(Line, i64, String)>,
    changed: BTreeSet<Asset>,
    /// Assets forgotten before their day was over.
    pub forgotten: u64,
}

impl Assets {
    /// None yet, and never more than `max`.
    pub fn new(max: usize) -> Assets {
        let (by, ages, changed) = Default::default();
        Assets { max, by, ages, changed, forgotten: 0 }
    }

    /// An asset as it was kept.
    pub fn restore(&mut self, asset: Asset, seen: Seen) {
        self.remove(&asset);
        self.ages.insert((asset.0, seen.first, asset.1.clone()));
        self.by.insert(asset, seen);
    }

    /// An observation at `time`, with the protocols spoken. Gives those of them that are news; `None`
    /// where nothing is.
    pub fn see(&mut self, asset: Asset, time: i64, services: Vec<String>) -> Option<Vec<String>> {
        if let Some(seen) = self.by.get_mut(&asset) {
            if seen.holds(time) {
                let new: Vec<String> =
                    services.into_iter().filter(|name| !seen.services.contains(name)).collect();
                let room = SERVICES_MAX.saturating_sub(seen.services.len());
                if new.is_empty() || room == 0 {
                    return None;
                }
                seen.services.extend(new.iter().take(room).cloned());
                self.changed.insert(asset);
                return Some(new);
            }
            if time < seen.first {
                // Long before: the day of the later one stays.
                return Some(services);
            }
        }
        let known = services.iter().take(SERVICES_MAX).cloned().collect();
        self.changed.insert(asset.clone());
        self.restore(asset, Seen { first: time, services: known });
        while self.by.len() > self.max
            && let Some(oldest) = self.oldest()
        {
            self.remove(&oldest);
            self.forgotten += 1;
        }
        Some(services)
    }

    /// Of all timelines the one that was seen first.
    fn oldest(&self) -> Option<Asset> {
        let live = self.ages.range((Line::Live, i64::MIN, String::new())..).next();
        let file = self.ages.range((Line::File, i64::MIN, String::new())..).next();
        let (line, _, asset) = live.into_iter().chain(file).min_by_key(|(_, first, _)| *first)?;
        Some((*line, asset.clone()))
    }

    /// Forgets what no observation can be the same as any more, when a timeline has come to `time`.
    pub fn expire(&mut self, line: Line, time: i64) {
        let from = (line, i64::MIN, String::new());
        while let Some((of, first, asset)) = self.ages.range(from.clone()..).next()
            && *of == line
            && first.saturating_add(DAY_US + KEPT_US) <= time
        {
            let asset = (line, asset.clone());
            self.remove(&asset);
        }
    }

    /// Forgets the assets of files: their round is over.
    pub fn forget_files(&mut self) {
        let files: Vec<Asset> =
            self.by.keys().filter(|asset| asset.0 == Line::File).cloned().collect();
        files.iter().for_each(|asset| self.remove(asset));
    }

    fn remove(&mut self, asset: &Asset) {
        if let Some(seen) = self.by.remove(asset) {
            self.ages.remove(&(asset.0, seen.first, asset.1.clone()));
            self.changed.insert(asset.clone());
        }
    }

    /// Changes since it was last asked.
    pub fn changes(&mut self) -> Vec<(Key, Option<Seen>)> {
        std::mem::take(&mut self.changed)
            .into_iter()
            .map(|asset| {
                let seen = self.by.get(&asset).cloned();
                (Key::Asset(asset.0, asset.1), seen)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asset(line: Line, name: &str) -> Asset {
        (line, name.into())
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_day_begins_with_the_first_and_is_not_extended() {
        let mut all = Assets::new(10);
        let mut is_new = |time| all.see(asset(Line::Live, "h"), time, Vec::new()).is_some();
        assert!(is_new(10 * DAY_US));
        assert!(!is_new(10 * DAY_US) && !is_new(11 * DAY_US - 1) && !is_new(9 * DAY_US + 1));
        assert!(is_new(11 * DAY_US));
        assert!(is_new(2 * DAY_US), "another day, read late");
        assert!(!is_new(11 * DAY_US + 1), "which changed nothing");
        assert!(all.see(asset(Line::File, "h"), 11 * DAY_US, Vec::new()).is_some());
    }

    #[test]
    fn of_a_port_only_what_is_new_is_news() {
        let mut all = Assets::new(10);
        let mut see =
            |time, services: &[&str]| all.see(asset(Line::Live, "p"), time, names(services));
        assert_eq!(see(0, &["HTTP"]), Some(names(&["HTTP"])));
        assert_eq!(see(1, &["HTTP"]), None);
        assert_eq!(see(2, &[""]), Some(names(&[""])));
        assert_eq!(see(3, &["HTTP", "SSL"]), Some(names(&["SSL"])));
        assert_eq!(see(DAY_US, &["SSL"]), Some(names(&["SSL"])), "all are forgotten at once");
        assert_eq!(see(DAY_US + 1, &["HTTP"]), Some(names(&["HTTP"])));
    }

    #[test]
    fn a_port_that_speaks_everything_fills_nothing() {
        let mut all = Assets::new(10);
        for n in 0..100 {
            all.see(asset(Line::Live, "p"), 0, vec![n.to_string()]);
        }
        assert_eq!(all.by[&asset(Line::Live, "p")].services.len(), SERVICES_MAX);
    }

    #[test]
    fn what_is_over_is_forgotten_and_the_oldest_where_there_are_too_many() {
        let mut all = Assets::new(2);
        for (at, name) in ["a", "b"].into_iter().enumerate() {
            all.see(asset(Line::Live, name), at as i64, Vec::new());
        }
        all.see(asset(Line::File, "c"), 0, Vec::new());
        let kept: Vec<bool> = all.changes().iter().map(|(_, seen)| seen.is_some()).collect();
        assert_eq!((kept, all.forgotten), (vec![false, true, true], 1));
        all.expire(Line::Live, 1 + DAY_US + KEPT_US - 1);
        assert!(all.changes().is_empty());
        all.expire(Line::Live, 1 + DAY_US + KEPT_US);
        assert_eq!(all.changes(), [(Key::Asset(Line::Live, "b".into()), None)]);
        all.forget_files();
        assert_eq!(all.changes(), [(Key::Asset(Line::File, "c".into()), None)]);
        assert!(all.by.is_empty() && all.ages.is_empty());
    }

    #[test]
    fn absurd_times_are_only_times() {
        let mut all = Assets::new(2);
        for time in [i64::MIN, i64::MAX, 0] {
            all.see(asset(Line::Live, "a"), time, Vec::new());
            all.expire(Line::Live, time);
        }
    }
}
