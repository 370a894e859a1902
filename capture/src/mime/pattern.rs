//! The small pattern language in which the tables of magic numbers are written.
//!
//! Not a regular expression engine: a pattern is a row of steps from the first byte on, and only
//! [`Step::Later`] looks further. Matching takes time linear in the data for each such step.

use Step::{Any, I, In, Later, Opt, Or, Rep, S};
use memchr::memmem::{self, Finder};

/// A set of bytes, as inclusive ranges.
pub type Bytes = &'static [(u8, u8)];

/// One step of a pattern.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// These bytes.
    S(&'static [u8]),
    /// These bytes, letters in either case; written in lower case.
    I(&'static [u8]),
    /// So many bytes, whatever they are.
    Any(usize),
    /// One byte out of a set.
    In(Bytes),
    /// Bytes out of a set: at least, at most.
    Rep(Bytes, usize, usize),
    /// One of these.
    Or(&'static [&'static [Step]]),
    /// These steps or nothing.
    Opt(&'static [Step]),
    /// The following steps match here or anywhere later.
    Later,
}

/// A pattern made ready.
#[derive(Debug)]
pub struct Pattern {
    steps: &'static [Step],
    /// What a pattern that begins anywhere begins with.
    finder: Option<Finder<'static>>,
}

impl Pattern {
    /// Makes a pattern ready.
    pub fn new(steps: &'static [Step]) -> Pattern {
        let finder = match steps {
            [Later, S(bytes), ..] => Some(Finder::new(bytes)),
            _ => None,
        };
        Pattern { steps, finder }
    }

    /// Whether it matches, from the first byte of `data` on.
    pub fn matches(&self, data: &[u8]) -> bool {
        let absent = self.finder.as_ref().is_some_and(|finder| finder.find(data).is_none());
        !absent && matches(self.steps, data)
    }
}

/// Whether what the pattern matches can begin with this byte.
pub fn may_begin_with(pattern: &[Step], byte: u8) -> bool {
    let Some((step, rest)) = pattern.split_first() else { return true };
    match *step {
        S(bytes) => bytes.first() == Some(&byte),
        I(bytes) => bytes.first().is_some_and(|first| first.eq_ignore_ascii_case(&byte)),
        In(set) => within(set, byte),
        Rep(set, least, _) => within(set, byte) || (least == 0 && may_begin_with(rest, byte)),
        Or(choices) => choices.iter().any(|choice| may_begin_with(choice, byte)),
        Opt(steps) => may_begin_with(steps, byte) || may_begin_with(rest, byte),
        Any(_) | Later => true,
    }
}

/// Whether the pattern matches a prefix of `data`.
fn matches(pattern: &[Step], data: &[u8]) -> bool {
    let mut at = 0;
    let parts = pattern.split(|step| matches!(step, Later));
    for (i, part) in parts.enumerate() {
        let end = if i > 0 { find(part, data, at) } else { here(part, data, at) };
        match end {
            Some(end) => at = end,
            None => return false,
        }
    }
    true
}

/// The end of the first place at or after `from` where the steps match.
fn find(steps: &[Step], data: &[u8], from: usize) -> Option<usize> {
    let Some((S(first), rest)) = steps.split_first() else {
        return (from..=data.len()).find_map(|at| here(steps, data, at));
    };
    memmem::find_iter(data.get(from..)?, first)
        .find_map(|found| here(rest, data, from + found + first.len()))
}

/// Where a match of the steps that begins at `at` ends.
fn here(steps: &[Step], data: &[u8], at: usize) -> Option<usize> {
    let Some((step, rest)) = steps.split_first() else { return Some(at) };
    let tail = data.get(at..)?;
    match *step {
        S(bytes) => tail.starts_with(bytes).then(|| here(rest, data, at + bytes.len()))?,
        I(bytes) => {
            let head = tail.get(..bytes.len())?;
            head.eq_ignore_ascii_case(bytes).then(|| here(rest, data, at + bytes.len()))?
        }
        Any(count) => here(rest, data, at.checked_add(count).filter(|end| *end <= data.len())?),
        In(set) => within(set, *tail.first()?).then(|| here(rest, data, at + 1))?,
        Rep(set, least, most) => {
            let run = tail.iter().take(most).take_while(|byte| within(set, **byte)).count();
            (least..=run).rev().find_map(|count| here(rest, data, at + count))
        }
        Or(choices) => choices
            .iter()
            .find_map(|choice| here(choice, data, at).and_then(|end| here(rest, data, end))),
        Opt(steps) => here(steps, data, at)
            .and_then(|end| here(rest, data, end))
            .or_else(|| here(rest, data, at)),
        // `matches` cuts patterns there, so it never stands inside one.
        Later => None,
    }
}

fn within(set: Bytes, byte: u8) -> bool {
    set.iter().any(|(low, high)| (*low..=*high).contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps() {
        assert!(matches(&[S(b"ab"), Any(2), I(b"ef")], b"abcdEF"));
        assert!(!matches(&[S(b"ab"), Any(2), I(b"ef")], b"abcdE"));
        assert!(matches(&[Rep(&[(b'0', b'9')], 1, 3), S(b"9x")], b"199x"));
        assert!(!matches(&[Rep(&[(b'0', b'9')], 1, 3), S(b"x")], b"1999x"));
        assert!(matches(&[Opt(&[S(b"a")]), S(b"ab")], b"ab"));
        assert!(matches(&[Or(&[&[S(b"a")], &[S(b"ab")]]), S(b"c")], b"abc"));
        assert!(matches(&[Later, S(b"P1"), In(&[(b'0', b'9')])], b"..P1xP17"));
        assert!(matches(&[S(b"a"), Later, S(b"b"), Later, S(b"c")], b"a..b..c"));
        assert!(!matches(&[S(b"a"), Later, S(b"c"), Later, S(b"b")], b"a..b..c"));
        assert!(!matches(&[Any(3)], b"ab"));
    }
}
