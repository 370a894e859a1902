//! A disk that is full, or a quota that is used up: nothing that starting again would mend, so the sink waits
//! for room instead of failing.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// What there has to be more than was held when the disk was full: other rows have come meanwhile, and what was
/// in memory had no file yet.
const MORE_BYTES: u64 = 1 << 20;
/// After so long it is tried whatever the file system says: it does not know quotas, and less may do.
const TRIES_AFTER_MS: i64 = 30_000;

/// Since when, and what would end it.
#[derive(Debug)]
pub struct Full {
    since: Instant,
    needed: u64,
    /// When it was tried last, by the clock of the role; not known before the first question.
    tried_ms: Option<i64>,
}

impl Full {
    /// Full from now on, with so many bytes in files that were given up.
    pub fn new(held: u64) -> Full {
        Full { since: Instant::now(), needed: held.saturating_add(MORE_BYTES), tried_ms: None }
    }

    /// Still full when it was tried again.
    pub fn again(&mut self, held: u64) {
        self.needed = held.saturating_add(MORE_BYTES);
        self.tried_ms = None;
    }

    /// Whether to try, with so much room.
    pub fn is_over(&mut self, room: Option<u64>, now_ms: i64) -> bool {
        let tried_ms = *self.tried_ms.get_or_insert(now_ms);
        let waited = now_ms.saturating_sub(tried_ms);
        room.is_none_or(|room| room >= self.needed) || waited >= TRIES_AFTER_MS
    }

    /// It is over.
    pub fn say_over(&self, root: &Path) {
        let seconds = self.since.elapsed().max(Duration::from_secs(1)).as_secs();
        tracing::warn!(seconds, "there is room in {} again, files are written", root.display());
    }
}

/// Whether an error says that there is no room.
pub fn is_full(error: &anyhow::Error) -> bool {
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    let mut kinds = kinds.map(io::Error::kind);
    kinds.any(|kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn room_or_patience_ends_it() {
        let mut full = Full::new(10);
        assert!(!full.is_over(Some(MORE_BYTES), 1000));
        assert!(full.is_over(Some(MORE_BYTES + 10), 1000));
        assert!(full.is_over(None, 1000), "a file system that tells nothing is tried");
        assert!(!full.is_over(Some(0), 1000 + TRIES_AFTER_MS - 1));
        assert!(full.is_over(Some(0), 1000 + TRIES_AFTER_MS));
        full.again(0);
        assert!(!full.is_over(Some(0), 1000 + TRIES_AFTER_MS));
    }

    #[test]
    fn only_want_of_room_is_waited_for() {
        let of = |code| anyhow::Error::from(io::Error::from_raw_os_error(code)).context("writing");
        assert!(is_full(&of(28)) && is_full(&of(122)), "ENOSPC, EDQUOT");
        assert!(!is_full(&of(5)) && !is_full(&of(30)), "EIO, EROFS");
        let inside = io::Error::from_raw_os_error(28);
        let parquet = parquet::errors::ParquetError::External(Box::new(inside));
        assert!(is_full(&Err::<(), _>(parquet).context("a row group").unwrap_err()));
    }
}
