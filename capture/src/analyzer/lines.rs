//! Cuts one direction of a flow into lines, or hands it on as it is while its length is known.
//! Source: what Zeek's `ContentLine.cc` takes for the end of a line.
//!
//! A line that lies whole in a segment is lent from it; only a line that a segment cuts is kept.

use memchr::{memchr, memchr2};

const CR: u8 = b'\r';
const LF: u8 = b'\n';

/// Bytes of an unfinished line that are kept: what Zeek lets a folded header grow to. The rest of a
/// header is dropped, a body goes on in parts.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// Bytes after which Zeek cuts a line (`DEFAULT_MAX_LINE_LENGTH`).
const LINE_CUT: u64 = 16 * 1024 * 1024 - 100;

/// Who raises the weirds of lines, in Zeek's words.
pub const SOURCE: &str = "CONTENTLINE";

/// What is cut off next.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes of a body whose length is known.
    Plain(&'a [u8]),
    /// A line without its end.
    Line(&'a [u8]),
    /// The same, but it is in [`Lines::take`].
    KeptLine,
    /// The beginning of a line that is too long to be kept.
    Part(&'a [u8]),
    /// The same, but it is in [`Lines::take`].
    KeptPart,
}

/// Oddities of line ends, to be raised once a call has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineWeird {
    /// A line ended in CR alone.
    SingleCr,
    /// The body ended inside a line.
    NoEnd,
    /// A line was longer than lines may be.
    TooLong,
}

impl LineWeird {
    /// Zeek's name for it.
    pub fn name(self) -> &'static str {
        match self {
            LineWeird::SingleCr => "line_terminated_with_single_CR",
            LineWeird::NoEnd => "line_terminated_without_CRLF",
            LineWeird::TooLong => "contentline_size_exceeded",
        }
    }
}

/// The state of one direction.
#[derive(Debug)]
pub struct Lines {
    kept: Vec<u8>,
    /// Bytes after which a line is cut.
    cut: u64,
    /// Bytes of the unfinished line so far, kept or not.
    length: u64,
    /// The last byte seen, 0 after plain bytes.
    last: u8,
    /// A CR of the unfinished line that is not kept yet, as an LF may follow.
    held_cr: bool,
    /// Bytes still to be handed on as they are.
    plain: u64,
    /// Bytes after which an unfinished line is a line.
    limit: Option<u64>,
    /// An LF that follows now belongs to the line before the limit was set.
    free_lf: bool,
    /// The limit was set by the line at hand.
    new_limit: bool,
    /// Only CR LF ends a line: inside a part of a multipart body.
    strict: bool,
    /// Nothing is wanted any more.
    closed: bool,
    /// Oddities not yet asked for: of single ends, and of ends that were made up.
    weirds: [Option<LineWeird>; 2],
}

impl Default for Lines {
    fn default() -> Lines {
        Lines::with_cut(LINE_CUT)
    }
}

impl Lines {
    /// Lines that are cut after so many bytes.
    pub fn with_cut(cut: u64) -> Lines {
        Lines {
            kept: Vec::new(),
            cut,
            length: 0,
            last: 0,
            held_cr: false,
            plain: 0,
            limit: None,
            free_lf: false,
            new_limit: false,
            strict: false,
            closed: false,
            weirds: [None; 2],
        }
    }

    /// Hands the next `count` bytes on as they are.
    pub fn set_plain(&mut self, count: u64) {
        self.plain = count;
    }

    /// Ends an unfinished line after `count` more bytes, if at all.
    pub fn set_limit(&mut self, count: Option<u64>) {
        self.limit = count;
        self.free_lf = self.last == CR;
        self.new_limit = true;
    }

    /// A line was followed, with so much of its segment left. As in Zeek a limit that was set counts
    /// only if the body begins with the next segment.
    pub fn arm_limit(&mut self, left: usize) {
        if std::mem::take(&mut self.new_limit) && left > 0 {
            self.limit = None;
        }
    }

    /// Whether CR and LF alone do not end a line.
    pub fn set_strict(&mut self, strict: bool) {
        self.strict = strict;
    }

    /// Wants nothing more.
    pub fn close(&mut self) {
        self.closed = true;
        self.kept = Vec::new();
        self.length = 0;
    }

    /// Whether the beginning of a line is waiting for its end.
    pub fn is_partial(&self) -> bool {
        self.length > 0
    }

    /// Whether a line may become too long for its kind to be left open.
    pub fn may_overflow(&self, next: usize) -> bool {
        self.kept.len() + next > LINE_BYTES_MAX
    }

    /// The kept line or part, to be given back with [`Lines::give`].
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.kept)
    }

    /// Takes the room of a kept line back.
    pub fn give(&mut self, mut room: Vec<u8>) {
        if !self.kept.is_empty() || self.closed {
            return;
        }
        room.clear();
        self.kept = room;
    }

    /// What was odd about the last piece; to be asked until there is nothing more.
    pub fn weird(&mut self) -> Option<LineWeird> {
        self.weirds.iter_mut().find_map(Option::take)
    }

    /// Cuts the next piece off `rest`. `parts`: a line that is too long is handed on in parts.
    pub fn next<'a>(&mut self, rest: &mut &'a [u8], parts: bool) -> Option<Piece<'a>> {
        if self.closed {
            *rest = &[];
            return None;
        }
        loop {
            if self.limit == Some(0) {
                self.limit = None;
                if self.is_partial() {
                    self.weirds[1] = Some(LineWeird::NoEnd);
                    self.length = 0;
                    if std::mem::take(&mut self.held_cr) {
                        self.append(b"\r", parts);
                    }
                    return Some(Piece::KeptLine);
                }
            }
            let first = *rest.first()?;
            if self.last == CR && first == LF && self.length == 0 {
                self.last = LF;
                let limit = self.limit;
                self.advance(rest, 1);
                if std::mem::take(&mut self.free_lf) {
                    self.limit = limit;
                }
                continue;
            }
            self.free_lf = false;
            if self.plain > 0 {
                return Some(Piece::Plain(self.cut_plain(rest)));
            }
            if let Some(piece) = self.cut_line(rest, parts) {
                return Some(piece);
            }
        }
    }

    fn cut_plain<'a>(&mut self, rest: &mut &'a [u8]) -> &'a [u8] {
        let count = usize::try_from(self.plain).unwrap_or(usize::MAX).min(rest.len());
        let piece = rest.get(..count).unwrap_or_default();
        self.last = 0;
        self.plain -= count as u64;
        self.advance(rest, count);
        piece
    }

    fn cut_line<'a>(&mut self, rest: &mut &'a [u8], parts: bool) -> Option<Piece<'a>> {
        if std::mem::take(&mut self.held_cr) {
            if rest.first() == Some(&LF) {
                self.last = LF;
                self.advance(rest, 1);
                return Some(self.finish_line(&[], parts));
            }
            self.append(b"\r", parts);
        }
        let room = self.limit.unwrap_or(u64::MAX).min(self.cut.saturating_sub(self.length));
        let count = usize::try_from(room).unwrap_or(usize::MAX).min(rest.len());
        if count == 0 {
            return Some(self.cut_too_long(rest));
        }
        let data: &'a [u8] = rest;
        let window = data.get(..count).unwrap_or_default();
        if self.last == CR && self.length == 0 && !self.strict && !window.starts_with(b"\r") {
            self.weirds[0] = Some(LineWeird::SingleCr);
        }
        let end = if self.strict { strict_end(window) } else { memchr2(CR, LF, window) };
        let Some(end) = end else {
            self.last = window.last().copied().unwrap_or_default();
            self.advance(rest, count);
            return self.keep(window, parts);
        };
        let both = window.get(end) == Some(&CR) && data.get(end + 1) == Some(&LF);
        self.last = if both { LF } else { window.get(end).copied().unwrap_or_default() };
        self.advance(rest, if both { end + 2 } else { end + 1 });
        Some(self.finish_line(window.get(..end).unwrap_or_default(), parts))
    }

    fn finish_line<'a>(&mut self, tail: &'a [u8], parts: bool) -> Piece<'a> {
        self.length = 0;
        if self.kept.is_empty() {
            return Piece::Line(tail);
        }
        self.append(tail, parts);
        Piece::KeptLine
    }

    /// Keeps a beginning of a line, or hands it on when it is too long and parts will do.
    fn keep<'a>(&mut self, window: &'a [u8], parts: bool) -> Option<Piece<'a>> {
        self.length += window.len() as u64;
        let window = match window.split_last() {
            // It may belong to the end of the line.
            Some((&CR, before)) if self.strict => {
                self.held_cr = true;
                before
            }
            _ => window,
        };
        let overflows = parts && self.may_overflow(window.len());
        if overflows && self.kept.is_empty() {
            return Some(Piece::Part(window));
        }
        self.append(window, parts);
        overflows.then_some(Piece::KeptPart)
    }

    /// Adds to the kept line. Where parts will do all of a segment is kept, as it is handed on at once.
    fn append(&mut self, bytes: &[u8], parts: bool) {
        let room = LINE_BYTES_MAX.saturating_sub(self.kept.len());
        let count = if parts { bytes.len() } else { room.min(bytes.len()) };
        self.kept.extend_from_slice(bytes.get(..count).unwrap_or_default());
    }

    /// The line is as long as Zeek lets it grow: it ends here, and the byte at the limit is lost.
    fn cut_too_long<'a>(&mut self, rest: &mut &'a [u8]) -> Piece<'a> {
        self.weirds[1] = Some(LineWeird::TooLong);
        self.last = rest.first().copied().unwrap_or_default();
        self.length = 0;
        self.advance(rest, 1);
        Piece::KeptLine
    }

    fn advance(&mut self, rest: &mut &[u8], count: usize) {
        *rest = rest.get(count..).unwrap_or_default();
        if let Some(limit) = &mut self.limit {
            *limit = limit.saturating_sub(count as u64);
        }
    }
}

/// Where the first CR LF stands.
fn strict_end(window: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = memchr(LF, window.get(from..)?) {
        let at = from + found;
        match at.checked_sub(1) {
            Some(before) if window.get(before) == Some(&CR) => return Some(before),
            _ => from = at + 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(strict: bool, segments: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<LineWeird>) {
        let mut lines = Lines::default();
        lines.set_strict(strict);
        let (mut found, mut weirds) = (Vec::new(), Vec::new());
        for segment in segments {
            let mut rest = *segment;
            while let Some(piece) = lines.next(&mut rest, false) {
                let line = match piece {
                    Piece::Line(line) => line.to_vec(),
                    Piece::KeptLine => lines.take(),
                    other => panic!("{other:?}"),
                };
                found.push(line);
                weirds.extend(lines.weird());
            }
            weirds.extend(lines.weird());
        }
        (found, weirds)
    }

    #[test]
    fn ends_of_lines() {
        let (lines, weirds) = cut(false, &[b"a\r\nb\nc\rd\r", b"\n\r\n", b"e\r\n"]);
        let want: Vec<&[u8]> = vec![b"a", b"b", b"c", b"d", b"", b"e"];
        assert_eq!(lines, want);
        assert_eq!(weirds, [LineWeird::SingleCr]);
    }

    #[test]
    fn strict_ends() {
        let (lines, weirds) = cut(true, &[b"a\nb\rc\r", b"\nd\r", b"e\r\r\n", b"f"]);
        let want: Vec<&[u8]> = vec![b"a\nb\rc", b"d\re\r"];
        assert_eq!(lines, want);
        assert_eq!(weirds, []);
    }

    #[test]
    fn a_long_line_is_cut_or_comes_in_parts() {
        let long = vec![b'x'; LINE_BYTES_MAX + 10];
        let (lines, _) = cut(false, &[&long, b"y\r\n"]);
        assert_eq!(lines, [vec![b'x'; LINE_BYTES_MAX]]);

        let mut lines = Lines::default();
        let mut rest = &long[..];
        assert_eq!(lines.next(&mut rest, true), Some(Piece::Part(&long)));
        let mut rest = &b"y\r\n"[..];
        assert_eq!(lines.next(&mut rest, true), Some(Piece::Line(b"y")));
    }

    #[test]
    fn a_body_that_ends_inside_a_line() {
        let mut lines = Lines::default();
        lines.set_limit(Some(3));
        lines.last = CR;
        let mut rest = &b"abcGET"[..];
        assert_eq!(lines.next(&mut rest, false), Some(Piece::KeptLine));
        assert_eq!(lines.take(), b"abc");
        assert_eq!(lines.weird(), Some(LineWeird::SingleCr));
        assert_eq!(lines.weird(), Some(LineWeird::NoEnd));
        assert_eq!(lines.weird(), None);
        assert_eq!(rest, b"GET");
    }
}
