//! Every capture gives the logs that are kept in `golden/`, whatever the number of threads, every time.
//!
//! `WEIR_TEST_BLESS=1` writes what comes out now; what changed is then seen in the diff.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::weir::{weir, weir_ok};
use crate::harness::{files, folder, logs, root, split, text, trace};

/// One test a capture.
macro_rules! golden {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            is_golden(stringify!($name));
        })*
    };
}

golden!(dns ftp guess http mixed null raw scan sll sll2 ssh tls truncated vlan);

/// Logs by name, without the lines that tell of the time of the run.
type Texts = BTreeMap<String, String>;

fn is_golden(name: &str) {
    let made = made(name, 1);
    let kept = root().join("tests/golden").join(name);
    if std::env::var_os("WEIR_TEST_BLESS").is_some() {
        write(&kept, &made);
    }
    same(
        &format!("{name} and tests/golden/{name} (WEIR_TEST_BLESS=1 accepts)"),
        &texts(&kept),
        &made,
    );
    for threads in [1, 2, 3] {
        same(&format!("{name} with {threads} threads"), &made, &self::made(name, threads));
    }
}

fn made(name: &str, threads: u32) -> Texts {
    let (dir, input) = (folder(), trace(&format!("{name}.pcap")));
    let (out, threads) = (text(dir.path()), threads.to_string());
    let done = weir(&["run", "--read", &input, "--out", &out, "--threads", &threads]);
    // What is cut ends with 1 and has its rows all the same.
    assert_eq!(done.code, Some(i32::from(name == "truncated")), "{}", done.err);
    texts(dir.path())
}

fn texts(dir: &Path) -> Texts {
    let of_run = |line: &&str| !line.starts_with("#open\t") && !line.starts_with("#close\t");
    let text = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a log in UTF-8");
        let lines: String = text.lines().filter(of_run).map(|line| format!("{line}\n")).collect();
        (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), lines)
    };
    files(dir, ".log").into_iter().map(text).collect()
}

fn write(dir: &Path, texts: &Texts) {
    for old in files(dir, ".log") {
        fs::remove_file(old).expect("an old golden file goes");
    }
    fs::create_dir_all(dir).expect("the folder of golden files");
    for (name, text) in texts {
        fs::write(dir.join(name), text).expect("a golden file");
    }
}

/// Byte for byte; the message is about rows where rows differ.
fn same(what: &str, want: &Texts, got: &Texts) {
    if want != got {
        let logs = |texts: &Texts| texts.values().map(|text| logs::parse(text)).collect();
        logs::assert_same(what, &logs(want), &logs(got), &[]);
        for (name, text) in got {
            let pairs = want[name].lines().zip(text.lines());
            let first = pairs.enumerate().find(|(_, (want, got))| want != got);
            assert!(first.is_none(), "{what}: {name}: same rows, other order or header: {first:?}");
        }
        panic!("{what}: other files");
    }
}

#[test]
fn both_formats_of_a_capture_and_its_parts_give_the_same_rows() {
    let dir = folder();
    let run = |name: &str, inputs: &[&str]| {
        let out = dir.path().join(name);
        weir_ok(&[&["run", "--out", &text(&out), "--columns", "weir", "--read"], inputs].concat());
        logs::read(&out)
    };
    let [first, second, third] = split();
    let pcap = run("pcap", &[&trace("mixed.pcap")]);
    logs::assert_same("pcapng", &pcap, &run("pcapng", &[&trace("mixed.pcapng")]), &[]);
    logs::assert_same("in parts", &pcap, &run("parts", &[&first, &second, &third]), &[]);
    logs::assert_same("in other order", &pcap, &run("order", &[&third, &first, &second]), &[]);
}

#[test]
fn nothing_is_lost_or_doubled_over_many_flushes() {
    use crate::harness::packets::Pcap;
    const COPIES: u32 = 60;
    // Two hours apart, so that every flow has ended and no notice is held back.
    let dir = folder();
    let many = dir.path().join("many.pcap");
    Pcap::read(&trace("mixed.pcap")).write(&many, COPIES, 7200);
    let run = |input: &str, threads: &str| {
        let out = dir.path().join(format!("out-{threads}-{}", input.len()));
        weir_ok(&["run", "--read", input, "--out", &text(&out), "--threads", threads]);
        texts(&out)
    };
    let one = run(&trace("mixed.pcap"), "1");
    let all = run(&text(&many), "1");
    let rows = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    for (name, text) in &all {
        // What is logged once a day: of twelve copies in one, though a copy alone may be too short for it.
        if name == "x509.log" || name.starts_with("known_") {
            let days = logs::parse(text).1.counted(&["ts"]);
            assert!(days.values().all(|rows| *rows == i64::from(COPIES / 12)), "{name}: {days:?}");
        } else {
            assert_eq!(rows(text), rows(&one[name]) * COPIES as usize, "{name}");
        }
    }
    assert!(all.keys().eq(one.keys()), "{:?}", all.keys());
    same("three threads", &all, &run(&text(&many), "3"));
}
