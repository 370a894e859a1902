//! What is known of a connection: which trees are pipes, what requests asked, what is inside.

use std::collections::{BTreeMap, BTreeSet};

use super::script::Script;
use crate::analyzer::dce_rpc::Pipe;
use crate::analyzer::{Cx, Dir, gssapi, ntlm};

/// Requests that are remembered until they are answered (Zeek's `SMB::max_pending_messages`); beyond
/// that all are forgotten. Trees that are pipes are bounded alike.
const PENDING_MAX: usize = 1000;
/// Pipes open at once; beyond that all are forgotten. Zeek has 1000 (`SMB::max_dce_rpc_analyzers`), but
/// each may keep fragments of more than a megabyte.
const PIPES_MAX: usize = 100;
/// Names of pipes that make their tree one, if its kind was not seen (Zeek's `SMB::pipe_filenames`).
const PIPE_NAMES: &[&str] =
    &["spoolss", "winreg", "samr", "srvsvc", "netdfs", "lsarpc", "wkssvc", "MsFteWds"];

/// The connection.
#[derive(Default)]
pub struct State {
    /// Files and shares.
    pub script: Script,
    gssapi: gssapi::Inside,
    ntlm: ntlm::Inside,
    pipes: BTreeMap<u64, Pipe>,
    pipe_trees: BTreeSet<u32>,
    /// By message: the tree of a request, and the file that it reads, with the offset, or controls.
    trees: BTreeMap<u64, u32>,
    reads: BTreeMap<u64, (u64, u64)>,
    /// Offsets of reads of version 1.
    reads1: BTreeMap<u16, u64>,
    controls: BTreeMap<u64, u64>,
    /// Transactions of version 1 that are of a pipe.
    transactions: BTreeMap<u16, bool>,
}

/// Remembers something of a message. Says whether all others had to be forgotten.
fn remember<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: V) -> bool {
    let is_full = map.len() >= PENDING_MAX;
    if is_full {
        map.clear();
    }
    map.insert(key, value);
    is_full
}

impl State {
    /// A token that authenticates. NTLM may come without anything around it.
    pub fn token(&mut self, cx: &mut Cx<'_>, token: &[u8]) {
        if token.len() < 8 {
            return;
        }
        if token.starts_with(ntlm::MAGIC) {
            self.ntlm.feed(cx, token);
        } else {
            self.gssapi.feed(cx, token);
        }
    }

    /// Bytes in a pipe.
    pub fn pipe(&mut self, cx: &mut Cx<'_>, dir: Dir, file: u64, data: &[u8]) {
        if !self.pipes.contains_key(&file) && self.pipes.len() >= PIPES_MAX {
            cx.weird("SMB_discarded_dce_rpc_analyzers", None, Some("SMB"));
            self.pipes.clear();
        }
        self.pipes.entry(file).or_default().feed(cx, dir, data);
    }

    /// A pipe is closed, if it is one.
    pub fn close(&mut self, file: u64) {
        self.pipes.remove(&file);
    }

    /// Whether a tree is of pipes.
    pub fn is_pipe(&self, tree: u32) -> bool {
        self.pipe_trees.contains(&tree)
    }

    /// A tree is of pipes.
    pub fn set_pipe(&mut self, tree: u32) {
        if self.pipe_trees.len() < PENDING_MAX {
            self.pipe_trees.insert(tree);
        }
    }

    /// A tree is gone.
    pub fn unset_pipe(&mut self, tree: u32) {
        self.pipe_trees.remove(&tree);
    }

    /// A file of this name is opened in a tree: text, or UTF-16.
    pub fn opens(&mut self, tree: u32, name: &[u8], is_wide: bool) {
        let is = |pipe: &&&str| {
            let name = name.strip_suffix(&[0]).filter(|_| !is_wide).unwrap_or(name);
            if is_wide {
                let wide = pipe.bytes().flat_map(|byte| [byte, 0]);
                let name = name.strip_suffix(&[0, 0]).unwrap_or(name);
                wide.eq(name.iter().copied())
            } else {
                name == pipe.as_bytes()
            }
        };
        if !self.is_pipe(tree) && PIPE_NAMES.iter().find(is).is_some() {
            self.set_pipe(tree);
            self.script.guess_pipe();
        }
    }

    /// A request in a tree.
    pub fn request_in(&mut self, cx: &mut Cx<'_>, message: u64, tree: u32) {
        if remember(&mut self.trees, message, tree) {
            self.script.forget(cx, "tree");
        }
    }

    /// The tree that an answer's request was in; `keep` says that another answer follows.
    pub fn tree_of(&mut self, message: u64, keep: bool) -> u32 {
        taken(&mut self.trees, message, keep).unwrap_or(0)
    }

    /// A file is read.
    pub fn reads(&mut self, cx: &mut Cx<'_>, message: u64, file: u64, offset: u64) {
        if remember(&mut self.reads, message, (file, offset)) {
            self.script.forget(cx, "read");
        }
    }

    /// A file is read, in version 1.
    pub fn reads1(&mut self, message: u16, offset: u64) {
        remember(&mut self.reads1, message, offset);
    }

    /// The offset of bytes that come, in version 1.
    pub fn read1_of(&mut self, message: u16) -> u64 {
        self.reads1.remove(&message).unwrap_or(0)
    }

    /// The file whose bytes come, and their offset.
    pub fn read_of(&mut self, message: u64, keep: bool) -> (u64, u64) {
        taken(&mut self.reads, message, keep).unwrap_or_default()
    }

    /// A file is controlled.
    pub fn controls(&mut self, cx: &mut Cx<'_>, message: u64, file: u64) {
        if remember(&mut self.controls, message, file) {
            self.script.forget(cx, "ioctl");
        }
    }

    /// The file that an answer is of.
    pub fn control_of(&mut self, message: u64) -> u64 {
        taken(&mut self.controls, message, false).unwrap_or(0)
    }

    /// A transaction of version 1 begins.
    pub fn transacts(&mut self, message: u16, is_pipe: bool) {
        remember(&mut self.transactions, message, is_pipe);
    }

    /// Whether an answered transaction is of a pipe.
    pub fn was_pipe(&mut self, message: u16) -> bool {
        self.transactions.remove(&message).unwrap_or(false)
    }
}

fn taken<V: Copy>(map: &mut BTreeMap<u64, V>, message: u64, keep: bool) -> Option<V> {
    if keep { map.get(&message).copied() } else { map.remove(&message) }
}
