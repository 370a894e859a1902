//! One host tries one TCP port of many hosts, in vain (Zeek `policy/misc/scan.zeek`, up to 6.0).
//!
//! Counted are attempts that went unanswered, were rejected, or were reset with no payload either
//! way. Zeek asks the endpoint states as events fire; weir asks the finished conn row, whose
//! `conn_state` and `history` say the same. The message and columns are Zeek's. Differences: the
//! window slides; `ts` is when the threshold was reached; half-open attempts that the scanner itself
//! takes back at once (RSTOS0) count too.

use std::net::IpAddr;

use arrow_array::{Array, RecordBatch};
use model::read::{self, ColumnError};
use model::stream::{Def, conn};

use super::{Detector, Finding, Observation, SUPPRESS_FOR_US};
use crate::site::Site;
use crate::stat::{UniqueBy, Value};

/// Zeek's `Scan::addr_scan_threshold`.
pub const THRESHOLD: usize = 25;
/// Zeek's `Scan::addr_scan_interval`.
pub const WINDOW_US: i64 = 300_000_000;
/// Ports followed for one scanner in one pane: more than a scanner tries on 25 hosts in a pane
/// unless it tries nearly all, which is another detector's business.
const PORTS_MAX: usize = 256;

/// The detector.
#[derive(Debug, Clone)]
pub struct AddressScan {
    /// Which scanners are called local.
    pub site: Site,
    /// How many hosts make a scan.
    pub threshold: usize,
    /// Within how long.
    pub window_us: i64,
}

impl AddressScan {
    /// With Zeek's defaults.
    pub fn new(site: Site) -> AddressScan {
        AddressScan { site, threshold: THRESHOLD, window_us: WINDOW_US }
    }
}

/// Who tried whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// The originator.
    Forward,
    /// The responder: the flow was seen the wrong way round.
    Reverse,
}

/// Whether a TCP flow with this state and history was an attempt in vain, and whose.
fn attempt(state: &str, history: &str) -> Option<Attempt> {
    let has_payload = history.contains(['D', 'd']);
    match state {
        // A SYN-ACK from the originator answers somebody's SYN: that one is the scanner.
        "S0" | "RSTOS0" => Some(turned(history.contains('H'))),
        "REJ" => Some(turned(history.contains('s') || history.contains('H'))),
        // Answered and at once taken back: a half-open scan that found an open port.
        "RSTO" if !has_payload && history.contains('S') => Some(Attempt::Forward),
        "RSTR" if !has_payload && history.contains('s') => Some(Attempt::Reverse),
        _ => None,
    }
}

fn turned(reverse: bool) -> Attempt {
    if reverse { Attempt::Reverse } else { Attempt::Forward }
}

impl Detector for AddressScan {
    fn rule(&self) -> &'static str {
        "address-scan"
    }

    fn stream(&self) -> &'static Def {
        &conn::DEF
    }

    fn window_us(&self) -> i64 {
        self.window_us
    }

    fn start(&self) -> Value {
        Value::UniqueBy(UniqueBy::new(PORTS_MAX, self.threshold))
    }

    fn observe(
        &self,
        rows: &RecordBatch,
        each: &mut dyn FnMut(Observation<'_>),
    ) -> Result<(), ColumnError> {
        let proto = read::text(rows, "proto")?;
        let state = read::text(rows, "conn_state")?;
        let history = read::text(rows, "history")?;
        let ts = read::time(rows, "ts")?;
        let (orig_h, orig_p) = (read::text(rows, "id.orig_h")?, read::port(rows, "id.orig_p")?);
        let (resp_h, resp_p) = (read::text(rows, "id.resp_h")?, read::port(rows, "id.resp_p")?);
        let last = read::bool(rows, "final")?;
        for row in 0..rows.num_rows() {
            if state.is_null(row) || proto.value(row) != "tcp" {
                continue;
            }
            // A flow counts once, for how it ended.
            if !last.is_null(row) && !last.value(row) {
                continue;
            }
            let letters = if history.is_null(row) { "" } else { history.value(row) };
            let (scanner, victim, port) = match attempt(state.value(row), letters) {
                None => continue,
                Some(Attempt::Forward) => (orig_h, resp_h, resp_p),
                Some(Attempt::Reverse) => (resp_h, orig_h, orig_p),
            };
            each(Observation {
                row,
                at: ts.value(row),
                entity: scanner.value(row),
                key: &format!("{}/tcp", port.value(row)),
                member: victim.value(row),
            });
        }
        Ok(())
    }

    fn judge(&self, entity: &str, seen: &Value) -> Option<Finding> {
        let Value::UniqueBy(ports) = seen else { return None };
        // One notice a scanner: of the ports over the threshold the one that got there first.
        let (reached, port, hosts) = ports
            .iter()
            .filter_map(|(port, hosts)| Some((hosts.reached(self.threshold)?, port, hosts)))
            .min_by_key(|(reached, port, _)| (*reached, *port))?;
        let seconds = reached.saturating_sub(hosts.first().unwrap_or(reached)) / 1_000_000;
        let src: Option<IpAddr> = entity.parse().ok();
        let is_local = src.is_some_and(|ip| self.site.is_local(ip));
        Some(Finding {
            ts: reached,
            note: "Scan::Address_Scan",
            uid: None,
            msg: format!(
                "{entity} scanned at least {} unique hosts on port {port} in {}m{}s",
                self.threshold,
                seconds / 60,
                seconds % 60
            ),
            sub: Some(if is_local { "local" } else { "remote" }.to_owned()),
            src,
            dst: None,
            p: port.split('/').next().and_then(|p| p.parse().ok()),
            proto: Some("tcp"),
            identifier: entity.to_owned(),
            suppress_for_us: SUPPRESS_FOR_US,
        })
    }
}

#[cfg(test)]
mod tests {
    use model::stream::Mark;

    use super::*;

    #[test]
    fn attempts_in_vain_and_whose_they_are() {
        use Attempt::{Forward, Reverse};
        for (state, history, want) in [
            ("S0", "S", Some(Forward)),
            ("S0", "", Some(Forward)),
            ("S0", "SH", Some(Reverse)),
            ("REJ", "Sr", Some(Forward)),
            ("REJ", "Hr", Some(Reverse)),
            ("REJ", "sR", Some(Reverse)),
            ("RSTOS0", "SR", Some(Forward)),
            ("RSTO", "ShR", Some(Forward)),
            ("RSTO", "ShADR", None),
            ("RSTO", "^hR", None),
            ("RSTR", "sHr", Some(Reverse)),
            ("RSTR", "ShAr", None),
            ("SF", "ShADadFf", None),
            ("OTH", "C", None),
        ] {
            assert_eq!(attempt(state, history), want, "{state} {history}");
        }
    }

    fn scan(hosts: u8, proto: &str, state: &str) -> RecordBatch {
        let mut batch = conn::Batch::default();
        for host in 0..hosts {
            let row = conn::Row {
                ts: i64::from(host) * 500_000,
                orig_h: "10.0.0.66".parse().unwrap(),
                orig_p: 40_000,
                resp_h: [10, 0, 1, host].into(),
                resp_p: 22,
                proto,
                conn_state: Some(state),
                history: Some("S"),
                ..conn::Row::unset()
            };
            batch.push(Mark::at(0, 0), row);
        }
        batch.finish("w1").0
    }

    fn judged(rows: &RecordBatch) -> Option<Finding> {
        let detector = AddressScan::new(Site::default());
        let mut value = detector.start();
        detector
            .observe(rows, &mut |seen| {
                assert_eq!(seen.entity, "10.0.0.66");
                value.observe(seen.seen());
            })
            .unwrap();
        detector.judge("10.0.0.66", &value)
    }

    #[test]
    fn a_flow_that_lasts_counts_when_it_ends() {
        let rows = |is_final| {
            let mut batch = conn::Batch::default();
            let row =
                conn::Row { proto: "tcp", conn_state: Some("S0"), is_final, ..conn::Row::unset() };
            batch.push(Mark::at(0, 0), row);
            batch.finish("w1").0
        };
        for (is_final, counts) in [(Some(false), 0), (Some(true), 1), (None, 1)] {
            let mut seen = 0;
            let detector = AddressScan::new(Site::default());
            detector.observe(&rows(is_final), &mut |_| seen += 1).unwrap();
            assert_eq!(seen, counts, "{is_final:?}");
        }
    }

    #[test]
    fn the_notice_is_zeeks() {
        let found = judged(&scan(40, "tcp", "S0")).unwrap();
        assert_eq!(found.msg, "10.0.0.66 scanned at least 25 unique hosts on port 22/tcp in 0m12s");
        assert_eq!(
            (found.ts, found.p, found.sub.as_deref()),
            (12_000_000, Some(22), Some("local"))
        );
        assert_eq!((found.note, found.identifier.as_str()), ("Scan::Address_Scan", "10.0.0.66"));
    }

    #[test]
    fn nothing_below_the_threshold_or_of_another_kind() {
        assert_eq!(judged(&scan(24, "tcp", "S0")), None);
        assert!(judged(&scan(25, "tcp", "REJ")).is_some());
        assert_eq!(judged(&scan(40, "udp", "S0")), None);
        assert_eq!(judged(&scan(40, "tcp", "SF")), None);
    }

    #[test]
    fn a_batch_without_the_columns_is_an_error() {
        let rows = model::stream::notice::Batch::default().finish("w1").0;
        assert!(AddressScan::new(Site::default()).observe(&rows, &mut |_| ()).is_err());
    }
}
