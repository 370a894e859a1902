//! Readings that are cut short, and sessions that are lost with a step under way.

use std::collections::{BTreeMap, BTreeSet};

use bus::Bus as _;
use bus::clock::Manual;
use bus::drive::{Driver, Stop, Turn, Until};
use bus::memory::{Memory, Retain};

use model::read;
use model::stream::Mark;

use super::*;
use crate::out::Rows;
use crate::source::{Link, Next, Packet, SourceError, SourceStats};
use crate::worker::FLUSH_PACKETS;

const LANES: u32 = 1;

fn role(input: Input, again: bool) -> Capture {
    let clock = Manual::default();
    clock.advance_ms(1_700_000_000_000);
    Capture::new(Config::new("n"), input, again, Arc::new(clock)).unwrap()
}

fn stdin() -> Capture {
    role(Input::Files(vec![STDIN.into()]), false)
}

fn files(again: bool) -> Capture {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/traces/dns.pcap");
    role(Input::Files(vec![path.into()]), again)
}

/// A session begins and gives back what the step kept.
fn reopened(role: &mut Capture, kept: Option<&Step>) {
    let bus = Memory::new(LANES, Retain::UntilRead);
    let mut session = bus.open(&member("n", LANES)).unwrap();
    role.opened(&mut *session).unwrap();
    let state = kept.into_iter().flat_map(|step| &step.state);
    let state = state.map(|change| (change.key.clone(), change.value.clone().unwrap())).collect();
    role.restored(0, Restored { state, ..Restored::default() }).unwrap();
}

fn step(role: &mut Capture, number: u64, end: bool) -> Step {
    role.step(vec![Flush { number, time: number as i64, end, ..Flush::default() }]).unwrap()
}

#[test]
fn what_cannot_be_read_again_is_sent_again_unless_it_was_committed() {
    let mut role = stdin();
    let first = step(&mut role, 10, false);
    role.committed().unwrap();
    // The same number of packets: a quiet pipe.
    let second = step(&mut role, 10, false);
    reopened(&mut role, Some(&first));
    let again = role.send_again().expect("the second step is owed");
    assert_eq!(again.state[0].value, second.state[0].value);
    // The answer to that one is lost as well, but it was committed.
    reopened(&mut role, Some(&again));
    assert!(role.send_again().is_none());
    // Another process's reading says nothing of this one's.
    let third = step(&mut role, 11, true);
    assert!(role.done());
    let other = step(&mut stdin(), 99, false);
    let elsewhere = String::from_utf8(other.state[0].value.clone().unwrap().to_vec()).unwrap();
    let elsewhere = elsewhere.replace("1700000000000", "1800000000000");
    let mut other = other;
    other.state[0].value = Some(elsewhere.into());
    reopened(&mut role, Some(&other));
    assert!(!role.done(), "the third step is owed");
    assert_eq!(role.send_again().unwrap().state[0].value, third.state[0].value);
    role.committed().unwrap();
    assert!(role.done());
}

#[test]
fn a_file_is_read_once_whatever_becomes_of_the_last_answer() {
    let mut first = files(false);
    reopened(&mut first, None);
    let part = step(&mut first, 5, false);
    let last = step(&mut first, 9, true);
    // Not committed: read again from the part that was.
    reopened(&mut first, Some(&part));
    assert!(!first.done());
    assert_eq!(first.from.packets, 5);
    let _ = step(&mut first, 9, true);
    // Committed, though nobody said so: it was this process that read it.
    reopened(&mut first, Some(&last));
    assert!(first.done() && !first.summary().already_read);

    let mut second = files(false);
    reopened(&mut second, Some(&last));
    assert!(second.done() && second.summary().already_read);

    let mut again = files(true);
    reopened(&mut again, Some(&last));
    assert!(!again.done());
    assert_eq!(again.from, Position::default());
    let part = step(&mut again, 5, false);
    reopened(&mut again, Some(&part));
    assert_eq!((again.done(), again.from.packets), (false, 5));
    let twice = step(&mut again, 9, true);
    reopened(&mut again, Some(&last));
    assert_eq!((again.done(), again.from.packets), (false, 0), "nothing of this reading is kept");
    reopened(&mut again, Some(&twice));
    assert!(again.done() && !again.summary().already_read);
}

/// Runs the role until it is done or fails, at most so many times.
fn run(bus: &Memory, role: &mut Capture, most: usize) -> Result<(), String> {
    let mut driver = Driver::new(&role.member(), &Stop::new(), Until::Forever);
    for _ in 0..most {
        match driver.turn(bus, role, &Manual::default()) {
            Ok(Turn::Ended) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

#[test]
fn of_two_that_read_one_file_the_later_goes_on_and_two_files_are_no_matter() {
    let bus = Memory::new(LANES, Retain::UntilCommitted);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/traces/dns.pcap");
    let mut config = Config::new("n");
    config.flush_packets = 10;
    let clock = Arc::new(Manual::default());
    let start = |path: &str| {
        let input = Input::Files(vec![path.into()]);
        Capture::new(config.clone(), input, false, clock.clone()).unwrap().reads_whole()
    };
    let (mut first, mut second) = (start(path), start(path));
    // It has its claim and some steps; then the other comes, which is fenced off by no name it shares.
    let mut driver = Driver::new(&first.member(), &Stop::new(), Until::Forever);
    for _ in 0..6 {
        assert!(driver.turn(&bus, &mut first, &Manual::default()).is_ok());
    }
    let sent = first.steps;
    assert!(first.claimed && sent > 0 && !first.done());
    assert_eq!(run(&bus, &mut second, 1000), Ok(()));
    assert!(second.done() && !second.summary().already_read);
    drop(driver);
    let said = run(&bus, &mut first, 1000).unwrap_err();
    assert!(said.contains("node name `n`") && said.contains("the earlier, ends"), "{said}");
    let mut ids = BTreeSet::new();
    for record in bus.records(&topic::RAW_CONN) {
        if let Payload::Rows(_, rows) = &record.payload {
            ids.extend(read::text(rows, "uid").unwrap().iter().flatten().map(str::to_owned));
        }
    }
    let all = bus.records(&topic::RAW_CONN);
    let rows = all.iter().map(|record| match &record.payload {
        Payload::Rows(_, rows) => rows.num_rows(),
        _ => 0,
    });
    assert_eq!(rows.sum::<usize>(), ids.len(), "no row is there twice");
    let other = start(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/traces/http.pcap"));
    assert_ne!(other.member().node, first.member().node);
}

/// Packets without end.
struct Endless;

impl PacketSource for Endless {
    fn next(&mut self) -> Result<Next<'_>, SourceError> {
        Ok(Next::Packet(Packet { ts_us: 1, link: Link::Raw, wire_len: 1, data: &[0] }))
    }

    fn stats(&mut self) -> Result<SourceStats, SourceError> {
        Ok(SourceStats::default())
    }
}

/// The flushes of a thread that is told to stop when it has given its first one.
fn stopped(threads: u32, finishes: bool) -> Vec<Flush> {
    let worker = worker::start(Job {
        config: Arc::new(Config::new("n")),
        index: 0,
        threads,
        source: Box::new(Endless),
        from: 0,
        live: false,
        finishes,
        clock: Arc::new(Manual::default()),
        progress: None,
    });
    let worker = worker.unwrap();
    let mut flushes = vec![worker.flushes.recv().unwrap()];
    worker.stop.store(true, std::sync::atomic::Ordering::SeqCst);
    flushes.extend(worker.flushes.iter());
    flushes
}

#[test]
fn a_stop_ends_what_nobody_will_go_on_with() {
    let alone = stopped(1, true).pop().unwrap();
    assert!(alone.end && alone.stopped);
    let shared = stopped(2, true).pop().unwrap();
    assert!(shared.end && shared.stopped);
    assert!(shared.number.is_multiple_of(FLUSH_PACKETS), "threads that share files stop alike");
    let resumable = stopped(2, false).pop().unwrap();
    assert!(!resumable.end, "what was not logged is left to a restart");
}

/// What each barrier gives of conn: time of completion, flow, whether the flow is over.
fn conn_by_barrier(threads: u32) -> BTreeMap<u64, BTreeSet<(i64, String, bool)>> {
    let mut config = Config::new("n");
    (config.interim, config.flush_packets) = (Some(crate::config::SECOND / 50), 64);
    let config = Arc::new(config);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/traces/ssh.pcap");
    let mut all: BTreeMap<u64, BTreeSet<_>> = BTreeMap::new();
    for index in 0..threads {
        let worker = worker::read_whole(Job {
            config: config.clone(),
            index,
            threads,
            source: source::open_all(&[path.into()]).unwrap(),
            from: 0,
            live: false,
            finishes: false,
            clock: Arc::new(Manual::default()),
            progress: None,
        });
        for flush in worker.flushes.iter() {
            let rows = all.entry(flush.number).or_default();
            for Rows { batch, marks, .. } in
                flush.rows.iter().filter(|rows| rows.def.name == "conn")
            {
                let (uid, over) = (read::text(batch, "uid"), read::bool(batch, "final"));
                let (uid, over) = (uid.unwrap(), over.unwrap());
                let row = |(i, mark): (usize, &Mark)| {
                    (mark.write_ts, uid.value(i).to_owned(), over.value(i))
                };
                rows.extend(marks.iter().enumerate().map(row));
            }
        }
    }
    all
}

#[test]
fn how_flows_stand_is_said_at_the_same_barrier_by_any_number_of_threads() {
    let alone = conn_by_barrier(1);
    let rows: BTreeSet<_> = alone.values().flatten().collect();
    let over = rows.iter().filter(|(.., is_over)| *is_over).count();
    assert_eq!(over, 12, "one last row a flow");
    assert!(rows.len() > 20 && alone.values().filter(|rows| !rows.is_empty()).count() > 1);
    // What a restart with other threads throws away, up to a barrier, is what was committed there.
    for threads in [2, 3] {
        assert_eq!(conn_by_barrier(threads), alone, "{threads} threads");
    }
}
