//! One host tries many hosts and TCP ports in vain, so slowly that no window of minutes holds enough of it.
//!
//! Observed: [`super::attempts`], by scanner. Threshold: 50 pairs of host and port within a day, of a local host 500, in at
//! least three of the day's hours: what comes at once is for the other detectors. Zeek has no such detector; the note is
//! weir's own.
//!
//! False positives: hosts that go on asking for what has gone: agents with old lists of servers, peer-to-peer
//! programs, a laptop that misses its home network. The same pair counts once however often it is tried.

use model::stream::{Def, conn};

use super::attempts::{Facet, Facets, HOUR_US};
use super::limits::{Limits, Settings};
use super::{Detector, Finding, SUPPRESS_FOR_US};
use crate::site::Site;
use crate::stat::{Distinct, UniqueBy, Value};

/// The rule.
pub const RULE: &str = "slow-scan";
/// Within a day.
pub const LIMITS: Limits = Limits { threshold: 50, threshold_local: 500, window_us: 24 * HOUR_US };
/// In how many hours something of it must have been seen.
pub const HOURS: usize = 3;
/// Hours that are told apart: those of the longest window.
const HOURS_MAX: usize = 64;
/// Pairs that are held before it is a sketch: that many say exactly when the remote threshold was reached.
const EXACT: usize = 64;
/// A day in panes of half an hour: as many as a window of minutes has in seconds.
const GRAIN_US: i64 = HOUR_US / 2;

/// What attempts are to it.
const FACETS: Facets = Facets { key: Facet::Hour, member: Facet::Pair };

/// The detector.
#[derive(Debug, Clone)]
pub struct SlowScan {
    site: Site,
    limits: Limits,
}

impl SlowScan {
    /// With what is set of it; the site says which scanners are called local.
    pub fn new(site: Site, settings: &Settings) -> SlowScan {
        SlowScan { site, limits: settings.of(RULE, LIMITS) }
    }
}

impl Detector for SlowScan {
    fn rule(&self) -> &'static str {
        RULE
    }

    fn stream(&self) -> &'static Def {
        &conn::DEF
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn grain_us(&self) -> i64 {
        GRAIN_US
    }

    fn start(&self) -> Value {
        Value::Several(vec![
            Value::Distinct(Distinct::new(EXACT)),
            // Which hours there were, with one thing in each.
            Value::UniqueBy(UniqueBy::new(HOURS_MAX, 1)),
        ])
    }

    fn facets(&self) -> Option<Facets> {
        Some(FACETS)
    }

    fn judge(&self, entity: &str, seen: &Value) -> Option<Finding> {
        let Value::Several(values) = seen else { return None };
        let [Value::Distinct(pairs), Value::UniqueBy(hours)] = &values[..] else { return None };
        let is_local = self.site.has(entity);
        let threshold = self.limits.of(is_local);
        let reached = pairs.reached(threshold)?;
        let hours = hours.iter().count();
        if hours < HOURS {
            return None;
        }
        let msg = format!(
            "{entity} scanned at least {threshold} unique hosts and ports over {hours} hours"
        );
        Some(Finding {
            sub: Some(if is_local { "local" } else { "remote" }.to_owned()),
            suppress_for_us: 24 * SUPPRESS_FOR_US,
            ..Finding::of(entity, reached, "Scan::Slow_Scan", msg)
        })
    }
}

#[cfg(test)]
mod tests {
    use model::stream::Mark;

    use super::super::attempts::testing::judged;
    use super::*;

    /// Attempts on as many pairs, one each so many seconds.
    fn scan(scanner: &str, pairs: i64, every: i64) -> Option<Finding> {
        let mut batch = conn::Batch::default();
        for n in 0..pairs {
            let row = conn::Row {
                ts: n * every * 1_000_000,
                orig_h: scanner.parse().unwrap(),
                resp_h: [10, 0, (n / 200) as u8, (n % 200) as u8].into(),
                resp_p: 22,
                proto: "tcp",
                conn_state: Some("REJ"),
                history: Some("Sr"),
                ..conn::Row::unset()
            };
            batch.push(Mark::at(0, 0), row);
        }
        let detector = SlowScan::new(Site::default(), &Settings::default());
        judged(&detector, scanner, &batch.finish("w1").0)
    }

    #[test]
    fn slowness_is_no_cover() {
        let found = scan("8.8.8.8", 60, 600).unwrap();
        assert_eq!(found.msg, "8.8.8.8 scanned at least 50 unique hosts and ports over 10 hours");
        assert_eq!((found.note, found.ts), ("Scan::Slow_Scan", 49 * 600_000_000));
        assert_eq!(scan("8.8.8.8", 49, 600), None);
        assert_eq!(scan("8.8.8.8", 60, 100), None, "all in two hours");
        assert_eq!(scan("10.0.0.66", 430, 100), None);
        assert!(scan("10.0.0.66", 570, 100).is_some(), "the sketch is that exact");
    }
}
