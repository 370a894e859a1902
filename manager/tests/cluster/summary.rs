//! The cluster's summary through the roles: the same however flows are split, and whoever dies.

use model::stream::cluster_summary;

use super::*;

impl Cluster {
    /// Intervals as they were logged, whoever logged them.
    pub fn summaries(&self) -> Vec<String> {
        self.fake.rows(&Topic::log(&cluster_summary::DEF), |rows, row| {
            let columns = rows.schema_ref().fields().iter().zip(rows.columns());
            let columns = columns.filter(|(field, _)| field.name() != "sensor");
            let cells = columns.map(|(_, column)| format!("{:?}", column.slice(row, 1)));
            cells.collect::<Vec<_>>().join(" ").replace('\n', "")
        })
    }
}

/// Flows of an hour and a half, seen by three workers or by one.
#[test]
fn a_summary_is_the_same_however_flows_are_split() {
    let mut seen = scan(66, 200, 22);
    for (n, attempt) in seen.iter_mut().enumerate() {
        attempt.at = BASE + n as i64 * 27 * SECOND;
    }
    let column = |cluster: &Cluster, of: fn(&RecordBatch, usize) -> String| {
        cluster.fake.rows(&Topic::log(&cluster_summary::DEF), of)
    };
    let what = |rows: &RecordBatch, row: usize| {
        let count = |name: &str| read::count(rows, name).unwrap().value(row);
        let ts = (read::time(rows, "ts").unwrap().value(row) - BASE) / SECOND;
        format!("{ts:05} {} {} {}", count("conns"), count("orig_hosts"), count("resp_hosts"))
    };
    let who = |rows: &RecordBatch, row: usize| {
        read::texts(read::list(rows, "workers").unwrap(), row).join(",")
    };
    for timeline in [Timeline::File, Timeline::Live] {
        let mut one = Cluster::new(Some(1));
        let mut alone = Worker::new("w0", timeline);
        alone.attempts = seen.clone();
        one.run(&[alone]);
        let mut three = Cluster::new(Some(3));
        three.run(&workers(timeline, &seen, |n, a| usize::from(a.host) % 3 == n));
        // Live ones that are not complete wait.
        let live = timeline == Timeline::Live;
        assert_eq!(one.fake.state("manager").iter().any(|s| s.contains("summary")), live);
        for cluster in [&mut one, &mut three] {
            cluster.manager.restart(&cluster.fake);
            cluster.manager.wake(Wake::Drained, &mut cluster.fake, cluster.now_ms);
            assert!(!cluster.fake.state("manager").iter().any(|s| s.contains("summary")));
        }
        let rows = column(&one, what);
        assert_eq!(rows, column(&three, what), "{timeline:?}");
        let conns = rows.iter().map(|row| row.split(' ').nth(1).unwrap().parse::<u64>().unwrap());
        assert_eq!((rows.len(), conns.sum::<u64>()), (7, 200), "{rows:?}");
        assert!(column(&three, who).iter().all(|who| who.split(',').count() == 3));
        assert!(column(&one, who).iter().all(|who| who == "w0"));
    }
}
