//! Statistics: values that are built up observation by observation and merge with their like.
//!
//! Merging is associative and commutative, so that the order in which lanes and workers report does not
//! matter. Some are idempotent too (distinct members, samples, extremes); counts and sums are not: each
//! observation is to be heard once. The bus sees to that, as whoever observes or merges does so in the step that
//! moves his position. The counterpart in Zeek is a SumStats reducer. Adding one is a file, and its lines
//! in [`Value`].

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub mod average;
pub mod count;
pub mod distinct;
pub mod max;
pub mod min;
pub mod sample;
pub mod sightings;
pub mod sum;
pub mod top;
pub mod unique;
pub mod unique_by;
pub mod variance;
mod wide;

pub use average::Average;
pub use count::Count;
pub use distinct::Distinct;
pub use max::Max;
pub use min::Min;
pub use sample::Sample;
pub use sightings::{Names, Sighting};
pub use sum::Sum;
pub use top::Top;
pub use unique::Unique;
pub use unique_by::UniqueBy;
pub use variance::Variance;

/// Statistics of one entity that a detector may keep side by side.
const SEVERAL_MAX: usize = 8;
/// Statistics by name in one value.
const NAMED_MAX: usize = 16;

/// A statistic of whichever kind, as it travels in a row of `partial`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Distinct members.
    Unique(Unique),
    /// Distinct members under each of several keys.
    UniqueBy(UniqueBy),
    /// How many, and when so many were reached.
    Count(Count),
    /// The sum of numbers.
    Sum(Sum),
    /// The least number.
    Min(Min),
    /// The greatest number.
    Max(Max),
    /// The average of numbers.
    Average(Average),
    /// The variance of numbers.
    Variance(Variance),
    /// How many distinct members, as a sketch where they are many.
    Distinct(Distinct),
    /// The members with the greatest sums of numbers.
    Top(Top),
    /// Some distinct members, drawn evenly.
    Sample(Sample),
    /// Several of the same observations.
    Several(Vec<Value>),
    /// Several of different observations: each goes to the one that its key names.
    Named(BTreeMap<String, Value>),
}

/// What a statistic is shown of an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen<'a> {
    /// When it happened, microseconds.
    pub at: i64,
    /// Under what, for statistics with keys.
    pub key: &'a str,
    /// What was seen.
    pub member: &'a str,
    /// How much, for statistics of numbers.
    pub number: i64,
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
    /// Adds what was seen; tells by how much the value's weight grew.
    pub fn observe(&mut self, seen: Seen<'_>) -> usize {
        match self {
            Value::Unique(unique) => unique.observe(seen.at, seen.member),
            Value::UniqueBy(by) => by.observe(seen.at, seen.key, seen.member),
            Value::Count(count) => count.observe(seen.at),
            Value::Sample(sample) => sample.observe(seen.at, seen.member),
            Value::Distinct(distinct) => distinct.observe(seen.at, seen.member),
            Value::Top(top) => top.observe(seen.member, seen.number),
            Value::Sum(sum) => sum.observe(seen.number),
            Value::Min(min) => min.observe(seen.number),
            Value::Max(max) => max.observe(seen.number),
            Value::Average(average) => average.observe(seen.number),
            Value::Variance(variance) => variance.observe(seen.number),
            Value::Several(values) => values.iter_mut().map(|value| value.observe(seen)).sum(),
            Value::Named(values) => values.get_mut(seen.key).map_or(0, |value| value.observe(seen)),
        }
    }

    /// Adds all that another value saw.
    ///
    /// # Errors
    /// It is of another kind; nothing was added.
    pub fn merge(&mut self, other: &Value) -> Result<(), Mismatch> {
        if !self.is_like(other) {
            return Err(Mismatch);
        }
        match (self, other) {
            (Value::Unique(mine), Value::Unique(other)) => mine.merge(other),
            (Value::UniqueBy(mine), Value::UniqueBy(other)) => mine.merge(other),
            (Value::Count(mine), Value::Count(other)) => mine.merge(other),
            (Value::Sum(mine), Value::Sum(other)) => mine.merge(other),
            (Value::Min(mine), Value::Min(other)) => mine.merge(other),
            (Value::Max(mine), Value::Max(other)) => mine.merge(other),
            (Value::Average(mine), Value::Average(other)) => mine.merge(other),
            (Value::Variance(mine), Value::Variance(other)) => mine.merge(other),
            (Value::Distinct(mine), Value::Distinct(other)) => mine.merge(other),
            (Value::Top(mine), Value::Top(other)) => mine.merge(other),
            (Value::Sample(mine), Value::Sample(other)) => mine.merge(other),
            (Value::Several(mine), Value::Several(others)) => {
                for (mine, other) in mine.iter_mut().zip(others) {
                    mine.merge(other)?;
                }
            }
            (Value::Named(mine), Value::Named(others)) => {
                for (mine, other) in mine.values_mut().zip(others.values()) {
                    mine.merge(other)?;
                }
            }
            _ => return Err(Mismatch),
        }
        Ok(())
    }

    /// Whether the other is of the same kind, so that the two would merge.
    pub fn is_like(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Several(mine), Value::Several(others)) => {
                mine.len() == others.len() && mine.iter().zip(others).all(|(a, b)| a.is_like(b))
            }
            (Value::Named(mine), Value::Named(others)) => {
                mine.keys().eq(others.keys())
                    && mine.values().zip(others.values()).all(|(a, b)| a.is_like(b))
            }
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// How many members it holds: what limits count.
    pub fn weight(&self) -> usize {
        match self {
            Value::Unique(unique) => unique.weight(),
            Value::UniqueBy(by) => by.weight(),
            Value::Count(count) => count.weight(),
            Value::Sample(sample) => sample.weight(),
            Value::Distinct(distinct) => distinct.weight(),
            Value::Top(top) => top.weight(),
            Value::Sum(_) | Value::Min(_) | Value::Max(_) | Value::Average(_) => 0,
            Value::Variance(_) => 0,
            Value::Several(values) => values.iter().map(Value::weight).sum(),
            Value::Named(values) => values.values().map(Value::weight).sum(),
        }
    }

    /// As JSON, the same text for the same value.
    pub fn encode(&self) -> String {
        // Maps with text keys and numbers always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From JSON, whatever wrote it: limits hold again afterwards.
    ///
    /// # Errors
    /// It is no JSON of a statistic.
    pub fn decode(text: &str) -> Result<Value, serde_json::Error> {
        use serde::de::Error as _;
        let value = serde_json::from_str(text)?;
        let holds_more = |v: &Value| matches!(v, Value::Several(_) | Value::Named(_));
        let is_too_much = match &value {
            Value::Several(values) => values.len() > SEVERAL_MAX || values.iter().any(holds_more),
            Value::Named(values) => values.len() > NAMED_MAX || values.values().any(holds_more),
            _ => false,
        };
        if is_too_much {
            return Err(serde_json::Error::custom("too many statistics in one"));
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests;
