//! What is sent is what is read.

use bytes::Bytes;
use model::stream::{Mark, weird};

use super::{Fixture, IN, LANES, OUT, all, commit, note, open, writer};
use crate::topic::{RAW_NOTICE, Topic};
use crate::{Outgoing, Payload, Stamp, Step, Timeline};

fn rows(count: i64) -> arrow_array::RecordBatch {
    let mut batch = weird::Batch::default();
    for i in 0..count {
        let row = weird::Row { ts: i, name: "odd", addl: Some("more"), ..weird::Row::unset() };
        batch.push(Mark::at(1_000 + i, 0), row);
    }
    batch.finish("sensor").0
}

/// Rows, documents, tombstones and punctuation, with their keys and stamps.
pub fn everything_comes_back(make: &dyn Fn() -> Fixture) {
    let fixture = make();
    let log = Topic::log(&weird::DEF);
    let stamp =
        Stamp { source: "w1/9f2c ü".into(), timeline: Timeline::Live, time: 7, end: false };
    let end = Stamp { source: "file".into(), timeline: Timeline::File, time: i64::MAX, end: true };
    let rows = rows(1000);
    let mut dead = note(OUT, 2, "dead");
    dead.headers.push(("__connect.errors.topic".into(), "weir.log.conn".into()));
    dead.payload = Payload::Bad(Bytes::from_static(b"\xff\x00"), "no rows at all".into());
    let out = vec![
        Outgoing::rows(log.clone(), 1, &weird::DEF, rows.clone()).stamped(stamp.clone()),
        Outgoing::rows(log.clone(), 1, &weird::DEF, rows.slice(10, 5)),
        Outgoing::punctuation(RAW_NOTICE, 2, end.clone()),
        Outgoing::document(IN, 0, Bytes::from_static(b"k\xff"), Some(Bytes::new())),
        Outgoing::document(IN, 0, Bytes::from_static(b"k"), None),
        dead,
    ];
    drop(commit(open(&*fixture.bus, &writer("w")), Step { out, ..Step::default() }));

    let found = all(&*fixture.bus, log);
    let [first, second] = &found[..] else { panic!("{found:?}") };
    assert_eq!((first.lane, &first.stamp, &first.key), (1, &Some(stamp), &None));
    assert!(
        matches!(&first.payload, Payload::Rows(def, back) if def.name == "weird" && *back == rows)
    );
    assert!(matches!(&second.payload, Payload::Rows(_, back) if *back == rows.slice(10, 5)));
    assert_eq!(second.stamp, None);

    let found = all(&*fixture.bus, RAW_NOTICE);
    assert!(
        matches!(&found[..], [r] if matches!(r.payload, Payload::Empty) && r.stamp == Some(end))
    );
    let found = all(&*fixture.bus, IN);
    let [empty, tombstone] = &found[..] else { panic!("{found:?}") };
    assert!(matches!(&empty.payload, Payload::Bytes(bytes) if bytes.is_empty()));
    assert_eq!(empty.key.as_deref(), Some(&b"k\xff"[..]));
    assert!(matches!(tombstone.payload, Payload::Empty));
    assert_eq!(tombstone.key.as_deref(), Some(&b"k"[..]));
    let found = all(&*fixture.bus, OUT);
    assert!(
        matches!(&found[..], [r] if matches!(&r.payload, Payload::Bytes(b) if &b[..] == b"\xff\x00"))
    );
}

/// A step larger than any one wake, and than what a producer holds at once by count of its sends.
pub fn a_step_of_many_records(make: &dyn Fn() -> Fixture) {
    const MANY: u32 = 3_000;
    let fixture = make();
    let out = (0..MANY).map(|i| note(OUT, i % LANES, &format!("{i:05}"))).collect();
    drop(commit(open(&*fixture.bus, &writer("w")), Step { out, ..Step::default() }));
    let mut found: Vec<_> = all(&*fixture.bus, OUT).iter().map(super::text).collect();
    found.sort();
    assert_eq!(found, (0..MANY).map(|i| format!("{i:05}")).collect::<Vec<_>>());
}
