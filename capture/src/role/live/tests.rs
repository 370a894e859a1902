//! Whole live capture on a bus that goes away, loses answers, and has two of one name.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bus::clock::Manual;
use bus::drive::{Stop, Until, drive};
use bus::memory::{Memory, Retain};
use bus::{Bus, BusError, Member, Payload, Session, Topic, topic};
use bytes::Bytes;

use super::*;
use crate::config::SECOND;
use crate::source::{Link, LiveOptions, Next, Packet, SourceError, SourceStats};

const LANES: u32 = 2;
/// When the clocks of these tests stand, seconds.
const EPOCH: i64 = 1_700_000_000;
/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(60);

/// One UDP flow a second of packet time, as far as the test lets it; then silence.
struct Wire {
    next: i64,
    upto: Arc<AtomicI64>,
    packet: Vec<u8>,
}

impl PacketSource for Wire {
    fn next(&mut self) -> Result<Next<'_>, SourceError> {
        if self.next >= self.upto.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
            return Ok(Next::Idle);
        }
        let port = u16::try_from(self.next).unwrap().to_be_bytes();
        let udp = [&port[..], &[0, 53, 0, 8, 0, 0]].concat();
        let ip = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        self.packet = [&ip[..], &udp].concat();
        let ts_us = (EPOCH + self.next) * SECOND;
        self.next += 1;
        Ok(Next::Packet(Packet { ts_us, link: Link::Raw, wire_len: 28, data: &self.packet }))
    }

    fn stats(&mut self) -> Result<SourceStats, SourceError> {
        Ok(SourceStats::default())
    }
}

const UP: u8 = 0;
const DOWN: u8 = 1;
/// The next commit lasts, its answer does not come, and the bus is down from then on.
const LOSES_ANSWER: u8 = 2;

/// The memory bus behind a broker that goes away.
#[derive(Clone)]
struct Broker {
    bus: Memory,
    mode: Arc<AtomicU8>,
}

struct Flaky {
    inner: Box<dyn Session>,
    mode: Arc<AtomicU8>,
}

fn away<T>() -> Result<T, BusError> {
    Err(BusError::Session("no broker answers".into()))
}

impl Bus for Broker {
    fn open(&self, me: &Member) -> Result<Box<dyn Session>, BusError> {
        if self.mode.load(Ordering::SeqCst) == DOWN {
            return away();
        }
        Ok(Box::new(Flaky { inner: self.bus.open(me)?, mode: self.mode.clone() }))
    }

    fn lanes(&self) -> u32 {
        LANES
    }
}

impl Session for Flaky {
    fn next(&mut self, wait: Duration) -> Result<Wake, BusError> {
        self.inner.next(wait)
    }

    fn restore(
        &mut self,
        lane: u32,
        each: &mut dyn FnMut(Bytes, Bytes),
    ) -> Result<Vec<bus::Position>, BusError> {
        self.inner.restore(lane, each)
    }

    fn documents(
        &mut self,
        topic: &Topic,
        each: &mut dyn FnMut(Bytes, Bytes),
    ) -> Result<(), BusError> {
        self.inner.documents(topic, each)
    }

    fn documents_changed(&mut self, topic: &Topic) -> Result<bool, BusError> {
        self.inner.documents_changed(topic)
    }

    fn commit(self: Box<Self>, step: Step) -> Result<Box<dyn Session>, BusError> {
        let Flaky { inner, mode } = *self;
        match mode.load(Ordering::SeqCst) {
            UP => Ok(Box::new(Flaky { inner: inner.commit(step)?, mode })),
            LOSES_ANSWER => {
                inner.commit(step)?;
                mode.store(DOWN, Ordering::SeqCst);
                away()
            }
            _ => away(),
        }
    }
}

impl Broker {
    fn new() -> Broker {
        Broker { bus: Memory::new(LANES, Retain::UntilCommitted), mode: Arc::default() }
    }

    fn set(&self, mode: u8) {
        self.mode.store(mode, Ordering::SeqCst);
    }

    /// Ports of the flows logged, in the order of the bus; all flows are of two hosts, but each has a
    /// lane of its own.
    fn ports(&self) -> Vec<i32> {
        let mut ports = Vec::new();
        for record in self.bus.records(&topic::RAW_CONN) {
            if let Payload::Rows(_, rows) = &record.payload {
                let column = model::read::port(rows, "id.orig_p").unwrap();
                ports.extend(column.values());
            }
        }
        ports
    }

    /// Times stamped, by lane.
    fn times(&self) -> BTreeMap<u32, Vec<i64>> {
        let mut times: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
        for record in self.bus.records(&topic::RAW_CONN) {
            times.entry(record.lane).or_default().push(record.stamp.unwrap().time);
        }
        times
    }
}

fn sorted(mut ports: Vec<i32>) -> Vec<i32> {
    ports.sort_unstable();
    ports
}

/// A capture process.
struct Process {
    upto: Arc<AtomicI64>,
    stop: Stop,
    thread: JoinHandle<(Result<(), String>, Summary, Left)>,
}

impl Process {
    fn start(broker: &Broker, spool: Option<&Path>, from: i64, began_ms: i64) -> Process {
        Process::start_with(broker, spool, from, began_ms, |_| ())
    }

    fn start_with(
        broker: &Broker,
        spool: Option<&Path>,
        from: i64,
        began_ms: i64,
        first: impl FnOnce(&mut Capture),
    ) -> Process {
        let mut config = Config::new("n");
        (config.lanes, config.ignore_checksums) = (LANES, true);
        config.flush_interval = 2 * SECOND;
        config.spool = spool.map(Path::to_owned);
        if spool.is_some() {
            config.memory_max = 1;
        }
        let clock = Manual::default();
        clock.advance_ms(began_ms);
        let input = Input::Live("eth9".into(), LiveOptions::default());
        let mut role = Capture::new(config, input, false, Arc::new(clock)).unwrap();
        let upto = Arc::new(AtomicI64::new(from));
        let wire = Wire { next: from, upto: upto.clone(), packet: Vec::new() };
        role.live.sources = vec![Box::new(wire)];
        first(&mut role);
        let (broker, stop) = (broker.clone(), Stop::new());
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            let me = role.member();
            let clock = Manual::default();
            let ran = drive(&broker, &me, &mut role, &clock, &told, Until::Forever);
            let left = role.close();
            (ran.map_err(|error| error.to_string()), role.summary(), left)
        });
        Process { upto, stop, thread }
    }

    fn let_go(&self, upto: i64) {
        self.upto.store(upto, Ordering::SeqCst);
    }

    fn end(self) -> (Result<(), String>, Summary, Left) {
        self.stop.request();
        self.thread.join().unwrap()
    }
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether what was captured up to this second is on disk, or up to the next one: flushes are two apart.
fn spooled_upto(dir: &Path, second: i64) -> bool {
    let mut all = Vec::new();
    for file in std::fs::read_dir(dir.join("n+eth9")).unwrap() {
        // A segment that is committed may go while we look.
        all.extend(std::fs::read(file.unwrap().path()).unwrap_or_default());
    }
    let times = [second, second + 1].map(|at| format!("\"time\":{}", (EPOCH + at) * SECOND));
    let has = |time: &String| all.windows(time.len()).any(|window| window == time.as_bytes());
    times.iter().any(has)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[test]
fn ten_minutes_without_a_broker_cost_nothing_but_spool() {
    let (broker, dir) = (Broker::new(), tempfile::tempdir().unwrap());
    let process = Process::start(&broker, Some(dir.path()), 0, EPOCH * 1000);
    process.let_go(100);
    wait_for("the first rows", || !broker.ports().is_empty());
    broker.set(LOSES_ANSWER);
    process.let_go(700);
    wait_for("the spool", || spooled_upto(dir.path(), 698));
    let before = broker.ports().len();
    assert!(before < 100, "{before}");
    broker.set(UP);
    wait_for("what had waited", || broker.ports().len() >= 600);
    let (ran, summary, left) = process.end();
    assert_eq!((ran, left.lost, left.spooled), (Ok(()), 0, 0));
    assert_eq!((summary.rows["conn"], summary.rows_dropped, summary.unknown_ms), (700, 0, 0));
    // Every flow once.
    assert_eq!(sorted(broker.ports()), (0..700).collect::<Vec<_>>());
    for (lane, times) in broker.times() {
        assert!(times.is_sorted(), "lane {lane}: a step has overtaken another");
    }
    let rest = std::fs::read_dir(dir.path().join("n+eth9")).unwrap().count();
    assert_eq!(rest, 1, "the lock alone is left");
}

#[test]
fn a_kill_costs_open_flows_and_nothing_that_was_spooled() {
    let (broker, dir) = (Broker::new(), tempfile::tempdir().unwrap());
    let first = Process::start(&broker, Some(dir.path()), 0, EPOCH * 1000);
    first.let_go(100);
    wait_for("the first rows", || !broker.ports().is_empty());
    // What is committed now stands in the spool as well.
    broker.set(LOSES_ANSWER);
    first.let_go(400);
    wait_for("the spool", || spooled_upto(dir.path(), 398));
    wait_for("the broker", || broker.mode.load(Ordering::SeqCst) == DOWN);
    let killed = tempfile::tempdir().unwrap();
    copy(&dir.path().join("n+eth9"), &killed.path().join("n+eth9"));
    let (ran, _, left) = first.end();
    assert_eq!((ran, left.lost), (Ok(()), 0));
    assert!(left.spooled > 0);
    broker.set(UP);
    let second = Process::start(&broker, Some(killed.path()), 1000, (EPOCH + 1000) * 1000);
    second.let_go(1100);
    wait_for("rows of the second", || broker.ports().iter().any(|port| *port >= 1000));
    let (ran, summary, left) = second.end();
    assert_eq!((ran, left.lost, left.spooled), (Ok(()), 0, 0));
    let ports = sorted(broker.ports());
    let (old, new): (Vec<_>, Vec<_>) = ports.into_iter().partition(|port| *port < 1000);
    assert_eq!(new, (1000..1100).collect::<Vec<_>>());
    // Unanswered queries of the last ten seconds were open.
    let ended = i32::try_from(old.len()).unwrap();
    assert_eq!(old, (0..ended).collect::<Vec<_>>());
    assert!((380..400).contains(&ended), "{ended}");
    // Packet time 398 or so to the clock's 1000.
    assert!((600_000..=604_000).contains(&summary.unknown_ms), "{}", summary.unknown_ms);
}

#[test]
fn a_stop_without_a_broker_leaves_everything_in_the_spool() {
    let (broker, dir) = (Broker::new(), tempfile::tempdir().unwrap());
    let first = Process::start(&broker, Some(dir.path()), 0, EPOCH * 1000);
    first.let_go(100);
    wait_for("the first rows", || !broker.ports().is_empty());
    broker.set(DOWN);
    first.let_go(200);
    wait_for("the spool", || spooled_upto(dir.path(), 198));
    let (ran, _, left) = first.end();
    assert_eq!((ran, left.lost), (Ok(()), 0));
    assert!(left.spooled >= 100, "{left:?}");
    broker.set(UP);
    let second = Process::start(&broker, Some(dir.path()), 1000, (EPOCH + 1000) * 1000);
    wait_for("all rows", || broker.ports().len() >= 200);
    let (ran, summary, left) = second.end();
    assert_eq!((ran, left.lost, left.spooled, summary.unknown_ms), (Ok(()), 0, 0, 0));
    assert_eq!(sorted(broker.ports()), (0..200).collect::<Vec<_>>());
}

#[test]
fn a_stop_sends_what_waits_and_what_the_threads_still_log() {
    let broker = Broker::new();
    let process = Process::start(&broker, None, 0, EPOCH * 1000);
    process.let_go(20);
    wait_for("the first rows", || !broker.ports().is_empty());
    broker.set(DOWN);
    for upto in (30..200).step_by(10) {
        process.let_go(upto);
        std::thread::sleep(Duration::from_millis(5));
    }
    broker.set(UP);
    let (ran, summary, left) = process.end();
    assert_eq!((ran, left.lost, summary.rows_dropped), (Ok(()), 0, 0));
    assert_eq!(sorted(broker.ports()), (0..190).collect::<Vec<_>>());
}

#[test]
fn capture_begins_before_a_broker_answers() {
    let (broker, dir) = (Broker::new(), tempfile::tempdir().unwrap());
    let first = Process::start(&broker, Some(dir.path()), 0, EPOCH * 1000);
    first.let_go(100);
    wait_for("the first rows", || !broker.ports().is_empty());
    broker.set(LOSES_ANSWER);
    first.let_go(400);
    wait_for("the spool", || spooled_upto(dir.path(), 398));
    let (ran, _, left) = first.end();
    assert_eq!((ran, left.lost), (Ok(()), 0));
    assert_eq!(live::lanes(&dir.path().join("n+eth9")), Some(LANES));

    // What is in the spool and committed is only known once the broker answers. The clock is behind.
    broker.set(DOWN);
    let start = |from, began_ms| {
        let begin = |role: &mut Capture| role.begin().unwrap();
        Process::start_with(&broker, Some(dir.path()), from, began_ms, begin)
    };
    let second = start(1000, (EPOCH - 50) * 1000);
    second.let_go(1200);
    wait_for("the spool of the second", || spooled_upto(dir.path(), 1198));
    broker.set(UP);
    wait_for("all rows", || broker.ports().iter().any(|port| *port >= 1150));
    let (ran, summary, left) = second.end();
    assert_eq!((ran, left.lost, left.spooled), (Ok(()), 0, 0));
    assert_eq!((summary.rows_dropped, summary.unknown_ms), (0, 0));
    let all = (0..400).chain(1000..1200).collect::<Vec<_>>();
    assert_eq!(sorted(broker.ports()), all);

    // One that is stopped before any broker answers leaves all to the next.
    broker.set(DOWN);
    let third = start(2000, (EPOCH + 2000) * 1000);
    third.let_go(2100);
    wait_for("the spool of the third", || spooled_upto(dir.path(), 2098));
    let (ran, _, left) = third.end();
    assert_eq!((ran, left.lost), (Ok(()), 0));
    broker.set(UP);
    let fourth = Process::start(&broker, Some(dir.path()), 3000, (EPOCH + 3000) * 1000);
    wait_for("rows of the third", || broker.ports().len() >= 700);
    assert_eq!(fourth.end().0, Ok(()));
    let all = all.into_iter().chain(2000..2100).collect::<Vec<_>>();
    assert_eq!(sorted(broker.ports()), all);
}

#[test]
fn of_two_processes_with_one_name_the_later_goes_on() {
    let broker = Broker::new();
    let first = Process::start(&broker, None, 0, EPOCH * 1000);
    first.let_go(100);
    wait_for("the first rows", || !broker.ports().is_empty());
    // Its clock is behind: it is the later one all the same.
    let second = Process::start(&broker, None, 1000, (EPOCH - 50) * 1000);
    second.let_go(1100);
    wait_for("rows of the second", || broker.ports().iter().any(|port| *port >= 1000));
    first.let_go(300);
    wait_for("the end of the first", || first.thread.is_finished());
    let (ran, _, left) = first.thread.join().unwrap();
    let said = ran.unwrap_err();
    assert!(said.contains("node name `n`") && said.contains("the earlier, ends"), "{said}");
    assert!(left.lost > 0 && left.spooled == 0, "{left:?}");
    let (ran, ..) = second.end();
    assert_eq!(ran, Ok(()));
    let new: Vec<i32> = broker.ports().into_iter().filter(|port| *port >= 1000).collect();
    assert_eq!(sorted(new), (1000..1100).collect::<Vec<_>>());
}

#[test]
fn a_spool_that_another_process_has_is_refused_with_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let held = Spool::open(&dir.path().join("n+eth9"), 1 << 20).unwrap();
    let config = Config { spool: Some(dir.path().to_owned()), ..Config::new("n") };
    let input = Input::Live("eth9".into(), LiveOptions::default());
    let clock = Arc::new(Manual::default());
    let refused = Capture::new(config.clone(), input.clone(), false, clock.clone()).err().unwrap();
    assert!(refused.to_string().contains("node name `n`"), "{refused}");
    drop(held);
    assert!(Capture::new(config, input.clone(), false, clock.clone()).is_ok());
    // A disk that cannot be used costs the spool and not the capture.
    let config = Config { spool: Some("/proc/weir".into()), ..Config::new("n") };
    assert!(Capture::new(config, input, false, clock).is_ok());
}
