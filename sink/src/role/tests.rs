//! The role driven by hand over a bus of a few lines.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow_array::RecordBatch;
use bus::drive::{Stop, Until};
use bus::memory::{Memory, Retain};
use bus::{Bus, Payload, Position, clock};
use bytes::Bytes;
use model::stream::{conn, dns};
use proptest::prelude::*;

use super::*;
use crate::format::testing::{FIRST_US, conn_rows, conn_rows_at, dns_rows};

mod any_order;
mod expired;
mod full;
mod memory;
mod on_bus;
mod restart;

const LANES: u32 = 4;
const MINUTE_US: i64 = 60 * SECOND_US;

/// What a bus keeps.
#[derive(Default)]
struct World {
    documents: BTreeMap<Bytes, Bytes>,
    letters: Vec<Outgoing>,
    positions: BTreeMap<(Topic, Lane), i64>,
}

impl World {
    fn commit(&mut self, step: Step) {
        for out in step.out {
            match (out.topic == topic::FILES, out.key, out.payload) {
                (true, Some(key), Payload::Bytes(json)) => {
                    assert_eq!(out.lane, model::id::partition(&key, LANES));
                    self.documents.insert(key, json);
                }
                (false, key, payload) => {
                    assert_eq!(out.topic, topic::DEADLETTER);
                    self.letters.push(Outgoing {
                        topic: out.topic,
                        lane: out.lane,
                        key,
                        payload,
                        stamp: out.stamp,
                        headers: out.headers,
                        packed: out.packed,
                    });
                }
                other => panic!("{other:?}"),
            }
        }
        for Position { topic, lane, offset, .. } in step.positions {
            let old = self.positions.insert((topic, lane), offset);
            assert!(old.is_none_or(|old| old < offset), "positions only rise");
        }
    }

    fn states(&self) -> Vec<(String, State)> {
        let entry = |json: &Bytes| Entry::parse(json).unwrap();
        self.documents.values().map(|json| (entry(json).name, entry(json).state)).collect()
    }
}

struct Fake<'a>(&'a World);

// A session outlives what it borrows only within a call here.
impl Session for Fake<'_> {
    fn next(&mut self, _wait: Duration) -> Result<Wake, BusError> {
        Ok(Wake::Idle)
    }
    fn restore(
        &mut self,
        _lane: Lane,
        _each: &mut dyn FnMut(Bytes, Bytes),
    ) -> Result<Vec<Position>, BusError> {
        Ok(Vec::new())
    }
    fn documents(
        &mut self,
        topic: &Topic,
        each: &mut dyn FnMut(Bytes, Bytes),
    ) -> Result<(), BusError> {
        assert_eq!(*topic, topic::FILES);
        each(Bytes::from("alien"), Bytes::from("{}"));
        for (key, json) in &self.0.documents {
            each(key.clone(), json.clone());
        }
        Ok(())
    }
    fn documents_changed(&mut self, _topic: &Topic) -> Result<bool, BusError> {
        Ok(false)
    }
    fn commit(self: Box<Self>, _step: Step) -> Result<Box<dyn Session>, BusError> {
        Err(BusError::Fatal("not here".into()))
    }
}

fn config(dir: &Path, format: &str, rotate: Option<i64>) -> Config {
    Config { rotate, ..Config::new(dir, format, "s1") }
}

fn open(config: &Config, world: &World) -> Sink {
    let mut sink = Sink::new(config.clone(), LANES).unwrap();
    sink.opened(&mut Fake(world)).unwrap();
    for lane in 0..LANES {
        sink.restored(lane, Restored::default()).unwrap();
    }
    sink
}

/// What `bus::drive` does with a wake.
fn drive(sink: &mut Sink, world: &mut World, wake: Wake, now_ms: i64) -> bool {
    let Some(step) = sink.on(wake, now_ms).unwrap() else { return false };
    world.commit(step);
    sink.committed().unwrap();
    true
}

fn record(topic: Topic, lane: Lane, offset: i64, payload: Payload) -> Record {
    Record { topic, lane, offset, key: None, payload, stamp: None, packed: None }
}

fn conn_record(lane: Lane, offset: i64, rows: RecordBatch) -> Record {
    record(Topic::log(&conn::DEF), lane, offset, Payload::Rows(&conn::DEF, rows))
}

fn records(records: Vec<Record>) -> Wake {
    Wake::Records(records)
}

/// Files below a folder, by their paths in it.
fn tree(dir: &Path) -> Vec<String> {
    let (mut found, mut todo) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(dir.join(&at)).unwrap() {
            let name = at.join(entry.unwrap().file_name());
            match dir.join(&name).is_dir() {
                true => todo.push(name),
                false => found.push(name.to_string_lossy().into_owned()),
            }
        }
    }
    found.sort();
    found
}

/// Values of a column in a TSV file.
fn column(path: &Path, name: &str) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.lines().last().unwrap().starts_with("#close\t"), "{}", path.display());
    let fields = text.lines().find_map(|line| line.strip_prefix("#fields\t")).unwrap();
    let index = fields.split('\t').position(|field| field == name).unwrap();
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.map(|row| row.split('\t').nth(index).unwrap().to_owned()).collect()
}

#[test]
fn a_run_without_rotation_leaves_a_file_a_stream() {
    for (format, names) in [
        ("tsv", ["conn.log", "dns.log"]),
        ("json", ["conn.json", "dns.json"]),
        ("parquet", ["conn.parquet", "dns.parquet"]),
    ] {
        let (dir, mut world) = (tempfile::tempdir().unwrap(), World::default());
        let mut sink = open(&config(dir.path(), format, None), &world);
        let dns = Payload::Rows(&dns::DEF, dns_rows());
        let wake = records(vec![
            conn_record(0, 0, conn_rows(10)),
            conn_record(0, 3, conn_rows(5)),
            conn_record(3, 8, conn_rows(7)),
            record(Topic::log(&dns::DEF), 1, 0, dns),
        ]);
        assert!(!drive(&mut sink, &mut world, wake, 0));
        assert!(!drive(&mut sink, &mut world, Wake::Idle, 1 << 40), "no age without rotation");
        assert_eq!(tree(dir.path()).len(), 2, "nothing but temporary files");
        assert!(drive(&mut sink, &mut world, Wake::Drained, 0));
        assert_eq!(tree(dir.path()), names);
        assert!(!dir.path().join(format!(".tmp-s1-{format}")).exists());
        let log = Topic::log(&conn::DEF);
        assert_eq!(world.positions[&(log.clone(), 0)], 4);
        assert_eq!(world.positions[&(log, 3)], 9);
        let summary = sink.summary();
        assert_eq!((summary.rows_in, summary.rows_out), (24, 24));
        assert_eq!(summary.rows["conn"], 22);
        assert_eq!((summary.files_committed, summary.files_published), (2, 2));
        assert_eq!(summary.files[0].path, dir.path().join(names[0]));
        assert!(world.states().iter().all(|(_, state)| *state == State::Committed));
        assert!(drive(&mut sink, &mut world, Wake::Stop, 0), "what is published is told");
        assert!(world.states().iter().all(|(_, state)| *state == State::Published));
        assert!(!drive(&mut sink, &mut world, Wake::Stop, 0));
    }
}

#[test]
fn a_crash_before_the_commit_leaves_nothing() {
    let (dir, mut world) = (tempfile::tempdir().unwrap(), World::default());
    let config = config(dir.path(), "tsv", None);
    let mut sink = open(&config, &world);
    sink.on(records(vec![conn_record(0, 0, conn_rows(10))]), 0).unwrap();
    let step = sink.on(Wake::Drained, 0).unwrap().unwrap();
    assert_eq!(step.positions.len(), 1);
    drop((step, sink));
    let left = tree(dir.path());
    assert!(left.len() == 1 && left[0].starts_with(".tmp-s1-tsv/conn.log."), "{left:?}");
    let mut sink = open(&config, &world);
    assert_eq!(tree(dir.path()), [""; 0]);
    assert!(!drive(&mut sink, &mut world, Wake::Stop, 0));
}

#[test]
fn a_crash_before_the_rename_is_mended_at_the_next_start() {
    let (dir, mut world) = (tempfile::tempdir().unwrap(), World::default());
    let config = config(dir.path(), "tsv", Some(MINUTE_US));
    let mut sink = open(&config, &world);
    let wake = records(vec![conn_record(0, 0, conn_rows(90))]);
    let step = sink.on(wake, 0).unwrap().expect("the second minute is past its first tenth");
    world.commit(step);
    drop(sink);
    fs::create_dir_all(dir.path().join(".tmp-s1-tsv")).unwrap();
    let orphan = dir.path().join(".tmp-s1-tsv/orphan.log");
    fs::write(&orphan, "x").unwrap();

    let mut sink = open(&config, &world);
    let published = tree(dir.path());
    assert_eq!(
        published,
        [
            "2023-11-14/conn.22:13:00-22:14:00-s1-1.log",
            "2023-11-14/conn.22:14:00-22:15:00-s1-2.log"
        ]
    );
    let rows = |name: &String| column(&dir.path().join(name), "uid").len();
    assert_eq!(published.iter().map(rows).sum::<usize>(), 90);
    assert!(drive(&mut sink, &mut world, Wake::Idle, 0));
    assert!(world.states().iter().all(|(_, state)| *state == State::Published));
    assert_eq!(sink.summary().files_published, 2);

    // Counters go on, so no name is taken twice.
    drive(&mut sink, &mut world, records(vec![conn_record(0, 1, conn_rows(1))]), 0);
    drive(&mut sink, &mut world, Wake::Stop, 0);
    assert!(tree(dir.path()).iter().any(|name| name.ends_with("-s1-3.log")));
}

#[test]
fn a_crash_after_the_rename_only_lacks_the_note() {
    let (dir, mut world) = (tempfile::tempdir().unwrap(), World::default());
    let config = config(dir.path(), "json", None);
    let mut sink = open(&config, &world);
    drive(&mut sink, &mut world, records(vec![conn_record(0, 0, conn_rows(3))]), 0);
    drive(&mut sink, &mut world, Wake::Drained, 0);
    drop(sink);
    assert_eq!(world.states(), [("conn.json".to_owned(), State::Committed)]);
    let mut sink = open(&config, &world);
    assert!(drive(&mut sink, &mut world, Wake::Idle, 0));
    assert_eq!(world.states(), [("conn.json".to_owned(), State::Published)]);

    // The catalog says committed, and somebody has removed the file since.
    fs::remove_file(dir.path().join("conn.json")).unwrap();
    for json in world.documents.values_mut() {
        let entry = Entry { state: State::Committed, ..Entry::parse(json).unwrap() };
        *json = Bytes::from(serde_json::to_vec(&entry).unwrap());
    }
    let mut sink = open(&config, &world);
    assert_eq!(sink.summary().files_missing, 1);
    drive(&mut sink, &mut world, Wake::Idle, 0);
    assert_eq!(world.states()[0].1, State::Missing);
}

#[test]
fn a_step_of_open_outcome_is_counted_when_it_is_found() {
    let (dir, mut world) = (tempfile::tempdir().unwrap(), World::default());
    let mut sink = open(&config(dir.path(), "tsv", Some(MINUTE_US)), &world);
    sink.on(records(vec![conn_record(0, 0, conn_rows(3))]), 0).unwrap();
    let step = sink.on(Wake::Stop, 0).unwrap().unwrap();
    world.commit(step);
    sink.opened(&mut Fake(&world)).unwrap();
    assert_eq!((sink.summary().rows_out, sink.summary().files_published), (3, 1));
    sink.on(records(vec![conn_record(0, 1, conn_rows(5))]), 0).unwrap();
    drop(sink.on(Wake::Stop, 0).unwrap());
    sink.opened(&mut Fake(&world)).unwrap();
    assert_eq!((sink.summary().rows_out, sink.summary().rows_in), (3, 3));
}

#[test]
fn packet_time_closes_intervals_after_a_grace() {
    let (dir, mut world) = (tempfile::tempdir().unwrap(), World::default());
    let mut sink = open(&config(dir.path(), "parquet", Some(MINUTE_US)), &world);
    let start = FIRST_US.div_euclid(MINUTE_US) * MINUTE_US;
    let mut feed = |offset, times: &[i64]| {
        let rows = conn_rows_at(times.iter().map(|s| start + s * SECOND_US));
        drive(&mut sink, &mut world, records(vec![conn_record(0, offset, rows)]), 0)
    };
    assert!(!feed(0, &[0, 30, 59]));
    assert!(!feed(1, &[61, 65]), "within the grace both intervals are open");
    assert!(!feed(2, &[58]), "a late row finds its interval still open");
    assert!(feed(3, &[66]));
    assert!(feed(4, &[40]), "the notes of the files before");
    assert!(!feed(5, &[67]));
    assert!(feed(6, &[126]), "the next interval closes all that is open");
    let rows: Vec<_> = sink.summary().files.iter().map(|f| f.rows).collect();
    assert_eq!(rows, [4, 3, 1, 1, 1]);
    let names = tree(dir.path());
    assert_eq!(names.len(), 5);
    let want = "conn/date=2023-11-14/hour=22/conn-20231114T221300Z-s1-1.parquet";
    assert_eq!(names[0], want);
}

#[test]
fn size_and_age_close_one_stream() {
    let (dir, mut world) = (tempfile::tempdir().unwrap(), World::default());
    let config = Config { size_max: 20_000, ..config(dir.path(), "tsv", Some(3600 * SECOND_US)) };
    let mut sink = open(&config, &world);
    let dns = record(Topic::log(&dns::DEF), 1, 0, Payload::Rows(&dns::DEF, dns_rows()));
    assert!(!drive(&mut sink, &mut world, records(vec![dns]), 5));
    let conns = |offset| conn_record(0, offset, conn_rows(60));
    assert!(!drive(&mut sink, &mut world, records(vec![conns(0)]), 10));
    assert!(drive(&mut sink, &mut world, records(vec![conns(1), conns(2)]), 20));
    assert!(world.positions.keys().all(|(topic, _)| *topic == Topic::log(&conn::DEF)));
    assert_eq!(world.positions.values().sum::<i64>(), 3);
    assert_eq!(sink.summary().rows_out, 180);
    assert!(drive(&mut sink, &mut world, Wake::Idle, 30), "notes");
    assert!(!drive(&mut sink, &mut world, Wake::Idle, 3_660_004));
    assert!(drive(&mut sink, &mut world, Wake::Idle, 3_660_005));
    assert_eq!(sink.summary().rows["dns"], 2);
}

#[test]
fn open_intervals_are_bounded() {
    let (dir, mut world) = (tempfile::tempdir().unwrap(), World::default());
    let mut sink = open(&config(dir.path(), "tsv", Some(SECOND_US)), &world);
    assert!(drive(&mut sink, &mut world, records(vec![conn_record(0, 0, conn_rows(100))]), 0));
    assert_eq!(sink.summary().files_published, 100);
    assert_eq!(tree(dir.path()).len(), 100);
}

/// Whether `bus::drive` opens another session after this.
fn is_reopen<T>(result: Result<T>) -> bool {
    matches!(result.err().unwrap().downcast(), Ok(BusError::Session(_)))
}

#[test]
fn lanes_that_go_are_committed_and_lanes_that_are_gone_forgotten() {
    let (dir, mut world) = (tempfile::tempdir().unwrap(), World::default());
    let mut sink = open(&config(dir.path(), "tsv", Some(MINUTE_US)), &world);
    let feed = |offset| records(vec![conn_record(0, offset, conn_rows(5))]);
    drive(&mut sink, &mut world, feed(0), 0);
    assert!(drive(&mut sink, &mut world, Wake::Revoked((0..LANES).collect()), 0));
    assert_eq!(sink.summary().rows_out, 5);
    sink.restored(0, Restored::default()).unwrap();

    drive(&mut sink, &mut world, feed(1), 0);
    assert!(is_reopen(sink.restored(0, Restored::default())));
    assert!(!drive(&mut sink, &mut world, Wake::Lost(vec![2]), 0), "not read from");
    let files = tree(dir.path());
    drive(&mut sink, &mut world, Wake::Lost((0..LANES).collect()), 0);
    assert!(tree(dir.path()).len() < files.len());
    assert!(!drive(&mut sink, &mut world, Wake::Stop, 0));

    let other = conn_record(1, 0, conn_rows(5));
    drive(&mut sink, &mut world, records(vec![conn_record(0, 1, conn_rows(5)), other]), 0);
    assert!(is_reopen(sink.on(Wake::Lost(vec![0]), 0)));
    assert_eq!(sink.summary().rows_out, 5);
}

#[test]
fn bad_records_are_kept_with_the_reason() {
    let (dir, mut world) = (tempfile::tempdir().unwrap(), World::default());
    let mut sink = open(&config(dir.path(), "tsv", None), &world);
    let log = || Topic::log(&conn::DEF);
    let wake = records(vec![
        record(log(), 2, 40, Payload::Bad(Bytes::from("junk"), "no Arrow stream".into())),
        record(log(), 2, 41, Payload::Rows(&dns::DEF, dns_rows())),
        record(log(), 2, 42, Payload::Bytes(Bytes::from("{}"))),
        record(log(), 2, 43, Payload::Empty),
        conn_record(2, 44, conn_rows(1)),
    ]);
    drive(&mut sink, &mut world, wake, 0);
    assert!(drive(&mut sink, &mut world, Wake::Drained, 0));
    assert_eq!(world.positions[&(log(), 2)], 45);
    let summary = sink.summary();
    assert_eq!((summary.dead_letters, summary.rows_dead), (3, 2));
    assert_eq!(summary.rows_in, summary.rows_out + summary.rows_dead);
    let letter = &world.letters[0];
    let header = |name: &str| letter.headers.iter().find(|(key, _)| key == name).unwrap().1.clone();
    assert_eq!(header("__connect.errors.topic"), "weir.log.conn");
    assert_eq!(header("__connect.errors.partition"), "2");
    assert_eq!(header("__connect.errors.offset"), "40");
    assert_eq!(header("__connect.errors.exception.message"), "no Arrow stream");
    assert_eq!(header("__connect.errors.connector.name"), "sink.tsv");
    assert_eq!(letter.key.as_deref(), Some(&b"weir.log.conn-2"[..]));
    assert!(matches!(&letter.payload, Payload::Bytes(bytes) if bytes == "junk"));
    let second = &world.letters[1].headers.last().unwrap().1;
    assert_eq!(second, "rows of dns, not of conn");
}

#[test]
fn too_many_dead_letters_do_not_wait_for_the_end() {
    let (dir, mut world) = (tempfile::tempdir().unwrap(), World::default());
    let mut sink = open(&config(dir.path(), "tsv", None), &world);
    let large = Bytes::from(vec![0; crate::output::LETTERS_BYTES_MAX]);
    let bad = |offset| {
        record(Topic::log(&conn::DEF), 0, offset, Payload::Bad(large.clone(), "large".into()))
    };
    assert!(!drive(&mut sink, &mut world, records(vec![bad(0), bad(1)]), 0));
    assert!(drive(&mut sink, &mut world, records(vec![bad(2)]), 0));
    assert_eq!((world.letters.len(), world.positions.len()), (3, 0));
    let Payload::Bytes(bytes) = &world.letters[0].payload else { panic!("bytes") };
    assert_eq!(bytes.len(), bus::codec::MAX_PAYLOAD, "as much as a topic takes");
    assert!(drive(&mut sink, &mut world, Wake::Drained, 0));
    assert_eq!((world.letters.len(), world.positions.len()), (3, 1));
}

#[test]
fn a_strangers_file_is_not_replaced_unless_forced() {
    let (dir, mut world) = (tempfile::tempdir().unwrap(), World::default());
    let mut config = config(dir.path(), "tsv", None);
    let stranger = dir.path().join("conn.log");
    fs::write(&stranger, "mine").unwrap();
    let refused = Sink::new(config.clone(), LANES).unwrap().opened(&mut Fake(&world));
    assert!(refused.unwrap_err().to_string().contains("already holds conn.log"));
    fs::remove_file(&stranger).unwrap();
    let mut sink = open(&config, &world);
    fs::write(&stranger, "mine").unwrap();
    sink.on(records(vec![conn_record(0, 0, conn_rows(2))]), 0).unwrap();
    let step = sink.on(Wake::Drained, 0).unwrap().unwrap();
    world.commit(step);
    let error = sink.committed().unwrap_err().to_string();
    assert!(error.contains("conn.log exists and is not ours"), "{error}");
    assert_eq!(fs::read_to_string(&stranger).unwrap(), "mine");
    assert!(Sink::new(config.clone(), LANES).unwrap().opened(&mut Fake(&world)).is_err());
    config.force = true;
    open(&config, &world);
    assert_eq!(column(&stranger, "uid"), ["C0", "C1"]);
}

#[test]
fn a_full_disk_is_told_with_the_file() {
    let (dir, mut world) = (tempfile::tempdir().unwrap(), World::default());
    let mut sink = open(&config(dir.path(), "tsv", None), &world);
    let temp = sink.files.place.path(&sink.files.place.temp("conn.log"));
    fs::create_dir_all(temp.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", temp).unwrap();
    drive(&mut sink, &mut world, records(vec![conn_record(0, 0, conn_rows(2))]), 0);
    let error = format!("{:#}", sink.on(Wake::Drained, 0).unwrap_err());
    assert!(
        error.contains(": nothing of it was committed") && error.contains("conn.log"),
        "{error}"
    );
    assert!(error.contains("No space left"), "{error}");
}

#[test]
fn rows_after_the_drain_get_a_file_of_their_own() {
    let (dir, mut world) = (tempfile::tempdir().unwrap(), World::default());
    let mut sink = open(&config(dir.path(), "tsv", None), &world);
    for offset in 0..3 {
        drive(&mut sink, &mut world, records(vec![conn_record(0, offset, conn_rows(2))]), 0);
        drive(&mut sink, &mut world, Wake::Drained, 0);
    }
    assert_eq!(tree(dir.path()), ["conn-2.log", "conn-3.log", "conn.log"]);
}

#[test]
fn files_name_themselves_and_their_rows_in_the_catalog() {
    let (dir, mut world) = (tempfile::tempdir().unwrap(), World::default());
    let mut sink = open(&config(dir.path(), "parquet", None), &world);
    drive(&mut sink, &mut world, records(vec![conn_record(0, 0, conn_rows(2))]), 0);
    drive(&mut sink, &mut world, Wake::Drained, 0);
    let (key, json) = world.documents.first_key_value().unwrap();
    let name = format!("s1:{}/conn.parquet", sink.files.place.dir());
    assert_eq!(*key, name);
    let entry = Entry::parse(json).unwrap();
    assert_eq!((entry.rows, entry.first, entry.last), (2, FIRST_US, FIRST_US + SECOND_US));
    assert_eq!(entry.bytes, fs::metadata(dir.path().join("conn.parquet")).unwrap().len());
    assert_eq!(entry.writer, "s1");
}
