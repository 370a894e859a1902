//! What is done with a notice: one document for the whole cluster, Zeek's notice policy as data
//! (`base/frameworks/notice/main.zeek`). No I/O, no clock, no state: the same document and the same
//! notice give the same verdict everywhere, and the time that counts is the notice's own.
//!
//! In order, as in a firewall:
//! 1. `ignored_types`, and `[[allow]]` until it ends: ignored.
//! 2. `[[rule]]`s from the top: the first that matches decides. A rule with `when.workers` matches once that
//!    many workers saw the notice; one with `when.hosts` counts what comes to it and passes it on.
//! 3. `alarmed_types`: alarmed. Anything else: logged.
//!
//! - [`document`]: the TOML and what is wrong with it. [`terms`]: its words.

use std::net::IpAddr;

use crate::detector::SUPPRESS_FOR_US;

pub mod document;
pub mod terms;

pub use document::Wrong;
use terms::{NetTerm, Pattern};

/// Bytes of a document: managers keep it with the state of every lane.
pub const DOCUMENT_BYTES_MAX: usize = 256 << 10;
/// Rules and allowances of a document: a notice is held against each.
pub const RULES_MAX: usize = 1_000;
/// Workers that a rule can wait for; a cluster has fewer.
pub const WORKERS_MAX: u32 = 1_024;
/// Hosts that a rule can wait for: each is a piece of state until then.
pub const HOSTS_MAX: u32 = 10_000;
/// The longest that counts are kept, microseconds: a day.
pub const WITHIN_MAX_US: i64 = 24 * 3_600_000_000;
/// The longest suppression that a document can ask for, microseconds: a year.
pub const SUPPRESS_FOR_MAX_US: i64 = 366 * 24 * 3_600_000_000;
/// Characters of a rule's name.
pub const NAME_MAX: usize = 64;

/// What is done with a notice; the greater has more of a person's attention.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing; it is counted.
    Ignore,
    /// A row of notice.log.
    #[default]
    Log,
    /// That, and a row of notice_alarm.log.
    Alarm,
}

impl Action {
    /// As Zeek's column `actions` has it.
    pub fn zeek(self) -> &'static [&'static str] {
        match self {
            Action::Ignore => &[],
            Action::Log => &["Notice::ACTION_LOG"],
            Action::Alarm => &["Notice::ACTION_ALARM", "Notice::ACTION_LOG"],
        }
    }
}

/// Which address of a notice is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Its source.
    #[default]
    Src,
    /// Its destination.
    Dst,
}

/// What has to be so in the cluster before a rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Nothing.
    Always,
    /// So many workers saw the same notice.
    Workers {
        /// How many.
        least: u32,
        /// Within how long, microseconds.
        within_us: i64,
    },
    /// Notices that match are of so many hosts.
    Hosts {
        /// How many.
        least: u32,
        /// Within how long, microseconds.
        within_us: i64,
        /// Which of the addresses.
        of: Side,
    },
}

/// Which notices are meant: every condition that is there has to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Match {
    /// Its type is one of these.
    pub note: Option<Vec<Pattern>>,
    /// Its source lies in one of these.
    pub src: Option<Vec<NetTerm>>,
    /// Its destination does.
    pub dst: Option<Vec<NetTerm>>,
    /// Either does.
    pub net: Option<Vec<NetTerm>>,
    /// One of these workers saw it.
    pub workers: Option<Vec<Pattern>>,
    /// It happened before this, microseconds.
    pub until: Option<i64>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name, unique in the document: counts are kept under it.
    pub name: String,
    /// Which notices.
    pub matches: Match,
    /// And what of the cluster.
    pub when: When,
    /// What is done with them.
    pub action: Action,
    /// How long one holds back its like, microseconds; unset: as its type says.
    pub suppress_for_us: Option<i64>,
}

/// A document, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// First of its SHA-256, hexadecimal; empty where there is no document.
    pub version: String,
    /// Types that nobody wants.
    pub ignored_types: Vec<Pattern>,
    /// Types that alarm.
    pub alarmed_types: Vec<Pattern>,
    /// Types that hold nothing back.
    pub not_suppressed_types: Vec<Pattern>,
    /// How long types hold back their like, microseconds: exact names first.
    pub type_suppression_intervals: Vec<(Pattern, i64)>,
    /// The same for all others.
    pub default_suppression_us: Option<i64>,
    /// What is expected, each for a time.
    pub allow: Vec<Match>,
    /// The rules in order.
    pub rules: Vec<Rule>,
}

/// What a policy sees of a notice.
#[derive(Debug, Clone, Copy)]
pub struct Notice<'a> {
    /// When it happened, microseconds.
    pub ts: i64,
    /// Its type.
    pub note: &'a str,
    /// Its source.
    pub src: Option<IpAddr>,
    /// Its destination.
    pub dst: Option<IpAddr>,
    /// Who saw it.
    pub workers: &'a [&'a str],
    /// How long it holds back its like as whoever raised it has it, microseconds; not positive: as usual.
    pub suppress_for_us: i64,
}

/// What becomes of a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict<'p> {
    /// What is done.
    pub action: Action,
    /// How long it holds back its like, microseconds; 0 for not at all.
    pub suppress_for_us: i64,
    /// The rule that decided.
    pub rule: Option<&'p Rule>,
    /// Rules with `when.hosts` that it counts for.
    pub counts: Vec<&'p Rule>,
}

impl Match {
    /// Whether a notice is meant.
    pub fn holds(&self, notice: &Notice<'_>) -> bool {
        let is_in = |nets: &Option<Vec<NetTerm>>, ips: &[Option<IpAddr>]| {
            let inside = |ip: &IpAddr| nets.iter().flatten().any(|net| net.0.contains(*ip));
            nets.is_none() || ips.iter().flatten().any(inside)
        };
        let named = |patterns: &Option<Vec<Pattern>>, name: &str| {
            patterns.as_ref().is_none_or(|all| all.iter().any(|pattern| pattern.matches(name)))
        };
        self.until.is_none_or(|until| notice.ts < until)
            && named(&self.note, notice.note)
            && is_in(&self.src, &[notice.src])
            && is_in(&self.dst, &[notice.dst])
            && is_in(&self.net, &[notice.src, notice.dst])
            && (self.workers.is_none()
                || notice.workers.iter().any(|worker| named(&self.workers, worker)))
    }

    /// Whether it holds for every notice.
    pub fn is_open(&self) -> bool {
        *self == Match::default()
    }
}

impl Policy {
    /// Reads and checks a document.
    ///
    /// # Errors
    /// What is wrong, with line, column and key. Nothing of such a document is used.
    pub fn parse(text: &str) -> Result<Policy, Wrong> {
        document::parse(text)
    }

    /// What becomes of a notice. `reached` is asked of rules with `when.workers` that match otherwise whether
    /// enough workers saw it by now.
    pub fn decide<'p>(
        &'p self,
        notice: &Notice<'_>,
        reached: &mut dyn FnMut(&'p Rule) -> bool,
    ) -> Verdict<'p> {
        let by_type = self.suppression_of(notice);
        let mut verdict =
            Verdict { action: Action::Log, suppress_for_us: by_type, rule: None, counts: vec![] };
        if is_one(&self.ignored_types, notice.note) || self.allow.iter().any(|m| m.holds(notice)) {
            verdict.action = Action::Ignore;
            return verdict;
        }
        for rule in self.rules.iter().filter(|rule| rule.matches.holds(notice)) {
            match rule.when {
                When::Hosts { .. } => {
                    verdict.counts.push(rule);
                    continue;
                }
                When::Workers { .. } if !reached(rule) => continue,
                When::Workers { .. } | When::Always => {}
            }
            verdict.action = rule.action;
            verdict.suppress_for_us = rule.suppress_for_us.unwrap_or(by_type);
            verdict.rule = Some(rule);
            return verdict;
        }
        if is_one(&self.alarmed_types, notice.note) {
            verdict.action = Action::Alarm;
        }
        verdict
    }

    /// How long a notice holds back its like where no rule says so, microseconds.
    fn suppression_of(&self, notice: &Notice<'_>) -> i64 {
        if let Some(us) = self.type_suppression_us(notice.note) {
            return us;
        }
        if notice.suppress_for_us > 0 {
            return notice.suppress_for_us;
        }
        self.default_suppression_us.unwrap_or(SUPPRESS_FOR_US)
    }

    /// What the document says of a type's suppression.
    pub fn type_suppression_us(&self, note: &str) -> Option<i64> {
        let interval = self.type_suppression_intervals.iter().find(|(of, _)| of.matches(note));
        let none = || is_one(&self.not_suppressed_types, note).then_some(0);
        interval.map(|(_, us)| *us).or_else(none)
    }

    /// The rule of a name.
    pub fn rule(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.name == name)
    }
}

fn is_one(patterns: &[Pattern], note: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(note))
}

#[cfg(test)]
mod tests;
