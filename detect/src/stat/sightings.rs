//! Many observations at once, told by number: what came together is put in order first and becomes a statistic in one
//! go, without a search and a text for each. For statistics that ask which members there are, not how often.

use super::Value;

/// A member that was seen under a key. Numbers have the order of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sighting {
    /// Under what.
    pub key: u64,
    /// What.
    pub member: u64,
    /// When first, microseconds.
    pub at: i64,
}

/// What numbers stand for.
pub trait Names {
    /// The name of a key.
    fn key(&self, number: u64) -> String;
    /// The name of a member.
    fn member(&self, number: u64) -> String;
}

impl Value {
    /// A value with the limits of this one, of all these, of which one was seen `last`: the same as from one after another,
    /// and where there are more than fit, the best of all of them. `None` where it matters how often something was seen.
    pub fn of_all(&self, all: &mut Vec<Sighting>, last: i64, names: &dyn Names) -> Option<Value> {
        all.sort_unstable();
        all.dedup_by_key(|seen| (seen.key, seen.member));
        self.of_sorted(all, last, names)
    }

    fn of_sorted(&self, all: &[Sighting], last: i64, names: &dyn Names) -> Option<Value> {
        let name = |number| names.member(number);
        Some(match self {
            Value::Unique(unique) => Value::Unique(unique.of(&mut members(all), &name)),
            Value::Distinct(distinct) => {
                Value::Distinct(distinct.of(&mut members(all), last, &name))
            }
            Value::UniqueBy(by) => Value::UniqueBy(by.of(all, names)),
            Value::Several(values) => {
                let each = values.iter().map(|value| value.of_sorted(all, last, names));
                Value::Several(each.collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }
}

/// Each member once, under whatever keys, and when it was first seen.
fn members(all: &[Sighting]) -> Vec<(i64, u64)> {
    let mut of: Vec<(u64, i64)> = all.iter().map(|seen| (seen.member, seen.at)).collect();
    // Under one key they are in order.
    if !of.is_sorted() {
        of.sort_unstable();
    }
    of.dedup_by_key(|(member, _)| *member);
    of.into_iter().map(|(member, at)| (at, member)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Count, Distinct, Seen, Unique, UniqueBy};
    use super::*;

    struct Letters;

    fn name(number: u64) -> String {
        format!("{number:03}")
    }

    impl Names for Letters {
        fn key(&self, number: u64) -> String {
            name(number)
        }

        fn member(&self, number: u64) -> String {
            name(number)
        }
    }

    fn of_all(start: &Value, all: &[Sighting]) -> Option<Value> {
        let last = all.iter().map(|seen| seen.at).max().unwrap_or(0);
        start.of_all(&mut all.to_vec(), last, &Letters)
    }

    fn one_by_one(start: &Value, all: &[Sighting]) -> Value {
        let mut value = start.clone();
        for seen in all {
            let (key, member) = (name(seen.key), name(seen.member));
            value.observe(Seen { at: seen.at, key: &key, member: &member, number: 1 });
        }
        value
    }

    fn sightings(keys: u64) -> impl Strategy<Value = Vec<Sighting>> {
        let one = (0..keys, 0u64..40, 0i64..50);
        proptest::collection::vec(one, 1..200).prop_map(|all| {
            all.into_iter().map(|(key, member, at)| Sighting { key, member, at }).collect()
        })
    }

    proptest! {
        #[test]
        fn at_once_is_as_one_by_one(all in sightings(8)) {
            let each = [
                Value::Unique(Unique::new(5)),
                Value::Unique(Unique::new(100)),
                Value::UniqueBy(UniqueBy::new(8, 3)),
                Value::Distinct(Distinct::new(5)),
                Value::Distinct(Distinct::new(100)),
            ];
            let several = Value::Several(each.to_vec());
            for start in each.iter().chain([&several]) {
                let value = of_all(start, &all).unwrap();
                prop_assert_eq!(&value, &one_by_one(start, &all));
                prop_assert_eq!(value.weight(), one_by_one(start, &all).weight());
                // More may be seen after it.
                let mut twice = value.clone();
                twice.merge(&value).unwrap();
                prop_assert_eq!(&twice, &value);
            }
        }

        #[test]
        fn of_too_many_keys_the_heaviest_stay(all in sightings(30)) {
            let start = Value::UniqueBy(UniqueBy::new(4, 3));
            let Some(Value::UniqueBy(few)) = of_all(&start, &all) else { unreachable!() };
            let Value::UniqueBy(whole) = one_by_one(&Value::UniqueBy(UniqueBy::new(99, 3)), &all)
            else { unreachable!() };
            let mut want: Vec<_> = whole.iter().map(|(key, of)| (of.len(), of.first(), key)).collect();
            want.sort_unstable();
            let want = &want[want.len().saturating_sub(4)..];
            let mut have: Vec<_> = few.iter().map(|(key, of)| (of.len(), of.first(), key)).collect();
            have.sort_unstable();
            prop_assert_eq!(have, want);
            prop_assert_eq!(few.has_more(), whole.iter().count() > 4);
        }
    }

    #[test]
    fn how_often_is_not_to_be_known() {
        let seen = Sighting { key: 1, member: 1, at: 1 };
        assert_eq!(of_all(&Value::Count(Count::new(3)), &[seen]), None);
        let several = Value::Several(vec![Value::Count(Count::new(3))]);
        assert_eq!(of_all(&several, &[seen]), None);
    }
}
