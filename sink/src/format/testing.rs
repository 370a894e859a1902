//! Batches and files for the tests of this crate.

use std::fs::File;
use std::path::Path;

use arrow_array::RecordBatch;
use model::stream::{Def, Mark, conn, dns, notice};

use super::{About, Format};
use crate::config::Columns;

/// When the first conn row of [`conn_rows`] was written, microseconds.
pub const FIRST_US: i64 = 1_700_000_000_500_000;

/// So many conn rows, a second apart.
pub fn conn_rows(count: usize) -> RecordBatch {
    conn_rows_at((0..count as i64).map(|n| FIRST_US + n * 1_000_000))
}

/// A conn row at each time.
pub fn conn_rows_at(times: impl Iterator<Item = i64>) -> RecordBatch {
    let mut batch = conn::Batch::default();
    for (n, time) in times.enumerate() {
        batch.push(
            Mark::at(time, 0),
            conn::Row {
                ts: time - 1,
                uid: &format!("C{n}"),
                orig_h: "10.200.3.44".parse().unwrap(),
                orig_p: n as u16,
                resp_h: "192.168.200.1".parse().unwrap(),
                resp_p: 443,
                proto: "tcp",
                service: Some("ssl"),
                duration: Some(1_500_001),
                orig_bytes: Some(n as u64 * 10),
                resp_bytes: Some(123_456),
                conn_state: Some("SF"),
                history: Some("ShADadFf"),
                orig_pkts: Some(12),
                orig_ip_bytes: Some(1234),
                resp_pkts: Some(34),
                resp_ip_bytes: Some(56_789),
                ip_proto: Some(6),
                community_id: "1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
                observers: &["n1", "n2"],
                ..conn::Row::unset()
            },
        );
    }
    batch.finish("node-1").0
}

/// A full dns row and an empty one.
pub fn dns_rows() -> RecordBatch {
    let mut batch = dns::Batch::default();
    batch.push(
        Mark::at(1_700_000_000_250_001, 0),
        dns::Row {
            ts: 1_700_000_000_000_001,
            uid: "Ca",
            orig_h: "10.0.0.1".parse().unwrap(),
            orig_p: 5353,
            resp_h: "2001:db8::1".parse().unwrap(),
            resp_p: 53,
            proto: "udp",
            trans_id: Some(7),
            rtt: Some(250_000),
            query: Some("a\tb"),
            aa: true,
            answers: Some(&["TXT 1 a,b", "-", ""]),
            ttls: Some(&[60_000_000, 500_000]),
            ..dns::Row::unset()
        },
    );
    batch.push(
        Mark::at(1_700_000_001_000_000, 0),
        dns::Row {
            ts: 1_700_000_001_000_000,
            uid: "Cb",
            query: Some(""),
            answers: Some(&[]),
            ..dns::Row::unset()
        },
    );
    batch.finish("node-1").0
}

/// One notice without a time.
pub fn notice_rows() -> RecordBatch {
    let mut batch = notice::Batch::default();
    batch.push(
        Mark::at(5, 0),
        notice::Row {
            note: "Scan::Port_Scan",
            suppress_for: 3_600_000_000,
            remote_location_country_code: Some("DE"),
            remote_location_latitude: Some(52.5),
            remote_location_longitude: Some(-13.0),
            ..notice::Row::unset()
        },
    );
    batch.finish("node-1").0
}

/// A file of one batch.
pub fn write_to(
    path: &Path,
    format: &dyn Format,
    rows: &RecordBatch,
    now_ms: i64,
    columns: Columns,
) {
    let file = File::create(path).unwrap();
    let about = About { def: def_of(rows), now_ms, columns, writer: "n1" };
    let mut writer = format.open(file, about).unwrap();
    writer.write(rows).unwrap();
    let size = writer.finish(now_ms, "{\"3\":[1,2]}").unwrap();
    assert_eq!(size, std::fs::metadata(path).unwrap().len());
}

/// The text of such a file.
pub fn written(format: &dyn Format, rows: &RecordBatch, now_ms: i64, columns: Columns) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    write_to(&path, format, rows, now_ms, columns);
    std::fs::read_to_string(path).unwrap()
}

fn def_of(rows: &RecordBatch) -> &'static Def {
    let schema = rows.schema();
    model::stream::ALL.iter().copied().find(|def| def.schema() == schema).unwrap()
}
