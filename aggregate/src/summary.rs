//! Flows into the cluster's summary: added up batch by batch, by the pane of their row and the interval that they
//! count in, so that a row costs little.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use bus::Timeline;
use detect::summary::{self, Flows, Interval, Part};
use model::read::{self, ColumnError};

use crate::config::Config;
use crate::observe::{Written, observers};
use crate::panes::Sum;
use crate::windows::Windows;

/// Adds flows to their panes. Tells how many rows were late.
///
/// # Errors
/// It is no batch of conn.
pub fn observe(
    windows: &mut Windows,
    rows: &RecordBatch,
    written: Written,
    config: &Config,
) -> Result<u64, ColumnError> {
    let Some(length) = config.summary_us else { return Ok(0) };
    let grace_us = match windows.timeline() {
        Timeline::Live => summary::LIVE_GRACE_US,
        Timeline::File => summary::FILE_GRACE_US,
    };
    let times = read::time(rows, "_write_ts")?;
    let (sensor, named) = (read::text(rows, "sensor")?, read::list(rows, "observers")?);
    let flows = Flows::of(rows)?;
    let (released, mut late) = (windows.released, 0);
    let mut parts: BTreeMap<(i64, Interval), (Part<'_>, i64, i64)> = BTreeMap::new();
    for row in 0..rows.num_rows() {
        let Some(last) = flows.last(row) else { continue };
        let time = times.value(row);
        let end = windows.panes.end_of(time);
        if end <= released.panes() && written.is_again {
            continue;
        }
        late += u64::from(end <= released.time);
        if !written.has_source {
            windows.reach(time);
        }
        let pane = detect::pane_start(time, windows.panes.pane_us());
        let at = summary::counts_at(last, time, grace_us);
        let of = (pane, Interval::of(at, length));
        let (part, first, latest) = parts.entry(of).or_insert((Part::default(), at, at));
        (*first, *latest) = (at.min(*first), at.max(*latest));
        part.add(&flows, row, observers(sensor, Some(named), row));
    }
    for ((pane, interval), (part, first, latest)) in parts {
        let sum = Sum {
            times: (first, latest),
            observations: part.conns(),
            observers: part.workers().map(str::to_owned).collect(),
        };
        let (rule, entity) = (summary::RULE, interval.entity());
        let grow = |value: &mut detect::Value| part.add_to(value);
        windows.panes.add(pane, written.from, rule, entity, sum, (summary::start, grow));
    }
    Ok(late)
}
