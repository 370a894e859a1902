//! What the sink does about what was before it, and about a disk that is full.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use bus::{BusError, Lane, Session, Topic, topic};
use model::stream;

use super::Sink;
use crate::config::check_strangers;
use crate::entry::{Entry, State};
use crate::full::{self, Full};
use crate::output::Files;

impl Sink {
    /// Reads the catalog: renames what was committed and not yet, and counts on from there. It also
    /// tells what became of the step whose outcome was open.
    pub(super) fn recover(&mut self, session: &mut dyn Session) -> Result<()> {
        let Files { config, format, place, .. } = &self.files;
        let (mut mine, mut unrotated, mut bad) = (BTreeMap::new(), BTreeSet::new(), 0u64);
        let catalog = &mut self.catalog;
        catalog.clear();
        let mut found = |key, entry: Entry| {
            if entry.format == format.name() {
                reach(catalog, &entry);
            }
            if entry.dir == place.dir() && !entry.is_rotated() {
                unrotated.insert(entry.name.clone());
            }
            if entry.writer == config.node && entry.format == format.name() {
                mine.insert(key, entry);
            }
        };
        session
            .documents(&topic::FILES, &mut |key, json| match Entry::parse(&json) {
                Ok(entry) => found(key, entry),
                Err(_) => bad += 1,
            })
            .with_context(|| format!("cannot read the catalog of files, {}", topic::FILES))?;
        if bad > 0 {
            tracing::warn!(bad, topic = %topic::FILES, "documents that are no file entries");
        }
        if config.rotate.is_none() {
            check_strangers(place.root(), *format, &unrotated, config.force)?;
        }
        let flight = self.flight.take().unwrap_or_default();
        let is_in = |sent: &Entry| mine.values().any(|found| found.counter == sent.counter);
        if flight.entries.first().is_some_and(is_in) {
            self.count(&flight);
        }
        self.files.taken.clear();
        for entry in mine.into_values() {
            self.files.counter = self.files.counter.max(entry.counter);
            match entry.state {
                State::Committed => self.settle(entry)?,
                State::Published => self.files.take(&entry),
                State::Missing => {}
            }
        }
        Ok(())
    }

    /// Ends what an earlier session began: a committed file gets its name.
    fn settle(&mut self, entry: Entry) -> Result<()> {
        let place = &self.files.place;
        // By the temporary name first, which no other file has: the folder may have moved since.
        let state = if place.path(&entry.temp).exists() {
            place.publish(std::iter::once(&entry))?;
            State::Published
        } else if entry.dir != place.dir() {
            tracing::error!(
                file = entry.name,
                dir = entry.dir,
                "committed in another folder and not renamed yet: start once with that folder"
            );
            return Ok(());
        } else if place.path(&entry.name).exists() {
            State::Published
        } else {
            tracing::error!(
                file = entry.name,
                rows = entry.rows,
                "committed, and gone: somebody removed it before it had its name"
            );
            self.summary.files_missing += 1;
            State::Missing
        };
        self.note(Entry { state, ..entry });
        Ok(())
    }

    /// What is not committed makes room where there is none: it is read and written again. No step is under way.
    pub(super) fn give_way(&mut self, error: anyhow::Error) -> anyhow::Error {
        if !full::is_full(&error) {
            return error;
        }
        if !self.files.config.waits_for_room {
            return self.no_room(error);
        }
        let held = self.files.place.held();
        let error = self.pause(held, error);
        let gone = self.forget().and_then(|()| self.files.place.sweep());
        gone.err().unwrap_or(error)
    }

    /// The same where committed files may lie under temporary names.
    pub(super) fn failed(&mut self, error: anyhow::Error) -> anyhow::Error {
        match full::is_full(&error) {
            true if self.files.config.waits_for_room => self.pause(0, error),
            true => self.no_room(error),
            false => error,
        }
    }

    fn no_room(&self, error: anyhow::Error) -> anyhow::Error {
        error.context(format!(
            "no room in {}, and this bus gives no row twice: make room and run again",
            self.files.place.root().display()
        ))
    }

    /// Ends the session until there is room for as much as was held, and more.
    fn pause(&mut self, held: u64, error: anyhow::Error) -> anyhow::Error {
        let root = self.files.place.root();
        let text = format!("no room in {}, rows wait on the bus: {error:#}", root.display());
        match &mut self.full {
            Some(full) => full.again(held),
            None => {
                self.summary.pauses += 1;
                tracing::error!("{text}");
                self.full = Some(Full::new(held));
            }
        }
        BusError::Session(text).into()
    }
}

/// Notes how far a file goes.
fn reach(catalog: &mut BTreeMap<(Topic, Lane), i64>, entry: &Entry) {
    let Some(def) = stream::find(&entry.stream) else { return };
    for (lane, position) in &entry.positions {
        let reached = catalog.entry((Topic::log(def), *lane)).or_default();
        *reached = (*reached).max(*position);
    }
}
