//! Steps of a session that wait to be committed, in their order. A session's producer has one transaction at a time, and
//! one that follows at once on another waits for the broker to be through with it: steps that come meanwhile share the
//! next.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::transaction::Proof;
use crate::codec::Encoded;
use crate::drive::AHEAD;
use crate::{BusError, Outgoing};

/// Steps that share a transaction at most: as many as may be under way at all.
const STEPS_MAX: usize = AHEAD as usize + 1;

/// Bytes of the steps that share a transaction at most; one that is larger has its own. What a transaction costs is little
/// beside so many, and a slow broker has them well within the time that it may stay open.
const BYTES_MAX: usize = 16 << 20;

/// A step as it is sent.
pub(super) struct Packed {
    pub(super) records: Vec<(Outgoing, Vec<Encoded>)>,
    /// `None` for who reads nothing.
    pub(super) proof: Option<Proof>,
}

impl Packed {
    fn bytes(&self) -> usize {
        let parts = self.records.iter().flat_map(|(_, parts)| parts);
        parts.map(|part| part.payload.as_ref().map_or(0, bytes::Bytes::len)).sum()
    }
}

/// Says what became of a step.
pub(super) type Answer = Sender<Result<(), BusError>>;

struct Waiting {
    number: u64,
    /// `None` until it is packed.
    packed: Option<Packed>,
    answer: Answer,
}

#[derive(Default)]
struct Inner {
    steps: VecDeque<Waiting>,
    /// Number of the next step.
    next: u64,
    /// Some thread is committing.
    is_busy: bool,
    /// A step failed: those behind it do too.
    has_failed: bool,
}

/// The line.
#[derive(Default)]
pub(super) struct Line(Mutex<Inner>);

impl Line {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step takes its place; tells its number. Behind one that failed there is none: nobody answers.
    fn join(&self, answer: Answer) -> u64 {
        let mut inner = self.inner();
        let number = inner.next;
        inner.next += 1;
        if !inner.has_failed {
            inner.steps.push_back(Waiting { number, packed: None, answer });
        }
        number
    }

    /// A step is packed. Whoever finds nobody at it commits what is first in the line, and what comes meanwhile.
    fn packed(
        &self,
        number: u64,
        packed: Packed,
        commit: &mut dyn FnMut(&[Packed]) -> Result<(), BusError>,
    ) {
        if let Some(step) = self.inner().steps.iter_mut().find(|step| step.number == number) {
            step.packed = Some(packed);
        }
        while let Some((steps, answers)) = self.take() {
            let turn = Turn { line: self, answers: Some(answers) };
            let done = commit(&steps);
            turn.over(done);
        }
    }

    /// A step cannot be packed: it fails, and so do those behind it.
    fn failed(&self, number: u64, error: BusError) {
        let mut inner = self.inner();
        let place = inner.steps.iter().position(|step| step.number == number);
        // Not there if one before it has failed: then it is answered.
        let Some(place) = place else { return };
        let mut lost = inner.steps.split_off(place);
        inner.has_failed = true;
        drop(inner);
        if let Some(first) = lost.pop_front() {
            // Nobody listens any more where the session is gone.
            let _ = first.answer.send(Err(error));
        }
    }

    /// The steps that are committed next, together; `None` if that is somebody else's, or the first is not packed.
    fn take(&self) -> Option<(Vec<Packed>, Vec<Answer>)> {
        let mut inner = self.inner();
        if inner.is_busy {
            return None;
        }
        let (mut steps, mut answers, mut bytes) = (Vec::new(), Vec::new(), 0);
        while steps.len() < STEPS_MAX
            && let Some(packed) = inner.steps.front().and_then(|step| step.packed.as_ref())
        {
            bytes += packed.bytes();
            if bytes > BYTES_MAX && !steps.is_empty() {
                break;
            }
            let Some(Waiting { packed: Some(packed), answer, .. }) = inner.steps.pop_front() else {
                break;
            };
            steps.push(packed);
            answers.push(answer);
        }
        inner.is_busy = !steps.is_empty();
        inner.is_busy.then_some((steps, answers))
    }
}

/// A step's place in the line. Where nobody comes to say what became of it, it has failed, and those behind it need not wait.
pub(super) struct Place {
    line: Arc<Line>,
    number: u64,
    /// Somebody came.
    is_told: bool,
}

impl Place {
    /// Takes the next one.
    pub(super) fn join(line: &Arc<Line>, answer: Answer) -> Place {
        Place { number: line.join(answer), line: Arc::clone(line), is_told: false }
    }

    /// As [`Line::packed`].
    pub(super) fn packed(
        mut self,
        packed: Packed,
        commit: &mut dyn FnMut(&[Packed]) -> Result<(), BusError>,
    ) {
        // It may wait for somebody else's commit from here on.
        self.is_told = true;
        self.line.packed(self.number, packed, commit);
    }

    /// As [`Line::failed`].
    pub(super) fn failed(mut self, error: BusError) {
        self.is_told = true;
        self.line.failed(self.number, error);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_told {
            return;
        }
        let broke_off = BusError::Session("a step broke off before it was sent".into());
        self.line.failed(self.number, broke_off);
    }
}

/// The turn of whoever commits. Where it does not come to its end, no step behind it may be committed.
struct Turn<'a> {
    line: &'a Line,
    answers: Option<Vec<Answer>>,
}

impl Turn<'_> {
    fn over(mut self, done: Result<(), BusError>) {
        let answers = self.answers.take().unwrap_or_default();
        let mut inner = self.line.inner();
        inner.is_busy = false;
        if done.is_err() {
            inner.has_failed = true;
            // Whoever waits for them finds that they broke off.
            inner.steps.clear();
        }
        drop(inner);
        let mut done = Some(done);
        for answer in answers {
            // They are lasting together, or lost together: the first says why.
            let Some(said) = done.take() else { continue };
            done = said.is_ok().then_some(Ok(()));
            let _ = answer.send(said);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.answers.is_none() {
            return;
        }
        let mut inner = self.line.inner();
        (inner.is_busy, inner.has_failed) = (false, true);
        inner.steps.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    fn packed(bytes: usize) -> Packed {
        let payload = Some(vec![0; bytes].into());
        let parts = vec![Encoded { payload, headers: Vec::new() }];
        let out = Outgoing::document(crate::topic::METRICS, 0, "k".into(), None);
        Packed { records: vec![(out, parts)], proof: None }
    }

    fn joined(line: &Line) -> (u64, Receiver<Result<(), BusError>>) {
        let (answers, answer) = channel();
        (line.join(answers), answer)
    }

    fn fine(answer: &Receiver<Result<(), BusError>>) -> bool {
        matches!(answer.try_recv(), Ok(Ok(())))
    }

    #[test]
    fn steps_that_wait_share_a_transaction_in_their_order() {
        let line = Line::default();
        let steps: Vec<_> = (0..7).map(|_| joined(&line)).collect();
        // Not in the order that they are packed in: the first is packed last.
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for n in [3, 1, 2, 6, 4, 5] {
            line.packed(n, packed(n as usize), &mut |_| panic!("before the first"));
        }
        line.packed(0, packed(0), &mut |steps| {
            groups.push(steps.iter().map(Packed::bytes).collect());
            Ok(())
        });
        assert_eq!(groups, [vec![0, 1, 2, 3], vec![4, 5, 6]]);
        assert!(steps.iter().all(|(_, answer)| fine(answer)));
    }

    #[test]
    fn a_transaction_is_bounded_in_bytes() {
        let line = Line::default();
        let answers: Vec<_> = (0..4).map(|_| joined(&line).1).collect();
        let mut groups = Vec::new();
        for (n, bytes) in [(3, 1), (2, 1), (1, BYTES_MAX)] {
            line.packed(n, packed(bytes), &mut |_| panic!("before the first"));
        }
        line.packed(0, packed(BYTES_MAX + 1), &mut |steps| {
            groups.push(steps.len());
            Ok(())
        });
        assert_eq!(groups, [1, 1, 2]);
        assert!(answers.iter().all(fine));
    }

    #[test]
    fn steps_that_share_are_lost_together_and_so_are_those_behind() {
        let line = Line::default();
        let answers: Vec<_> = (0..4).map(|_| joined(&line).1).collect();
        line.packed(1, packed(1), &mut |_| panic!("before the first"));
        line.packed(0, packed(1), &mut |steps| {
            assert_eq!(steps.len(), 2);
            Err(BusError::Session("no broker".into()))
        });
        assert!(
            matches!(answers[0].try_recv(), Ok(Err(BusError::Session(why))) if why == "no broker")
        );
        line.packed(2, packed(1), &mut |_| panic!("behind one that failed"));
        let (late, answer) = joined(&line);
        line.packed(late, packed(1), &mut |_| panic!("behind one that failed"));
        assert!(answers[1..].iter().chain([&answer]).all(|answer| answer.try_recv().is_err()));
    }

    #[test]
    fn a_step_that_cannot_be_packed_takes_those_behind_it_along() {
        let line = Line::default();
        let answers: Vec<_> = (0..3).map(|_| joined(&line).1).collect();
        line.packed(2, packed(1), &mut |_| panic!("before the first"));
        line.failed(1, BusError::Fatal("too large".into()));
        let mut groups = Vec::new();
        line.packed(0, packed(1), &mut |steps| {
            groups.push(steps.len());
            Ok(())
        });
        assert_eq!(groups, [1]);
        assert!(fine(&answers[0]) && answers[2].try_recv().is_err());
        assert!(matches!(answers[1].try_recv(), Ok(Err(BusError::Fatal(_)))));
    }

    #[test]
    fn a_step_that_waits_for_the_commit_of_another_keeps_its_place() {
        let line = Arc::new(Line::default());
        let (answers, first) = channel();
        let place = Place::join(&line, answers);
        let (answers, second) = channel();
        let mut next = Some(Place::join(&line, answers));
        let mut groups = Vec::new();
        place.packed(packed(1), &mut |steps| {
            if let Some(next) = next.take() {
                next.packed(packed(2), &mut |_| panic!("another is at it"));
            }
            groups.push(steps.len());
            Ok(())
        });
        assert_eq!(groups, [1, 1]);
        assert!(fine(&first) && fine(&second));
    }

    #[test]
    fn a_step_that_broke_off_before_it_was_packed_takes_those_behind_it_along() {
        let line = Arc::new(Line::default());
        let (answers, answer) = channel();
        let place = Place::join(&line, answers);
        let (behind, late) = joined(&line);
        line.packed(behind, packed(1), &mut |_| panic!("before the first"));
        let breaks_off = || -> Packed { panic!("on purpose") };
        let broken = std::thread::spawn(move || place.packed(breaks_off(), &mut |_| Ok(())));
        assert!(broken.join().is_err());
        assert!(matches!(answer.try_recv(), Ok(Err(BusError::Session(_)))));
        assert!(matches!(late.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected)));
    }

    #[test]
    fn nothing_follows_on_a_commit_that_broke_off() {
        let line = Line::default();
        let answers: Vec<_> = (0..2).map(|_| joined(&line).1).collect();
        std::thread::scope(|scope| {
            let broken = scope.spawn(|| line.packed(0, packed(1), &mut |_| panic!("on purpose")));
            assert!(broken.join().is_err());
        });
        line.packed(1, packed(1), &mut |_| panic!("behind one that broke off"));
        let (late, answer) = joined(&line);
        line.packed(late, packed(1), &mut |_| panic!("behind one that broke off"));
        assert!(answers.iter().chain([&answer]).all(|answer| answer.try_recv().is_err()));
    }
}
