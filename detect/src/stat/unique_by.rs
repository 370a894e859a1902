//! Distinct members under each of several keys, such as the hosts tried on each port.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::unique::Unique;

/// No value read from JSON may hold more keys than this, whatever it claims.
pub const KEYS_CEILING: usize = 4096;

/// Distinct members by key. Above `keys_max` keys the heaviest stay: of those with equally many
/// members the one begun last, because a sweep over many keys leaves behind keys that never grow.
/// JSON: `{"keys_max":256,"max":25,"by":{"22/tcp":{…}},"more":false}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Wire")]
pub struct UniqueBy {
    keys_max: usize,
    max: usize,
    by: BTreeMap<String, Unique>,
    more: bool,
}

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
        value.more = wire.more;
        for (key, unique) in wire.by {
            value.by.insert(key, unique);
            value.truncate();
        }
        value
    }
}

impl UniqueBy {
    /// Nothing yet; keeps `keys_max` keys and the earliest `max` members of each.
    pub fn new(keys_max: usize, max: usize) -> UniqueBy {
        let keys_max = keys_max.clamp(1, KEYS_CEILING);
        UniqueBy { keys_max, max, by: BTreeMap::new(), more: false }
    }

    /// A member was seen under a key at a time; tells by how much the weight grew, at least.
    pub fn observe(&mut self, at: i64, key: &str, member: &str) -> usize {
        if let Some(unique) = self.by.get_mut(key) {
            return unique.observe(at, member);
        }
        let mut unique = Unique::new(self.max);
        unique.observe(at, member);
        self.by.insert(key.to_owned(), unique);
        2_usize.saturating_sub(self.truncate())
    }

    /// Adds what another saw.
    pub fn merge(&mut self, other: &UniqueBy) {
        self.keys_max = self.keys_max.max(other.keys_max);
        self.max = self.max.max(other.max);
        self.more |= other.more;
        for (key, unique) in &other.by {
            match self.by.get_mut(key) {
                Some(mine) => mine.merge(unique),
                None => {
                    self.by.insert(key.clone(), unique.clone());
                }
            }
        }
        while self.by.len() > self.keys_max {
            self.truncate();
        }
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
        let rank = |unique: &Unique| (unique.len(), unique.first());
        let lightest = self.by.iter().min_by_key(|(key, u)| (rank(u), *key)).map(|(key, _)| key);
        let gone = lightest.cloned().and_then(|key| self.by.remove(&key));
        self.more |= gone.is_some();
        gone.map_or(0, |unique| 1 + unique.weight())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    fn sightings() -> impl Strategy<Value = Vec<(i64, u8, u8)>> {
        proptest::collection::vec((0i64..50, 0u8..6, 0u8..8), 0..40)
    }

    proptest! {
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
