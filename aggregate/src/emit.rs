//! What a lane sends: merged notices, partial statistics, observations of assets, progress.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow_array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow_select::interleave::interleave_record_batch;
use bus::{Lane, Outgoing, Stamp, Topic, topic};
use detect::{Detector, rows};
use model::id;
use model::stream::{Mark, known, notice, partial};

use crate::assets::Picked;
use crate::config::Config;
use crate::holds::Merged;
use crate::panes::{Entry, Over, Place};

/// Statistics in one record, as JSON: below Kafka's default limit of a message with room to spare.
const PARTIAL_BYTES: usize = 256 * 1024;
/// Notices in one record: with cells of 4 KiB that, compressed, stays below the same limit.
const NOTICE_ROWS: usize = 100;
/// Observations of assets in one record: the cells of a certificate take some 1 KiB at most.
const ASSET_ROWS: usize = 500;

/// The lane of a manager that decides on an entity of a rule.
pub fn partial_lane(rule: &str, entity: &str, lanes: u32) -> Lane {
    id::partition(format!("{rule}\0{entity}").as_bytes(), lanes)
}

/// Merged notices by the lane of the manager that decides on them; without an identifier that is the
/// lane they came on.
pub fn notices(
    merged: Vec<Merged>,
    home: Lane,
    lanes: u32,
    stamp: &Stamp,
) -> Result<Vec<Outgoing>> {
    let mut by_lane: BTreeMap<Lane, Vec<Merged>> = BTreeMap::new();
    for notice in merged {
        let to = notice.identifier.as_ref().map_or(home, |i| id::partition(i.as_bytes(), lanes));
        by_lane.entry(to).or_default().push(notice);
    }
    let mut out = Vec::new();
    for (lane, notices) in by_lane {
        for chunk in notices.chunks(NOTICE_ROWS) {
            let rows = notice_rows(chunk)?;
            let record = Outgoing::rows(topic::NOTICE, lane, &notice::DEF, rows);
            out.push(record.stamped(stamp.clone()));
        }
    }
    Ok(out)
}

/// The row of each notice's earliest copy, with what is known of all.
fn notice_rows(merged: &[Merged]) -> Result<RecordBatch> {
    let batches: Vec<&RecordBatch> = merged.iter().map(|m| m.first.rows.as_ref()).collect();
    let picks: Vec<(usize, usize)> =
        merged.iter().enumerate().map(|(batch, m)| (batch, m.first.row)).collect();
    let picked = interleave_record_batch(&batches, &picks).context("rows of merged notices")?;
    let times = |of: fn(&Merged) -> i64| {
        let times = TimestampMicrosecondArray::from_iter_values(merged.iter().map(of));
        Arc::new(times.with_timezone("UTC"))
    };
    // A copy that came too late counts up and is no notice: it says so by an `n` of nobody.
    let n = merged.iter().map(|m| match m.copies {
        0 => 0,
        _ => i64::try_from(m.observers.len()).unwrap_or(i64::MAX),
    });
    let picked = rows::replace(picked, "ts", times(|m| m.first.ts))?;
    let picked = rows::replace(picked, "last_ts", times(|m| m.last_ts))?;
    let picked = rows::replace(picked, "n", Arc::new(Int64Array::from_iter_values(n)))?;
    Ok(rows::replace(picked, "observers", rows::sets(merged.iter().map(|m| &m.observers)))?)
}

/// Observations of assets, in their order, on the lane that they came on.
pub fn assets(picked: &[Picked], lane: Lane, stamp: &Stamp) -> Result<Vec<Outgoing>> {
    let mut out = Vec::new();
    for chunk in picked.chunks(ASSET_ROWS) {
        let batches: Vec<&RecordBatch> = chunk.iter().map(|(rows, _)| rows.as_ref()).collect();
        let picks: Vec<(usize, usize)> =
            chunk.iter().enumerate().map(|(batch, (_, row))| (batch, *row)).collect();
        let rows = interleave_record_batch(&batches, &picks).context("observations of assets")?;
        let record = Outgoing::rows(topic::KNOWN, lane, &known::DEF, rows);
        out.push(record.stamped(stamp.clone()));
    }
    Ok(out)
}

/// Entries of panes that are over as rows of `partial`, by the lane of the manager that judges them, and how many.
/// `_write_ts` is the end of the pane.
pub fn partials(
    over: Vec<Over>,
    pane_us: i64,
    detectors: &[Box<dyn Detector>],
    config: &Config,
    stamp: &Stamp,
) -> (Vec<Outgoing>, u64) {
    let mut batches: BTreeMap<Lane, (partial::Batch, usize)> = BTreeMap::new();
    let (mut out, mut count) = (Vec::new(), 0);
    let mut send = |lane: Lane, batch: &mut partial::Batch| {
        let rows = batch.finish(&config.node).0;
        out.push(Outgoing::rows(topic::PARTIAL, lane, &partial::DEF, rows).stamped(stamp.clone()));
    };
    let mut add = |(start, rule, entity): Place, entry: Entry| {
        let lane = partial_lane(rule, &entity, config.lanes);
        let state = entry.value.encode();
        let observers: Vec<&str> = entry.observers.iter().map(String::as_str).collect();
        let (batch, bytes) = batches.entry(lane).or_default();
        *bytes += state.len() + entity.len();
        let row = partial::Row {
            ts: start,
            rule,
            entity: &entity,
            first_ts: entry.first_ts,
            last_ts: entry.last_ts,
            observations: entry.observations,
            state: &state,
            observers: &observers,
        };
        batch.push(Mark::at(start.saturating_add(pane_us), lane), row);
        count += 1;
        if *bytes >= PARTIAL_BYTES {
            *bytes = 0;
            send(lane, batch);
        }
    };
    over.into_iter().for_each(|over| over.each(detectors, &mut add));
    for (lane, (batch, _)) in &mut batches {
        if !batch.is_empty() {
            send(*lane, batch);
        }
    }
    (out, count)
}

/// The lane's progress, for all lanes of a topic.
pub fn punctuate(to: &Topic, lanes: u32, stamp: &Stamp) -> impl Iterator<Item = Outgoing> {
    (0..lanes).map(|lane| Outgoing::punctuation(to.clone(), lane, stamp.clone()))
}
