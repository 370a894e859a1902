//! Files that bodies are, as far as http.log tells of them: identifier, name, type by content. Source:
//! Zeek `src/file_analysis/File.cc` and `Manager.cc`, `base/protocols/http/files.zeek`.

use crate::mime::{self, SNIFF_BYTES};

/// Microseconds without data after which Zeek forgets a file (`default_file_timeout_interval`).
const IDLE: i64 = 120 * 1_000_000;

/// Files asked for by ranges that a flow remembers: a client that goes on to others has done with the
/// oldest.
const RANGED_MAX: usize = 16;

/// A body on its way.
#[derive(Debug, Default)]
pub struct File {
    /// Transaction that tells of it, by its depth.
    owner: u64,
    head: Vec<u8>,
    sniffed: bool,
    size: Option<u64>,
    at: u64,
    active: i64,
    check: i64,
}

/// What a file tells when its type is known: the transaction, and the type if any is.
pub type Sniffed = (u64, &'static str);

impl File {
    /// Begins a new file in the room of an old one.
    pub fn begin(&mut self, owner: u64, now: i64) {
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        *self =
            File { owner, head, active: now, check: now.saturating_add(IDLE), ..File::default() };
    }

    /// Sets how long the file is.
    pub fn set_size(&mut self, size: u64) {
        self.size = Some(size);
    }

    /// Whether all of it has been seen, where its size is known.
    pub fn is_complete(&self) -> bool {
        self.size.is_some_and(|size| self.at >= size)
    }

    /// Bytes still missing, where that is known.
    pub fn missing(&self) -> Option<u64> {
        self.size.map(|size| size.saturating_sub(self.at))
    }

    /// Where the next byte belongs.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Whether it was idle for too long by `now`: Zeek looks once an interval.
    pub fn is_idle(&mut self, now: i64) -> bool {
        while self.check <= now {
            if self.check.saturating_sub(self.active) >= IDLE {
                return true;
            }
            let Some(next) = self.check.checked_add(IDLE) else { break };
            self.check = next;
        }
        self.active = now;
        false
    }

    /// The next bytes. Tells the type when enough is seen.
    pub fn push(&mut self, data: &[u8]) -> Option<Sniffed> {
        self.at += data.len() as u64;
        if self.sniffed {
            return None;
        }
        let room = SNIFF_BYTES.saturating_sub(self.head.len()).min(data.len());
        self.head.extend_from_slice(data.get(..room).unwrap_or_default());
        if self.head.len() >= SNIFF_BYTES { self.sniff() } else { None }
    }

    /// Bytes that were never seen: no more comes to the beginning.
    pub fn gap(&mut self, len: u64) -> Option<Sniffed> {
        self.at += len;
        self.sniff()
    }

    /// Tells the type by what was seen, once.
    pub fn sniff(&mut self) -> Option<Sniffed> {
        if std::mem::replace(&mut self.sniffed, true) {
            return None;
        }
        mime::detect(&self.head).map(|name| (self.owner, name))
    }
}

/// Files asked for by ranges: pieces of one in many replies.
#[derive(Debug, Default)]
pub struct Ranged {
    files: Vec<(String, File)>,
}

impl Ranged {
    /// The file of this identifier, if it is still open.
    pub fn find(&mut self, id: &str, now: i64) -> Option<&mut File> {
        let at = self.files.iter().position(|(name, _)| name == id)?;
        if self.files.get_mut(at)?.1.is_idle(now) {
            self.files.remove(at);
            return None;
        }
        self.files.get_mut(at).map(|(_, file)| file)
    }

    /// Adds a file.
    pub fn insert(&mut self, id: String, file: File) {
        if self.files.len() >= RANGED_MAX {
            self.files.remove(0);
        }
        self.files.push((id, file));
    }

    /// Takes a file out.
    pub fn remove(&mut self, id: &str) -> Option<File> {
        let at = self.files.iter().position(|(name, _)| name == id)?;
        Some(self.files.remove(at).1)
    }
}
