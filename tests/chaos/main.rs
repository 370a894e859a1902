//! Trouble on a real Kafka: whatever dies, hangs, fills up or lies, what is published is what one process without
//! trouble publishes, row for row, and no temporary file is left.
//!
//! Each trouble has a short form, an ordinary test. `./dev chaos --minutes N --seed S` runs the long forms in turn
//! (the test `long`). All that is random comes of one seed, which is printed; `SEED=N` repeats it as far as the
//! machine allows. [docs/delivery.md](../../docs/delivery.md) says what each shows.

mod brokers;
mod disk;
mod field;
#[allow(dead_code, reason = "each test binary needs another part of it")]
#[path = "../harness/mod.rs"]
mod harness;
mod load;
mod processes;
mod proxy;

use field::SETTINGS;
use harness::random::Random;

/// The dice of one test, whose seed it prints.
fn seeded() -> Random {
    Random::new()
}
