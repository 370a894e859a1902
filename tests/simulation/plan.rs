//! What a seed stands for: the traffic, the size of the cluster, what goes wrong and how often.

use bus::sim::{Dice, Faults};

/// Kinds of traffic there are.
pub const TRAFFICS: usize = 6;

/// The one of them where workers raise no notices.
pub const NO_ALARMS: usize = 3;

/// The one of them whose managers have no policy.
pub const NO_POLICY: usize = 0;
/// The one where each sensor sees one direction, and the one where two see the same.
pub const HALVES: usize = 4;
pub const COPIES: usize = 5;

/// A run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    /// Which workers there are; see `cluster::workers`.
    pub traffic: usize,
    /// Nodes of each role.
    pub aggregators: usize,
    pub managers: usize,
    pub sinks: usize,
    /// Rotation of files, seconds; none is files that are closed at the end.
    pub rotate: Option<i64>,
    pub faults: Faults,
    /// How often a process dies in a call of its role, in a thousand.
    pub kill: u32,
    /// How often, in a thousand turns, some node's lanes are taken away; it is stopped; a second
    /// process of its name begins while it hangs.
    pub lapse: u32,
    pub stop: u32,
    pub hang: u32,
    /// How often a turn of a producer is put off, so that consumers see more of the time between.
    pub slow: u32,
    /// How often, in a thousand turns, somebody writes what nobody can read.
    pub poison: u32,
    /// How often, in a thousand turns, somebody pushes the policy in other words, or one that is bad.
    pub push: u32,
    /// Members of statistics that a lane of an aggregator holds, where that is little.
    pub held_max: Option<usize>,
    /// How long aggregators wait for silent live sources and for further files, milliseconds, where they do
    /// not wait for all: what notices are merged is then a question of time.
    pub patience_ms: Option<i64>,
    /// How often, in a thousand turns, a node's wall clock jumps.
    pub jump: u32,
    /// Processes that start again do so with other settings.
    pub changes: bool,
    /// Aggregators that start again sum up in other intervals.
    pub other_intervals: bool,
    /// Processes die while they drain, too.
    pub is_harsh: bool,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Plan {
        let mut dice = Dice::new(seed ^ 0x5157_0000_0000);
        // Many runs have one kind of trouble alone, which reaches further into each.
        let storm = if dice.in_1000(100) { 3 } else { 1 };
        let mut rate = |most: usize| if dice.in_1000(500) { 0 } else { dice.below(most) as u32 };
        let faults = Faults {
            open: rate(300),
            next: rate(20),
            restore: rate(100),
            commit: rate(100),
            answer: rate(100),
            late: rate(600),
            late_ms: 20_000,
            few: rate(900),
            mixed: rate(1000),
            // Of dice of its own, so that seeds stand for what they stood for.
            forget: Dice::new(!seed).below(400).saturating_sub(200) as u32,
        };
        let (kill, lapse, stop, hang) =
            (rate(30 * storm), rate(10 * storm), rate(10 * storm), rate(10 * storm));
        let (poison, jump, push) = (rate(20), rate(20), rate(10));
        let traffic = dice.below(TRAFFICS);
        // Notices that go early are not merged with those after; statistics merge whenever.
        let held_max = (traffic == NO_ALARMS).then(|| dice.below(20));
        Plan {
            seed,
            traffic,
            aggregators: 1 + dice.below(3),
            managers: 1 + dice.below(2),
            sinks: 1 + dice.below(3),
            rotate: [None, Some(10), Some(60), Some(3600)][dice.below(4)],
            faults,
            kill,
            lapse,
            stop,
            hang,
            slow: 200 + dice.below(700) as u32,
            poison,
            push,
            held_max,
            // What was not waited for is not joined.
            patience_ms: dice
                .in_1000(250)
                .then(|| dice.below(20_000) as i64)
                .filter(|_| traffic < HALVES),
            jump,
            changes: dice.in_1000(500),
            other_intervals: Dice::new(seed ^ 0x2718_0000_0000).in_1000(150),
            // In a storm nobody would ever come to an end.
            is_harsh: storm == 1 && dice.in_1000(500),
        }
    }

    /// The run of this traffic without trouble.
    pub fn plain(traffic: usize) -> Plan {
        Plan {
            seed: 0,
            traffic,
            aggregators: 1,
            managers: 1,
            sinks: 1,
            rotate: None,
            faults: Faults::NONE,
            kill: 0,
            lapse: 0,
            stop: 0,
            hang: 0,
            slow: 0,
            poison: 0,
            push: 0,
            held_max: None,
            patience_ms: None,
            jump: 0,
            changes: false,
            other_intervals: false,
            is_harsh: false,
        }
    }
}
