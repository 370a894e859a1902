//! The memory bus's twin for simulations: the same groups and logs, but time stands still until somebody
//! moves it, and a seed says what goes wrong.
//!
//! What it has of Kafka that the memory bus has not:
//! - Members are static: the lanes of a session that ended stay reserved for its node, and go to others
//!   only after [`AWAY_MS`].
//! - A transaction is lasting at once, and *shows* in each partition at a time of its own. Order within a
//!   partition stays; between partitions there is none. Who reads positions, state or documents back
//!   waits for what is on its way; who reads records does not.
//! - Sessions do not open, are lost while they wait or read back, and commits fail, with their step lost
//!   or lasting.
//!
//! Nothing sleeps and no thread is started: [`Session::next`] that finds nothing says so at once, and the
//! one who runs the members moves time with [`Sim::advance_ms`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::memory::{Memory, Retain};
use crate::topic::Topic;
use crate::{Bus, BusError, Lane, MAX_WAKE_RECORDS, Member, Record, Session};

mod faults;
mod session;
#[cfg(test)]
mod tests;

pub use faults::{Dice, Faults};
use session::SimSession;

/// How long the lanes of a member that is away stay its own, milliseconds: a session timeout.
pub const AWAY_MS: i64 = 10_000;

/// A wake that brings few records brings no more than this.
const FEW: usize = 8;

/// A simulated bus.
#[derive(Clone)]
pub struct Sim(Arc<Shared>);

struct Shared {
    memory: Memory,
    world: Mutex<World>,
}

/// What one transaction wrote to one partition, on its way.
struct Batch {
    shows_ms: i64,
    records: Vec<Record>,
}

struct World {
    dice: Dice,
    faults: Faults,
    now_ms: i64,
    /// Waiting takes time, as nobody else moves it.
    is_paced: bool,
    on_its_way: BTreeMap<(Topic, Lane), VecDeque<Batch>>,
    /// The newest session of each group and node.
    sessions: BTreeMap<(String, String), u64>,
    last_session: u64,
    /// Group and node of members without a session, and until when their lanes are reserved.
    away: BTreeMap<(String, String), i64>,
    trace: Option<Vec<String>>,
}

impl Sim {
    /// A bus with so many lanes where this goes wrong.
    pub fn new(lanes: u32, seed: u64, faults: Faults) -> Sim {
        let memory = Memory::new(lanes, Retain::UntilCommitted);
        let world = World {
            dice: Dice::new(seed),
            faults,
            now_ms: 0,
            is_paced: false,
            on_its_way: BTreeMap::new(),
            sessions: BTreeMap::new(),
            last_session: 0,
            away: BTreeMap::new(),
            trace: None,
        };
        Sim(Arc::new(Shared { memory, world: Mutex::new(world) }))
    }

    /// For members that run themselves: who waits moves time.
    pub fn paced(self) -> Sim {
        self.0.world().is_paced = true;
        self
    }

    /// Keeps a trace of what happens.
    pub fn traced(self) -> Sim {
        self.0.world().trace = Some(Vec::new());
        self
    }

    /// From now on other things go wrong.
    pub fn set_faults(&self, faults: Faults) {
        self.0.world().faults = faults;
    }

    /// Time passes: what is due shows, who was away for too long is missed.
    pub fn advance_ms(&self, by: i64) {
        self.0.world().now_ms += by;
        self.0.settle_time();
    }

    /// A member was silent for too long: its lanes are taken away behind its back.
    pub fn lapse(&self, me: &Member) {
        self.note(|| format!("{}: its lanes are taken away", me.name()));
        self.0.memory.expire(&me.group, &me.node);
    }

    /// Retention takes what is before an offset of a partition.
    pub fn cut(&self, topic: &Topic, lane: Lane, before: i64) {
        self.0.memory.cut(topic, lane, before);
    }

    /// All records of a topic, those on their way included.
    pub fn records(&self, topic: &Topic) -> Vec<Record> {
        self.0.show(|(of, _)| of == topic);
        self.0.memory.records(topic)
    }

    /// Adds to the trace, where one is kept.
    pub fn note(&self, what: impl FnOnce() -> String) {
        self.0.world().note(what);
    }

    /// The trace so far.
    pub fn trace(&self) -> Vec<String> {
        self.0.world().trace.clone().unwrap_or_default()
    }
}

impl Clock for Sim {
    fn now_ms(&self) -> i64 {
        self.0.world().now_ms
    }

    fn steady_ms(&self) -> i64 {
        self.now_ms()
    }
}

impl Bus for Sim {
    fn open(&self, me: &Member) -> Result<Box<dyn Session>, BusError> {
        self.0.fails(me, "opening", |faults| faults.open)?;
        self.note(|| format!("{}: opens", me.name()));
        let inner = Box::new(self.0.memory.open_static(me));
        Ok(Box::new(SimSession::new(Arc::clone(&self.0), me, inner)))
    }

    fn lanes(&self) -> u32 {
        self.0.memory.lanes()
    }
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Throws the dice for a call.
    fn fails(
        &self,
        me: &Member,
        what: &str,
        times: impl FnOnce(&Faults) -> u32,
    ) -> Result<(), BusError> {
        let mut world = self.world();
        let times = times(&world.faults);
        if !world.dice.in_1000(times) {
            return Ok(());
        }
        world.note(|| format!("{}: {what} fails", me.name()));
        Err(BusError::Session(format!("{}: {what} was made to fail", me.name())))
    }

    /// How many records the next wake brings.
    fn draw_wake(&self) {
        let mut world = self.world();
        let few = world.faults.few;
        if few == 0 {
            return;
        }
        let are_few = world.dice.in_1000(few);
        let most = if are_few { 1 + world.dice.below(FEW) } else { MAX_WAKE_RECORDS };
        self.memory.set_wake_records(most);
    }

    /// Sends records on their way: each partition shows them in its own time.
    fn send(&self, records: Vec<Record>) {
        let mut places: BTreeMap<(Topic, Lane), Vec<Record>> = BTreeMap::new();
        for record in records {
            places.entry((record.topic.clone(), record.lane)).or_default().push(record);
        }
        let mut world = self.world();
        let World { dice, faults, now_ms, on_its_way, .. } = &mut *world;
        let all = dice.apart("send");
        for (place, records) in places {
            let mut dice = all.clone().apart(&format!("{place:?}"));
            let late = dice.in_1000(faults.late);
            let by = if late { dice.below(faults.late_ms as usize) as i64 } else { 0 };
            let queue = on_its_way.entry(place).or_default();
            let before = queue.back().map_or(i64::MIN, |batch| batch.shows_ms);
            queue.push_back(Batch { shows_ms: (*now_ms + by).max(before), records });
        }
    }

    /// What is due by now happens.
    fn settle_time(&self) {
        let mut world = self.world();
        let now_ms = world.now_ms;
        let missed: Vec<_> = world
            .away
            .iter()
            .filter(|(_, until)| **until <= now_ms)
            .map(|(m, _)| m.clone())
            .collect();
        for (group, node) in missed {
            world.note(|| format!("{group} on node {node}: is missed"));
            self.memory.leave(&group, &node);
            world.away.remove(&(group, node));
        }
        let World { dice, faults, on_its_way, .. } = &mut *world;
        let all = dice.apart("show");
        for (place, queue) in on_its_way.iter_mut() {
            let mut dice = all.clone().apart(&format!("{place:?}"));
            while queue.front().is_some_and(|batch| batch.shows_ms <= now_ms) {
                let Some(batch) = queue.pop_front() else { break };
                self.memory.deliver(batch.records);
                if dice.in_1000(faults.few) {
                    break;
                }
            }
        }
        world.on_its_way.retain(|_, queue| !queue.is_empty());
    }

    /// Who reads these partitions back has waited until all of it shows.
    fn show(&self, which: impl Fn(&(Topic, Lane)) -> bool) {
        let mut world = self.world();
        for (_, queue) in world.on_its_way.iter_mut().filter(|(place, _)| which(place)) {
            queue.drain(..).for_each(|batch| self.memory.deliver(batch.records));
        }
        world.on_its_way.retain(|_, queue| !queue.is_empty());
    }
}

impl World {
    /// A member has a session, and numbers it.
    fn open(&mut self, me: &Member) -> u64 {
        let who = (me.group.clone(), me.node.clone());
        self.away.remove(&who);
        self.last_session += 1;
        self.sessions.insert(who, self.last_session);
        self.last_session
    }

    /// A session is over; if the member has no newer one, it is away.
    fn close(&mut self, me: &Member, number: u64) {
        let who = (me.group.clone(), me.node.clone());
        if self.sessions.get(&who) == Some(&number) && !me.topics.is_empty() {
            self.away.insert(who, self.now_ms + AWAY_MS);
        }
    }

    /// Whether something that a member reads does not show yet.
    fn is_on_its_way(&self, me: &Member) -> bool {
        self.on_its_way.keys().any(|(topic, _)| me.topics.contains(topic))
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        let now_ms = self.now_ms;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{now_ms:>8} {}", what()));
        }
    }
}
