//! One host tries one TCP port of many hosts, in vain (Zeek `policy/misc/scan.zeek`, up to 6.0).
//!
//! Observed: [`super::attempts`], by scanner. Threshold: 25 hosts on one port within five minutes. The message and
//! columns are Zeek's. Differences: the window slides; `ts` is when the threshold was reached.
//!
//! False positives: hosts that look for peers that have gone (peer-to-peer, monitoring, a cluster whose members moved),
//! and what speaks to many servers behind a firewall that drops it.

use model::stream::{Def, conn};

use super::attempts::{Facet, Facets};
use super::limits::{Limits, Settings};
use super::{Detector, Finding, attempts};
use crate::site::Site;
use crate::stat::{UniqueBy, Value};

/// The rule.
pub const RULE: &str = "address-scan";
/// Zeek's `Scan::addr_scan_threshold` and `Scan::addr_scan_interval`.
pub const LIMITS: Limits = Limits::new(25, 300_000_000);
/// Ports followed for one scanner in one pane: more than a scanner tries on 25 hosts in a pane
/// unless it tries nearly all, which is another detector's business.
const PORTS_MAX: usize = 256;

/// What attempts are to it.
const FACETS: Facets = Facets { key: Facet::Port, member: Facet::Victim };

/// The detector.
#[derive(Debug, Clone)]
pub struct AddressScan {
    site: Site,
    limits: Limits,
}

impl AddressScan {
    /// With what is set of it; the site says which scanners are called local.
    pub fn new(site: Site, settings: &Settings) -> AddressScan {
        AddressScan { site, limits: settings.of(RULE, LIMITS) }
    }
}

impl Detector for AddressScan {
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
        Value::UniqueBy(UniqueBy::new(PORTS_MAX, self.limits.most()))
    }

    fn facets(&self) -> Option<Facets> {
        Some(FACETS)
    }

    fn judge(&self, entity: &str, seen: &Value) -> Option<Finding> {
        let Value::UniqueBy(ports) = seen else { return None };
        let is_local = self.site.has(entity);
        let threshold = self.limits.of(is_local);
        // One notice a scanner: of the ports over the threshold the one that got there first.
        let (reached, port, hosts) = ports
            .iter()
            .filter_map(|(port, hosts)| Some((hosts.reached(threshold)?, port, hosts)))
            .min_by_key(|(reached, port, _)| (*reached, *port))?;
        let took = attempts::minutes(reached.saturating_sub(hosts.first().unwrap_or(reached)));
        let msg =
            format!("{entity} scanned at least {threshold} unique hosts on port {port} in {took}");
        Some(Finding {
            sub: Some(if is_local { "local" } else { "remote" }.to_owned()),
            p: port.split('/').next().and_then(|p| p.parse().ok()),
            proto: Some("tcp"),
            ..Finding::of(entity, reached, "Scan::Address_Scan", msg)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::attempts::testing::{judged, tried};
    use super::*;

    fn scan(hosts: u8) -> Option<Finding> {
        let detector = AddressScan::new(Site::default(), &Settings::default());
        judged(&detector, "10.0.0.66", &tried("10.0.0.66", (0..hosts).map(|host| (host, 22))))
    }

    #[test]
    fn the_notice_is_zeeks() {
        let found = scan(40).unwrap();
        assert_eq!(found.msg, "10.0.0.66 scanned at least 25 unique hosts on port 22/tcp in 0m12s");
        assert_eq!(
            (found.ts, found.p, found.sub.as_deref()),
            (12_000_000, Some(22), Some("local"))
        );
        assert_eq!((found.note, found.identifier.as_str()), ("Scan::Address_Scan", "10.0.0.66"));
    }

    #[test]
    fn nothing_below_the_threshold() {
        assert_eq!(scan(24), None);
        assert!(scan(25).is_some());
    }
}
