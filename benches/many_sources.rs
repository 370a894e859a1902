//! Many live sources on one broker, for `benches/sources.sh`: what a capture engine writes for a capture, flush by flush,
//! is sent by so many producers at once, each under a name of its own and at the pace of a live worker.
//!
//! `many_sources BROKERS CAPTURE SOURCES SECONDS PACKETS`: PACKETS are what one source sees between two flushes.
//! Prints commits, records and rows a second, rows a record, and how long commits took.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bus::clock::System;
use bus::drive::{Stop, Until, drive};
use bus::kafka::{self, Kafka};
use bus::memory::{Memory, Retain};
use bus::{Bus, Lane, Member, Outgoing, Payload, Restored, Role, Session, Step, Timeline, Wake};
use capture::Capture;
use capture::role::Input;

/// Between two flushes of a live worker.
const FLUSH: Duration = Duration::from_micros(capture::config::FLUSH_INTERVAL.unsigned_abs());
/// Flushes of the capture that are kept: they are sent over and over.
const KEPT: usize = 64;
/// What the topics of the bench begin with.
const PREFIX: &str = "bench";

type Flushes = Arc<Vec<Vec<Outgoing>>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let [brokers, file, numbers @ ..] = &args[..] else {
        anyhow::bail!("usage: many_sources BROKERS CAPTURE SOURCES SECONDS PACKETS");
    };
    let number = |at: usize, default: u64| numbers.get(at).map_or(Ok(default), |text| text.parse());
    let sources = number(0, 40)?;
    let lasts = Duration::from_secs(number(1, 30)?);
    let packets = number(2, 40_000)?;
    let config =
        kafka::Config { brokers: brokers.clone(), prefix: PREFIX.into(), ..Default::default() };
    let bus = Kafka::connect(config)?;
    let flushes = recorded(file.into(), bus.lanes(), packets)?;
    ensure!(!flushes.is_empty(), "{file}: no rows");
    let (stop, counts) = (Stop::new(), Mutex::new(Counts::default()));
    let began = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..sources)
            .map(|number| {
                let (bus, flushes, stop, counts) = (&bus, flushes.clone(), &stop, &counts);
                scope.spawn(move || send(bus, number, sources, flushes, stop, counts))
            })
            .collect();
        std::thread::sleep(lasts);
        stop.request();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(sent) => sent,
            Err(_) => anyhow::bail!("a source panicked"),
        })
    })?;
    let mut counts = counts.into_inner().unwrap_or_else(PoisonError::into_inner);
    counts.print(sources, began.elapsed());
    Ok(())
}

/// What the engine writes, a flush at a time.
fn recorded(file: PathBuf, lanes: u32, packets: u64) -> Result<Flushes> {
    let mut config = capture::Config::new("source");
    (config.lanes, config.ignore_checksums, config.flush_packets) = (lanes, true, packets);
    let role = Capture::new(config, Input::Files(vec![file]), false, Arc::new(System))?;
    let mut recorder = Recorder { role, flushes: Vec::new() };
    let me = capture::role::member("source", lanes);
    let bus = Memory::new(lanes, Retain::UntilRead);
    drive(&bus, &me, &mut recorder, &System, &Stop::new(), Until::Forever)?;
    Ok(Arc::new(recorder.flushes))
}

/// Capture, and all that it sends.
struct Recorder {
    role: Capture,
    flushes: Vec<Vec<Outgoing>>,
}

impl Role for Recorder {
    fn opened(&mut self, session: &mut dyn Session) -> Result<()> {
        self.role.opened(session)
    }

    fn restored(&mut self, lane: Lane, from: Restored) -> Result<()> {
        self.role.restored(lane, from)
    }

    fn on(&mut self, wake: Wake, now_ms: i64) -> Result<Option<Step>> {
        let step = self.role.on(wake, now_ms)?;
        if let Some(step) = step.as_ref().filter(|_| self.flushes.len() < KEPT) {
            self.flushes.push(step.out.clone());
        }
        Ok(step)
    }

    fn committed(&mut self) -> Result<()> {
        self.role.committed()
    }

    fn done(&self) -> bool {
        self.role.done() || self.flushes.len() >= KEPT
    }

    fn wait(&self) -> Duration {
        Duration::ZERO
    }
}

/// One source, until the bench ends.
fn send(
    bus: &Kafka,
    number: u64,
    sources: u64,
    flushes: Flushes,
    stop: &Stop,
    counts: &Mutex<Counts>,
) -> Result<()> {
    let me = Member {
        group: "bench".into(),
        node: format!("w{number}"),
        topics: Vec::new(),
        state: None,
        home: vec![0],
    };
    let at = usize::try_from(number).context("a number of a source")? % flushes.len();
    // Not all at once: live workers begin when they like.
    let phase = FLUSH.mul_f64(number as f64 / sources as f64);
    let due = Instant::now() + phase;
    let mut source = Source { node: me.node.clone(), flushes, at, due, sent: None, counts };
    Ok(drive(bus, &me, &mut source, &System, stop, Until::Forever)?)
}

/// Sends the next flush whenever one is due.
struct Source<'a> {
    node: String,
    flushes: Flushes,
    at: usize,
    due: Instant,
    sent: Option<(Instant, usize, usize)>,
    counts: &'a Mutex<Counts>,
}

impl Role for Source<'_> {
    fn opened(&mut self, _: &mut dyn Session) -> Result<()> {
        Ok(())
    }

    fn restored(&mut self, _: Lane, _: Restored) -> Result<()> {
        Ok(())
    }

    fn on(&mut self, wake: Wake, _: i64) -> Result<Option<Step>> {
        if !matches!(wake, Wake::Idle) || Instant::now() < self.due {
            return Ok(None);
        }
        self.due += FLUSH;
        let mut out = self.flushes[self.at].clone();
        self.at = (self.at + 1) % self.flushes.len();
        let rows = |out: &Outgoing| match &out.payload {
            Payload::Rows(_, rows) => rows.num_rows(),
            _ => 0,
        };
        self.sent = Some((Instant::now(), out.len(), out.iter().map(rows).sum()));
        for stamp in out.iter_mut().filter_map(|out| out.stamp.as_mut()) {
            (stamp.source, stamp.timeline) = (self.node.clone(), Timeline::Live);
        }
        Ok(Some(Step { out, ..Step::default() }))
    }

    fn committed(&mut self) -> Result<()> {
        let Some((began, records, rows)) = self.sent.take() else { return Ok(()) };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.took.push(began.elapsed());
        counts.records += records;
        counts.rows += rows;
        Ok(())
    }

    fn wait(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now()).min(Duration::from_millis(50))
    }
}

/// What was sent and committed.
#[derive(Default)]
struct Counts {
    took: Vec<Duration>,
    records: usize,
    rows: usize,
}

impl Counts {
    #[allow(clippy::cast_precision_loss, clippy::print_stdout)]
    fn print(&mut self, sources: u64, time: Duration) {
        self.took.sort_unstable();
        let seconds = time.as_secs_f64();
        let at =
            |part: usize| self.took.get(self.took.len() * part / 100).copied().unwrap_or_default();
        println!(
            "{sources} sources: {:.0} commits/s, {:.0} records/s, {:.0} rows/s, {:.1} rows a record; \
             a commit takes {:?} (median), {:?} (99 of 100)",
            self.took.len() as f64 / seconds,
            self.records as f64 / seconds,
            self.rows as f64 / seconds,
            self.rows as f64 / self.records.max(1) as f64,
            at(50),
            at(99),
        );
    }
}
