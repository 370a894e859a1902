//! What becomes of each notice of a lane: policy, significance, suppression. All of it is state of the lane,
//! the document in force included, so that whoever takes the lane over decides as its last owner did.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Result;
use bus::{Lane, Outgoing, Stamp, Timeline, topic};
use bytes::Bytes;
use detect::policy::{self, Action, Policy, Rule, Side, When};
use model::id;
use model::stream::{Mark, partial};
use serde::{Deserialize, Serialize};

use crate::config::{Config, Counters};
use crate::significance::{Agreed, Enough, Enoughs, Hosts, Saw, Sight, Workers};
use crate::state::{Key, Line, json};
use crate::suppress::{Copied, Over, Span, Suppressions};

/// The rule's name on `partial` under which lanes send what they count for rules of the policy.
pub const COUNT_RULE: &str = "policy-hosts";
/// Type of the notice that a rule's hosts are enough; Zeek's for counts of notices.
pub const TALLY: &str = "Notice::Tally";
/// Hosts named in such a notice: enough to begin with, and a cell that stays readable.
const HOSTS_NAMED: usize = 20;

/// A document and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// As it was pushed.
    pub text: String,
    /// As it is read.
    pub policy: Policy,
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Arc<Document>, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let policy = Policy::parse(text).map_err(|wrong| wrong.to_string())?;
        Ok(Arc::new(Document { text: text.to_owned(), policy }))
    }
}

/// A document as it lies in the state.
#[derive(Serialize, Deserialize)]
struct Kept {
    text: String,
}

/// A notice to decide on.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Its timeline.
    pub line: Line,
    /// When it happened.
    pub ts: i64,
    /// When it was written.
    pub written: i64,
    /// Its type.
    pub note: &'a str,
    /// What makes two of them the same.
    pub identifier: Option<&'a str>,
    /// Its source.
    pub src: Option<IpAddr>,
    /// Its destination.
    pub dst: Option<IpAddr>,
    /// Who saw it.
    pub workers: &'a [&'a str],
    /// How long it asks to be held back for.
    pub suppress_for_us: i64,
    /// A copy of one that went out: it only counts up.
    pub is_copy: bool,
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// What is done.
    pub action: Action,
    /// How long it holds back its like.
    pub suppress_for_us: i64,
    /// All that saw it, where a rule waited for them.
    pub agreed: Option<Agreed>,
}

/// What a lane decides by, and remembers of what it decided.
#[derive(Debug)]
pub struct Decider {
    lane: Lane,
    document: Option<Arc<Document>>,
    is_adopted: bool,
    suppressions: Suppressions,
    workers: Workers,
    hosts: Hosts,
    /// Counted for rules, on its way to their lanes: rule, host, when written, sight.
    counts: Vec<(Line, String, String, i64, Sight)>,
}

impl Decider {
    /// Nothing was decided yet.
    pub fn new(lane: Lane, config: &Config) -> Decider {
        Decider {
            lane,
            document: None,
            is_adopted: false,
            suppressions: Suppressions::new(config.suppressions_max),
            workers: Workers::new(config.significance_max),
            hosts: Hosts::new(config.significance_max),
            counts: Vec::new(),
        }
    }

    /// A piece of its state.
    pub fn restore(&mut self, key: Key, value: &[u8]) -> Result<()> {
        match key {
            Key::Policy => {
                let Kept { text } = serde_json::from_slice(value)?;
                let read = Document::parse(text.as_bytes());
                // A newer weir took it: without it, all is logged.
                let refuse = |why: &String| tracing::error!(lane = self.lane, "policy: {why}");
                self.document = read.inspect_err(refuse).ok();
            }
            Key::Suppress(line, note, identifier) => {
                let span: Span = serde_json::from_slice(value)?;
                self.suppressions.restore((line, note, identifier), span);
            }
            Key::Saw(line, rule, note, identifier) => {
                let saw: Saw = serde_json::from_slice(value)?;
                self.workers.restore((line, rule, note, identifier), saw);
            }
            Key::Host(line, rule, host, waits) => {
                let kept: (i64, Sight) = serde_json::from_slice(value)?;
                self.hosts.restore((line, rule), host, waits, kept);
            }
            _ => {}
        }
        Ok(())
    }

    /// Version of the document in force; empty without one.
    pub fn version(&self) -> &str {
        self.document.as_ref().map_or("", |document| &document.policy.version)
    }

    /// Decides by another document from here on. Counts go on under rules that are still there.
    pub fn adopt(&mut self, document: Option<&Arc<Document>>) {
        if self.document.as_ref().map(|of| &of.text) == document.map(|of| &of.text) {
            return;
        }
        self.document = document.cloned();
        self.is_adopted = true;
        let document = self.document.clone();
        let rule = |name: &str| document.as_ref().and_then(|of| of.policy.rule(name));
        self.workers.forget(|_, name| {
            !rule(name).is_some_and(|rule| matches!(rule.when, When::Workers { .. }))
        });
        self.hosts.forget(|_, name| hosts_of(document.as_deref(), name).is_none());
    }

    /// Whether there are rules that count hosts.
    pub fn counts_hosts(&self) -> bool {
        let is_one = |rule: &Rule| matches!(rule.when, When::Hosts { .. });
        self.document.as_ref().is_some_and(|document| document.policy.rules.iter().any(is_one))
    }

    /// What becomes of a notice; `None` if it is not logged.
    pub fn decide(&mut self, seen: &Seen<'_>, counters: &mut Counters) -> Option<Decided> {
        let document = self.document.clone();
        let none = Policy::default();
        let policy = document.as_ref().map_or(&none, |document| &document.policy);
        let Seen { line, ts, note, identifier, workers, .. } = *seen;
        let notice = policy::Notice {
            ts,
            note,
            src: seen.src,
            dst: seen.dst,
            workers,
            suppress_for_us: seen.suppress_for_us,
        };
        let (mut agreed, mut is_reached) = (None, false);
        let verdict = policy.decide(&notice, &mut |rule| {
            let When::Workers { least, within_us } = rule.when else { return false };
            let Some(identifier) = identifier else { return workers.len() >= least as usize };
            let same = (line, rule.name.clone(), note.to_owned(), identifier.to_owned());
            let Some((all, is_new)) = self.workers.see(same, ts, workers, (least, within_us))
            else {
                return false;
            };
            (agreed, is_reached) = (Some(all), is_new);
            true
        });
        let (action, suppress_for_us) = (verdict.action, verdict.suppress_for_us);
        for rule in verdict.counts {
            self.count(rule, seen);
        }
        if action == Action::Ignore {
            counters.ignored += 1;
            return None;
        }
        if let Some(identifier) = identifier {
            let kind = (line, note.to_owned(), identifier.to_owned());
            let is_held = self.suppressions.holds_back(&kind, &Copied { ts, action, workers });
            // The one that a copy is of is out, or was ignored: it is news only where it made workers enough.
            if is_held || (seen.is_copy && !is_reached) {
                counters.suppressed += 1;
                return None;
            }
            self.suppressions.begin(kind, ts, action, suppress_for_us);
        }
        counters.alarms += u64::from(action == Action::Alarm);
        Some(Decided { action, suppress_for_us, agreed })
    }

    /// A notice counts for a rule's hosts.
    fn count(&mut self, rule: &Rule, seen: &Seen<'_>) {
        let When::Hosts { of, .. } = rule.when else { return };
        let host = match of {
            Side::Src => seen.src,
            Side::Dst => seen.dst,
        };
        let Some(host) = host else { return };
        let workers = seen.workers.iter().map(|worker| (*worker).to_owned()).collect();
        let sight = Sight { first: seen.ts, last: seen.ts, workers };
        self.counts.push((seen.line, rule.name.clone(), host.to_string(), seen.written, sight));
    }

    /// What was counted, as rows of `partial` for the lanes where rules are judged. `told` is how far they
    /// know this lane to be.
    pub fn send_counts(&mut self, told: impl Fn(Line) -> i64, config: &Config) -> Vec<Outgoing> {
        let mut batches: BTreeMap<(Lane, Line), partial::Batch> = BTreeMap::new();
        for (line, rule, host, written, sight) in std::mem::take(&mut self.counts) {
            let lane = id::partition(format!("{COUNT_RULE}\0{rule}").as_bytes(), config.lanes);
            let observers: Vec<&str> = sight.workers.iter().map(String::as_str).collect();
            let row = partial::Row {
                ts: sight.first,
                rule: COUNT_RULE,
                entity: &rule,
                first_ts: sight.first,
                last_ts: sight.last,
                observations: 1,
                state: &host,
                observers: &observers,
            };
            batches.entry((lane, line)).or_default().push(Mark::at(written, lane), row);
        }
        let rows = |((lane, line), mut batch): ((Lane, Line), partial::Batch)| {
            let rows = batch.finish(&config.node).0;
            let stamp = stamp(self.lane, line, told(line), false);
            Outgoing::rows(topic::PARTIAL, lane, &partial::DEF, rows).stamped(stamp)
        };
        batches.into_iter().map(rows).collect()
    }

    /// A host that some lane counted. The rule may be of a document that another manager heard of first: it
    /// waits until this one has.
    pub fn take_count(&mut self, line: Line, rule: &str, host: String, written: i64, sight: Sight) {
        self.hosts.take((line, rule.to_owned()), written, host, sight);
    }

    /// Rules whose hosts are enough by what was written before `until`.
    pub fn judge_hosts(&mut self, line: Line, until: i64) -> Vec<Enough> {
        let document = self.document.clone();
        let enough = |name: &str| hosts_of(document.as_deref(), name);
        let mut found = Vec::new();
        self.hosts.judge(line, until, &enough, &mut found);
        self.hosts.relieve(&enough, &mut found);
        self.hosts.expire(line, until, &enough as Enoughs<'_>);
        found
    }

    /// What is done with a rule whose hosts are enough, and the words for it.
    pub fn decide_enough(
        &mut self,
        enough: &Enough,
        counters: &mut Counters,
    ) -> Option<(Decided, String, String)> {
        let document = self.document.clone()?;
        let rule = document.policy.rule(&enough.rule)?;
        let When::Hosts { within_us, .. } = rule.when else { return None };
        let by_type = document.policy.type_suppression_us(TALLY);
        let otherwise = document.policy.default_suppression_us;
        let suppress_for_us = rule
            .suppress_for_us
            .or(by_type)
            .or(otherwise)
            .unwrap_or(detect::detector::SUPPRESS_FOR_US);
        let kind = (enough.line, TALLY.to_owned(), rule.name.clone());
        let workers: Vec<&str> = enough.sight.workers.iter().map(String::as_str).collect();
        let (ts, action) = (enough.sight.last, rule.action);
        if self.suppressions.holds_back(&kind, &Copied { ts, action, workers: &workers }) {
            counters.suppressed += 1;
            return None;
        }
        self.suppressions.begin(kind, ts, action, suppress_for_us);
        counters.alarms += u64::from(action == Action::Alarm);
        let (count, seconds) = (enough.hosts.len(), within_us / 1_000_000);
        let time = format!("{}m{}s", seconds / 60, seconds % 60);
        let msg = format!("{count} hosts within {time}: rule `{}`", rule.name);
        let mut sub = enough.hosts.iter().take(HOSTS_NAMED).cloned().collect::<Vec<_>>().join(", ");
        if count > HOSTS_NAMED {
            sub.push_str(", …");
        }
        Some((Decided { action, suppress_for_us, agreed: None }, msg, sub))
    }

    /// The live watermark has come to `time`.
    pub fn expire(&mut self, time: i64, counters: &mut Counters) {
        self.suppressions.expire(time);
        self.workers.expire(time);
        let document = self.document.clone();
        self.hosts.expire_unknown(time, &|name| hosts_of(document.as_deref(), name));
        counters.suppressions_lost += std::mem::take(&mut self.suppressions.forgotten);
        counters.significance_lost += std::mem::take(&mut self.workers.forgotten);
        counters.significance_lost += std::mem::take(&mut self.hosts.early);
    }

    /// The round of files is over here.
    pub fn forget_files(&mut self) {
        self.suppressions.forget_files(|note| note != TALLY);
        self.workers.forget(|line, _| line == Line::File);
    }

    /// And in every lane that counts hosts for this one.
    pub fn forget_file_hosts(&mut self) {
        self.hosts.forget(|line, _| line == Line::File);
        self.suppressions.forget_files(|note| note == TALLY);
    }

    /// Spans that are over and held something back; `is_drained`: of all.
    pub fn over(&mut self, is_drained: bool) -> Vec<Over> {
        if is_drained {
            self.suppressions.tell_all();
        }
        self.suppressions.over()
    }

    /// Changes of state since it was last asked.
    pub fn changes(&mut self, changes: &mut BTreeMap<Key, Option<Bytes>>) {
        if std::mem::take(&mut self.is_adopted) {
            let kept = self.document.as_ref().map(|of| json(&Kept { text: of.text.clone() }));
            changes.insert(Key::Policy, kept);
        }
        let spans = self.suppressions.changes().into_iter();
        changes.extend(spans.map(|(key, span)| (key, span.as_ref().map(json))));
        let saw = self.workers.changes().into_iter();
        changes.extend(saw.map(|(key, saw)| (key, saw.as_ref().map(json))));
        let hosts = self.hosts.changes().into_iter();
        changes.extend(hosts.map(|(key, kept)| (key, kept.as_ref().map(json))));
    }

    /// What was restored is no change.
    pub fn is_restored(&mut self) {
        self.changes(&mut BTreeMap::new());
    }
}

/// How many hosts a rule waits for, and within how long.
fn hosts_of(document: Option<&Document>, name: &str) -> Option<(u32, i64)> {
    match document?.policy.rule(name)?.when {
        When::Hosts { least, within_us, .. } => Some((least, within_us)),
        _ => None,
    }
}

/// A manager lane's progress.
pub fn stamp(lane: Lane, line: Line, time: i64, end: bool) -> Stamp {
    let timeline = match line {
        Line::Live => Timeline::Live,
        Line::File => Timeline::File,
    };
    Stamp { source: format!("manager/{lane}"), timeline, time, end }
}

/// The texts of a set as they are borrowed.
pub fn borrowed(texts: &BTreeSet<String>) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}
