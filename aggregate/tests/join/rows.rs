//! Rows as text, by stream, to be compared.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use bus::{Outgoing, Payload};
use model::stream::Origin;

/// A row: its cells by column.
pub type Row = BTreeMap<&'static str, String>;
/// Rows by stream.
pub type Rows = BTreeMap<&'static str, Vec<Row>>;

/// Columns of Zeek's, and what weir says of who saw the flow.
pub fn rows_of<'a>(sent: impl Iterator<Item = &'a Outgoing>) -> Rows {
    let mut all = Rows::new();
    for out in sent {
        let Payload::Rows(def, batch) = &out.payload else { continue };
        let name = if def.name == "raw_conn" { "conn" } else { def.name };
        let of = all.entry(name).or_default();
        for row in 0..batch.num_rows() {
            let columns = def.columns.iter().filter(|column| {
                column.origin != Origin::Weir || column.name.starts_with("observer")
            });
            of.push(columns.map(|c| (c.name, cell(batch, c.name, row))).collect());
        }
    }
    all.values_mut().for_each(|rows| rows.sort());
    all
}

fn cell(batch: &RecordBatch, name: &str, row: usize) -> String {
    let array = batch.column_by_name(name).unwrap();
    text(array.as_ref(), row)
}

fn text(array: &dyn Array, row: usize) -> String {
    if array.is_null(row) {
        return "-".to_owned();
    }
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float64 => format!("{:.6}", array.as_primitive::<Float64Type>().value(row)),
        DataType::Timestamp(..) => {
            array.as_primitive::<TimestampMicrosecondType>().value(row).to_string()
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            (0..items.len()).map(|i| text(items.as_ref(), i)).collect::<Vec<_>>().join(",")
        }
        other => panic!("a column of {other}"),
    }
}

/// What is printed of rows that differ, where `WEIR_TEST_SHOW` is set.
const SHOWN: [&str; 16] = [
    "ts",
    "id.orig_h",
    "id.orig_p",
    "id.resp_h",
    "id.resp_p",
    "proto",
    "service",
    "duration",
    "orig_bytes",
    "resp_bytes",
    "conn_state",
    "missed_bytes",
    "history",
    "orig_pkts",
    "resp_pkts",
    "resp_ip_bytes",
];

/// Prints what a sensor tells of halves.
pub fn show_halves(out: &Outgoing) {
    let Payload::Rows(def, batch) = &out.payload else { return };
    for row in (0..batch.num_rows()).filter(|_| def.name == "raw_conn") {
        let of = |name| cell(batch, name, row);
        let names =
            ["sensor", "_write_ts", "ts", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p"];
        let who: Vec<_> = names.into_iter().map(of).collect();
        let halves = def.columns.iter().filter(|column| column.name.starts_with("half."));
        let told = halves.map(|column| (column.name, of(column.name)));
        let told: Vec<_> = told.filter(|(_, told)| told != "-").collect();
        println!("    half {} {told:?}", who.join(" "));
    }
}

/// How two lots of rows compare.
#[derive(Debug, Default)]
pub struct Score {
    /// Rows wanted, and those that came just so.
    pub want: usize,
    pub equal: usize,
    /// Rows that came beyond those wanted.
    pub more: usize,
    /// Pairs of one tuple and time that differ: by column, how many, and one of them.
    pub differing: BTreeMap<&'static str, (usize, String)>,
}

impl Score {
    /// Counts what is equal; `not` are columns that may differ. Gives back the rows that have no equal.
    pub fn count(&mut self, want: &[Row], got: &[Row], not: &[&str]) -> (Vec<Row>, Vec<Row>) {
        let plain = |row: &Row| -> Row {
            row.iter()
                .filter(|(name, _)| !not.contains(name))
                .map(|(n, v)| (*n, v.clone()))
                .collect()
        };
        let mut left: Vec<Row> = got.iter().map(plain).collect();
        let mut missing = Vec::new();
        self.want += want.len();
        for row in want.iter().map(plain) {
            match left.iter().position(|other| *other == row) {
                Some(at) => {
                    left.swap_remove(at);
                    self.equal += 1;
                }
                None => missing.push(row),
            }
        }
        self.more += left.len().saturating_sub(missing.len());
        (missing, left)
    }

    /// Adds a comparison, and what differs in it.
    pub fn add(&mut self, want: &[Row], got: &[Row], not: &[&str]) {
        let (missing, left) = self.count(want, got, not);
        if std::env::var_os("WEIR_TEST_SHOW").is_some() {
            let brief = |row: &Row| {
                let shown = SHOWN.iter().map(|name| row.get(name).map_or("", String::as_str));
                shown.collect::<Vec<_>>().join(" ")
            };
            missing.iter().for_each(|row| println!("    want {}", brief(row)));
            left.iter().for_each(|row| println!("    got  {}", brief(row)));
        }
        for row in missing {
            let like = |other: &&Row| {
                ["ts", "community_id"].iter().all(|name| other.get(name) == row.get(name))
            };
            let Some(other) = left.iter().find(like) else {
                let entry = self.differing.entry("(missing)").or_default();
                *entry = (entry.0 + 1, format!("{row:?}"));
                continue;
            };
            for (name, value) in row.iter().filter(|(name, value)| other.get(*name) != Some(value))
            {
                let entry = self.differing.entry(name).or_default();
                let what = format!(
                    "{value} got {} in {} {}",
                    other.get(name).map_or("", String::as_str),
                    row.get("ts").map_or("", String::as_str),
                    row.get("history").map_or("", String::as_str)
                );
                *entry = (entry.0 + 1, what);
            }
        }
    }

    /// Equal rows in a hundred.
    pub fn percent(&self) -> f64 {
        let all = self.want.max(1) as f64;
        100.0 * (self.equal as f64 - self.more as f64).max(0.0) / all
    }
}
