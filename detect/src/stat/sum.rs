//! The sum of numbers: whole ones, so that it does not depend on their order.

use serde::{Deserialize, Serialize};

/// A sum. JSON: `{"sum":"42"}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    #[serde(with = "super::wide")]
    sum: i128,
}

impl Sum {
    /// Adds a number; its weight never grows.
    pub fn observe(&mut self, number: i64) -> usize {
        // 2^64 numbers of 64 bits have room in it.
        self.sum = self.sum.saturating_add(i128::from(number));
        0
    }

    /// Adds what another added up.
    pub fn merge(&mut self, other: &Sum) {
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// The sum.
    pub fn sum(&self) -> i128 {
        self.sum
    }
}
