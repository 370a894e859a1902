//! `weir audit` and `weir status` on a real Kafka: books that balance, and what is named once somebody has tampered.

use std::fs;
use std::path::{Path, PathBuf};

use bus::clock::{Clock as _, System};
use bus::kafka::Kafka;
use bus::{Bus as _, Member, Outgoing, Step, Topic, topic};
use model::stream::{Mark, dns};
use serde_json::Value;

use crate::harness::agree::{alone, assert_agree};
use crate::harness::cluster::{Cluster, node, workers};
use crate::harness::{files, kafka, logs, split, until};

/// The audit's report.
fn audit(cluster: &Cluster, args: &[&str]) -> (Option<i32>, Value) {
    let done = cluster.run(&[&["audit", "--json"], args].concat());
    let report = serde_json::from_str(&done.out).unwrap_or_else(|e| panic!("{e}: {}", done.err));
    (done.code, report)
}

/// What the audit names: role, stream or topic, partition, rows.
fn named(cluster: &Cluster, args: &[&str]) -> Vec<(String, String, Option<u64>, i64)> {
    let (code, report) = audit(cluster, args);
    assert_eq!((code, &report["balanced"]), (Some(1), &Value::Bool(false)), "{report:#}");
    let all = report["differences"].as_array().expect("differences");
    all.iter()
        .map(|found| {
            let text = |name: &str| found[name].as_str().expect(name).to_owned();
            let rows = found["rows"].as_i64().expect("rows");
            (text("role"), text("of"), found["partition"].as_u64(), rows)
        })
        .collect()
}

/// Somebody who is no role writes a row of dns.
fn write_foreign(cluster: &Cluster, lane: u32) {
    let config = bus::kafka::Config {
        brokers: kafka::shared().brokers(),
        prefix: cluster.prefix().to_owned(),
        ..Default::default()
    };
    let bus = Kafka::connect(config).expect("the broker");
    let me = Member {
        group: "stranger".into(),
        node: "x".into(),
        topics: Vec::new(),
        state: Some(topic::STATE_CAPTURE),
        home: vec![0],
    };
    let mut rows = dns::Batch::default();
    rows.push(Mark::at(1, 0), dns::Row { ts: 1, ..dns::Row::unset() });
    let out = vec![Outgoing::rows(Topic::log(&dns::DEF), lane, &dns::DEF, rows.finish("x").0)];
    let session = bus.open(&me).expect("a session");
    drop(session.commit(Step { out, ..Step::default() }).expect("a commit"));
}

fn find(out: &Path, what: &str, extension: &str) -> PathBuf {
    let is_it = |path: &&PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(what) && path.extension().is_some_and(|e| e == extension)
    };
    files(out, "").iter().find(is_it).cloned().unwrap_or_else(|| panic!("no {what} {extension}"))
}

#[test]
fn books_balance_and_what_is_tampered_with_is_named() {
    let (cluster, inputs) = (Cluster::new(), split());
    cluster.run(&["audit"]).fails(1, &["no role has kept books here"]);
    for worker in cluster.start_all(&workers(&inputs)) {
        worker.wait().ok();
    }
    // What nobody has read yet is waiting, not missing.
    let (code, report) = audit(&cluster, &[]);
    assert_eq!((code, &report["members"]), (Some(0), &Value::from(3)), "{report:#}");
    let out = cluster.path("out");
    cluster.drain(&cluster.aggregators());
    cluster.drain(&cluster.managers());
    cluster.drain(&cluster.sinks(&out, "1h"));
    let (code, report) = audit(&cluster, &["--files"]);
    assert_eq!(code, Some(0), "{report:#}");
    let rows = logs::read(&out);
    for (stream, log) in &rows {
        let of = &report["streams"][stream];
        let want = Value::from(log.rows.len());
        for got in [&of["on_bus"], &of["files"]["sink.tsv"], &of["files"]["sink.parquet"]] {
            assert_eq!(got, &want, "{stream}: {report:#}");
        }
        assert_eq!(of["waiting"], 0, "{stream}");
    }
    let packets = |name: &str| report["packets"][name].as_i64().expect("a count");
    assert!(packets("packets") > 600 && packets("in_flows") > 500, "{report:#}");
    let said = cluster.run(&["audit"]).ok().out;
    assert!(said.ends_with("balanced\n") && said.contains("conn "), "{said}");

    // A published file that somebody takes away, with all its rows; and one that is cut.
    let parquet = find(&out, "dns-", "parquet");
    let kept = fs::read(&parquet).expect("a file");
    fs::remove_file(&parquet).expect("a file");
    let gone = named(&cluster, &[]);
    assert!(
        matches!(&gone[..], [(role, of, None, rows)] if role == "sink.parquet" && of == "dns" && *rows < 0),
        "{gone:?}"
    );
    fs::write(&parquet, kept).expect("a file");
    cluster.run(&["audit", "--files"]).ok();
    let tsv = find(&out, "conn.", "log");
    let kept = fs::read_to_string(&tsv).expect("a file");
    let (cut, _) = kept.trim_end().rsplit_once('\n').expect("lines");
    let (cut, _) = cut.rsplit_once('\n').expect("more lines");
    // Without its last row; the line after the rows is a comment.
    fs::write(&tsv, format!("{cut}\n")).expect("a file");
    assert_eq!(named(&cluster, &[]), [("sink.tsv".into(), "conn".into(), None, -1)]);
    fs::write(&tsv, kept).expect("a file");
    cluster.run(&["audit", "--files"]).ok();

    // A row that nobody of ours wrote.
    write_foreign(&cluster, 2);
    let foreign = named(&cluster, &[]);
    assert_eq!(foreign, [("nobody".into(), "log.dns".into(), Some(2), 1)]);

    let status = cluster.run(&["status", "--json"]).ok().out;
    let status: Value = serde_json::from_str(&status).expect("JSON");
    let members = status["members"].as_array().expect("members");
    assert_eq!(members.len(), 3 + 2 + 1 + 4);
    assert!(members.iter().all(|member| member["state"] == "ended"), "{status:#}");
    let lag = |role: &str| -> u64 {
        let lanes = status["lag"][role].as_object().expect("lanes");
        lanes.values().map(|lag| lag.as_u64().expect("a count")).sum()
    };
    assert_eq!((lag("aggregate"), lag("manager"), lag("sink.tsv")), (0, 0, 1), "{status:#}");
}

#[test]
fn status_shows_who_is_there_and_who_is_silent() {
    let cluster = Cluster::new();
    let mut running = cluster.start_all(&[node("m0", &["manager"]), node("a0", &["aggregate"])]);
    let status = || -> Value {
        let out = cluster.run(&["status", "--json"]).ok().out;
        serde_json::from_str(&out).expect("JSON")
    };
    let state = |status: &Value, node: &str| {
        let members = status["members"].as_array().expect("members");
        let found = members.iter().find(|member| member["node"] == node);
        found.map(|member| (member["state"].clone(), member["lanes"].clone()))
    };
    let all = serde_json::json!([0, 1, 2, 3]);
    until("both say that they are there with their lanes", || {
        let status = status();
        let is_there = |node| state(&status, node) == Some(("running".into(), all.clone()));
        is_there("m0") && is_there("a0")
    });
    running.remove(0).kill();
    until("the one that was killed is silent", || {
        let status = status();
        let is_silent = state(&status, "m0").is_some_and(|(state, _)| state == "silent");
        is_silent && status["unheld"]["manager"] == all
    });
    let said = cluster.run(&["status"]).ok().out;
    assert!(
        said.contains("SILENT") && said.contains("nobody holds lanes 0-3 of manager"),
        "{said}"
    );
    let [a0] = <[_; 1]>::try_from(running).expect("one is left");
    a0.terminate().ok();
    assert_eq!(state(&status(), "a0").expect("a0").0, "ended");
}

/// How long a manager's lanes may be nobody's.
const TAKEOVER_MS: i64 = 10_000;

#[test]
fn the_lanes_of_a_manager_that_is_killed_are_taken_over_in_time() {
    let (cluster, inputs) = (Cluster::new(), split());
    let (want, out) = (cluster.path("alone"), cluster.path("out"));
    alone(&inputs, &want);
    let managers = ["m0", "m1"].map(|name| node(name, &["manager"]));
    let lanes_of = |name: &str| -> usize {
        let out = cluster.run(&["status", "--json"]).ok().out;
        let status: Value = serde_json::from_str(&out).expect("JSON");
        let members = status["members"].as_array().expect("members");
        let found = members.iter().find(|member| member["node"] == name);
        found.and_then(|member| member["lanes"].as_array()).map_or(0, Vec::len)
    };
    let mut running = cluster.start_all(&managers);
    until("both share the lanes", || lanes_of("m0") == 2 && lanes_of("m1") == 2);
    // Notices come while one dies.
    let aggregators = cluster.start_all(&cluster.aggregators());
    let captures = cluster.start_all(&workers(&inputs));
    let killed_ms = System.now_ms();
    running.remove(0).kill();
    until("the other has all lanes", || lanes_of("m1") == 4);
    // By the books of the one who took over: it says at once what it holds.
    let told = cluster.run(&["tail", "metrics", "--all", "--drain"]).ok().out;
    let told = told.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let all = told.map(|record| record["value"].clone()).filter(|record| {
        record["node"] == "m1" && record["lanes"].as_array().is_some_and(|lanes| lanes.len() == 4)
    });
    let at_ms =
        all.filter_map(|record| record["at_ms"].as_i64()).filter(|at| *at > killed_ms).min();
    let took_ms = at_ms.expect("a record") - killed_ms;
    eprintln!("the lanes were taken over in {took_ms} ms");
    assert!(took_ms < TAKEOVER_MS, "{took_ms} ms");
    for capture in captures {
        capture.wait().ok();
    }
    for role in aggregators.into_iter().chain(running) {
        role.terminate().ok();
    }
    cluster.drain(&cluster.aggregators());
    cluster.drain(&managers);
    cluster.drain(&cluster.sinks(&out, "1h"));
    assert_agree(&want, &out);
    cluster.run(&["audit", "--files"]).ok();
}
