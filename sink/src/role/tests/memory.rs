//! What many files at once may take of memory.

use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray, TimestampMicrosecondArray, make_array, new_null_array};
use arrow_schema::{DataType, Field};
use model::stream::Def;

use super::*;

const ROWS: usize = 300;

/// Texts that differ, a time, and nothing else.
fn column(field: &Field) -> ArrayRef {
    match field.data_type() {
        DataType::Utf8 => {
            let texts = (0..ROWS).map(|n| format!("{} {n:030}", field.name()));
            Arc::new(StringArray::from_iter_values(texts))
        }
        DataType::Timestamp(..) => {
            Arc::new(TimestampMicrosecondArray::from_value(FIRST_US, ROWS).with_timezone("UTC"))
        }
        kind => {
            let empty = new_null_array(kind, ROWS).to_data().into_builder();
            make_array(empty.nulls(None).build().unwrap())
        }
    }
}

fn rows_of(def: &'static Def) -> RecordBatch {
    let schema = def.schema();
    let columns = schema.fields().iter().map(|field| column(field)).collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

#[test]
fn many_streams_hold_no_more_than_they_may_and_lose_nothing() {
    const BUFFERED_MAX: usize = 2 << 20;
    let (dir, mut world) = (tempfile::tempdir().unwrap(), World::default());
    let config = Config { buffered_max: BUFFERED_MAX, ..config(dir.path(), "parquet", None) };
    let mut sink = open(&config, &world);
    let mut most = 0;
    for offset in 0..4 {
        for def in stream::ALL {
            let rows = Payload::Rows(def, rows_of(def));
            let wake = records(vec![record(Topic::log(def), 0, offset, rows)]);
            drive(&mut sink, &mut world, wake, 0);
            most = most.max(sink.buffered());
        }
    }
    assert!(most > BUFFERED_MAX / 2 && most <= BUFFERED_MAX, "{most}");
    drive(&mut sink, &mut world, Wake::Drained, 0);
    let all = (4 * ROWS * stream::ALL.len()) as u64;
    assert_eq!((sink.summary().rows_out, sink.summary().dead_letters), (all, 0));
    let in_files: u64 = world.documents.values().map(|json| Entry::parse(json).unwrap().rows).sum();
    let found: u64 = tree(dir.path())
        .iter()
        .map(|name| fs::File::open(dir.path().join(name)).unwrap())
        .map(|file| crate::format::find("parquet").unwrap().rows(file).unwrap())
        .sum();
    assert_eq!((in_files, found), (all, all));
}
