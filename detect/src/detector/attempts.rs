//! TCP attempts in vain: what scan detectors observe (Zeek `policy/misc/scan.zeek`, up to 6.0).
//!
//! Counted are attempts that went unanswered, were rejected, or were reset with no payload either
//! way. Zeek asks the endpoint states as events fire; weir asks the finished conn row, whose
//! `conn_state` and `history` say the same. Difference: half-open attempts that the scanner itself takes
//! back at once (RSTOS0) count too.

use arrow_array::{Array, RecordBatch};
use model::read::{self, ColumnError};

use super::{Observation, Rows};

/// Hours are told apart, microseconds.
pub const HOUR_US: i64 = 3_600_000_000;

/// An attempt.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// Its row.
    pub row: usize,
    /// When it began.
    pub at: i64,
    /// Who tried.
    pub scanner: &'a str,
    /// Whom.
    pub victim: &'a str,
    /// On which port.
    pub port: u16,
}

/// What of an attempt a detector looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facet {
    /// Nothing.
    None,
    /// The host that was tried.
    Victim,
    /// The port, such as `22/tcp`.
    Port,
    /// Both.
    Pair,
    /// The hour that it was in.
    Hour,
}

/// The key and the member that attempts are to a detector. Its statistic asks which there were, not how often: attempts
/// of one scanner on the same port of a host within an hour count once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facets {
    /// Under what.
    pub key: Facet,
    /// What.
    pub member: Facet,
}

impl Facet {
    /// It as text.
    pub fn text(self, victim: &str, port: u16, at: i64) -> String {
        match self {
            Facet::None => String::new(),
            Facet::Victim => victim.to_owned(),
            Facet::Port => format!("{port}/tcp"),
            Facet::Pair => format!("{victim} {port}/tcp"),
            Facet::Hour => at.div_euclid(HOUR_US).to_string(),
        }
    }
}

/// Who tried whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The originator.
    Forward,
    /// The responder: the flow was seen the wrong way round.
    Reverse,
}

/// Whether a TCP flow with this state and history was an attempt in vain, and whose.
fn way(state: &str, history: &str) -> Option<Way> {
    let has_payload = || history.contains(['D', 'd']);
    match state {
        // A SYN-ACK from the originator answers somebody's SYN: that one is the scanner.
        "S0" | "RSTOS0" => Some(turned(history.contains('H'))),
        "REJ" => Some(turned(history.contains('s') || history.contains('H'))),
        // Answered and at once taken back: a half-open scan that found an open port.
        "RSTO" if history.contains('S') && !has_payload() => Some(Way::Forward),
        "RSTR" if history.contains('s') && !has_payload() => Some(Way::Reverse),
        _ => None,
    }
}

fn turned(reverse: bool) -> Way {
    if reverse { Way::Reverse } else { Way::Forward }
}

/// Calls `each` for every attempt in rows of conn.
///
/// # Errors
/// They are no rows of conn.
pub fn observe(
    facets: Facets,
    rows: &Rows<'_>,
    each: &mut dyn FnMut(Observation<'_>),
) -> Result<(), ColumnError> {
    for tried in rows.attempts()? {
        let text = |facet: Facet| facet.text(tried.victim, tried.port, tried.at);
        each(Observation {
            row: tried.row,
            at: tried.at,
            entity: tried.scanner,
            key: &text(facets.key),
            member: &text(facets.member),
            number: 1,
        });
    }
    Ok(())
}

/// The attempts in a batch of conn, in the order of its rows.
///
/// # Errors
/// It is no batch of conn.
pub(super) fn of(rows: &RecordBatch) -> Result<Vec<Attempt<'_>>, ColumnError> {
    let mut found = Vec::new();
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
        let (scanner, victim, port) = match way(state.value(row), letters) {
            None => continue,
            Some(Way::Forward) => (orig_h, resp_h, resp_p),
            Some(Way::Reverse) => (resp_h, orig_h, orig_p),
        };
        // What is no port was tried by nobody.
        let Ok(port) = u16::try_from(port.value(row)) else { continue };
        let (scanner, victim) = (scanner.value(row), victim.value(row));
        found.push(Attempt { row, at: ts.value(row), scanner, victim, port });
    }
    Ok(found)
}

/// `1m5s`, as Zeek writes durations in its notices.
pub fn minutes(us: i64) -> String {
    let seconds = us / 1_000_000;
    format!("{}m{}s", seconds / 60, seconds % 60)
}

/// Rows of conn for tests.
#[cfg(test)]
pub mod testing {
    use model::stream::{Mark, conn};

    use super::*;
    use crate::{Detector, Finding};

    /// Attempts of one scanner, one each half second: last bytes of hosts, and ports.
    pub fn tried(scanner: &str, what: impl IntoIterator<Item = (u8, u16)>) -> RecordBatch {
        let mut batch = conn::Batch::default();
        for (n, (host, port)) in what.into_iter().enumerate() {
            let row = conn::Row {
                ts: n as i64 * 500_000,
                orig_h: scanner.parse().unwrap(),
                orig_p: 40_000,
                resp_h: [10, 0, 1, host].into(),
                resp_p: port,
                proto: "tcp",
                conn_state: Some("S0"),
                history: Some("S"),
                ..conn::Row::unset()
            };
            batch.push(Mark::at(0, 0), row);
        }
        batch.finish("w1").0
    }

    /// What a detector says of all that it observes of a scanner.
    pub fn judged(detector: &dyn Detector, scanner: &str, rows: &RecordBatch) -> Option<Finding> {
        let mut value = detector.start();
        detector
            .observe(&Rows::new(rows), &mut |seen| {
                assert_eq!(seen.entity, scanner);
                value.observe(seen.seen());
            })
            .unwrap();
        detector.judge(scanner, &value)
    }
}

#[cfg(test)]
mod tests {
    use model::stream::{Mark, conn};

    use super::*;

    #[test]
    fn attempts_in_vain_and_whose_they_are() {
        use Way::{Forward, Reverse};
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
            assert_eq!(way(state, history), want, "{state} {history}");
        }
    }

    #[test]
    fn a_flow_that_lasts_counts_when_it_ends_and_udp_never() {
        for (proto, is_final, counts) in
            [("tcp", Some(false), 0), ("tcp", Some(true), 1), ("tcp", None, 1), ("udp", None, 0)]
        {
            let mut batch = conn::Batch::default();
            let row = conn::Row { proto, conn_state: Some("S0"), is_final, ..conn::Row::unset() };
            batch.push(Mark::at(0, 0), row);
            let rows = batch.finish("w1").0;
            let seen = Rows::new(&rows).attempts().unwrap().len();
            assert_eq!(seen, counts, "{proto} {is_final:?}");
        }
    }

    #[test]
    fn a_batch_without_the_columns_is_an_error() {
        let rows = model::stream::notice::Batch::default().finish("w1").0;
        assert!(Rows::new(&rows).attempts().is_err());
    }
}
