//! Whatever order events come in, and wherever a member dies: the same notices and assets.

use super::traffic::busy;
use super::*;

/// What may happen next.
#[derive(Debug, Clone, Copy)]
enum Event {
    Send(usize),
    Aggregate(usize, usize),
    Manage(usize, usize),
    Idle,
    KillAggregate(bool),
    KillManager(bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0usize..3).prop_map(Event::Send),
        6 => (0usize..6, 1usize..9).prop_map(|(pick, most)| Event::Aggregate(pick, most)),
        4 => (0usize..6, 1usize..9).prop_map(|(pick, most)| Event::Manage(pick, most)),
        3 => Just(Event::Idle),
        1 => any::<bool>().prop_map(Event::KillAggregate),
        1 => any::<bool>().prop_map(Event::KillManager),
    ]
}

/// Runs workers through those events, and then to their end.
fn after(workers: &[Worker], held_max: usize, events: &[Event]) -> Cluster {
    through(Cluster::holding(Some(3), held_max), workers, events)
}

fn through(mut cluster: Cluster, workers: &[Worker], events: &[Event]) -> Cluster {
    let timeline = workers[0].timeline;
    let mut queues: Vec<_> =
        workers.iter().map(|worker| worker.commits(LANES).into_iter()).collect();
    // That there are three is known from the beginning; live time would run ahead of it.
    for queue in &mut queues {
        cluster.put(queue.next().unwrap());
    }
    if timeline == Timeline::Live {
        cluster.catch_up();
    }
    for event in events {
        cluster.now_ms += 70;
        let Cluster { fake, aggregate, manager, now_ms } = &mut cluster;
        match *event {
            Event::Send(worker) => {
                queues[worker].next().into_iter().flatten().for_each(|out| fake.put(out));
            }
            Event::Aggregate(pick, most) => drop(aggregate.read(pick, most, fake, *now_ms)),
            Event::Manage(pick, most) => drop(manager.read(pick, most, fake, *now_ms)),
            Event::Idle => {
                aggregate.wake(Wake::Idle, fake, *now_ms);
                manager.wake(Wake::Idle, fake, *now_ms);
            }
            Event::KillAggregate(true) => aggregate.restart(fake),
            Event::KillAggregate(false) => aggregate.dies = true,
            Event::KillManager(true) => manager.restart(fake),
            Event::KillManager(false) => manager.dies = true,
        }
    }
    cluster.aggregate.dies = false;
    cluster.manager.dies = false;
    for commit in queues.into_iter().flatten() {
        cluster.put(commit);
    }
    cluster.catch_up();
    cluster
}

/// Rows of three logs, as text.
type Three = (Vec<String>, Vec<String>, Vec<String>);

/// The day when nothing goes wrong: notices, flows, assets, what went between the roles, and summaries.
struct Calm(Vec<String>, Vec<String>, Vec<String>, Vec<String>, Vec<String>);

fn calm(timeline: Timeline) -> &'static Calm {
    static CALM: [OnceLock<Calm>; 2] = [OnceLock::new(), OnceLock::new()];
    CALM[usize::from(timeline == Timeline::Live)].get_or_init(|| {
        let mut cluster = after(&busy(timeline), HELD, &[]);
        cluster.manager.wake(Wake::Drained, &mut cluster.fake, cluster.now_ms);
        let (notices, flows) = (cluster.notices(), cluster.flows());
        assert!(!cluster.summaries().is_empty());
        Calm(notices, flows, cluster.assets(), cluster.merged(), cluster.summaries())
    })
}

/// A policy with something of each kind for that traffic.
const POLICY: &str = "
    [[allow]]
    note = 'Test::Alarm'
    until = 2023-11-14T22:13:36Z
    [[rule]]
    name = 'two scanners'
    note = 'Scan::*'
    when = { hosts = 2, within = '10m' }
    action = 'alarm'
    [[rule]]
    name = 'two workers'
    when = { workers = 2 }
    action = 'alarm'
    suppress_for = '7s'";

/// What is decided under it, and how much is held back in all.
fn under_policy(timeline: Timeline, events: &[Event]) -> (Vec<String>, Vec<String>, Vec<String>) {
    let cluster = Cluster::with_policy(Some(3), POLICY);
    let mut cluster = through(cluster, &busy(timeline), events);
    // What the lanes told each other last.
    cluster.catch_up();
    cluster.manager.wake(Wake::Drained, &mut cluster.fake, cluster.now_ms);
    let mut decided = cluster.decided();
    decided.extend(cluster.fake.rows(&Topic::log(&notice::DEF), |rows, row| {
        let note = read::text(rows, "note").unwrap().value(row);
        format!("{note} at {}", read::time(rows, "_write_ts").unwrap().value(row))
    }));
    (decided, cluster.alarmed(), cluster.tallied())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_events_and_no_death_changes_a_row(
        events in proptest::collection::vec(event(), 0..300),
        is_live in any::<bool>(),
    ) {
        let timeline = if is_live { Timeline::Live } else { Timeline::File };
        let Calm(notices, flows, assets, merged, summaries) = calm(timeline);
        prop_assert_eq!(assets.len(), 4, "two hosts, two services");
        let what = "two scans, an injection from both sides, four alarms, three without identifier";
        prop_assert_eq!(notices.len(), 11, "{}", what);
        let mut cluster = after(&busy(timeline), HELD, &events);
        cluster.manager.wake(Wake::Drained, &mut cluster.fake, cluster.now_ms);
        prop_assert_eq!(&cluster.summaries(), summaries);
        prop_assert_eq!(&cluster.notices(), notices);
        prop_assert_eq!(&cluster.flows(), flows);
        prop_assert_eq!(&cluster.assets(), assets);
        prop_assert_eq!(&cluster.merged(), merged);
    }

    #[test]
    fn nor_does_it_under_a_policy(
        events in proptest::collection::vec(event(), 0..300),
        is_live in any::<bool>(),
    ) {
        static CALM: [OnceLock<Three>; 2] =
            [OnceLock::new(), OnceLock::new()];
        let timeline = if is_live { Timeline::Live } else { Timeline::File };
        let want = CALM[usize::from(is_live)].get_or_init(|| under_policy(timeline, &[]));
        let is_tally = |row: &String| row.starts_with("Notice::Tally");
        prop_assert_eq!(want.1.iter().filter(|row| is_tally(row)).count(), 1);
        prop_assert!(want.0.len() > want.1.len() && !want.2.is_empty(), "{:?}", want);
        prop_assert_eq!(&under_policy(timeline, &events), want);
    }

    #[test]
    fn nor_does_it_where_lanes_hold_too_little(
        events in proptest::collection::vec(event(), 0..300),
        held_max in 0usize..20,
        is_live in any::<bool>(),
    ) {
        let timeline = if is_live { Timeline::Live } else { Timeline::File };
        let mut workers = busy(timeline);
        // Notices that go early are not merged with those after; statistics merge whenever.
        workers.iter_mut().for_each(|worker| worker.alarms.clear());
        let is_scan = |notice: &&String| !notice.starts_with("Test");
        let Calm(notices, flows, _, merged, summaries) = calm(timeline);
        let scans: Vec<String> = notices.iter().filter(is_scan).cloned().collect();
        let mut cluster = after(&workers, held_max, &events);
        cluster.manager.wake(Wake::Drained, &mut cluster.fake, cluster.now_ms);
        prop_assert_eq!(&cluster.summaries(), summaries);
        prop_assert_eq!(cluster.notices(), scans);
        prop_assert_eq!(&cluster.flows(), flows);
        // Another sighting may be the first, but none is lost and none is there twice.
        let named = |row: &String| row.rsplitn(3, ' ').nth(2).unwrap_or_default().to_owned();
        let mut assets: Vec<String> = cluster.assets().iter().map(named).collect();
        assets.sort_unstable();
        let want = ["host 10.0.2.1", "host 10.0.2.2", "service 10.0.2.3 HTTP", "service 10.0.2.3 SSL"];
        let both = ["host 10.0.2.1", "host 10.0.2.2", "service 10.0.2.3 HTTP+SSL"];
        prop_assert!(assets == want || assets == both, "{:?}", assets);
        let panes = merged.iter().filter(|row| row.contains('=') && !row.contains(" n=")).cloned();
        prop_assert_eq!(cluster.merged(), panes.collect::<Vec<_>>());
    }
}
