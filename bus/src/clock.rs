//! The one door to wall-clock time. Logic runs on packet time; this is for ages and patience only.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Wall-clock time.
pub trait Clock: Send + Sync {
    /// Milliseconds since the epoch: to be shown, and to be held against what other machines say. It jumps when somebody
    /// sets the clock.
    fn now_ms(&self) -> i64;
    /// The same as it was when the process began, and what has passed since: never jumps, so that ages are right.
    fn steady_ms(&self) -> i64;
}

/// The machine's clock.
#[derive(Debug, Default)]
pub struct System;

impl Clock for System {
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX).saturating_add(wrong_by_ms())
    }

    fn steady_ms(&self) -> i64 {
        static BEGAN: OnceLock<(Instant, i64)> = OnceLock::new();
        let (began, at_ms) = BEGAN.get_or_init(|| (Instant::now(), self.now_ms()));
        at_ms.saturating_add(i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}

/// The variable that names a file which says by how many milliseconds the clock is wrong, as it stands at the moment:
/// for tests of clocks that jump, and so in debug builds alone.
#[cfg(debug_assertions)]
const WRONG_BY: &str = "TEST_CLOCK_WRONG_BY_MS";

#[cfg(debug_assertions)]
fn wrong_by_ms() -> i64 {
    static FILE: OnceLock<Option<std::path::PathBuf>> = OnceLock::new();
    let file = FILE.get_or_init(|| std::env::var_os(WRONG_BY).map(Into::into));
    let text = file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[cfg(not(debug_assertions))]
const fn wrong_by_ms() -> i64 {
    0
}

/// A clock that tests turn by hand.
#[derive(Debug, Default)]
pub struct Manual {
    passed_ms: AtomicI64,
    set_by_ms: AtomicI64,
}

impl Manual {
    /// Lets time pass.
    pub fn advance_ms(&self, by: i64) {
        self.passed_ms.fetch_add(by, Ordering::SeqCst);
    }

    /// Somebody sets the clock forward, or back.
    pub fn jump_ms(&self, by: i64) {
        self.set_by_ms.fetch_add(by, Ordering::SeqCst);
    }
}

impl Clock for Manual {
    fn now_ms(&self) -> i64 {
        self.steady_ms() + self.set_by_ms.load(Ordering::SeqCst)
    }

    fn steady_ms(&self) -> i64 {
        self.passed_ms.load(Ordering::SeqCst)
    }
}
