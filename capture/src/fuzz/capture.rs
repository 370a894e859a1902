//! The whole engine: any bytes as a capture file. Whatever they are, the rows must be the same for any
//! number of threads.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use bus::clock::Manual;

use crate::config::Config;
use crate::flush::{self, Seen};
use crate::source::{CaptureFile, Next, PacketSource as _};
use crate::worker::{self, FLUSH_PACKETS, Flush, Job};

/// Flows held at once: few, so that captures of some hundred bytes get there.
const FLOWS_MAX: usize = 256;

/// Packets between barriers where there are to be many.
const FEW: u64 = 5;

/// Reads the bytes as a capture with one thread, two and three, with one barrier and with many.
pub(super) fn engine(data: &[u8]) {
    let whole = read(data, 1, FLUSH_PACKETS);
    compare(&whole, &read(data, 2, FLUSH_PACKETS), "2 threads");
    let often = read(data, 1, FEW);
    compare(&often, &read(data, 3, FEW), "3 threads");
    // Rows of one moment are in the order of their flows between two barriers, and where time goes back a
    // timer may be late when it is set: only how many rows there are does not depend on where barriers lie.
    if is_in_order(data) {
        let count = |rows: &Rows| rows.1.values().map(RecordBatch::num_rows).collect::<Vec<_>>();
        assert_eq!(count(&whole), count(&often), "rows with many barriers");
    }
}

fn is_in_order(data: &[u8]) -> bool {
    let input = Box::new(Cursor::new(data.to_vec()));
    let Ok(mut file) = CaptureFile::from_reader("fuzz", input, None) else { return true };
    let mut last = i64::MIN;
    while let Ok(Next::Packet(packet)) = file.next() {
        if packet.ts_us < last {
            return false;
        }
        last = packet.ts_us;
    }
    true
}

fn compare(one: &Rows, more: &Rows, what: &str) {
    assert_eq!(one.0, more.0, "what was wrong, {what}");
    let streams = |all: &Rows| all.1.keys().copied().collect::<Vec<_>>();
    assert_eq!(streams(one), streams(more), "streams, {what}");
    for (stream, rows) in &one.1 {
        same(rows, &more.1[stream], &format!("{stream}, {what}"));
    }
}

/// The first cell that is another, as whole batches are too much to read.
fn same(one: &RecordBatch, more: &RecordBatch, what: &str) {
    assert_eq!(one.num_rows(), more.num_rows(), "rows of {what}");
    for (i, field) in one.schema().fields().iter().enumerate() {
        for row in 0..one.num_rows() {
            let cell = |batch: &RecordBatch| batch.column(i).slice(row, 1);
            assert_eq!(&cell(one), &cell(more), "{} of row {row} of {what}", field.name());
        }
    }
}

/// What was wrong with the file, and rows by stream.
type Rows = (Vec<String>, BTreeMap<&'static str, RecordBatch>);

fn read(data: &[u8], threads: u32, flush_packets: u64) -> Rows {
    let (mut seen, mut rows) = (Seen::default(), BTreeMap::<_, Vec<RecordBatch>>::new());
    let mut all: Vec<_> = Vec::new();
    for index in 0..threads {
        match flushes(data, index, threads, flush_packets) {
            Ok(flushes) => all.push(flushes),
            Err(error) => return (vec![error], BTreeMap::new()),
        }
    }
    let barriers = all[0].len();
    let mut problems = Vec::new();
    let mut threads: Vec<_> = all.into_iter().map(Vec::into_iter).collect();
    for _ in 0..barriers {
        let meeting: Vec<Flush> = threads.iter_mut().filter_map(Iterator::next).collect();
        problems.extend_from_slice(&meeting[0].problems);
        assert!(meeting.iter().all(|flush| flush.number == meeting[0].number));
        let threads = meeting.into_iter().map(|flush| flush.rows).collect();
        for merged in flush::merge(threads, 1, &mut seen).expect("rows of one shape") {
            rows.entry(merged.def.name).or_default().push(merged.batch);
        }
    }
    let whole = |(name, batches): (&'static str, Vec<RecordBatch>)| {
        let schema = batches[0].schema();
        (name, concat_batches(&schema, &batches).expect("rows of one shape"))
    };
    // Nothing may be left of a stream whose rows were all logged before.
    let some = |(_, batch): &(_, RecordBatch)| batch.num_rows() > 0;
    (problems, rows.into_iter().map(whole).filter(some).collect())
}

fn flushes(
    data: &[u8],
    index: u32,
    threads: u32,
    flush_packets: u64,
) -> Result<Vec<Flush>, String> {
    let input = Box::new(Cursor::new(data.to_vec()));
    let source =
        CaptureFile::from_reader("fuzz", input, None).map_err(|error| error.to_string())?;
    let config = Config {
        // So that a changed byte is met by more than a checksum.
        ignore_checksums: true,
        flows_max: FLOWS_MAX,
        flush_packets,
        ..Config::new("fuzz")
    };
    let worker = worker::read_whole(Job {
        config: Arc::new(config),
        index,
        threads,
        source: Box::new(source),
        from: 0,
        live: false,
        finishes: true,
        clock: Arc::new(Manual::default()),
        progress: None,
    });
    let flushes: Vec<Flush> = worker.flushes.try_iter().collect();
    assert!(flushes.iter().all(|flush| flush.open_flows <= FLOWS_MAX));
    Ok(flushes)
}
