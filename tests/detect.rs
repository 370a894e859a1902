//! What detectors say of the captures made for them, and that they say nothing of what is not enough.

use crate::harness::logs;
use crate::harness::weir::weir_ok;
use crate::harness::{folder, text, trace};

/// Type, message, `sub`, source and destination of the notices of a capture.
fn notices(name: &str, more: &[&str]) -> Vec<String> {
    let dir = folder();
    let (input, out) = (trace(&format!("detect/{name}.pcap")), text(dir.path()));
    weir_ok(&[&["run", "--read", &input, "--out", &out], more].concat());
    let logs = logs::read(dir.path());
    let rows = logs.get("notice").map(|log| log.select(["note", "msg", "sub", "src", "dst"]));
    let mut rows: Vec<String> = rows.into_iter().flatten().map(|row| row.join(" | ")).collect();
    rows.sort();
    rows
}

/// How long it took is another matter each time a capture is made.
fn without_times(rows: Vec<String>) -> Vec<String> {
    let cut = |row: &String| match (row.find(" in 0m"), row.find(" | local"), row.find(" | remote"))
    {
        (Some(at), Some(end), _) | (Some(at), None, Some(end)) => {
            format!("{}{}", &row[..at], &row[end..])
        }
        _ => row.clone(),
    };
    rows.iter().map(cut).collect()
}

#[test]
fn each_detector_finds_its_capture() {
    for (name, want) in [
        (
            "address-scan",
            vec![
                "Scan::Address_Scan | 10.77.0.66 scanned at least 25 unique hosts on port 22/tcp | local | 10.77.0.66 | -",
            ],
        ),
        (
            "port-scan",
            vec![
                "Scan::Port_Scan | 10.77.0.66 scanned at least 15 unique ports of host 10.77.0.10 | local | 10.77.0.66 | 10.77.0.10",
            ],
        ),
        (
            "random-scan",
            vec![
                "Scan::Random_Scan | 93.184.216.66 scanned at least 25 hosts on 25 ports | remote | 93.184.216.66 | -",
            ],
        ),
        (
            "slow-scan",
            vec![
                "Scan::Slow_Scan | 93.184.216.66 scanned at least 50 unique hosts and ports over HOURS hours | remote | 93.184.216.66 | -",
            ],
        ),
        (
            "sql-injection",
            vec![
                "HTTP::SQL_Injection_Attacker | An SQL injection attacker was discovered! | - | 10.77.0.2 | 10.77.0.10",
                "HTTP::SQL_Injection_Victim | An SQL injection victim was discovered! | - | 10.77.0.2 | 10.77.0.10",
            ],
        ),
    ] {
        let got = without_times(notices(name, &[]));
        let hours = ["9 hours", "10 hours", "11 hours", "12 hours"];
        let blind = |row: &String| {
            hours.iter().fold(row.clone(), |row, hours| row.replace(hours, "HOURS hours"))
        };
        assert_eq!(got.iter().map(blind).collect::<Vec<_>>(), want, "{name}");
    }
}

#[test]
fn what_is_not_enough_is_no_notice() {
    for name in ["address-scan", "port-scan", "random-scan", "slow-scan", "sql-injection"] {
        assert_eq!(notices(&format!("{name}-not"), &[]), [""; 0], "{name}");
    }
}

#[test]
fn thresholds_are_settings() {
    let dir = folder();
    let file = dir.path().join("weir.toml");
    let write = |settings: &str| std::fs::write(&file, settings).expect("weir.toml");
    write("[detect.port-scan]\nthreshold = 14\n[detect.address-scan]\nthreshold = 30\n");
    let config = ["--config", &text(&file)];
    assert_eq!(notices("port-scan-not", &config).len(), 1);
    assert_eq!(notices("address-scan", &config).len(), 1);
    write("[detect.address-scan]\nthreshold = 31\n");
    assert_eq!(notices("address-scan", &config).len(), 0);
    for wrong in ["[detect.port-scam]\n", "[detect.port-scan]\nwindow = '1s'\n"] {
        write(wrong);
        let (input, out) = (trace("detect/port-scan.pcap"), text(dir.path()));
        let done = crate::harness::weir::weir(&[
            "run", "--read", &input, "--out", &out, config[0], config[1],
        ]);
        done.fails(2, &["detect.port-sca"]);
    }
}
