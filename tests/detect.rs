//! What detectors say of the captures made for them and of Zeek's own, and that they say nothing of what is not enough.

use std::path::{Path, PathBuf};

use crate::harness::logs;
use crate::harness::weir::{weir, weir_ok};
use crate::harness::{files, folder, root, text, trace};

/// Type, message, `sub`, source and destination of the notices of a capture.
fn notices(capture: &str, more: &[&str]) -> Vec<String> {
    let dir = folder();
    weir_ok(&[&["run", "--read", capture, "--out", &text(dir.path())], more].concat());
    let logs = logs::read(dir.path());
    let rows = logs.get("notice").map(|log| log.select(["note", "msg", "sub", "src", "dst"]));
    let mut rows: Vec<String> = rows.into_iter().flatten().map(|row| row.join(" | ")).collect();
    rows.sort();
    rows
}

/// The same of one of ours, with these settings.
fn notices_with(settings: &str, name: &str) -> Vec<String> {
    let dir = folder();
    let file = dir.path().join("weir.toml");
    std::fs::write(&file, settings).expect("weir.toml");
    notices(&trace(name), &["--config", &text(&file)])
}

/// How long it took is another matter each time a capture is made.
fn without_times(rows: Vec<String>) -> Vec<String> {
    let cut = |row: &String| match row.split_once(" in 0m") {
        Some((what, rest)) => format!("{what}{}", &rest[rest.find(" | ").unwrap_or(0)..]),
        None => row.clone(),
    };
    rows.iter().map(cut).collect()
}

#[test]
fn each_detector_finds_its_capture() {
    for (name, want) in [
        (
            "detect/address-scan.pcap",
            vec![
                "Scan::Address_Scan | 10.77.0.66 scanned at least 25 unique hosts on port 22/tcp | local | 10.77.0.66 | -",
            ],
        ),
        (
            "detect/port-scan.pcap",
            vec![
                "Scan::Port_Scan | 10.77.0.66 scanned at least 15 unique ports of host 10.77.0.10 | local | 10.77.0.66 | 10.77.0.10",
            ],
        ),
        (
            "detect/random-scan.pcap",
            vec![
                "Scan::Random_Scan | 93.184.216.66 scanned at least 25 hosts on 25 ports | remote | 93.184.216.66 | -",
            ],
        ),
        (
            "detect/slow-scan.pcap",
            vec![
                "Scan::Slow_Scan | 93.184.216.66 scanned at least 50 unique hosts and ports over HOURS hours | remote | 93.184.216.66 | -",
            ],
        ),
        (
            "detect/sql-injection.pcap",
            vec![
                "HTTP::SQL_Injection_Attacker | An SQL injection attacker was discovered! | - | 10.77.0.2 | 10.77.0.10",
                "HTTP::SQL_Injection_Victim | An SQL injection victim was discovered! | - | 10.77.0.2 | 10.77.0.10",
            ],
        ),
        (
            "guess.pcap",
            vec![
                "FTP::Bruteforcing | 10.77.0.66 had 20 failed logins on 1 FTP server | - | 10.77.0.66 | -",
                "SSH::Password_Guessing | 10.77.0.66 appears to be guessing SSH passwords (seen in 30 connections). | Sampled servers:  10.77.0.10, 10.77.0.1 | 10.77.0.66 | -",
            ],
        ),
    ] {
        let got = without_times(notices(&trace(name), &[]));
        let hours = ["9 hours", "10 hours", "11 hours", "12 hours"];
        let blind = |row: &String| {
            hours.iter().fold(row.clone(), |row, hours| row.replace(hours, "HOURS hours"))
        };
        assert_eq!(got.iter().map(blind).collect::<Vec<_>>(), want, "{name}");
    }
}

/// Captures with just less than enough, what is counted in them, and whose rule that is.
const NOT_ENOUGH: [(&str, usize, &str); 7] = [
    ("address-scan", 24, "address-scan"),
    ("port-scan", 14, "port-scan"),
    ("random-scan", 24, "random-scan"),
    ("slow-scan", 49, "slow-scan"),
    ("sql-injection", 49, "sql-injection-attacker"),
    ("ssh-guessing", 29, "ssh-password-guessing"),
    ("ftp-bruteforcing", 19, "ftp-bruteforcing"),
];

#[test]
fn what_is_not_enough_is_no_notice() {
    for (name, count, rule) in NOT_ENOUGH {
        let name = format!("detect/{name}-not.pcap");
        assert_eq!(notices(&trace(&name), &[]), [""; 0], "{name}");
        // One more would be enough.
        let settings = format!("[detect.{rule}]\nthreshold = {count}\n");
        assert_eq!(notices_with(&settings, &name).len(), 1, "{name} with {settings}");
    }
    // Who mistypes guesses nothing.
    for name in ["ftp.pcap", "ssh.pcap"] {
        assert_eq!(notices(&trace(name), &[]), [""; 0], "{name}");
    }
}

#[test]
fn thresholds_are_settings() {
    let capture = "detect/address-scan.pcap";
    assert_eq!(notices_with("[detect.address-scan]\nthreshold = 30\n", capture).len(), 1);
    assert_eq!(notices_with("[detect.address-scan]\nthreshold = 31\n", capture).len(), 0);
    let dir = folder();
    let (file, out) = (dir.path().join("weir.toml"), text(dir.path()));
    for wrong in ["[detect.port-scam]\n", "[detect.port-scan]\nwindow = '1s'\n"] {
        std::fs::write(&file, wrong).expect("weir.toml");
        let (input, config) = (trace("detect/port-scan.pcap"), text(&file));
        let done = weir(&["run", "--read", &input, "--out", &out, "--config", &config]);
        done.fails(2, &["detect.port-sca"]);
    }
}

/// The captures of the conformance cases with such a name, each with Zeek's logs beside it; none where the cases are
/// not at hand.
fn cases(name: &str) -> Vec<PathBuf> {
    let all = root().join("../shared/conformance/cases");
    if !all.exists() {
        eprintln!("skipped: no conformance cases in {}", all.display());
        return Vec::new();
    }
    let is_it = |dir: &Path| dir.file_name().is_some_and(|is| is.to_string_lossy().contains(name));
    let mut found = files(&all, "trace.pcap");
    found.retain(|path| path.parent().is_some_and(is_it));
    assert!(!found.is_empty(), "no case is called {name}");
    found
}

/// Checksums count for as much as they did for Zeek.
const AS_ZEEK: &[&str] = &["-C"];

#[test]
fn zeeks_capture_of_brute_force_gives_zeeks_notice() {
    for capture in cases("zeek-ftp_bruteforce") {
        // As in the documentation of Zeek's script.
        let msg = "192.168.56.1 had 20 failed logins on 1 FTP server in 0m37s";
        let want = format!("FTP::Bruteforcing | {msg} | - | 192.168.56.1 | -");
        assert_eq!(notices(&text(&capture), AS_ZEEK), [want]);
    }
}

#[test]
fn where_zeeks_scripts_are_silent_so_are_ours() {
    for capture in ["ssh", "sql_injection"].into_iter().flat_map(cases) {
        // Zeek ran its scripts on each.
        assert!(!capture.with_file_name("notice.log").exists(), "{}", capture.display());
        let mut got = notices(&text(&capture), AS_ZEEK);
        got.retain(|row| row.starts_with("SSH::") || row.starts_with("HTTP::"));
        assert_eq!(got, [""; 0], "{}", capture.display());
    }
}
