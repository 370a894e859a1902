//! The dice of tests whose moments are random: one seed, printed, that repeats them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Numbers that nobody can foresee, but everybody repeat.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// From `SEED`, or else from the clock; prints it.
    pub fn new() -> Random {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
        let given = std::env::var("SEED").map(|seed| seed.parse().expect("SEED is a number"));
        let seed = given.unwrap_or(u64::from(now.subsec_nanos()));
        eprintln!("SEED={seed}");
        Random::from(seed)
    }

    /// From a seed.
    pub fn from(seed: u64) -> Random {
        // Neighbouring seeds are far from each other, and none is 0, of which nothing would come.
        Random((seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1)
    }

    /// A number below another one. Xorshift.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    /// A time between two.
    pub fn between_ms(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.below(most - least + 1))
    }

    /// One of several.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}
