//! A message's body and the parts in it. Source: Zeek's `MIME_Entity` and `HTTP_Entity`.

use super::inflate::Inflate;
use super::transfer::Base64;
use crate::few;
use crate::files::FileRef;

/// Parts within parts that are told apart (Zeek's `MIME::max_depth`).
pub const DEPTH_MAX: usize = 100;

/// Bytes to which a folded header may grow before lines are no longer added (Zeek's
/// `MIME::max_header_bytes`).
pub const HEADER_BYTES_MAX: usize = 65_536;

/// What Content-Type says of the structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// One piece.
    #[default]
    Simple,
    /// Parts between boundaries.
    Multipart,
    /// A message within the message.
    Message,
}

/// Whether a message has a body at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expect {
    /// It has none: a reply to HEAD, 1xx, 204, 304.
    No,
    /// It has one.
    #[default]
    Yes,
    /// If a length or an encoding says so: a request.
    Maybe,
}

/// Place in a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Chunk {
    /// The body is not chunked.
    #[default]
    None,
    /// It will be, once the header is over.
    Announced,
    /// Before a line with a size.
    Size,
    /// Within a chunk.
    Data,
    /// Before the line end behind a chunk.
    End,
    /// In the trailer.
    Trailer,
    /// All over.
    Over,
}

/// Content-Encoding that is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// None, or an unknown one.
    #[default]
    Plain,
    /// gzip or deflate.
    Compressed,
}

/// Content-Transfer-Encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transfer {
    /// Bytes as they are.
    #[default]
    Binary,
    /// RFC 2045 section 6.7.
    QuotedPrintable,
    /// RFC 2045 section 6.8.
    Base64,
}

/// A body or a part of one, with its header.
#[derive(Debug, Default)]
pub struct Entity {
    /// The header is not over.
    pub in_header: bool,
    /// Nothing more belongs to it.
    pub ended: bool,
    /// Structure.
    pub kind: Kind,
    /// What parts are told apart by.
    pub boundary: Option<Vec<u8>>,
    /// Content-Transfer-Encoding.
    pub transfer: Transfer,
    /// Decoder for that.
    pub base64: Option<Base64>,
    /// A line end that belongs to the content unless a boundary follows.
    pub pending_end: bool,
    /// Whether there is a body.
    pub expect: Expect,
    /// Place in a chunked body.
    pub chunk: Chunk,
    /// Length by Content-Length or Content-Range.
    pub length: Option<i64>,
    /// Length by Content-Range.
    pub range_length: i64,
    /// Bytes still to come.
    pub left: i64,
    /// Bytes of the body so far, decompressed.
    pub body: u64,
    /// Content-Encoding.
    pub encoding: Encoding,
    /// Decompressor for that.
    pub inflate: Option<Box<Inflate>>,
    /// The body is a range of a file, from here on.
    pub range_at: Option<u64>,
    /// Size of the whole file of which the body is a range.
    pub whole: i64,
    /// The length tells the size of the file.
    pub length_counts: bool,
    /// Expect: 100-continue was seen.
    pub continues: bool,
    /// The file.
    pub file: FileRef,
}

impl Entity {
    /// The body of a message.
    pub fn top(expect: Expect) -> Entity {
        Entity { in_header: true, length_counts: true, expect, ..Entity::default() }
    }

    /// A part of this entity.
    pub fn part(&self) -> Entity {
        let transfer = self.transfer;
        Entity { in_header: true, length_counts: true, transfer, ..Entity::default() }
    }

    /// What a line is within a multipart body.
    pub fn delimiter(&self, line: &[u8]) -> Option<Delimiter> {
        let boundary = self.boundary.as_deref()?;
        let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?;
        Some(if rest.starts_with(b"--") { Delimiter::Last } else { Delimiter::Next })
    }
}

/// A line between parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delimiter {
    /// Another part follows.
    Next,
    /// None does.
    Last,
}

/// A message of one direction.
#[derive(Debug, Default)]
pub struct Message {
    /// The body and, each within the one before, the parts open at present.
    pub entities: Vec<Entity>,
    /// The entity that gaps belong to.
    pub current: Option<usize>,
    /// All of it was seen, or nothing more will be.
    pub finished: bool,
    /// Bytes of the whole body.
    pub body: u64,
    /// A header field that may go on in the next line.
    pub header: Vec<u8>,
    /// Lines of that field, 0 for none.
    pub header_lines: u32,
    /// The next bytes go on with a line of a body whose beginning was handed on.
    pub mid_line: bool,
}

impl Message {
    /// Begins a new message in the room of the old.
    pub fn begin(&mut self, expect: Expect) {
        self.entities.clear();
        few::push(&mut self.entities, Entity::top(expect));
        self.current = Some(0);
        self.finished = false;
        self.body = 0;
        self.header.clear();
        self.header_lines = 0;
        self.mid_line = false;
    }
}
