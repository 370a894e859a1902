//! The capture role: flushes of its threads become steps.
//!
//! A file is read exactly once: its position is the number of packets up to a barrier, kept in
//! `state.capture` in the transaction that sends the rows. A restart reads the file from its start,
//! as flows reach back, and sends only rows completed after that number, which takes the same version and settings
//! ([`crate::maker`]).
//!
//! An interface or standard input cannot be read again: where the bus fails, the threads run on, and the
//! position says whether the step that was under way has to be sent once more. What an interface gives
//! meanwhile waits in [`crate::live`].

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bus::books::Counts;
use bus::clock::Clock;
use bus::topic;
use bus::{
    Change, Lane, Member, Outgoing, Payload, Restored, Role, Session, Stamp, Step, Timeline, Wake,
};
use bytes::Bytes;
use crossbeam_channel::RecvTimeoutError;

use crate::config::Config;
use crate::engine::{self, Counters};
use crate::live::Left;
use crate::maker::Maker;
use crate::outgoing::Outbox;
use crate::position::Position;
use crate::source::{self, LiveOptions, PacketSource, STDIN};
use crate::tally::Tally;
use crate::worker::{self, Crew, Flush, Job, Progress};

mod claim;
mod live;
mod stop;

/// How long one call waits for a flush: the stop flag is looked at in between.
const PATIENCE: Duration = Duration::from_millis(200);

/// Where packets come from.
#[derive(Debug, Clone)]
pub enum Input {
    /// Capture files, one capture in time order.
    Files(Vec<PathBuf>),
    /// An interface.
    Live(String, LiveOptions),
}

/// What the role has done, for the summary and the metrics.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Counters of all threads.
    pub counters: Counters,
    /// Rows sent, by stream.
    pub rows: BTreeMap<&'static str, u64>,
    /// What went wrong with the input.
    pub problems: Vec<String>,
    /// Flows open.
    pub open_flows: usize,
    /// Packets that the kernel dropped.
    pub dropped: u64,
    /// Rows dropped because the bus was slow.
    pub rows_dropped: u64,
    /// Milliseconds before the start of which nobody knows what was lost: an earlier process was killed.
    pub unknown_ms: i64,
    /// The input had been read to its end by an earlier run.
    pub already_read: bool,
}

/// The role.
pub struct Capture {
    config: Arc<Config>,
    /// What it makes rows by.
    maker: Maker,
    input: Input,
    /// Read a finished file once more, or one that was begun by another maker.
    again: bool,
    source: String,
    timeline: Timeline,
    clock: Arc<dyn Clock>,
    progress: Arc<Progress>,
    workers: Crew,
    /// Flushes of the barrier at hand, by thread.
    pending: Vec<Option<Flush>>,
    from: Position,
    /// As it was committed last.
    kept: Position,
    /// The reading at hand, once that is known.
    round: Option<u64>,
    /// Steps made in it.
    steps: u64,
    /// Steps under way, a second only of files: the position in each, and the step where it cannot be made again.
    sent: VecDeque<(Position, Option<Step>)>,
    /// A step that a lost session may not have committed.
    unsure: Option<(Position, Step)>,
    /// The number of this process among those that read the input, and whether it stands in the state.
    owner: Option<u64>,
    claimed: bool,
    /// Where an interface is captured.
    live: live::Role,
    /// What is processed is logged when the role is stopped, as nobody will go on from there.
    ends_when_stopped: bool,
    /// Files are read in the role's own thread.
    reads_whole: bool,
    /// What was logged and told already.
    outbox: Outbox,
    /// What was told of the threads' counters.
    tally: Tally,
    ended: bool,
    summary: Summary,
}

/// The member that a capture node is on the bus: it reads nothing, its state lives in one lane.
pub fn member(node: &str, lanes: u32) -> Member {
    Member {
        group: "capture".into(),
        node: node.into(),
        topics: Vec::new(),
        state: Some(topic::STATE_CAPTURE),
        home: vec![model::id::partition(node.as_bytes(), lanes)],
    }
}

/// What the bus calls an interface of a node.
pub fn live_source(node: &str, interface: &str) -> String {
    format!("{node}/{interface}")
}

impl Capture {
    /// Opens the input once, so that what cannot be opened is said before anything runs.
    pub fn new(
        config: Config,
        input: Input,
        again: bool,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Capture> {
        let (source, timeline) = match &input {
            Input::Files(paths) if paths.iter().any(|path| path.as_os_str() == STDIN) => {
                (format!("{}/stdin", config.node), Timeline::File)
            }
            Input::Files(paths) => {
                source::open_all(paths)?;
                let print = source::fingerprint(paths)?;
                (format!("{}/{print}", config.node), Timeline::File)
            }
            Input::Live(interface, _) => (live_source(&config.node, interface), Timeline::Live),
        };
        let live = live::Role::new(&config, &source, timeline)?;
        Ok(Capture {
            maker: Maker::of(&config),
            config: Arc::new(config),
            input,
            again,
            source,
            timeline,
            clock,
            progress: Arc::default(),
            workers: Crew::default(),
            pending: Vec::new(),
            from: Position::default(),
            kept: Position::default(),
            round: None,
            steps: 0,
            sent: VecDeque::new(),
            unsure: None,
            owner: None,
            claimed: false,
            live,
            ends_when_stopped: false,
            reads_whole: false,
            outbox: Outbox::default(),
            tally: Tally::default(),
            ended: false,
            summary: Summary::default(),
        })
    }

    /// For a bus that forgets: a stop logs the flows that are open instead of leaving the rest of the
    /// files to a restart.
    pub fn ends_when_stopped(mut self) -> Capture {
        self.ends_when_stopped = true;
        self
    }

    /// For simulations: no thread is started, files are read whole when they are begun.
    pub fn reads_whole(mut self) -> Capture {
        self.reads_whole = true;
        self
    }

    /// What others may look at while it runs.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// What it has done.
    pub fn summary(&self) -> Summary {
        let rows = self.summary.rows.clone();
        let live = self.live.summary().map(|live| Summary { rows, ..live });
        live.unwrap_or_else(|| self.summary.clone())
    }

    /// Ends live capture, whatever became of the bus: what was not sent goes to the spool. Says what is left.
    pub fn close(&mut self) -> Left {
        self.live.close()
    }

    fn is_stdin(&self) -> bool {
        self.source.ends_with("/stdin")
    }

    /// Whether what was read can be read again.
    fn is_lasting(&self) -> bool {
        self.timeline == Timeline::File && !self.is_stdin()
    }

    fn start(&mut self) -> anyhow::Result<()> {
        self.summary = Summary::default();
        // Standard input cannot be read twice.
        let threads = if self.is_lasting() { self.config.threads.max(1) } else { 1 };
        for (index, source) in (0..).zip(self.open(threads)?) {
            let job = Job {
                config: self.config.clone(),
                index,
                threads: threads as u32,
                source,
                from: self.from.packets,
                live: false,
                finishes: !self.is_lasting() || self.ends_when_stopped,
                clock: self.clock.clone(),
                progress: (index == 0).then(|| self.progress.clone()),
            };
            self.workers.push(match self.reads_whole {
                true => worker::read_whole(job),
                false => worker::start(job).context("cannot start a capture thread")?,
            });
            self.pending.push(None);
        }
        Ok(())
    }

    fn open(&self, threads: usize) -> anyhow::Result<Vec<Box<dyn PacketSource>>> {
        Ok(match &self.input {
            // One after the other they cannot share what they read.
            Input::Files(paths) if self.reads_whole => {
                (0..threads).map(|_| source::open_all(paths)).collect::<Result<_, _>>()?
            }
            Input::Files(paths) => source::open_for(paths, threads, engine::shard_of_frame)?,
            Input::Live(..) => anyhow::bail!("an interface is no file"),
        })
    }

    /// The flushes of one barrier, once every thread has reached it.
    fn gather(&mut self) -> anyhow::Result<Option<Vec<Flush>>> {
        for (worker, slot) in self.workers.iter().zip(&mut self.pending) {
            if slot.is_some() {
                continue;
            }
            match worker.flushes.recv_timeout(PATIENCE) {
                Ok(flush) => *slot = Some(flush),
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => {
                    anyhow::bail!("a capture thread ended before its input did")
                }
            }
        }
        Ok(Some(self.pending.iter_mut().filter_map(Option::take).collect()))
    }

    fn step(&mut self, mut flushes: Vec<Flush>) -> anyhow::Result<Step> {
        let number = flushes.first().map_or(0, |flush| flush.number);
        let time = flushes.iter().map(|flush| flush.time).max().unwrap_or(i64::MIN);
        let end = flushes.iter().all(|flush| flush.end);
        self.summarise(&mut flushes);
        let mut counts = self.tally.grown(self.summary.counters, self.summary.dropped);
        let threads = flushes.into_iter().map(|flush| flush.rows).collect();
        let stamp = Stamp {
            source: self.config.place.source(&self.source),
            timeline: self.timeline,
            time: if end { i64::MAX } else { time },
            end,
        };
        let joins = self.config.joins;
        let (out, rows) = self.outbox.outgoing(threads, self.config.lanes, &stamp, joins)?;
        counts.add_all(&rows);
        let round = self.round();
        self.steps += 1;
        let owner = self.owner.unwrap_or(0);
        let maker = self.maker.clone();
        let reached = Position { packets: number, end, time, owner, maker, ..Position::default() };
        self.ended = end;
        self.send(out, counts, Position { round, steps: self.steps, ..reached })
    }

    /// A step that sends these records and says that they are sent.
    fn send(
        &mut self,
        out: Vec<Outgoing>,
        counts: Counts,
        position: Position,
    ) -> anyhow::Result<Step> {
        for out in &out {
            if let Payload::Rows(def, rows) = &out.payload {
                *self.summary.rows.entry(def.name).or_default() += rows.num_rows() as u64;
            }
        }
        let change = Change {
            lane: model::id::partition(self.config.node.as_bytes(), self.config.lanes),
            key: Bytes::from(self.source.clone()),
            value: Some(Bytes::from(serde_json::to_vec(&position)?)),
        };
        let step = Step { out, state: vec![change], counts, ..Step::default() };
        self.sent.push_back((position, (!self.is_lasting()).then(|| step.clone())));
        Ok(step)
    }

    /// The reading at hand; the first one where nothing was kept of any.
    fn round(&mut self) -> u64 {
        let first = if self.is_lasting() { 0 } else { self.clock.now_ms().unsigned_abs() };
        *self.round.get_or_insert(first)
    }

    fn summarise(&mut self, flushes: &mut [Flush]) {
        let summary = &mut self.summary;
        (summary.counters, summary.open_flows) = Default::default();
        (summary.dropped, summary.rows_dropped) = Default::default();
        for flush in flushes {
            summary.counters.add(flush.counters);
            summary.open_flows += flush.open_flows;
            summary.dropped += flush.dropped;
            summary.rows_dropped += flush.rows_dropped;
            if flush.stopped {
                let number = flush.number;
                flush.problems.push(format!("stopped after {number} packets, with more to read"));
            }
            for problem in flush.problems.drain(..) {
                // Threads that read one file all find the same.
                if !summary.problems.contains(&problem) {
                    tracing::info!("{problem}");
                    summary.problems.push(problem);
                }
            }
        }
    }
}

impl Role for Capture {
    fn opened(&mut self, _session: &mut dyn Session) -> anyhow::Result<()> {
        let sent = std::mem::take(&mut self.sent).pop_back();
        if !self.is_lasting() {
            if let Some((position, Some(step))) = sent {
                self.unsure = Some((position, step));
            }
            return Ok(());
        }
        // Threads of a session that failed have sent rows nobody committed.
        self.workers.clear();
        self.pending.clear();
        self.ended = false;
        self.steps = 0;
        self.from = Position::default();
        self.outbox = Outbox::default();
        self.tally = Tally::default();
        Ok(())
    }

    fn restored(&mut self, _lane: Lane, from: Restored) -> anyhow::Result<()> {
        let kept = from.state.iter().rev().find(|(key, _)| *key == self.source);
        let Some((_, value)) = kept else { return Ok(()) };
        let position: Position = serde_json::from_slice(value)
            .with_context(|| format!("position of {} in state.capture", self.source))?;
        if !self.is_lasting() {
            self.unsure.take_if(|(sent, _)| position.covers(sent.id()));
        }
        self.is_ours(&position)?;
        self.kept = position.clone();
        if !self.is_lasting() {
            return Ok(());
        }
        let next = position.round + u64::from(self.begins_anew(&position));
        // Of the reading before this one nothing counts.
        let is_first_look = self.round.is_none();
        if *self.round.get_or_insert(next) > position.round {
            return Ok(());
        }
        if position.end {
            self.summary.already_read = is_first_look;
            self.ended = true;
        } else {
            self.may_go_on(&position)?;
            self.from = position.clone();
        }
        self.steps = position.steps;
        Ok(())
    }

    fn on(&mut self, wake: Wake, _now_ms: i64) -> anyhow::Result<Option<Step>> {
        if self.timeline == Timeline::Live {
            return self.on_live(&wake);
        }
        match wake {
            Wake::Idle | Wake::Assigned(_) => {}
            Wake::Stop => return self.stopped(),
            _ => return Ok(None),
        }
        if let Some(step) = self.send_again() {
            return Ok(Some(step));
        }
        if self.ended {
            return Ok(None);
        }
        if self.is_lasting() && !self.claimed {
            return if self.sent.is_empty() { self.claim().map(Some) } else { Ok(None) };
        }
        if matches!(wake, Wake::Assigned(_)) {
            return Ok(None);
        }
        if self.workers.is_empty() {
            self.start()?;
        }
        let Some(flushes) = self.gather()? else { return Ok(None) };
        let at = |flush: &Flush| (flush.number, flush.end);
        anyhow::ensure!(
            flushes.windows(2).all(|two| at(&two[0]) == at(&two[1])),
            "capture threads disagree on where the input ends: did a file change while it was read?"
        );
        if flushes.iter().all(|flush| flush.number <= self.from.packets && !flush.end) {
            // An earlier run committed these; what they leave behind is remembered all the same.
            let mut counters = Counters::default();
            flushes.iter().for_each(|flush| counters.add(flush.counters));
            self.tally.grown(counters, 0);
            let threads = flushes.into_iter().map(|flush| flush.rows).collect();
            self.outbox.pass(threads, self.config.lanes)?;
            return Ok(None);
        }
        self.step(flushes).map(Some)
    }

    fn committed(&mut self) -> anyhow::Result<()> {
        let Some((position, _)) = self.sent.pop_front() else { return Ok(()) };
        self.claimed |= self.owner == Some(position.owner);
        if self.timeline == Timeline::Live {
            self.live.committed(&position);
        }
        self.kept = position;
        Ok(())
    }

    fn works_ahead(&self) -> bool {
        // What cannot be made again is kept until it is known to be lasting, one step at a time.
        self.is_lasting()
    }

    fn done(&self) -> bool {
        self.ended && self.unsure.is_none()
    }

    fn is_ahead(&self) -> bool {
        self.live.is_running()
    }

    fn backlog(&self) -> bool {
        self.live.owes()
    }

    fn owes(&self) -> bool {
        // What a spool holds can be left there.
        if self.live.has_spool() {
            return false;
        }
        let is_reading = (!self.workers.is_empty() || self.live.is_running()) && !self.ended;
        !self.is_lasting() && (!self.sent.is_empty() || self.unsure.is_some() || is_reading)
    }

    fn facts(&self) -> BTreeMap<String, String> {
        let mut facts = BTreeMap::from([("source".to_owned(), self.source.clone())]);
        let spooled = self.live.spooled();
        facts.extend((spooled > 0).then(|| ("spooled_rows".to_owned(), spooled.to_string())));
        facts
    }

    fn wait(&self) -> Duration {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests;
