//! Wall clocks that jump, each process's for itself, under running processes.
//!
//! Debug builds of weir look up by how much their clock is wrong (`bus::clock`). libfaketime would not do: it takes
//! librdkafka's own waits with it, so that no broker answers in time.

use std::fs;
use std::path::Path;

use crate::field::Field;
use crate::harness::cluster::Cluster;
use crate::harness::random::Random;
use crate::harness::{kafka, text};
use crate::load::Load;
use crate::{SETTINGS, seeded};

/// A day, in each direction.
const JUMP_MS: u64 = 86_400_000;

fn set(file: &Path, wrong_by_ms: i64) {
    // In one go: a clock that is half written would be none.
    let new = file.with_extension("new");
    fs::write(&new, wrong_by_ms.to_string()).expect("the file of a clock");
    fs::rename(new, file).expect("the file of a clock");
}

/// Clocks jump by up to a day, forwards and back.
pub fn jumps(load: &'static Load, random: &Random, most: usize) {
    let cluster = Cluster::on(kafka::shared().brokers(), SETTINGS);
    let clocks = cluster.path("clocks");
    fs::create_dir_all(&clocks).expect("a folder for clocks");
    let mut field = Field::start_inside(cluster, load, random, |_, name| {
        let file = text(&clocks.join(name));
        ["env".to_owned(), format!("TEST_CLOCK_WRONG_BY_MS={file}")].into()
    });
    let mut jumps = 0;
    for _ in 0..most {
        let pause = field.random.between_ms(200, 1000);
        field.wait(pause);
        if !field.is_under_load() {
            break;
        }
        let Some(at) = field.any(|_| true) else { break };
        let wrong_by_ms = field.random.below(2 * JUMP_MS) as i64 - JUMP_MS as i64;
        set(&clocks.join(&field.members[at].node.name), wrong_by_ms);
        jumps += 1;
    }
    eprintln!("{jumps} clocks jumped under load");
    assert!(jumps > 0);
    field.finish();
}

#[test]
fn clocks_that_jump_change_nothing() {
    jumps(Load::short(), &seeded(), 20);
}
