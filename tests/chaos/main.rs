//! Trouble on a real Kafka: whatever dies, hangs, fills up or lies, what is published is what one process without
//! trouble publishes, row for row, and no temporary file is left.
//!
//! Each trouble has a short form, an ordinary test. `./dev chaos --minutes N --seed S` runs the long forms in turn
//! (the test `long`). All that is random comes of one seed, which is printed; `SEED=N` repeats it as far as the
//! machine allows. [docs/delivery.md](../../docs/delivery.md) says what each shows.

mod brokers;
mod clock;
mod disk;
mod field;
#[allow(dead_code, reason = "each test binary needs another part of it")]
#[path = "../harness/mod.rs"]
mod harness;
mod live;
mod load;
mod poison;
mod processes;
mod proxy;
mod slow;
mod takeover;
mod taps;

use std::time::{Duration, Instant};

use field::SETTINGS;
use harness::random::Random;
use load::Load;

/// A long run has so many kills, also where that takes longer than it was given.
const KILLS_LEAST: usize = 200;
/// Kills of one round.
const KILLS_OF_ROUND: usize = 40;

/// The dice of one test, whose seed it prints.
fn seeded() -> Random {
    Random::new()
}

/// Whether a machine that runs for hours should stop here.
fn is_over(until: Instant, kills: usize) -> bool {
    Instant::now() >= until && kills >= KILLS_LEAST
}

/// A trouble by its name, in its long form.
type Trouble = (&'static str, fn(&Random));

/// All but kills.
const TROUBLES: [Trouble; 18] = [
    ("zombies", |dice| processes::zombies(Load::long(), dice, 4)),
    ("a storm of rebalances", |dice| processes::storm(Load::long(), dice, 45)),
    ("two sinks with one name", |dice| processes::twins(Load::long(), dice)),
    ("a broker that dies", |dice| brokers::outages(Load::long(), dice, 5)),
    ("leaders that die", |dice| brokers::leaders(Load::long(), dice, 5)),
    ("full disks", |dice| disk::full(Load::long(), dice, 3)),
    ("a proxy that cuts", |dice| proxy::cut_off(Load::long(), dice)),
    ("clocks that jump", |dice| clock::jumps(Load::long(), dice, 60)),
    ("slow sinks", |dice| slow::sinks(Load::long(), dice)),
    ("an open transaction", |dice| takeover::any(Load::long(), dice)),
    ("a broker away from live capture", |_| live::away(Duration::from_secs(120))),
    ("a spool that is full", |_| live::full()),
    ("two live captures with one name", |_| live::twins()),
    ("bad records and newer ones", |_| poison::all(false)),
    ("the same where taps overlap", |_| poison::all(true)),
    ("three taps that overlap", taps::overlap),
    ("three taps with a third each", taps::thirds),
    ("two taps with one direction each", taps::directions),
];

/// All troubles in turn, for `MINUTES` and until there were enough kills. Every second round is of kills; between them each
/// other trouble comes once before any comes again.
#[test]
#[ignore = "takes as long as it is told: ./dev chaos --minutes N --seed S"]
fn long() {
    let minutes = std::env::var("MINUTES").map_or(10, |text| text.parse().expect("a number"));
    let until = Instant::now() + Duration::from_secs(60 * minutes);
    let (mut dice, mut kills, mut rounds) = (Random::new(), 0, 0);
    let mut left: Vec<Trouble> = Vec::new();
    while !is_over(until, kills) {
        let (seed, began) = (dice.below(1 << 32), Instant::now());
        let mine = Random::from(seed);
        rounds += 1;
        let name = if rounds % 2 == 1 {
            eprintln!("round {rounds}: kills, SEED={seed}");
            kills += processes::kills(Load::long(), &mine, KILLS_OF_ROUND);
            "kills"
        } else {
            if left.is_empty() {
                left.extend(TROUBLES);
            }
            let at = dice.below(left.len() as u64) as usize;
            let (name, trouble) = left.swap_remove(at);
            eprintln!("round {rounds}: {name}, SEED={seed}");
            trouble(&mine);
            name
        };
        let took = began.elapsed();
        eprintln!("round {rounds} ({name}) is right after {took:?}; {kills} kills so far");
    }
    eprintln!("{rounds} rounds, {kills} kills: every row once, nothing left over");
}
