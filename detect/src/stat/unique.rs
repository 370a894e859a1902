//! Distinct members, and when each was first seen.
//!
//! Exact up to a number of members; beyond it the earliest are kept and the rest is only "more". The
//! earliest members of a union are among the earliest of its parts, so truncated values still merge
//! exactly, and one can tell *when* a number of members was reached.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// No value read from JSON may hold more members than this, whatever it claims: ten times what any
/// detector asks for.
pub const MEMBERS_CEILING: usize = 4096;

/// Distinct members. JSON: `{"max":25,"first":{"10.0.0.1":1700000000000000},"more":false}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Wire")]
pub struct Unique {
    max: usize,
    first: BTreeMap<String, i64>,
    more: bool,
}

/// What JSON may hold, before limits are put to it.
#[derive(Deserialize)]
struct Wire {
    max: usize,
    first: BTreeMap<String, i64>,
    more: bool,
}

impl From<Wire> for Unique {
    fn from(wire: Wire) -> Unique {
        let max = wire.max.clamp(1, MEMBERS_CEILING);
        let mut unique = Unique { max, first: wire.first, more: wire.more };
        unique.truncate();
        unique
    }
}

impl Unique {
    /// Nothing yet; keeps the earliest `max` members.
    pub fn new(max: usize) -> Unique {
        Unique { max: max.clamp(1, MEMBERS_CEILING), first: BTreeMap::new(), more: false }
    }

    /// A member was seen at a time; tells by how much the weight grew.
    pub fn observe(&mut self, at: i64, member: &str) -> usize {
        if let Some(first) = self.first.get_mut(member) {
            *first = at.min(*first);
            return 0;
        }
        if self.first.len() < self.max {
            self.first.insert(member.to_owned(), at);
            return 1;
        }
        self.more = true;
        let Some((latest, latest_at)) = self.latest() else { return 0 };
        if (at, member) < (latest_at, latest) {
            let latest = latest.to_owned();
            self.first.remove(&latest);
            self.first.insert(member.to_owned(), at);
        }
        0
    }

    /// Adds what another saw. The larger limit holds.
    pub fn merge(&mut self, other: &Unique) {
        self.max = self.max.max(other.max);
        self.more |= other.more;
        for (member, at) in &other.first {
            self.observe(*at, member);
        }
    }

    /// How many distinct members there are at least.
    pub fn len(&self) -> usize {
        self.first.len()
    }

    /// The members held, in their order.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.first.keys().map(String::as_str)
    }

    /// The members that were seen first, so many.
    pub fn earliest(&self, count: usize) -> Vec<&str> {
        let mut all: Vec<(i64, &str)> =
            self.first.iter().map(|(m, at)| (*at, m.as_str())).collect();
        all.sort_unstable();
        all.into_iter().take(count).map(|(_, member)| member).collect()
    }

    /// Whether another member would be one too many.
    pub fn is_full(&self) -> bool {
        self.first.len() >= self.max
    }

    /// Whether a member is held.
    pub fn contains(&self, member: &str) -> bool {
        self.first.contains_key(member)
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Whether there were more than are held.
    pub fn has_more(&self) -> bool {
        self.more
    }

    /// Members held.
    pub fn weight(&self) -> usize {
        self.first.len()
    }

    /// When the first member was seen.
    pub fn first(&self) -> Option<i64> {
        self.first.values().copied().min()
    }

    /// When the number of distinct members reached `count`; `None` if it did not, or if `count` is
    /// more than are kept.
    pub fn reached(&self, count: usize) -> Option<i64> {
        let mut times: Vec<i64> = self.first.values().copied().collect();
        times.sort_unstable();
        times.get(count.checked_sub(1)?).copied()
    }

    fn latest(&self) -> Option<(&str, i64)> {
        self.first.iter().map(|(member, at)| (member.as_str(), *at)).max_by_key(|(m, at)| (*at, *m))
    }

    fn truncate(&mut self) {
        if self.first.len() <= self.max {
            return;
        }
        let mut members: Vec<(i64, String)> =
            std::mem::take(&mut self.first).into_iter().map(|(m, at)| (at, m)).collect();
        members.sort_unstable();
        members.truncate(self.max);
        self.first = members.into_iter().map(|(at, m)| (m, at)).collect();
        self.more = true;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(of: &[(i64, u8)]) -> Unique {
        let mut unique = Unique::new(4);
        for (at, member) in of {
            unique.observe(*at, &member.to_string());
        }
        unique
    }

    fn merged(parts: &[&Unique]) -> Unique {
        let mut all = Unique::new(4);
        parts.iter().for_each(|part| all.merge(part));
        all
    }

    #[test]
    fn tells_when_a_number_was_reached() {
        let unique = seen(&[(10, 1), (11, 1), (30, 3), (20, 2)]);
        assert_eq!((unique.len(), unique.first()), (3, Some(10)));
        assert_eq!(unique.reached(3), Some(30));
        assert_eq!((unique.reached(4), unique.reached(0)), (None, None));
    }

    #[test]
    fn json_from_anywhere_is_held_to_its_limit() {
        let text = r#"{"max":2,"first":{"a":3,"b":1,"c":2},"more":false}"#;
        let unique: Unique = serde_json::from_str(text).unwrap();
        assert_eq!((unique.len(), unique.has_more()), (2, true));
        assert_eq!(unique.reached(2), Some(2));
        let none = r#"{"max":0,"first":{"a":3},"more":false}"#;
        assert_eq!(serde_json::from_str::<Unique>(none).unwrap().len(), 1);
        let huge = format!(r#"{{"max":{},"first":{{}},"more":false}}"#, u64::MAX);
        assert_eq!(serde_json::from_str::<Unique>(&huge).unwrap().max, MEMBERS_CEILING);
    }

    fn sightings() -> impl Strategy<Value = Vec<(i64, u8)>> {
        proptest::collection::vec((0i64..50, 0u8..12), 0..40)
    }

    proptest! {
        #[test]
        fn merging_is_a_lattice(a in sightings(), b in sightings(), c in sightings()) {
            let (a, b, c) = (seen(&a), seen(&b), seen(&c));
            prop_assert_eq!(merged(&[&a, &b]), merged(&[&b, &a]));
            prop_assert_eq!(merged(&[&merged(&[&a, &b]), &c]), merged(&[&a, &merged(&[&b, &c])]));
            prop_assert_eq!(merged(&[&a, &a]), a.clone());
        }

        #[test]
        fn how_sightings_are_spread_does_not_matter(all in sightings(), cut in 0usize..40) {
            let cut = cut.min(all.len());
            let parts = merged(&[&seen(&all[..cut]), &seen(&all[cut..])]);
            prop_assert_eq!(&parts, &seen(&all));
            let back: Unique = serde_json::from_str(&serde_json::to_string(&parts).unwrap()).unwrap();
            prop_assert_eq!(back, parts);
        }
    }
}
