//! Live capture of real packets while brokers and disks come and go: no row of a connection is lost or doubled, but
//! what a kill or a full spool is said to cost.
//!
//! Connections are made on an address of their own of the loopback interface, so that the filter keeps all else out.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use capture::live::Entry;

use crate::SETTINGS;
use crate::disk::Disk;
use crate::harness::cluster::{Cluster, Node, node};
use crate::harness::kafka::{self, Kafka};
use crate::harness::weir::{Running, inside};
use crate::harness::{folder, logs, text, until};

/// How long a stop may take while no broker answers.
const STOP_MOST: Duration = Duration::from_secs(15);
/// So long after its end a connection is logged, and somewhat more.
const LOGGED_AFTER: Duration = Duration::from_secs(12);

/// Somebody to talk to.
struct Wire {
    address: Ipv4Addr,
    server: SocketAddr,
    /// Connections made so far.
    made: u32,
    /// How often from each of the client's ports: the kernel may give one again.
    ports: BTreeMap<String, usize>,
}

impl Wire {
    fn new() -> Wire {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        let process = std::process::id().to_le_bytes();
        let address =
            Ipv4Addr::new(127, process[0] | 1, process[1], NEXT.fetch_add(1, Ordering::SeqCst) + 1);
        let listener = TcpListener::bind((address, 0)).expect("a port of the loopback interface");
        let server = listener.local_addr().expect("its address");
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(mut client) = client else { return };
                let mut word = [0; 16];
                let length = client.read(&mut word).unwrap_or(0);
                let _ = client.write_all(&word[..length]);
            }
        });
        Wire { address, server, made: 0, ports: BTreeMap::new() }
    }

    /// So many connections, one after another, each of which sends and gets some bytes.
    fn talk(&mut self, count: u32) {
        for _ in 0..count {
            self.made += 1;
            let mut client = TcpStream::connect(self.server).expect("a connection");
            let port = client.local_addr().expect("its address").port();
            *self.ports.entry(port.to_string()).or_default() += 1;
            client.write_all(b"0123456789abcdef").expect("bytes are sent");
            let mut back = Vec::new();
            client.read_to_end(&mut back).expect("bytes come back");
            assert_eq!(back.len(), 16);
        }
    }

    fn filter(&self) -> String {
        format!("tcp and host {}", self.address)
    }
}

/// Whether this user may capture at all.
fn can_capture() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let granted = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let granted = granted.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    let can = granted >> 13 & 1 == 1;
    if !can {
        eprintln!("skipped: this user may not capture (CAP_NET_RAW)");
    }
    can
}

/// A capture of a wire with a spool, which takes rows at once.
fn capture(wire: &Wire, spool: &Path) -> Node {
    let (spool, filter) = (text(spool), wire.filter());
    node("tap", &["-v", "capture", "-C", "-i", "lo", "--filter", &filter, "--spool", &spool])
}

/// Settings with so much memory for what waits.
fn settings(memory_max: usize) -> String {
    format!("capture.memory_max = {memory_max}\n{SETTINGS}")
}

/// Rows of conn in a spool, whole entries only.
fn spooled(spool: &Path) -> usize {
    let mut rows = 0;
    for path in crate::harness::files(spool, ".spool") {
        let bytes = Bytes::from(fs::read(&path).unwrap_or_default());
        let mut rest = bytes.slice(bytes.len().min(8)..);
        while rest.len() > 8 {
            let length = u32::from_le_bytes(rest[..4].try_into().expect("four bytes")) as usize;
            if rest.len() < 8 + length {
                break;
            }
            let entry = rest.slice(8..8 + length);
            rest = rest.slice(8 + length..);
            let Ok((entry, _)) = Entry::from_bytes(&entry, 1024) else { break };
            rows += entry
                .out
                .iter()
                .map(|out| match &out.payload {
                    bus::Payload::Rows(_, rows) if out.topic == bus::topic::RAW_CONN => {
                        rows.num_rows()
                    }
                    _ => 0,
                })
                .sum::<usize>();
        }
    }
    rows
}

/// Waits until it captures.
fn captures(running: &mut Running) {
    running.wait_for("capturing");
}

/// Lets the cluster log what there is, and gives how often each client's port is in conn.
fn ports(cluster: &Cluster) -> BTreeMap<String, usize> {
    let dir = folder();
    let out = text(dir.path());
    cluster.drain(&[node("a0", &["aggregate"])]);
    cluster.drain(&[node("m0", &["manager"])]);
    cluster.drain(&[node("s0", &["sink", "--rotate", "0", "--out", &out])]);
    cluster.run(&["audit", "--files"]).ok();
    let logs = logs::read(dir.path());
    let Some(conn) = logs.get("conn") else { return BTreeMap::new() };
    let mut ports = BTreeMap::new();
    for cells in conn.select(["id.orig_p", "orig_bytes", "resp_bytes"]) {
        assert_eq!(cells[1..], ["16", "16"], "{cells:?}");
        *ports.entry(cells[0].to_owned()).or_default() += 1;
    }
    ports
}

/// No port has more connections logged than were made from it.
fn assert_none_doubled(ports: &BTreeMap<String, usize>, wire: &Wire) {
    let made = |port: &String| wire.ports.get(port).copied().unwrap_or(0);
    let doubled: Vec<_> = ports.iter().filter(|(port, count)| **count > made(port)).collect();
    assert!(doubled.is_empty(), "doubled: {doubled:?}");
}

fn assert_once(cluster: &Cluster, wire: &Wire) {
    let ports = ports(cluster);
    assert_none_doubled(&ports, wire);
    let lost: Vec<_> = wire.ports.iter().filter(|(port, _)| !ports.contains_key(*port)).collect();
    assert!(lost.is_empty(), "lost, of {}: {lost:?}", wire.made);
    assert_eq!(ports, wire.ports, "connections logged");
}

/// The broker is away for a while; capture is killed meanwhile, begins again without any broker, and is stopped
/// without one. Whoever comes when it is back sends all, once.
pub fn away(lasts: Duration) {
    if !can_capture() {
        return;
    }
    let mut broker = Kafka::start();
    let cluster = Cluster::on(broker.brokers(), &settings(1));
    let (mut wire, spool) = (Wire::new(), cluster.path("spool"));
    let tap = capture(&wire, &spool);
    let mut running = cluster.start(&tap);
    captures(&mut running);
    wire.talk(20);
    thread::sleep(LOGGED_AFTER);
    broker.kill();
    let until_then = Instant::now() + lasts;
    wire.talk(30);
    while Instant::now() < until_then {
        thread::sleep(Duration::from_millis(500));
        wire.talk(5);
    }
    thread::sleep(LOGGED_AFTER);
    // What is spooled survives; nothing is open.
    let before = spooled(&spool);
    assert!(before >= 30, "{before} rows of conn in the spool");
    running.kill();

    let mut running = cluster.start(&tap);
    captures(&mut running);
    wire.talk(25);
    thread::sleep(Duration::from_secs(1));
    let asked = Instant::now();
    // Open flows are logged; nobody takes them.
    let done = running.terminate().fails(1, &["rows wait in", "the next start sends them"]);
    eprintln!("stopped without a broker after {:?}", asked.elapsed());
    assert!(asked.elapsed() < STOP_MOST, "{:?}\n{}", asked.elapsed(), done.err);

    // A second signal does not wait at all.
    let mut running = cluster.start(&tap);
    captures(&mut running);
    running.signal("TERM");
    running.signal("INT");
    let asked = Instant::now();
    running.wait().fails(1, &["stopped at once"]);
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());

    broker.launch().unwrap_or_else(|error| panic!("the broker did not come back: {error}"));
    let mut running = cluster.start(&tap);
    captures(&mut running);
    wire.talk(10);
    running.terminate().ok();
    assert_eq!(spooled(&spool), 0, "all is sent");
    assert_once(&cluster, &wire);
}

/// The disk of the spool is full while the broker is away: rows are dropped, counted and named; once there is room and
/// a broker, capture goes on.
pub fn full() {
    if !can_capture() {
        return;
    }
    let mut broker = Kafka::start();
    let cluster = Cluster::on(broker.brokers(), &settings(20_000));
    let (mut wire, spool) = (Wire::new(), cluster.path("spool"));
    let Some(disk) = Disk::new(&spool, "4m") else { return };
    disk.fill(64 << 10);
    let command = cluster.command_of(&capture(&wire, &spool), &[]);
    let mut running = Running::start(inside(&disk.outer(), &command));
    captures(&mut running);
    broker.kill();
    let (mut said, began) = (String::new(), Instant::now());
    until("rows are dropped", || {
        wire.talk(40);
        thread::sleep(Duration::from_millis(300));
        said = running.said();
        said.contains("new rows are dropped")
    });
    eprintln!("rows are dropped after {:?} and {} connections", began.elapsed(), wire.made);
    assert!(said.contains("takes no more"), "{said}");
    disk.clear();
    // The packet loop did not stop for any of it.
    thread::sleep(LOGGED_AFTER);
    let before = wire.made;
    wire.talk(50);
    broker.launch().unwrap_or_else(|error| panic!("the broker did not come back: {error}"));
    thread::sleep(LOGGED_AFTER);
    let done = running.terminate().ok();
    let dropped = done.err.lines().find_map(|line| {
        line.trim().strip_suffix(
            " rows were dropped, as the bus did not take them and there was no more room",
        )
    });
    let dropped: usize =
        dropped.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{}", done.err));
    let ports = ports(&cluster);
    assert_none_doubled(&ports, &wire);
    // The books have what was dropped to the row.
    let audit = cluster.run(&["audit", "--json"]).ok().out;
    let audit: serde_json::Value = serde_json::from_str(&audit).expect("JSON");
    let streams = audit["streams"].as_object().expect("streams").values();
    let by_books: u64 = streams.map(|row| row["dropped"].as_u64().expect("a count")).sum();
    assert_eq!(by_books, dropped as u64, "{audit:#}");
    let (logged, made) = (ports.values().sum::<usize>(), wire.made as usize);
    // Each connection is a row of conn and now and then one of something else.
    assert!(logged < made && logged + dropped >= made, "{logged} of {made}, {dropped} dropped");
    assert!(logged >= (wire.made - before) as usize, "{logged}");
}

/// Two processes with one name: the later goes on, the earlier ends and says why.
pub fn twins() {
    if !can_capture() {
        return;
    }
    let cluster = Cluster::on(kafka::shared().brokers(), &settings(1));
    let mut wire = Wire::new();
    let spools: Vec<PathBuf> = ["one", "two"].map(|name| cluster.path(name)).into();
    let mut first = cluster.start(&capture(&wire, &spools[0]));
    captures(&mut first);
    let mut second = cluster.start(&capture(&wire, &spools[1]));
    captures(&mut second);
    first.wait().fails(1, &["node name `tap`", "the earlier, ends"]);
    // Of one spool the later is refused.
    cluster.start(&capture(&wire, &spools[1])).wait().fails(1, &["is in use", "node name `tap`"]);
    wire.talk(20);
    thread::sleep(Duration::from_secs(1));
    second.terminate().ok();
    assert_once(&cluster, &wire);
}

#[test]
fn a_broker_that_is_away_costs_live_capture_nothing_but_spool() {
    away(Duration::from_secs(5));
}

#[test]
fn a_spool_that_is_full_costs_counted_rows_and_no_stall() {
    full();
}

#[test]
fn of_two_live_captures_with_one_name_the_earlier_ends() {
    twins();
}
