//! What is done about a weird: most are logged, some never, some once a flow or once an originator
//! and day, a few are worth a notice. The actions are those of Zeek's
//! `base/frameworks/notice/weird.zeek`.

use std::collections::HashMap;

use arrow_array::{Array, RecordBatch};
use model::read::{self, ColumnError};

use crate::config::SECOND;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing: it is too common to mean anything.
    Ignore,
    /// Log it; the same one of the same flow is held back for ten minutes.
    Log,
    /// Log it once a day for each originator.
    LogPerOrig,
    /// Raise a notice and log it, once a day for each originator.
    NoticePerOrig,
}

/// The action for a name.
pub fn action(name: &str) -> Action {
    match name {
        "unsolicited_SYN_response" | "FIN_after_reset" | "spontaneous_FIN" | "spontaneous_RST" => {
            Action::Ignore
        }
        "FIN_storm" | "SYN_after_partial" | "successful_RPC_reply_to_invalid_request" => {
            Action::NoticePerOrig
        }
        "bad_ICMP_checksum"
        | "bad_IP_checksum"
        | "bad_TCP_checksum"
        | "bad_UDP_checksum"
        | "connection_originator_SYN_ack"
        | "DNS_label_forward_compress_offset"
        | "DNS_label_len_gt_name_len"
        | "DNS_label_len_gt_pkt"
        | "DNS_label_too_long"
        | "SYN_with_data"
        | "UDP_datagram_length_mismatch"
        | "excessively_small_fragment"
        | "fragment_inconsistency"
        | "fragment_overlap"
        | "fragment_size_inconsistency"
        | "SSH_max_packet_length_exceeded"
        | "SSH_max_string_length_exceeded" => Action::LogPerOrig,
        _ => Action::Log,
    }
}

/// How long an originator's weird is not logged again.
const PER_ORIG_HOLD: i64 = 24 * 3600 * SECOND;
/// How long a flow's weird is not logged again (Zeek's `weird_ignore`).
const PER_FLOW_HOLD: i64 = 600 * SECOND;
/// What is remembered; beyond it all is forgotten and begins anew, which logs some again.
const REMEMBERED_MAX: usize = 100_000;

/// What was logged already. Rows must come in their final order, as one thread sees only its own flows.
#[derive(Debug, Default)]
pub struct Logged {
    until: HashMap<String, i64>,
}

impl Logged {
    /// Which rows of a weird batch are to be written.
    pub fn keep(
        &mut self,
        rows: &RecordBatch,
        order: impl Iterator<Item = u32>,
    ) -> Result<Vec<u32>, ColumnError> {
        let (names, times) = (read::text(rows, "name")?, read::time(rows, "ts")?);
        let (orig, resp) = (read::text(rows, "id.orig_h")?, read::text(rows, "id.resp_h")?);
        let (orig_p, resp_p) = (read::port(rows, "id.orig_p")?, read::port(rows, "id.resp_p")?);
        let mut kept = Vec::new();
        for row in order {
            let i = row as usize;
            let name = names.value(i);
            let action = action(name);
            if action == Action::Ignore {
                continue;
            }
            let known = !orig.is_null(i);
            let (key, hold) = match (action, known) {
                (Action::Log, true) => {
                    let (from, to) = (orig.value(i), resp.value(i));
                    let (from_p, to_p) = (orig_p.value(i), resp_p.value(i));
                    (format!("{name} {from} {from_p} {to} {to_p}"), PER_FLOW_HOLD)
                }
                (Action::Log, false) => (name.to_owned(), PER_FLOW_HOLD),
                (_, true) => (format!("{name} {}", orig.value(i)), PER_ORIG_HOLD),
                (_, false) => (name.to_owned(), PER_ORIG_HOLD),
            };
            let ts = times.value(i);
            if self.until.get(&key).is_some_and(|until| ts < *until) {
                continue;
            }
            if self.until.len() >= REMEMBERED_MAX {
                self.until.clear();
            }
            self.until.insert(key, ts + hold);
            kept.push(row);
        }
        Ok(kept)
    }
}
