//! The kept inputs, and changes of them: ten seconds in an ordinary run, `WEIR_TEST_FUZZ_SECONDS` of them otherwise.
//!
//! An input that breaks a target is left in the temporary folder, and its name is in the message. More captures to begin
//! from can lie in a folder `WEIR_TEST_FUZZ_SEEDS`; `WEIR_TEST_FUZZ_TARGET` and `WEIR_TEST_FUZZ_SEED` choose.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{TARGETS, Target};
use crate::analyzer::testing::Bench;
use crate::analyzer::{ALL, Dir, Kind, Transport};
use crate::source::testing::Random;

/// How long an ordinary run changes inputs, all targets together.
const SECONDS: u64 = 10;
/// The longest input that changing makes.
const INPUT_MAX: usize = 1 << 20;
/// How long one input may take. Those of an ordinary run take some milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

/// Files of a folder in order of name; none if there is no folder.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let read =
        |path: &PathBuf| (path.display().to_string(), std::fs::read(path).expect("an input"));
    paths.iter().filter(|path| path.is_file()).map(read).collect()
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Runs an input; how long it took.
fn run(target: &Target, name: &str, data: &[u8]) -> Duration {
    let began = Instant::now();
    let fine = catch_unwind(AssertUnwindSafe(|| (target.run)(data))).is_ok();
    let took = began.elapsed();
    if fine && took < PATIENCE {
        return took;
    }
    let kept = std::env::temp_dir().join(format!("weir-fuzz-{}", target.name));
    std::fs::write(&kept, data).expect("room for an input");
    panic!("{} broke on {name} changed into {}, after {took:?}", target.name, kept.display());
}

#[test]
fn the_kept_inputs() {
    for target in TARGETS {
        let inputs = files(&corpus().join(target.name));
        assert!(!inputs.is_empty(), "{} has nothing to begin with", target.name);
        for (name, data) in &inputs {
            run(target, name, data);
        }
        run(target, "nothing", &[]);
    }
}

#[test]
fn one_input_that_was_named() {
    let (Ok(name), Ok(path)) =
        (std::env::var("WEIR_TEST_FUZZ_TARGET"), std::env::var("WEIR_TEST_FUZZ_INPUT"))
    else {
        return;
    };
    super::run(&name, &std::fs::read(path).expect("an input"));
}

#[test]
fn the_kept_inputs_changed() {
    let seconds = setting("WEIR_TEST_FUZZ_SECONDS").unwrap_or(SECONDS);
    let mut random = Random(setting("WEIR_TEST_FUZZ_SEED").unwrap_or(0x2545_F491_4F6C_DD1D) | 1);
    let only = std::env::var("WEIR_TEST_FUZZ_TARGET").ok();
    let targets: Vec<&Target> = TARGETS
        .iter()
        .filter(|target| only.as_ref().is_none_or(|name| *name == target.name))
        .collect();
    let more =
        std::env::var("WEIR_TEST_FUZZ_SEEDS").map(|dir| files(Path::new(&dir))).unwrap_or_default();
    for target in &targets {
        let mut inputs = files(&corpus().join(target.name));
        if target.name == "engine" {
            inputs.extend(more.iter().cloned());
        }
        let until = Instant::now() + share(target, seconds, targets.len());
        let (mut runs, mut slowest) = (0u64, Duration::ZERO);
        while Instant::now() < until {
            let (name, input) = &inputs[random.below(inputs.len())];
            let (_, other) = &inputs[random.below(inputs.len())];
            let mut data = input.clone();
            for _ in 0..1 << random.below(5) {
                change(&mut data, other, &mut random);
            }
            data.truncate(INPUT_MAX);
            slowest = slowest.max(run(target, name, &data));
            runs += 1;
        }
        assert!(runs > 0);
        say_runs(target, runs, slowest);
    }
}

/// The engine, which is all of them, gets half of the time.
fn share(target: &Target, seconds: u64, targets: usize) -> Duration {
    let half = Duration::from_secs(seconds) / 2;
    match (target.name, targets) {
        (_, 1) => half * 2,
        ("engine", _) => half,
        _ => half / (targets as u32 - 1),
    }
}

fn say_runs(target: &Target, runs: u64, slowest: Duration) {
    use std::io::Write as _;
    let _ =
        writeln!(std::io::stderr(), "{}: {runs} inputs, the slowest took {slowest:?}", target.name);
}

/// Numbers at which lengths and counts go wrong.
const ODD: &[u64] =
    &[0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

/// One change: of a byte or a number mostly, as what follows keeps its place then.
fn change(data: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(data.len() + 1);
    let len = (1 << random.below(7)).min(data.len() - at);
    match random.below(16) {
        0..=3 => with(data, at, |byte| byte ^ 1 << random.below(8)),
        4..=6 => with(data, at, |_| random.next() as u8),
        7 | 8 => {
            let (number, width) = (ODD[random.below(ODD.len())], 1 << random.below(3));
            let bytes =
                if random.below(2) == 0 { number.to_be_bytes() } else { number.to_le_bytes() };
            let from = if bytes[7] == number as u8 { 8 - width } else { 0 };
            data.iter_mut()
                .skip(at)
                .zip(&bytes[from..from + width])
                .for_each(|(byte, new)| *byte = *new);
        }
        9 | 10 => {
            let from = random.below(other.len() + 1);
            let piece = other[from..].iter().take(len);
            data.iter_mut().skip(at).zip(piece).for_each(|(byte, new)| *byte = *new);
        }
        11 => drop(data.drain(at..at + len)),
        12 => {
            let piece = data[at..at + len].to_vec();
            let to = random.below(data.len() + 1);
            data.splice(to..to, piece);
        }
        13 => {
            let from = random.below(other.len() + 1);
            data.splice(at..at, other[from..].iter().take(256).copied());
        }
        14 => {
            let (byte, count) = (random.next() as u8, random.below(512));
            data.splice(at..at, std::iter::repeat_n(byte, count));
        }
        _ => {
            let left = data.len() - random.below(data.len().min(64) + 1);
            data.truncate(left);
        }
    }
}

fn with(data: &mut [u8], at: usize, f: impl FnOnce(u8) -> u8) {
    if let Some(byte) = data.get_mut(at) {
        *byte = f(*byte);
    }
}

/// Bytes of a stream that never comes to an end of anything, each a segment of its own.
const ENDLESS: usize = 1 << 18;

/// How long the first and the last quarter of such a stream take.
fn quarters(kind: &Kind, dir: Dir, opening: &[u8], fill: u8) -> [Duration; 2] {
    let mut bench = Bench::new(kind, Transport::Tcp);
    // Violations count for nothing behind a gap: the analyzer stays for all of it.
    bench.incomplete = true;
    bench.feed(dir, opening);
    let mut took = [Duration::ZERO; 4];
    for quarter in &mut took {
        let began = Instant::now();
        for _ in 0..ENDLESS / 4 {
            if bench.gone {
                return [Duration::ZERO; 2];
            }
            bench.feed(dir, &[fill]);
            bench.inner.clear();
        }
        *quarter = began.elapsed();
    }
    bench.finish();
    [took[0], took[3]]
}

/// A buffer that is searched anew for every segment takes seven times as long for the last quarter.
#[test]
fn a_byte_costs_the_same_however_many_came_before() {
    // What opens a unit that is long, or of which no end is in sight.
    let openings: &[&[u8]] =
        &[b"", b"SSH-", b"\x05\x00\x00\x03", b"\x00\x04\x00\x00\xfeSMB", b"* OK ", b"GET /"];
    for kind in ALL {
        for (opening, fill) in openings.iter().flat_map(|opening| [(opening, b'x'), (opening, 0)]) {
            for dir in [Dir::Orig, Dir::Resp] {
                // The machine may have had something else to do.
                let is_even = || {
                    let [first, last] = quarters(kind, dir, opening, fill);
                    last < first * 3 + Duration::from_millis(40)
                };
                let fine = (0..3).any(|_| is_even());
                assert!(fine, "{} of {:?} after {opening:?}", kind.name, fill as char);
            }
        }
    }
}
