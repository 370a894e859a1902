//! The least of numbers.

use serde::{Deserialize, Serialize};

/// The least. JSON: `{"min":42}`, `null` before the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Min {
    min: Option<i64>,
}

impl Min {
    /// Looks at a number; its weight never grows.
    pub fn observe(&mut self, number: i64) -> usize {
        self.min = Some(self.min.map_or(number, |known| known.min(number)));
        0
    }

    /// Looks at what another saw.
    pub fn merge(&mut self, other: &Min) {
        if let Some(number) = other.min {
            self.observe(number);
        }
    }

    /// The least; none of none.
    pub fn min(&self) -> Option<i64> {
        self.min
    }
}
