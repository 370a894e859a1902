//! What a sink has done, for people and for metrics.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use crate::entry::Entry;

/// So many files are remembered by name; a sink that runs for months has more.
const FILES_KEPT_MAX: usize = 4096;

/// A published file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSum {
    /// Where it lies.
    pub path: PathBuf,
    /// The stream.
    pub stream: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
}

/// What a sink has done since it started. All numbers are of committed steps only, so that
/// `rows_in = rows_out + rows_dead` holds whatever was read twice.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Rows read.
    pub rows_in: u64,
    /// Rows in committed files.
    pub rows_out: u64,
    /// Rows in dead letters.
    pub rows_dead: u64,
    /// Records sent to the dead letters.
    pub dead_letters: u64,
    /// Records that retention took before they were read.
    pub records_gone: u64,
    /// Files committed, and files under their names; these differ after a failure only.
    pub files_committed: u64,
    /// See above.
    pub files_published: u64,
    /// Files that an earlier run committed and that were found under neither name.
    pub files_missing: u64,
    /// How often it paused, as the disk was full.
    pub pauses: u64,
    /// Bytes of published files.
    pub bytes: u64,
    /// Rows in committed files by stream.
    pub rows: BTreeMap<&'static str, u64>,
    /// The newest published files, oldest first.
    pub files: VecDeque<FileSum>,
}

impl Summary {
    pub(crate) fn published(&mut self, path: PathBuf, entry: &Entry) {
        self.files_published += 1;
        self.bytes += entry.bytes;
        if self.files.len() == FILES_KEPT_MAX {
            self.files.pop_front();
        }
        let (stream, rows, bytes) = (entry.stream.clone(), entry.rows, entry.bytes);
        self.files.push_back(FileSum { path, stream, rows, bytes });
    }
}
