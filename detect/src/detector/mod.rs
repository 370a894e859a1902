//! Detectors: each says what it observes in the rows of a stream, under which entity, in which
//! window, and when what was seen is worth a notice. Adding one is a file and its line in [`all`].

use std::cell::OnceCell;
use std::net::IpAddr;
use std::sync::LazyLock;

use arrow_array::RecordBatch;
use model::read::ColumnError;
use model::stream::{Def, conn};

use crate::PANE_US;
use crate::site::Site;
use crate::stat::{Seen, Value};

pub mod address_scan;
pub mod attempts;
pub mod ftp_bruteforcing;
pub mod limits;
pub mod port_scan;
pub mod random_scan;
pub mod slow_scan;
pub mod sql_injection;
pub mod ssh_guessing;

pub use address_scan::AddressScan;
pub use attempts::{Attempt, Facet, Facets};
pub use ftp_bruteforcing::FtpBruteforcing;
pub use limits::{Limits, Settings};
pub use port_scan::PortScan;
pub use random_scan::RandomScan;
pub use slow_scan::SlowScan;
pub use sql_injection::SqlInjection;
pub use ssh_guessing::SshGuessing;

/// All detectors, in the order of their rules' names.
pub fn all(site: &Site, settings: &Settings) -> Vec<Box<dyn Detector>> {
    vec![
        Box::new(AddressScan::new(site.clone(), settings)),
        Box::new(FtpBruteforcing::new(settings)),
        Box::new(PortScan::new(site.clone(), settings)),
        Box::new(RandomScan::new(site.clone(), settings)),
        Box::new(SlowScan::new(site.clone(), settings)),
        Box::new(SqlInjection::attacker(settings)),
        Box::new(SqlInjection::victim(settings)),
        Box::new(SshGuessing::new(settings)),
    ]
}

/// The logs that aggregators read for the sake of detectors, each once, in the order of their names, and
/// that capture tells its progress on. Flows they see anyway.
pub fn logs() -> impl Iterator<Item = &'static Def> {
    static LOGS: LazyLock<Vec<&'static Def>> = LazyLock::new(|| {
        let detectors = all(&Site::default(), &Settings::default());
        let mut logs: Vec<_> = detectors.iter().map(|detector| detector.stream()).collect();
        logs.retain(|def| def.name != conn::DEF.name);
        logs.sort_by_key(|def| def.name);
        logs.dedup_by_key(|def| def.name);
        logs
    });
    LOGS.iter().copied()
}

/// How long the same notice is held back unless its detector says otherwise, microseconds (Zeek's
/// `Notice::default_suppression_interval`).
pub const SUPPRESS_FOR_US: i64 = 3_600_000_000;

/// Rows that detectors are shown, with what several of them look for found once.
#[derive(Debug)]
pub struct Rows<'a> {
    batch: &'a RecordBatch,
    attempts: OnceCell<Vec<Attempt<'a>>>,
}

impl<'a> Rows<'a> {
    /// The rows of a batch.
    pub fn new(batch: &'a RecordBatch) -> Rows<'a> {
        Rows { batch, attempts: OnceCell::new() }
    }

    /// The batch.
    pub fn batch(&self) -> &'a RecordBatch {
        self.batch
    }

    /// The attempts in vain among them.
    ///
    /// # Errors
    /// They are no rows of conn.
    pub fn attempts(&self) -> Result<&[Attempt<'a>], ColumnError> {
        if let Some(found) = self.attempts.get() {
            return Ok(found);
        }
        let found = attempts::of(self.batch)?;
        Ok(self.attempts.get_or_init(|| found))
    }
}

/// A detector.
///
/// The identifier of its notices must follow from the entity alone: rule and entity choose the
/// manager that judges, and only one manager may decide on an identifier.
pub trait Detector: Send + Sync {
    /// Its name on the bus: never changes, is never used again for something else.
    fn rule(&self) -> &'static str;
    /// The stream whose rows it observes.
    fn stream(&self) -> &'static Def;
    /// How much makes a finding, and within how long.
    fn limits(&self) -> Limits;
    /// How far apart observations may be that count together, microseconds.
    fn window_us(&self) -> i64 {
        self.limits().window_us
    }
    /// The grain in which managers keep what they have judged, microseconds: with a window of hours they keep few
    /// panes nevertheless. What was not judged yet keeps the grain of panes, so that a finding waits for no more.
    fn grain_us(&self) -> i64 {
        PANE_US
    }
    /// With fewer observations nothing can be found.
    fn needs(&self) -> u64 {
        self.limits().least() as u64
    }
    /// The statistic of an entity before anything was observed.
    fn start(&self) -> Value;
    /// Calls `each` for what counts, in the order of the rows. Columns are looked up once. Who observes attempts says only
    /// what they are to it.
    fn observe(
        &self,
        rows: &Rows<'_>,
        each: &mut dyn FnMut(Observation<'_>),
    ) -> Result<(), ColumnError> {
        self.facets().map_or(Ok(()), |facets| attempts::observe(facets, rows, each))
    }
    /// What attempts are to it, if it observes those and nothing else: they are then gathered once for all such detectors,
    /// and [`Value::of_all`] makes its statistic of them.
    fn facets(&self) -> Option<Facets> {
        None
    }
    /// What to say of an entity, given all that was seen of it in one window.
    fn judge(&self, entity: &str, seen: &Value) -> Option<Finding>;
}

/// Something seen of an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation<'a> {
    /// The row it was seen in.
    pub row: usize,
    /// When it happened, microseconds.
    pub at: i64,
    /// Whom it counts against.
    pub entity: &'a str,
    /// Under what, for statistics with keys.
    pub key: &'a str,
    /// What was seen.
    pub member: &'a str,
    /// How much, for statistics of numbers.
    pub number: i64,
}

impl<'a> Observation<'a> {
    /// What statistics are shown of it.
    pub fn seen(&self) -> Seen<'a> {
        Seen { at: self.at, key: self.key, member: self.member, number: self.number }
    }
}

/// A detector's verdict: the part of a notice that it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// When it became true, microseconds.
    pub ts: i64,
    /// Type of the notice.
    pub note: &'static str,
    /// A flow that it was seen in, where one says more than none.
    pub uid: Option<String>,
    /// What happened.
    pub msg: String,
    /// More on it.
    pub sub: Option<String>,
    /// Source address.
    pub src: Option<IpAddr>,
    /// Destination address.
    pub dst: Option<IpAddr>,
    /// Port.
    pub p: Option<u16>,
    /// Transport protocol.
    pub proto: Option<&'static str>,
    /// What makes two notices of this type the same.
    pub identifier: String,
    /// How long the same is held back, microseconds.
    pub suppress_for_us: i64,
}

impl Finding {
    /// About an entity alone: its address is the source, and the same is held back as long as is usual.
    pub fn of(entity: &str, ts: i64, note: &'static str, msg: String) -> Finding {
        Finding {
            ts,
            note,
            uid: None,
            msg,
            sub: None,
            src: entity.parse().ok(),
            dst: None,
            p: None,
            proto: None,
            identifier: entity.to_owned(),
            suppress_for_us: SUPPRESS_FOR_US,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a detector says of rows that are all about one entity, in one window.
    pub fn judged(detector: &dyn Detector, rows: &RecordBatch) -> Option<Finding> {
        let mut found: Option<(String, Value)> = None;
        let mut each = |seen: Observation<'_>| {
            let start = || (seen.entity.to_owned(), detector.start());
            let (entity, value) = found.get_or_insert_with(start);
            assert_eq!(seen.entity, entity);
            value.observe(seen.seen());
        };
        detector.observe(&Rows::new(rows), &mut each).unwrap();
        let (entity, value) = found?;
        detector.judge(&entity, &value)
    }
}
