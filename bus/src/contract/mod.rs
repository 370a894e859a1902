//! The contract of a bus, as checks that every bus has to pass. Test code, in the library because
//! several test binaries run it: see [`contract_tests!`](crate::contract_tests).
//!
//! Every check gets a bus of its own with [`LANES`] lanes and nothing in it. Checks panic on a broken
//! promise and say which.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{
    Bus, BusError, Lane, Member, Outgoing, Payload, Position, Record, Session, SharedBus, Step,
    Topic, Wake, topic,
};

pub mod driven;
pub mod follows;
pub mod groups;
pub mod lasting;
pub mod payloads;

/// Lanes of a fixture's bus.
pub const LANES: u32 = 3;

/// Longest time anything may take: a group on a busy broker.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long one look at a bus waits.
const LOOK: Duration = Duration::from_millis(100);

/// Where checks read from: topics of bytes; nothing compacts them within a check. The loop writes to `metrics`.
pub const IN: Topic = topic::RESPONSE;
/// Where checks write to, or read from as a second topic.
pub const OUT: Topic = topic::DEADLETTER;
/// A state topic.
pub const STATE: Topic = topic::STATE_AGGREGATE;
/// A topic of documents.
pub const DOCUMENTS: Topic = topic::POLICY;

/// A bus to check.
pub struct Fixture {
    /// The bus, empty.
    pub bus: SharedBus,
    /// Lets a member be silent for so long that its lanes are taken away.
    pub lapse: Box<dyn Fn(&Member) + Send + Sync>,
    /// Whether opening sessions takes real time, so that a check does with fewer.
    pub costly: bool,
}

/// Makes a `#[test]` of every check; `$make` is an expression that gives a new [`Fixture`].
#[macro_export]
macro_rules! contract_tests {
    ($make:expr) => {
        $crate::contract_tests! { @each $make;
            lasting: order_in_a_lane, whole_steps_only, resumes_after_a_commit,
                reads_again_without_a_commit, state_of_a_member_without_topics,
                goes_on_where_its_role_stood, steps_under_way_keep_their_order,
                steps_under_way_are_lost_from_one_on, documents_without_tombstones, documents_are_followed, state_without_tombstones;
        }
        $crate::contract_tests! { @each $make;
            groups: a_second_session_fences_the_first, lanes_move_without_loss,
                a_lost_member_commits_nothing, a_dead_member_is_replaced;
        }
        $crate::contract_tests! { @each $make;
            payloads: everything_comes_back, a_step_of_many_records;
        }
        $crate::contract_tests! { @each $make;
            follows: is_told_of_documents;
        }
        $crate::contract_tests! { @each $make;
            driven: drains_and_stops, drains_without_a_lane, drains_what_a_dead_member_held,
                stops_when_asked, ends_when_done,
                each_record_once_whatever_fails, each_record_once_working_ahead;
        }
    };
    (@each $make:expr; $module:ident: $($check:ident),*;) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;
            $(#[test]
            fn $check() {
                $crate::contract::$module::$check(&|| $make);
            })*
        }
    };
}

/// A reader of some topics.
pub fn reader(group: &str, node: &str, topics: &[Topic]) -> Member {
    Member {
        group: group.into(),
        node: node.into(),
        topics: topics.to_vec(),
        state: Some(STATE),
        home: Vec::new(),
    }
}

/// A member that only writes.
pub fn writer(node: &str) -> Member {
    let group = "writer".into();
    Member { group, node: node.into(), topics: Vec::new(), state: Some(STATE), home: vec![1] }
}

/// A document that is known by its text.
pub fn note(topic: Topic, lane: Lane, text: &str) -> Outgoing {
    let bytes = Some(Bytes::copy_from_slice(text.as_bytes()));
    Outgoing::document(topic, lane, Bytes::from_static(b"key"), bytes)
}

/// The text of a document.
pub fn text(record: &Record) -> String {
    match &record.payload {
        Payload::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("{}[{}]@{}: {other:?}", record.topic, record.lane, record.offset),
    }
}

/// Opens a session, for members whose bus is fine.
pub fn open(bus: &dyn Bus, me: &Member) -> Box<dyn Session> {
    bus.open(me).unwrap_or_else(|e| panic!("{} does not open: {e}", me.name()))
}

/// Commits documents in one step of a writer of their own.
pub fn write(bus: &dyn Bus, notes: Vec<Outgoing>) {
    let session = open(bus, &writer("w"));
    commit(session, Step { out: notes, ..Step::default() });
}

/// Commits a step that has to succeed.
pub fn commit(session: Box<dyn Session>, step: Step) -> Box<dyn Session> {
    session.commit(step).unwrap_or_else(|e| panic!("a good step was not committed: {e}"))
}

/// What a lane was restored to.
#[derive(Debug, Default)]
pub struct Back {
    /// Positions by lane, in the order of the member's topics.
    pub positions: BTreeMap<Lane, Vec<Position>>,
    /// State by lane, as text.
    pub state: BTreeMap<Lane, Vec<(String, String)>>,
}

/// Restores lanes.
pub fn restore(session: &mut dyn Session, lanes: &[Lane]) -> Back {
    let mut back = Back::default();
    for &lane in lanes {
        let state = back.state.entry(lane).or_default();
        let utf8 = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
        let positions = session.restore(lane, &mut |k, v| state.push((utf8(k), utf8(v))));
        let positions = positions.unwrap_or_else(|e| panic!("lane {lane} is not restored: {e}"));
        back.positions.insert(lane, positions);
    }
    back
}

/// Waits for the next wake that `pick` takes; what it does not take is passed over.
pub fn wait_for<T>(
    session: &mut dyn Session,
    what: &str,
    mut pick: impl FnMut(Wake) -> Option<T>,
) -> T {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let wake = session.next(LOOK).unwrap_or_else(|e| panic!("while waiting for {what}: {e}"));
        if let Some(found) = pick(wake) {
            return found;
        }
    }
    panic!("{what} did not come in {PATIENCE:?}");
}

/// Waits until lanes are assigned, and restores them.
pub fn assigned(session: &mut dyn Session) -> (Vec<Lane>, Back) {
    let lanes = wait_for(session, "an assignment", |wake| match wake {
        Wake::Assigned(lanes) => Some(lanes),
        Wake::Idle => None,
        other => panic!("before an assignment: {other:?}"),
    });
    let back = restore(session, &lanes);
    (lanes, back)
}

/// Reads until every partition of these lanes is at its end.
pub fn to_the_end(session: &mut dyn Session, lanes: &[Lane], topics: usize) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    let mut ended: BTreeMap<(Lane, Topic), ()> = BTreeMap::new();
    if lanes.is_empty() {
        return records;
    }
    wait_for(session, "the end of all partitions", |wake| {
        match wake {
            Wake::Records(more) => {
                for record in &more {
                    ended.remove(&(record.lane, record.topic.clone()));
                }
                records.extend(more);
            }
            Wake::End(topic, lane) => {
                ended.insert((lane, topic), ());
            }
            Wake::Idle => {}
            other => panic!("while reading: {other:?}"),
        }
        (ended.len() == lanes.len() * topics).then_some(())
    });
    records
}

/// Everything committed in a topic, read by a group of its own, by lane and offset.
pub fn all(bus: &dyn Bus, topic: Topic) -> Vec<Record> {
    let mut session = open(bus, &reader("everything", "one", std::slice::from_ref(&topic)));
    let (lanes, _) = assigned(&mut *session);
    let until = Instant::now() + PATIENCE;
    let mut records = to_the_end(&mut *session, &lanes, 1);
    while !session.settled().unwrap_or_else(|e| panic!("settling: {e}")) {
        assert!(Instant::now() < until, "{topic} does not settle");
        if let Ok(Wake::Records(more)) = session.next(LOOK) {
            records.extend(more);
        }
    }
    records.sort_by_key(|record| (record.lane, record.offset));
    records
}

/// The texts of everything committed in a topic.
pub fn texts(bus: &dyn Bus, topic: Topic) -> Vec<String> {
    all(bus, topic).iter().map(text).collect()
}

/// The position after a record.
pub fn after(record: &Record, metadata: &str) -> Position {
    let (topic, lane, offset) = (record.topic.clone(), record.lane, record.offset + 1);
    Position { topic, lane, offset, metadata: metadata.into() }
}

/// Asserts that a result is the loss of the session.
pub fn is_lost<T>(result: Result<T, BusError>, what: &str) {
    match result {
        Ok(_) => panic!("{what} succeeded"),
        Err(BusError::Session(_)) => {}
        Err(other) => panic!("{what}: {other}"),
    }
}
