//! `weir policy` and what a document does: checked, run in one process, pushed to a running cluster.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bus::kafka::Kafka;
use bus::{Bus as _, Member, Step, documents, topic};
use serde_json::Value;

use crate::harness::cluster::{Cluster, node, workers};
use crate::harness::logs;
use crate::harness::weir::{Running, command, weir, weir_ok};
use crate::harness::{folder, kafka, root, text, trace, until};

const ALARM: &str = "[[rule]]\nname = 'scans'\nnote = 'Scan::*'\naction = 'alarm'\n";

#[test]
fn a_document_is_good_or_named_by_line_and_key() {
    let dir = folder();
    let file = dir.path().join("policy.toml");
    let path = text(&file);
    for (document, said) in [
        ("ignored_types = ['Scan::*'\n", &["policy.toml: line 1", "column 27", "unclosed"][..]),
        (
            "\n[[rule]]\nname = 'x'\naction = 'drop'\n",
            &["line 4, column 10", "rule.action", "drop"],
        ),
        (
            "[[rule]]\nname = 'x'\nsrc = ['10.0.0.0/8', '10.1']\naction = 'log'",
            &["line 3", "rule.src", "`10.1`"],
        ),
        ("emailed_types = ['A::B']", &["line 1", "emailed_types", "alarmed_types"]),
        (
            "[[allow]]\nsrc = '10.0.0.1'\nuntil = 2027-01-01T00:00:00\n",
            &["line 3", "allow.until", "zone"],
        ),
    ] {
        fs::write(&file, document).expect("a file");
        weir(&["policy", "check", &path]).fails(2, said);
        weir(&["policy", "push", &path, "--brokers", "127.0.0.1:1"]).fails(2, said);
        weir(&["run", "--read", &trace("scan.pcap"), "--out", &path, "--policy", &path])
            .fails(2, said);
    }
    weir(&["policy", "check", "/no/such.toml"]).fails(2, &["/no/such.toml"]);
    weir(&["policy", "show"]).fails(2, &["--brokers"]);
    fs::write(&file, "[[allow]]\nsrc = '10.0.0.1'\nuntil = 2020-01-01T00:00:00Z\n")
        .expect("a file");
    let said = weir_ok(&["policy", "check", &path]).out;
    assert!(said.contains("good, version ") && said.contains("1 of them are over"), "{said}");
}

#[test]
fn the_example_of_the_page_is_good() {
    let page = fs::read_to_string(root().join("docs/policy.md")).expect("docs/policy.md");
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let dir = folder();
    let file = dir.path().join("example.toml");
    fs::write(&file, example.expect("an example")).expect("a file");
    let said = weir_ok(&["policy", "check", &text(&file)]).out;
    assert!(said.contains("4 rules, 1 allowed"), "{said}");
}

#[test]
fn a_run_decides_by_its_document() {
    let (dir, scan) = (folder(), trace("scan.pcap"));
    let at = |name: &str| text(&dir.path().join(name));
    let run = |name: &str, document: &str, more: &[&str]| {
        fs::write(at("policy.toml"), document).expect("a file");
        let out = at(name);
        let mut args = vec!["run", "--read", &scan, "--out", &out];
        args.extend(more);
        let mut command = command(&args);
        if more.is_empty() {
            command.env("WEIR_POLICY_FILE", at("policy.toml"));
        }
        let said = Running::start(command).wait().ok().err;
        (logs::read(Path::new(&out)), said)
    };
    let typed = ["--policy", &at("policy.toml")];
    let (alarmed, _) = run("alarm", ALARM, &typed);
    let of =
        |log: &logs::Log| log.select(["note", "src", "actions", "suppress_for"]).concat().join(" ");
    let want = "Scan::Address_Scan 10.77.0.66 Notice::ACTION_ALARM,Notice::ACTION_LOG 3600.000000";
    assert_eq!(of(&alarmed["notice"]), want);
    assert_eq!(alarmed["notice"].fields, alarmed["notice_alarm"].fields);
    assert_eq!(of(&alarmed["notice_alarm"]), want);
    let short = "[type_suppression_intervals]\n'Scan::*' = '5m'\n";
    let (plain, _) = run("environment", short, &[]);
    assert_eq!(of(&plain["notice"]), "Scan::Address_Scan 10.77.0.66 Notice::ACTION_LOG 300.000000");
    assert!(!plain.contains_key("notice_alarm"));
    let (none, said) = run("ignore", "ignored_types = ['Scan::Address_Scan']", &typed);
    assert!(!none.contains_key("notice") && none.contains_key("conn"));
    assert!(said.contains("1 notices were ignored"), "{said}");
}

#[test]
fn a_running_cluster_takes_what_is_pushed_and_refuses_what_is_bad() {
    let cluster = Cluster::new();
    let file = cluster.path("policy.toml");
    let path = text(&file);
    let nodes = ["m0", "m1"].map(|name| node(name, &["manager"]));
    let managers = cluster.start_all(&nodes);
    let others =
        node("n0", &["node", "--roles", "aggregate,sink", "--out", &text(&cluster.path("n0"))]);
    let others = cluster.start(&others);
    assert!(cluster.run(&["policy", "show"]).ok().out.contains("no policy was pushed"));
    let shows = |said: &[&str]| {
        let page = || cluster.run(&["policy", "show"]).ok().out;
        until(&format!("{said:?} on the page"), || {
            let page = page();
            said.iter().all(|said| page.contains(said))
        });
    };
    shows(&["manager on node m0: none", "manager on node m1: none", "aggregate on node n0: none"]);
    fs::write(&file, ALARM).expect("a file");
    let pushed = cluster.run(&["policy", "push", &path]).ok().out;
    let version =
        pushed.split_whitespace().nth(2).expect("a version").trim_end_matches(';').to_owned();
    shows(&[&format!("version {version}: 4 of 4 roles have it"), ALARM]);
    // Anybody may write to the topic; nobody takes what is bad.
    let config = bus::kafka::Config {
        brokers: kafka::shared().brokers(),
        prefix: cluster.prefix().to_owned(),
        ..Default::default()
    };
    let bus = Kafka::connect(config).expect("the broker");
    let (group, node_name) = ("somebody".to_owned(), "x".to_owned());
    let me = Member { group, node: node_name, topics: vec![], state: None, home: vec![] };
    let bad = Some("ignored_types = ['Scan::*']\nmails = 1\n".into());
    let record = documents::put(&topic::POLICY, documents::NOTICE_POLICY, bad, bus.lanes());
    let step = Step { out: vec![record], ..Step::default() };
    drop(bus.open(&me).expect("a session").commit(step).expect("a commit"));
    let runs = |node: &str| format!("manager on node {node}: {version}, said");
    shows(&["nobody takes it: line 2", "refused", "mails", &runs("m0"), &runs("m1")]);
    shows(&[&format!("sink.tsv on node n0: {version}, said")]);
    // Whoever begins now, and has seen neither, finds the good one too.
    let late = cluster.start(&node("a9", &["aggregate"]));
    shows(&[&format!("aggregate on node a9: {version}, said")]);
    late.terminate().ok();
    cluster.run(&["policy", "forget", "a9"]).ok();
    // What each runs stands in its books as well.
    let policy = || -> BTreeMap<String, Value> {
        let status = cluster.run(&["status", "--json"]).ok().out;
        let status: Value = serde_json::from_str(&status).expect("JSON");
        let members = status["members"].as_array().expect("members").iter();
        let named =
            |member: &Value| format!("{} {}", member["role"], member["node"]).replace('"', "");
        members.map(|member| (named(member), member["facts"]["policy"].clone())).collect()
    };
    until("every running role says which version it runs", || {
        let policy = policy();
        ["manager m0", "manager m1", "aggregate n0", "sink.tsv n0"]
            .iter()
            .all(|of| policy.get(*of) == Some(&Value::from(version.clone())))
    });
    let table = cluster.run(&["status"]).ok().out;
    assert!(table.lines().next().is_some_and(|head| head.contains(" policy ")), "{table}");
    assert!(table.matches(&version).count() >= 4, "{table}");
    for running in managers.into_iter().chain([others]) {
        running.terminate().ok();
    }
    // Who is gone for good is not counted.
    cluster.run(&["policy", "forget", "n1"]).fails(1, &["no node `n1`"]);
    cluster.run(&["policy", "forget", "n0"]).ok();
    let page = cluster.run(&["policy", "show"]).ok().out;
    // The managers are, too, in a while: then they are shown, and not counted.
    assert!(page.contains("# manager on node m1") && !page.contains("n0"), "{page}");
    // Managers that begin now find the bad one as the newest, and the good one in the state of their lanes.
    for worker in cluster.start_all(&workers(&[trace("scan.pcap")])) {
        worker.wait().ok();
    }
    cluster.drain(&[node("a0", &["aggregate", "--sources", "1"])]);
    cluster.drain(&nodes[..1]);
    let out = cluster.path("out");
    cluster.drain(&[node("s0", &["sink", "--rotate", "0", "--out", &text(&out)])]);
    let logs = logs::read(&out);
    assert_eq!(
        logs["notice_alarm"].select(["note", "src"]),
        [["Scan::Address_Scan", "10.77.0.66"]]
    );
    assert_eq!(logs["notice"].rows.len(), 1);
    // Workers ran it while they read, and are no nodes any more.
    let status = cluster.run(&["status", "--json"]).ok().out;
    let status: Value = serde_json::from_str(&status).expect("JSON");
    let members = status["members"].as_array().expect("members");
    let capture = members.iter().find(|member| member["role"] == "capture").expect("a worker");
    assert_eq!(capture["facts"]["policy"], version.as_str(), "{capture:#}");
    let page = cluster.run(&["policy", "show"]).ok().out;
    assert!(!page.contains("capture on node"), "{page}");
}
