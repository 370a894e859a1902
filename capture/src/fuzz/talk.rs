//! A conversation as bytes: which analyzer, then what each end says.
//!
//! A line `NAME tcp` or `NAME udp`, then steps: a byte that says what happens and by which end, two for a
//! length, and so many bytes.

use crate::analyzer::repeats::FLOW_WEIRDS_MAX;
use crate::analyzer::testing::Bench;
use crate::analyzer::{ALL, Dir, Kind, PROBE_BYTES_MAX, Start, Transport, ftp, irc_dcc, websocket};
use crate::expected::What;

/// Mail.
pub(super) const MAIL: &[&str] = &["smtp", "pop3", "imap"];
/// Lines of text.
pub(super) const TEXT: &[&str] = &["ftp", "ftp-data", "irc", "irc-data", "sip", "xmpp"];
/// What Windows speaks.
pub(super) const WINDOWS: &[&str] = &["dce_rpc", "krb", "krb_tcp", "rdp", "rdpeudp", "smb"];
/// What machines speak.
pub(super) const INDUSTRY: &[&str] = &["dnp3_tcp", "dnp3_udp", "modbus", "mqtt"];

/// Analyzers that only others or announcements attach.
static CARRIED: &[&Kind] = &[&ftp::DATA_KIND, &irc_dcc::DATA_KIND, &websocket::KIND];

/// A step: what happens.
const GAP: u8 = 1;
const END: u8 = 2;
const LATER: u8 = 3;
/// Microseconds that a unit of [`LATER`] is long.
const TICK: i64 = 10_000;

/// Plays a conversation of one of these analyzers, or of any if none is named.
pub(super) fn play(data: &[u8], names: &[&str]) {
    let Some((kind, transport, steps)) = begin(data, names) else { return };
    let mut bench = Bench::new(kind, transport);
    // As if another flow had announced it, which hears of what it carries.
    let tuple = &bench.ids.tuple;
    let ends = (tuple.orig_h, tuple.resp_h, tuple.resp_p);
    bench.expected.add(ends, What::FtpData, bench.now, 7);
    let mut starts = [Vec::new(), Vec::new()];
    let mut rest = steps;
    while let [what, high, low, after @ ..] = rest {
        let dir = if what & 0x80 == 0 { Dir::Orig } else { Dir::Resp };
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        rest = after;
        match what & 3 {
            GAP => {
                bench.incomplete = true;
                alive(&mut bench, |bench| {
                    bench.call(|analyzer, cx| analyzer.gap(cx, dir, len as u64))
                });
            }
            END => alive(&mut bench, |bench| bench.call(|analyzer, cx| analyzer.end(cx, dir))),
            LATER => later(&mut bench, len),
            _ => {
                let (said, after) = rest.split_at(len.min(rest.len()));
                rest = after;
                probe(kind, transport, &mut starts, dir, said);
                bench.feed(dir, said);
            }
        }
        bench.inner.clear();
    }
    bench.finish();
    assert!(bench.weirds.len() <= FLOW_WEIRDS_MAX);
}

fn alive(bench: &mut Bench, f: impl FnOnce(&mut Bench)) {
    if !bench.gone {
        f(bench);
    }
}

/// Packet time goes on.
fn later(bench: &mut Bench, ticks: usize) {
    bench.now += ticks as i64 * TICK;
    if bench.analyzer.deadline().is_some_and(|at| at <= bench.now) {
        bench.call(|analyzer, cx| analyzer.expire(cx));
    }
}

/// What detection would ask, with as much of each end as it would have.
fn probe(kind: &Kind, transport: Transport, starts: &mut [Vec<u8>; 2], dir: Dir, said: &[u8]) {
    let Some(probe) = kind.probe else { return };
    let start = &mut starts[dir.index()];
    let room = PROBE_BYTES_MAX.saturating_sub(start.len());
    start.extend(said.iter().take(room));
    let mut bytes = [starts[0].as_slice(), starts[1].as_slice()];
    if transport == Transport::Udp {
        bytes = [&[], &[]];
        bytes[dir.index()] = said;
    }
    probe(&Start { transport, bytes, resp_p: 9999 });
}

/// The analyzer that the first line names. A line that names none chooses one by its bytes.
fn begin<'a>(data: &'a [u8], names: &[&str]) -> Option<(&'static Kind, Transport, &'a [u8])> {
    let end = data.iter().position(|byte| *byte == b'\n')?;
    let (line, steps) = data.split_at(end);
    let line = String::from_utf8_lossy(line);
    let is_udp = line.ends_with("udp");
    let name = line.get(..line.len().saturating_sub(4)).unwrap_or_default();
    let is_mine = |kind: &&&'static Kind| names.is_empty() || names.contains(&kind.name);
    let mine: Vec<&'static Kind> = ALL.iter().chain(CARRIED).filter(is_mine).copied().collect();
    // Some have a kind for each transport: the one with ports there is meant.
    let fits = |kind: &&&'static Kind| {
        kind.name == name
            && (is_udp && kind.tcp_ports.is_empty() || !is_udp && kind.udp_ports.is_empty())
    };
    let named = mine.iter().find(fits).or_else(|| mine.iter().find(|kind| kind.name == name));
    let any = || mine.get(line.bytes().map(usize::from).sum::<usize>() % mine.len().max(1));
    let transport = if is_udp { Transport::Udp } else { Transport::Tcp };
    Some((named.or_else(any)?, transport, steps.get(1..)?))
}
