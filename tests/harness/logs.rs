//! Logs in Zeek's TSV, read by their own headers and compared as sets of rows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::files;

/// Differing rows that a message shows, each way.
const SHOWN: usize = 5;

/// The rows of one stream.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// Names of the columns.
    pub fields: Vec<String>,
    /// Cells as they stand in the file, in the order of the file.
    pub rows: Vec<Vec<String>>,
}

/// Logs by stream.
pub type Logs = BTreeMap<String, Log>;

/// Reads every log below a folder; several files of a stream are one log.
pub fn read(dir: &Path) -> Logs {
    let mut logs = Logs::new();
    for path in files(dir, ".log") {
        let text = fs::read_to_string(&path).expect("a log in UTF-8");
        let (stream, log) = parse(&text);
        assert!(text.lines().last().is_some_and(|l| l.starts_with("#close")), "{}", path.display());
        let known = logs.entry(stream).or_default();
        assert!(known.rows.is_empty() || known.fields == log.fields, "{}", path.display());
        known.fields = log.fields;
        known.rows.extend(log.rows);
    }
    logs
}

/// Reads one log: its stream and its rows.
pub fn parse(text: &str) -> (String, Log) {
    let (mut stream, mut log) = (String::new(), Log::default());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("#path\t") {
            stream = name.to_owned();
        } else if let Some(names) = line.strip_prefix("#fields\t") {
            log.fields = names.split('\t').map(str::to_owned).collect();
        } else if !line.starts_with('#') {
            let row: Vec<String> = line.split('\t').map(str::to_owned).collect();
            assert_eq!(row.len(), log.fields.len(), "cells of {stream}: {line}");
            log.rows.push(row);
        }
    }
    (stream, log)
}

impl Log {
    /// Where a column stands.
    fn place(&self, column: &str) -> usize {
        let found = self.fields.iter().position(|field| field == column);
        found.unwrap_or_else(|| panic!("no column {column} among {:?}", self.fields))
    }

    /// All cells of a column.
    pub fn column(&self, name: &str) -> Vec<&str> {
        let place = self.place(name);
        self.rows.iter().map(|row| row[place].as_str()).collect()
    }

    /// These columns of every row.
    pub fn select<const N: usize>(&self, columns: [&str; N]) -> Vec<[&str; N]> {
        let places = columns.map(|column| self.place(column));
        self.rows.iter().map(|row| places.map(|place| row[place].as_str())).collect()
    }

    /// How often each combination of these columns is there.
    pub fn count<const N: usize>(&self, columns: [&str; N]) -> BTreeMap<[&str; N], usize> {
        let mut counts = BTreeMap::new();
        for cells in self.select(columns) {
            *counts.entry(cells).or_default() += 1;
        }
        counts
    }

    /// The rows where a column has this value.
    pub fn only(&self, column: &str, value: &str) -> Log {
        let place = self.place(column);
        let rows = self.rows.iter().filter(|row| row[place] == value).cloned().collect();
        Log { fields: self.fields.clone(), rows }
    }

    /// The rows but those where a column has such a value.
    pub fn without(&self, column: &str, is_such: impl Fn(&str) -> bool) -> Log {
        let place = self.place(column);
        let rows = self.rows.iter().filter(|row| !is_such(&row[place])).cloned().collect();
        Log { fields: self.fields.clone(), rows }
    }

    /// Rows without some columns, each with how often it is there.
    pub fn counted(&self, ignored: &[&str]) -> BTreeMap<String, i64> {
        let mut counts = BTreeMap::new();
        for row in &self.rows {
            let cells = self.fields.iter().zip(row).filter(|(f, _)| !ignored.contains(&f.as_str()));
            let line: Vec<String> = cells.map(|(field, cell)| format!("{field}={cell}")).collect();
            *counts.entry(line.join("\t")).or_default() += 1;
        }
        counts
    }
}

/// The two have to have the same streams with the same rows, in whatever order.
pub fn assert_same(what: &str, want: &Logs, got: &Logs, ignored: &[&str]) {
    let mut wrong = String::new();
    for stream in want.keys().chain(got.keys().filter(|stream| !want.contains_key(*stream))) {
        let none = Log::default();
        let (want, got) = (want.get(stream).unwrap_or(&none), got.get(stream).unwrap_or(&none));
        let mut more = want.counted(ignored);
        for (row, count) in got.counted(ignored) {
            *more.entry(row).or_default() -= count;
        }
        more.retain(|_, count| *count != 0);
        if !more.is_empty() {
            let _ = write!(wrong, "\n{stream}: {} rows, not {}", got.rows.len(), want.rows.len());
            wrong.push_str(&shown(&more));
        }
    }
    assert!(wrong.is_empty(), "{what}: rows differ{wrong}");
}

/// What is missing and what is too much; of a missing row whose like is there, only the difference.
fn shown(more: &BTreeMap<String, i64>) -> String {
    let (missing, surplus): (Vec<_>, Vec<_>) = more.iter().partition(|(_, count)| **count > 0);
    let mut text = format!("; {} rows missing, {} too much", total(&missing), total(&surplus));
    for (sign, rows, others) in [('-', &missing, &surplus), ('+', &surplus, &missing)] {
        for (row, count) in rows.iter().take(SHOWN) {
            let like = others.iter().map(|(other, _)| other.as_str()).min_by_key(|other| {
                row.split('\t').zip(other.split('\t')).filter(|(a, b)| a != b).count()
            });
            let _ = write!(text, "\n  {sign} {} times: {row}", count.abs());
            let differing: Vec<&str> = row
                .split('\t')
                .zip(like.unwrap_or_default().split('\t'))
                .filter(|(a, b)| a != b)
                .map(|(a, _)| a)
                .collect();
            let _ = write!(text, "\n    not in its nearest: {}", differing.join(" "));
        }
    }
    text
}

fn total(rows: &[(&String, &i64)]) -> i64 {
    rows.iter().map(|(_, count)| count.abs()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(rows: &[[&str; 3]]) -> Logs {
        let text: String = rows.iter().map(|row| row.join("\t") + "\n").collect();
        Logs::from([parse(&format!("#path\tconn\n#fields\tuid\tstate\tsensor\n{text}#close\t-\n"))])
    }

    const TWO: &[[&str; 3]] = &[["C1", "SF", "w0"], ["C2", "S0", "w0"]];

    #[test]
    fn order_and_ignored_columns_make_no_difference() {
        let other = logs(&[["C2", "S0", "w1"], ["C1", "SF", "w2"]]);
        assert_same("both", &logs(TWO), &other, &["sensor"]);
    }

    #[test]
    #[should_panic(expected = "conn: 1 rows, not 2; 1 rows missing, 0 too much")]
    fn a_lost_row_is_found() {
        assert_same("both", &logs(TWO), &logs(&TWO[..1]), &[]);
    }

    #[test]
    #[should_panic(expected = "conn: 4 rows, not 2; 0 rows missing, 2 too much")]
    fn doubled_rows_are_found() {
        assert_same("both", &logs(TWO), &logs(&[TWO, TWO].concat()), &[]);
    }

    #[test]
    #[should_panic(expected = "not in its nearest: state=REJ")]
    fn another_cell_is_found_and_shown() {
        assert_same("both", &logs(TWO), &logs(&[TWO[0], ["C2", "REJ", "w0"]]), &[]);
    }

    #[test]
    #[should_panic(expected = "conn: 0 rows, not 2")]
    fn a_stream_that_is_not_there_is_found() {
        assert_same("both", &logs(TWO), &Logs::new(), &[]);
    }
}
