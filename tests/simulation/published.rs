//! What people find: the rows of all published files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use bus::sim::Sim;
use bus::{Payload, topic};
use detect::summary;
use manager::decide::COUNT_RULE;
use model::read;
use serde_json::Value;

/// Rows by stream, in order of their text.
pub type Rows = BTreeMap<String, Vec<String>>;

/// Columns that say which manager wrote a notice: that is whoever had the lane.
const OF_THE_WRITER: [&str; 2] = ["sensor", "peer_descr"];

/// Reads all JSON logs below a folder.
///
/// # Errors
/// Something else lies there: a temporary file that nobody will ever finish.
pub fn rows(dir: &Path) -> Result<Rows, String> {
    let mut rows = Rows::new();
    for path in files(dir) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_log = path.extension().is_some_and(|extension| extension == "json");
        if !is_log
            || path.components().any(|part| part.as_os_str().to_string_lossy().starts_with(".tmp-"))
        {
            return Err(format!("left over: {}", path.display()));
        }
        let stream = name.split(['.', '-']).next().unwrap_or_default().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        if text.is_empty() {
            return Err(format!("empty: {}", path.display()));
        }
        let of = rows.entry(stream.clone()).or_default();
        for line in text.lines() {
            let mut row: Value = serde_json::from_str(line).map_err(|e| format!("{name}: {e}"))?;
            if stream.starts_with("notice") || stream == "cluster_summary" {
                OF_THE_WRITER.iter().for_each(|column| row[*column] = Value::Null);
            }
            of.push(row.to_string());
        }
    }
    rows.insert("assets".into(), assets(&rows));
    rows.insert("tallied".into(), tallied(&rows));
    rows.insert("summed".into(), summed(&rows, |row| row["ts"].to_string()));
    rows.insert("summed in all".into(), summed(&rows, |_| "all".to_owned()));
    rows.values_mut().for_each(|rows| rows.sort_unstable());
    let mut found = rows["assets"].clone();
    found.dedup();
    rows.insert("found".into(), found);
    Ok(rows)
}

/// How many notices were held back in all, by the one that was logged.
fn tallied(rows: &Rows) -> Vec<String> {
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for row in rows.get("notice_tally").into_iter().flatten() {
        let row: Value = serde_json::from_str(row).unwrap();
        let of = format!("{} {} {}", row["ts"], row["note"], row["identifier"]);
        *sums.entry(of).or_default() += row["suppressed"].as_i64().unwrap();
    }
    sums.into_iter().map(|(of, count)| format!("{of} {count}")).collect()
}

/// What intervals come to in all their rows: what is late has another row, and is counted once.
fn summed(rows: &Rows, by: fn(&Value) -> String) -> Vec<String> {
    const SUMS: [&str; 5] = ["conns", "tcp_conns", "pkts", "ip_bytes", "missed_bytes"];
    let mut sums: BTreeMap<String, [i64; SUMS.len()]> = BTreeMap::new();
    for row in rows.get("cluster_summary").into_iter().flatten() {
        let row: Value = serde_json::from_str(row).unwrap();
        let of = sums.entry(by(&row)).or_default();
        of.iter_mut().zip(SUMS).for_each(|(sum, name)| *sum += row[name].as_i64().unwrap());
    }
    sums.into_iter().map(|(of, sums)| format!("{of} {sums:?}")).collect()
}

/// Which hosts and services were found, whoever saw them first: each is to be there once.
fn assets(rows: &Rows) -> Vec<String> {
    let mut found = Vec::new();
    for row in ["known_hosts", "known_services"].iter().flat_map(|of| rows.get(*of)).flatten() {
        let row: Value = serde_json::from_str(row).unwrap();
        let services = row["service"].as_array().cloned().unwrap_or_else(|| vec![Value::Null]);
        let each =
            services.iter().map(|service| format!("{} {} {service}", row["host"], row["port_num"]));
        found.extend(each);
    }
    found
}

/// What went between the roles: merged notices, and observations by rule, entity and pane. A notice or a
/// statistic that comes twice need not change what is published.
pub fn inside(sim: &Sim) -> Rows {
    let mut rows = Rows::new();
    for record in sim.records(&topic::NOTICE) {
        let Payload::Rows(def, batch) = &record.payload else { continue };
        for row in (0..batch.num_rows()).filter(|_| def.name == "notice") {
            let text = |name| read::text(batch, name).unwrap().value(row).to_owned();
            let time = |name| read::time(batch, name).unwrap().value(row);
            let n = read::count(batch, "n").unwrap().value(row);
            let observers = read::texts(read::list(batch, "observers").unwrap(), row);
            let what = format!("{} {} {}", text("note"), text("identifier"), text("sensor"));
            let times = format!("{}..{}", time("ts"), time("last_ts"));
            rows.entry("merged".into())
                .or_default()
                .push(format!("{what} {times} n={n} {observers:?}"));
        }
    }
    // What lanes of managers count for rules of the policy follows from the notices.
    let [mut seen, mut counted, mut intervals] = [const { BTreeMap::<String, i64>::new() }; 3];
    for record in sim.records(&topic::PARTIAL) {
        let Payload::Rows(def, batch) = &record.payload else { continue };
        for row in (0..batch.num_rows()).filter(|_| def.name == "partial") {
            let text = |name| read::text(batch, name).unwrap().value(row);
            let start = read::time(batch, "ts").unwrap().value(row);
            let timeline = record.stamp.as_ref().map(|stamp| stamp.timeline);
            let pane = format!("{timeline:?} {} {} {start}", text("rule"), text("entity"));
            let to = match text("rule") {
                COUNT_RULE => &mut counted,
                summary::RULE => &mut intervals,
                _ => &mut seen,
            };
            *to.entry(pane).or_default() += read::count(batch, "observations").unwrap().value(row);
        }
    }
    rows.values_mut().for_each(|rows| rows.sort_unstable());
    for (name, sums) in [("observed", seen), ("counted", counted), ("intervals", intervals)] {
        rows.insert(name.into(), sums.iter().map(|(pane, n)| format!("{pane}: {n}")).collect());
    }
    rows
}

/// Files below a folder.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut todo) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { todo.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Rows that are missing, and rows that are too many, of the streams asked for.
pub fn difference(
    want: &Rows,
    got: &Rows,
    which: &dyn Fn(&str) -> bool,
    shown: usize,
) -> Option<String> {
    let mut said = String::new();
    let none = Vec::new();
    let streams: std::collections::BTreeSet<&String> = want.keys().chain(got.keys()).collect();
    for stream in streams.into_iter().filter(|stream| which(stream)) {
        let (want, got) = (want.get(stream).unwrap_or(&none), got.get(stream).unwrap_or(&none));
        if want == got {
            continue;
        }
        writeln!(said, "{stream}: {} rows for {}", got.len(), want.len()).unwrap();
        for (name, from, other) in [("missing", want, got), ("too many", got, want)] {
            let mut counts: BTreeMap<&String, i64> = BTreeMap::new();
            from.iter().for_each(|row| *counts.entry(row).or_default() += 1);
            other.iter().for_each(|row| *counts.entry(row).or_default() -= 1);
            let more = counts.into_iter().filter(|(_, count)| *count > 0);
            for (row, count) in more.take(shown) {
                writeln!(said, "  {name}: {count} times {row}").unwrap();
            }
        }
    }
    (!said.is_empty()).then_some(said)
}

#[test]
fn a_row_that_is_lost_or_doubled_is_named() {
    let rows = |rows: &[&str]| {
        Rows::from([("conn".to_owned(), rows.iter().map(|row| (*row).to_owned()).collect())])
    };
    let want = rows(&["a", "b", "c"]);
    let said = |got: &Rows| difference(&want, got, &|_| true, 5);
    assert_eq!(said(&want), None);
    let lost = said(&rows(&["a", "c"])).unwrap();
    assert_eq!(lost, "conn: 2 rows for 3\n  missing: 1 times b\n");
    let doubled = said(&rows(&["a", "b", "b", "c"])).unwrap();
    assert_eq!(doubled, "conn: 4 rows for 3\n  too many: 1 times b\n");
    let both = said(&rows(&["a", "c", "c"])).unwrap();
    assert!(both.contains("missing: 1 times b") && both.contains("too many: 1 times c"), "{both}");
    assert!(said(&Rows::new()).unwrap().contains("conn: 0 rows for 3"), "a whole stream");
    assert_eq!(difference(&want, &Rows::new(), &|stream| stream != "conn", 5), None);
}
