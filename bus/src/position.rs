//! Where a group stands in a partition, and what is gone after it.

use std::fmt;

use crate::{BusError, Lane, Topic};

/// Where a group stands in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Topic read.
    pub topic: Topic,
    /// Partition read.
    pub lane: Lane,
    /// Offset to read next after a restart.
    pub offset: i64,
    /// The role's own note beside it.
    pub metadata: String,
}

/// Records that retention took before a group had read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Topic read.
    pub topic: Topic,
    /// Partition read.
    pub lane: Lane,
    /// Offset that was to be read next.
    pub from: i64,
    /// The first that is kept. Transactions leave holes, so that less may be missing than lies between.
    pub to: i64,
}

impl Position {
    /// What a log that goes from `first` to `end` has no more of what is to be read from here; refused where it
    /// ends before.
    pub(crate) fn kept(
        &self,
        first: i64,
        end: i64,
        name: impl Fn() -> String,
    ) -> Result<Option<Gap>, BusError> {
        if self.offset > end {
            return Err(BusError::Fatal(format!(
                "{}: committed is {self}, and the log ends at {end}: the topic was cut or made anew; use a new \
                 prefix",
                name()
            )));
        }
        let gap = Gap { topic: self.topic.clone(), lane: self.lane, from: self.offset, to: first };
        Ok((self.offset < first).then_some(gap))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]@{}", self.topic, self.lane, self.offset)
    }
}
