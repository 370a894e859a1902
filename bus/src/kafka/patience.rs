//! How long a broker is waited for: not for long once the process is to stop.

use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;

use crate::drive::Stop;

/// What is left of any patience when a stop is asked for: a broker that works needs less, and whoever stops a
/// process kills it after half a minute, as Kubernetes does.
const HURRY: Duration = Duration::from_secs(5);

/// How long librdkafka may hold on to one call: so soon a stop is seen.
const SLICE: Duration = Duration::from_millis(500);

/// A wait that has begun.
pub(super) struct Patience<'a> {
    until: Instant,
    /// Raised, it leaves [`HURRY`].
    stop: Option<&'a Stop>,
}

impl<'a> Patience<'a> {
    /// At most so long from now on.
    pub(super) fn new(most: Duration, stop: &'a Stop) -> Patience<'a> {
        Patience { until: Instant::now() + most, stop: Some(stop) }
    }

    /// What is left of it.
    pub(super) fn left(&mut self) -> Duration {
        let now = Instant::now();
        if self.stop.take_if(|stop| stop.requested()).is_some() {
            self.until = self.until.min(now + HURRY);
        }
        self.until.saturating_duration_since(now)
    }

    /// Whether nothing is left.
    pub(super) fn is_over(&mut self) -> bool {
        self.left().is_zero()
    }

    /// Makes a call that goes on where it was when it is made again, until it is through.
    pub(super) fn resume(
        &mut self,
        call: impl Fn(Duration) -> Result<(), KafkaError>,
    ) -> Result<(), KafkaError> {
        loop {
            let began = Instant::now();
            match call(SLICE.min(self.left())) {
                Err(KafkaError::Transaction(error)) if error.is_retriable() && !self.is_over() => {
                    // Where it did not wait itself.
                    std::thread::sleep(SLICE.saturating_sub(began.elapsed()).min(SLICE / 50));
                }
                done => return done,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_leaves_little_and_only_once() {
        let stop = Stop::new();
        let mut patience = Patience::new(HURRY * 9, &stop);
        assert!(patience.left() > HURRY * 8);
        stop.request();
        assert!(patience.left() <= HURRY);
        std::thread::sleep(Duration::from_millis(5));
        assert!(patience.left() < HURRY, "it is not begun anew");
        assert!(Patience::new(Duration::ZERO, &stop).is_over());
        assert!(Patience::new(HURRY / 2, &stop).left() <= HURRY / 2, "nor made longer");
    }
}
