//! The numbers of a detector that people may set: `[detect.<rule>]` in weir.toml.

use std::collections::BTreeMap;

use crate::PANE_US;
use crate::stat::unique::MEMBERS_CEILING;

/// How much makes a finding, and within how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many it takes.
    pub threshold: usize,
    /// How many it takes of a local host, whom more is allowed.
    pub threshold_local: usize,
    /// How far apart they may be, microseconds.
    pub window_us: i64,
}

impl Limits {
    /// The same threshold for all.
    pub const fn new(threshold: usize, window_us: i64) -> Limits {
        Limits { threshold, threshold_local: threshold, window_us }
    }

    /// The threshold of a host.
    pub fn of(&self, is_local: bool) -> usize {
        if is_local { self.threshold_local } else { self.threshold }
    }

    /// The greater threshold: what statistics must be able to tell.
    pub fn most(&self) -> usize {
        self.threshold.max(self.threshold_local)
    }

    /// The lesser threshold: below it nothing can be found.
    pub fn least(&self) -> usize {
        self.threshold.min(self.threshold_local)
    }
}

/// What is set of a detector; the rest is its defaults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// How many it takes; of local hosts too unless that is set.
    pub threshold: Option<usize>,
    /// How many it takes of a local host.
    pub threshold_local: Option<usize>,
    /// How far apart they may be, microseconds.
    pub window_us: Option<i64>,
}

/// The shortest window, microseconds: two panes.
const WINDOW_MIN_US: i64 = 2 * PANE_US;
/// The longest window, microseconds: two days, of which managers keep state.
pub const WINDOW_MAX_US: i64 = 2 * 24 * 3_600_000_000;

/// What is set, by the names of rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    by: BTreeMap<String, Change>,
}

impl Settings {
    /// Sets a detector's numbers.
    ///
    /// # Errors
    /// The key at fault below `[detect]`, and what it may be.
    pub fn set(&mut self, rule: &str, change: Change) -> Result<(), String> {
        let counts = [("threshold", change.threshold), ("threshold_local", change.threshold_local)];
        for (key, count) in counts {
            if count.is_some_and(|count| !(1..=MEMBERS_CEILING).contains(&count)) {
                return Err(format!("{rule}.{key}: write a number from 1 to {MEMBERS_CEILING}"));
            }
        }
        if change.window_us.is_some_and(|us| !(WINDOW_MIN_US..=WINDOW_MAX_US).contains(&us)) {
            return Err(format!("{rule}.window: write a time from 30s to 2d"));
        }
        let mut rules = super::all(&crate::Site::default(), &Settings::default());
        if !rules.iter().any(|detector| detector.rule() == rule) {
            rules.sort_by_key(|detector| detector.rule());
            let names: Vec<_> = rules.iter().map(|detector| detector.rule()).collect();
            return Err(format!("{rule}: there is no such detector, but {}", names.join(", ")));
        }
        self.by.insert(rule.to_owned(), change);
        Ok(())
    }

    /// The numbers of a detector with those defaults.
    pub fn of(&self, rule: &str, default: Limits) -> Limits {
        let change = self.by.get(rule).copied().unwrap_or_default();
        let for_all = change.threshold;
        Limits {
            threshold: for_all.unwrap_or(default.threshold),
            threshold_local: change.threshold_local.or(for_all).unwrap_or(default.threshold_local),
            window_us: change.window_us.unwrap_or(default.window_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_lies_over_the_defaults_and_is_checked() {
        let mut settings = Settings::default();
        let change = Change { threshold: Some(9), ..Change::default() };
        settings.set("port-scan", change).unwrap();
        let default = Limits { threshold: 15, threshold_local: 150, window_us: 7 };
        assert_eq!(settings.of("port-scan", default), Limits::new(9, 7));
        assert_eq!(settings.of("address-scan", default), default);
        for (rule, change, named) in [
            ("port-scan", Change { threshold: Some(0), ..change }, "port-scan.threshold"),
            (
                "port-scan",
                Change { threshold_local: Some(5000), ..change },
                "port-scan.threshold_local",
            ),
            ("port-scan", Change { window_us: Some(1), ..change }, "port-scan.window"),
            ("port-scam", change, "port-scam"),
        ] {
            assert!(settings.set(rule, change).unwrap_err().contains(named), "{named}");
        }
    }
}
