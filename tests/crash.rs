//! kill -9 of every role while it is at work: no row is lost, none is doubled.
//!
//! The moments are random; `SEED=n` repeats them as far as the machine allows.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bus::kafka::Kafka;
use bus::{Bus as _, Member, Record, Topic, Wake, topic};
use model::stream::{conn, notice};

use crate::cluster::{alone, assert_agree};
use crate::harness::cluster::{Cluster, Node, workers};
use crate::harness::packets::Pcap;
use crate::harness::weir::Running;
use crate::harness::{files, kafka, split, text, until};

/// How often each part of mixed.pcap is in a worker's input, which makes some 150,000 packets each:
/// several steps of capture.
const COPIES: [u32; 3] = [150, 600, 150];
/// Two hours: between two copies every flow ends, and no notice is held back.
const SECONDS_BETWEEN: u32 = 7200;
/// A role is killed at most so long after it was seen at work.
const KILL_WITHIN_MS: u64 = 150;

/// Numbers that nobody can foresee, but everybody repeat.
struct Random(u64);

impl Random {
    fn new() -> Random {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
        let given = std::env::var("SEED").map(|seed| seed.parse().expect("SEED is a number"));
        let seed = given.unwrap_or(u64::from(now.subsec_nanos()) | 1);
        eprintln!("SEED={seed}");
        Random(seed)
    }

    /// Xorshift.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// A reader of committed records that notes who has been at work: capture by its node, the others by
/// the topics that only they write.
struct Watch {
    seen: Arc<Mutex<BTreeSet<String>>>,
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
            topics: vec![topic::RAW_CONN, Topic::log(&conn::DEF), Topic::log(&notice::DEF)],
            state: None,
            home: Vec::new(),
        };
        let (seen, stop) =
            (Arc::<Mutex<BTreeSet<String>>>::default(), Arc::<AtomicBool>::default());
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
                        sees.lock().expect("the set").extend(records.iter().map(name));
                    }
                    _ => {}
                }
            }
        });
        Watch { seen, stop, thread: Some(thread) }
    }

    fn has_seen(&self, name: &str) -> bool {
        self.seen.lock().expect("the set").contains(name)
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

/// Who is at work where this record is: a worker's name, else a topic's.
fn name(record: &Record) -> String {
    match &record.stamp {
        Some(stamp) if record.topic == topic::RAW_CONN => {
            stamp.source.split('/').next().unwrap_or_default().to_owned()
        }
        _ => record.topic.to_string(),
    }
}

/// One node, which dies once.
struct Victim {
    node: Node,
    running: Running,
    /// What the watch sees, or which files there are, when it is at work.
    sign: Sign,
    is_done: bool,
}

enum Sign {
    Seen(String),
    Files(std::path::PathBuf),
}

impl Victim {
    fn is_at_work(&self, watch: &Watch) -> bool {
        match &self.sign {
            Sign::Seen(name) => watch.has_seen(name),
            Sign::Files(dir) => !files(dir, "").is_empty(),
        }
    }
}

#[test]
fn kill_9_of_every_role_loses_and_doubles_nothing() {
    let mut random = Random::new();
    let cluster = Cluster::new();
    let mut inputs = split();
    for (number, input) in inputs.iter_mut().enumerate() {
        let many = cluster.path(&format!("many-{number}.pcap"));
        Pcap::read(input).write(&many, COPIES[number], SECONDS_BETWEEN);
        *input = text(&many);
    }
    let (want, out) = (cluster.path("alone"), cluster.path("out"));
    alone(&inputs, &want);

    let watch = Watch::start(&cluster);
    let stages = [cluster.aggregators(), cluster.managers(), cluster.sinks(&out, "1d")];
    let mut victims = Vec::new();
    for node in stages.iter().flatten().cloned().chain(workers(&inputs)) {
        let sign = match node.args[0].as_str() {
            "capture" => Sign::Seen(node.name.clone()),
            "aggregate" => Sign::Seen(Topic::log(&conn::DEF).to_string()),
            "manager" => Sign::Seen(Topic::log(&notice::DEF).to_string()),
            _ => Sign::Files(out.join(format!(".tmp-{}-parquet", node.name))),
        };
        let running = cluster.start(&node);
        victims.push(Victim { node, running, sign, is_done: false });
    }
    until("every role has been killed at work", || {
        for victim in victims.iter_mut().filter(|victim| !victim.is_done) {
            if victim.is_at_work(&watch) {
                thread::sleep(Duration::from_millis(random.below(KILL_WITHIN_MS)));
                assert!(victim.running.is_alive(), "{} ended before its kill", victim.node.name);
                eprintln!("kill -9 {}", victim.node.name);
                std::mem::replace(&mut victim.running, cluster.start(&victim.node)).kill();
                victim.is_done = true;
            }
        }
        victims.iter().all(|victim| victim.is_done)
    });

    let (captures, mut consumers): (Vec<_>, Vec<_>) =
        victims.into_iter().partition(|victim| victim.node.args[0] == "capture");
    for capture in captures {
        capture.running.wait().ok();
    }
    for nodes in &stages {
        for victim in consumers.drain(..nodes.len()) {
            victim.running.terminate().ok();
        }
        cluster.drain(nodes);
    }
    assert_agree(&want, &out);
}
