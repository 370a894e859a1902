//! Aggregators and managers together: the same notices however workers' batches interleave, and
//! wherever a member dies.

#![allow(clippy::unwrap_used, reason = "all of it is test, helpers too")]

use std::collections::BTreeMap;
use std::sync::OnceLock;

use aggregate::Aggregate;
use arrow_array::RecordBatch;
use bus::clock::Manual;
use bus::drive::{Stop, Until, drive};
use bus::memory::{Memory, Retain};
use bus::{Bus, Member, Outgoing, Payload, Role, Step, Timeline, Topic, Wake, topic};
use detect::detector::Settings;
use manager::Manager;
use model::read;
use model::stream::{conn, known, known_hosts, known_services, notice};
use proptest::prelude::*;

#[path = "cluster/any_order.rs"]
mod any_order;
#[path = "cluster/assets.rs"]
mod assets;
#[path = "cluster/backlog.rs"]
mod backlog;
#[path = "cluster/counts.rs"]
mod counts;
#[path = "cluster/detectors.rs"]
mod detectors;
#[path = "cluster/bus.rs"]
mod fake;
#[path = "cluster/policy.rs"]
mod policy;
#[path = "cluster/summary.rs"]
mod summary;
#[path = "cluster/traffic.rs"]
mod traffic;

use fake::{Fake, Run};
use traffic::{Attempt, BASE, SECOND, Worker, alarm, scan, sighting};

const LANES: u32 = 3;
/// More than any test holds.
const HELD: usize = 1_000_000;

struct Cluster {
    fake: Fake,
    aggregate: Run<Aggregate>,
    manager: Run<Manager>,
    now_ms: i64,
}

impl Cluster {
    fn new(sources: Option<usize>) -> Cluster {
        Cluster::holding(sources, HELD)
    }

    /// With lanes of aggregators that hold no more than so much.
    fn holding(sources: Option<usize>, held_max: usize) -> Cluster {
        let fake = Fake::new(LANES);
        let config = aggregate::Config { sources, held_max, ..aggregate::Config::new("a1", LANES) };
        let aggregate = Run::new(Aggregate::new(config), aggregate::member("a1", false), &fake);
        let config = manager::Config::new("m1", LANES);
        let manager = Run::new(Manager::new(config), manager::member("m1"), &fake);
        Cluster { fake, aggregate, manager, now_ms: 0 }
    }

    fn put(&mut self, commit: Vec<Outgoing>) {
        commit.into_iter().for_each(|out| self.fake.put(out));
    }

    fn catch_up(&mut self) {
        self.aggregate.catch_up(&mut self.fake, self.now_ms);
        self.manager.catch_up(&mut self.fake, self.now_ms);
    }

    /// Everything the workers send, one worker after the other in each round.
    fn run(&mut self, workers: &[Worker]) {
        let mut queues: Vec<_> =
            workers.iter().map(|worker| worker.commits(LANES).into_iter()).collect();
        loop {
            let commits: Vec<_> = queues.iter_mut().filter_map(Iterator::next).collect();
            if commits.is_empty() {
                return;
            }
            commits.into_iter().for_each(|commit| self.put(commit));
            self.now_ms += 100;
            self.catch_up();
        }
    }

    fn notices(&self) -> Vec<String> {
        self.fake.rows(&Topic::log(&notice::DEF), notice_text)
    }

    /// What the aggregators made of it: merged notices, and observations by rule, entity and pane.
    fn merged(&self) -> Vec<String> {
        let mut merged = self.fake.rows(&topic::NOTICE, |rows, row| {
            let text = |name: &str| read::text(rows, name).unwrap().value(row).to_owned();
            let n = read::count(rows, "n").unwrap().value(row);
            format!("{} n={n} {}", text("identifier"), read::time(rows, "ts").unwrap().value(row))
        });
        let mut seen: BTreeMap<String, i64> = BTreeMap::new();
        for row in self.fake.rows(&topic::PARTIAL, |rows, row| {
            let start = read::time(rows, "ts").unwrap().value(row);
            let count = read::count(rows, "observations").unwrap().value(row);
            let text = |name: &str| read::text(rows, name).unwrap().value(row).to_owned();
            format!("{} {} {start}={count}", text("rule"), text("entity"))
        }) {
            let (pane, count) = row.split_once('=').unwrap();
            *seen.entry(pane.to_owned()).or_default() += count.parse::<i64>().unwrap();
        }
        merged.extend(seen.iter().map(|(pane, count)| format!("{pane}={count}")));
        merged
    }

    /// Known hosts and services as they were logged: when, what, by whom.
    fn assets(&self) -> Vec<String> {
        let mut all = self.fake.rows(&Topic::log(&known_hosts::DEF), |rows, row| {
            let (host, sensor) = (read::text(rows, "host"), read::text(rows, "sensor"));
            let at = (read::time(rows, "ts").unwrap().value(row) - BASE) / SECOND;
            format!("host {} {} {at}", host.unwrap().value(row), sensor.unwrap().value(row))
        });
        all.extend(self.fake.rows(&Topic::log(&known_services::DEF), |rows, row| {
            let (host, sensor) = (read::text(rows, "host"), read::text(rows, "sensor"));
            let at = (read::time(rows, "ts").unwrap().value(row) - BASE) / SECOND;
            let services = read::texts(read::list(rows, "service").unwrap(), row).join("+");
            let host = host.unwrap().value(row);
            format!("service {host} {services} {} {at}", sensor.unwrap().value(row))
        }));
        all
    }

    fn flows(&self) -> Vec<String> {
        self.fake.rows(&Topic::log(&conn::DEF), |rows, row| {
            let cell = |name| read::text(rows, name).unwrap().value(row).to_owned();
            format!("{} {}", cell("uid"), cell("sensor"))
        })
    }
}

fn notice_text(rows: &RecordBatch, row: usize) -> String {
    let text = |name: &str| read::text(rows, name).unwrap().value(row).to_owned();
    let time = |name: &str| (read::time(rows, name).unwrap().value(row) - BASE) / 1000;
    let observers = read::texts(read::list(rows, "observers").unwrap(), row).join(",");
    let actions = read::texts(read::list(rows, "actions").unwrap(), row).join(",");
    assert_eq!(actions, "Notice::ACTION_LOG");
    format!(
        "{} {} [{}] n={} {observers} {}..{}",
        text("note"),
        text("identifier"),
        text("msg"),
        read::count(rows, "n").unwrap().value(row),
        time("ts"),
        time("last_ts")
    )
}

const SCAN_N3: &str = "Scan::Address_Scan 10.0.0.66 [10.0.0.66 scanned at least 25 unique hosts on \
                       port 22/tcp in 0m12s] n=3 w0,w1,w2 12000..19500";

/// Three workers; each sees what `sees` says of worker and attempt.
fn workers(timeline: Timeline, seen: &[Attempt], sees: fn(usize, &Attempt) -> bool) -> Vec<Worker> {
    (0..3)
        .map(|n| {
            let mut worker = Worker::new(&format!("w{n}"), timeline);
            worker.attempts = seen.iter().filter(|attempt| sees(n, attempt)).cloned().collect();
            worker
        })
        .collect()
}

#[test]
fn three_workers_that_see_one_scan_give_one_notice() {
    for timeline in [Timeline::File, Timeline::Live] {
        let mut cluster = Cluster::new(Some(3));
        cluster.run(&workers(timeline, &scan(66, 40, 22), |_, _| true));
        assert_eq!(cluster.notices(), [SCAN_N3], "{timeline:?}");
        assert_eq!(cluster.flows().len(), 120);
        let counters = cluster.aggregate.role.counters();
        assert_eq!((counters.conn_in, counters.conn_out, counters.late), (120, 120, 0));
    }
}

#[test]
fn a_scan_of_which_each_worker_sees_a_part_is_seen_whole() {
    let mut cluster = Cluster::new(Some(3));
    cluster.run(&workers(Timeline::File, &scan(66, 40, 22), |n, a| usize::from(a.host) % 3 == n));
    assert_eq!(cluster.notices(), [SCAN_N3]);
    assert!(cluster.fake.state("manager").is_empty(), "{:?}", cluster.fake.state("manager"));
    assert!(cluster.fake.state("aggregate").is_empty());
}

#[test]
fn nothing_below_the_threshold() {
    let mut cluster = Cluster::new(Some(3));
    let mut seen = scan(66, 24, 22);
    seen.extend(scan(67, 24, 22));
    seen.extend(scan(66, 24, 23));
    seen.sort_by_key(|attempt| attempt.at);
    // Their rows lie in one pane: it begins when the first is written.
    seen.iter_mut().for_each(|attempt| attempt.at += detect::PANE_US - traffic::TIMEOUT);
    cluster.run(&workers(Timeline::File, &seen, |_, _| true));
    assert_eq!(cluster.notices(), [""; 0]);
    let detectors = detect::detector::all(&detect::Site::default(), &Settings::default());
    let on_flows = detectors.iter().filter(|d| d.stream().name == "conn").count() as u64;
    let summed = cluster
        .fake
        .rows(&topic::PARTIAL, |rows, row| read::text(rows, "rule").unwrap().value(row).to_owned());
    let summed = summed.iter().filter(|rule| *rule == detect::summary::RULE).count() as u64;
    assert!(summed > 0);
    assert_eq!(cluster.manager.role.counters().partial_in, 6 * on_flows + summed);
}

#[test]
fn a_window_slides_over_panes() {
    // Twelve attempts at the end of one pane, thirteen at the beginning of another, some later.
    for (gap, want) in [(30, 1), (240, 1), (345, 0)] {
        let mut seen = scan(66, 25, 22);
        for attempt in &mut seen[12..] {
            attempt.at += gap * SECOND;
        }
        let mut cluster = Cluster::new(Some(3));
        cluster.run(&workers(Timeline::Live, &seen, |_, _| true));
        assert_eq!(cluster.notices().len(), want, "gap of {gap} seconds");
    }
}

#[test]
fn the_same_notice_of_three_workers_is_one_and_holds_back_its_like() {
    let mut all = workers(Timeline::File, &[], |_, _| true);
    for (n, worker) in all.iter_mut().enumerate() {
        let n = n as i64;
        worker.alarms = vec![alarm(n, "x"), alarm(n, "y"), alarm(3, ""), alarm(100 + n, "x")];
        worker.alarms.push(alarm(3599, "x"));
        worker.alarms.push(alarm(3600 + n, "x"));
    }
    let mut cluster = Cluster::new(Some(3));
    cluster.run(&all);
    let notices = cluster.notices();
    let want = [
        "Test::Alarm  [alarm] n=1 w0 3000..3000",
        "Test::Alarm  [alarm] n=1 w1 3000..3000",
        "Test::Alarm  [alarm] n=1 w2 3000..3000",
        "Test::Alarm x [alarm] n=3 w0,w1,w2 0..2000",
        "Test::Alarm y [alarm] n=3 w0,w1,w2 0..2000",
    ];
    // The copies of 3599 and 3600 are one, which begins inside the hour.
    assert_eq!(notices, want);
    let counters = cluster.manager.role.counters();
    assert_eq!((counters.suppressed, counters.notice_out), (2, 5));
    let counters = cluster.aggregate.role.counters();
    assert_eq!((counters.notice_in, counters.notice_out, counters.notice_merged), (18, 7, 11));
}

#[test]
fn suppression_survives_a_restart_and_ends() {
    let mut first = Worker::new("w0", Timeline::Live);
    first.alarms = vec![alarm(0, "x"), alarm(1000, "x")];
    let mut cluster = Cluster::new(None);
    cluster.run(&[first.clone()]);
    assert_eq!(cluster.notices().len(), 1);
    cluster.manager.restart(&cluster.fake);
    cluster.aggregate.restart(&cluster.fake);
    first.alarms = vec![alarm(3000, "x"), alarm(3700, "x")];
    cluster.run(&[first]);
    assert_eq!(cluster.notices().len(), 2);
    assert_eq!(cluster.manager.role.counters().suppressed, 2);
}

#[test]
fn files_without_a_number_wait_for_all_ends_and_the_grace() {
    let mut cluster = Cluster::new(None);
    let all = workers(Timeline::File, &scan(66, 40, 22), |n, a| usize::from(a.host) % 3 == n);
    for worker in &all[..2] {
        cluster.run(std::slice::from_ref(worker));
    }
    assert_eq!(cluster.fake.count(&topic::PARTIAL), 0);
    cluster.now_ms += 4_000;
    cluster.run(&all[2..]);
    assert_eq!(cluster.notices(), [""; 0]);
    cluster.now_ms += 5_000;
    cluster.catch_up();
    assert_eq!(cluster.notices(), [SCAN_N3]);
    // A later file begins anew, and time may go back.
    cluster.run(&all);
    cluster.now_ms += 5_000;
    cluster.catch_up();
    assert_eq!(cluster.notices(), [SCAN_N3, SCAN_N3]);
}

#[test]
fn a_round_of_files_that_is_over_is_not_read_again() {
    let mut cluster = Cluster::new(Some(3));
    // An open live window keeps every position where it begins.
    let mut live = Worker::new("tap", Timeline::Live);
    live.attempts = scan(70, 3, 22);
    live.alarms = ["x", "y", "z", "v"].map(|identifier| alarm(4, identifier)).to_vec();
    for commit in live.commits(LANES).into_iter().take(3) {
        cluster.put(commit);
    }
    let mut files = workers(Timeline::File, &scan(66, 40, 22), |_, _| true);
    files.iter_mut().for_each(|worker| worker.alarms = live.alarms.clone());
    cluster.run(&files);
    let before = cluster.merged();
    cluster.aggregate.restart(&cluster.fake);
    cluster.run(&files[..1]);
    cluster.aggregate.restart(&cluster.fake);
    cluster.run(&files[1..]);
    let twice = |row: &String| {
        let (pane, count) = row.rsplit_once('=').unwrap();
        format!("{pane}={}", count.parse::<i64>().unwrap() * 2)
    };
    let (notices, panes): (Vec<_>, Vec<_>) =
        before.iter().cloned().partition(|row| row.contains(" n="));
    let mut want: Vec<String> = notices.iter().chain(&notices).cloned().collect();
    want.sort();
    want.extend(panes.iter().map(twice));
    assert_eq!(cluster.merged(), want);
}

#[test]
fn drained_everything_goes() {
    let mut cluster = Cluster::new(None);
    cluster.run(&workers(Timeline::File, &scan(66, 40, 22), |_, _| true));
    cluster.aggregate.wake(Wake::Drained, &mut cluster.fake, cluster.now_ms);
    cluster.manager.catch_up(&mut cluster.fake, cluster.now_ms);
    cluster.manager.wake(Wake::Drained, &mut cluster.fake, cluster.now_ms);
    assert_eq!(cluster.notices(), [SCAN_N3]);
}

#[test]
fn live_sources_that_fall_silent_are_not_waited_for() {
    let mut all = workers(Timeline::Live, &scan(66, 40, 22), |_, _| true);
    let silent = all.pop().unwrap().commits(LANES).swap_remove(0);
    let mut cluster = Cluster::new(None);
    cluster.put(silent);
    cluster.run(&all);
    assert_eq!(cluster.notices(), [""; 0], "held by the silent one");
    cluster.now_ms += 31_000;
    // The others still speak.
    let again = all.iter().flat_map(|worker| worker.commits(LANES).pop()).collect::<Vec<_>>();
    again.into_iter().for_each(|commit| cluster.put(commit));
    cluster.catch_up();
    assert_eq!(cluster.notices(), [SCAN_N3.replace("n=3 w0,w1,w2", "n=2 w0,w1")]);
    // What the silent one kept back comes late: counted, merged as far as possible, not lost.
    let mut late = workers(Timeline::Live, &scan(66, 40, 22), |n, _| n == 2);
    cluster.run(&late.split_off(2));
    assert_eq!(cluster.notices().len(), 1);
    assert_eq!(cluster.aggregate.role.counters().late, 40);
    assert_eq!(cluster.flows().len(), 120);
    // Far behind the window there is nothing to add it to.
    assert_eq!(cluster.manager.role.counters().suppressed, 0);
}

#[test]
fn the_last_live_source_leaves_and_nothing_is_stuck() {
    let mut all = workers(Timeline::Live, &scan(66, 40, 22), |_, _| true);
    let only = all.swap_remove(0);
    let mut commits = only.commits(LANES);
    commits.pop();
    let mut cluster = Cluster::new(None);
    commits.into_iter().for_each(|commit| cluster.put(commit));
    cluster.catch_up();
    assert_eq!(cluster.notices(), [""; 0]);
    cluster.now_ms += 31_000;
    cluster.catch_up();
    assert_eq!(cluster.notices().len(), 1);
}

#[test]
fn a_lane_that_holds_too_much_lets_go_early_and_loses_nothing() {
    let mut cluster = Cluster::holding(Some(3), 4);
    cluster.run(&workers(Timeline::File, &scan(66, 40, 22), |_, _| true));
    assert_eq!(cluster.notices(), [SCAN_N3]);
    assert!(cluster.aggregate.role.counters().early > 0);
}

#[test]
fn bad_records_go_to_the_dead_letters_and_the_lane_moves_on() {
    let mut cluster = Cluster::new(Some(3));
    let wrong = notice::Batch::default().finish("x").0;
    for payload in [
        Payload::Bad("junk".into(), "no Arrow".into()),
        Payload::Bytes("{}".into()),
        Payload::Rows(&notice::DEF, wrong.clone()),
        Payload::Rows(&conn::DEF, wrong),
    ] {
        for topic in [topic::RAW_CONN, topic::PARTIAL, topic::RAW_KNOWN, topic::KNOWN] {
            let mut out = Outgoing::document(topic, 1, "k".into(), None);
            out.payload = payload.clone();
            cluster.fake.put(out);
        }
    }
    cluster.run(&workers(Timeline::File, &scan(66, 40, 22), |_, _| true));
    assert_eq!(cluster.notices(), [SCAN_N3]);
    assert_eq!(cluster.fake.count(&topic::DEADLETTER), 16);
}

#[test]
fn notices_of_nobody_in_particular_pass() {
    let mut cluster = Cluster::new(None);
    let mut worker = Worker::new("siem", Timeline::Live);
    worker.alarms = vec![alarm(0, "x"), alarm(1, "")];
    for mut out in worker.commits(LANES).into_iter().flatten() {
        out.stamp = None;
        cluster.fake.put(out);
    }
    cluster.catch_up();
    assert_eq!(cluster.notices().len(), 1, "without an identifier nothing waits");
    cluster.now_ms += 31_000;
    cluster.catch_up();
    assert_eq!(cluster.notices().len(), 2);
}

#[test]
fn lanes_that_move_to_another_member_take_everything_along() {
    let mut cluster = Cluster::new(Some(3));
    let config = aggregate::Config { sources: Some(3), ..aggregate::Config::new("a2", LANES) };
    let mut other = Run::new(Aggregate::new(config), aggregate::member("a2", false), &cluster.fake);
    other.revoke(&[0, 1, 2], &mut cluster.fake, 0);
    let all = workers(Timeline::File, &scan(66, 40, 22), |_, _| true);
    for (n, worker) in all.iter().enumerate() {
        for (at, commit) in worker.commits(LANES).into_iter().enumerate() {
            cluster.put(commit);
            cluster.aggregate.catch_up(&mut cluster.fake, 0);
            other.catch_up(&mut cluster.fake, 0);
            if at == 17 && n < 2 {
                let (from, to) = if n == 0 {
                    (&mut cluster.aggregate, &mut other)
                } else {
                    (&mut other, &mut cluster.aggregate)
                };
                from.revoke(&[1, 2], &mut cluster.fake, 0);
                to.assign(&[1, 2], &cluster.fake);
            }
        }
    }
    cluster.manager.catch_up(&mut cluster.fake, 0);
    assert_eq!(cluster.notices(), [SCAN_N3]);
    assert_eq!(cluster.flows().len(), 120);
}

#[test]
fn on_the_memory_bus_with_the_real_loop() {
    let memory = Memory::new(LANES, Retain::UntilCommitted);
    let capture = Member {
        group: "capture".into(),
        node: "w".into(),
        topics: Vec::new(),
        state: None,
        home: Vec::new(),
    };
    let mut session = memory.open(&capture).unwrap();
    for worker in workers(Timeline::File, &scan(66, 40, 22), |_, _| true) {
        for out in worker.commits(LANES) {
            session = session.commit(Step { out, ..Step::default() }).unwrap();
        }
    }
    let mut aggregate = Aggregate::new(aggregate::Config::new("a1", LANES));
    let mut manager = Manager::new(manager::Config::new("m1", LANES));
    let run = |me: &Member, role: &mut dyn Role| {
        drive(&memory, me, role, &Manual::default(), &Stop::new(), Until::Drained).unwrap();
    };
    run(&aggregate::member("a1", false), &mut aggregate);
    run(&manager::member("m1"), &mut manager);
    let mut notices = Vec::new();
    for record in memory.records(&Topic::log(&notice::DEF)) {
        let Payload::Rows(_, rows) = &record.payload else { continue };
        notices.extend((0..rows.num_rows()).map(|row| notice_text(rows, row)));
    }
    assert_eq!(notices, [SCAN_N3]);
}
