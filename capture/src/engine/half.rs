//! What a flow's row of conn says beyond it, so that aggregators can join what several sensors saw.

use model::id::{self, FiveTuple};
use model::stream::{Mark, half};

use crate::analyzer::Dir;
use crate::app::App;
use crate::config::Joins;
use crate::flow::Meta;
use crate::out::Out;
use crate::tcp::Tcp;

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
        Some(dir) => {
            let (mut letters, mut times) = (String::new(), Vec::new());
            let mut letter = |at: i64, letter: u8| {
                letters.push(char::from(letter.to_ascii_uppercase()));
                times.push(after(at));
            };
            match meta.trace() {
                Some(trace) => trace.letters().iter().for_each(|(at, which)| letter(*at, *which)),
                None => meta.history.iter().for_each(|which| letter(meta.first, *which)),
            }
            let holes: Vec<i64> = meta.trace().iter().flat_map(|trace| trace.holes()).fold(
                Vec::new(),
                |mut all, hole| {
                    let place = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
                    all.extend([after(hole.at), place(hole.from), place(hole.to)]);
                    all
                },
            );
            let trace = meta.trace();
            let [alive, open, by_port] =
                app.candidates(dir, meta.resp_p()).map(|names| names.join(","));
            let ends = tcp.map(|tcp| (&tcp.ends[dir.index()], &tcp.ends[dir.other().index()]));
            let row = half::Row {
                last: Some(after(meta.last)),
                is_orig: Some(dir == Dir::Orig),
                letters: Some(&letters),
                times: Some(&times),
                start: ends.and_then(|(end, _)| end.initial()).map(u64::from),
                reached: Some(ends.map_or(sizes[0].max(sizes[1]), |(end, _)| end.reached())),
                ack: ends.and_then(|(_, peer)| peer.last_acked()).map(u64::from),
                fin_ack: trace.and_then(|trace| trace.fin_ack()).map(u64::from),
                last_data: trace.and_then(|trace| trace.last_data()).map(after),
                alive: (!alive.is_empty()).then_some(&alive),
                open: (!open.is_empty()).then_some(&open),
                by_port: (!by_port.is_empty()).then_some(&by_port),
                data: trace.map(|trace| trace.next()),
                holes: (!holes.is_empty()).then_some(&holes),
                ..half::Row::unset()
            };
            out.half.push(mark, row);
        }
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
