//! A sink that starts again: in its folder, in a folder spelt or named otherwise, beside its own files.

use super::*;

/// A sink killed after its commit, before any rename.
fn killed_before_renames(dir: &Path, world: &mut World) {
    let mut sink = open(&config(dir, "tsv", None), world);
    let rows = vec![
        conn_record(0, 0, conn_rows(2)),
        record(Topic::log(&dns::DEF), 0, 0, Payload::Rows(&dns::DEF, dns_rows())),
    ];
    assert!(sink.on(records(rows), 0).unwrap().is_none());
    world.commit(sink.on(Wake::Drained, 0).unwrap().unwrap());
}

#[test]
fn an_unrotated_sink_goes_on_after_it_was_killed_between_renames() {
    let (dir, mut world) = (tempfile::tempdir().unwrap(), World::default());
    killed_before_renames(dir.path(), &mut world);
    // One rename was done.
    let temp = world.documents.values().map(|json| Entry::parse(json).unwrap());
    let temp = temp.into_iter().find(|entry| entry.stream == "conn").unwrap().temp;
    fs::rename(dir.path().join(temp), dir.path().join("conn.log")).unwrap();
    let mut sink = open(&config(dir.path(), "tsv", None), &world);
    assert_eq!(tree(dir.path()), ["conn.log", "dns.log"]);
    drive(&mut sink, &mut world, records(vec![conn_record(0, 1, conn_rows(1))]), 0);
    drive(&mut sink, &mut world, Wake::Drained, 0);
    assert_eq!(tree(dir.path()), ["conn-2.log", "conn.log", "dns.log"]);
    // Published files of an earlier process are no strangers either, and no name is taken twice.
    let mut sink = open(&config(dir.path(), "tsv", None), &world);
    drive(&mut sink, &mut world, records(vec![conn_record(0, 2, conn_rows(1))]), 0);
    drive(&mut sink, &mut world, Wake::Drained, 0);
    assert_eq!(tree(dir.path()), ["conn-2.log", "conn-3.log", "conn.log", "dns.log"]);
}

#[test]
fn committed_files_are_found_however_their_folder_is_spelt() {
    let (outer, mut world) = (tempfile::tempdir().unwrap(), World::default());
    let dir = outer.path().join("logs");
    killed_before_renames(&dir, &mut world);
    let link = outer.path().join("link");
    std::os::unix::fs::symlink(&dir, &link).unwrap();
    open(&config(&link, "tsv", None), &world);
    assert_eq!(tree(&dir), ["conn.log", "dns.log"]);
}

#[test]
fn committed_files_are_found_where_their_folder_was_moved() {
    let (outer, mut world) = (tempfile::tempdir().unwrap(), World::default());
    let (dir, moved) = (outer.path().join("logs"), outer.path().join("moved"));
    killed_before_renames(&dir, &mut world);
    fs::rename(&dir, &moved).unwrap();
    open(&config(&moved, "tsv", None), &world);
    assert_eq!(tree(&moved), ["conn.log", "dns.log"]);
}
