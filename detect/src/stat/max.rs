//! The greatest of numbers.

use serde::{Deserialize, Serialize};

/// The greatest. JSON: `{"max":42}`, `null` before the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Max {
    max: Option<i64>,
}

impl Max {
    /// Looks at a number; its weight never grows.
    pub fn observe(&mut self, number: i64) -> usize {
        self.max = Some(self.max.map_or(number, |known| known.max(number)));
        0
    }

    /// Looks at what another saw.
    pub fn merge(&mut self, other: &Max) {
        if let Some(number) = other.max {
            self.observe(number);
        }
    }

    /// The greatest; none of none.
    pub fn max(&self) -> Option<i64> {
        self.max
    }
}
