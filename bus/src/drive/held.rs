//! What a session's member holds, and whether all of it is read.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Lane, Member, Topic, Wake};

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
