//! Lanes belong to one member at a time, and pass from one to the next without loss.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{
    Fixture, IN, LANES, OUT, PATIENCE, after, assigned, commit, is_lost, note, open, reader,
    restore, text, texts, to_the_end, wait_for, write,
};
use crate::{Lane, Record, Session, Step, Wake};

const SHORT: Duration = Duration::from_millis(20);

/// A step that copies records and stands after them.
fn copy(records: &[Record]) -> Step {
    let out = records.iter().map(|record| note(OUT, record.lane, &text(record))).collect();
    let positions = records.iter().map(|record| after(record, "")).collect();
    Step { out, positions, ..Step::default() }
}

/// A second session of the same member ends the first: what that still writes never appears.
pub fn a_second_session_fences_the_first(make: &dyn Fn() -> Fixture) {
    let fixture = make();
    write(&*fixture.bus, (0..LANES).map(|lane| note(IN, lane, &format!("{lane}"))).collect());
    let me = reader("fenced", "one", &[IN]);
    let mut first = open(&*fixture.bus, &me);
    let (lanes, _) = assigned(&mut *first);
    let records = to_the_end(&mut *first, &lanes, 1);

    let mut second = open(&*fixture.bus, &me);
    let (lanes, _) = assigned(&mut *second);
    is_lost(first.commit(copy(&records)), "the commit of a fenced session");
    assert!(texts(&*fixture.bus, OUT).is_empty(), "a fenced session wrote");
    let records = to_the_end(&mut *second, &lanes, 1);
    drop(commit(second, copy(&records)));
    assert_eq!(texts(&*fixture.bus, OUT), ["0", "1", "2"]);
}

/// A second member joins: the first is told while its lanes are still its own, commits, and the
/// second goes on exactly there.
pub fn lanes_move_without_loss(make: &dyn Fn() -> Fixture) {
    let fixture = make();
    let notes = (0..LANES).flat_map(|lane| (0..4).map(move |i| (lane, i)));
    write(&*fixture.bus, notes.map(|(l, i)| note(IN, l, &format!("{l}/{i}"))).collect());
    let mut first = open(&*fixture.bus, &reader("moving", "a", &[IN]));
    let (lanes, _) = assigned(&mut *first);
    let records = to_the_end(&mut *first, &lanes, 1);
    // Half of each lane is done when the lanes go.
    let half: Vec<_> = records.into_iter().filter(|r| text(r).ends_with(['0', '1'])).collect();

    let mut second = open(&*fixture.bus, &reader("moving", "b", &[IN]));
    let mut revoked = None;
    let until = Instant::now() + PATIENCE;
    while revoked.is_none() {
        assert!(Instant::now() < until, "nothing was revoked");
        // Both are called in turn, as two processes would.
        assert!(matches!(second.next(SHORT), Ok(Wake::Idle)), "lanes that are still another's");
        if let Wake::Revoked(lanes) = first.next(SHORT).unwrap_or_else(|e| panic!("first: {e}")) {
            revoked = Some(lanes);
        }
    }
    assert_eq!(revoked, Some((0..LANES).collect()));
    let mut first = commit(first, copy(&half));

    let (mine, theirs) = both_assigned(&mut *first, &mut *second);
    let union: BTreeSet<Lane> = mine.iter().chain(&theirs).copied().collect();
    assert_eq!((union.len(), mine.len() + theirs.len()), (LANES as usize, LANES as usize));
    assert!(!mine.is_empty() && !theirs.is_empty(), "{mine:?} {theirs:?}");
    // Both stay to the end: a member that leaves would move the lanes once more.
    let stay = [(first, mine), (second, theirs)].map(|(mut session, lanes)| {
        let records = to_the_end(&mut *session, &lanes, 1);
        commit(session, copy(&records))
    });
    drop(stay);
    let mut copied = texts(&*fixture.bus, OUT);
    copied.sort();
    let all = (0..LANES).flat_map(|lane| (0..4).map(move |i| format!("{lane}/{i}")));
    assert_eq!(copied, all.collect::<Vec<_>>());
}

/// Waits until both have lanes, the first giving up what it has.
pub fn both_assigned<'a>(
    a: &'a mut (dyn Session + 'a),
    b: &'a mut (dyn Session + 'a),
) -> (Vec<Lane>, Vec<Lane>) {
    let mut found = [None, None];
    let until = Instant::now() + PATIENCE;
    while found.iter().any(Option::is_none) {
        assert!(Instant::now() < until, "two members, and assigned are {found:?}");
        for (session, found) in [&mut *a, &mut *b].into_iter().zip(&mut found) {
            if found.is_some() {
                continue;
            }
            match session.next(SHORT).unwrap_or_else(|e| panic!("waiting for lanes: {e}")) {
                Wake::Assigned(lanes) => {
                    restore(session, &lanes);
                    *found = Some(lanes);
                }
                Wake::Idle | Wake::Revoked(_) | Wake::Records(_) | Wake::End(..) => {}
                other => panic!("waiting for lanes: {other:?}"),
            }
        }
    }
    let [a, b] = found.map(Option::unwrap_or_default);
    (a, b)
}

/// A member that was silent for too long commits nothing for the lanes it had, and is told.
pub fn a_lost_member_commits_nothing(make: &dyn Fn() -> Fixture) {
    let fixture = make();
    write(&*fixture.bus, (0..LANES).map(|lane| note(IN, lane, &format!("{lane}"))).collect());
    let silent = reader("lost", "a", &[IN]);
    let mut first = open(&*fixture.bus, &silent);
    let (lanes, _) = assigned(&mut *first);
    let records = to_the_end(&mut *first, &lanes, 1);
    (fixture.lapse)(&silent);
    let mut second = open(&*fixture.bus, &reader("lost", "b", &[IN]));
    let (lanes, _) = assigned(&mut *second);
    assert_eq!(lanes.len(), LANES as usize, "all lanes of the lost member are taken over");
    is_lost(first.commit(copy(&records)), "the commit of a lost member");
    let records = to_the_end(&mut *second, &lanes, 1);
    drop(commit(second, copy(&records)));
    assert_eq!(texts(&*fixture.bus, OUT), ["0", "1", "2"]);

    // The same again, but the member looks before it commits.
    let silent = reader("told", "a", &[IN]);
    let mut session = open(&*fixture.bus, &silent);
    let (had, _) = assigned(&mut *session);
    to_the_end(&mut *session, &had, 1);
    (fixture.lapse)(&silent);
    wait_for(&mut *session, "the news of the loss", |wake| match wake {
        Wake::Lost(lanes) => {
            assert_eq!(lanes, had);
            Some(())
        }
        Wake::Idle | Wake::Records(_) | Wake::End(..) => None,
        other => panic!("before the loss: {other:?}"),
    });
    let (again, _) = assigned(&mut *session);
    assert_eq!(again, had, "it joins again");
}

/// A session dropped without a word: another member has its lanes after a while, or the same member
/// at once.
pub fn a_dead_member_is_replaced(make: &dyn Fn() -> Fixture) {
    let fixture = make();
    write(&*fixture.bus, (0..LANES).map(|lane| note(IN, lane, &format!("{lane}"))).collect());
    let mut first = open(&*fixture.bus, &reader("dying", "a", &[IN]));
    let (lanes, _) = assigned(&mut *first);
    let mut records = to_the_end(&mut *first, &lanes, 1);
    records.truncate(1);
    drop(commit(first, copy(&records)));

    let mut second = open(&*fixture.bus, &reader("dying", "b", &[IN]));
    let (lanes, _) = assigned(&mut *second);
    assert_eq!(lanes.len(), LANES as usize);
    let records = to_the_end(&mut *second, &lanes, 1);
    drop(commit(second, copy(&records)));
    let mut copied = texts(&*fixture.bus, OUT);
    copied.sort();
    assert_eq!(copied, ["0", "1", "2"]);
}
