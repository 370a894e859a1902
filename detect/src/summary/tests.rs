//! What rows come to, whole or in parts.

use arrow_array::RecordBatch;
use model::stream::{Mark, conn};
use proptest::prelude::*;

use super::*;

const SECOND: i64 = 1_000_000;

/// A flow: originator, responder, service and bytes.
type Flow = (u8, u8, Option<&'static str>, u64);

fn rows(flows: &[Flow], worker: &str) -> RecordBatch {
    let mut batch = conn::Batch::default();
    for (orig, resp, service, bytes) in flows {
        let row = conn::Row {
            ts: 10 * SECOND,
            orig_h: [10, 0, 0, *orig].into(),
            resp_h: [192, 0, 2, *resp].into(),
            proto: if *service == Some("dns") { "udp" } else { "tcp" },
            service: *service,
            duration: Some(1_500_000),
            orig_pkts: Some(3),
            resp_pkts: Some(1),
            orig_ip_bytes: Some(*bytes),
            resp_ip_bytes: Some(40),
            orig_bytes: Some(bytes / 2),
            missed_bytes: 1,
            observers: &[worker],
            ..conn::Row::unset()
        };
        batch.push(Mark::at(20 * SECOND, 0), row);
    }
    batch.finish(worker).0
}

fn value(flows: &[Flow], worker: &str) -> Value {
    let rows = rows(flows, worker);
    let flows = Flows::of(&rows).unwrap();
    let mut part = Part::default();
    // Who wrote the row is named in it as well.
    (0..rows.num_rows()).for_each(|row| part.add(&flows, row, [worker, "w9", worker].into_iter()));
    let mut value = start();
    part.add_to(&mut value);
    value
}

#[test]
fn a_summary_says_what_was_seen() {
    let mut all = value(&[(1, 1, Some("http"), 100), (1, 2, Some("http"), 300)], "w0");
    all.merge(&value(&[(2, 1, Some("dns"), 60), (2, 2, None, 1_000)], "w1")).unwrap();
    all.merge(&value(&[(2, 9, Some("dns"), 60), (3, 9, None, 0)], "w1")).unwrap();
    all.merge(&start()).unwrap();
    let all = Value::decode(&all.encode()).unwrap();
    let said = Summary::of(&all).unwrap();
    assert_eq!((said.conns, said.by_proto, said.pkts), (6, [4, 2, 0], 24));
    assert_eq!((said.bytes, said.payload_bytes, said.missed_bytes), (1760, 760, 6));
    assert_eq!((said.hosts, said.talker_error), ([3, 3], 0));
    assert_eq!(said.talkers[..2], [("192.0.2.2", 1380), ("10.0.0.2", 1240)]);
    assert_eq!(said.talkers.len(), 6);
    let services: Vec<_> = said.services.iter().map(|s| (s.name, s.conns, s.bytes)).collect();
    assert_eq!(services, [("http", 2, 480), ("dns", 2, 200)]);
    // Of 24 packets that two saw each.
    assert_eq!(said.workers, [("w9", 24.0 / 48.0), ("w1", 16.0 / 48.0), ("w0", 8.0 / 48.0)]);
    assert_eq!(said.imbalance, Some(1.5));
    let start = start();
    let nothing = Summary::of(&start).unwrap();
    assert_eq!((nothing.conns, nothing.imbalance, nothing.workers.len()), (0, None, 0));
    assert_eq!(Summary::of(&Value::Sum(Sum::default())), None);
}

#[test]
fn a_flow_counts_where_its_last_packet_lies() {
    let rows = rows(&[(1, 1, None, 1)], "w0");
    let flows = Flows::of(&rows).unwrap();
    assert_eq!(flows.last(0), Some(11_500_000));
    let mut early = conn::Batch::default();
    early.push(Mark::at(0, 0), conn::Row { is_final: Some(false), ..conn::Row::unset() });
    let (early, _) = early.finish("w0");
    assert_eq!(Flows::of(&early).unwrap().last(0), None, "it goes on");
    let (pane, minute) = (crate::PANE_US, 60 * SECOND);
    assert_eq!(counts_at(70 * SECOND, 100 * SECOND, minute), 70 * SECOND);
    assert_eq!(counts_at(200 * SECOND, 100 * SECOND, minute), 100 * SECOND, "never after its row");
    // What is written long after counts as late as it may: no interval waits for more.
    let at = counts_at(0, 100 * SECOND, minute);
    assert_eq!(at, 30 * SECOND);
    assert!(complete_at(Interval::of(at, pane), minute) >= 100 * SECOND);
    assert_eq!(counts_at(i64::MIN, i64::MIN, minute), i64::MIN);
}

#[test]
fn an_interval_is_read_from_its_name() {
    let interval = Interval::of(1_700_000_011 * SECOND, INTERVAL_US);
    assert_eq!(interval.entity(), "1699999200000000/900000000");
    assert_eq!(Interval::parse(&interval.entity()), Some(interval));
    for wrong in ["", "1/", "/1", "1/900000000", "0/0", "0/-1", "0/1", "0/86400000001", "x/y"] {
        assert_eq!(Interval::parse(wrong), None, "{wrong}");
    }
}

proptest! {
    #[test]
    fn however_flows_are_split_the_sum_is_the_same(
        all in proptest::collection::vec((0u8..20, 0u8..20, 0usize..3, 0u64..5000, 0usize..4), 0..80),
    ) {
        let services = [None, Some("dns"), Some("ssl")];
        let flow = |(orig, resp, service, bytes, _): &(u8, u8, usize, u64, usize)| {
            (*orig, *resp, services[*service], *bytes)
        };
        let whole = value(&all.iter().map(flow).collect::<Vec<_>>(), "w0");
        let mut merged = start();
        for part in [2, 0, 3, 1] {
            let of = all.iter().filter(|seen| seen.4 == part).map(flow).collect::<Vec<_>>();
            merged.merge(&Value::decode(&value(&of, "w0").encode()).unwrap()).unwrap();
        }
        prop_assert_eq!(merged, whole);
    }
}
