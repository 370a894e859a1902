//! Clients end, whatever was on its way when they were told to. In a process of its own: it is looked at whether any
//! thread of them is left.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use bus::contract::{IN, LANES, PATIENCE, open, reader};
use bus::kafka::{Config, Kafka, admin};

#[path = "../../tests/harness/kafka.rs"]
mod kafka;

/// A member that is not seen for so long has lost its lanes.
const SESSION: Duration = Duration::from_secs(3);

/// More than once lanes were assigned to sessions that end before they heard of it: the first time their group lost them
/// with its coordinator. Closing them must not wait for good.
#[test]
fn sessions_that_nobody_listened_to_end() {
    const SESSIONS: usize = 20;
    let mut broker = kafka::Kafka::start();
    let options = [("session.timeout.ms".to_owned(), SESSION.as_millis().to_string())].into();
    let config = Config { brokers: broker.brokers(), prefix: "deaf".into(), options };
    admin::create_topics(&config, LANES, 1).expect("topics are made");
    let bus = Kafka::connect(config).expect("a broker");
    let opened = |n: usize| open(&bus, &reader(&format!("deaf{n}"), "a", &[IN]));
    let sessions: Vec<_> = (0..SESSIONS).map(opened).collect();
    // Long enough for each group to settle, and to lose its member.
    thread::sleep(SESSION * 2);
    broker.kill();
    thread::sleep(SESSION * 2);
    broker.launch().expect("it comes back");
    thread::sleep(SESSION * 4);
    thread::scope(|scope| {
        for session in sessions {
            scope.spawn(|| drop(session));
        }
    });
    let until = Instant::now() + PATIENCE;
    while threads().any(|name| name.trim() == "kafka-end") {
        assert!(Instant::now() < until, "clients that do not end");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Names of the threads of this process.
fn threads() -> impl Iterator<Item = String> {
    let tasks = fs::read_dir("/proc/self/task").expect("threads");
    tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
}
