//! What flows cost: rates of new ones by processor time of one thread, bytes of each that is held, and
//! whether memory stays flat under floods. Packets are made here, so that nothing but the engine is measured.
//!
//!     cargo bench -p weir-capture --bench flows -- [SCENARIO [FLOWS]]
//!
//! Without a scenario it runs all of them, each in a process of its own, as memory is read from the
//! kernel (resident set) and a process does not give back all that it had.

#![allow(clippy::print_stdout, reason = "a bench prints")]

use std::hash::BuildHasher as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;

use capture::config::Config;
use capture::engine::Engine;
use capture::files::hash::Hashes;
use capture::flow::Key;
use capture::source::{Link, Packet};

/// As the `weir` command has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const SCENARIOS: &[(&str, u64)] = &[
    ("syn-flood", 4_000_000),
    ("small-flows", 600_000),
    ("half-open", 2_000_000),
    ("established", 2_000_000),
    ("syn-flood-at-limit", 4_000_000),
    ("gap-flood", 100_000),
    ("bomb", 200),
    ("same-hosts", 1_000_000),
    ("collisions", 200_000),
    ("four-million", 4_000_000),
];

/// Packets between two flushes, as a capture thread has them.
const FLUSH: u64 = 65_536;
/// Microseconds between packets where a scenario is about rates.
const STEP: i64 = 1;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

struct Bench {
    engine: Engine,
    packet: Vec<u8>,
    now: i64,
    packets: u64,
    rows: u64,
}

impl Bench {
    fn new(flows_max: usize) -> Bench {
        let mut config = Config::new("bench");
        config.ignore_checksums = true;
        config.hashes = Hashes::NONE;
        config.flows_max = flows_max;
        Bench {
            engine: Engine::new(Arc::new(config), 0, 1),
            packet: Vec::with_capacity(2048),
            now: 1_700_000_000_000_000,
            packets: 0,
            rows: 0,
        }
    }

    /// A frame of Ethernet and IPv4 with this transport header and payload.
    fn ip(&mut self, src: u32, dst: u32, proto: u8, header: &[u8], payload: &[u8]) {
        let len = (20 + header.len() + payload.len()) as u16;
        self.packet.clear();
        self.packet.extend_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
        self.packet.extend_from_slice(&[0x45, 0, (len >> 8) as u8, len as u8, 0, 0, 0, 0, 64]);
        self.packet.extend_from_slice(&[proto, 0, 0]);
        self.packet.extend_from_slice(&src.to_be_bytes());
        self.packet.extend_from_slice(&dst.to_be_bytes());
        self.packet.extend_from_slice(header);
        self.packet.extend_from_slice(payload);
        let packet = Packet {
            ts_us: self.now,
            link: Link::from(1),
            wire_len: self.packet.len() as u32,
            data: &self.packet,
        };
        self.engine.packet(&packet);
        self.packets += 1;
        if self.packets.is_multiple_of(FLUSH) {
            self.engine.settle();
            self.take();
        }
    }

    fn take(&mut self) {
        let rows = self.engine.out().take("bench");
        self.rows += rows.iter().map(|rows| rows.marks.len() as u64).sum::<u64>();
    }

    fn tcp(&mut self, [src, dst]: [(u32, u16); 2], flags: u8, seq: u32, ack: u32, data: &[u8]) {
        let mut header = [0u8; 20];
        header[0..2].copy_from_slice(&src.1.to_be_bytes());
        header[2..4].copy_from_slice(&dst.1.to_be_bytes());
        header[4..8].copy_from_slice(&seq.to_be_bytes());
        header[8..12].copy_from_slice(&ack.to_be_bytes());
        header[12..16].copy_from_slice(&[0x50, flags, 0xff, 0xff]);
        self.ip(src.0, dst.0, 6, &header, data);
    }

    fn udp(&mut self, src: (u32, u16), dst: (u32, u16), data: &[u8]) {
        let mut header = [0u8; 8];
        header[0..2].copy_from_slice(&src.1.to_be_bytes());
        header[2..4].copy_from_slice(&dst.1.to_be_bytes());
        header[4..6].copy_from_slice(&(8 + data.len() as u16).to_be_bytes());
        self.ip(src.0, dst.0, 17, &header, data);
    }

    fn handshake(&mut self, c: (u32, u16), s: (u32, u16)) {
        self.tcp([c, s], SYN, 1000, 0, &[]);
        self.tcp([s, c], SYN | ACK, 5000, 1001, &[]);
        self.tcp([c, s], ACK, 1001, 5001, &[]);
    }

    fn dns(&mut self, i: u64) {
        let (c, s) = (client(i), (0x0a00_0035, 53));
        let name = format!("h{:07}", i % 10_000_000);
        let mut query = vec![(i >> 8) as u8, i as u8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 8];
        query.extend_from_slice(name.as_bytes());
        query.extend_from_slice(b"\x07example\x03com\x00\x00\x01\x00\x01");
        self.udp(c, s, &query);
        query[2] = 0x81;
        query[3] = 0x80;
        query[7] = 1;
        query.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
        self.udp(s, c, &query);
    }

    /// A hundred holes that never close, a kilobyte apart; [`Bench::request`] comes before.
    fn holes(&mut self, c: (u32, u16), s: (u32, u16)) {
        for n in 0..100 {
            self.tcp([c, s], ACK, 1100 + n * 1000, 5002, &[b'x'; 900]);
        }
    }

    /// A flow that begins a request of HTTP and waits.
    fn request(&mut self, c: (u32, u16), s: (u32, u16)) {
        self.handshake(c, s);
        self.tcp([s, c], ACK, 5001, 1010, b"x");
        self.tcp([c, s], ACK, 1001, 5002, b"GET / HTTP/1.1\r\n");
    }

    /// A response whose body unpacks to a thousand times its size, and then breaks off.
    fn bomb(&mut self, c: (u32, u16), s: (u32, u16), body: &[u8]) {
        self.handshake(c, s);
        let get = b"GET /bomb HTTP/1.1\r\nHost: www.example.com\r\n\r\n";
        self.tcp([c, s], ACK, 1001, 5001, get);
        let ack = 1001 + get.len() as u32;
        let head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9999999\r\n\r\n";
        self.tcp([s, c], ACK, 5001, ack, head);
        let mut seq = 5001 + head.len() as u32;
        for piece in body.chunks(1400) {
            self.tcp([s, c], ACK, seq, ack, piece);
            seq += piece.len() as u32;
            self.tcp([c, s], ACK, ack, seq, &[]);
        }
    }

    fn http(&mut self, i: u64) {
        let (c, s) = (client(i), (0x0a00_0050, 80));
        self.handshake(c, s);
        let get = b"GET /index.html HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: bench\r\n\r\n";
        let ok = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
        self.tcp([c, s], ACK, 1001, 5001, get);
        let (seq, ack) = (1001 + get.len() as u32, 5001 + ok.len() as u32);
        self.tcp([s, c], ACK, 5001, seq, ok);
        self.tcp([c, s], ACK | FIN, seq, ack, &[]);
        self.tcp([s, c], ACK | FIN, ack, seq + 1, &[]);
        self.tcp([c, s], ACK, seq + 1, ack + 1, &[]);
    }
}

/// 64 MB of zeros in 64 kB of gzip.
fn gzip_bomb() -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..64 {
        packer.write_all(&[0; 1 << 20]).expect("a vector takes all");
    }
    packer.finish().expect("a vector takes all")
}

/// Another host and port for each number.
fn client(i: u64) -> (u32, u16) {
    let mixed = i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (0x0b00_0000 + (i & 0x00ff_ffff) as u32, 1024 + (mixed >> 50) as u16)
}

/// Clients whose flows with [`SERVER`] one seed of the table's hash puts into the same 1024th of the index, an
/// attack by one who knows the seed.
fn colliding(count: u64) -> Vec<(u32, u16)> {
    let known = foldhash::fast::FixedState::with_seed(7);
    let hash = |(host, port): (u32, u16)| {
        let (ip, server) = (Ipv4Addr::from(host).into(), Ipv4Addr::from(SERVER.0).into());
        known.hash_one(Key::new(0, (ip, port), (server, SERVER.1), 6, false).0)
    };
    let clients = (0u64..).map(|i| (0x0b00_0000 + (i >> 14) as u32, 1024 + (i & 0x3fff) as u16));
    clients.filter(|client| hash(*client) >> 32 & 0x3ff == 0).take(count as usize).collect()
}

/// Whom the colliding flows go to.
const SERVER: (u32, u16) = (0x0a00_0001, 443);

/// One of 256 servers.
fn server(i: u64) -> (u32, u16) {
    (0x0a00_0001 + (i as u32 & 0xff), 443)
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

/// Seconds of processor time that this process has had: on a busy machine the clock on the wall tells
/// more of the others. In hundredths (proc(5), fields 14 and 15 of stat).
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn run(scenario: &str, flows: u64) {
    let limit = if scenario == "syn-flood-at-limit" { 500_000 } else { 8_000_000 };
    let mut b = Bench::new(limit);
    let bomb = gzip_bomb();
    let crafted = if scenario == "collisions" { colliding(flows) } else { Vec::new() };
    let mut before = resident();
    let (mut half, mut peak) = (0, 0);
    if scenario == "gap-flood" {
        // What the flows themselves take is no part of what their holes do.
        for i in 0..flows {
            b.request(client(i), server(i));
        }
        b.take();
        before = resident();
    }
    let began = cpu_seconds();
    for i in 0..flows {
        let (c, s) = (client(i), server(i));
        match scenario {
            "syn-flood" | "syn-flood-at-limit" => {
                b.now += STEP;
                b.tcp([c, s], SYN, i as u32, 0, &[]);
            }
            "half-open" => b.tcp([c, s], SYN, i as u32, 0, &[]),
            "established" => b.handshake(c, s),
            "gap-flood" => b.holes(c, s),
            "collisions" => {
                b.now += STEP;
                let client = crafted.get(i as usize).copied().unwrap_or(c);
                b.tcp([client, SERVER], SYN, 7, 0, &[]);
            }
            // Of eight, three half-open, four established and idle, one in the middle of a request.
            "four-million" => match i % 8 {
                0..3 => b.tcp([c, s], SYN, i as u32, 0, &[]),
                3..7 => b.handshake(c, s),
                _ => b.request(c, (s.0, 80)),
            },
            "bomb" => b.bomb(c, (s.0, 80), &bomb),
            "same-hosts" => {
                b.now += STEP;
                let ports = ((i >> 16) as u16, i as u16);
                b.tcp([(1, ports.0), (2, ports.1)], SYN, 7, 0, &[]);
            }
            _ => {
                b.now += 10 * STEP;
                match i % 3 {
                    0 => b.dns(i),
                    1 => b.http(i),
                    _ => {
                        b.tcp([c, s], SYN, 1, 0, &[]);
                        b.tcp([s, c], RST | ACK, 0, 2, &[]);
                    }
                }
            }
        }
        if i == flows / 2 {
            half = resident();
        }
        if i % 1_000 == 0 {
            peak = peak.max(resident());
        }
    }
    let took = (cpu_seconds() - began).max(0.01);
    let now = resident();
    peak = peak.max(now);
    let counters = b.engine.counters();
    println!(
        "{scenario:<20} {flows:>9} flows {:>9.0} flows/s {:>9.0} packets/s {:>7} held {:>5} B each; \
         MiB {} half-way {} peak {} more than before; {} rows {} evicted {} streams given up",
        flows as f64 / took,
        b.packets as f64 / took,
        b.engine.open_flows(),
        now.saturating_sub(before) / (b.engine.open_flows() as u64).max(1),
        half >> 20,
        peak >> 20,
        peak.saturating_sub(before) >> 20,
        b.rows,
        counters.evicted,
        counters.streams_given_up,
    );
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let usual = |name: &str| SCENARIOS.iter().find(|s| s.0 == name).map_or(100_000, |s| s.1);
    match args.as_slice() {
        [name] => run(name, usual(name)),
        [name, flows, ..] => run(name, flows.parse().unwrap_or_else(|_| usual(name))),
        [] => {
            let program = std::env::current_exe().expect("this program");
            for (name, _) in SCENARIOS {
                let done = std::process::Command::new(&program).arg(name).status();
                assert!(done.is_ok_and(|status| status.success()), "{name} failed");
            }
        }
    }
}
