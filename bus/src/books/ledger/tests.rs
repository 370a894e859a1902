//! Books that balance, and one wrong number at each place, which has to be named.

use super::*;

/// What is forged, after the books are made and before they are compared.
type Forge<'a> = &'a dyn Fn(&mut World);

/// A small cluster: one worker, an aggregator, a manager and a sink, each with one step that counts and one that
/// only says that it is there.
#[derive(Default)]
struct World {
    records: Vec<Record>,
    /// Topic, partition, offset, rows, and the record that says so.
    bus: Vec<(&'static str, Lane, i64, u64, Option<By>)>,
    letters: Vec<(&'static str, &'static str, Lane, i64, u64)>,
    positions: Vec<(&'static str, &'static str, Lane, i64)>,
    files: Vec<(u64, Catalogued)>,
}

fn record(group: &str, node: &str) -> Record {
    Record {
        group: group.into(),
        node: node.into(),
        run: 100,
        step: 1,
        at_ms: 500,
        ..Record::default()
    }
}

fn by(group: &str, node: &str) -> Option<By> {
    Some(By { group: group.into(), node: node.into(), run: 100, step: 1 })
}

fn put<T>(places: &mut Places<T>, topic: &str, lane: Lane, what: T) {
    places.entry(topic.into()).or_default().insert(lane, what);
}

fn range(from: i64, to: i64, rows: u64) -> Range {
    Range { from, to, records: 1, rows }
}

fn sum(rows: u64) -> Sum {
    Sum { records: 1, rows }
}

fn good() -> World {
    let mut w0 = record("capture", "w0");
    for (name, by) in [
        ("packets", 100),
        ("in_flows", 90),
        ("not_ip", 7),
        ("undecodable", 3),
        ("made.conn", 12),
        ("made.dns", 9),
        ("made.notice", 5),
        ("dropped.queue_full.dns", 3),
    ] {
        w0.counts.add(name, by);
    }
    put(&mut w0.output, "raw.conn", 0, sum(8));
    put(&mut w0.output, "raw.conn", 1, sum(4));
    put(&mut w0.output, "raw.notice", 0, sum(5));
    put(&mut w0.output, "log.dns", 1, sum(6));
    let mut a0 = record("aggregate", "a0");
    put(&mut a0.input, "raw.conn", 0, range(0, 3, 8));
    put(&mut a0.input, "raw.conn", 1, range(0, 2, 4));
    put(&mut a0.input, "raw.notice", 0, range(0, 2, 5));
    put(&mut a0.output, "log.conn", 0, sum(8));
    put(&mut a0.output, "log.conn", 1, sum(4));
    put(&mut a0.output, "notice", 0, sum(2));
    a0.counts.add("merged.notice", 2);
    a0.counts.add("open.notice", 1);
    let mut m0 = record("manager", "m0");
    put(&mut m0.input, "notice", 0, range(0, 2, 2));
    put(&mut m0.output, "log.notice", 1, sum(2));
    m0.counts.add("found.notice", 1);
    m0.counts.add("held_back.notice", 1);
    let mut s0 = record("sink.tsv", "s0");
    put(&mut s0.input, "log.conn", 0, range(0, 2, 8));
    put(&mut s0.input, "log.conn", 1, range(0, 2, 4));
    put(&mut s0.input, "log.dns", 1, range(0, 4, 6));
    put(&mut s0.dead, "log.dns", 1, sum(0));
    s0.files = vec![(1, "conn".into(), 12), (2, "dns".into(), 6)];
    let later = |record: &Record| Record {
        step: 2,
        at_ms: 900,
        input: Places::new(),
        output: Places::new(),
        dead: Places::new(),
        counts: Counts::default(),
        files: Vec::new(),
        ..record.clone()
    };
    let records = [w0, a0, m0, s0].into_iter().flat_map(|r| [r.clone(), later(&r)]);
    let (worker, aggregate) = (by("capture", "w0"), by("aggregate", "a0"));
    World {
        records: records.collect(),
        bus: vec![
            ("raw.conn", 0, 0, 5, worker.clone()),
            ("raw.conn", 0, 2, 3, worker.clone()),
            ("raw.conn", 1, 0, 4, worker.clone()),
            ("raw.notice", 0, 0, 5, worker.clone()),
            ("log.dns", 1, 0, 6, worker.clone()),
            // Nobody could read it; it says of itself that it has 50 rows.
            ("log.dns", 1, 3, 50, by("other", "x")),
            ("log.conn", 0, 0, 8, aggregate.clone()),
            ("log.conn", 1, 0, 4, aggregate.clone()),
            ("notice", 0, 0, 2, aggregate.clone()),
            ("log.notice", 1, 0, 2, by("manager", "m0")),
            // Written after the books were read.
            ("log.dns", 1, 9, 7, worker.map(|by| By { step: 3, ..by })),
        ],
        letters: vec![("sink.tsv", "log.dns", 1, 3, 0)],
        positions: vec![("aggregate", "raw.conn", 0, 3), ("sink.tsv", "log.dns", 1, 4)],
        files: vec![
            (1, Catalogued { stream: "conn".into(), rows: 12, trouble: None }),
            (2, Catalogued { stream: "dns".into(), rows: 6, trouble: None }),
        ],
    }
}

fn balance(forge: Forge<'_>) -> Vec<Difference> {
    let mut world = good();
    forge(&mut world);
    let mut ledger = Ledger::new();
    world.records.into_iter().for_each(|record| ledger.enter(record));
    for (group, topic, lane, offset, rows) in world.letters {
        ledger.letter(group, topic, lane, offset, rows);
    }
    for (topic, lane, offset, rows, by) in world.bus {
        ledger.found(topic, lane, offset, rows, by.as_ref());
    }
    world.positions.into_iter().for_each(|(group, topic, lane, at)| {
        ledger.position(group, topic, lane, at);
    });
    // All groups have positions, but those that are looked at here are the two.
    for (counter, file) in world.files {
        ledger.file("sink.tsv", "s0", counter, file);
    }
    ledger.positions.iter_mut().for_each(|(group, of)| {
        let known = ledger.groups.get(group).map(|group| &group.input);
        for (topic, lanes) in known.into_iter().flatten() {
            for (lane, stretches) in lanes {
                let of_topic = of.entry(topic.clone()).or_default();
                of_topic.entry(*lane).or_insert(stretches.end().unwrap_or(0));
            }
        }
    });
    ledger.balance()
}

/// Where the differences are: role, node, stream or topic, partition and rows.
fn places(found: &[Difference]) -> Vec<(&str, &str, &str, Option<Lane>, i64)> {
    let place = |d| {
        let Difference { role, node, of, partition, rows, .. }: &Difference = d;
        (role.as_str(), node.as_deref().unwrap_or(""), of.as_str(), *partition, *rows)
    };
    found.iter().map(place).collect()
}

#[test]
fn good_books_balance() {
    assert_eq!(balance(&|_| {}), []);
}

#[test]
fn packets_without_a_fate_are_named() {
    let found = balance(&|w| w.records[0].counts.add("packets", 2));
    assert_eq!(places(&found), [("capture", "w0", "packets", None, -2)]);
    assert!(found[0].what.contains("102 packets read, 100 with a fate"), "{found:?}");
}

#[test]
fn rows_made_and_neither_sent_nor_dropped_are_named() {
    let found = balance(&|w| w.records[0].counts.add("made.dns", 4));
    assert_eq!(places(&found), [("capture", "w0", "dns", None, -4)]);
    let found = balance(&|w| w.records[0].counts.add("dropped.repeated.conn", 1));
    assert_eq!(places(&found), [("capture", "w0", "conn", None, 1)]);
}

#[test]
fn a_record_that_is_gone_from_the_bus_is_named_with_its_writer_and_its_readers() {
    let found = balance(&|w| drop(w.bus.remove(1)));
    assert_eq!(
        places(&found),
        [("aggregate", "", "raw.conn", Some(0), 3), ("capture", "w0", "raw.conn", Some(0), -3)]
    );
    assert!(
        found[0].what.contains("8 rows read from offset 0 to 3, 5 are on the bus"),
        "{found:?}"
    );
}

#[test]
fn rows_that_come_twice_or_from_nobody_are_named() {
    let found = balance(&|w| w.bus.push(("log.dns", 1, 8, 6, by("capture", "w0"))));
    assert_eq!(places(&found), [("capture", "w0", "log.dns", Some(1), 6)]);
    let found = balance(&|w| w.bus.push(("log.dns", 1, 8, 6, None)));
    assert_eq!(places(&found), [("nobody", "", "log.dns", Some(1), 6)]);
    let found = balance(&|w| w.bus.push(("log.dns", 0, 8, 6, by("capture", "w0"))));
    assert_eq!(places(&found), [("capture", "w0", "log.dns", Some(0), 6)]);
    // Anybody may send to be aggregated, and a role of another time is not known here.
    assert_eq!(balance(&|w| w.bus.push(("raw.notice", 0, 8, 6, None))), []);
    assert_eq!(balance(&|w| w.bus.push(("log.dns", 1, 8, 6, by("capture", "w9")))), []);
}

#[test]
fn rows_that_are_read_twice_or_passed_over_are_named() {
    let again = |w: &mut World| put(&mut w.records[3].input, "raw.conn", 0, range(1, 3, 3));
    let found = balance(&again);
    assert!(places(&found).contains(&("aggregate", "", "raw.conn", Some(0), 3)), "{found:?}");
    assert!(found.iter().any(|d| d.what == "rows read twice"), "{found:?}");
    let over = |w: &mut World| {
        put(&mut w.records[2].input, "raw.conn", 0, range(0, 2, 5));
        put(&mut w.records[3].input, "raw.conn", 0, range(3, 9, 3));
        w.positions[0].3 = 9;
    };
    let found = balance(&over);
    let of = |what| found.iter().find(|d| d.what.contains(what)).map(|d| (d.partition, d.rows));
    assert_eq!(of("passed over"), Some((Some(0), -3)), "{found:?}");
    assert_eq!(of("from offset 3 to 9"), Some((Some(0), 3)), "{found:?}");
}

#[test]
fn rows_lost_inside_a_role_are_named() {
    let found = balance(&|w| w.records[2].counts.add("merged.notice", -1));
    assert_eq!(places(&found), [("aggregate", "", "raw.notice", None, -1)]);
    let found = balance(&|w| w.records[4].counts.add("held_back.notice", 1));
    assert_eq!(places(&found), [("manager", "", "notice", None, 1)]);
    let found = balance(&|w| {
        w.records[6].files[0].2 = 11;
        w.files[0].1.rows = 11;
    });
    assert_eq!(places(&found), [("sink.tsv", "", "log.conn", None, -1)]);
}

#[test]
fn files_that_are_gone_cut_or_unknown_are_named() {
    let found = balance(&|w| w.files[1].1.trouble = Some((0, "dns.log is gone".into())));
    assert_eq!(places(&found), [("sink.tsv", "s0", "dns", None, -6)]);
    assert!(found[0].what.contains("file 2: dns.log is gone"), "{found:?}");
    let found = balance(&|w| drop(w.files.remove(0)));
    assert_eq!(places(&found), [("sink.tsv", "s0", "conn", None, -12)]);
    let found = balance(&|w| w.files[0].1.rows = 13);
    assert_eq!(places(&found), [("sink.tsv", "s0", "conn", None, 1)]);
}

#[test]
fn a_position_that_was_set_back_is_named() {
    let found = balance(&|w| w.positions[0].3 = 1);
    assert_eq!(places(&found), [("aggregate", "", "raw.conn", Some(0), 0)]);
    assert!(found[0].what.contains("position is 1, its books go to 3"), "{found:?}");
}

/// Retention takes the oldest books: what they told of is not looked for.
#[test]
fn books_that_begin_late_balance_too() {
    let mut world = good();
    for i in [1, 4, 7, 10] {
        // Only what it said of itself is left of a first process.
        let left = Record { run: 50, at_ms: 100, ..world.records[i].clone() };
        world.records.insert(0, left);
    }
    let early = By { run: 40, ..by("capture", "w0").unwrap() };
    world.bus.push(("log.dns", 1, -5, 77, Some(early)));
    let mut ledger = Ledger::new();
    world.records.into_iter().for_each(|record| ledger.enter(record));
    ledger.letter("sink.tsv", "log.dns", 1, 3, 0);
    for (topic, lane, offset, rows, by) in world.bus {
        ledger.found(topic, lane, offset, rows, by.as_ref());
    }
    for (counter, file) in world.files {
        ledger.file("sink.tsv", "s0", counter, file);
    }
    assert_eq!(ledger.balance(), []);
    assert_eq!(ledger.since_ms(), Some(100));
    assert_eq!(ledger.waiting("sink.tsv")["log.dns"], 7);
}

#[test]
fn stretches_grow_together_whatever_their_order() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1]] {
        let mut stretches = Stretches::default();
        let ranges = [range(0, 4, 1), range(4, 6, 2), range(6, 7, 3)];
        order.iter().for_each(|i| stretches.add(ranges[*i]));
        let all: Vec<_> = stretches.iter().map(|(from, s)| (from, s.to, s.rows)).collect();
        assert_eq!(all, [(0, 7, 6)], "{order:?}");
        stretches.add(range(3, 5, 9));
        assert_eq!((stretches.again, stretches.rows()), (9, 15));
    }
}

/// Where records do not say who wrote them, all writers are one.
#[test]
fn unsigned_books_compare_sums() {
    let balance = |rows: u64| {
        let mut ledger = Ledger::unsigned();
        let mut first = record("capture", "w0");
        put(&mut first.output, "log.dns", 1, sum(6));
        let mut second = record("capture", "w1");
        put(&mut second.output, "log.dns", 1, sum(2));
        put(&mut second.output, "files", 1, sum(0));
        [first, second].into_iter().for_each(|record| ledger.enter(record));
        ledger.found("log.dns", 1, 0, rows, None);
        ledger.balance()
    };
    assert_eq!(balance(8), []);
    assert_eq!(places(&balance(7)), [("all", "", "log.dns", Some(1), -1)]);
}
