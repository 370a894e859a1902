//! One client has many FTP logins rejected (Zeek `policy/protocols/ftp/detect-bruteforcing.zeek`).
//!
//! Counted are replies 5yz to USER and PASS, whichever servers they come from. They are in no row of ftp.log, which
//! has only commands that move files, so capture tells of them in failed_auth, one a reply, when it is seen.
//! Threshold: 20 replies to one client within a quarter of an hour.
//!
//! False positives: a script with an old password that tries again and again; many users behind one address, of
//! whom each mistypes now and then. Differences: the window slides; the count is over all workers; a connection
//! tells of its first thousand.

use model::read::{self, ColumnError};
use model::stream::{Def, failed_auth};

use super::{Detector, Finding, Limits, Observation, Rows, Settings, attempts};
use crate::stat::{Count, Unique, Value};

/// Its name on the bus.
const RULE: &str = "ftp-bruteforcing";
/// Zeek's `FTP::bruteforce_threshold` and `FTP::bruteforce_measurement_interval`.
pub const LIMITS: Limits = Limits::new(20, 900_000_000);

/// The detector.
#[derive(Debug, Clone)]
pub struct FtpBruteforcing {
    limits: Limits,
}

impl FtpBruteforcing {
    /// With what is set of it.
    pub fn new(settings: &Settings) -> FtpBruteforcing {
        FtpBruteforcing { limits: settings.of(RULE, LIMITS) }
    }
}

impl Detector for FtpBruteforcing {
    fn rule(&self) -> &'static str {
        RULE
    }

    fn stream(&self) -> &'static Def {
        &failed_auth::DEF
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn start(&self) -> Value {
        Value::Several(vec![
            Value::Count(Count::new(self.limits.threshold)),
            Value::Unique(Unique::new(self.limits.threshold)),
        ])
    }

    fn observe(
        &self,
        rows: &Rows<'_>,
        each: &mut dyn FnMut(Observation<'_>),
    ) -> Result<(), ColumnError> {
        let rows = rows.batch();
        let (ts, service) = (read::time(rows, "ts")?, read::text(rows, "service")?);
        let (client, server) = (read::text(rows, "id.orig_h")?, read::text(rows, "id.resp_h")?);
        for row in (0..rows.num_rows()).filter(|row| service.value(*row) == "ftp") {
            each(Observation {
                row,
                at: ts.value(row),
                entity: client.value(row),
                key: "",
                member: server.value(row),
                number: 1,
            });
        }
        Ok(())
    }

    fn judge(&self, entity: &str, seen: &Value) -> Option<Finding> {
        let Value::Several(values) = seen else { return None };
        let [Value::Count(logins), Value::Unique(servers)] = &values[..] else { return None };
        let ts = logins.reached(self.limits.threshold)?;
        let took = attempts::minutes(ts.saturating_sub(logins.first().unwrap_or(ts)));
        let until_then = |count: &usize| servers.reached(*count).is_some_and(|at| at <= ts);
        let servers = (1..=servers.len()).take_while(until_then).count();
        let plural = if servers > 1 { "s" } else { "" };
        let msg = format!(
            "{entity} had {} failed logins on {servers} FTP server{plural} in {took}",
            self.limits.threshold
        );
        Some(Finding::of(entity, ts, "FTP::Bruteforcing", msg))
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::RecordBatch;
    use model::stream::Mark;

    use super::super::tests::judged;
    use super::*;

    fn detector() -> FtpBruteforcing {
        FtpBruteforcing::new(&Settings::default())
    }

    /// Rejected logins of one client, two seconds apart, on so many servers in turn.
    fn rejected(logins: u8, servers: u8, service: &str) -> RecordBatch {
        let mut batch = failed_auth::Batch::default();
        for login in 0..logins {
            let row = failed_auth::Row {
                ts: i64::from(login) * 2_000_000,
                orig_h: "10.0.0.66".parse().unwrap(),
                resp_h: [10, 0, 1, login % servers].into(),
                service,
                ..failed_auth::Row::unset()
            };
            batch.push(Mark::at(0, 0), row);
        }
        batch.finish("w1").0
    }

    #[test]
    fn the_notice_is_zeeks() {
        let found = judged(&detector(), &rejected(40, 1, "ftp")).unwrap();
        assert_eq!(found.msg, "10.0.0.66 had 20 failed logins on 1 FTP server in 0m38s");
        assert_eq!((found.note, found.ts), ("FTP::Bruteforcing", 38_000_000));
        assert_eq!((found.src, found.identifier), ("10.0.0.66".parse().ok(), "10.0.0.66".into()));
        let found = judged(&detector(), &rejected(40, 3, "ftp")).unwrap();
        assert_eq!(found.msg, "10.0.0.66 had 20 failed logins on 3 FTP servers in 0m38s");
    }

    #[test]
    fn nothing_below_the_threshold_or_of_another_protocol() {
        assert_eq!(judged(&detector(), &rejected(19, 1, "ftp")), None);
        assert!(judged(&detector(), &rejected(20, 1, "ftp")).is_some());
        assert_eq!(judged(&detector(), &rejected(40, 1, "imap")), None);
    }

    #[test]
    fn a_batch_without_the_columns_is_an_error() {
        let rows = model::stream::notice::Batch::default().finish("w1").0;
        assert!(detector().observe(&Rows::new(&rows), &mut |_| ()).is_err());
    }
}
