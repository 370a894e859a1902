//! File formats, one file each, listed in [`ALL`]. A format opens a file of one stream, writes batches
//! and finishes it durably; where files lie and when they close is the role's business.

use std::fmt::Debug;
use std::fs::File;
use std::io::{BufRead as _, BufReader};

use anyhow::{Context as _, Result};
use arrow_array::RecordBatch;
use model::stream::{Column, Def};

use crate::config::Columns;
use cells::Cells;

mod cells;
mod number;
mod text;

pub mod json;
pub mod parquet;
pub mod tsv;

#[cfg(test)]
pub(crate) mod testing;

/// Every format.
pub static ALL: &[&dyn Format] = &[&tsv::Tsv, &parquet::Parquet, &json::Json];

/// The format of this name.
pub fn find(name: &str) -> Option<&'static dyn Format> {
    ALL.iter().copied().find(|format| format.name() == name)
}

/// How rotated files are laid out below the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `conn/date=YYYY-MM-DD/hour=HH/conn-…`, which DuckDB and Spark read as columns.
    Hive,
    /// `YYYY-MM-DD/conn.HH:MM:SS-HH:MM:SS…`, as ZeekControl archives.
    Days,
}

/// What a file is told when it is opened.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The stream.
    pub def: &'static Def,
    /// Wall-clock time, milliseconds.
    pub now_ms: i64,
    /// Which columns are written, where the format leaves a choice.
    pub columns: Columns,
    /// The node that writes.
    pub writer: &'a str,
}

/// A file format.
pub trait Format: Debug + Send + Sync {
    /// Its name in `--format`.
    fn name(&self) -> &'static str;
    /// What its files end with.
    fn extension(&self) -> &'static str;
    /// How its rotated files are laid out.
    fn layout(&self) -> Layout;
    /// Begins an empty file.
    fn open(&self, file: File, about: About<'_>) -> Result<Box<dyn Writer>>;
    /// How many rows a finished file has.
    fn rows(&self, file: File) -> Result<u64>;
}

/// A file being written.
pub trait Writer: Send {
    /// Writes rows, whose columns are the stream's.
    fn write(&mut self, rows: &RecordBatch) -> Result<()>;
    /// How large the file is, with what is still in memory.
    fn bytes(&self) -> u64;
    /// Bytes in memory.
    fn buffered(&self) -> usize;
    /// Gives the memory back at some cost in size.
    fn spill(&mut self) -> Result<()>;
    /// Ends the file and makes it durable; gives its size. `positions` says in JSON which offsets the
    /// rows came from, for formats that have a place for it.
    fn finish(self: Box<Self>, now_ms: i64, positions: &str) -> Result<u64>;
}

/// Lines of a file, without those that begin with this.
fn lines(file: File, without: Option<u8>) -> Result<u64> {
    let (mut rows, mut file, mut line) = (0, BufReader::new(file), Vec::new());
    while file.read_until(b'\n', &mut line)? > 0 {
        rows += u64::from(without.is_none() || line.first() != without.as_ref());
        line.clear();
    }
    Ok(rows)
}

/// Makes a finished file durable and tells its size.
fn seal(file: &File) -> Result<u64> {
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

/// The columns of a batch in a definition's order.
fn cells_of<'a>(rows: &'a RecordBatch, columns: &[&Column]) -> Result<Vec<Cells<'a>>> {
    let mut cells = Vec::with_capacity(columns.len());
    for column in columns {
        let array = rows
            .column_by_name(column.name)
            .with_context(|| format!("the batch has no column `{}`", column.name))?;
        cells.push(Cells::of(column.name, column.kind, array.as_ref())?);
    }
    Ok(cells)
}
