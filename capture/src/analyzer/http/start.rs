//! The first line of a request and of a reply. Source: RFC 9112 section 3 and 4, and what Zeek's
//! `HTTP.cc` makes of lines that do not keep to it.

use memchr::memchr2;

/// Version as it is written: major and minor digit; 0.0 where it cannot be read.
pub type Version = (u8, u8);

/// Version of a request without one.
pub const HTTP_09: Version = (0, 9);

/// What may be odd about a line, by Zeek's names.
pub type Weird<'a> = &'a mut dyn FnMut(&'static str);

/// A request line.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestLine<'a> {
    /// Verb, any token.
    pub method: &'a [u8],
    /// Target as sent.
    pub uri: &'a [u8],
    /// Version; none where the line was too short for one.
    pub version: Option<Version>,
}

/// A line cannot begin a request. It may have given a version all the same, which then counts.
#[derive(Debug, PartialEq, Eq)]
pub struct NoRequest(pub Option<Version>);

/// A status line.
#[derive(Debug, PartialEq, Eq)]
pub struct StatusLine<'a> {
    /// Version.
    pub version: Version,
    /// Three digits, or 0.
    pub code: u16,
    /// What follows the code, where anything does.
    pub reason: Option<&'a [u8]>,
}

/// Reads a request line.
pub fn request_line<'a>(line: &'a [u8], weird: Weird<'_>) -> Result<RequestLine<'a>, NoRequest> {
    let end = line.iter().position(|byte| !is_token(*byte)).unwrap_or(line.len());
    let (method, rest) = line.split_at_checked(end).unwrap_or((line, &[]));
    if method.is_empty() {
        weird(match line.len().checked_sub(9).and_then(|at| line.get(at..at + 6)) {
            Some(tail) if tail.eq_ignore_ascii_case(b" HTTP/") => "bad_HTTP_request_with_version",
            _ => "bad_HTTP_request",
        });
        return Err(NoRequest(None));
    }
    let target = skip_blanks(rest);
    if target.len() == rest.len() {
        weird("bad_HTTP_request");
        return Err(NoRequest(None));
    }
    let (uri, version) = target_and_version(target, weird);
    if version == Some(HTTP_09) && (method.len() < 3 || uri.is_empty()) {
        weird("bad_HTTP_request");
        return Err(NoRequest(version));
    }
    Ok(RequestLine { method, uri, version })
}

fn target_and_version<'a>(line: &'a [u8], weird: Weird<'_>) -> (&'a [u8], Option<Version>) {
    let mut end = line.iter().position(|byte| !is_uri(*byte)).unwrap_or(line.len());
    if is_http(line, weird) && end == line.len() {
        weird("missing_HTTP_uri");
        end = 0;
    }
    let mut at = end;
    while at < line.len() {
        end = at;
        let tail = line.get(at..).unwrap_or_default();
        let blank = tail.len() - skip_blanks(tail).len();
        at += blank;
        if is_http(line.get(at..).unwrap_or_default(), weird) {
            break;
        }
        at += 1;
    }
    let uri = line.get(..end).unwrap_or_default();
    if at >= line.len() {
        return (uri, Some(HTTP_09));
    }
    let version = line.get(at + 5..).filter(|rest| rest.len() >= 3);
    (uri, version.map(read_version))
}

/// Whether `HTTP/` begins here; in lower case too, which is odd.
fn is_http(text: &[u8], weird: Weird<'_>) -> bool {
    let Some(head) = text.get(..5) else { return false };
    if head == b"HTTP/" {
        return true;
    }
    let lower = head.eq_ignore_ascii_case(b"HTTP/");
    if lower {
        weird("lowercase_HTTP_keyword");
    }
    lower
}

fn read_version(text: &[u8]) -> Version {
    match *text {
        [major, b'.', minor, ..] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            (major - b'0', minor - b'0')
        }
        _ => (0, 0),
    }
}

/// Reads a status line. `Err` holds the version of a line that has no code.
pub fn status_line<'a>(
    line: &'a [u8],
    weird: Weird<'_>,
) -> Result<StatusLine<'a>, Option<Version>> {
    if !is_http(line, weird) {
        return Err(None);
    }
    let rest = line.get(5..).unwrap_or_default();
    let version = read_version(rest);
    let code_at = memchr2(b' ', b'\t', rest).ok_or(Some(version))?;
    let rest = skip_blanks(rest.get(code_at..).unwrap_or_default());
    let digits = rest.get(..3).ok_or(Some(version))?;
    let code = if digits.iter().all(u8::is_ascii_digit) {
        digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'))
    } else {
        0
    };
    let rest = rest.get(3..).unwrap_or_default();
    let reason =
        memchr2(b' ', b'\t', rest).map(|at| skip_blanks(rest.get(at..).unwrap_or_default()));
    Ok(StatusLine { version, code, reason })
}

/// `text` without the spaces and tabs it begins with.
pub fn skip_blanks(text: &[u8]) -> &[u8] {
    let count = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    text.get(count..).unwrap_or_default()
}

/// A character of a token, RFC 2616 section 2.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&byte)
}

/// A character that may stand in a URI (RFC 3986 section 2); for Zeek also the zero byte.
fn is_uri(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b":/?#[]@!$&'()*+,;=-_.~%\0".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> (Result<RequestLine<'_>, NoRequest>, Vec<&'static str>) {
        let mut weirds = Vec::new();
        let found = request_line(line.as_bytes(), &mut |name| weirds.push(name));
        (found, weirds)
    }

    #[test]
    fn request_lines() {
        for (line, want) in [
            ("GET / HTTP/1.1", ("GET", "/", Some((1, 1)))),
            ("GET  /a b  HTTP/1.0 x", ("GET", "/a b", Some((1, 0)))),
            ("GET /a", ("GET", "/a", Some((0, 9)))),
            ("GET /a b", ("GET", "/a", Some((0, 9)))),
            ("GET /a bc", ("GET", "/a b", Some((0, 9)))),
            ("GET / HTTP/x.y", ("GET", "/", Some((0, 0)))),
            ("GET / HTTP/1", ("GET", "/", None)),
            ("GET HTTP/1.1", ("GET", "", Some((1, 1)))),
        ] {
            let (found, _) = request(line);
            let (method, uri, version) = want;
            let want = RequestLine { method: method.as_bytes(), uri: uri.as_bytes(), version };
            assert_eq!(found, Ok(want), "{line}");
        }
        for (line, weird) in [
            ("", "bad_HTTP_request"),
            ("GET", "bad_HTTP_request"),
            ("\u{1}GET / HTTP/1.1", "bad_HTTP_request_with_version"),
            ("AB /", "bad_HTTP_request"),
        ] {
            let (found, weirds) = request(line);
            assert!(found.is_err(), "{line}");
            assert_eq!(weirds, [weird], "{line}");
        }
        assert_eq!(request("GET / http/1.1").1, ["lowercase_HTTP_keyword"]);
        assert_eq!(request("GET HTTP/1.1").1, ["missing_HTTP_uri"]);
    }

    #[test]
    fn status_lines() {
        let mut none = |name: &'static str| panic!("{name}");
        let mut read = |line: &'static str| status_line(line.as_bytes(), &mut none);
        let ok = |version, code, reason: Option<&'static str>| {
            Ok(StatusLine { version, code, reason: reason.map(str::as_bytes) })
        };
        assert_eq!(read("HTTP/1.1 200 OK then"), ok((1, 1), 200, Some("OK then")));
        assert_eq!(read("HTTP/1.1 200"), ok((1, 1), 200, None));
        assert_eq!(read("HTTP/1.1 200 "), ok((1, 1), 200, Some("")));
        assert_eq!(read("HTTP/2 abc"), ok((0, 0), 0, None));
        assert_eq!(read("HTTP/1.1"), Err(Some((1, 1))));
        assert_eq!(read("HTTP/1.1 20"), Err(Some((1, 1))));
        assert_eq!(read("ICY 200 OK"), Err(None));
    }
}
