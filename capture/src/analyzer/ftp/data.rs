//! FTP's data connection: all that an end sends is one file (Zeek's `File_Analyzer`), of which the control
//! connection is told.

use super::DATA_MIME_BYTES;
use crate::analyzer::{Analyzer, Cx, Dir};
use crate::expected::Ends;
use crate::files::{About, FileRef, Told};
use crate::mime;

/// The file that an end sends.
#[derive(Debug, Default)]
struct Sent {
    file: Option<FileRef>,
    /// The control connection that has heard of it.
    owner: Option<u64>,
}

/// The analyzer of a data connection.
#[derive(Debug, Default)]
pub struct Data {
    sides: [Sent; 2],
    /// What came first, of both ends, until it is long enough to tell its type.
    head: Vec<u8>,
    is_typed: bool,
}

fn ends(cx: &Cx<'_>) -> Ends {
    let tuple = &cx.ids.tuple;
    (tuple.orig_h, tuple.resp_h, tuple.resp_p)
}

impl Data {
    /// The file that an end sends. It begins anew under its id where nothing came for too long.
    fn file(&mut self, cx: &mut Cx<'_>, dir: Dir) -> FileRef {
        let sent = &mut self.sides[dir.index()];
        if let Some(file) = sent.file.filter(|file| cx.file_is_open(*file)) {
            return file;
        }
        let is_orig = dir == Dir::Orig;
        let fuid = cx.fuid(&[b"ftp-data", &[u8::from(is_orig)]]);
        let about = About { source: "FTP_DATA", is_orig, ..About::default() };
        sent.owner = cx.expected.owner(ends(cx));
        if let Some(owner) = sent.owner {
            cx.expected.file_of(owner, &fuid);
        }
        *sent.file.insert(cx.file_begin(&fuid, about))
    }

    /// The type, once the file's own content tells.
    fn told(&mut self, cx: &mut Cx<'_>, dir: Dir, told: Told) {
        if let (Some(owner), Some(mime)) = (self.sides[dir.index()].owner, told.mime) {
            cx.expected.type_of(owner, mime);
        }
    }

    /// The type by what came first, which Zeek asks for apart from the file's.
    fn tell_type(&mut self, cx: &mut Cx<'_>) {
        self.is_typed = true;
        let head = std::mem::take(&mut self.head);
        if let Some(owner) = cx.expected.owner(ends(cx)) {
            cx.expected.type_of(owner, mime::detect(&head).unwrap_or("<unknown>"));
        }
    }
}

impl Analyzer for Data {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        if !self.is_typed {
            let room = DATA_MIME_BYTES.saturating_sub(self.head.len());
            self.head.extend_from_slice(data.get(..room).unwrap_or(data));
            if self.head.len() >= DATA_MIME_BYTES {
                self.tell_type(cx);
            }
        }
        let file = self.file(cx, dir);
        let told = cx.file_data(file, data);
        self.told(cx, dir, told);
    }

    fn gap(&mut self, cx: &mut Cx<'_>, dir: Dir, len: u64) {
        let file = self.file(cx, dir);
        let told = cx.file_gap(file, len);
        self.told(cx, dir, told);
    }

    fn end(&mut self, _cx: &mut Cx<'_>, _dir: Dir) {}

    fn finish(&mut self, cx: &mut Cx<'_>) {
        if !self.is_typed && !self.head.is_empty() {
            self.tell_type(cx);
        }
        for dir in [Dir::Orig, Dir::Resp] {
            if let Some(file) = self.sides[dir.index()].file {
                let told = cx.file_end(file);
                self.told(cx, dir, told);
            }
        }
    }
}
