//! Known assets of a cluster: each once a day, and the first sighting wherever it was made.

use super::*;

const DAY: i64 = 24 * 3600;

fn sees(name: &str, timeline: Timeline, sightings: &[(i64, u8, &[&'static str])]) -> Worker {
    let mut worker = Worker::new(name, timeline);
    worker.sightings =
        sightings.iter().map(|(at, host, services)| sighting(*at, *host, services)).collect();
    worker
}

#[test]
fn the_first_sighting_is_logged_whoever_made_it_and_whenever_it_came() {
    for timeline in [Timeline::File, Timeline::Live] {
        let mut slow = sees("a", timeline, &[(3, 1, &[]), (5, 2, &[]), (6, 3, &["HTTP", "SSL"])]);
        slow.every = 9 * SECOND;
        let quick =
            sees("b", timeline, &[(2, 2, &[]), (4, 1, &[]), (5, 3, &["HTTP"]), (9, 3, &["SSL"])]);
        let none = sees("c", timeline, &[]);
        let mut cluster = Cluster::new(Some(3));
        cluster.run(&[slow, quick, none]);
        let want = [
            "host 10.0.2.1 a 3",
            "host 10.0.2.2 b 2",
            "service 10.0.2.3 HTTP b 5",
            "service 10.0.2.3 SSL a 6",
        ];
        assert_eq!(cluster.assets(), want, "{timeline:?}");
        let counters = cluster.manager.role.counters();
        assert_eq!((counters.asset_in, counters.asset_out), (7, 4));
        let state = cluster.fake.state("manager");
        let assets = state.iter().filter(|item| item.contains("asset")).count();
        // Files are over, and another round of them begins anew.
        assert_eq!(assets, if timeline == Timeline::Live { 3 } else { 0 });
    }
}

#[test]
fn an_asset_is_known_for_a_day_and_across_restarts() {
    let mut cluster = Cluster::new(None);
    cluster.run(&[sees("a", Timeline::Live, &[(0, 1, &[])])]);
    cluster.manager.restart(&cluster.fake);
    cluster.aggregate.restart(&cluster.fake);
    let later = [(1000, 1, &[][..]), (DAY - 1, 1, &[]), (DAY, 1, &[]), (DAY + 1, 1, &[])];
    let mut worker = sees("a", Timeline::Live, &later);
    worker.every = 3600 * SECOND;
    cluster.run(&[worker]);
    let want = ["host 10.0.2.1 a 0".to_owned(), format!("host 10.0.2.1 a {DAY}")];
    assert_eq!(cluster.assets(), want);
}

#[test]
fn what_is_over_leaves_a_tombstone() {
    let mut cluster = Cluster::new(None);
    let mut worker = sees("a", Timeline::Live, &[(0, 1, &[]), (2 * DAY, 2, &[])]);
    worker.every = 3600 * SECOND;
    cluster.run(&[worker]);
    let state = cluster.fake.state("manager");
    let assets: Vec<_> = state.iter().filter(|item| item.contains("asset")).collect();
    assert!(assets.len() == 1 && assets[0].contains("10.0.2.2"), "{assets:?}");
}

#[test]
fn files_read_again_are_news_again() {
    let mut cluster = Cluster::new(Some(1));
    for _ in 0..2 {
        cluster.run(&[sees("a", Timeline::File, &[(1, 1, &[]), (2, 1, &[])])]);
    }
    assert_eq!(cluster.assets(), ["host 10.0.2.1 a 1"; 2]);
}

#[test]
fn a_row_that_is_no_asset_goes_to_the_dead_letters() {
    let mut cluster = Cluster::new(None);
    let row = known::Row { log: "known_ghosts", asset: "x", ..known::Row::unset() };
    let mut batch = known::Batch::default();
    batch.push(model::stream::Mark::at(BASE, 0), row);
    let rows = batch.finish("x").0;
    cluster.put(vec![Outgoing::rows(topic::KNOWN, 1, &known::DEF, rows)]);
    cluster.catch_up();
    assert_eq!((cluster.assets().len(), cluster.fake.count(&topic::DEADLETTER)), (0, 1));
}
