//! The contract on the memory bus, and what only this bus does.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;

use super::{Memory, Retain};
use crate::clock::Manual;
use crate::contract::{
    self, Fixture, IN, LANES, OUT, STATE, assigned, commit, note, open, reader, text, to_the_end,
    writer,
};
use crate::drive::{Driver, Stop, Until};
use crate::{Bus, BusError, Change, Lane, Restored, Role, Session, Step, Wake};

fn fixture() -> Fixture {
    let memory = Memory::new(LANES, Retain::UntilCommitted);
    let bus = memory.clone();
    let lapse = Box::new(move |me: &crate::Member| memory.expire(&me.group, &me.node));
    Fixture { bus: Arc::new(bus), lapse, costly: false }
}

mod contract_on_memory {
    use super::fixture;
    crate::contract_tests!(fixture());
}

fn notes(count: u32) -> Step {
    let out = (0..count).map(|i| note(IN, i % LANES, &format!("{i}"))).collect();
    Step { out, ..Step::default() }
}

#[test]
fn what_all_have_read_is_dropped() {
    let bus = Memory::new(LANES, Retain::UntilRead);
    bus.expect("a", &[IN]);
    bus.expect("b", &[IN]);
    contract::write(&bus, notes(9).out);
    contract::write(&bus, vec![note(OUT, 0, "nobody reads this")]);
    assert_eq!((bus.records(&IN).len(), bus.records(&OUT).len()), (9, 0));

    let mut a = open(&bus, &reader("a", "one", &[IN]));
    let (lanes, _) = assigned(&mut *a);
    assert_eq!(to_the_end(&mut *a, &lanes, 1).len(), 9);
    assert_eq!(bus.records(&IN).len(), 9, "b has not read");
    let mut b = open(&bus, &reader("b", "one", &[IN]));
    let (lanes, _) = assigned(&mut *b);
    assert_eq!(to_the_end(&mut *b, &lanes, 1).len(), 9);
    assert_eq!((bus.records(&IN).len(), bus.retained(&IN)), (0, 0));

    // What was dropped cannot be read back: better an error than a silent gap.
    drop(b);
    let mut b = open(&bus, &reader("b", "one", &[IN]));
    assert!(matches!(b.next(Duration::ZERO), Ok(Wake::Assigned(_))));
    let again = b.restore(0, &mut |_, _| {});
    assert!(
        matches!(&again, Err(BusError::Fatal(why)) if why.contains("response[0]")),
        "{again:?}"
    );
}

#[test]
fn a_writer_waits_for_readers_but_never_for_itself() {
    let bus = Memory::with_limit(LANES, Retain::UntilRead, 4);
    bus.expect("a", &[IN]);
    let mut a = open(&bus, &reader("a", "one", &[IN]));
    let (lanes, _) = assigned(&mut *a);
    // The reader itself writes to what it reads: no wait.
    a = commit(commit(a, notes(9)), notes(9));
    let write = thread::spawn({
        let bus = bus.clone();
        move || contract::write(&bus, notes(9).out)
    });
    thread::sleep(Duration::from_millis(50));
    assert!(!write.is_finished(), "the topic is full");
    let mut read = to_the_end(&mut *a, &lanes, 1).len();
    write.join().expect("the writer");
    while read < 27 {
        if let Wake::Records(more) = a.next(Duration::from_secs(5)).expect("the reader") {
            read += more.len();
        }
    }
    assert_eq!((read, bus.retained(&IN)), (27, 0));
}

#[test]
fn a_writer_is_let_go_when_its_reader_is_forgotten() {
    let bus = Memory::with_limit(LANES, Retain::UntilRead, 4);
    bus.expect("a", &[IN]);
    contract::write(&bus, notes(9).out);
    let write = thread::spawn({
        let bus = bus.clone();
        move || contract::write(&bus, notes(9).out)
    });
    thread::sleep(Duration::from_millis(20));
    bus.forget("a");
    write.join().expect("the writer");
    assert_eq!(bus.records(&IN).len(), 0);
}

#[test]
fn state_is_compacted_as_it_grows() {
    let bus = Memory::new(LANES, Retain::UntilRead);
    let mut session = open(&bus, &writer("w"));
    for i in 0..5_000u32 {
        let (key, value) = (format!("{}", i % 7), format!("{i}"));
        let change = Change { lane: 1, key: Bytes::from(key), value: Some(Bytes::from(value)) };
        session = commit(session, Step { state: vec![change], ..Step::default() });
    }
    assert!(bus.records(&STATE).len() < 600, "{} kept", bus.records(&STATE).len());
    let mut state = Vec::new();
    session.restore(1, &mut |_, value| state.push(value)).expect("restored");
    state.sort();
    let expected: Vec<_> = (4_993..5_000).map(|i| Bytes::from(format!("{i}"))).collect();
    assert_eq!(state, expected);
}

#[test]
fn lanes_wait_until_the_group_has_gathered() {
    let bus = Memory::new(LANES, Retain::UntilCommitted);
    bus.gather("a", 2);
    let mut one = open(&bus, &reader("a", "one", &[IN]));
    assert!(matches!(one.next(Duration::from_millis(10)), Ok(Wake::Idle)));
    let mut two = open(&bus, &reader("a", "two", &[IN]));
    assert!(matches!(one.next(Duration::ZERO), Ok(Wake::Assigned(lanes)) if lanes == [0, 1]));
    assert!(matches!(two.next(Duration::ZERO), Ok(Wake::Assigned(lanes)) if lanes == [2]));
}

#[test]
fn many_members_come_and_go_and_nothing_is_lost() {
    let bus = Memory::new(LANES, Retain::UntilCommitted);
    contract::write(&bus, notes(300).out);
    thread::scope(|scope| {
        for node in 0..4u64 {
            let bus = &bus;
            scope.spawn(move || {
                for _ in 0..5 {
                    thread::sleep(Duration::from_millis(node * 3));
                    copy_a_little(bus, &format!("{node}"));
                }
            });
        }
    });
    copy_a_little(&bus, "last");
    let mut copied: Vec<u32> =
        bus.records(&OUT).iter().map(|r| text(r).parse().expect("a number")).collect();
    copied.sort_unstable();
    assert_eq!(copied, (0..300).collect::<Vec<_>>());
}

/// A member that copies whatever it gets in some wakes, ten records a commit, then leaves as if it
/// had crashed.
fn copy_a_little(bus: &dyn Bus, node: &str) {
    let mut session = open(bus, &reader("churn", node, &[IN]));
    let wakes = if node == "last" { 100 } else { 6 };
    for _ in 0..wakes {
        match session.next(Duration::from_millis(5)).expect("a wake") {
            Wake::Assigned(lanes) => _ = contract::restore(&mut *session, &lanes),
            Wake::Records(mut records) => {
                let lane = records[0].lane;
                records.retain(|record| record.lane == lane);
                let out = records.iter().map(|r| note(OUT, r.lane, &text(r))).collect();
                let positions =
                    records.last().map(|r| contract::after(r, "")).into_iter().collect();
                let step = Step { out, positions, ..Step::default() };
                session = match session.commit(step) {
                    Ok(session) => session,
                    Err(_) => return,
                };
                if node != "last" {
                    return;
                }
                // The rest of this wake was thrown away: read it again.
                drop(session);
                session = open(bus, &reader("churn", node, &[IN]));
            }
            _ => {}
        }
    }
}

/// Notes what time it is told.
#[derive(Default)]
struct Watch(Vec<i64>);

impl Role for Watch {
    fn opened(&mut self, _: &mut dyn Session) -> anyhow::Result<()> {
        Ok(())
    }

    fn restored(&mut self, _: Lane, _: Restored) -> anyhow::Result<()> {
        Ok(())
    }

    fn on(&mut self, _: Wake, now_ms: i64) -> anyhow::Result<Option<Step>> {
        self.0.push(now_ms);
        Ok(None)
    }

    fn committed(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn ready(&mut self, now_ms: i64) -> bool {
        self.0.push(now_ms);
        true
    }

    fn wait(&self) -> Duration {
        Duration::ZERO
    }
}

#[test]
fn who_sets_the_clock_moves_no_age() {
    const DAY_MS: i64 = 86_400_000;
    let (bus, clock, stop) =
        (Memory::new(LANES, Retain::UntilRead), Manual::default(), Stop::new());
    let mut driver = Driver::new(&reader("a", "one", &[IN]), &stop, Until::Forever);
    let mut role = Watch::default();
    for by_ms in [0, DAY_MS, -2 * DAY_MS, DAY_MS] {
        clock.jump_ms(by_ms);
        clock.advance_ms(1);
        driver.turn(&bus, &mut role, &clock).expect("a turn");
    }
    stop.request();
    driver.turn(&bus, &mut role, &clock).expect("the last turn");
    assert_eq!(role.0, [1, 2, 3, 4, 4]);
}
