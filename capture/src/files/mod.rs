//! File analysis: one place where every protocol's files are typed, hashed, put in order and logged
//! (Zeek's `src/file_analysis`, `base/frameworks/files`).
//!
//! An analyzer holds a [`FileRef`] for each file that it carries and says what it sees of it. It need not
//! ask whether the file is still there: what is said of a file that is over does nothing.
//!
//! ```ignore
//! // A file begins with its first byte, so that one without any is no file, as in Zeek. It may have
//! // ended meanwhile, because nothing came for two minutes: then it begins anew under the same id.
//! if !cx.file_is_open(self.file) {
//!     let fuid = cx.fuid(&[b"smtp", &self.part.to_be_bytes()]);
//!     let about = About { source: "SMTP", is_orig: true, depth: self.part, ..About::default() };
//!     self.file = cx.file_begin(&fuid, about);
//!     self.fuids.push(fuid); // for the protocol's own log
//! }
//! let told = cx.file_data(self.file, data); // told.mime: its type, in the one call that finds it out
//! …
//! cx.file_gap(self.file, len); // bytes that the flow missed
//! cx.file_end(self.file); // writes the row of files.log
//! ```
//!
//! Files whose pieces come in several flows of two hosts (ranges, SMB) begin with [`Cx::file_join`] and
//! an id by [`Cx::shared_fuid`]: whoever comes first begins it, the others join in. Pieces that know
//! their place go to [`Cx::file_chunk`]. A file that nobody ends is logged once it is idle for two minutes, or at
//! the end of the capture. Memory is bounded in [`table`].

use std::net::IpAddr;

use model::id;

use crate::analyzer::Cx;

mod file;
pub mod hash;
mod reassembly;
mod row;
pub mod table;
pub mod x509;

#[cfg(test)]
mod tests;

pub use file::Told;
pub use table::{FileRef, Files};

/// What a protocol knows of a file when it begins.
#[derive(Debug, Clone, Copy, Default)]
pub struct About<'a> {
    /// Name of the protocol, as Zeek has it: `HTTP`, `FTP_DATA`.
    pub source: &'static str,
    /// The originator sends it.
    pub is_orig: bool,
    /// Depth within what carries it; 0 where the protocol has none.
    pub depth: u64,
    /// Its name, as on the wire.
    pub filename: Option<&'a [u8]>,
    /// Its type where the protocol knows, so that its content is not asked.
    pub mime: Option<&'static str>,
    /// Id of the file that it is part of.
    pub parent: Option<&'a str>,
    /// Anything the analyzer wants back in [`Told::owner`].
    pub owner: u64,
}

impl Cx<'_> {
    /// The id of a file that belongs to this flow alone; `parts` tell it from the flow's others.
    pub fn fuid(&self, parts: &[&[u8]]) -> String {
        let mut all = Vec::with_capacity(parts.len() + 1);
        all.push(self.ids.uid.as_bytes());
        all.extend_from_slice(parts);
        id::uid('F', &all)
    }

    /// The id of a file that all flows from this originator may carry pieces of. Say whose file it is
    /// in `parts` too, where that matters (the responder's address).
    pub fn shared_fuid(&self, parts: &[&[u8]]) -> String {
        let orig = match self.ids.tuple.orig_h {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        let mut all: Vec<&[u8]> = Vec::with_capacity(parts.len() + 1);
        all.push(&orig);
        all.extend_from_slice(parts);
        id::uid('F', &all)
    }

    /// Begins a file of this flow.
    pub fn file_begin(&mut self, fuid: &str, about: About<'_>) -> FileRef {
        self.files.begin(self.out, self.now, self.ids, fuid, about, false)
    }

    /// The open file of this id in whatever flow of these two hosts; it begins now unless it has. Says whether
    /// this flow is new to it (Zeek's `file_over_new_connection`).
    pub fn file_join(&mut self, fuid: &str, about: About<'_>) -> (FileRef, bool) {
        match self.files.find(self.ids, fuid) {
            Some(file) => (file, self.files.join(file, self.now, self.ids, about)),
            None => (self.files.begin(self.out, self.now, self.ids, fuid, about, true), true),
        }
    }

    /// The open file of this id that flows of these two hosts share.
    pub fn file_find(&self, fuid: &str) -> Option<FileRef> {
        self.files.find(self.ids, fuid)
    }

    /// Whether the file has begun and is not over.
    pub fn file_is_open(&self, file: FileRef) -> bool {
        self.files.is_open(file)
    }

    /// The next bytes of a file. Where its size is known and reached, it ends with them.
    pub fn file_data(&mut self, file: FileRef, data: &[u8]) -> Told {
        self.files.data(self.out, self.now, file, None, data)
    }

    /// Bytes of a file that belong at this offset, in any order.
    pub fn file_chunk(&mut self, file: FileRef, offset: u64, data: &[u8]) -> Told {
        if data.len() as u64 > u64::MAX - offset {
            let addl = format!("offset={offset:x} len={:x}", data.len());
            self.file_weird(file, "file_offset_overflow", Some(&addl));
        }
        self.files.data(self.out, self.now, file, Some(offset), data)
    }

    /// So many bytes of a file were never seen: it has no hashes any more.
    pub fn file_gap(&mut self, file: FileRef, len: u64) -> Told {
        self.files.gap(self.now, file, len)
    }

    /// How many bytes the file has. It ends now if it has them already.
    pub fn file_size(&mut self, file: FileRef, size: u64) -> Told {
        self.files.set_size(self.out, self.now, file, size)
    }

    /// Bytes that are still to come, where the size is known.
    pub fn file_missing(&self, file: FileRef) -> Option<u64> {
        self.files.get(file)?.left()
    }

    /// The file is over: its row is written.
    pub fn file_end(&mut self, file: FileRef) -> Told {
        self.files.end(self.out, self.now, file, false)
    }

    /// A weird about a file. It belongs to no flow, as in Zeek.
    pub fn file_weird(&mut self, file: FileRef, name: &'static str, addl: Option<&str>) {
        let Some(file) = self.files.get(file) else { return };
        let (fuid, source) = (file.fuid.clone(), file.source);
        self.weird_of_file(&fuid, name, addl, Some(source));
    }

    /// The same where the file has no more to it than its id. Counted with the flow's own.
    pub fn weird_of_file(
        &mut self,
        fuid: &str,
        name: &'static str,
        addl: Option<&str>,
        source: Option<&str>,
    ) {
        let addl = addl.map_or_else(|| fuid.to_owned(), |addl| format!("{fuid}: {addl}"));
        self.weird_of_nobody(name, Some(&addl), source);
    }
}
