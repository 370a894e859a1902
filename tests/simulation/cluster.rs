//! A cluster on the simulated bus, run turn by turn by the dice of its seed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use aggregate::Aggregate;
use bus::clock::Clock as _;
use bus::sim::{Dice, Faults, Sim};
use bus::{
    Bus as _, Lane, Member, Outgoing, Payload, Role, Step, Timeline, Topic, documents, topic,
};
use capture::Capture;
use capture::config::Joins;
use capture::role::Input;
use manager::Manager;
use model::stream::{Mark, conn, dns, http, weird};
use sink::Sink;

use crate::books;
use crate::halves;
use crate::mortal::{Mortal, Shared};
use crate::node::{Came, Kind, Process};
use crate::plan::{COPIES, HALVES, NO_ALARMS, NO_POLICY, Plan};
use crate::policy;
use crate::published::{self, Rows};
use crate::script::Script;
use crate::traffic::{SECOND, busy};

const LANES: u32 = 3;
/// Barriers of files are so near that there are several in a small one.
const FLUSH_PACKETS: u64 = 60;
/// A run that takes more turns than this hangs.
const TURNS_MOST: u64 = 100_000;
/// How long a process that died is away at most, milliseconds: longer than its lanes are kept.
const DOWN_MS: usize = 15_000;
/// What a process says that ends as another has its source.
const TAKEN_OVER: &str = "another process that began later captures";
/// How long one that hangs does so at most, milliseconds.
const HANG_MS: usize = 30_000;
/// How long a producer is put off, milliseconds.
const SLOW_MS: usize = 3_000;
/// How far a wall clock is off at most, milliseconds: a day.
const JUMP_MS: usize = 86_400_000;
/// Bad records of a run.
const POISON_MOST: usize = 12;
/// Nobody in a simulation is silent for good.
const NEVER_MS: i64 = 1 << 50;

/// A producer.
#[derive(Clone)]
enum Producer {
    File(&'static str),
    /// One direction of it.
    Half(&'static str, bool),
    Script(Arc<Vec<Vec<Outgoing>>>),
}

/// A place for a process of the cluster.
struct Slot {
    kind: Kind,
    me: Member,
    process: Option<Process>,
    due_ms: i64,
    /// It is to end when all is read.
    drains: bool,
    /// It has ended for good.
    has_ended: bool,
}

/// A cluster.
pub struct Cluster {
    plan: Plan,
    sim: Sim,
    dice: Shared,
    dir: tempfile::TempDir,
    /// Captures made for the run.
    inputs: tempfile::TempDir,
    producers: Vec<Producer>,
    /// How many file sources there are.
    files: usize,
    slots: Vec<Slot>,
    /// Processes that hung until others had taken their place, and when they go on.
    zombies: Vec<(Process, i64)>,
    /// Members of which a process hung: it may take over from the one that began meanwhile, if it had no session yet.
    hung: BTreeSet<String>,
    turns: u64,
    /// How many records nobody can read.
    poison: usize,
    /// Nothing goes wrong any more.
    is_calm: bool,
}

impl Cluster {
    pub fn new(plan: &Plan, is_traced: bool) -> Cluster {
        let sim = Sim::new(LANES, plan.seed, Faults::NONE);
        let sim = if is_traced { sim.traced() } else { sim };
        // Syncing costs nothing there.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let (producers, files, first) = producers(plan.traffic);
        let mut cluster = Cluster {
            plan: plan.clone(),
            sim,
            dice: Arc::new(Mutex::new(Dice::new(plan.seed))),
            dir,
            inputs: tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap(),
            producers,
            files,
            slots: Vec::new(),
            zombies: Vec::new(),
            hung: BTreeSet::new(),
            turns: 0,
            poison: 0,
            is_calm: true,
        };
        cluster.slots.extend(
            cluster
                .kinds()
                .map(|kind| Slot {
                    kind,
                    me: member(kind, plan.traffic),
                    process: None,
                    due_ms: 0,
                    drains: false,
                    has_ended: false,
                })
                .collect::<Vec<_>>(),
        );
        if plan.traffic != NO_POLICY {
            cluster.push(policy::GOOD, "at first");
        }
        cluster.begin(first);
        cluster
    }

    fn kinds(&self) -> impl Iterator<Item = Kind> + use<> {
        let Plan { aggregators, managers, sinks, .. } = self.plan;
        let producers = (0..self.producers.len()).map(Kind::Produce);
        let producers = producers.chain((0..aggregators).map(Kind::Aggregate));
        producers.chain((0..managers).map(Kind::Manage)).chain((0..sinks).map(Kind::Sink))
    }

    /// Live time does not wait for a source that it has not heard of, so that all are heard of first. Nor do
    /// managers that find a bad policy only know of a good one, so that each lane has it first.
    fn begin(&mut self, first: Vec<Outgoing>) {
        self.write(first);
        self.slots.iter_mut().for_each(|slot| slot.has_ended = true);
        self.end(&|kind| kind == Kind::Aggregate(0)).unwrap();
        self.end(&|kind| kind == Kind::Manage(0)).unwrap();
        self.slots.iter_mut().for_each(|slot| (slot.has_ended, slot.drains) = (false, false));
    }

    /// Runs to the end, and gives what was published.
    pub fn run(&mut self) -> Result<Rows, String> {
        self.is_calm = false;
        self.sim.set_faults(self.plan.faults);
        while !self.are_over(&|kind| matches!(kind, Kind::Produce(_))) {
            self.turn()?;
        }
        for _ in 0..self.below(200) {
            self.turn()?;
        }
        if self.plan.is_harsh {
            self.end_all()?;
        }
        self.is_calm = true;
        self.sim.set_faults(Faults::NONE);
        self.end_all()?;
        let letters = self.sim.records(&topic::DEADLETTER).len();
        if letters != self.poison {
            return Err(format!("{letters} dead letters of {} bad records", self.poison));
        }
        if self.plan.traffic != NO_POLICY {
            self.acknowledge()?;
        }
        if let Some(wrong) = books::differences(&self.sim) {
            return Err(wrong);
        }
        let mut rows = published::rows(self.dir.path())?;
        rows.extend(published::inside(&self.sim));
        Ok(rows)
    }

    pub fn trace(&self) -> Vec<String> {
        self.sim.trace()
    }

    fn below(&self, sides: usize) -> usize {
        self.dice.lock().unwrap().below(sides)
    }

    fn happens(&self, in_1000: u32) -> bool {
        !self.is_calm && self.dice.lock().unwrap().in_1000(in_1000)
    }

    fn are_over(&self, which: &dyn Fn(Kind) -> bool) -> bool {
        self.slots.iter().filter(|slot| which(slot.kind)).all(|slot| slot.has_ended)
    }

    /// All consumers drain, in the order of the data.
    fn end_all(&mut self) -> Result<(), String> {
        self.end(&|kind| matches!(kind, Kind::Aggregate(_)))?;
        self.end(&|kind| matches!(kind, Kind::Manage(_)))?;
        self.end(&|kind| matches!(kind, Kind::Sink(_)))
    }

    fn end(&mut self, which: &dyn Fn(Kind) -> bool) -> Result<(), String> {
        for slot in self.slots.iter_mut().filter(|slot| which(slot.kind)) {
            (slot.drains, slot.has_ended) = (true, false);
            slot.process.iter().for_each(|process| process.stop.request_drain());
        }
        while !self.are_over(which) {
            self.turn()?;
        }
        Ok(())
    }

    /// Somebody's turn.
    fn turn(&mut self) -> Result<(), String> {
        self.turns += 1;
        if self.turns > TURNS_MOST {
            return Err(format!("does not end in {TURNS_MOST} turns"));
        }
        let now_ms = self.sim.now_ms();
        self.wake_zombies(now_ms);
        let is_due = |slot: &Slot| !slot.has_ended && slot.due_ms <= now_ms;
        let due: Vec<usize> = (0..self.slots.len()).filter(|i| is_due(&self.slots[*i])).collect();
        if due.is_empty() {
            let waits = self.slots.iter().filter(|slot| !slot.has_ended).map(|slot| slot.due_ms);
            self.sim.advance_ms(waits.min().map_or(1, |next| next - now_ms).max(1));
            return Ok(());
        }
        let at = due[self.below(due.len())];
        self.trouble(at, now_ms);
        if self.poison < POISON_MOST && self.happens(self.plan.poison) {
            self.write_poison();
        }
        if self.plan.traffic != NO_POLICY && self.happens(self.plan.push) {
            let is_bad = self.below(3) == 0;
            let text = if is_bad { policy::BAD } else { policy::GOOD };
            self.push(text, &format!("at turn {}", self.turns));
        }
        if self.slots[at].process.is_none() {
            self.start(at)?;
        }
        let (jumps, jump_ms) =
            (self.happens(self.plan.jump), self.below(2 * JUMP_MS) as i64 - JUMP_MS as i64);
        let Some(process) = &mut self.slots[at].process else { return Ok(()) };
        if jumps {
            process.jump(jump_ms);
        }
        process.role.kill = if self.is_calm { 0 } else { self.plan.kill };
        let came = process.turn(&self.sim);
        let is_stopped = process.stop.requested();
        match came {
            Came::Next(wait_ms, _) => {
                let is_slow =
                    matches!(self.slots[at].kind, Kind::Produce(_)) && self.happens(self.plan.slow);
                let slow_ms = if is_slow { self.below(SLOW_MS) } else { 0 };
                let wait_ms = self.below(wait_ms as usize + 20) + slow_ms;
                self.slots[at].due_ms = now_ms + wait_ms as i64;
            }
            Came::Died => self.is_down(at, now_ms),
            Came::Ended if is_stopped => self.is_down(at, now_ms),
            Came::Ended => {
                self.sim.note(|| format!("{}: has ended", self.slots[at].me.name()));
                (self.slots[at].process, self.slots[at].has_ended) = (None, true);
            }
            // One that hung before it had claimed anything has claimed it since; whoever started this one starts it again.
            Came::Failed(error)
                if error.contains(TAKEN_OVER) && self.hung.contains(&self.slots[at].me.name()) =>
            {
                self.is_down(at, now_ms);
            }
            Came::Failed(error) => return Err(format!("{}: {error}", self.slots[at].me.name())),
        }
        Ok(())
    }

    fn is_down(&mut self, at: usize, now_ms: i64) {
        self.slots[at].process = None;
        self.slots[at].due_ms = now_ms + self.below(DOWN_MS) as i64;
    }

    /// What may happen to a process from outside.
    fn trouble(&mut self, at: usize, now_ms: i64) {
        let (lapse, stop, hang) = (
            self.happens(self.plan.lapse),
            self.happens(self.plan.stop),
            self.happens(self.plan.hang),
        );
        let hang_ms = self.below(HANG_MS) as i64;
        let slot = &mut self.slots[at];
        if lapse {
            self.sim.lapse(&slot.me);
        }
        if hang && let Some(process) = slot.process.take() {
            self.sim.note(|| format!("{}: hangs, and another begins", slot.me.name()));
            self.zombies.push((process, now_ms + hang_ms));
            self.hung.insert(slot.me.name());
        } else if stop && let Some(process) = &slot.process {
            self.sim.note(|| format!("{}: is stopped", slot.me.name()));
            process.stop.request();
        }
    }

    /// Somebody pushes a policy, which says so much about when that it is another version.
    fn push(&mut self, text: &str, when: &str) {
        let kind = if text == policy::BAD { "bad" } else { "good" };
        self.sim.note(|| format!("a {kind} policy is pushed {when}"));
        let bytes = Some(format!("{text}# {when}\n").into());
        let record = documents::put(&topic::POLICY, documents::NOTICE_POLICY, bytes, LANES);
        self.sim.set_faults(Faults::NONE);
        self.write(vec![record]);
        self.sim.set_faults(if self.is_calm { Faults::NONE } else { self.plan.faults });
    }

    /// Every manager runs what was pushed last, and refuses what is bad.
    fn acknowledge(&mut self) -> Result<(), String> {
        for (text, is_bad) in [(policy::GOOD, false), (policy::BAD, true)] {
            self.push(text, "at last");
            self.end(&|kind| matches!(kind, Kind::Manage(_)))?;
            policy::check_acks(&self.sim, self.plan.managers, "at last", is_bad)?;
        }
        Ok(())
    }

    /// Somebody writes what nobody can read.
    fn write_poison(&mut self) {
        let topics = [topic::RAW_CONN, topic::RAW_NOTICE, topic::NOTICE, topic::PARTIAL];
        let topics =
            [topics.to_vec(), [&dns::DEF, &conn::DEF, &http::DEF].map(Topic::log).to_vec()]
                .concat();
        let topic = topics[self.below(topics.len())].clone();
        let mut rows = weird::Batch::default();
        let row = weird::Row { name: "of another stream", ..weird::Row::unset() };
        rows.push(Mark::at(self.below(1 << 40) as i64, 0), row);
        let payload = match self.below(2) {
            0 => Payload::Bytes("no rows".into()),
            _ => Payload::Rows(&weird::DEF, rows.finish("x").0),
        };
        let lane = self.below(LANES as usize) as Lane;
        self.sim.note(|| format!("poison in {topic}[{lane}]"));
        // A log that detectors observe has two readers, and each of them buries it.
        let is_observed = self.plan.traffic != COPIES
            && detect::detector::logs().any(|def| Topic::log(def) == topic);
        let out = Outgoing { payload, ..Outgoing::document(topic, lane, "x".into(), None) };
        self.sim.set_faults(Faults::NONE);
        self.write(vec![out]);
        self.sim.set_faults(self.plan.faults);
        self.poison += if is_observed { 2 } else { 1 };
    }

    fn write(&mut self, mut out: Vec<Outgoing>) {
        out.push(books::of_nobody(&out, self.sim.now_ms()));
        let me = Member { group: "first".into(), ..capture::role::member("first", LANES) };
        let session = self.sim.open(&me).unwrap_or_else(|e| panic!("{e}"));
        drop(session.commit(Step { out, ..Step::default() }).unwrap_or_else(|e| panic!("{e}")));
    }

    /// Those that hung go on where they were, until they learn that they were replaced.
    fn wake_zombies(&mut self, now_ms: i64) {
        for (mut process, wakes_ms) in std::mem::take(&mut self.zombies) {
            let lives =
                wakes_ms > now_ms || matches!(process.turn(&self.sim), Came::Next(_, false));
            if lives {
                self.zombies.push((process, wakes_ms));
            }
        }
    }

    fn start(&mut self, at: usize) -> Result<(), String> {
        let Slot { kind, me, drains, .. } = &self.slots[at];
        let (role, dir) = self.role(*kind, &me.node).map_err(|error| format!("{error:#}"))?;
        let (sim, dice) = (self.sim.clone(), self.dice.clone());
        let role = Mortal { role, me: me.clone(), sim, dice, kill: 0, dir };
        let process = Process::new(me, role);
        if *drains {
            process.stop.request_drain();
        }
        self.slots[at].process = Some(process);
        Ok(())
    }

    /// A setting: as it is in the plan, or, where processes start again with other ones, another below this.
    fn changed(&self, planned: usize, most: usize) -> usize {
        if self.plan.changes { self.below(most) } else { planned }
    }

    fn role(&self, kind: Kind, node: &str) -> anyhow::Result<(Box<dyn Role>, Option<PathBuf>)> {
        Ok(match kind {
            Kind::Produce(n) => match &self.producers[n] {
                Producer::Script(commits) => {
                    (Box::new(Script::new(&member(kind, self.plan.traffic), commits.clone())), None)
                }
                Producer::File(name) | Producer::Half(name, _) => {
                    let traces = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/traces");
                    let path = match &self.producers[n] {
                        Producer::Half(_, is_up) => halves::write(name, *is_up, self.inputs.path()),
                        _ => traces.join(name),
                    };
                    let mut config = capture::Config::new(node);
                    config.lanes = LANES;
                    config.flush_packets = FLUSH_PACKETS + self.changed(0, 3) as u64 * 17;
                    config.threads += self.changed(0, 2);
                    config.joins = match self.plan.traffic {
                        HALVES => Joins::Halves,
                        COPIES => Joins::Copies,
                        _ => Joins::Nothing,
                    };
                    let clock = Arc::new(self.sim.clone());
                    let role = Capture::new(config, Input::Files(vec![path]), false, clock)?;
                    (Box::new(role.reads_whole()), None)
                }
            },
            Kind::Aggregate(_) => {
                let mut config = aggregate::Config::new(node, LANES);
                (config.sources, config.live_silence_ms) = (Some(self.files), NEVER_MS);
                if let Some(patience_ms) = self.plan.patience_ms {
                    let patience_ms = self.changed(patience_ms as usize, 20_000) as i64;
                    (config.sources, config.live_silence_ms) = (None, patience_ms);
                    config.grace_ms = patience_ms / 2;
                }
                config.overlap = self.plan.traffic == COPIES;
                let held_max = self.plan.held_max.map(|most| self.changed(most, 20));
                config.held_max = held_max.unwrap_or(config.held_max);
                if self.plan.other_intervals {
                    config.summary_us = Some([60, 300, 900][self.below(3)] * SECOND);
                }
                (Box::new(Aggregate::new(config)), None)
            }
            Kind::Manage(_) => {
                let mut config = manager::Config::new(node, LANES);
                if self.plan.held_max.is_some() && self.plan.changes {
                    config.held_max = self.below(20);
                }
                (Box::new(Manager::new(config)), None)
            }
            Kind::Sink(_) => {
                let mut dir = self.dir.path().to_owned();
                if self.plan.rotate.is_none() {
                    dir.push(node);
                }
                let mut config = sink::Config::new(&dir, "json", node);
                let changed = [10, 60, 3600][self.below(3)];
                let rotate = if self.plan.changes { Some(changed) } else { self.plan.rotate };
                config.rotate = self.plan.rotate.and(rotate).map(|seconds| seconds * SECOND);
                (Box::new(Sink::new(config, LANES)?), Some(dir))
            }
        })
    }
}

fn member(kind: Kind, traffic: usize) -> Member {
    match kind {
        Kind::Produce(n) => capture::role::member(&format!("w{n}"), LANES),
        Kind::Aggregate(n) => aggregate::member(&format!("a{n}"), traffic == COPIES),
        Kind::Manage(n) => manager::member(&format!("m{n}")),
        Kind::Sink(n) => sink::member("json", &format!("s{n}")),
    }
}

/// The producers of a kind of traffic, how many of them are files, and what live ones send first.
fn producers(traffic: usize) -> (Vec<Producer>, usize, Vec<Outgoing>) {
    let mut first = Vec::new();
    let mut scripts = |timeline: Timeline| -> Vec<Producer> {
        let mut all = Vec::new();
        for mut worker in busy(timeline) {
            worker.name = format!("{timeline:?}-{}", worker.name);
            if traffic == NO_ALARMS {
                worker.alarms.clear();
            }
            let mut commits = worker.commits(LANES);
            if timeline == Timeline::Live {
                first.extend(commits.remove(0));
            }
            all.push(Producer::Script(Arc::new(commits)));
        }
        all
    };
    let captures = |names: [&'static str; 3]| names.map(Producer::File).to_vec();
    let (all, files) = match traffic {
        0 => (
            [captures(["dns.pcap", "http.pcap", "scan.pcap"]), scripts(Timeline::File)].concat(),
            6,
        ),
        HALVES => {
            let of = |name| [true, false].map(|is_up| Producer::Half(name, is_up));
            ([of("http.pcap"), of("scan.pcap")].concat(), 4)
        }
        COPIES => {
            let of = |name| vec![Producer::File(name); 2];
            ([of("http.pcap"), of("scan.pcap")].concat(), 4)
        }
        1 | NO_ALARMS => ([scripts(Timeline::File), scripts(Timeline::Live)].concat(), 3),
        _ => ([captures(["scan.pcap"; 3]), scripts(Timeline::Live)].concat(), 3),
    };
    (all, files, first)
}
