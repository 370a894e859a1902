//! Several taps, while aggregators and managers are killed: one scan that three workers see is one notice, and a
//! capture divided by direction joins to the rows of the whole.

use std::path::Path;

use crate::SETTINGS;
use crate::field::{Field, Stage};
use crate::harness::agree::{alone, assert_only_logs};
use crate::harness::cluster::Cluster;
use crate::harness::logs::{self, Log, Logs};
use crate::harness::packets::{self, Pcap};
use crate::harness::random::Random;
use crate::harness::{folder, kafka, text, trace};
use crate::load::Load;
use crate::seeded;

/// The scan comes so often, each time two hours after the last: a notice is held back for one.
const SCANS: u32 = 150;
const SCANS_APART_S: u32 = 7200;
/// Kills of aggregators and managers in one run.
const KILLS: usize = 8;
/// mixed.pcap comes so often, so much later each time: longer than a half waits for the other.
const COPIES: u32 = 20;
const COPIES_APART_S: u32 = 400;
/// Rows of conn that have to be the whole's, in a hundred.
const EQUAL_LEAST: f64 = 99.0;

/// What each worker's tap shows of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taps {
    /// All of it at each of three, which therefore overlap.
    Overlap,
    /// To each of three the scanner with a third of its victims, fewer than make a scan.
    Thirds,
    /// To each of two one direction.
    Directions,
}

impl Taps {
    fn shows(self, nth: u64, frame: &[u8]) -> bool {
        match self {
            Taps::Overlap => true,
            Taps::Thirds => packets::pair(frame) % 3 == nth,
            Taps::Directions => packets::is_up(frame) == (nth == 0),
        }
    }

    fn count(self) -> u64 {
        if self == Taps::Directions { 2 } else { 3 }
    }

    fn settings(self) -> String {
        format!("{SETTINGS}[cluster]\noverlap = {}\n", self == Taps::Overlap)
    }

    /// What workers read, and what one process makes of the whole.
    fn load(self, capture: &str, copies: u32, apart_s: u32, dir: &Path) -> Load {
        let whole = Pcap::read(&trace(capture));
        let write = |name: String, pcap: &Pcap| {
            let path = dir.join(name);
            pcap.write(&path, copies, apart_s);
            text(&path)
        };
        let part = |nth| {
            let part = whole.only(|frame| self.shows(nth, frame));
            assert!(part.len() >= whole.len() / 5, "a part of {capture} is {} packets", part.len());
            write(format!("part-{nth}.pcap"), &part)
        };
        let inputs = (0..self.count()).map(part).collect();
        let want = dir.join("want");
        alone(&[write("whole.pcap".into(), &whole)], &want);
        Load { inputs, want }
    }

    /// Two aggregators, managers, two sinks, and workers each at a tap of its own.
    fn field(self, load: &Load, managers: usize, random: &Random) -> Field {
        let cluster = Cluster::on(kafka::shared().brokers(), &self.settings());
        let mut field = Field::empty(cluster, load, random);
        for (stage, count) in [(Stage::Aggregate, 2), (Stage::Manage, managers), (Stage::Sink, 2)] {
            for nth in 0..count {
                let mut node = field.node(stage, nth);
                match stage {
                    Stage::Aggregate => node.args[2] = self.count().to_string(),
                    Stage::Sink => node.args.extend(["--columns", "weir"].map(str::to_owned)),
                    _ => {}
                }
                field.add(stage, node, Vec::new());
            }
        }
        field.add_workers(|name| vec!["env".to_owned(), format!("WEIR_CLUSTER_TAP={name}")]);
        field
    }
}

/// A run with so many kills of those, and then an audit.
fn run(
    taps: Taps,
    load: &Load,
    managers: usize,
    random: &Random,
    kills: usize,
    which: impl Fn(Stage) -> bool,
) -> Field {
    let mut field = taps.field(load, managers, random);
    while field.kills.count() < kills {
        std::thread::sleep(field.random.between_ms(100, 1200));
        let victim = field.any(&which).expect("some are always there");
        field.kill(victim);
    }
    eprintln!("{} of {kills} kills under load", field.kills.under_load());
    assert!(kills == 0 || field.kills.under_load() > 0);
    field.end();
    field.audit();
    field
}

/// The manager that logs a notice names itself.
const MANAGER: [&str; 2] = ["sensor", "peer_descr"];

/// Both have published the same rows, to the last of weir's own columns.
fn assert_same(quiet: &Field, killed: &Field) {
    let read = |field: &Field| logs::read(&field.published);
    let told = |field: &Field| -> (Logs, Logs) {
        read(field)
            .into_iter()
            .partition(|(stream, _)| stream.starts_with("notice") || stream == "cluster_summary")
    };
    let ((notices, others), (notices_killed, others_killed)) = (told(quiet), told(killed));
    logs::assert_same("what managers tell, with kills", &notices, &notices_killed, &MANAGER);
    logs::assert_same("with kills and without", &others, &others_killed, &[]);
    assert_only_logs(&killed.published);
}

/// Three workers see all of each scan.
pub fn overlap(random: &Random) {
    one_notice_for_each_scan(Taps::Overlap, random);
}

/// Three workers see a third of each scan.
pub fn thirds(random: &Random) {
    one_notice_for_each_scan(Taps::Thirds, random);
}

/// One scan at three workers is one notice each time, and all is as without kills; flows are the whole's.
fn one_notice_for_each_scan(taps: Taps, random: &Random) {
    let dir = folder();
    let load = taps.load("scan.pcap", SCANS, SCANS_APART_S, dir.path());
    let decides = |stage| matches!(stage, Stage::Aggregate | Stage::Manage);
    let (quiet, killed) =
        (run(taps, &load, 2, random, 0, decides), run(taps, &load, 2, random, KILLS, decides));
    let notices = &logs::read(&killed.published)["notice"];
    let want = ["Scan::Address_Scan", "10.77.0.66", "22", "3", "w0,w1,w2"];
    let got = notices.count(["note", "src", "p", "n", "observers"]);
    assert_eq!(got, [(want, SCANS as usize)].into(), "{taps:?}");
    // Flows to groups of hosts are left alone: each tap's row of them stays.
    let (want, got) = (conn(&load.want), conn(&quiet.published));
    let to_hosts = |log: &Log| log.without("id.resp_h", |to| to.starts_with("ff02:"));
    assert_joined(&to_hosts(&want), &to_hosts(&got));
    let to_groups = |log: &Log| log.rows.len() - to_hosts(log).rows.len();
    let each = if taps == Taps::Overlap { taps.count() as usize } else { 1 };
    assert_eq!(to_groups(&got), each * to_groups(&want), "{taps:?}");
    assert_same(&quiet, &killed);
    // What is told is what one process tells, but for the moment: halves wait, so that hosts are counted in another order.
    let alone = &logs::read(&load.want)["notice"];
    let cells = ["note", "msg", "sub", "src", "p", "suppress_for"];
    assert_eq!(notices.count(cells), alone.count(cells), "{taps:?}");
}

/// Rows of one direction each are joined; what is killed in between changes nothing.
pub fn directions(random: &Random) {
    let (dir, taps) = (folder(), Taps::Directions);
    let load = taps.load("mixed.pcap", COPIES, COPIES_APART_S, dir.path());
    let joins = |stage| stage == Stage::Aggregate;
    let (quiet, killed) =
        (run(taps, &load, 1, random, 0, joins), run(taps, &load, 1, random, KILLS / 2, joins));
    assert_joined(&conn(&load.want), &conn(&quiet.published));
    assert_same(&quiet, &killed);
}

fn conn(dir: &Path) -> Log {
    logs::read(dir)["conn"].clone()
}

/// All columns of Zeek's, but for who saw it.
fn assert_joined(want: &Log, got: &Log) {
    let is_ours = |field: &&str| !want.fields.iter().any(|is| is == field);
    let more: Vec<&str> = got.fields.iter().map(String::as_str).filter(is_ours).collect();
    let (want_rows, got_rows) = (want.counted(&[]), got.counted(&more));
    let equal: i64 =
        want_rows.iter().map(|(row, n)| (*n).min(got_rows.get(row).copied().unwrap_or(0))).sum();
    let all = want.rows.len();
    let percent = 100.0 * equal as f64 / all as f64;
    eprintln!(
        "{equal} of {all} rows of conn are the whole's: {percent:.2} %, {} rows",
        got.rows.len()
    );
    assert!(got.rows.len().abs_diff(all) * 100 <= all, "{} rows, not {all}", got.rows.len());
    if percent < EQUAL_LEAST {
        let conn = |rows: Log| Logs::from([("conn".to_owned(), rows)]);
        logs::assert_same("joined and whole", &conn(want.clone()), &conn(got.clone()), &more);
    }
}

#[test]
fn three_overlapping_taps_see_one_scan_whoever_is_killed() {
    overlap(&seeded());
}

#[test]
fn three_taps_that_see_a_third_each_see_one_scan_whoever_is_killed() {
    thirds(&seeded());
}

#[test]
fn directions_at_two_taps_join_whoever_is_killed() {
    directions(&seeded());
}
