//! The whole engine: any bytes as a capture file, or as what tunnels carry. Whatever they are, the rows must be the same for any
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

/// Protocols that carry packets: by IP protocol, or by port of UDP.
const CARRIERS: [(u8, u16); 10] = [
    (4, 0),
    (41, 0),
    (47, 0),
    (17, 4789),
    (17, 6081),
    (17, 2152),
    (17, 3544),
    (17, 5072),
    (17, 4754),
    (17, 9999),
];
/// Microseconds between packets.
const STEP: u32 = 1000;

/// What tunnels carry, each behind a byte that says which tunnel and which way, and two for its length, as a capture
/// between two hosts.
pub(super) fn tunnels(data: &[u8]) {
    engine(&in_tunnels(data));
}

fn in_tunnels(data: &[u8]) -> Vec<u8> {
    let mut pcap = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    pcap.extend(65_535u32.to_le_bytes());
    pcap.extend(101u32.to_le_bytes());
    let (mut rest, mut at) = (data, 0u32);
    while let [which, high, low, after @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(2048);
        let (carried, after) = after.split_at(len.min(after.len()));
        rest = after;
        let packet = outer(*which, carried);
        at += STEP;
        for number in [1, at, packet.len() as u32, packet.len() as u32] {
            pcap.extend(number.to_le_bytes());
        }
        pcap.extend(packet);
    }
    pcap
}

/// An IPv4 packet that carries it.
fn outer(which: u8, carried: &[u8]) -> Vec<u8> {
    let (proto, port) = CARRIERS[usize::from(which & 0x7f) % CARRIERS.len()];
    let mut body = Vec::new();
    let mut ends = [[10, 0, 0, 1], [10, 0, 0, 2]];
    let mut ports = [40_000u16, port];
    if which & 0x80 != 0 {
        ends.reverse();
        ports.reverse();
    }
    if proto == 17 {
        ports.iter().for_each(|port| body.extend(port.to_be_bytes()));
        body.extend((8 + carried.len() as u16).to_be_bytes());
        body.extend([0, 0]);
    }
    body.extend(carried);
    let mut packet = vec![0x45, 0];
    packet.extend((20 + body.len() as u16).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, proto, 0, 0]);
    ends.iter().for_each(|end| packet.extend(end));
    packet.extend(body);
    packet
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_tunnels_are_tunnels() {
        let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/tunnels");
        let mut without = Vec::new();
        for entry in std::fs::read_dir(kept).expect("inputs") {
            let path = entry.expect("an input").path();
            let data = std::fs::read(&path).expect("an input");
            let (problems, rows) = read(&in_tunnels(&data), 1, FLUSH_PACKETS);
            if !problems.is_empty() || !rows.contains_key("tunnel") {
                let streams: Vec<&str> = rows.into_keys().collect();
                without.push((path.display().to_string(), problems, streams));
            }
        }
        assert_eq!(without, []);
    }
}
