//! What comes of files and shares: bytes that go to files.log, and rows of smb_files.log and smb_mapping.log.

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::stream::{smb_files, smb_mapping};

use super::item::{File, Times, time};
use super::script::Script;
use crate::analyzer::{Cx, Dir};
use crate::config::SECOND;
use crate::files::{About, FileRef};

/// Rows that are remembered lest they are written again, and for how long (Zeek's `recent_files`).
const RECENT_MAX: usize = 1000;
const RECENT: i64 = 180 * SECOND;

impl Script {
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
            && !self.recent.is_first(ident, cx.now)
        {
            return;
        }
        let of = |wire: fn(&Times) -> u64| file.times.as_ref().map(wire).map(time);
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

/// What tells rows from others, with the time when each was last written or held back.
#[derive(Debug, Default)]
pub struct Recent(BTreeMap<String, i64>);

impl Recent {
    /// Whether this was not seen for a while; it is now.
    fn is_first(&mut self, ident: String, now: i64) -> bool {
        let seen = &mut self.0;
        if seen.len() >= RECENT_MAX {
            seen.retain(|_, at| now.saturating_sub(*at) < RECENT);
        }
        if seen.len() >= RECENT_MAX {
            seen.clear();
        }
        seen.insert(ident, now).is_none_or(|at| now.saturating_sub(at) >= RECENT)
    }
}
