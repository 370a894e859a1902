//! The one door to wall-clock time. Logic runs on packet time; this is for ages and patience only.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Wall-clock time.
pub trait Clock: Send + Sync {
    /// Milliseconds since the epoch.
    fn now_ms(&self) -> i64;
}

/// The machine's clock.
#[derive(Debug, Default)]
pub struct System;

impl Clock for System {
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX).saturating_add(wrong_by_ms())
    }
}

/// The variable that names a file which says by how many milliseconds the clock is wrong, as it stands at the moment:
/// for tests of clocks that jump, and so in debug builds alone.
#[cfg(debug_assertions)]
const WRONG_BY: &str = "TEST_CLOCK_WRONG_BY_MS";

#[cfg(debug_assertions)]
fn wrong_by_ms() -> i64 {
    static FILE: std::sync::OnceLock<Option<std::path::PathBuf>> = std::sync::OnceLock::new();
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
pub struct Manual(AtomicI64);

impl Manual {
    /// Moves it forward.
    pub fn advance_ms(&self, by: i64) {
        self.0.fetch_add(by, Ordering::SeqCst);
    }
}

impl Clock for Manual {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}
