//! Roles as processes of their own on a real Kafka give what one process gives.

use std::path::Path;

use serde_json::Value;

use crate::harness::agree::{alone, assert_agree};
use crate::harness::cluster::{Cluster, node, workers};
use crate::harness::logs::{self, Logs};
use crate::harness::packets::Pcap;
use crate::harness::weir::{Running, weir_ok};
use crate::harness::{folder, kafka, split, text, trace};

/// Every stream that these captures have rows of.
const STREAMS: [&str; 13] = [
    "cluster_summary",
    "conn",
    "dns",
    "files",
    "http",
    "known_certs",
    "known_hosts",
    "known_services",
    "notice",
    "ssh",
    "ssl",
    "weird",
    "x509",
];

#[test]
fn topics_are_made_once_and_described() {
    let cluster = Cluster::bare();
    let prefix = cluster.prefix();
    let made = cluster.run(&["topics", "create", "--partitions", "3"]).ok().out;
    for topic in ["raw.conn", "log.conn", "log.notice", "state.manager", "files", "deadletter"] {
        let name = format!("{prefix}.{topic} ");
        let line = made.lines().find(|line| line.starts_with(&name)).expect(topic);
        assert!(line.contains(" 3 ") && line.ends_with("created"), "{line}");
    }
    let again = cluster.run(&["topics", "create", "--partitions", "3"]).ok().out;
    assert_eq!(again.lines().count(), made.lines().count());
    assert!(again.lines().skip(1).all(|line| line.ends_with(" ok")), "{again}");
    assert_eq!(cluster.run(&["topics", "describe"]).ok().out, again);
    // Another count of partitions is no small thing: it is refused, and nothing is changed.
    cluster
        .run(&["topics", "create", "--partitions", "5"])
        .fails(1, &[&format!("{prefix}.raw.conn")]);
    assert_eq!(cluster.run(&["topics", "describe"]).ok().out, again);
}

#[test]
fn every_role_refuses_topics_that_are_missing_or_wrong() {
    let cluster = Cluster::bare();
    let (prefix, out) = (cluster.prefix(), text(&cluster.path("out")));
    let refused = |said: &str| {
        let http = trace("http.pcap");
        let roles = [
            &["capture", "--read", &http][..],
            &["aggregate", "--drain"],
            &["manager", "--drain"],
            &["sink", "--out", &out, "--drain"],
        ];
        let running: Vec<Running> = roles.map(|args| cluster.spawn(args)).into();
        for role in running {
            role.wait().fails(1, &[said, "weir topics create"]);
        }
    };
    refused(&format!("{prefix}.…"));
    // The topic `notice` of the prefix `P.log` has the name of `log.notice` of the prefix `P`, and so
    // makes one topic of `P` that has another count of partitions; all others are still missing.
    let brokers = kafka::shared().brokers();
    let other = format!("{prefix}.log");
    let create = ["topics", "create", "--partitions"];
    weir_ok(&[&["--brokers", &brokers, "--prefix", &other], &create[..], &["2"]].concat());
    refused(&format!("{prefix}.raw.conn"));
    let wrong = format!("{prefix}.log.notice");
    cluster.run(&[&create[..], &["3"]].concat()).fails(1, &[&wrong]);
    cluster.run(&["topics", "describe"]).fails(1, &[&wrong]);
    cluster.run(&["manager", "--drain"]).fails(1, &[&wrong, "2 partitions"]);
}

#[test]
fn eight_processes_at_once_give_the_rows_of_one() {
    let (cluster, inputs) = (Cluster::new(), split());
    let want = cluster.path("alone");
    assert_eq!(alone(&inputs, &want).keys().collect::<Vec<_>>(), STREAMS);
    let out = cluster.path("out");
    let stages = [cluster.aggregators(), cluster.managers(), cluster.sinks(&out, "1h")];
    let running: Vec<Vec<Running>> = stages.iter().map(|nodes| cluster.start_all(nodes)).collect();
    for worker in cluster.start_all(&workers(&inputs)) {
        worker.wait().ok();
    }
    // In the order of the data: stopped by SIGTERM, which is a good end, and what was left is done.
    for (nodes, running) in stages.iter().zip(running) {
        for role in running {
            role.terminate().ok();
        }
        cluster.drain(nodes);
    }
    assert_agree(&want, &out);
}

#[test]
fn roles_one_after_the_other_give_the_same() {
    let (cluster, inputs) = (Cluster::new(), split());
    let (want, out) = (cluster.path("alone"), cluster.path("out"));
    alone(&inputs, &want);
    for worker in workers(&inputs) {
        cluster.start(&worker).wait().ok();
    }
    cluster.drain(&cluster.aggregators());
    cluster.drain(&cluster.managers());
    // Without rotation, so that each sink has a folder of its own.
    let sinks = ["s0", "s1"].map(|name| {
        let dir = text(&out.join(name));
        node(name, &["sink", "--format", "tsv,parquet", "--rotate", "0", "--out", &dir])
    });
    cluster.drain(&sinks);
    assert_agree(&want, &out);
    // Nothing is left: once more gives nothing more, nor does a capture that was read already.
    let said = cluster.start(&workers(&inputs)[0]).wait().ok().err;
    assert!(said.contains("--again"), "{said}");
    cluster.drain(&cluster.aggregators());
    cluster.drain(&cluster.managers());
    let more = cluster.path("more");
    cluster.drain(&cluster.sinks(&more, "1h"));
    assert!(logs::read(&more).is_empty());
}

#[test]
fn one_node_of_all_roles_drains_in_the_order_of_the_data() {
    let (cluster, inputs) = (Cluster::new(), split());
    let (want, out) = (cluster.path("alone"), cluster.path("out"));
    alone(&inputs, &want);
    for worker in workers(&inputs) {
        cluster.start(&worker).wait().ok();
    }
    let dir = text(&out);
    let args =
        ["node", "--sources", "3", "--format", "tsv,parquet", "--rotate", "0", "--out", &dir];
    cluster.drain(&[node("n0", &args)]);
    assert_agree(&want, &out);
    // Its own unrotated files do not stop it from starting again, and nothing is written twice.
    cluster.drain(&[node("n0", &args)]);
    assert_agree(&want, &out);
    // Another node may start there as well: the catalog knows the files. A stranger's are refused.
    cluster.start(&node("n1", &[&args[..], &["--drain"]].concat())).wait().ok();
    let foreign = cluster.path("foreign");
    std::fs::create_dir_all(&foreign).expect("a folder");
    std::fs::write(foreign.join("conn.log"), "mine").expect("a file");
    let sink = node("n2", &["sink", "--rotate", "0", "--drain", "--out", &text(&foreign)]);
    cluster.start(&sink).wait().fails(1, &["already holds conn.log", "--force"]);
}

#[test]
fn three_workers_that_see_one_scan_give_one_notice() {
    let cluster = Cluster::new();
    let scan = trace("scan.pcap");
    let out = cluster.path("out");
    let consumers = node("c0", &["node", "--roles", "aggregate,manager", "--sources", "3"]);
    let running = cluster.start(&consumers);
    for worker in cluster.start_all(&workers(&[scan.clone(), scan.clone(), scan])) {
        worker.wait().ok();
    }
    running.terminate().ok();
    cluster.drain(&[node("c0", &["aggregate", "--sources", "3"])]);
    cluster.drain(&[node("c0", &["manager"])]);
    let columns = ["--columns", "weir", "--rotate", "0"];
    cluster.drain(&[node("s0", &[&["sink", "--out", &text(&out)], &columns[..]].concat())]);
    let logs = logs::read(&out);
    let notice = logs["notice"].select(["note", "src", "p", "n", "observers"]);
    assert_eq!(notice, [["Scan::Address_Scan", "10.77.0.66", "22", "3", "w0,w1,w2"]]);
    // Each worker tells of every flow that it saw.
    assert_eq!(logs["conn"].count(["sensor"]), [(["w0"], 88), (["w1"], 88), (["w2"], 88)].into());
}

/// Four copies of a capture in parts, so far apart that every flow has ended: four intervals, and a worker of each part.
#[test]
fn the_summary_of_three_workers_is_that_of_one_process() {
    let dir = folder();
    let parts = split().map(|part| {
        let name = Path::new(&part).file_name().expect("a name").to_owned();
        let copies = dir.path().join(name);
        Pcap::read(&part).write(&copies, 4, 7200);
        text(&copies)
    });
    let cluster = Cluster::new();
    let (want, out) = (cluster.path("alone"), cluster.path("out"));
    let one = alone(&parts, &want);
    let (one, conn) = (&one["cluster_summary"], &one["conn"]);
    assert_eq!(one.rows.len(), 4, "{one:?}");
    let sum = |log: &logs::Log, column: &str| -> u64 {
        log.column(column).iter().filter_map(|cell| cell.parse::<u64>().ok()).sum()
    };
    assert_eq!(sum(one, "conns"), conn.rows.len() as u64);
    let bytes = sum(conn, "orig_ip_bytes") + sum(conn, "resp_ip_bytes");
    assert_eq!(
        (sum(one, "ip_bytes"), sum(one, "missed_bytes")),
        (bytes, sum(conn, "missed_bytes"))
    );
    assert!(one.column("workers").iter().all(|workers| *workers == "zeek"));
    for worker in cluster.start_all(&workers(&parts)) {
        worker.wait().ok();
    }
    // One of each dies at once, with what it has.
    for nodes in [cluster.aggregators(), cluster.managers()] {
        cluster.start(&nodes[0]).kill();
        cluster.drain(&nodes);
    }
    cluster.drain(&cluster.sinks(&out, "1h"));
    assert_agree(&want, &out);
    let many = &logs::read(&out)["cluster_summary"];
    for [workers, shares, imbalance] in many.select(["workers", "shares", "imbalance"]) {
        let mut workers: Vec<&str> = workers.split(',').collect();
        workers.sort_unstable();
        assert_eq!(workers, ["w0", "w1", "w2"]);
        let shares: Vec<f64> =
            shares.split(',').map(|share| share.parse().expect("a share")).collect();
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-4, "{shares:?}");
        let imbalance: f64 = imbalance.parse().expect("a number");
        assert!((imbalance - shares[0] * 3.0).abs() < 1e-4 && imbalance >= 1.0, "{imbalance}");
    }
}

#[test]
fn tail_prints_a_topic_as_json_lines_and_follows() {
    let cluster = Cluster::new();
    let lines = |args: &[&str]| -> Vec<Value> {
        let out = cluster.run(&[&["tail"], args].concat()).ok().out;
        out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    // One that follows sees what comes after it began.
    let mut following = cluster.spawn(&["tail", "dns", "-v", "-n", "2", "-w", "qtype_name=AAAA"]);
    following.wait_for("reading from here on");
    cluster.start(&workers(&[trace("dns.pcap")])[0]).wait().ok();
    let out = following.wait().ok().out;
    assert_eq!(out.lines().filter(|line| line.contains("\"qtype_name\":\"AAAA\"")).count(), 2);
    let all = lines(&["dns", "--all", "--drain"]);
    let alone = logs_of_one("dns.pcap");
    assert_eq!(all.len(), alone["dns"].rows.len());
    assert!(all.iter().all(|row| row["_path"] == "dns" && row["id.resp_p"] == 53));
    let raw = lines(&["raw.conn", "--all", "--drain", "--columns", "uid,service"]);
    assert_eq!(raw.len(), alone["conn"].rows.len());
    let keys =
        |row: &Value| row.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert!(raw.iter().any(|row| keys(row) == ["service", "uid"]));
    // From the present on there is nothing.
    assert!(lines(&["dns", "--drain"]).is_empty());
    let state = lines(&["state.capture", "--all", "--drain"]);
    assert_eq!(state.last().expect("a position")["value"]["end"], true);
    cluster.run(&["tail", "dnss"]).fails(2, &["no stream or topic `dnss`", "dns, "]);
    cluster.run(&["tail", "dns", "-w", "asked=x"]).fails(2, &["dns has no column `asked`"]);
}

fn logs_of_one(name: &str) -> Logs {
    let dir = folder();
    alone(&[trace(name)], dir.path())
}

#[test]
fn a_truncated_capture_reaches_the_logs_up_to_the_cut() {
    let (cluster, dir) = (Cluster::new(), folder());
    let cut = trace("truncated.pcap");
    let capture = node("w0", &["capture", "--read", &cut]);
    cluster.start(&capture).wait().fails(1, &["truncated.pcap", "packet 623"]);
    cluster.drain(&[node("a0", &["aggregate", "--sources", "1"])]);
    cluster.drain(&cluster.managers());
    let out = text(dir.path());
    cluster.drain(&[node("s0", &["sink", "--rotate", "0", "--out", &out])]);
    assert_eq!(logs::read(dir.path())["conn"].rows.len(), 139);
}
