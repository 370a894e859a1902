//! What few flows have: behind one pointer, so that all others are smaller.

use super::{Meta, Patience};
use crate::config::SECOND;
use crate::trace::Trace;
use crate::tunnel::Around;

/// Steps back in time that mean nothing: packets of several queues are a little out of order.
const STEP_BACK: i64 = SECOND;

/// What few flows have; a flow without it has zeros and nothing.
#[derive(Debug, Default)]
pub struct Rare {
    /// Flows before it with the same tuple and first time.
    pub repeat: u32,
    /// Rows of conn that it has had while it lasted.
    pub interims: u32,
    /// Bytes in content gaps.
    pub missed_bytes: u64,
    /// Its latest packet, where time went far back after it.
    pub latest: i64,
    /// The tunnels around it.
    pub around: Option<Box<Around>>,
    /// What joining it with its other half takes, while one direction alone was seen of it.
    pub trace: Option<Box<Trace>>,
}

impl Rare {
    /// For a flow that begins.
    pub fn new(repeat: u32, around: Option<Box<Around>>) -> Option<Box<Rare>> {
        let is_rare = repeat > 0 || around.is_some();
        is_rare.then(|| Box::new(Rare { repeat, around, ..Rare::default() }))
    }
}

impl Meta {
    /// Flows before it with the same tuple and first time.
    pub fn repeat(&self) -> u32 {
        self.rare.as_ref().map_or(0, |rare| rare.repeat)
    }

    /// Rows of conn that it has had while it lasted.
    pub fn interims(&self) -> u32 {
        self.rare.as_ref().map_or(0, |rare| rare.interims)
    }

    /// A packet that counts was seen.
    pub fn seen_at(&mut self, now: i64) {
        if now < self.last.saturating_sub(STEP_BACK) {
            let last = self.last;
            let rare = self.rare_mut();
            rare.latest = rare.latest.max(last);
        }
        self.last = now;
    }

    /// It is to end after another idle time, counted from its last packet.
    pub fn wait(&mut self, timeout: Patience) {
        if timeout == self.timeout {
            return;
        }
        self.timeout = timeout;
        if let Some(rare) = &mut self.rare {
            rare.latest = 0;
        }
    }

    /// From when on its timers count: Zeek's are set when they were due last, and do not come sooner when time goes back.
    pub fn active_at(&self) -> i64 {
        self.rare.as_ref().map_or(self.last, |rare| rare.latest.max(self.last))
    }

    /// Bytes in content gaps.
    pub fn missed_bytes(&self) -> u64 {
        self.rare.as_ref().map_or(0, |rare| rare.missed_bytes)
    }

    /// The tunnels around it.
    pub fn around(&self) -> Option<&Around> {
        self.rare.as_ref()?.around.as_deref()
    }

    /// What joining it takes.
    pub fn trace(&self) -> Option<&Trace> {
        self.rare.as_ref()?.trace.as_deref()
    }

    /// The same, to add to.
    pub fn trace_mut(&mut self) -> Option<&mut Trace> {
        self.rare.as_mut()?.trace.as_deref_mut()
    }

    /// What few flows have, which it has from now on.
    pub fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}
