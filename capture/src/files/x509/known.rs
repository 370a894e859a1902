//! Certificates that were logged: each is logged once a day in each of its roles (Zeek's
//! `X509::known_log_certs`). The merge of the threads asks, as one thread sees only its own flows. It holds for one
//! source of one node.

use std::collections::HashMap;

use arrow_array::RecordBatch;
use model::read::{self, ColumnError};

use crate::config::SECOND;

/// How long one is not logged again (`X509::relog_known_certificates_after`), microseconds.
const HOLD: i64 = 24 * 3600 * SECOND;
/// How often a full table is gone through for old ones.
const SWEEP: i64 = 600 * SECOND;
/// Certificates that are remembered; others are logged each time (`X509::known_log_certs_maximum_size`). 48 MB.
const REMEMBERED_MAX: usize = 1_000_000;

/// What was logged.
#[derive(Debug, Default)]
pub struct Known {
    /// Half of the fingerprint and the role, which nobody can make collide; until when.
    until: HashMap<(u128, bool, bool), i64>,
    /// When old ones may be looked for again.
    sweep: i64,
}

impl Known {
    /// Which rows of a batch are to be written; they come in their final order, with their times.
    pub fn keep(
        &mut self,
        rows: &RecordBatch,
        order: impl Iterator<Item = (u32, i64)>,
    ) -> Result<Vec<u32>, ColumnError> {
        let prints = read::text(rows, "fingerprint")?;
        let (hosts, clients) = (read::bool(rows, "host_cert")?, read::bool(rows, "client_cert")?);
        let mut kept = Vec::new();
        for (row, now) in order {
            let i = row as usize;
            let half = prints.value(i).get(..32).unwrap_or_default();
            let half = u128::from_str_radix(half, 16).unwrap_or(0);
            let key = (half, hosts.value(i), clients.value(i));
            if self.until.get(&key).is_some_and(|until| now < *until) {
                continue;
            }
            self.remember(key, now);
            kept.push(row);
        }
        Ok(kept)
    }

    fn remember(&mut self, key: (u128, bool, bool), now: i64) {
        if self.until.len() >= REMEMBERED_MAX && now >= self.sweep {
            self.until.retain(|_, until| now < *until);
            self.sweep = now + SWEEP;
        }
        if self.until.len() < REMEMBERED_MAX {
            self.until.insert(key, now + HOLD);
        }
    }
}
