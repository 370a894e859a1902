//! Tells SQL in a request's target, as Zeek's `policy/protocols/http/detect-sql-injection.zeek` does for
//! the tag `URI_SQLI`.
//!
//! Its patterns are followed as sets of places: each step goes over the target once and keeps every
//! place that it may end at, so that no target takes more than linear time.

/// The tag, by its name in http.log.
pub const TAG: &str = "HTTP::URI_SQLI";

/// Bytes of a target that are looked at: a longer one is no query that a person or a tool writes.
const TARGET_BYTES_MAX: usize = 4096;

/// Words that open or join statements.
const STATEMENTS: &[&[u8]] = &[
    b"having", b"union", b"exec", b"select", b"delete", b"drop", b"declare", b"create", b"insert",
];

/// Words that join conditions; the odd ones slip past filters.
const CONDITIONS: &[&[u8]] = &[b"or", b"xor", b"and", b"nand"];

/// Functions that give themselves away.
const FUNCTIONS: &[&[u8]] =
    &[b"char(", b"ascii(", b"substring(", b"truncate(", b"version(", b"length("];

/// Whether an unescaped target looks like an injection.
pub fn is_injection(uri: &[u8]) -> bool {
    let uri = uri.get(..TARGET_BYTES_MAX).unwrap_or(uri);
    if !uri.iter().any(|byte| b"+;'(*".contains(byte) || is_blank(*byte)) {
        return false;
    }
    let narrow = Places::values(uri, |byte| is_blank(byte) || b"|+".contains(&byte));
    let wide = Places::values(uri, |byte| is_blank(byte) || byte == b'+');
    statement(&narrow)
        || condition(&narrow)
        || quoted_expression(&wide)
        || quoted_word(&narrow)
        || wide.over(Once::Any, |byte| byte != b'.').then(FUNCTIONS).is_found()
        || is_versioned_comment(uri)
}

/// `name=1 ; select …`: a value ends, a statement begins.
fn statement(values: &Places<'_>) -> bool {
    values
        .over(Once::AtLeast, |byte| byte.is_ascii_alphanumeric() || b"-%".contains(&byte))
        .over_gaps(Once::Any, b"+", &[])
        .maybe(b"'")
        .over_gaps(Once::AtLeast, b"+;", &[b");"])
        .over(Once::Any, |byte| byte != b'\n')
        .then(STATEMENTS)
        .over_gaps(Once::AtLeast, b"+", &[])
        .is_found()
}

/// `name=1 or 1=1`: a number ends, a condition follows.
fn condition(values: &Places<'_>) -> bool {
    let compared = values
        .over(Once::AtLeast, |byte| byte.is_ascii_digit() || b"-%".contains(&byte))
        .over_gaps(Once::Any, b"+", &[])
        .maybe(b"'")
        .over_gaps(Once::AtLeast, b"+;", &[b");"])
        .then(CONDITIONS)
        .over_gaps(Once::AtLeast, b"+", &[])
        .maybe(b"'");
    compared.then(&[b"exists"]).is_found()
        || compared
            .over(Once::Any, |byte| !byte.is_ascii_alphabetic() && byte != b'&')
            .then(&[b"="])
            .is_found()
}

/// `name='+1`: a quote, an operator, a value.
fn quoted_expression(values: &Places<'_>) -> bool {
    values
        .over(Once::Any, |byte| byte.is_ascii_digit() || b"-%".contains(&byte))
        .over_gaps(Once::Any, b"+", &[])
        .then(&[b"'"])
        .over_gaps(Once::Any, b"", &[])
        .then(&[b"-", b"=", b"+", b"||"])
        .over_gaps(Once::Any, b"+", &[])
        .then(&[
            b"0",
            b"1",
            b"2",
            b"3",
            b"4",
            b"5",
            b"6",
            b"7",
            b"8",
            b"9",
            b"convert",
            b"(convert",
            b"cast",
        ])
        .is_found()
}

/// `name=' union(select`: a quote, a word of SQL, another word.
fn quoted_word(values: &Places<'_>) -> bool {
    let opened =
        values.over_gaps(Once::Any, b"+", &[]).then(&[b"'"]).over_gaps(Once::Any, b"+;", &[]);
    let words = opened.then(CONDITIONS).or(opened.then(STATEMENTS)).or(opened.then(&[b"regexp"]));
    let is_word = |byte: u8| byte.is_ascii_alphabetic() || byte == b'&';
    words.over_gaps(Once::AtLeast, b"+[(", &[]).one(is_word).one(is_word).is_found()
}

/// A comment that MySQL of some version reads: `/*!50000 … */`.
fn is_versioned_comment(uri: &[u8]) -> bool {
    memchr::memmem::find_iter(uri, b"/*!").any(|at| {
        let rest = uri.get(at + 3..).unwrap_or_default();
        let digits = rest.get(..5).is_some_and(|digits| digits.iter().all(u8::is_ascii_digit));
        let line = rest.get(5..).unwrap_or_default().split(|byte| *byte == b'\n').next();
        digits && line.is_some_and(|line| memchr::memmem::find(line, b"*/").is_some())
    })
}

/// A space, a tab or a control character.
fn is_blank(byte: u8) -> bool {
    byte <= b' '
}

/// How often a step is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Once {
    /// Never or often.
    Any,
    /// Once or often.
    AtLeast,
}

/// Places of a target that may be reached, from 0 to its length.
#[derive(Clone)]
struct Places<'a> {
    uri: &'a [u8],
    reached: Vec<bool>,
}

impl<'a> Places<'a> {
    /// The places behind the `=` of each parameter; a byte that `ends` cannot stand in a name.
    fn values(uri: &'a [u8], ends: fn(u8) -> bool) -> Places<'a> {
        let mut places = Places::none(uri);
        let mut in_name = false;
        for (at, byte) in uri.iter().enumerate() {
            if in_name && *byte == b'=' {
                places.add(at + 1);
            }
            in_name = b"?&".contains(byte) || (in_name && !ends(*byte));
        }
        places
    }

    fn none(uri: &'a [u8]) -> Places<'a> {
        Places { uri, reached: vec![false; uri.len() + 1] }
    }

    fn add(&mut self, at: usize) {
        if let Some(place) = self.reached.get_mut(at) {
            *place = true;
        }
    }

    fn has(&self, at: usize) -> bool {
        self.reached.get(at) == Some(&true)
    }

    fn is_found(&self) -> bool {
        self.reached.contains(&true)
    }

    /// Over bytes of a kind.
    fn over(&self, often: Once, is_kind: impl Fn(u8) -> bool) -> Places<'a> {
        let mut next = self.start(often);
        for (at, byte) in self.uri.iter().enumerate() {
            if (self.has(at) || next.has(at)) && is_kind(*byte) {
                next.add(at + 1);
            }
        }
        next
    }

    /// Over what may stand between words: blanks, comments, these bytes and these strings.
    fn over_gaps(&self, often: Once, bytes: &[u8], strings: &[&[u8]]) -> Places<'a> {
        let mut next = self.start(often);
        if !self.is_found() {
            return next;
        }
        let mut comment = None;
        for (at, byte) in self.uri.iter().enumerate() {
            let tail = self.uri.get(at..).unwrap_or_default();
            if self.has(at) || next.has(at) {
                if is_blank(*byte) || bytes.contains(byte) {
                    next.add(at + 1);
                }
                for string in strings.iter().filter(|string| tail.starts_with(string)) {
                    next.add(at + string.len());
                }
                if comment.is_none() && tail.starts_with(b"/*") {
                    comment = Some(at + 2);
                }
            }
            // A comment may end at every `*/` of its line.
            if comment.is_some_and(|inside| at >= inside) && tail.starts_with(b"*/") {
                next.add(at + 2);
            }
            if *byte == b'\n' {
                comment = None;
            }
        }
        next
    }

    fn start(&self, often: Once) -> Places<'a> {
        match often {
            Once::Any => self.clone(),
            Once::AtLeast => Places::none(self.uri),
        }
    }

    /// Over one byte of a kind.
    fn one(&self, is_kind: impl Fn(u8) -> bool) -> Places<'a> {
        let mut next = Places::none(self.uri);
        for (at, byte) in self.uri.iter().enumerate() {
            if self.has(at) && is_kind(*byte) {
                next.add(at + 1);
            }
        }
        next
    }

    /// Over one of these words, in either case.
    fn then(&self, words: &[&[u8]]) -> Places<'a> {
        let mut next = Places::none(self.uri);
        for at in (0..self.uri.len()).filter(|at| self.has(*at)) {
            let tail = self.uri.get(at..).unwrap_or_default();
            for word in words {
                if tail.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word)) {
                    next.add(at + word.len());
                }
            }
        }
        next
    }

    /// Over this, or not.
    fn maybe(&self, word: &[u8]) -> Places<'a> {
        self.then(&[word]).or(self.clone())
    }

    fn or(mut self, other: Places<'a>) -> Places<'a> {
        for (place, also) in self.reached.iter_mut().zip(other.reached) {
            *place |= also;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn injections() {
        for uri in [
            "/a.php?id=1' or '1'='1",
            "/a.php?id=1+or+1=1",
            "/a.php?id=7;drop table users;--",
            "/a.php?id=-1/**/UnIoN/**/SELECT/**/1,2",
            "/a.php?b=2&id='+convert(int,1)",
            "/a.php?id=' xor(ab",
            "/a.php?id=1&x=substring(a,1)",
            "/a.php?id=5 and exists (select 1)",
            "/a.php?x=/*!50001 and*/",
        ] {
            assert!(is_injection(uri.as_bytes()), "{uri}");
        }
        for uri in [
            "/",
            "/a.php?id=1&select=2",
            "/a.php?q=it's a union of states",
            "/a.php?q=select a flight",
            "/a.php?v=1.substring(2)",
            "/a b;c(d)'e",
            "/a.php?x=/*!5001 and*/",
        ] {
            assert!(!is_injection(uri.as_bytes()), "{uri}");
        }
    }

    #[test]
    fn a_hostile_target_takes_linear_time() {
        let uri = "?a=1' /*".repeat(100_000);
        assert!(!is_injection(uri.as_bytes()));
    }
}
