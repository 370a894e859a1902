//! The policy document as TOML: read, checked, and what is wrong with it by line, column and key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fmt::Write as _;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use sha2::{Digest as _, Sha256};
use toml::Spanned;

use super::terms::{Length, Many, NetTerm, NoteTerm, Pattern, Until, note};
use super::{
    Action, DOCUMENT_BYTES_MAX, HOSTS_MAX, Match, NAME_MAX, Policy, RULES_MAX, Rule,
    SUPPRESS_FOR_MAX_US, Side, WITHIN_MAX_US, WORKERS_MAX, When,
};

/// How long a rule with `when.workers` counts unless it says so, microseconds: as long as Zeek holds back.
const WORKERS_WITHIN_US: i64 = crate::detector::SUPPRESS_FOR_US;
/// Bytes of the hash that names a version.
const VERSION_BYTES: usize = 6;

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Line, from 1; 0 where it is the whole.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// The key at fault, such as `rule.src`; empty where there is none.
    pub key: String,
    /// What is wrong, and what to do.
    pub what: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}, column {}: ", self.line, self.column)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for Wrong {}

impl Wrong {
    /// What is wrong with a piece of a text.
    fn at(text: &str, span: Option<Range<usize>>, key: &str, what: impl Into<String>) -> Wrong {
        let (line, column) = span.map_or((0, 0), |span| place(text, span.start));
        Wrong { line, column, key: key.to_owned(), what: what.into() }
    }

    /// The same of what the TOML reader says.
    fn toml(text: &str, mut error: toml::de::Error) -> Wrong {
        let (span, what) = (error.span(), error.message().replace('\n', ", "));
        // Without the text it tells the keys instead.
        error.set_input(None);
        let said = error.to_string();
        let key = said.rsplit_once("in `").map_or("", |(_, key)| key.trim_end().trim_matches('`'));
        Wrong::at(text, span, key, what)
    }
}

/// Line and column of a byte, from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Text {
    default_suppression_interval: Option<Suppression>,
    ignored_types: Vec<NoteTerm>,
    alarmed_types: Vec<NoteTerm>,
    not_suppressed_types: Vec<NoteTerm>,
    type_suppression_intervals: BTreeMap<Spanned<String>, Suppression>,
    allow: Vec<Spanned<AllowText>>,
    rule: Vec<Spanned<RuleText>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowText {
    note: Option<Many<NoteTerm>>,
    src: Option<Many<NetTerm>>,
    dst: Option<Many<NetTerm>>,
    net: Option<Many<NetTerm>>,
    workers: Option<Many<Pattern>>,
    until: Option<Until>,
    /// For people.
    #[serde(rename = "why")]
    _why: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    name: Spanned<String>,
    note: Option<Many<NoteTerm>>,
    src: Option<Many<NetTerm>>,
    dst: Option<Many<NetTerm>>,
    net: Option<Many<NetTerm>>,
    workers: Option<Many<Pattern>>,
    until: Option<Until>,
    when: Option<When>,
    action: Spanned<Action>,
    suppress_for: Option<Suppression>,
}

/// A length of time that a notice can be held back for, microseconds.
struct Suppression(i64);

impl<'de> Deserialize<'de> for Suppression {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Suppression, D::Error> {
        let Length(us) = Length::deserialize(from)?;
        if us > SUPPRESS_FOR_MAX_US {
            return Err(D::Error::custom("more than a year: use action = \"ignore\" instead"));
        }
        Ok(Suppression(us))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhenText {
    workers: Option<u32>,
    hosts: Option<u32>,
    within: Option<Length>,
    of: Option<Side>,
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<When, D::Error> {
        let wrong = |what: String| Err(D::Error::custom(what));
        let WhenText { workers, hosts, within, of } = WhenText::deserialize(from)?;
        if let Some(Length(us)) = within
            && !(1..=WITHIN_MAX_US).contains(&us)
        {
            return wrong("`within` is longer than nothing and a day at most".into());
        }
        match (workers, hosts, within) {
            (Some(least), None, _) if of.is_none() => {
                if !(1..=WORKERS_MAX).contains(&least) {
                    return wrong(format!("`workers` is a number from 1 to {WORKERS_MAX}"));
                }
                let within_us = within.map_or(WORKERS_WITHIN_US, |Length(us)| us);
                Ok(When::Workers { least, within_us })
            }
            (None, Some(least), Some(Length(within_us))) => {
                if !(2..=HOSTS_MAX).contains(&least) {
                    return wrong(format!("`hosts` is a number from 2 to {HOSTS_MAX}"));
                }
                Ok(When::Hosts { least, within_us, of: of.unwrap_or_default() })
            }
            _ => wrong(
                "write { workers = 3 } or { hosts = 20, within = \"10m\" }; `within` may stand with \
                 workers, `of` = \"src\" or \"dst\" with hosts"
                    .into(),
            ),
        }
    }
}

/// Reads and checks a document.
pub(super) fn parse(text: &str) -> Result<Policy, Wrong> {
    if text.len() > DOCUMENT_BYTES_MAX {
        let what = format!("{} bytes, and {DOCUMENT_BYTES_MAX} fit", text.len());
        return Err(Wrong::at(text, None, "", what));
    }
    let read: Text = toml::from_str(text).map_err(|error| Wrong::toml(text, error))?;
    let count = read.rule.len() + read.allow.len();
    if count > RULES_MAX {
        let what = format!("{count} rules and allowances, and {RULES_MAX} fit");
        return Err(Wrong::at(text, None, "", what));
    }
    let notes = |all: Vec<NoteTerm>| all.into_iter().map(|NoteTerm(pattern)| pattern).collect();
    Ok(Policy {
        version: version(text.as_bytes()),
        ignored_types: notes(read.ignored_types),
        alarmed_types: notes(read.alarmed_types),
        not_suppressed_types: notes(read.not_suppressed_types),
        type_suppression_intervals: intervals(text, read.type_suppression_intervals)?,
        default_suppression_us: read.default_suppression_interval.map(|Suppression(us)| us),
        allow: read.allow.into_iter().map(|of| allow(text, of)).collect::<Result<_, _>>()?,
        rules: rules(text, read.rule)?,
    })
}

/// What a document is called: the same bytes are the same version.
pub fn version(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().take(VERSION_BYTES).fold(String::new(), |mut name, byte| {
        // Writing to a string cannot fail.
        let _ = write!(name, "{byte:02x}");
        name
    })
}

/// Exact names first, then the longer beginnings.
fn intervals(
    text: &str,
    read: BTreeMap<Spanned<String>, Suppression>,
) -> Result<Vec<(Pattern, i64)>, Wrong> {
    let mut all = Vec::new();
    for (key, Suppression(us)) in read {
        let wrong = |what| {
            Wrong::at(
                text,
                Some(key.span()),
                &format!("type_suppression_intervals.{key}", key = key.get_ref()),
                what,
            )
        };
        all.push((key.get_ref().len(), note(key.get_ref()).map_err(wrong)?, us));
    }
    all.sort_by_key(|(length, pattern, _)| (!pattern.is_exact(), usize::MAX - length));
    Ok(all.into_iter().map(|(_, pattern, us)| (pattern, us)).collect())
}

fn allow(text: &str, read: Spanned<AllowText>) -> Result<Match, Wrong> {
    let span = read.span();
    let AllowText { note, src, dst, net, workers, until, _why } = read.into_inner();
    let matches = matched(note, src, dst, net, workers, until);
    let always = Match { until: None, ..matches.clone() };
    if always.is_open() {
        let what = "it allows everything: say note, src, dst, net or workers";
        return Err(Wrong::at(text, Some(span), "allow", what));
    }
    Ok(matches)
}

fn matched(
    note: Option<Many<NoteTerm>>,
    src: Option<Many<NetTerm>>,
    dst: Option<Many<NetTerm>>,
    net: Option<Many<NetTerm>>,
    workers: Option<Many<Pattern>>,
    until: Option<Until>,
) -> Match {
    let nets = |many: Option<Many<NetTerm>>| many.map(|Many(nets)| nets);
    Match {
        note: note.map(|Many(all)| all.into_iter().map(|NoteTerm(pattern)| pattern).collect()),
        src: nets(src),
        dst: nets(dst),
        net: nets(net),
        workers: workers.map(|Many(all)| all),
        until: until.map(|Until(us)| us),
    }
}

fn rules(text: &str, read: Vec<Spanned<RuleText>>) -> Result<Vec<Rule>, Wrong> {
    let (mut all, mut names) = (Vec::<Rule>::new(), BTreeSet::new());
    for read in read {
        let span = read.span();
        let read = read.into_inner();
        let name = read.name.get_ref().clone();
        let wrong_name =
            |what: String| Err(Wrong::at(text, Some(read.name.span()), "rule.name", what));
        if name.is_empty() || name.chars().count() > NAME_MAX || name.contains(char::is_control) {
            return wrong_name(format!("a name has 1 to {NAME_MAX} characters"));
        }
        if !names.insert(name.clone()) {
            return wrong_name(format!("there are two rules `{name}`: counts are kept by name"));
        }
        if let Some(before) = all.last().filter(|rule| takes_all(rule)) {
            let what = format!(
                "rule `{}` before it takes everything: this one never matches",
                before.name
            );
            return Err(Wrong::at(text, Some(span), "rule", what));
        }
        let (action, when) = (*read.action.get_ref(), read.when.unwrap_or(When::Always));
        if action == Action::Ignore && matches!(when, When::Hosts { .. }) {
            let what = "with `when.hosts` there is a notice of its own: log or alarm it";
            return Err(Wrong::at(text, Some(read.action.span()), "rule.action", what));
        }
        let RuleText { note, src, dst, net, workers, until, suppress_for, .. } = read;
        all.push(Rule {
            name,
            matches: matched(note, src, dst, net, workers, until),
            when,
            action,
            suppress_for_us: suppress_for.map(|Suppression(us)| us),
        });
    }
    Ok(all)
}

/// Whether nothing gets past a rule.
fn takes_all(rule: &Rule) -> bool {
    rule.matches.is_open() && rule.when == When::Always
}
