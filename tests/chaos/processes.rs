//! Processes that die, hang, come and go, and two with one name.

use std::time::Duration;

use crate::field::{CONSUMERS, Field, Stage};
use crate::harness::cluster::Cluster;
use crate::harness::random::Random;
use crate::harness::weir::Running;
use crate::harness::{kafka, text, until};
use crate::load::Load;
use crate::{SETTINGS, seeded};

/// Kills of a short run.
const KILLS: usize = 12;
/// Members that a storm adds to each group at most.
const GUESTS: usize = 2;
/// All stages, in the order in which they end.
const STAGES: [Stage; 4] = [Stage::Capture, Stage::Aggregate, Stage::Manage, Stage::Sink];
/// Stages of two members, and a group of theirs.
const OF_TWO: [(Stage, &str); 2] = [(Stage::Aggregate, "aggregate"), (Stage::Sink, "sink.tsv")];

fn shared() -> Cluster {
    Cluster::on(kafka::shared().brokers(), SETTINGS)
}

/// kill -9 of one of each stage and then of whoever chance names, at moments that chance names, until there were so many:
/// of consumers also when all is read, as they have work then. Says how many there were.
pub fn kills(load: &'static Load, random: &Random, count: usize) -> usize {
    let mut field = Field::start(shared(), load, random);
    while field.kills.count() < count {
        let most = if field.is_under_load() { 1800 } else { 600 };
        std::thread::sleep(field.random.between_ms(100, most));
        // Workers first: they end by themselves.
        let spared = STAGES.into_iter().find(|stage| field.kills.of(*stage) == 0);
        let victim = spared.and_then(|spared| field.any(|stage| stage == spared));
        let victim = victim.or_else(|| field.any(|_| true)).expect("consumers are always there");
        field.kill(victim);
    }
    let kills = std::mem::take(&mut field.kills);
    let of = STAGES.map(|stage| (stage, kills.of(stage)));
    eprintln!("{} kills, {} under load: {of:?}", kills.count(), kills.under_load());
    assert!(of.iter().all(|(_, count)| *count > 0), "somebody was spared: {of:?}");
    field.finish();
    kills.count()
}

/// A process of each stage is halted for longer than its group waits for it; others take its lanes, and then it
/// goes on where it was.
pub fn zombies(load: &'static Load, random: &Random, rounds: usize) {
    let mut field = Field::start(shared(), load, random);
    let mut under_load = 0;
    for _ in 0..rounds {
        let pause = field.random.between_ms(500, 2500);
        field.wait(pause);
        under_load += usize::from(field.is_under_load());
        let mut halted = Vec::new();
        for stage in STAGES {
            let Some(at) = field.any(|one| one == stage) else { continue };
            field.members[at].running.as_ref().expect("it runs").signal("STOP");
            halted.push(at);
        }
        for (stage, group) in OF_TWO {
            let mut others = field.running(|one| one == stage).into_iter();
            let other = others.find(|at| !halted.contains(at)).expect("another one");
            field.holds_all(group, &field.members[other].node.name);
        }
        std::thread::sleep(field.random.between_ms(0, 1500));
        for at in halted {
            let running = field.members[at].running.as_ref().expect("it is halted");
            running.signal("CONT");
        }
    }
    eprintln!("{under_load} of {rounds} times somebody was halted under load");
    assert!(under_load > 0);
    field.finish();
}

/// Sinks, aggregators and managers that join and leave every second, by SIGTERM or by kill -9.
pub fn storm(load: &'static Load, random: &Random, seconds: usize) {
    let mut field = Field::start(shared(), load, random);
    let (residents, mut moves) = (field.members.len(), [0, 0]);
    for _ in 0..seconds {
        field.wait(Duration::from_secs(1));
        if !field.is_under_load() {
            break;
        }
        let stage = *field.random.one_of(&CONSUMERS);
        moves[usize::from(joins(&mut field, residents, stage))] += 1;
    }
    let [left, joined] = moves;
    eprintln!("{joined} joined and {left} left under load");
    assert!(joined > 0);
    // A load that outlives the storm has seen all of it.
    assert!(!field.is_under_load() || joined + left == seconds, "{moves:?}");
    field.finish();
}

/// A guest of a stage joins, or one leaves; says which.
fn joins(field: &mut Field, residents: usize, stage: Stage) -> bool {
    let guests = (residents..field.members.len()).filter(|at| field.members[*at].stage == stage);
    let (here, away): (Vec<usize>, Vec<usize>) =
        guests.partition(|at| field.members[*at].running.is_some());
    let stays = here.len() < GUESTS && field.random.below(2) == 0;
    let Some(leaves) = here.first().copied().filter(|_| !stays) else {
        match away.first() {
            Some(comes) => field.begin(*comes),
            None => drop(field.join(stage)),
        }
        return true;
    };
    match field.random.below(2) {
        0 => field.send_away(leaves),
        _ => field.members[leaves].running.take().expect("it is here").kill(),
    }
    false
}

/// Two sinks have one node name, as on two machines with one file of settings: each is shut out when the other begins, which
/// it says, until one of them is taken away.
pub fn twins(load: &'static Load, random: &Random) {
    let mut field = Field::start(shared(), load, random);
    let first = field.running(|stage| stage == Stage::Sink)[0];
    let mut node = field.members[first].node.clone();
    *node.args.last_mut().expect("a folder") = text(&field.out.join("twin"));
    let twin = field.add(Stage::Sink, node, Vec::new());
    until("one of two sinks with one name says so", || {
        field.is_under_load();
        let said = |at: usize| field.members[at].running.as_ref().map(Running::said);
        let says = |said: String| said.contains("must not share a node name");
        [first, twin].into_iter().filter_map(said).any(says)
    });
    let pause = field.random.between_ms(0, 3000);
    field.wait(pause);
    field.send_away(twin);
    field.members.pop();
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

#[test]
fn two_sinks_with_one_name_say_so_and_double_nothing() {
    twins(Load::short(), &seeded());
}
