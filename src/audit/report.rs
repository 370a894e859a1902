//! An audit for people, and as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use bus::books::ledger::{Difference, FATES, Ledger};
use bus::clock::{Clock as _, System};
use serde_json::{Value, json};

use super::Notes;

/// Rows of one stream.
#[derive(Debug, Default)]
struct Row {
    made: i64,
    dropped: i64,
    on_bus: u64,
    waiting: u64,
    /// In files, by group.
    files: BTreeMap<String, u64>,
}

fn packets(ledger: &Ledger) -> BTreeMap<&'static str, i64> {
    let sum = |name: &str| ledger.writers.values().map(|writer| writer.counts.get(name)).sum();
    let names = ["packets", "kernel_drops"].into_iter().chain(FATES);
    names.map(|name| (name, sum(name))).collect()
}

fn streams(ledger: &Ledger) -> BTreeMap<String, Row> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for (name, count) in ledger.writers.values().flat_map(|writer| &writer.counts.0) {
        let mut parts = name.split('.');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("made"), Some(stream), None) => {
                rows.entry(stream.to_owned()).or_default().made += count;
            }
            (Some("dropped"), Some(_), Some(stream)) => {
                rows.entry(stream.to_owned()).or_default().dropped += count;
            }
            _ => {}
        }
    }
    for (topic, lanes) in &ledger.on_bus {
        if let Some(name) = topic.strip_prefix("log.") {
            let row = rows.entry(name.replace('-', "_")).or_default();
            row.on_bus = lanes.values().sum();
        }
    }
    for (name, group) in ledger.groups.iter().filter(|(name, _)| name.starts_with("sink.")) {
        for (stream, count) in &group.files {
            rows.entry(stream.clone()).or_default().files.insert(name.clone(), *count);
        }
        for (topic, count) in ledger.waiting(name) {
            if let Some(stream) = topic.strip_prefix("log.") {
                let row = rows.entry(stream.replace('-', "_")).or_default();
                row.waiting = row.waiting.max(count);
            }
        }
    }
    rows
}

/// The audit as JSON.
pub fn json(ledger: &Ledger, notes: &Notes, differences: &[Difference]) -> Value {
    let streams = streams(ledger).into_iter().map(|(stream, row)| {
        let Row { made, dropped, on_bus, waiting, files } = row;
        let row = json!({
            "made": made, "dropped": dropped, "on_bus": on_bus, "waiting": waiting, "files": files
        });
        (stream, row)
    });
    json!({
        "balanced": differences.is_empty(),
        "since_ms": ledger.since_ms(),
        "members": ledger.writers.len(),
        "packets": packets(ledger),
        "streams": streams.collect::<serde_json::Map<_, _>>(),
        "files": notes.files,
        "files_elsewhere": notes.elsewhere,
        "strange_records": notes.strange,
        "differences": differences,
    })
}

/// The audit for people.
///
/// # Errors
/// Nobody takes it.
pub fn print(
    out: &mut dyn Write,
    ledger: &Ledger,
    notes: &Notes,
    differences: &[Difference],
) -> io::Result<()> {
    let now_ms = System.now_ms();
    let minutes = ledger.since_ms().map_or(0, |since| (now_ms - since).max(0) / 60_000);
    writeln!(out, "books of {} members, {minutes} minutes back", ledger.writers.len())?;
    let packets = packets(ledger);
    let fates: Vec<String> = FATES.iter().map(|fate| format!("{} {fate}", packets[fate])).collect();
    writeln!(
        out,
        "packets: {} read, {} dropped by the kernel; {}",
        packets["packets"],
        packets["kernel_drops"],
        fates.join(", ")
    )?;
    let rows = streams(ledger);
    let sinks: BTreeSet<&String> = rows.values().flat_map(|row| row.files.keys()).collect();
    write!(
        out,
        "{:16} {:>10} {:>10} {:>10} {:>10}",
        "rows", "made", "dropped", "on bus", "waiting"
    )?;
    sinks.iter().try_for_each(|sink| write!(out, " {sink:>12}"))?;
    writeln!(out)?;
    for (stream, row) in &rows {
        let Row { made, dropped, on_bus, waiting, files } = row;
        // What others than capture make is not counted as made.
        let made = if *made == 0 { "-".to_owned() } else { made.to_string() };
        write!(out, "{stream:16} {made:>10} {dropped:>10} {on_bus:>10} {waiting:>10}")?;
        for sink in &sinks {
            write!(out, " {:>12}", files.get(*sink).copied().unwrap_or(0))?;
        }
        writeln!(out)?;
    }
    if notes.elsewhere > 0 {
        writeln!(out, "{} files lie where this machine cannot look", notes.elsewhere)?;
    }
    if notes.strange > 0 {
        writeln!(out, "{} records of metrics or files are of somebody else", notes.strange)?;
    }
    for Difference { role, node, of, partition, rows, what } in differences {
        let node = node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
        let partition = partition.map(|lane| format!("[{lane}]")).unwrap_or_default();
        writeln!(out, "{rows:+} {role}{node}: {of}{partition}: {what}")?;
    }
    let word = if differences.is_empty() { "balanced" } else { "NOT BALANCED" };
    writeln!(out, "{word}")
}
