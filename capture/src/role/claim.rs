//! Whose an input is: of two processes that read the same under one node name the later goes on.

use bus::books::Counts;
use bus::{Member, Step};

use super::{Capture, member};
use crate::position::Position;

impl Capture {
    /// The member that it is on the bus, by the name of its source: processes of one node that read different inputs
    /// do not shut each other out.
    pub fn member(&self) -> Member {
        Member { node: self.source.clone(), ..member(&self.config.node, self.config.lanes) }
    }

    /// Whether the input is still this process's, or of nobody.
    pub(super) fn is_ours(&mut self, position: &Position) -> anyhow::Result<()> {
        let Some(mine) = self.owner else { return Ok(()) };
        if self.live.is_first_look() {
            // It began before it could know of those before it.
            self.owner = Some(mine.max(position.owner + 1));
            return self.live.looked(position, &self.source, self.clock.now_ms());
        }
        let (source, node) = (&self.source, &self.config.node);
        anyhow::ensure!(
            position.owner <= mine,
            "another process that began later captures {source} with node name `{node}`: two processes must \
             not share a node name, and this one, the earlier, ends"
        );
        self.claimed = position.owner == mine;
        Ok(())
    }

    /// Says in the state whose the source is now; what was sent stays as it is.
    pub(super) fn claim(&mut self) -> anyhow::Result<Step> {
        let least = self.kept.owner + 1;
        let owner = self.owner.unwrap_or_else(|| self.clock.now_ms().unsigned_abs().max(least));
        self.owner = Some(owner);
        self.send(Vec::new(), Counts::default(), Position { owner, ..self.kept.clone() })
    }
}
