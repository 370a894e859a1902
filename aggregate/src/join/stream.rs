//! What one end of a TCP flow sent, as far as bytes that nobody saw and acknowledgements go.
//!
//! The rules are those of capture (`stream.rs`, `tcp/close.rs`), for the packets that a sensor tells of.

use super::piece::Piece;

/// Distance of sequence numbers within which one is ahead of the other.
const HALF_OF_NUMBERS: u32 = 1 << 31;

/// One direction as one sensor saw it. Positions count from the initial number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stream {
    start: Option<u32>,
    /// How far it goes in all, and how far its payload does.
    reached: u64,
    data: u64,
    /// What was never seen of it.
    holes: Vec<(u64, u64)>,
    /// All below is acknowledged.
    trim: u64,
    /// Payload so far.
    top: u64,
    /// Where the numbers of its FIN end.
    fin_end: Option<u64>,
}

/// Where a number lies from the initial one on, in a direction that reached so far.
pub fn position(start: u32, reached: u64, number: u32) -> u64 {
    let ahead = number.wrapping_sub(start.wrapping_add(reached as u32));
    if ahead < HALF_OF_NUMBERS {
        return reached.saturating_add(u64::from(ahead));
    }
    reached.saturating_sub(u64::from(ahead.wrapping_neg()))
}

impl Stream {
    /// What a piece has; nothing of one that is no half.
    pub fn of(piece: &Piece) -> Stream {
        let Some(half) = &piece.half else { return Stream::default() };
        Stream {
            start: half.start,
            reached: half.reached,
            data: half.data.max(1),
            holes: half.holes.clone(),
            trim: 1,
            top: 1,
            fin_end: None,
        }
    }

    fn position(&self, number: u32) -> Option<u64> {
        Some(position(self.start?, self.reached, number))
    }

    /// A packet that ends with this number was sent.
    pub fn sent(&mut self, end: Option<u32>, is_fin: bool) {
        let Some(at) = end.and_then(|end| self.position(end)) else { return };
        self.top = self.top.max(at.saturating_sub(u64::from(is_fin)));
        if is_fin {
            self.fin_end = Some(at);
        }
    }

    /// Where an acknowledged number lies; one below the first is nobody's as long as no other was acknowledged.
    fn acked_to(&self, ack: u32) -> Option<u64> {
        let is_below = self.trim <= 1 && ack.wrapping_sub(self.start?) >= HALF_OF_NUMBERS;
        if is_below { None } else { self.position(ack) }
    }

    /// How far these acknowledgements go.
    pub fn furthest(mut self, acks: impl Iterator<Item = u32>) -> u64 {
        for ack in acks {
            self.trim = self.trim.max(self.acked_to(ack).unwrap_or(0));
        }
        self.trim
    }

    /// The other end acknowledged up to this number: the lengths of what is missing below it, in order.
    pub fn acked(&mut self, ack: u32, is_partial: bool) -> Vec<u64> {
        let Some(mut to) = self.acked_to(ack) else { return Vec::new() };
        // The FIN takes a number.
        if let Some(fin_end) = self.fin_end.filter(|end| *end <= to) {
            to = fin_end.saturating_sub(1);
        }
        if to <= self.trim {
            return Vec::new();
        }
        let tail = (self.data, u64::MAX);
        let missing = self.holes.iter().chain([&tail]).filter_map(|(from, end)| {
            let missing = (*end).min(to).saturating_sub((*from).max(self.trim));
            (missing > 0 && !(is_partial && to <= 2)).then_some(missing)
        });
        let missing = missing.collect();
        self.trim = to;
        missing
    }

    /// Whether bytes are missing of which it is not known yet that they are.
    pub fn has_hole(&self) -> bool {
        self.holes.iter().any(|(from, to)| *from < self.top && *to > self.trim)
    }

    /// Whether it waits for an acknowledgement.
    pub fn has_unacked(&self) -> bool {
        self.top > self.trim
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(holes: &[(u64, u64)]) -> Stream {
        let holes = holes.to_vec();
        Stream {
            start: Some(1000),
            reached: 102,
            data: 101,
            holes,
            trim: 1,
            top: 1,
            ..Stream::default()
        }
    }

    #[test]
    fn what_is_acknowledged_and_was_not_seen_is_missing_once() {
        let mut all = stream(&[(11, 21), (31, 41)]);
        assert!(all.acked(1011, false).is_empty());
        assert_eq!(all.acked(1036, false), [10, 5]);
        assert_eq!(all.acked(1101, false), [5]);
        // What lies behind all that was seen.
        assert_eq!(all.acked(1105, false), [4]);
        assert!(all.acked(1105, false).is_empty() && all.acked(1001, false).is_empty());
    }

    #[test]
    fn a_fin_takes_a_number() {
        let mut all = stream(&[]);
        assert_eq!(all.clone().acked(1102, false), [1], "whose FIN was not seen");
        all.sent(Some(1102), true);
        assert!(all.has_unacked());
        assert!(all.acked(1102, false).is_empty() && !all.has_unacked());
    }

    #[test]
    fn holes_are_open_until_they_are_acknowledged() {
        let mut all = stream(&[(11, 21)]);
        all.sent(Some(1011), false);
        assert!(!all.has_hole());
        all.sent(Some(1051), false);
        assert!(all.has_hole());
        all.acked(1021, false);
        assert!(!all.has_hole() && all.has_unacked());
    }

    #[test]
    fn how_far_acknowledgements_go() {
        let furthest = |acks: &[u32]| stream(&[]).furthest(acks.iter().copied());
        assert_eq!(furthest(&[1001, 1101, 1050]), 101);
        assert_eq!(furthest(&[1001, 71_001, 1101]), 70_001);
        // What is below the first number is of another stream.
        assert_eq!(furthest(&[900, 990]), 1);
        assert!(stream(&[(1, 50)]).acked(990, false).is_empty());
    }

    #[test]
    fn numbers_go_round() {
        assert_eq!(position(u32::MAX, 10, 5), 6);
        assert_eq!(
            position(u32::MAX, 5_000_000_000, u32::MAX.wrapping_add(5_000_000_000u64 as u32)),
            5_000_000_000
        );
        assert_eq!(position(1000, 10, 999), 0);
    }
}
