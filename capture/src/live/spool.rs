//! Steps on disk while the bus does not take them: segments of checksummed entries, oldest first.
//!
//! A segment is [`MAGIC`], then for each entry its length and the CRC-32 of its bytes (four bytes each,
//! little-endian) and the bytes. An entry counts as spooled when it is synced (`fdatasync`): a kill, and
//! even a power cut, costs none of those. A new process never appends to an old segment; what a crash
//! left half written at a segment's end is cut there at the last good checksum.

use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::entry::{self, Entry, Outline};
use crate::position::Id;

/// What a segment begins with: name and version of the format.
const MAGIC: [u8; 8] = *b"weirspl1";
/// A segment is closed when it has grown to so many bytes: disk is freed by whole segments.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Length and checksum before an entry.
const FRAME: u64 = 8;

/// Why an entry is not spooled.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The limit is reached.
    #[error("it holds {0} bytes, as many as it may (capture.spool_max)")]
    Full(u64),
    /// The disk failed.
    #[error("{0}")]
    Disk(#[from] io::Error),
    /// It cannot be written at all.
    #[error("{0:#}")]
    Entry(anyhow::Error),
}

/// What was there at the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Entries found.
    pub entries: u64,
    /// Their rows.
    pub rows: u64,
    /// Bytes that were cut away or passed over, as they were no whole entry.
    pub bytes_lost: u64,
}

/// An entry read again and why records of it were left out, or what is lost and why.
pub type ReadAgain = Result<(Entry, Vec<String>), (Outline, anyhow::Error)>;

/// The spool of one source.
pub struct Spool {
    dir: PathBuf,
    max: u64,
    segments: VecDeque<Segment>,
    /// The last segment, while it is written.
    writer: Option<File>,
    used: u64,
    /// Held as long as the spool is.
    lock: File,
}

struct Segment {
    number: u64,
    /// Up to the last whole entry.
    bytes: u64,
    entries: VecDeque<Held>,
}

#[derive(Clone, Copy)]
struct Held {
    outline: Outline,
    at: u64,
    len: u64,
}

impl Spool {
    /// Opens a folder, which is made if need be, and finds what an earlier process left there.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where another process has it; else what the disk says.
    pub fn open(dir: &Path, max: u64) -> io::Result<(Spool, Recovered)> {
        fs::create_dir_all(dir)?;
        let lock = File::options().create(true).append(true).open(dir.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
            TryLockError::Error(error) => error,
        })?;
        let mut spool = Spool {
            dir: dir.to_owned(),
            max,
            segments: VecDeque::new(),
            writer: None,
            used: 0,
            lock,
        };
        let recovered = spool.recover()?;
        Ok((spool, recovered))
    }

    /// Notes how many lanes the topics have, for [`lanes`].
    ///
    /// # Errors
    /// What the disk says.
    pub fn note_lanes(&mut self, lanes: u32) -> io::Result<()> {
        self.lock.set_len(0)?;
        self.lock.write_all(lanes.to_string().as_bytes())?;
        self.lock.sync_data()
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.segments.iter().all(|segment| segment.entries.is_empty())
    }

    /// Rows held.
    pub fn rows(&self) -> u64 {
        self.held().map(|held| held.outline.rows).sum()
    }

    /// The newest entry.
    pub fn last(&self) -> Option<Outline> {
        self.segments.iter().rev().find_map(|segment| segment.entries.back()).map(|h| h.outline)
    }

    /// Adds an entry, which must be newer than all others. When this returns it is on disk.
    ///
    /// # Errors
    /// It is not spooled; a later one may be.
    pub fn append(&mut self, entry: &Entry) -> Result<(), SpoolError> {
        let bytes = entry.to_bytes().map_err(SpoolError::Entry)?;
        let len = u32::try_from(bytes.len()).map_err(|error| SpoolError::Entry(error.into()))?;
        if self.used + MAGIC.len() as u64 + FRAME + u64::from(len) > self.max {
            return Err(SpoolError::Full(self.used));
        }
        let mut frame = Vec::with_capacity(bytes.len() + FRAME as usize);
        frame.extend(len.to_le_bytes());
        frame.extend(crc32fast::hash(&bytes).to_le_bytes());
        frame.extend(bytes);
        self.room()?;
        let (Some(file), Some(segment)) = (&mut self.writer, self.segments.back_mut()) else {
            return Err(io::Error::other("no segment").into());
        };
        if let Err(error) = file.write_all(&frame).and_then(|()| file.sync_data()) {
            // What was written of it goes, and the next one begins a segment of its own.
            let _ = file.set_len(segment.bytes);
            self.close();
            return Err(error.into());
        }
        let at = segment.bytes + FRAME;
        segment.entries.push_back(Held { outline: entry.outline(), at, len: u64::from(len) });
        segment.bytes += frame.len() as u64;
        self.used += frame.len() as u64;
        Ok(())
    }

    /// The oldest entry after `given`, and why records of it were left out. One that cannot be read any
    /// more is given up and named.
    pub fn after(&mut self, given: Option<Id>, lanes: u32) -> Option<ReadAgain> {
        let is_next = |held: &&Held| given.is_none_or(|given| held.outline.id > given);
        let (path, held) = self.segments.iter().find_map(|segment| {
            let held = segment.entries.iter().find(is_next)?;
            Some((self.path(segment.number), *held))
        })?;
        let read = read(&path, held).map_err(anyhow::Error::from);
        let made = read.and_then(|bytes| Entry::from_bytes(&bytes, lanes));
        Some(made.map_err(|error| (held.outline, error)))
    }

    /// Entries up to this one are committed: their room is given back.
    pub fn release(&mut self, upto: Id) {
        self.forget(|id| id <= upto);
    }

    /// Gives up those at the front that are committed.
    pub fn forget(&mut self, is_done: impl Fn(Id) -> bool) {
        while let Some(segment) = self.segments.front_mut() {
            while segment.entries.front().is_some_and(|held| is_done(held.outline.id)) {
                segment.entries.pop_front();
            }
            if !segment.entries.is_empty() {
                return;
            }
            if self.segments.len() == 1 {
                self.close();
            } else {
                self.remove_front();
            }
        }
    }

    /// The last segment is not written any more; without entries it goes.
    fn close(&mut self) {
        self.writer = None;
        if self.segments.back().is_some_and(|segment| segment.entries.is_empty())
            && let Some(segment) = self.segments.pop_back()
        {
            self.remove(&segment);
        }
    }

    fn remove_front(&mut self) {
        if let Some(segment) = self.segments.pop_front() {
            self.remove(&segment);
        }
    }

    fn remove(&mut self, segment: &Segment) {
        self.used = self.used.saturating_sub(segment.bytes);
        let path = self.path(segment.number);
        // One that stays is passed over by the next start, as its entries are committed.
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!("cannot remove {}: {error}", path.display());
        }
    }

    /// Begins a segment where there is none to go on with.
    fn room(&mut self) -> io::Result<()> {
        if self.writer.is_some() && self.segments.back().is_some_and(|s| s.bytes < SEGMENT_BYTES) {
            return Ok(());
        }
        self.close();
        let mut number = self.segments.back().map_or(0, |segment| segment.number + 1);
        // One that could not be removed still has its name.
        while self.path(number).exists() {
            number += 1;
        }
        let path = self.path(number);
        let mut file = File::options().create_new(true).append(true).open(&path)?;
        let begun = file.write_all(&MAGIC).and_then(|()| File::open(&self.dir)?.sync_all());
        if let Err(error) = begun {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        let bytes = MAGIC.len() as u64;
        self.segments.push_back(Segment { number, bytes, entries: VecDeque::new() });
        self.used += bytes;
        self.writer = Some(file);
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:016x}.spool"))
    }

    fn held(&self) -> impl Iterator<Item = &Held> {
        self.segments.iter().flat_map(|segment| &segment.entries)
    }

    fn recover(&mut self) -> io::Result<Recovered> {
        let mut numbers = Vec::new();
        for found in fs::read_dir(&self.dir)? {
            let name = found?.file_name();
            let name = name.to_string_lossy();
            numbers
                .extend(name.strip_suffix(".spool").and_then(|n| u64::from_str_radix(n, 16).ok()));
        }
        numbers.sort_unstable();
        let mut recovered = Recovered::default();
        for number in numbers {
            let path = self.path(number);
            let last = self.last().map(|outline| outline.id);
            let (segment, lost) = scan(&path, number, last)?;
            if lost > 0 {
                tracing::warn!("{}: {lost} bytes are no whole entry and are cut", path.display());
                recovered.bytes_lost += lost;
                File::options().write(true).open(&path)?.set_len(segment.bytes)?;
            }
            recovered.entries += segment.entries.len() as u64;
            self.used += segment.bytes;
            if segment.entries.is_empty() {
                self.remove(&segment);
            } else {
                self.segments.push_back(segment);
            }
        }
        recovered.rows = self.rows();
        Ok(recovered)
    }
}

/// How many lanes the topics had when the spool in this folder was last opened with a broker at hand.
pub fn lanes(dir: &Path) -> Option<u32> {
    fs::read_to_string(dir.join("lock")).ok()?.parse().ok().filter(|lanes| *lanes > 0)
}

/// The whole entries of a segment, and how many bytes after them are none.
fn scan(path: &Path, number: u64, mut last: Option<Id>) -> io::Result<(Segment, u64)> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut reader = BufReader::new(file);
    let mut segment = Segment { number, bytes: 0, entries: VecDeque::new() };
    let mut magic = [0; MAGIC.len()];
    if length < MAGIC.len() as u64 || reader.read_exact(&mut magic).is_err() || magic != MAGIC {
        return Ok((segment, length));
    }
    segment.bytes = MAGIC.len() as u64;
    while let Some(bytes) = whole(&mut reader, length - segment.bytes)? {
        let Ok(outline) = entry::outline(&bytes) else { break };
        let (at, len) = (segment.bytes + FRAME, bytes.len() as u64);
        // One whose syncing failed was written again behind it.
        if last.is_none_or(|last| outline.id > last) {
            segment.entries.push_back(Held { outline, at, len });
            last = Some(outline.id);
        }
        segment.bytes = at + len;
    }
    let lost = length - segment.bytes;
    Ok((segment, lost))
}

/// The next entry, if there is a whole one in what is left of the file.
fn whole(reader: &mut impl io::Read, left: u64) -> io::Result<Option<Bytes>> {
    let Some(most) = left.checked_sub(FRAME) else { return Ok(None) };
    let (mut len, mut crc) = ([0; 4], [0; 4]);
    reader.read_exact(&mut len)?;
    reader.read_exact(&mut crc)?;
    let (len, crc) = (u32::from_le_bytes(len), u32::from_le_bytes(crc));
    if u64::from(len) > most {
        return Ok(None);
    }
    let mut bytes = vec![0; len as usize];
    reader.read_exact(&mut bytes)?;
    Ok((crc32fast::hash(&bytes) == crc).then(|| bytes.into()))
}

/// Reads one entry again and checks it again: disks rot.
fn read(path: &Path, held: Held) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(held.at - FRAME))?;
    whole(&mut file, held.len + FRAME)?.ok_or_else(|| io::Error::other("its checksum is wrong"))
}

#[cfg(test)]
mod tests;
