//! The records of all roles added up, and compared with what lies on the bus, with the groups' positions and with
//! the sinks' files. Nothing here reads anything: whoever audits tells it what was found.
//!
//! The law ([`Ledger::balance`]): packets are their fates; rows made are rows sent and dropped; rows sent are rows on the
//! bus, writer by writer; rows on the bus are rows read, stretch by stretch; rows read are rows sent on, merged, still
//! open, kept back and dead, or for a sink rows in its files and dead. All of it holds of any part of the books, so that
//! retention may have taken their beginning.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{By, Counts, File, Places, Range, Record, Sum};
use crate::{Lane, topic};

mod balance;
mod stretch;
#[cfg(test)]
mod tests;

use stretch::Stretches;

/// What a packet can come to.
pub const FATES: [&str; 5] = ["not_ip", "undecodable", "bad_checksums", "fragments", "in_flows"];

/// Something that does not balance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// The role, as a group is called.
    pub role: String,
    /// The node, where it is one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The stream or topic.
    pub of: String,
    /// The partition, where it is one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<Lane>,
    /// How much more there is than should be, or less.
    pub rows: i64,
    /// What is wrong.
    pub what: String,
}

/// One member's part.
#[derive(Debug, Default)]
pub struct Writer {
    /// Its processes, by when they began: the first and last step that the books have.
    pub runs: BTreeMap<i64, (u64, u64)>,
    /// What it sent.
    pub output: Places<Sum>,
    /// Rows of it that are on the bus.
    pub on_bus: Places<u64>,
    /// What it counted.
    pub counts: Counts,
    /// Files that it committed.
    pub files: BTreeMap<u64, File>,
    /// When it was heard first and last, milliseconds by its clock.
    pub heard_ms: (i64, i64),
}

/// One group's part.
#[derive(Debug, Default)]
pub struct Group {
    /// What it is done with.
    pub input: Places<Stretches>,
    /// What it sent.
    pub output: BTreeMap<String, Sum>,
    /// Dead letters, by where they were read.
    pub dead: Places<Sum>,
    /// What its members counted.
    pub counts: Counts,
    /// Rows of files by stream.
    pub files: BTreeMap<String, u64>,
    /// Rows of dead letters as they were read, by topic, partition and offset.
    letters: BTreeMap<(String, Lane, i64), u64>,
}

/// A file as the catalogue has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogued {
    /// The stream.
    pub stream: String,
    /// Its rows.
    pub rows: u64,
    /// What is wrong with it where it should lie: how many rows are there and why.
    pub trouble: Option<(u64, String)>,
}

/// The books of a cluster.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Members by group and node.
    pub writers: BTreeMap<(String, String), Writer>,
    /// Groups by name.
    pub groups: BTreeMap<String, Group>,
    /// Rows on the bus.
    pub on_bus: Places<u64>,
    /// Rows on the bus that no role wrote, of topics that only roles write.
    pub foreign: Places<u64>,
    /// Files of the catalogue by sink (group and node) and counter.
    catalogue: BTreeMap<(String, String), BTreeMap<u64, Catalogued>>,
    /// Positions by group, topic and partition.
    positions: BTreeMap<String, Places<i64>>,
    /// Records on the bus do not say who wrote them.
    is_unsigned: bool,
}

impl Ledger {
    /// Empty books.
    pub fn new() -> Ledger {
        Ledger::default()
    }

    /// Of a bus in memory, where records have no headers: writers are not told apart.
    pub fn unsigned() -> Ledger {
        Ledger { is_unsigned: true, ..Ledger::default() }
    }

    /// Enters a record of `metrics`; those of one member come in their order.
    pub fn enter(&mut self, record: Record) {
        let Record { group, node, run, step, at_ms, input, output, dead, counts, files, .. } =
            record;
        let of_group = self.groups.entry(group.clone()).or_default();
        for (topic, lanes) in input {
            for (lane, range) in lanes {
                let of_topic = of_group.input.entry(topic.clone()).or_default();
                of_topic.entry(lane).or_default().add(range);
            }
        }
        for (topic, sum) in output.iter().flat_map(|(t, lanes)| lanes.values().map(move |s| (t, s)))
        {
            let all = of_group.output.entry(topic.clone()).or_default();
            (all.records, all.rows) = (all.records + sum.records, all.rows + sum.rows);
        }
        add_places(&mut of_group.dead, &dead);
        of_group.counts.add_all(&counts);
        for (_, stream, rows) in &files {
            *of_group.files.entry(stream.clone()).or_default() += rows;
        }
        let writer = self.writers.entry((group, node)).or_default();
        let steps = writer.runs.entry(run).or_insert((step, step));
        *steps = (steps.0.min(step), steps.1.max(step));
        add_places(&mut writer.output, &output);
        writer.counts.add_all(&counts);
        writer.files.extend(files.into_iter().map(|file| (file.0, file)));
        if writer.heard_ms == (0, 0) {
            writer.heard_ms = (at_ms, at_ms);
        }
        writer.heard_ms = (writer.heard_ms.0.min(at_ms), writer.heard_ms.1.max(at_ms));
    }

    /// From when on there are books, milliseconds by the clock of whoever was heard first.
    pub fn since_ms(&self) -> Option<i64> {
        self.writers.values().map(|writer| writer.heard_ms.0).min()
    }

    /// A dead letter lies on the bus: a record that a group could not use, with as many rows as it could tell. All
    /// of them are told before the records of [`Ledger::found`].
    pub fn letter(&mut self, group: &str, topic: &str, lane: Lane, offset: i64, rows: u64) {
        let letters = &mut self.groups.entry(group.to_owned()).or_default().letters;
        letters.insert((topic.to_owned(), lane, offset), rows);
    }

    /// A record with rows lies on the bus.
    pub fn found(&mut self, topic: &str, lane: Lane, offset: i64, rows: u64, by: Option<&By>) {
        add(&mut self.on_bus, topic, lane, rows);
        for group in self.groups.values_mut() {
            let Some(of_topic) = group.input.get_mut(topic) else { continue };
            // What it could not read it could not count.
            let known = match group.letters.is_empty() {
                true => None,
                false => group.letters.get(&(topic.to_owned(), lane, offset)),
            };
            let rows = known.copied().unwrap_or(rows);
            of_topic.entry(lane).or_default().found(offset, rows);
        }
        if self.is_unsigned {
            return;
        }
        let writer = by.and_then(|by| {
            let writer = self.writers.get_mut(&(by.group.clone(), by.node.clone()))?;
            Some((writer, by))
        });
        match writer {
            Some((writer, by)) => {
                if writer.has(by.run, by.step) {
                    add(&mut writer.on_bus, topic, lane, rows);
                }
            }
            // Of a role that the books do not know (any more) nothing can be said; anybody may write to what
            // aggregators read.
            None if by.is_some() || topic.starts_with("raw.") => {}
            None => add(&mut self.foreign, topic, lane, rows),
        }
    }

    /// Where a group stands in a partition, as the bus has it.
    pub fn position(&mut self, group: &str, topic: &str, lane: Lane, used: i64) {
        let of_group = self.positions.entry(group.to_owned()).or_default();
        of_group.entry(topic.to_owned()).or_default().insert(lane, used);
    }

    /// A file stands in the catalogue.
    pub fn file(&mut self, group: &str, node: &str, counter: u64, file: Catalogued) {
        let of_sink = self.catalogue.entry((group.to_owned(), node.to_owned())).or_default();
        of_sink.insert(counter, file);
    }

    /// Rows that a group has not read yet, by topic.
    pub fn waiting(&self, group: &str) -> BTreeMap<&str, u64> {
        let Some(group) = self.groups.get(group) else { return BTreeMap::new() };
        let of = |lanes: &BTreeMap<Lane, Stretches>| lanes.values().map(|s| s.waiting).sum();
        group.input.iter().map(|(topic, lanes)| (topic.as_str(), of(lanes))).collect()
    }
}

impl Writer {
    /// Whether the books have this step. Those before their beginning, and those after it was read, they do not.
    fn has(&self, run: i64, step: u64) -> bool {
        self.runs.get(&run).is_some_and(|(first, last)| (*first..=*last).contains(&step))
    }
}

fn add(places: &mut Places<u64>, topic: &str, lane: Lane, rows: u64) {
    if !places.contains_key(topic) {
        places.insert(topic.to_owned(), BTreeMap::new());
    }
    if let Some(lanes) = places.get_mut(topic) {
        *lanes.entry(lane).or_default() += rows;
    }
}

fn add_places(all: &mut Places<Sum>, more: &Places<Sum>) {
    for (topic, lanes) in more {
        let of_topic = all.entry(topic.clone()).or_default();
        for (lane, sum) in lanes {
            let all = of_topic.entry(*lane).or_default();
            (all.records, all.rows) = (all.records + sum.records, all.rows + sum.rows);
        }
    }
}

/// Whether rows of a topic are counted: records of the others are documents.
fn has_rows(name: &str) -> bool {
    topic::carries_rows(&topic::Topic(name.to_owned().into()))
}
