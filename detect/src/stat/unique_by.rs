//! Distinct members under each of several keys, such as the hosts tried on each port.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::sightings::{Names, Sighting};
use super::unique::Unique;

/// No value read from JSON may hold more keys than this, whatever it claims.
pub const KEYS_CEILING: usize = 4096;

/// Distinct members by key. Above `keys_max` keys the heaviest stay: of those with equally many
/// members the one begun last, because a sweep over many keys leaves behind keys that never grow.
/// JSON: `{"keys_max":256,"max":25,"by":{"22/tcp":{…}},"more":false}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Wire")]
pub struct UniqueBy {
    keys_max: usize,
    max: usize,
    by: BTreeMap<String, Unique>,
    more: bool,
    /// The keys, lightest first, once one had to go: the next is not searched for. Merging forgets it.
    #[serde(skip)]
    order: Option<BTreeSet<(Rank, String)>>,
}

/// How heavy a key is: its members, and when it began.
type Rank = (usize, Option<i64>);

fn rank(unique: &Unique) -> Rank {
    (unique.len(), unique.first())
}

impl PartialEq for UniqueBy {
    /// What was seen counts, not what is remembered of its order.
    fn eq(&self, other: &UniqueBy) -> bool {
        (self.keys_max, self.max, self.more) == (other.keys_max, other.max, other.more)
            && self.by == other.by
    }
}

impl Eq for UniqueBy {}

#[derive(Deserialize)]
struct Wire {
    keys_max: usize,
    max: usize,
    by: BTreeMap<String, Unique>,
    more: bool,
}

impl From<Wire> for UniqueBy {
    fn from(wire: Wire) -> UniqueBy {
        let mut value = UniqueBy::new(wire.keys_max, wire.max);
        (value.by, value.more) = (wire.by, wire.more);
        value.prune();
        value
    }
}

impl UniqueBy {
    /// Nothing yet; keeps `keys_max` keys and the earliest `max` members of each.
    pub fn new(keys_max: usize, max: usize) -> UniqueBy {
        let keys_max = keys_max.clamp(1, KEYS_CEILING);
        UniqueBy { keys_max, max, by: BTreeMap::new(), more: false, order: None }
    }

    /// With the limits of this one, the members of each of the heaviest keys. Sightings are in the order of keys, of one of a
    /// key and member only.
    pub(super) fn of(&self, all: &[Sighting], names: &dyn Names) -> UniqueBy {
        let mut value = UniqueBy::new(self.keys_max, self.max);
        let first = |of: &[Sighting]| of.iter().map(|seen| seen.at).min();
        let rank = |of: &[Sighting]| (of.len().min(self.max), first(of), of.first().map(|s| s.key));
        let mut by: Vec<&[Sighting]> = all.chunk_by(|a, b| a.key == b.key).collect();
        value.more = by.len() > value.keys_max;
        if value.more {
            by.select_nth_unstable_by_key(value.keys_max, |of| std::cmp::Reverse(rank(of)));
            by.truncate(value.keys_max);
        }
        let (mut members, like) = (Vec::new(), Unique::new(self.max));
        for of in by {
            members.clear();
            members.extend(of.iter().map(|seen| (seen.at, seen.member)));
            let unique = like.of(&mut members, &|member| names.member(member));
            let key = of.first().map(|seen| names.key(seen.key)).unwrap_or_default();
            value.by.insert(key, unique);
        }
        value
    }

    /// A member was seen under a key at a time; tells by how much the weight grew, at least.
    pub fn observe(&mut self, at: i64, key: &str, member: &str) -> usize {
        if let Some(unique) = self.by.get_mut(key) {
            let before = rank(unique);
            let grew = unique.observe(at, member);
            let after = rank(unique);
            if before != after
                && let Some(order) = &mut self.order
            {
                order.remove(&(before, key.to_owned()));
                order.insert((after, key.to_owned()));
            }
            return grew;
        }
        let mut unique = Unique::new(self.max);
        unique.observe(at, member);
        if let Some(order) = &mut self.order {
            order.insert((rank(&unique), key.to_owned()));
        }
        self.by.insert(key.to_owned(), unique);
        2_usize.saturating_sub(self.truncate())
    }

    /// Adds what another saw.
    pub fn merge(&mut self, other: &UniqueBy) {
        self.keys_max = self.keys_max.max(other.keys_max);
        self.max = self.max.max(other.max);
        self.more |= other.more;
        self.order = None;
        for (key, unique) in &other.by {
            match self.by.get_mut(key) {
                Some(mine) => mine.merge(unique),
                None => {
                    self.by.insert(key.clone(), unique.clone());
                }
            }
        }
        self.prune();
    }

    /// Keys and their members, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Unique)> {
        self.by.iter().map(|(key, unique)| (key.as_str(), unique))
    }

    /// Whether a key had to go.
    pub fn has_more(&self) -> bool {
        self.more
    }

    /// Keys and members held.
    pub fn weight(&self) -> usize {
        self.by.values().map(|unique| 1 + unique.weight()).sum()
    }

    /// Lets the lightest key go if there is one too many; tells its weight.
    fn truncate(&mut self) -> usize {
        if self.by.len() <= self.keys_max {
            return 0;
        }
        let by = &self.by;
        let order = self.order.get_or_insert_with(|| {
            ordered(by).into_iter().map(|(rank, key)| (rank, key.to_owned())).collect()
        });
        let gone = order.pop_first().and_then(|(_, key)| self.by.remove(&key));
        self.more |= gone.is_some();
        gone.map_or(0, |unique| 1 + unique.weight())
    }

    /// Lets all keys go that are too many: the same as one by one.
    fn prune(&mut self) {
        let surplus = self.by.len().saturating_sub(self.keys_max);
        if surplus == 0 {
            return;
        }
        let lightest = ordered(&self.by).into_iter().take(surplus);
        let gone: Vec<String> = lightest.map(|(_, key)| key.to_owned()).collect();
        for key in gone {
            self.by.remove(&key);
        }
        self.more = true;
    }
}

/// The keys, lightest first.
fn ordered(by: &BTreeMap<String, Unique>) -> Vec<(Rank, &str)> {
    #[cfg(test)]
    super::unique::tests::LOOKED_AT.with(|n| n.set(n.get() + by.len()));
    let mut keys: Vec<(Rank, &str)> = by.iter().map(|(key, u)| (rank(u), key.as_str())).collect();
    keys.sort_unstable();
    keys
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::unique::tests::looked_at;
    use super::*;

    fn seen(of: &[(i64, u8, u8)]) -> UniqueBy {
        let mut value = UniqueBy::new(8, 4);
        for (at, key, member) in of {
            value.observe(*at, &key.to_string(), &member.to_string());
        }
        value
    }

    fn merged(a: &UniqueBy, b: &UniqueBy) -> UniqueBy {
        let mut all = a.clone();
        all.merge(b);
        all
    }

    #[test]
    fn a_sweep_over_many_keys_does_not_push_a_heavy_one_out() {
        let mut value = UniqueBy::new(4, 25);
        for host in 0..20 {
            value.observe(host, "22/tcp", &host.to_string());
        }
        for port in 0..5000 {
            value.observe(100 + port, &format!("{}/tcp", 1000 + port), "victim");
        }
        assert!(value.has_more());
        assert_eq!(value.iter().count(), 4);
        assert!(value.iter().any(|(key, unique)| key == "22/tcp" && unique.len() == 20));
    }

    #[test]
    fn json_from_anywhere_is_held_to_its_limit() {
        let value = seen(&[(1, 1, 1), (2, 2, 2), (3, 3, 3)]);
        let text =
            serde_json::to_string(&value).unwrap().replace("\"keys_max\":8", "\"keys_max\":2");
        let cut: UniqueBy = serde_json::from_str(&text).unwrap();
        assert_eq!((cut.iter().count(), cut.has_more()), (2, true));
    }

    #[test]
    fn keys_that_are_too_many_do_not_cost_a_look_at_all_each() {
        let swept = |from: i64| {
            let mut value = UniqueBy::new(256, 25);
            let cost = looked_at(|| {
                for n in from..from + 20_000 {
                    value.observe(n, &n.to_string(), "victim");
                    value.observe(n, "22/tcp", &n.to_string());
                }
            });
            // Those of the one full key, once, and all keys, once.
            assert!(cost <= 257 + 25, "{cost}");
            value
        };
        let (mut a, b) = (swept(0), swept(50_000));
        let text = serde_json::to_string(&a).unwrap().replace(":256,", ":2,");
        assert!(looked_at(|| a.merge(&b)) <= 2 * 256 + 2 * 25);
        assert_eq!((a.iter().count(), a.has_more()), (256, true));
        let read = || assert_eq!(serde_json::from_str::<UniqueBy>(&text).unwrap().by.len(), 2);
        assert!(looked_at(read) <= 256);
    }

    /// What stays if the lightest is looked for among all each time.
    fn naive(of: &[(i64, u8, u8)]) -> BTreeMap<String, Unique> {
        let mut by: BTreeMap<String, Unique> = BTreeMap::new();
        for (at, key, member) in of {
            let unique = by.entry(key.to_string()).or_insert_with(|| Unique::new(4));
            unique.observe(*at, &member.to_string());
            if by.len() > 8 {
                let lightest = by.iter().min_by_key(|(key, u)| (u.len(), u.first(), *key));
                let key = lightest.map(|(key, _)| key.clone()).unwrap();
                by.remove(&key);
            }
        }
        by
    }

    fn sightings() -> impl Strategy<Value = Vec<(i64, u8, u8)>> {
        proptest::collection::vec((0i64..50, 0u8..6, 0u8..8), 0..40)
    }

    proptest! {
        #[test]
        fn the_lightest_goes(
            all in proptest::collection::vec((0i64..50, 0u8..30, 0u8..8), 0..200),
            cut in 0usize..200,
        ) {
            prop_assert_eq!(&seen(&all).by, &naive(&all));
            let (a, b) = all.split_at(cut.min(all.len()));
            let (mut by, other) = (naive(a), naive(b));
            for (key, unique) in &other {
                by.entry(key.clone()).or_insert_with(|| Unique::new(4)).merge(unique);
            }
            while by.len() > 8 {
                let lightest = by.iter().min_by_key(|(key, u)| (u.len(), u.first(), *key));
                let key = lightest.map(|(key, _)| key.clone()).unwrap();
                by.remove(&key);
            }
            prop_assert_eq!(&merged(&seen(a), &seen(b)).by, &by);
        }

        // Within the limit on keys; beyond it which keys stay is a choice, not a law.
        #[test]
        fn merging_is_a_lattice(a in sightings(), b in sightings(), c in sightings()) {
            let (a, b, c) = (seen(&a), seen(&b), seen(&c));
            prop_assert_eq!(merged(&a, &b), merged(&b, &a));
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
            prop_assert_eq!(merged(&a, &a), a);
        }
    }
}
