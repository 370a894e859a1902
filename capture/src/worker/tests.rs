//! The end of a live thread: what lies in the kernel's buffer when a stop is asked for.

use bus::clock::Manual;

use super::*;
use crate::source::{Link, Packet, SourceError, SourceStats};

/// When the clock stands, seconds.
const NOW: i64 = 1_700_000_000;

/// UDP flows of these seconds; where there is none, nothing comes at first. The stop is asked for at the first such
/// place.
struct Kernel {
    script: std::vec::IntoIter<Option<i64>>,
    stop: Arc<AtomicBool>,
    packet: Vec<u8>,
}

impl PacketSource for Kernel {
    fn next(&mut self) -> Result<Next<'_>, SourceError> {
        let Some(Some(second)) = self.script.next() else {
            self.stop.store(true, Ordering::SeqCst);
            return Ok(Next::Idle);
        };
        let port = (second % 1000) as u16;
        let udp = [&port.to_be_bytes()[..], &[0, 53, 0, 8, 0, 0]].concat();
        let ip = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        self.packet = [&ip[..], &udp].concat();
        let ts_us = second * SECOND;
        Ok(Next::Packet(Packet { ts_us, link: Link::Raw, wire_len: 28, data: &self.packet }))
    }

    fn stats(&mut self) -> Result<SourceStats, SourceError> {
        Ok(SourceStats::default())
    }
}

/// Packets that a thread takes of these before it ends.
fn taken(script: Vec<Option<i64>>) -> u64 {
    let mut config = Config::new("n");
    config.ignore_checksums = true;
    let clock = Manual::default();
    clock.advance_ms(NOW * 1000);
    let stop = Arc::new(AtomicBool::new(false));
    let source = Kernel { script: script.into_iter(), stop: stop.clone(), packet: Vec::new() };
    let job = Job {
        config: Arc::new(config),
        index: 0,
        threads: 1,
        source: Box::new(source),
        from: 0,
        live: true,
        finishes: true,
        clock: Arc::new(clock),
        progress: None,
    };
    let (sender, flushes) = unbounded();
    let state = State::new(&job);
    live(job, state, &sender, &stop);
    let all: Vec<Flush> = flushes.try_iter().collect();
    let last = all.last().unwrap();
    assert!(last.end);
    // Each packet is a flow of its own, and is logged.
    let flows: usize = all.iter().flat_map(|f| &f.rows).map(|rows| rows.marks.len()).sum();
    assert!(flows as u64 >= last.number, "{flows} rows of {} packets", last.number);
    last.number
}

#[test]
fn what_was_on_the_wire_before_a_stop_is_still_taken() {
    let before: Vec<_> = (1..=9).map(|i| Some(NOW - 20 + i)).collect();
    let late = [None, None, Some(NOW - 2), None, Some(NOW - 1), Some(NOW)];
    assert_eq!(taken([&before[..], &late[..]].concat()), 12);
}

#[test]
fn what_comes_after_a_stop_is_left() {
    let late = vec![Some(NOW - 2), None, Some(NOW - 1), Some(NOW + 1), Some(NOW - 1)];
    assert_eq!(taken(late), 2);
}

#[test]
fn barriers_are_multiples_and_one_of_an_earlier_run() {
    let after = |number, earlier| barrier_after(number, 100, earlier);
    assert_eq!([after(0, 0), after(99, 0), after(100, 100), after(101, 0)], [100, 100, 200, 200]);
    assert_eq!(
        [after(0, 30), after(30, 30), after(120, 200), after(120, 430)],
        [30, 100, 200, 200]
    );
    assert_eq!(barrier_after(7, 0, 0), u64::MAX);
}

#[test]
fn threads_that_read_one_file_end_together_whoever_waits_for_whom() {
    let bytes = crate::source::testing::pcap(&vec![(1, &[0; 1000][..]); 60_000]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("big.pcap");
    std::fs::write(&path, bytes).unwrap();
    let config = Arc::new(Config { flush_packets: 3000, ..Config::new("n") });
    let sources = source::open_for(&[path], 3, crate::engine::shard_of_frame).unwrap();
    let mut crew = Crew::default();
    for (index, source) in (0..).zip(sources) {
        let job = Job {
            config: config.clone(),
            index,
            threads: 3,
            source,
            from: 0,
            live: false,
            finishes: true,
            clock: Arc::new(Manual::default()),
            progress: None,
        };
        crew.push(start(job).unwrap());
    }
    // One is far ahead, nobody takes anything of the others.
    let ahead: Vec<Flush> = (0..4).map_while(|_| crew[0].flushes.recv().ok()).collect();
    assert_eq!(ahead.last().map(|flush| flush.number), Some(12_000));
    let last: Vec<Flush> = crew.stop().into_iter().filter(|flush| flush.end).collect();
    assert_eq!(last.len(), 3);
    assert!(last.iter().all(|flush| flush.stopped && flush.number < 60_000));
}

/// When a flush is due, with the packet time at so many seconds.
fn due_at(pace: &mut Pace, engine: &mut Engine, second: f64) -> Due {
    engine.tick((second * SECOND as f64) as i64);
    pace.due(engine)
}

#[test]
fn a_live_thread_gives_its_rows_every_few_seconds_and_sooner_what_is_much() {
    let config = Config { lanes: 2, ..Config::new("n") };
    let mut engine = Engine::new(Arc::new(config.clone()), 0, 1);
    let mut pace = Pace::new(&config);
    assert_eq!(due_at(&mut pace, &mut engine, 100.0), Due::Later);
    assert_eq!(due_at(&mut pace, &mut engine, 104.9), Due::Later);
    assert_eq!(due_at(&mut pace, &mut engine, 105.0), Due::Now);
    pace.flushed(&mut engine);
    let mark = |engine: &mut Engine| engine.out().mark(0, 0, 0);
    for _ in 1..ROWS_MUCH * 2 {
        mark(&mut engine);
    }
    assert_eq!(due_at(&mut pace, &mut engine, 106.0), Due::Later);
    mark(&mut engine);
    assert_eq!(due_at(&mut pace, &mut engine, 105.9), Due::Soon, "clocks do not go back");
    pace.flushed(&mut engine);
    let mark = mark(&mut engine);
    engine.out().notice.push(mark, model::stream::notice::Row::unset());
    assert_eq!(due_at(&mut pace, &mut engine, 106.9), Due::Later, "not every notice alone");
    assert_eq!(due_at(&mut pace, &mut engine, 107.0), Due::Soon);
}
