//! The open files of one stream, and what is to be committed with them.
//!
//! A stream has its own topic, so its files and its positions go together: a step may close one stream
//! and leave the others open. What it may not do is to leave open a file with rows below a position
//! that it commits, which is why [`Output::close`] closes all.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use arrow_array::RecordBatch;
use bus::{Lane, Outgoing, Payload, Position, Record, Topic, dead};
use model::stream::Def;

use crate::config::Config;
use crate::entry::{Entry, State};
use crate::format::{About, Format, Writer};
use crate::name::{self, Interval};
use crate::place::Place;
use crate::split::{self, Part};

/// Intervals of a stream that may be open at once: the present one, the one before it for late rows,
/// and some for sources that replay files. One more closes the oldest.
const INTERVALS_OPEN_MAX: usize = 8;
/// Dead letters of a stream wait up to so many bytes for the step that commits their positions.
pub const LETTERS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How files of an output are named and begun.
#[derive(Debug)]
pub struct Files {
    /// What the sink is told.
    pub config: Config,
    /// The format.
    pub format: &'static dyn Format,
    /// The folder.
    pub place: Place,
    /// Partitions of a topic.
    pub lanes: u32,
    /// The number of the newest file.
    pub counter: u64,
    /// Unrotated files that were published in this folder, by stream.
    pub taken: BTreeMap<String, u64>,
}

impl Files {
    fn begin(&mut self, def: &'static Def, part: &Part, now_ms: i64) -> Result<Open> {
        let name = self.name(def, part.interval);
        let temp = self.place.temp(&name);
        let (columns, writer) = (self.config.columns, self.config.node.as_str());
        let about = About { def, now_ms, columns, writer };
        let file = self.place.create(&temp)?;
        let writer = self.format.open(file, about);
        let writer = writer.with_context(|| failure(&self.place, &temp))?;
        let entry = Entry {
            stream: def.name.to_owned(),
            version: def.version,
            format: self.format.name().to_owned(),
            rows: 0,
            bytes: 0,
            first: part.first,
            last: part.last,
            writer: self.config.node.clone(),
            counter: self.counter,
            dir: self.place.dir(),
            temp,
            name,
            positions: BTreeMap::new(),
            state: State::Committed,
        };
        Ok(Open { writer, entry, sources: BTreeMap::new() })
    }

    /// Notes a published file, so that the next of its stream has another name.
    pub fn take(&mut self, entry: &Entry) {
        if !entry.is_rotated() && entry.dir == self.place.dir() {
            *self.taken.entry(entry.stream.clone()).or_default() += 1;
        }
    }

    fn name(&mut self, def: &Def, interval: Option<Interval>) -> String {
        self.counter += 1;
        let Some(interval) = interval else {
            let nth = self.taken.get(def.name).copied().unwrap_or(0) + 1;
            return name::unrotated(self.format, def, nth);
        };
        // Without the catalog of an earlier run (the bus was in memory) its names are seen only here.
        loop {
            let node = &self.config.node;
            let name = name::rotated(self.format, def, interval, node, self.counter);
            if !self.place.path(&name).exists() {
                return name;
            }
            self.counter += 1;
        }
    }
}

/// A file being written.
struct Open {
    writer: Box<dyn Writer>,
    entry: Entry,
    /// First and last offset that rows came from, by lane.
    sources: BTreeMap<Lane, (i64, i64)>,
}

impl Open {
    fn write(&mut self, part: &Part, lane: Lane, offset: i64) -> Result<()> {
        self.writer.write(&part.rows)?;
        self.entry.rows += part.rows.num_rows() as u64;
        self.entry.first = self.entry.first.min(part.first);
        self.entry.last = self.entry.last.max(part.last);
        self.sources.entry(lane).or_insert((offset, offset)).1 = offset;
        Ok(())
    }

    fn finish(mut self, place: &Place, now_ms: i64) -> Result<Entry> {
        let mut positions = String::new();
        for (lane, (first, last)) in &self.sources {
            let comma = if positions.is_empty() { "" } else { "," };
            write!(positions, "{comma}\"{lane}\":[{first},{last}]")?;
        }
        let bytes = self.writer.finish(now_ms, &format!("{{{positions}}}"));
        self.entry.bytes = bytes.with_context(|| failure(place, &self.entry.temp))?;
        Ok(self.entry)
    }
}

fn failure(place: &Place, temp: &str) -> String {
    format!("cannot write {}: nothing of it was committed", place.path(temp).display())
}

/// What a step says of one stream.
#[derive(Debug, Default)]
pub struct Closed {
    /// Finished files.
    pub entries: Vec<Entry>,
    /// Where the stream's topic was read to.
    pub positions: Vec<Position>,
    /// Dead letters.
    pub letters: Vec<Outgoing>,
    /// Rows read.
    pub rows_in: u64,
    /// Rows in dead letters.
    pub rows_dead: u64,
}

/// One stream.
pub struct Output {
    def: &'static Def,
    topic: Topic,
    open: BTreeMap<Option<Interval>, Open>,
    finished: Vec<Entry>,
    positions: BTreeMap<Lane, i64>,
    letters: Vec<Outgoing>,
    letters_bytes: usize,
    rows_in: u64,
    rows_dead: u64,
    /// When the first record since the last step was read.
    since_ms: Option<i64>,
    /// A bound was reached: to be closed soon.
    is_full: bool,
}

impl Output {
    /// Nothing yet.
    pub fn new(def: &'static Def) -> Output {
        Output {
            def,
            topic: Topic::log(def),
            open: BTreeMap::new(),
            finished: Vec::new(),
            positions: BTreeMap::new(),
            letters: Vec::new(),
            letters_bytes: 0,
            rows_in: 0,
            rows_dead: 0,
            since_ms: None,
            is_full: false,
        }
    }

    /// Takes a record in; gives the earliest and latest `_write_ts` of its rows.
    pub fn record(
        &mut self,
        files: &mut Files,
        record: Record,
        now_ms: i64,
    ) -> Result<Option<(i64, i64)>> {
        self.positions.insert(record.lane, record.offset + 1);
        self.since_ms.get_or_insert(now_ms);
        let rows = match &record.payload {
            Payload::Empty => return Ok(None),
            Payload::Rows(def, rows) => self.fit(def, rows),
            Payload::Bytes(_) => Err("not rows but a document".to_owned()),
            Payload::Bad(_, reason) => Err(reason.clone()),
        };
        match rows {
            Ok(rows) => self.write(files, rows, &record, now_ms),
            Err(reason) => {
                self.bury(files, record, &reason);
                Ok(None)
            }
        }
    }

    fn fit(&self, def: &Def, rows: &RecordBatch) -> Result<RecordBatch, String> {
        if def.name != self.def.name {
            return Err(format!("rows of {}, not of {}", def.name, self.def.name));
        }
        split::conform(self.def, rows.clone()).map_err(|error| format!("{error:#}"))
    }

    fn write(
        &mut self,
        files: &mut Files,
        rows: RecordBatch,
        record: &Record,
        now_ms: i64,
    ) -> Result<Option<(i64, i64)>> {
        self.rows_in += rows.num_rows() as u64;
        let mut bounds: Option<(i64, i64)> = None;
        for part in split::by_interval(&rows, files.config.rotate)? {
            let (first, last) = bounds.unwrap_or((part.first, part.last));
            bounds = Some((first.min(part.first), last.max(part.last)));
            self.write_part(files, &part, record, now_ms)?;
        }
        Ok(bounds)
    }

    fn write_part(
        &mut self,
        files: &mut Files,
        part: &Part,
        record: &Record,
        now_ms: i64,
    ) -> Result<()> {
        if !self.open.contains_key(&part.interval) {
            let open = files.begin(self.def, part, now_ms)?;
            self.open.insert(part.interval, open);
        }
        let Some(open) = self.open.get_mut(&part.interval) else { return Ok(()) };
        let written = open.write(part, record.lane, record.offset);
        written.with_context(|| failure(&files.place, &open.entry.temp))?;
        if part.interval.is_none() {
            return Ok(());
        }
        let full = if open.writer.bytes() >= files.config.size_max {
            self.open.remove(&part.interval)
        } else if self.open.len() > INTERVALS_OPEN_MAX {
            self.open.pop_first().map(|(_, open)| open)
        } else {
            None
        };
        if let Some(full) = full {
            self.finished.push(full.finish(&files.place, now_ms)?);
            self.is_full = true;
        }
        Ok(())
    }

    fn bury(&mut self, files: &Files, record: Record, reason: &str) {
        if let Payload::Rows(_, rows) = &record.payload {
            self.rows_in += rows.num_rows() as u64;
            self.rows_dead += rows.num_rows() as u64;
        }
        // One line a step: a flood of bad records must not become a flood of lines.
        if self.letters.is_empty() {
            tracing::warn!(topic = %record.topic, lane = record.lane, offset = record.offset, reason,
                "bad record, kept in the dead letters; more of this step are only counted");
        }
        let consumer = dead::Consumer {
            prefix: &files.config.prefix,
            name: &format!("sink.{}", files.format.name()),
            node: &files.config.node,
            lanes: files.lanes,
        };
        let letter = consumer.letter(record, "VALUE_CONVERTER", reason);
        self.letters_bytes += dead::weight(&letter);
        self.letters.push(letter);
        self.is_full |= self.letters_bytes >= LETTERS_BYTES_MAX;
    }

    /// Finishes every file, durably, and takes out what is to be committed with them.
    pub fn close(&mut self, place: &Place, now_ms: i64) -> Result<Closed> {
        let mut done = std::mem::replace(self, Output::new(self.def));
        let mut entries = std::mem::take(&mut done.finished);
        for open in std::mem::take(&mut done.open).into_values() {
            entries.push(open.finish(place, now_ms)?);
        }
        for entry in &mut entries {
            entry.positions.clone_from(&done.positions);
        }
        let topic = &done.topic;
        let position = |(lane, offset)| Position {
            topic: topic.clone(),
            lane,
            offset,
            metadata: String::new(),
        };
        Ok(Closed {
            entries,
            positions: done.positions.into_iter().map(position).collect(),
            letters: done.letters,
            rows_in: done.rows_in,
            rows_dead: done.rows_dead,
        })
    }

    /// Forgets all that was not committed, files included.
    pub fn forget(&mut self, place: &Place) -> Result<()> {
        let gone = std::mem::replace(self, Output::new(self.def));
        let open = gone.open.into_values().map(|open| open.entry);
        for entry in open.chain(gone.finished) {
            place.discard(&entry.temp)?;
        }
        Ok(())
    }

    /// Whether it should be closed before its time has come.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Whether its first record was read so long ago.
    pub fn is_older_than(&self, age_ms: i64, now_ms: i64) -> bool {
        self.since_ms.is_some_and(|since| now_ms.saturating_sub(since) >= age_ms)
    }

    /// Lanes read since the last step.
    pub fn lanes(&self) -> impl Iterator<Item = Lane> + '_ {
        self.positions.keys().copied()
    }

    /// Takes the dead letters out, where there are too many to wait.
    pub fn overflow(&mut self) -> Vec<Outgoing> {
        if self.letters_bytes < LETTERS_BYTES_MAX {
            return Vec::new();
        }
        self.letters_bytes = 0;
        std::mem::take(&mut self.letters)
    }

    /// Bytes that its files hold in memory, each.
    pub fn buffered(&self) -> impl Iterator<Item = usize> + '_ {
        self.open.values().map(|open| open.writer.buffered())
    }

    /// Gives back the memory of files that hold so many bytes or more.
    pub fn spill(&mut self, from_bytes: usize, place: &Place) -> Result<()> {
        for open in self.open.values_mut() {
            if open.writer.buffered() >= from_bytes {
                let spilt = open.writer.spill();
                spilt.with_context(|| failure(place, &open.entry.temp))?;
            }
        }
        Ok(())
    }
}
