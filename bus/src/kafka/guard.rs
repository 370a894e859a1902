//! Calls that librdkafka may not come back from.
//!
//! `rd_kafka_send_offsets_to_transaction` has a time limit, but hands the work to a request for the group's coordinator
//! that waits for a change of some broker's state once its question for the coordinator went to a broker that was
//! forgotten meanwhile (`_DESTROY_BROKER`; librdkafka 2.12). With all brokers well there is no such change, and the
//! call lasts for ever.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::patience::Patience;

/// How much longer than its own limit a call may take.
const GRACE: Duration = Duration::from_secs(2);

/// How soon a stop is seen meanwhile.
const LOOK: Duration = Duration::from_millis(200);

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
