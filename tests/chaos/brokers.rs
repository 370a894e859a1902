//! Brokers that die and come back.

use crate::field::Field;
use crate::harness::cluster::Cluster;
use crate::harness::kafka::Kafka;
use crate::harness::random::Random;
use crate::load::Load;
use crate::{SETTINGS, seeded};

/// The one broker is killed as by a power cut and comes back after a while.
pub fn outages(load: &'static Load, random: &Random, rounds: usize) {
    let mut broker = Kafka::start();
    let cluster = Cluster::on(broker.brokers(), SETTINGS);
    let (mut field, mut under_load) = (Field::start_in_turn(cluster, load, random), 0);
    for _ in 0..rounds {
        let pause = field.random.between_ms(0, 2000);
        field.wait(pause);
        under_load += usize::from(field.is_under_load());
        broker.kill();
        std::thread::sleep(field.random.between_ms(0, 4000));
        broker.launch().unwrap_or_else(|error| panic!("the broker did not come back: {error}"));
    }
    eprintln!("{under_load} of {rounds} times the broker was killed under load");
    assert!(under_load > 0);
    field.finish();
}

/// Of three brokers, where every record has three copies and two count, one after another is killed: each leads some
/// partitions, coordinates some groups and transactions, or is the controller.
pub fn leaders(load: &'static Load, random: &Random, rounds: usize) {
    let mut brokers = Kafka::start_three();
    let all = brokers.each_ref().map(Kafka::brokers).join(",");
    let mut field = Field::start_in_turn(Cluster::on(all, SETTINGS), load, random);
    let described = field.cluster.run(&["topics", "describe"]).ok().out;
    let copies = |line: &str| line.split_whitespace().nth(2).map(str::to_owned);
    let three = described.lines().skip(1).all(|line| copies(line).as_deref() == Some("3"));
    assert!(three, "{described}");
    let (first, mut under_load) = (field.random.below(3) as usize, 0);
    for round in 0..rounds {
        let pause = field.random.between_ms(0, 3000);
        field.wait(pause);
        under_load += usize::from(field.is_under_load());
        let broker = &mut brokers[(first + round) % 3];
        broker.kill();
        let pause = field.random.between_ms(2000, 6000);
        std::thread::sleep(pause);
        broker.launch().unwrap_or_else(|error| panic!("a broker did not come back: {error}"));
    }
    eprintln!("{under_load} of {rounds} times a broker was killed under load");
    assert!(under_load > 0);
    field.finish();
}

#[test]
fn a_broker_that_is_killed_costs_nothing() {
    outages(Load::short(), &seeded(), 2);
}

#[test]
fn leaders_that_are_killed_cost_nothing() {
    leaders(Load::short(), &seeded(), 2);
}
