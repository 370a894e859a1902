//! The open windows of one timeline of a lane: panes of statistics, held notices and observations of
//! assets, and how far they were released.

use anyhow::Result;
use bus::{Lane, Outgoing, Stamp, Timeline, Topic, topic};
use detect::Detector;
use model::stream;

use crate::assets::{Assets, Picked};
use crate::config::{Config, Counters};
use crate::emit;
use crate::holds::{Holds, Merged};
use crate::join::sites::Sites;
use crate::join::{Copies, Join, Open, feed, shared};
use crate::panes::{Over, Panes};
use crate::state::{Key, Released};

/// Where windows send what they release.
pub struct Outlet<'a> {
    /// How to work.
    pub config: &'a Config,
    /// What is counted.
    pub counters: &'a mut Counters,
    /// Records to send.
    pub out: &'a mut Vec<Outgoing>,
    /// What observes.
    pub detectors: &'a [Box<dyn Detector>],
    /// Who taps where.
    pub sites: &'a Sites,
}

/// Windows of one timeline.
#[derive(Debug)]
pub struct Windows {
    timeline: Timeline,
    lane: Lane,
    /// Statistics.
    pub panes: Panes,
    /// Notices.
    pub holds: Holds,
    /// Observations of assets.
    pub assets: Assets,
    /// Flows that others may have seen as well.
    pub join: Join,
    /// Rows of other streams that others may have written as well.
    pub copies: Copies,
    /// How far all of it is out.
    pub released: Released,
    /// Up to where managers were told.
    told: i64,
    /// Latest time that was heard of.
    high: i64,
}

impl Windows {
    /// None open; released so far.
    pub fn new(timeline: Timeline, lane: Lane, config: &Config, released: Released) -> Windows {
        Windows {
            timeline,
            lane,
            panes: Panes::new(config.pane_us),
            holds: Holds::new(timeline, config.notice_hold_us),
            assets: Assets::default(),
            copies: Copies::default(),
            join: Join::new(detect::pane_start(released.time, config.pane_us)),
            told: released.time,
            high: released.time,
            released,
        }
    }

    /// Which of the two it is of.
    pub fn timeline(&self) -> Timeline {
        self.timeline
    }

    /// The lane that it is of.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// A time was heard of: a source reached it, or a row without a source bears it.
    pub fn reach(&mut self, time: i64) {
        // The end of a source is no time of its packets.
        if time != i64::MAX {
            self.high = self.high.max(time);
        }
    }

    /// Whether nothing is open.
    pub fn is_empty(&self) -> bool {
        self.weight() == 0
    }

    /// What is held, as limits count.
    pub fn weight(&self) -> usize {
        let joined = self.join.weight() + self.copies.weight();
        self.panes.weight() + self.holds.weight() + self.assets.weight() + joined
    }

    /// The time by which every open window ends, when no source is left to wait for: the latest that
    /// was heard of, and twice the longest window, because other lanes heard a little more or less
    /// and managers go by the least of them.
    pub fn beyond(&self) -> i64 {
        if self.high == i64::MIN {
            return i64::MIN;
        }
        let longest = self.panes.pane_us().max(self.holds.end_of(0));
        self.high.saturating_add(longest.saturating_mul(2))
    }

    /// The watermark has come to `time`, or is where it was: sends what ends by it, and progress if
    /// it passed a pane's end.
    pub fn release(&mut self, time: i64, to: &mut Outlet<'_>) -> Result<()> {
        self.released.time = self.released.time.max(time);
        let time = self.released.time;
        // Up to the last pane that is over, so that what leaves is in none that stays open.
        let horizon = detect::pane_start(time, self.panes.pane_us());
        // Of files without a number another one may begin at any time.
        self.join.knows_taps = self.timeline == Timeline::Live || to.config.sources.is_some();
        let ready = self.join.release(horizon, to.config, to.sites.taps(self.timeline));
        feed::send(self, &ready, to)?;
        let chosen = self.copies.release(horizon, to.config.copies_us);
        shared::send(self, chosen, to)?;
        let merged = self.holds.release(time);
        self.send_notices(merged, to)?;
        let copies = self.holds.late_copies();
        self.send_copies(copies, to)?;
        let over = self.panes.release(self.released.panes());
        self.send_partials(over, to);
        let picked = self.assets.release(self.released.assets());
        self.send_assets(picked, false, to)?;
        let has_passed_a_pane = self.told == i64::MIN || self.panes.end_of(self.told) <= time;
        if time > self.told && has_passed_a_pane {
            self.told = time;
            for (topic, stamp) in
                [(topic::PARTIAL, self.stamp(false)), (topic::NOTICE, self.notice_stamp(to.config))]
            {
                to.out.extend(emit::punctuate(&topic, to.config.lanes, &stamp));
            }
        }
        Ok(())
    }

    /// Nothing more comes in this round: sends everything, then the end, and begins anew.
    pub fn finish(&mut self, to: &mut Outlet<'_>) -> Result<()> {
        self.finish_flows(i64::MAX, to)?;
        self.join.begin_anew();
        let merged = self.holds.force(i64::MAX);
        self.send_notices(merged, to)?;
        let copies = self.holds.late_copies();
        self.send_copies(copies, to)?;
        let over = self.panes.release(i64::MAX);
        self.send_partials(over, to);
        let picked = self.assets.release(i64::MAX);
        self.send_assets(picked, true, to)?;
        let end = self.stamp(true);
        for topic in [topic::NOTICE, topic::PARTIAL] {
            to.out.extend(emit::punctuate(&topic, to.config.lanes, &end));
        }
        self.holds.forget();
        self.released = Released::default();
        (self.told, self.high) = (i64::MIN, i64::MIN);
        Ok(())
    }

    /// Nobody is left to wait for up to this time: flows that wait go.
    pub fn finish_flows(&mut self, until: i64, to: &mut Outlet<'_>) -> Result<()> {
        let until = detect::pane_start(until, self.panes.pane_us());
        self.join.knows_taps = true;
        let ready = self.join.release_all(until, to.config, to.sites.taps(self.timeline));
        feed::send(self, &ready, to)?;
        let (mut chosen, merged) = self.copies.release(i64::MAX, to.config.copies_us);
        chosen.iter_mut().for_each(|row| row.at = row.at.min(until.saturating_sub(1)));
        self.copies.forget();
        shared::send(self, (chosen, merged), to)
    }

    /// Of a topic the records of which rows are held.
    pub fn held(&mut self, topic: &str) -> Option<&mut Open> {
        if *topic == *topic::RAW_CONN.0 {
            return Some(&mut self.join.open);
        }
        let def = topic::raw_copies().find(|def| *Topic::raw(def).0 == *topic)?;
        Some(self.copies.open_of(def.name))
    }

    /// Which rows of records are held or remembered, as far as that changed.
    pub fn held_changes(&mut self) -> Vec<(Key, Option<Vec<u64>>)> {
        let timeline = self.timeline;
        let key = |topic: &Topic, offset| Key::held(timeline, topic, offset);
        let of_conn = self.join.open.changes().into_iter();
        let of_conn = of_conn.map(|(offset, rows)| (key(&topic::RAW_CONN, offset), rows));
        let others = self.copies.changes().into_iter().map(|(name, offset, rows)| {
            let topic = stream::find(name).map_or(topic::RAW_CONN, Topic::raw);
            (key(&topic, offset), rows)
        });
        let left = self.join.left.open.changes().into_iter();
        let left = left.map(|(offset, rows)| (Key::left(timeline, offset), rows));
        of_conn.chain(others).chain(left).collect()
    }

    /// The lane holds too much: sends the older part of it before its time.
    pub fn force(&mut self, to: &mut Outlet<'_>) -> Result<()> {
        to.counters.early += 1;
        let [panes, holds] = [self.panes.weight(), self.holds.weight()];
        if self.join.weight() > panes.max(holds).max(self.assets.weight()) {
            let ready = self.join.force();
            return feed::send(self, &ready, to);
        }
        if self.copies.weight() > panes.max(holds).max(self.assets.weight()) {
            let chosen = self.copies.force(to.config.copies_us);
            return shared::send(self, chosen, to);
        }
        if self.assets.weight() > panes.max(holds) {
            let (until, picked) = self.assets.force();
            self.released.known = self.released.known.max(until);
            return self.send_assets(picked, false, to);
        }
        if holds > panes {
            let merged = self.holds.force(self.released.time);
            return self.send_notices(merged, to);
        }
        if let Some((end, over)) = self.panes.force() {
            self.released.forced = self.released.forced.max(end);
            self.send_partials(vec![over], to);
        }
        Ok(())
    }

    fn stamp(&self, end: bool) -> Stamp {
        let time = if end { i64::MAX } else { self.released.time };
        Stamp { source: format!("aggregate/{}", self.lane), timeline: self.timeline, time, end }
    }

    fn send_notices(&self, merged: Vec<Merged>, to: &mut Outlet<'_>) -> Result<()> {
        to.counters.notice_out += merged.len() as u64;
        to.counters.notice_merged += merged.iter().map(|m| m.copies - 1).sum::<u64>();
        let stamp = self.notice_stamp(to.config);
        to.out.extend(emit::notices(merged, self.lane, to.config.lanes, &stamp)?);
        Ok(())
    }

    /// Copies of notices that are out: managers count them, and log none.
    fn send_copies(&self, copies: Vec<Merged>, to: &mut Outlet<'_>) -> Result<()> {
        to.counters.notice_out += copies.len() as u64;
        let stamp = self.notice_stamp(to.config);
        to.out.extend(emit::notices(copies, self.lane, to.config.lanes, &stamp)?);
        Ok(())
    }

    /// Progress on `notice`: what is still held began less than a hold ago.
    fn notice_stamp(&self, config: &Config) -> Stamp {
        let mut stamp = self.stamp(false);
        stamp.time = stamp.time.saturating_sub(config.notice_hold_us);
        stamp
    }

    /// Managers remember assets by the lane that they come on, so that one lane's end is the end.
    fn send_assets(&self, picked: Vec<Picked>, end: bool, to: &mut Outlet<'_>) -> Result<()> {
        to.counters.known_out += picked.len() as u64;
        to.out.extend(emit::assets(&picked, self.lane, &self.stamp(false))?);
        if end {
            to.out.push(Outgoing::punctuation(topic::KNOWN, self.lane, self.stamp(true)));
        }
        Ok(())
    }

    fn send_partials(&self, over: Vec<Over>, to: &mut Outlet<'_>) {
        // Managers may settle between two of these records: only what follows all of them says how far the lane is.
        let stamp = Stamp { time: self.told, ..self.stamp(false) };
        let pane_us = self.panes.pane_us();
        let (records, count) = emit::partials(over, pane_us, to.detectors, to.config, &stamp);
        to.counters.partial_out += count;
        to.out.extend(records);
    }
}
