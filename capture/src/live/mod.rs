//! What stands between the threads that capture live and the role: one thread that makes steps of their
//! rows and keeps them while the bus does not take them.
//!
//! The packet loop meets none of it: a thread hands its rows over without waiting ([`crate::worker`]). All disk
//! I/O is done here, by the gathering thread and the role's.

mod entry;
mod queue;
mod spool;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bus::books::Counts;
use bus::clock::Clock;
use bus::{Stamp, Timeline};
use crossbeam_channel::{Select, TryRecvError};

pub use entry::{Entry, Outline};
pub use queue::Queue;
pub use spool::{Spool, lanes};

use crate::config::Config;
use crate::outgoing::Outbox;
use crate::position::{Id, Position};
use crate::role::Summary;
use crate::tally::{self, Tally};
use crate::worker::{Flush, Worker};

/// How much longer than the time between its flushes a step waits for the rows of a thread.
const GATHER_MORE: Duration = Duration::from_millis(500);
/// Between two times that it is said how much the kernel dropped.
const DROPS_SAID_MS: i64 = 60_000;

/// What is left when capture has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    /// Rows on disk, which the next start sends.
    pub spooled: u64,
    /// Where.
    pub dir: Option<PathBuf>,
    /// Rows that nobody has any more.
    pub lost: u64,
}

/// Live capture at work.
pub struct Live {
    shared: Arc<Shared>,
    stops: Vec<Arc<AtomicBool>>,
    thread: Option<JoinHandle<()>>,
    dir: Option<PathBuf>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    queue: Queue,
    /// Nothing more comes.
    ended: bool,
    failed: Option<String>,
    summary: Summary,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The folder of a source's spool below the one that is set.
pub fn spool_dir(below: &Path, source: &str) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.@".contains(c) { c } else { '+' };
    below.join(source.chars().map(plain).collect::<String>())
}

impl Live {
    /// Starts to gather what these threads capture, in a reading of this name.
    pub fn start(
        workers: Vec<Worker>,
        queue: Queue,
        dir: Option<PathBuf>,
        round: u64,
        gather: (Arc<Config>, String, Arc<dyn Clock>),
    ) -> anyhow::Result<Live> {
        let stops = workers.iter().map(|worker| worker.stop.clone()).collect();
        let state = State { queue, ended: false, failed: None, summary: Summary::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let (config, source, clock) = gather;
        let gatherer = Gatherer {
            threads: workers.into_iter().map(Thread::new).collect(),
            shared: shared.clone(),
            config,
            source,
            clock,
            outbox: Outbox::default(),
            last: Id { round, number: 0 },
            time: i64::MIN,
            dropped_said: (0, i64::MIN),
            tally: Tally::default(),
        };
        let name = "capture-gather".to_owned();
        let thread = std::thread::Builder::new().name(name).spawn(move || gatherer.run());
        let thread = thread.context("cannot start a capture thread")?;
        Ok(Live { shared, stops, thread: Some(thread), dir })
    }

    /// The next step for the bus, waited for so long.
    ///
    /// # Errors
    /// Capture has failed.
    pub fn next(&self, patience: Duration) -> anyhow::Result<Option<Entry>> {
        let mut state = self.shared.lock();
        let mut waited = false;
        loop {
            if let Some(entry) = state.queue.take() {
                return Ok(Some(entry));
            }
            if let Some(failed) = &state.failed {
                anyhow::bail!("{failed}");
            }
            if waited || state.ended {
                return Ok(None);
            }
            let woken = self.shared.changed.wait_timeout(state, patience);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            waited = true;
        }
    }

    /// Steps up to this one are committed.
    pub fn release(&self, upto: Id) {
        self.shared.lock().queue.release(upto);
    }

    /// What of the spool this position covers is committed.
    pub fn forget(&self, position: &Position) {
        self.shared.lock().queue.forget(|id| position.covers(id));
    }

    /// Whether everything captured is committed, or in the role's hand.
    pub fn is_over(&self) -> bool {
        let state = self.shared.lock();
        state.ended && state.queue.is_empty()
    }

    /// Rows that wait on disk.
    pub fn spooled(&self) -> u64 {
        self.shared.lock().queue.rows().1
    }

    /// Tells the threads to log what is open and end.
    pub fn stop(&self) {
        self.stops.iter().for_each(|stop| stop.store(true, Ordering::SeqCst));
    }

    /// What the threads have done so far.
    pub fn summary(&self) -> Summary {
        let state = self.shared.lock();
        let mut summary = state.summary.clone();
        summary.rows_dropped += state.queue.dropped().rows;
        summary
    }

    /// Ends capture: what waits goes to disk. Says what is left.
    pub fn close(&mut self) -> Left {
        self.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a capture thread panicked");
        }
        let mut state = self.shared.lock();
        state.queue.spill();
        let (lost, spooled) = state.queue.rows();
        Left { spooled, lost, dir: self.dir.clone() }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.close();
    }
}

/// One thread that captures, and what it said last.
struct Thread {
    worker: Worker,
    ended: bool,
    /// It has given something for the step at hand.
    has_given: bool,
    last: Flush,
}

/// Which of the threads has something, if one has by then; those that have given something may have more.
fn first_ready(threads: &[Thread], until: Instant) -> Option<usize> {
    let mut select = Select::new();
    let mut places = Vec::with_capacity(threads.len());
    for (at, thread) in threads.iter().enumerate().filter(|(_, thread)| !thread.ended) {
        select.recv(&thread.worker.flushes);
        places.push(at);
    }
    if places.is_empty() {
        return None;
    }
    places.get(select.ready_deadline(until).ok()?).copied()
}

impl Thread {
    fn new(worker: Worker) -> Thread {
        Thread {
            worker,
            ended: false,
            has_given: false,
            last: Flush { time: i64::MIN, ..Flush::default() },
        }
    }
}

struct Gatherer {
    threads: Vec<Thread>,
    shared: Arc<Shared>,
    config: Arc<Config>,
    source: String,
    clock: Arc<dyn Clock>,
    outbox: Outbox,
    last: Id,
    time: i64,
    /// Packets that the kernel dropped when that was said last, and when.
    dropped_said: (u64, i64),
    /// What was told of the threads' counters.
    tally: Tally,
}

impl Gatherer {
    fn run(mut self) {
        // Also where this thread panics nobody must wait for it.
        let _ended = Ended(self.shared.clone());
        while self.threads.iter().any(|thread| !thread.ended) {
            if let Err(error) = self.gather() {
                self.shared.lock().failed = Some(format!("{error:#}"));
                return;
            }
        }
    }

    /// One step of what the threads have, once each has something or has had the time for it.
    fn gather(&mut self) -> anyhow::Result<()> {
        let (mut rows, mut counts) = (Vec::new(), Counts::default());
        let interval = Duration::from_micros(self.config.flush_interval.unsigned_abs());
        let mut until = Instant::now() + interval + GATHER_MORE;
        let mut awaited = self.threads.iter().filter(|thread| !thread.ended).count();
        while awaited > 0
            && let Some(at) = first_ready(&self.threads, until)
            && let Some(thread) = self.threads.get_mut(at)
        {
            let mut flush = match thread.worker.flushes.try_recv() {
                Ok(flush) => flush,
                Err(TryRecvError::Empty) => continue,
                Err(TryRecvError::Disconnected) => {
                    anyhow::bail!("a capture thread ended before its input did")
                }
            };
            awaited -= usize::from(!std::mem::replace(&mut thread.has_given, true));
            thread.ended = flush.end;
            for (stream, lost) in std::mem::take(&mut flush.lost) {
                counts.add(format!("made.{stream}"), lost as i64);
                tally::dropped("thread_full", stream, lost, &mut counts);
            }
            // What others have by now goes with it.
            if flush.hurries {
                until = Instant::now();
            }
            rows.push(std::mem::take(&mut flush.rows));
            thread.last = flush;
        }
        self.threads.iter_mut().for_each(|thread| thread.has_given = false);
        if rows.is_empty() {
            return Ok(());
        }
        let end = self.threads.iter().all(|thread| thread.ended);
        let running = self.threads.iter().filter(|thread| end || !thread.ended);
        // No row of any thread is older than this.
        self.time = self.time.max(running.map(|thread| thread.last.time).min().unwrap_or(i64::MIN));
        let stamp = Stamp {
            source: self.config.place.source(&self.source),
            timeline: Timeline::Live,
            time: if end { i64::MAX } else { self.time },
            end,
        };
        let joins = self.config.joins;
        let (out, made) = self.outbox.outgoing(rows, self.config.lanes, &stamp, joins)?;
        counts.add_all(&made);
        self.last.number += 1;
        let packets = self.threads.iter().map(|thread| thread.last.number).sum();
        let summary = self.summarise();
        counts.add_all(&self.tally.grown(summary.counters, summary.dropped));
        let entry = Entry { id: self.last, packets, time: self.time, end, counts, out };
        let mut state = self.shared.lock();
        state.queue.push(entry, self.clock.steady_ms());
        let problems = std::mem::take(&mut state.summary.problems);
        state.summary = summary;
        state.summary.problems.splice(0..0, problems);
        self.shared.changed.notify_all();
        Ok(())
    }

    fn summarise(&mut self) -> Summary {
        let mut summary = Summary::default();
        for thread in &mut self.threads {
            summary.counters.add(thread.last.counters);
            summary.open_flows += thread.last.open_flows;
            summary.dropped += thread.last.dropped;
            summary.rows_dropped += thread.last.rows_dropped;
            for problem in thread.last.problems.drain(..) {
                tracing::error!("{problem}");
                if !summary.problems.contains(&problem) {
                    summary.problems.push(problem);
                }
            }
        }
        let (said, at) = self.dropped_said;
        let now = self.clock.steady_ms();
        if summary.dropped > said && now.saturating_sub(at) >= DROPS_SAID_MS {
            let packets = summary.dropped - said;
            tracing::warn!(packets, source = self.source, "the kernel dropped packets");
            self.dropped_said = (summary.dropped, now);
        }
        summary
    }
}

/// Tells whoever waits that nothing more comes.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.ended = true;
        if std::thread::panicking() {
            state.failed = Some("the thread that gathers rows panicked".into());
        }
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use bus::clock::Manual;
    use crossbeam_channel::unbounded;

    use super::*;

    #[test]
    fn who_hurries_waits_for_nobody_though_it_has_given_something_before() {
        let (to, from): (Vec<_>, Vec<_>) = (0..2).map(|_| unbounded()).unzip();
        let config = Arc::new(Config::new("n"));
        let queue = Queue::new(1 << 20, None, 1);
        let gather = (config, "n/eth0".to_owned(), Arc::new(Manual::default()) as Arc<dyn Clock>);
        let workers = from.into_iter().map(Worker::of).collect();
        let live = Live::start(workers, queue, None, 1, gather).unwrap();
        let give = |thread: usize, time, hurries| {
            to[thread].send(Flush { time, hurries, ..Flush::default() }).unwrap();
        };
        // The other thread is quiet for a while.
        give(0, 1, false);
        assert!(live.next(Duration::from_millis(300)).unwrap().is_none());
        give(0, 2, true);
        let entry = live.next(Duration::from_secs(3)).unwrap();
        assert!(entry.is_some(), "it waited for the one that is quiet");
        // Those that have all given something need not hurry.
        give(1, 3, false);
        give(0, 3, false);
        assert_eq!(live.next(Duration::from_secs(3)).unwrap().map(|entry| entry.time), Some(3));
        to.iter().for_each(|to| to.send(Flush { end: true, ..Flush::default() }).unwrap());
        drop(to);
    }

    #[test]
    fn what_waits_goes_to_disk_in_time_though_the_clock_was_set_back() {
        let (to, from) = unbounded();
        let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(Manual::default()));
        let (spool, _) = Spool::open(dir.path(), 1 << 20).unwrap();
        let queue = Queue::new(1 << 20, Some(spool), 1);
        let gather =
            (Arc::new(Config::new("n")), "n/eth0".to_owned(), clock.clone() as Arc<dyn Clock>);
        let live = Live::start(vec![Worker::of(from)], queue, None, 1, gather).unwrap();
        // Where an assertion fails this goes first: the thread that gathers waits for it.
        let to = to;
        let files = |time| {
            to.send(Flush { time, ..Flush::default() }).unwrap();
            let entry = live.next(Duration::from_secs(3)).unwrap();
            assert_eq!(entry.map(|entry| entry.time), Some(time));
            std::fs::read_dir(dir.path()).unwrap().count()
        };
        let empty = files(1);
        clock.jump_ms(-86_400_000);
        clock.advance_ms(queue::SPILL_AFTER_MS - 1);
        assert_eq!(files(2), empty);
        clock.advance_ms(1);
        assert_eq!(files(3), empty + 1, "a segment");
        to.send(Flush { end: true, ..Flush::default() }).unwrap();
        drop(to);
    }
}
