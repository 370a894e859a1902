//! The words of a policy document: names with a wildcard, networks, lengths of time, points in time.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use toml::value::{Datetime, Offset};

use crate::site::{Net, NetError};

/// Microseconds of a second.
const SECOND_US: i64 = 1_000_000;

/// A name, or the beginning of names where it ends with `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    is_prefix: bool,
}

impl Pattern {
    /// Whether a name is meant.
    pub fn matches(&self, name: &str) -> bool {
        if self.is_prefix { name.starts_with(&self.text) } else { name == self.text }
    }

    /// Whether only one name is meant.
    pub fn is_exact(&self) -> bool {
        !self.is_prefix
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Pattern, String> {
        let (stem, is_prefix) = match text.strip_suffix('*') {
            Some(stem) => (stem, true),
            None => (text, false),
        };
        if stem.contains('*') || (stem.is_empty() && !is_prefix) {
            return Err(format!("`{text}`: a name, with `*` at its end only"));
        }
        Ok(Pattern { text: stem.to_owned(), is_prefix })
    }
}

/// A type of notices: a [`Pattern`] with Zeek's `Module::Name` in it.
pub fn note(text: &str) -> Result<Pattern, String> {
    let pattern: Pattern = text.parse()?;
    if pattern.is_exact() && !text.contains("::") {
        return Err(format!(
            "`{text}` is no type of notices: write Module::Name as Zeek does, or Module::*"
        ));
    }
    Ok(pattern)
}

/// A length of time such as `90s`, `10m`, `1h`, `1d`; a number alone is seconds. Microseconds.
pub fn length_us(text: &str) -> Option<i64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: i64 = digits.parse().ok()?;
    let unit = match text.get(digits.len()..)? {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" | "hr" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(unit)?.checked_mul(SECOND_US).filter(|us| *us >= 0)
}

/// A length of time, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length(pub i64);

impl FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Length, String> {
        let wrong = || format!("`{text}` is no length of time: write 1h, 10m, 30s");
        length_us(text).map(Length).ok_or_else(wrong)
    }
}

/// A network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetTerm(pub Net);

impl FromStr for NetTerm {
    type Err = NetError;

    fn from_str(text: &str) -> Result<NetTerm, NetError> {
        text.parse().map(NetTerm)
    }
}

/// A type of notices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteTerm(pub Pattern);

impl FromStr for NoteTerm {
    type Err = String;

    fn from_str(text: &str) -> Result<NoteTerm, String> {
        note(text).map(NoteTerm)
    }
}

/// Reads a word from a string.
struct Word<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Word<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! words {
    ($($word:ty),*) => {
        $(impl<'de> Deserialize<'de> for $word {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<$word, D::Error> {
                from.deserialize_str(Word(PhantomData))
            }
        })*
    };
}
words!(Pattern, Length, NetTerm, NoteTerm);

/// One word or a list of them; never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Many<T>(pub Vec<T>);

impl<'de, T: Deserialize<'de> + FromStr<Err: fmt::Display>> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Many<T>, D::Error> {
        from.deserialize_any(Words(PhantomData))
    }
}

struct Words<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + FromStr<Err: fmt::Display>> Visitor<'de> for Words<T> {
    type Value = Many<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list of strings")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Many<T>, E> {
        text.parse().map(|one| Many(vec![one])).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Many<T>, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = list.next_element()? {
            all.push(one);
        }
        if all.is_empty() {
            return Err(A::Error::custom("an empty list holds for nothing: leave the key out"));
        }
        Ok(Many(all))
    }
}

/// A point in time, microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Until(pub i64);

impl<'de> Deserialize<'de> for Until {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Until, D::Error> {
        let time = Datetime::deserialize(from)?;
        point_us(&time).map(Until).ok_or_else(|| {
            D::Error::custom(format!(
                "`{time}` is no point in time: write date, time and zone, as in 2027-01-31T12:00:00Z"
            ))
        })
    }
}

/// Microseconds since 1970 of a date and time with its zone.
fn point_us(time: &Datetime) -> Option<i64> {
    let (date, clock, offset) = (time.date?, time.time?, time.offset?);
    let minutes = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let days = days_since_1970(i64::from(date.year), date.month, date.day);
    let seconds = days * 86_400
        + i64::from(clock.hour) * 3_600
        + i64::from(clock.minute) * 60
        + i64::from(clock.second.unwrap_or(0))
        - minutes * 60;
    Some(seconds * SECOND_US + i64::from(clock.nanosecond.unwrap_or(0)) / 1_000)
}

/// Days since 1970 in the Gregorian calendar; years count from March, so that the leap day is their last.
fn days_since_1970(year: i64, month: u8, day: u8) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let from_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * from_march + 2) / 5 + i64::from(day) - 1;
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_their_beginnings() {
        let matches = |pattern: &str, name: &str| pattern.parse::<Pattern>().unwrap().matches(name);
        assert!(matches("SSH::Password_Guessing", "SSH::Password_Guessing"));
        assert!(!matches("SSH::Password_Guessing", "SSH::Password_Guessing2"));
        assert!(matches("SSH::*", "SSH::Password_Guessing") && !matches("SSH::*", "SSL::X"));
        assert!(matches("*", "anything"));
        for wrong in ["", "*x", "a*b", "a**"] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
        }
        assert!(note("Scan").is_err() && note("Scan*").is_ok());
    }

    #[test]
    fn lengths_of_time() {
        assert_eq!(length_us("1h"), Some(3_600_000_000));
        assert_eq!(length_us("90"), Some(90_000_000));
        assert_eq!(length_us("0"), Some(0));
        for wrong in ["", "h", "1x", "-1s", "99999999999999d", "1ü"] {
            assert_eq!(length_us(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn points_in_time() {
        let at = |text: &str| point_us(&text.parse().unwrap());
        assert_eq!(at("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(at("2000-02-29T12:00:01.5Z"), Some(951_825_601_500_000));
        assert_eq!(at("2026-11-25T22:00:00+01:00"), at("2026-11-25T21:00:00Z"));
        assert_eq!(at("1969-12-31T23:59:59Z"), Some(-1_000_000));
        assert_eq!(at("2026-11-25"), None);
        assert_eq!(at("2026-11-25T22:00:00"), None, "without a zone");
    }
}
