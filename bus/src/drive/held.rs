//! What a session's member holds, and whether all of it is read.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::{BusError, Gap, Lane, Member, Position, Role, Session, Topic, Wake};

/// Adds to the positions of a lane just restored those that the group has forgotten and the role has in its own books,
/// and says what is gone after any of them.
pub(super) fn take_up(
    session: &mut dyn Session,
    me: &Member,
    role: &dyn Role,
    lane: Lane,
    positions: &mut Vec<Position>,
    state: &[(Bytes, Bytes)],
) -> Result<Vec<Gap>, BusError> {
    let mut gaps = session.gaps();
    for mut position in role.stood(lane, state) {
        let is_there = positions.iter().any(|known| known.topic == position.topic);
        if is_there || !me.topics.contains(&position.topic) {
            continue;
        }
        tracing::warn!(member = me.name(), %position,
            "the group has no position here, and the role by its own books has: it goes on from there");
        gaps.extend(session.stood(&mut position)?);
        positions.push(position);
    }
    for Gap { topic, lane, from, to } in &gaps {
        let member = me.name();
        tracing::error!(member, %topic, lane, from, to,
            "records were lost to retention before they were read");
    }
    Ok(gaps)
}

/// Lanes held, and which of their partitions are read to the end.
#[derive(Default)]
pub(super) struct Held {
    pub(super) lanes: BTreeSet<Lane>,
    ended: BTreeMap<Lane, BTreeSet<Topic>>,
    pub(super) assigned: bool,
}

impl Held {
    pub(super) fn note(&mut self, wake: &Wake) {
        match wake {
            Wake::Assigned(lanes) => {
                self.assigned = true;
                self.lanes.extend(lanes);
            }
            Wake::Revoked(lanes) | Wake::Lost(lanes) => {
                // Until the group has settled again nobody can say that all is read.
                self.assigned = false;
                for lane in lanes {
                    self.lanes.remove(lane);
                    self.ended.remove(lane);
                }
            }
            Wake::Records(records) => {
                for record in records {
                    self.more(&record.topic, record.lane);
                }
            }
            Wake::End(topic, lane) if self.lanes.contains(lane) => {
                self.ended.entry(*lane).or_default().insert(topic.clone());
            }
            _ => {}
        }
    }

    /// There is more to read in this partition.
    pub(super) fn more(&mut self, topic: &Topic, lane: Lane) {
        if let Some(ended) = self.ended.get_mut(&lane) {
            ended.remove(topic);
        }
    }

    pub(super) fn drained(&self, me: &Member) -> bool {
        let ended = |lane| self.ended.get(lane).is_some_and(|ended| ended.len() == me.topics.len());
        self.assigned && !me.topics.is_empty() && self.lanes.iter().all(ended)
    }
}
