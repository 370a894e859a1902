//! What people find: the rows of all published files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Rows by stream, in order of their text.
pub type Rows = BTreeMap<String, Vec<String>>;

/// Columns that say which manager wrote a notice: that is whoever had the lane.
const OF_THE_WRITER: [&str; 2] = ["sensor", "peer_descr"];

/// Reads all JSON logs below a folder.
///
/// # Errors
/// Something else lies there: a temporary file that nobody will ever finish.
pub fn read(dir: &Path) -> Result<Rows, String> {
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
            if stream == "notice" {
                OF_THE_WRITER.iter().for_each(|column| row[*column] = Value::Null);
            }
            of.push(row.to_string());
        }
    }
    rows.values_mut().for_each(|rows| rows.sort_unstable());
    Ok(rows)
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

/// Rows that are missing, and rows that are too many.
pub fn difference(want: &Rows, got: &Rows, shown: usize) -> Option<String> {
    let mut said = String::new();
    let none = Vec::new();
    let streams: std::collections::BTreeSet<&String> = want.keys().chain(got.keys()).collect();
    for stream in streams {
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
