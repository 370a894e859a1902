//! What a connection's messages are about: the request at hand, its file and its share; the rows and
//! files that come of them. Follows Zeek's `base/protocols/smb`, whose handlers see the events of one
//! message in order, so that what Zeek does not know here is not known either.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use model::stream::{smb_files, smb_mapping};

use super::item::{File, Pool, Tree, time};
use crate::analyzer::{Cx, Dir};
use crate::config::SECOND;
use crate::files::{About, FileRef};

/// Requests without an answer, files that are open and shares that are known, each; beyond that all are forgotten.
/// Zeek forgets the first two when a thousand requests wait (`SMB::max_pending_messages`).
const KNOWN_MAX: usize = 1000;
/// Rows that are remembered lest they are written again, and for how long (Zeek's `recent_files`).
const RECENT_MAX: usize = 1000;
const RECENT: i64 = 180 * SECOND;

/// A request that waits for its answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request {
    pub file: u32,
    pub tree: Option<u32>,
    /// How it opens a file (version 2).
    pub options: u32,
}

/// The connection.
#[derive(Debug, Default)]
pub struct Script {
    pub files: Pool<File>,
    pub trees: Pool<Tree>,
    pub requests: BTreeMap<u64, Request>,
    pub by_fid: BTreeMap<u64, u32>,
    pub by_tid: BTreeMap<u32, u32>,
    /// The request at hand, and what it is about.
    pub message: u64,
    pub request: Request,
    pub file: Option<u32>,
    pub tree: Option<u32>,
    recent: BTreeMap<String, i64>,
}

impl Script {
    /// A message of version 2.
    pub fn message2(
        &mut self,
        cx: &mut Cx<'_>,
        dir: Dir,
        message: u64,
        tid: u32,
        is_pending: bool,
    ) {
        self.find_request(cx, message);
        let tree = match self.request.tree {
            _ if tid == 0 => self.trees.add(Tree { ts: cx.now, ..Tree::default() }),
            Some(tree) => {
                self.map_tree(tid, tree);
                tree
            }
            None => self.tree_of(cx, tid),
        };
        self.request.tree = Some(tree);
        self.keep_request();
        self.file = Some(self.request.file);
        self.tree = Some(tree);
        if dir == Dir::Resp && !is_pending {
            self.requests.remove(&message);
        }
        self.tidy();
    }

    /// A message of version 1.
    pub fn message1(&mut self, cx: &mut Cx<'_>, dir: Dir, message: u16, tid: u16) {
        let tree = self.tree_of(cx, tid.into());
        self.tree = Some(tree);
        let is_new = !self.requests.contains_key(&message.into());
        self.find_request(cx, message.into());
        if is_new {
            self.request.tree = Some(tree);
            self.keep_request();
        }
        if dir == Dir::Resp {
            self.requests.remove(&message.into());
        }
        self.tidy();
    }

    fn find_request(&mut self, cx: &Cx<'_>, message: u64) {
        self.message = message;
        if let Some(request) = self.requests.get(&message) {
            self.request = *request;
            return;
        }
        if self.requests.len() >= KNOWN_MAX {
            self.requests.clear();
        }
        let file = self.new_file(cx);
        self.request = Request { file, ..Request::default() };
        self.requests.insert(message, self.request);
    }

    /// Writes the request at hand back to those that wait, if it does.
    pub fn keep_request(&mut self) {
        if let Some(request) = self.requests.get_mut(&self.message) {
            *request = self.request;
        }
    }

    /// A file of which nothing is known.
    pub fn new_file(&mut self, cx: &Cx<'_>) -> u32 {
        self.files.add(File { ts: cx.now, ..File::default() })
    }

    fn tree_of(&mut self, cx: &Cx<'_>, tid: u32) -> u32 {
        if let Some(tree) = self.by_tid.get(&tid) {
            return *tree;
        }
        let tree = self.trees.add(Tree { ts: cx.now, ..Tree::default() });
        self.map_tree(tid, tree);
        tree
    }

    /// A share has this id.
    pub fn map_tree(&mut self, tid: u32, tree: u32) {
        if self.by_tid.len() >= KNOWN_MAX && !self.by_tid.contains_key(&tid) {
            self.by_tid.clear();
        }
        self.by_tid.insert(tid, tree);
    }

    /// A file has this id.
    pub fn map_file(&mut self, fid: u64, file: u32) {
        if self.by_fid.len() >= KNOWN_MAX && !self.by_fid.contains_key(&fid) {
            self.by_fid.clear();
        }
        self.by_fid.insert(fid, file);
    }

    /// The request is about the file of this id: that of the request itself, unless there is one.
    pub fn set_file(&mut self, fid: u64) {
        match self.by_fid.get(&fid) {
            Some(file) => self.request.file = *file,
            None => self.map_file(fid, self.request.file),
        }
        self.keep_request();
        self.file = Some(self.request.file);
    }

    /// Forgets requests and files, as the connection has too many.
    pub fn forget(&mut self) {
        self.requests.clear();
        self.by_fid.clear();
    }

    /// The file at hand.
    pub fn file_mut(&mut self) -> Option<&mut File> {
        self.files.get_mut(self.file?)
    }

    /// The share at hand.
    pub fn tree_mut(&mut self) -> Option<&mut Tree> {
        self.trees.get_mut(self.tree?)
    }

    /// Name of the share at hand.
    pub fn path(&self) -> Option<&str> {
        self.trees.get(self.tree?)?.path.as_deref()
    }

    /// Frees what nothing points to any more, once that may be half of all.
    fn tidy(&mut self) {
        let requests = || self.requests.values().chain([&self.request]);
        if self.files.len() > 2 * (self.requests.len() + self.by_fid.len()) + 16 {
            let mut used: BTreeSet<u32> = requests().map(|request| request.file).collect();
            used.extend(self.by_fid.values().chain(&self.file));
            self.files.keep(&used);
        }
        if self.trees.len() > 2 * (self.requests.len() + self.by_tid.len()) + 16 {
            let mut used: BTreeSet<u32> = requests().filter_map(|request| request.tree).collect();
            used.extend(self.by_tid.values().chain(&self.tree));
            self.trees.keep(&used);
        }
    }

    /// Bytes of the file at hand.
    pub fn data(&mut self, cx: &mut Cx<'_>, dir: Dir, offset: u64, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let Some(open) = self.open(cx, dir) else { return };
        if cx.file_chunk(open, offset, data).is_over {
            self.log_file(cx);
        }
    }

    /// The file that bytes of the one at hand go to, which may begin now.
    fn open(&mut self, cx: &mut Cx<'_>, dir: Dir) -> Option<FileRef> {
        let file = self.file_mut()?;
        if cx.file_is_open(file.open) {
            return Some(file.open);
        }
        let fuid = handle(cx, file)?;
        let name = file.name.as_deref().map(str::as_bytes);
        let is_orig = dir == Dir::Orig;
        let about = About { source: "SMB", is_orig, filename: name, ..About::default() };
        let (open, is_new) = cx.file_join(&fuid, about);
        file.open = open;
        if is_new {
            file.fuid = Some(fuid);
            if file.size > 0 {
                cx.file_size(open, file.size);
            }
            self.log_file(cx);
        }
        Some(open)
    }

    /// The file at hand is closed.
    pub fn end_of_file(&mut self, cx: &mut Cx<'_>) {
        let Some(file) = self.file_mut() else { return };
        let open = if cx.file_is_open(file.open) {
            Some(file.open)
        } else {
            handle(cx, file).and_then(|fuid| cx.file_find(&fuid))
        };
        let Some(open) = open.filter(|open| cx.file_is_open(*open)) else { return };
        cx.file_end(open);
        self.log_file(cx);
    }

    /// Writes what was done to the file at hand, if that is logged and was not lately.
    pub fn log_file(&mut self, cx: &mut Cx<'_>) {
        let Some(file) = self.file.and_then(|at| self.files.get(at)) else { return };
        let Some(action) = file.action.and_then(|action| action.logged()) else { return };
        let (Some(name), ids) = (file.name.as_deref(), cx.ids) else { return };
        if let Some(ident) = ident(file, action)
            && !is_first(&mut self.recent, ident, cx.now)
        {
            return;
        }
        let of = |wire: fn(&super::item::Times) -> u64| file.times.as_ref().map(wire).map(time);
        let row = smb_files::Row {
            ts: file.ts,
            uid: &ids.uid,
            orig_h: ids.tuple.orig_h,
            orig_p: ids.tuple.orig_p,
            resp_h: ids.tuple.resp_h,
            resp_p: ids.tuple.resp_p,
            fuid: file.fuid.as_deref(),
            action: Some(action),
            path: file.path.as_deref(),
            name: Some(name),
            size: file.size,
            prev_name: file.prev_name.as_deref(),
            modified: of(|times| times.modified),
            accessed: of(|times| times.accessed),
            created: of(|times| times.created),
            changed: of(|times| times.changed),
            community_id: Some(&ids.community_id),
            ..smb_files::Row::unset()
        };
        let mark = cx.mark();
        cx.out.smb_files.push(mark, row);
    }

    /// Writes the share at hand.
    pub fn log_tree(&self, cx: &mut Cx<'_>) {
        let Some(tree) = self.tree.and_then(|at| self.trees.get(at)) else { return };
        let ids = cx.ids;
        let row = smb_mapping::Row {
            ts: tree.ts,
            uid: &ids.uid,
            orig_h: ids.tuple.orig_h,
            orig_p: ids.tuple.orig_p,
            resp_h: ids.tuple.resp_h,
            resp_p: ids.tuple.resp_p,
            path: tree.path.as_deref(),
            service: tree.service.as_deref(),
            native_file_system: tree.native.as_deref(),
            share_type: tree.share(),
            community_id: Some(&ids.community_id),
            ..smb_mapping::Row::unset()
        };
        let mark = cx.mark();
        cx.out.smb_mapping.push(mark, row);
    }
}

/// The id of a file by the hosts, its share, its name and when it was last written: whoever reads the
/// same reads the same file.
fn handle(cx: &Cx<'_>, file: &mut File) -> Option<String> {
    if file.handle.is_none() {
        if file.name.is_none() && file.path.is_none() {
            return None;
        }
        let server = match cx.ids.tuple.resp_h {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        let path = file.path.as_deref().unwrap_or_default();
        let name = file.name.as_deref().unwrap_or_default();
        let written = file.times.map_or(0, |times| times.modified);
        let parts: [&[u8]; 5] =
            [b"smb", &server, path.as_bytes(), name.as_bytes(), &written.to_be_bytes()];
        file.handle = Some(cx.shared_fuid(&parts));
    }
    file.handle.clone()
}

/// What tells a row from others; those of files whose times are not known are all written.
fn ident(file: &File, action: &str) -> Option<String> {
    let times = file.times?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (fuid, name, path) = (text(&file.fuid), text(&file.name), text(&file.path));
    let mut parts: Vec<&[u8]> = vec![action.as_bytes(), fuid.as_bytes()];
    parts.extend([name.as_bytes(), path.as_bytes()]);
    let numbers = [file.size, times.modified, times.created, times.changed].map(u64::to_be_bytes);
    parts.extend(numbers.iter().map(<[u8; 8]>::as_slice));
    Some(model::id::uid('R', &parts))
}

/// Whether this was not seen for a while; it is now.
fn is_first(recent: &mut BTreeMap<String, i64>, ident: String, now: i64) -> bool {
    if recent.len() >= RECENT_MAX {
        recent.retain(|_, at| now.saturating_sub(*at) < RECENT);
        if recent.len() >= RECENT_MAX {
            recent.clear();
        }
    }
    recent.insert(ident, now).is_none_or(|at| now.saturating_sub(at) >= RECENT)
}
