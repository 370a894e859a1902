//! The role under the real loop, on the memory bus.

use bus::drive::Driver;
use bus::sim::{Faults, Sim};

use super::*;

/// Conn rows in every lane of a bus, with the number of them.
fn filled(batches: i64) -> (Memory, u64) {
    let bus = Memory::new(LANES, Retain::UntilCommitted);
    let writer = Member { topics: Vec::new(), state: None, home: vec![0], ..member("tsv", "w1") };
    let mut session = bus.open(&Member { group: "capture".into(), ..writer }).unwrap();
    for batch in 0..batches {
        let times = (0..50).map(|n| FIRST_US + batch * MINUTE_US / 4 + n * SECOND_US);
        let (rows, lane) = (conn_rows_at(times), batch as Lane % LANES);
        let out = vec![Outgoing::rows(Topic::log(&conn::DEF), lane, &conn::DEF, rows)];
        session = session.commit(Step { out, ..Step::default() }).unwrap();
    }
    (bus, batches as u64 * 50)
}

fn published_rows(bus: &Memory) -> u64 {
    let mut newest = BTreeMap::new();
    for record in bus.records(&topic::FILES) {
        let Payload::Bytes(json) = &record.payload else { panic!("a document") };
        newest.insert(record.key.clone(), Entry::parse(json).unwrap());
    }
    assert!(newest.values().all(|entry| entry.state == State::Published));
    newest.values().map(|entry| entry.rows).sum()
}

#[test]
fn three_formats_read_one_bus() {
    let (bus, rows) = filled(20);
    let dir = tempfile::tempdir().unwrap();
    for format in ["tsv", "json", "parquet"] {
        let mut sink = Sink::new(config(dir.path(), format, None), bus.lanes()).unwrap();
        let (me, stop) = (member(format, "s1"), Stop::new());
        bus::drive::drive(&bus, &me, &mut sink, &clock::System, &stop, Until::Drained).unwrap();
        assert_eq!((sink.summary().rows_in, sink.summary().rows_out), (rows, rows));
    }
    assert_eq!(tree(dir.path()), ["conn.json", "conn.log", "conn.parquet"]);
    assert_eq!(published_rows(&bus), 3 * rows);
}

#[test]
fn what_retention_took_is_a_counted_gap_and_no_end() {
    let (sim, dir) = (Sim::new(LANES, 1, Faults::NONE).paced(), tempfile::tempdir().unwrap());
    let log = Topic::log(&conn::DEF);
    let mut rows = 0..;
    let mut write = |lane: Lane| {
        let times = rows.by_ref().take(10).map(|n| FIRST_US + n * SECOND_US);
        let out = vec![Outgoing::rows(log.clone(), lane, &conn::DEF, conn_rows_at(times))];
        let member = Member { topics: Vec::new(), ..member("tsv", "w") };
        let session = sim.open(&Member { group: "capture".into(), ..member }).unwrap();
        drop(session.commit(Step { out, ..Step::default() }).unwrap());
    };
    let run = || {
        let config = config(dir.path(), "tsv", Some(MINUTE_US));
        let mut sink = Sink::new(config, LANES).unwrap();
        let (me, stop) = (member("tsv", "s1"), Stop::new());
        bus::drive::drive(&sim, &me, &mut sink, &sim, &stop, Until::Drained).unwrap();
        (sink.summary().rows_out, sink.summary().records_gone)
    };
    (0..3).for_each(&mut write);
    assert_eq!(run(), (30, 0));
    (0..3).chain(0..2).for_each(&mut write);
    // The mark of the transaction read, and the record that was not: what is next was written last.
    let next = sim.records(&log).iter().filter(|r| r.lane == 1).map(|r| r.offset).max();
    sim.cut(&log, 1, next.unwrap());
    assert_eq!(run(), (40, 3));
}

#[test]
fn a_quiet_file_is_closed_by_its_age_though_the_clock_was_set_back() {
    let (sim, dir) = (Sim::new(LANES, 1, Faults::NONE).paced(), tempfile::tempdir().unwrap());
    let out = vec![Outgoing::rows(Topic::log(&conn::DEF), 1, &conn::DEF, conn_rows(10))];
    let writer = Member { topics: Vec::new(), ..member("tsv", "w") };
    let session = sim.open(&Member { group: "capture".into(), ..writer }).unwrap();
    drop(session.commit(Step { out, ..Step::default() }).unwrap());

    let config = config(dir.path(), "tsv", Some(60 * MINUTE_US));
    let (age_ms, clock) = (config.age_ms().unwrap(), clock::Manual::default());
    let mut sink = Sink::new(config, LANES).unwrap();
    let mut driver = Driver::new(&member("tsv", "s1"), &Stop::new(), Until::Forever);
    let mut published = |passes_ms| {
        clock.advance_ms(passes_ms);
        (0..LANES * 100).for_each(|_| _ = driver.turn(&sim, &mut sink, &clock).unwrap());
        sink.summary().rows_out
    };
    assert_eq!(published(0), 0);
    clock.jump_ms(-86_400_000);
    assert_eq!(published(age_ms - 1), 0);
    assert_eq!(published(1), 10);
}

/// A member that reads the same catalog, of a group that has no positions.
fn forgotten() -> Member {
    Member { group: "sink.tsv.forgotten".into(), ..member("tsv", "s1") }
}

#[test]
fn what_retention_took_after_the_files_is_counted_too() {
    let (sim, dir) = (Sim::new(LANES, 1, Faults::NONE).paced(), tempfile::tempdir().unwrap());
    let log = Topic::log(&conn::DEF);
    let write = || {
        let out = vec![Outgoing::rows(log.clone(), 1, &conn::DEF, conn_rows(10))];
        let writer = Member { topics: Vec::new(), ..member("tsv", "w") };
        let session = sim.open(&Member { group: "capture".into(), ..writer }).unwrap();
        drop(session.commit(Step { out, ..Step::default() }).unwrap());
    };
    let run = |me: &Member| {
        let config = config(dir.path(), "tsv", Some(MINUTE_US));
        let mut sink = Sink::new(config, LANES).unwrap();
        bus::drive::drive(&sim, me, &mut sink, &sim, &Stop::new(), Until::Drained).unwrap();
        (sink.summary().rows_out, sink.summary().records_gone)
    };
    write();
    assert_eq!(run(&member("tsv", "s1")), (10, 0));
    (0..3).for_each(|_| write());
    let newest = sim.records(&log).iter().map(|record| record.offset).max();
    sim.cut(&log, 1, newest.unwrap());
    // Two records, and the marks of three transactions.
    assert_eq!(run(&forgotten()), (10, 5));
}

#[test]
fn files_that_go_beyond_the_log_are_refused() {
    let (old, _) = filled(8);
    let dir = tempfile::tempdir().unwrap();
    let run = |bus: &Memory| {
        let mut sink = Sink::new(config(dir.path(), "tsv", Some(MINUTE_US)), LANES).unwrap();
        let (me, stop) = (forgotten(), Stop::new());
        bus::drive::drive(bus, &me, &mut sink, &clock::System, &stop, Until::Drained)
    };
    run(&old).unwrap();
    // The topics of rows were made anew, the catalog was not.
    let (anew, _) = filled(1);
    let writer = Member { topics: Vec::new(), state: None, home: vec![0], ..member("tsv", "w2") };
    let session = anew.open(&Member { group: "copy".into(), ..writer }).unwrap();
    let copy = |record: Record| Outgoing {
        topic: record.topic,
        lane: record.lane,
        key: record.key,
        payload: record.payload,
        stamp: None,
        headers: Vec::new(),
        packed: None,
    };
    let out = old.records(&topic::FILES).into_iter().map(copy).collect();
    drop(session.commit(Step { out, ..Step::default() }).unwrap());
    let error = format!("{:#}", run(&anew).unwrap_err());
    assert!(error.contains("cut or made anew"), "{error}");
}

#[test]
fn several_nodes_share_the_lanes_and_the_folder() {
    let (bus, rows) = filled(60);
    let dir = tempfile::tempdir().unwrap();
    let run = |node: &str| {
        let config = Config { node: node.into(), ..config(dir.path(), "tsv", Some(MINUTE_US)) };
        let mut sink = Sink::new(config, bus.lanes()).unwrap();
        let (me, stop) = (member("tsv", node), Stop::new());
        bus::drive::drive(&bus, &me, &mut sink, &clock::System, &stop, Until::Drained).unwrap();
        sink.summary().rows_out
    };
    let counted: u64 = std::thread::scope(|scope| {
        let nodes = ["s1", "s2", "s3"].map(|node| scope.spawn(move || run(node)));
        nodes.into_iter().map(|node| node.join().unwrap()).sum()
    });
    assert_eq!(counted, rows);
    assert_eq!(published_rows(&bus), rows);
    let in_file = |name: &String| column(&dir.path().join(name), "uid").len() as u64;
    assert_eq!(tree(dir.path()).iter().map(in_file).sum::<u64>(), rows);
}
