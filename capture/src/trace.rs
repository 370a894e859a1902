//! What a TCP flow of which one direction is seen leaves for the aggregators, who may have its other half
//! from another sensor: the time of each history letter, and the bytes that were not seen.
//!
//! It begins with the second packet of a direction while the other has none, so that floods of SYNs and
//! flows that are answered, which is nearly all, never have one.

/// Letters that have a time. Beyond it a flow of one direction is nothing but SYNs or RSTs of ever new
/// numbers; those of them that are left are as good as any.
const LETTERS_MAX: usize = 64;
/// Holes that are told apart: more in one flow, and the capture itself loses packets.
const HOLES_MAX: usize = 16;

/// Bytes that were not seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// When that was found, microseconds.
    pub at: i64,
    /// Where they begin, relative to the initial number.
    pub from: u64,
    /// Where they end.
    pub to: u64,
}

/// One direction of a flow.
#[derive(Debug)]
pub struct Trace {
    /// Time of the packet at hand.
    now: i64,
    letters: Vec<(i64, u8)>,
    /// Position of the next byte.
    next: u64,
    holes: Vec<Hole>,
    /// When new payload came last.
    last_data: Option<i64>,
    /// What the first FIN acknowledged.
    fin_ack: Option<u32>,
}

impl Trace {
    /// With the second packet: what the first one at `first` left, and how far it reached.
    pub fn new(first: i64, history: &[u8], reached: u64, now: i64) -> Trace {
        let letters = history.iter().map(|letter| (first, letter.to_ascii_uppercase())).collect();
        let last_data = (reached > 1).then_some(first);
        Trace { now, letters, next: reached, holes: Vec::new(), last_data, fin_ack: None }
    }

    /// The next packet.
    pub fn packet(&mut self, now: i64) {
        self.now = now;
    }

    /// The packet at hand made a letter.
    pub fn letter(&mut self, letter: u8) {
        if self.letters.len() < LETTERS_MAX {
            self.letters.push((self.now, letter));
        }
    }

    /// The packet at hand has payload.
    pub fn data(&mut self, from: u64, len: u32) {
        let Some(to) = from.checked_add(u64::from(len)) else { return };
        if from > self.next && self.holes.len() < HOLES_MAX {
            self.holes.push(Hole { at: self.now, from: self.next, to: from });
        }
        if from < self.next {
            self.fill(from, to);
        }
        if to > self.next {
            (self.next, self.last_data) = (to, Some(self.now));
        }
    }

    /// Position after the last payload.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The packet at hand has a FIN.
    pub fn fin(&mut self, ack: u32) {
        self.fin_ack = self.fin_ack.or(Some(ack));
    }

    /// When new payload came last.
    pub fn last_data(&self) -> Option<i64> {
        self.last_data
    }

    /// What the first FIN acknowledged.
    pub fn fin_ack(&self) -> Option<u32> {
        self.fin_ack
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

    /// Letters with their times, in order.
    pub fn letters(&self) -> &[(i64, u8)] {
        &self.letters
    }

    /// Bytes that were never seen.
    pub fn holes(&self) -> &[Hole] {
        &self.holes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_have_their_times() {
        let mut trace = Trace::new(5, b"^h", 1, 9);
        trace.letter(b'A');
        trace.packet(11);
        trace.letter(b'F');
        assert_eq!(trace.letters(), [(5, b'^'), (5, b'H'), (9, b'A'), (11, b'F')]);
        (0..1000).for_each(|_| trace.letter(b'R'));
        assert_eq!(trace.letters().len(), LETTERS_MAX);
    }

    #[test]
    fn holes_close_when_their_bytes_come_late() {
        let mut trace = Trace::new(0, b"S", 1, 7);
        trace.data(1, 10);
        trace.data(31, 10);
        assert_eq!(trace.holes(), [Hole { at: 7, from: 11, to: 31 }]);
        trace.data(15, 5);
        let rest = [Hole { at: 7, from: 11, to: 15 }, Hole { at: 7, from: 20, to: 31 }];
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
