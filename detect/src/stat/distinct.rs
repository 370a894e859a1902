//! How many distinct members there are: exact up to a number, a sketch beyond.
//!
//! Up to `exact` members it is [`Unique`], and tells when a number of them was reached. Beyond it a HyperLogLog of
//! 1024 registers estimates (standard error 3.3 %; here within 14 % but once in ten thousand), in one
//! kilobyte however many there are (registers of six bits: bytes of eight can claim what makes the crate panic). The estimate asked for is the one that follows from the registers
//! alone, so that order and spread do not matter. The hash is public: who chooses members for it can
//! make many count as few, so what is judged by the sketch alone should have another detector beside it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datasketches::hll::{HllSketch, HllType, HllUnion};
use serde::{Deserialize, Serialize};

use super::unique::Unique;

/// Registers, as a power of two.
const LG_REGISTERS: u8 = 10;
/// What the sketch counts as members held: it takes as much memory as some tens of texts.
const SKETCH_WEIGHT: usize = 32;

/// Distinct members. JSON: `{"exact":{…},"last":1700000000000000,"sketch":"…"}`, the sketch as Apache DataSketches writes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Distinct {
    exact: Unique,
    /// When one was seen last.
    last: Option<i64>,
    /// All members, once there are more than are held.
    sketch: Option<HllSketch>,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    exact: Unique,
    last: Option<i64>,
    sketch: Option<String>,
}

impl TryFrom<Wire> for Distinct {
    type Error = String;

    fn try_from(wire: Wire) -> Result<Distinct, String> {
        let Wire { exact, last, sketch: text } = wire;
        let mut sketch = None;
        if let Some(text) = text {
            let bytes = STANDARD.decode(text).map_err(|error| error.to_string())?;
            let read = HllSketch::deserialize(&bytes).map_err(|error| error.to_string())?;
            if read.lg_config_k() != LG_REGISTERS || read.target_type() != HllType::Hll6 {
                return Err("a sketch of another size".to_owned());
            }
            sketch = Some(read);
        }
        Ok(Distinct { exact, last, sketch })
    }
}

impl From<Distinct> for Wire {
    fn from(value: Distinct) -> Wire {
        let sketch = value.sketch.map(|sketch| STANDARD.encode(sketch.serialize()));
        Wire { exact: value.exact, last: value.last, sketch }
    }
}

impl PartialEq for Distinct {
    fn eq(&self, other: &Distinct) -> bool {
        (&self.exact, self.last, self.estimate()) == (&other.exact, other.last, other.estimate())
    }
}

impl Eq for Distinct {}

/// The union of both.
fn union(a: Option<&HllSketch>, b: &HllSketch) -> Option<HllSketch> {
    let mut union = HllUnion::new(LG_REGISTERS).ok()?;
    a.into_iter().chain([b]).for_each(|sketch| union.update(sketch));
    Some(union.to_sketch(HllType::Hll6))
}

impl Distinct {
    /// Nothing yet; exact up to `exact` members.
    pub fn new(exact: usize) -> Distinct {
        Distinct { exact: Unique::new(exact), last: None, sketch: None }
    }

    /// With the limits of this one, these members, each of which is there once, as [`Unique`] has them; one was seen `last`.
    pub(super) fn of(
        &self,
        members: &mut [(i64, u64)],
        last: i64,
        name: &dyn Fn(u64) -> String,
    ) -> Distinct {
        let exact = self.exact.of(members, name);
        let mut value = Distinct { exact, last: Some(last), sketch: None };
        if value.exact.has_more() {
            value.sketched(|sketch| members.iter().for_each(|(_, m)| sketch.update(name(*m))));
        }
        value
    }

    /// A member was seen at a time; tells by how much the weight grew.
    pub fn observe(&mut self, at: i64, member: &str) -> usize {
        self.last = self.last.max(Some(at));
        let before = self.weight();
        // Before one of those that are held has to go.
        if self.sketch.is_some() || (self.exact.is_full() && !self.exact.contains(member)) {
            self.sketched(|sketch| sketch.update(member));
        }
        self.exact.observe(at, member);
        self.weight() - before
    }

    /// Adds what another saw.
    pub fn merge(&mut self, other: &Distinct) {
        self.last = self.last.max(other.last);
        // Those that must go now are in no sketch yet.
        let mine = self.exact.clone();
        self.exact.merge(&other.exact);
        if !self.exact.has_more() {
            return;
        }
        self.sketched(|sketch| {
            mine.members().chain(other.exact.members()).for_each(|member| sketch.update(member));
        });
        if let Some(other) = &other.sketch {
            self.sketch = union(self.sketch.as_ref(), other).or(self.sketch.take());
        }
    }

    /// Works on the sketch, which begins with all members held.
    fn sketched(&mut self, work: impl FnOnce(&mut HllSketch)) {
        if self.sketch.is_none() {
            self.sketch = HllSketch::new(LG_REGISTERS, HllType::Hll6).ok();
            if let Some(sketch) = &mut self.sketch {
                self.exact.members().for_each(|member| sketch.update(member));
            }
        }
        if let Some(sketch) = &mut self.sketch {
            work(sketch);
        }
    }

    /// How many, about; exactly, as long as all are held.
    pub fn estimate(&self) -> u64 {
        let held = self.exact.len() as u64;
        // The cast saturates.
        self.sketch
            .as_ref()
            .map_or(held, |sketch| held.max(sketch.composite_estimate().round() as u64))
    }

    /// When so many were reached: exactly, where so many are held, else when the latest was seen; `None` if they
    /// were not reached.
    pub fn reached(&self, count: usize) -> Option<i64> {
        let exactly = self.exact.reached(count);
        exactly.or_else(|| self.last.filter(|_| count > 0 && self.estimate() >= count as u64))
    }

    /// When the first was seen.
    pub fn first(&self) -> Option<i64> {
        self.exact.first()
    }

    /// Members held, and the sketch as some.
    pub fn weight(&self) -> usize {
        self.exact.weight() + self.sketch.as_ref().map_or(0, |_| SKETCH_WEIGHT)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(members: impl Iterator<Item = u32>) -> Distinct {
        let mut value = Distinct::new(20);
        for member in members {
            value.observe(i64::from(member), &member.to_string());
        }
        value
    }

    #[test]
    fn exact_when_few_and_near_when_many() {
        let few = seen((0..20).chain(0..20));
        assert_eq!((few.estimate(), few.weight(), few.reached(20)), (20, 20, Some(19)));
        assert_eq!((few.reached(21), few.reached(0), few.first()), (None, None, Some(0)));
        let more = seen(0..21);
        assert_eq!((more.weight(), more.reached(20), more.estimate()), (52, Some(19), 21));
        for many in [100, 1_000, 10_000, 100_000] {
            let estimate = seen(0..many).estimate() as f64;
            assert!((estimate / f64::from(many) - 1.0).abs() < 0.10, "{many}: {estimate}");
        }
    }

    #[test]
    fn json_from_anywhere_is_checked() {
        let value = seen(0..3000);
        let text = serde_json::to_string(&value).unwrap();
        assert!(text.len() < 3000, "{}", text.len());
        assert_eq!(serde_json::from_str::<Distinct>(&text).unwrap(), value);
        let bytes = HllSketch::new(21, HllType::Hll6).unwrap().serialize();
        let sketch = STANDARD.encode(bytes);
        for sketch in [sketch.as_str(), "?", "AAAA", ""] {
            let exact = serde_json::to_string(&Unique::new(2)).unwrap();
            let text = format!(r#"{{"exact":{exact},"last":null,"sketch":"{sketch}"}}"#);
            assert!(serde_json::from_str::<Distinct>(&text).is_err(), "{sketch}");
        }
    }

    proptest! {
        #[test]
        fn how_they_are_spread_does_not_matter(
            all in proptest::collection::vec((0u32..400, 0usize..4), 0..600),
        ) {
            let part = |of: usize| seen(all.iter().filter(|(_, who)| *who == of).map(|(m, _)| *m));
            let whole = seen(all.iter().map(|(member, _)| *member));
            for order in [[0, 1, 2, 3], [2, 0, 3, 1]] {
                let mut merged = Distinct::new(20);
                for of in order {
                    let text = serde_json::to_string(&part(of)).unwrap();
                    merged.merge(&serde_json::from_str(&text).unwrap());
                    merged.merge(&part(of));
                }
                prop_assert_eq!(&merged, &whole);
            }
        }

        #[test]
        fn no_bytes_panic(at in 0usize..1100, byte: u8, many in 0u32..2000, cut in 0usize..1200) {
            let mut value = seen(0..many);
            value.sketched(|_| ());
            let mut bytes = value.sketch.unwrap().serialize();
            let place = at % bytes.len();
            bytes[place] = byte;
            bytes.truncate(bytes.len() - cut.min(bytes.len()) * usize::from(cut > 600));
            let exact = serde_json::to_string(&Unique::new(2)).unwrap();
            let text = format!(r#"{{"exact":{exact},"last":1,"sketch":"{}"}}"#, STANDARD.encode(bytes));
            if let Ok(mut value) = serde_json::from_str::<Distinct>(&text) {
                value.merge(&seen(0..50));
                value.observe(1, "x");
                let _ = (value.estimate(), serde_json::to_string(&value).unwrap());
            }
        }
    }
}
