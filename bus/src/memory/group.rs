//! A consumer group in memory: who is in it, who holds which lanes, where it stands.
//!
//! As with Kafka's eager protocol, every change of membership takes all lanes back and hands them out
//! anew: each member is told `Revoked`, gives up at its following call, and once all have, a new
//! generation is assigned.

use std::collections::{BTreeMap, HashMap};

use crate::{Lane, Topic, Wake};

/// A partition.
pub(super) type Place = (Topic, Lane);

/// Where a member is in the group's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Holds nothing and waits for the next generation.
    Joining,
    /// Was assigned lanes and not told yet.
    Assigned,
    /// Holds its lanes.
    Holding,
    /// Was told that its lanes go.
    Revoking,
    /// Lost its lanes, and was not told yet.
    Lost,
}

/// A member's place.
#[derive(Debug)]
struct Seat {
    lanes: Vec<Lane>,
    phase: Phase,
}

/// A group.
#[derive(Debug, Default)]
pub(super) struct Group {
    seats: BTreeMap<String, Seat>,
    rebalancing: bool,
    /// Members to wait for before lanes are handed out at all.
    pub(super) gather: usize,
    /// Committed positions with their metadata.
    pub(super) committed: HashMap<Place, (i64, String)>,
    /// How far each partition was ever read.
    pub(super) read: HashMap<Place, i64>,
}

impl Group {
    pub(super) fn join(&mut self, node: &str, lanes: u32) {
        self.seats.insert(node.to_owned(), Seat { lanes: Vec::new(), phase: Phase::Joining });
        self.rebalancing = true;
        self.settle(lanes);
    }

    /// A static member comes back: its lanes are its own still, unless they are handed out anew just
    /// now.
    pub(super) fn rejoin(&mut self, node: &str, lanes: u32) {
        match self.seats.get_mut(node) {
            Some(seat) if seat.phase == Phase::Holding && !self.rebalancing => {
                seat.phase = Phase::Assigned;
            }
            Some(seat) if seat.phase == Phase::Assigned && !self.rebalancing => {}
            _ => self.join(node, lanes),
        }
    }

    pub(super) fn leave(&mut self, node: &str, lanes: u32) {
        let seat = self.seats.remove(node);
        // A member that lost its lanes is no news to the others.
        self.rebalancing |= seat.is_none_or(|seat| seat.phase != Phase::Lost);
        self.settle(lanes);
    }

    /// Takes a member's lanes away behind its back, as when it was silent for too long.
    pub(super) fn expire(&mut self, node: &str, lanes: u32) {
        if let Some(seat) = self.seats.get_mut(node) {
            seat.phase = Phase::Lost;
            self.rebalancing = true;
            self.settle(lanes);
        }
    }

    /// Whether a member holds a lane and may commit for it.
    pub(super) fn holds(&self, node: &str, lane: Lane) -> bool {
        self.seats
            .get(node)
            .is_some_and(|seat| seat.phase != Phase::Lost && seat.lanes.contains(&lane))
    }

    /// Whether a member's lanes were taken behind its back.
    pub(super) fn lost(&self, node: &str) -> bool {
        self.seats.get(node).is_none_or(|seat| seat.phase == Phase::Lost)
    }

    /// What a member is to be told, if anything. Lanes it was told to be revoked are given up here.
    pub(super) fn turn(&mut self, node: &str, lanes: u32) -> Option<Wake> {
        let rebalancing = self.rebalancing;
        let seat = self.seats.get_mut(node)?;
        match seat.phase {
            Phase::Lost => {
                let gone = std::mem::take(&mut seat.lanes);
                seat.phase = Phase::Joining;
                self.rebalancing = true;
                self.settle(lanes);
                return Some(Wake::Lost(gone));
            }
            Phase::Holding if rebalancing && !seat.lanes.is_empty() => {
                seat.phase = Phase::Revoking;
                return Some(Wake::Revoked(seat.lanes.clone()));
            }
            Phase::Revoking | Phase::Holding | Phase::Assigned if rebalancing => {
                seat.lanes.clear();
                seat.phase = Phase::Joining;
                self.settle(lanes);
            }
            _ => {}
        }
        let seat = self.seats.get_mut(node)?;
        if seat.phase != Phase::Assigned {
            return None;
        }
        seat.phase = Phase::Holding;
        Some(Wake::Assigned(seat.lanes.clone()))
    }

    /// Hands the lanes out once everybody has given up theirs: in ranges over the members by name.
    fn settle(&mut self, lanes: u32) {
        let members = || self.seats.values().filter(|seat| seat.phase != Phase::Lost);
        let count = members().count();
        let ready = members().all(|seat| seat.phase == Phase::Joining);
        if !self.rebalancing || !ready || count == 0 || count < self.gather {
            return;
        }
        self.rebalancing = false;
        let (share, rest) = (lanes as usize / count, lanes as usize % count);
        let mut from = 0;
        let seats = self.seats.values_mut().filter(|seat| seat.phase != Phase::Lost);
        for (i, seat) in seats.enumerate() {
            let to = from + share + usize::from(i < rest);
            seat.lanes = (from as Lane..to as Lane).collect();
            seat.phase = Phase::Assigned;
            from = to;
        }
    }
}
