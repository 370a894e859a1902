//! The one loop that runs every role on every bus: open, restore, wake, commit, and after any failure
//! of the session the same again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::{Bus, BusError, Lane, Member, Restored, Role, Session, Step, Topic, Wake};

/// First wait after a session was lost.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// Longest wait after a session was lost: a broker that comes back is found within this.
const BACKOFF_MOST: Duration = Duration::from_secs(5);

/// How soon a stop is seen while waiting to open.
const STOP_LOOK: Duration = Duration::from_millis(50);

/// A role that writes to what it reads may find more after it has drained; one that never ends doing
/// so is cut off here.
const DRAIN_ROUNDS: u32 = 16;

/// How often a role that stops is asked for a last step.
const STOP_ROUNDS: u32 = 3;

/// How long a drained role waits before it looks again whether writers have settled.
const SETTLE_WAIT: Duration = Duration::from_millis(50);

/// When to end without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Not at all.
    Forever,
    /// When everything is read to its end (`--drain`).
    Drained,
}

/// A request to end, shared by all loops of a process.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    asked: Arc<AtomicU8>,
    drain: Arc<AtomicBool>,
}

impl Stop {
    /// A flag that nobody has raised.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// One that shares the requests to end, and is drained alone: roles are drained in the order of the
    /// data.
    pub fn drained_apart(&self) -> Stop {
        Stop { asked: self.asked.clone(), drain: Arc::default() }
    }

    /// Asks to end: what is done is committed first. Asked twice, it is [`Stop::insisted`] on.
    pub fn request(&self) {
        let more = |asked: u8| Some(asked.saturating_add(1));
        // The closure never declines.
        let _ = self.asked.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
    }

    /// Asks to end as soon as everything is read: nobody writes any more.
    pub fn request_drain(&self) {
        self.drain.store(true, Ordering::SeqCst);
    }

    /// Whether a drain was asked for.
    fn drain_requested(&self) -> bool {
        self.drain.load(Ordering::SeqCst)
    }

    /// Whether anybody asked.
    pub fn requested(&self) -> bool {
        self.asked.load(Ordering::SeqCst) > 0
    }

    /// Whether somebody asked again: end without committing.
    pub fn insisted(&self) -> bool {
        self.asked.load(Ordering::SeqCst) > 1
    }
}

/// Why a loop ended other than by being asked.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The bus cannot be used.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The role failed.
    #[error("{member}: {error:#}")]
    Role {
        /// Group and node.
        member: String,
        /// What went wrong.
        error: anyhow::Error,
    },
}

/// Runs a role until it is done, stopped, or, where asked for, drained.
///
/// A session that is lost is opened again, with no limit of attempts, and everything is read back.
///
/// # Errors
/// What no new session mends: the very first one does not open, the bus says so, or the role fails.
pub fn drive(
    bus: &dyn Bus,
    me: &Member,
    role: &mut dyn Role,
    clock: &dyn Clock,
    stop: &Stop,
    until: Until,
) -> Result<(), DriveError> {
    let mut wait = BACKOFF_FIRST;
    let mut session = bus.open(me)?;
    loop {
        let held = Held::default();
        let (committed, let_go, rounds) = (false, false, 0);
        let mut run = Run { me, role, clock, stop, until, held, committed, let_go, rounds };
        let lost = match run.session(session) {
            Ok(()) => return Ok(()),
            Err(DriveError::Bus(BusError::Session(lost))) => lost,
            Err(error) => return Err(error),
        };
        if run.committed {
            wait = BACKOFF_FIRST;
        }
        tracing::warn!(member = me.name(), "session lost, opening another: {lost}");
        session = match reopen(bus, me, stop, &mut wait)? {
            Some(session) => session,
            None => return Ok(()),
        };
    }
}

/// Opens again and again; `None` once a stop is asked for: what was not committed is void anyway.
fn reopen(
    bus: &dyn Bus,
    me: &Member,
    stop: &Stop,
    wait: &mut Duration,
) -> Result<Option<Box<dyn Session>>, BusError> {
    loop {
        let until = Instant::now() + *wait;
        *wait = (*wait * 2).min(BACKOFF_MOST);
        while Instant::now() < until {
            if stop.requested() {
                tracing::warn!(member = me.name(), "stopped while no session was open");
                return Ok(None);
            }
            std::thread::sleep(STOP_LOOK.min(until.saturating_duration_since(Instant::now())));
        }
        match bus.open(me) {
            Ok(session) => return Ok(Some(session)),
            Err(BusError::Session(error)) => {
                tracing::warn!(member = me.name(), retry_in = ?*wait, "cannot open: {error}");
            }
            Err(fatal) => return Err(fatal),
        }
    }
}

/// Lanes held, and which of their partitions are read to the end.
#[derive(Default)]
struct Held {
    lanes: BTreeSet<Lane>,
    ended: BTreeMap<Lane, BTreeSet<Topic>>,
    assigned: bool,
}

impl Held {
    fn note(&mut self, wake: &Wake) {
        match wake {
            Wake::Assigned(lanes) => {
                self.assigned = true;
                self.lanes.extend(lanes);
            }
            Wake::Revoked(lanes) | Wake::Lost(lanes) => {
                // Until the group has settled again nobody can say that all is read.
                self.assigned = false;
                for lane in lanes {
                    self.lanes.remove(lane);
                    self.ended.remove(lane);
                }
            }
            Wake::Records(records) => {
                for record in records {
                    self.more(&record.topic, record.lane);
                }
            }
            Wake::End(topic, lane) if self.lanes.contains(lane) => {
                self.ended.entry(*lane).or_default().insert(topic.clone());
            }
            _ => {}
        }
    }

    /// There is more to read in this partition.
    fn more(&mut self, topic: &Topic, lane: Lane) {
        if let Some(ended) = self.ended.get_mut(&lane) {
            ended.remove(topic);
        }
    }

    fn drained(&self, me: &Member) -> bool {
        let ended = |lane| self.ended.get(lane).is_some_and(|ended| ended.len() == me.topics.len());
        self.assigned && !me.topics.is_empty() && self.lanes.iter().all(ended)
    }
}

/// One session's run of a role.
struct Run<'a> {
    me: &'a Member,
    role: &'a mut dyn Role,
    clock: &'a dyn Clock,
    stop: &'a Stop,
    until: Until,
    held: Held,
    committed: bool,
    /// The role was told that all is read, and nothing came since.
    let_go: bool,
    /// How often being told gave it more to read.
    rounds: u32,
}

impl Run<'_> {
    fn session(&mut self, mut session: Box<dyn Session>) -> Result<(), DriveError> {
        self.role.opened(&mut *session).map_err(|e| role_failed(self.me, e))?;
        loop {
            if self.stop.requested() {
                return self.finish(session);
            }
            let drain = self.until == Until::Drained || self.stop.drain_requested();
            if drain && self.held.drained(self.me) {
                let finished;
                (session, finished) = self.drained(session)?;
                if finished {
                    return self.finish(session);
                }
            } else {
                self.let_go = false;
            }
            let wake = session.next(self.role.wait())?;
            self.held.note(&wake);
            if let Wake::Assigned(lanes) = &wake {
                self.restore(&mut *session, lanes)?;
            }
            session = self.step(session, wake)?;
            if self.role.done() {
                return Ok(());
            }
        }
    }

    fn restore(&mut self, session: &mut dyn Session, lanes: &[Lane]) -> Result<(), DriveError> {
        for &lane in lanes {
            let mut state = Vec::new();
            let positions = session.restore(lane, &mut |key, value| state.push((key, value)))?;
            let restored = self.role.restored(lane, Restored { positions, state });
            restored.map_err(|e| role_failed(self.me, e))?;
        }
        Ok(())
    }

    /// Wakes the role and commits what it made of it.
    fn step(
        &mut self,
        session: Box<dyn Session>,
        wake: Wake,
    ) -> Result<Box<dyn Session>, DriveError> {
        let made = self.role.on(wake, self.clock.now_ms());
        let Some(step) = made.map_err(|e| role_failed(self.me, e))? else {
            return Ok(session);
        };
        self.commit(session, step)
    }

    fn commit(
        &mut self,
        session: Box<dyn Session>,
        step: Step,
    ) -> Result<Box<dyn Session>, DriveError> {
        if step.is_empty() {
            return Ok(session);
        }
        // What a role writes to its own input is not read yet, whatever end was seen before.
        for out in &step.out {
            self.held.more(&out.topic, out.lane);
        }
        let session = session.commit(step)?;
        self.committed = true;
        self.role.committed().map_err(|e| role_failed(self.me, e))?;
        Ok(session)
    }

    /// All that we hold is read. Lets the role go what it waits with, once, and says whether the run
    /// is finished: not while more was written meanwhile, here or for others.
    fn drained(
        &mut self,
        mut session: Box<dyn Session>,
    ) -> Result<(Box<dyn Session>, bool), DriveError> {
        if !self.let_go {
            if !session.settled()? {
                std::thread::sleep(SETTLE_WAIT);
                return Ok((session, false));
            }
            session = self.step(session, Wake::Drained)?;
            if !self.held.drained(self.me) {
                // It wrote to what it reads itself.
                self.rounds += 1;
                return Ok((session, self.rounds >= DRAIN_ROUNDS));
            }
            self.let_go = true;
        }
        let finished = session.group_done()?;
        if !finished {
            std::thread::sleep(SETTLE_WAIT);
        }
        Ok((session, finished))
    }

    /// Stops the role. What it does after its last commit (the sink's word that files are published)
    /// may want a commit of its own, so it is asked more than once.
    fn finish(&mut self, mut session: Box<dyn Session>) -> Result<(), DriveError> {
        for _ in 0..STOP_ROUNDS {
            if self.stop.insisted() {
                break;
            }
            let made = self.role.on(Wake::Stop, self.clock.now_ms());
            let Some(step) = made.map_err(|e| role_failed(self.me, e))? else { break };
            session = self.commit(session, step)?;
        }
        Ok(())
    }
}

/// An error that a role hands on from the bus is the bus's.
fn role_failed(me: &Member, error: anyhow::Error) -> DriveError {
    match error.downcast::<BusError>() {
        Ok(error) => DriveError::Bus(error),
        Err(error) => DriveError::Role { member: me.name(), error },
    }
}
