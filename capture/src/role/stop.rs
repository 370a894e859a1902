//! What the role does once a stop was asked for.

use bus::Step;

use super::Capture;
use crate::engine::Counters;
use crate::worker::Flush;

impl Capture {
    /// The step that a lost session did not commit.
    pub(super) fn send_again(&mut self) -> Option<Step> {
        let (position, step) = self.unsure.take()?;
        self.sent.push_back((position, Some(step.clone())));
        Some(step)
    }

    /// A file goes on at a restart; of anything else the open flows are written.
    pub(super) fn stopped(&mut self) -> anyhow::Result<Option<Step>> {
        if let Some(step) = self.send_again() {
            return Ok(Some(step));
        }
        if self.workers.is_empty() || self.ended {
            return Ok(None);
        }
        if self.is_lasting() && !self.ends_when_stopped {
            return Ok(None);
        }
        self.drain()
    }

    fn drain(&mut self) -> anyhow::Result<Option<Step>> {
        let mut all: Vec<Flush> = self.pending.iter_mut().filter_map(Option::take).collect();
        all.extend(self.workers.stop());
        if all.is_empty() {
            return Ok(None);
        }
        // Earlier flushes of a thread are part of the last one's counters.
        for flush in &mut all {
            if !flush.end {
                flush.counters = Counters::default();
                (flush.dropped, flush.rows_dropped, flush.open_flows) = (0, 0, 0);
                flush.end = true;
            }
        }
        self.step(all).map(Some)
    }
}
