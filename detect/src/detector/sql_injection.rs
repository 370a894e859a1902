//! Requests with SQL in their targets: many from one client, or many to one server (Zeek
//! `policy/protocols/http/detect-sql-injection.zeek`).
//!
//! Capture looks at the unescaped target of each request and tags its row of http, as Zeek does
//! (`capture/src/analyzer/http/sqli.rs`); here tagged requests are counted, once by client and once by server. A target is
//! hostile input, and it is looked at there in linear time; here it is text that is never searched.
//!
//! False positives: applications that put SQL, or search phrases that read like it, into their query strings;
//! scanners that were asked for. As in Zeek the notice names the other side and the uid of one of the requests.
//! Differences: the window slides; the request named follows from the requests, not from chance.

use std::net::IpAddr;

use arrow_array::{Array, StringArray};
use model::read::{self, ColumnError};
use model::stream::{Def, http};

use super::limits::{Limits, Settings};
use super::{Detector, Finding, Observation, Rows};
use crate::stat::{Count, Sample, Value};

/// The rules.
pub const RULES: [&str; 2] = ["sql-injection-attacker", "sql-injection-victim"];
/// Zeek's `HTTP::sqli_requests_threshold` and `HTTP::sqli_requests_interval`.
pub const LIMITS: Limits = Limits::new(50, 300_000_000);
/// Zeek's `HTTP::URI_SQLI`.
const TAG: &str = "HTTP::URI_SQLI";

/// On whom it keeps count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Attacker,
    Victim,
}

/// The detector, of attackers or of victims.
#[derive(Debug, Clone)]
pub struct SqlInjection {
    side: Side,
    limits: Limits,
}

impl SqlInjection {
    /// Clients, with what is set of it.
    pub fn attacker(settings: &Settings) -> SqlInjection {
        SqlInjection { side: Side::Attacker, limits: settings.of(RULES[0], LIMITS) }
    }

    /// Servers, with what is set of it.
    pub fn victim(settings: &Settings) -> SqlInjection {
        SqlInjection { side: Side::Victim, limits: settings.of(RULES[1], LIMITS) }
    }
}

impl Detector for SqlInjection {
    fn rule(&self) -> &'static str {
        match self.side {
            Side::Attacker => RULES[0],
            Side::Victim => RULES[1],
        }
    }

    fn stream(&self) -> &'static Def {
        &http::DEF
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn start(&self) -> Value {
        Value::Several(vec![
            Value::Count(Count::new(self.limits.threshold)),
            Value::Sample(Sample::new(1)),
        ])
    }

    fn observe(
        &self,
        rows: &Rows<'_>,
        each: &mut dyn FnMut(Observation<'_>),
    ) -> Result<(), ColumnError> {
        let rows = rows.batch();
        let (ts, uid) = (read::time(rows, "ts")?, read::text(rows, "uid")?);
        let (client, server) = (read::text(rows, "id.orig_h")?, read::text(rows, "id.resp_h")?);
        let tags = read::list(rows, "tags")?;
        let (entity, other) = match self.side {
            Side::Attacker => (client, server),
            Side::Victim => (server, client),
        };
        let wrong = || ColumnError { column: "tags".to_owned(), wanted: "set of text" };
        tags.values().as_any().downcast_ref::<StringArray>().ok_or_else(wrong)?;
        for row in 0..rows.num_rows() {
            if !read::each_text(tags, row).any(|tag| tag == TAG) {
                continue;
            }
            each(Observation {
                row,
                at: ts.value(row),
                entity: entity.value(row),
                key: "",
                member: &format!("{} {}", other.value(row), uid.value(row)),
                number: 1,
            });
        }
        Ok(())
    }

    fn judge(&self, entity: &str, seen: &Value) -> Option<Finding> {
        let Value::Several(values) = seen else { return None };
        let [Value::Count(requests), Value::Sample(sample)] = &values[..] else { return None };
        let ts = requests.reached(self.limits.threshold)?;
        let (other, uid) = sample.members().first()?.split_once(' ')?;
        let (entity_ip, other_ip): (Option<IpAddr>, _) = (entity.parse().ok(), other.parse().ok());
        let (note, who, src, dst) = match self.side {
            Side::Attacker => ("HTTP::SQL_Injection_Attacker", "attacker", entity_ip, other_ip),
            Side::Victim => ("HTTP::SQL_Injection_Victim", "victim", other_ip, entity_ip),
        };
        let msg = format!("An SQL injection {who} was discovered!");
        Some(Finding { uid: Some(uid.to_owned()), src, dst, ..Finding::of(entity, ts, note, msg) })
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::RecordBatch;
    use model::stream::Mark;

    use super::*;

    /// One client asks several servers, every other request with SQL in it.
    fn requests(count: u32) -> RecordBatch {
        let mut batch = http::Batch::default();
        for n in 0..2 * count {
            let row = http::Row {
                ts: i64::from(n) * 1_000_000,
                uid: &format!("C{n}"),
                orig_h: "10.0.0.66".parse().unwrap(),
                resp_h: [10, 0, 1, (n / 2 % 2) as u8].into(),
                tags: if n % 2 == 0 { &["A::B", TAG] } else { &["A::B"] },
                ..http::Row::unset()
            };
            batch.push(Mark::at(0, 0), row);
        }
        batch.finish("w1").0
    }

    fn attacker() -> SqlInjection {
        SqlInjection::attacker(&Settings::default())
    }

    fn victim() -> SqlInjection {
        SqlInjection::victim(&Settings::default())
    }

    fn judged(detector: &SqlInjection, entity: &str, rows: &RecordBatch) -> Option<Finding> {
        let mut value = detector.start();
        let mut each = |seen: Observation<'_>| {
            if seen.entity == entity {
                value.observe(seen.seen());
            }
        };
        detector.observe(&Rows::new(rows), &mut each).unwrap();
        detector.judge(entity, &value)
    }

    #[test]
    fn the_notices_are_zeeks() {
        let found = judged(&attacker(), "10.0.0.66", &requests(60)).unwrap();
        assert_eq!(found.note, "HTTP::SQL_Injection_Attacker");
        assert_eq!(found.msg, "An SQL injection attacker was discovered!");
        assert_eq!((found.ts, found.identifier.as_str()), (98_000_000, "10.0.0.66"));
        assert_eq!(found.src, "10.0.0.66".parse().ok());
        assert!(found.dst.unwrap().to_string().starts_with("10.0.1."));
        assert!(found.uid.unwrap().starts_with('C'));

        let found = judged(&victim(), "10.0.1.1", &requests(100)).unwrap();
        assert_eq!(found.note, "HTTP::SQL_Injection_Victim");
        assert_eq!(found.msg, "An SQL injection victim was discovered!");
        assert_eq!((found.src, found.dst), ("10.0.0.66".parse().ok(), "10.0.1.1".parse().ok()));
    }

    #[test]
    fn nothing_below_the_threshold() {
        assert_eq!(judged(&attacker(), "10.0.0.66", &requests(49)), None);
        assert!(judged(&attacker(), "10.0.0.66", &requests(50)).is_some());
        assert_eq!(judged(&victim(), "10.0.1.1", &requests(98)), None);
    }

    #[test]
    fn rows_without_tags_and_batches_without_the_column() {
        let mut batch = http::Batch::default();
        batch.push(Mark::at(0, 0), http::Row::unset());
        let rows = batch.finish("w1").0;
        attacker().observe(&Rows::new(&rows), &mut |_| panic!("untagged")).unwrap();
        let rows = model::stream::notice::Batch::default().finish("w1").0;
        assert!(attacker().observe(&Rows::new(&rows), &mut |_| ()).is_err());
    }
}
