//! Whether the books balance at the end of a run: what every role told of its steps, beside what lies on the bus.

use bus::books::ledger::Ledger;
use bus::books::{Record, Sum};
use bus::sim::Sim;
use bus::{Outgoing, Payload, topic};
use bytes::Bytes;

/// What is told of records that no role writes: workers before they begin, and whoever writes poison.
pub fn of_nobody(out: &[Outgoing], run: i64) -> Outgoing {
    let mut record =
        Record { group: "nobody".into(), node: "x".into(), run, step: 1, ..Record::default() };
    for out in out {
        let Payload::Rows(_, rows) = &out.payload else { continue };
        let of_topic = record.output.entry(out.topic.0.to_string()).or_default();
        let sum: &mut Sum = of_topic.entry(out.lane).or_default();
        (sum.records, sum.rows) = (sum.records + 1, sum.rows + rows.num_rows() as u64);
    }
    let json = Bytes::from(serde_json::to_vec(&record).unwrap());
    Outgoing::document(topic::METRICS, 0, "x".into(), Some(json))
}

/// What does not balance. Offsets and sums are compared; which writer sent a record a bus in memory does not say.
pub fn differences(sim: &Sim) -> Option<String> {
    let mut ledger = Ledger::unsigned();
    for record in sim.records(&topic::METRICS) {
        let Payload::Bytes(json) = &record.payload else { panic!("{record:?}") };
        ledger.enter(serde_json::from_slice(json).unwrap());
    }
    for spec in topic::table().into_iter().filter(|spec| topic::carries_rows(&spec.topic)) {
        for record in sim.records(&spec.topic) {
            if let Payload::Rows(_, rows) = &record.payload {
                let rows = rows.num_rows() as u64;
                ledger.found(&record.topic.0, record.lane, record.offset, rows, None);
            }
        }
    }
    let found = ledger.balance();
    let waiting: Vec<_> = ["aggregate", "manager", "sink.json"]
        .into_iter()
        .flat_map(|group| ledger.waiting(group).into_iter().filter(|(_, rows)| *rows > 0))
        .collect();
    let is_good = found.is_empty() && waiting.is_empty();
    (!is_good).then(|| format!("the books do not balance: {found:#?}; not read: {waiting:?}"))
}
