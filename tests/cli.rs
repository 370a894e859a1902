//! What a person sees who types: help, messages, exit codes, and what is kept when it goes wrong.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;

use crate::harness::logs;
use crate::harness::packets::Pcap;
use crate::harness::weir::{Running, command, weir, weir_ok};
use crate::harness::{files, folder, text, trace};

const COMMANDS: &[&[&str]] = &[
    &["run"],
    &["capture"],
    &["aggregate"],
    &["manager"],
    &["sink"],
    &["node"],
    &["topics"],
    &["topics", "create"],
    &["topics", "describe"],
    &["policy"],
    &["policy", "check"],
    &["policy", "push"],
    &["policy", "show"],
    &["policy", "forget"],
    &["audit"],
    &["status"],
    &["schema"],
];

#[test]
fn help_names_every_command_and_reads_on_a_terminal() {
    let all = weir_ok(&["--help"]).out;
    for command in COMMANDS {
        let help = weir_ok(&[command, &["--help"][..]].concat()).out;
        let usage = format!("Usage: weir {}", command.join(" "));
        assert!(help.contains(&usage), "{usage}:\n{help}");
        assert!(all.contains(&format!("\n  {}", command[0])), "{all}");
        let first = help.lines().next().unwrap_or_default();
        assert!(first.len() > 10 && !first.starts_with("Usage"), "{command:?} says what it is for");
        for line in help.lines() {
            assert!(line.chars().count() <= 100, "{command:?}: {line}");
        }
    }
    assert!(weir_ok(&["--version"]).out.starts_with("weir "));
}

#[test]
fn wrong_usage_is_named_and_ends_with_2() {
    let (http, dir) = (trace("http.pcap"), folder());
    let out = text(dir.path());
    let run = |more: &[&str]| weir(&[&["run", "--read", &http, "--out", &out], more].concat());
    run(&["--format", "csv"]).fails(2, &["csv", "tsv, parquet, json"]);
    run(&["--rotate", "1x"]).fails(2, &["1x", "rotate"]);
    run(&["--columns", "mine"]).fails(2, &["mine", "zeek"]);
    run(&["--threads", "many"]).fails(2, &["many", "--threads"]);
    run(&["--interface", "lo"]).fails(2, &["--interface", "--read"]);
    weir(&["run", "--out", &out]).fails(2, &["--read"]);
    weir(&["run", "--read", &http]).fails(2, &["--out"]);
    weir(&["node", "--roles", "sink,typist"]).fails(2, &["typist", "aggregate"]);
    weir(&["sink", "--brokers", "127.0.0.1:1"]).fails(2, &["--out"]);
    weir(&["aggregate"]).fails(2, &["--brokers"]);
    weir(&["schema", "cnn"]).fails(2, &["cnn", "conn"]);
    weir(&["topics", "create", "--partitions", "0"]).fails(2, &["--partitions"]);
    weir(&["rum"]).fails(2, &["rum", "run"]);
    weir(&[]).fails(2, &["Usage"]);
    assert!(files(dir.path(), "").is_empty(), "nothing was begun");
}

#[test]
fn wrong_settings_are_named_and_end_with_2() {
    let (http, dir) = (trace("http.pcap"), folder());
    let (out, file) = (text(&dir.path().join("out")), dir.path().join("weir.toml"));
    let path = text(&file);
    let run = ["run", "--read", &http, "--out", &out];
    for (toml, said) in [
        ("colour = 1", &["colour"][..]),
        ("[sink]\nrotat = '1h'", &["rotat", "weir.toml", "2"]),
        ("[sink]\nrotate = 1", &["rotate"]),
        ("[sink]\nformat = ['csv']", &["csv"]),
        ("[capture]\nlocal_nets = ['10.0.0.0/99']", &["local_nets", "10.0.0.0/99"]),
        ("[capture]\ninterim = 'often'", &["capture.interim", "often"]),
        ("[cluster]\nsummary_interval = '1s'", &["cluster.summary_interval", "1s"]),
        ("[capture]\nhashes = ['md5', 'none']", &["capture.hashes", "none"]),
        ("[sink\n", &["weir.toml"]),
    ] {
        fs::write(&file, toml).unwrap();
        weir(&[&run[..], &["--config", &path]].concat()).fails(2, said);
    }
    weir(&[&run[..], &["--config", "/no/such.toml"]].concat()).fails(2, &["/no/such.toml"]);
    for (key, value) in [("WEIR_SINK_ROTAT", "1h"), ("WEIR_CAPTURE_THREADS", "many")] {
        let mut command = command(&run);
        command.env(key, value);
        Running::start(command).wait().fails(2, &[key]);
    }
    assert!(!Path::new(&out).exists(), "nothing was begun");
}

#[test]
fn what_is_typed_wins_over_the_environment_and_that_over_the_file() {
    let (http, dir) = (trace("http.pcap"), folder());
    let file = dir.path().join("weir.toml");
    let at = |name: &str| text(&dir.path().join(name));
    fs::write(&file, format!("[sink]\nout = '{}'\nformat = ['json']\n", at("file"))).unwrap();
    let file = text(&file);
    let read = ["run", "--read", &http, "--config", &file];
    weir_ok(&read);
    let mut by_environment = command(&read);
    by_environment.env("WEIR_SINK_OUT", at("environment"));
    Running::start(by_environment).wait().ok();
    let mut typed = command(&[&read[..], &["--out", &at("typed"), "--format", "tsv"]].concat());
    typed.env("WEIR_SINK_OUT", at("environment"));
    Running::start(typed).wait().ok();
    for (name, end) in [("file", ".json"), ("environment", ".json"), ("typed", ".log")] {
        let found = files(Path::new(&at(name)), "");
        assert_eq!(found, files(Path::new(&at(name)), end), "{name}");
        assert_eq!(found.len(), 5, "{name}: with conn, files, http, known_hosts, known_services");
    }
}

#[test]
fn only_the_hashes_that_are_wanted_are_made() {
    let dir = folder();
    for (wanted, analyzers, md5, sha256) in
        [("none", "(empty)", false, false), ("sha256,md5", "MD5,SHA256", true, true)]
    {
        let out = text(&dir.path().join(wanted));
        weir_ok(&["run", "-r", &trace("http.pcap"), "--out", &out, "--hashes", wanted]);
        let pdf = logs::read(Path::new(&out))["files"].only("mime_type", "application/pdf");
        assert_eq!(pdf.select(["analyzers", "sha1"]), [[analyzers, "-"]; 2]);
        let has = |column| pdf.column(column).iter().all(|cell| *cell != "-");
        assert_eq!([has("md5"), has("sha256")], [md5, sha256], "{wanted}");
    }
}

#[test]
fn an_input_that_is_none_is_named() {
    let dir = folder();
    let (out, not) = (text(&dir.path().join("out")), dir.path().join("notes.pcap"));
    fs::write(&not, "these are notes, not packets\n").unwrap();
    let empty = dir.path().join("empty.pcap");
    fs::write(&empty, "").unwrap();
    let run = |input: &str| weir(&["run", "--read", input, "--out", &out]);
    run("/no/such.pcap").fails(1, &["/no/such.pcap", "No such file"]);
    run(&text(&not)).fails(1, &["notes.pcap", "not a capture file"]);
    run(&text(&empty)).fails(1, &["empty.pcap"]);
    run(&text(dir.path())).fails(1, &[&text(dir.path())]);
    // One bad name among good ones: nothing is begun.
    weir(&["run", "--read", &trace("http.pcap"), "/no/such.pcap", "--out", &out])
        .fails(1, &["/no/such.pcap"]);
    assert!(files(Path::new(&out), "").is_empty());
}

#[test]
fn a_truncated_capture_gives_the_rows_up_to_the_cut() {
    let dir = folder();
    let at = |name: &str| text(&dir.path().join(name));
    let cut = trace("truncated.pcap");
    let whole = Pcap::read(&cut);
    assert_eq!(whole.len(), 622);
    whole.write(&dir.path().join("whole.pcap"), 1, 0);
    weir_ok(&["run", "--read", &at("whole.pcap"), "--out", &at("whole")]);
    weir(&["run", "--read", &cut, "--out", &at("cut")])
        .fails(1, &["truncated.pcap", "truncated", "packet 623", "622 packets"]);
    let (whole, cut) = (logs::read(Path::new(&at("whole"))), logs::read(Path::new(&at("cut"))));
    assert!(cut["conn"].rows.len() > 100);
    logs::assert_same("up to the cut", &whole, &cut, &[]);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    // Below a regular file, which stops root as well.
    let dir = folder();
    let file = dir.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let out = text(&file.join("logs"));
    weir(&["run", "--read", &trace("http.pcap"), "--out", &out]).fails(1, &[&out]);
    let out = text(&file);
    weir(&["run", "--read", &trace("http.pcap"), "--out", &out]).fails(1, &[&out]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "in the way");
}

#[test]
fn a_folder_that_holds_logs_is_refused_without_force() {
    let dir = folder();
    let out = text(dir.path());
    let (http, dns) = (trace("http.pcap"), trace("dns.pcap"));
    weir_ok(&["run", "--read", &http, "--out", &out]);
    let before = logs::read(dir.path());
    weir(&["run", "--read", &dns, "--out", &out]).fails(1, &[&out, "conn.log", "--force"]);
    logs::assert_same("after the refusal", &before, &logs::read(dir.path()), &[]);
    // Another format is not in the way, and with --force the old logs are gone, http.log too.
    weir_ok(&["run", "--read", &dns, "--out", &out, "--format", "parquet"]);
    weir_ok(&["run", "--read", &dns, "--out", &out, "--force"]);
    assert_eq!(
        logs::read(dir.path()).keys().collect::<Vec<_>>(),
        ["conn", "dns", "known_hosts", "known_services"]
    );
}

#[test]
fn one_process_sums_up_where_it_is_told_how_often() {
    let (dir, dns) = (folder(), trace("dns.pcap"));
    for (interval, is_there) in [(None, false), (Some("0"), false), (Some("1h"), true)] {
        let mut run = command(&["run", "--read", &dns, "--out", &text(dir.path()), "--force"]);
        run.envs(interval.map(|interval| ("WEIR_CLUSTER_SUMMARY_INTERVAL", interval)));
        Running::start(run).wait().ok();
        let is_here = logs::read(dir.path()).contains_key("cluster_summary");
        assert_eq!(is_here, is_there, "{interval:?}");
    }
}

#[test]
fn an_unreachable_broker_is_named() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let broker = listener.local_addr().unwrap().to_string();
    drop(listener);
    let (http, dir) = (trace("http.pcap"), folder());
    let out = text(&dir.path().join("out"));
    let running: Vec<Running> = [
        &["topics", "create"][..],
        &["topics", "describe"],
        &["capture", "--read", &http],
        &["aggregate"],
        &["manager", "--drain"],
        &["sink", "--out", &out],
        &["node", "--out", &out],
    ]
    .map(|args| Running::start(command(&[&["--brokers", &broker], args].concat())))
    .into();
    for running in running {
        running.wait().fails(1, &[&broker, "Kafka"]);
    }
}

#[test]
fn a_run_says_what_it_did_in_plain_text() {
    let dir = folder();
    let done = weir_ok(&["run", "--read", &trace("mixed.pcap"), "--out", &text(dir.path())]);
    for said in ["2488 packets", "623 flows", "conn 623", "dns 396", "conn.log (623 rows"] {
        assert!(done.err.contains(said), "{said}:\n{}", done.err);
    }
    assert_eq!(done.out, "", "standard output is for data");
}

#[test]
fn a_message_to_a_file_has_no_colours_and_comes_once() {
    let (dir, cut) = (folder(), trace("truncated.pcap"));
    let said = weir(&["run", "--read", &cut, "--out", &text(dir.path())]).fails(1, &[]).err;
    assert!(!said.contains('\x1b'), "{said:?}");
    assert_eq!(said.matches("is truncated").count(), 1, "{said}");
}

#[test]
fn standard_input_is_a_capture_too() {
    let dir = folder();
    let at = |name: &str| text(&dir.path().join(name));
    let dns = trace("dns.pcap");
    weir_ok(&["run", "--read", &dns, "--out", &at("file")]);
    let mut piped = command(&["run", "--read", "-", "--out", &at("pipe")]);
    let mut child = piped.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&fs::read(&dns).unwrap()).unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    let logs = ["file", "pipe"].map(|name| logs::read(Path::new(&at(name))));
    logs::assert_same("from a pipe", &logs[0], &logs[1], &[]);
}

#[test]
fn the_schema_in_three_forms() {
    const STREAMS: [&str; 22] = [
        "conn",
        "dns",
        "http",
        "ssl",
        "files",
        "x509",
        "tunnel",
        "ntp",
        "modbus",
        "dnp3",
        "ssh",
        "ftp",
        "smb_files",
        "smb_mapping",
        "known_hosts",
        "known_services",
        "known_certs",
        "weird",
        "notice",
        "notice_alarm",
        "notice_tally",
        "cluster_summary",
    ];
    let page = weir_ok(&["schema"]).out;
    let json = weir_ok(&["schema", "--format", "json"]).out;
    let sql = weir_ok(&["schema", "--format", "sql", "--dir", "/some/logs/"]).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let streams: Vec<_> = json.as_array().unwrap().iter().map(|s| s["stream"].as_str()).collect();
    assert_eq!(streams, STREAMS.map(Some));
    for stream in STREAMS {
        assert!(page.contains(&format!("## {stream}\n")), "{stream}");
        assert!(sql.contains(&format!("VIEW {stream} ")), "{stream}");
    }
    assert!(page.contains("| `id.orig_h` | addr |"), "{page}");
    assert!(sql.contains("'/some/logs/**/"), "{sql}");
    let one = weir_ok(&["schema", "dns"]).out;
    assert!(one.contains("## dns\n") && !one.contains("## conn\n"));
}
