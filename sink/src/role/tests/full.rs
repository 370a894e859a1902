//! A disk that is full: the sink waits, and nothing is lost, doubled or left over.

use std::os::unix::fs::symlink;

use super::*;

/// From now on this file is on a disk that is full.
fn fill(sink: &Sink, name: &str) {
    sink.files.place.make().unwrap();
    symlink("/dev/full", sink.files.place.path(&sink.files.place.temp(name))).unwrap();
}

fn session_ends(done: Result<impl Sized>) -> String {
    match done.map(drop).unwrap_err().downcast::<BusError>() {
        Ok(BusError::Session(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_disk_pauses_and_the_rows_come_again() {
    // A small file comes to the disk when it is closed, a large one before.
    let formats = [("tsv", "conn.log"), ("json", "conn.json"), ("parquet", "conn.parquet")];
    for ((format, name), count) in formats.into_iter().flat_map(|f| [(f, 1), (f, 500)]) {
        let (dir, mut world) = (tempfile::tempdir().unwrap(), World::default());
        let mut sink = open(&config(dir.path(), format, None), &world);
        fill(&sink, name);
        let rows = || records(vec![conn_record(0, 0, conn_rows(count))]);
        let text = match sink.on(rows(), 0) {
            Err(error) => session_ends(Err::<(), _>(error)),
            Ok(_) => session_ends(sink.on(Wake::Drained, 0)),
        };
        assert!(text.contains("no room in") && text.contains("wait on the bus"), "{text}");
        assert_eq!(tree(dir.path()), [""; 0], "{format}: half a file is left");
        assert_eq!(sink.summary().pauses, 1);

        // This disk has room, so that it need not wait.
        assert!(sink.ready(0));
        sink.opened(&mut Fake(&world)).unwrap();
        sink.restored(0, Restored::default()).unwrap();
        assert!(!drive(&mut sink, &mut world, rows(), 0));
        assert!(drive(&mut sink, &mut world, Wake::Drained, 0));
        assert_eq!(tree(dir.path()), [name]);
        assert_eq!((sink.summary().rows_out, sink.summary().pauses), (count as u64, 1));
        assert!(sink.full.is_none());
    }
}

#[test]
fn what_is_full_is_asked_again_and_said_once() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::default());
    let mut sink = open(&config(dir.path(), "tsv", None), &world);
    for _ in 0..3 {
        sink.opened(&mut Fake(&world)).unwrap();
        fill(&sink, "conn.log");
        assert!(sink.on(records(vec![conn_record(0, 0, conn_rows(5))]), 0).unwrap().is_none());
        session_ends(sink.on(Wake::Drained, 0));
    }
    assert_eq!(sink.summary().pauses, 1);
    // As much is needed as no disk has.
    sink.full.as_mut().unwrap().again(u64::MAX);
    assert!(!sink.ready(0) && !sink.ready(29_999) && sink.ready(30_000));
}

#[test]
fn no_room_for_the_corner_itself_is_waited_for_too() {
    let (dir, mut world) = (tempfile::tempdir().unwrap(), World::default());
    let mut sink = open(&config(dir.path(), "tsv", Some(MINUTE_US)), &world);
    drive(&mut sink, &mut world, records(vec![conn_record(0, 0, conn_rows(5))]), 0);
    assert!(drive(&mut sink, &mut world, Wake::Stop, 0));
    assert!(!dir.path().join(".tmp-s1-tsv").exists());
    let no_room = std::io::Error::from_raw_os_error(28);
    let text = session_ends(Err::<(), _>(sink.give_way(anyhow::Error::from(no_room))));
    assert!(text.contains("no room in"), "{text}");
}

#[test]
fn without_a_way_back_the_disk_is_the_end() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::default());
    let config = Config { waits_for_room: false, ..config(dir.path(), "tsv", None) };
    let mut sink = open(&config, &world);
    fill(&sink, "conn.log");
    assert!(sink.on(records(vec![conn_record(0, 0, conn_rows(5))]), 0).unwrap().is_none());
    let error = sink.on(Wake::Drained, 0).unwrap_err();
    assert!(error.downcast_ref::<BusError>().is_none(), "{error:#}");
    let text = format!("{error:#}");
    assert!(text.contains(&format!("no room in {}", sink.files.place.root().display())), "{text}");
    assert!(sink.full.is_none() && sink.summary().pauses == 0);
}

#[test]
fn another_failure_of_the_disk_is_still_the_end() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::default());
    let mut sink = open(&config(dir.path(), "tsv", None), &world);
    sink.files.place.make().unwrap();
    let temp = sink.files.place.path(&sink.files.place.temp("conn.log"));
    fs::create_dir(temp).unwrap();
    let error = sink.on(records(vec![conn_record(0, 0, conn_rows(5))]), 0).unwrap_err();
    assert!(error.downcast_ref::<BusError>().is_none(), "{error:#}");
    assert!(format!("{error:#}").contains("cannot begin the file"), "{error:#}");
}
