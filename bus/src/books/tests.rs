//! What the loop tells of a role that copies records, whatever becomes of its sessions.

use std::sync::Arc;

use arrow_array::RecordBatch;
use model::stream::{Mark, dns};

use super::*;
use crate::dead::Consumer;
use crate::{Position, Timeline};

const IN: Topic = Topic::named("raw.conn");

fn batch(rows: usize) -> RecordBatch {
    let mut batch = dns::Batch::default();
    for ts in 0..rows as i64 {
        batch.push(Mark::at(ts, 0), dns::Row { ts, ..dns::Row::unset() });
    }
    batch.finish("n").0
}

fn read(lane: Lane, offset: i64, rows: usize) -> Read {
    let payload = Payload::Rows(&dns::DEF, batch(rows));
    Read { topic: IN, lane, offset, key: None, payload, stamp: None, packed: None }
}

fn at(lane: Lane, offset: i64) -> Position {
    Position { topic: IN, lane, offset, metadata: String::new() }
}

fn member() -> Member {
    let topics = vec![topic::NOTICE, IN, Topic::named("conn")];
    Member { group: "copies".into(), node: "n 1".into(), topics, state: None, home: Vec::new() }
}

/// What is told of a step with these positions.
fn close(books: &mut Books, out: Vec<Outgoing>, positions: Vec<Position>) -> (Step, Record) {
    let used: Vec<i64> = positions.iter().map(|position| position.offset).collect();
    let mut step = Step { out, positions, ..Step::default() };
    books.close(&mut step, &used, Told { now_ms: 9, lanes: 2, ..Told::default() });
    let told = step.out.pop().unwrap();
    assert_eq!((told.topic, told.key.as_deref()), (topic::METRICS, Some(&b"n 1"[..])));
    let Payload::Bytes(json) = told.payload else { panic!("no document") };
    let record = serde_json::from_slice(&json).unwrap();
    (step, record)
}

#[test]
fn what_was_read_is_counted_in_the_step_that_is_done_with_it() {
    let mut books = Books::new(&member());
    books.restored(0, vec![(IN, 40)]);
    books.restored(1, Vec::new());
    // 38 and 39 rebuild what is open; lane 1 was never read.
    books.read(&[read(0, 38, 5), read(0, 39, 5), read(0, 40, 2), read(1, 3, 7)]);
    books.read(&[read(0, 44, 1)]);
    let (_, told) = close(&mut books, Vec::new(), vec![at(0, 45)]);
    let range = |from, to, records, rows| Range { from, to, records, rows };
    assert_eq!(told.input["raw.conn"], [(0, range(40, 45, 2, 3))].into());
    // A position that says nothing new, and one in the middle of what was read.
    books.read(&[read(1, 5, 1)]);
    let (_, told) = close(&mut books, Vec::new(), vec![at(0, 45), at(1, 4)]);
    assert!(told.input.is_empty(), "{:?}", told.input);
    let (_, told) = close(&mut books, Vec::new(), vec![at(1, 6)]);
    assert_eq!(told.input["raw.conn"], [(1, range(3, 6, 2, 8))].into());
}

#[test]
fn what_a_lost_session_or_lane_had_read_is_void() {
    let mut books = Books::new(&member());
    books.restored(0, vec![(IN, 0)]);
    books.read(&[read(0, 0, 5)]);
    books.opened();
    books.restored(0, vec![(IN, 0)]);
    books.read(&[read(0, 0, 5)]);
    let (_, told) = close(&mut books, Vec::new(), vec![at(0, 1)]);
    assert_eq!(told.input["raw.conn"][&0].rows, 5);
    books.read(&[read(0, 1, 5)]);
    books.forget(&[0]);
    books.restored(0, vec![(IN, 1)]);
    books.read(&[read(0, 1, 4)]);
    let (_, told) = close(&mut books, Vec::new(), vec![at(0, 2)]);
    assert_eq!(told.input["raw.conn"][&0].rows, 4);
}

#[test]
fn what_is_sent_is_counted_and_signed() {
    let mut books = Books::new(&member());
    let stamp = crate::Stamp { source: "s".into(), timeline: Timeline::Live, time: 1, end: false };
    let consumer = Consumer { prefix: "p.log", name: "copies", node: "n", lanes: 2 };
    let log = Topic::log(&dns::DEF);
    let out = vec![
        Outgoing::rows(log.clone(), 1, &dns::DEF, batch(3)),
        Outgoing::rows(log.clone(), 1, &dns::DEF, batch(2)),
        Outgoing::punctuation(topic::NOTICE, 0, stamp),
        Outgoing::document(topic::FILES, 0, "k".into(), Some("v".into())),
        consumer.letter(read(1, 7, 4), "TRANSFORMATION", "odd"),
        consumer.letter(
            Read { payload: Payload::Bad("x".into(), "cut".into()), ..read(1, 8, 0) },
            "VALUE_CONVERTER",
            "cut",
        ),
    ];
    let (step, told) = close(&mut books, out, Vec::new());
    let sum = |records, rows| Sum { records, rows };
    assert_eq!(told.output["log.dns"], [(1, sum(2, 5))].into());
    assert_eq!(told.output["files"], [(0, sum(1, 0))].into());
    assert!(!told.output.contains_key("notice"));
    assert_eq!(told.dead, [("raw.conn".to_owned(), [(1, sum(2, 4))].into())].into());
    let (name, by) = step.out[0].headers.last().unwrap();
    assert_eq!((name.as_str(), by.as_str()), ("by", "copies 9 1 n 1"));
    let want = By { group: "copies".into(), node: "n 1".into(), run: 9, step: 1 };
    assert_eq!(by.parse(), Ok(want));
    assert!(step.out[2].headers.is_empty() && "copies 9".parse::<By>().is_err());
    let (_, told) = close(&mut books, Vec::new(), Vec::new());
    assert_eq!((told.run, told.step), (9, 2));
}

#[test]
fn a_record_has_the_shape_that_is_documented() {
    let text = r#"{"group":"aggregate","node":"a0","run":1764100000000,"step":17,"at_ms":1764100031234,
        "weir":"0.1.0","lanes":[0,1],"facts":{"policy":"3"},"in":{"raw.conn":{"0":[40,52,11,9120]}},
        "out":{"log.conn":{"0":[11,9120]}},"dead":{"raw.conn":{"0":[1,0]}},
        "counts":{"merged.notice":2,"open.notice":-1},"files":[[7,"conn",9120]],"end":true}"#;
    let record: Record = serde_json::from_str(text).unwrap();
    let want: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_value(&record).unwrap(), want);
    assert_eq!(record.input["raw.conn"][&0].to, 52);
    let least = serde_json::to_string(&Record::default()).unwrap();
    assert!(!least.contains("counts") && !least.contains("end"), "{least}");
}

#[test]
fn counts_add_up_and_nothing_is_not_told() {
    let mut counts = Counts::default();
    counts.add("packets", 3);
    counts.add("open.notice", -1);
    counts.add("flows", 0);
    let more = counts.clone();
    counts.add_all(&more);
    assert_eq!((counts.get("packets"), counts.get("open.notice"), counts.0.len()), (6, -2, 2));
}

/// A role with nothing to do is heard of once in a while, and when it ends.
#[test]
fn a_role_says_that_it_is_there_and_that_it_ends() {
    use crate::drive::{Driver, Stop, Turn, Until};
    use crate::sim::{Faults, Sim};

    struct Quiet;
    impl crate::Role for Quiet {
        fn opened(&mut self, _: &mut dyn crate::Session) -> anyhow::Result<()> {
            Ok(())
        }
        fn restored(&mut self, _: Lane, _: crate::Restored) -> anyhow::Result<()> {
            Ok(())
        }
        fn on(&mut self, _: crate::Wake, _: i64) -> anyhow::Result<Option<Step>> {
            Ok(None)
        }
        fn committed(&mut self) -> anyhow::Result<()> {
            panic!("it made no step");
        }
        fn facts(&self) -> BTreeMap<String, String> {
            [("policy".to_owned(), "3".to_owned())].into()
        }
    }

    let sim = Sim::new(2, 1, Faults::NONE);
    let stop = Stop::new();
    let mut driver = Driver::new(&member(), &stop, Until::Forever);
    let clock = Arc::new(sim.clone());
    for _ in 0..24 {
        driver.turn(&sim, &mut Quiet, &*clock).unwrap();
        sim.advance_ms(500);
    }
    stop.request();
    assert_eq!(driver.turn(&sim, &mut Quiet, &*clock).unwrap(), Turn::Ended);
    let told: Vec<Record> = sim
        .records(&topic::METRICS)
        .iter()
        .map(|record| match &record.payload {
            Payload::Bytes(json) => serde_json::from_slice(json).unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    let said: Vec<_> = told.iter().map(|r| (r.step, r.lanes.len(), r.end)).collect();
    // After 500 ms, 5.5 s and 10.5 s, and the last word.
    assert_eq!(said, [(1, 2, false), (2, 2, false), (3, 2, false), (4, 2, true)]);
    assert!(told.iter().all(|record| record.facts["policy"] == "3"));
}
