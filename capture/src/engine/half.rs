//! What a flow's row of conn says beyond it, so that aggregators can join what several sensors saw.

use model::id::{self, FiveTuple};
use model::stream::{Mark, half};

use crate::analyzer::Dir;
use crate::app::App;
use crate::config::Joins;
use crate::flow::{Meta, seen};
use crate::out::Out;
use crate::tcp::{self, Tcp};
use crate::trace::{Mark as Told, Packet, Rest};

/// Whether what another sensor saw can be the same flow: groups and links have many at each end.
pub(super) fn is_joinable(meta: &Meta, tuple: &FiveTuple, joins: Joins) -> bool {
    // What has no answer has no other half, but may have copies.
    (joins == Joins::Copies || !meta.key.is_one_way())
        && ![tuple.orig_h, tuple.resp_h].iter().any(id::is_for_many)
}

/// Writes what there is to tell of a flow beside its row, or that there is nothing.
pub(super) fn write(
    out: &mut Out,
    mark: Mark,
    (meta, app): (&Meta, &App),
    tcp: Option<&Tcp>,
    sizes: [u64; 2],
    tells: bool,
    joins: Joins,
) {
    // The sender is the originator before the roles changed, and after they changed again. What its packets count
    // for need not be its role: the packet that turns a flow of UDP counts for the one it had.
    let turns = meta.history.iter().filter(|letter| **letter == b'^').count();
    let sender = if turns.is_multiple_of(2) { Dir::Orig } else { Dir::Resp };
    let is_one_way = meta.packets != [0, 0] && meta.packets.contains(&0);
    let dir = is_one_way.then_some(sender);
    // Without times of its letters a half is none: it had packets of its other direction that do not count.
    let is_known = tcp.is_none() || meta.trace().is_some() || meta.packets.iter().sum::<u64>() == 1;
    let after = |time: i64| time.saturating_sub(meta.first);
    match dir.filter(|_| tells && is_known) {
        Some(dir) => one_way(out, mark, (meta, app.as_half()), tcp, sizes, dir),
        None if tells && joins == Joins::Copies => {
            let start = |dir: Dir| tcp.and_then(|tcp| tcp.ends[dir.index()].initial());
            let row = half::Row {
                last: Some(after(meta.last)),
                start: start(Dir::Orig).map(u64::from),
                peer_start: start(Dir::Resp).map(u64::from),
                ..half::Row::unset()
            };
            out.half.push(mark, row);
        }
        None => out.half.push(mark, half::Row::unset()),
    }
}

/// What there is to tell of a flow seen one way.
fn one_way(
    out: &mut Out,
    mark: Mark,
    (meta, app): (&Meta, &App),
    tcp: Option<&Tcp>,
    sizes: [u64; 2],
    dir: Dir,
) {
    let after = |time: i64| time.saturating_sub(meta.first);
    let number = |number: Option<u32>| number.map_or(-1, i64::from);
    let (mut letters, mut numbers) = (String::new(), [Vec::new(), Vec::new(), Vec::new()]);
    for Told { packet, letter } in told(meta, tcp, dir) {
        letters.push(char::from(letter));
        let [times, ends, acks] = &mut numbers;
        times.push(after(packet.at));
        ends.push(number(packet.end));
        acks.push(number(packet.ack));
    }
    let [mark_times, ends, acks] = &numbers;
    let trace = meta.trace();
    let mut holes: Vec<i64> = Vec::new();
    for hole in trace.iter().flat_map(|trace| trace.holes()) {
        holes.extend([hole.from, hole.to].map(|at| i64::try_from(at).unwrap_or(i64::MAX)));
    }
    let rests: Vec<i64> =
        trace.iter().flat_map(|trace| trace.rests()).flat_map(rest(after)).collect();
    let sides = tcp.map(|tcp| (&tcp.ends[dir.index()], &tcp.ends[dir.other().index()]));
    let [confirmed, fits, ruled_out] = protocols(meta, app, dir);
    let times = |all: &[(&str, Option<i64>)]| -> Vec<i64> {
        all.iter().map(|(_, at)| at.map_or(-1, after)).collect()
    };
    let [confirmed_at, fits_at, ruled_out_at] = [&confirmed, &fits, &ruled_out].map(|of| times(of));
    let [confirmed, fits, ruled_out] = [confirmed, fits, ruled_out]
        .map(|all| all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(","));
    let begins = app.begins(dir).collect::<Vec<_>>().join(",");
    let tunnels: Vec<(String, i64)> =
        meta.around().iter().flat_map(|around| around.names()).collect();
    let tunnels_at: Vec<i64> = tunnels.iter().map(|(_, at)| after(*at)).collect();
    let tunnels: Vec<&str> = tunnels.iter().map(|(name, _)| name.as_str()).collect();
    let text = |text| Some(text).filter(|text: &&str| !text.is_empty());
    let row = half::Row {
        last: Some(after(meta.last)),
        is_orig: Some(dir == Dir::Orig),
        letters: Some(&letters),
        times: Some(mark_times),
        ends: tcp.map(|_| &ends[..]),
        acks: tcp.map(|_| &acks[..]),
        is_late: (meta.history_seen & seen::LATE != 0).then_some(true),
        is_replaced: meta.is_replaced.then_some(true),
        start: sides.and_then(|(end, _)| end.initial()).map(u64::from),
        reached: Some(sides.map_or(sizes[0].max(sizes[1]), |(end, _)| end.reached())),
        ack: sides.and_then(|(_, peer)| peer.last_acked()).map(u64::from),
        confirmed: text(&confirmed),
        confirmed_at: (!confirmed.is_empty()).then_some(&confirmed_at),
        fits: text(&fits),
        fits_at: (!fits.is_empty()).then_some(&fits_at),
        begins: text(&begins),
        ruled_out: text(&ruled_out),
        ruled_out_at: (!ruled_out.is_empty()).then_some(&ruled_out_at),
        tunnels: (!tunnels.is_empty()).then_some(&tunnels),
        tunnels_at: (!tunnels.is_empty()).then_some(&tunnels_at),
        data: trace.map(|trace| trace.next()),
        holes: (!holes.is_empty()).then_some(&holes),
        rests: (!rests.is_empty()).then_some(&rests),
        ..half::Row::unset()
    };
    out.half.push(mark, row);
}

/// A rest as numbers.
fn rest(after: impl Fn(i64) -> i64) -> impl Fn(&Rest) -> [i64; 6] {
    move |rest| {
        let Rest { at, silence, before, seq, upper } = *rest;
        let counted =
            [before.packets, before.ip_bytes].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        let upper = upper.map_or(-1, i64::from);
        [after(at), silence, counted[0], counted[1], i64::from(seq), upper]
    }
}

/// Packets with letters; of a flow that has no trace there was one.
fn told(meta: &Meta, tcp: Option<&Tcp>, dir: Dir) -> Vec<Told> {
    if let Some(trace) = meta.trace() {
        return trace.marks().collect();
    }
    let took_number = tcp::took_number(&meta.history);
    let only = Packet { at: meta.first, end: None, ack: None };
    let packet =
        tcp.map_or(only, |tcp| Packet { at: meta.first, ..tcp.before(dir, took_number).1 });
    meta.history.iter().map(|letter| Told { packet, letter: letter.to_ascii_uppercase() }).collect()
}

/// Protocols that are confirmed, that fit, and that are ruled out, and when; none where the beginning says so.
fn protocols(meta: &Meta, app: &App, dir: Dir) -> [Vec<(&'static str, Option<i64>)>; 3] {
    let carried = meta.carrier.services().map(|name| (name, Some(meta.first)));
    let fits = meta.carrier.fits(dir).map(|name| (name, None)).into_iter().chain(app.fits(dir));
    let confirmed = app.services().told().map(|(name, at)| (name, Some(at)));
    [carried.chain(confirmed).collect(), fits.collect(), app.ruled_out(dir).collect()]
}
