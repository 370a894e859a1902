//! A member's session on the simulated bus.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{AWAY_MS, Shared, World};
use crate::drive::AHEAD;
use crate::memory::sent;
use crate::{Bus, BusError, Gap, Lane, Member, Position, Session, Step, Topic, Wake, stand};

/// How long a member that would finish waits for the lanes of others, milliseconds.
const OTHERS_MS: i64 = 2 * AWAY_MS;

/// A session.
pub(super) struct SimSession {
    shared: Arc<Shared>,
    me: Member,
    /// Which of all sessions this is.
    number: u64,
    /// `None` while a step is committed.
    inner: Option<Box<dyn Session>>,
    /// Steps under way.
    under_way: VecDeque<UnderWay>,
    /// Lanes are given up with the next wake.
    gives_up: bool,
    /// Since when it waits for the lanes of others.
    others_since_ms: Option<i64>,
}

/// A step under way.
enum UnderWay {
    /// Not committed yet.
    Waits(Box<Step>),
    /// Lasting already, and nobody was told.
    Lasting,
}

impl UnderWay {
    fn waits(&self) -> bool {
        matches!(self, UnderWay::Waits(_))
    }
}

impl SimSession {
    pub(super) fn new(shared: Arc<Shared>, me: &Member, inner: Box<dyn Session>) -> SimSession {
        let number = shared.world().open(me);
        let (me, under_way) = (me.clone(), VecDeque::new());
        let inner = Some(inner);
        SimSession { shared, me, number, inner, under_way, gives_up: false, others_since_ms: None }
    }

    /// Gives what was read back, in whatever order.
    fn give(&self, mut found: Vec<(Bytes, Bytes)>, each: &mut dyn FnMut(Bytes, Bytes)) {
        let mut world = self.shared.world();
        let World { dice, faults, .. } = &mut *world;
        if dice.in_1000(faults.mixed) {
            let mut dice = dice.apart("mixed");
            (1..found.len()).for_each(|i| found.swap(i, dice.below(i + 1)));
        }
        drop(world);
        found.into_iter().for_each(|(key, value)| each(key, value));
    }

    /// Whether the group forgets a lane of which this is the state.
    fn forgets(&self, state: &[(Bytes, Bytes)]) -> bool {
        let mut world = self.shared.world();
        let World { dice, faults, .. } = &mut *world;
        state.iter().any(|(key, _)| stand::is_one(key)) && dice.in_1000(faults.forget)
    }

    fn alive(&mut self) -> Result<&mut Box<dyn Session>, BusError> {
        let name = self.me.name();
        self.inner.as_mut().ok_or_else(|| BusError::Session(format!("{name}: it is gone")))
    }
}

impl Session for SimSession {
    fn next(&mut self, wait: Duration) -> Result<Wake, BusError> {
        if std::mem::take(&mut self.gives_up) && self.under_way.iter().any(UnderWay::waits) {
            let name = self.me.name();
            return Err(BusError::Fatal(format!(
                "{name}: gives up lanes that a step under way is of"
            )));
        }
        self.shared.fails(&self.me, "waiting", |faults| faults.next)?;
        self.shared.settle_time();
        self.shared.draw_wake();
        let mut wake = self.alive()?.next(Duration::ZERO)?;
        if matches!(wake, Wake::Idle) && self.shared.world().is_paced {
            let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
            self.shared.world().now_ms += wait_ms;
            self.shared.settle_time();
            std::thread::yield_now();
            wake = self.alive()?.next(Duration::ZERO)?;
        }
        self.shared.world().note(|| format!("{}: {}", self.me.name(), said(&wake)));
        self.gives_up = matches!(wake, Wake::Revoked(_));
        Ok(wake)
    }

    fn restore(
        &mut self,
        lane: Lane,
        each: &mut dyn FnMut(Bytes, Bytes),
    ) -> Result<Vec<Position>, BusError> {
        self.shared.fails(&self.me, "restoring a lane", |faults| faults.restore)?;
        let state = self.me.state.clone();
        self.shared.show(|(topic, of)| Some(topic) == state.as_ref() && *of == lane);
        let mut found = Vec::new();
        let mut positions =
            self.alive()?.restore(lane, &mut |key, value| found.push((key, value)))?;
        if self.forgets(&found) {
            self.shared.world().note(|| format!("{}: no positions of lane {lane}", self.me.name()));
            for mut position in positions.drain(..) {
                position.offset = 0;
                self.alive()?.stood(&mut position)?;
            }
        }
        self.give(found, each);
        Ok(positions)
    }

    fn documents(
        &mut self,
        topic: &Topic,
        each: &mut dyn FnMut(Bytes, Bytes),
    ) -> Result<(), BusError> {
        self.shared.fails(&self.me, "reading documents", |faults| faults.restore)?;
        self.shared.show(|(of, _)| of == topic);
        let mut found = Vec::new();
        self.alive()?.documents(topic, &mut |key, value| found.push((key, value)))?;
        self.give(found, each);
        Ok(())
    }

    fn documents_changed(&mut self, topic: &Topic) -> Result<bool, BusError> {
        // What does not show yet is not there for whoever only asks.
        self.alive()?.documents_changed(topic)
    }

    fn gaps(&mut self) -> Vec<Gap> {
        self.inner.as_mut().map(|inner| inner.gaps()).unwrap_or_default()
    }

    fn stood(&mut self, position: &mut Position) -> Result<Option<Gap>, BusError> {
        self.alive()?.stood(position)
    }

    fn settled(&mut self) -> Result<bool, BusError> {
        if self.shared.world().is_on_its_way(&self.me) {
            return Ok(false);
        }
        self.alive()?.settled()
    }

    fn group_done(&mut self) -> Result<bool, BusError> {
        let is_on_its_way = self.shared.world().is_on_its_way(&self.me);
        if !is_on_its_way && !self.shared.memory.is_behind(&self.me) {
            return Ok(true);
        }
        let now_ms = self.shared.world().now_ms;
        let since_ms = *self.others_since_ms.get_or_insert(now_ms);
        Ok(now_ms - since_ms > OTHERS_MS)
    }

    fn commit(mut self: Box<Self>, step: Step) -> Result<Box<dyn Session>, BusError> {
        self.put(step)?;
        Ok(self)
    }

    fn begin(mut self: Box<Self>, step: Step) -> Result<Box<dyn Session>, BusError> {
        if self.under_way.len() > AHEAD as usize {
            let name = self.me.name();
            return Err(BusError::Fatal(format!("{name}: more than {AHEAD} steps are ahead")));
        }
        self.under_way.push_back(UnderWay::Waits(Box::new(step)));
        self.some_are_lasting()?;
        Ok(self)
    }

    fn complete(&mut self) -> Result<(), BusError> {
        if self.under_way.front().is_some_and(UnderWay::waits) {
            self.put_together()?;
        }
        self.under_way.pop_front();
        Ok(())
    }
}

impl SimSession {
    /// Of the steps under way some are lasting before anybody waits for it.
    fn some_are_lasting(&mut self) -> Result<(), BusError> {
        while self.under_way.iter().any(UnderWay::waits) && self.shared.world().dice.in_1000(500) {
            self.put_together()?;
        }
        Ok(())
    }

    /// The first steps that wait share a transaction, one or some of them: they are lasting or lost together.
    fn put_together(&mut self) -> Result<(), BusError> {
        let waiting = self.under_way.iter().filter(|step| step.waits()).count();
        let mut share = 1 + self.shared.world().dice.below(waiting);
        let mut all = Step::default();
        for step in &mut self.under_way {
            if share == 0 || !step.waits() {
                continue;
            }
            share -= 1;
            let UnderWay::Waits(step) = std::mem::replace(step, UnderWay::Lasting) else {
                continue;
            };
            all.out.extend(step.out);
            all.state.extend(step.state);
            all.positions.extend(step.positions);
        }
        self.put(all)
    }

    fn put(&mut self, step: Step) -> Result<(), BusError> {
        let put = self.try_put(step);
        if put.is_err() {
            // No step becomes lasting before the one in front of it.
            self.under_way.clear();
        }
        put
    }

    fn try_put(&mut self, step: Step) -> Result<(), BusError> {
        self.me.check(&step, self.shared.memory.lanes())?;
        self.shared.fails(&self.me, "a commit", |faults| faults.commit)?;
        let Some(inner) = self.inner.take() else {
            return Err(BusError::Session(format!("{}: it is gone", self.me.name())));
        };
        let Step { out, state, positions, .. } = step;
        let sizes = (out.len(), state.len(), positions.len());
        self.inner = Some(inner.commit(Step { state, positions, ..Step::default() })?);
        self.shared.send(out.into_iter().map(sent).collect());
        self.shared.world().note(|| format!("{}: committed {sizes:?}", self.me.name()));
        self.shared.fails(&self.me, "the answer of a commit", |faults| faults.answer)
    }
}

impl Drop for SimSession {
    fn drop(&mut self) {
        // What was under way may become lasting all the same, and nobody is told.
        let _ = self.some_are_lasting();
        self.inner = None;
        self.shared.world().close(&self.me, self.number);
    }
}

fn said(wake: &Wake) -> String {
    match wake {
        Wake::Records(records) => format!("{} records", records.len()),
        other => format!("{other:?}"),
    }
}
