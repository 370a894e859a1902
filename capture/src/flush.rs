//! Rows of all threads up to one packet number, put in the one order that does not depend on how many
//! threads there were, and divided over the lanes.

use anyhow::Context;
use arrow_array::{Array, ListArray, RecordBatch, StringArray, UInt32Array};
use arrow_select::concat::concat_batches;
use arrow_select::interleave::interleave_record_batch;
use arrow_select::take::take_record_batch;
use model::stream::{self, Def, Mark, weird, x509};

use crate::files::x509::known::Known;
use crate::out::Rows;
use crate::weirds::Logged;

/// Bytes of rows in one batch. Arrow counts a column's bytes in 31 bits; a flush has a thousandth of this but when
/// flows end in millions.
const BATCH_BYTES_MAX: u64 = 512 << 20;

/// Rows of one stream for one lane, in order. There may be several of a lane, one after another.
#[derive(Debug)]
pub struct LaneRows {
    /// The stream.
    pub def: &'static Def,
    /// The lane.
    pub lane: u32,
    /// The rows.
    pub batch: RecordBatch,
}

/// What was logged and is not logged again for a while, whatever thread comes upon it.
#[derive(Debug, Default)]
pub struct Seen {
    weirds: Logged,
    certificates: Known,
}

/// Puts the rows of some threads in order and divides them over the lanes. What was logged already goes
/// no further.
pub fn merge(
    threads: Vec<Vec<Rows>>,
    lanes: u32,
    seen: &mut Seen,
) -> anyhow::Result<Vec<LaneRows>> {
    merge_within(BATCH_BYTES_MAX, threads, lanes, seen)
}

fn merge_within(
    bytes_max: u64,
    threads: Vec<Vec<Rows>>,
    lanes: u32,
    seen: &mut Seen,
) -> anyhow::Result<Vec<LaneRows>> {
    let mut merged = Vec::new();
    let mut all: Vec<Rows> = threads.into_iter().flatten().collect();
    for &def in stream::ALL.iter().chain(stream::INTERNAL) {
        let (mine, rest) = all.into_iter().partition(|rows| rows.def.name == def.name);
        all = rest;
        together(bytes_max, def, mine)
            .and_then(|all| {
                all.into_iter().try_for_each(|rows| divide(rows, lanes, seen, &mut merged))
            })
            .with_context(|| format!("cannot put the rows of {} in order", def.name))?;
    }
    Ok(merged)
}

/// The rows of one stream as one batch, or, where that would be too large, as several in their order.
fn together(bytes_max: u64, def: &'static Def, mut parts: Vec<Rows>) -> anyhow::Result<Vec<Rows>> {
    let bytes = |part: &Rows| part.batch.get_array_memory_size() as u64;
    if parts.iter().map(bytes).sum::<u64>() > bytes_max {
        return apart(bytes_max, def, &parts);
    }
    if parts.len() > 1 {
        let batch = concat_batches(&def.schema(), parts.iter().map(|part| &part.batch))?;
        let marks = parts.into_iter().flat_map(|part| part.marks).collect();
        parts = vec![Rows { def, batch, marks }];
    }
    Ok(parts)
}

/// The rows in order, in batches of so many bytes; one at least is in each.
fn apart(bytes_max: u64, def: &'static Def, parts: &[Rows]) -> anyhow::Result<Vec<Rows>> {
    let places = |(part, rows): (usize, &Rows)| (0..rows.marks.len()).map(move |row| (part, row));
    let mut order: Vec<(usize, usize)> = parts.iter().enumerate().flat_map(places).collect();
    order.sort_unstable_by_key(|(part, row)| parts[*part].marks[*row]);
    let sizes: Vec<Vec<u64>> = parts.iter().map(|part| row_bytes(&part.batch)).collect();
    let batches: Vec<&RecordBatch> = parts.iter().map(|part| &part.batch).collect();
    let (mut all, mut rest) = (Vec::new(), order.as_slice());
    while !rest.is_empty() {
        let mut bytes = 0u64;
        let fits = rest.iter().take_while(|(part, row)| {
            bytes = bytes.saturating_add(sizes[*part][*row]);
            bytes <= bytes_max
        });
        let (run, after) = rest.split_at(fits.count().max(1));
        let batch = interleave_record_batch(&batches, run)?;
        let marks = run.iter().map(|(part, row)| parts[*part].marks[*row]).collect();
        all.push(Rows { def, batch, marks });
        rest = after;
    }
    Ok(all)
}

/// Bytes of each row.
fn row_bytes(batch: &RecordBatch) -> Vec<u64> {
    let mut rows = vec![0; batch.num_rows()];
    for column in batch.columns() {
        rows.iter_mut().zip(cell_bytes(column)).for_each(|(sum, cell)| *sum += cell);
    }
    rows
}

/// Bytes of each cell of a column.
fn cell_bytes(column: &dyn Array) -> Vec<u64> {
    let any = column.as_any();
    if let Some(texts) = any.downcast_ref::<StringArray>() {
        return texts.value_offsets().windows(2).map(|at| (at[1] - at[0]) as u64 + 4).collect();
    }
    if let Some(lists) = any.downcast_ref::<ListArray>() {
        let elements = cell_bytes(lists.values());
        let of = |at: &[i32]| elements.get(at[0] as usize..at[1] as usize).unwrap_or_default();
        let cell = |at: &[i32]| of(at).iter().sum::<u64>() + 4;
        return lists.value_offsets().windows(2).map(cell).collect();
    }
    vec![8; column.len()]
}

fn divide(
    Rows { def, batch, marks }: Rows,
    lanes: u32,
    seen: &mut Seen,
    merged: &mut Vec<LaneRows>,
) -> anyhow::Result<()> {
    let once = [weird::DEF.name, x509::DEF.name].contains(&def.name);
    if lanes == 1 && !once && marks.is_sorted() {
        merged.push(LaneRows { def, lane: 0, batch });
        return Ok(());
    }
    let mut order: Vec<u32> = (0..marks.len() as u32).collect();
    let mark = |i: &u32| -> &Mark { &marks[*i as usize] };
    if once {
        order.sort_unstable_by_key(|i| *mark(i));
        order = if def.name == weird::DEF.name {
            seen.weirds.keep(&batch, order.into_iter())?
        } else {
            let times = order.iter().map(|i| (*i, mark(i).write_ts));
            seen.certificates.keep(&batch, times)?
        };
    }
    order.sort_unstable_by_key(|i| (mark(i).lane, *mark(i)));
    for run in order.chunk_by(|a, b| mark(a).lane == mark(b).lane) {
        let lane = mark(&run[0]).lane;
        let batch = take_record_batch(&batch, &UInt32Array::from_iter_values(run.iter().copied()))?;
        merged.push(LaneRows { def, lane, batch });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::stream::dns;

    fn rows(marks: &[(i64, u64, u32)]) -> Rows {
        let mut batch = dns::Batch::default();
        for (i, (write_ts, flow, lane)) in marks.iter().enumerate() {
            let mark = Mark { write_ts: *write_ts, flow: *flow, seq: i as u64, lane: *lane };
            batch.push(mark, dns::Row { ts: *write_ts, ..dns::Row::unset() });
        }
        let (batch, marks) = batch.finish("n");
        Rows { def: &dns::DEF, batch, marks }
    }

    fn times(rows: &LaneRows) -> Vec<i64> {
        model::read::time(&rows.batch, "ts").unwrap().values().to_vec()
    }

    #[test]
    fn order_does_not_depend_on_threads() {
        let one = merge(
            vec![vec![rows(&[(1, 1, 0), (2, 2, 1), (2, 9, 0), (3, 1, 0)])]],
            2,
            &mut Seen::default(),
        );
        let two = merge(
            vec![vec![rows(&[(2, 9, 0), (1, 1, 0), (3, 1, 0)])], vec![rows(&[(2, 2, 1)])]],
            2,
            &mut Seen::default(),
        );
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!(one.len(), 2);
        for (a, b) in one.iter().zip(&two) {
            assert_eq!((a.lane, times(a)), (b.lane, times(b)));
        }
        assert_eq!(times(&one[0]), [1, 2, 3]);
    }

    #[test]
    fn batches_that_would_be_too_large_are_several_with_the_same_rows() {
        let parts = || {
            let odd: Vec<_> = (0..50).map(|n| (2 * n + 1, 1, n as u32 % 2)).collect();
            let even: Vec<_> = (0..50).map(|n| (2 * n, 1, n as u32 % 2)).collect();
            vec![vec![rows(&odd[..20]), rows(&odd[20..])], vec![rows(&even)]]
        };
        let whole = merge(parts(), 2, &mut Seen::default()).unwrap();
        assert_eq!(whole.len(), 2);
        // A row of dns without text has some 200 bytes.
        for bytes_max in [1, 1000, 5000, 8000] {
            let few = merge_within(bytes_max, parts(), 2, &mut Seen::default()).unwrap();
            assert!(few.len() > 2, "{bytes_max}");
            for lane in &whole {
                let same = few.iter().filter(|rows| rows.lane == lane.lane);
                assert_eq!(same.flat_map(times).collect::<Vec<i64>>(), times(lane));
            }
            let large = few.iter().filter(|rows| rows.batch.num_rows() > 1);
            let bytes = large.map(|rows| row_bytes(&rows.batch).iter().sum::<u64>());
            assert!(bytes.max().unwrap_or(0) <= bytes_max);
        }
    }

    #[test]
    fn what_is_logged_once_is_so_over_several_batches() {
        let weirds = |times: &[i64]| {
            let mut batch = weird::Batch::default();
            for ts in times {
                let mark = Mark { write_ts: *ts, flow: 0, seq: 0, lane: 0 };
                batch.push(mark, weird::Row { ts: *ts, name: "odd", ..weird::Row::unset() });
            }
            let (batch, marks) = batch.finish("n");
            Rows { def: &weird::DEF, batch, marks }
        };
        let parts = vec![vec![weirds(&[5, 9])], vec![weirds(&[1, 7])]];
        let merged = merge_within(1, parts, 1, &mut Seen::default()).unwrap();
        assert_eq!(merged.iter().flat_map(times).collect::<Vec<i64>>(), [1]);
    }
}
