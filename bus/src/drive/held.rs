//! What a session's member holds, and whether all of it is read.

use std::collections::{BTreeMap, BTreeSet};

use crate::{BusError, Gap, Lane, Member, Position, Role, Session, Topic, Wake};

/// What is gone of a lane just restored, after where the group stood, or else the role by its own books.
pub(super) fn gaps(
    session: &mut dyn Session,
    me: &Member,
    role: &dyn Role,
    lane: Lane,
    committed: &[Position],
) -> Result<Vec<Gap>, BusError> {
    let mut gaps = session.gaps();
    for topic in &me.topics {
        if committed.iter().any(|position| position.topic == *topic) {
            continue;
        }
        let Some(offset) = role.stood(topic, lane) else { continue };
        let topic = topic.clone();
        gaps.extend(session.stood(Position { topic, lane, offset, metadata: String::new() })?);
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
