//! One row of conn for what several sensors saw of a flow: halves of it, or copies.
//!
//! Everything goes by the time rows were written, or when their flow was over where that was before: a piece comes into its group when the watermark passes that
//! time, a flow leaves it when it is complete or has waited long enough, and what happens is the same in
//! whatever order records arrived. Rows get the time at which they left as their own, and that is always
//! in a pane that closes in the same step: of what left nothing has to be rebuilt.
//!
//! - [`piece`]: a row as joining sees it; [`part`]: a part of it. [`flows`], [`cut`]: which are one flow. [`order`], [`tcp`], [`stream`]: how a
//!   flow went.
//! - [`row`]: the rows that come of it; [`services`]: their protocols. [`open`]: what a restart needs to know. [`extent`]: how copies know each
//!   other; [`left`]: those that come late. [`copies`]: rows of other streams.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::config::Config;

pub mod copies;
pub mod cut;
pub mod extent;
pub mod feed;
pub mod flows;
pub mod left;
pub mod open;
pub mod order;
pub mod part;
pub mod piece;
pub mod row;
mod services;
pub mod shared;
pub mod sites;
pub mod stream;
pub mod tcp;
#[cfg(test)]
mod tests;

pub use copies::Copies;
pub use flows::Rules;
use flows::{Flow, Kind, divide};
use left::Left;
pub use open::Open;
pub use piece::Piece;
pub use row::Ready;

/// Pieces of one tuple that are looked at together. More within a window is a tuple that begins anew all the
/// time; the oldest of them go as they are.
const PIECES_MAX: usize = 32;

/// A tuple at a site.
type Key = Arc<str>;

/// Place of a piece that its time has not come for: when it was written, began, by whom, and its record and row.
type Place = (i64, i64, Arc<str>, i64, usize);

#[derive(Debug, Default)]
struct Group {
    pieces: Vec<Piece>,
    /// When one of its flows leaves.
    due: i64,
    /// Its flows, as its pieces are and by these rules, where somebody has looked.
    flows: Option<(Rules, Vec<Flow>)>,
}

impl Group {
    /// Looks when the first flow is due, as pieces have come or gone.
    fn settle(&mut self, key: &str, rules: Rules) {
        self.flows = None;
        let due = match &self.pieces[..] {
            [piece] => {
                let whole = rules.copies_us.filter(|_| piece.half.is_none());
                piece.stamped.max(piece.written.saturating_add(whole.unwrap_or(rules.window_us)))
            }
            pieces => {
                let flows = divide(pieces, parts(key).1, rules);
                let due = flows.iter().map(|flow| flow.due).min().unwrap_or(0);
                self.flows = Some((rules, flows));
                due
            }
        };
        self.due = due.min(i64::MAX - 1);
    }

    /// Its flows.
    fn flows(&mut self, key: &str, rules: Rules) -> Vec<Flow> {
        match self.flows.take() {
            Some((by, flows)) if by == rules => flows,
            _ => divide(&self.pieces, parts(key).1, rules),
        }
    }
}

/// Taps known, by site.
pub type Taps = BTreeMap<String, BTreeSet<String>>;

/// Pieces of one timeline of a lane.
#[derive(Debug)]
pub struct Join {
    /// Boxed, as a tree moves what it holds about.
    pending: BTreeMap<Place, (Key, Box<Piece>)>,
    groups: HashMap<Key, Group>,
    timers: BTreeSet<(i64, Key)>,
    /// Before this all has happened.
    horizon: i64,
    held: usize,
    /// Flows that left before their time, as a tuple or the lane had too many pieces.
    pub hurried: u64,
    /// Copies that came when the row that stands for them had left.
    pub late_copies: u64,
    /// Which rows are held.
    pub open: Open,
    /// Flows that left, and of which copies may come.
    pub left: Left,
    /// All taps are known: where there is one, nothing has another half.
    pub knows_taps: bool,
}

/// What stands between site and tuple in a key.
const BETWEEN: char = '\n';

/// The key of a tuple at a site.
pub fn key_of(site: &str, community_id: &str) -> Key {
    if site.is_empty() {
        return community_id.into();
    }
    format!("{site}{BETWEEN}{community_id}").into()
}

fn parts(key: &str) -> (&str, &str) {
    key.split_once(BETWEEN).unwrap_or(("", key))
}

impl Join {
    /// Nothing held; all before a time has happened.
    pub fn new(horizon: i64) -> Join {
        Join {
            pending: BTreeMap::new(),
            groups: HashMap::new(),
            timers: BTreeSet::new(),
            horizon,
            held: 0,
            hurried: 0,
            late_copies: 0,
            open: Open::default(),
            left: Left::default(),
            knows_taps: false,
        }
    }

    /// A piece. `origin` is the row's place in its record.
    pub fn take(&mut self, key: Key, mut piece: Piece, origin: usize) {
        self.open.take(piece.offset, origin);
        self.held += 1;
        let sensor = piece.sensor.clone();
        let place = (piece.written, piece.first, sensor, piece.offset, origin);
        piece.origin = origin;
        self.pending.insert(place, (key, Box::new(piece)));
    }

    /// All that happens before `horizon`: flows that leave, in order of time.
    pub fn release(&mut self, horizon: i64, config: &Config, taps: &Taps) -> Vec<Ready> {
        let mut out = Vec::new();
        let mut now = self.horizon;
        loop {
            let piece = self.pending.first_key_value().map_or(i64::MAX, |(place, _)| place.0);
            let timer = self.timers.first().map_or(i64::MAX, |(due, _)| *due);
            if piece.min(timer) >= horizon {
                break;
            }
            now = now.max(piece.min(timer));
            self.left.expire(now);
            if piece <= timer {
                let Some((_, (key, piece))) = self.pending.pop_first() else { break };
                self.insert(key, *piece, now, config, taps, &mut out);
            } else {
                let Some((_, key)) = self.timers.pop_first() else { break };
                self.fire(&key, now, config, taps, &mut out);
            }
        }
        self.left.expire(horizon);
        self.horizon = self.horizon.max(horizon);
        out
    }

    /// The lane holds too much: the older half goes as it is, whatever may still come for it.
    pub fn force(&mut self) -> Vec<Ready> {
        let mut out = Vec::new();
        let keep = self.held / 2;
        while self.held > keep {
            let pieces = if let Some((_, key)) = self.timers.pop_first() {
                self.groups.remove(&key).map_or(Vec::new(), |group| group.pieces)
            } else if let Some((_, (_, piece))) = self.pending.pop_first() {
                vec![*piece]
            } else {
                break;
            };
            // Each alone and with its own time: what a restart reads again of them goes into the same panes.
            for piece in pieces {
                let at = piece.stamped;
                self.leave(vec![piece], Kind::Copies, at, &mut out);
            }
        }
        self.hurried += out.len() as u64;
        out
    }

    /// All that is held leaves, as though its time had come; what comes after this time begins anew.
    pub fn release_all(&mut self, until: i64, config: &Config, taps: &Taps) -> Vec<Ready> {
        let mut out = self.release(i64::MAX, config, taps);
        for ready in &mut out {
            ready.at = ready.at.min(until.saturating_sub(1));
        }
        self.horizon = until;
        out
    }

    /// A new round begins, at any time.
    pub fn begin_anew(&mut self) {
        self.horizon = i64::MIN;
    }

    /// The oldest record that is needed.
    pub fn oldest(&self) -> Option<i64> {
        [self.open.oldest(), self.left.open.oldest()].into_iter().flatten().min()
    }

    /// Pieces held.
    pub fn weight(&self) -> usize {
        self.held
    }

    fn insert(
        &mut self,
        key: Key,
        piece: Piece,
        now: i64,
        config: &Config,
        taps: &Taps,
        out: &mut Vec<Ready>,
    ) {
        if piece.is_tcp && piece.half.is_none() && self.left.has(&key, &piece) {
            self.held = self.held.saturating_sub(1);
            self.open.let_go(piece.offset, piece.origin);
            self.late_copies += 1;
            // What its tap writes after it is another flow.
            return self.left.remember(&key, &piece, config.join_window_us);
        }
        let rules = self.rules(&key, config, taps);
        let group = self.groups.entry(key.clone()).or_default();
        let before = group.due;
        let is_new = group.pieces.is_empty();
        group.pieces.push(piece);
        let too_many = group.pieces.len() > PIECES_MAX;
        let oldest = too_many.then(|| group.pieces.remove(0));
        group.settle(&key, rules);
        let after = group.due;
        if !is_new && before != after {
            self.timers.remove(&(before, key.clone()));
        }
        self.timers.insert((after, key));
        if let Some(oldest) = oldest {
            self.hurried += 1;
            let at = now.max(oldest.stamped);
            self.leave(vec![oldest], Kind::Copies, at, out);
        }
    }

    /// The flows of a group that are due leave it.
    fn fire(&mut self, key: &Key, now: i64, config: &Config, taps: &Taps, out: &mut Vec<Ready>) {
        let Some(mut group) = self.groups.remove(key) else { return };
        let rules = self.rules(key, config, taps);
        let flows = group.flows(key, rules);
        let mut left: Vec<Option<Piece>> = group.pieces.drain(..).map(Some).collect();
        let mut cut = BTreeSet::new();
        for flow in flows.into_iter().filter(|flow| flow.due <= now) {
            cut.extend(flow.members.iter().filter(|of| of.parts.is_some()).map(|of| of.piece));
            let pieces: Vec<Piece> =
                flow.members.iter().filter_map(|of| of.take(&mut left)).collect();
            if flow.kind == Kind::Copies && rules.copies_us.is_some() {
                self.remember(key, &pieces, config, rules.taps);
            }
            self.leave(pieces, flow.kind, now, out);
        }
        // All parts of a piece leave together.
        let is_left = |(i, piece): (usize, Option<Piece>)| piece.filter(|_| !cut.contains(&i));
        group.pieces = left.into_iter().enumerate().filter_map(is_left).collect();
        if group.pieces.is_empty() {
            return;
        }
        group.settle(key, rules);
        self.timers.insert((group.due, key.clone()));
        self.groups.insert(key.clone(), group);
    }

    /// Flows of TCP seen whole leave, of which not all taps have written a copy.
    fn remember(&mut self, key: &Key, pieces: &[Piece], config: &Config, taps: usize) {
        let whole = pieces.iter().filter(|piece| piece.is_tcp && piece.half.is_none());
        if whole.clone().count() < taps {
            whole.for_each(|piece| self.left.remember(key, piece, config.join_window_us));
        }
    }

    /// By what the pieces of a key are joined.
    fn rules(&self, key: &str, config: &Config, taps: &Taps) -> Rules {
        let taps = taps.get(parts(key).0).map_or(1, BTreeSet::len);
        let waits = |time_us| if self.knows_taps && taps < 2 { 0 } else { time_us };
        Rules {
            window_us: waits(config.join_window_us),
            copies_us: config.overlap.then_some(waits(config.copies_us)),
            taps,
        }
    }

    fn leave(&mut self, pieces: Vec<Piece>, kind: Kind, at: i64, out: &mut Vec<Ready>) {
        if pieces.is_empty() {
            return;
        }
        // A restart that reads a row again finds that its pane was over, whether it left or not.
        debug_assert!(
            pieces.iter().all(|piece| piece.stamped <= at),
            "it leaves before it was written"
        );
        // Of a piece that is cut the first part stands for all.
        let rows = pieces.iter().filter(|piece| !piece.is_cut[0]).count();
        self.held = self.held.saturating_sub(rows);
        pieces.iter().for_each(|piece| self.open.let_go(piece.offset, piece.origin));
        out.push(Ready { at, kind, pieces });
    }
}
