//! Calls that librdkafka may not come back from.
//!
//! `rd_kafka_send_offsets_to_transaction` has a time limit, but hands the work to a request for the group's coordinator
//! that waits for a change of some broker's state once its question for the coordinator went to a broker that was
//! forgotten meanwhile (`_DESTROY_BROKER`; librdkafka 2.12). With all brokers well there is no such change, and the
//! call lasts for ever.

use std::sync::mpsc::channel;
use std::time::Duration;

/// How much longer than its own limit a call may take.
const GRACE: Duration = Duration::from_secs(2);

/// Makes a call on a thread of its own, with the time that it has. `None` where it did not come back: then the thread
/// stays, and what the call holds with it, until the process ends.
pub(super) fn within<T: Send + 'static>(
    limit: Duration,
    call: impl FnOnce(Duration) -> T + Send + 'static,
) -> Option<T> {
    let (sender, answer) = channel();
    let work = move || {
        // Nobody listens any more where it took too long.
        let _ = sender.send(call(limit));
    };
    std::thread::Builder::new().name("kafka-call".into()).spawn(work).ok()?;
    answer.recv_timeout(limit.saturating_add(GRACE)).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn an_answer_is_given_and_none_is_waited_for_in_vain() {
        assert_eq!(within(Duration::from_secs(5), |limit| limit.as_secs() + 1), Some(6));
        let began = Instant::now();
        let sleep = |_| std::thread::sleep(Duration::from_secs(60));
        assert_eq!(within(Duration::from_millis(10), sleep), None);
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    }
}
