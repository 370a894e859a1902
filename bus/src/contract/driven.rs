//! The loop with a role that copies records, and a bus that fails at a chosen call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::groups::both_assigned;
use super::{Fixture, IN, LANES, OUT, after, assigned, note, open, reader, text, texts, write};
use crate::clock::System;
use crate::drive::{AHEAD, Stop, Until, drive};
use crate::{
    Bus, BusError, Change, Lane, Member, Position, Restored, Role, Session, SharedBus, Step, Topic,
    Wake,
};

/// Copies [`IN`] to [`OUT`]; counts in its state what it copied, and in the position's metadata too,
/// so that a restart can see whether both are of one step.
#[derive(Default)]
pub struct Copier {
    counts: BTreeMap<Lane, u64>,
    /// Steps that it was not told of.
    uncommitted: u32,
    /// Makes the next step while one is committed.
    ahead: bool,
    drained: bool,
    stopped: bool,
    /// Ends by itself after so many records.
    enough: Option<u64>,
}

impl Copier {
    fn copy(&mut self, records: &[crate::Record]) -> Step {
        let mut step = Step::default();
        for record in records {
            let count = self.counts.entry(record.lane).or_default();
            *count += 1;
            let (key, value) = (Bytes::from_static(b"count"), Bytes::from(count.to_string()));
            step.out.push(note(OUT, record.lane, &text(record)));
            step.state.push(Change { lane: record.lane, key, value: Some(value) });
            step.positions.push(after(record, &count.to_string()));
        }
        // One position a partition: the last.
        let mut last: BTreeMap<(Topic, Lane), Position> = BTreeMap::new();
        for position in step.positions.drain(..) {
            last.insert((position.topic.clone(), position.lane), position);
        }
        step.positions = last.into_values().collect();
        self.uncommitted += 1;
        step
    }
}

impl Role for Copier {
    fn opened(&mut self, session: &mut dyn Session) -> anyhow::Result<()> {
        *self = Copier { enough: self.enough, ahead: self.ahead, ..Copier::default() };
        session.documents(&super::DOCUMENTS, &mut |_, _| {})?;
        Ok(())
    }

    fn restored(&mut self, lane: Lane, from: Restored) -> anyhow::Result<()> {
        let noted = from.positions.first().map(|position| position.metadata.clone());
        let stored = from.state.first().map(|(_, value)| String::from_utf8_lossy(value).into());
        assert_eq!(noted, stored, "position and state of lane {lane} are of different steps");
        self.counts.insert(lane, noted.map_or(0, |count| count.parse().expect("a count")));
        Ok(())
    }

    fn on(&mut self, wake: Wake, _now_ms: i64) -> anyhow::Result<Option<Step>> {
        let is_met = matches!(wake, Wake::Records(_) | Wake::End(..) | Wake::Idle) && self.ahead;
        let most = if is_met { AHEAD } else { 0 };
        assert!(self.uncommitted <= most, "woken before it was told of the commit");
        assert!(!self.stopped, "woken after the stop");
        match wake {
            Wake::Records(records) => return Ok(Some(self.copy(&records))),
            Wake::Drained => self.drained = true,
            Wake::Stop => self.stopped = true,
            Wake::Lost(lanes) | Wake::Revoked(lanes) => {
                lanes.iter().for_each(|lane| _ = self.counts.remove(lane));
            }
            _ => {}
        }
        Ok(None)
    }

    fn committed(&mut self) -> anyhow::Result<()> {
        self.uncommitted = self.uncommitted.checked_sub(1).expect("told of a commit once");
        Ok(())
    }

    fn works_ahead(&self) -> bool {
        self.ahead
    }

    fn done(&self) -> bool {
        self.enough.is_some_and(|enough| self.counts.values().sum::<u64>() >= enough)
    }

    fn wait(&self) -> Duration {
        Duration::from_millis(50)
    }
}

fn run(bus: &dyn Bus, node: &str, role: &mut Copier, stop: &Stop, until: Until) {
    let me = reader("copies", node, &[IN]);
    drive(bus, &me, role, &System, stop, until).unwrap_or_else(|e| panic!("{node}: {e}"));
}

fn input(bus: &dyn Bus, steps: u32) -> Vec<String> {
    let name = |step, i| format!("{step:02}/{i:02}");
    for step in 0..steps {
        write(bus, (0..10).map(|i| note(IN, i % LANES, &name(step, i))).collect());
    }
    (0..steps).flat_map(|step| (0..10).map(move |i| name(step, i))).collect()
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

/// With `Until::Drained` everything is read, then the role is told twice: drained, and to stop.
pub fn drains_and_stops(make: &dyn Fn() -> Fixture) {
    let fixture = make();
    let all = input(&*fixture.bus, 3);
    let mut role = Copier::default();
    run(&*fixture.bus, "a", &mut role, &Stop::new(), Until::Drained);
    assert!(role.drained && role.stopped);
    assert_eq!(sorted(texts(&*fixture.bus, OUT)), all);
    // Nothing is left: the next run copies nothing, and ends too.
    run(&*fixture.bus, "a", &mut Copier::default(), &Stop::new(), Until::Drained);
    assert_eq!(sorted(texts(&*fixture.bus, OUT)), all);
}

/// More members than lanes: those without one drain too.
pub fn drains_without_a_lane(make: &dyn Fn() -> Fixture) {
    let fixture = make();
    let all = input(&*fixture.bus, 2);
    std::thread::scope(|scope| {
        for i in 0..=LANES {
            let bus = &*fixture.bus;
            let node = format!("n{i}");
            scope.spawn(move || {
                run(bus, &node, &mut Copier::default(), &Stop::new(), Until::Drained);
            });
        }
    });
    assert_eq!(sorted(texts(&*fixture.bus, OUT)), all);
}

/// Two members stop without a word, and one comes back to finish: it waits for the lanes of the other.
pub fn drains_what_a_dead_member_held(make: &dyn Fn() -> Fixture) {
    let fixture = make();
    let all = input(&*fixture.bus, 2);
    let mut first = open(&*fixture.bus, &reader("copies", "a", &[IN]));
    assigned(&mut *first);
    let mut second = open(&*fixture.bus, &reader("copies", "b", &[IN]));
    let (mine, theirs) = both_assigned(&mut *first, &mut *second);
    assert!(!mine.is_empty() && !theirs.is_empty(), "{mine:?} {theirs:?}");
    drop((first, second));
    run(&*fixture.bus, "a", &mut Copier::default(), &Stop::new(), Until::Drained);
    assert_eq!(sorted(texts(&*fixture.bus, OUT)), all);
}

/// A request to stop ends the loop, after the role was told.
pub fn stops_when_asked(make: &dyn Fn() -> Fixture) {
    let fixture = make();
    let stop = Stop::new();
    std::thread::scope(|scope| {
        let asks = stop.clone();
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            asks.request();
        });
        let mut role = Copier::default();
        run(&*fixture.bus, "a", &mut role, &stop, Until::Forever);
        assert!(role.stopped && !role.drained);
    });
}

/// A role that is done ends the loop by itself, with what it did committed.
pub fn ends_when_done(make: &dyn Fn() -> Fixture) {
    let fixture = make();
    let all = input(&*fixture.bus, 1);
    let mut role = Copier { enough: Some(all.len() as u64), ..Copier::default() };
    run(&*fixture.bus, "a", &mut role, &Stop::new(), Until::Forever);
    assert_eq!(sorted(texts(&*fixture.bus, OUT)), all);
}

/// The bus fails at every call there is, one run a call (or, where runs cost, at many calls of one
/// run): each record is copied once.
pub fn each_record_once_whatever_fails(make: &dyn Fn() -> Fixture) {
    whatever_fails(make, false);
}

/// The same where the next step is made while one is committed.
pub fn each_record_once_working_ahead(make: &dyn Fn() -> Fixture) {
    whatever_fails(make, true);
}

fn whatever_fails(make: &dyn Fn() -> Fixture, ahead: bool) {
    /// A run without faults takes fewer calls than this.
    const CALLS: usize = 200;
    let fixture = make();
    if fixture.costly {
        return many_faults_in_one_run(&fixture, ahead);
    }
    for at in 1..CALLS {
        let fixture = make();
        let all = input(&*fixture.bus, 3);
        let bus = Faulty { inner: fixture.bus, plan: Plan::new(move |call| call == at) };
        let mut role = Copier { ahead, ..Copier::default() };
        run(&bus, "a", &mut role, &Stop::new(), Until::Drained);
        assert_eq!(sorted(texts(&*bus.inner, OUT)), all, "with a fault at call {at}");
        if bus.plan.failed() == 0 {
            return;
        }
    }
    panic!("more than {CALLS} calls");
}

/// Records come while the bus fails at ever other places between opening and the next commit.
fn many_faults_in_one_run(fixture: &Fixture, ahead: bool) {
    /// After so many calls the bus fails once, and again after so many more.
    const GAPS: [usize; 7] = [3, 12, 9, 13, 10, 14, 11];
    const FAULTS: usize = 6;
    const MOST_STEPS: u32 = 300;
    let plan = Plan::new(|call| {
        let mut at = 0;
        GAPS.iter().any(|gap| {
            at += gap;
            at == call
        })
    });
    let (inner, stop) = (&*fixture.bus, Stop::new());
    let bus = Faulty { inner: Arc::clone(&fixture.bus), plan };
    let mut all = Vec::new();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            let mut role = Copier { ahead, ..Copier::default() };
            run(&bus, "a", &mut role, &stop, Until::Forever);
        });
        for step in 0..MOST_STEPS {
            if bus.plan.failed() >= FAULTS || run.is_finished() {
                break;
            }
            let texts: Vec<String> = (0..10).map(|i| format!("{step:03}/{i}")).collect();
            write(inner, (0..10).zip(&texts).map(|(i, text)| note(IN, i % LANES, text)).collect());
            all.extend(texts);
        }
        stop.request();
    });
    assert!(bus.plan.failed() >= FAULTS, "it failed only {} times", bus.plan.failed());
    // What the stop left, without faults.
    run(inner, "a", &mut Copier::default(), &Stop::new(), Until::Drained);
    assert_eq!(sorted(texts(inner, OUT)), all);
}

/// Which calls fail, counted from after the first `open`.
struct Plan {
    calls: AtomicUsize,
    failed: AtomicUsize,
    fails: Box<dyn Fn(usize) -> bool + Send + Sync>,
}

impl Plan {
    fn new(fails: impl Fn(usize) -> bool + Send + Sync + 'static) -> Arc<Plan> {
        let (calls, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Plan { calls, failed, fails: Box::new(fails) })
    }

    fn call(&self, what: &str) -> Result<(), BusError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if call == 0 || !(self.fails)(call) {
            return Ok(());
        }
        self.failed.fetch_add(1, Ordering::SeqCst);
        Err(BusError::Session(format!("call {call}, {what}, was made to fail")))
    }

    fn failed(&self) -> usize {
        self.failed.load(Ordering::SeqCst)
    }
}

/// A bus whose calls fail by plan; commits fail either before they are made or, their outcome
/// unknown to the caller, after.
struct Faulty {
    inner: SharedBus,
    plan: Arc<Plan>,
}

struct FaultySession {
    inner: Option<Box<dyn Session>>,
    plan: Arc<Plan>,
}

impl Bus for Faulty {
    fn open(&self, me: &Member) -> Result<Box<dyn Session>, BusError> {
        self.plan.call("open")?;
        let inner = Some(self.inner.open(me)?);
        Ok(Box::new(FaultySession { inner, plan: Arc::clone(&self.plan) }))
    }

    fn lanes(&self) -> u32 {
        self.inner.lanes()
    }
}

impl FaultySession {
    /// The session, unless this call is one that fails: then there is none any more.
    fn call(&mut self, what: &str) -> Result<&mut Box<dyn Session>, BusError> {
        if let Err(error) = self.plan.call(what) {
            self.inner = None;
            return Err(error);
        }
        self.inner.as_mut().ok_or_else(|| panic!("{what} on a session that is gone"))
    }
}

impl Session for FaultySession {
    fn next(&mut self, wait: Duration) -> Result<Wake, BusError> {
        self.call("next")?.next(wait)
    }

    fn restore(
        &mut self,
        lane: Lane,
        each: &mut dyn FnMut(Bytes, Bytes),
    ) -> Result<Vec<Position>, BusError> {
        self.call("restore")?.restore(lane, each)
    }

    fn documents(
        &mut self,
        topic: &Topic,
        each: &mut dyn FnMut(Bytes, Bytes),
    ) -> Result<(), BusError> {
        self.call("documents")?.documents(topic, each)
    }

    fn documents_changed(&mut self, topic: &Topic) -> Result<bool, BusError> {
        self.call("documents_changed")?.documents_changed(topic)
    }

    fn gaps(&mut self) -> Vec<crate::Gap> {
        self.inner.as_mut().map(|inner| inner.gaps()).unwrap_or_default()
    }

    fn settled(&mut self) -> Result<bool, BusError> {
        self.call("settled")?.settled()
    }

    fn group_done(&mut self) -> Result<bool, BusError> {
        self.call("group_done")?.group_done()
    }

    fn commit(mut self: Box<Self>, step: Step) -> Result<Box<dyn Session>, BusError> {
        self.call("before a commit")?;
        let inner = self.inner.take().ok_or_else(|| BusError::Session("gone".into()))?;
        let inner = inner.commit(step)?;
        // From here on the step is lasting, and the caller does not know.
        self.inner = Some(inner);
        self.call("after a commit")?;
        Ok(self)
    }

    fn begin(mut self: Box<Self>, step: Step) -> Result<Box<dyn Session>, BusError> {
        self.call("before a commit is begun")?;
        let inner = self.inner.take().ok_or_else(|| BusError::Session("gone".into()))?;
        self.inner = Some(inner.begin(step)?);
        self.call("while a commit is under way")?;
        Ok(self)
    }

    fn complete(&mut self) -> Result<(), BusError> {
        self.call("before a commit is complete")?.complete()?;
        self.call("after a commit is complete")?;
        Ok(())
    }
}
