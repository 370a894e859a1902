//! One lane: takes records in, keeps its windows, tells what goes out and where it stands.
//!
//! The committed position is the oldest record that an open window needs; the note beside it says how
//! far input was read. After a restart the records between the two are read *again*: they rebuild
//! windows and do nothing else. Until that is over nothing is released and nothing committed, for a
//! commit promises that all that could be released was.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arrow_array::RecordBatch;
use bus::{
    Change, Lane, Outgoing, Payload, Position, Record, Restored, Step, Timeline, Topic, codec,
    stand,
};
use bytes::Bytes;
use detect::Detector;
use model::stream::{Def, conn, raw_conn};

use crate::books;
use crate::config::{Config, Counters};
use crate::join::{feed, shared};
use crate::observe::{self, Written};
use crate::sources::{self, Files, Input, Source, Sources};
use crate::state::{Key, Note, json};
use crate::windows::{Outlet, Windows};

/// What a lane is given to work with.
pub struct Work<'a> {
    /// How to work.
    pub config: &'a Config,
    /// What observes.
    pub detectors: &'a [Box<dyn Detector>],
    /// What is counted.
    pub counters: &'a mut Counters,
    /// Time that passes steadily, whatever becomes of the wall clock: for ages.
    pub now_ms: i64,
}

/// Where the lane stands in one of its inputs.
#[derive(Debug, Default)]
struct Reading {
    /// Offset to read next; unknown before the first record.
    next: Option<i64>,
    /// Below this offset records are read again.
    read: i64,
    /// Below this offset records of files belong to rounds that are over.
    file_from: i64,
    /// Whether records are still to be read again.
    is_again: bool,
    /// What was committed last.
    committed: Option<Position>,
}

/// One lane.
pub struct LaneState {
    lane: Lane,
    readings: BTreeMap<Input, Reading>,
    sources: Sources,
    live: Windows,
    file: Windows,
    out: Vec<Outgoing>,
    /// Rows open by the last commit, by stream.
    open: BTreeMap<&'static str, i64>,
    /// When the last input of each timeline came: live sources speak all the time, and files do
    /// not wait for them.
    heard_file_ms: Option<i64>,
    heard_live_ms: Option<i64>,
}

impl LaneState {
    /// As the last commit left it.
    ///
    /// # Errors
    /// A note or a piece of state does not read: somebody else wrote there. Or the lane was read with the other
    /// inputs.
    pub fn restore(lane: Lane, from: Restored, config: &Config) -> Result<LaneState> {
        sources::check(&stand::all(lane, &from.state), config.overlap)?;
        let mut readings: BTreeMap<Input, Reading> = BTreeMap::new();
        let mut all = Note::default();
        for position in from.positions {
            let note = Note::of(&position).with_context(|| format!("note beside {position}"))?;
            (all.live, all.file) = note.released_with(&all);
            let reading = readings.entry(Input::of(&position.topic)).or_default();
            reading.next = Some(position.offset);
            (reading.read, reading.file_from) = (note.read, note.file_from);
            reading.is_again = position.offset < note.read;
            reading.committed = Some(position);
        }
        let mut state = LaneState {
            lane,
            readings,
            sources: Sources::new(config.overlap),
            live: Windows::new(Timeline::Live, lane, config, all.live),
            file: Windows::new(Timeline::File, lane, config, all.file),
            out: Vec::new(),
            open: BTreeMap::new(),
            heard_file_ms: None,
            heard_live_ms: None,
        };
        for (key, value) in &from.state {
            let read = match stand::is_one(key) {
                true => stand::check(value).map_err(Into::into),
                false => state.restore_item(key, value),
            };
            read.with_context(|| {
                format!("state of lane {lane} under {}", String::from_utf8_lossy(key))
            })?;
        }
        Ok(state)
    }

    fn restore_item(&mut self, key: &Bytes, value: &Bytes) -> Result<()> {
        // What no aggregator has written says nothing of ours, and must not stop the lane for good.
        let Ok(key) = serde_json::from_slice::<Key>(key) else {
            let (lane, key) = (self.lane, String::from_utf8_lossy(key));
            tracing::error!(lane, %key, "state under a key that is none: passed over");
            return Ok(());
        };
        let timeline = key.timeline().context("no such timeline")?;
        match key {
            Key::Held(_, topic, offset) => {
                let rows: Vec<u64> = serde_json::from_slice(value)?;
                let held = self.windows(timeline).held(&topic).context("no such topic")?;
                held.restore(offset, rows);
            }
            Key::Left(_, offset) => {
                let rows: Vec<u64> = serde_json::from_slice(value)?;
                self.windows(timeline).join.left.open.restore(offset, rows);
            }
            Key::Source(_, name) => {
                let source: Source = serde_json::from_slice(value)?;
                self.sources.restore(timeline, name, source);
            }
            Key::Cover(_, note, identifier) => {
                let until: i64 = serde_json::from_slice(value)?;
                self.windows(timeline).holds.restore((note, identifier), until);
            }
        }
        Ok(())
    }

    /// Uses a record.
    pub fn take(&mut self, record: Record, work: &mut Work<'_>) -> Result<()> {
        let input = Input::of(&record.topic);
        let reading = self.reading(input);
        let is_again = record.offset < reading.read;
        let is_over = record.offset < reading.file_from;
        reading.next = Some(record.offset.saturating_add(1));
        reading.is_again = record.offset.saturating_add(1) < reading.read;
        let timeline = record.stamp.as_ref().map_or(Timeline::Live, |stamp| stamp.timeline);
        if timeline == Timeline::File && is_over {
            return Ok(());
        }
        if !is_again {
            self.hear(input, &record, timeline, work);
        }
        match &record.payload {
            Payload::Empty => Ok(()),
            Payload::Bad(_, reason) => {
                let reason = reason.clone();
                self.bury(record, is_again, "VALUE_CONVERTER", &reason, work);
                Ok(())
            }
            Payload::Bytes(_) => {
                self.bury(record, is_again, "VALUE_CONVERTER", "a document, not rows", work);
                Ok(())
            }
            Payload::Rows(..) => self.take_rows(record, input, timeline, is_again, work),
        }
    }

    fn take_rows(
        &mut self,
        record: Record,
        input: Input,
        timeline: Timeline,
        is_again: bool,
        work: &mut Work<'_>,
    ) -> Result<()> {
        let Payload::Rows(def, batch) = &record.payload else { return Ok(()) };
        let windows = match timeline {
            Timeline::Live => &mut self.live,
            Timeline::File => &mut self.file,
        };
        let before = is_again.then(|| books::open(windows));
        let from = (input, record.offset);
        let written = Written { from, is_again, has_source: record.stamp.is_some() };
        let sites = self.sources.sites();
        let taken = match input {
            Input::Conn => feed::conn(windows, def, batch, written, sites, work),
            Input::Notice => observe::notice(windows, def, batch, written, work),
            Input::Known => observe::known(windows, def, batch, written, work),
            Input::Log(log) => observe::log(windows, log, def, batch, written, work),
            Input::Raw(log) => shared::take(windows, log, def, batch, written, sites, work),
        };
        // What is rebuilt was open already.
        if let Some(before) = before {
            for (name, now) in books::open(windows) {
                *self.open.entry(name).or_default() += now - before.get(name).unwrap_or(&0);
            }
        }
        match taken {
            Err(error) => self.bury(record, is_again, "TRANSFORMATION", &error.to_string(), work),
            Ok(Some(rows)) if !is_again => {
                let def = if let Input::Raw(log) = input { log } else { &conn::DEF };
                let packed = passed_on(&record, def, &rows);
                let mut out = Outgoing::rows(Topic::log(def), self.lane, def, rows);
                (out.stamp, out.packed) = (record.stamp, packed);
                self.out.push(out);
            }
            Ok(_) => {}
        }
        // What is only half rebuilt must not go: the other half, read again, would count as gone too.
        if self.is_rebuilding() { Ok(()) } else { self.relieve(work) }
    }

    /// What a record says beside its rows.
    fn hear(&mut self, input: Input, record: &Record, timeline: Timeline, work: &mut Work<'_>) {
        let heard_ms = match timeline {
            Timeline::File => &mut self.heard_file_ms,
            Timeline::Live => &mut self.heard_live_ms,
        };
        *heard_ms = Some(work.now_ms);
        let Some(stamp) = &record.stamp else { return };
        self.windows(timeline).reach(stamp.time);
        if !self.sources.hear(input, stamp, work.now_ms) {
            work.counters.sources_refused += 1;
        }
    }

    /// Sends a record that is of no use to the dead letters.
    fn bury(
        &mut self,
        record: Record,
        is_again: bool,
        stage: &str,
        why: &str,
        work: &mut Work<'_>,
    ) {
        if is_again {
            return;
        }
        work.counters.dead_letters += 1;
        self.out.push(work.config.consumer().letter(record, stage, why));
    }

    /// Lets the oldest windows go while the lane holds too much: of the timeline that holds more.
    fn relieve(&mut self, work: &mut Work<'_>) -> Result<()> {
        while self.live.weight() + self.file.weight() > work.config.held_max {
            let (sites, detectors) = (self.sources.sites(), work.detectors);
            let (config, out) = (work.config, &mut self.out);
            let mut to = Outlet { config, counters: work.counters, out, detectors, sites };
            if self.live.weight() > self.file.weight() {
                self.live.force(&mut to)?;
            } else {
                self.file.force(&mut to)?;
            }
        }
        Ok(())
    }

    /// The input has nothing more for now: nothing is left to be read again either.
    pub fn at_end(&mut self, topic: &Topic) {
        self.reading(Input::of(topic)).is_again = false;
    }

    fn is_rebuilding(&self) -> bool {
        self.readings.values().any(|reading| reading.is_again)
    }

    /// Moves the watermarks to where the sources are, and releases what ends by them. `is_drained`:
    /// nobody will wait for more input.
    pub fn settle(&mut self, is_drained: bool, work: &mut Work<'_>) -> Result<()> {
        if is_drained {
            self.readings.values_mut().for_each(|reading| reading.is_again = false);
        }
        if self.is_rebuilding() {
            return Ok(());
        }
        let config = work.config;
        let heard_file_ms = *self.heard_file_ms.get_or_insert(work.now_ms);
        let heard_live_ms = *self.heard_live_ms.get_or_insert(work.now_ms);
        let has_parted = self.sources.part(work.now_ms, config.live_silence_ms);
        let is_silent = work.now_ms.saturating_sub(heard_live_ms) > config.live_silence_ms;
        let mut live = self.sources.live().unwrap_or(i64::MIN);
        let is_alone = self.sources.live().is_none() && (has_parted || is_silent);
        let has_nobody = (is_alone || is_drained) && (has_parted || !self.live.is_empty());
        if has_nobody {
            // Nobody to wait for: everything open goes.
            live = live.max(self.live.beyond());
        }
        let has_waited = work.now_ms.saturating_sub(heard_file_ms) >= config.grace_ms;
        let files = self.sources.files(config.sources);
        let is_over = match files {
            Files::Ended => config.sources.is_some() || has_waited || is_drained,
            Files::None => is_drained && !self.file.is_empty(),
            Files::Waiting | Files::At(_) => is_drained,
        };
        let (sites, detectors) = (self.sources.sites(), work.detectors);
        let out = &mut self.out;
        let mut to = Outlet { config, counters: work.counters, out, detectors, sites };
        if has_nobody {
            self.live.finish_flows(live, &mut to)?;
        }
        self.live.release(live, &mut to)?;
        if is_over {
            self.file.finish(&mut to)?;
            self.sources.forget_files();
            for reading in self.readings.values_mut() {
                reading.file_from = reading.read.max(reading.next.unwrap_or(0));
            }
            return Ok(());
        }
        self.file.release(if let Files::At(time) = files { time } else { i64::MIN }, &mut to)
    }

    /// Adds to a step what this lane has done. True if that is anything.
    pub fn collect(&mut self, step: &mut Step) -> Result<bool> {
        if self.is_rebuilding() {
            return Ok(false);
        }
        let before = (step.out.len(), step.state.len(), step.positions.len());
        step.out.append(&mut self.out);
        let mut changes: BTreeMap<Key, Option<Bytes>> = BTreeMap::new();
        for (key, source) in self.sources.changes() {
            changes.insert(key, source.as_ref().map(json));
        }
        for windows in [&mut self.live, &mut self.file] {
            for (key, until) in windows.holds.changes() {
                changes.insert(key, until.as_ref().map(json));
            }
            for (key, rows) in windows.held_changes() {
                changes.insert(key, rows.as_ref().map(json));
            }
        }
        let lane = self.lane;
        step.state.extend(changes.into_iter().map(|(key, value)| Change {
            lane,
            key: key.bytes(),
            value,
        }));
        for input in self.sources.inputs() {
            let position = self.position(*input)?;
            step.state.extend(position.iter().map(stand::change));
            step.positions.extend(position);
        }
        for windows in [&mut self.live, &mut self.file] {
            for (name, rows) in windows.copies.take_merged() {
                step.counts.add(format!("merged.{name}"), rows);
            }
        }
        books::grown_open(&mut self.open, &[&self.live, &self.file], &mut step.counts);
        Ok(before != (step.out.len(), step.state.len(), step.positions.len()))
    }

    /// The position in an input, if it changed.
    fn position(&mut self, input: Input) -> Result<Option<Position>> {
        let oldest = |windows: &Windows| match input {
            Input::Conn => {
                let held = windows.join.oldest();
                [windows.panes.oldest(input), held].into_iter().flatten().min()
            }
            Input::Log(_) => windows.panes.oldest(input),
            Input::Raw(log) => {
                let held = windows.copies.oldest(log.name);
                [windows.panes.oldest(input), held].into_iter().flatten().min()
            }
            Input::Notice => windows.holds.oldest(),
            Input::Known => windows.assets.oldest(),
        };
        let needed = [oldest(&self.live), oldest(&self.file)].into_iter().flatten().min();
        let (live, file) = (self.live.released, self.file.released);
        let lane = self.lane;
        let reading = self.reading(input);
        let Some(next) = reading.next else { return Ok(None) };
        reading.read = reading.read.max(next);
        let note = Note { read: reading.read, file_from: reading.file_from, live, file };
        let position = Position {
            topic: input.topic(),
            lane,
            offset: needed.map_or(next, |needed| needed.min(next)),
            metadata: serde_json::to_string(&note)?,
        };
        if reading.committed.as_ref() == Some(&position) {
            return Ok(None);
        }
        reading.committed = Some(position.clone());
        Ok(Some(position))
    }

    fn reading(&mut self, input: Input) -> &mut Reading {
        self.readings.entry(input).or_default()
    }

    fn windows(&mut self, timeline: Timeline) -> &mut Windows {
        match timeline {
            Timeline::Live => &mut self.live,
            Timeline::File => &mut self.file,
        }
    }
}

/// The bytes of a record's rows, where all of them go on and nothing of them was changed but for the columns that only
/// joining needs.
fn passed_on(record: &Record, def: &'static Def, rows: &RecordBatch) -> Option<Bytes> {
    let (Payload::Rows(from, all), Some(packed)) = (&record.payload, &record.packed) else {
        return None;
    };
    let is_whole = rows.num_rows() == all.num_rows()
        && rows.columns().iter().zip(all.columns()).all(|(mine, its)| Arc::ptr_eq(mine, its));
    match is_whole {
        false => None,
        true if rows.num_columns() == all.num_columns() => Some(packed.clone()),
        true if from.name == raw_conn::DEF.name => codec::narrow(packed, def),
        true => None,
    }
}
