//! The catalogue of files, and whether they lie where it says.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use bus::books::ledger::{Catalogued, Ledger};
use bus::kafka::{From, Kafka};
use bus::{Payload, topic};
use sink::entry::{Entry, State};

use super::Notes;

/// Reads the catalogue and looks at the files that are in reach. `counts`: all of them are read to count rows, not
/// only those that changed in size.
pub fn catalogue(
    kafka: &Kafka,
    counts: bool,
    ledger: &mut Ledger,
    notes: &mut Notes,
) -> anyhow::Result<()> {
    let mut newest: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
    kafka.tail(&topic::FILES, From::Beginning, false, &mut |record| {
        if let Some(record) = record
            && let Some(key) = record.key
        {
            let json =
                if let Payload::Bytes(json) = record.payload { Some(json.to_vec()) } else { None };
            newest.insert(key.to_vec(), json);
        }
        true
    })?;
    for json in newest.into_values().flatten() {
        let Ok(entry) = Entry::parse(&json) else {
            notes.strange += 1;
            continue;
        };
        let trouble = if Path::new(&entry.dir).is_dir() {
            notes.files += 1;
            trouble(&entry, counts)
        } else {
            notes.elsewhere += 1;
            None
        };
        let file = Catalogued { stream: entry.stream.clone(), rows: entry.rows, trouble };
        ledger.file(&format!("sink.{}", entry.format), &entry.writer, entry.counter, file);
    }
    Ok(())
}

/// What is wrong with a file, and how many rows are there.
fn trouble(entry: &Entry, counts: bool) -> Option<(u64, String)> {
    let path = Path::new(&entry.dir).join(&entry.name);
    let shown = path.display();
    match entry.state {
        State::Missing => return Some((0, format!("{shown} was gone before it had its name"))),
        State::Committed => {
            let is_there = path.exists() || Path::new(&entry.dir).join(&entry.temp).exists();
            // The restart of its sink renames it.
            return (!is_there).then(|| (0, format!("{shown} was committed and is gone")));
        }
        State::Published => {}
    }
    let Ok(file) = File::open(&path) else {
        return Some((0, format!("{shown} is gone, or cannot be read")));
    };
    let bytes = file.metadata().map_or(0, |metadata| metadata.len());
    if bytes == entry.bytes && !counts {
        return None;
    }
    let rows = sink::format::find(&entry.format).and_then(|format| format.rows(file).ok());
    if bytes == entry.bytes && rows == Some(entry.rows) {
        return None;
    }
    let was = entry.bytes;
    let rows = rows.unwrap_or(0);
    Some((rows, format!("{shown} has {rows} rows that can be read in {bytes} bytes, of {was}")))
}
