//! A cluster at work, whose processes can be killed, halted, added and sent away at any moment, and which in the
//! end has to have published what one process does.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bus::kafka::{Config, From, Kafka};
use bus::{Payload, books, topic};

use crate::harness::agree::assert_agree;
use crate::harness::cluster::{Cluster, Node, node, workers};
use crate::harness::random::Random;
use crate::harness::weir::{Running, inside};
use crate::harness::{PATIENCE, text};
use crate::load::Load;

/// Lanes of a process that is gone or halted go to others after so long.
pub const PATIENCE_OF_GROUPS: Duration = Duration::from_secs(3);
/// Partitions of every topic.
pub const LANES: usize = 4;
/// Settings of every cluster here: that, and several steps of every worker.
pub const SETTINGS: &str = r#"
capture.flush_packets = 3000
[kafka]
"session.timeout.ms" = "3000"
"heartbeat.interval.ms" = "500"
"#;

/// What starts a worker that takes small steps.
const SMALL_STEPS: [&str; 2] = ["env", "WEIR_CAPTURE_FLUSH_PACKETS=300"];

/// What a process does, in the order of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Capture,
    Aggregate,
    Manage,
    Sink,
}

/// Stages after capture.
pub const CONSUMERS: [Stage; 3] = [Stage::Aggregate, Stage::Manage, Stage::Sink];

/// Who was killed, each with whether workers still read then.
#[derive(Debug, Default)]
pub struct Kills(Vec<(Stage, bool)>);

impl Kills {
    /// How many processes.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// How many of a stage.
    pub fn of(&self, stage: Stage) -> usize {
        self.0.iter().filter(|(killed, _)| *killed == stage).count()
    }

    /// How many while workers read.
    pub fn under_load(&self) -> usize {
        self.0.iter().filter(|(_, under_load)| *under_load).count()
    }
}

/// A place for a process; one that has ended well, or was sent away, is empty.
#[derive(Debug)]
pub struct Member {
    pub stage: Stage,
    pub node: Node,
    pub running: Option<Running>,
    /// A command that becomes it, and so where it runs.
    pub outer: Vec<String>,
}

/// The cluster.
#[derive(Debug)]
pub struct Field {
    pub cluster: Cluster,
    pub members: Vec<Member>,
    pub random: Random,
    pub out: PathBuf,
    /// The same folder as this process sees it.
    pub published: PathBuf,
    pub kills: Kills,
    load: Load,
}

impl Field {
    /// Two aggregators, a manager, two sinks and three workers, all at work.
    pub fn start(cluster: Cluster, load: &Load, random: &Random) -> Field {
        Field::start_inside(cluster, load, random, |_, _| Vec::new())
    }

    /// The same one after another, each at work when this returns: one that finds no broker when it begins ends. Workers
    /// take small steps, so that much of the load is still to come.
    pub fn start_in_turn(cluster: Cluster, load: &Load, random: &Random) -> Field {
        let mut field = Field::consumers(cluster, load, random, |_, _| Vec::new());
        field.until_at_work();
        field.add_workers(|_| SMALL_STEPS.map(str::to_owned).into());
        field.until_at_work();
        field
    }

    /// The same with each process inside of a command, by its stage and its name.
    pub fn start_inside(
        cluster: Cluster,
        load: &Load,
        random: &Random,
        outer: impl Fn(Stage, &str) -> Vec<String>,
    ) -> Field {
        let mut field = Field::consumers(cluster, load, random, &outer);
        field.add_workers(|name| outer(Stage::Capture, name));
        field
    }

    fn consumers(
        cluster: Cluster,
        load: &Load,
        random: &Random,
        outer: impl Fn(Stage, &str) -> Vec<String>,
    ) -> Field {
        let mut field = Field::empty(cluster, load, random);
        let counts = [(Stage::Aggregate, 2), (Stage::Manage, 1), (Stage::Sink, 2)];
        for (stage, count) in counts {
            for nth in 0..count {
                let node = field.node(stage, nth);
                let outer = outer(stage, &node.name);
                field.add(stage, node, outer);
            }
        }
        field
    }

    /// Nobody yet.
    pub fn empty(cluster: Cluster, load: &Load, random: &Random) -> Field {
        let (out, random) = (cluster.path("out"), random.clone());
        let (members, published, kills) = (Vec::new(), out.clone(), Kills::default());
        Field { cluster, members, random, out, published, kills, load: load.clone() }
    }

    /// Workers, each with its part of the load, inside of a command by its name.
    pub fn add_workers(&mut self, outer: impl Fn(&str) -> Vec<String>) {
        for worker in workers(&self.load.inputs) {
            let outer = outer(&worker.name);
            self.add(Stage::Capture, worker, outer);
        }
    }

    /// Another process of a stage, which takes its share.
    pub fn join(&mut self, stage: Stage) -> usize {
        let nth = self.members.iter().filter(|member| member.stage == stage).count();
        let node = self.node(stage, nth);
        self.add(stage, node, Vec::new())
    }

    /// The `nth` node of a stage.
    pub fn node(&self, stage: Stage, nth: usize) -> Node {
        let out = text(&self.out);
        match stage {
            Stage::Capture => panic!("workers have their inputs"),
            Stage::Aggregate => node(&format!("a{nth}"), &["aggregate", "--sources", "3"]),
            Stage::Manage => node(&format!("m{nth}"), &["manager"]),
            Stage::Sink => {
                let args = ["sink", "--format", "tsv,parquet", "--rotate", "1h", "--out", &out];
                node(&format!("s{nth}"), &args)
            }
        }
    }

    /// Starts a process, inside of another command where one is given.
    pub fn add(&mut self, stage: Stage, node: Node, outer: Vec<String>) -> usize {
        self.members.push(Member { stage, node, running: None, outer });
        let at = self.members.len() - 1;
        self.begin(at);
        at
    }

    /// Starts the process of a place.
    pub fn begin(&mut self, at: usize) {
        let Member { node, outer, .. } = &self.members[at];
        let command = self.cluster.command_of(node, &[]);
        let command = if outer.is_empty() { command } else { inside(outer, &command) };
        self.members[at].running = Some(Running::start(command));
    }

    /// Waits until every process that runs has made a step.
    fn until_at_work(&self) {
        let running = self.members.iter().filter(|member| member.running.is_some());
        let mut silent: BTreeSet<&str> = running.map(|member| &*member.node.name).collect();
        self.until_told("all are at work", From::Beginning, |told| {
            // Workers of captures have their source behind their name.
            silent.remove(told.node.split('/').next().unwrap_or_default());
            silent.is_empty()
        });
    }

    /// kill -9, and a start with the same name.
    pub fn kill(&mut self, at: usize) {
        let under_load = self.is_under_load();
        let Some(running) = self.members[at].running.take() else { return };
        running.kill();
        self.kills.0.push((self.members[at].stage, under_load));
        self.begin(at);
    }

    /// SIGTERM, which has to be a good end; nobody comes in its place.
    pub fn send_away(&mut self, at: usize) {
        let Some(running) = self.members[at].running.take() else { return };
        running.terminate().ok();
    }

    /// Places whose process runs.
    pub fn running(&self, which: impl Fn(Stage) -> bool) -> Vec<usize> {
        let all = self.members.iter().enumerate();
        let runs = all.filter(|(_, member)| member.running.is_some() && which(member.stage));
        runs.map(|(at, _)| at).collect()
    }

    /// A place whose process runs, by chance.
    pub fn any(&mut self, which: impl Fn(Stage) -> bool) -> Option<usize> {
        let running = self.running(which);
        if running.is_empty() {
            return None;
        }
        Some(*self.random.one_of(&running))
    }

    /// Whether some worker still reads. No process may have ended badly, and of those that never end by
    /// themselves none may have ended at all.
    pub fn is_under_load(&mut self) -> bool {
        for member in &mut self.members {
            let Some(running) = &mut member.running else { continue };
            if running.is_alive() {
                continue;
            }
            let done = member.running.take().expect("it ran").wait().ok();
            assert!(member.stage == Stage::Capture, "{} ended: {}", member.node.name, done.err);
        }
        !self.running(|stage| stage == Stage::Capture).is_empty()
    }

    /// Waits until a member says, in a step from now on, that it holds all lanes of its group.
    pub fn holds_all(&self, group: &str, node: &str) {
        self.until_told(&format!("{node} holds all lanes of {group}"), From::Now, |told| {
            told.group == group && told.node == node && told.lanes.len() == LANES
        });
    }

    /// Waits until the books have a record that makes it so.
    fn until_told(&self, what: &str, since: From, mut is_so: impl FnMut(&books::Record) -> bool) {
        let config = Config {
            brokers: self.cluster.brokers().to_owned(),
            prefix: self.cluster.prefix().to_owned(),
            ..Config::default()
        };
        let (kafka, began) = (Kafka::connect(config).expect("the broker"), Instant::now());
        let mut goes_on = true;
        kafka
            .tail(&topic::METRICS, since, true, &mut |record| {
                assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} for: {what}");
                if let Some(Payload::Bytes(json)) = record.map(|record| record.payload) {
                    let told = serde_json::from_slice(&json).expect("a record of the books");
                    goes_on = !is_so(&told);
                }
                goes_on
            })
            .expect("metrics");
        assert!(!goes_on, "the books ended before: {what}");
    }

    /// Waits, or less where there is no more load.
    pub fn wait(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && self.is_under_load() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets everything end in the order of the data, compares, and audits.
    pub fn finish(mut self) {
        self.end();
        assert_agree(&self.load.want, &self.published);
        self.audit();
    }

    /// The books have to balance, up to the rows of every file.
    pub fn audit(&self) {
        let audit = self.cluster.command(&["audit", "--files"]);
        // Files that lie on a disk of a member's own are seen from there.
        let sink = self.members.iter().find(|member| member.stage == Stage::Sink);
        let outer = sink.map(|sink| &sink.outer[..]).unwrap_or_default();
        let audit = if outer.is_empty() { audit } else { inside(outer, &audit) };
        Running::start(audit).wait().ok();
    }

    /// Lets everything end in the order of the data.
    pub fn end(&mut self) {
        let began = Instant::now();
        while self.is_under_load() {
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("all is read after {:?} more", began.elapsed());
        for stage in CONSUMERS {
            let all: Vec<usize> =
                (0..self.members.len()).filter(|at| self.members[*at].stage == stage).collect();
            for at in &all {
                if let Some(running) = &self.members[*at].running {
                    running.signal("TERM");
                }
            }
            for at in &all {
                if let Some(running) = self.members[*at].running.take() {
                    running.wait().ok();
                }
            }
            let drained: Vec<Running> = all.iter().map(|at| self.drain(*at)).collect();
            for running in drained {
                running.wait().ok();
            }
            eprintln!("{stage:?}: drained after {:?}", began.elapsed());
        }
    }

    fn drain(&self, at: usize) -> Running {
        let Member { node, outer, .. } = &self.members[at];
        let command = self.cluster.command_of(node, &["--drain"]);
        Running::start(if outer.is_empty() { command } else { inside(outer, &command) })
    }
}
