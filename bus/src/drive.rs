//! The one loop that runs every role on every bus: open, restore, wake, commit, and after any failure
//! of the session the same again.

use std::time::{Duration, Instant};

use crate::books::{Books, Told};
use crate::clock::Clock;
use crate::{Bus, BusError, Lane, Member, Restored, Role, Session, Step, Wake};

mod held;
mod stop;

use held::Held;
pub use stop::Stop;

/// Steps that may be under way while a role that works ahead makes the next: enough that some wait while one transaction
/// ends, and share the next one. They are held in memory, and the next with them.
pub const AHEAD: u32 = 3;

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

/// How often a role that follows documents is looked for them: seconds after a push everybody has it, and
/// asking costs a round trip a lane.
const DOCUMENTS_EVERY_MS: i64 = 2_000;

/// How long a drained role waits for more before it looks again whether writers have settled.
const SETTLE_WAIT: Duration = Duration::from_millis(50);

/// When to end without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Not at all.
    Forever,
    /// When everything is read to its end (`--drain`).
    Drained,
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
    let mut driver = Driver::new(me, stop, until);
    loop {
        match driver.turn(bus, role, clock)? {
            Turn::Again => {}
            Turn::Wait(time) => pause(time, stop),
            Turn::Ended => return Ok(()),
        }
    }
}

/// Lets time pass, until a stop is asked for, or asked for again.
fn pause(time: Duration, stop: &Stop) {
    let (until, asked) = (Instant::now() + time, stop.requested());
    while Instant::now() < until && stop.requested() == asked && !stop.insisted() {
        std::thread::sleep(STOP_LOOK.min(until.saturating_duration_since(Instant::now())));
    }
}

/// What a turn of a loop leaves to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The next turn.
    Again,
    /// The next turn, after so long or when a stop is asked for.
    Wait(Duration),
    /// Nothing: the loop has ended.
    Ended,
}

/// The loop, turn by turn: [`drive`] runs one with real time, a simulation runs many in turn with its
/// own.
pub struct Driver {
    me: Member,
    stop: Stop,
    until: Until,
    session: Option<Box<dyn Session>>,
    /// Whether there was a session ever.
    began: bool,
    /// A session was opened, or tried to, after a stop.
    tried_last: bool,
    /// How long to wait for another one.
    backoff: Duration,
    held: Held,
    books: Books,
    /// Partitions of a topic.
    lanes: u32,
    /// The role was told that all is read, and nothing came since.
    let_go: bool,
    /// How often being told gave it more to read.
    rounds: u32,
    /// When documents were last looked for, in this session.
    looked_ms: Option<i64>,
    /// Steps that are being committed, of which the role has not been told that they are lasting.
    under_way: u32,
}

impl Driver {
    /// A loop that has not begun.
    pub fn new(me: &Member, stop: &Stop, until: Until) -> Driver {
        Driver {
            me: me.clone(),
            stop: stop.clone(),
            until,
            session: None,
            began: false,
            tried_last: false,
            backoff: BACKOFF_FIRST,
            held: Held::default(),
            books: Books::new(me),
            lanes: 1,
            let_go: false,
            rounds: 0,
            looked_ms: None,
            under_way: 0,
        }
    }

    /// Opens a session where there is none, else does what happened next in it.
    ///
    /// # Errors
    /// As [`drive`]; no turn may follow.
    pub fn turn(
        &mut self,
        bus: &dyn Bus,
        role: &mut dyn Role,
        clock: &dyn Clock,
    ) -> Result<Turn, DriveError> {
        let Some(session) = self.session.take() else { return self.open(bus, role, clock) };
        match self.go_on(session, role, clock) {
            Err(DriveError::Bus(BusError::Session(lost))) => Ok(self.lost(&lost)),
            turn => turn,
        }
    }

    fn open(
        &mut self,
        bus: &dyn Bus,
        role: &mut dyn Role,
        clock: &dyn Clock,
    ) -> Result<Turn, DriveError> {
        if (self.began || role.is_ahead()) && self.stop.requested() && !self.may_try_again(role) {
            // What was not committed is void anyway.
            tracing::warn!(member = self.me.name(), "stopped while no session was open");
            return Ok(Turn::Ended);
        }
        if !role.ready(clock.steady_ms()) {
            return Ok(Turn::Wait(self.back_off()));
        }
        let mut session = match bus.open(&self.me) {
            Ok(session) => session,
            Err(BusError::Session(why)) if self.began || role.is_ahead() => {
                let wait = self.back_off();
                tracing::warn!(member = self.me.name(), retry_in = ?wait, "cannot open: {why}");
                return Ok(Turn::Wait(wait));
            }
            Err(error) => return Err(error.into()),
        };
        self.began = true;
        (self.held, self.let_go, self.rounds) = (Held::default(), false, 0);
        (self.looked_ms, self.under_way) = (None, 0);
        self.books.opened();
        self.lanes = bus.lanes();
        match role.opened(&mut *session).map_err(|e| role_failed(&self.me, e)) {
            Ok(()) => self.session = Some(session),
            Err(DriveError::Bus(BusError::Session(lost))) => return Ok(self.lost(&lost)),
            Err(error) => return Err(error),
        }
        Ok(Turn::Again)
    }

    /// Whether a role that is to stop has something left for another session: as long as it takes where it cannot
    /// be made again, once where it can be left.
    fn may_try_again(&mut self, role: &dyn Role) -> bool {
        let may = role.owes() || (role.backlog() && !self.tried_last);
        self.tried_last = true;
        may && !self.stop.insisted()
    }

    fn lost(&mut self, why: &str) -> Turn {
        tracing::warn!(member = self.me.name(), "session lost, opening another: {why}");
        Turn::Wait(self.back_off())
    }

    /// How long to wait now; the next time it is longer.
    fn back_off(&mut self) -> Duration {
        let wait = self.backoff;
        self.backoff = (wait * 2).min(BACKOFF_MOST);
        wait
    }

    /// What happens next in a session.
    fn go_on(
        &mut self,
        mut session: Box<dyn Session>,
        role: &mut dyn Role,
        clock: &dyn Clock,
    ) -> Result<Turn, DriveError> {
        let mut run = Run { driver: self, role, clock };
        // What it owes may be lasting already: it knows when its lanes are restored.
        let may_stop = run.driver.held.assigned || run.driver.stop.insisted() || !run.role.owes();
        if run.driver.stop.requested() && may_stop {
            return run.finish(session);
        }
        let mut wait = run.role.wait();
        if !run.driver.is_drained() {
            run.driver.let_go = false;
        } else {
            let finished;
            (session, finished) = run.drained(session)?;
            if finished {
                return run.finish(session);
            }
            wait = wait.min(SETTLE_WAIT);
        }
        if run.driver.held.assigned {
            session = run.documents(session, false)?;
        }
        let wake = session.next(wait)?;
        if !is_work(&wake) {
            run.complete(&mut *session)?;
        }
        run.driver.held.note(&wake);
        let is_assigned = matches!(wake, Wake::Assigned(_));
        match &wake {
            Wake::Assigned(lanes) => run.restore(&mut *session, lanes)?,
            Wake::Records(records) => run.driver.books.read(records),
            _ => {}
        }
        session = run.step(session, wake)?;
        if is_assigned {
            session = run.documents(session, true)?;
        }
        if run.role.done() {
            run.complete(&mut *session)?;
            run.say_farewell(session);
            return Ok(Turn::Ended);
        }
        session = run.say_there(session)?;
        self.session = Some(session);
        Ok(Turn::Again)
    }

    /// Whether it is to end once all is read, and all that it holds is.
    fn is_drained(&self) -> bool {
        let drain = self.until == Until::Drained || self.stop.drain_requested();
        drain && self.held.drained(&self.me)
    }
}

/// A turn's hold of the role.
struct Run<'a> {
    driver: &'a mut Driver,
    role: &'a mut dyn Role,
    clock: &'a dyn Clock,
}

impl Run<'_> {
    fn restore(&mut self, session: &mut dyn Session, lanes: &[Lane]) -> Result<(), DriveError> {
        for &lane in lanes {
            let mut state = Vec::new();
            let mut positions =
                session.restore(lane, &mut |key, value| state.push((key, value)))?;
            let me = &self.driver.me;
            let gaps = held::take_up(session, me, self.role, lane, &mut positions, &state)?;
            let used = |p: &crate::Position| (p.topic.clone(), self.role.used(p));
            self.driver.books.restored(lane, positions.iter().map(used).collect());
            let restored = self.role.restored(lane, Restored { positions, gaps, state });
            restored.map_err(|e| role_failed(&self.driver.me, e))?;
        }
        Ok(())
    }

    /// Tells the role of the documents that it follows, if they changed or it `must` hear of them.
    fn documents(
        &mut self,
        mut session: Box<dyn Session>,
        must: bool,
    ) -> Result<Box<dyn Session>, DriveError> {
        let topics = self.role.follows();
        if topics.is_empty() {
            return Ok(session);
        }
        let now_ms = self.clock.steady_ms();
        let rests = |looked| now_ms.saturating_sub(looked) < DOCUMENTS_EVERY_MS;
        if !must && self.driver.looked_ms.is_some_and(rests) {
            return Ok(session);
        }
        self.driver.looked_ms = Some(now_ms);
        for topic in topics {
            if !must && !session.documents_changed(&topic)? {
                continue;
            }
            self.complete(&mut *session)?;
            let mut found = Vec::new();
            session.follow(&topic, &mut |key, value| found.push((key, value)))?;
            session = self.step(session, Wake::Documents(topic, found))?;
        }
        Ok(session)
    }

    /// Wakes the role and commits what it made of it.
    fn step(
        &mut self,
        mut session: Box<dyn Session>,
        wake: Wake,
    ) -> Result<Box<dyn Session>, DriveError> {
        let gone = match &wake {
            Wake::Revoked(lanes) | Wake::Lost(lanes) => lanes.clone(),
            _ => Vec::new(),
        };
        let (is_idle, is_work) = (matches!(wake, Wake::Idle), is_work(&wake));
        let made = self.role.on(wake, self.clock.steady_ms());
        let made = made.map_err(|e| role_failed(&self.driver.me, e))?;
        let has_rest = is_idle && made.is_none();
        if let Some(step) = made {
            session = self.commit(session, step)?;
        }
        // Lanes are given up only once what was done for them is lasting.
        if has_rest || !is_work {
            self.complete(&mut *session)?;
        }
        self.driver.books.forget(&gone);
        Ok(session)
    }

    fn commit(
        &mut self,
        mut session: Box<dyn Session>,
        mut step: Step,
    ) -> Result<Box<dyn Session>, DriveError> {
        if step.is_empty() {
            return Ok(session);
        }
        self.enter(&mut step, false);
        // What a role writes to its own input is not read yet, whatever end was seen before.
        for out in &step.out {
            self.driver.held.more(&out.topic, out.lane);
        }
        session = session.begin(step)?;
        self.driver.under_way += 1;
        let may_be = if self.role.works_ahead() { AHEAD } else { 0 };
        self.complete_but(may_be, &mut *session)?;
        Ok(session)
    }

    /// Waits until all steps are lasting.
    fn complete(&mut self, session: &mut dyn Session) -> Result<(), DriveError> {
        self.complete_but(0, session)
    }

    /// Waits until no more than so many steps are under way, and tells the role of those that are lasting.
    fn complete_but(&mut self, left: u32, session: &mut dyn Session) -> Result<(), DriveError> {
        while self.driver.under_way > left {
            session.complete()?;
            self.driver.under_way -= 1;
            self.driver.backoff = BACKOFF_FIRST;
            self.role.committed().map_err(|e| role_failed(&self.driver.me, e))?;
        }
        Ok(())
    }

    /// Enters a step into the books.
    fn enter(&mut self, step: &mut Step, end: bool) {
        let used: Vec<i64> = step.positions.iter().map(|p| self.role.used(p)).collect();
        let told = Told {
            now_ms: self.clock.now_ms(),
            lanes: self.driver.lanes,
            held: self.driver.held.lanes.iter().copied().collect(),
            facts: self.role.facts(),
            end,
        };
        self.driver.books.close(step, &used, told);
    }

    /// A role that had nothing to commit for a while says that it is there.
    fn say_there(&mut self, mut session: Box<dyn Session>) -> Result<Box<dyn Session>, DriveError> {
        if !self.driver.books.is_due(self.clock.now_ms()) {
            return Ok(session);
        }
        self.complete(&mut *session)?;
        let mut step = Step::default();
        self.enter(&mut step, false);
        Ok(session.commit(step)?)
    }

    /// Says that it ends. Nothing depends on it, so that it may fail.
    fn say_farewell(&mut self, session: Box<dyn Session>) {
        let mut step = Step::default();
        self.enter(&mut step, true);
        if let Err(error) = session.commit(step) {
            tracing::debug!(member = self.driver.me.name(), "no last word: {error}");
        }
    }

    /// All that we hold is read. Lets the role go what it waits with, once, and says whether the run
    /// is finished: not while more was written meanwhile, here or for others.
    fn drained(
        &mut self,
        mut session: Box<dyn Session>,
    ) -> Result<(Box<dyn Session>, bool), DriveError> {
        self.complete(&mut *session)?;
        if !self.driver.let_go {
            if !session.settled()? {
                return Ok((session, false));
            }
            session = self.step(session, Wake::Drained)?;
            if !self.driver.held.drained(&self.driver.me) {
                // It wrote to what it reads itself.
                self.driver.rounds += 1;
                return Ok((session, self.driver.rounds >= DRAIN_ROUNDS));
            }
            self.driver.let_go = true;
        }
        // Others may have written to our lanes as their last.
        let finished = session.group_done()? && session.settled()?;
        Ok((session, finished))
    }

    /// Stops the role. What it does after its last commit (the sink's word that files are published)
    /// may want a commit of its own, so it is asked more than once.
    fn finish(&mut self, mut session: Box<dyn Session>) -> Result<Turn, DriveError> {
        self.complete(&mut *session)?;
        let mut rounds = 0;
        while rounds < STOP_ROUNDS || self.role.backlog() {
            if self.driver.stop.insisted() {
                return Ok(Turn::Ended);
            }
            rounds += 1;
            let made = self.role.on(Wake::Stop, self.clock.steady_ms());
            let Some(step) = made.map_err(|e| role_failed(&self.driver.me, e))? else { break };
            session = self.commit(session, step)?;
            self.complete(&mut *session)?;
        }
        self.say_farewell(session);
        Ok(Turn::Ended)
    }
}

/// Whether a role that works ahead may be woken so while a step of it is under way, and go on while one made of it is.
fn is_work(wake: &Wake) -> bool {
    matches!(wake, Wake::Records(_) | Wake::End(..) | Wake::Idle)
}

/// An error that a role hands on from the bus is the bus's.
fn role_failed(me: &Member, error: anyhow::Error) -> DriveError {
    match error.downcast::<BusError>() {
        Ok(error) => DriveError::Bus(error),
        Err(error) => DriveError::Role { member: me.name(), error },
    }
}
