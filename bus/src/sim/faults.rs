//! What goes wrong, and the dice that say when.

/// Dice: the same seed throws the same numbers (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice of a seed.
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Dice for something that may be another number of throws each time, such as by a folder's name:
    /// the throws after it stay the same.
    pub fn apart(&mut self, what: &str) -> Dice {
        let mixed = |seed, byte: u8| Dice::new(seed ^ u64::from(byte)).roll();
        Dice::new(what.bytes().fold(self.roll(), mixed))
    }

    /// A number below `sides`; 0 for dice without sides.
    pub fn below(&mut self, sides: usize) -> usize {
        // What modulo favours is far below what a test can see.
        (self.roll() % sides.max(1) as u64) as usize
    }

    /// True so many times in a thousand.
    pub fn in_1000(&mut self, times: u32) -> bool {
        times > 0 && self.below(1000) < times as usize
    }
}

/// How often things go wrong: so many times in a thousand, unless the name says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// A session does not open.
    pub open: u32,
    /// The session is lost while it waits.
    pub next: u32,
    /// The session is lost while a lane or documents are read back.
    pub restore: u32,
    /// A commit fails, and nothing of it is there.
    pub commit: u32,
    /// A commit succeeds, and its answer is lost.
    pub answer: u32,
    /// A transaction shows up late in a partition, each for itself.
    pub late: u32,
    /// How late at most, milliseconds.
    pub late_ms: u32,
    /// A reader finds no more of a partition than the next transaction, and a wake brings few records,
    /// though more are there.
    pub few: u32,
    /// State and documents come back in another order, as after the log was compacted.
    pub mixed: u32,
    /// The group has no positions of a lane any more, where its role keeps them itself (`stand`).
    pub forget: u32,
}

impl Faults {
    /// Nothing goes wrong, and everything is there at once.
    pub const NONE: Faults = Faults {
        open: 0,
        next: 0,
        restore: 0,
        commit: 0,
        answer: 0,
        late: 0,
        late_ms: 0,
        few: 0,
        mixed: 0,
        forget: 0,
    };
}
