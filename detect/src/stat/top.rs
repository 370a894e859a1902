//! The heaviest members, and how heavy each is at least and at most.
//!
//! Counters for a fixed number of members, after Misra and Gries: where one too many is needed, all give up as
//! much as the lightest has. Summaries merge by the same step, with the same error (Agarwal et al.,
//! "Mergeable summaries", 2012). Up to that many members it is exact; beyond, what a member has is
//! too small by no more than [`Top::error`], which is at most the total divided by the counters and one.
//! (`datasketches` has a like sketch; its merge panics on sums that a hostile record can claim.)

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize, Serializer};

/// No value read from JSON may have more counters than this, whatever it claims.
pub const COUNTERS_CEILING: usize = 4096;
/// Bytes of a member that are kept.
pub const MEMBER_BYTES_MAX: usize = 256;

/// Heaviest members. JSON: `{"max":16,"by":{"10.0.0.1":7},"error":0}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Wire")]
pub struct Top {
    max: usize,
    /// Found by hash, as every host of every batch is looked for; put in order where that shows.
    #[serde(serialize_with = "in_order")]
    by: HashMap<Box<str>, u64, RandomState>,
    error: u64,
}

fn in_order<S: Serializer>(
    by: &HashMap<Box<str>, u64, RandomState>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut all: Vec<(&str, u64)> = by.iter().map(|(m, count)| (&**m, *count)).collect();
    all.sort_unstable();
    serializer.collect_map(all)
}

#[derive(Deserialize)]
struct Wire {
    max: usize,
    by: BTreeMap<String, u64>,
    error: u64,
}

impl From<Wire> for Top {
    fn from(wire: Wire) -> Top {
        let mut top = Top { error: wire.error, ..Top::new(wire.max) };
        top.by.extend(wire.by.into_iter().map(|(member, count)| (member.into(), count)));
        top.shrink();
        top
    }
}

impl Top {
    /// Nothing yet; with `max` counters. For the `k` heaviest take some times `k`.
    pub fn new(max: usize) -> Top {
        Top { max: max.clamp(1, COUNTERS_CEILING), by: HashMap::default(), error: 0 }
    }

    /// A member has so much more (what is negative counts nothing); tells by how much the weight grew.
    pub fn observe(&mut self, member: &str, number: i64) -> usize {
        let before = self.by.len();
        self.add(crate::cut(member, MEMBER_BYTES_MAX), u64::try_from(number).unwrap_or(0));
        self.shrink();
        self.by.len().saturating_sub(before)
    }

    /// The same of many at once, which costs less: the limit holds again when all are added.
    pub fn observe_all<'a>(&mut self, seen: impl IntoIterator<Item = (&'a str, u64)>) {
        for (member, count) in seen {
            self.add(crate::cut(member, MEMBER_BYTES_MAX), count);
        }
        self.shrink();
    }

    /// Adds what another counted. The larger limit holds.
    pub fn merge(&mut self, other: &Top) {
        self.max = self.max.max(other.max);
        self.error = self.error.saturating_add(other.error);
        other.by.iter().for_each(|(member, count)| self.add(member, *count));
        self.shrink();
    }

    fn add(&mut self, member: &str, count: u64) {
        if count == 0 {
            return;
        }
        match self.by.get_mut(member) {
            Some(mine) => *mine = mine.saturating_add(count),
            None => drop(self.by.insert(member.into(), count)),
        }
    }

    /// Back to the limit: all give up what the first one too many has.
    fn shrink(&mut self) {
        if self.by.len() <= self.max {
            return;
        }
        let mut counts: Vec<u64> = self.by.values().copied().collect();
        let (_, given, _) = counts.select_nth_unstable_by(self.max, |a, b| b.cmp(a));
        let given = *given;
        self.by.retain(|_, count| {
            *count = count.saturating_sub(given);
            *count > 0
        });
        self.error = self.error.saturating_add(given);
    }

    /// The heaviest, heaviest first, with what they have at least.
    pub fn top(&self, k: usize) -> Vec<(&str, u64)> {
        let mut all: Vec<(&str, u64)> = self.by.iter().map(|(m, count)| (&**m, *count)).collect();
        all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        all.truncate(k);
        all
    }

    /// How much more than that any member, named or not, has at most.
    pub fn error(&self) -> u64 {
        self.error
    }

    /// Members held.
    pub fn weight(&self) -> usize {
        self.by.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(max: usize, all: &[(u8, i64)]) -> Top {
        let mut top = Top::new(max);
        for (member, number) in all {
            top.observe(&member.to_string(), *number);
        }
        top
    }

    #[test]
    fn the_heaviest_are_named_and_json_is_held_to_its_limit() {
        let mut top = seen(4, &[(1, 50), (2, 40), (3, 30), (4, -1)]);
        assert_eq!((top.top(2), top.error()), (vec![("1", 50), ("2", 40)], 0));
        for member in 10..40 {
            top.observe(&member.to_string(), 1);
        }
        assert_eq!(top.top(3).iter().map(|(m, _)| *m).collect::<Vec<_>>(), ["1", "2", "3"]);
        assert!(top.top(1)[0].1 + top.error() >= 50 && top.error() <= 150 / 5);
        let text =
            r#"{"max":1,"by":{"a":3,"b":18446744073709551615},"error":18446744073709551615}"#;
        let mut top: Top = serde_json::from_str(text).unwrap();
        top.merge(&top.clone());
        assert_eq!((top.weight(), top.error()), (1, u64::MAX));
    }

    proptest! {
        #[test]
        fn however_it_is_spread_the_error_holds(
            all in proptest::collection::vec((0u8..30, 0i64..20), 0..120),
            who in proptest::collection::vec(0usize..4, 120),
            max in 1usize..40,
        ) {
            let mut merged = Top::new(max);
            for of in 0..4 {
                let mine: Vec<_> =
                    all.iter().zip(&who).filter(|(_, who)| **who == of).map(|(seen, _)| *seen).collect();
                merged.merge(&seen(max, &mine));
            }
            let mut truth: BTreeMap<String, u64> = BTreeMap::new();
            for (member, number) in &all {
                *truth.entry(member.to_string()).or_default() += *number as u64;
            }
            truth.retain(|_, count| *count > 0);
            let total: u64 = truth.values().sum();
            prop_assert!(merged.error() <= total / (max as u64 + 1));
            prop_assert!(merged.weight() <= max);
            let named: BTreeMap<&str, u64> = merged.top(usize::MAX).into_iter().collect();
            for (member, count) in &truth {
                let least = named.get(member.as_str()).copied().unwrap_or(0);
                prop_assert!(least <= *count && *count <= least + merged.error());
            }
            let mut at_once = Top::new(max);
            at_once.observe_all(truth.iter().map(|(member, count)| (member.as_str(), *count)));
            prop_assert!(at_once.weight() <= max && at_once.error() <= total / (max as u64 + 1));
            if truth.len() <= max {
                prop_assert_eq!(&at_once, &merged);
                prop_assert_eq!(merged.error(), 0);
                prop_assert_eq!(&merged, &seen(max, &all), "exact");
            }
            let back: Top = serde_json::from_str(&serde_json::to_string(&merged).unwrap()).unwrap();
            prop_assert_eq!(back, merged);
        }
    }
}
