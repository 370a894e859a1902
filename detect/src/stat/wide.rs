//! Sums of 128 bits in JSON: as text, because a reader of numbers would round them.

use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serializer};

/// Writes a number as text.
pub fn serialize<T: Display, S: Serializer>(number: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(number)
}

/// Reads it back.
pub fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
    from: D,
) -> Result<T, D::Error> {
    use serde::de::Error as _;
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}
