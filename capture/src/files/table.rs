//! The files that a thread has open: their places, their timeouts, their limits.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use model::text;

use super::About;
use super::file::{File, Told};
use super::row;
use super::x509;
use crate::analyzer::FlowIds;
use crate::config::{Config, SECOND, SHARDS};
use crate::out::Out;

/// Time without a word of a file after which it is over (Zeek's `default_file_timeout_interval`).
pub const IDLE: i64 = 120 * SECOND;
/// Files open at once in a virtual shard; the oldest goes first. With its beginning a file takes 5 KB: 330 MB
/// in all shards.
const SHARD_FILES_MAX: usize = 1024;
/// Files open at once that one flow began; the flow's oldest goes first. Only ranges and shares have more than
/// one or two.
const FLOW_FILES_MAX: usize = 128;
/// Bytes that may wait for those before them in all files of a virtual shard: 256 MB in all shards.
const SHARD_WAITING_MAX: usize = 4 * 1024 * 1024;
/// Flows that one file tells of, a row each.
const JOINED_MAX: usize = 1024;
/// Places that are dead before the list of timeouts is gone through: files end long before.
const STALE_MAX: usize = 1024;

/// Files of a virtual shard that ended without their analyzer, whose types are kept for it; the oldest goes first.
const UNTOLD_MAX: usize = 1024;

/// A file that an analyzer carries; the default one is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct FileRef {
    /// Place, from 1.
    at: u32,
    /// Which of the files that had this place.
    serial: u32,
}

#[derive(Debug, Default)]
struct Slot {
    serial: u32,
    open: bool,
    file: File,
}

/// What is open in a virtual shard: limits are a shard's, so that threads make no difference.
#[derive(Debug, Default)]
struct Shard {
    /// In the order in which they began.
    open: Vec<FileRef>,
    waiting: usize,
    /// Those of [`Files::untold`], in the order in which they ended; some were told meanwhile.
    untold: VecDeque<FileRef>,
}

/// The files of a thread.
pub struct Files {
    config: Arc<Config>,
    /// No file begins.
    is_off: bool,
    slots: Vec<Slot>,
    free: Vec<u32>,
    shards: Vec<Shard>,
    /// Files that others may join, by virtual shard and id.
    shared: HashMap<(u8, String), FileRef>,
    /// Types that were found when files ended, of which nobody has heard: their analyzers will ask.
    untold: HashMap<FileRef, Told>,
    /// When each file is looked at next; they all have the same patience.
    looks: VecDeque<(i64, FileRef)>,
    /// Certificates read lately.
    pub certificates: x509::Cache,
    /// Files that were ended to make room.
    pub evicted: u64,
}

impl Files {
    /// None open.
    pub fn new(config: Arc<Config>) -> Files {
        Files {
            config,
            is_off: false,
            slots: Vec::new(),
            free: Vec::new(),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            shared: HashMap::new(),
            untold: HashMap::new(),
            looks: VecDeque::new(),
            certificates: x509::Cache::default(),
            evicted: 0,
        }
    }

    /// None, and none will ever be.
    pub fn none(config: Arc<Config>) -> Files {
        Files { is_off: true, ..Files::new(config) }
    }

    /// Files open.
    pub fn open(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Bytes that wait for those before them.
    pub fn waiting(&self) -> usize {
        self.shards.iter().map(|shard| shard.waiting).sum()
    }

    /// An open file.
    pub fn get(&self, file: FileRef) -> Option<&File> {
        let slot = self.slots.get((file.at as usize).checked_sub(1)?)?;
        (slot.open && slot.serial == file.serial).then_some(&slot.file)
    }

    fn get_mut(&mut self, file: FileRef) -> Option<&mut File> {
        let slot = self.slots.get_mut((file.at as usize).checked_sub(1)?)?;
        (slot.open && slot.serial == file.serial).then_some(&mut slot.file)
    }

    /// Whether it has begun and is not over.
    pub fn is_open(&self, file: FileRef) -> bool {
        self.get(file).is_some()
    }

    /// The open file of this id that this flow may join.
    pub fn find(&self, ids: &FlowIds, fuid: &str) -> Option<FileRef> {
        if self.shared.is_empty() {
            return None;
        }
        self.shared.get(&(ids.shard(), fuid.to_owned())).copied()
    }

    /// Begins a file.
    pub fn begin(
        &mut self,
        out: &mut Out,
        now: i64,
        ids: &Arc<FlowIds>,
        fuid: &str,
        about: About<'_>,
        shared: bool,
    ) -> FileRef {
        if self.is_off {
            return FileRef::default();
        }
        let shard = ids.shard();
        self.make_room(out, now, shard, ids.order);
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let Some(slot) = self.slots.get_mut(at as usize) else { return FileRef::default() };
        slot.open = true;
        let made = FileRef { at: at + 1, serial: slot.serial };
        let file = &mut slot.file;
        file.reset();
        file.fuid.push_str(fuid);
        file.source = about.source;
        file.depth = about.depth;
        file.is_orig = about.is_orig;
        file.parent = about.parent.map(str::to_owned);
        file.ts = now;
        file.shared = shared;
        if let Some(mime) = about.mime {
            file.set_mime(mime);
        }
        self.join(made, now, ids, about);
        if shared {
            self.shared.insert((shard, fuid.to_owned()), made);
        }
        if let Some(shard) = self.shards.get_mut(usize::from(shard)) {
            shard.open.push(made);
        }
        self.look_later(now, made);
        made
    }

    /// A flow carries a file. Says whether that is new.
    pub fn join(&mut self, file: FileRef, now: i64, ids: &Arc<FlowIds>, about: About<'_>) -> bool {
        let config = self.config.clone();
        let Some(file) = self.get_mut(file) else { return false };
        file.active = now;
        let known = file.flows.iter().any(|flow| flow.tuple == ids.tuple);
        if known || file.flows.len() >= JOINED_MAX {
            return false;
        }
        file.flows.push(ids.clone());
        file.owner = about.owner;
        if let Some(name) = about.filename {
            file.filename = Some(text::from_wire(name).into_owned());
        }
        if !config.local_nets.is_empty() {
            let sender = if file.is_orig { ids.tuple.orig_h } else { ids.tuple.resp_h };
            file.local_orig = Some(config.local_nets.contains(sender));
        }
        true
    }

    /// Bytes of a file, the next ones where no offset is said.
    pub fn data(
        &mut self,
        out: &mut Out,
        now: i64,
        at: FileRef,
        offset: Option<u64>,
        data: &[u8],
    ) -> Told {
        let hashes = self.config.hashes;
        let Some(file) = self.get(at) else { return self.over(at) };
        let shard = file.flows.first().map_or(0, |ids| usize::from(ids.shard()));
        let before = file.waiting();
        let waiting = self.shards.get(shard).map_or(0, |shard| shard.waiting);
        let room = SHARD_WAITING_MAX.saturating_sub(waiting);
        let Some(file) = self.get_mut(at) else { return OVER };
        file.active = now;
        let mime = file.chunk(hashes, offset, data, room);
        let (owner, after, complete) = (file.owner, file.waiting(), file.is_complete());
        if let Some(shard) = self.shards.get_mut(shard) {
            shard.waiting = (shard.waiting + after).saturating_sub(before);
        }
        let told = Told { mime, owner, is_over: false };
        if complete { self.end_with(told, out, now, at) } else { told }
    }

    /// Bytes of a file that were never seen.
    pub fn gap(&mut self, now: i64, at: FileRef, len: u64) -> Told {
        let hashes = self.config.hashes;
        let Some(file) = self.get_mut(at) else { return self.over(at) };
        file.active = now;
        let before = file.waiting();
        let mime = file.gap(hashes, len);
        let (owner, after) = (file.owner, file.waiting());
        let shard = file.flows.first().map_or(0, |ids| usize::from(ids.shard()));
        if let Some(shard) = self.shards.get_mut(shard) {
            shard.waiting = (shard.waiting + after).saturating_sub(before);
        }
        Told { mime, owner, is_over: false }
    }

    /// How many bytes a file has.
    pub fn set_size(&mut self, out: &mut Out, now: i64, at: FileRef, size: u64) -> Told {
        let Some(file) = self.get_mut(at) else { return self.over(at) };
        file.active = now;
        file.size = Some(size);
        let told = Told { mime: None, owner: file.owner, is_over: false };
        if file.is_complete() { self.end_with(told, out, now, at) } else { told }
    }

    fn end_with(&mut self, told: Told, out: &mut Out, now: i64, at: FileRef) -> Told {
        let end = self.end(out, now, at, false);
        Told { mime: told.mime.or(end.mime), ..end }
    }

    /// A file is over: its rows are written.
    pub fn end(&mut self, out: &mut Out, now: i64, at: FileRef, timed_out: bool) -> Told {
        let hashes = self.config.hashes;
        let Some(file) = self.get_mut(at) else { return self.over(at) };
        let before = file.waiting();
        let told = Told { mime: file.end(hashes), owner: file.owner, is_over: true };
        row::write(out, now, file, hashes, timed_out);
        let shard = file.flows.first().map_or(0, |ids| ids.shard());
        file.flows.clear();
        if file.shared {
            let fuid = std::mem::take(&mut file.fuid);
            self.shared.remove(&(shard, fuid));
        }
        if let Some(shard) = self.shards.get_mut(usize::from(shard)) {
            shard.waiting = shard.waiting.saturating_sub(before);
            if let Some(i) = shard.open.iter().position(|open| *open == at) {
                shard.open.remove(i);
            }
        }
        if let Some(slot) = self.slots.get_mut((at.at as usize).saturating_sub(1)) {
            slot.open = false;
            slot.serial = slot.serial.wrapping_add(1);
            self.free.push(at.at.saturating_sub(1));
        }
        told
    }

    /// What an analyzer is told of a file that is no more.
    fn over(&mut self, file: FileRef) -> Told {
        let untold = if self.untold.is_empty() { None } else { self.untold.remove(&file) };
        untold.unwrap_or(OVER)
    }

    /// A file is over which its analyzer knows nothing of: its type is kept until that asks.
    fn end_untold(&mut self, out: &mut Out, now: i64, at: FileRef, timed_out: bool) {
        let begun_by = self.get(at).and_then(|file| file.flows.first());
        let shard = begun_by.map_or(0, |ids| usize::from(ids.shard()));
        let told = self.end(out, now, at, timed_out);
        let Some(shard) = self.shards.get_mut(shard).filter(|_| told.mime.is_some()) else {
            return;
        };
        self.untold.insert(at, told);
        shard.untold.push_back(at);
        let excess = shard.untold.len() > UNTOLD_MAX;
        if let Some(oldest) = shard.untold.pop_front_if(|_| excess) {
            self.untold.remove(&oldest);
        }
    }

    /// Ends a file where there are too many.
    fn make_room(&mut self, out: &mut Out, now: i64, shard: u8, flow: u64) {
        let Some(shard) = self.shards.get(usize::from(shard)) else { return };
        if shard.open.len() < FLOW_FILES_MAX {
            return;
        }
        let is_of_flow = |file: &&FileRef| {
            let began = self.get(**file).and_then(|file| file.flows.first());
            began.is_some_and(|ids| ids.order == flow)
        };
        let mine = shard.open.iter().filter(is_of_flow);
        let oldest = match mine.clone().count() {
            count if count >= FLOW_FILES_MAX => mine.clone().next(),
            _ if shard.open.len() >= SHARD_FILES_MAX => shard.open.first(),
            _ => None,
        };
        if let Some(oldest) = oldest.copied() {
            self.evicted += 1;
            self.end_untold(out, now, oldest, false);
        }
    }

    fn look_later(&mut self, now: i64, file: FileRef) {
        self.looks.push_back((now.saturating_add(IDLE), file));
        if self.looks.len() > 2 * self.open() + STALE_MAX {
            let mut looks = std::mem::take(&mut self.looks);
            looks.retain(|(_, file)| self.is_open(*file));
            self.looks = looks;
        }
    }

    /// Whether [`Files::expire`] would look at one.
    #[inline]
    pub fn is_due(&self, now: i64) -> bool {
        self.looks.front().is_some_and(|(at, _)| *at <= now)
    }

    /// Ends the files that nothing was said of for too long. As in Zeek, each is looked at once in that time, when
    /// the first packet after it comes.
    pub fn expire(&mut self, out: &mut Out, now: i64) {
        while self.is_due(now) {
            let Some((at, look)) = self.looks.pop_front() else { return };
            let Some(file) = self.get(look) else { continue };
            if now.saturating_sub(file.active) >= IDLE {
                self.end_untold(out, at, look, true);
            } else {
                self.looks.push_back((now.saturating_add(IDLE), look));
            }
        }
    }

    /// The capture is over, and so is every file.
    pub fn finish(&mut self, out: &mut Out, now: i64) {
        for at in 0..self.slots.len() as u32 {
            let serial = self.slots.get(at as usize).map_or(0, |slot| slot.serial);
            self.end(out, now, FileRef { at: at + 1, serial }, true);
        }
    }
}

/// A file that is no more.
const OVER: Told = Told { mime: None, owner: 0, is_over: true };
