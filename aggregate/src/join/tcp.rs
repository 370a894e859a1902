//! What one sensor would have said of a TCP flow, from the letters of both directions in their order (`order.rs`).
//!
//! A letter of the history stands for the segment that wrote it: those are the segments that move the states of
//! the ends. The rules are those of capture (`tcp/states.rs`, Zeek's `TCPSessionAdapter.cc`), less all that one
//! direction settles by itself. `tests/join.rs` holds the two against each other over real captures.

use model::conn_state::Endpoint as State;

use super::piece::{IGNORED, Mark, NO_LETTER};
use super::stream::Stream;
use crate::config::SECOND;

/// A flow that was closed or reset stays for stragglers (Zeek's `tcp_close_delay`, `tcp_reset_delay`).
const CLOSE_US: i64 = 5 * SECOND;
/// An attempt that nobody answered is given up (`tcp_attempt_delay`).
pub const ATTEMPT_US: i64 = 5 * SECOND;
/// Without packets it ends (`tcp_inactivity_timeout`); users of some services pause for longer
/// (`conn/inactivity.zeek`).
const INACTIVITY_US: i64 = 300 * SECOND;
const INTERACTIVE_US: i64 = 3600 * SECOND;
const INTERACTIVE_PORTS: [i32; 4] = [21, 22, 23, 513];
/// The same during the handshake, where it is that of UDP.
const HANDSHAKE_US: i64 = 60 * SECOND;

/// A flow whose tunnels changed so often is given up on (Zeek's `Tunnel::max_changes_per_connection`).
const TUNNEL_CHANGES_MAX: u64 = 5;

/// A packet that a sensor tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Its time, letter and numbers.
    pub mark: Mark,
    /// Which end sent it: an index, whatever its role.
    pub end: usize,
    /// Of a `^`: the sender became the originator.
    pub to_orig: bool,
    /// The piece that tells of it.
    pub piece: usize,
}

/// One end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct End {
    /// What it has done, and had done before.
    pub state: State,
    /// The one before.
    pub prev: State,
    /// Its close was taken note of.
    did_close: bool,
    /// Whether it sent a FIN, which takes a number.
    pub has_finished: bool,
    /// It waits with its close for bytes or acknowledgements.
    is_deferred: bool,
    /// It sent a SYN.
    has_begun: bool,
    /// Where its last FIN ends.
    fin: Option<u32>,
    /// A packet of it was seen.
    is_seen: bool,
    gaps: u64,
    /// Letters that it had, of those that each side has once.
    once: u8,
}

/// A flow as its letters tell it.
#[derive(Debug, Clone)]
pub struct Told {
    /// Both ends, by the index that events have.
    pub ends: [End; 2],
    /// Which of them is the originator.
    pub orig: usize,
    /// Its history.
    pub history: Vec<u8>,
    /// Bytes in content gaps.
    pub missed_bytes: u64,
    /// Both ends had closed: packets after this are stragglers.
    pub closed_at: Option<i64>,
    /// It was closed or reset for good: when it is forgotten.
    delete_at: Option<i64>,
    /// The first SYN.
    attempt_at: Option<i64>,
    /// The flow's beginning was not seen.
    is_partial: bool,
    /// An `X`, which is of no side, was written.
    has_given_up: bool,
    /// What each piece saw sent, and which of them each end is at.
    streams: Vec<Stream>,
    at_piece: [Option<usize>; 2],
    /// The latest time: it never goes back.
    now: i64,
    /// The end that sent last, where each comes in a tunnel of its own, and how often that was another.
    in_tunnel_of: Option<usize>,
    tunnel_changes: u64,
    /// When that was too often.
    pub given_up_at: i64,
}

impl Told {
    /// A flow whose first packet came from end `first`, which is the responder if that was a guess by its port.
    /// `streams` are what its pieces saw sent.
    pub fn new(first: usize, is_turned: bool, streams: Vec<Stream>) -> Told {
        Told {
            ends: Default::default(),
            orig: if is_turned { 1 - first } else { first },
            history: if is_turned { vec![b'^'] } else { Vec::new() },
            missed_bytes: 0,
            closed_at: None,
            delete_at: None,
            attempt_at: None,
            is_partial: false,
            has_given_up: false,
            streams,
            at_piece: [None; 2],
            now: i64::MIN,
            in_tunnel_of: None,
            tunnel_changes: 0,
            given_up_at: i64::MAX,
        }
    }

    /// Each end's packets come in a tunnel of their own; `first` sends the first one.
    pub fn in_two_tunnels(self, first: usize) -> Told {
        Told { in_tunnel_of: Some(first), ..self }
    }

    /// Its tunnels changed this often.
    pub fn change_tunnels(&mut self, times: u64) {
        self.tunnel_changes = self.tunnel_changes.saturating_add(times);
        if self.tunnel_changes <= TUNNEL_CHANGES_MAX || self.given_up_at < i64::MAX {
            return;
        }
        // Where no packet is told of, nobody knows when.
        self.given_up_at = if self.now > i64::MIN { self.now } else { i64::MAX };
        if !std::mem::replace(&mut self.has_given_up, true) {
            self.history.push(b'X');
        }
    }

    /// All of these, as one sensor would have seen them.
    pub fn hear_all<'a>(mut self, events: impl Iterator<Item = &'a Event>) -> Told {
        events.for_each(|event| self.hear(event));
        self
    }

    fn hear(&mut self, event: &Event) {
        let (s, Mark { at, letter, end, ack }) = (event.end, event.mark);
        self.now = self.now.max(at);
        let at = self.now;
        if letter == b'^' {
            if (s == self.orig) != event.to_orig {
                self.turn();
            }
            return;
        }
        if self.in_tunnel_of.is_some_and(|end| end != s) {
            self.in_tunnel_of = Some(s);
            self.change_tunnels(1);
        }
        if matches!(letter, b'A' | b'D') && *self.history == *b"H" {
            self.turn();
            self.history = b"^h".to_vec();
        }
        self.first_of(s, letter);
        self.at_piece[s] = Some(event.piece);
        if let Some(stream) = self.streams.get_mut(event.piece) {
            stream.sent(end, letter.eq_ignore_ascii_case(&b'F'));
        }
        let does_close = self.letter(s, letter, at, end);
        if let Some(ack) = ack {
            self.acked(1 - s, ack);
        }
        for end in [0, 1] {
            if self.ends[end].is_deferred || (end == s && does_close) {
                self.close(end, at);
            }
        }
    }

    /// Whether the flow's beginning is missing shows by the first packet of each end that its sensor did not ignore.
    fn first_of(&mut self, s: usize, letter: u8) {
        if letter == IGNORED || std::mem::replace(&mut self.ends[s].is_seen, true) {
            return;
        }
        if s == self.orig {
            self.is_partial = letter != b'S';
        } else if !self.is_partial {
            self.is_partial = !matches!(letter, b'S' | b'H');
        }
    }

    /// Writes the letter; says whether its packet closes its end.
    fn letter(&mut self, s: usize, letter: u8, at: i64, number: Option<u32>) -> bool {
        let is_boring =
            || self.ends[1 - s].state == State::Closed || self.ends[s].state == State::Reset;
        match letter {
            NO_LETTER | b'a'..=b'z' => return false,
            b'X' if std::mem::replace(&mut self.has_given_up, true) => return false,
            b'W' if is_boring() => return false,
            _ => {}
        }
        if !self.is_new(s, letter, number) {
            return false;
        }
        self.write(s, letter);
        match letter {
            b'S' | b'H' => self.syn(s, letter == b'H', at),
            b'A' | b'D' => self.plain(s, letter == b'D'),
            b'F' => return self.fin(s),
            b'R' => return self.reset(s),
            b'I' => {
                // A FIN and a RST at once.
                self.ends[s].has_finished = true;
                return self.reset(s);
            }
            b'Q' => self.syn(s, false, at),
            _ => {}
        }
        false
    }

    /// What an end sent was acknowledged up to a number: what is missing below is a gap.
    fn acked(&mut self, end: usize, ack: u32) {
        let Some(stream) = self.at_piece[end].and_then(|piece| self.streams.get_mut(piece)) else {
            return;
        };
        for missing in stream.acked(ack, self.is_partial) {
            self.gap(end, missing);
        }
    }

    /// Whether a side did not have this letter before, of those that it has once, or once for a number: each of several
    /// pieces has them.
    fn is_new(&mut self, end: usize, letter: u8, number: Option<u32>) -> bool {
        let side = &mut self.ends[end];
        match letter {
            b'S' | b'H' => {
                // A stream that has begun begins again where it is.
                let has_begun = std::mem::replace(&mut side.has_begun, true);
                return !has_begun || matches!(side.state, State::Closed | State::Reset);
            }
            b'F' if number.is_some() => return std::mem::replace(&mut side.fin, number) != number,
            _ => {}
        }
        let Some(at) = b"ADIQ".iter().position(|once| *once == letter) else { return true };
        let (once, bit) = (&mut self.ends[end].once, 1 << at);
        let is_new = *once & bit == 0;
        *once |= bit;
        is_new
    }

    fn write(&mut self, end: usize, letter: u8) {
        let is_orig = end == self.orig;
        let letter = match letter {
            b'X' => letter,
            _ if is_orig => letter,
            _ => letter.to_ascii_lowercase(),
        };
        self.history.push(letter);
    }

    fn turn(&mut self) {
        self.orig = 1 - self.orig;
        self.is_partial = false;
        self.history.push(b'^');
    }

    fn set(&mut self, end: usize, state: State) {
        let end = &mut self.ends[end];
        if end.state != state {
            (end.prev, end.state) = (end.state, state);
        }
    }

    fn syn(&mut self, s: usize, with_ack: bool, at: i64) {
        let (own, peer) = (self.ends[s].state, self.ends[1 - s].state);
        match own {
            State::Inactive if s == self.orig => {
                self.set(s, if with_ack { State::SynAckSent } else { State::SynSent });
                self.attempt_at = Some(at);
            }
            State::Inactive => {
                if !with_ack && peer == State::SynAckSent {
                    // A SYN and its answer in the wrong order.
                    self.turn();
                    self.set(s, State::Established);
                    self.set(1 - s, State::Established);
                    return;
                }
                if peer == State::SynSent {
                    self.set(1 - s, State::Established);
                }
                self.set(s, State::Established);
            }
            State::Partial if peer == State::Inactive && !with_ack => self.set(s, State::SynSent),
            _ => {}
        }
    }

    fn plain(&mut self, s: usize, has_payload: bool) {
        if self.ends[s].state != State::Inactive {
            return;
        }
        let peer = self.ends[1 - s].state;
        // Some stacks acknowledge a SYN before they answer it.
        if s != self.orig && !has_payload && peer == State::SynSent {
            return;
        }
        // The SYN was missed, its answer was not.
        let is_open = peer == State::Established;
        self.is_partial &= !is_open;
        self.set(s, if is_open { State::Established } else { State::Partial });
    }

    fn fin(&mut self, s: usize) -> bool {
        self.ends[s].has_finished = true;
        let (own, peer) = (self.ends[s].state, self.ends[1 - s]);
        match own {
            State::Closed | State::Reset => return false,
            State::Established | State::Partial => {
                self.set(s, State::Closed);
                // A FIN and then a RST of the other side was a normal end after all.
                if peer.state == State::Reset && peer.prev == State::Closed {
                    self.set(1 - s, State::Closed);
                }
            }
            _ => self.set(s, State::Closed),
        }
        true
    }

    fn reset(&mut self, s: usize) -> bool {
        match self.ends[s].state {
            State::Reset => return false,
            State::Closed if self.ends[1 - s].state == State::Closed => return false,
            _ => self.set(s, State::Reset),
        }
        true
    }

    /// Whether an end's close has to wait: bytes of it are missing, or it did not acknowledge all.
    fn is_pending(&self, s: usize) -> bool {
        let stream = |end: usize| self.at_piece[end].and_then(|piece| self.streams.get(piece));
        stream(s).is_some_and(Stream::has_hole)
            || (self.ends[s].state != State::Reset
                && stream(1 - s).is_some_and(Stream::has_unacked))
    }

    fn close(&mut self, s: usize, at: i64) {
        self.ends[s].is_deferred = self.is_pending(s);
        if self.ends[s].is_deferred || self.ends[s].did_close {
            return;
        }
        self.ends[s].did_close = true;
        let peer = self.ends[1 - s];
        if peer.did_close {
            self.closed_at = Some(at);
        }
        let is_complete = self.ends[s].state == State::Reset || peer.did_close;
        if is_complete || peer.state == State::Inactive {
            self.delete_at = Some(at.saturating_add(CLOSE_US));
        }
    }

    fn gap(&mut self, s: usize, missing: u64) {
        let is_clean = |end: &End| {
            end.state == State::Established
                || (end.state == State::Closed && end.prev == State::Established)
        };
        if !self.ends.iter().all(is_clean) {
            return;
        }
        self.missed_bytes = self.missed_bytes.saturating_add(missing);
        let gaps = &mut self.ends[s].gaps;
        *gaps += 1;
        // At the 1st, 10th, 100th … only.
        if 10u64.pow(gaps.ilog10()) == *gaps {
            self.write(s, b'G');
        }
    }

    /// Until when a packet still belongs to the flow, of which `last` was the last packet so far.
    pub fn lives_until(&self, last: i64, ports: [i32; 2]) -> i64 {
        if let Some(at) = self.delete_at {
            return at;
        }
        let [orig, resp] = [self.ends[self.orig].state, self.ends[1 - self.orig].state];
        let is_attempt = matches!(orig, State::SynSent | State::SynAckSent);
        if is_attempt && resp == State::Inactive {
            return self.attempt_at.unwrap_or(last).saturating_add(ATTEMPT_US);
        }
        let is_opening =
            |state| matches!(state, State::Inactive | State::SynSent | State::SynAckSent);
        let patience = match () {
            () if is_opening(orig) && is_opening(resp) => HANDSHAKE_US,
            () if ports.iter().any(|port| INTERACTIVE_PORTS.contains(port)) => INTERACTIVE_US,
            () => INACTIVITY_US,
        };
        last.saturating_add(patience)
    }

    /// Whether a SYN begins another flow unless it repeats the first.
    pub fn is_closing(&self) -> bool {
        self.ends.iter().any(|end| end.did_close)
    }

    /// Whether nothing but stragglers can follow: one end was reset.
    pub fn is_reset(&self) -> bool {
        self.ends.iter().any(|end| end.state == State::Reset)
    }
}

#[cfg(test)]
mod tests;
