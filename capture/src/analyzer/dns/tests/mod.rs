//! Bytes in, rows out: a flow under test, its rows, and messages for it.

mod hostile;
mod rows;

use arrow_array::{Array, RecordBatch};
use model::read;
use model::types::Kind as Column;

use super::*;
use crate::analyzer::Signal;
use crate::analyzer::testing::{self, START};

/// A flow under test.
struct Bench(testing::Bench);

impl std::ops::Deref for Bench {
    type Target = testing::Bench;
    fn deref(&self) -> &testing::Bench {
        &self.0
    }
}

impl std::ops::DerefMut for Bench {
    fn deref_mut(&mut self) -> &mut testing::Bench {
        &mut self.0
    }
}

impl Bench {
    fn new(transport: Transport) -> Bench {
        Bench::between(transport, ("10.0.0.1", 40000), ("10.0.0.2", 53))
    }

    fn between(transport: Transport, orig: (&str, u16), resp: (&str, u16)) -> Bench {
        Bench(testing::Bench::between(&KIND, transport, orig, resp))
    }

    /// Lets a millisecond pass and feeds.
    fn feed(&mut self, dir: Dir, data: &[u8]) {
        self.now += 1000;
        self.0.feed(dir, data);
    }

    fn query(&mut self, message: &[u8]) {
        self.feed(Dir::Orig, message);
    }

    fn reply(&mut self, message: &[u8]) {
        self.feed(Dir::Resp, message);
    }

    /// The rows written so far.
    fn rows(&mut self) -> Rows {
        Rows(self.0.out.dns.finish("zeek").0)
    }

    /// The rows, those included that the end of the flow brings.
    fn finish(mut self) -> Rows {
        self.0.finish();
        self.rows()
    }
}

/// Rows of the log, by their names.
struct Rows(RecordBatch);

impl Rows {
    fn len(&self) -> usize {
        self.0.num_rows()
    }

    /// A cell as text: `-` where it is unset.
    fn cell(&self, row: usize, name: &str) -> String {
        let column = model::stream::dns::DEF.columns.iter().find(|column| column.name == name);
        let kind = column.expect("a column").kind;
        let array = self.0.column_by_name(name).expect("a column");
        if array.is_null(row) {
            return "-".into();
        }
        match kind {
            Column::Bool => read::bool(&self.0, name).expect("bool").value(row).to_string(),
            Column::Count => read::count(&self.0, name).expect("count").value(row).to_string(),
            Column::Port => read::port(&self.0, name).expect("port").value(row).to_string(),
            Column::Time => read::time(&self.0, name).expect("time").value(row).to_string(),
            Column::Vector(Column::Str) => {
                read::texts(read::list(&self.0, name).expect("list"), row).join("|")
            }
            Column::Str | Column::Enum | Column::Addr => {
                read::text(&self.0, name).expect("text").value(row).to_owned()
            }
            _ => format!("{:?}", array.slice(row, 1)),
        }
    }

    fn cells(&self, row: usize, names: &[&str]) -> Vec<String> {
        names.iter().map(|name| self.cell(row, name)).collect()
    }

    /// All that is in them, to compare.
    fn all(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// Name, type, class and data of a record.
fn rr(name: &[u8], rtype: u16, class: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = name.to_vec();
    bytes.extend(rtype.to_be_bytes());
    bytes.extend(class.to_be_bytes());
    bytes.extend(ttl.to_be_bytes());
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    bytes
}

fn message(id: u16, flags: u16, counts: [u16; 4], rest: &[&[u8]]) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend(flags.to_be_bytes());
    bytes.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
    bytes.extend(rest.concat());
    bytes
}

/// `www.Example.com` of type A.
const QUESTION: &[u8] = b"\x03www\x07Example\x03com\0\0\x01\0\x01";
const POINTER: &[u8] = b"\xc0\x0c";

fn query(id: u16) -> Vec<u8> {
    message(id, 0x0100, [1, 0, 0, 0], &[QUESTION])
}

fn reply(id: u16, records: &[Vec<u8>]) -> Vec<u8> {
    let mut all = vec![QUESTION];
    all.extend(records.iter().map(|record| &record[..]));
    message(id, 0x8180, [1, records.len() as u16, 0, 0], &all)
}

fn a(data: [u8; 4]) -> Vec<u8> {
    rr(POINTER, 1, 1, 300, &data)
}

/// What the log shows of a record.
fn shown(rtype: u16, data: &[u8]) -> String {
    let mut bench = Bench::new(Transport::Udp);
    bench.query(&query(1));
    bench.reply(&reply(1, &[rr(POINTER, rtype, 1, 60, data)]));
    bench.rows().cell(0, "answers")
}
