//! Distinct members, and when each was first seen.
//!
//! Exact up to a number of members; beyond it the earliest are kept and the rest is only "more". The
//! earliest members of a union are among the earliest of its parts, so truncated values still merge
//! exactly, and one can tell *when* a number of members was reached.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::top::MEMBER_BYTES_MAX;

/// No value read from JSON may hold more members than this, whatever it claims: ten times what any
/// detector asks for.
pub const MEMBERS_CEILING: usize = 4096;

/// Latest members known in their order: all members are looked at once for so many that give way to earlier
/// ones, not for each. About the square root of the ceiling, as the few are shifted about themselves.
const LATEST_MAX: usize = 64;

/// Distinct members. JSON: `{"max":25,"first":{"10.0.0.1":1700000000000000},"more":false}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Wire")]
pub struct Unique {
    max: usize,
    first: BTreeMap<String, i64>,
    more: bool,
    /// The least of the times.
    #[serde(skip)]
    begun: Option<i64>,
    /// Only ever filled while full.
    #[serde(skip)]
    latest: Latest,
}

impl PartialEq for Unique {
    /// What was seen counts, not what is remembered of its order.
    fn eq(&self, other: &Unique) -> bool {
        (self.max, self.more) == (other.max, other.more) && self.first == other.first
    }
}

impl Eq for Unique {}

/// Some members, ascending by time and name: all members that are no less than the first of these.
#[derive(Debug, Clone, Default)]
struct Latest(Vec<(i64, String)>);

impl Latest {
    /// The very latest of all members.
    fn peek(&mut self, all: &BTreeMap<String, i64>) -> Option<(i64, &str)> {
        if self.0.is_empty() {
            self.refill(all);
        }
        self.0.last().map(|(at, member)| (*at, member.as_str()))
    }

    fn refill(&mut self, all: &BTreeMap<String, i64>) {
        #[cfg(test)]
        tests::LOOKED_AT.with(|n| n.set(n.get() + all.len()));
        let mut of: Vec<(i64, &str)> = all.iter().map(|(m, at)| (*at, m.as_str())).collect();
        let earlier = of.len().saturating_sub(LATEST_MAX);
        if earlier > 0 {
            of.select_nth_unstable(earlier);
        }
        let late = of.get_mut(earlier..).unwrap_or_default();
        late.sort_unstable();
        self.0 = late.iter().map(|(at, member)| (*at, (*member).to_owned())).collect();
    }

    /// There is a new member, or one that is no longer here.
    fn insert(&mut self, at: i64, member: &str) {
        let place = self.place(at, member);
        // Before the first there may be members that are not here.
        if place > 0 {
            self.0.insert(place, (at, member.to_owned()));
        }
    }

    /// A member turns out to have been seen earlier.
    fn moved(&mut self, from: i64, to: i64, member: &str) {
        let place = self.place(from, member);
        if self.0.get(place).is_some_and(|(at, known)| (*at, known.as_str()) == (from, member)) {
            self.0.remove(place);
            self.insert(to, member);
        }
    }

    fn place(&self, at: i64, member: &str) -> usize {
        self.0.partition_point(|(known_at, known)| (*known_at, known.as_str()) < (at, member))
    }
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
        let mut unique = Unique { first: wire.first, more: wire.more, ..Unique::new(max) };
        unique.truncate();
        unique.begun = unique.first.values().copied().min();
        unique
    }
}

impl Unique {
    /// Nothing yet; keeps the earliest `max` members.
    pub fn new(max: usize) -> Unique {
        Unique {
            max: max.clamp(1, MEMBERS_CEILING),
            first: BTreeMap::new(),
            more: false,
            begun: None,
            latest: Latest::default(),
        }
    }

    /// With the limit of this one, the earliest of these members, each of which is there once: when, and which one by a
    /// number; numbers have the order of their names.
    pub(super) fn of(&self, members: &mut [(i64, u64)], name: &dyn Fn(u64) -> String) -> Unique {
        let mut unique = Unique::new(self.max);
        unique.more = members.len() > unique.max;
        if unique.more {
            members.select_nth_unstable(unique.max);
        }
        let kept = members.get(..unique.max).unwrap_or(members);
        unique.begun = kept.iter().map(|(at, _)| *at).min();
        unique.first = kept.iter().map(|(at, member)| (name(*member), *at)).collect();
        unique
    }

    /// A member was seen at a time; tells by how much the weight grew.
    pub fn observe(&mut self, at: i64, member: &str) -> usize {
        let member = crate::cut(member, MEMBER_BYTES_MAX);
        // What is later than all that are held, where there are more already, changes nothing, be it held or not.
        if self.more
            && self.is_full()
            && self.latest.peek(&self.first).is_some_and(|latest| latest <= (at, member))
        {
            return 0;
        }
        if let Some(first) = self.first.get_mut(member) {
            if at < *first {
                self.latest.moved(*first, at, member);
                *first = at;
                self.begin(at);
            }
            return 0;
        }
        if self.first.len() < self.max {
            self.first.insert(member.to_owned(), at);
            self.begin(at);
            return 1;
        }
        self.more = true;
        let Some(latest) = self.latest.peek(&self.first) else { return 0 };
        if (at, member) < latest {
            if let Some((_, gone)) = self.latest.0.pop() {
                self.first.remove(&gone);
            }
            self.first.insert(member.to_owned(), at);
            self.latest.insert(at, member);
            self.begin(at);
        }
        0
    }

    /// Adds what another saw. The larger limit holds.
    pub fn merge(&mut self, other: &Unique) {
        if self.max < other.max {
            self.max = other.max;
            self.latest.0.clear();
        }
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
        self.begun
    }

    /// When the number of distinct members reached `count`; `None` if it did not, or if `count` is
    /// more than are kept.
    pub fn reached(&self, count: usize) -> Option<i64> {
        let mut times: Vec<i64> = self.first.values().copied().collect();
        times.sort_unstable();
        times.get(count.checked_sub(1)?).copied()
    }

    fn begin(&mut self, at: i64) {
        self.begun = Some(self.begun.map_or(at, |begun| begun.min(at)));
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
pub(super) mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    thread_local! {
        /// Members or keys looked at in search of those that must go.
        pub static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
    }

    /// How many are looked at meanwhile.
    pub fn looked_at(meanwhile: impl FnOnce()) -> usize {
        LOOKED_AT.set(0);
        meanwhile();
        LOOKED_AT.get()
    }

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

    #[test]
    fn members_that_are_too_many_do_not_cost_a_look_at_all_each() {
        let (most, n) = (1024_usize, 16 * 1024_i64);
        let mut later = Unique::new(most);
        let in_order = looked_at(|| (0..n).for_each(|at| _ = later.observe(at, &at.to_string())));
        assert_eq!((in_order, later.reached(most)), (most, Some(1023)));
        let mut earlier = Unique::new(most);
        let reverse = looked_at(|| (0..n).for_each(|at| _ = earlier.observe(-at, &at.to_string())));
        assert_eq!((earlier.first(), earlier.reached(most)), (Some(1 - n), Some(1024 - n)));
        assert!(reverse <= n as usize / LATEST_MAX * most, "{reverse}");
        let merged = looked_at(|| later.merge(&earlier));
        assert_eq!(later, earlier);
        assert!(merged <= (most / LATEST_MAX + 1) * most, "{merged}");
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

        // More members than are known in their order.
        #[test]
        fn the_earliest_stay_in_whatever_order_they_come(
            all in proptest::collection::vec((0i64..1000, 0u16..400), 0..1500),
        ) {
            let max = 2 * LATEST_MAX;
            let (mut unique, mut naive) = (Unique::new(max), BTreeMap::new());
            for (at, member) in all {
                unique.observe(at, &member.to_string());
                let first = naive.entry(member.to_string()).or_insert(at);
                *first = at.min(*first);
            }
            let mut naive: Vec<(i64, &str)> = naive.iter().map(|(m, at)| (*at, m.as_str())).collect();
            naive.sort_unstable();
            naive.truncate(max);
            prop_assert_eq!(unique.first(), naive.first().map(|(at, _)| *at));
            prop_assert_eq!(unique.reached(naive.len()), naive.last().map(|(at, _)| *at));
            let naive: Vec<&str> = naive.into_iter().map(|(_, member)| member).collect();
            prop_assert_eq!(unique.earliest(max), naive);
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
