//! Whose an input is: of two processes that read the same under one node name the later goes on; and whether a file
//! that was begun can be gone on with.

use bus::books::Counts;
use bus::{Member, Step};

use super::{Capture, Input, member};
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

    /// Whether `--again` asks for another reading: of what was read to its end, or cannot be gone on with.
    pub(super) fn begins_anew(&self, position: &Position) -> bool {
        if !self.again || position.end {
            return self.again;
        }
        let Some(how) = self.differs_from(position) else { return false };
        if self.round.is_none() {
            let (files, packets) = (self.names(), position.packets);
            tracing::warn!("{files}: {packets} packets were read {how}; their rows are sent again");
        }
        true
    }

    /// How what made the rows before a position in the middle of a file differs from what would make the others.
    fn differs_from(&self, position: &Position) -> Option<String> {
        let is_begun = position.packets > 0 && !position.end;
        is_begun.then(|| self.maker.differs_from(&position.maker)).flatten()
    }

    /// Whether the rest of a file that was begun would fit what was sent of it.
    pub(super) fn may_go_on(&self, position: &Position) -> anyhow::Result<()> {
        let Some(how) = self.differs_from(position) else { return Ok(()) };
        let (files, packets) = (self.names(), position.packets);
        anyhow::bail!(
            "{files}: the first {packets} packets were read {how}. Going on from there would lose rows, or send some \
             twice. Finish it as it was begun, or read it whole with --again: then the rows of those packets are sent \
             a second time"
        )
    }

    /// The files that are read.
    fn names(&self) -> String {
        let Input::Files(paths) = &self.input else { return self.source.clone() };
        paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    }

    /// Says in the state whose the source is now; what was sent stays as it is.
    pub(super) fn claim(&mut self) -> anyhow::Result<Step> {
        let least = self.kept.owner + 1;
        let owner = self.owner.unwrap_or_else(|| self.clock.now_ms().unsigned_abs().max(least));
        self.owner = Some(owner);
        self.send(Vec::new(), Counts::default(), Position { owner, ..self.kept.clone() })
    }
}
