//! Zeek's TSV, as its ASCII writer writes it: header lines, escaped cells, a closing line.
//!
//! Facts: `src/logging/writers/ascii/Ascii.cc` and `src/threading/formatters/Ascii.cc` of Zeek.

use std::fs::File;
use std::io::Write as _;

use anyhow::Result;
use arrow_array::RecordBatch;
use model::stream::{Column, Def, Origin};

use super::cells::{Cells, elements};
use super::{About, Format, Layout, Writer, lines, number, seal, text};
use crate::config::Columns;
use crate::time::Civil;

/// Rows are gathered up to this many bytes before the file is written to.
const BUFFER_BYTES: usize = 256 * 1024;

/// Zeek's TSV.
#[derive(Debug)]
pub struct Tsv;

impl Format for Tsv {
    fn name(&self) -> &'static str {
        "tsv"
    }

    fn extension(&self) -> &'static str {
        "log"
    }

    fn layout(&self) -> Layout {
        Layout::Days
    }

    fn open(&self, file: File, about: About<'_>) -> Result<Box<dyn Writer>> {
        let columns = columns(about.def, about.columns);
        let mut buffer = Vec::with_capacity(BUFFER_BYTES + BUFFER_BYTES / 8);
        push_header(&mut buffer, about, &columns);
        Ok(Box::new(Lines { file, columns, buffer, written: 0 }))
    }

    fn rows(&self, file: File) -> Result<u64> {
        lines(file, Some(b'#'))
    }
}

fn columns(def: &'static Def, wanted: Columns) -> Vec<&'static Column> {
    let is_wanted = |c: &&Column| wanted == Columns::Weir || c.origin != Origin::Weir;
    def.columns.iter().filter(is_wanted).collect()
}

fn push_header(out: &mut Vec<u8>, about: About<'_>, columns: &[&Column]) {
    let names: Vec<_> = columns.iter().map(|c| c.name).collect();
    let types: Vec<_> = columns.iter().map(|c| c.kind.zeek()).collect();
    let header = format!(
        "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n\
         #path\t{}\n#open\t{}\n#fields\t{}\n#types\t{}\n",
        about.def.name,
        Civil::from_seconds(about.now_ms.div_euclid(1000)),
        names.join("\t"),
        types.join("\t"),
    );
    out.extend_from_slice(header.as_bytes());
}

struct Lines {
    file: File,
    columns: Vec<&'static Column>,
    buffer: Vec<u8>,
    written: u64,
}

impl Writer for Lines {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let cells = super::cells_of(rows, &self.columns)?;
        for row in 0..rows.num_rows() {
            push_row(&mut self.buffer, &cells, row);
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

    fn finish(mut self: Box<Self>, now_ms: i64, _positions: &str) -> Result<u64> {
        let close = Civil::from_seconds(now_ms.div_euclid(1000));
        writeln!(self.buffer, "#close\t{close}")?;
        self.spill()?;
        seal(&self.file)
    }
}

fn push_row(out: &mut Vec<u8>, cells: &[Cells<'_>], row: usize) {
    let start = out.len();
    for (column, cells) in cells.iter().enumerate() {
        if column > 0 {
            out.push(b'\t');
        }
        push_cell(out, cells, row, false);
    }
    // A row must not look like a header line.
    if out.get(start) == Some(&b'#') {
        out.splice(start..=start, *b"\\x23");
    }
    out.push(b'\n');
}

fn push_cell(out: &mut Vec<u8>, cells: &Cells<'_>, row: usize, in_list: bool) {
    if cells.is_unset(row) {
        return out.extend_from_slice(text::UNSET);
    }
    match cells {
        Cells::Text(a) => text::push_tsv(out, a.value(row), in_list),
        Cells::Number(a) => number::push_i64(out, a.value(row)),
        Cells::Port(a) => number::push_i64(out, a.value(row).into()),
        Cells::Time(a) => number::push_micros(out, a.value(row)),
        Cells::Interval(a) => number::push_seconds(out, a.value(row)),
        Cells::Double(a) => number::push_double(out, a.value(row)),
        Cells::Bool(a) => out.push(if a.value(row) { b'T' } else { b'F' }),
        Cells::List(list, of) => {
            let range = elements(list, row);
            if range.is_empty() {
                return out.extend_from_slice(text::EMPTY);
            }
            for (nth, element) in range.enumerate() {
                if nth > 0 {
                    out.push(b',');
                }
                push_cell(out, of, element, true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::testing::{conn_rows, dns_rows, notice_rows, written};

    /// Opened and closed at the same moment of 2026-11-24.
    const NOW_MS: i64 = 1_795_488_529_999;

    #[test]
    fn a_file_is_zeeks_byte_for_byte() {
        let text = written(&Tsv, &dns_rows(), NOW_MS, Columns::Zeek);
        assert_eq!(
            text,
            "#separator \\x09\n\
             #set_separator\t,\n\
             #empty_field\t(empty)\n\
             #unset_field\t-\n\
             #path\tdns\n\
             #open\t2026-11-24-02-48-49\n\
             #fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\ttrans_id\trtt\tquery\t\
             qclass\tqclass_name\tqtype\tqtype_name\trcode\trcode_name\tAA\tTC\tRD\tRA\tZ\tanswers\tTTLs\t\
             rejected\topcode\topcode_name\n\
             #types\ttime\tstring\taddr\tport\taddr\tport\tenum\tcount\tinterval\tstring\tcount\tstring\t\
             count\tstring\tcount\tstring\tbool\tbool\tbool\tbool\tcount\tvector[string]\t\
             vector[interval]\tbool\tcount\tstring\n\
             1700000000.000001\tCa\t10.0.0.1\t5353\t2001:db8::1\t53\tudp\t7\t0.250000\ta\\x09b\t-\t-\t-\t-\t\
             -\t-\tT\tF\tF\tF\t0\tTXT 1 a\\x2cb,\\x2d,(empty)\t60.000000,0.500000\tF\t-\t-\n\
             1700000001.000000\tCb\t0.0.0.0\t0\t0.0.0.0\t0\t(empty)\t-\t-\t(empty)\t-\t-\t-\t-\t\
             -\t-\tF\tF\tF\tF\t0\t(empty)\t-\tF\t-\t-\n\
             #close\t2026-11-24-02-48-49\n"
        );
    }

    #[test]
    fn weirs_own_columns_come_when_asked() {
        let plain = written(&Tsv, &conn_rows(1), 0, Columns::Zeek);
        let all = written(&Tsv, &conn_rows(1), 0, Columns::Weir);
        assert!(plain.contains("ip_proto\tcommunity_id\n"));
        assert!(all.contains("\tobservers\tfinal\tobserver_uids\n"));
        assert!(all.contains("\tnode-1\tn1,n2\t-\t-\n"), "{all}");
    }

    #[test]
    fn a_file_is_read_back_by_its_own_header() {
        let text = written(&Tsv, &conn_rows(500), 0, Columns::Zeek);
        let mut fields = Vec::new();
        let (mut rows, mut bytes) = (0i64, 0i64);
        for line in text.lines() {
            if let Some(names) = line.strip_prefix("#fields\t") {
                fields = names.split('\t').collect();
            }
            if line.starts_with('#') {
                continue;
            }
            let cells: Vec<_> = line.split('\t').collect();
            assert_eq!(cells.len(), fields.len());
            let cell = |name: &str| cells[fields.iter().position(|f| *f == name).unwrap()];
            assert_eq!(cell("uid"), format!("C{rows}"));
            assert!(cell("ts").contains('.'), "RITA wants a decimal point");
            bytes += cell("orig_bytes").parse::<i64>().unwrap();
            rows += 1;
        }
        assert_eq!((rows, bytes), (500, (0..500).map(|n| n * 10).sum()));
    }

    #[test]
    fn doubles_and_unset_times() {
        let text = written(&Tsv, &notice_rows(), 0, Columns::Zeek);
        let row = text.lines().find(|line| !line.starts_with('#')).unwrap();
        assert!(row.starts_with("-\t-\t"), "{row}");
        assert!(row.ends_with("\t3600.000000\tDE\t-\t-\t52.5\t-13.0"), "{row}");
    }

    #[test]
    fn a_row_never_looks_like_a_header() {
        let names = arrow_array::StringArray::from(vec!["#close", "a#"]);
        let cells = [Cells::Text(&names)];
        let mut out = Vec::new();
        push_row(&mut out, &cells, 0);
        push_row(&mut out, &cells, 1);
        assert_eq!(out, b"\\x23close\na#\n");
    }

    /// `cargo test --release -p weir-sink -- --ignored --nocapture speed`
    #[test]
    #[ignore = "a measurement"]
    fn speed() {
        let (rows, dir) = (conn_rows(10_000), tempfile::tempdir().unwrap());
        let file = File::create(dir.path().join("conn.log")).unwrap();
        let def = &model::stream::conn::DEF;
        let about = About { def, now_ms: 0, columns: Columns::Zeek, writer: "n" };
        let mut writer = Tsv.open(file, about).unwrap();
        let start = std::time::Instant::now();
        for _ in 0..200 {
            writer.write(&rows).unwrap();
        }
        let seconds = start.elapsed().as_secs_f64();
        println!("{:.2} M conn rows/s, {} bytes", 2.0 / seconds, writer.bytes());
    }
}
