//! BDAT (RFC 3030): a mail in chunks whose lengths are known. Source: Zeek's `BDAT.cc`.

use super::super::Cx;
use super::super::mail::Mail;

/// The longest argument of BDAT: the greatest number and ` LAST`.
const ARGUMENT_MAX: usize = 25;

/// Who raises the weirds of chunks, in Zeek's words.
const SOURCE: &str = "SMTP_BDAT";

/// The longest line of a chunk (`SMTP::bdat_max_line_length`); a longer one comes in parts.
const LINE_MAX: usize = 4096;

/// A chunk that was announced.
#[derive(Debug, Clone, Copy)]
pub struct Chunk {
    /// Bytes still to come.
    pub left: u64,
    /// The mail ends with it.
    pub is_last: bool,
}

/// The argument of BDAT, RFC 3030 section 2.
pub fn chunk(argument: &[u8]) -> Result<Chunk, &'static str> {
    if argument.is_empty() || argument.len() > ARGUMENT_MAX {
        return Err("BDAT argument bad length");
    }
    let digits = argument.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = argument.split_at(digits);
    if number.is_empty() {
        return Err("BDAT not followed by a valid chunk-size");
    }
    if !matches!(rest, [] | [b' ', ..]) {
        return Err("BDAT chunk-size not valid");
    }
    let left = std::str::from_utf8(number).ok().and_then(|number| number.parse::<u64>().ok());
    let left = left.ok_or("BDAT chunk-size too large")?;
    let is_last = rest.eq_ignore_ascii_case(b" LAST");
    if !rest.is_empty() && !is_last {
        return Err("BDAT chunk-size followed by junk");
    }
    Ok(Chunk { left, is_last })
}

/// Lines of a mail that comes in chunks; they may go on in the next one.
#[derive(Debug, Default)]
pub struct Lines {
    kept: Vec<u8>,
}

impl Lines {
    /// The next bytes of the mail.
    pub fn feed(&mut self, cx: &mut Cx<'_>, mail: &mut Mail, data: &[u8]) {
        let Lines { kept } = self;
        let mut hand_on = |cx: &mut Cx<'_>, line: Option<&[u8]>, has_end| {
            mail.line(cx, line.unwrap_or_default(), has_end);
        };
        if kept.last() == Some(&b'\r') && data.first() != Some(&b'\n') {
            cx.weird("smtp_bdat_line_cr_only", None, Some(SOURCE));
            hand_on(cx, Some(kept.as_slice()), false);
            kept.clear();
        }
        let mut at = kept.len().saturating_sub(1);
        kept.extend_from_slice(data);
        let mut start = 0;
        while let Some(rest) = kept.get(at..).filter(|rest| !rest.is_empty()) {
            match rest {
                [b'\r', b'\n', ..] => {
                    hand_on(cx, kept.get(start..at), true);
                    at += 1;
                    start = at + 1;
                }
                [b'\n', ..] => {
                    cx.weird("smtp_bdat_line_lf_only", None, Some(SOURCE));
                    hand_on(cx, kept.get(start..=at), false);
                    start = at + 1;
                }
                _ if at - start >= LINE_MAX => {
                    let addl = kept.len().to_string();
                    cx.weird("smtp_bdat_line_too_long", Some(&addl), Some(SOURCE));
                    hand_on(cx, kept.get(start..at), false);
                    start = at;
                }
                _ => {}
            }
            at += 1;
        }
        kept.drain(..start.min(kept.len()));
    }

    /// Hands on what has no end.
    pub fn flush(&mut self, cx: &mut Cx<'_>, mail: &mut Mail) {
        if !self.kept.is_empty() {
            mail.line(cx, &self.kept, false);
            self.kept.clear();
        }
    }

    /// The mail is over.
    pub fn end(&mut self, cx: &mut Cx<'_>, mail: &mut Mail) {
        if !self.kept.is_empty() {
            cx.weird("smtp_bdat_undelivered_at_done", None, Some(SOURCE));
        }
        self.flush(cx, mail);
    }
}
