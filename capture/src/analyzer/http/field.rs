//! Header fields and their values, read as leniently as Zeek's `MIME.cc` reads them: comments in
//! parentheses are skipped wherever a token may stand, and so are bytes that fit nowhere.
//! Source: RFC 2045 section 5.1, RFC 5322 section 3.2.

/// A field: its name, and what follows the colon without the white space before it.
pub fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = skip(line, 0);
    while !is_name(*line.get(at)?) {
        at = skip(line, at).max(at + 1);
    }
    let length = line.get(at..)?.iter().take_while(|byte| is_name(**byte)).count();
    let name = line.get(at..at + length)?;
    let colon = skip(line, at + length);
    let value = line.get(colon..)?.strip_prefix(b":")?;
    let blank = value.iter().take_while(|byte| matches!(byte, b'\t'..=b'\r' | b' ')).count();
    Some((name, value.get(blank..)?))
}

/// The first token of a value, and what follows it.
pub fn token(value: &[u8]) -> Option<(&[u8], &[u8])> {
    token_of(value, is_token)
}

fn token_of(value: &[u8], is_token: fn(u8) -> bool) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    while !is_token(*value.get(at)?) {
        at = skip(value, at).max(at + 1);
    }
    let length = value.get(at..)?.iter().take_while(|byte| is_token(**byte)).count();
    value.get(at..)?.split_at_checked(length)
}

/// Type and subtype of a Content-Type value, and its parameters.
pub fn media_type(value: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (kind, rest) = token(value)?;
    let rest = rest.get(skip(rest, 0)..)?.strip_prefix(b"/")?;
    let (subtype, rest) = token(rest)?;
    Some((kind, subtype, rest))
}

/// The `boundary` parameter of a multipart type. As in Zeek it takes all but a quote for a token, even
/// the semicolon of a parameter behind it.
pub fn boundary(parameters: &[u8]) -> Option<Vec<u8>> {
    let mut rest = parameters;
    let mut found = None;
    while let Some(parameter) = rest.get(skip(rest, 0)..).and_then(|rest| rest.strip_prefix(b";")) {
        let Some((name, tail)) = token(parameter) else { break };
        rest = tail;
        let value = tail.get(skip(tail, 0)..).and_then(|tail| tail.strip_prefix(b"="));
        let Some(value) = value else { continue };
        rest = value;
        let is_boundary = name.eq_ignore_ascii_case(b"boundary");
        if let Some((text, tail)) = parameter_value(value, is_boundary) {
            rest = tail;
            if is_boundary {
                found = Some(text);
            }
        }
    }
    found
}

fn parameter_value(value: &[u8], is_boundary: bool) -> Option<(Vec<u8>, &[u8])> {
    let from = if is_boundary { 0 } else { skip(value, 0) };
    let value = value.get(from..)?;
    if value.first() == Some(&b'"') {
        return quoted(value);
    }
    let is_token = if is_boundary { is_boundary_token } else { is_token };
    token_of(value, is_token).map(|(text, rest)| (text.to_vec(), rest))
}

/// A quoted string without its quotes and backslashes, and what follows it.
fn quoted(value: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut text = Vec::new();
    let mut at = 1;
    loop {
        match *value.get(at)? {
            b'"' => return Some((text, value.get(at + 1..)?)),
            b'\\' => {
                text.push(*value.get(at + 1)?);
                at += 2;
            }
            byte => {
                text.push(byte);
                at += 1;
            }
        }
    }
}

/// The number that `text` begins with, in `base`; a minus may go before. As C++'s `from_chars`: none
/// if there is no digit, or too many.
pub fn number(text: &[u8], base: u32) -> Option<i64> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        _ => (false, text),
    };
    let values = digits.iter().map_while(|byte| char::from(*byte).to_digit(base));
    let mut value = None;
    for digit in values {
        let digit = if negative { -i64::from(digit) } else { i64::from(digit) };
        let sum = value.unwrap_or(0i64).checked_mul(i64::from(base))?.checked_add(digit)?;
        value = Some(sum);
    }
    value
}

/// Bytes that a Content-Range names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Place of the first byte.
    pub first: u64,
    /// How many.
    pub length: i64,
    /// Size of the whole; none for `*`, 0 where it cannot be read.
    pub whole: Option<i64>,
}

/// Why a Content-Range cannot be used: Zeek's name, and the range as it gives it.
pub type BadRange = (&'static str, Option<Vec<u8>>);

/// Reads a Content-Range value, RFC 9110 section 14.4.
pub fn content_range(value: &[u8]) -> Result<(Range, Option<BadRange>), BadRange> {
    let (unit, rest) = token(value).unwrap_or_default();
    let text: Vec<u8> = rest.iter().copied().filter(|byte| *byte != b' ').collect();
    if unit != b"bytes" {
        return Err(("HTTP_content_range_unknown_byte_unit", None));
    }
    let cannot = "HTTP_content_range_cannot_parse";
    let (range, whole) = cut(&text, b'/').ok_or((cannot, None))?;
    let (first, last) = cut(range, b'-').ok_or((cannot, None))?;
    let bad = |name| (name, Some(text.clone()));
    let (Some(first), Some(last)) = (number(first, 10), number(last, 10)) else {
        return Err(bad(cannot));
    };
    let start = u64::try_from(first).map_err(|_| bad("HTTP_content_range_invalid"))?;
    if last < 0 {
        return Err(bad("HTTP_content_range_invalid"));
    }
    if last < first {
        return Err(bad("HTTP_non_positive_content_range"));
    }
    let length = (last - first).checked_add(1).ok_or_else(|| bad("HTTP_content_range_overflow"))?;
    let known = whole != b"*";
    let size = number(whole, 10);
    let odd = (known && size.is_none()).then(|| bad("HTTP_content_range_invalid_instance"));
    let whole = known.then_some(size.unwrap_or(0));
    Ok((Range { first: start, length, whole }, odd))
}

fn cut(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let found = memchr::memchr(at, text)?;
    Some((text.get(..found)?, text.get(found + 1..)?))
}

/// The next place at or after `at` that is neither blank nor inside a comment.
fn skip(text: &[u8], at: usize) -> usize {
    let mut at = at;
    while let Some(byte) = text.get(at) {
        match byte {
            b' ' | b'\t' => at += 1,
            b'(' => at = comment_end(text, at),
            _ => break,
        }
    }
    at
}

/// Where the comment that begins at `at` is over; comments nest.
fn comment_end(text: &[u8], at: usize) -> usize {
    let mut depth = 0u32;
    let mut at = at;
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'(' => depth = depth.saturating_add(1),
            b')' => depth = depth.saturating_sub(1),
            b'\\' => at += 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    at.min(text.len())
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b':'
}

fn is_token(byte: u8) -> bool {
    // A pattern, which compiles to a table of bits, where a search in a string does not.
    let is_special = matches!(
        byte,
        b'(' | b')'
            | b'<'
            | b'>'
            | b'@'
            | b','
            | b';'
            | b':'
            | b'\\'
            | b'"'
            | b'/'
            | b'['
            | b']'
            | b'?'
            | b'='
    );
    byte.is_ascii_graphic() && !is_special
}

fn is_boundary_token(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'"'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        assert_eq!(split(b"Host: a "), Some((&b"Host"[..], &b"a "[..])));
        assert_eq!(split(b"Host (c(d)) :\ta"), Some((&b"Host"[..], &b"a"[..])));
        assert_eq!(split(b"\x80 Host:"), Some((&b"Host"[..], &b""[..])));
        assert_eq!(split(b"no colon here"), None);
        assert_eq!(split(b": a"), None);
        assert_eq!(split(b"((("), None);
    }

    #[test]
    fn values() {
        assert_eq!(token(b" (x) chunked, gzip"), Some((&b"chunked"[..], &b", gzip"[..])));
        assert_eq!(token(b"=;"), None);
        let (kind, subtype, rest) =
            media_type(b"multipart/form-data; a=b; boundary=\"x\\\"y\"").unwrap();
        assert_eq!((kind, subtype), (&b"multipart"[..], &b"form-data"[..]));
        assert_eq!(boundary(rest), Some(b"x\"y".to_vec()));
        assert_eq!(boundary(b"; boundary=ab; charset=x"), Some(b"ab;".to_vec()));
        assert_eq!(boundary(b"; boundary"), None);
        assert_eq!(number(b"12;x", 10), Some(12));
        assert_eq!(number(b"-12", 10), Some(-12));
        assert_eq!(number(b"fF", 16), Some(255));
        assert_eq!(number(b" 1", 10), None);
        assert_eq!(number(b"99999999999999999999", 10), None);
        assert_eq!(number(b"-9223372036854775808", 10), Some(i64::MIN));
    }

    #[test]
    fn ranges() {
        let range = |text: &'static str| content_range(text.as_bytes()).map(|(range, _)| range);
        assert_eq!(range("bytes 0-9/10"), Ok(Range { first: 0, length: 10, whole: Some(10) }));
        assert_eq!(range("bytes 5 - 9 / *"), Ok(Range { first: 5, length: 5, whole: None }));
        for (text, name) in [
            ("lines 0-9/10", "HTTP_content_range_unknown_byte_unit"),
            ("bytes 0-9", "HTTP_content_range_cannot_parse"),
            ("bytes foo-bar/baz", "HTTP_content_range_cannot_parse"),
            ("bytes 9-0/10", "HTTP_non_positive_content_range"),
            ("bytes 0-9223372036854775807/1", "HTTP_content_range_overflow"),
        ] {
            assert_eq!(range(text).unwrap_err().0, name, "{text}");
        }
    }
}
