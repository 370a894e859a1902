//! What protocols of text lines have in common: both directions cut into lines, words, and what a
//! signature finds at the beginning of a line.

use super::lines::{self, Lines, Piece};
use super::{Analyzer, Cx, Dir, ssl};

/// What is to be done with the bytes behind a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// They are lines.
    Lines,
    /// So many of them are not.
    Plain(u64),
    /// They are another protocol's.
    Stop,
}

/// What was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut<'a> {
    /// A line without its end.
    Line(&'a [u8]),
    /// Bytes that are no line, as [`Then::Plain`] asked for.
    Plain(&'a [u8]),
}

/// Both directions of a conversation in lines.
#[derive(Debug, Default)]
pub struct Conversation {
    sides: [Lines; 2],
}

impl Conversation {
    /// Lines that are cut after so many bytes.
    pub fn with_cut(bytes: u64) -> Conversation {
        Conversation { sides: [Lines::with_cut(bytes), Lines::with_cut(bytes)] }
    }

    /// Hands every line in `data` to `each`, until it says that what follows is another protocol's: that
    /// is returned. Of a line that is longer than [`lines::LINE_BYTES_MAX`] only the beginning is kept.
    pub fn cut<'d>(
        &mut self,
        cx: &mut Cx<'_>,
        dir: Dir,
        data: &'d [u8],
        mut each: impl FnMut(&mut Cx<'_>, Cut<'_>) -> Then,
    ) -> &'d [u8] {
        let lines = &mut self.sides[dir.index()];
        let mut rest = data;
        loop {
            let piece = lines.next(&mut rest, false);
            while let Some(odd) = lines.weird() {
                cx.weird(odd.name(), None, Some(lines::SOURCE));
            }
            let then = match piece {
                None => return &[],
                Some(Piece::Plain(bytes)) => each(cx, Cut::Plain(bytes)),
                Some(Piece::Line(line) | Piece::Part(line)) => each(cx, Cut::Line(line)),
                Some(Piece::KeptLine | Piece::KeptPart) => {
                    let kept = lines.take();
                    let then = each(cx, Cut::Line(&kept));
                    lines.give(kept);
                    then
                }
            };
            match then {
                Then::Lines => {}
                Then::Plain(count) => lines.set_plain(count),
                Then::Stop => return after_cr(line_feed(data, rest), rest),
            }
        }
    }

    /// Whatever comes next is lines.
    pub fn stop_plain(&mut self) {
        self.sides.iter_mut().for_each(|side| side.set_plain(0));
    }

    /// Ends an unfinished line, as Zeek does when an end sends no more.
    pub fn end(
        &mut self,
        cx: &mut Cx<'_>,
        dir: Dir,
        each: impl FnMut(&mut Cx<'_>, Cut<'_>) -> Then,
    ) {
        if self.sides[dir.index()].is_partial() {
            self.cut(cx, dir, b"\n", each);
        }
    }
}

/// What a protocol makes of its lines, until the flow goes over to TLS.
pub trait Talk: Send {
    /// The next line, or bytes that are none.
    fn piece(&mut self, cx: &mut Cx<'_>, dir: Dir, cut: Cut<'_>) -> Then;
    /// What follows is TLS.
    fn is_tls(&self) -> bool;
    /// The flow is over.
    fn finish(&mut self, cx: &mut Cx<'_>) {
        let _ = cx;
    }
}

/// The analyzer of a protocol of lines that may carry TLS.
#[derive(Debug, Default)]
pub struct Talking<T> {
    lines: Conversation,
    talk: T,
}

impl<T: Default> Talking<T> {
    /// With lines that are cut after so many bytes.
    pub fn with_cut(bytes: u64) -> Talking<T> {
        Talking { lines: Conversation::with_cut(bytes), talk: T::default() }
    }
}

impl<T: Talk> Analyzer for Talking<T> {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        let Talking { lines, talk } = self;
        if talk.is_tls() {
            cx.hand_on(dir, data);
            return;
        }
        let rest = lines.cut(cx, dir, data, |cx, cut| talk.piece(cx, dir, cut));
        if talk.is_tls() {
            cx.carry(&ssl::KIND);
            cx.hand_on(dir, rest);
        }
    }

    fn gap(&mut self, cx: &mut Cx<'_>, dir: Dir, len: u64) {
        if self.talk.is_tls() {
            cx.hand_on_gap(dir, len);
        }
    }

    fn end(&mut self, cx: &mut Cx<'_>, dir: Dir) {
        let Talking { lines, talk } = self;
        if !talk.is_tls() {
            lines.end(cx, dir, |cx, cut| talk.piece(cx, dir, cut));
        }
    }

    fn finish(&mut self, cx: &mut Cx<'_>) {
        self.talk.finish(cx);
    }
}

/// Whether the byte before `rest` was a CR.
fn line_feed(data: &[u8], rest: &[u8]) -> bool {
    let at = data.len() - rest.len();
    at.checked_sub(1).and_then(|at| data.get(at)) == Some(&b'\r')
}

/// Without the LF that belongs to a CR before it.
fn after_cr(cr: bool, rest: &[u8]) -> &[u8] {
    match rest {
        [b'\n', after @ ..] if cr => after,
        _ => rest,
    }
}

/// Without blanks and tabs at its beginning.
pub fn skip_blanks(text: &[u8]) -> &[u8] {
    let from = text.iter().position(|byte| !matches!(byte, b' ' | b'\t'));
    from.and_then(|from| text.get(from..)).unwrap_or_default()
}

/// Whether C's `isspace` says so.
pub fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ')
}

/// The first word, up to white space or NUL, and what follows it.
pub fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| *byte == 0 || is_space(*byte));
    text.split_at(end.unwrap_or(text.len()))
}

/// The three digits that a reply begins with.
pub fn reply_code(line: &[u8]) -> Option<u16> {
    let [a, b, c, ..] = line else { return None };
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    Some(digit(a)? * 100 + digit(b)? * 10 + digit(c)?)
}

/// What `find` finds first where signatures of the form `(|.*[\r\n])…` look: at the beginning, and behind
/// every CR and LF. (A dot is any byte in Zeek's signatures.)
pub fn in_lines<'a, T>(bytes: &'a [u8], find: impl Fn(&'a [u8]) -> Option<T>) -> Option<T> {
    let ends = memchr::memchr2_iter(b'\r', b'\n', bytes);
    let mut starts = std::iter::once(0).chain(ends.map(|at| at + 1));
    starts.find_map(|at| find(bytes.get(at..)?))
}

/// Whether any line is as `is` says.
pub fn any_line(bytes: &[u8], is: impl Fn(&[u8]) -> bool) -> bool {
    in_lines(bytes, |text| is(text).then_some(())).is_some()
}

/// Whether text begins with a word, whatever its case.
pub fn begins_with(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word))
}

/// Without white space at its beginning.
pub fn skip_space(text: &[u8]) -> &[u8] {
    let from = text.iter().position(|byte| !is_space(*byte));
    from.and_then(|from| text.get(from..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        assert_eq!(word(b"MAIL FROM:<a>"), (&b"MAIL"[..], &b" FROM:<a>"[..]));
        assert_eq!(word(b"a\0b"), (&b"a"[..], &b"\0b"[..]));
        assert_eq!(word(b""), (&b""[..], &b""[..]));
        assert_eq!(skip_blanks(b" \t x"), b"x");
        assert_eq!(skip_blanks(b"  "), b"");
    }

    #[test]
    fn reply_codes() {
        assert_eq!(reply_code(b"220 hello"), Some(220));
        assert_eq!(reply_code(b"007"), Some(7));
        assert_eq!(reply_code(b"22"), None);
        assert_eq!(reply_code(b"2 0"), None);
    }

    #[test]
    fn where_signatures_look() {
        let found = |bytes: &[u8]| any_line(bytes, |text| text.starts_with(b"USER"));
        assert!(found(b"USER"));
        assert!(found(b"x\r\nUSER"));
        assert!(found(b"x\rUSER"));
        assert!(found(b"x\r\ny\r\nUSER"));
        assert!(!found(b"xUSER"));
        assert!(!found(b""));
    }
}
