//! Rows of flows that last (`--interim`): each says how its flow stands, the last how it ended, and nothing
//! else changes.

use std::collections::BTreeMap;

use crate::harness::logs::{self, Logs};
use crate::harness::weir::weir_ok;
use crate::harness::{folder, text, trace};

fn read(name: &str, more: &[&str]) -> Logs {
    let (dir, input) = (folder(), trace(name));
    let out = text(dir.path());
    let run = ["run", "--read", &input, "--out", &out, "--columns", "weir"];
    weir_ok(&[&run[..], more].concat());
    logs::read(dir.path())
}

#[test]
fn off_every_row_is_the_last() {
    let conn = &read("ssh.pcap", &[])["conn"];
    assert_eq!(conn.column("final"), vec!["T"; conn.rows.len()]);
}

#[test]
fn a_flow_grows_and_its_last_row_is_that_of_a_run_without() {
    let (without, with) = (read("mixed.pcap", &[]), read("mixed.pcap", &["--interim", "1s"]));
    let mut last = with.clone();
    last.insert("conn".into(), with["conn"].only("final", "T"));
    // Scans are among what must not change: a flow counts once.
    logs::assert_same("last rows", &without, &last, &[]);
    assert!(with["conn"].rows.len() > last["conn"].rows.len(), "some flows last");
    let mut seen: BTreeMap<&str, Vec<(f64, u64, bool)>> = BTreeMap::new();
    for [uid, at, packets, is_final] in
        with["conn"].select(["uid", "_write_ts", "orig_pkts", "final"])
    {
        let row = (at.parse().unwrap(), packets.parse().unwrap(), is_final == "T");
        seen.entry(uid).or_default().push(row);
    }
    for (uid, rows) in seen {
        let (end, during) = rows.split_last().unwrap();
        assert!(end.2 && during.iter().all(|row| !row.2), "{uid}: {rows:?}");
        for pair in during.windows(2) {
            assert!((pair[1].0 - pair[0].0 - 1.0).abs() < 1e-5, "{uid}: {rows:?}");
        }
        assert!(rows.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1), "{uid}: {rows:?}");
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let alone = read("mixed.pcap", &["--interim", "1s"]);
    for threads in ["2", "3"] {
        let logs = read("mixed.pcap", &["--interim", "1s", "--threads", threads]);
        assert_eq!(logs["conn"].rows, alone["conn"].rows, "{threads} threads");
        logs::assert_same(threads, &alone, &logs, &[]);
    }
}
