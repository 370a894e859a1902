//! The role: reads every log topic, writes files of one format, exactly once.
//!
//! When a step closes files:
//! - packet time has passed the end of the interval that the last such step was in, by a grace for
//!   the lanes that lag: all streams;
//! - a file is as large as it may be, or a stream has too many intervals open: that stream;
//! - a stream's first row is as old, by the wall clock, as it may be: that stream;
//! - lanes are revoked, the input is drained, the process stops: all streams.
//!
//! Packet time is the newest `_write_ts` of all lanes. Rows that come later than the grace are written
//! to another file of their interval. A row from a far future (a sensor with a wrong clock) puts packet
//! time there; from then on files are closed by age.
//!
//! Without rotation the run is one step, when it is drained or stopped.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use bus::{
    BusError, Lane, Member, Outgoing, Position, Record, Restored, Role, Session, Step, Topic, Wake,
    topic,
};
use bytes::Bytes;
use model::stream;

use crate::config::{Config, known_format};
use crate::entry::{Entry, State};
use crate::full::Full;
use crate::name::Interval;
use crate::output::{Closed, Files, Output};
use crate::place::Place;
use crate::summary::Summary;
use crate::time::SECOND_US;

/// Lanes lag by what capture and aggregate gather before they commit, some seconds; after this grace
/// most rows of an interval are there. Short intervals have a tenth of theirs.
const GRACE_US_MAX: i64 = 60 * SECOND_US;

/// Who the sink of a format is on the bus.
pub fn member(format: &str, node: &str) -> Member {
    Member {
        group: format!("sink.{format}"),
        node: node.to_owned(),
        topics: stream::ALL.iter().map(|def| Topic::log(def)).collect(),
        state: Some(topic::FILES),
        home: Vec::new(),
    }
}

/// What a step holds, until it is lasting.
#[derive(Default)]
struct Flight {
    entries: Vec<Entry>,
    notes: usize,
    letters: u64,
    rows_in: u64,
    rows_dead: u64,
}

/// The sink of one format.
pub struct Sink {
    files: Files,
    outputs: BTreeMap<Topic, Output>,
    /// Newest `_write_ts`.
    newest: Option<i64>,
    /// Packet time at which all streams are closed next.
    due: Option<i64>,
    /// The step that is being committed.
    flight: Option<Flight>,
    /// Files that `weir.files` is to be told more of, with the next step.
    notes: Vec<Entry>,
    /// How far the files of this format go, whoever wrote them.
    catalog: BTreeMap<(Topic, Lane), i64>,
    /// The disk is full.
    full: Option<Full>,
    summary: Summary,
}

impl Sink {
    /// A sink for a bus with so many lanes.
    pub fn new(config: Config, lanes: u32) -> Result<Sink> {
        config.check()?;
        let format = known_format(&config.format)?;
        let place = Place::new(&config.dir, &config.node, format.name(), config.force)?;
        let taken = BTreeMap::new();
        let outputs = stream::ALL.iter().map(|def| (Topic::log(def), Output::new(def))).collect();
        Ok(Sink {
            files: Files { config, format, place, lanes, counter: 0, taken },
            outputs,
            newest: None,
            due: None,
            flight: None,
            notes: Vec::new(),
            catalog: BTreeMap::new(),
            full: None,
            summary: Summary::default(),
        })
    }

    /// What was done so far.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    fn record(&mut self, record: Record, now_ms: i64) -> Result<()> {
        let Some(output) = self.outputs.get_mut(&record.topic) else {
            bail!("the sink reads no topic {}", record.topic);
        };
        let Some((first, last)) = output.record(&mut self.files, record, now_ms)? else {
            return Ok(());
        };
        self.newest = self.newest.max(Some(last));
        if self.due.is_none() {
            self.due = self.closing_time(first);
        }
        Ok(())
    }

    /// When the interval of this time is closed.
    fn closing_time(&self, time: i64) -> Option<i64> {
        let length = self.files.config.rotate?;
        let grace = GRACE_US_MAX.min(length / 10);
        Some(Interval::of(time, length).end.saturating_add(grace))
    }

    /// Keeps memory bounded: the larger files give way, until the others fit or nothing gives way any more.
    fn relieve(&mut self) -> Result<()> {
        let mut held = self.buffered();
        while held > self.files.config.buffered_max {
            let largest = self.outputs.values().flat_map(Output::buffered).max().unwrap_or(0);
            for output in self.outputs.values_mut() {
                output.spill(largest / 2, &self.files.place)?;
            }
            let before = std::mem::replace(&mut held, self.buffered());
            if held >= before {
                break;
            }
        }
        Ok(())
    }

    /// What all files hold in memory.
    fn buffered(&self) -> usize {
        self.outputs.values().flat_map(Output::buffered).sum()
    }

    /// The step that is due now, if one is.
    fn tick(&mut self, now_ms: i64) -> Result<Option<Step>> {
        let Some(age_ms) = self.files.config.age_ms() else { return self.overflow() };
        if self.due.is_some() && self.newest >= self.due {
            return self.close_all(now_ms);
        }
        self.close(now_ms, |output| output.is_full() || output.is_older_than(age_ms, now_ms))
    }

    fn close_all(&mut self, now_ms: i64) -> Result<Option<Step>> {
        self.due = self.newest.and_then(|newest| self.closing_time(newest));
        self.close(now_ms, |_| true)
    }

    fn close(&mut self, now_ms: i64, which: impl Fn(&Output) -> bool) -> Result<Option<Step>> {
        let (mut step, mut flight) = (Step::default(), Flight::default());
        for output in self.outputs.values_mut() {
            if !which(output) {
                continue;
            }
            let Closed { mut entries, positions, mut letters, rows_in, rows_dead } =
                output.close(&self.files.place, now_ms)?;
            flight.letters += letters.len() as u64;
            flight.rows_in += rows_in;
            flight.rows_dead += rows_dead;
            flight.entries.append(&mut entries);
            step.out.append(&mut letters);
            step.positions.extend(positions);
        }
        if !flight.entries.is_empty() {
            self.files.place.sync_temps()?;
        }
        self.launch(step, flight)
    }

    /// Without rotation dead letters have no step to wait for: too many go out alone. A restart reads
    /// their records again, so these may be sent twice.
    fn overflow(&mut self) -> Result<Option<Step>> {
        let letters: Vec<Outgoing> = self.outputs.values_mut().flat_map(Output::overflow).collect();
        let flight = Flight { letters: letters.len() as u64, ..Flight::default() };
        self.launch(Step { out: letters, ..Step::default() }, flight)
    }

    /// Adds what `weir.files` is to be told; no step where there is nothing to commit.
    fn launch(&mut self, mut step: Step, mut flight: Flight) -> Result<Option<Step>> {
        flight.notes = self.notes.len();
        for entry in flight.entries.iter().chain(&self.notes) {
            step.out.push(entry.document(self.files.lanes)?);
        }
        if step.out.is_empty() && step.positions.is_empty() {
            return Ok(None);
        }
        let told = |entry: &Entry| (entry.counter, entry.stream.clone(), entry.rows);
        step.files = flight.entries.iter().map(told).collect();
        self.flight = Some(flight);
        Ok(Some(step))
    }

    /// Forgets lanes that are gone. Files mix the lanes that were read; where only some of those are
    /// gone, nothing less than a new session, which reads all again, is right.
    fn lose(&mut self, lanes: &[Lane]) -> Result<()> {
        let gone: BTreeSet<Lane> = lanes.iter().copied().collect();
        let read: BTreeSet<Lane> = self.outputs.values().flat_map(Output::lanes).collect();
        if read.is_disjoint(&gone) {
            return Ok(());
        }
        if !read.is_subset(&gone) {
            let text = format!("lanes {gone:?} are gone and files mix their rows with others'");
            return Err(BusError::Session(text).into());
        }
        self.forget()
    }

    fn forget(&mut self) -> Result<()> {
        for output in self.outputs.values_mut() {
            output.forget(&self.files.place)?;
        }
        Ok(())
    }

    fn open(&mut self, session: &mut dyn Session) -> Result<()> {
        self.notes.clear();
        self.newest = None;
        self.due = None;
        self.files.place.make()?;
        self.forget()?;
        self.recover(session)?;
        self.files.place.sweep()
    }

    fn wake(&mut self, wake: Wake, now_ms: i64) -> Result<Option<Step>> {
        match wake {
            Wake::Records(records) => {
                for record in records {
                    self.record(record, now_ms)?;
                }
                self.relieve()?;
                self.tick(now_ms)
            }
            Wake::Assigned(_) | Wake::End(..) | Wake::Idle => self.tick(now_ms),
            Wake::Revoked(_) if self.files.config.rotate.is_some() => self.close_all(now_ms),
            Wake::Revoked(lanes) | Wake::Lost(lanes) => {
                self.lose(&lanes)?;
                Ok(None)
            }
            Wake::Drained | Wake::Stop => self.close_all(now_ms),
            Wake::Documents(..) => Ok(None),
        }
    }

    /// A step is lasting: its files get their names.
    fn publish(&mut self) -> Result<()> {
        let Some(flight) = self.flight.take() else { return Ok(()) };
        self.notes.drain(..flight.notes);
        self.count(&flight);
        self.files.place.publish(flight.entries.iter())?;
        for entry in flight.entries {
            self.note(Entry { state: State::Published, ..entry });
        }
        self.files.place.tidy();
        if let Some(full) = self.full.take() {
            full.say_over(self.files.place.root());
        }
        Ok(())
    }

    /// Counts a step that is lasting.
    fn count(&mut self, flight: &Flight) {
        let summary = &mut self.summary;
        summary.dead_letters += flight.letters;
        summary.rows_in += flight.rows_in;
        summary.rows_dead += flight.rows_dead;
        for entry in &flight.entries {
            summary.files_committed += 1;
            summary.rows_out += entry.rows;
            if let Some(def) = stream::find(&entry.stream) {
                *summary.rows.entry(def.name).or_default() += entry.rows;
            }
        }
    }

    fn note(&mut self, entry: Entry) {
        if entry.state == State::Published {
            self.files.take(&entry);
            self.summary.published(self.files.place.path(&entry.name), &entry);
        }
        self.notes.push(entry);
    }
}

impl Role for Sink {
    fn opened(&mut self, session: &mut dyn Session) -> Result<()> {
        let opened = self.open(session);
        opened.map_err(|error| self.failed(error))
    }

    fn restored(&mut self, lane: Lane, from: Restored) -> Result<()> {
        self.summary.records_gone += from.records_gone();
        // Its rows come again from the position that was committed. What was read before and not
        // committed would be written twice.
        if self.outputs.values().any(|output| output.lanes().any(|read| read == lane)) {
            let text = format!("lane {lane} begins anew and files hold rows of it");
            return Err(BusError::Session(text).into());
        }
        Ok(())
    }

    fn stood(&self, lane: Lane, _: &[(Bytes, Bytes)]) -> Vec<Position> {
        let of_lane = self.catalog.iter().filter(|((_, of), _)| *of == lane);
        let position = |((topic, _), offset): (&(Topic, Lane), &i64)| {
            let (topic, offset, metadata) = (topic.clone(), *offset, String::new());
            Position { topic, lane, offset, metadata }
        };
        of_lane.map(position).collect()
    }

    fn on(&mut self, wake: Wake, now_ms: i64) -> Result<Option<Step>> {
        let step = self.wake(wake, now_ms);
        step.map_err(|error| self.give_way(error))
    }

    fn committed(&mut self) -> Result<()> {
        let published = self.publish();
        published.map_err(|error| self.failed(error))
    }

    fn ready(&mut self, now_ms: i64) -> bool {
        let Some(full) = &mut self.full else { return true };
        full.is_over(self.files.place.room(), now_ms)
    }
}

mod recover;
#[cfg(test)]
mod tests;
