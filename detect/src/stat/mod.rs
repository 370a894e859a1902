//! Statistics: values that are built up observation by observation and merge with their like.
//!
//! Every statistic is a lattice: merging is associative, commutative and idempotent, so that the
//! order in which lanes and workers report does not matter, nor does hearing something twice. The
//! counterpart in Zeek is a SumStats reducer. Adding one is a file, and its lines in [`Value`].

use std::fmt;

use serde::{Deserialize, Serialize};

pub mod unique;
pub mod unique_by;

pub use unique::Unique;
pub use unique_by::UniqueBy;

/// A statistic of whichever kind, as it travels in a row of `partial`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Distinct members.
    Unique(Unique),
    /// Distinct members under each of several keys.
    UniqueBy(UniqueBy),
}

/// Two values that are not of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch;

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("statistics of different kinds do not merge")
    }
}

impl std::error::Error for Mismatch {}

impl Value {
    /// Adds what was seen at a time (microseconds); tells whether the value grew. `key` is for
    /// statistics that have keys.
    pub fn observe(&mut self, at: i64, key: &str, member: &str) -> bool {
        match self {
            Value::Unique(unique) => unique.observe(at, member),
            Value::UniqueBy(by) => by.observe(at, key, member),
        }
    }

    /// Adds all that another value saw.
    pub fn merge(&mut self, other: &Value) -> Result<(), Mismatch> {
        match (self, other) {
            (Value::Unique(mine), Value::Unique(other)) => mine.merge(other),
            (Value::UniqueBy(mine), Value::UniqueBy(other)) => mine.merge(other),
            _ => return Err(Mismatch),
        }
        Ok(())
    }

    /// Whether the other is of the same kind, so that the two would merge.
    pub fn is_like(&self, other: &Value) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// How many members it holds: what limits count.
    pub fn weight(&self) -> usize {
        match self {
            Value::Unique(unique) => unique.weight(),
            Value::UniqueBy(by) => by.weight(),
        }
    }

    /// As JSON, the same text for the same value.
    pub fn encode(&self) -> String {
        // Maps with text keys and numbers always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From JSON, whatever wrote it: limits hold again afterwards.
    pub fn decode(text: &str) -> Result<Value, serde_json::Error> {
        serde_json::from_str(text)
    }
}
