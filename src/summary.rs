//! What a person wants to see after a run.

use std::path::Path;
use std::time::Duration;

use capture::live::Left;
use capture::role::Summary;
use sink::FileSum;

/// Prints packets, flows, rows, files and rate to standard error.
pub fn print(capture: &Summary, sinks: &[sink::Summary], took: Duration) {
    let c = &capture.counters;
    let seconds = took.as_secs_f64().max(1e-9);
    eprintln!(
        "{} packets, {:.1} MB, {} flows in {seconds:.2} s ({:.0} packets/s)",
        c.packets,
        c.bytes as f64 / 1e6,
        c.flows,
        c.packets as f64 / seconds,
    );
    for (count, what) in [
        (c.not_ip, "packets are not IP"),
        (c.undecodable, "packets have broken headers"),
        (c.bad_checksums, "packets have a bad IP checksum (-C takes them as good)"),
        (c.evicted, "flows were ended early to make room (capture.flows_max)"),
        (c.files_evicted, "files were ended early, as too many were open"),
        (c.streams_given_up, "streams were given up to save memory (capture.reassembly_max)"),
        (c.halves_unjudged, "flows seen one way were not judged as halves to save memory"),
        (capture.dropped, "packets were dropped by the kernel"),
        (
            capture.rows_dropped,
            "rows were dropped, as the bus did not take them and there was no more room",
        ),
    ] {
        if count > 0 {
            eprintln!("  {count} {what}");
        }
    }
    if capture.unknown_ms > 0 {
        let seconds = capture.unknown_ms as f64 / 1000.0;
        eprintln!(
            "  {seconds:.1} s before the start of which it is not known what an earlier process lost"
        );
    }
    let Some(first) = sinks.first() else { return };
    let here = std::env::current_dir().unwrap_or_default();
    let rows: Vec<String> =
        first.rows.iter().map(|(stream, rows)| format!("{stream} {rows}")).collect();
    eprintln!("rows: {}", if rows.is_empty() { "none".into() } else { rows.join(", ") });
    for file in sinks.iter().flat_map(|sink| &sink.files) {
        let FileSum { path, rows, bytes, .. } = file;
        eprintln!("  {} ({rows} rows, {bytes} bytes)", from_here(path, &here).display());
    }
    let parquet = sinks.iter().flat_map(|sink| &sink.files).find(|file| {
        file.path.extension().is_some_and(|extension| extension == "parquet")
            && file.path.to_string_lossy().contains("conn")
    });
    if let Some(file) = parquet {
        eprintln!(
            "query it: duckdb -c \"SELECT id.orig_h, id.resp_h, service, orig_bytes, resp_bytes"
        );
        let path = from_here(&file.path, &here).display();
        eprintln!("            FROM '{path}' ORDER BY resp_bytes DESC LIMIT 10\"");
    }
}

/// Says what became of notices that are in no log.
pub fn notices(counters: &manager::Counters) {
    for (count, what) in [
        (counters.suppressed, "notices were held back, as the same was logged (notice_tally)"),
        (counters.ignored, "notices were ignored, as the policy says"),
    ] {
        if count > 0 {
            eprintln!("  {count} {what}");
        }
    }
}

/// A path as short as it can be typed.
fn from_here<'a>(path: &'a Path, here: &Path) -> &'a Path {
    path.strip_prefix(here).unwrap_or(path)
}

/// Says what a capture left behind that the bus did not take.
pub fn left(left: &Left) {
    if let (1.., Some(dir)) = (left.spooled, &left.dir) {
        let rows = left.spooled;
        eprintln!("weir: {rows} rows wait in {}; the next start sends them", dir.display());
    }
    if left.lost > 0 {
        eprintln!("weir: {} rows are lost: the bus did not take them, nor did a spool", left.lost);
    }
}
