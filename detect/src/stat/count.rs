//! How many observations there were, and when a number of them was reached.
//!
//! The earliest times are kept up to the number that matters: the earliest of a union are among the
//! earliest of its parts, so that the moment is the same however observations were spread.

use serde::{Deserialize, Serialize};

/// No value read from JSON may keep more times than this, whatever it claims.
pub const TIMES_CEILING: usize = 4096;

/// A count. JSON: `{"n":70,"keep":50,"times":[1700000000000000,…]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Wire")]
pub struct Count {
    n: u64,
    keep: usize,
    /// The earliest, in order.
    times: Vec<i64>,
}

/// What JSON may hold, before limits are put to it.
#[derive(Deserialize)]
struct Wire {
    n: u64,
    keep: usize,
    times: Vec<i64>,
}

impl From<Wire> for Count {
    fn from(wire: Wire) -> Count {
        let Wire { n, keep, mut times } = wire;
        let keep = keep.min(TIMES_CEILING);
        times.sort_unstable();
        times.truncate(keep);
        Count { n: n.max(times.len() as u64), keep, times }
    }
}

impl Count {
    /// Nothing yet; can tell when up to `keep` were reached.
    pub fn new(keep: usize) -> Count {
        Count { n: 0, keep: keep.min(TIMES_CEILING), times: Vec::new() }
    }

    /// One more, at a time; tells by how much the weight grew.
    pub fn observe(&mut self, at: i64) -> usize {
        self.n = self.n.saturating_add(1);
        let before = self.times.len();
        self.keep_time(at);
        self.times.len() - before
    }

    /// Adds what another counted.
    pub fn merge(&mut self, other: &Count) {
        self.n = self.n.saturating_add(other.n);
        self.keep = self.keep.max(other.keep);
        other.times.iter().for_each(|at| self.keep_time(*at));
    }

    fn keep_time(&mut self, at: i64) {
        let place = self.times.partition_point(|earlier| *earlier <= at);
        if place < self.keep {
            self.times.truncate(self.keep - 1);
            self.times.insert(place, at);
        }
    }

    /// How many.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// When the first was.
    pub fn first(&self) -> Option<i64> {
        self.times.first().copied()
    }

    /// When so many were reached; `None` if they were not, or are more than are kept.
    pub fn reached(&self, count: usize) -> Option<i64> {
        self.times.get(count.checked_sub(1)?).copied()
    }

    /// Times held.
    pub fn weight(&self) -> usize {
        self.times.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(times: &[i64]) -> Count {
        let mut count = Count::new(5);
        for at in times {
            count.observe(*at);
        }
        count
    }

    #[test]
    fn tells_when_a_number_was_reached() {
        let count = seen(&[30, 10, 20, 10, 50, 60, 5]);
        assert_eq!((count.n(), count.weight(), count.first()), (7, 5, Some(5)));
        assert_eq!(
            (count.reached(1), count.reached(3), count.reached(5)),
            (Some(5), Some(10), Some(30))
        );
        assert_eq!((count.reached(0), count.reached(6)), (None, None));
    }

    #[test]
    fn json_from_anywhere_is_held_to_its_limit() {
        let count: Count = serde_json::from_str(r#"{"n":0,"keep":2,"times":[9,7,8]}"#).unwrap();
        assert_eq!((count.n(), count.reached(2), count.weight()), (2, Some(8), 2));
        let most = format!(r#"{{"n":{},"keep":{},"times":[1]}}"#, u64::MAX, u64::MAX);
        let mut count: Count = serde_json::from_str(&most).unwrap();
        count.observe(0);
        assert_eq!((count.n(), count.keep), (u64::MAX, TIMES_CEILING));
        let mut none = Count::new(0);
        assert_eq!((none.observe(1), none.n(), none.reached(1)), (0, 1, None));
    }

    proptest! {
        #[test]
        fn how_they_are_spread_does_not_matter(all in proptest::collection::vec((0i64..99, 0usize..4), 0..60)) {
            let times: Vec<i64> = all.iter().map(|(at, _)| *at).collect();
            let part = |of: usize| {
                let mine: Vec<i64> = all.iter().filter(|(_, who)| *who == of).map(|(at, _)| *at).collect();
                seen(&mine)
            };
            for order in [[0, 1, 2, 3], [3, 1, 0, 2]] {
                let mut merged = Count::new(5);
                order.into_iter().for_each(|of| merged.merge(&part(of)));
                let back: Count = serde_json::from_str(&serde_json::to_string(&merged).unwrap()).unwrap();
                prop_assert_eq!(&back, &merged);
                prop_assert_eq!(merged, seen(&times));
            }
        }
    }
}
