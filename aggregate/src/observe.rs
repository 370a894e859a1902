//! Rows into windows: detectors observe flows and logs, notices and observations of assets are held.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::{Array, ListArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use detect::{Detector, Rows, rows};
use model::read::{self, ColumnError};
use model::stream::{self, Def};

use crate::holds::{Item, Taken};
use crate::lane::Work;
use crate::sources::Input;
use crate::summary;
use crate::windows::Windows;

/// Where rows come from.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// Input and offset of their record.
    pub from: (Input, i64),
    /// They were used before and only rebuild windows.
    pub is_again: bool,
    /// A source stands behind them and tells of its progress.
    pub has_source: bool,
}

/// The rows as rows of their stream.
fn checked(want: &'static Def, def: &Def, batch: &RecordBatch) -> Result<RecordBatch, ColumnError> {
    if def.name != want.name {
        return Err(ColumnError { column: def.name.to_owned(), wanted: want.name });
    }
    rows::conform(want, batch)
}

/// Nodes that saw a row: the one that wrote it and those it names.
pub fn observers<'a>(
    sensor: &'a StringArray,
    observers: Option<&'a ListArray>,
    row: usize,
) -> impl Iterator<Item = &'a str> {
    let named = observers.into_iter().flat_map(move |list| read::each_text(list, row));
    std::iter::once(sensor.value(row)).chain(named)
}

/// Shows a batch of conn to every detector, and sums it up; gives it back to be passed on.
///
/// # Errors
/// It is no batch of conn.
pub fn conn(
    windows: &mut Windows,
    def: &Def,
    batch: &RecordBatch,
    written: Written,
    work: &mut Work<'_>,
) -> Result<Option<RecordBatch>, ColumnError> {
    let batch = checked(&stream::conn::DEF, def, batch)?;
    let late = show(windows, &stream::conn::DEF, &batch, written, work.detectors)?;
    // What detectors observe is summed up too.
    let late = late.max(summary::observe(windows, &batch, written, work.config)?);
    if !written.is_again {
        work.counters.late += late;
        work.counters.conn_in += batch.num_rows() as u64;
        work.counters.conn_out += batch.num_rows() as u64;
    }
    Ok(Some(batch))
}

/// Shows a batch of a log to the detectors that observe it.
///
/// # Errors
/// It is no batch of that log.
pub fn log(
    windows: &mut Windows,
    log: &'static Def,
    def: &Def,
    batch: &RecordBatch,
    written: Written,
    work: &mut Work<'_>,
) -> Result<Option<RecordBatch>, ColumnError> {
    let batch = checked(log, def, batch)?;
    let late = show(windows, log, &batch, written, work.detectors)?;
    if !written.is_again {
        work.counters.late += late;
        work.counters.log_in += batch.num_rows() as u64;
    }
    Ok(None)
}

/// Shows a batch of a stream to the detectors that observe it. Tells how many rows were late.
///
/// # Errors
/// It is no batch of that stream.
pub fn show(
    windows: &mut Windows,
    def: &'static Def,
    batch: &RecordBatch,
    written: Written,
    detectors: &[Box<dyn Detector>],
) -> Result<u64, ColumnError> {
    let times = read::time(batch, "_write_ts")?;
    let sensor = read::text(batch, "sensor")?;
    // Other streams than conn have no joined rows.
    let named = read::list(batch, "observers").ok();
    let rows = Rows::new(batch);
    let observing = || detectors.iter().filter(|d| d.stream().name == def.name);
    let mut late = BTreeSet::new();
    if observing().any(|detector| detector.facets().is_some()) {
        for tried in rows.attempts()? {
            let Some(time) = taken(windows, tried.row, times, written, &mut late) else { continue };
            let by = observers(sensor, named, tried.row);
            windows.panes.tried(time, written.from, tried, by, detectors);
        }
    }
    for detector in observing().filter(|detector| detector.facets().is_none()) {
        detector.observe(&rows, &mut |seen| {
            let Some(time) = taken(windows, seen.row, times, written, &mut late) else { return };
            let begin = || detector.start();
            let by = observers(sensor, named, seen.row);
            windows.panes.observe(time, written.from, detector.rule(), begin, &seen, by);
        })?;
    }
    Ok(late.len() as u64)
}

/// When a row that is observed was written; `None` if its pane was released before it was read again.
fn taken(
    windows: &mut Windows,
    row: usize,
    times: &TimestampMicrosecondArray,
    written: Written,
    late: &mut BTreeSet<usize>,
) -> Option<i64> {
    let time = times.value(row);
    let end = windows.panes.end_of(time);
    if end <= windows.released.panes() && written.is_again {
        return None;
    }
    if end <= windows.released.time {
        late.insert(row);
    }
    if !written.has_source {
        windows.reach(time);
    }
    Some(time)
}

/// Holds the notices of a batch.
///
/// # Errors
/// It is no batch of notice.
pub fn notice(
    windows: &mut Windows,
    def: &Def,
    batch: &RecordBatch,
    written: Written,
    work: &mut Work<'_>,
) -> Result<Option<RecordBatch>, ColumnError> {
    let batch = Arc::new(checked(&stream::notice::DEF, def, batch)?);
    let (note, identifier) = (read::text(&batch, "note")?, read::text(&batch, "identifier")?);
    let (ts, times) = (read::time(&batch, "ts")?, read::time(&batch, "_write_ts")?);
    let (sensor, named) = (read::text(&batch, "sensor")?, read::list(&batch, "observers")?);
    let released = windows.released.time;
    for row in 0..batch.num_rows() {
        let time = times.value(row);
        let is_out = windows.holds.end_of(time) <= released;
        let is_loose = identifier.is_null(row);
        if written.is_again && (is_out || is_loose) {
            continue;
        }
        if !written.has_source {
            windows.reach(time);
        }
        let item = Item {
            written: time,
            ts: if ts.is_null(row) { time } else { ts.value(row) },
            sensor: sensor.value(row).to_owned(),
            observers: observers(sensor, Some(named), row).map(str::to_owned).collect(),
            rows: batch.clone(),
            row,
            offset: written.from.1,
        };
        let taken = if is_loose {
            windows.holds.take_loose(item);
            Taken::Held
        } else {
            let kind = (note.value(row).to_owned(), identifier.value(row).to_owned());
            let copy = (kind.clone(), item.clone());
            let taken = windows.holds.take(kind, item);
            if taken == Taken::Covered && !written.is_again {
                windows.holds.take_late(copy.0, copy.1);
            }
            taken
        };
        if written.is_again {
            continue;
        }
        work.counters.notice_in += 1;
        work.counters.late += u64::from(taken == Taken::Covered || (is_out && !is_loose));
    }
    Ok(None)
}

/// Holds the observations of a batch.
///
/// # Errors
/// It is no batch of known.
pub fn known(
    windows: &mut Windows,
    def: &Def,
    batch: &RecordBatch,
    written: Written,
    work: &mut Work<'_>,
) -> Result<Option<RecordBatch>, ColumnError> {
    let batch = Arc::new(checked(&stream::known::DEF, def, batch)?);
    let (ts, times) = (read::time(&batch, "ts")?, read::time(&batch, "_write_ts")?);
    let sensor = read::text(&batch, "sensor")?;
    for row in 0..batch.num_rows() {
        let time = times.value(row);
        if written.is_again && time < windows.released.assets() {
            continue;
        }
        if !written.has_source {
            windows.reach(time);
        }
        let from = (written.from.1, row);
        windows.assets.take((time, ts.value(row)), sensor.value(row), from, batch.clone());
        if !written.is_again {
            work.counters.known_in += 1;
            work.counters.late += u64::from(time < windows.released.time);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use arrow_array::builder::{ListBuilder, StringBuilder};

    use super::*;

    #[test]
    fn who_saw_a_row_is_read_where_it_lies() {
        let sensor = StringArray::from(vec!["w1", "w2", "w3", "w4"]);
        let mut list = ListBuilder::new(StringBuilder::new());
        list.append_value([Some("a"), None, Some("b")]);
        list.append_null();
        list.append_value([None::<&str>; 0]);
        list.append_value([Some("w4"), Some("c")]);
        let list = list.finish();
        let all = |sensor: &StringArray, list: Option<&ListArray>, row| {
            observers(sensor, list, row).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(all(&sensor, Some(&list), 0), ["w1", "a", "b"]);
        assert_eq!(all(&sensor, Some(&list), 1), ["w2"]);
        assert_eq!(all(&sensor, Some(&list), 2), ["w3"]);
        assert_eq!(all(&sensor, None, 3), ["w4"]);
        // A part of a batch has its own rows.
        let (sensor, list) = (sensor.slice(3, 1), list.slice(3, 1));
        assert_eq!(all(&sensor, Some(&list), 0), ["w4", "w4", "c"]);
    }
}
