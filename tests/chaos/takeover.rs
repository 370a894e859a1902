//! A member that dies or hangs in the middle of an open transaction: the others have its lanes, and whatever it had
//! written holds nobody up, within ten seconds.
//!
//! The moment is sure: the member reaches its broker through a proxy that keeps back the request which would end a
//! transaction with something in it. All of the transaction is on the broker then, but its end.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bus::topic;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::field::{Field, LANES, Stage};
use crate::harness::cluster::Cluster;
use crate::harness::kafka::Kafka as Broker;
use crate::harness::random::Random;
use crate::harness::weir::{Running, replaced};
use crate::harness::{PATIENCE, until};
use crate::load::Load;
use crate::proxy::{END_TXN, is_patient, whole};

/// Several steps of every worker. Groups wait as long as they do by default.
const SETTINGS: &str = "capture.flush_packets = 3000\n";
/// How long it takes at most until all is taken over, where the machine has nothing else to do: it takes 6 to 8 s.
const GOAL: Duration = Duration::from_secs(10);
/// One of so many attempts has to reach it: machines that run tests have much else to do.
const ATTEMPTS: usize = 3;
/// Longer no attempt may take: well before the broker loses its patience with an open transaction (30 s, and up to 10
/// more).
const TAKEOVER: Duration = Duration::from_secs(20);
/// Kafka's number of the request that writes.
const PRODUCE: u16 = 0;

/// What a proxy looks for and has found.
#[derive(Debug)]
struct Hold {
    broker: u16,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    /// How often it began to look.
    round: u32,
    /// Topics whose names begin so are looked for.
    topic: String,
    /// Clients that have written to such a topic.
    wrote: BTreeSet<String>,
    /// The client whose request is kept back.
    holds: Option<String>,
    /// Nothing is kept back any more.
    over: bool,
}

/// A proxy at work; gone with this value.
#[derive(Debug)]
struct Holder(Arc<Hold>);

impl Holder {
    fn start(broker: &Broker) -> Holder {
        let (inner, outer) = broker.proxied();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, outer)).expect("the proxy's port");
        listener.set_nonblocking(true).expect("a listener that does not wait");
        let hold = Arc::new(Hold { broker: inner, now: Mutex::default() });
        let proxy = hold.clone();
        thread::spawn(move || {
            // Those who are served hold it too.
            while Arc::strong_count(&proxy) > 1 {
                match listener.accept() {
                    Ok((client, _)) => proxy.clone().carry(client),
                    Err(_) => thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        Holder(hold)
    }

    /// Lets go what is kept back, and keeps back the end of the first transaction that writes to such a topic.
    fn look_for(&self, topic: &str) {
        let mut now = self.0.now.lock().expect("what is");
        *now = Now { round: now.round + 1, topic: topic.to_owned(), ..Now::default() };
    }

    /// Whose transaction is kept open.
    fn holds(&self) -> Option<String> {
        self.0.now.lock().expect("what is").holds.clone()
    }

    /// Lets go what was kept back.
    fn release(&self) {
        self.0.now.lock().expect("what is").over = true;
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.release();
    }
}

impl Hold {
    /// Carries one connection, in threads of its own.
    fn carry(self: Arc<Self>, mut client: TcpStream) {
        let Ok(mut broker) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.broker)) else { return };
        for socket in [&client, &broker] {
            let set = socket.set_nonblocking(false).and_then(|()| socket.set_nodelay(true));
            set.expect("settings of a socket");
        }
        let copy = |socket: &TcpStream| socket.try_clone().expect("one more handle");
        let (mut from_broker, mut to_client) = (copy(&broker), copy(&client));
        thread::spawn(move || {
            let _ = std::io::copy(&mut from_broker, &mut to_client);
            let _ = to_client.shutdown(Shutdown::Both);
        });
        thread::spawn(move || {
            let looks = client.set_read_timeout(Some(Duration::from_millis(20)));
            looks.expect("settings of a socket");
            let (mut held, mut bytes) = (Vec::new(), vec![0; 64 << 10]);
            loop {
                match client.read(&mut bytes) {
                    Ok(0) => break,
                    Ok(length) => held.extend_from_slice(&bytes[..length]),
                    Err(error) if is_patient(&error) => continue,
                    Err(_) => break,
                }
                while let Some(request) = whole(&mut held) {
                    self.see(&request);
                    if broker.write_all(&request).is_err() {
                        break;
                    }
                }
            }
            let _ = broker.shutdown(Shutdown::Both);
        });
    }

    /// Returns when the request may go on.
    fn see(&self, request: &[u8]) {
        let kind = u16::from_be_bytes([request[4], request[5]]);
        if kind != PRODUCE && kind != END_TXN {
            return;
        }
        // Length, kind, version, number; then the client's name.
        let length = usize::from(u16::from_be_bytes([request[12], request[13]]));
        let client = String::from_utf8_lossy(&request[14..14 + length]).into_owned();
        let mut now = self.now.lock().expect("what is");
        if kind == PRODUCE {
            let name = now.topic.as_bytes();
            // A topic's name has its length before it; in what is written it has quotes or letters there.
            let is_length = |before: u8| !before.is_ascii_graphic();
            let is_it = |bytes: &[u8]| is_length(bytes[0]) && &bytes[1..] == name;
            if !name.is_empty() && request.windows(name.len() + 1).any(is_it) {
                now.wrote.insert(client);
            }
            return;
        }
        if now.over || now.holds.is_some() || !now.wrote.contains(&client) {
            return;
        }
        now.holds = Some(client);
        let round = now.round;
        while !now.over && now.round == round {
            drop(now);
            thread::sleep(Duration::from_millis(5));
            now = self.now.lock().expect("what is");
        }
    }
}

/// The ends of partitions, of what is written or of what is decided.
struct Ends(BaseConsumer);

impl Ends {
    fn new(cluster: &Cluster, isolation: &str) -> Ends {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.brokers()).set("isolation.level", isolation);
        Ends(config.create().expect("a consumer"))
    }

    fn of(&self, name: &str, lane: usize) -> i64 {
        let ends = self.0.fetch_watermarks(name, lane as i32, PATIENCE);
        ends.expect("the ends of a partition").1
    }
}

/// Every partition that is held up, and where it is free again.
fn held_up(cluster: &Cluster) -> Vec<(String, usize, i64)> {
    let written = Ends::new(cluster, "read_uncommitted");
    let decided = Ends::new(cluster, "read_committed");
    let topics = topic::table().into_iter().map(|spec| spec.topic.full(cluster.prefix()));
    let places = topics.flat_map(|name| (0..LANES).map(move |lane| (name.clone(), lane)));
    let ends = places.map(|(name, lane)| {
        let end = written.of(&name, lane);
        (name, lane, end)
    });
    let ends: Vec<_> = ends.collect();
    ends.into_iter().filter(|(name, lane, end)| decided.of(name, *lane) < *end).collect()
}

/// How a member ends its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// kill -9; it does not come back before all is read.
    Dies,
    /// It is halted, and goes on when all is taken over.
    Hangs,
}

/// One of two members of a stage ends in a transaction in which it wrote to such a topic. Says how long it took until all
/// was taken over.
fn one_ends(
    broker: &Broker,
    proxy: &Holder,
    (stage, topic): (Stage, &str),
    how: How,
    load: &Load,
) -> Duration {
    let cluster = Cluster::on(broker.brokers(), SETTINGS);
    let topic = &format!("{}{topic}", cluster.prefix());
    proxy.look_for(topic);
    let mut field = Field::empty(cluster, load, &Random::from(0));
    for (other, count) in [(Stage::Aggregate, 2), (Stage::Manage, 2), (Stage::Sink, 2)] {
        for nth in 0..count {
            let node = field.node(other, nth);
            let at = field.add(other, node, Vec::new());
            if (other, nth) == (stage, 0) {
                let command = field.cluster.command_of(&field.members[at].node, &[]);
                let outer = format!("127.0.0.1:{}", broker.proxied().1);
                let command = replaced(&command, field.cluster.brokers(), &outer);
                field.members[at].running.take().expect("it was begun").kill();
                field.members[at].running = Some(Running::start(command));
            }
        }
    }
    field.add_workers(|_| Vec::new());
    let mut open = Vec::new();
    until("a transaction that wrote there is kept open", || {
        if proxy.holds().is_none() {
            return false;
        }
        open = held_up(&field.cluster);
        let is_it = open.iter().any(|(name, ..)| name.starts_with(topic));
        if !is_it {
            // What a step says of a topic can look like the topic's name.
            proxy.look_for(topic);
        }
        is_it
    });
    let client = proxy.holds().expect("a client");
    let group_and_node = client.strip_prefix(&format!("{}.", field.cluster.prefix()));
    let (group, node) = group_and_node.and_then(|s| s.rsplit_once('.')).expect("a member's name");
    let victim = field.running(|one| one == stage)[0];
    assert_eq!(field.members[victim].node.name, node);
    let other = field.members[victim + 1].node.name.clone();

    let running = field.members[victim].running.take().expect("it runs");
    let ended = Instant::now();
    let halted = match how {
        How::Dies => {
            running.kill();
            None
        }
        How::Hangs => {
            running.signal("STOP");
            Some(running)
        }
    };
    field.holds_all(group, &other);
    let taken = ended.elapsed();
    let decided = Ends::new(&field.cluster, "read_committed");
    until("nobody is held up", || {
        open.iter().all(|(name, lane, end)| decided.of(name, *lane) >= *end)
    });
    let free = ended.elapsed();
    eprintln!(
        "{group} {how:?}: lanes taken over after {taken:.1?}, nobody held up after {free:.1?}"
    );
    let said = field.members[victim + 1].running.as_ref().map(Running::said).unwrap_or_default();
    assert!(taken < TAKEOVER && free < TAKEOVER, "{group} {how:?}: {taken:?}, {free:?}\n{said}");
    if let Some(running) = halted {
        running.signal("CONT");
        proxy.release();
        field.members[victim].running = Some(running);
    }
    field.finish();
    taken.max(free)
}

/// Stages, and what a topic is called that each writes to with what it is there for.
const STAGES: [(Stage, &str); 3] =
    [(Stage::Manage, ".log."), (Stage::Aggregate, ".log.conn"), (Stage::Sink, ".files")];

/// One of any stage, in any way.
pub fn any(load: &Load, random: &Random) {
    let (broker, mut random) = (Broker::start(), random.clone());
    let (stage, how) = (*random.one_of(&STAGES), *random.one_of(&[How::Dies, How::Hangs]));
    one_ends(&broker, &Holder::start(&broker), stage, how, load);
}

/// Each stage in turn, again where it took too long.
fn all_end(how: How) {
    let broker = Broker::start();
    let proxy = Holder::start(&broker);
    for stage in STAGES {
        let mut took = Vec::new();
        while took.len() < ATTEMPTS && took.last().is_none_or(|took| *took >= GOAL) {
            took.push(one_ends(&broker, &proxy, stage, how, Load::short()));
        }
        eprintln!("{:?} {how:?}: taken over after {took:.1?}", stage.0);
        assert!(took.iter().any(|took| *took < GOAL), "{:?} {how:?}: {took:?}", stage.0);
    }
}

#[test]
fn who_dies_in_an_open_transaction_is_taken_over_before_the_broker_ends_it() {
    all_end(How::Dies);
}

#[test]
fn who_hangs_in_an_open_transaction_is_taken_over_before_the_broker_ends_it() {
    all_end(How::Hangs);
}
