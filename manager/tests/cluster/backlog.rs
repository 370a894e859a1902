//! What a manager decides does not depend on how many records it is given at once.

use bus::{Record, Restored};

use super::traffic::busy;
use super::*;

/// All that aggregators sent in some rounds of files, by topic and lane, in order.
fn sent(rounds: usize) -> Vec<Vec<Record>> {
    let mut cluster = Cluster::new(Some(3));
    for _ in 0..rounds {
        cluster.run(&busy(Timeline::File));
    }
    let topics = [topic::NOTICE, topic::PARTIAL, topic::KNOWN];
    let lanes = topics.iter().flat_map(|topic| (0..LANES).map(move |lane| (topic, lane)));
    lanes.map(|(topic, lane)| cluster.fake.read(topic, lane, 0, usize::MAX)).collect()
}

/// What a manager says of records in this order, so many at once.
fn decided(records: &[Record], at_once: usize) -> Vec<String> {
    let mut role = Manager::new(manager::Config::new("m1", LANES));
    (0..LANES).for_each(|lane| role.restored(lane, Restored::default()).unwrap());
    let mut fake = Fake::new(LANES);
    let mut steps = Vec::new();
    for records in records.chunks(at_once) {
        steps.extend(role.on(Wake::Records(records.to_vec()), 0).unwrap());
        steps.extend(role.on(Wake::Idle, 0).unwrap());
    }
    steps.extend(role.on(Wake::Drained, 0).unwrap());
    steps.into_iter().flat_map(|step| step.out).for_each(|out| fake.put(out));
    let mut all = fake.rows(&Topic::log(&notice::DEF), notice_text);
    all.extend(fake.rows(&Topic::log(&model::stream::notice_tally::DEF), |rows, row| {
        let note = read::text(rows, "note").unwrap().value(row);
        format!("{note} {}", read::count(rows, "suppressed").unwrap().value(row))
    }));
    all
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_backlog_is_decided_as_record_by_record(seed in any::<u64>(), at_once in 2usize..2000) {
        static SENT: OnceLock<Vec<Vec<Record>>> = OnceLock::new();
        let sent = SENT.get_or_init(|| sent(3));
        let mut queues: Vec<_> = sent.iter().map(|records| records.iter()).collect();
        let (mut records, mut state) = (Vec::new(), seed);
        while !queues.is_empty() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let which = (state >> 33) as usize % queues.len();
            match queues[which].next() {
                Some(record) => records.push(record.clone()),
                None => drop(queues.swap_remove(which)),
            }
        }
        let want = decided(&records, 1);
        prop_assert!(want.len() > 11, "of more than one round: {}", want.len());
        prop_assert_eq!(decided(&records, at_once), want);
    }
}
