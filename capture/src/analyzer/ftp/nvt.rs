//! Lines of Telnet's network virtual terminal (RFC 854), on which FTP's control connection runs: LF ends
//! them, and Telnet's options are not of them. Source: Zeek's `NVT.cc`.

/// Bytes of an unfinished line that are kept; the rest of it is dropped. A command is at most 100.
const KEPT_MAX: usize = 64 * 1024;

const IAC: u8 = 255;

/// Where in an option of Telnet's the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Option_ {
    #[default]
    None,
    /// Behind IAC.
    Command,
    /// Behind a command that names an option.
    Name,
    /// In a negotiation, up to IAC SE.
    Inside,
    /// Behind an IAC there.
    InsideCommand,
}

/// One direction.
#[derive(Debug, Default)]
pub struct Nvt {
    kept: Vec<u8>,
    last: u8,
    option: Option_,
    single_cr: bool,
}

impl Nvt {
    /// Reads up to the end of a line, which is then in [`Nvt::line`]; false if there is none.
    pub fn next(&mut self, rest: &mut &[u8]) -> bool {
        while let [byte, after @ ..] = rest {
            if self.option == Option_::None && self.last != b'\r' && is_text(*byte) {
                // All that means nothing by itself at once.
                let end = rest.iter().position(|byte| !is_text(*byte)).unwrap_or(rest.len());
                let (text, after) = rest.split_at(end);
                *rest = after;
                self.last = text.last().copied().unwrap_or(self.last);
                let room = KEPT_MAX.saturating_sub(self.kept.len());
                self.kept.extend_from_slice(text.get(..room).unwrap_or(text));
                continue;
            }
            *rest = after;
            if self.byte(*byte) {
                return true;
            }
        }
        false
    }

    /// The line, without its end.
    pub fn line(&self) -> &[u8] {
        &self.kept
    }

    /// The line was read.
    pub fn clear(&mut self) {
        self.kept.clear();
    }

    /// Whether a line is waiting for its end.
    pub fn is_partial(&self) -> bool {
        !self.kept.is_empty()
    }

    /// What was odd, to be asked until there is nothing more.
    pub fn weird(&mut self) -> Option<&'static str> {
        std::mem::take(&mut self.single_cr).then_some("line_terminated_with_single_CR")
    }

    fn byte(&mut self, byte: u8) -> bool {
        const SE: u8 = 240;
        const SB: u8 = 250;
        match self.option {
            Option_::None => {}
            Option_::Command => {
                self.option = match byte {
                    SB => Option_::Inside,
                    251..=254 => Option_::Name,
                    _ => Option_::None,
                };
                if byte == IAC {
                    self.push(byte);
                }
                return false;
            }
            Option_::Name => {
                self.option = Option_::None;
                return false;
            }
            Option_::Inside => {
                if byte == IAC {
                    self.option = Option_::InsideCommand;
                }
                return false;
            }
            Option_::InsideCommand if byte == IAC => {
                self.option = Option_::Inside;
                return false;
            }
            Option_::InsideCommand if byte == SE => {
                self.option = Option_::None;
                return false;
            }
            Option_::InsideCommand => {
                // A new command where the negotiation should have ended.
                self.option = Option_::Command;
                return self.byte(byte);
            }
        }
        if byte == IAC {
            self.option = Option_::Command;
            return false;
        }
        let last = std::mem::replace(&mut self.last, byte);
        self.single_cr |= last == b'\r' && !matches!(byte, b'\n' | 0);
        match byte {
            b'\n' => {
                if last == b'\r' {
                    self.kept.pop();
                }
                return true;
            }
            0 => {}
            _ => self.push(byte),
        }
        false
    }

    fn push(&mut self, byte: u8) {
        if self.kept.len() < KEPT_MAX {
            self.kept.push(byte);
        }
    }
}

/// Whether a byte is of a line whatever comes before and behind.
fn is_text(byte: u8) -> bool {
    !matches!(byte, 0 | b'\r' | b'\n' | IAC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(data: &[u8]) -> Vec<Vec<u8>> {
        let (mut nvt, mut found, mut rest) = (Nvt::default(), Vec::new(), data);
        while nvt.next(&mut rest) {
            found.push(nvt.line().to_vec());
            nvt.clear();
        }
        found
    }

    #[test]
    fn line_feeds_end_lines() {
        assert_eq!(lines(b"a\r\nb\nc\rd\r\ne"), [&b"a"[..], b"b", b"c\rd"]);
    }

    #[test]
    fn options_are_left_out() {
        assert_eq!(lines(b"A\xff\xf2B\xff\xfb\x01C\xff\xffD\n"), [b"ABC\xffD"]);
        assert_eq!(lines(b"A\xff\xfa\x01\xff\xff\n\xff\xf0B\n"), [b"AB"]);
        assert_eq!(lines(b"A\xff\xfa\x01\xff\xf2B\0\n"), [b"AB"]);
    }

    #[test]
    fn endless() {
        let mut nvt = Nvt::default();
        let long = vec![b'x'; KEPT_MAX * 2];
        assert!(!nvt.next(&mut &long[..]));
        assert_eq!(nvt.line().len(), KEPT_MAX);
    }
}
