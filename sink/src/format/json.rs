//! JSON lines: one object a row with flat dotted names, as Zeek's JSON, and all columns. `_path` comes
//! first, so that streams can be poured together and told apart.

use std::fs::File;
use std::io::Write as _;

use anyhow::Result;
use arrow_array::RecordBatch;
use model::stream::{Column, Def};

use super::cells::{Cells, elements};
use super::{About, Format, Layout, Writer, lines, number, seal, text};

/// Rows are gathered up to this many bytes before the file is written to.
const BUFFER_BYTES: usize = 256 * 1024;

/// JSON lines.
#[derive(Debug)]
pub struct Json;

impl Format for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn extension(&self) -> &'static str {
        "json"
    }

    fn layout(&self) -> Layout {
        Layout::Days
    }

    fn open(&self, file: File, about: About<'_>) -> Result<Box<dyn Writer>> {
        let buffer = Vec::with_capacity(BUFFER_BYTES + BUFFER_BYTES / 8);
        Ok(Box::new(Objects { file, line: Line::of(about.def), buffer, written: 0 }))
    }

    fn rows(&self, file: File) -> Result<u64> {
        lines(file, None)
    }
}

/// Appends rows of a stream as lines to `out`.
///
/// # Errors
/// The rows are not of the stream.
pub fn push_lines(out: &mut Vec<u8>, def: &'static Def, rows: &RecordBatch) -> Result<()> {
    let line = Line::of(def);
    let cells = super::cells_of(rows, &line.columns)?;
    for row in 0..rows.num_rows() {
        line.push(out, &cells, row);
    }
    Ok(())
}

/// What every object of a stream has: written once, copied often.
struct Line {
    columns: Vec<&'static Column>,
    /// `{"_path":"conn"`
    head: Vec<u8>,
    /// `,"id.orig_h":`
    keys: Vec<Vec<u8>>,
}

impl Line {
    fn of(def: &'static Def) -> Line {
        let mut head = b"{\"_path\":".to_vec();
        text::push_json(&mut head, def.name);
        let key = |column: &Column| {
            let mut key = b",".to_vec();
            text::push_json(&mut key, column.name);
            key.push(b':');
            key
        };
        let columns: Vec<_> = def.columns.iter().collect();
        let keys = columns.iter().map(|c| key(c)).collect();
        Line { columns, head, keys }
    }

    fn push(&self, out: &mut Vec<u8>, cells: &[Cells<'_>], row: usize) {
        out.extend_from_slice(&self.head);
        for (key, cells) in self.keys.iter().zip(cells) {
            if cells.is_unset(row) {
                continue;
            }
            out.extend_from_slice(key);
            push_value(out, cells, row);
        }
        out.extend_from_slice(b"}\n");
    }
}

struct Objects {
    file: File,
    line: Line,
    buffer: Vec<u8>,
    written: u64,
}

impl Writer for Objects {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let cells = super::cells_of(rows, &self.line.columns)?;
        for row in 0..rows.num_rows() {
            self.line.push(&mut self.buffer, &cells, row);
            if self.buffer.len() >= BUFFER_BYTES {
                self.spill()?;
            }
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn buffered(&self) -> usize {
        self.buffer.capacity()
    }

    fn spill(&mut self) -> Result<()> {
        self.file.write_all(&self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self: Box<Self>, _now_ms: i64, _positions: &str) -> Result<u64> {
        self.spill()?;
        seal(&self.file)
    }
}

fn push_value(out: &mut Vec<u8>, cells: &Cells<'_>, row: usize) {
    if cells.is_unset(row) {
        return out.extend_from_slice(b"null");
    }
    match cells {
        Cells::Text(a) => text::push_json(out, a.value(row)),
        Cells::Number(a) => number::push_i64(out, a.value(row)),
        Cells::Port(a) => number::push_i64(out, a.value(row).into()),
        Cells::Time(a) => number::push_micros(out, a.value(row)),
        Cells::Interval(a) | Cells::Double(a) => number::push_json(out, a.value(row)),
        Cells::Bool(a) => out.extend_from_slice(if a.value(row) { b"true" } else { b"false" }),
        Cells::List(list, of) => {
            out.push(b'[');
            for (nth, element) in elements(list, row).enumerate() {
                if nth > 0 {
                    out.push(b',');
                }
                push_value(out, of, element);
            }
            out.push(b']');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Columns;
    use crate::format::testing::{conn_rows, dns_rows, notice_rows, written};
    use serde_json::{Value, json};

    fn objects(text: &str) -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn unset_is_left_out_and_the_rest_is_typed() {
        let text = written(&Json, &dns_rows(), 0, Columns::Zeek);
        assert!(text.starts_with("{\"_path\":\"dns\",\"ts\":1700000000.000001,\"uid\":\"Ca\""));
        let rows = objects(&text);
        assert_eq!(rows.len(), 2);
        let row = &rows[0];
        assert_eq!(row["id.orig_p"], json!(5353));
        assert_eq!(row["query"], json!("a\tb"));
        assert_eq!(row["AA"], json!(true));
        assert_eq!(row["answers"], json!(["TXT 1 a,b", "-", ""]));
        assert_eq!(row["TTLs"], json!([60.0, 0.5]));
        assert_eq!(row["rtt"], json!(0.25));
        assert!(row.get("qclass").is_none());
        assert_eq!(rows[1]["answers"], json!([]));
        assert_eq!(rows[1]["query"], json!(""));
    }

    #[test]
    fn all_columns_are_there() {
        let rows = objects(&written(&Json, &conn_rows(3), 0, Columns::Zeek));
        assert_eq!(rows[2]["_write_ts"], json!(1_700_000_002.5));
        assert_eq!(rows[2]["sensor"], json!("node-1"));
        assert_eq!(rows[2]["observers"], json!(["n1", "n2"]));
        let notice = &objects(&written(&Json, &notice_rows(), 0, Columns::Zeek))[0];
        assert_eq!(notice["remote_location.longitude"], json!(-13.0));
        assert!(notice.get("ts").is_none());
    }
}
