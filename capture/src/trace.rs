//! What a TCP flow of which one direction is seen leaves for the aggregators, who may have its other half
//! from another sensor: the time of each history letter, what its packet acknowledged, the bytes that were not
//! seen, and where the flow may have been over for who sees both directions.
//!
//! It begins with the second packet of a direction while the other has none, so that floods of SYNs and
//! flows that are answered, which is nearly all, never have one.

mod rests;

use rests::{RESTS_MAX, Rests};
pub use rests::{Rest, Start, Sums};

/// Letters that have a time. Beyond it a flow of one direction is nothing but SYNs or RSTs of ever new
/// numbers; those of them that are left are as good as any.
const LETTERS_MAX: usize = 64;
/// Packets that wrote no letter and are told of, as they went further or acknowledged more than those before. Of a flow that has more
/// every second one is forgotten, again and again.
const ACKS_MAX: usize = 32;
/// Holes that are told apart: more in one flow, and the capture itself loses packets.
const HOLES_MAX: usize = 16;
/// Marks in all: after a rest each of the letters comes once.
const MARKS_MAX: usize = LETTERS_MAX + ACKS_MAX + 8 * RESTS_MAX;

/// What a packet that is told of has instead of a letter when it wrote none.
pub const NO_LETTER: u8 = b'-';
/// Where an analyzer has given up.
const GAVE_UP: u8 = b'X';

/// A packet as far as joining goes by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Its time, microseconds.
    pub at: i64,
    /// The number that follows it, if it takes any.
    pub end: Option<u32>,
    /// The number that it acknowledges.
    pub ack: Option<u32>,
}

/// A packet that wrote a letter, or that went further or acknowledged more than those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The packet; its end where that went further than those before.
    pub packet: Packet,
    /// Its letter in upper case, in lower case one that it would have written had the flow begun with the last rest before it, or
    /// [`NO_LETTER`].
    pub letter: u8,
}

impl Mark {
    fn is_anew(&self) -> bool {
        self.letter.is_ascii_lowercase()
    }
}

/// Bytes that were not seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// Where they begin, relative to the initial number.
    pub from: u64,
    /// Where they end.
    pub to: u64,
}

/// One direction of a flow.
#[derive(Debug)]
pub struct Trace {
    /// The packet at hand, and whether it is among those that are told of.
    packet: Packet,
    is_told: bool,
    /// Each with the rest before it.
    marks: Vec<(Mark, u32)>,
    /// Packets that were told of without a letter; those since the last one, and how many that takes.
    acks: u8,
    passed: u32,
    stride: u32,
    /// How far the packets told of went, and the number that they acknowledged.
    end: Option<u32>,
    acked: Option<u32>,
    /// Position of the next byte.
    next: u64,
    holes: Vec<Hole>,
    has_given_up: bool,
    rests: Rests,
}

/// Whether a number lies ahead of another.
fn is_ahead(number: u32, of: Option<u32>) -> bool {
    of.is_none_or(|of| number.wrapping_sub(of) as i32 > 0)
}

/// Whether where a packet with this letter ends matters wherever that is: of a FIN and of SYNs.
fn ends_matter(letter: u8) -> bool {
    matches!(letter.to_ascii_uppercase(), b'F' | b'S' | b'H')
}

impl Trace {
    /// With the second packet: the letters of the first one, and how far it reached.
    pub fn new(first: Packet, history: &[u8], reached: u64) -> Trace {
        let mut trace = Trace {
            packet: first,
            is_told: false,
            marks: Vec::new(),
            acks: 0,
            passed: 0,
            stride: 1,
            end: None,
            acked: None,
            next: reached,
            holes: Vec::new(),
            has_given_up: false,
            rests: Rests::new(first, history),
        };
        history.iter().for_each(|letter| trace.letter(letter.to_ascii_uppercase()));
        trace
    }

    /// The next packet: what a flow would begin with that began with it, unless it is ignored; and what was counted
    /// before it.
    pub fn packet(&mut self, packet: Packet, start: Option<Start>, before: Sums) {
        match self.rests.anew() {
            Some(letter) => self.mark_anew(letter),
            None => self.tell_ack(),
        }
        // Numbers may go further with a packet that takes none: what comes before it was not seen.
        let end = packet.end.or_else(|| self.rests.skipped_to(start));
        let packet = Packet { end, ..packet };
        if let Some(rest) = self.rests.next(self.packet.at, packet, start, before) {
            // Of that rest nobody is told any more.
            self.marks.retain(|(mark, of)| !mark.is_anew() || *of != rest);
        }
        self.packet = packet;
        self.is_told = false;
    }

    fn is_ahead(&self) -> bool {
        let Packet { end, ack, .. } = self.packet;
        ack.is_some_and(|ack| is_ahead(ack, self.acked))
            || end.is_some_and(|end| is_ahead(end, self.end))
    }

    /// An analyzer of the half has given up at a limit: said once.
    pub fn gave_up(&mut self) {
        if !self.has_given_up {
            self.has_given_up = true;
            self.mark(GAVE_UP);
        }
    }

    /// The packet at hand made a letter. Of what the flow's own analyzers gave up nothing is said.
    pub fn letter(&mut self, letter: u8) {
        if letter != GAVE_UP {
            self.mark(letter);
        }
    }

    /// Marks beside those of rests.
    fn plain_marks(&self) -> usize {
        match self.rests.all() {
            [] => self.marks.len(),
            _ => self.marks.iter().filter(|(mark, _)| !mark.is_anew()).count(),
        }
    }

    /// A letter of a flow that began with the last rest.
    fn mark_anew(&mut self, letter: u8) {
        self.rests.wrote(letter);
        if self.marks.len() < MARKS_MAX {
            self.push(letter.to_ascii_lowercase());
        }
    }

    fn mark(&mut self, letter: u8) {
        self.rests.wrote(letter);
        if self.plain_marks() >= LETTERS_MAX + ACKS_MAX {
            return;
        }
        if matches!(letter, b'^' | b'C') {
            // Of no packet, or of one that was ignored.
            let packet = Packet { end: None, ack: None, ..self.packet };
            self.marks.push((Mark { packet, letter }, self.rests.serial()));
        } else {
            self.push(letter);
        }
    }

    fn push(&mut self, letter: u8) {
        let ahead = self.packet.end.filter(|end| is_ahead(*end, self.end));
        self.end = ahead.or(self.end);
        let end = if ends_matter(letter) { self.packet.end } else { ahead };
        self.acked = self.packet.ack.filter(|ack| is_ahead(*ack, self.acked)).or(self.acked);
        let mark = Mark { packet: Packet { end, ..self.packet }, letter };
        self.marks.push((mark, self.rests.serial()));
        self.is_told = true;
    }

    /// Tells of the packet at hand if it went further or acknowledged more than those before, and no letter did.
    fn tell_ack(&mut self) {
        if !self.is_ahead() {
            return;
        }
        self.passed += 1;
        if self.passed < self.stride {
            return;
        }
        self.passed = 0;
        if usize::from(self.acks) >= ACKS_MAX {
            let mut nth = 0;
            self.marks.retain(|(mark, _)| {
                nth += u32::from(mark.letter == NO_LETTER);
                mark.letter != NO_LETTER || nth.is_multiple_of(2)
            });
            self.acks /= 2;
            self.stride = self.stride.saturating_mul(2);
        }
        self.acks += 1;
        self.mark(NO_LETTER);
    }

    /// The packet at hand has payload.
    pub fn data(&mut self, from: u64, len: u32) {
        let Some(to) = from.checked_add(u64::from(len)) else { return };
        if from > self.next && self.holes.len() < HOLES_MAX {
            self.holes.push(Hole { from: self.next, to: from });
        }
        if from < self.next {
            self.fill(from, to);
        }
        if to > self.next {
            self.next = to;
        }
    }

    /// Position after the last payload.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Bytes that came late.
    fn fill(&mut self, from: u64, to: u64) {
        let mut left = Vec::new();
        for hole in self.holes.drain(..) {
            let before = Hole { to: hole.to.min(from), ..hole };
            let after = Hole { from: hole.from.max(to), ..hole };
            left.extend([before, after].into_iter().filter(|part| part.from < part.to));
        }
        left.truncate(HOLES_MAX);
        self.holes = left;
    }

    /// Packets that are told of, in order; the last that came is one of them.
    pub fn marks(&self) -> impl Iterator<Item = Mark> {
        let last = self.packet;
        let anew = self.rests.anew();
        let is_new = anew.is_some() || (!self.is_told && last.ack.is_some());
        let is_told = anew.is_some_and(ends_matter);
        let end = last.end.filter(|end| is_told || is_ahead(*end, self.end));
        let letter = anew.map_or(NO_LETTER, |letter| letter.to_ascii_lowercase());
        let last = Mark { packet: Packet { end, ..last }, letter };
        self.marks.iter().map(|(mark, _)| *mark).chain(is_new.then_some(last))
    }

    /// Where the flow may have been over.
    pub fn rests(&self) -> &[Rest] {
        self.rests.all()
    }

    /// Bytes that were never seen.
    pub fn holes(&self) -> &[Hole] {
        &self.holes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at: i64, end: Option<u32>, ack: Option<u32>) -> Packet {
        Packet { at, end, ack }
    }

    /// A packet that writes nothing anew.
    fn next(trace: &mut Trace, packet: Packet) {
        trace.packet(packet, None, Sums::default());
    }

    fn told(trace: &Trace) -> Vec<(i64, char, Option<u32>, Option<u32>)> {
        let of = |m: Mark| (m.packet.at, char::from(m.letter), m.packet.end, m.packet.ack);
        trace.marks().map(of).collect()
    }

    #[test]
    fn letters_have_their_times_and_numbers() {
        let mut trace = Trace::new(at(5, Some(101), Some(7)), b"^h", 1);
        next(&mut trace, at(9, None, Some(7)));
        trace.letter(b'A');
        next(&mut trace, at(10, None, Some(9)));
        next(&mut trace, at(11, Some(101), Some(9)));
        trace.letter(b'F');
        next(&mut trace, at(12, Some(103), Some(11)));
        assert_eq!(
            told(&trace),
            [
                (5, '^', None, None),
                (5, 'H', Some(101), Some(7)),
                (9, 'A', None, Some(7)),
                (10, '-', None, Some(9)),
                (11, 'F', Some(101), Some(9)),
                (12, '-', Some(103), Some(11)),
            ]
        );
        (0..1000).for_each(|_| trace.letter(b'R'));
        assert!(trace.marks().count() <= LETTERS_MAX + ACKS_MAX + 1);
    }

    #[test]
    fn numbers_of_ignored_packets_are_not_told() {
        let mut trace = Trace::new(at(5, Some(101), Some(7)), b"CD", 1);
        next(&mut trace, at(6, None, None));
        trace.letter(b'C');
        next(&mut trace, at(7, None, None));
        next(&mut trace, at(8, Some(103), Some(7)));
        next(&mut trace, at(9, None, None));
        assert_eq!(
            told(&trace),
            [
                (5, 'C', None, None),
                (5, 'D', Some(101), Some(7)),
                (6, 'C', None, None),
                (8, '-', Some(103), Some(7)),
            ]
        );
    }

    #[test]
    fn acknowledgements_are_told_of_less_and_less() {
        let mut trace = Trace::new(at(0, Some(1), None), b"S", 1);
        for n in 1..10_000 {
            let ack = (u32::MAX - 5000).wrapping_add(n);
            next(&mut trace, at(i64::from(n), None, Some(ack)));
        }
        let marks = told(&trace);
        assert!((ACKS_MAX / 2..ACKS_MAX + 3).contains(&marks.len()), "{}", marks.len());
        assert!(marks.is_sorted());
        assert_eq!(marks.last(), Some(&(9999, '-', None, Some(4998))));
    }

    #[test]
    fn holes_close_when_their_bytes_come_late() {
        let mut trace = Trace::new(at(7, None, None), b"S", 1);
        trace.data(1, 10);
        trace.data(31, 10);
        assert_eq!(trace.holes(), [Hole { from: 11, to: 31 }]);
        trace.data(15, 5);
        let rest = [Hole { from: 11, to: 15 }, Hole { from: 20, to: 31 }];
        assert_eq!(trace.holes(), rest);
        trace.data(11, 30);
        assert!(trace.holes().is_empty());
        for n in 1..100 {
            trace.data(n * 100, 1);
        }
        trace.data(u64::MAX, 1);
        assert_eq!(trace.holes().len(), HOLES_MAX);
    }
}
