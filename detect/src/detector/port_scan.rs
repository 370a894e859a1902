//! One host tries many TCP ports of one host, in vain (Zeek `policy/misc/scan.zeek`, up to 6.0).
//!
//! Observed: [`super::attempts`], by scanner. Threshold: 15 ports of one host within five minutes. The message and
//! columns are Zeek's. Differences: the window slides; `ts` is when the threshold was reached; one notice a scanner, not
//! one a pair, as Zeek's identifier would have it anyway.
//!
//! False positives: clients that walk a range of ports (passive FTP or RPC behind a firewall that drops them), and
//! a server that goes away while one client has many kinds of business with it.

use model::stream::{Def, conn};

use super::attempts::{Facet, Facets};
use super::limits::{Limits, Settings};
use super::{Detector, Finding, attempts};
use crate::site::Site;
use crate::stat::{UniqueBy, Value};

/// The rule.
pub const RULE: &str = "port-scan";
/// Zeek's `Scan::port_scan_threshold` and `Scan::port_scan_interval`.
pub const LIMITS: Limits = Limits::new(15, 300_000_000);
/// Hosts followed for one scanner in one pane; who tries more is an address scan.
const HOSTS_MAX: usize = 256;

/// What attempts are to it.
const FACETS: Facets = Facets { key: Facet::Victim, member: Facet::Port };

/// The detector.
#[derive(Debug, Clone)]
pub struct PortScan {
    site: Site,
    limits: Limits,
}

impl PortScan {
    /// With what is set of it; the site says which scanners are called local.
    pub fn new(site: Site, settings: &Settings) -> PortScan {
        PortScan { site, limits: settings.of(RULE, LIMITS) }
    }
}

impl Detector for PortScan {
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
        Value::UniqueBy(UniqueBy::new(HOSTS_MAX, self.limits.most()))
    }

    fn facets(&self) -> Option<Facets> {
        Some(FACETS)
    }

    fn judge(&self, entity: &str, seen: &Value) -> Option<Finding> {
        let Value::UniqueBy(hosts) = seen else { return None };
        let is_local = self.site.has(entity);
        let threshold = self.limits.of(is_local);
        let (reached, host, ports) = hosts
            .iter()
            .filter_map(|(host, ports)| Some((ports.reached(threshold)?, host, ports)))
            .min_by_key(|(reached, host, _)| (*reached, *host))?;
        let took = attempts::minutes(reached.saturating_sub(ports.first().unwrap_or(reached)));
        let msg =
            format!("{entity} scanned at least {threshold} unique ports of host {host} in {took}");
        Some(Finding {
            sub: Some(if is_local { "local" } else { "remote" }.to_owned()),
            dst: host.parse().ok(),
            ..Finding::of(entity, reached, "Scan::Port_Scan", msg)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::attempts::testing::{judged, tried};
    use super::*;

    fn scan(what: impl IntoIterator<Item = (u8, u16)>) -> Option<Finding> {
        let detector = PortScan::new(Site::default(), &Settings::default());
        judged(&detector, "198.19.255.1", &tried("198.19.255.1", what))
            .or_else(|| judged(&detector, "8.8.8.8", &tried("8.8.8.8", [])))
    }

    #[test]
    fn the_notice_is_zeeks() {
        let found = scan((0..20).map(|port| (7, 1000 + port))).unwrap();
        let msg = "198.19.255.1 scanned at least 15 unique ports of host 10.0.1.7 in 0m7s";
        assert_eq!((found.note, found.msg.as_str()), ("Scan::Port_Scan", msg));
        assert_eq!((found.ts, found.dst), (7_000_000, "10.0.1.7".parse().ok()));
        assert_eq!(
            (found.identifier.as_str(), found.sub.as_deref()),
            ("198.19.255.1", Some("local"))
        );
    }

    #[test]
    fn nothing_below_the_threshold_or_spread_over_hosts() {
        assert_eq!(scan((0..14).map(|port| (7, port))), None);
        assert_eq!(scan((0..40).map(|port| (7, 1000 + port % 14))), None);
        assert_eq!(scan((0..28).map(|port| (port as u8 % 2, port))), None);
        assert!(scan((0..15).map(|port| (7, port))).is_some());
    }
}
