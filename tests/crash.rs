//! Roles that end while they are at work, by kill -9 or by SIGTERM: no row is lost, none is doubled.
//!
//! The moments are random; `SEED=n` repeats them as far as the machine allows.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bus::kafka::Kafka;
use bus::{Bus as _, Member, Topic, Wake};
use model::stream::{conn, notice};

use crate::harness::agree::{alone, assert_agree};
use crate::harness::cluster::{Cluster, Node, node, workers};
use crate::harness::packets::Pcap;
use crate::harness::random::Random;
use crate::harness::weir::Running;
use crate::harness::{files, folder, kafka, split, text, trace, until};

/// How often each part of mixed.pcap is in a worker's input, which makes some 150,000 packets each:
/// several steps of capture.
const COPIES: [u32; 3] = [150, 600, 150];
/// Two hours: between two copies every flow ends, and no notice is held back.
const SECONDS_BETWEEN: u32 = 7200;
/// A capture is killed before it has read so many hundredths of its input.
const KILL_BEFORE_HUNDREDTHS: u64 = 75;
/// On a busy machine a capture may end before its kill comes; then all is done once more.
const ATTEMPTS: u32 = 3;
/// A consumer is killed at most so long after it was seen at work.
const KILL_WITHIN_MS: u64 = 150;

/// A reader of committed records that notes on which topics there are some.
struct Watch {
    seen: Arc<Mutex<BTreeSet<Topic>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    fn start(cluster: &Cluster) -> Watch {
        let config = bus::kafka::Config {
            brokers: kafka::shared().brokers(),
            prefix: cluster.prefix().to_owned(),
            ..Default::default()
        };
        let bus = Kafka::connect(config).expect("the broker");
        let me = Member {
            group: "watch".into(),
            node: "watch".into(),
            topics: vec![Topic::log(&conn::DEF), Topic::log(&notice::DEF)],
            state: None,
            home: Vec::new(),
        };
        let (seen, stop) = (Arc::<Mutex<BTreeSet<Topic>>>::default(), Arc::<AtomicBool>::default());
        let (sees, stops) = (seen.clone(), stop.clone());
        let thread = thread::spawn(move || {
            let mut session = bus.open(&me).expect("a session");
            while !stops.load(Ordering::SeqCst) {
                match session.next(Duration::from_millis(20)).expect("what is new") {
                    Wake::Assigned(lanes) => {
                        for lane in lanes {
                            session.restore(lane, &mut |_, _| ()).expect("a lane");
                        }
                    }
                    Wake::Records(records) => {
                        sees.lock()
                            .expect("the set")
                            .extend(records.into_iter().map(|record| record.topic));
                    }
                    _ => {}
                }
            }
        });
        Watch { seen, stop, thread: Some(thread) }
    }

    fn has_seen(&self, topic: &Topic) -> bool {
        self.seen.lock().expect("the set").contains(topic)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One node, which dies once.
struct Victim {
    node: Node,
    running: Running,
    is_done: bool,
    /// It had ended before its kill came.
    was_missed: bool,
}

impl Victim {
    /// kill -9, and a start with the same name.
    fn die(&mut self, cluster: &Cluster) {
        self.was_missed = !self.running.is_alive();
        let word = if self.was_missed { "too late for" } else { "kill -9" };
        eprintln!("{word} {}", self.node.name);
        std::mem::replace(&mut self.running, cluster.start(&self.node)).kill();
        self.is_done = true;
    }

    /// A consumer's work is seen by what it writes.
    fn is_at_work(&self, watch: &Watch, out: &Path) -> bool {
        match self.node.args[0].as_str() {
            "aggregate" => watch.has_seen(&Topic::log(&conn::DEF)),
            "manager" => watch.has_seen(&Topic::log(&notice::DEF)),
            _ => !files(&out.join(format!(".tmp-{}-parquet", self.node.name)), "").is_empty(),
        }
    }
}

/// How many bytes of a file a process has read.
fn read_by(process: u32, file: &Path) -> u64 {
    let dir = PathBuf::from(format!("/proc/{process}"));
    let Ok(open) = fs::read_dir(dir.join("fd")) else { return 0 };
    let of_file = open.flatten().find(|fd| fs::read_link(fd.path()).is_ok_and(|to| to == file));
    let info = of_file.map(|fd| fs::read_to_string(dir.join("fdinfo").join(fd.file_name())));
    let Some(Ok(info)) = info else { return 0 };
    let position = info.lines().find_map(|line| line.strip_prefix("pos:"));
    position.and_then(|position| position.trim().parse().ok()).unwrap_or(0)
}

/// Waits until a capture has read so many hundredths of its input.
fn wait_for(capture: &mut Running, input: &str, hundredths: u64) {
    let (process, input) = (capture.id(), Path::new(input));
    let from = fs::metadata(input).expect("the input").len() / 100 * hundredths;
    until(&format!("{from} bytes of {} are read", input.display()), || {
        read_by(process, input) > from || !capture.is_alive()
    });
}

/// Kills every consumer within some time from when it is first seen at work.
fn kill_consumers(cluster: &Cluster, victims: &mut [Victim], out: &Path, random: &mut Random) {
    let watch = Watch::start(cluster);
    until("every consumer was killed at work", || {
        for victim in victims.iter_mut().filter(|victim| !victim.is_done) {
            if victim.is_at_work(&watch, out) {
                thread::sleep(Duration::from_millis(random.below(KILL_WITHIN_MS)));
                victim.die(cluster);
            }
        }
        victims.iter().all(|victim| victim.is_done)
    });
}

fn start(cluster: &Cluster, nodes: Vec<Node>) -> Vec<Victim> {
    let start = |node: Node| {
        let running = cluster.start(&node);
        Victim { node, running, is_done: false, was_missed: false }
    };
    nodes.into_iter().map(start).collect()
}

/// One cluster, in which every role is killed once. Whether all kills came in time.
fn kill_all(inputs: &[String], want: &Path, random: &mut Random) -> bool {
    let cluster = Cluster::new();
    let out = cluster.path("out");
    let stages = [cluster.aggregators(), cluster.managers(), cluster.sinks(&out, "1d")];
    let mut consumers = start(&cluster, stages.concat());
    let mut captures = start(&cluster, workers(inputs));
    thread::scope(|scope| {
        for (victim, input) in captures.iter_mut().zip(inputs) {
            let (cluster, hundredths) = (&cluster, random.below(KILL_BEFORE_HUNDREDTHS));
            scope.spawn(move || {
                wait_for(&mut victim.running, input, hundredths);
                victim.die(cluster);
            });
        }
        kill_consumers(&cluster, &mut consumers, &out, random);
    });
    let is_hit = captures.iter().chain(&consumers).all(|victim| !victim.was_missed);

    for capture in captures {
        capture.running.wait().ok();
    }
    for nodes in &stages {
        for victim in consumers.drain(..nodes.len()) {
            victim.running.terminate().ok();
        }
        cluster.drain(nodes);
    }
    assert_agree(want, &out);
    cluster.run(&["audit", "--files"]).ok();
    is_hit
}

#[test]
fn kill_9_of_every_role_loses_and_doubles_nothing() {
    let (mut random, dir) = (Random::new(), folder());
    let mut inputs = split();
    for (number, input) in inputs.iter_mut().enumerate() {
        let many = dir.path().join(format!("many-{number}.pcap"));
        Pcap::read(input).write(&many, COPIES[number], SECONDS_BETWEEN);
        *input = text(&many);
    }
    let want = dir.path().join("alone");
    alone(&inputs, &want);
    let is_hit = (0..ATTEMPTS).any(|_| kill_all(&inputs, &want, &mut random));
    assert!(is_hit, "captures ended before their kills, {ATTEMPTS} times: make COPIES larger");
}

#[test]
fn sigterm_in_the_middle_is_a_good_end_and_a_restart_goes_on() {
    let mut random = Random::new();
    let cluster = Cluster::new();
    let (many, want, out) = (cluster.path("many.pcap"), cluster.path("alone"), cluster.path("out"));
    Pcap::read(&trace("mixed.pcap")).write(&many, COPIES[0], SECONDS_BETWEEN);
    let inputs = [text(&many)];
    alone(&inputs, &want);
    let [worker] = &workers(&inputs)[..] else { panic!("one worker") };
    let aggregate = ["aggregate", "--sources", "1"];
    let stages = [vec![node("a0", &aggregate)], cluster.managers(), cluster.sinks(&out, "1d")];

    let running: Vec<Vec<Running>> = stages.iter().map(|nodes| cluster.start_all(nodes)).collect();
    let mut capture = cluster.start(worker);
    wait_for(&mut capture, &inputs[0], random.below(KILL_BEFORE_HUNDREDTHS));
    assert!(capture.is_alive(), "the capture ended before its SIGTERM");
    let said = capture.terminate().ok().err;
    assert!(said.contains("stopping"), "{said}");
    // The others while there is work for them, in no order.
    for role in running.into_iter().flatten() {
        role.terminate().ok();
    }
    let said = cluster.start(worker).wait().ok().err;
    assert!(!said.contains("--again"), "there was more to read: {said}");
    for nodes in &stages {
        cluster.drain(nodes);
    }
    assert_agree(&want, &out);
    cluster.run(&["audit", "--files"]).ok();
}
