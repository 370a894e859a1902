//! The role as its loop drives it.

use bus::{Payload, Stamp, Timeline, Topic};
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
