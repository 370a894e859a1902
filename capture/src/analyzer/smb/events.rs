//! What the single messages do to files and shares (Zeek's `smb1-main.zeek`, `smb2-main.zeek`).

use super::item::{Action, File, Times, Tree};
use super::script::Script;
use crate::analyzer::Cx;

/// The file is deleted when it is closed (MS-SMB2 2.2.13, `FILE_DELETE_ON_CLOSE`).
const DELETE_ON_CLOSE: u32 = 0x1000;
/// Name of the root of a share, whose own is empty.
const ROOT: &str = "<share_root>";

/// What an answer says of a file that is open now.
#[derive(Debug, Clone, Copy)]
pub struct Opened {
    pub fid: u64,
    pub size: u64,
    pub times: Times,
}

/// 1601 is the beginning of time there; Zeek passes over times up to 1970.
fn known(times: Times) -> Option<Times> {
    (super::item::time(times.modified) > 0).then_some(times)
}

impl Script {
    /// The name of a file tells that its share is one of pipes.
    pub fn guess_pipe(&mut self) {
        if let Some(tree) = self.tree_mut() {
            tree.path = Some("<unknown>".to_owned());
            tree.share = Some("PIPE".into());
        }
    }

    fn act(&mut self, action: Action) {
        if let Some(file) = self.file_mut() {
            file.action = Some(action);
        }
    }

    /// The file is in the share at hand.
    fn set_path(&mut self, only_new: bool) {
        let path = self.path().map(str::to_owned);
        let Some(file) = self.file_mut() else { return };
        if path.is_some() && path != file.path && !(only_new && file.path.is_some()) {
            file.path = path;
            file.change();
        }
    }

    /// Version 2: a share is asked for.
    pub fn connect2(&mut self, path: String) {
        if let Some(tree) = self.tree_mut() {
            tree.path = Some(path);
        }
    }

    /// Version 2: it is connected.
    pub fn connected2(&mut self, cx: &mut Cx<'_>, share: u8) {
        let share = match share {
            1 => "DISK".into(),
            2 => "PIPE".into(),
            3 => "PRINT".into(),
            other => format!("unknown-{other}").into(),
        };
        if let Some(tree) = self.tree_mut() {
            tree.share = Some(share);
        }
        self.log_tree(cx);
    }

    /// Version 2: it is left.
    pub fn disconnect2(&mut self, tid: u32) {
        if self.by_tid.remove(&tid).is_some() {
            self.tree = None;
            self.request.tree = None;
            self.keep_request();
        }
    }

    /// Version 1: a share is asked for.
    pub fn connect1(&mut self, cx: &Cx<'_>, path: String, service: String) {
        let tree = Tree { ts: cx.now, path: Some(path), ..Tree::default() };
        self.request.tree = Some(self.trees.add(Tree { service: Some(service), ..tree }));
        self.keep_request();
    }

    /// Version 1: it is connected.
    pub fn connected1(&mut self, cx: &mut Cx<'_>, tid: u16, service: String, native: String) {
        if let Some(at) = self.request.tree {
            if let Some(tree) = self.trees.get_mut(at) {
                if service == "IPC" {
                    tree.share = Some("PIPE".into());
                }
                tree.service = Some(service);
                if !native.is_empty() {
                    tree.native = Some(native);
                }
            }
            self.tree = Some(at);
            self.map_tree(tid.into(), at);
        }
        self.log_tree(cx);
    }

    fn share(&mut self) -> &str {
        self.tree_mut().map_or("DISK", |tree| tree.share())
    }

    /// Version 2: a file is to be opened.
    pub fn create2(&mut self, name: String, options: u32) {
        let name = if name.is_empty() { ROOT.to_owned() } else { name };
        let action = Action::Open.within(self.share());
        if let Some(file) = self.file_mut() {
            file.name = Some(name);
            file.action = Some(action);
            file.change();
        }
        self.request.options = options;
        self.keep_request();
    }

    /// Version 2: it is open.
    pub fn created2(&mut self, cx: &mut Cx<'_>, opened: Opened) {
        self.set_file(opened.fid);
        self.set_path(false);
        if let Some(file) = self.file_mut() {
            file.size = opened.size;
            file.times = known(opened.times).or(file.times);
            file.change();
        }
        self.log_file(cx);
        if self.request.options & DELETE_ON_CLOSE != 0 {
            self.delete2(cx, opened.fid, true);
        }
    }

    /// Version 2: a file is read or written.
    pub fn use2(&mut self, cx: &mut Cx<'_>, fid: u64, action: Action) {
        self.set_file(fid);
        let action = action.within(self.share());
        self.act(action);
        self.log_file(cx);
    }

    /// Version 2: its properties are set.
    pub fn attributes2(&mut self, cx: &mut Cx<'_>, fid: u64) {
        self.set_file(fid);
        self.act(Action::Attributes);
        self.log_file(cx);
    }

    /// Version 2: it gets another name.
    pub fn rename2(&mut self, cx: &mut Cx<'_>, fid: u64, name: String) {
        self.set_file(fid);
        if let Some(file) = self.file_mut() {
            if let Some(old) = file.name.replace(name) {
                file.prev_name = Some(old);
            }
            file.action = Some(Action::Rename);
            file.change();
        }
        self.log_file(cx);
    }

    /// Version 2: it is to be deleted, or not after all.
    pub fn delete2(&mut self, cx: &mut Cx<'_>, fid: u64, is_wanted: bool) {
        self.set_file(fid);
        if is_wanted {
            self.act(Action::Delete);
        }
        self.log_file(cx);
    }

    /// Version 2: it is closed.
    pub fn close2(&mut self, cx: &mut Cx<'_>, fid: u64) {
        self.set_file(fid);
        let action = Action::Close.within(self.share());
        self.act(action);
        self.closed(cx, fid);
    }

    /// Version 1: a file is to be opened.
    pub fn create1(&mut self, cx: &Cx<'_>, name: String) {
        let file = File { ts: cx.now, name: Some(name), ..File::default() };
        self.request.file = self.files.add(File { action: Some(Action::Open), ..file });
        self.keep_request();
        self.file = Some(self.request.file);
    }

    /// Version 1: it is open.
    pub fn created1(&mut self, cx: &mut Cx<'_>, opened: Opened) {
        self.map_file(opened.fid, self.request.file);
        self.file = Some(self.request.file);
        if let Some(file) = self.file_mut() {
            file.action = Some(Action::Open);
            file.size = opened.size;
            file.times = known(opened.times).or(file.times);
            file.change();
        }
        self.log_file(cx);
    }

    /// Version 1: a file is read or written.
    pub fn use1(&mut self, fid: u16, action: Action) {
        self.set_file(fid.into());
        self.act(action);
        self.set_path(true);
    }

    /// Version 1: it is closed.
    pub fn close1(&mut self, cx: &mut Cx<'_>, fid: u16) {
        self.set_file(fid.into());
        self.act(Action::Close);
        self.closed(cx, fid.into());
    }

    fn closed(&mut self, cx: &mut Cx<'_>, fid: u64) {
        self.set_path(false);
        self.by_fid.remove(&fid);
        self.log_file(cx);
        self.end_of_file(cx);
    }
}
