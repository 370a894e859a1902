//! What holds of the source as a whole and no compiler checks.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::root;

/// A file is read in one go up to about here.
const LINES_MAX: usize = 500;
/// Tables: long, but nothing to follow.
const TABLES: &[&str] = &["capture/src/mime/document.rs"];

/// Folders that are not ours or not source.
const SKIPPED: &[&str] = &["target", "out"];

/// Libraries that only one crate may use, so that the rest can do without them.
const ONLY_IN: &[(&str, &str)] = &[
    ("rdkafka", "weir-bus"),
    ("pcap", "weir-capture"),
    ("parquet", "weir-sink"),
    ("clap", "weir"),
];
/// What each crate may use of ours.
const USES: &[(&str, &[&str])] = &[
    ("weir-model", &[]),
    ("weir-bus", &["weir-model"]),
    ("weir-detect", &["weir-model"]),
    ("weir-capture", &["weir-model", "weir-bus", "weir-detect"]),
    ("weir-aggregate", &["weir-model", "weir-bus", "weir-detect"]),
    ("weir-manager", &["weir-model", "weir-bus", "weir-detect"]),
    ("weir-sink", &["weir-model", "weir-bus", "weir-detect"]),
];

/// Every Rust file of the checkout, by its path below it.
fn sources() -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root().to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a folder of the checkout") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && !SKIPPED.contains(&name.as_str()) {
                    dirs.push(path);
                }
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(&path).expect("source in UTF-8");
                let below = path.strip_prefix(root()).expect("a path below the checkout");
                found.insert(below.to_owned(), text);
            }
        }
    }
    assert!(found.contains_key(Path::new("src/main.rs")));
    found
}

fn none(what: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{what}:\n  {}", wrong.join("\n  "));
}

#[test]
fn every_file_says_first_what_it_is() {
    let mute = |(path, text): (&PathBuf, &String)| {
        (!text.starts_with("//! ")).then(|| path.display().to_string())
    };
    none("no `//!` first", &sources().iter().filter_map(mute).collect::<Vec<_>>());
}

#[test]
fn no_file_is_long() {
    let long = |(path, text): (&PathBuf, &String)| {
        let (name, lines) = (path.display().to_string(), text.lines().count());
        (lines > LINES_MAX && !TABLES.contains(&name.as_str())).then(|| format!("{name}: {lines}"))
    };
    let wrong: Vec<_> = sources().iter().filter_map(long).collect();
    none(&format!("more than {LINES_MAX} lines"), &wrong);
}

#[test]
fn dependencies_point_one_way() {
    let cargo = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&cargo.stdout).expect("JSON");
    let (mut wrong, mut crates) = (Vec::new(), 0);
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        let of_ours = USES.iter().find(|(user, _)| *user == name).map(|(_, used)| *used);
        crates += usize::from(of_ours.is_some());
        assert!(of_ours.is_some() || name == "weir", "{name} is not in the table of this test");
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let used = dependency["name"].as_str().expect("a name");
            // Tests of a crate may use what they like.
            if dependency["kind"] == "dev" {
                continue;
            }
            let alone = ONLY_IN.iter().find(|(library, _)| *library == used);
            let is_foreign = alone.is_some_and(|(_, user)| *user != name);
            let is_upward =
                used.starts_with("weir") && of_ours.is_some_and(|of| !of.contains(&used));
            if is_foreign || is_upward {
                wrong.push(format!("{name} uses {used}"));
            }
        }
    }
    assert_eq!(crates, USES.len(), "crates of the table that are gone");
    none("dependencies that the layout does not allow", &wrong);
}
