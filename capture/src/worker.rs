//! Capture threads: each has its own source and its own engine, and gives its rows to the role at
//! flush barriers.
//!
//! Threads that read files all go through every packet and handle those of their own virtual shards: that
//! is cheaper than to hand packets over, and makes the barrier a packet number that all count alike.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bus::clock::Clock;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};

use crate::config::{Config, SECOND};
use crate::engine::{AHEAD, Counters, Engine};
use crate::out::Rows;
use crate::source::{self, Next, PacketSource, Several};

pub use crew::Crew;

mod crew;

/// Packets between two barriers of a file, where nothing else is said: a batch is then some thousand
/// rows.
pub const FLUSH_PACKETS: u64 = 65_536;
/// Packet time between two flushes of a live thread, where nothing else is said and nothing hurries it: batches are
/// worth it from about a thousand rows.
pub const FLUSH_INTERVAL: i64 = 5 * SECOND;
/// The least of it, though much waits or somebody is to be told: what a record costs goes by records.
pub const FLUSH_INTERVAL_MIN: i64 = SECOND;
/// The most of it: lanes take a source for silent that says nothing for thirty seconds, and a kill may cost what has not been
/// given away.
pub const FLUSH_INTERVAL_MAX: i64 = 10 * SECOND;
/// Rows for each lane that are much.
const ROWS_MUCH: u64 = 1000;
/// Flushes that may wait for the role before a thread waits for it (files) or keeps its rows (live).
const FLUSHES_WAITING: usize = 2;
/// Rows a live thread keeps while nobody takes them, as where a disk hangs under the spool; beyond that new
/// ones are dropped and counted. A row of conn takes some 300 bytes.
const LIVE_ROWS_MAX: usize = 1_000_000;

/// After a stop a live thread waits so long for another packet: the kernel hands a block that is not full over
/// only after a while (`TIMEOUT_MS` in `source/live.rs`).
const LAST_LOOK: Duration = Duration::from_millis(250);
/// So long after a stop it takes no more, though the clocks of packets say that they were there before it.
const LAST_MOST: Duration = Duration::from_secs(5);

/// What a thread has done up to a barrier.
#[derive(Debug, Default)]
pub struct Flush {
    /// Packets read, by all threads alike; the position of a file.
    pub number: u64,
    /// Packet time reached, microseconds.
    pub time: i64,
    /// Rows since the last barrier.
    pub rows: Vec<Rows>,
    /// Counters so far.
    pub counters: Counters,
    /// Flows open.
    pub open_flows: usize,
    /// Packets that the kernel dropped so far.
    pub dropped: u64,
    /// Rows that were dropped because the bus was slow.
    pub rows_dropped: u64,
    /// Those of them since the last flush, by stream.
    pub lost: BTreeMap<&'static str, u64>,
    /// What went wrong with the input; what came before it is kept.
    pub problems: Vec<String>,
    /// The source is finished.
    pub end: bool,
    /// There was more to read, but the thread was told to stop.
    pub stopped: bool,
    /// It came sooner than others: nobody is to wait for them.
    pub hurries: bool,
}

/// What others may look at while threads run.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of the input read.
    pub read: AtomicU64,
    /// Bytes of the input in all; 0 where that is not known.
    pub total: AtomicU64,
    /// Packets read.
    pub packets: AtomicU64,
}

/// A running thread.
pub struct Worker {
    /// Its flushes, in order.
    pub flushes: Receiver<Flush>,
    /// Tells a live thread to write what it has and end.
    pub stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // The thread may wait for room in the channel: take what it has until it lets go.
        while self.flushes.recv().is_ok() {}
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a capture thread panicked");
        }
    }
}

#[cfg(test)]
impl Worker {
    /// One that gives these.
    pub(crate) fn of(flushes: Receiver<Flush>) -> Worker {
        Worker { flushes, stop: Arc::default(), thread: None }
    }
}

/// What a thread is given.
pub struct Job {
    /// Settings.
    pub config: Arc<Config>,
    /// Which thread this is.
    pub index: u32,
    /// Of how many that share the packets of one source; 1 where each has its own.
    pub threads: u32,
    /// Packets.
    pub source: Box<dyn PacketSource>,
    /// Barrier up to which an earlier run committed its rows: they are made again, and
    /// the role throws them away.
    pub from: u64,
    /// Whether packets come from a live interface.
    pub live: bool,
    /// When told to stop it logs what is open; else it just ends.
    pub finishes: bool,
    /// Wall clock, which is packet time on a quiet interface.
    pub clock: Arc<dyn Clock>,
    /// Where progress is told, for the first thread.
    pub progress: Option<Arc<Progress>>,
}

/// Starts a thread.
pub fn start(job: Job) -> std::io::Result<Worker> {
    let (sender, flushes) = bounded(FLUSHES_WAITING);
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    let name = format!("capture-{}", job.index);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let state = State::new(&job);
        match job.live {
            true => live(job, state, &sender, &told),
            false => file(job, state, &sender, &told),
        }
    })?;
    Ok(Worker { flushes, stop, thread: Some(thread) })
}

/// Reads a file whole before it returns, in the caller's thread; its flushes wait all at once. For
/// simulations, which have small files and no threads.
pub fn read_whole(job: Job) -> Worker {
    let (sender, flushes) = unbounded();
    let stop = Arc::new(AtomicBool::new(false));
    let state = State::new(&job);
    file(job, state, &sender, &stop);
    Worker { flushes, stop, thread: None }
}

struct State {
    engine: Engine,
    number: u64,
    problems: Vec<String>,
    /// Rows that wait for a slow bus.
    kept: Vec<Rows>,
    /// A flush is owed, as there was no room for the last one, and whether it hurried.
    owes: bool,
    hurries: bool,
    rows_dropped: u64,
    lost: BTreeMap<&'static str, u64>,
}

impl State {
    fn new(job: &Job) -> State {
        // The kernel divides the packets of an interface: a thread takes all that it gets.
        let (index, threads) = if job.live { (0, 1) } else { (job.index, job.threads) };
        let engine = Engine::new(job.config.clone(), index, threads);
        State {
            engine,
            number: 0,
            problems: Vec::new(),
            kept: Vec::new(),
            owes: false,
            hurries: false,
            rows_dropped: 0,
            lost: BTreeMap::new(),
        }
    }

    /// Nobody takes rows: they wait here until there are too many; then it is the newest that go.
    fn keep(&mut self, sensor: &str) {
        let waiting: usize = self.kept.iter().map(|rows| rows.marks.len()).sum();
        let new = self.engine.out().take(sensor);
        let rows: usize = new.iter().map(|rows| rows.marks.len()).sum();
        if waiting + rows <= LIVE_ROWS_MAX {
            self.kept.extend(new);
            return;
        }
        self.rows_dropped += rows as u64;
        for rows in &new {
            *self.lost.entry(rows.def.name).or_default() += rows.marks.len() as u64;
        }
        tracing::error!(rows, "nobody takes the rows of this thread: they are dropped");
    }

    fn flush(&mut self, sensor: &str, dropped: u64, end: bool) -> Flush {
        let mut rows = std::mem::take(&mut self.kept);
        rows.extend(self.engine.out().take(sensor));
        Flush {
            number: self.number,
            time: self.engine.clock(),
            rows,
            counters: self.engine.counters(),
            open_flows: self.engine.open_flows(),
            dropped,
            rows_dropped: self.rows_dropped,
            lost: std::mem::take(&mut self.lost),
            problems: std::mem::take(&mut self.problems),
            end,
            stopped: false,
            hurries: false,
        }
    }
}

fn file(job: Job, mut state: State, sender: &Sender<Flush>, stop: &AtomicBool) {
    let Job { mut source, config, from, progress, finishes, threads, .. } = job;
    let tell = |number, at| tell(progress.as_deref(), number, at);
    let mut stopped = false;
    'reading: loop {
        let at = source.progress();
        let burst = match source.burst() {
            Ok(Several::Packets(burst)) => burst,
            Ok(Several::Idle) => continue,
            Ok(Several::End) => break,
            Err(error) => {
                state.problems.push(error.to_string());
                continue;
            }
        };
        let mut taken = 0;
        while taken < burst.count() {
            let barrier = barrier_after(state.number, config.flush_packets, from);
            let room = usize::try_from(barrier - state.number).unwrap_or(usize::MAX);
            let count = (burst.count() - taken).min(room).min(AHEAD);
            state.engine.packets(&burst, taken, count);
            taken += count;
            state.number += count as u64;
            // A slow pipe takes long to its next barrier. Threads that share files stop at one.
            if finishes && threads == 1 && stop.load(Ordering::Relaxed) {
                stopped = true;
                break 'reading;
            }
            if state.number < barrier {
                continue;
            }
            tell(state.number, at);
            if stop.load(Ordering::SeqCst) {
                stopped = true;
                break 'reading;
            }
            state.engine.settle();
            if sender.send(state.flush(&config.node, 0, false)).is_err() {
                return;
            }
        }
    }
    if stopped && !finishes {
        return;
    }
    tell(state.number, source.progress());
    // Others may wait for this thread to read on.
    drop(source);
    state.engine.finish();
    let flush = state.flush(&config.node, 0, true);
    // Nobody listens where the role has stopped; then nothing is owed either.
    let _ = sender.send(Flush { stopped, ..flush });
}

/// The next barrier: a multiple of this, or one of an earlier run, which may lie elsewhere if this number has changed
/// since.
fn barrier_after(number: u64, every: u64, earlier: u64) -> u64 {
    let next = number - number.checked_rem(every).unwrap_or(0);
    let next = next.saturating_add(if every == 0 { u64::MAX } else { every });
    if earlier > number { next.min(earlier) } else { next }
}

fn tell(progress: Option<&Progress>, number: u64, at: Option<source::Progress>) {
    let Some(progress) = progress else { return };
    progress.packets.store(number, Ordering::Relaxed);
    if let Some(at) = at {
        progress.read.store(at.read, Ordering::Relaxed);
        progress.total.store(at.total, Ordering::Relaxed);
    }
}

/// A stop that was asked for: what was on the wire before it is still taken, and lies in the kernel's buffer.
struct Stopping {
    at_us: i64,
    since: Instant,
}

impl Stopping {
    /// Whether a packet came after it, or the card is faster than we are: nobody waits for ever.
    fn is_after(&self, ts_us: i64) -> bool {
        ts_us > self.at_us || self.since.elapsed() > LAST_MOST
    }

    /// Whether there is nothing more, when there is no packet.
    fn is_over(&self) -> bool {
        self.since.elapsed() > LAST_LOOK
    }
}

/// When a live thread gives its rows away.
struct Pace {
    /// Packet time between two flushes, microseconds.
    interval: i64,
    /// Rows at which it does not wait so long.
    rows_much: u64,
    /// Packet time of the last one, and the rows up to it.
    last: Option<i64>,
    rows: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Later,
    /// Before its time.
    Soon,
    Now,
}

impl Pace {
    fn new(config: &Config) -> Pace {
        let rows_much = ROWS_MUCH * u64::from(config.lanes);
        Pace { interval: config.flush_interval, rows_much, last: None, rows: 0 }
    }

    fn due(&mut self, engine: &mut Engine) -> Due {
        let now = engine.clock();
        let since = now.saturating_sub(*self.last.get_or_insert(now));
        if since >= self.interval {
            return Due::Now;
        }
        if since < FLUSH_INTERVAL_MIN {
            return Due::Later;
        }
        let out = engine.out();
        let is_much = out.rows().saturating_sub(self.rows) >= self.rows_much;
        if is_much || !out.notice.is_empty() { Due::Soon } else { Due::Later }
    }

    fn flushed(&mut self, engine: &mut Engine) {
        self.last = Some(engine.clock());
        self.rows = engine.out().rows();
    }
}

fn live(mut job: Job, mut state: State, sender: &Sender<Flush>, stop: &AtomicBool) {
    let node = job.config.node.clone();
    let mut pace = Pace::new(&job.config);
    let mut stopping: Option<Stopping> = None;
    loop {
        if stopping.is_none() && stop.load(Ordering::SeqCst) {
            // The millisecond that it is in belongs to it.
            let at_us = job.clock.now_ms() * 1000 + 999;
            stopping = Some(Stopping { at_us, since: Instant::now() });
        }
        match job.source.next() {
            Ok(Next::Packet(packet)) => {
                if stopping.as_ref().is_some_and(|stopping| stopping.is_after(packet.ts_us)) {
                    break;
                }
                state.engine.packet(&packet);
                state.number += 1;
            }
            Ok(Next::Idle) => {
                if stopping.as_ref().is_some_and(Stopping::is_over) {
                    break;
                }
                state.engine.tick(job.clock.now_ms() * 1000);
            }
            Ok(Next::End) => break,
            Err(error) => {
                state.problems.push(error.to_string());
                break;
            }
        }
        let due = pace.due(&mut state.engine);
        let owes = state.owes && !sender.is_full();
        if due == Due::Later && !owes {
            continue;
        }
        pace.flushed(&mut state.engine);
        state.hurries |= due == Due::Soon;
        tell(job.progress.as_deref(), state.number, job.source.progress());
        state.engine.settle();
        if sender.is_full() {
            state.keep(&node);
            state.owes = true;
            continue;
        }
        state.owes = false;
        let dropped = job.source.stats().map_or(0, |stats| stats.dropped);
        let hurries = std::mem::take(&mut state.hurries);
        let flush = Flush { hurries, ..state.flush(&node, dropped, false) };
        match sender.try_send(flush) {
            Ok(()) | Err(TrySendError::Full(_)) => {}
            Err(TrySendError::Disconnected(_)) => return,
        }
    }
    state.engine.finish();
    let dropped = job.source.stats().map_or(0, |stats| stats.dropped);
    let _ = sender.send(state.flush(&node, dropped, true));
}

#[cfg(test)]
mod tests;
