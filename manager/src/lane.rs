//! One lane: merges partials, judges, decides on notices. All it must not forget is state, changed
//! in the step that moves its positions.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arrow_array::{Array, RecordBatch, StringArray};
use bus::{Change, Lane, Outgoing, Payload, Position, Record, Restored, Step, Timeline, stand};
use bytes::Bytes;
use detect::{Detector, Value, rows, summary};
use model::read;
use model::stream::{Def, known, notice, partial};
use serde::{Deserialize, Serialize};

use crate::assets::{Assets, Seen};
use crate::config::{Config, Counters};
use crate::decide::{COUNT_RULE, Decider, Document, Seen as Noticed, borrowed, stamp};
use crate::emit;
use crate::progress::{Input, Progress, Source, Standing};
use crate::significance::Sight;
use crate::state::{Key, LINES, Line, json};
use crate::summaries::{self, Summaries};
use crate::take::{checked, suppression};
use crate::windows::{Found, Pane, Whom, Windows};

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
    /// How far the manager's lanes are: they send each other what rules count.
    managers: Progress,
    windows: Windows,
    decider: Decider,
    assets: Assets,
    summaries: Summaries,
    round: Round,
    kept_round: Round,
    /// Offsets to read next, and those committed.
    next: BTreeMap<Input, (i64, Option<i64>)>,
    out: Vec<Outgoing>,
    /// Up to where the other lanes were told that this one is, by timeline.
    told: [i64; 2],
    /// How far all were when this one was settled last.
    settled: [Standing; 2],
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
            progress: Progress::new("aggregate/", config.lanes),
            managers: Progress::new("manager/", config.lanes),
            windows: Windows::default(),
            decider: Decider::new(lane, config),
            assets: Assets::new(config.assets_max),
            summaries: Summaries::default(),
            round: Round::default(),
            kept_round: Round::default(),
            next: BTreeMap::new(),
            out: Vec::new(),
            told: [i64::MIN; 2],
            settled: Default::default(),
        };
        let mut panes = Vec::new();
        for (key, value) in &from.state {
            let read = match stand::is_one(key) {
                true => stand::check(value).map_err(Into::into),
                false => state.restore_item(key, value, &mut panes),
            };
            read.with_context(|| {
                format!("state of lane {lane} under {}", String::from_utf8_lossy(key))
            })?;
        }
        // Whether a pane was judged follows from the watermark, which is known only now.
        for (whom, start, pane) in panes {
            let watermark = state.progress.watermark(whom.0);
            state.windows.restore(whom, start, pane, watermark, detectors);
        }
        // It tells itself as it tells the others; what it has not read back of a round's end is over all the same.
        state.told =
            LINES.map(|line| state.managers.of_lane(line, lane).min(state.progress.both(line)));
        state.decider.is_restored();
        state.assets.changes();
        Ok(state)
    }

    fn restore_item(
        &mut self,
        key: &Bytes,
        value: &Bytes,
        panes: &mut Vec<(Whom, i64, Pane)>,
    ) -> Result<()> {
        // What no manager has written says nothing of ours, and must not stop the lane for good.
        let Ok(key) = serde_json::from_slice(key) else {
            let (lane, key) = (self.lane, String::from_utf8_lossy(key));
            tracing::error!(lane, %key, "state under a key that is none: passed over");
            return Ok(());
        };
        match key {
            Key::Source(line, name) => {
                let source: Source = serde_json::from_slice(value)?;
                self.progress_of(&name).restore(line, name, source);
            }
            key @ (Key::Policy | Key::Suppress(..) | Key::Saw(..) | Key::Host(..)) => {
                self.decider.restore(key, value)?;
            }
            Key::Asset(line, asset) => {
                let seen: Seen = serde_json::from_slice(value)?;
                self.assets.restore((line, asset), seen);
            }
            Key::Pane(line, rule, entity, start) => {
                let pane: Pane = serde_json::from_slice(value)?;
                panes.push(((line, rule, entity), start, pane));
            }
            Key::Summary(line, entity) => {
                let open = serde_json::from_slice(value)?;
                if !self.summaries.restore(line, &entity, open) {
                    let lane = self.lane;
                    tracing::error!(lane, entity, "state of a summary that is none: passed over");
                }
            }
            Key::Round => {
                self.round = serde_json::from_slice(value)?;
                self.kept_round = self.round;
            }
        }
        Ok(())
    }

    fn progress_of(&mut self, source: &str) -> &mut Progress {
        if self.managers.is_of(source) { &mut self.managers } else { &mut self.progress }
    }

    /// Decides by this document from here on.
    pub fn adopt(&mut self, document: Option<&Arc<Document>>) {
        self.decider.adopt(document);
    }

    /// Version of the document in force.
    pub fn version(&self) -> &str {
        self.decider.version()
    }

    /// Uses a record, and settles what it completes before there is another: what of a backlog comes behind that,
    /// a further round of files say, must not be mixed with it.
    pub fn take(&mut self, record: Record, work: &mut Work<'_>) -> Result<()> {
        let has_stamp = record.stamp.is_some();
        self.hear(record, work)?;
        if has_stamp && self.standing() != self.settled {
            self.settle(false, work);
        }
        Ok(())
    }

    fn standing(&self) -> [Standing; 2] {
        [self.progress.standing(), self.managers.standing()]
    }

    fn hear(&mut self, record: Record, work: &mut Work<'_>) -> Result<()> {
        let input = Input::of(&record.topic);
        self.next.entry(input).or_default().0 = record.offset.saturating_add(1);
        let line = record.stamp.as_ref().map_or(Timeline::Live, |stamp| stamp.timeline).into();
        if let Some(stamp) = &record.stamp {
            self.progress_of(&stamp.source).hear(input, stamp);
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
                let before = *work.counters;
                let taken = match input {
                    Input::Partial => self.take_partials(def, batch, line, work),
                    Input::Notice => self.take_notices(def, batch, line, work),
                    Input::Known => self.take_assets(def, batch, line, work),
                };
                match taken {
                    Ok(()) => return Ok(()),
                    Err(error) => {
                        // Its rows are dead, whatever some of them were counted as.
                        *work.counters = before;
                        ("TRANSFORMATION", format!("{error:#}"))
                    }
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
            if rule.value(row) == COUNT_RULE {
                let (first, last) = (first.value(row), last.value(row));
                let workers = read::texts(observers, row).into_iter().collect();
                let (host, sight) = (state.value(row).to_owned(), Sight { first, last, workers });
                self.decider.take_count(line, entity.value(row), host, end.value(row), sight);
                continue;
            }
            let value = Value::decode(state.value(row)).ok();
            if rule.value(row) == summary::RULE {
                let watermark = self.progress.watermark(line);
                let take = |value| self.summaries.take(line, entity.value(row), value, watermark);
                work.counters.unknown += u64::from(!value.as_ref().is_some_and(take));
                continue;
            }
            let detector = work.detectors.iter().find(|d| d.rule() == rule.value(row));
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
        let (src, dst) = (read::text(&batch, "src")?, read::text(&batch, "dst")?);
        let (orig, resp) = (read::text(&batch, "id.orig_h")?, read::text(&batch, "id.resp_h")?);
        let (n, observers) = (read::count(&batch, "n")?, read::list(&batch, "observers")?);
        let suppress_for = rows::seconds(&batch, "suppress_for")?;
        // As in Zeek the flow's ends are the notice's where it names none.
        let ip = |named: &StringArray, of_flow: &StringArray, row: usize| {
            let named = [named, of_flow].into_iter().find(|column| column.is_valid(row));
            named.and_then(|column| column.value(row).parse().ok())
        };
        let mut picked = Vec::new();
        for row in 0..batch.num_rows() {
            work.counters.notice_in += 1;
            let observers = read::texts(observers, row);
            let seen = Noticed {
                line,
                ts: if ts.is_null(row) { written.value(row) } else { ts.value(row) },
                written: written.value(row),
                note: note.value(row),
                identifier: identifier.is_valid(row).then(|| identifier.value(row)),
                src: ip(src, orig, row),
                dst: ip(dst, resp, row),
                workers: &observers.iter().map(String::as_str).collect::<Vec<_>>(),
                suppress_for_us: suppression(suppress_for.value(row)),
                is_copy: n.is_valid(row) && n.value(row) == 0,
            };
            if let Some(decided) = self.decider.decide(&seen, work.counters) {
                picked.push((u32::try_from(row)?, decided));
            }
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
            let seen = Noticed {
                line: found.line,
                ts: finding.ts,
                written: found.end,
                note: finding.note,
                identifier: Some(&finding.identifier),
                src: finding.src,
                dst: finding.dst,
                workers: &borrowed(&found.observers),
                suppress_for_us: finding.suppress_for_us,
                is_copy: false,
            };
            let Some(decided) = self.decider.decide(&seen, work.counters) else { continue };
            work.counters.notice_out += 1;
            let Config { node, lanes, .. } = work.config;
            self.out.extend(emit::found(&found, &decided, node, *lanes));
        }
    }

    /// Raises what rules of the policy counted hosts for, up to where all lanes are.
    fn raise_counted(&mut self, work: &mut Work<'_>) {
        let has_ended = self.managers.has_ended(Input::Partial);
        for line in LINES {
            for enough in self.decider.judge_hosts(line, self.managers.watermark(line)) {
                work.counters.found += 1;
                let decided = self.decider.decide_enough(&enough, work.counters);
                let Some(decided) = decided else { continue };
                work.counters.notice_out += 1;
                let Config { node, lanes, .. } = work.config;
                self.out.extend(emit::enough(&enough, &decided, node, *lanes));
            }
        }
        if has_ended {
            self.managers.forget(Input::Partial);
            self.decider.forget_file_hosts();
        }
    }

    /// Sends what was counted here, and how far this lane is, to the lanes where it is judged.
    fn send_counts(&mut self, config: &Config) {
        let told = self.told;
        let counts = self.decider.send_counts(|line| told[line as usize], config);
        self.out.extend(counts);
        for line in LINES.into_iter().filter(|_| self.decider.counts_hosts()) {
            let (time, told) = (self.progress.both(line), &mut self.told[line as usize]);
            // As often as panes pass: the end of a round is said by itself.
            if time == i64::MAX || time < told.saturating_add(detect::PANE_US) {
                continue;
            }
            *told = time;
            let stamp = stamp(self.lane, line, time, false);
            self.out.extend(emit::punctuate(config.lanes, &stamp));
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
            let complete = self.summaries.close(line, until);
            self.out.extend(summaries::rows(&complete, self.lane, &work.config.node));
        }
        self.raise(found, work);
        self.raise_counted(work);
        let live = self.progress.watermark(Line::Live);
        self.decider.expire(live, work.counters);
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
            self.decider.forget_files();
            self.round = Round::default();
            self.send_counts(work.config);
            let end = stamp(self.lane, Line::File, i64::MAX, true);
            self.out.extend(emit::punctuate(work.config.lanes, &end));
            self.told[Line::File as usize] = i64::MIN;
        }
        self.send_counts(work.config);
        let over = self.decider.over(is_drained);
        work.counters.tally_out += over.len() as u64;
        self.out.extend(emit::tallies(&over, self.lane, &work.config.node));
        self.settled = self.standing();
    }

    /// Adds to a step what this lane has done. True if that is anything.
    pub fn collect(&mut self, step: &mut Step) -> bool {
        let before = (step.out.len(), step.state.len(), step.positions.len());
        step.out.append(&mut self.out);
        let mut changes: BTreeMap<Key, Option<Bytes>> = BTreeMap::new();
        for (key, source) in self.progress.changes().into_iter().chain(self.managers.changes()) {
            changes.insert(key, source.as_ref().map(json));
        }
        self.decider.changes(&mut changes);
        for (key, seen) in self.assets.changes() {
            changes.insert(key, seen.as_ref().map(json));
        }
        for (key, open) in self.summaries.changes() {
            changes.insert(key, open.as_ref().map(json));
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
            let position = Position { topic, lane, offset: *next, metadata: String::new() };
            step.state.push(stand::change(&position));
            step.positions.push(position);
        }
        before != (step.out.len(), step.state.len(), step.positions.len())
    }
}
