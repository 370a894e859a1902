//! The contract on the simulated bus, and what only this bus does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{AWAY_MS, Faults, Sim};
use crate::contract::{Fixture, IN, LANES, OUT, after, is_lost, note, open, reader, text, writer};
use crate::drive::{Driver, Stop, Turn, Until};
use crate::{Bus, Change, Gap, Lane, Restored, Role, Session, Step, Wake};

fn fixture() -> Fixture {
    let sim = Sim::new(LANES, 1, Faults::NONE).paced();
    let bus = sim.clone();
    let lapse = Box::new(move |me: &crate::Member| sim.lapse(me));
    Fixture { bus: Arc::new(bus), lapse, costly: false }
}

mod contract_on_sim {
    use super::fixture;
    crate::contract_tests!(fixture());
}

const AT_ONCE: Duration = Duration::ZERO;

/// The lanes that are assigned now, restored.
fn lanes(session: &mut dyn Session) -> Vec<u32> {
    let Ok(Wake::Assigned(lanes)) = session.next(AT_ONCE) else { panic!("nothing is assigned") };
    lanes.iter().for_each(|lane| drop(session.restore(*lane, &mut |_, _| {}).expect("restored")));
    lanes
}

fn notes(texts: std::ops::Range<u32>, to: &[crate::Topic]) -> Step {
    let all = texts.flat_map(|n| to.iter().map(move |topic| (n, topic)));
    let out = all.map(|(n, topic)| note(topic.clone(), n % LANES, &format!("{n:03}"))).collect();
    Step { out, ..Step::default() }
}

/// Reads until nothing comes for longer than anything is late.
fn read(sim: &Sim, session: &mut dyn Session) -> Vec<(String, u32, String)> {
    let mut found = Vec::new();
    for _ in 0..100 {
        while let Ok(wake) = session.next(AT_ONCE) {
            match wake {
                Wake::Records(records) => {
                    found.extend(records.iter().map(|r| (r.topic.to_string(), r.lane, text(r))));
                }
                Wake::End(..) => {}
                Wake::Idle => break,
                other => panic!("{other:?}"),
            }
        }
        sim.advance_ms(10);
    }
    found
}

fn run(seed: u64) -> Vec<(String, u32, String)> {
    let sim = Sim::new(LANES, seed, Faults { late: 500, late_ms: 900, ..Faults::NONE });
    let mut session = open(&sim, &reader("r", "one", &[IN, OUT]));
    assert_eq!(lanes(&mut *session).len(), LANES as usize);
    let mut writes = open(&sim, &writer("w"));
    for n in 0..20 {
        writes =
            writes.commit(notes(n * 9..n * 9 + 9, &[IN, OUT])).unwrap_or_else(|e| panic!("{e}"));
    }
    assert!(!session.settled().expect("an answer"), "more is on its way");
    let found = read(&sim, &mut *session);
    assert!(session.settled().expect("an answer"));
    found
}

#[test]
fn order_holds_in_a_partition_and_nowhere_else() {
    let found = run(1);
    assert_eq!(found.len(), 360);
    assert_eq!(found, run(1), "one seed, one order");
    assert_ne!(found, run(2));
    for (topic, lane) in [("response", 0), ("deadletter", 2)] {
        let of: Vec<_> = found.iter().filter(|r| (r.0.as_str(), r.1) == (topic, lane)).collect();
        assert!(of.len() == 60 && of.is_sorted(), "{topic}[{lane}]: {of:?}");
    }
    let by_text: Vec<_> = found.iter().map(|r| &r.2).collect();
    assert!(!by_text.is_sorted(), "partitions came in order of their transactions");
}

#[test]
fn lanes_of_one_who_is_away_are_kept_for_a_while() {
    let sim = Sim::new(LANES, 1, Faults::NONE);
    let (me, other) = (reader("r", "a", &[IN]), reader("r", "b", &[IN]));
    let mut first = open(&sim, &me);
    assert_eq!(lanes(&mut *first), [0, 1, 2]);
    drop(first);
    let mut again = open(&sim, &me);
    assert_eq!(lanes(&mut *again), [0, 1, 2], "the same at once");
    drop(again);
    let mut second = open(&sim, &other);
    sim.advance_ms(AWAY_MS - 1);
    assert!(matches!(second.next(AT_ONCE), Ok(Wake::Idle)));
    sim.advance_ms(1);
    assert_eq!(lanes(&mut *second), [0, 1, 2]);
}

#[test]
fn a_zombie_is_fenced_and_its_end_is_no_news() {
    let sim = Sim::new(LANES, 1, Faults::NONE);
    let me = reader("r", "a", &[IN]);
    let mut zombie = open(&sim, &me);
    lanes(&mut *zombie);
    let mut second = open(&sim, &me);
    assert_eq!(lanes(&mut *second), [0, 1, 2]);
    is_lost(zombie.commit(notes(0..3, &[OUT])), "the commit of a zombie");
    sim.advance_ms(AWAY_MS);
    assert!(matches!(second.next(AT_ONCE), Ok(Wake::End(..))));
    assert!(sim.records(&OUT).is_empty());
}

#[test]
fn state_comes_back_in_another_order_and_whole() {
    let back = |mixed| {
        let sim = Sim::new(LANES, 1, Faults { mixed, ..Faults::NONE });
        let state = (0..50).map(|n| Change {
            lane: 1,
            key: Bytes::from(format!("{n:03}")),
            value: Some(Bytes::from_static(b"x")),
        });
        let step = Step { state: state.collect(), ..Step::default() };
        let mut session = open(&sim, &writer("w")).commit(step).unwrap_or_else(|e| panic!("{e}"));
        let mut keys = Vec::new();
        session.restore(1, &mut |key, _| keys.push(key)).expect("restored");
        keys
    };
    let (as_written, mut mixed) = (back(0), back(1000));
    assert!(as_written.is_sorted() && as_written.len() == 50);
    assert_ne!(as_written, mixed);
    mixed.sort();
    assert_eq!(as_written, mixed);
}

#[test]
fn what_retention_took_is_told_and_passed_over() {
    let sim = Sim::new(LANES, 1, Faults::NONE);
    let write = |texts| drop(open(&sim, &writer("w")).commit(notes(texts, &[IN])));
    let me = reader("r", "a", &[IN]);
    write(0..3);
    sim.advance_ms(1);
    let mut session = open(&sim, &me);
    lanes(&mut *session);
    let records = sim.records(&IN);
    let positions = records.iter().map(|record| after(record, "noted")).collect();
    session =
        session.commit(Step { positions, ..Step::default() }).unwrap_or_else(|e| panic!("{e}"));
    assert!(session.gaps().is_empty());
    drop(session);
    (1..4).for_each(|n| write(3 * n..3 * n + 3));
    let kept = sim.records(&IN).iter().filter(|r| r.lane == 1).map(|r| r.offset).max();
    sim.cut(&IN, 1, kept.expect("records"));
    let mut session = open(&sim, &me);
    let Ok(Wake::Assigned(_)) = session.next(AT_ONCE) else { panic!("nothing is assigned") };
    let back: Vec<_> = (0..LANES)
        .flat_map(|lane| session.restore(lane, &mut |_, _| {}).expect("restored"))
        .map(|position| (position.offset, position.metadata))
        .collect();
    let noted = |offset| (offset, "noted".to_owned());
    assert_eq!(back, [noted(1), noted(6), noted(1)]);
    assert_eq!(session.gaps(), [Gap { topic: IN, lane: 1, from: 1, to: 6 }]);
    assert!(session.gaps().is_empty(), "said once");
    let texts: Vec<_> = read(&sim, &mut *session).into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(texts, ["003", "006", "009", "010", "005", "008", "011"]);
}

#[test]
fn faults_come_as_often_as_they_are_asked_for() {
    let always = |faults| Sim::new(LANES, 1, faults);
    let me = writer("w");
    assert!(always(Faults { open: 1000, ..Faults::NONE }).open(&me).is_err());
    let sim = always(Faults { next: 1000, restore: 1000, ..Faults::NONE });
    is_lost(open(&sim, &me).next(AT_ONCE), "waiting");
    is_lost(open(&sim, &me).restore(1, &mut |_, _| {}), "restoring");
    is_lost(open(&sim, &me).documents(&IN, &mut |_, _| {}), "reading documents");
    let sim = always(Faults { commit: 1000, ..Faults::NONE });
    is_lost(open(&sim, &me).commit(notes(0..3, &[OUT])), "committing");
    assert!(sim.records(&OUT).is_empty());
    let sim = always(Faults { answer: 1000, ..Faults::NONE });
    is_lost(open(&sim, &me).commit(notes(0..3, &[OUT])), "committing");
    assert_eq!(sim.records(&OUT).len(), 3, "lasting, though nobody was told");
    sim.set_faults(Faults::NONE);
    open(&sim, &me).commit(notes(3..6, &[OUT])).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(sim.records(&OUT).len(), 6);
}

/// As capture on an interface: what it makes it cannot make again.
#[derive(Default)]
struct Once {
    made: u32,
    /// The step that is under way, and the one that a lost session may not have committed.
    sent: Option<u32>,
    unsure: Option<u32>,
}

impl Once {
    fn step(&mut self, n: u32) -> Step {
        self.sent = Some(n);
        let (key, value) = (Bytes::from_static(b"last"), Some(Bytes::from(n.to_string())));
        Step { state: vec![Change { lane: 1, key, value }], ..notes(n..n + 1, &[OUT]) }
    }
}

impl Role for Once {
    fn opened(&mut self, _: &mut dyn Session) -> anyhow::Result<()> {
        self.unsure = self.sent.take().or(self.unsure.take());
        Ok(())
    }

    fn restored(&mut self, _: Lane, from: Restored) -> anyhow::Result<()> {
        let last = from.state.first().map(|(_, n)| String::from_utf8_lossy(n).into_owned());
        self.unsure.take_if(|unsure| last == Some(unsure.to_string()));
        Ok(())
    }

    fn on(&mut self, wake: Wake, _: i64) -> anyhow::Result<Option<Step>> {
        if let Some(unsure) = self.unsure.take() {
            return Ok(Some(self.step(unsure)));
        }
        if !matches!(wake, Wake::Idle) {
            return Ok(None);
        }
        self.made += 1;
        Ok(Some(self.step(self.made - 1)))
    }

    fn committed(&mut self) -> anyhow::Result<()> {
        self.sent = None;
        Ok(())
    }

    fn owes(&self) -> bool {
        self.sent.is_some() || self.unsure.is_some()
    }
}

#[test]
fn a_stop_leaves_nothing_owed_and_nothing_twice() {
    for seed in 0..300 {
        let faults = Faults { open: 200, next: 50, commit: 300, answer: 300, ..Faults::NONE };
        let (sim, stop) = (Sim::new(LANES, seed, Faults::NONE), Stop::new());
        let mut driver = Driver::new(&writer("w"), &stop, Until::Forever);
        let mut role = Once::default();
        for turn in 0.. {
            assert!(turn < 1000, "seed {seed} does not end");
            if driver.turn(&sim, &mut role, &sim).expect("a session will do") == Turn::Ended {
                break;
            }
            match turn {
                0 => sim.set_faults(faults),
                turn if turn == 5 + seed % 7 => stop.request(),
                _ => {}
            }
        }
        let mut texts: Vec<_> = sim.records(&OUT).iter().map(text).collect();
        texts.sort();
        let want: Vec<_> = (0..role.made).map(|n| format!("{n:03}")).collect();
        assert_eq!(texts, want, "seed {seed}");
    }
}
