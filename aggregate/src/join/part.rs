//! Parts of a half: what one process that sees both directions may have taken for several flows.
//!
//! A sensor tells where its direction rested ([`Rest`]). Between rests a half is whole; before and after one it may be of
//! two flows, which are then counted apart.

use super::piece::{Half, Mark, NO_LETTER, Piece};
use super::stream;

/// Rests of a half that are looked at: a sensor tells of no more (`capture/src/trace/rests.rs`).
pub const RESTS_MAX: usize = 16;

/// Where a direction rested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    /// When its packets went on, and how long there were none.
    pub at: i64,
    silence: i64,
    /// Packets and bytes of IP before it.
    packets: i64,
    ip_bytes: i64,
    /// The number that its packets went on with, and the one that follows those before, if they took any.
    seq: u32,
    upper: Option<u32>,
}

impl Rest {
    /// All of a half whose first packet came at `first`, from six numbers each.
    pub fn all(numbers: &[i64], first: i64) -> Vec<Rest> {
        // Parts follow each other, whatever clocks and hostile rows say: each begins after the one before it, and what
        // was counted before it is no less.
        let mut before = (first, 0, 0);
        let of = |n: &[i64]| match *n {
            [at, silence, packets, ip_bytes, seq, upper] => {
                let at = first.saturating_add(at).max(before.0.saturating_add(1));
                let since = at.saturating_sub(before.0);
                let rest = Rest {
                    at,
                    silence: silence.clamp(0, since),
                    packets: packets.max(before.1),
                    ip_bytes: ip_bytes.max(before.2),
                    seq: u32::try_from(seq).ok()?,
                    upper: u32::try_from(upper).ok(),
                };
                before = (at, rest.packets, rest.ip_bytes);
                Some(rest)
            }
            _ => None,
        };
        numbers.chunks_exact(6).take(RESTS_MAX).map_while(of).collect()
    }

    /// Of a half that has no more packets and bytes of IP than these.
    pub fn count_at_most(&mut self, packets: i64, ip_bytes: i64) {
        self.packets = self.packets.min(packets);
        self.ip_bytes = self.ip_bytes.min(ip_bytes);
    }
}

impl Piece {
    /// Rests of its direction, which make one part more.
    pub fn rests(&self) -> &[Rest] {
        self.half.as_deref().map_or(&[], |half| &half.rests)
    }

    /// Its parts from one to before another, the way a sensor would have written them that saw no others.
    pub fn part(&self, from: usize, to: usize) -> Piece {
        let mut part = self.clone();
        let Some(half) = &self.half else { return part };
        let begin = from.checked_sub(1).and_then(|at| half.rests.get(at));
        let end = to.checked_sub(1).and_then(|at| half.rests.get(at));
        part.is_cut = [begin.is_some(), end.is_some()];
        if let Some(end) = end {
            part.is_replaced = false;
            part.last = end.at.saturating_sub(end.silence);
            (part.packets, part.ip_bytes) = (end.packets, end.ip_bytes);
        }
        if let Some(begin) = begin {
            part.first = begin.at;
            part.packets = part.packets.saturating_sub(begin.packets);
            part.ip_bytes = part.ip_bytes.saturating_sub(begin.ip_bytes);
        }
        part.half = Some(Box::new(half.part(begin, end, self.is_turned())));
        part
    }
}

impl Half {
    fn part(&self, begin: Option<&Rest>, end: Option<&Rest>, is_turned: bool) -> Half {
        let from = begin.map_or(i64::MIN, |rest| rest.at);
        let to = end.map_or(i64::MAX, |rest| rest.at);
        let is_in = |at: i64| (from..to).contains(&at);
        let marks: Vec<Mark> = self.marks.iter().filter(|mark| is_in(mark.at)).copied().collect();
        let marks = if begin.is_some() { begun_anew(&marks, is_turned) } else { marks };
        let rests = self.rests.iter().filter(|rest| rest.at > from && rest.at < to);
        let acks = marks.iter().rev().find_map(Mark::acked);
        // What content says is of the part that has the first of it, but for what is known to be of another.
        let has_first_data = is_in(self.first_data()) || self.first_data() == i64::MAX;
        let timed = |names: &Vec<(Option<i64>, String)>| -> Vec<(Option<i64>, String)> {
            let is_of = |at: &Option<i64>| at.map_or(has_first_data, is_in);
            names.iter().filter(|(at, _)| is_of(at)).cloned().collect()
        };
        let confirmed = self.confirmed.iter().filter(|(at, _)| is_in(*at));
        Half {
            is_orig: self.is_orig,
            rests: rests.copied().collect(),
            is_late: self.is_late && end.is_none(),
            ack: if end.is_none() { self.ack } else { acks },
            confirmed: confirmed.cloned().collect(),
            fits: timed(&self.fits),
            begins: self.begins.iter().filter(|_| has_first_data).cloned().collect(),
            ruled_out: timed(&self.ruled_out),
            tunnels: self.tunnels.clone(),
            ..self.numbers_from(begin, end, marks)
        }
    }

    /// The part's numbers, counted from its own beginning.
    fn numbers_from(&self, begin: Option<&Rest>, end: Option<&Rest>, marks: Vec<Mark>) -> Half {
        let place = |number: u32| {
            self.start.map_or(0, |start| stream::position(start, self.reached, number))
        };
        let syn = marks.iter().find(|mark| matches!(mark.letter, b'S' | b'H'));
        let start = match begin {
            // As though a SYN had been seen.
            Some(rest) => Some(if syn.is_some() { rest.seq } else { rest.seq.wrapping_sub(1) }),
            // Its sensor tells where the last stream began, which may be that of a later part.
            None => syn.and_then(|syn| Some(syn.end?.wrapping_sub(1))).or(self.start),
        };
        let shift = begin.and(start).map_or(0, place);
        let reached = match end {
            Some(end) => shift.saturating_add(self.reached_by(begin, end, start)),
            None => self.reached,
        };
        let moved = |at: u64| at.saturating_sub(shift);
        let holes = self.holes.iter().filter(|(from, to)| *to > shift && *from < reached);
        Half {
            holes: holes.map(|(from, to)| (moved(*from), moved(*to).min(moved(reached)))).collect(),
            start: self.start.and(start),
            reached: moved(reached).max(1),
            data: moved(end.map_or(self.data, |_| self.data.min(reached))).max(1),
            marks,
            ..Half::default()
        }
    }
}

impl Half {
    /// How far the packets between two rests went, from where their stream began.
    fn reached_by(&self, begin: Option<&Rest>, end: &Rest, start: Option<u32>) -> u64 {
        let Some(start) = start else { return 0 };
        let is_in =
            |rest: &&Rest| begin.is_none_or(|begin| rest.at > begin.at) && rest.at <= end.at;
        let uppers = self.rests.iter().filter(is_in).filter_map(|rest| rest.upper);
        let distances = uppers.map(|upper| upper.wrapping_sub(start));
        // What lies behind is of another stream.
        distances.filter(|by| *by < 1 << 31).map(u64::from).max().unwrap_or(0)
    }
}

/// Marks of a flow that begins with the first of them.
fn begun_anew(marks: &[Mark], is_turned: bool) -> Vec<Mark> {
    let mut all: Vec<Mark> = Vec::with_capacity(marks.len() + 1);
    for mark in marks.iter().filter(|mark| mark.letter != b'^') {
        let letter = mark.letter.to_ascii_uppercase();
        let is_new = letter == mark.letter || all.iter().all(|before| before.letter != letter);
        all.push(Mark { letter: if is_new { letter } else { NO_LETTER }, ..*mark });
    }
    // The guess by its port, which nobody makes of a SYN.
    if let Some(first) = all.first().copied().filter(|first| is_turned && first.letter != b'S') {
        all.insert(0, Mark { letter: b'^', end: None, ack: None, ..first });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times, letters, where they end and what they acknowledge; zeros for nothing.
    fn half(marks: &[(i64, u8, u32, u32)], rests: &[i64]) -> Half {
        let some = |number: u32| (number > 0).then_some(number);
        let mark = |&(at, letter, end, ack): &(i64, u8, u32, u32)| Mark {
            at,
            letter,
            end: some(end),
            ack: some(ack),
        };
        Half {
            is_orig: true,
            marks: marks.iter().map(mark).collect(),
            rests: Rest::all(rests, 0),
            start: Some(100),
            reached: 52,
            data: 51,
            ack: Some(9),
            ..Half::default()
        }
    }

    fn letters(half: &Half) -> String {
        half.marks.iter().map(|mark| char::from(mark.letter)).collect()
    }

    #[test]
    fn parts_of_other_streams_are_counted_from_their_own_beginning() {
        // Two SYN-ACKs with numbers far apart: the sensor tells the beginning of the second.
        let marks = [(0, b'H', 4_000_000_001, 101), (9000, b'h', 101, 101)];
        let half = half(&marks, &[9000, 8990, 1, 44, 100, 4_000_000_001]);
        let rest = half.rests[0];
        let first = half.part(None, Some(&rest), false);
        assert_eq!((first.start, first.reached), (Some(4_000_000_000), 1));
        let second = half.part(Some(&rest), None, false);
        assert_eq!((second.start, second.reached), (Some(100), 52));
    }

    #[test]
    fn parts_have_their_own_letters_and_numbers() {
        let marks = [
            (0, b'S', 101, 0),
            (1, b'D', 111, 7),
            (5000, b'd', 121, 8),
            (5001, b'-', 131, 8),
            (9000, b'a', 0, 9),
            (9001, b'F', 152, 9),
        ];
        let rests = [5000, 4990, 3, 150, 111, 111, 9000, 3990, 5, 260, 131, 131];
        let mut half = half(&marks, &rests);
        half.confirmed = vec![(1, "http".to_owned()), (5001, "ssl".to_owned())];
        half.ruled_out = vec![(None, "ftp".to_owned()), (Some(9001), "http".to_owned())];
        half.holes = vec![(15, 18)];
        let [first, second] = [half.rests[0], half.rests[1]];

        let begin = half.part(None, Some(&first), false);
        assert_eq!((letters(&begin).as_str(), begin.start, begin.reached), ("SD", Some(100), 11));
        assert_eq!((begin.ack, begin.confirmed.len(), begin.ruled_out.len()), (Some(7), 1, 1));
        assert!(begin.holes.is_empty() && begin.rests.is_empty());

        let middle = half.part(Some(&first), Some(&second), true);
        assert_eq!(letters(&middle), "^D-");
        // As though a SYN had come before the number that it begins with.
        assert_eq!((middle.start, middle.reached, middle.data), (Some(110), 21, 21));
        assert_eq!((&middle.holes[..], &*middle.confirmed[0].1), (&[(5, 8)][..], "ssl"));

        let end = half.part(Some(&second), None, false);
        assert_eq!((letters(&end).as_str(), end.start, end.reached), ("AF", Some(130), 22));
        assert_eq!((end.ack, end.ruled_out.len()), (Some(9), 1));

        // Parts that stay together are as before.
        let both = half.part(Some(&first), None, false);
        assert_eq!((letters(&both).as_str(), both.rests.len()), ("D-AF", 1));
        assert_eq!(half.part(None, None, false), half);
    }

    #[test]
    fn rests_of_hostile_rows_are_few_and_in_order() {
        let same = [50, i64::MAX, 9, i64::MAX, 7, 7].repeat(100);
        let mut rests = Rest::all(&same, i64::MAX - 1000);
        assert_eq!(rests.len(), RESTS_MAX);
        assert!(rests.iter().zip(&rests[1..]).all(|(one, next)| one.at < next.at));
        rests.iter_mut().for_each(|rest| rest.count_at_most(5, 3));
        assert!(rests.iter().all(|rest| (rest.packets, rest.ip_bytes) == (5, 3)));
        let back = Rest::all(&[500, 9, 7, 80, 1, 1, -500, 9, 1, 40, 1, 1], 0);
        assert_eq!((back[1].at, back[1].silence, back[1].packets), (501, 1, 7));
    }

    #[test]
    fn a_part_acknowledges_nothing_by_a_reset() {
        let marks = [(0, b'A', 0, 7), (1, b'R', 0, 90), (5000, b'a', 0, 9)];
        let half = half(&marks, &[5000, 4999, 2, 80, 100, -1]);
        assert_eq!(half.part(None, Some(&half.rests[0]), false).ack, Some(7));
    }

    #[test]
    fn a_part_that_a_syn_begins_has_its_number() {
        let marks = [(0, b'R', 0, 0), (500, b'h', 701, 0), (501, b'a', 0, 0)];
        let half = half(&marks, &[500, 499, 1, 40, 700, -1]);
        let part = half.part(Some(&half.rests[0]), None, true);
        assert_eq!((letters(&part).as_str(), part.start), ("^HA", Some(700)));
        assert!(Rest::all(&[1, 2, 3], 0).is_empty());
        assert!(Rest::all(&[1, 2, 3, 4, -5, 6], 0).is_empty());
    }
}
