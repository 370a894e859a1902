//! One host tries many hosts on many TCP ports, in vain, and so few of each that it is neither an address scan nor a port
//! scan (after `ncsa/bro-simple-scan`, which Zeek's own `site/local.zeek` recommends since Zeek has no scan detector).
//!
//! Observed: [`super::attempts`], by scanner. Threshold: 25 pairs of host and port within 15 minutes, of a local host 250.
//! Note and limits are those of simple-scan. Differences: the window slides, where simple-scan forgets a scanner
//! that was quiet for 15 minutes; it has no darknets.
//!
//! False positives: peer-to-peer programs, whose peers are on ports of all kinds and mostly gone; that is why
//! local hosts may try ten times as much.

use std::collections::BTreeMap;

use model::stream::{Def, conn};

use super::attempts::{Facet, Facets};
use super::limits::{Limits, Settings};
use super::{Detector, Finding, address_scan, attempts, port_scan};
use crate::site::Site;
use crate::stat::{Unique, Value};

/// The rule.
pub const RULE: &str = "random-scan";
/// simple-scan's `scan_threshold`, `local_scan_threshold` and `scan_timeout`.
pub const LIMITS: Limits = Limits { threshold: 25, threshold_local: 250, window_us: 900_000_000 };

/// What attempts are to it.
const FACETS: Facets = Facets { key: Facet::None, member: Facet::Pair };

/// The detector.
#[derive(Debug, Clone)]
pub struct RandomScan {
    site: Site,
    limits: Limits,
    /// Above these it is a scan of another kind.
    hosts_max: Limits,
    ports_max: Limits,
}

impl RandomScan {
    /// With what is set of it and of its siblings; the site says which scanners are called local.
    pub fn new(site: Site, settings: &Settings) -> RandomScan {
        RandomScan {
            site,
            limits: settings.of(RULE, LIMITS),
            hosts_max: settings.of(address_scan::RULE, address_scan::LIMITS),
            ports_max: settings.of(port_scan::RULE, port_scan::LIMITS),
        }
    }
}

/// The greatest number of members that share one side of their pairs, and how many sides there are.
fn shared<'a>(sides: impl Iterator<Item = &'a str>) -> (usize, usize) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    sides.for_each(|side| *counts.entry(side).or_default() += 1);
    (counts.values().copied().max().unwrap_or(0), counts.len())
}

impl Detector for RandomScan {
    fn rule(&self) -> &'static str {
        RULE
    }

    fn stream(&self) -> &'static Def {
        &conn::DEF
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn start(&self) -> Value {
        Value::Unique(Unique::new(self.limits.most()))
    }

    fn facets(&self) -> Option<Facets> {
        Some(FACETS)
    }

    fn judge(&self, entity: &str, seen: &Value) -> Option<Finding> {
        let Value::Unique(pairs) = seen else { return None };
        let is_local = self.site.has(entity);
        let threshold = self.limits.of(is_local);
        let reached = pairs.reached(threshold)?;
        // Those that made it one: how many more there were follows from when it is looked at.
        let split =
            || pairs.earliest(threshold).into_iter().filter_map(|pair| pair.split_once(' '));
        let (on_a_host, hosts) = shared(split().map(|(host, _)| host));
        let (on_a_port, ports) = shared(split().map(|(_, port)| port));
        if on_a_host >= self.ports_max.of(is_local) || on_a_port >= self.hosts_max.of(is_local) {
            return None;
        }
        let took = attempts::minutes(reached.saturating_sub(pairs.first().unwrap_or(reached)));
        let msg = format!("{entity} scanned at least {hosts} hosts on {ports} ports in {took}");
        Some(Finding {
            sub: Some(if is_local { "local" } else { "remote" }.to_owned()),
            ..Finding::of(entity, reached, "Scan::Random_Scan", msg)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::attempts::testing::{judged, tried};
    use super::*;

    fn scan(scanner: &str, what: impl IntoIterator<Item = (u8, u16)>) -> Option<Finding> {
        let detector = RandomScan::new(Site::default(), &Settings::default());
        judged(&detector, scanner, &tried(scanner, what))
    }

    #[test]
    fn many_pairs_are_a_scan_and_of_local_hosts_more() {
        let pairs = |n: u16| (0..n).map(|n| ((n % 50) as u8, 1000 + n % 47));
        let found = scan("8.8.8.8", pairs(30)).unwrap();
        assert_eq!(found.msg, "8.8.8.8 scanned at least 25 hosts on 25 ports in 0m12s");
        assert_eq!((found.note, found.sub.as_deref()), ("Scan::Random_Scan", Some("remote")));
        assert_eq!((found.ts, found.identifier.as_str()), (12_000_000, "8.8.8.8"));
        assert_eq!(scan("8.8.8.8", pairs(24)), None);
        assert_eq!(scan("10.0.0.66", pairs(249)), None);
        assert_eq!(scan("10.0.0.66", pairs(250)).unwrap().sub.as_deref(), Some("local"));
    }

    #[test]
    fn other_scans_are_others_business() {
        assert_eq!(scan("8.8.8.8", (0..40).map(|host| (host, 22))), None);
        assert_eq!(scan("8.8.8.8", (0..40).map(|port| (1, port))), None);
        assert!(scan("8.8.8.8", (0..40).map(|n| (n % 20, 22 + u16::from(n / 20)))).is_some());
    }
}
