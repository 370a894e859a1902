//! Calls that librdkafka may not come back from, and clients that do not end.
//!
//! `rd_kafka_send_offsets_to_transaction` has a time limit, but hands the work to a request for the group's coordinator
//! that waits for a change of some broker's state once its question for the coordinator went to a broker that was
//! forgotten meanwhile (`_DESTROY_BROKER`; librdkafka 2.12). With all brokers well there is no such change, and the
//! call lasts for ever.
//!
//! A client is ended by a call without any limit: a consumer's waits until its group, its partitions and every broker's
//! thread are done, a producer's for those threads. A group that is closed already never answers what it is still told,
//! and whoever tells it waits for ever. Nothing of ours may wait for that without end, least of all a stop, or who holds a
//! lock that others want.

use std::ops::Deref;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::patience::Patience;

/// How much longer than its own limit a call may take.
const GRACE: Duration = Duration::from_secs(2);

/// How soon a stop is seen meanwhile.
const LOOK: Duration = Duration::from_millis(200);

/// How long a client may take to end: one that is well needs less than one.
const PARTING: Duration = Duration::from_secs(3);

/// A client, which is ended on a thread of its own when it is dropped.
pub(super) struct Kept<T: Send + 'static> {
    what: &'static str,
    client: Option<T>,
}

impl<T: Send + 'static> Kept<T> {
    pub(super) fn new(what: &'static str, client: T) -> Kept<T> {
        Kept { what, client: Some(client) }
    }
}

impl<T: Send + 'static> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.client.as_ref().expect("only a drop takes it")
    }
}

impl<T: Send + 'static> Drop for Kept<T> {
    /// Waits for its end, so that what comes next of the same name meets nothing of it; in vain not for long. What is
    /// left then is fenced by the next of its name, and gone with the process.
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        let (sender, ended) = channel();
        let work = move || {
            drop(client);
            // Nobody listens any more where it took too long.
            let _ = sender.send(());
        };
        let thread = std::thread::Builder::new().name("kafka-end".into()).spawn(work);
        if thread.is_ok() && ended.recv_timeout(PARTING) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("{} does not end within {PARTING:?} and is left to itself", self.what);
        }
    }
}

/// Makes a call on a thread of its own, with the time that it has. `None` where it did not come back in time: then the
/// thread stays, and what the call holds with it, until the process ends.
pub(super) fn within<T: Send + 'static>(
    most: Duration,
    patience: &mut Patience<'_>,
    call: impl FnOnce(Duration) -> T + Send + 'static,
) -> Option<T> {
    let limit = most.min(patience.left());
    let (sender, answer) = channel();
    let work = move || {
        // Nobody listens any more where it took too long.
        let _ = sender.send(call(limit));
    };
    std::thread::Builder::new().name("kafka-call".into()).spawn(work).ok()?;
    let until = Instant::now() + limit + GRACE;
    loop {
        match answer.recv_timeout(LOOK) {
            Ok(answer) => return Some(answer),
            Err(RecvTimeoutError::Timeout) if Instant::now() < until && !patience.is_over() => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::drive::Stop;

    #[test]
    fn an_answer_is_given_and_none_is_waited_for_in_vain() {
        let (stop, minute) = (Stop::new(), Duration::from_secs(60));
        let mut patience = Patience::new(minute, &stop);
        let answer = within(Duration::from_secs(5), &mut patience, |limit| limit.as_secs() + 1);
        assert_eq!(answer, Some(6));
        let began = Instant::now();
        let sleep = move |_| std::thread::sleep(minute);
        assert_eq!(within(Duration::from_millis(10), &mut patience, sleep), None);
        assert!(began.elapsed() < minute / 2, "{:?}", began.elapsed());
    }

    /// A client whose end takes so long.
    struct Ends(Duration, Arc<AtomicBool>);

    impl Drop for Ends {
        fn drop(&mut self) {
            std::thread::sleep(self.0);
            self.1.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn the_end_of_a_client_is_waited_for_but_not_for_ever() {
        for (takes, ends) in [(PARTING / 30, true), (PARTING * 20, false)] {
            let (ended, began) = (Arc::new(AtomicBool::new(false)), Instant::now());
            drop(Kept::new("a client", Ends(takes, Arc::clone(&ended))));
            assert_eq!(ended.load(Ordering::SeqCst), ends);
            assert!(began.elapsed() < PARTING * 10, "{:?}", began.elapsed());
        }
    }

    #[test]
    fn a_stop_leaves_it_little_time() {
        let (stop, minute) = (Stop::new(), Duration::from_secs(60));
        let mut patience = Patience::new(minute, &stop);
        let asked = stop.clone();
        let (began, sleep) = (Instant::now(), move |_| {
            asked.request();
            std::thread::sleep(minute);
        });
        assert_eq!(within(minute, &mut patience, sleep), None);
        assert!(began.elapsed() < minute / 2, "{:?}", began.elapsed());
    }
}
