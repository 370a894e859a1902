//! A batch by intervals of `_write_ts`, and a batch of another version in the columns of ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use arrow_array::{RecordBatch, UInt32Array, new_null_array};
use arrow_select::take::take_record_batch;
use model::stream::Def;

use crate::name::Interval;

/// Rows of one interval.
#[derive(Debug)]
pub struct Part {
    /// The interval; `None` where there is no rotation.
    pub interval: Option<Interval>,
    /// The rows.
    pub rows: RecordBatch,
    /// Earliest `_write_ts`.
    pub first: i64,
    /// Latest `_write_ts`.
    pub last: i64,
}

/// The rows of a batch by interval, in order of time. Their order within an interval stays.
pub fn by_interval(rows: &RecordBatch, length: Option<i64>) -> Result<Vec<Part>> {
    let times = model::read::time(rows, "_write_ts")?.values();
    let Some((first, last)) = bounds(times.iter().copied()) else { return Ok(Vec::new()) };
    let interval = length.map(|length| Interval::of(first, length));
    if interval.is_none_or(|interval| last < interval.end) {
        return Ok(vec![Part { interval, rows: rows.clone(), first, last }]);
    }
    let mut groups: BTreeMap<Option<Interval>, Vec<u32>> = BTreeMap::new();
    for (row, time) in times.iter().enumerate() {
        let interval = length.map(|length| Interval::of(*time, length));
        groups.entry(interval).or_default().push(u32::try_from(row)?);
    }
    let mut parts = Vec::with_capacity(groups.len());
    for (interval, indices) in groups {
        let own = indices.iter().map(|row| times[*row as usize]);
        let (first, last) = bounds(own).unwrap_or((first, last));
        let rows = take_record_batch(rows, &UInt32Array::from(indices))?;
        parts.push(Part { interval, rows, first, last });
    }
    Ok(parts)
}

fn bounds(times: impl Iterator<Item = i64>) -> Option<(i64, i64)> {
    times.fold(None, |bounds, time| {
        let (first, last) = bounds.unwrap_or((time, time));
        Some((time.min(first), time.max(last)))
    })
}

/// The batch in exactly the columns of a definition: a node of another version may send fewer at the
/// end, or more.
pub fn conform(def: &'static Def, rows: RecordBatch) -> Result<RecordBatch> {
    let schema = def.schema();
    if Arc::ptr_eq(&schema, rows.schema_ref()) || schema.fields() == rows.schema_ref().fields() {
        return Ok(rows);
    }
    let mut columns = Vec::with_capacity(def.columns.len());
    for column in def.columns {
        let wanted = column.kind.arrow();
        match rows.column_by_name(column.name) {
            Some(array) if *array.data_type() == wanted => columns.push(array.clone()),
            Some(array) => {
                bail!("column `{}` is {}, not {wanted}", column.name, array.data_type())
            }
            None if column.optional => columns.push(new_null_array(&wanted, rows.num_rows())),
            None => bail!("column `{}` is missing", column.name),
        }
    }
    RecordBatch::try_new(schema, columns)
        .with_context(|| format!("not rows of {} version {}", def.name, def.version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::testing::{FIRST_US, conn_rows, conn_rows_at};
    use model::stream::conn;

    #[test]
    fn rows_go_to_their_intervals() {
        let rows = conn_rows_at([0, 59, 60, -1, 61, 180].into_iter());
        let parts = by_interval(&rows, Some(60)).unwrap();
        let got: Vec<_> = parts
            .iter()
            .map(|p| (p.interval.unwrap().start, p.rows.num_rows(), p.first, p.last))
            .collect();
        assert_eq!(got, [(-60, 1, -1, -1), (0, 2, 0, 59), (60, 2, 60, 61), (180, 1, 180, 180)]);
        let uids = model::read::text(&parts[2].rows, "uid").unwrap();
        assert_eq!((uids.value(0), uids.value(1)), ("C2", "C4"));
    }

    #[test]
    fn one_interval_is_the_batch_itself() {
        let rows = conn_rows(5);
        let parts = by_interval(&rows, Some(3_600_000_000)).unwrap();
        assert_eq!((parts.len(), parts[0].rows.num_rows()), (1, 5));
        let parts = by_interval(&rows, None).unwrap();
        assert_eq!((parts[0].interval, parts[0].first), (None, FIRST_US));
        assert!(by_interval(&rows.slice(0, 0), None).unwrap().is_empty());
    }

    #[test]
    fn other_versions_are_fitted_or_refused() {
        let rows = conn_rows(2);
        let without = |name: &str| {
            let index = rows.schema().index_of(name).unwrap();
            let mut rows = rows.clone();
            rows.remove_column(index);
            conform(&conn::DEF, rows)
        };
        assert_eq!(without("service").unwrap().schema(), conn::DEF.schema());
        let error = without("community_id").unwrap_err().to_string();
        assert!(error.contains("`community_id` is missing"), "{error}");
    }
}
