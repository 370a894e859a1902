//! Readings that are cut short, and sessions that are lost with a step under way.

use std::collections::{BTreeMap, BTreeSet};

use bus::Bus as _;
use bus::clock::Manual;
use bus::drive::{Driver, Stop, Turn, Until};
use bus::memory::{Memory, Retain};

use model::read;
use model::stream::Mark;

use super::*;
use crate::files::hash::Hashes;
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

/// A reader of a file on a bus, with settings of its own.
fn reader(name: &str, again: bool, change: impl FnOnce(&mut Config)) -> Capture {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/traces").join(name);
    let mut config = Config::new("n");
    (config.interim, config.flush_packets) = (Some(crate::config::SECOND / 50), 10);
    change(&mut config);
    let clock = Arc::new(Manual::default());
    Capture::new(config, Input::Files(vec![path]), again, clock).unwrap().reads_whole()
}

/// The rows of conn, each by its flow and its time, and how many there are.
fn conn_rows(bus: &Memory) -> (BTreeSet<(String, i64)>, usize) {
    let (mut ids, mut rows) = (BTreeSet::new(), 0);
    for record in bus.records(&topic::RAW_CONN) {
        if let Payload::Rows(_, batch) = &record.payload {
            rows += batch.num_rows();
            let times = read::time(batch, "_write_ts").unwrap().values().to_vec();
            let uids = read::text(batch, "uid").unwrap().iter().flatten().map(str::to_owned);
            ids.extend(uids.zip(times));
        }
    }
    (ids, rows)
}

#[test]
fn of_two_that_read_one_file_the_later_goes_on_and_two_files_are_no_matter() {
    let bus = Memory::new(LANES, Retain::UntilCommitted);
    let start = |name| reader(name, false, |_| {});
    let (mut first, mut second) = (start("dns.pcap"), start("dns.pcap"));
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
    let (ids, rows) = conn_rows(&bus);
    assert_eq!(rows, ids.len(), "no row is there twice");
    assert_ne!(start("http.pcap").member().node, first.member().node);
}

/// Reads until some rows are committed, and more are to come.
fn read_some(bus: &Memory, role: &mut Capture) {
    let (_, before) = conn_rows(bus);
    let mut driver = Driver::new(&role.member(), &Stop::new(), Until::Forever);
    let is_begun = |role: &Capture| role.kept.packets > 0 && Some(role.kept.round) == role.round;
    while conn_rows(bus).1 == before || !is_begun(role) {
        assert!(!role.done());
        driver.turn(bus, role, &Manual::default()).unwrap();
    }
}

/// A bus on which a file was read to somewhere in its middle, and what is there of it.
fn half_read() -> (Memory, usize) {
    let bus = Memory::new(LANES, Retain::UntilCommitted);
    let mut first = reader("ssh.pcap", false, |_| {});
    read_some(&bus, &mut first);
    let (_, rows) = conn_rows(&bus);
    (bus, rows)
}

#[test]
fn other_threads_and_steps_go_on_where_a_reading_was_cut_short() {
    let whole = Memory::new(LANES, Retain::UntilCommitted);
    assert_eq!(run(&whole, &mut reader("ssh.pcap", false, |_| {}), 1000), Ok(()));
    let (bus, begun) = half_read();
    let mut second = reader("ssh.pcap", false, |config| {
        (config.threads, config.flush_packets, config.flush_interval) = (2, 7, 1);
    });
    assert_eq!(run(&bus, &mut second, 1000), Ok(()));
    assert!(second.done());
    let (ids, rows) = conn_rows(&bus);
    assert_eq!((&ids, rows), (&conn_rows(&whole).0, ids.len()), "each row once");
    assert!(begun < rows);
}

#[test]
fn what_another_maker_began_is_refused_or_read_anew() {
    let (bus, begun) = half_read();
    let mut other = reader("ssh.pcap", false, |config| config.flows_max = 7);
    let said = run(&bus, &mut other, 1000).unwrap_err();
    for word in ["ssh.pcap", "other settings: flows_max", "--again"] {
        assert!(said.contains(word), "{said}");
    }
    assert_eq!(conn_rows(&bus).1, begun, "it has sent nothing");
    // As one of another version left it, or one that did not say what made it.
    for (maker, word) in [(r#"{"version":"0.0.9"}"#, "weir 0.0.9"), ("{}", "an older version")] {
        let text = format!(r#"{{"packets":10,"steps":1,"maker":{maker}}}"#);
        let position: Position = serde_json::from_str(&text).unwrap();
        let said = reader("ssh.pcap", false, |_| {}).may_go_on(&position).unwrap_err().to_string();
        assert!(said.contains(word), "{said}");
    }
    // Asked for, all of it is read; a restart goes on with that reading.
    let again = || reader("ssh.pcap", true, |config| config.hashes = Hashes::NONE);
    let mut other = again();
    read_some(&bus, &mut other);
    assert_eq!(other.kept.round, 1);
    let mut other = again();
    assert_eq!(run(&bus, &mut other, 1000), Ok(()));
    assert!(other.kept.round == 1 && other.kept.end);
    let (ids, rows) = conn_rows(&bus);
    assert_eq!(rows, ids.len() + begun, "what was sent before is there twice, and no more");
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
