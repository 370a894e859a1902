//! When live flows leave: a half that stays alone, one whose other half ends much later, and copies that end late.

use bus::{Outgoing, Payload, Timeline, Wake};
use capture::config::Joins;

use crate::OBSERVERS;
use crate::made::{ACK, BEGAN_US, C, RST, S, SYN, carried, closed, packets};
use crate::rows::{Row, Score, rows_of};
use crate::sensors::{Owned, Run, Sensor, alone};

const SECOND: i64 = 1_000_000;
/// How long a half waits.
const WINDOW_US: i64 = 330 * SECOND;

type Commits = Vec<Vec<Outgoing>>;

/// What tells a sensor the time: a group's flow, which nobody joins, and which goes on.
fn ticks(seconds: i64) -> Vec<Owned> {
    let ends = [[10, 9, 9, 9], [224, 0, 0, 251]].map(|host| (host.into(), 5353));
    let at = (0..seconds).step_by(6);
    at.map(|second| carried(second * SECOND, 17, C, ends, &[0, 8, 0, 0])).collect()
}

/// What two live sensors send, packet by packet, of those that each sees, and for so many seconds.
fn live(
    joins: Joins,
    packets: &[Owned],
    seconds: i64,
    sees: impl Fn(usize, &Owned) -> bool,
) -> [Commits; 2] {
    let clock = ticks(seconds);
    [0, 1].map(|n| {
        let sensor = Sensor::new(["north", "south"][n], joins);
        let sensor = Sensor { flush: 1, timeline: Timeline::Live, ..sensor };
        let seen = packets.iter().filter(|packet| sees(n, packet));
        let mut seen: Vec<&Owned> = seen.chain(&clock).collect();
        seen.sort_by_key(|packet| packet.ts_us);
        sensor.sends(seen.into_iter())
    })
}

/// When rows of conn left, by their own time, after the beginning.
fn left(run: &Run) -> Vec<i64> {
    let mut times = Vec::new();
    for out in run.logs() {
        let Payload::Rows(def, rows) = &out.payload else { continue };
        if def.name == "conn" {
            let written = model::read::time(rows, "_write_ts").unwrap();
            times.extend(written.values().iter().map(|at| at - BEGAN_US));
        }
    }
    times
}

/// The same, and how far both sensors were when a row was there, as they go on side by side.
fn side_by_side(run: &mut Run, sent: [Commits; 2]) -> Vec<(i64, i64)> {
    let mut reached = [0, 0];
    let mut seen = Vec::new();
    let mut queues = sent.map(Vec::into_iter);
    while queues.iter().any(|queue| queue.len() > 0) {
        for (queue, reached) in queues.iter_mut().zip(&mut reached) {
            let Some(commit) = queue.next() else { continue };
            let times = commit.iter().filter_map(|out| Some(out.stamp.as_ref()?.time - BEGAN_US));
            *reached = times.fold(*reached, i64::max);
            run.give(commit);
        }
        run.wake(Wake::Idle);
        let new = left(run).into_iter().skip(seen.len());
        seen.extend(new.map(|written| (reached[0].min(reached[1]), written)));
    }
    seen
}

fn conn(run: &Run) -> Vec<Row> {
    rows_of(run.logs().iter()).remove("conn").unwrap_or_default()
}

/// They are those of one sensor that sees all.
fn are_of_the_whole(rows: &[Row], packets: &[Owned]) {
    let want = alone(packets).remove("conn").unwrap_or_default();
    let (missing, left) = Score::default().count(&want, rows, &OBSERVERS);
    assert!(missing.is_empty() && left.is_empty(), "want {missing:#?}\ngot {left:#?}");
}

#[test]
fn a_half_that_stays_alone_leaves_when_its_window_is_over() {
    let asked = packets(80, &[(0, C, SYN, 100, 0, b"")]);
    let mut run = Run::new(2, &|_| {});
    let sent = live(Joins::Halves, &asked, 500, |n, _| n == 0);
    let [(reached, written)] = side_by_side(&mut run, sent)[..] else { panic!("one row") };
    // An attempt is over after five seconds.
    assert_eq!(written, 5 * SECOND + WINDOW_US);
    assert!((written..written + 60 * SECOND).contains(&reached), "{reached}");
    are_of_the_whole(&conn(&run), &asked);
}

#[test]
fn flows_that_go_before_their_time_are_told() {
    // A tuple that begins anew all the time.
    let asks = (0..50).map(|n| (i64::from(n) * 6000, C, SYN, 1000 * (n + 1), 0, &b""[..]));
    let asks = packets(80, &asks.collect::<Vec<_>>());
    let mut run = Run::new(2, &|_| {});
    let sent = live(Joins::Halves, &asks, 900, |n, _| n == 0);
    let left = side_by_side(&mut run, sent);
    assert_eq!((left.len(), run.counts.get("hurried")), (50, 50 - 32));
    assert_eq!(left.iter().filter(|(_, at)| *at < WINDOW_US).count(), 50 - 32);
}

#[test]
fn a_half_waits_for_one_that_ends_by_a_timer() {
    let reset = packets(
        80,
        &[
            (0, C, SYN, 100, 0, b""),
            (5, S, SYN | ACK, 500, 101, b""),
            (9, C, ACK, 101, 501, b""),
            (20, C, ACK, 101, 501, b"GET / HTTP/1.0\r\n\r\n"),
            (30, S, ACK, 501, 119, b"HTTP/1.0 200 OK\r\n\r\n"),
            (40, C, RST | ACK, 119, 520, b""),
        ],
    );
    let sent = live(Joins::Halves, &reset, 900, |n, packet| packet.is_up == (n == 0));
    let mut run = Run::new(2, &|_| {});
    let [(_, written)] = side_by_side(&mut run, sent)[..] else { panic!("one row") };
    assert!(written >= 300 * SECOND, "the server's sensor saw no end: {written}");
    are_of_the_whole(&conn(&run), &reset);
}

/// What comes of two overlapping taps of which the second missed the ends of flows. `dice` says who commits next; whether it
/// dies after each commit.
fn with_a_tap_that_misses_ends(
    packets: &[Owned],
    dice: &mut dyn FnMut(usize) -> usize,
    dies: bool,
) -> (Run, usize) {
    let is_end = |packet: &Owned| (packet.ts_us - BEGAN_US) % (40 * SECOND) >= 20_000;
    let sent = live(Joins::Copies, packets, 900, |n, packet| n == 0 || !is_end(packet));
    let mut run = Run::new(2, &|config| config.overlap = true);
    let mut queues = Vec::from(sent.map(Vec::into_iter));
    // Who was not heard of is not waited for.
    queues.iter_mut().filter_map(Iterator::next).for_each(|commit| run.give(commit));
    let mut most_kept = 0;
    while !queues.is_empty() {
        let which = dice(queues.len());
        let Some(commit) = queues[which].next() else {
            drop(queues.remove(which));
            continue;
        };
        run.give(commit);
        run.wake(Wake::Idle);
        most_kept = most_kept.max(run.kept("left"));
        if dies {
            run.restart();
        }
    }
    (run, most_kept)
}

#[test]
fn a_copy_that_ends_by_a_timer_is_no_other_flow() {
    let once = closed(0, 100);
    let again = [once.clone(), closed(40_000, 90_000)].concat();
    for (segments, flows) in [(once, 1), (again, 2)] {
        let packets = packets(80, &segments);
        for order in 0..3 {
            for dies in [false, true] {
                let mut turn = 0;
                let mut dice = |n: usize| {
                    turn += 1;
                    [0, n - 1, turn % n][order]
                };
                let (run, kept) = with_a_tap_that_misses_ends(&packets, &mut dice, dies);
                are_of_the_whole(&conn(&run), &packets);
                assert_eq!(run.counts.get("merged.conn"), flows, "{order} {dies}");
                assert!(kept > 0 && run.kept("left") == 0, "{kept}: it is known, and forgotten");
            }
        }
    }
}
