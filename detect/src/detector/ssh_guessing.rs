//! One client fails to log in by SSH again and again (Zeek `policy/protocols/ssh/detect-bruteforcing.zeek`).
//!
//! Counted are connections in which both ends gave their banners and a login was seen to fail but none to work,
//! when they end; the lengths of encrypted packets tell (`capture/src/analyzer/ssh/auth.rs`), with Zeek's lean to
//! silence. Threshold: 30 connections of one client within half an hour.
//!
//! False positives: a script with an old key that tries again and again; many users behind one address. Missed:
//! connections with compression, of which nobody can tell, and who guesses slower than the threshold asks.
//! Differences: the window slides; the count is over all workers; the servers that are named are distinct, and follow
//! from the connections and not from chance.

use arrow_array::Array;
use model::read::{self, ColumnError};
use model::stream::{Def, ssh};

use super::{Detector, Finding, Limits, Observation, Rows, Settings};
use crate::stat::{Count, Sample, Value};

/// Its name on the bus.
const RULE: &str = "ssh-password-guessing";
/// Zeek's `SSH::password_guesses_limit` and `SSH::guessing_timeout`.
pub const LIMITS: Limits = Limits::new(30, 1_800_000_000);
/// Servers that the notice names (`$num_samples` there).
const SERVERS: usize = 5;

/// The detector.
#[derive(Debug, Clone)]
pub struct SshGuessing {
    limits: Limits,
}

impl SshGuessing {
    /// With what is set of it.
    pub fn new(settings: &Settings) -> SshGuessing {
        SshGuessing { limits: settings.of(RULE, LIMITS) }
    }
}

impl Detector for SshGuessing {
    fn rule(&self) -> &'static str {
        RULE
    }

    fn stream(&self) -> &'static Def {
        &ssh::DEF
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn start(&self) -> Value {
        Value::Several(vec![
            Value::Count(Count::new(self.limits.threshold)),
            Value::Sample(Sample::new(SERVERS)),
        ])
    }

    fn observe(
        &self,
        rows: &Rows<'_>,
        each: &mut dyn FnMut(Observation<'_>),
    ) -> Result<(), ColumnError> {
        let rows = rows.batch();
        // A login has failed for good when the connection is over.
        let (over, success) = (read::time(rows, "_write_ts")?, read::bool(rows, "auth_success")?);
        let (orig_h, resp_h) = (read::text(rows, "id.orig_h")?, read::text(rows, "id.resp_h")?);
        let (client, server) = (read::text(rows, "client")?, read::text(rows, "server")?);
        for row in 0..rows.num_rows() {
            let failed = !success.is_null(row) && !success.value(row);
            if !failed || client.is_null(row) || server.is_null(row) {
                continue;
            }
            each(Observation {
                row,
                at: over.value(row),
                entity: orig_h.value(row),
                key: "",
                member: resp_h.value(row),
                number: 1,
            });
        }
        Ok(())
    }

    fn judge(&self, entity: &str, seen: &Value) -> Option<Finding> {
        let Value::Several(values) = seen else { return None };
        let [Value::Count(failed), Value::Sample(servers)] = &values[..] else { return None };
        let msg = format!(
            "{entity} appears to be guessing SSH passwords (seen in {} connections).",
            self.limits.threshold
        );
        Some(Finding {
            // Two spaces, as in Zeek.
            sub: Some(format!("Sampled servers:  {}", servers.members().join(", "))),
            ..Finding::of(
                entity,
                failed.reached(self.limits.threshold)?,
                "SSH::Password_Guessing",
                msg,
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::RecordBatch;
    use model::stream::Mark;

    use super::super::tests::judged;
    use super::*;

    fn detector() -> SshGuessing {
        SshGuessing::new(&Settings::default())
    }

    /// Connections of one client that end two seconds apart.
    fn connections(count: u8, row: ssh::Row<'_>) -> RecordBatch {
        let mut batch = ssh::Batch::default();
        for i in 0..count {
            let row = ssh::Row {
                orig_h: "10.0.0.66".parse().unwrap(),
                resp_h: [10, 0, 1, i % 2].into(),
                ..row
            };
            batch.push(Mark::at(i64::from(i) * 2_000_000, 0), row);
        }
        batch.finish("w1").0
    }

    fn failed() -> ssh::Row<'static> {
        ssh::Row {
            auth_success: Some(false),
            client: Some("SSH-2.0-a"),
            server: Some("SSH-2.0-b"),
            ..ssh::Row::unset()
        }
    }

    #[test]
    fn the_notice_is_zeeks() {
        let found = judged(&detector(), &connections(60, failed())).unwrap();
        let msg = "10.0.0.66 appears to be guessing SSH passwords (seen in 30 connections).";
        assert_eq!(found.msg, msg);
        assert_eq!(found.sub.as_deref(), Some("Sampled servers:  10.0.1.0, 10.0.1.1"));
        assert_eq!((found.note, found.ts), ("SSH::Password_Guessing", 58_000_000));
        assert_eq!((found.src, found.identifier), ("10.0.0.66".parse().ok(), "10.0.0.66".into()));
    }

    #[test]
    fn nothing_below_the_threshold_or_that_did_not_fail() {
        assert_eq!(judged(&detector(), &connections(29, failed())), None);
        assert!(judged(&detector(), &connections(30, failed())).is_some());
        for row in [
            ssh::Row { auth_success: Some(true), ..failed() },
            ssh::Row { auth_success: None, ..failed() },
            ssh::Row { server: None, ..failed() },
        ] {
            assert_eq!(judged(&detector(), &connections(60, row)), None);
        }
    }

    #[test]
    fn a_batch_without_the_columns_is_an_error() {
        let rows = model::stream::notice::Batch::default().finish("w1").0;
        assert!(detector().observe(&Rows::new(&rows), &mut |_| ()).is_err());
    }
}
