//! Positions of the group that the broker has forgotten: the catalog tells where to go on.

use super::*;

fn rows_of(dir: &Path) -> usize {
    let names = tree(dir);
    names.iter().map(|name| column(&dir.join(name), "uid").len()).sum()
}

#[test]
fn it_stood_where_files_end_whoever_wrote_them() {
    let (dir, mut world) = (tempfile::tempdir().unwrap(), World::default());
    let config = config(dir.path(), "tsv", Some(MINUTE_US));
    let mut first = open(&config, &world);
    assert!(first.stood(0, &[]).is_empty());
    let early = vec![conn_record(0, 0, conn_rows(3)), conn_record(1, 5, conn_rows(4))];
    drive(&mut first, &mut world, records(early), 0);
    drive(&mut first, &mut world, Wake::Stop, 0);
    drive(&mut first, &mut world, records(vec![conn_record(0, 7, conn_rows(2))]), 0);
    drive(&mut first, &mut world, Wake::Stop, 0);

    let second = open(&Config { node: "s2".into(), ..config }, &world);
    let stood = |lane| {
        let stood = second.stood(lane, &[]).into_iter();
        stood.map(|at| (at.topic, at.offset)).collect::<Vec<_>>()
    };
    let log = Topic::log(&conn::DEF);
    assert_eq!(stood(0), [(log.clone(), 8)]);
    assert_eq!(stood(1), [(log, 6)]);
    assert!(stood(2).is_empty());
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
