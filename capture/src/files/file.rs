//! One file on its way. Rules: Zeek's `src/file_analysis/File.cc`.

use std::sync::Arc;

use super::hash::{Digests, Hashers, Hashes};
use super::reassembly::{BLOCKS_MAX, Blocks, FILE_BYTES_MAX};
use crate::analyzer::FlowIds;
use crate::mime::{self, SNIFF_BYTES};

/// What a call tells of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// Its type, in the one call that finds it out by the content.
    pub mime: Option<&'static str>,
    /// What the analyzer said that it wants back.
    pub owner: u64,
    /// It ended in this call, or had before.
    pub is_over: bool,
}

/// A file.
#[derive(Debug, Default)]
pub struct File {
    pub fuid: String,
    pub source: &'static str,
    pub depth: u64,
    pub is_orig: bool,
    pub local_orig: Option<bool>,
    pub filename: Option<String>,
    pub parent: Option<String>,
    pub owner: u64,
    /// Flows that carried it.
    pub flows: Vec<Arc<FlowIds>>,
    /// Others may join in by its id.
    pub shared: bool,
    /// When it began, and when anything was last said of it.
    pub ts: i64,
    pub active: i64,
    pub mime: Option<&'static str>,
    pub size: Option<u64>,
    pub seen: u64,
    pub missing: u64,
    pub overflow: u64,
    /// Where the next byte in order belongs.
    at: u64,
    /// Its beginning, until its type is known.
    head: Vec<u8>,
    sniffed: bool,
    hashers: Option<Box<Hashers>>,
    hashed: Hashed,
    blocks: Option<Box<Blocks>>,
}

/// Whether the hash states have anything to say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Hashed {
    /// No byte was seen.
    #[default]
    Nothing,
    /// All bytes up to now.
    All,
    /// Some bytes are missing.
    Broken,
}

impl File {
    /// Makes it as new, keeping its room.
    pub fn reset(&mut self) {
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        let mut flows = std::mem::take(&mut self.flows);
        flows.clear();
        let mut fuid = std::mem::take(&mut self.fuid);
        fuid.clear();
        let mut hashers = self.hashers.take();
        if self.hashed != Hashed::Nothing
            && let Some(hashers) = &mut hashers
        {
            hashers.reset();
        }
        *self = File { fuid, head, flows, hashers, ..File::default() };
    }

    /// Sets a type that need not be looked for.
    pub fn set_mime(&mut self, name: &'static str) {
        self.mime = Some(name);
        self.sniffed = true;
    }

    /// Whether all of it has come.
    pub fn is_complete(&self) -> bool {
        self.size.is_some_and(|size| self.at >= size)
    }

    /// Bytes still to come, where that is known.
    pub fn left(&self) -> Option<u64> {
        self.size.map(|size| size.saturating_sub(self.at))
    }

    /// Bytes that wait for those before them.
    pub fn waiting(&self) -> usize {
        self.blocks.as_ref().map_or(0, |blocks| blocks.bytes())
    }

    /// Bytes at an offset, the next ones where none is said. No more than `room` bytes may wait for those
    /// before them. Tells the type if it has become known.
    pub fn chunk(
        &mut self,
        hashes: Hashes,
        offset: Option<u64>,
        mut data: &[u8],
        room: usize,
    ) -> Option<&'static str> {
        let offset = offset.unwrap_or(self.at);
        if let Ok(most) = usize::try_from(u64::MAX - offset) {
            data = data.get(..most).unwrap_or(data);
        }
        let mut told = None;
        let crowded =
            |blocks: &Blocks| blocks.bytes() > FILE_BYTES_MAX || blocks.len() > BLOCKS_MAX;
        if self.blocks.as_deref().is_some_and(crowded) {
            let hole = self.blocks.as_deref().and_then(Blocks::first);
            self.overflow += hole.map_or(0, |first| first.saturating_sub(self.at));
            told = self.flush(hashes, u64::MAX);
        }
        if offset > self.at {
            if data.len() > room {
                self.overflow += data.len() as u64;
            } else if !data.is_empty() {
                self.blocks.get_or_insert_default().insert(offset, data);
            }
            return told;
        }
        let old = usize::try_from(self.at - offset).unwrap_or(usize::MAX);
        if old > 0 && old >= data.len() {
            return told;
        }
        let data = data.get(old..).unwrap_or_default();
        let told = told.or_else(|| self.deliver_new(hashes, data));
        told.or_else(|| self.deliver_ready(hashes))
    }

    /// Delivers bytes at the place that is next, but for what waits already of them.
    fn deliver_new(&mut self, hashes: Hashes, data: &[u8]) -> Option<&'static str> {
        if self.waiting() == 0 {
            return self.deliver(hashes, data);
        }
        let at = self.at;
        self.blocks.get_or_insert_default().insert(at, data);
        None
    }

    fn deliver_ready(&mut self, hashes: Hashes) -> Option<&'static str> {
        let mut told = None;
        while let Some((_, piece)) = self.blocks.as_deref_mut().and_then(|b| b.take_at(self.at)) {
            let piece = self.deliver(hashes, &piece);
            told = told.or(piece);
        }
        told
    }

    /// Delivers what waits below a place, with the gaps between.
    fn flush(&mut self, hashes: Hashes, limit: u64) -> Option<&'static str> {
        let mut told = None;
        while let Some((from, piece)) =
            self.blocks.as_deref_mut().and_then(|blocks| blocks.take_below(limit))
        {
            if from > self.at {
                let gap = self.missed(from - self.at);
                told = told.or(gap);
            }
            let piece = self.deliver(hashes, &piece);
            told = told.or(piece);
        }
        told
    }

    /// The next bytes in order.
    fn deliver(&mut self, hashes: Hashes, data: &[u8]) -> Option<&'static str> {
        let mut told = None;
        if !self.sniffed {
            let room = SNIFF_BYTES.saturating_sub(self.head.len());
            self.head.extend_from_slice(data.get(..room).unwrap_or(data));
            if self.head.len() >= SNIFF_BYTES {
                told = self.sniff();
            }
        }
        if self.hashed != Hashed::Broken && !data.is_empty() && hashes != Hashes::NONE {
            self.hashed = Hashed::All;
            self.hashers.get_or_insert_default().update(hashes, data);
        }
        self.at += data.len() as u64;
        self.seen += data.len() as u64;
        told
    }

    /// So many bytes behind those in order were never seen.
    pub fn gap(&mut self, hashes: Hashes, len: u64) -> Option<&'static str> {
        let to = self.at.saturating_add(len);
        let told = self.flush(hashes, to);
        let gap = (to > self.at).then(|| self.missed(to - self.at)).flatten();
        let ready = self.deliver_ready(hashes);
        told.or(gap).or(ready)
    }

    fn missed(&mut self, len: u64) -> Option<&'static str> {
        let told = self.sniff();
        self.hashed = Hashed::Broken;
        self.at = self.at.saturating_add(len);
        self.missing = self.missing.saturating_add(len);
        told
    }

    /// Nothing more comes.
    pub fn end(&mut self, hashes: Hashes) -> Option<&'static str> {
        let told = self.flush(hashes, u64::MAX);
        let own = self.sniff();
        told.or(own)
    }

    /// Hashes of all bytes, where all were seen and there was one at all.
    pub fn digests(&mut self, hashes: Hashes) -> Digests {
        match &mut self.hashers {
            Some(hashers) if self.hashed == Hashed::All => hashers.finish(hashes),
            _ => Digests::default(),
        }
    }

    /// Tells the type by what was seen, once.
    fn sniff(&mut self) -> Option<&'static str> {
        if std::mem::replace(&mut self.sniffed, true) || self.head.is_empty() {
            return None;
        }
        self.mime = mime::detect(&self.head);
        self.mime
    }
}
