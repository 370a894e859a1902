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
/// Rests that are told of; of more the shortest are forgotten. When one is, the part before it may lack letters that
/// were told of as of it. Beyond it are keepalives, and who has that many of those is no flow that had ended.
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

    fn is_reset(self) -> bool {
        matches!(self.letter, Some(b'R' | b'I'))
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
    /// The number that follows all between the rest before it and this one, if those took any.
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
    /// For each of them whether a SYN ended it, and which it is of all that there were.
    known: Vec<(bool, u32)>,
    /// How many there were.
    serial: u32,
    /// The packet at hand, unless it is ignored.
    start: Option<Start>,
    /// How far all packets before it went, and it goes.
    upper: Option<u32>,
    end: Option<u32>,
    /// The same of those since the last rest.
    since: Option<u32>,
    /// Letters since the last rest, a bit each.
    seen: u8,
}

impl Rests {
    /// With the first packet, and the letters that it wrote.
    pub fn new(first: Packet, history: &[u8]) -> Rests {
        let letter = history.iter().map(u8::to_ascii_uppercase).find(|of| LETTERS.contains(of));
        let start = Some(Start { seq: 0, letter });
        Rests {
            all: Vec::new(),
            known: Vec::new(),
            serial: 0,
            start,
            upper: None,
            end: first.end,
            since: None,
            seen: 0,
        }
    }

    /// In order of time.
    pub fn all(&self) -> &[Rest] {
        &self.all
    }

    /// Which rest of all that there were was the last one; none is 0.
    pub fn serial(&self) -> u32 {
        self.serial
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
        let start = start.filter(|start| !start.is_reset())?;
        let has_numbers = self.upper.or(self.end).is_some();
        let is_behind = is_ahead(start.seq, self.upper) && is_ahead(start.seq, self.end);
        (has_numbers && is_behind).then_some(start.seq)
    }

    /// The next packet. Gives back which rest is forgotten.
    pub fn next(
        &mut self,
        last: i64,
        packet: Packet,
        start: Option<Start>,
        before: Sums,
    ) -> Option<u32> {
        self.upper = further(self.upper, self.end);
        self.since = further(self.since, self.end);
        self.end = packet.end;
        let was = std::mem::replace(&mut self.start, start);
        let start = start?;
        let silence = packet.at.saturating_sub(last);
        let repeats = was.is_none_or(|was| was.letter == start.letter) && silence < SYN_SILENCE_US;
        // After a RST all that is not at once may be the answer to another SYN.
        let was_over = was.is_some_and(|was| was.is_reset()) && silence >= SYN_SILENCE_US;
        if silence < SILENCE_US && !was_over && (!start.is_syn() || repeats) {
            return None;
        }
        let rest =
            Rest { at: packet.at, silence, before, seq: start.seq, upper: self.since.take() };
        self.seen = 0;
        self.all.push(rest);
        self.serial = self.serial.wrapping_add(1);
        self.known.push((start.is_syn(), self.serial));
        (self.all.len() > RESTS_MAX).then(|| self.forget())
    }

    /// Forgets the rest of least worth.
    fn forget(&mut self) -> u32 {
        let worth = |i: &usize| (self.all[*i].worth(self.known[*i].0), *i);
        let least = (0..self.all.len()).min_by_key(worth).unwrap_or(0);
        let forgotten = self.all.remove(least);
        let (_, serial) = self.known.remove(least);
        // The part behind it is longer by the one before it.
        let after = self.all.get_mut(least).map_or(&mut self.since, |rest| &mut rest.upper);
        *after = further(forgotten.upper, *after);
        if least == self.all.len() {
            // What it had of letters the one before it may have had as well.
            self.seen = u8::MAX;
        }
        serial
    }
}

/// The further of two numbers.
fn further(upper: Option<u32>, end: Option<u32>) -> Option<u32> {
    end.filter(|end| is_ahead(*end, upper)).or(upper)
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
    fn what_comes_after_a_reset_may_answer_another_syn() {
        let mut trace = Trace::new(Packet { at: 0, end: None, ack: Some(101) }, b"R", 1);
        send(&mut trace, 10, 0, 0, b'R', 1);
        assert!(trace.rests().is_empty(), "a RST that comes again at once");
        send(&mut trace, S / 2, 0, 0, b'R', 2);
        send(&mut trace, S, 0, 0, b'R', 3);
        assert_eq!((letters(&trace).as_str(), trace.rests().len()), ("Rrr", 2));
    }

    #[test]
    fn a_syn_that_comes_again_tells_where_it_ends() {
        let mut trace = Trace::new(Packet { at: 0, end: Some(101), ack: None }, b"S", 1);
        send(&mut trace, S / 2, 100, 1, b'S', 1);
        send(&mut trace, S, 100, 1, b'S', 2);
        let ends: Vec<_> = trace.marks().map(|mark| mark.packet.end).collect();
        assert_eq!(ends, [Some(101); 3]);
    }

    #[test]
    fn marks_are_bounded_whatever_the_times_are() {
        for step in [0, -1, -2 * S] {
            let mut trace = Trace::new(Packet { at: 0, end: Some(101), ack: None }, b"S", 1);
            for n in 1..10_000u32 {
                let letter = [b'S', b'A', b'H', b'A'][n as usize % 4];
                let at = if n % 4 == 0 { 10 * S } else { step * i64::from(n) };
                send(&mut trace, at, 100, u32::from(letter != b'A'), letter, u64::from(n));
            }
            assert!(trace.rests().len() <= RESTS_MAX);
            assert!(trace.marks().count() <= 256, "{}", trace.marks().count());
        }
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
