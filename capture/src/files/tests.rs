//! What is said of files, and the rows that come of it.

use std::sync::Arc;

use arrow_array::{Array as _, RecordBatch};
use model::id::FiveTuple;
use model::read;

use super::hash::Hashes;
use super::table::IDLE;
use super::{About, FileRef, Files, Told};
use crate::analyzer::FlowIds;
use crate::config::{Config, SECOND};
use crate::out::Out;

const START: i64 = 1_000_000 * SECOND;

struct Bench {
    files: Files,
    out: Out,
    now: i64,
}

fn flow(number: u64) -> Arc<FlowIds> {
    let tuple = FiveTuple {
        orig_h: "10.0.0.1".parse().expect("an address"),
        orig_p: 1000 + number as u16,
        resp_h: "192.0.2.1".parse().expect("an address"),
        resp_p: 80,
        proto: 6,
    };
    let (uid, community_id) = (format!("C{number}"), "1:x".into());
    Arc::new(FlowIds { uid, community_id, tuple, lane: 0, order: number, first: START })
}

impl Bench {
    fn new(hashes: Hashes) -> Bench {
        let config = Config { hashes, ..Config::new("n") };
        Bench { files: Files::new(Arc::new(config)), out: Out::default(), now: START }
    }

    fn begin(&mut self, number: u64, about: About<'_>) -> FileRef {
        let about = About { source: "HTTP", ..about };
        self.files.begin(&mut self.out, self.now, &flow(number), "Fx", about, false)
    }

    fn data(&mut self, file: FileRef, offset: impl Into<Option<u64>>, data: &[u8]) -> Told {
        self.files.data(&mut self.out, self.now, file, offset.into(), data)
    }

    fn end(&mut self, file: FileRef) -> Told {
        self.files.end(&mut self.out, self.now, file, false)
    }

    fn rows(&mut self) -> RecordBatch {
        self.out.files.finish("n").0
    }
}

fn text(rows: &RecordBatch, column: &str, row: usize) -> Option<String> {
    let cells = read::text(rows, column).expect("a text column");
    (!cells.is_null(row)).then(|| cells.value(row).to_owned())
}

fn count(rows: &RecordBatch, column: &str) -> i64 {
    let cells = rows.column_by_name(column).expect("a column");
    let cells = cells.as_any().downcast_ref::<arrow_array::Int64Array>().expect("a count");
    cells.value(0)
}

fn timed_out(rows: &RecordBatch) -> bool {
    read::bool(rows, "timedout").expect("a truth column").value(0)
}

const ABC_MD5: &str = "900150983cd24fb0d6963f7d28e17f72";

#[test]
fn a_file_in_order() {
    let mut bench = Bench::new(Hashes::ALL);
    let file = bench.begin(1, About { filename: Some(b"a\xff"), ..About::default() });
    assert_eq!(bench.data(file, None, b"ab"), Told::default());
    bench.now += SECOND;
    bench.data(file, None, b"c");
    bench.now += SECOND;
    assert!(bench.end(file).is_over && !bench.files.is_open(file));
    assert!(bench.data(file, None, b"d").is_over);
    let rows = bench.rows();
    assert_eq!(rows.num_rows(), 1);
    assert_eq!(text(&rows, "md5", 0).as_deref(), Some(ABC_MD5));
    assert_eq!(text(&rows, "filename", 0).as_deref(), Some("a\\xff"));
    assert_eq!(text(&rows, "mime_type", 0), None);
    assert_eq!(text(&rows, "uid", 0).as_deref(), Some("C1"));
    let duration = rows.column_by_name("duration").expect("a column");
    let duration = duration.as_any().downcast_ref::<arrow_array::Float64Array>().expect("seconds");
    assert_eq!((count(&rows, "seen_bytes"), duration.value(0)), (3, 1.0));
    assert!(!timed_out(&rows));
}

#[test]
fn its_size_ends_it() {
    let mut bench = Bench::new(Hashes::ALL);
    let file = bench.begin(1, About { owner: 7, ..About::default() });
    bench.files.set_size(&mut bench.out, START, file, 6);
    let told = bench.data(file, None, b"GIF89a");
    assert_eq!(told, Told { mime: Some("image/gif"), owner: 7, is_over: true });
    let rows = bench.rows();
    assert_eq!(count(&rows, "total_bytes"), 6);
    assert_eq!(text(&rows, "mime_type", 0).as_deref(), Some("image/gif"));
}

#[test]
fn out_of_order_pieces_are_put_together() {
    let mut bench = Bench::new(Hashes::ALL);
    let file = bench.begin(1, About::default());
    bench.data(file, 2, b"c");
    bench.data(file, 1, b"bX");
    bench.data(file, 0, b"aY");
    bench.data(file, 0, b"old");
    bench.end(file);
    let rows = bench.rows();
    assert_eq!(text(&rows, "md5", 0).as_deref(), Some(ABC_MD5));
    assert_eq!((count(&rows, "seen_bytes"), count(&rows, "missing_bytes")), (3, 0));
}

#[test]
fn a_hole_takes_the_hashes_away() {
    for by_gap in [true, false] {
        let mut bench = Bench::new(Hashes::ALL);
        let file = bench.begin(1, About::default());
        bench.data(file, None, b"GIF89a");
        if by_gap {
            assert_eq!(bench.files.gap(START, file, 5).mime, Some("image/gif"));
        }
        bench.data(file, 11, b"cd");
        bench.end(file);
        let rows = bench.rows();
        assert_eq!(text(&rows, "md5", 0), None);
        assert_eq!((count(&rows, "seen_bytes"), count(&rows, "missing_bytes")), (8, 5));
    }
}

#[test]
fn no_byte_no_hash() {
    let mut bench = Bench::new(Hashes::ALL);
    let file = bench.begin(1, About::default());
    bench.data(file, None, b"");
    bench.end(file);
    assert_eq!(text(&bench.rows(), "sha256", 0), None);
}

#[test]
fn hashes_that_are_not_wanted_are_not_made() {
    let mut bench = Bench::new(Hashes::NONE);
    let file = bench.begin(1, About::default());
    bench.data(file, None, b"abc");
    bench.end(file);
    assert_eq!(text(&bench.rows(), "md5", 0), None);
}

#[test]
fn idle_files_time_out() {
    let mut bench = Bench::new(Hashes::ALL);
    let file = bench.begin(1, About::default());
    bench.now += IDLE - 1;
    bench.data(file, None, b"abc");
    bench.files.expire(&mut bench.out, START + IDLE + 5);
    assert!(bench.files.is_open(file), "it was active");
    // It is looked at again only so long after the last look.
    bench.files.expire(&mut bench.out, START + 2 * IDLE + 4);
    assert!(bench.files.is_open(file));
    bench.files.expire(&mut bench.out, START + 2 * IDLE + 5);
    assert!(!bench.files.is_open(file));
    let rows = bench.rows();
    assert!(timed_out(&rows));
    assert_eq!(text(&rows, "md5", 0).as_deref(), Some(ABC_MD5));
}

#[test]
fn the_type_of_a_file_that_timed_out_waits_for_its_analyzer() {
    let mut bench = Bench::new(Hashes::NONE);
    let file = bench.begin(1, About { owner: 7, ..About::default() });
    assert_eq!(bench.data(file, None, b"<html><body>short").mime, None);
    bench.files.expire(&mut bench.out, 10 * IDLE);
    let told = bench.end(file);
    assert_eq!((told.mime, told.owner, told.is_over), (Some("text/html"), 7, true));
    assert_eq!(bench.end(file).mime, None);
}

#[test]
fn flows_share_a_file_and_each_has_a_row() {
    let mut bench = Bench::new(Hashes::ALL);
    let about = About { source: "SMB", ..About::default() };
    let file = bench.files.begin(&mut bench.out, START, &flow(1), "Fs", about, true);
    assert_eq!(bench.files.find(&flow(2), "Fs"), Some(file));
    assert_eq!(bench.files.find(&flow(1 << 56), "Fs"), None, "another shard");
    assert!(bench.files.join(file, START, &flow(2), about));
    assert!(!bench.files.join(file, START, &flow(2), about));
    bench.end(file);
    assert_eq!(bench.files.find(&flow(1), "Fs"), None);
    let rows = bench.rows();
    let uids: Vec<_> = (0..2).map(|row| text(&rows, "uid", row)).collect();
    assert_eq!(uids, [Some("C1".to_owned()), Some("C2".to_owned())]);
}

#[test]
fn too_many_files_end_the_oldest() {
    let mut bench = Bench::new(Hashes::ALL);
    let first = bench.begin(1, About::default());
    for _ in 1..128 {
        bench.begin(1, About::default());
    }
    assert!(bench.files.is_open(first));
    bench.begin(1, About::default());
    assert!(!bench.files.is_open(first));
    for number in 2..3000 {
        bench.begin(number, About::default());
    }
    assert_eq!(bench.files.open(), 1024);
    assert_eq!(bench.files.evicted, 1 + 128 + 2998 - 1024);
    bench.files.finish(&mut bench.out, START);
    assert_eq!((bench.files.open(), bench.rows().num_rows()), (0, 129 + 2998));
}

#[test]
fn what_waits_is_bounded() {
    let mut bench = Bench::new(Hashes::ALL);
    let file = bench.begin(1, About::default());
    let piece = vec![0; 1024];
    for i in 0..2000u64 {
        bench.data(file, 10 + i * 1025, &piece);
    }
    let open = bench.files.get(file).expect("it is open");
    assert!(open.waiting() <= 524_288 + 2 * 1024, "{}", open.waiting());
    assert!(open.missing > 0 && open.overflow > 0);
    // Another file of the shard has the same 4 MB.
    for number in 2..30 {
        let file = bench.begin(number, About::default());
        for i in 0..500u64 {
            bench.data(file, 10 + i * 1025, &piece);
        }
    }
    let waiting: usize = bench.files.waiting();
    assert!(waiting <= 4 * 1024 * 1024, "{waiting}");
    bench.data(file, u64::MAX - 2, b"abcd");
    bench.files.finish(&mut bench.out, START);
    assert_eq!(bench.files.waiting(), 0);
}
