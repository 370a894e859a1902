//! A request to end, as all loops of a process see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

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
    pub(super) fn drain_requested(&self) -> bool {
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
