//! The average of numbers.

use serde::{Deserialize, Serialize};

use super::sum::Sum;

/// An average, as what it is made of. JSON: `{"n":2,"sum":{"sum":"42"}}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Average {
    n: u64,
    sum: Sum,
}

impl Average {
    /// Takes a number in; its weight never grows.
    pub fn observe(&mut self, number: i64) -> usize {
        self.n = self.n.saturating_add(1);
        self.sum.observe(number)
    }

    /// Takes in what another did.
    pub fn merge(&mut self, other: &Average) {
        self.n = self.n.saturating_add(other.n);
        self.sum.merge(&other.sum);
    }

    /// The average; none of none.
    pub fn average(&self) -> Option<f64> {
        (self.n > 0).then(|| self.sum.sum() as f64 / self.n as f64)
    }
}
