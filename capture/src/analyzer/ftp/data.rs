//! FTP's data connection: all that an end sends is one file (Zeek's `File_Analyzer`).

use crate::analyzer::{Analyzer, Cx, Dir};
use crate::files::{About, FileRef};

/// The analyzer of a data connection.
#[derive(Debug, Default)]
pub struct Data {
    files: [Option<FileRef>; 2],
}

impl Data {
    /// The file that an end sends. It begins anew under its id where nothing came for too long.
    fn file(&mut self, cx: &mut Cx<'_>, dir: Dir) -> FileRef {
        let file = &mut self.files[dir.index()];
        if let Some(file) = file.filter(|file| cx.file_is_open(*file)) {
            return file;
        }
        let is_orig = dir == Dir::Orig;
        let fuid = cx.fuid(&[b"ftp-data", &[u8::from(is_orig)]]);
        let about = About { source: "FTP_DATA", is_orig, ..About::default() };
        *file.insert(cx.file_begin(&fuid, about))
    }
}

impl Analyzer for Data {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        let file = self.file(cx, dir);
        cx.file_data(file, data);
    }

    fn gap(&mut self, cx: &mut Cx<'_>, dir: Dir, len: u64) {
        let file = self.file(cx, dir);
        cx.file_gap(file, len);
    }

    fn end(&mut self, _cx: &mut Cx<'_>, _dir: Dir) {}

    fn finish(&mut self, cx: &mut Cx<'_>) {
        for file in self.files.into_iter().flatten() {
            cx.file_end(file);
        }
    }
}
