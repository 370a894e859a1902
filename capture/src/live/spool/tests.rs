//! Spools that are full, cut, rotten, left behind and fought over.

use std::os::unix::fs::PermissionsExt as _;

use super::super::entry::tests::entry;
use super::*;

const MAX: u64 = 1 << 20;
const LANES: u32 = 2;

fn open(dir: &Path) -> (Spool, Recovered) {
    Spool::open(dir, MAX).unwrap()
}

fn numbers(spool: &mut Spool) -> Vec<u64> {
    let (mut given, mut numbers) = (None, Vec::new());
    while let Some(read) = spool.after(given, LANES) {
        let (entry, refused) = read.unwrap();
        assert!(refused.is_empty());
        given = Some(entry.id);
        numbers.push(entry.id.number);
    }
    numbers
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some()).collect();
    paths.sort();
    paths
}

#[test]
fn what_was_spooled_is_there_in_order_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, found) = open(dir.path());
    assert_eq!(found, Recovered::default());
    for number in 1..=5 {
        spool.append(&entry(7, number, 10)).unwrap();
    }
    spool.release(Id { round: 7, number: 2 });
    drop(spool); // as after a kill: nothing is done on the way out
    let (mut spool, found) = open(dir.path());
    assert_eq!((found.entries, found.rows, found.bytes_lost), (5, 50, 0));
    spool.forget(|id| id.number <= 3);
    assert_eq!((numbers(&mut spool), spool.rows()), (vec![4, 5], 20));
    // A new process has a segment of its own.
    spool.append(&entry(8, 1, 1)).unwrap();
    assert_eq!(files(dir.path()).len(), 2);
    assert_eq!(numbers(&mut spool), [4, 5, 1]);
    spool.release(Id { round: 7, number: 5 });
    assert_eq!(files(dir.path()).len(), 1);
    spool.release(Id { round: 8, number: 1 });
    assert!(spool.is_empty() && files(dir.path()).is_empty());
    assert_eq!(spool.used, 0);
}

#[test]
fn a_torn_tail_is_cut_at_the_last_good_checksum_wherever_it_is_torn() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(dir.path());
    let mut ends = Vec::new();
    for number in 1..=2 {
        spool.append(&entry(1, number, 2)).unwrap();
        ends.push(spool.used);
    }
    drop(spool);
    let path = files(dir.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let (mut spool, found) = open(dir.path());
        let kept = ends.iter().filter(|end| **end <= length as u64).count() as u64;
        assert_eq!(found.entries, kept, "{length}");
        let good = if kept > 0 { ends[kept as usize - 1] } else { 8.min(length as u64) / 8 * 8 };
        assert_eq!(found.bytes_lost, length as u64 - good, "{length}");
        assert_eq!(numbers(&mut spool), (1..=kept).collect::<Vec<_>>());
        // What comes next is read after what was saved. Syncing takes its time: not everywhere.
        if length % 100 == 0 {
            spool.append(&entry(2, 9, 1)).unwrap();
            assert_eq!(numbers(&mut spool).last(), Some(&9));
        }
        drop(spool);
        files(dir.path()).iter().for_each(|path| fs::remove_file(path).unwrap());
    }
}

#[test]
fn a_flipped_bit_costs_what_follows_in_its_segment_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=2 {
        let (mut spool, _) = open(dir.path());
        spool.append(&entry(round, 1, 2)).unwrap();
        spool.append(&entry(round, 2, 2)).unwrap();
    }
    let path = files(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (mut spool, found) = open(dir.path());
    assert_eq!(found.entries, 3);
    assert!(found.bytes_lost > 0);
    assert_eq!(numbers(&mut spool), [1, 1, 2]);
    // One that rots later is named, and the next follows.
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (lost, _) = spool.after(None, LANES).unwrap().unwrap_err();
    assert_eq!((lost.id, lost.rows), (Id { round: 1, number: 1 }, 2));
    assert!(spool.after(Some(lost.id), LANES).unwrap().is_ok());
}

#[test]
fn it_takes_no_more_than_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let size = entry(1, 1, 100).to_bytes().unwrap().len() as u64;
    let (mut spool, _) = Spool::open(dir.path(), 3 * size).unwrap();
    let mut took = 0;
    while spool.append(&entry(1, took + 1, 100)).is_ok() {
        took += 1;
    }
    assert_eq!(took, 2);
    let on_disk: u64 = files(dir.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert_eq!((spool.used, on_disk <= 3 * size), (on_disk, true));
    assert!(matches!(spool.append(&entry(1, 9, 100)), Err(SpoolError::Full(_))));
    spool.release(Id { round: 1, number: 2 });
    spool.append(&entry(1, 9, 100)).unwrap();
}

#[test]
fn another_process_is_refused_and_a_disk_that_fails_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(dir.path());
    let error = Spool::open(dir.path(), MAX).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    // A folder that is gone takes nothing; when it is back, it does again.
    let away = dir.path().with_extension("away");
    fs::rename(dir.path(), &away).unwrap();
    assert!(matches!(spool.append(&entry(1, 1, 1)), Err(SpoolError::Disk(_))));
    fs::rename(&away, dir.path()).unwrap();
    spool.append(&entry(1, 1, 1)).unwrap();
    assert_eq!(numbers(&mut spool), [1]);
    let file = files(dir.path()).remove(0);
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o002, 0);
}
