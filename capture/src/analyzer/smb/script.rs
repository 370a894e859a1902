//! What a connection's messages are about: the request at hand, its file and its share. Follows Zeek's `base/protocols/smb`, whose handlers see the events of one
//! message in order, so that what Zeek does not know here is not known either.

use std::collections::{BTreeMap, BTreeSet};

use super::item::{File, Pool, Tree};
use super::rows::Recent;
use crate::analyzer::{Cx, Dir};

/// Requests without an answer and shares that are known, each; beyond that all are forgotten. Zeek forgets
/// requests and files when a thousand requests wait (`SMB::max_pending_messages`).
const KNOWN_MAX: usize = 1000;
/// Files that are open: Zeek has no limit, and a busy server holds many open for one client.
const FILES_MAX: usize = 4096;

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
    /// Rows that were written lately.
    pub recent: Recent,
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
        if self.by_fid.len() >= FILES_MAX && !self.by_fid.contains_key(&fid) {
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

    /// Forgets requests and files, as too many of `what` wait.
    pub fn forget(&mut self, cx: &mut Cx<'_>, what: &str) {
        let (files, trees, requests) = (self.by_fid.len(), self.by_tid.len(), self.requests.len());
        let counts = format!(
            "state={what} fid_map={files} tid_map={trees} pending_cmds={requests} pipe_map=0"
        );
        cx.weird("SMB_discarded_messages_state", Some(&counts), Some("SMB2"));
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
}
