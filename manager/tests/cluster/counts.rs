//! What a lane refuses, and what it forgets before its time, stands in the books.

use manager::decide::Document;

use super::*;

#[test]
fn what_is_forgotten_or_refused_is_told() {
    let text = "[[rule]]\nname = 'two'\nwhen = { workers = 2 }\naction = 'alarm'";
    let config = manager::Config {
        policy: Some(Document::parse(text.as_bytes()).unwrap()),
        suppressions_max: 1,
        significance_max: 1,
        assets_max: 1,
        ..manager::Config::new("m1", LANES)
    };
    let mut cluster = Cluster::new(Some(1));
    cluster.manager = Run::new(Manager::new(config), manager::member("m1"), &cluster.fake);
    cluster.push("x = ");
    let mut worker = Worker::new("w0", Timeline::Live);
    worker.alarms = (0..9).map(|n| alarm(i64::from(n), &n.to_string())).collect();
    worker.sightings = (0..9).map(|n| sighting(i64::from(n), n, &[])).collect();
    cluster.run(&[worker]);
    // Of each lane the last stays.
    let [all, lanes] = [9, u64::from(LANES)];
    let counters = cluster.manager.role.counters();
    for (name, counted, least) in [
        ("suppressions_lost", counters.suppressions_lost, all - lanes),
        ("significance_lost", counters.significance_lost, all - lanes),
        ("assets_forgotten", counters.assets_forgotten, all - lanes),
        ("policy_refused", counters.policy_refused, 1),
    ] {
        assert!(counted >= least, "{name} {counted}");
        assert_eq!(cluster.fake.counts.get(name), counted as i64, "{name}");
    }
}
