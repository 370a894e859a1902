//! The role as its loop drives it.

use bus::clock::Manual;
use bus::drive::{Driver, Stop, Until};
use bus::sim::{Faults, Sim};
use bus::{Bus as _, Outgoing, Payload, Stamp, Timeline, Topic};
use bytes::Bytes;

use super::*;

const MIB: usize = 1 << 20;

fn role(config: Config) -> Aggregate {
    let mut role = Aggregate::new(config);
    role.restored(0, Restored::default()).unwrap();
    role
}

fn record(topic: Topic, offset: i64, payload: Payload, stamp: Option<Stamp>) -> Record {
    Record { topic, lane: 0, offset, key: None, payload, stamp, packed: None }
}

#[test]
fn a_step_is_bounded_in_bytes() {
    let mut role = role(Config::new("a", 1));
    let large = Bytes::from(vec![0; MIB]);
    let mut taken = 0;
    let step = (0..100).find_map(|offset| {
        taken += MIB;
        let payload = Payload::Bytes(large.clone());
        let records = vec![record(topic::RAW_CONN, offset, payload, None)];
        role.on(Wake::Records(records), 0).unwrap()
    });
    assert_eq!((taken, step.unwrap().out.len()), (STEP_BYTES, STEP_BYTES / MIB));
}

#[test]
fn sources_beyond_those_that_are_followed_are_told() {
    let mut role = role(Config::new("a", 1));
    let mut told = 0;
    for n in 0..20_000 {
        let source = format!("w{n}/x");
        let stamp = Some(Stamp { source, timeline: Timeline::Live, time: n, end: false });
        let records = vec![record(topic::RAW_CONN, n, Payload::Empty, stamp)];
        let step = role.on(Wake::Records(records), 0).unwrap();
        told += step.map_or(0, |step| step.counts.get("sources_refused"));
    }
    assert_eq!((told, role.counters().sources_refused), (10_000, 10_000));
}

#[test]
fn files_end_though_live_sources_speak_all_the_time() {
    let config = Config::new("a", 1);
    let (grace_ms, mut offset) = (config.grace_ms, 0);
    let mut role = role(config);
    let mut stamped = |timeline, time, end| {
        offset += 1;
        let stamp = Some(Stamp { source: format!("{timeline:?}"), timeline, time, end });
        let of = |topic| record(topic, offset, Payload::Empty, stamp.clone());
        Wake::Records(sources::inputs(false).iter().map(|input| of(input.topic())).collect())
    };
    let mut said = Vec::new();
    let mut step = |step: Option<Step>, now_ms| {
        for out in step.into_iter().flat_map(|step| step.out) {
            let stamp = out.stamp.unwrap();
            said.extend((stamp.timeline == Timeline::File && stamp.end).then_some(now_ms));
        }
    };
    step(role.on(stamped(Timeline::File, i64::MAX, true), 0).unwrap(), 0);
    for now_ms in (100..2 * grace_ms).step_by(100) {
        step(role.on(stamped(Timeline::Live, now_ms, false), now_ms).unwrap(), now_ms);
        step(role.on(Wake::Idle, now_ms).unwrap(), now_ms);
    }
    assert_eq!(said, [grace_ms; 3], "the end of notice, partial and known, after the grace");
}

/// Commits records of the lane, as some source does.
fn write(sim: &Sim, out: Vec<Outgoing>) {
    let writer = Member { topics: Vec::new(), state: None, home: vec![0], ..member("w", false) };
    let session = sim.open(&Member { group: "capture".into(), ..writer }).unwrap();
    drop(session.commit(Step { out, ..Step::default() }).unwrap());
}

/// A live source says on all inputs that it is there.
fn speak(sim: &Sim, overlap: bool) {
    let stamp = Stamp { source: "w".into(), timeline: Timeline::Live, time: 1_000, end: false };
    let inputs = sources::inputs(overlap).iter();
    write(
        sim,
        inputs.map(|input| Outgoing::punctuation(input.topic(), 0, stamp.clone())).collect(),
    );
}

#[test]
fn live_sources_fall_silent_by_what_time_has_passed_not_by_a_clock_that_was_set() {
    let (sim, clock) = (Sim::new(1, 1, Faults::NONE).paced(), Manual::default());
    let config = Config::new("a", 1);
    let silence_ms = config.live_silence_ms;
    let mut role = Aggregate::new(config);
    let mut driver = Driver::new(&member("a", false), &Stop::new(), Until::Forever);
    speak(&sim, false);
    let key = state::Key::source(Timeline::Live, "w").bytes();
    let mut is_there = |passes_ms| {
        clock.advance_ms(passes_ms);
        (0..100).for_each(|_| _ = driver.turn(&sim, &mut role, &clock).unwrap());
        let kept = sim.records(&topic::STATE_AGGREGATE);
        let last = kept.iter().rfind(|record| record.key.as_ref() == Some(&key)).unwrap();
        !matches!(last.payload, Payload::Empty)
    };
    assert!(is_there(0));
    clock.jump_ms(3_600_000);
    assert!(is_there(silence_ms), "an hour forward");
    clock.jump_ms(-86_400_000);
    assert!(!is_there(1), "a day back");
}

#[test]
fn who_reads_other_inputs_than_before_is_refused() {
    for overlap in [false, true] {
        let sim = Sim::new(1, 1, Faults::NONE).paced();
        speak(&sim, overlap);
        let run = |overlap| {
            let mut role = Aggregate::new(Config { overlap, ..Config::new("a", 1) });
            let me = member("a", overlap);
            let ran = bus::drive::drive(&sim, &me, &mut role, &sim, &Stop::new(), Until::Drained);
            ran.map_err(|error| error.to_string())
        };
        assert_eq!(run(overlap), Ok(()));
        let said = run(!overlap).unwrap_err();
        let of = format!("overlap` is {}, and was {overlap}", !overlap);
        assert!(said.contains(&of) && said.contains("another prefix"), "{said}");
        assert_eq!(run(overlap), Ok(()), "set back");
    }
}
