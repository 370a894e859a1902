//! The role on an interface: steps that wait in [`crate::live`], and whose reading it is.
//!
//! Every process that captures claims the source in `state.capture` with a number greater than the one it finds
//! there. One that finds a greater number than its own is the earlier of two with the same name: it ends.

use std::sync::Arc;

use anyhow::Context as _;
use bus::{Step, Timeline, Wake};

use super::{Capture, Input, PATIENCE, Summary};
use crate::config::Config;
use crate::live::{self, Entry, Left, Live, Queue, Spool};
use crate::position::Position;
use crate::source::{LiveSource, PacketSource};
use crate::worker::{self, Job};

/// What the role has on an interface.
#[derive(Default)]
pub(super) struct Role {
    running: Option<Live>,
    /// What waits until capture begins.
    spool: Option<Spool>,
    has_spool: bool,
    /// The reading of this process.
    round: u64,
    /// Capture began before there was a session, and what the state says of the source is not known yet.
    is_ahead: bool,
    /// The newest step that was found in the spool.
    found: Option<(i64, bool)>,
    unknown_ms: i64,
    /// What is captured instead of the interface.
    #[cfg(test)]
    pub(super) sources: Vec<Box<dyn PacketSource>>,
}

impl Role {
    /// Opens the spool, where there is to be one.
    ///
    /// # Errors
    /// Another process has it. A disk that fails is said, and costs no more than the spool.
    pub(super) fn new(config: &Config, source: &str, timeline: Timeline) -> anyhow::Result<Role> {
        let mut role = Role::default();
        let Some(below) = config.spool.as_deref().filter(|_| timeline == Timeline::Live) else {
            return Ok(role);
        };
        let dir = live::spool_dir(below, source);
        match Spool::open(&dir, config.spool_max) {
            Ok((mut spool, found)) => {
                if let Err(error) = spool.note_lanes(config.lanes) {
                    tracing::warn!("cannot write in {}: {error}", dir.display());
                }
                if found.rows > 0 || found.bytes_lost > 0 {
                    let (rows, bytes_lost) = (found.rows, found.bytes_lost);
                    tracing::warn!(
                        rows,
                        bytes_lost,
                        "an earlier process left rows in {}",
                        dir.display()
                    );
                }
                (role.spool, role.has_spool) = (Some(spool), true);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => anyhow::bail!(
                "the spool {} is in use: another weir captures with node name `{}`, and two processes \
                 must not share a node name",
                dir.display(),
                config.node
            ),
            Err(error) => tracing::error!(
                "cannot use the spool {}: {error}; rows wait in memory only",
                dir.display()
            ),
        }
        Ok(role)
    }

    /// Whether the state was not seen yet, and capture is at work.
    pub(super) fn is_first_look(&self) -> bool {
        self.is_ahead
    }

    /// The state says what of the spool is committed.
    pub(super) fn looked(
        &mut self,
        position: &Position,
        source: &str,
        now_ms: i64,
    ) -> anyhow::Result<()> {
        self.is_ahead = false;
        self.report_unknown(position, source, now_ms);
        if let Some(live) = &self.running {
            live.forget(position);
        }
        Ok(())
    }

    pub(super) fn committed(&mut self, position: &Position) {
        self.is_ahead = false;
        if let Some(live) = &self.running {
            live.release(position.id());
        }
    }

    pub(super) fn has_spool(&self) -> bool {
        self.has_spool
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Rows that wait on disk.
    pub(super) fn spooled(&self) -> u64 {
        self.running.as_ref().map_or(0, Live::spooled)
    }

    /// Whether steps wait or may yet come: after a stop threads take what the kernel has, and log what is open.
    pub(super) fn owes(&self) -> bool {
        self.running.as_ref().is_some_and(|live| !live.is_over())
    }

    pub(super) fn summary(&self) -> Option<Summary> {
        let summary = self.running.as_ref()?.summary();
        Some(Summary { unknown_ms: self.unknown_ms, ..summary })
    }

    pub(super) fn close(&mut self) -> Left {
        let closed = self.running.as_mut().map(Live::close);
        closed.unwrap_or_else(|| Left {
            spooled: self.spool.as_ref().map_or(0, Spool::rows),
            dir: self.spool.as_ref().map(|spool| spool.dir().to_owned()),
            lost: 0,
        })
    }

    /// What an earlier process saw before it was killed and gave to nobody is not known.
    fn report_unknown(&mut self, kept: &Position, source: &str, now_ms: i64) {
        let (time, end) = self.found.unwrap_or((kept.time, kept.end));
        if end || time <= 0 {
            return;
        }
        self.unknown_ms = now_ms.saturating_sub(time / 1000).max(0);
        tracing::warn!(
            source,
            since_us = time,
            seconds = self.unknown_ms as f64 / 1000.0,
            "an earlier process ended without a word: flows that it held, and rows that it had neither sent \
             nor spooled, are lost; how many is not known"
        );
    }
}

impl Capture {
    pub(super) fn on_live(&mut self, wake: &Wake) -> anyhow::Result<Option<Step>> {
        match wake {
            Wake::Idle | Wake::Assigned(_) => {}
            Wake::Stop => return self.stop_live(),
            _ => return Ok(None),
        }
        if self.live.running.is_none() {
            self.start_live()?;
        }
        if let Some(step) = self.send_again() {
            return Ok(Some(step));
        }
        if !self.claimed {
            return self.claim().map(Some);
        }
        let Some(live) = &self.live.running else { return Ok(None) };
        match live.next(PATIENCE)? {
            Some(entry) => self.entry_step(entry).map(Some),
            None => {
                self.ended = live.is_over();
                Ok(None)
            }
        }
    }

    fn entry_step(&mut self, entry: Entry) -> anyhow::Result<Step> {
        let Entry { id, packets, time, end, counts, out } = entry;
        let owner = self.owner.unwrap_or(0);
        self.ended = end && id.round == self.live.round;
        self.send(out, counts, Position { packets, time, end, owner, ..self.kept.after(id) })
    }

    /// Open flows are logged, and all that waits is sent.
    fn stop_live(&mut self) -> anyhow::Result<Option<Step>> {
        let Some(live) = &self.live.running else { return Ok(None) };
        live.stop();
        if let Some(step) = self.send_again() {
            return Ok(Some(step));
        }
        let Some(live) = &self.live.running else { return Ok(None) };
        loop {
            if let Some(entry) = live.next(PATIENCE)? {
                return self.entry_step(entry).map(Some);
            }
            if live.is_over() {
                return Ok(None);
            }
        }
    }

    /// Begins to capture although no broker has answered yet: rows wait in the spool.
    ///
    /// # Errors
    /// The interface cannot be captured.
    pub fn begin(&mut self) -> anyhow::Result<()> {
        if self.timeline == Timeline::Live && self.live.running.is_none() {
            self.live.is_ahead = true;
            self.start_live()?;
        }
        Ok(())
    }

    fn start_live(&mut self) -> anyhow::Result<()> {
        let now_ms = self.clock.now_ms();
        let owner = now_ms.unsigned_abs().max(self.kept.owner + 1);
        let spool = self.live.spool.take();
        let dir = spool.as_ref().map(|spool| spool.dir().to_owned());
        let mut queue = Queue::new(self.config.memory_max, spool, self.config.lanes);
        self.live.found = queue.last_spooled().map(|last| (last.time, last.end));
        if !self.live.is_ahead {
            self.live.report_unknown(&self.kept, &self.source, now_ms);
        }
        // Readings are in the order of their numbers, also where a clock was set back.
        let owner = owner.max(queue.last_spooled().map_or(0, |last| last.id.round + 1));
        queue.forget(|id| self.kept.covers(id));
        let sources = self.live_sources()?;
        let threads = sources.len().max(1);
        // Each thread has its share of the limits.
        let flows_max = self.config.flows_max.div_ceil(threads);
        let reassembly_max = self.config.reassembly_max.div_ceil(threads as u64);
        let config = Arc::new(Config { flows_max, reassembly_max, ..(*self.config).clone() });
        let mut workers = Vec::new();
        for (index, source) in sources.into_iter().enumerate() {
            let job = Job {
                config: config.clone(),
                index: index as u32,
                threads: threads as u32,
                source,
                from: 0,
                live: true,
                finishes: true,
                clock: self.clock.clone(),
                progress: (index == 0).then(|| self.progress.clone()),
            };
            workers.push(worker::start(job).context("cannot start a capture thread")?);
        }
        let gather = (config, self.source.clone(), self.clock.clone());
        self.live.running = Some(Live::start(workers, queue, dir, owner, gather)?);
        tracing::info!(source = self.source, threads, "capturing");
        (self.live.round, self.owner) = (owner, Some(owner));
        Ok(())
    }

    fn live_sources(&mut self) -> anyhow::Result<Vec<Box<dyn PacketSource>>> {
        #[cfg(test)]
        if !self.live.sources.is_empty() {
            return Ok(std::mem::take(&mut self.live.sources));
        }
        let Input::Live(interface, options) = &self.input else { return Ok(Vec::new()) };
        let now = || self.clock.now_ms() * 1000;
        let opened = LiveSource::open_shared(interface, options, self.config.threads, now)?;
        Ok(opened.into_iter().map(|source| Box::new(source) as Box<dyn PacketSource>).collect())
    }
}

#[cfg(test)]
mod tests;
