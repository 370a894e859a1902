//! One order through memory and disk, and what is dropped.

use super::super::entry::tests::entry;
use super::*;

const LANES: u32 = 2;

fn push(queue: &mut Queue, numbers: std::ops::RangeInclusive<u64>, now_ms: i64) {
    numbers.for_each(|number| queue.push(entry(1, number, 10), now_ms));
}

fn rest(queue: &mut Queue) -> Vec<u64> {
    std::iter::from_fn(|| queue.take()).map(|entry| entry.id.number).collect()
}

fn done(number: u64) -> Id {
    Id { round: 1, number }
}

/// Room for so many entries of [`push`] in memory.
fn room(entries: usize) -> usize {
    entries * entry(1, 1, 10).memory()
}

fn spool(dir: &tempfile::TempDir, max: u64) -> Option<Spool> {
    Some(Spool::open(dir.path(), max).unwrap().0)
}

#[test]
fn without_a_spool_the_newest_are_dropped_and_counted() {
    let mut queue = Queue::new(room(3), None, LANES);
    push(&mut queue, 1..=5, 0);
    assert_eq!(queue.dropped(), Dropped { steps: 2, rows: 20 });
    assert_eq!(queue.take().map(|entry| entry.id), Some(done(1)));
    // In the role's hand it still takes its room.
    push(&mut queue, 6..=6, 0);
    assert_eq!(queue.dropped().steps, 3);
    queue.release(done(1));
    push(&mut queue, 7..=7, 0);
    assert_eq!(rest(&mut queue), [2, 3, 7]);
    assert!(!queue.is_empty(), "not committed yet");
    queue.release(done(7));
    assert!(queue.is_empty());
    assert_eq!(queue.memory_bytes, 0);
}

#[test]
fn what_does_not_fit_memory_goes_to_disk_and_nothing_overtakes() {
    let dir = tempfile::tempdir().unwrap();
    let mut queue = Queue::new(room(2), spool(&dir, 1 << 20), LANES);
    push(&mut queue, 1..=2, 0);
    assert_eq!(queue.rows(), (20, 0));
    assert_eq!(queue.take().map(|entry| entry.id), Some(done(1)));
    push(&mut queue, 3..=6, 0);
    // All of it: a kill costs nothing now, not even what the role has in hand.
    assert_eq!(queue.rows(), (0, 60));
    assert_eq!(rest(&mut queue), [2, 3, 4, 5, 6]);
    queue.release(done(6));
    assert_eq!(queue.rows(), (0, 0));
    push(&mut queue, 7..=8, 0);
    assert_eq!((queue.rows(), rest(&mut queue)), ((20, 0), vec![7, 8]));
    assert_eq!(queue.dropped(), Dropped::default());
}

#[test]
fn what_waited_long_goes_to_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut queue = Queue::new(room(100), spool(&dir, 1 << 20), LANES);
    push(&mut queue, 1..=2, 0);
    push(&mut queue, 3..=3, SPILL_AFTER_MS - 1);
    assert_eq!(queue.rows(), (30, 0));
    push(&mut queue, 4..=4, SPILL_AFTER_MS);
    // What is new follows the old.
    assert_eq!(queue.rows(), (0, 40));
    push(&mut queue, 5..=5, SPILL_AFTER_MS);
    assert_eq!((queue.rows(), rest(&mut queue)), ((0, 50), vec![1, 2, 3, 4, 5]));
}

#[test]
fn a_spool_that_is_full_leaves_memory_and_then_drops_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let size = entry(1, 1, 10).to_bytes().unwrap().len() as u64;
    let mut queue = Queue::new(room(2), spool(&dir, 4 * size), LANES);
    push(&mut queue, 1..=10, 0);
    let on_disk = queue.rows().1 / 10;
    assert_eq!((on_disk, queue.rows().0), (3, 20));
    assert_eq!(queue.dropped(), Dropped { steps: 5, rows: 50 });
    assert_eq!(rest(&mut queue), [1, 2, 3, 4, 5]);
    queue.release(done(5));
    push(&mut queue, 11..=11, 0);
    assert_eq!(rest(&mut queue), [11]);
}

#[test]
fn a_disk_that_fails_costs_nothing_while_memory_lasts() {
    let dir = tempfile::tempdir().unwrap();
    let mut queue = Queue::new(room(2), spool(&dir, 1 << 20), LANES);
    push(&mut queue, 1..=3, 0);
    assert_eq!(queue.rows(), (0, 30));
    queue.release(done(3));
    let away = dir.path().with_extension("away");
    std::fs::rename(dir.path(), &away).unwrap();
    push(&mut queue, 4..=6, 0);
    assert_eq!((queue.rows(), queue.dropped().steps), ((20, 0), 1));
    assert!(queue.trouble.is_some());
    std::fs::rename(&away, dir.path()).unwrap();
    push(&mut queue, 7..=7, 0);
    assert_eq!((queue.rows(), queue.dropped().steps), ((0, 30), 1));
    assert!(queue.trouble.is_none() && !queue.drops);
    assert_eq!(rest(&mut queue), [4, 5, 7]);
}
