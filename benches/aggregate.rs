//! What a row of conn costs an aggregator, by processor time of one thread, without a bus: rows that pass, rows of
//! which some are halves, rows that two taps saw alike, and rows that are all attempts of a few scanners.
//!
//!     cargo bench --workspace --bench aggregate -- [SCENARIO [RECORDS]]

#![allow(clippy::print_stdout, reason = "a bench prints")]

use std::collections::BTreeMap;

use aggregate::sources::inputs;
use aggregate::{Aggregate, Config};
use bus::{Payload, Record, Restored, Role, Stamp, Timeline, Wake, topic};
use model::id::{self, FiveTuple, ip_proto};
use model::stream::{Mark, conn, half, raw_conn};

/// The same as weir has.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Rows of a record, as live capture sends them.
const ROWS: usize = 1_000;
/// Records that one wake brings.
const WAKE: usize = 64;
/// Microseconds between two flows.
const STEP: i64 = 20;
/// Of so many flows of a route that is not symmetric each sensor sees one direction.
const ONE_IN: usize = 10;

/// Hosts that scan.
const SCANNERS: u32 = 64;

const SCENARIOS: [&str; 5] = ["one-tap", "two-taps", "halves", "overlap", "scan"];

/// Rows of the `n`th record of a sensor.
fn rows(scenario: &str, sensor: usize, n: usize) -> arrow_array::RecordBatch {
    let (mut rows, mut halves) = (conn::Batch::default(), half::Batch::default());
    let node = ["north", "south"][sensor];
    for i in 0..ROWS {
        let flow = n * ROWS + i;
        // Where taps overlap both see the same flows, else each its own, but for halves.
        let is_half = scenario == "halves" && i % ONE_IN == 0;
        let is_shared = is_half || scenario == "overlap";
        let host = (flow as u32).wrapping_mul(2_654_435_761) & 0x00ff_ffff;
        let net = if is_shared || sensor == 0 { 10 << 24 } else { 11 << 24 };
        let is_scan = scenario == "scan";
        let orig = net | if is_scan { flow as u32 % SCANNERS } else { host };
        let tuple = FiveTuple {
            orig_h: std::net::Ipv4Addr::from(orig).into(),
            orig_p: 1024 + (flow % 60_000) as u16,
            resp_h: [192, 0, 2, (flow % 250) as u8].into(),
            resp_p: if is_scan { (flow % 1009) as u16 } else { 443 },
            proto: ip_proto::TCP,
        };
        let ts = 1_700_000_000_000_000 + flow as i64 * STEP;
        let (community_id, uid) = (id::community_id(&tuple), id::flow_uid(&tuple, ts, 0));
        let is_orig = sensor == 0;
        let row = conn::Row {
            ts,
            uid: &uid,
            orig_h: tuple.orig_h,
            orig_p: tuple.orig_p,
            resp_h: tuple.resp_h,
            resp_p: tuple.resp_p,
            proto: "tcp",
            service: Some("ssl"),
            duration: Some(1_000_000),
            orig_bytes: Some(1000),
            resp_bytes: Some(20_000),
            conn_state: Some(if is_scan { "S0" } else { "SF" }),
            local_orig: Some(true),
            local_resp: Some(false),
            history: Some(if is_scan { "S" } else { "ShADadFf" }),
            orig_pkts: Some(if is_half && !is_orig { 0 } else { 10 }),
            orig_ip_bytes: Some(1500),
            resp_pkts: Some(if is_half && is_orig { 0 } else { 20 }),
            resp_ip_bytes: Some(21_000),
            ip_proto: Some(6),
            community_id: &community_id,
            observers: &[node],
            is_final: Some(true),
            ..conn::Row::unset()
        };
        let mark = Mark::at(ts + 6_000_000, 0);
        rows.push(mark, row);
        let (start, peer) = (1000 + flow as u64, 9000 + flow as u64);
        let mut beside = half::Row::unset();
        if is_half {
            let (own, other) = if is_orig { (start, peer) } else { (peer, start) };
            beside = half::Row {
                last: Some(1_000_000),
                is_orig: Some(is_orig),
                letters: Some(if is_orig { "SADF" } else { "HADF" }),
                times: Some(&[0, 10, 20, 1_000_000]),
                start: Some(own),
                reached: Some(1002),
                ack: Some(other + 1002),
                ..half::Row::unset()
            };
        } else if scenario == "overlap" {
            beside = half::Row {
                last: Some(1_000_000),
                start: Some(start),
                peer_start: Some(peer),
                ..half::Row::unset()
            };
        }
        halves.push(mark, beside);
    }
    let (rows, halves) = (rows.finish(node).0, halves.finish(node).0);
    raw_conn::beside(&rows, &halves).expect("a half for each row")
}

/// Seconds of processor time that this process has had, in hundredths (proc(5), fields 14 and 15 of stat).
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn run(scenario: &str, count: usize) {
    let overlap = scenario == "overlap";
    let mut config = Config::new("bench", 1);
    config.overlap = overlap;
    let taps = if matches!(scenario, "one-tap" | "scan") { 1 } else { 2 };
    let mut records = Vec::new();
    let mut offsets: BTreeMap<String, i64> = BTreeMap::new();
    for n in 0..count {
        for sensor in 0..taps {
            let time = 1_700_000_000_000_000 + ((n + 1) * ROWS) as i64 * STEP + 6_000_000;
            let source = format!("{}/eth0", ["north", "south"][sensor]);
            let stamp = Some(Stamp { source, timeline: Timeline::Live, time, end: false });
            for input in inputs(overlap) {
                let topic = input.topic();
                let offset = offsets.entry(topic.to_string()).or_default();
                *offset += 1;
                let payload = if topic == topic::RAW_CONN {
                    Payload::Rows(&raw_conn::DEF, rows(scenario, sensor, n))
                } else {
                    Payload::Empty
                };
                let (lane, key, offset, stamp) = (0, None, *offset, stamp.clone());
                records.push(Record { topic, lane, offset, key, payload, stamp, packed: None });
            }
        }
    }
    let mut role = Aggregate::new(config);
    role.restored(0, Restored::default()).expect("nothing to restore");
    let began = cpu_seconds();
    let (mut out, mut sent) = (0, 0);
    let mut take = |step: Option<bus::Step>| {
        for record in step.into_iter().flat_map(|step| step.out) {
            if let (Payload::Rows(_, rows), true) = (&record.payload, record.topic.0 == "log.conn")
            {
                (out, sent) = (out + rows.num_rows(), sent + 1);
            }
        }
    };
    let mut now_ms = 0;
    let mut rest = records.into_iter();
    loop {
        let wake: Vec<Record> = rest.by_ref().take(WAKE).collect();
        if wake.is_empty() {
            break;
        }
        now_ms += 200;
        take(role.on(Wake::Records(wake), now_ms).expect("a wake"));
        take(role.on(Wake::Idle, now_ms).expect("a step"));
    }
    take(role.on(Wake::Drained, now_ms).expect("the end"));
    let took = (cpu_seconds() - began).max(0.01);
    let rows = count * ROWS * taps;
    println!(
        "{scenario:<10} {rows:>9} rows in {took:>6.2} s: {:>9.0} rows/s; {out} rows out in {sent} records",
        rows as f64 / took
    );
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let count = args.get(1).and_then(|n| n.parse().ok()).unwrap_or(500);
    match args.first() {
        Some(scenario) => run(scenario, count),
        None => SCENARIOS.iter().for_each(|scenario| run(scenario, count)),
    }
}
