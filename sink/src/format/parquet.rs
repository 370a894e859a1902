//! Parquet: columns nested at the dot, so that SQL reads `id.orig_h` as Zeek people write it.

use std::fs::File;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arrow_array::{ArrayRef, RecordBatch, StructArray};
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use model::stream::{Column, Def};
use model::types::Kind;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::schema::types::ColumnPath;

use super::{About, Format, Layout, Writer, seal};

/// Rows in a row group: enough to compress and to skip by statistics, little enough to hold.
const GROUP_ROWS_MAX: usize = 128 * 1024;
/// Encoded bytes in a row group, whatever the rows: long texts must not eat the memory.
const GROUP_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The level that pays: higher ones cost far more time than they save space.
const ZSTD_LEVEL: i32 = 1;

/// Bytes of a dictionary of numbers: some eight thousand of them. Of a column with more, such as bytes of flows, hardly
/// any comes twice, and looking them up costs more than all else of the file.
const NUMBERS_DICTIONARY_MAX: usize = 64 * 1024;

/// Columns that name a row or what it belongs to.
const IDS: [&str; 3] = ["uid", "fuid", "community_id"];

/// Parquet.
#[derive(Debug)]
pub struct Parquet;

impl Format for Parquet {
    fn name(&self) -> &'static str {
        "parquet"
    }

    fn extension(&self) -> &'static str {
        "parquet"
    }

    fn layout(&self) -> Layout {
        Layout::Hive
    }

    fn open(&self, file: File, about: About<'_>) -> Result<Box<dyn Writer>> {
        let tree = tree(about.def);
        let fields: Fields = tree.iter().map(|node| node.field(about.def)).collect();
        let schema = Arc::new(Schema::new(fields));
        let properties = properties(about)?;
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties))?;
        Ok(Box::new(Table { writer, schema, tree }))
    }

    fn rows(&self, file: File) -> Result<u64> {
        let reader = SerializedFileReader::new(file)?;
        Ok(u64::try_from(reader.metadata().file_metadata().num_rows())?)
    }
}

fn properties(about: About<'_>) -> Result<WriterProperties> {
    let note = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    let notes = vec![
        note("weir.stream", about.def.name.to_owned()),
        note("weir.schema", about.def.version.to_string()),
        note("weir.writer", about.writer.to_owned()),
    ];
    let level = ZstdLevel::try_new(ZSTD_LEVEL)?;
    let all = WriterProperties::builder();
    Ok(about
        .def
        .columns
        .iter()
        .fold(all, encoded)
        .set_created_by(concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(GROUP_ROWS_MAX))
        .set_max_row_group_bytes(Some(GROUP_BYTES_MAX))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_bloom_filter_enabled(false)
        .set_key_value_metadata(Some(notes))
        .build())
}

/// Columns whose values hardly come twice are not looked up in a dictionary first; times rise, so that
/// their differences are small, and those of numbers are smaller than numbers can be.
fn encoded(all: WriterPropertiesBuilder, column: &Column) -> WriterPropertiesBuilder {
    let is_id = IDS.contains(&column.name);
    let path = || ColumnPath::from(column.name.split('.').map(str::to_owned).collect::<Vec<_>>());
    if matches!(column.kind, Kind::Count | Kind::Int) {
        let all = all.set_column_dictionary_page_size_limit(path(), NUMBERS_DICTIONARY_MAX);
        // What comes behind a dictionary that is full.
        return all.set_column_encoding(path(), Encoding::DELTA_BINARY_PACKED);
    }
    if !is_id && !matches!(column.kind, Kind::Time | Kind::Interval) {
        return all;
    }
    let all = all.set_column_dictionary_enabled(path(), false);
    if column.kind != Kind::Time {
        return all;
    }
    all.set_column_encoding(path(), Encoding::DELTA_BINARY_PACKED)
}

struct Table {
    writer: ArrowWriter<File>,
    schema: SchemaRef,
    tree: Vec<Node>,
}

impl Writer for Table {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let fields = self.schema.fields();
        let nested = self.tree.iter().zip(fields).map(|(node, field)| node.array(rows, field));
        let columns = nested.collect::<Result<Vec<_>>>()?;
        let batch = RecordBatch::try_new(self.schema.clone(), columns)?;
        Ok(self.writer.write(&batch)?)
    }

    fn bytes(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    fn buffered(&self) -> usize {
        self.writer.memory_size()
    }

    fn spill(&mut self) -> Result<()> {
        Ok(self.writer.flush()?)
    }

    fn finish(mut self: Box<Self>, _now_ms: i64, positions: &str) -> Result<u64> {
        let note = KeyValue::new("weir.positions".to_owned(), positions.to_owned());
        self.writer.append_key_value_metadata(note);
        // Not `into_inner`, which makes text of what the disk said.
        self.writer.finish()?;
        seal(self.writer.inner())
    }
}

/// A column in its place, or the struct of those that share the name before a dot.
#[derive(Debug, PartialEq)]
enum Node {
    Column(String, usize),
    Struct(String, Vec<Node>),
}

/// The columns of a stream as a tree; a struct stands where its first member did.
fn tree(def: &Def) -> Vec<Node> {
    let mut top = Vec::new();
    for (index, column) in def.columns.iter().enumerate() {
        place(&mut top, column.name, index);
    }
    top
}

fn place(nodes: &mut Vec<Node>, name: &str, index: usize) {
    let Some((prefix, rest)) = name.split_once('.') else {
        return nodes.push(Node::Column(name.to_owned(), index));
    };
    for node in nodes.iter_mut() {
        if let Node::Struct(name, members) = node
            && name == prefix
        {
            return place(members, rest, index);
        }
    }
    let mut members = Vec::new();
    place(&mut members, rest, index);
    nodes.push(Node::Struct(prefix.to_owned(), members));
}

impl Node {
    fn field(&self, def: &Def) -> FieldRef {
        match self {
            Node::Column(name, index) => {
                let column = &def.columns[*index];
                Arc::new(Field::new(name, column.kind.arrow(), column.optional))
            }
            Node::Struct(name, members) => {
                let fields: Fields = members.iter().map(|node| node.field(def)).collect();
                Arc::new(Field::new(name, DataType::Struct(fields), false))
            }
        }
    }

    fn array(&self, rows: &RecordBatch, field: &Field) -> Result<ArrayRef> {
        let members = match self {
            Node::Column(_, index) => return Ok(rows.column(*index).clone()),
            Node::Struct(_, members) => members,
        };
        let DataType::Struct(fields) = field.data_type() else {
            anyhow::bail!("`{}` is not a struct", field.name());
        };
        let arrays = members.iter().zip(fields).map(|(node, field)| node.array(rows, field));
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        let nested =
            StructArray::try_new_with_length(fields.clone(), arrays, None, rows.num_rows())
                .with_context(|| format!("cannot nest `{}`", field.name()))?;
        Ok(Arc::new(nested))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Columns;
    use crate::format::testing::{conn_rows, notice_rows, write_to};
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
    use arrow_array::{Array, BooleanArray};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    fn read(rows: &RecordBatch) -> (Vec<RecordBatch>, Vec<KeyValue>, usize) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        write_to(&path, &Parquet, rows, 0, Columns::Zeek);
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
        let file = builder.metadata().file_metadata();
        let notes = file.key_value_metadata().cloned().unwrap();
        let groups = builder.metadata().num_row_groups();
        let batches = builder.build().unwrap().map(|batch| batch.unwrap()).collect();
        (batches, notes, groups)
    }

    #[test]
    fn conn_reads_back_nested() {
        let (batches, notes, _) = read(&conn_rows(100));
        let batch = &batches[0];
        assert_eq!(batch.num_rows(), 100);
        let schema = batch.schema();
        let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(names[..4], ["ts", "uid", "id", "proto"]);
        assert!(!schema.field_with_name("id").unwrap().is_nullable());
        let id = batch.column_by_name("id").unwrap().as_struct();
        let orig_p = id.column_by_name("orig_p").unwrap().as_primitive::<Int32Type>();
        assert_eq!(orig_p.value(99), 99);
        let resp_h = id.column_by_name("resp_h").unwrap().as_string::<i32>();
        assert_eq!(resp_h.value(0), "192.168.200.1");
        let bytes = batch.column_by_name("orig_bytes").unwrap().as_primitive::<Int64Type>();
        assert_eq!(bytes.value(7), 70);
        let ts = batch.column_by_name("ts").unwrap().as_primitive::<TimestampMicrosecondType>();
        assert_eq!(ts.timezone(), Some("UTC"));
        let local: &BooleanArray = batch.column_by_name("local_orig").unwrap().as_boolean();
        assert_eq!(local.null_count(), 100);
        let note = |key: &str| notes.iter().find(|n| n.key == key).unwrap().value.clone();
        assert_eq!(note("weir.stream").as_deref(), Some("conn"));
        assert_eq!(note("weir.schema").as_deref(), Some("1"));
        assert_eq!(note("weir.writer").as_deref(), Some("n1"));
        assert_eq!(note("weir.positions").as_deref(), Some("{\"3\":[1,2]}"));
    }

    #[test]
    fn any_prefix_nests() {
        let (batches, _, _) = read(&notice_rows());
        let place = batches[0].column_by_name("remote_location").unwrap().as_struct();
        let latitude = place.column_by_name("latitude").unwrap().as_primitive::<Float64Type>();
        assert_eq!(latitude.value(0), 52.5);
        assert!(place.column_by_name("city").unwrap().is_null(0));
    }

    #[test]
    fn members_apart_share_a_struct() {
        let mut top = Vec::new();
        for (index, name) in ["a.b.c", "d", "a.e", "a.b.f"].into_iter().enumerate() {
            place(&mut top, name, index);
        }
        let column = |name: &str, index| Node::Column(name.to_owned(), index);
        let b = Node::Struct("b".to_owned(), vec![column("c", 0), column("f", 3)]);
        let a = Node::Struct("a".to_owned(), vec![b, column("e", 2)]);
        assert_eq!(top, [a, column("d", 1)]);
    }

    #[test]
    fn no_stream_has_a_struct_and_a_column_of_one_name() {
        for def in model::stream::ALL {
            let mut names: Vec<_> = tree(def)
                .into_iter()
                .map(|node| match node {
                    Node::Column(name, _) | Node::Struct(name, _) => name,
                })
                .collect();
            names.sort();
            let all = names.len();
            names.dedup();
            assert_eq!(names.len(), all, "{}", def.name);
        }
    }

    #[test]
    fn numbers_that_hardly_come_twice_are_soon_not_looked_up() {
        let (dir, rows) = (tempfile::tempdir().unwrap(), conn_rows(50_000));
        let path = dir.path().join("t.parquet");
        write_to(&path, &Parquet, &rows, 0, Columns::Zeek);
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
        let columns = builder.metadata().row_group(0).columns();
        let is_delta = |name: &str| {
            let column = columns.iter().find(|c| c.column_path().string() == name).unwrap();
            column.encodings().any(|encoding| encoding == Encoding::DELTA_BINARY_PACKED)
        };
        assert!(is_delta("orig_bytes") && !is_delta("resp_bytes") && !is_delta("orig_pkts"));
        let batches: Vec<_> = builder.build().unwrap().map(Result::unwrap).collect();
        let bytes = |batch: &RecordBatch| {
            let bytes = batch.column_by_name("orig_bytes").unwrap();
            bytes.as_primitive::<Int64Type>().values().to_vec()
        };
        let all: Vec<i64> = batches.iter().flat_map(bytes).collect();
        assert_eq!(all, (0..50_000).map(|n| n * 10).collect::<Vec<i64>>());
    }

    #[test]
    fn row_groups_are_bounded() {
        let (batches, _, groups) = read(&conn_rows(GROUP_ROWS_MAX + 1));
        assert_eq!(groups, 2);
        assert_eq!(batches.iter().map(|b| b.num_rows()).sum::<usize>(), GROUP_ROWS_MAX + 1);
    }
}
