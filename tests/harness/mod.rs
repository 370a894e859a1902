//! What the tests share.

pub mod agree;
pub mod cluster;
pub mod duckdb;
pub mod kafka;
pub mod logs;
pub mod packets;
pub mod random;
pub mod weir;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything may take: tests wait for events and not for time, but not for ever.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// The checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A capture of `tests/traces`.
pub fn trace(name: &str) -> String {
    let path = root().join("tests/traces").join(name);
    assert!(path.exists(), "there is no {}", path.display());
    text(&path)
}

/// The captures that `mixed.pcap` was divided into.
pub fn split() -> [String; 3] {
    [0, 1, 2].map(|part| trace(&format!("split/mixed-{part}.pcap")))
}

/// A folder that is gone when the test is.
pub fn folder() -> TempDir {
    tempfile::Builder::new().prefix("weir-test-").tempdir().expect("a temporary folder")
}

/// A path as an argument.
pub fn text(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// Files below a folder whose names end so, in order.
pub fn files(dir: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else { return found };
    for entry in entries {
        let path = entry.expect("an entry of a folder").path();
        if path.is_dir() {
            found.extend(files(&path, end));
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Looks until it is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let from = Instant::now();
    while !is_so() {
        assert!(from.elapsed() < PATIENCE, "waited {PATIENCE:?} for: {what}");
        std::thread::sleep(LOOK);
    }
}
