//! Some of the distinct members, for people to look at: those of the smallest hashes.
//!
//! A member's hash decides, not chance, so that the sample of a union is made of the samples of its parts and each
//! member is as likely to be in it as any other. The hash has no secret: a sender who knows it may choose
//! what people are shown of him, not what is counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};

/// No value read from JSON may hold more members than this, whatever it claims.
pub const MEMBERS_CEILING: usize = 64;

/// Bytes of a member that are kept: a person reads no more.
pub const MEMBER_BYTES_MAX: usize = 256;

/// A sample. JSON: `{"max":5,"by":{"/a?id=1":1700000000000000}}`, members with the time they were seen first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Wire", into = "Wire")]
pub struct Sample {
    max: usize,
    /// By hash and member, when it was seen first.
    by: BTreeMap<(u64, String), i64>,
}

/// As it stands in JSON.
#[derive(Serialize, Deserialize)]
struct Wire {
    max: usize,
    by: BTreeMap<String, i64>,
}

impl From<Wire> for Sample {
    fn from(wire: Wire) -> Sample {
        let mut sample = Sample::new(wire.max);
        for (member, at) in &wire.by {
            sample.observe(*at, member);
        }
        sample
    }
}

impl From<Sample> for Wire {
    fn from(sample: Sample) -> Wire {
        let by = sample.by.into_iter().map(|((_, member), at)| (member, at)).collect();
        Wire { max: sample.max, by }
    }
}

fn hash(member: &str) -> u64 {
    Sha1::digest(member).iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

impl Sample {
    /// Nothing yet; keeps `max` members.
    pub fn new(max: usize) -> Sample {
        Sample { max: max.clamp(1, MEMBERS_CEILING), by: BTreeMap::new() }
    }

    /// A member was seen at a time; tells by how much the weight grew.
    pub fn observe(&mut self, at: i64, member: &str) -> usize {
        let before = self.by.len();
        let member = crate::cut(member, MEMBER_BYTES_MAX);
        self.keep((hash(member), member.to_owned()), at);
        self.by.len() - before
    }

    /// Adds what another drew. The larger limit holds.
    pub fn merge(&mut self, other: &Sample) {
        self.max = self.max.max(other.max);
        other.by.iter().for_each(|(place, at)| self.keep(place.clone(), *at));
    }

    fn keep(&mut self, place: (u64, String), at: i64) {
        let first = self.by.entry(place).or_insert(at);
        *first = at.min(*first);
        while self.by.len() > self.max {
            self.by.pop_last();
        }
    }

    /// The members, those seen first first.
    pub fn members(&self) -> Vec<&str> {
        let mut all: Vec<(i64, &str)> =
            self.by.iter().map(|((_, m), at)| (*at, m.as_str())).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, member)| member).collect()
    }

    /// Members held.
    pub fn weight(&self) -> usize {
        self.by.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(all: &[(i64, u8)]) -> Sample {
        let mut sample = Sample::new(3);
        for (at, member) in all {
            sample.observe(*at, &member.to_string());
        }
        sample
    }

    #[test]
    fn every_member_is_as_likely_as_any_other() {
        let mut drawn = BTreeMap::new();
        for round in 0..3000 {
            let mut sample = Sample::new(2);
            for n in 0..10 {
                sample.observe(0, &format!("{round} {n}"));
            }
            for member in sample.members() {
                *drawn.entry(member.rsplit(' ').next().unwrap().to_owned()).or_insert(0) += 1;
            }
        }
        assert!(drawn.len() == 10 && drawn.values().all(|n| (500..700).contains(n)), "{drawn:?}");
    }

    #[test]
    fn hostile_members_and_json_are_cut() {
        let mut sample = Sample::new(usize::MAX);
        sample.observe(1, &"\u{e9}".repeat(1000));
        assert_eq!(sample.members()[0].len(), MEMBER_BYTES_MAX);
        let text = r#"{"max":1,"by":{"b":1,"a":2}}"#;
        assert_eq!(serde_json::from_str::<Sample>(text).unwrap().weight(), 1);
        assert_eq!(Sample::new(usize::MAX).max, MEMBERS_CEILING);
    }

    proptest! {
        #[test]
        fn how_they_are_spread_does_not_matter(
            all in proptest::collection::vec((0i64..50, 0u8..12), 0..40),
            cut in 0usize..40,
        ) {
            let (a, b) = all.split_at(cut.min(all.len()));
            let (a, b, whole) = (seen(a), seen(b), seen(&all));
            for (first, second) in [(&a, &b), (&b, &a)] {
                let mut merged = first.clone();
                merged.merge(second);
                merged.merge(first);
                prop_assert_eq!(&merged, &whole);
            }
            let back: Sample = serde_json::from_str(&serde_json::to_string(&whole).unwrap()).unwrap();
            prop_assert_eq!(back, whole);
        }
    }
}
