//! The flows of one thread: found by key, kept in place, oldest first out where a shard is full.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::config::SHARDS;
use crate::flow::{Flow, Key};

/// Dead entries that a shard's queue may hold beside as many as live, before it is swept.
const BY_AGE_SLACK: usize = 1024;

/// A place in the table.
struct Place {
    serial: u32,
    flow: Option<Flow>,
}

/// What a virtual shard counts.
#[derive(Default)]
struct Shard {
    /// Flows ever made: numbers them.
    made: u64,
    live: usize,
    /// Places in order of birth; those that died are skipped when they come up.
    by_age: VecDeque<(u32, u32)>,
}

/// The table.
pub struct Table {
    /// Keyed with a random seed: nobody outside can aim at one bucket.
    hasher: RandomState,
    index: HashTable<u32>,
    places: Vec<Place>,
    free: Vec<u32>,
    shards: Vec<Shard>,
    shard_max: usize,
}

impl Table {
    /// An empty table whose shards hold their part of `flows_max` each.
    pub fn new(flows_max: usize) -> Table {
        Table {
            hasher: RandomState::default(),
            index: HashTable::new(),
            places: Vec::new(),
            free: Vec::new(),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            shard_max: (flows_max / SHARDS as usize).max(1),
        }
    }

    /// Flows held.
    pub fn held(&self) -> usize {
        self.index.len()
    }

    /// Where the flow of this key is.
    pub fn find(&self, key: &Key) -> Option<u32> {
        let places = &self.places;
        self.index.find(self.hasher.hash_one(key), |at| key_at(places, *at) == Some(key)).copied()
    }

    /// The flow at a place.
    pub fn get(&mut self, at: u32) -> Option<&mut Flow> {
        self.places.get_mut(at as usize)?.flow.as_mut()
    }

    /// The flow at a place, if it is still the one with this serial number.
    pub fn get_serial(&mut self, at: u32, serial: u32) -> Option<&mut Flow> {
        let place = self.places.get_mut(at as usize)?;
        if place.serial != serial {
            return None;
        }
        place.flow.as_mut()
    }

    /// Serial number of a place.
    pub fn serial(&self, at: u32) -> u32 {
        self.places.get(at as usize).map_or(0, |place| place.serial)
    }

    /// The number that the next flow of a shard gets.
    pub fn next_number(&mut self, shard: u8) -> u64 {
        let shard = &mut self.shards[usize::from(shard)];
        shard.made += 1;
        shard.made
    }

    /// The oldest flow of a shard that has no room for another.
    pub fn to_evict(&mut self, shard: u8) -> Option<u32> {
        let limit = self.shard_max;
        let shard = &mut self.shards[usize::from(shard)];
        if shard.live < limit {
            return None;
        }
        while let Some((at, serial)) = shard.by_age.pop_front() {
            let place = self.places.get(at as usize);
            if place.is_some_and(|place| place.serial == serial && place.flow.is_some()) {
                return Some(at);
            }
        }
        None
    }

    /// Puts a flow in; its key must not be there.
    pub fn insert(&mut self, flow: Flow) -> u32 {
        let (key, shard) = (flow.meta.key, usize::from(flow.meta.shard));
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { serial: 0, flow: None });
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[at as usize];
        place.serial = place.serial.wrapping_add(1);
        place.flow = Some(flow);
        let serial = place.serial;
        let (hasher, places) = (&self.hasher, &self.places);
        self.index.insert_unique(hasher.hash_one(key), at, |at| {
            key_at(places, *at).map_or(0, |key| hasher.hash_one(key))
        });
        let shard = &mut self.shards[shard];
        shard.live += 1;
        // The dead at the front go now, so that the queue is no longer than what lives, nearly.
        while let Some((old, serial)) = shard.by_age.front() {
            let place = &self.places[*old as usize];
            if place.serial == *serial && place.flow.is_some() {
                break;
            }
            shard.by_age.pop_front();
        }
        shard.by_age.push_back((at, serial));
        // Behind one that lives long the dead would gather for ever.
        if shard.by_age.len() > 2 * shard.live + BY_AGE_SLACK {
            let places = &self.places;
            shard.by_age.retain(|(at, serial)| {
                let place = &places[*at as usize];
                place.serial == *serial && place.flow.is_some()
            });
        }
        at
    }

    /// Takes a flow out.
    pub fn remove(&mut self, at: u32) -> Option<Flow> {
        let flow = self.places.get_mut(at as usize)?.flow.take()?;
        let hash = self.hasher.hash_one(flow.meta.key);
        if let Ok(entry) = self.index.find_entry(hash, |i| *i == at) {
            entry.remove();
        }
        self.free.push(at);
        self.shards[usize::from(flow.meta.shard)].live -= 1;
        Some(flow)
    }

    /// All places that hold a flow.
    pub fn places(&self) -> impl Iterator<Item = u32> + use<> {
        let held: Vec<u32> = self
            .places
            .iter()
            .enumerate()
            .filter(|(_, place)| place.flow.is_some())
            .map(|(at, _)| at as u32)
            .collect();
        held.into_iter()
    }
}

fn key_at(places: &[Place], at: u32) -> Option<&Key> {
    places.get(at as usize)?.flow.as_ref().map(|flow| &flow.meta.key)
}
