//! Whatever order events come in, and wherever the process dies: every row once.

use super::*;

/// What happens to a sink.
#[derive(Debug, Clone)]
enum Event {
    Feed {
        lane: Lane,
        seconds: i64,
    },
    Age,
    Revoked,
    Lost,
    /// The process dies: now, with a step not committed, with a step committed and not followed up.
    Crash,
    CrashBefore,
    CrashBetween,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..LANES, 0..600i64).prop_map(|(lane, seconds)| Event::Feed { lane, seconds }),
        1 => Just(Event::Age),
        1 => Just(Event::Revoked),
        1 => Just(Event::Lost),
        1 => Just(Event::Crash),
        1 => Just(Event::CrashBefore),
        1 => Just(Event::CrashBetween),
    ]
}

/// A folder where syncing costs nothing, if there is one: the test below does it thousands of times.
fn quick_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever happens, every row is in one published file, once.
    #[test]
    fn exactly_once(events in proptest::collection::vec(event(), 1..60)) {
        let (dir, mut world) = (quick_dir(), World::default());
        let config = config(dir.path(), "tsv", Some(MINUTE_US));
        let mut sink = open(&config, &world);
        // The log: a row each, its time; and how far the session has read.
        let mut log: Vec<Vec<i64>> = vec![Vec::new(); LANES as usize];
        let mut read = vec![0usize; LANES as usize];
        let mut now_ms = 0;
        for event in events {
            let mut is_new = true;
            match event {
                Event::Feed { lane, seconds } => {
                    log[lane as usize].push(FIRST_US + seconds * SECOND_US);
                    is_new = false;
                }
                Event::Age => {
                    now_ms += 1 << 30;
                    drive(&mut sink, &mut world, Wake::Idle, now_ms);
                    is_new = false;
                }
                Event::Revoked => {
                    drive(&mut sink, &mut world, Wake::Revoked((0..LANES).collect()), now_ms);
                }
                Event::Lost => {
                    drive(&mut sink, &mut world, Wake::Lost((0..LANES).collect()), now_ms);
                }
                Event::Crash => sink = open(&config, &world),
                Event::CrashBefore => {
                    drop(sink.on(Wake::Stop, now_ms).unwrap());
                    sink = open(&config, &world);
                }
                Event::CrashBetween => {
                    if let Some(step) = sink.on(Wake::Stop, now_ms).unwrap() {
                        world.commit(step);
                    }
                    sink = open(&config, &world);
                }
            }
            if is_new {
                rewind(&world, &mut read);
            }
            feed(&mut sink, &mut world, &log, &mut read, now_ms);
        }
        while drive(&mut sink, &mut world, Wake::Drained, now_ms) {}
        prop_assert!(world.states().iter().all(|(_, state)| *state == State::Published));

        let mut want: Vec<i64> = log.concat().iter().map(|time| time - 1).collect();
        let mut got = Vec::new();
        for name in tree(dir.path()) {
            let times = column(&dir.path().join(&name), "ts");
            prop_assert!(!times.is_empty(), "{} is empty", name);
            got.extend(times.iter().map(|ts| ts.replace('.', "").parse::<i64>().unwrap()));
        }
        want.sort();
        got.sort();
        prop_assert_eq!(got, want);
    }
}

fn rewind(world: &World, read: &mut [usize]) {
    for (lane, read) in read.iter_mut().enumerate() {
        let key = (Topic::log(&conn::DEF), lane as Lane);
        *read = world.positions.get(&key).map_or(0, |offset| *offset as usize);
    }
}

fn feed(sink: &mut Sink, world: &mut World, log: &[Vec<i64>], read: &mut [usize], now_ms: i64) {
    let mut fed = Vec::new();
    for (lane, read) in read.iter_mut().enumerate() {
        for (offset, time) in log[lane].iter().enumerate().skip(*read) {
            let rows = conn_rows_at(std::iter::once(*time));
            fed.push(conn_record(lane as Lane, offset as i64, rows));
        }
        *read = log[lane].len();
    }
    drive(sink, world, records(fed), now_ms);
}
