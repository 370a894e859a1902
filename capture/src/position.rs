//! How far a source was read and committed, as `state.capture` keeps it.

use serde::{Deserialize, Serialize};

use crate::maker::Maker;

/// Readings before the last one of which a position tells how far they came: as many starts may a spool
/// be behind.
const PAST_MAX: usize = 16;

/// One step of one reading. Later steps are greater.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Id {
    /// The reading.
    pub round: u64,
    /// The step in it, from 1.
    pub number: u64,
}

/// Position of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Position {
    /// Packets up to the barrier.
    pub packets: u64,
    /// The source was read to its end.
    pub end: bool,
    /// Which reading this is: files are read once more for `--again`; of what cannot be read again every
    /// process makes a reading of its own, called by the time when it began.
    pub round: u64,
    /// Steps of this reading.
    pub steps: u64,
    /// Packet time reached, microseconds; 0 where that is not known.
    pub time: i64,
    /// The reading of the process that captures live: greater than that of any process before it.
    pub owner: u64,
    /// How far earlier readings came, oldest first: a spool may still hold steps of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub past: Vec<(u64, u64)>,
    /// What made the rows up to it, where they are to be made again.
    #[serde(skip_serializing_if = "Maker::is_unknown")]
    pub maker: Maker,
}

impl Position {
    /// The last step committed.
    pub fn id(&self) -> Id {
        Id { round: self.round, number: self.steps }
    }

    /// Whether this step is committed.
    pub fn covers(&self, id: Id) -> bool {
        let past = self.past.iter().copied();
        let mut rounds = past.chain([(self.round, self.steps)]);
        rounds.any(|(round, steps)| round == id.round && id.number <= steps)
    }

    /// The position after one more step, perhaps of another reading.
    pub fn after(&self, id: Id) -> Position {
        let mut next = Position { round: id.round, steps: id.number, ..self.clone() };
        if id.round != self.round {
            if self.steps > 0 {
                next.past.push((self.round, self.steps));
            }
            next.past.retain(|(round, _)| *round != id.round);
            let surplus = next.past.len().saturating_sub(PAST_MAX);
            next.past.drain(..surplus);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn id(round: u64, number: u64) -> Id {
        Id { round, number }
    }

    #[test]
    fn a_position_knows_the_readings_before_it() {
        let at = Position::default().after(id(5, 3)).after(id(5, 4)).after(id(9, 1));
        assert_eq!(at.past, [(5, 4)]);
        for done in [id(5, 1), id(5, 4), id(9, 1)] {
            assert!(at.covers(done), "{done:?}");
        }
        for owed in [id(5, 5), id(9, 2), id(7, 1)] {
            assert!(!at.covers(owed), "{owed:?}");
        }
        let back = at.after(id(5, 5));
        assert!(back.covers(id(9, 1)) && back.covers(id(5, 5)) && !back.covers(id(5, 6)));
    }

    #[test]
    fn what_it_remembers_is_bounded_and_survives_being_written() {
        let mut at = Position::default();
        for round in 1..100 {
            at = at.after(id(round, 1));
        }
        assert_eq!(at.past.len(), PAST_MAX);
        let text = serde_json::to_string(&at).unwrap();
        assert_eq!(serde_json::from_str::<Position>(&text).unwrap(), at);
        // As an earlier version wrote it.
        let old: Position =
            serde_json::from_str(r#"{"packets":7,"end":false,"round":3,"steps":2}"#).unwrap();
        assert!(old.covers(id(3, 2)) && !old.covers(id(3, 3)) && old.maker.is_unknown());
        let kept = r#"{"packets":7,"end":false,"round":0,"steps":2,"time":3,"owner":4,"maker":{"version":"1","settings":{"flows_max":5}}}"#;
        let position: Position = serde_json::from_str(kept).unwrap();
        assert!(!position.maker.is_unknown());
        assert_eq!(serde_json::to_string(&position).unwrap(), kept);
    }
}
