//! Which pieces are one flow, and until when it waits for more of them.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::order;
use super::piece::Piece;
use super::stream::Stream;
use super::tcp::Told;
use crate::config::SECOND;

/// Without packets a flow that is not TCP ends (`udp_inactivity_timeout`, `icmp_inactivity_timeout`).
const DATAGRAM_US: i64 = 60 * SECOND;
/// Clocks of sensors that see the same packets differ by less.
const SKEW_US: i64 = SECOND;

/// How long a flow that seems complete waits all the same: a piece of it may have begun after a pause, and
/// then lasted as long again.
const SETTLE_US: i64 = DATAGRAM_US + SKEW_US;

/// What is to be known beside the pieces.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How long a half waits for its other half, microseconds.
    pub window_us: i64,
    /// How long a flow waits for what other taps saw of it; `None` where taps do not overlap.
    pub copies_us: Option<i64>,
    /// Taps of the site.
    pub taps: usize,
}

/// What becomes of some pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Several sensors saw the same: the first one's row stands for all.
    Copies,
    /// Halves: one row of them all.
    Joined,
}

/// Pieces that are one flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Their places; a row for all comes from the first.
    pub members: Vec<usize>,
    /// What they are to each other; a single one is a copy of nothing.
    pub kind: Kind,
    /// When they go.
    pub due: i64,
}

/// Divides what was seen of one tuple into flows. Every piece is in one of them.
pub fn divide(pieces: &[Piece], community_id: &str, rules: Rules) -> Vec<Flow> {
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    order.sort_by(|a, b| place(&pieces[*a]).cmp(&place(&pieces[*b])));
    let mut flows = Vec::new();
    if rules.copies_us.is_some() {
        order = copies(pieces, order, community_id, rules, &mut flows);
    }
    halves(pieces, &order, rules, &mut flows);
    flows
}

/// Ports that clients of RPC take of those that are else servers' (`bindresvport`).
const RESERVED: RangeInclusive<i32> = 600..=1023;

/// In order of time; of what began at once the SYN first, and then what comes from the higher port, as those of
/// clients are, or over UDP from a port that is kept for clients.
fn place(piece: &Piece) -> (i64, bool, i32, &str, i64, i64, usize) {
    let follows = piece.syn().is_none();
    let (orig, resp) = (piece.ports[0], piece.ports[1]);
    let is_orig = piece.half.as_ref().is_none_or(|half| half.is_orig);
    let (from, to) = if is_orig { (orig, resp) } else { (resp, orig) };
    let is_reserved = |port: i32| !piece.is_tcp && RESERVED.contains(&port);
    let from = match (is_reserved(from), is_reserved(to)) {
        (true, false) => i32::MAX,
        (false, true) => 0,
        _ => from,
    };
    (piece.first, follows, -from, &piece.sensor, piece.written, piece.offset, piece.origin)
}

/// The sensor whose rows stand for those of the others: another for each flow, the same wherever it is asked.
pub fn rank<'a>(community_id: &str, sensor: &'a str) -> (u32, &'a str) {
    (model::id::murmur2(format!("{community_id} {sensor}").as_bytes()), sensor)
}

/// Finds flows that several taps saw; gives back the halves that are left.
fn copies(
    pieces: &[Piece],
    order: Vec<usize>,
    community_id: &str,
    rules: Rules,
    flows: &mut Vec<Flow>,
) -> Vec<usize> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let (whole, parts): (Vec<usize>, Vec<usize>) =
        order.into_iter().partition(|i| pieces[*i].half.is_none());
    for i in whole {
        let fits = |group: &&mut Vec<usize>| {
            // Two of one tap are two flows.
            group.iter().all(|m| pieces[*m].tap != pieces[i].tap)
                && is_same(&pieces[group[0]], &pieces[i])
        };
        match groups.iter_mut().find(fits) {
            Some(group) => group.push(i),
            None => groups.push(vec![i]),
        }
    }
    let mut left = Vec::new();
    for i in parts {
        let fits = |group: &&mut Vec<usize>| {
            let tap = &pieces[i].tap;
            group.iter().all(|m| pieces[*m].tap != *tap || pieces[*m].half.is_some())
                && meets(&pieces[group[0]], &pieces[i], 0)
        };
        match groups.iter_mut().find(fits) {
            Some(group) => group.push(i),
            None => left.push(i),
        }
    }
    let copies_us = rules.copies_us.unwrap_or(0);
    for mut members in groups {
        let worth = |i: &usize| {
            (pieces[*i].half.is_some(), rank(community_id, &pieces[*i].sensor), pieces[*i].first)
        };
        members.sort_by(|a, b| worth(a).cmp(&worth(b)));
        let taps: BTreeSet<&str> = members.iter().map(|i| &*pieces[*i].tap).collect();
        let written = latest(pieces, &members);
        let waits = if taps.len() >= rules.taps { 0 } else { copies_us };
        flows.push(Flow { members, kind: Kind::Copies, due: written.saturating_add(waits) });
    }
    left
}

fn latest(pieces: &[Piece], members: &[usize]) -> i64 {
    members.iter().map(|i| pieces[*i].written).max().unwrap_or(i64::MAX)
}

/// Whether two sensors that both saw both directions saw one flow.
fn is_same(a: &Piece, b: &Piece) -> bool {
    if a.is_tcp && a.starts.iter().chain(&b.starts).all(Option::is_some) {
        // A flow that begins anew has other numbers; clocks do not matter.
        return a.starts == b.starts && meets(a, b, DATAGRAM_US);
    }
    meets(a, b, 0)
}

/// Whether two overlap in time, or nearly.
fn meets(a: &Piece, b: &Piece, within: i64) -> bool {
    let within = SKEW_US.saturating_add(within);
    a.first <= b.last.saturating_add(within) && b.first <= a.last.saturating_add(within)
}

/// Joins halves: those of one tuple in order of time, as one sensor would have seen them.
fn halves(pieces: &[Piece], order: &[usize], rules: Rules, flows: &mut Vec<Flow>) {
    let mut at = 0;
    while at < order.len() {
        let mut end = at + 1;
        while end < order.len() && continues(pieces, &order[at..end], order[end]) {
            end += 1;
        }
        let members = &order[at..end];
        at = end;
        let is_both = members.iter().any(|i| pieces[*i].end() != pieces[members[0]].end());
        if is_both {
            let waits = if is_complete(pieces, members) { SETTLE_US } else { rules.window_us };
            let waits = waits.min(rules.window_us);
            let due = latest(pieces, members).saturating_add(waits);
            flows.push(Flow { members: members.to_vec(), kind: Kind::Joined, due });
        } else {
            one_way(pieces, members, rules, flows);
        }
    }
}

/// Pieces of one direction wait each for itself, or, where taps overlap, with those of other taps.
fn one_way(pieces: &[Piece], members: &[usize], rules: Rules, flows: &mut Vec<Flow>) {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for i in members {
        let fits = |group: &&mut Vec<usize>| {
            rules.copies_us.is_some()
                && group.iter().all(|m| pieces[*m].tap != pieces[*i].tap)
                && meets(&pieces[group[0]], &pieces[*i], 0)
        };
        match groups.iter_mut().find(fits) {
            Some(group) => group.push(*i),
            None => groups.push(vec![*i]),
        }
    }
    for members in groups {
        let due = latest(pieces, &members).saturating_add(rules.window_us);
        flows.push(Flow { members, kind: Kind::Copies, due });
    }
}

/// Whether a piece still belongs to the flow that these are.
fn continues(pieces: &[Piece], flow: &[usize], next: usize) -> bool {
    let piece = &pieces[next];
    // What one sensor wrote in two rows were two flows to it, whichever their directions.
    if flow.iter().any(|i| pieces[*i].tap == piece.tap && pieces[*i].end() != piece.end()) {
        return false;
    }
    // A packet out of time is a flow by itself, of which other taps may have copies.
    let is_copy = |i: &usize| {
        let other = &pieces[*i];
        other.is_alone() == piece.is_alone()
            && other.tap != piece.tap
            && other.end() == piece.end()
            && meets(other, piece, 0)
    };
    let is_any_alone = piece.is_alone() || flow.iter().any(|i| pieces[*i].is_alone());
    if is_any_alone && !flow.iter().all(is_copy) {
        return false;
    }
    // Nor did it give up one that was silent for no longer than this, unless it was over.
    let is_again = |i: &usize| {
        let before = &pieces[*i];
        before.tap == piece.tap
            && before.end() == piece.end()
            && piece.first < before.last.saturating_add(DATAGRAM_US)
    };
    if !piece.is_tcp && flow.iter().any(is_again) {
        return false;
    }
    let last = flow.iter().map(|i| pieces[*i].last.min(piece.first)).max().unwrap_or(i64::MIN);
    if !piece.is_tcp {
        return piece.first < last.saturating_add(DATAGRAM_US);
    }
    let told = tell(pieces, flow, Some(piece.first));
    if piece.first >= told.lives_until(last, piece.ports) {
        return false;
    }
    // A SYN begins another flow unless it repeats the first one.
    let Some(syn) = piece.syn() else { return true };
    let of_orig = |i: &&usize| pieces[**i].end() == told.orig;
    let orig = flow.iter().find(of_orig).and_then(|i| pieces[*i].half.as_ref()?.start);
    !told.is_closing() && orig.is_none_or(|start| start == syn)
}

/// The flow that some pieces are, as far as it had come at a time.
pub fn tell(pieces: &[Piece], flow: &[usize], until: Option<i64>) -> Told {
    let Some(first) = flow.first().map(|i| &pieces[*i]) else {
        return Told::new(0, false, Vec::new());
    };
    let mut ends = [Vec::new(), Vec::new()];
    for (number, i) in flow.iter().enumerate() {
        ends[pieces[*i].end()].extend(pieces[*i].events(number));
    }
    // Pieces of one end may overlap.
    ends.iter_mut().for_each(|events| events.sort_by_key(|event| event.mark.at));
    let events = order::of_both(ends, first.end());
    let until = until.unwrap_or(i64::MAX);
    let events = events.iter().filter(|event| event.mark.at <= until);
    let streams = flow.iter().map(|i| Stream::of(&pieces[*i])).collect();
    Told::new(first.end(), first.is_turned(), streams).hear_all(events)
}

/// Whether nothing of the flow can still be under way: it was reset, or both sides' FINs are acknowledged.
/// Other protocols have no end that shows: both directions were silent for as long as a flow lasts.
fn is_complete(pieces: &[Piece], flow: &[usize]) -> bool {
    if !flow.iter().any(|i| pieces[*i].is_tcp) {
        return true;
    }
    let told = tell(pieces, flow, None);
    if told.is_reset() {
        return true;
    }
    let has_acked = |end: usize| {
        let of = |side: usize| flow.iter().map(|i| &pieces[*i]).filter(move |p| p.end() == side);
        of(end).filter_map(Piece::upper).any(|upper| {
            of(1 - end).any(|other| other.half.as_ref().is_some_and(|half| half.ack == Some(upper)))
        })
    };
    told.ends.iter().all(|end| end.has_finished) && has_acked(0) && has_acked(1)
}
