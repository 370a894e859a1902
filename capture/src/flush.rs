//! Rows of all threads up to one packet number, put in the one order that does not depend on how many
//! threads there were, and divided over the lanes.

use anyhow::Context;
use arrow_array::{RecordBatch, UInt32Array};
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use model::stream::{self, Def, Mark, weird, x509};

use crate::files::x509::known::Known;
use crate::out::Rows;
use crate::weirds::Logged;

/// Rows of one stream for one lane, in order.
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
    let mut merged = Vec::new();
    let mut all: Vec<Rows> = threads.into_iter().flatten().collect();
    for &def in stream::ALL.iter().chain(stream::INTERNAL) {
        let (mine, rest) = all.into_iter().partition(|rows| rows.def.name == def.name);
        all = rest;
        divide(def, mine, lanes, seen, &mut merged)
            .with_context(|| format!("cannot put the rows of {} in order", def.name))?;
    }
    Ok(merged)
}

fn divide(
    def: &'static Def,
    mut parts: Vec<Rows>,
    lanes: u32,
    seen: &mut Seen,
    merged: &mut Vec<LaneRows>,
) -> anyhow::Result<()> {
    let (batch, marks) = match parts.len() {
        0 => return Ok(()),
        1 => {
            let part = parts.remove(0);
            (part.batch, part.marks)
        }
        _ => {
            let batch = concat_batches(&def.schema(), parts.iter().map(|part| &part.batch))?;
            (batch, parts.into_iter().flat_map(|part| part.marks).collect())
        }
    };
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
}
