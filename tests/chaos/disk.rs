//! A sink whose disk is full: it waits, says so, and goes on when there is room.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::field::{Field, Stage};
use crate::harness::cluster::Cluster;
use crate::harness::random::Random;
use crate::harness::{kafka, text, until};
use crate::load::Load;
use crate::{SETTINGS, seeded};

/// Room on the disk once nothing else takes it: much more than a load's logs.
const DISK: &str = "512m";
/// Room that is left at first.
const LEFT_BYTES: usize = 1 << 20;

/// A disk of its own on a folder, which only those see who are started inside of it; gone with this value.
#[derive(Debug)]
pub struct Disk {
    holder: Child,
    dir: PathBuf,
}

impl Disk {
    /// Of this size; `None` where this user may not make one.
    pub fn new(dir: &Path, size: &str) -> Option<Disk> {
        fs::create_dir_all(dir).expect("a folder for the disk");
        let script = "mount -t tmpfs -o size=\"$1\" disk \"$0\" && : > \"$0/.mounted\" && cat";
        let holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, &text(dir), size])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut holder) = holder else { return None };
        let seen = seen(&holder, dir).join(".mounted");
        let mut refused = false;
        until("a disk of its own", || {
            refused = holder.try_wait().is_ok_and(|ended| ended.is_some());
            refused || seen.exists()
        });
        if refused {
            eprintln!("skipped: this user may not mount");
            return None;
        }
        fs::remove_file(seen).expect("the mark of the mount");
        Some(Disk { holder, dir: dir.to_owned() })
    }

    /// What starts a command where the disk is.
    pub fn outer(&self) -> Vec<String> {
        ["nsenter", "--mount", "--target"]
            .map(str::to_owned)
            .into_iter()
            .chain([self.holder.id().to_string()])
            .collect()
    }

    /// The folder as those outside see it.
    pub fn seen(&self) -> PathBuf {
        seen(&self.holder, &self.dir)
    }

    /// Takes all room but so many bytes.
    pub fn fill(&self, left: usize) {
        let mut ballast = File::create(self.seen().join("ballast")).expect("a file on the disk");
        let block = vec![0; LEFT_BYTES];
        while ballast.write_all(&block).is_ok() {}
        let length = ballast.metadata().expect("its size").len();
        ballast.set_len(length - left as u64).expect("a file that is cut");
    }

    /// Gives it back.
    pub fn clear(&self) {
        fs::remove_file(self.seen().join("ballast")).expect("the ballast");
    }
}

fn seen(holder: &Child, dir: &Path) -> PathBuf {
    let inside = dir.strip_prefix("/").expect("a whole path");
    PathBuf::from(format!("/proc/{}/root", holder.id())).join(inside)
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Fills the disk again and again.
pub fn full(load: &'static Load, random: &Random, rounds: usize) {
    let cluster = Cluster::on(kafka::shared().brokers(), SETTINGS);
    let Some(disk) = Disk::new(&cluster.path("out"), DISK) else { return };
    disk.fill(LEFT_BYTES);
    let mut field = Field::start_inside(cluster, load, random, |stage, _| match stage {
        Stage::Sink => disk.outer(),
        _ => Vec::new(),
    });
    field.published = disk.seen();
    for round in 0..rounds {
        until("a sink says that its disk is full", || {
            field.is_under_load();
            let sinks = field.running(|stage| stage == Stage::Sink);
            sinks.iter().any(|at| {
                let running = field.members[*at].running.as_ref().expect("it runs");
                running.said().matches("no room in").count() > round
            })
        });
        std::thread::sleep(field.random.between_ms(500, 4000));
        disk.clear();
        if round + 1 < rounds {
            let pause = field.random.between_ms(2000, 8000) + Duration::from_secs(1);
            field.wait(pause);
            disk.fill(LEFT_BYTES);
        }
    }
    field.finish();
}

#[test]
fn a_sink_waits_while_its_disk_is_full() {
    full(Load::short(), &seeded(), 1);
}
