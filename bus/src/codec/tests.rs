//! Round trips, and bytes that are none.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, RecordBatch, StringArray, new_null_array};
use arrow_schema::{DataType, Field, Schema};
use model::stream::{Mark, conn, dns, half, raw_conn, weird};
use proptest::prelude::*;

use super::*;
use crate::topic::METRICS;

fn rows(count: usize) -> RecordBatch {
    let mut batch = dns::Batch::default();
    for i in 0..count {
        let query = format!("host{i}.example");
        let answers = [Some("192.0.2.1"), None][i % 2].map(|a| vec![a, "192.0.2.2"]);
        let row = dns::Row {
            ts: i as i64,
            query: Some(&query),
            answers: answers.as_deref(),
            ..dns::Row::unset()
        };
        batch.push(Mark::at(50 - i as i64, 0), row);
    }
    batch.finish("sensor").0
}

fn log() -> Topic {
    Topic::log(&dns::DEF)
}

fn one(out: &Outgoing) -> Encoded {
    let mut parts = encode(out).expect("encodes");
    assert_eq!(parts.len(), 1);
    parts.remove(0)
}

fn read(topic: &Topic, encoded: &Encoded) -> Record {
    let headers = encoded.headers.iter().map(|(name, text)| (name.as_ref(), text.as_bytes()));
    decode(topic, 3, 17, None, encoded.payload.clone(), headers)
}

fn bad(record: &Record) -> &str {
    match &record.payload {
        Payload::Bad(_, reason) => reason,
        other => panic!("{other:?}"),
    }
}

/// Encoded rows with other bytes in place of theirs.
fn with_bytes(rows: &RecordBatch) -> Encoded {
    let mut encoded = one(&Outgoing::rows(log(), 3, &dns::DEF, self::rows(rows.num_rows())));
    encoded.payload = Some(pack(rows).expect("packs").into());
    encoded
}

fn set(encoded: &mut Encoded, name: &str, text: &str) {
    let header = encoded.headers.iter_mut().find(|(n, _)| n == name).expect("the header");
    header.1 = text.into();
}

#[test]
fn rows_and_stamp_come_back() {
    let stamp = Stamp { source: "w1/ü".into(), timeline: Timeline::File, time: -1, end: true };
    let out = Outgoing::rows(log(), 3, &dns::DEF, rows(20)).stamped(stamp.clone());
    let encoded = one(&out);
    let header = |name: &str| {
        let found = encoded.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, text)| text.as_str())
    };
    assert_eq!(header("stream"), Some("dns"));
    assert_eq!((header("schema"), header("rows")), (Some("1"), Some("20")));
    assert_eq!((header("first"), header("last")), (Some("31"), Some("50")));
    assert_eq!((header("source"), header("timeline")), (Some("w1/ü"), Some("file")));
    assert_eq!((header("time"), header("end")), (Some("-1"), Some("true")));

    let record = read(&log(), &encoded);
    assert_eq!((record.lane, record.offset, record.stamp), (3, 17, Some(stamp)));
    let Payload::Rows(def, back) = record.payload else { panic!("{:?}", record.payload) };
    assert!(std::ptr::eq(def, &dns::DEF));
    assert_eq!(back, rows(20));
}

fn raw(count: usize) -> RecordBatch {
    let (mut flows, mut halves) = (conn::Batch::default(), half::Batch::default());
    for i in 0..count {
        let uid = format!("C{i}");
        let row = conn::Row { uid: &uid, observers: &["a", "b"], ..conn::Row::unset() };
        flows.push(Mark::at(i as i64, 0), row);
        let half = half::Row { letters: Some("S"), times: Some(&[7]), ..half::Row::unset() };
        halves.push(Mark::at(i as i64, 0), half);
    }
    raw_conn::beside(&flows.finish("w1").0, &halves.finish("w1").0).expect("both")
}

#[test]
fn rows_that_nobody_changed_are_not_packed_anew() {
    let encoded = one(&Outgoing::rows(log(), 3, &dns::DEF, rows(20)));
    let record = read(&log(), &encoded);
    assert_eq!(record.packed, encoded.payload);
    let Payload::Rows(def, rows) = record.payload else { panic!("{:?}", record.payload) };
    let again = Outgoing { packed: record.packed, ..Outgoing::rows(log(), 3, def, rows) };
    let (again, first) = (one(&again), encoded);
    assert_eq!((again.payload, again.headers), (first.payload, first.headers));
}

#[test]
fn bytes_that_are_other_rows_than_were_read_are_not_passed_on() {
    let known = rows(5);
    let older = known.project(&(0..known.num_columns() - 1).collect::<Vec<_>>()).expect("older");
    let mut fields: Vec<Field> =
        known.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.push(Field::new("later", DataType::Int32, true));
    let later: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3, 4, 5]));
    let columns = known.columns().iter().cloned().chain([later]).collect();
    let wider = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("wider");
    for rows in [older, wider] {
        assert_eq!(read(&log(), &with_bytes(&rows)).packed, None);
    }
}

#[test]
fn columns_for_joining_are_left_out_without_unpacking_the_others() {
    for count in [0, 1, 500] {
        let rows = raw(count);
        let packed = Bytes::from(pack(&rows).expect("packs"));
        let narrowed = narrow(&packed, &conn::DEF).expect("narrowed");
        assert!(narrowed.len() < packed.len());
        assert!(narrowed.len().is_multiple_of(8), "what follows would not be aligned");
        let (flows, is_all) = unpack::unpack(&conn::DEF, &narrowed).expect("rows of conn");
        let ours: Vec<usize> = (0..conn::DEF.columns.len()).collect();
        assert_eq!((&flows, is_all), (&rows.project(&ours).expect("those of conn"), true));
        let all = narrow(&packed, &raw_conn::DEF).expect("all of them");
        assert_eq!(unpack::unpack(&raw_conn::DEF, &all).expect("rows of both"), (rows, true));
        assert_eq!(narrow(&narrowed, &raw_conn::DEF), None, "there are fewer");
    }
}

#[test]
fn no_rows_are_rows_too() {
    let record = read(&log(), &one(&Outgoing::rows(log(), 0, &dns::DEF, rows(0))));
    assert!(matches!(record.payload, Payload::Rows(_, back) if back == rows(0)));
}

#[test]
fn columns_that_we_do_not_know_are_left_out() {
    let known = rows(5);
    let mut fields: Vec<Field> =
        known.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
    let mut columns: Vec<ArrayRef> = known.columns().to_vec();
    fields.push(Field::new("later", DataType::Int32, true));
    columns.push(Arc::new(Int32Array::from(vec![1, 2, 3, 4, 5])));
    let wider = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("wider");
    let record = read(&log(), &with_bytes(&wider));
    assert!(matches!(record.payload, Payload::Rows(_, back) if back == known));
}

#[test]
fn wrong_columns_are_named() {
    let known = rows(2);
    let swapped: Vec<usize> = (0..known.num_columns()).map(|i| [1, 0, i][i.min(2)]).collect();
    let record = read(&log(), &with_bytes(&known.project(&swapped).expect("swapped")));
    assert_eq!(bad(&record), "column 0 is `uid`, dns has `ts`");

    let first: Vec<usize> = (0..10).collect();
    let record = read(&log(), &with_bytes(&known.project(&first).expect("fewer")));
    assert_eq!(bad(&record), "column `qclass` of dns is missing");

    let mut fields: Vec<Field> =
        known.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
    let mut columns: Vec<ArrayRef> = known.columns().to_vec();
    fields[0] = Field::new("ts", DataType::Utf8, false);
    columns[0] = Arc::new(StringArray::from(vec!["1", "2"]));
    let other = RecordBatch::try_new(Arc::new(Schema::new(fields.clone())), columns.clone());
    let record = read(&log(), &with_bytes(&other.expect("another type")));
    assert!(bad(&record).starts_with("column `ts` is Utf8, dns has Timestamp"), "{}", bad(&record));

    fields[0] = known.schema().field(0).clone().with_nullable(true);
    columns[0] = new_null_array(fields[0].data_type(), 2);
    let unset = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("unset");
    assert!(bad(&read(&log(), &with_bytes(&unset))).contains("ts"));
}

#[test]
fn optional_columns_that_an_older_writer_lacks_are_unset() {
    // weird ends with an optional column.
    let mut batch = weird::Batch::default();
    batch.push(Mark::at(1, 0), weird::Row { name: "odd", ..weird::Row::unset() });
    let all = batch.finish("s").0;
    let older: Vec<usize> = (0..all.num_columns() - 1).collect();
    let topic = Topic::log(&weird::DEF);
    let mut encoded = one(&Outgoing::rows(topic.clone(), 0, &weird::DEF, all.clone()));
    encoded.payload = Some(pack(&all.project(&older).expect("older")).expect("packs").into());
    assert!(matches!(read(&topic, &encoded).payload, Payload::Rows(_, back) if back == all));
}

#[test]
fn headers_that_contradict_are_named() {
    let good = one(&Outgoing::rows(log(), 3, &dns::DEF, rows(4)));
    let with = |name: &str, text: &str| {
        let mut encoded = good.clone();
        set(&mut encoded, name, text);
        bad(&read(&log(), &encoded)).to_owned()
    };
    assert_eq!(with("stream", "smtp\n"), "unknown stream `smtp\\n`");
    assert_eq!(with("rows", "5"), "5 rows announced, 4 found");
    assert_eq!(with("schema", "x"), "header `schema` is `x`");
    let newer = with("schema", "2");
    assert!(newer.starts_with("dns has schema version 2, this weir knows up to 1"), "{newer}");
    let stray = read(&Topic::log(&weird::DEF), &good);
    assert_eq!(bad(&stray), "rows of dns in the topic of another stream");

    let bare = Encoded { headers: Vec::new(), ..good.clone() };
    assert_eq!(bad(&read(&log(), &bare)), "no `stream` header");
    assert!(matches!(read(&METRICS, &bare).payload, Payload::Bytes(_)));
    let stamp = Stamp { source: "s".into(), timeline: Timeline::Live, time: 1, end: false };
    let mut timed = one(&Outgoing::punctuation(log(), 0, stamp));
    set(&mut timed, "timeline", "dead");
    assert_eq!(bad(&read(&log(), &timed)), "header `timeline` is `dead`");
}

#[test]
fn more_than_one_batch_and_more_than_it_says_are_bad() {
    let options = || {
        let options = IpcWriteOptions::default();
        options.try_with_compression(Some(CompressionType::LZ4_FRAME)).expect("lz4")
    };
    let batch = rows(4);
    let mut writer =
        StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options()).expect("writer");
    writer.write(&batch).and_then(|()| writer.write(&batch)).expect("two batches");
    let mut two = with_bytes(&batch);
    two.payload = Some(writer.into_inner().expect("bytes").into());
    assert_eq!(bad(&read(&log(), &two)), "several batches in one record");

    let mut trailing = pack(&batch).expect("packs");
    trailing.extend_from_slice(b"more");
    two.payload = Some(trailing.into());
    assert_eq!(bad(&read(&log(), &two)), "4 bytes after the end of the Arrow stream");
    two.payload = Some(Bytes::from(vec![0; MAX_PAYLOAD + 1]));
    assert!(bad(&read(&log(), &two)).contains("more than"));
}

#[test]
fn what_unpacks_to_too_much_is_refused_before_it_is_unpacked() {
    let mut bytes = pack(&rows(2000)).expect("packs");
    // Every eight bytes that could be an unpacked length claim the sky.
    let lengths: Vec<usize> = (0..bytes.len() - 12)
        .filter(|&i| bytes[i + 3..i + 8] == [0; 5] && bytes[i + 8..i + 12] == [4, 0x22, 0x4d, 0x18])
        .collect();
    assert!(!lengths.is_empty(), "no packed buffer");
    for at in lengths {
        bytes[at..at + 8].copy_from_slice(&(1i64 << 60).to_le_bytes());
    }
    let mut encoded = with_bytes(&rows(2000));
    encoded.payload = Some(bytes.into());
    assert!(bad(&read(&log(), &encoded)).starts_with("unpacks to "));
}

#[test]
fn rows_that_are_too_much_for_a_record_become_several() {
    let mut batch = weird::Batch::default();
    let mut noise = 1u64;
    for i in 0..600 {
        let text: String = (0..40_000)
            .map(|_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                char::from(b' ' + (noise >> 58) as u8)
            })
            .collect();
        let row = weird::Row { name: "odd", addl: Some(&text), ..weird::Row::unset() };
        batch.push(Mark::at(i, 0), row);
    }
    let all = batch.finish("s").0;
    let topic = Topic::log(&weird::DEF);
    let stamp = Stamp { source: "s".into(), timeline: Timeline::Live, time: 600, end: false };
    let out = Outgoing::rows(topic.clone(), 0, &weird::DEF, all.clone()).stamped(stamp.clone());
    let parts = encode(&out).expect("encodes");
    assert!(parts.len() > 1);
    let mut at = 0;
    for (i, part) in parts.iter().enumerate() {
        let record = read(&topic, part);
        assert_eq!(record.stamp.is_some(), i + 1 == parts.len(), "the stamp goes with the last");
        let Payload::Rows(_, rows) = record.payload else { panic!("{:?}", record.payload) };
        assert_eq!(rows, all.slice(at, rows.num_rows()));
        at += rows.num_rows();
    }
    assert_eq!(at, all.num_rows());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Whatever is done to the bytes: rows under the very schema, or a reason, never a panic.
    #[test]
    fn mutated_bytes_never_panic(
        count in 0usize..40,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut encoded = one(&Outgoing::rows(log(), 0, &dns::DEF, rows(count)));
        let mut bytes = encoded.payload.take().expect("bytes").to_vec();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        encoded.payload = Some(bytes.into());
        match read(&log(), &encoded).payload {
            Payload::Rows(_, rows) => prop_assert_eq!(rows.schema(), dns::DEF.schema()),
            Payload::Bad(_, reason) => prop_assert_ne!(reason, "the Arrow reader gave up"),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut encoded = one(&Outgoing::rows(log(), 0, &dns::DEF, rows(1)));
        encoded.payload = Some(bytes.into());
        prop_assert!(matches!(read(&log(), &encoded).payload, Payload::Bad(..)));
    }
}

proptest! {
    #[test]
    fn narrowing_what_is_no_stream_does_no_harm(at in 0usize..4000, byte: u8, cut in 0usize..6000) {
        let mut bytes = pack(&raw(3)).expect("packs");
        let place = at % bytes.len();
        bytes[place] = byte;
        bytes.truncate(cut.max(64));
        if let Some(narrowed) = narrow(&Bytes::from(bytes), &conn::DEF) {
            let _ = unpack::unpack(&conn::DEF, &narrowed);
        }
    }
}
