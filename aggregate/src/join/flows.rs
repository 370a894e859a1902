//! Which pieces are one flow, and until when it waits for more of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::cut::{self, Member};
use super::order;
use super::piece::{Mark, Piece};
use super::stream::Stream;
use super::tcp::Told;
use crate::config::SECOND;

/// Without packets a flow that is not TCP ends (`udp_inactivity_timeout`, `icmp_inactivity_timeout`).
pub(super) const DATAGRAM_US: i64 = 60 * SECOND;
/// The same of one whose server is asked for names and has answered (`dns_session_timeout`).
const NAMES_US: i64 = 10 * SECOND;
/// Clocks of sensors that see the same packets differ by less.
pub(super) const SKEW_US: i64 = SECOND;

/// Clocks that are kept differ by less: where two directions of a flow that has no numbers begin within it, what they are
/// tells who asked, and not the clocks.
const KEPT_US: i64 = 25 * SECOND / 1000;

/// How long a flow that seems complete waits all the same: a piece of it may have begun after a pause, and
/// then lasted as long again.
const SETTLE_US: i64 = DATAGRAM_US + SKEW_US;

/// Parts of a tuple's pieces that are looked at one by one; pieces of a tuple that has more stay whole. Each
/// part is held against all before it whenever a piece comes.
const PARTS_MAX: usize = 64;

/// What is to be known beside the pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// Which; a row for all comes from the first.
    pub members: Vec<Member>,
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
pub fn place(piece: &Piece) -> (i64, bool, i32, &str, i64, i64, usize) {
    let follows = piece.syn().is_none();
    let (orig, resp) = (piece.ports[0], piece.ports[1]);
    let is_orig = piece.half.as_deref().is_none_or(|half| half.is_orig);
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
    // By hand: every row that waits is ranked, and `format!` takes three times as long.
    let mut key = String::with_capacity(community_id.len() + 1 + sensor.len());
    key.push_str(community_id);
    key.push(' ');
    key.push_str(sensor);
    (model::id::murmur2(key.as_bytes()), sensor)
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
                && pieces[group[0]].extent().is_same(&pieces[i].extent())
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
                && meets(&pieces[group[0]], &pieces[i])
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
        let waits = if taps.len() >= rules.taps { 0 } else { copies_us };
        let due = due(pieces, &members, waits);
        flows.push(flow(members, Kind::Copies, due));
    }
    left
}

fn flow(members: Vec<usize>, kind: Kind, due: i64) -> Flow {
    Flow { members: members.into_iter().map(Member::whole).collect(), kind, due }
}

/// When pieces leave that wait so long for others, but not before they were all written.
fn due(pieces: &[Piece], members: &[usize], waits: i64) -> i64 {
    let of = |piece: &Piece| piece.stamped.max(piece.written.saturating_add(waits));
    members.iter().map(|i| of(&pieces[*i])).max().unwrap_or(i64::MAX)
}

/// Whether two overlap in time, or nearly.
fn meets(a: &Piece, b: &Piece) -> bool {
    a.extent().meets(&b.extent(), 0)
}

/// Joins halves: those of one tuple in order of time, as one sensor would have seen them.
fn halves(pieces: &[Piece], order: &[usize], rules: Rules, flows: &mut Vec<Flow>) {
    let rests: usize = order.iter().map(|i| pieces[*i].rests().len()).sum();
    let has_rests = rests > 0 && rests + order.len() <= PARTS_MAX;
    // What has one direction only stays as it is.
    if has_rests && order.iter().any(|i| pieces[*i].end() != pieces[order[0]].end()) {
        return halves_with_rests(pieces, order, rules, flows);
    }
    chains(pieces, order).into_iter().for_each(|flow| joined(pieces, flow, rules, flows));
}

/// Those that follow each other as one flow.
pub fn chains<'a>(pieces: &[Piece], order: &'a [usize]) -> Vec<&'a [usize]> {
    let (mut all, mut at) = (Vec::new(), 0);
    while at < order.len() {
        let mut end = at + 1;
        while end < order.len() && continues(pieces, &order[at..end], order[end]) {
            end += 1;
        }
        all.push(&order[at..end]);
        at = end;
    }
    all
}

/// The same where some may have to be cut.
fn halves_with_rests(pieces: &[Piece], order: &[usize], rules: Rules, flows: &mut Vec<Flow>) {
    let from = flows.len();
    for members in cut::groups(pieces, order) {
        let parts: Vec<Piece> = members.iter().map(|member| member.of(pieces)).collect();
        let places: Vec<usize> = (0..parts.len()).collect();
        let before = flows.len();
        joined(&parts, &places, rules, flows);
        for flow in &mut flows[before..] {
            flow.members.iter_mut().for_each(|of| *of = members[of.piece].clone());
            if flow.members.iter().any(|of| of.parts.is_some()) {
                flow.kind = Kind::Joined;
            }
        }
    }
    wait_for_each_other(pieces, &mut flows[from..], rules);
}

/// A piece goes as a whole, so that what is held of it is all of it or nothing: flows that share pieces go when the last
/// of them is due, but for that no longer than a flow waits after the first, once all are written.
fn wait_for_each_other(pieces: &[Piece], flows: &mut [Flow], rules: Rules) {
    // For each the first flow that it shares pieces with, by way of others.
    let mut firsts: Vec<usize> = (0..flows.len()).collect();
    let find = |firsts: &[usize], mut of: usize| {
        while firsts[of] != of {
            of = firsts[of];
        }
        of
    };
    let mut by_piece: BTreeMap<usize, usize> = BTreeMap::new();
    for (i, flow) in flows.iter().enumerate() {
        for member in &flow.members {
            let with = *by_piece.entry(member.piece).or_insert(i);
            let [a, b] = [with, i].map(|of| find(&firsts, of));
            firsts[a.max(b)] = a.min(b);
        }
    }
    let mut dues: BTreeMap<usize, [i64; 3]> = BTreeMap::new();
    for (i, flow) in flows.iter().enumerate() {
        let stamped = flow.members.iter().map(|of| pieces[of.piece].stamped);
        let stamped = stamped.max().unwrap_or(i64::MIN);
        let [least, most, written] =
            dues.entry(find(&firsts, i)).or_insert([flow.due, flow.due, stamped]);
        *least = flow.due.min(*least);
        *most = flow.due.max(*most);
        *written = stamped.max(*written);
    }
    for (i, flow) in flows.iter_mut().enumerate() {
        if let Some([least, most, written]) = dues.get(&find(&firsts, i)) {
            flow.due = least.saturating_add(rules.window_us).min(*most).max(*written);
        }
    }
}

/// Pieces that are one flow, if both directions are there.
fn joined(pieces: &[Piece], members: &[usize], rules: Rules, flows: &mut Vec<Flow>) {
    let is_both = members.iter().any(|i| pieces[*i].end() != pieces[members[0]].end());
    if !is_both {
        return one_way(pieces, members, rules, flows);
    }
    let waits = if is_complete(pieces, members) { SETTLE_US } else { rules.window_us };
    let due = due(pieces, members, waits.min(rules.window_us));
    let mut members = members.to_vec();
    let began = began(pieces, &members);
    members[..=began].rotate_right(1);
    flows.push(flow(members, Kind::Joined, due));
}

/// Pieces of one direction wait each for itself, or, where taps overlap, with those of other taps.
fn one_way(pieces: &[Piece], members: &[usize], rules: Rules, flows: &mut Vec<Flow>) {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for i in members {
        let fits = |group: &&mut Vec<usize>| {
            rules.copies_us.is_some()
                && group.iter().all(|m| pieces[*m].tap != pieces[*i].tap)
                && meets(&pieces[group[0]], &pieces[*i])
        };
        match groups.iter_mut().find(fits) {
            Some(group) => group.push(*i),
            None => groups.push(vec![*i]),
        }
    }
    for members in groups {
        let due = due(pieces, &members, rules.window_us);
        flows.push(flow(members, Kind::Copies, due));
    }
}

/// Whether a piece still belongs to the flow that these are.
pub fn continues(pieces: &[Piece], flow: &[usize], next: usize) -> bool {
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
            && meets(other, piece)
    };
    let is_any_alone = piece.is_alone() || flow.iter().any(|i| pieces[*i].is_alone());
    if is_any_alone && !flow.iter().all(is_copy) {
        return false;
    }
    // Nor is what it saw after a SYN that began anew of what it saw before, whatever became of that SYN.
    let is_anew = |i: &usize| {
        let before = &pieces[*i];
        before.tap == piece.tap
            && before.end() == piece.end()
            && before.is_replaced
            && piece.first >= before.written
    };
    if piece.is_tcp && flow.iter().any(is_anew) {
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
        let is_of_names = flow.iter().any(|i| pieces[*i].ended_as("dns"));
        let patience = if is_of_names { NAMES_US } else { DATAGRAM_US };
        return piece.first < last.saturating_add(patience);
    }
    let told = tell(pieces, flow, Some(piece.first));
    if piece.first >= told.lives_until(last, piece.ports) {
        return false;
    }
    // A SYN begins another flow unless it repeats the first one, or its answer is there already, by another clock.
    let Some(syn) = piece.syn() else { return true };
    // What answers the same SYN that came before is no answer to this one.
    let comes_again =
        flow.iter().any(|i| pieces[*i].end() == piece.end() && pieces[*i].syn() == Some(syn));
    if !comes_again && flow.iter().any(|i| answers(&pieces[*i], piece)) {
        return true;
    }
    let of_orig = |i: &&usize| pieces[**i].end() == told.orig;
    let orig = flow.iter().find(of_orig).and_then(|i| pieces[*i].half.as_deref()?.start);
    !told.is_closing() && orig.is_none_or(|start| start == syn)
}

/// Whether a piece begins with what acknowledges all of another's first packet, which then came before it.
fn answers(piece: &Piece, other: &Piece) -> bool {
    let first = |piece: &Piece| Some(*piece.half.as_deref()?.marks.iter().find(|m| m.is_packet())?);
    let (Some(own), Some(asked)) = (first(piece), first(other)) else { return false };
    let (Some(ack), Some(end)) = (own.ack, asked.end) else { return false };
    let is_in_time = other.first.abs_diff(piece.first) < SKEW_US.unsigned_abs();
    let is_acked =
        if asked.letter == b'S' { ack == end } else { ack.wrapping_sub(end) as i32 >= 0 };
    piece.end() != other.end() && is_in_time && is_acked
}

/// Which of the pieces of a flow has the packet that began it: the first by the clock, unless that answers one of the
/// other end, as a sensor's clock is not another's. Over UDP what comes from a server's port is taken for an answer; of
/// ICMP the messages tell.
fn began(pieces: &[Piece], flow: &[usize]) -> usize {
    let Some(first) = flow.first().map(|i| &pieces[*i]) else { return 0 };
    let asks = |i: &usize| {
        let other = &pieces[*i];
        match first.is_tcp {
            true => answers(first, other),
            false => {
                let is_answer = first.is_turned() && !other.is_turned();
                (is_answer || (other.asks && !first.asks))
                    && first.end() != other.end()
                    && other.first.saturating_sub(first.first) < KEPT_US
            }
        }
    };
    flow.iter().position(asks).unwrap_or(0)
}

/// What to add to the times of the other end than `first`'s, microseconds: nothing as long as no answer comes before what
/// it answers, else the middle of what makes it come after.
pub fn offset(pieces: &[Piece], flow: &[usize], first: &Piece) -> i64 {
    let marks = |is_first: bool| {
        let of = flow.iter().map(|i| &pieces[*i]);
        let of = of.filter(move |piece| (piece.end() == first.end()) == is_first);
        of.filter_map(|piece| piece.half.as_deref()).flat_map(|half| &half.marks)
    };
    let (Some(asked), Some(answer)) = (marks(true).next(), marks(false).find(|m| m.is_packet()))
    else {
        return 0;
    };
    let least = asked.at.saturating_sub(answer.at);
    // Who answered is acknowledged in turn, where that shows: in the handshake.
    let is_handshake = asked.letter == b'S' && asked.end.is_some() && answer.ack == asked.end;
    let in_turn = |mark: &&Mark| is_handshake && answer.end.is_some() && mark.ack == answer.end;
    let most = marks(true).find(in_turn).map(|mark| mark.at.saturating_sub(answer.at));
    let needs = match most {
        _ if !is_handshake && first.is_tcp && !flow.iter().any(|i| answers(&pieces[*i], first)) => {
            0
        }
        Some(most) if most < 0 || least > 0 => least.midpoint(most),
        None if least > 0 => least + 1,
        _ => 0,
    };
    needs.clamp(-SKEW_US, SKEW_US)
}

/// The flow that some pieces are, as far as it had come at a time.
pub fn tell(pieces: &[Piece], flow: &[usize], until: Option<i64>) -> Told {
    let Some(first) = flow.get(began(pieces, flow)).map(|i| &pieces[*i]) else {
        return Told::new(0, false, Vec::new());
    };
    let mut ends = [Vec::new(), Vec::new()];
    for (number, i) in flow.iter().enumerate() {
        ends[pieces[*i].end()].extend(pieces[*i].events(number));
    }
    let offset = offset(pieces, flow, first);
    ends[1 - first.end()].iter_mut().for_each(|event| {
        event.mark.at = event.mark.at.saturating_add(offset);
    });
    // Pieces of one end may overlap.
    ends.iter_mut().for_each(|events| events.sort_by_key(|event| event.mark.at));
    let events = order::of_both(ends, first.end());
    let until = until.unwrap_or(i64::MAX);
    let events = events.iter().filter(|event| event.mark.at <= until);
    let streams = flow.iter().map(|i| Stream::of(&pieces[*i])).collect();
    let told = Told::new(first.end(), first.is_turned(), streams);
    if !are_in_two_tunnels(pieces, flow) {
        return told.hear_all(events);
    }
    let mut told = told.in_two_tunnels(first.end()).hear_all(events);
    if first.asks {
        told.change_tunnels(alternations(pieces, flow));
    }
    told
}

/// Whether each direction came in a tunnel of its own.
fn are_in_two_tunnels(pieces: &[Piece], flow: &[usize]) -> bool {
    let of = |end: usize| {
        let halves = flow.iter().map(|i| &pieces[*i]).filter(move |piece| piece.end() == end);
        halves.filter_map(|piece| piece.half.as_deref()).flat_map(|half| &half.tunnels)
    };
    let (low, high) = (of(0).count(), of(1).count());
    let others: BTreeSet<&str> = of(1).map(|(_, name)| &**name).collect();
    low + high > 0 && !of(0).any(|(_, name)| others.contains(&**name))
}

/// How often another end sends, where each message is answered before the next one.
fn alternations(pieces: &[Piece], flow: &[usize]) -> u64 {
    let sent = |end: usize| -> i64 {
        let halves = flow.iter().map(|i| &pieces[*i]).filter(|piece| piece.end() == end);
        halves.fold(0, |sum: i64, piece| sum.saturating_add(piece.packets))
    };
    let both = u64::try_from(sent(0).min(sent(1))).unwrap_or(0);
    both.saturating_mul(2).saturating_sub(1)
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
            of(1 - end)
                .any(|other| other.half.as_deref().is_some_and(|half| half.ack == Some(upper)))
        })
    };
    told.ends.iter().all(|end| end.has_finished) && has_acked(0) && has_acked(1)
}
