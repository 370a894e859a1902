//! Positions of the group that the broker has forgotten: the catalog tells where to go on.

use super::*;

fn rows_of(dir: &Path) -> usize {
    let names = tree(dir);
    names.iter().map(|name| column(&dir.join(name), "uid").len()).sum()
}

#[test]
fn what_is_in_files_is_passed_over() {
    let (dir, mut world) = (tempfile::tempdir().unwrap(), World::default());
    let config = config(dir.path(), "tsv", Some(MINUTE_US));
    let mut first = open(&config, &world);
    let early = || vec![conn_record(0, 0, conn_rows(3)), conn_record(1, 5, conn_rows(4))];
    drive(&mut first, &mut world, records(early()), 0);
    drive(&mut first, &mut world, Wake::Stop, 0);
    drive(&mut first, &mut world, records(vec![conn_record(0, 7, conn_rows(2))]), 0);
    drive(&mut first, &mut world, Wake::Stop, 0);
    assert_eq!(rows_of(dir.path()), 9);

    // Another node reads all from the beginning, as the broker knows no position any more.
    world.positions.clear();
    let mut second = open(&Config { node: "s2".into(), ..config }, &world);
    let mut all = early();
    all.insert(1, conn_record(0, 7, conn_rows(2)));
    all.insert(2, conn_record(0, 8, conn_rows(10)));
    all.push(conn_record(1, 6, conn_rows(1)));
    all.push(conn_record(2, 0, conn_rows(1)));
    drive(&mut second, &mut world, records(all), 0);
    drive(&mut second, &mut world, Wake::Stop, 0);
    assert_eq!(rows_of(dir.path()), 9 + 10 + 1 + 1);
    let log = Topic::log(&conn::DEF);
    let reached = [0, 1, 2].map(|lane| world.positions[&(log.clone(), lane)]);
    assert_eq!(reached, [9, 7, 1]);
}

#[test]
fn what_is_passed_over_is_never_committed_in_part() {
    let (dir, mut world) = (tempfile::tempdir().unwrap(), World::default());
    let config = config(dir.path(), "tsv", Some(MINUTE_US));
    let mut first = open(&config, &world);
    let all = || vec![conn_record(0, 0, conn_rows(3)), conn_record(0, 6, conn_rows(2))];
    drive(&mut first, &mut world, records(all()), 0);
    drive(&mut first, &mut world, Wake::Stop, 0);

    // Stopped again before it has come as far as the files go.
    world.positions.clear();
    let mut second = open(&config, &world);
    drive(&mut second, &mut world, records(vec![conn_record(0, 0, conn_rows(3))]), 0);
    drive(&mut second, &mut world, Wake::Stop, 0);
    assert_eq!(world.positions[&(Topic::log(&conn::DEF), 0)], 7);
    assert_eq!(rows_of(dir.path()), 5);
}

#[test]
fn a_position_that_is_there_counts_alone() {
    let (dir, mut world) = (tempfile::tempdir().unwrap(), World::default());
    let config = config(dir.path(), "tsv", Some(MINUTE_US));
    let mut sink = open(&config, &world);
    drive(&mut sink, &mut world, records(vec![conn_record(0, 6, conn_rows(3))]), 0);
    drive(&mut sink, &mut world, Wake::Stop, 0);
    drop(sink);
    // Somebody has set the group back, to have the rows written once more.
    let mut sink = Sink::new(config, LANES).unwrap();
    sink.opened(&mut Fake(&world)).unwrap();
    let topic = Topic::log(&conn::DEF);
    let set_back = Position { topic, lane: 0, offset: 6, metadata: String::new() };
    let from = Restored { positions: vec![set_back], ..Restored::default() };
    sink.restored(0, from).unwrap();
    sink.on(records(vec![conn_record(0, 6, conn_rows(3))]), 0).unwrap();
    sink.on(Wake::Stop, 0).unwrap().expect("its rows");
    sink.committed().unwrap();
    assert_eq!(rows_of(dir.path()), 6);
}
