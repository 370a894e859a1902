//! An analyzer of a flow, and what it has said of it.

use crate::analyzer::{Analyzer, Dir, Kind, Transport};

/// One analyzer of the flow.
pub(super) struct Slot {
    pub(super) name: &'static str,
    /// The slot of the analyzer that carries it; none: it is fed what the flow itself carries.
    pub(super) carrier: Option<usize>,
    pub(super) skips_partial: bool,
    pub(super) analyzer: Box<dyn Analyzer>,
    pub(super) confirmed: bool,
    /// It is told nothing more, but still writes what it has when the flow ends.
    pub(super) stopped: bool,
    /// When it turned out that the flow is not its protocol.
    pub(super) violated_at: Option<i64>,
    /// It is there as the one direction that is seen begins like its protocol, which the other has to be as well: what
    /// it confirms is what that direction shows.
    pub(super) presumed: bool,
    /// When the one direction that is seen had shown all that it can.
    pub(super) shown_at: Option<i64>,
}

impl Slot {
    /// An analyzer that has seen nothing yet.
    pub(super) fn new(kind: &Kind, carrier: Option<usize>, transport: Transport) -> Slot {
        Slot {
            name: kind.name,
            carrier,
            skips_partial: kind.skips_partial,
            analyzer: (kind.new)(transport),
            confirmed: false,
            stopped: false,
            violated_at: None,
            presumed: false,
            shown_at: None,
        }
    }

    /// Whether the flow is not its protocol.
    pub(super) fn is_violated(&self) -> bool {
        self.violated_at.is_some()
    }

    /// Whether the flow is its protocol by itself.
    pub(super) fn is_confirmed(&self) -> bool {
        self.confirmed && !self.presumed && !self.is_violated()
    }

    /// Takes note of when the one direction that is seen had shown all that it can.
    pub(super) fn note_shown(&mut self, now: i64) {
        let shows = || [Dir::Orig, Dir::Resp].iter().any(|dir| self.analyzer.shows(*dir));
        if self.shown_at.is_none() && shows() {
            self.shown_at = Some(now);
        }
    }
}
