//! Rows of `raw.conn` on their way: most go on at once, in one piece; those that have to wait are taken out.

use std::sync::Arc;

use arrow_array::{Array, BooleanArray, RecordBatch, UInt32Array};
use arrow_select::filter::filter_record_batch;
use arrow_select::take::take_record_batch;
use bus::{Outgoing, Timeline, Topic};
use detect::rows;
use model::read::ColumnError;
use model::stream::{Def, conn, raw_conn};

use super::piece::{Columns, Piece};
use super::sites::Sites;
use super::{Ready, key_of, row};
use crate::lane::Work;
use crate::observe::{self, Written};
use crate::sources::Input;
use crate::summary;
use crate::windows::{Outlet, Windows};

/// Takes the rows that wait out of a batch; gives back the others, as rows of conn.
///
/// # Errors
/// It is no batch of conn or `raw_conn`.
pub fn conn(
    windows: &mut Windows,
    def: &Def,
    batch: &RecordBatch,
    written: Written,
    sites: &Sites,
    work: &mut Work<'_>,
) -> Result<Option<RecordBatch>, ColumnError> {
    if def.name != raw_conn::DEF.name {
        return observe::conn(windows, def, batch, written, work);
    }
    let raw = rows::conform(&raw_conn::DEF, batch)?;
    let plain = rows::conform(&conn::DEF, &raw)?;
    let waiting = waiting(windows, &raw, written, sites, work)?;
    if waiting.is_empty() {
        return observe::conn(windows, &conn::DEF, &plain, written, work);
    }
    hold(windows, &raw, &plain, &waiting, written, sites, work)?;
    if waiting.len() == plain.num_rows() {
        return Ok(None);
    }
    let mut goes = vec![true; plain.num_rows()];
    waiting.iter().for_each(|row| goes[*row as usize] = false);
    let going = filter_record_batch(&plain, &BooleanArray::from(goes)).map_err(|_| wrong())?;
    observe::conn(windows, &conn::DEF, &going, written, work)
}

fn wrong() -> ColumnError {
    ColumnError { column: raw_conn::DEF.name.to_owned(), wanted: "consistent" }
}

/// The rows that have to wait. Of a record that is read again, those that did.
fn waiting(
    windows: &Windows,
    raw: &RecordBatch,
    written: Written,
    sites: &Sites,
    work: &Work<'_>,
) -> Result<Vec<u32>, ColumnError> {
    let columns = Columns::of(raw)?;
    let count = raw.num_rows();
    if written.is_again {
        let (join, offset) = (&windows.join, written.from.1);
        let is_needed = |row: &u32| {
            let row = *row as usize;
            join.open.holds(offset, row) || join.left.open.holds(offset, row)
        };
        return Ok((0..count as u32).filter(is_needed).collect());
    }
    let overlap = work.config.overlap;
    let candidates = if overlap { columns.last.null_count() } else { columns.is_orig.null_count() };
    if count == 0 || candidates == count {
        return Ok(Vec::new());
    }
    let timeline = windows.timeline();
    let (site, _) = sites.place(timeline, columns.sensor(0));
    let is_alone = match timeline {
        // Of files all are known only when the last has ended.
        Timeline::File => work.config.sources == Some(1),
        Timeline::Live => sites.count(timeline, &site) < 2,
    };
    if is_alone {
        return Ok(Vec::new());
    }
    let may = |row: &u32| {
        let row = *row as usize;
        !columns.last.is_null(row) && (overlap || !columns.is_orig.is_null(row))
    };
    Ok((0..count as u32).filter(may).collect())
}

/// Holds rows of a batch; without the others, so that a few do not keep many in memory.
fn hold(
    windows: &mut Windows,
    raw: &RecordBatch,
    plain: &RecordBatch,
    waiting: &[u32],
    written: Written,
    sites: &Sites,
    work: &mut Work<'_>,
) -> Result<(), ColumnError> {
    let columns = Columns::of(raw)?;
    let kept = if waiting.len() == plain.num_rows() {
        plain.clone()
    } else {
        let picks = UInt32Array::from_iter_values(waiting.iter().copied());
        take_record_batch(plain, &picks).map_err(|_| wrong())?
    };
    let kept = Arc::new(kept);
    let node = columns.sensor(0);
    let (site, tap) = sites.place(windows.timeline(), node);
    let sensor: Arc<str> = node.into();
    let released = windows.released.time;
    for (at, row) in waiting.iter().enumerate() {
        let row = *row as usize;
        let piece = Piece::read(&columns, (&kept, at), row, written.from.1, (&sensor, &tap));
        let key = key_of(&site, columns.community_id(row));
        if written.is_again && windows.join.left.open.holds(piece.offset, row) {
            windows.join.left.remember(&key, &piece, work.config.join_window_us);
            continue;
        }
        if !written.has_source {
            windows.reach(piece.stamped);
        }
        if !written.is_again {
            work.counters.conn_in += 1;
            work.counters.late += u64::from(piece.stamped < released);
        }
        windows.join.take(key, piece, row);
    }
    Ok(())
}

/// Sends flows that left, and shows them to the detectors.
///
/// # Errors
/// A row cannot be made: a sensor wrote what is no address.
pub fn send(windows: &mut Windows, ready: &[Ready], to: &mut Outlet<'_>) -> anyhow::Result<()> {
    let join = &mut windows.join;
    to.counters.hurried += std::mem::take(&mut join.hurried);
    to.counters.conn_merged += std::mem::take(&mut join.late_copies);
    to.counters.copies_forgotten += std::mem::take(&mut join.left.forgotten);
    if ready.is_empty() {
        return Ok(());
    }
    let pieces = ready.iter().flat_map(|flow| &flow.pieces);
    let rows = pieces.filter(|piece| !piece.is_cut[0]).count();
    to.counters.conn_out += ready.len() as u64;
    to.counters.conn_merged += rows.saturating_sub(ready.len()) as u64;
    to.counters.conn_cut += ready.len().saturating_sub(rows) as u64;
    let offsets = ready.iter().flat_map(|flow| flow.pieces.iter().map(|piece| piece.offset));
    let oldest = offsets.min().unwrap_or(0);
    for rows in row::batches(ready, to.config.overlap)? {
        let written = Written { from: (Input::Conn, oldest), is_again: false, has_source: true };
        // They had to wait: that is not being late.
        observe::show(windows, &conn::DEF, &rows, written, to.detectors)?;
        summary::observe(windows, &rows, written, to.config)?;
        to.out.push(Outgoing::rows(Topic::log(&conn::DEF), windows.lane(), &conn::DEF, rows));
    }
    Ok(())
}
