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
    /// Half of its key's hash.
    half: u32,
    flow: Option<Flow>,
}

/// Places in blocks: a table grows without being copied, and without a pause.
#[derive(Default)]
struct Places {
    blocks: Vec<Vec<Place>>,
}

/// Places of one block: about a megabyte.
const BLOCK: usize = 4096;

impl Places {
    fn get(&self, at: u32) -> Option<&Place> {
        self.blocks.get(at as usize / BLOCK)?.get(at as usize % BLOCK)
    }

    fn get_mut(&mut self, at: u32) -> Option<&mut Place> {
        self.blocks.get_mut(at as usize / BLOCK)?.get_mut(at as usize % BLOCK)
    }

    /// Whether this place holds the flow that got this serial number.
    fn is_live(&self, at: u32, serial: u32) -> bool {
        self.get(at).is_some_and(|place| place.serial == serial && place.flow.is_some())
    }

    fn push(&mut self, place: Place) -> u32 {
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        let before = (self.blocks.len() - 1) * BLOCK;
        let Some(block) = self.blocks.last_mut() else { return 0 };
        block.push(place);
        (before + block.len() - 1) as u32
    }
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
    /// Places with half of their key's hash: it spares a look at the flow where the keys differ, and at
    /// every flow when the index grows.
    index: HashTable<(u32, u32)>,
    places: Places,
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
            places: Places::default(),
            free: Vec::new(),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            shard_max: (flows_max / SHARDS as usize).max(1),
        }
    }

    /// The hash of a key, as [`Table::guess`] takes it.
    #[inline]
    pub fn hash(&self, key: &Key) -> u32 {
        (self.hasher.hash_one(key) >> 32) as u32
    }

    /// Flows held.
    pub fn held(&self) -> usize {
        self.index.len()
    }

    /// Where the flow of this key is.
    pub fn find(&self, key: &Key) -> Option<u32> {
        let hash = self.hash(key);
        let same =
            |(half, at): &(u32, u32)| *half == hash && key_at(&self.places, *at) == Some(key);
        self.index.find(spread(hash), same).map(|(_, at)| *at)
    }

    /// Where a flow is whose key has this hash; it may be another one's, as nothing is compared.
    #[inline]
    pub fn guess(&self, hash: u32) -> Option<u32> {
        self.index.find(spread(hash), |(half, _)| *half == hash).map(|(_, at)| *at)
    }

    /// Whether the flow of this key is at this place.
    #[inline]
    pub fn is_at(&self, at: u32, key: &Key) -> bool {
        key_at(&self.places, at) == Some(key)
    }

    /// The flow at a place.
    #[inline]
    pub fn get(&mut self, at: u32) -> Option<&mut Flow> {
        self.places.get_mut(at)?.flow.as_mut()
    }

    /// The flow at a place, if it is still the one with this serial number.
    pub fn get_serial(&mut self, at: u32, serial: u32) -> Option<&mut Flow> {
        let place = self.places.get_mut(at)?;
        if place.serial != serial {
            return None;
        }
        place.flow.as_mut()
    }

    /// The flow at a place, and its serial number there.
    #[inline]
    pub fn get_numbered(&mut self, at: u32) -> Option<(u32, &mut Flow)> {
        let place = self.places.get_mut(at)?;
        Some((place.serial, place.flow.as_mut()?))
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
            if self.places.is_live(at, serial) {
                return Some(at);
            }
        }
        None
    }

    /// Puts a flow in; its key must not be there.
    pub fn insert(&mut self, flow: Flow) -> u32 {
        let (half, shard) = (self.hash(&flow.meta.key), usize::from(flow.meta.shard));
        let at = self
            .free
            .pop()
            .unwrap_or_else(|| self.places.push(Place { serial: 0, half: 0, flow: None }));
        let Some(place) = self.places.get_mut(at) else { return at };
        place.serial = place.serial.wrapping_add(1);
        place.half = half;
        place.flow = Some(flow);
        let serial = place.serial;
        self.index.insert_unique(spread(half), (half, at), |(half, _)| spread(*half));
        let shard = &mut self.shards[shard];
        shard.live += 1;
        // The dead at the front go now, so that the queue is no longer than what lives, nearly.
        while let Some((old, serial)) = shard.by_age.front() {
            if self.places.is_live(*old, *serial) {
                break;
            }
            shard.by_age.pop_front();
        }
        shard.by_age.push_back((at, serial));
        // Behind one that lives long the dead would gather for ever.
        if shard.by_age.len() > 2 * shard.live + BY_AGE_SLACK {
            let places = &self.places;
            shard.by_age.retain(|(at, serial)| places.is_live(*at, *serial));
        }
        at
    }

    /// Forgets a flow.
    pub fn remove(&mut self, at: u32) {
        let Some(place) = self.places.get_mut(at) else { return };
        let Some(flow) = &place.flow else { return };
        if let Some(shard) = self.shards.get_mut(usize::from(flow.meta.shard)) {
            shard.live -= 1;
        }
        // In place, as a flow is too large to be moved about for nothing.
        place.flow = None;
        if let Ok(entry) = self.index.find_entry(spread(place.half), |(_, i)| *i == at) {
            entry.remove();
        }
        self.free.push(at);
    }

    /// All places that hold a flow.
    pub fn places(&self) -> impl Iterator<Item = u32> + use<> {
        let held: Vec<u32> = self
            .places
            .blocks
            .iter()
            .flatten()
            .enumerate()
            .filter(|(_, place)| place.flow.is_some())
            .map(|(at, _)| at as u32)
            .collect();
        held.into_iter()
    }
}

/// The bits that say in which group of the index a place is, and the seven that tell it from the others
/// there: [`HashTable`] takes them from both ends of 64.
fn spread(half: u32) -> u64 {
    u64::from(half) << 32 | u64::from(half)
}

fn key_at(places: &Places, at: u32) -> Option<&Key> {
    places.get(at)?.flow.as_ref().map(|flow| &flow.meta.key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use foldhash::fast::FixedState;
    use std::net::Ipv4Addr;

    #[test]
    fn keys_that_one_seed_puts_together_are_apart_under_another() {
        let key = |n: u32| {
            let (src, dst) = (Ipv4Addr::from(n).into(), Ipv4Addr::new(10, 0, 0, 1).into());
            Key::new(0, (src, 1024), (dst, 443), 6, false).0
        };
        // As one who knew the seed would choose them: equal in the bits that choose a group of the index.
        let known = FixedState::with_seed(7);
        let crafted: Vec<Key> = (0..)
            .map(key)
            .filter(|key| known.hash_one(key) >> 32 & 0x3ff == 0)
            .take(1024)
            .collect();
        let table = Table::new(1 << 20);
        let mut groups = [0; 1024];
        crafted.iter().for_each(|key| groups[(table.hash(key) & 0x3ff) as usize] += 1);
        // One a group on average: sixteen in one is out of reach.
        assert!(groups.iter().all(|count| *count < 16), "{groups:?}");
        let again = Table::new(1 << 20);
        assert!(crafted.iter().any(|key| again.hash(key) != table.hash(key)));
    }
}
