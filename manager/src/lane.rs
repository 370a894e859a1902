//! One lane: merges partials, judges, decides on notices. All it must not forget is state, changed
//! in the step that moves its positions.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use arrow_array::{Array, RecordBatch};
use bus::{Change, Lane, Outgoing, Payload, Position, Record, Restored, Step, Timeline};
use bytes::Bytes;
use detect::{Detector, Value, rows};
use model::read::{self, ColumnError};
use model::stream::{Def, known, notice, partial};
use serde::{Deserialize, Serialize};

use crate::assets::{Assets, Seen};
use crate::config::{Config, Counters};
use crate::emit;
use crate::progress::{Input, Progress, Source};
use crate::state::{Key, LINES, Line, json};
use crate::suppress::{Span, Suppressions};
use crate::windows::{Found, Pane, Whom, Windows};

/// The longest that a notice can ask to be held back, microseconds: a week. More is no suppression
/// but policy.
const SUPPRESS_FOR_MAX_US: i64 = 7 * 24 * 3_600_000_000;

/// What a lane is given to work with.
pub struct Work<'a> {
    /// How to work.
    pub config: &'a Config,
    /// What judges.
    pub detectors: &'a [Box<dyn Detector>],
    /// What is counted.
    pub counters: &'a mut Counters,
}

/// Which inputs have ended the present round of files. Suppressions are forgotten when both have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Round {
    partial: bool,
    notice: bool,
}

/// One lane.
pub struct LaneState {
    lane: Lane,
    progress: Progress,
    windows: Windows,
    suppressions: Suppressions,
    assets: Assets,
    round: Round,
    kept_round: Round,
    /// Offsets to read next, and those committed.
    next: BTreeMap<Input, (i64, Option<i64>)>,
    out: Vec<Outgoing>,
}

impl LaneState {
    /// As the last commit left it.
    ///
    /// # Errors
    /// A piece of state does not read: somebody else wrote there.
    pub fn restore(
        lane: Lane,
        from: Restored,
        config: &Config,
        detectors: &[Box<dyn Detector>],
    ) -> Result<LaneState> {
        let mut state = LaneState {
            lane,
            progress: Progress::new(config.lanes),
            windows: Windows::default(),
            suppressions: Suppressions::new(config.suppressions_max),
            assets: Assets::new(config.assets_max),
            round: Round::default(),
            kept_round: Round::default(),
            next: BTreeMap::new(),
            out: Vec::new(),
        };
        let mut panes = Vec::new();
        for (key, value) in &from.state {
            state.restore_item(key, value, &mut panes).with_context(|| {
                format!("state of lane {lane} under {}", String::from_utf8_lossy(key))
            })?;
        }
        // Whether a pane was judged follows from the watermark, which is known only now.
        for (whom, start, pane) in panes {
            let watermark = state.progress.watermark(whom.0);
            state.windows.restore(whom, start, pane, watermark, detectors);
        }
        state.suppressions.changes();
        state.assets.changes();
        Ok(state)
    }

    fn restore_item(
        &mut self,
        key: &Bytes,
        value: &Bytes,
        panes: &mut Vec<(Whom, i64, Pane)>,
    ) -> Result<()> {
        match serde_json::from_slice(key)? {
            Key::Source(line, name) => {
                let source: Source = serde_json::from_slice(value)?;
                self.progress.restore(line, name, source);
            }
            Key::Suppress(line, note, identifier) => {
                let span: Span = serde_json::from_slice(value)?;
                self.suppressions.restore((line, note, identifier), span);
            }
            Key::Asset(line, asset) => {
                let seen: Seen = serde_json::from_slice(value)?;
                self.assets.restore((line, asset), seen);
            }
            Key::Pane(line, rule, entity, start) => {
                let pane: Pane = serde_json::from_slice(value)?;
                panes.push(((line, rule, entity), start, pane));
            }
            Key::Round => {
                self.round = serde_json::from_slice(value)?;
                self.kept_round = self.round;
            }
        }
        Ok(())
    }

    /// Uses a record.
    pub fn take(&mut self, record: Record, work: &mut Work<'_>) -> Result<()> {
        let input = Input::of(&record.topic);
        self.next.entry(input).or_default().0 = record.offset.saturating_add(1);
        let line = record.stamp.as_ref().map_or(Timeline::Live, |stamp| stamp.timeline).into();
        if let Some(stamp) = &record.stamp {
            self.progress.hear(input, stamp);
        }
        let (stage, why) = match &record.payload {
            Payload::Empty => {
                let ends = record.stamp.as_ref().is_some_and(|stamp| stamp.end);
                if input == Input::Known && ends && line == Line::File {
                    // Rows of a lane come from that lane alone, in order: this is the end of its round.
                    self.assets.forget_files();
                }
                return Ok(());
            }
            Payload::Bad(_, reason) => ("VALUE_CONVERTER", reason.clone()),
            Payload::Bytes(_) => ("VALUE_CONVERTER", "a document, not rows".to_owned()),
            Payload::Rows(def, batch) => {
                let taken = match input {
                    Input::Partial => self.take_partials(def, batch, line, work),
                    Input::Notice => self.take_notices(def, batch, line, work),
                    Input::Known => self.take_assets(def, batch, line, work),
                };
                match taken {
                    Ok(()) => return Ok(()),
                    Err(error) => ("TRANSFORMATION", format!("{error:#}")),
                }
            }
        };
        work.counters.dead_letters += 1;
        self.out.push(work.config.consumer().letter(record, stage, &why));
        Ok(())
    }

    fn take_partials(
        &mut self,
        def: &Def,
        batch: &RecordBatch,
        line: Line,
        work: &mut Work<'_>,
    ) -> Result<()> {
        let batch = checked(&partial::DEF, def, batch)?;
        let (start, end) = (read::time(&batch, "ts")?, read::time(&batch, "_write_ts")?);
        let (first, last) = (read::time(&batch, "first_ts")?, read::time(&batch, "last_ts")?);
        let (rule, entity) = (read::text(&batch, "rule")?, read::text(&batch, "entity")?);
        let (count, state) = (read::count(&batch, "observations")?, read::text(&batch, "state")?);
        let observers = read::list(&batch, "observers")?;
        for row in 0..batch.num_rows() {
            work.counters.partial_in += 1;
            let detector = work.detectors.iter().find(|d| d.rule() == rule.value(row));
            let value = Value::decode(state.value(row)).ok();
            let (Some(detector), Some(value)) = (detector, value) else {
                work.counters.unknown += 1;
                continue;
            };
            if !value.is_like(&detector.start()) {
                work.counters.unknown += 1;
                continue;
            }
            let pane = Pane {
                end: end.value(row).max(start.value(row)),
                first_ts: first.value(row),
                last_ts: last.value(row),
                observations: u64::try_from(count.value(row)).unwrap_or(0),
                observers: read::texts(observers, row).into_iter().collect(),
                value,
            };
            let whom = (line, rule.value(row).to_owned(), entity.value(row).to_owned());
            self.windows.take(whom, start.value(row), pane, detector.as_ref());
        }
        let mut found = Vec::new();
        work.counters.early +=
            self.windows.relieve(work.config.held_max, work.detectors, &mut found);
        self.raise(found, work);
        Ok(())
    }

    fn take_notices(
        &mut self,
        def: &Def,
        batch: &RecordBatch,
        line: Line,
        work: &mut Work<'_>,
    ) -> Result<()> {
        let batch = checked(&notice::DEF, def, batch)?;
        let (note, identifier) = (read::text(&batch, "note")?, read::text(&batch, "identifier")?);
        let (ts, written) = (read::time(&batch, "ts")?, read::time(&batch, "_write_ts")?);
        let suppress_for = rows::seconds(&batch, "suppress_for")?;
        let mut picked = Vec::new();
        for row in 0..batch.num_rows() {
            work.counters.notice_in += 1;
            let ts = if ts.is_null(row) { written.value(row) } else { ts.value(row) };
            let suppress_for_us = suppression(suppress_for.value(row), work.config);
            if identifier.is_valid(row) {
                let kind = (line, note.value(row).to_owned(), identifier.value(row).to_owned());
                if self.suppressions.holds_back(kind, ts, suppress_for_us) {
                    work.counters.suppressed += 1;
                    continue;
                }
            }
            picked.push((u32::try_from(row)?, suppress_for_us));
        }
        work.counters.notice_out += picked.len() as u64;
        self.out.extend(emit::passed(&batch, &picked, self.lane, work.config.lanes)?);
        Ok(())
    }

    fn take_assets(
        &mut self,
        def: &Def,
        batch: &RecordBatch,
        line: Line,
        work: &mut Work<'_>,
    ) -> Result<()> {
        let batch = checked(&known::DEF, def, batch)?;
        let (asset, written) = (read::text(&batch, "asset")?, read::time(&batch, "_write_ts")?);
        let services = read::list(&batch, "service")?;
        let mut news = Vec::new();
        for row in 0..batch.num_rows() {
            work.counters.asset_in += 1;
            let kind = (line, asset.value(row).to_owned());
            let time = written.value(row);
            if let Some(new) = self.assets.see(kind, time, read::texts(services, row)) {
                news.push((row, new));
            }
            // Time goes on with the rows: also that of files, which have no watermark of their own here.
            self.assets.expire(line, time);
        }
        work.counters.asset_out += news.len() as u64;
        self.out.extend(emit::assets(&batch, &news, self.lane, &work.config.node)?);
        Ok(())
    }

    /// Decides on what detectors found.
    fn raise(&mut self, found: Vec<Found>, work: &mut Work<'_>) {
        for found in found {
            work.counters.found += 1;
            let finding = &found.finding;
            let kind = (found.line, finding.note.to_owned(), finding.identifier.clone());
            if self.suppressions.holds_back(kind, finding.ts, finding.suppress_for_us) {
                work.counters.suppressed += 1;
                continue;
            }
            work.counters.notice_out += 1;
            self.out.push(emit::found(&found, &work.config.node, work.config.lanes));
        }
    }

    /// Judges what the watermarks have passed. `is_drained`: nobody will wait for more input.
    pub fn settle(&mut self, is_drained: bool, work: &mut Work<'_>) {
        let mut found = Vec::new();
        for line in LINES {
            let watermark = self.progress.watermark(line);
            let until = if is_drained { i64::MAX } else { watermark };
            self.windows.judge(line, until, work.detectors, &mut found);
            self.windows.expire(line, watermark);
        }
        self.raise(found, work);
        let live = self.progress.watermark(Line::Live);
        self.suppressions.expire(live);
        self.assets.expire(Line::Live, live);
        work.counters.assets_forgotten += std::mem::take(&mut self.assets.forgotten);
        if self.progress.has_ended(Input::Partial) {
            self.windows.expire(Line::File, i64::MAX);
            self.progress.forget(Input::Partial);
            self.round.partial = true;
        }
        if self.progress.has_ended(Input::Notice) {
            self.progress.forget(Input::Notice);
            self.round.notice = true;
        }
        if self.round == (Round { partial: true, notice: true }) {
            self.suppressions.forget_files();
            self.round = Round::default();
        }
    }

    /// Adds to a step what this lane has done. True if that is anything.
    pub fn collect(&mut self, step: &mut Step) -> bool {
        let before = (step.out.len(), step.state.len(), step.positions.len());
        step.out.append(&mut self.out);
        let mut changes: BTreeMap<Key, Option<Bytes>> = BTreeMap::new();
        for (key, source) in self.progress.changes() {
            changes.insert(key, source.as_ref().map(json));
        }
        for (key, span) in self.suppressions.changes() {
            changes.insert(key, span.as_ref().map(json));
        }
        for (key, seen) in self.assets.changes() {
            changes.insert(key, seen.as_ref().map(json));
        }
        for (key, pane) in self.windows.changes() {
            changes.insert(key, pane.as_ref().map(json));
        }
        if self.round != self.kept_round {
            self.kept_round = self.round;
            let is_open = self.round == Round::default();
            changes.insert(Key::Round, (!is_open).then(|| json(&self.round)));
        }
        let lane = self.lane;
        step.state.extend(changes.into_iter().map(|(key, value)| Change {
            lane,
            key: key.bytes(),
            value,
        }));
        for (input, (next, committed)) in &mut self.next {
            if *committed == Some(*next) {
                continue;
            }
            *committed = Some(*next);
            let topic = input.topic();
            step.positions.push(Position { topic, lane, offset: *next, metadata: String::new() });
        }
        before != (step.out.len(), step.state.len(), step.positions.len())
    }
}

/// The rows as rows of their stream.
fn checked(want: &'static Def, def: &Def, batch: &RecordBatch) -> Result<RecordBatch, ColumnError> {
    if def.name != want.name {
        return Err(ColumnError { column: def.name.to_owned(), wanted: want.name });
    }
    rows::conform(want, batch)
}

/// How long a notice holds back its like, microseconds, from its own column in seconds.
fn suppression(seconds: f64, config: &Config) -> i64 {
    if !seconds.is_finite() || seconds <= 0.0 {
        return config.suppress_for_us;
    }
    // The cast saturates.
    ((seconds * 1e6) as i64).min(SUPPRESS_FOR_MAX_US)
}
