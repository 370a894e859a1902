//! Processes that die, hang, come and go.

use std::time::Duration;

use crate::field::{CONSUMERS, Field, PATIENCE_OF_GROUPS, Stage};
use crate::harness::cluster::Cluster;
use crate::harness::kafka;
use crate::harness::random::Random;
use crate::load::Load;
use crate::{SETTINGS, seeded};

/// Kills of a short run.
const KILLS: usize = 12;
/// Members that a storm adds to each group at most.
const GUESTS: usize = 2;

fn shared() -> Cluster {
    Cluster::on(kafka::shared().brokers(), SETTINGS)
}

/// kill -9 of whoever chance names, at moments that chance names, until there were so many: of consumers also when all
/// is read, as they have work then. Says how many there were.
pub fn kills(load: &'static Load, random: &Random, count: usize) -> usize {
    let mut field = Field::start(shared(), load, random);
    while field.kills < count {
        let most = if field.is_under_load() { 1800 } else { 600 };
        std::thread::sleep(field.random.between_ms(100, most));
        let victim = field.any(|_| true).expect("consumers are always there");
        field.kill(victim);
    }
    let kills = field.kills;
    field.finish();
    kills
}

/// A process of each stage is halted for longer than its group waits for it; others take its lanes, and then it
/// goes on where it was.
pub fn zombies(load: &'static Load, random: &Random, rounds: usize) {
    let mut field = Field::start(shared(), load, random);
    for _ in 0..rounds {
        let pause = field.random.between_ms(500, 2500);
        field.wait(pause);
        let mut halted = Vec::new();
        for stage in CONSUMERS.into_iter().chain([Stage::Capture]) {
            let Some(at) = field.any(|one| one == stage) else { continue };
            let running = field.members[at].running.as_ref().expect("it runs");
            running.signal("STOP");
            halted.push(at);
        }
        let most = field.random.between_ms(1000, 2500);
        std::thread::sleep(PATIENCE_OF_GROUPS + most);
        for at in halted {
            let running = field.members[at].running.as_ref().expect("it is halted");
            running.signal("CONT");
        }
    }
    field.finish();
}

/// Sinks, aggregators and managers that join and leave every second, by SIGTERM or by kill -9.
pub fn storm(load: &'static Load, random: &Random, seconds: usize) {
    let mut field = Field::start(shared(), load, random);
    let residents = field.members.len();
    for _ in 0..seconds {
        field.wait(Duration::from_secs(1));
        if !field.is_under_load() {
            break;
        }
        let stage = *field.random.one_of(&CONSUMERS);
        let guests: Vec<usize> = (residents..field.members.len())
            .filter(|at| field.members[*at].stage == stage)
            .collect();
        let away = guests.iter().copied().find(|at| field.members[*at].running.is_none());
        let here: Vec<usize> =
            guests.iter().copied().filter(|at| field.members[*at].running.is_some()).collect();
        match (away, here.first()) {
            (_, Some(leaves)) if field.random.below(2) == 0 => match field.random.below(2) {
                0 => field.send_away(*leaves),
                _ => field.members[*leaves].running.take().expect("it is here").kill(),
            },
            (Some(comes), _) => field.begin(comes),
            (None, _) if guests.len() < GUESTS => drop(field.join(stage)),
            (None, leaves) => leaves.into_iter().for_each(|leaves| field.send_away(*leaves)),
        }
    }
    field.finish();
}

#[test]
fn kill_9_at_any_moment_loses_and_doubles_nothing() {
    assert_eq!(kills(Load::short(), &seeded(), KILLS), KILLS);
}

#[test]
fn zombies_change_nothing() {
    zombies(Load::short(), &seeded(), 1);
}

#[test]
fn a_storm_of_rebalances_loses_and_doubles_nothing() {
    storm(Load::short(), &seeded(), 10);
}
