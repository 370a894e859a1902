//! Rests of a direction: moments at which the flow may have been over for who sees both. What comes after one may be
//! another flow's, and then is counted and has its letters for itself; which it is aggregators know, who have the
//! other direction too.

use super::{Packet, is_ahead};
use crate::config::SECOND;

/// Silence after which the flow may be another. It takes some seconds to be over, most of which may have passed before
/// the last packet.
const SILENCE_US: i64 = SECOND;
/// The same before a SYN that repeats the packet before it.
const SYN_SILENCE_US: i64 = SECOND / 10;
/// Rests that are told of; of more the shortest are forgotten. Beyond it are keepalives, and who has that many of those
/// is no flow that had ended.
pub const RESTS_MAX: usize = 16;

/// Letters that packets have by themselves, each of which is told once after a rest.
const LETTERS: &[u8; 8] = b"SHADFRIQ";

/// What a flow begins with that begins with this packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Its sequence number.
    pub seq: u32,
    /// Its letter by its flags, if it has one.
    pub letter: Option<u8>,
}

impl Start {
    fn is_syn(self) -> bool {
        matches!(self.letter, Some(b'S' | b'H'))
    }
}

/// What was counted of a direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Packets.
    pub packets: u64,
    /// Bytes of IP.
    pub ip_bytes: u64,
}

/// A moment at which the flow may have been over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    /// When the packet came that ended it, microseconds.
    pub at: i64,
    /// How long there was none.
    pub silence: i64,
    /// What was counted up to it.
    pub before: Sums,
    /// The number that the packet begins with.
    pub seq: u32,
    /// The number that follows all before it, if those took any.
    pub upper: Option<u32>,
}

impl Rest {
    /// What it is worth to be told of: who sends a SYN means another flow.
    fn worth(&self, is_syn: bool) -> (bool, i64) {
        (is_syn, self.silence)
    }
}

/// All of a direction.
#[derive(Debug)]
pub(super) struct Rests {
    all: Vec<Rest>,
    /// For each of them whether a SYN ended it.
    syns: Vec<bool>,
    /// The packet at hand, unless it is ignored.
    start: Option<Start>,
    /// How far all packets before it went, and it goes.
    upper: Option<u32>,
    end: Option<u32>,
    /// Letters since the last rest, a bit each.
    seen: u8,
}

impl Rests {
    /// With the first packet, and the letters that it wrote.
    pub fn new(first: Packet, history: &[u8]) -> Rests {
        let letter = history.iter().map(u8::to_ascii_uppercase).find(|of| LETTERS.contains(of));
        let start = Some(Start { seq: 0, letter });
        Rests { all: Vec::new(), syns: Vec::new(), start, upper: None, end: first.end, seen: 0 }
    }

    /// In order of time.
    pub fn all(&self) -> &[Rest] {
        &self.all
    }

    /// The letter of the packet at hand, if it is the first one with that since the last rest.
    pub fn anew(&self) -> Option<u8> {
        let letter = self.start.filter(|_| !self.all.is_empty())?.letter?;
        let bit = LETTERS.iter().position(|of| *of == letter)?;
        (self.seen >> bit & 1 == 0).then_some(letter)
    }

    /// The packet at hand wrote this letter.
    pub fn wrote(&mut self, letter: u8) {
        if let Some(bit) = LETTERS.iter().position(|of| *of == letter) {
            self.seen |= 1 << bit;
        }
    }

    /// The number that the next packet has, if that lies behind all that was seen; a RST's is nobody's.
    pub fn skipped_to(&self, start: Option<Start>) -> Option<u32> {
        let start = start.filter(|start| !matches!(start.letter, Some(b'R' | b'I')))?;
        let has_numbers = self.upper.or(self.end).is_some();
        let is_behind = is_ahead(start.seq, self.upper) && is_ahead(start.seq, self.end);
        (has_numbers && is_behind).then_some(start.seq)
    }

    /// The next packet. Gives back the span of a rest that is forgotten.
    pub fn next(
        &mut self,
        last: i64,
        packet: Packet,
        start: Option<Start>,
        before: Sums,
    ) -> Option<(i64, i64)> {
        self.upper = self.end.filter(|end| is_ahead(*end, self.upper)).or(self.upper);
        self.end = packet.end;
        let was = std::mem::replace(&mut self.start, start);
        let start = start?;
        let silence = packet.at.saturating_sub(last);
        let repeats = was.is_none_or(|was| was.letter == start.letter) && silence < SYN_SILENCE_US;
        if silence < SILENCE_US && (!start.is_syn() || repeats) {
            return None;
        }
        let rest = Rest { at: packet.at, silence, before, seq: start.seq, upper: self.upper };
        self.seen = 0;
        self.all.push(rest);
        self.syns.push(start.is_syn());
        (self.all.len() > RESTS_MAX).then(|| self.forget())
    }

    /// Forgets the rest of least worth.
    fn forget(&mut self) -> (i64, i64) {
        let worth = |i: &usize| (self.all[*i].worth(self.syns[*i]), *i);
        let least = (0..self.all.len()).min_by_key(worth).unwrap_or(0);
        self.syns.remove(least);
        let rest = self.all.remove(least);
        match self.all.get(least) {
            Some(next) => (rest.at, next.at),
            None => {
                // What it had of letters the one before it may have had as well.
                self.seen = u8::MAX;
                (rest.at, i64::MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Trace;
    use super::*;

    const S: i64 = SECOND;

    fn send(trace: &mut Trace, at: i64, seq: u32, len: u32, letter: u8, n: u64) {
        let end = (len > 0).then_some(seq + len);
        let start = Start { seq, letter: Some(letter) };
        let before = Sums { packets: n, ip_bytes: 40 * n };
        trace.packet(Packet { at, end, ack: Some(7) }, Some(start), before);
    }

    fn letters(trace: &Trace) -> String {
        trace.marks().map(|mark| char::from(mark.letter)).collect()
    }

    #[test]
    fn what_comes_after_silence_has_its_letters_anew() {
        let mut trace = Trace::new(Packet { at: 0, end: Some(101), ack: None }, b"S", 1);
        send(&mut trace, 1, 101, 0, b'A', 1);
        trace.letter(b'A');
        send(&mut trace, 2, 101, 10, b'D', 2);
        trace.letter(b'D');
        send(&mut trace, 3 * S, 111, 0, b'A', 3);
        send(&mut trace, 3 * S + 1, 111, 0, b'A', 4);
        send(&mut trace, 3 * S + 2, 111, 1, b'F', 5);
        trace.letter(b'F');
        let before = Sums { packets: 3, ip_bytes: 120 };
        let rest = Rest { at: 3 * S, silence: 3 * S - 2, before, seq: 111, upper: Some(111) };
        assert_eq!((letters(&trace), trace.rests()), ("SADaF".to_owned(), &[rest][..]));
        send(&mut trace, 9 * S, 112, 0, b'A', 6);
        assert_eq!((letters(&trace), trace.rests().len()), ("SADaFa".to_owned(), 2));
        assert_eq!(trace.rests()[1].upper, Some(112));
    }

    #[test]
    fn a_syn_may_begin_another_flow_unless_it_repeats_the_last_packet() {
        let mut trace = Trace::new(Packet { at: 0, end: Some(101), ack: None }, b"S", 1);
        send(&mut trace, 10, 100, 1, b'S', 1);
        assert!(trace.rests().is_empty());
        send(&mut trace, S / 2, 100, 1, b'S', 2);
        send(&mut trace, S / 2 + 9, 100, 1, b'H', 3);
        assert_eq!((letters(&trace).as_str(), trace.rests().len()), ("S-sh", 2));
    }

    #[test]
    fn a_packet_behind_what_was_not_seen_tells_how_far_numbers_went() {
        let mut trace = Trace::new(Packet { at: 0, end: Some(101), ack: None }, b"S", 1);
        send(&mut trace, 1, 101, 0, b'A', 1);
        trace.letter(b'A');
        send(&mut trace, 2, 140, 0, b'A', 2);
        send(&mut trace, 3, 900, 0, b'R', 3);
        let ends: Vec<_> = trace.marks().map(|mark| mark.packet.end).collect();
        assert_eq!(ends, [Some(101), None, Some(140), None]);
    }

    #[test]
    fn packets_that_are_ignored_end_no_rest() {
        let mut trace = Trace::new(Packet { at: 0, end: Some(101), ack: None }, b"S", 1);
        trace.packet(Packet { at: 5 * S, end: None, ack: None }, None, Sums::default());
        assert!(trace.rests().is_empty());
    }

    #[test]
    fn the_shortest_of_many_rests_are_forgotten_with_their_letters() {
        let mut trace = Trace::new(Packet { at: 0, end: Some(101), ack: None }, b"S", 1);
        let mut at = 0;
        for n in 1..100 {
            at += if n % 10 == 5 { 60 * S } else { 2 * S };
            send(&mut trace, at, 101, 0, b'A', n);
            if n == 1 {
                trace.letter(b'A');
            }
        }
        let long = trace.rests().iter().filter(|rest| rest.silence == 60 * S).count();
        assert_eq!((trace.rests().len(), long), (RESTS_MAX, 10));
        assert!(letters(&trace).matches('a').count() <= RESTS_MAX);
        assert!(trace.rests().is_sorted_by_key(|rest| rest.at));
    }
}
