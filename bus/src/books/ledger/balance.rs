//! The law, part by part.

use std::collections::{BTreeMap, BTreeSet};

use super::{Catalogued, Difference, FATES, Group, Ledger, Writer, has_rows};
use crate::Lane;

/// Rows as the difference between two counts of them.
fn diff(is: u64, should: u64) -> i64 {
    i64::try_from(i128::from(is) - i128::from(should)).unwrap_or(i64::MAX)
}

impl Ledger {
    /// Where the books do not balance; nothing where they do.
    pub fn balance(&self) -> Vec<Difference> {
        let mut all = Vec::new();
        for ((role, node), writer) in &self.writers {
            let said = |of: &str, partition: Option<Lane>, rows: i64, what: String| Difference {
                role: role.clone(),
                node: Some(node.clone()),
                of: of.to_owned(),
                partition,
                rows,
                what,
            };
            packets(writer, &said, &mut all);
            made(writer, &said, &mut all);
            if !self.is_unsigned {
                sent(writer, &said, &mut all);
            }
            let none = BTreeMap::new();
            let catalogue = self.catalogue.get(&(role.clone(), node.clone())).unwrap_or(&none);
            if !self.is_unsigned {
                files(writer, catalogue, &said, &mut all);
            }
        }
        if self.is_unsigned {
            self.sent_by_all(&mut all);
        }
        for (role, group) in &self.groups {
            let said = |of: &str, partition: Option<Lane>, rows: i64, what: String| Difference {
                role: role.clone(),
                node: None,
                of: of.to_owned(),
                partition,
                rows,
                what,
            };
            read(group, &said, &mut all);
            passed(role, group, &said, &mut all);
            self.positions(role, group, &said, &mut all);
        }
        for (topic, lanes) in &self.foreign {
            all.extend(lanes.iter().map(|(lane, rows)| Difference {
                role: "nobody".into(),
                node: None,
                of: topic.clone(),
                partition: Some(*lane),
                rows: diff(*rows, 0),
                what: "rows on the bus that no role wrote".into(),
            }));
        }
        all.sort();
        all
    }

    /// Where writers are not told apart all of them together have sent what is there.
    fn sent_by_all(&self, all: &mut Vec<Difference>) {
        let mut sent: BTreeMap<(&str, Lane), u64> = BTreeMap::new();
        for (topic, lanes) in self.writers.values().flat_map(|writer| &writer.output) {
            for (lane, sum) in lanes.iter().filter(|_| has_rows(topic)) {
                *sent.entry((topic, *lane)).or_default() += sum.rows;
            }
        }
        let mut found: BTreeMap<(&str, Lane), u64> = BTreeMap::new();
        for (topic, lanes) in &self.on_bus {
            found.extend(lanes.iter().map(|(lane, rows)| ((topic.as_str(), *lane), *rows)));
        }
        let places: BTreeSet<_> = sent.keys().chain(found.keys()).copied().collect();
        for place in places {
            let of = |map: &BTreeMap<(&str, Lane), u64>| map.get(&place).copied().unwrap_or(0);
            let rows = diff(of(&found), of(&sent));
            if rows != 0 {
                all.push(Difference {
                    role: "all".into(),
                    node: None,
                    of: place.0.to_owned(),
                    partition: Some(place.1),
                    rows,
                    what: format!("{} rows sent, {} on the bus", of(&sent), of(&found)),
                });
            }
        }
    }

    fn positions(&self, role: &str, group: &Group, said: Said<'_>, all: &mut Vec<Difference>) {
        let Some(positions) = self.positions.get(role) else { return };
        for (topic, lanes) in &group.input {
            for (lane, stretches) in lanes {
                let Some(end) = stretches.end() else { continue };
                let is = positions.get(topic).and_then(|lanes| lanes.get(lane)).copied();
                // One that is further has gone on since the books were read.
                if is.is_none_or(|is| is < end) {
                    let is = is.map_or("none".to_owned(), |is| is.to_string());
                    let what = format!("the group's position is {is}, its books go to {end}");
                    all.push(said(topic, Some(*lane), 0, what));
                }
            }
        }
    }
}

type Said<'a> = &'a dyn Fn(&str, Option<Lane>, i64, String) -> Difference;

fn packets(writer: &Writer, said: Said<'_>, all: &mut Vec<Difference>) {
    let packets = writer.counts.get("packets");
    let fates: i64 = FATES.iter().map(|fate| writer.counts.get(fate)).sum();
    if packets != fates {
        let what = format!("{packets} packets read, {fates} with a fate ({})", FATES.join(", "));
        all.push(said("packets", None, fates - packets, what));
    }
}

/// Rows made = rows sent + dropped, for those who say what they made.
fn made(writer: &Writer, said: Said<'_>, all: &mut Vec<Difference>) {
    for (name, made) in &writer.counts.0 {
        let Some(stream) = name.strip_prefix("made.") else { continue };
        let name = stream.replace('_', "-");
        let of = |topic: String| writer.output.get(&topic).into_iter().flat_map(BTreeMap::values);
        let sent = of(format!("raw.{name}")).chain(of(format!("log.{name}")));
        let sent: u64 = sent.map(|sum| sum.rows).sum();
        let dropped: i64 = dropped(&writer.counts, stream);
        let rows = i64::try_from(sent).unwrap_or(i64::MAX) + dropped - made;
        if rows != 0 {
            let what = format!("{made} rows made, {sent} sent and {dropped} dropped by reason");
            all.push(said(stream, None, rows, what));
        }
    }
}

fn dropped(counts: &super::Counts, stream: &str) -> i64 {
    let of = |name: &str| {
        let reason = name.strip_prefix("dropped.").and_then(|rest| rest.split_once('.'));
        reason.is_some_and(|(_, of)| of == stream)
    };
    counts.0.iter().filter(|(name, _)| of(name)).map(|(_, by)| by).sum()
}

fn sent(writer: &Writer, said: Said<'_>, all: &mut Vec<Difference>) {
    let none = BTreeMap::new();
    for (topic, lanes) in writer.output.iter().filter(|(topic, _)| has_rows(topic)) {
        let on_bus = writer.on_bus.get(topic).unwrap_or(&none);
        for (lane, sum) in lanes {
            let found = on_bus.get(lane).copied().unwrap_or(0);
            if found != sum.rows {
                let what = format!("{} rows sent, {found} on the bus", sum.rows);
                all.push(said(topic, Some(*lane), diff(found, sum.rows), what));
            }
        }
    }
    for (topic, lanes) in &writer.on_bus {
        for (lane, found) in lanes {
            let is_known = writer.output.get(topic).is_some_and(|lanes| lanes.contains_key(lane));
            if !is_known && *found > 0 {
                let what = format!("no rows sent, {found} on the bus in its name");
                all.push(said(topic, Some(*lane), diff(*found, 0), what));
            }
        }
    }
}

/// What each stretch of a partition holds is what was counted when it was read.
fn read(group: &Group, said: Said<'_>, all: &mut Vec<Difference>) {
    for (topic, lanes) in &group.input {
        for (lane, stretches) in lanes {
            for (from, stretch) in stretches.iter().filter(|(_, s)| s.rows != s.on_bus) {
                let (rows, to) = (stretch.rows, stretch.to);
                let what = format!(
                    "{rows} rows read from offset {from} to {to}, {} are on the bus there",
                    stretch.on_bus
                );
                all.push(said(topic, Some(*lane), diff(rows, stretch.on_bus), what));
            }
            if stretches.again > 0 {
                let what = "rows read twice".to_owned();
                all.push(said(topic, Some(*lane), diff(stretches.again, 0), what));
            }
            if stretches.between > 0 {
                let what = "rows on the bus that were passed over".to_owned();
                all.push(said(topic, Some(*lane), diff(0, stretches.between), what));
            }
        }
    }
}

/// What becomes of the rows of a topic in a group: the topics they go on to.
fn onward(role: &str, topic: &str) -> Option<Vec<String>> {
    let to = |name: &str| Some(vec![name.to_owned()]);
    match (role, topic) {
        ("aggregate", "raw.notice") => to("notice"),
        ("aggregate", "raw.known") => to("known"),
        ("aggregate", other) => to(&format!("log.{}", other.strip_prefix("raw.")?)),
        ("manager", "notice") => to("log.notice"),
        ("manager", "known") => {
            Some(["hosts", "services", "certs"].map(|of| format!("log.known-{of}")).into())
        }
        _ => None,
    }
}

/// Rows read = rows sent on + merged + still open + kept back + dead. For a sink: rows in files + dead.
fn passed(role: &str, group: &Group, said: Said<'_>, all: &mut Vec<Difference>) {
    for (topic, lanes) in &group.input {
        let input: u64 = lanes.values().map(super::Stretches::rows).sum();
        let dead = group.dead.get(topic).into_iter().flat_map(BTreeMap::values);
        let dead: u64 = dead.map(|sum| sum.rows).sum();
        let stream = topic.rsplit('.').next().unwrap_or(topic).replace('-', "_");
        if role.starts_with("sink.") {
            let files = group.files.get(&stream).copied().unwrap_or(0);
            if input != files + dead {
                let what = format!("{input} rows read, {files} in files and {dead} dead");
                all.push(said(topic, None, diff(files + dead, input), what));
            }
            continue;
        }
        let Some(to) = onward(role, topic) else { continue };
        let output: u64 = to.iter().filter_map(|to| group.output.get(to)).map(|sum| sum.rows).sum();
        let count = |what: &str| group.counts.get(&format!("{what}.{stream}"));
        let [merged, open, kept, found] = ["merged", "open", "held_back", "found"].map(count);
        let signed = |rows: u64| i64::try_from(rows).unwrap_or(i64::MAX);
        let rest = signed(output) + merged + open + kept + signed(dead) - signed(input) - found;
        if rest != 0 {
            let what = format!(
                "{input} rows read and {found} found, {output} sent on, {merged} merged, {open} more \
                 open than before, {kept} kept back, {dead} dead"
            );
            all.push(said(topic, None, rest, what));
        }
    }
}

/// Every file that was committed is in the catalogue, and lies where it should.
fn files(
    writer: &Writer,
    catalogue: &BTreeMap<u64, Catalogued>,
    said: Said<'_>,
    all: &mut Vec<Difference>,
) {
    for (counter, (_, stream, rows)) in &writer.files {
        let Some(file) = catalogue.get(counter) else {
            let what = format!("file {counter} is not in the catalogue (weir.files)");
            all.push(said(stream, None, diff(0, *rows), what));
            continue;
        };
        if file.rows != *rows || file.stream != *stream {
            let what = format!(
                "file {counter} had {rows} rows of {stream}, the catalogue says {} of {}",
                file.rows, file.stream
            );
            all.push(said(stream, None, diff(file.rows, *rows), what));
        }
    }
    for (counter, file) in catalogue {
        if let Some((there, why)) = &file.trouble {
            let what = format!("file {counter}: {why}");
            all.push(said(&file.stream, None, diff(*there, file.rows), what));
        }
    }
}
