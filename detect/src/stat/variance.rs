//! The variance of numbers.
//!
//! Kept are the exact sums of numbers and of their squares. That is the form that loses all its digits in
//! floating point; in whole numbers it loses none, and the result does not depend on how numbers were spread.

use serde::{Deserialize, Serialize};

/// Numbers are held within this, so that 2^32 squares have room: 281 TB, or nine years in microseconds.
pub const NUMBER_MAX: i64 = 1 << 48;

/// A variance, as what it is made of. JSON: `{"n":2,"sum":"42","squares":"1000"}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variance {
    n: u64,
    #[serde(with = "super::wide")]
    sum: i128,
    #[serde(with = "super::wide")]
    squares: u128,
}

impl Variance {
    /// Takes a number in; its weight never grows.
    pub fn observe(&mut self, number: i64) -> usize {
        let number = i128::from(number.clamp(-NUMBER_MAX, NUMBER_MAX));
        self.n = self.n.saturating_add(1);
        self.sum = self.sum.saturating_add(number);
        self.squares = self.squares.saturating_add((number * number).unsigned_abs());
        0
    }

    /// Takes in what another did.
    pub fn merge(&mut self, other: &Variance) {
        self.n = self.n.saturating_add(other.n);
        self.sum = self.sum.saturating_add(other.sum);
        self.squares = self.squares.saturating_add(other.squares);
    }

    /// The variance of the population, as Zeek's `VARIANCE`; none of none.
    pub fn variance(&self) -> Option<f64> {
        let n = i128::from(self.n);
        if n == 0 {
            return None;
        }
        // Squares around the whole part of the mean are small and still whole; what the mean has beyond it is
        // less than one.
        let (mean, rest) = (self.sum.div_euclid(n), self.sum.rem_euclid(n));
        let moved = self.sum.checked_add(rest)?.checked_mul(mean)?;
        let around = i128::try_from(self.squares).ok()?.checked_sub(moved)?;
        let beyond = rest as f64 / n as f64;
        Some((around as f64 / n as f64 - beyond * beyond).max(0.0))
    }

    /// Its square root, as Zeek's `STD_DEV`.
    pub fn std_dev(&self) -> Option<f64> {
        self.variance().map(f64::sqrt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: &[i64]) -> Variance {
        let mut variance = Variance::default();
        for number in numbers {
            variance.observe(*number);
        }
        variance
    }

    #[test]
    fn small_differences_of_large_numbers_are_seen() {
        assert_eq!(of(&[]).variance(), None);
        assert_eq!(of(&[2, 4, 4, 4, 5, 5, 7, 9]).variance(), Some(4.0));
        assert_eq!(of(&[-1, 2]).std_dev(), Some(1.5));
        let far = NUMBER_MAX - 10;
        assert_eq!(
            of(&[far + 2, far + 4, far + 4, far + 4, far + 5, far + 5, far + 7, far + 9])
                .variance(),
            Some(4.0)
        );
        assert_eq!(of(&[i64::MIN, i64::MAX]).variance(), Some((NUMBER_MAX as f64).powi(2)));
    }

    #[test]
    fn absurd_sums_have_none() {
        let most = format!(r#"{{"n":1,"sum":"{}","squares":"{}"}}"#, i128::MAX, u128::MAX);
        let mut variance: Variance = serde_json::from_str(&most).unwrap();
        variance.observe(7);
        variance.merge(&variance.clone());
        assert_eq!(variance.variance(), None);
    }
}
