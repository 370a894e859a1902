//! DuckDB reads what weir writes, as people will: the columns by Zeek's names, the views of
//! `weir schema`, the folders of a rotated output.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::duckdb::{self, number, sql, try_sql};
use crate::harness::logs::{self, Logs};
use crate::harness::weir::{Done, weir_ok};
use crate::harness::{files, folder, text, trace};

/// Streams that the capture has rows of.
const STREAMS: [&str; 12] = [
    "conn",
    "dns",
    "files",
    "http",
    "known_certs",
    "known_hosts",
    "known_services",
    "notice",
    "ssh",
    "ssl",
    "weird",
    "x509",
];

/// The logs of a capture in all formats, as TSV says they are.
struct Written {
    dir: TempDir,
    logs: Logs,
    done: Done,
}

impl Written {
    fn new(name: &str, rotate: &str) -> Written {
        let (dir, input) = (folder(), trace(&format!("{name}.pcap")));
        let out = text(dir.path());
        let formats = ["--format", "tsv,parquet,json", "--rotate", rotate];
        let done = weir_ok(&[&["run", "--read", &input, "--out", &out], &formats[..]].concat());
        let logs = logs::read(dir.path());
        Written { dir, logs, done }
    }

    fn path(&self, name: &str) -> String {
        text(&self.dir.path().join(name))
    }

    /// The views, ready to be asked.
    fn views(&self) -> String {
        weir_ok(&["schema", "--format", "sql", "--dir", &text(self.dir.path())]).out
    }

    fn rows(&self, stream: &str) -> u64 {
        self.logs.get(stream).map_or(0, |log| log.rows.len() as u64)
    }
}

/// Cells of one column of the answer as text.
fn column(rows: &[Vec<Value>], place: usize) -> Vec<&str> {
    rows.iter().map(|row| row[place].as_str().expect("text")).collect()
}

#[test]
fn columns_have_zeeks_names_unquoted() {
    if !duckdb::is_here() {
        return;
    }
    let written = Written::new("mixed", "0");
    let conn = written.path("conn.parquet");
    let rows = sql(&format!("SELECT id.orig_h, id.resp_h, uid FROM '{conn}'"));
    let want = written.logs["conn"].select(["id.orig_h", "id.resp_h", "uid"]);
    for (place, _) in want[0].iter().enumerate() {
        assert_eq!(column(&rows, place), want.iter().map(|row| row[place]).collect::<Vec<_>>());
    }
    let bytes = number(&format!("SELECT sum(orig_bytes)::BIGINT FROM '{conn}'"));
    let cells = written.logs["conn"].column("orig_bytes");
    assert_eq!(bytes, cells.iter().filter_map(|cell| cell.parse::<u64>().ok()).sum::<u64>());
    let web = format!(
        "SELECT answers[2], TTLs[1] FROM '{}' WHERE query = 'web.example.test' LIMIT 1",
        written.path("dns.parquet")
    );
    assert_eq!(sql(&web), [[Value::from("10.77.0.10"), Value::from(300.0)]]);
}

#[test]
fn the_line_that_a_run_prints_works() {
    if !duckdb::is_here() {
        return;
    }
    let written = Written::new("mixed", "0");
    let (_, line) = written.done.err.split_once("duckdb -c \"").expect("a line to try");
    let (statement, _) = line.split_once('"').expect("its end");
    assert_eq!(sql(statement).len(), 10, "{statement}");
}

#[test]
fn every_column_has_the_type_that_the_schema_says() {
    if !duckdb::is_here() {
        return;
    }
    let written = Written::new("mixed", "0");
    let schema = weir_ok(&["schema", "--format", "json"]).out;
    let schema: Value = serde_json::from_str(&schema).expect("the schema in JSON");
    for stream in schema.as_array().expect("streams") {
        let name = stream["stream"].as_str().expect("a name");
        assert!(written.logs.contains_key(name) == STREAMS.contains(&name), "{name}");
        if !STREAMS.contains(&name) {
            continue;
        }
        let columns = stream["columns"].as_array().expect("columns");
        let names: Vec<&str> =
            columns.iter().map(|c| c["name"].as_str().expect("a name")).collect();
        let types: Vec<&str> =
            columns.iter().map(|c| c["duckdb"].as_str().expect("a type")).collect();
        let typed: Vec<String> = names.iter().map(|name| format!("typeof({name})")).collect();
        let file = written.path(&format!("{name}.parquet"));
        let rows = sql(&format!("SELECT {} FROM '{file}' LIMIT 1", typed.join(", ")));
        let got: Vec<&str> = rows[0].iter().map(|cell| cell.as_str().expect("a type")).collect();
        let both = |types: &[&str]| -> Vec<String> {
            names.iter().zip(types).map(|(name, kind)| format!("{name} {kind}")).collect()
        };
        assert_eq!(both(&got), both(&types), "{name}");
    }
    let conn = written.path("conn.parquet");
    let literal = "SELECT typeof(ts), typeof(id.orig_h), typeof(id.orig_p), typeof(duration), \
                   typeof(orig_bytes), typeof(local_orig), typeof(observers)";
    let rows = sql(&format!("{literal} FROM '{conn}' LIMIT 1"));
    let want = ["VARCHAR", "INTEGER", "DOUBLE", "BIGINT", "BOOLEAN", "VARCHAR[]"].map(Value::from);
    assert_eq!(rows[0][1..], want);
    assert!(rows[0][0].as_str().is_some_and(|kind| kind.starts_with("TIMESTAMP")), "{rows:?}");
}

#[test]
fn times_are_utc_microseconds() {
    if !duckdb::is_here() {
        return;
    }
    let written = Written::new("mixed", "0");
    let conn = written.path("conn.parquet");
    let rows = sql(&format!("SELECT printf('%.6f', epoch_us(ts) / 1e6), duration FROM '{conn}'"));
    assert_eq!(column(&rows, 0), written.logs["conn"].column("ts"));
    let durations: Vec<String> = rows
        .iter()
        .map(|row| row[1].as_f64().map_or("-".into(), |seconds| format!("{seconds:.6}")))
        .collect();
    assert_eq!(durations, written.logs["conn"].column("duration"));
}

#[test]
fn the_views_show_every_row_of_both_layouts() {
    if !duckdb::is_here() {
        return;
    }
    for rotate in ["0", "1h", "1s"] {
        let written = Written::new("mixed", rotate);
        let views = written.views();
        for stream in STREAMS {
            let rows = number(&format!("{views} SELECT count(*) FROM {stream}"));
            assert_eq!(rows, written.rows(stream), "{stream}, rotated by {rotate}");
        }
        let uids = sql(&format!("{views} SELECT id.orig_h, uid FROM conn ORDER BY uid"));
        let mut want = written.logs["conn"].column("uid");
        want.sort_unstable();
        assert_eq!(column(&uids, 1), want, "rotated by {rotate}");
    }
}

#[test]
fn the_views_of_a_folder_without_some_streams_work() {
    if !duckdb::is_here() {
        return;
    }
    let written = Written::new("http", "0");
    assert!(!written.logs.contains_key("dns"));
    let rows = try_sql(&format!("{} SELECT count(*) FROM conn", written.views()));
    assert_eq!(rows, Ok(vec![vec![Value::from(written.rows("conn"))]]));
}

#[test]
fn rotated_files_lie_in_hive_folders() {
    if !duckdb::is_here() {
        return;
    }
    let written = Written::new("mixed", "1h");
    let found = files(&written.dir.path().join("conn"), ".parquet");
    assert_eq!(found.len(), 1, "the capture is of one hour: {found:?}");
    let folders = text(found[0].parent().expect("its folder"));
    assert!(folders.ends_with("conn/date=2026-11-24/hour=02"), "{folders}");
    let glob = written.path("conn/**/*.parquet");
    let rows = sql(&format!(
        "SELECT date::VARCHAR, hour::BIGINT, count(*) FROM read_parquet('{glob}', \
         hive_partitioning = true) WHERE date = '2026-11-24' GROUP BY ALL"
    ));
    let count = Value::from(written.rows("conn"));
    assert_eq!(rows, [[Value::from("2026-11-24"), Value::from(2), count]]);
}

#[test]
fn a_second_is_one_file_and_its_rows_were_written_in_it() {
    if !duckdb::is_here() {
        return;
    }
    let written = Written::new("mixed", "1s");
    let glob = written.path("dns/**/*.parquet");
    let rows = sql(&format!(
        "SELECT filename, count(DISTINCT epoch_us(_write_ts) // 1000000) \
         FROM read_parquet('{glob}', filename = true) GROUP BY filename"
    ));
    assert!(rows.len() > 1);
    for row in rows {
        assert_eq!(row[1], 1, "{row:?}");
    }
}

#[test]
fn json_lines_are_read_too() {
    if !duckdb::is_here() {
        return;
    }
    let written = Written::new("mixed", "0");
    for stream in STREAMS {
        let path = written.path(&format!("{stream}.json"));
        assert!(Path::new(&path).exists(), "{path}");
        let read = format!("read_json('{path}', format = 'newline_delimited')");
        assert_eq!(
            number(&format!("SELECT count(*) FROM {read}")),
            written.rows(stream),
            "{stream}"
        );
    }
    let path = written.path("conn.json");
    let rows = sql(&format!("SELECT \"id.orig_h\", uid FROM read_json('{path}')"));
    assert_eq!(column(&rows, 0), written.logs["conn"].column("id.orig_h"));
    assert_eq!(column(&rows, 1), written.logs["conn"].column("uid"));
}
