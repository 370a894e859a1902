//! What weir decides by: statistics that merge, and detectors that judge them. No I/O, no clock.
//!
//! An aggregator observes rows into the panes of its lanes; a manager merges the panes of all lanes
//! and judges. Because every statistic merges, it does not matter how rows were spread over workers,
//! lanes and panes.
//!
//! - [`stat`]: statistics, one file each.
//! - [`detector`]: detectors, one file each.
//! - [`policy`]: what is done with a notice: the document, and its verdicts.
//! - [`summary`]: what an interval's traffic comes to.
//! - [`site`]: which addresses are local.
//! - [`rows`]: batches with cells replaced, for notices on their way.

pub mod detector;
pub mod policy;
pub mod rows;
pub mod site;
pub mod stat;
pub mod summary;

pub use detector::{Detector, Finding, Observation, Rows};
pub use site::Site;
pub use stat::{Seen, Value};

/// Length of a pane, microseconds: the grain in which windows slide. Fifteen seconds: with the ten after which a live worker
/// has told all lanes of the time, what goes on is noticed within thirty.
pub const PANE_US: i64 = 15_000_000;

/// Start of the pane of `pane_us` that `time` falls in.
pub fn pane_start(time: i64, pane_us: i64) -> i64 {
    let pane_us = pane_us.max(1);
    // The first pane of all time begins where time does, not below it.
    time.div_euclid(pane_us).checked_mul(pane_us).unwrap_or(i64::MIN)
}

/// The text, cut to so many bytes.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}
