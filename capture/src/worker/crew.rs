//! The threads that share one input. What they have is taken from all of them at once when they are to end: one may wait
//! for another to read on, and that one for somebody to take its rows.

use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;

use super::{Flush, Worker};

/// How long to wait for one thread before another is looked at.
const PATIENCE: Duration = Duration::from_millis(10);

/// Threads at work on one input.
#[derive(Default)]
pub struct Crew(Vec<Worker>);

impl Crew {
    /// One more.
    pub fn push(&mut self, worker: Worker) {
        self.0.push(worker);
    }

    /// Tells all to end, and takes what they still have: that of the first, then of the second and so on.
    pub fn stop(&self) -> Vec<Flush> {
        for worker in &self.0 {
            worker.stop.store(true, Ordering::SeqCst);
        }
        let mut taken: Vec<Vec<Flush>> = self.0.iter().map(|_| Vec::new()).collect();
        let mut is_open = true;
        while std::mem::take(&mut is_open) {
            for (worker, taken) in self.0.iter().zip(&mut taken) {
                loop {
                    match worker.flushes.recv_timeout(PATIENCE) {
                        Ok(flush) => taken.push(flush),
                        Err(RecvTimeoutError::Timeout) => {
                            is_open = true;
                            break;
                        }
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                }
            }
        }
        taken.into_iter().flatten().collect()
    }

    /// Ends all; what they still have is lost.
    pub fn clear(&mut self) {
        self.stop();
        self.0.clear();
    }
}

impl Deref for Crew {
    type Target = [Worker];

    fn deref(&self) -> &[Worker] {
        &self.0
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.clear();
    }
}
