//! What capture counts for the books ([`bus::books`]): packets and what became of them, rows made and dropped.

use bus::books::Counts;

use model::stream::{conn, raw_conn};

use crate::engine::Counters;
use crate::out::Rows;

/// What was told so far of counters that only grow.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    counters: Counters,
    kernel_drops: u64,
}

impl Tally {
    /// What the counters of all threads have grown by since the last time. Where a restart makes again what was
    /// committed, the growth up to there is asked for and not told.
    pub fn grown(&mut self, now: Counters, kernel_drops: u64) -> Counts {
        let was = std::mem::replace(self, Tally { counters: now, kernel_drops });
        let mut counts = Counts::default();
        for (name, now, was) in [
            ("packets", now.packets, was.counters.packets),
            ("bytes", now.bytes, was.counters.bytes),
            ("not_ip", now.not_ip, was.counters.not_ip),
            ("undecodable", now.undecodable, was.counters.undecodable),
            ("bad_checksums", now.bad_checksums, was.counters.bad_checksums),
            ("fragments", now.fragments, was.counters.fragments),
            ("in_flows", now.in_flows, was.counters.in_flows),
            ("flows", now.flows, was.counters.flows),
            ("evicted", now.evicted, was.counters.evicted),
            ("weirds_held", now.weirds_held, was.counters.weirds_held),
            ("files_evicted", now.files_evicted, was.counters.files_evicted),
            ("streams_given_up", now.streams_given_up, was.counters.streams_given_up),
            ("halves_unjudged", now.halves_unjudged, was.counters.halves_unjudged),
            ("kernel_drops", kernel_drops, was.kernel_drops),
        ] {
            counts.add(name, signed(now.saturating_sub(was)));
        }
        counts
    }
}

/// Rows as threads made them.
pub fn made<'a>(rows: impl IntoIterator<Item = &'a Rows>, counts: &mut Counts) {
    for rows in rows {
        counts.add(format!("made.{}", logged(rows.def.name)), rows.marks.len() as i64);
    }
}

/// Rows that were made and go nowhere.
pub fn dropped(reason: &str, stream: &str, rows: u64, counts: &mut Counts) {
    counts.add(format!("dropped.{reason}.{}", logged(stream)), signed(rows));
}

/// The stream that rows end in: what joining needs beside rows of conn makes them no others.
fn logged(stream: &str) -> &str {
    if stream == raw_conn::DEF.name { conn::DEF.name } else { stream }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_growth_is_told() {
        let mut tally = Tally::default();
        let mut counters = Counters { packets: 5, in_flows: 4, not_ip: 1, ..Counters::default() };
        tally.grown(counters, 2);
        (counters.packets, counters.in_flows) = (8, 7);
        let grown = tally.grown(counters, 2);
        let want = [("in_flows", 3), ("packets", 3)];
        assert!(grown.0.iter().map(|(name, by)| (name.as_ref(), *by)).eq(want), "{grown:?}");
    }
}
