//! What holds for every statistic.

use proptest::prelude::*;

use super::*;

/// One of each kind, with limits above what the tests show it.
fn all() -> Vec<Value> {
    let each = vec![
        Value::Unique(Unique::new(100)),
        Value::UniqueBy(UniqueBy::new(100, 100)),
        Value::Count(Count::new(10)),
        Value::Sum(Sum::default()),
        Value::Min(Min::default()),
        Value::Max(Max::default()),
        Value::Average(Average::default()),
        Value::Variance(Variance::default()),
        Value::Distinct(Distinct::new(5)),
        Value::Top(Top::new(100)),
        Value::Sample(Sample::new(3)),
    ];
    let several = Value::Several(each[..SEVERAL_MAX].to_vec());
    let names = (0..each.len()).map(|name| name.to_string());
    let named = Value::Named(names.zip(each.iter().cloned()).collect());
    each.into_iter().chain([several, named]).collect()
}

type Shown = (i64, u8, u8, i64);

fn show(value: &mut Value, (at, key, member, number): Shown) {
    let (key, member, before) = (key.to_string(), member.to_string(), value.weight());
    let grew = value.observe(Seen { at, key: &key, member: &member, number });
    assert_eq!(value.weight(), before + grew, "{value:?}");
}

proptest! {
    #[test]
    fn any_split_and_any_order_gives_the_same(
        all_seen in proptest::collection::vec(((0i64..50, 0u8..11, 0u8..40, -9i64..i64::MAX), 0usize..5), 0..60),
        order in Just((0usize..5).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        for empty in all() {
            let mut whole = empty.clone();
            all_seen.iter().for_each(|(seen, _)| show(&mut whole, *seen));
            let mut backward = empty.clone();
            all_seen.iter().rev().for_each(|(seen, _)| show(&mut backward, *seen));
            prop_assert_eq!(&backward, &whole);
            let mut merged = empty.clone();
            for of in &order {
                let mut part = empty.clone();
                all_seen.iter().filter(|(_, who)| who == of).for_each(|(s, _)| show(&mut part, *s));
                let part = Value::decode(&part.encode()).unwrap();
                merged.merge(&part).unwrap();
            }
            prop_assert_eq!(&merged, &whole);
            prop_assert_eq!(merged.weight(), whole.weight());
        }
    }
}

#[test]
fn only_like_values_merge() {
    for (i, a) in all().iter().enumerate() {
        for (j, b) in all().iter().enumerate() {
            assert_eq!((a.clone().merge(b).is_ok(), a.is_like(b)), (i == j, i == j), "{a:?} {b:?}");
        }
    }
}

#[test]
fn numbers_are_what_they_should_be() {
    let mut values = all();
    for number in [3, -1, 4, 1, -5, 9] {
        values.iter_mut().for_each(|value| show(value, (0, 0, 0, number)));
    }
    for value in values {
        match value {
            Value::Count(count) => assert_eq!(count.n(), 6),
            Value::Sum(sum) => assert_eq!(sum.sum(), 11),
            Value::Min(min) => assert_eq!(min.min(), Some(-5)),
            Value::Max(max) => assert_eq!(max.max(), Some(9)),
            Value::Average(average) => assert_eq!(average.average(), Some(11.0 / 6.0)),
            Value::Variance(variance) => {
                let want = 133.0 / 6.0 - (11.0_f64 / 6.0).powi(2);
                assert!((variance.variance().unwrap() - want).abs() < 1e-9);
            }
            _ => {}
        }
    }
}

#[test]
fn nesting_and_nonsense_are_refused() {
    let deep = Value::Several(vec![Value::Several(vec![Value::Count(Count::new(1))])]);
    assert!(Value::decode(&deep.encode()).is_err());
    let many = Value::Several(vec![Value::Count(Count::new(1)); SEVERAL_MAX + 1]);
    assert!(Value::decode(&many.encode()).is_err());
    let named = |count: usize, of: Value| {
        Value::Named((0..count).map(|name| (name.to_string(), of.clone())).collect())
    };
    let one = named(1, Value::Sum(Sum::default()));
    assert!(Value::decode(&named(1, one.clone()).encode()).is_err());
    assert!(Value::decode(&named(NAMED_MAX + 1, Value::Sum(Sum::default())).encode()).is_err());
    // What has another name is another statistic.
    let other = Value::Named([("x".to_owned(), Value::Sum(Sum::default()))].into());
    assert!(!one.is_like(&other) && one.clone().merge(&other).is_err());
    for text in ["", "{}", "[]", r#"{"sum":{"sum":"x"}}"#, r#"{"nothing":1}"#] {
        assert!(Value::decode(text).is_err(), "{text}");
    }
}
