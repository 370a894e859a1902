//! Wall clocks that jump, each process's for itself, by libfaketime (`apt install faketime`).

use std::fs;
use std::path::{Path, PathBuf};

use crate::field::Field;
use crate::harness::cluster::Cluster;
use crate::harness::random::Random;
use crate::harness::{kafka, text};
use crate::load::Load;
use crate::{SETTINGS, seeded};

/// A day, in each direction.
const JUMP_SECONDS: u64 = 86_400;

/// Where distributions put the library.
fn library() -> Option<PathBuf> {
    let found = fs::read_dir("/usr/lib").ok()?.flatten();
    let mut dirs = found.map(|dir| dir.path().join("faketime/libfaketimeMT.so.1"));
    let library = dirs.find(|path| path.exists());
    if library.is_none() {
        eprintln!("skipped: no libfaketime here (./dev setup test installs it)");
    }
    library
}

fn set(file: &Path, seconds: i64) {
    // In one go: a clock that is half written would be none.
    let new = file.with_extension("new");
    fs::write(&new, format!("{seconds:+}\n")).expect("the file of a clock");
    fs::rename(new, file).expect("the file of a clock");
}

/// Clocks jump by up to a day, forwards and back.
pub fn jumps(load: &'static Load, random: &Random, most: usize) {
    let Some(library) = library() else { return };
    let cluster = Cluster::on(kafka::shared().brokers(), SETTINGS);
    let clocks = cluster.path("clocks");
    fs::create_dir_all(&clocks).expect("a folder for clocks");
    let file = |name: &str| clocks.join(name);
    let mut field = Field::start_inside(cluster, load, random, |_, name| {
        set(&file(name), 0);
        [
            "env".to_owned(),
            format!("LD_PRELOAD={}", text(&library)),
            format!("FAKETIME_TIMESTAMP_FILE={}", text(&file(name))),
            "FAKETIME_CACHE_DURATION=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        ]
        .into()
    });
    for _ in 0..most {
        let pause = field.random.between_ms(300, 1500);
        field.wait(pause);
        if !field.is_under_load() {
            break;
        }
        let Some(at) = field.any(|_| true) else { break };
        let seconds = field.random.below(2 * JUMP_SECONDS) as i64 - JUMP_SECONDS as i64;
        set(&file(&field.members[at].node.name), seconds);
    }
    field.finish();
}

#[test]
fn clocks_that_jump_change_nothing() {
    jumps(Load::short(), &seeded(), 20);
}
