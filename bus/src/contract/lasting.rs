//! What is committed lasts, whole and in order; what is not leaves nothing.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{
    DOCUMENTS, Fixture, IN, LANES, OUT, PATIENCE, after, all, assigned, commit, note, open, reader,
    text, texts, to_the_end, write, writer,
};
use crate::codec::MAX_PAYLOAD;
use crate::drive::AHEAD;
use crate::{Change, Outgoing, Session, Step, Topic};

/// Records of a lane come in the order they were written, over many steps.
pub fn order_in_a_lane(make: &dyn Fn() -> Fixture) {
    let fixture = make();
    let mut session = open(&*fixture.bus, &writer("w"));
    for step in 0..5 {
        let out = (0..20).map(|i| note(IN, i % LANES, &format!("{:04}", step * 100 + i)));
        session = commit(session, Step { out: out.collect(), ..Step::default() });
    }
    drop(session);
    let records = all(&*fixture.bus, IN);
    assert_eq!(records.len(), 100);
    for pair in records.windows(2).filter(|pair| pair[0].lane == pair[1].lane) {
        assert!(pair[0].offset < pair[1].offset && text(&pair[0]) < text(&pair[1]), "{pair:?}");
    }
}

/// A step that cannot be committed leaves nothing behind, whatever part of it was fine.
pub fn whole_steps_only(make: &dyn Fn() -> Fixture) {
    let fixture = make();
    write(&*fixture.bus, vec![note(OUT, 0, "before")]);
    let mut out: Vec<_> = (0..LANES).map(|lane| note(OUT, lane, "torn")).collect();
    let large = Bytes::from(vec![0; MAX_PAYLOAD + 1]);
    out.push(Outgoing::document(OUT, 0, Bytes::from_static(b"large"), Some(large)));
    let session = open(&*fixture.bus, &writer("w"));
    assert!(
        session.commit(Step { out, ..Step::default() }).is_err(),
        "it takes too large a record"
    );
    write(&*fixture.bus, vec![note(OUT, 1, "after")]);
    assert_eq!(texts(&*fixture.bus, OUT), ["before", "after"]);
}

/// Where the group has no position its role may have one: the partition is read from there.
pub fn goes_on_where_its_role_stood(make: &dyn Fn() -> Fixture) {
    let fixture = make();
    write(&*fixture.bus, (0..5).map(|i| note(IN, 0, &i.to_string())).collect());
    let records = all(&*fixture.bus, IN);
    let mut session = open(&*fixture.bus, &reader("standing", "one", &[IN]));
    let (lanes, back) = assigned(&mut *session);
    assert!(back.positions.values().all(Vec::is_empty), "positions of a new group: {back:?}");
    let mut at = after(&records[2], "a note");
    let gap = session.stood(&mut at).unwrap_or_else(|e| panic!("a good position: {e}"));
    assert_eq!((gap, &at), (None, &after(&records[2], "a note")));
    let rest = to_the_end(&mut *session, &lanes, 1);
    assert_eq!(rest.iter().map(text).collect::<Vec<_>>(), ["3", "4"]);
    at.offset = 1_000_000;
    assert!(session.stood(&mut at).is_err(), "a position behind the end");
}

/// Positions, their metadata and the state come back as the last commit left them, and reading goes
/// on there; a partition never committed has no position and is read from its beginning.
pub fn resumes_after_a_commit(make: &dyn Fn() -> Fixture) {
    let fixture = make();
    let notes = (0..10).map(|i| note(IN, 0, &format!("in {i}")));
    write(&*fixture.bus, notes.chain([note(OUT, 0, "out 0"), note(IN, 1, "in lane 1")]).collect());
    let me = reader("resuming", "one", &[IN, OUT]);
    let mut session = open(&*fixture.bus, &me);
    let (lanes, back) = assigned(&mut *session);
    assert_eq!(lanes, (0..LANES).collect::<Vec<_>>());
    assert!(back.positions.values().all(Vec::is_empty), "positions of a new group: {back:?}");
    let records = to_the_end(&mut *session, &lanes, 2);
    assert_eq!(records.len(), 12);

    let fourth = records.iter().find(|record| text(record) == "in 3").expect("the fourth record");
    let committed = after(fourth, "metadata, even ünïcode");
    let change = |lane, key: &str, value: &str| Change {
        lane,
        key: key.as_bytes().to_vec().into(),
        value: Some(value.as_bytes().to_vec().into()),
    };
    let state = vec![change(0, "a", "1"), change(2, "b", "2"), change(0, "c", "3")];
    let positions = vec![committed.clone()];
    let session = commit(session, Step { state, positions, ..Step::default() });
    let newer = vec![change(0, "a", "4")];
    drop(commit(session, Step { state: newer, ..Step::default() }));

    let mut session = open(&*fixture.bus, &me);
    let (lanes, back) = assigned(&mut *session);
    assert_eq!(back.positions[&0], [committed]);
    assert!(back.positions[&1].is_empty() && back.positions[&2].is_empty(), "{back:?}");
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(back.state[&0], [pair("a", "4"), pair("c", "3")]);
    assert_eq!(back.state[&2], [pair("b", "2")]);
    let mut again: Vec<_> = to_the_end(&mut *session, &lanes, 2).iter().map(text).collect();
    again.sort();
    let expected = ["in 4", "in 5", "in 6", "in 7", "in 8", "in 9", "in lane 1", "out 0"];
    assert_eq!(again, expected);
}

/// Several steps may be under way: they become lasting in their order, and one without positions takes none back.
pub fn steps_under_way_keep_their_order(make: &dyn Fn() -> Fixture) {
    let fixture = make();
    write(&*fixture.bus, (0..4).map(|i| note(IN, 0, &i.to_string())).collect());
    let me = reader("ahead", "one", &[IN]);
    let mut session = open(&*fixture.bus, &me);
    let (lanes, _) = assigned(&mut *session);
    let records = to_the_end(&mut *session, &lanes, 1);
    let step = |text: &str, positions| {
        let change = Change { lane: 0, key: "last".into(), value: Some(text.to_owned().into()) };
        Step { out: vec![note(OUT, 0, text)], state: vec![change], positions, ..Step::default() }
    };
    let begin = |session: Box<dyn Session>, step| {
        session.begin(step).unwrap_or_else(|e| panic!("it is not begun: {e}"))
    };
    session = commit(session, step("a", vec![after(&records[0], "")]));
    session = begin(session, step("b", vec![after(&records[2], "")]));
    session = begin(session, step("c", Vec::new()));
    session.complete().unwrap_or_else(|e| panic!("the first is not lasting: {e}"));
    session = begin(session, step("d", vec![after(&records[3], "")]));
    session = begin(session, step("e", Vec::new()));
    session = begin(session, step("f", Vec::new()));
    for _ in 0..4 {
        session.complete().unwrap_or_else(|e| panic!("the others are not lasting: {e}"));
    }
    drop(session);
    assert_eq!(texts(&*fixture.bus, OUT), ["a", "b", "c", "d", "e", "f"]);
    let mut session = open(&*fixture.bus, &me);
    let (_, back) = assigned(&mut *session);
    assert_eq!(back.positions[&0], [after(&records[3], "")]);
    assert_eq!(back.state[&0], [("last".to_owned(), "f".to_owned())]);
}

/// A session goes while steps of it are under way: the first few are lasting, whole, with their positions and state.
pub fn steps_under_way_are_lost_from_one_on(make: &dyn Fn() -> Fixture) {
    let fixture = make();
    write(&*fixture.bus, (0..5).map(|i| note(IN, 0, &i.to_string())).collect());
    let me = reader("ahead", "one", &[IN]);
    let mut session = open(&*fixture.bus, &me);
    let (lanes, _) = assigned(&mut *session);
    let records = to_the_end(&mut *session, &lanes, 1);
    for record in &records[..=AHEAD as usize] {
        let text = text(record);
        let change = Change { lane: 0, key: "last".into(), value: Some(text.clone().into()) };
        let out = vec![note(OUT, 0, &text), note(OUT, 1, &text)];
        let step = Step {
            out,
            state: vec![change],
            positions: vec![after(record, &text)],
            ..Step::default()
        };
        session = session.begin(step).unwrap_or_else(|e| panic!("it is not begun: {e}"));
    }
    drop(session);
    let mut session = open(&*fixture.bus, &me);
    let (_, back) = assigned(&mut *session);
    // What is open when a session opens is settled.
    let of = |lane| {
        let all = all(&*fixture.bus, OUT);
        all.iter().filter(|record| record.lane == lane).map(text).collect::<Vec<_>>()
    };
    let lasting = of(0);
    assert_eq!(lasting, ["0", "1", "2", "3"][..lasting.len()]);
    assert_eq!(of(1), lasting);
    let last = lasting.last().map(|text| ("last".to_owned(), text.clone()));
    assert_eq!(back.state[&0], last.into_iter().collect::<Vec<_>>());
    let at = lasting.len().checked_sub(1).map(|last| after(&records[last], &text(&records[last])));
    assert_eq!(back.positions[&0], at.into_iter().collect::<Vec<_>>());
}

/// What was read and not committed is read again.
pub fn reads_again_without_a_commit(make: &dyn Fn() -> Fixture) {
    let fixture = make();
    write(&*fixture.bus, (0..LANES).map(|lane| note(IN, lane, "once more")).collect());
    let me = reader("forgetful", "one", &[IN]);
    for _ in 0..2 {
        let mut session = open(&*fixture.bus, &me);
        let (lanes, _) = assigned(&mut *session);
        assert_eq!(to_the_end(&mut *session, &lanes, 1).len(), LANES as usize);
    }
}

/// A member that reads nothing is assigned its home lanes, and has its state there.
pub fn state_of_a_member_without_topics(make: &dyn Fn() -> Fixture) {
    let fixture = make();
    let me = writer("w");
    let mut session = open(&*fixture.bus, &me);
    assert_eq!(assigned(&mut *session).0, me.home);
    let (key, value) = (Bytes::from_static(b"source"), Some(Bytes::from_static(b"17")));
    let state = vec![Change { lane: 1, key, value }];
    drop(commit(session, Step { state, ..Step::default() }));

    let mut session = open(&*fixture.bus, &me);
    let (_, back) = assigned(&mut *session);
    assert_eq!(back.state[&1], [("source".to_owned(), "17".to_owned())]);
}

/// Documents are the newest of each key over all lanes, without those that were removed.
pub fn documents_without_tombstones(make: &dyn Fn() -> Fixture) {
    let fixture = make();
    let put = |lane, key: &'static str, value: Option<&'static str>| {
        let value = value.map(|v| Bytes::from_static(v.as_bytes()));
        Outgoing::document(DOCUMENTS, lane, Bytes::from_static(key.as_bytes()), value)
    };
    write(&*fixture.bus, vec![put(0, "a", Some("1")), put(2, "b", Some("1"))]);
    write(&*fixture.bus, vec![put(0, "a", Some("2")), put(1, "c", Some("1")), put(2, "b", None)]);
    let mut session = open(&*fixture.bus, &writer("reads"));
    let mut found = Vec::new();
    session
        .documents(&DOCUMENTS, &mut |key, value| found.push((key, value)))
        .unwrap_or_else(|e| panic!("documents: {e}"));
    found.sort();
    let pair = |k: &'static str, v: &'static str| {
        (Bytes::from_static(k.as_bytes()), Bytes::from_static(v.as_bytes()))
    };
    assert_eq!(found, [pair("a", "2"), pair("c", "1")]);
}

/// A session that has read documents is told whether there is more to read, and of nothing else.
pub fn documents_are_followed(make: &dyn Fn() -> Fixture) {
    let fixture = make();
    let put = |topic: Topic, lane, text: &'static [u8]| {
        let key = Bytes::from_static(b"a");
        Outgoing::document(topic, lane, key, Some(Bytes::from_static(text)))
    };
    write(&*fixture.bus, vec![put(DOCUMENTS, 1, b"1")]);
    let mut session = open(&*fixture.bus, &writer("follows"));
    let changed = |session: &mut dyn Session| {
        session.documents_changed(&DOCUMENTS).unwrap_or_else(|e| panic!("asking: {e}"))
    };
    let read = |session: &mut dyn Session| {
        let mut found = Vec::new();
        let read = session.documents(&DOCUMENTS, &mut |_, value| found.push(value));
        read.unwrap_or_else(|e| panic!("documents: {e}"));
        found
    };
    assert!(changed(&mut *session), "nothing was read yet");
    assert_eq!(read(&mut *session), ["1"]);
    assert!(!changed(&mut *session), "read, and nothing came since");
    write(&*fixture.bus, vec![put(OUT, 1, b"other")]);
    assert!(!changed(&mut *session), "another topic");
    for (lane, text) in [(1, &b"2"[..]), (2, b"3")] {
        write(&*fixture.bus, vec![put(DOCUMENTS, lane, text)]);
        let until = Instant::now() + PATIENCE;
        while !changed(&mut *session) {
            assert!(Instant::now() < until, "{text:?} was not noticed");
            // Where nobody else does, waiting is what moves time.
            let waited = session.next(Duration::from_millis(20));
            waited.unwrap_or_else(|e| panic!("while waiting for {text:?}: {e}"));
        }
        assert!(read(&mut *session).contains(&Bytes::from_static(text)));
        assert!(!changed(&mut *session), "read again");
    }
}

/// State is the newest of each key of its lane, without what was removed.
pub fn state_without_tombstones(make: &dyn Fn() -> Fixture) {
    let fixture = make();
    let me = reader("stateful", "one", &[IN]);
    let mut session = open(&*fixture.bus, &me);
    assigned(&mut *session);
    let change = |key: &'static str, value: Option<&'static str>| Change {
        lane: 1,
        key: Bytes::from_static(key.as_bytes()),
        value: value.map(|v| Bytes::from_static(v.as_bytes())),
    };
    let first = vec![change("a", Some("1")), change("b", Some("1")), change("c", Some("1"))];
    let session = commit(session, Step { state: first, ..Step::default() });
    let second = vec![change("b", None), change("a", Some("2")), change("d", Some("1"))];
    let session = commit(session, Step { state: second, ..Step::default() });
    drop(commit(session, Step { state: vec![change("b", Some("3"))], ..Step::default() }));

    let mut session = open(&*fixture.bus, &me);
    let (_, back) = assigned(&mut *session);
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(back.state[&1], [pair("a", "2"), pair("c", "1"), pair("d", "1"), pair("b", "3")]);
    assert!(back.state[&0].is_empty() && back.state[&2].is_empty());
}
