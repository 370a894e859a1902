//! What a cluster published is what one process makes of the same packets.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::logs::{self, Logs};
use super::weir::{Running, command};
use super::{duckdb, files, text};

/// Columns that say which nodes saw a row; all others must be the same.
pub const NODES: &[&str] =
    &["sensor", "observers", "peer", "peer_descr", "n", "workers", "shares", "imbalance"];

/// Columns that may differ. Zeek notes a service when its clock, the latest packet, has passed a timer: as for
/// `_write_ts`, that depends on what else a worker sees.
fn differing(stream: &str) -> Vec<&'static str> {
    let mut columns = NODES.to_vec();
    columns.extend(Some("ts").filter(|_| stream == "known_services"));
    columns
}

/// What one process makes of the inputs, in TSV and Parquet, summed up as a cluster does.
pub fn alone(inputs: &[String], out: &Path) -> Logs {
    let dir = text(out);
    let mut args = vec!["run", "--out", &dir, "--format", "tsv,parquet", "--read"];
    args.extend(inputs.iter().map(String::as_str));
    let mut run = command(&args);
    run.env("WEIR_CLUSTER_SUMMARY_INTERVAL", "15m");
    Running::start(run).wait().ok();
    logs::read(out)
}

/// No temporary file is left.
pub fn assert_only_logs(dir: &Path) {
    let is_log = |path: &PathBuf| path.extension().is_some_and(|e| e == "log" || e == "parquet");
    assert!(files(dir, "").iter().all(is_log), "something is left over: {:?}", files(dir, ""));
}

/// Both folders hold the same rows, in TSV and, where DuckDB is at hand, in Parquet.
pub fn assert_agree(want: &Path, got: &Path) {
    let (tsv_want, tsv_got) = (logs::read(want), logs::read(got));
    assert!(tsv_want.keys().eq(tsv_got.keys()), "{:?}", tsv_got.keys());
    for (stream, want) in &tsv_want {
        let of = |log: &logs::Log| Logs::from([(stream.clone(), log.clone())]);
        let (want, got) = (of(want), of(&tsv_got[stream]));
        logs::assert_same("cluster and one process", &want, &got, &differing(stream));
    }
    assert_only_logs(got);
    if !duckdb::is_here() {
        return;
    }
    for (stream, log) in &tsv_want {
        let rows = |dir: &Path| {
            let differing = differing(stream);
            let names =
                differing.iter().filter(|name| log.fields.iter().any(|field| field == *name));
            let more: String = names.map(|name| format!(", {name}")).collect();
            let glob = format!("{}/**/{stream}[.-]*parquet", dir.display());
            // When a row was completed depends on what else its worker saw.
            format!(
                "SELECT * EXCLUDE (_write_ts, sensor {more} {}) \
                 FROM read_parquet('{glob}', hive_partitioning = false)",
                if ["conn", "notice"].contains(&stream.as_str()) { ", observers" } else { "" }
            )
        };
        let (want, got) = (rows(want), rows(got));
        let counts = duckdb::sql(&format!(
            "SELECT (SELECT count(*) FROM ({want})), (SELECT count(*) FROM ({want} EXCEPT ALL {got})), \
             (SELECT count(*) FROM ({got} EXCEPT ALL {want}))"
        ));
        assert_eq!(counts, [[log.rows.len(), 0, 0].map(Value::from)], "{stream} in Parquet");
    }
}
