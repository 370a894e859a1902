//! One direction of a TCP flow as an ordered stream: what is delivered, what waits above a hole, what
//! was never seen.
//!
//! Positions are relative, the first payload byte is 1. Rules: Zeek's `TCP_Reassembler.cc`,
//! `Reassem.cc`. In overlaps the bytes that came first win.

use held::Held;

mod held;

/// Bytes above a hole before anything was acknowledged (Zeek's
/// `tcp_max_above_hole_without_any_acks`): the other direction is not seen, the hole will not close.
const ABOVE_HOLE_MAX: u64 = 16_384;
/// Bytes sent without further acknowledgement (Zeek's `tcp_excessive_data_without_further_acks`).
const UNACKED_MAX: u64 = 10 * 1024 * 1024;
/// Pieces that may wait above holes: a flood of tiny ones would cost more in place than in bytes.
const BLOCKS_MAX: usize = 2048;

/// Something that happened to the stream, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The next bytes.
    Data(&'a [u8]),
    /// So many bytes were never seen.
    Gap(u64),
    /// So many bytes were seen but not kept, as nobody wanted them or there were too many.
    Unkept(u64),
}

/// What is known of the end that sends the stream.
#[derive(Debug, Clone, Copy)]
pub struct Sender {
    /// Highest position acknowledged by the other side.
    pub ack: u64,
    /// Nothing but the SYN was acknowledged.
    pub none_acked: bool,
    /// How far it has got.
    pub size: u64,
}

/// Why a stream gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GaveUp {
    /// Zeek's `above_hole_data_without_any_acks`.
    AboveHole,
    /// Zeek's `excessive_data_without_further_acks`.
    Unacked,
}

/// The stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Stream {
    /// Next byte to deliver (Zeek's `last_reassem_seq`).
    pub next: u64,
    /// Everything below was acknowledged (`trim_seq`).
    trim: u64,
    /// End of the highest segment taken in; [`SKIPS`] where nothing is any more.
    top: u64,
    held: Option<Box<Held>>,
}

/// Nothing is delivered any more (`skip_deliveries`). A number that no position has, as a flag of its own would
/// take eight bytes of every stream.
const SKIPS: u64 = u64::MAX;

impl Default for Stream {
    fn default() -> Stream {
        Stream { next: 1, trim: 1, top: 1, held: None }
    }
}

impl Stream {
    /// Whether nothing is delivered any more.
    pub fn skips(&self) -> bool {
        self.top == SKIPS
    }

    /// Whether bytes wait for a hole to close or for an acknowledgement.
    pub fn has_unacked(&self) -> bool {
        self.top > self.trim && !self.skips()
    }

    /// Takes a segment; of what is above a hole at most `kept_max` bytes are kept, the rest as places only.
    pub fn segment(
        &mut self,
        mut seq: u64,
        mut data: &[u8],
        sender: Sender,
        kept_max: u64,
        each: &mut dyn FnMut(Piece<'_>),
    ) -> Option<GaveUp> {
        let Sender { ack, none_acked, size } = sender;
        if self.skips() {
            return None;
        }
        let upper = seq.saturating_add(data.len() as u64);
        // What was acknowledged, trimmed or delivered is old.
        let floor = ack.max(self.trim).max(self.next);
        if upper <= ack.max(self.trim) {
            return None;
        }
        self.top = self.top.max(upper.min(SKIPS - 1));
        if upper > floor {
            if seq < floor {
                data = data.get((floor - seq) as usize..).unwrap_or_default();
                seq = floor;
            }
            if seq == self.next {
                self.deliver(data, each);
            } else {
                self.held.get_or_insert_default().add(seq, data, kept_max);
            }
        }
        // Nothing is acknowledged though much was sent: the other side is not seen.
        if none_acked && size > ABOVE_HOLE_MAX {
            self.trim = self.trim.max(self.next);
        }
        let unacked = self.next.saturating_sub(self.trim);
        let why = match &self.held {
            Some(held) if none_acked && held.upper() > self.next + ABOVE_HOLE_MAX => {
                GaveUp::AboveHole
            }
            Some(held) if unacked + held.waiting > UNACKED_MAX => GaveUp::Unacked,
            Some(held) if held.blocks.len() > BLOCKS_MAX => GaveUp::Unacked,
            None if unacked > UNACKED_MAX => GaveUp::Unacked,
            _ => return None,
        };
        self.give_up();
        Some(why)
    }

    /// Delivers nothing any more, and keeps nothing.
    fn give_up(&mut self) {
        self.held = None;
        self.top = SKIPS;
    }

    /// Makes room for other streams; says whether there was anything to give up.
    pub fn make_room(&mut self) -> bool {
        let holds = self.held.is_some();
        if holds {
            self.give_up();
        }
        holds
    }

    /// Everything below `seq` was acknowledged: what is missing of it will not come.
    /// `partial` says that the flow's beginning was not seen, so that its first byte proves nothing.
    pub fn acked(&mut self, seq: u64, partial: bool, each: &mut dyn FnMut(Piece<'_>)) {
        if seq <= self.trim {
            return;
        }
        if seq > self.next && !(seq <= 2 && partial) {
            if !self.skips() {
                self.give_missing(seq, each);
            }
            self.next = self.next.max(seq);
        }
        self.drop_below(seq);
        if !self.skips() {
            self.deliver_blocks(each);
        }
        self.trim = seq;
    }

    /// Delivers what waits below `seq`, with the gaps between.
    fn give_missing(&mut self, seq: u64, each: &mut dyn FnMut(Piece<'_>)) {
        while let Some(first) = self.first_held() {
            if first >= seq {
                break;
            }
            if first > self.next {
                each(Piece::Gap(first - self.next));
                self.next = first;
            }
            self.deliver_blocks(each);
        }
        if seq > self.next {
            each(Piece::Gap(seq - self.next));
        }
    }

    /// Delivers bytes at `next`, up to and with the blocks that follow without a hole.
    fn deliver(&mut self, mut data: &[u8], each: &mut dyn FnMut(Piece<'_>)) {
        loop {
            let room = self.first_held().map_or(u64::MAX, |first| first - self.next);
            let take = room.min(data.len() as u64);
            if take > 0 {
                each(Piece::Data(data.get(..take as usize).unwrap_or_default()));
                self.next += take;
            }
            if take < room {
                return;
            }
            let before = self.next;
            self.deliver_blocks(each);
            let skipped = take + (self.next - before);
            data = data.get(skipped as usize..).unwrap_or_default();
            if data.is_empty() {
                return;
            }
        }
    }

    /// Where the first bytes above a hole begin.
    fn first_held(&self) -> Option<u64> {
        self.held.as_ref()?.blocks.first().map(|block| block.seq)
    }

    /// Delivers the blocks that begin at `next`.
    fn deliver_blocks(&mut self, each: &mut dyn FnMut(Piece<'_>)) {
        let Some(held) = &mut self.held else { return };
        let mut done = 0;
        for block in &held.blocks {
            if block.seq != self.next {
                break;
            }
            if block.data.is_empty() {
                each(Piece::Unkept(block.len));
            } else {
                each(Piece::Data(&block.data));
            }
            self.next += block.len;
            done += 1;
        }
        held.forget(done);
        self.held.take_if(|held| held.blocks.is_empty());
    }

    fn drop_below(&mut self, seq: u64) {
        let Some(held) = &mut self.held else { return };
        held.forget_below(seq);
        self.held.take_if(|held| held.blocks.is_empty());
    }

    /// Memory that waits with the stream, bytes.
    pub fn holds(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.memory())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AT_ONE: Sender = Sender { ack: 1, none_acked: false, size: 0 };

    fn send(s: &mut Stream, seq: u64, data: &[u8], out: &mut Vec<String>) -> Option<GaveUp> {
        s.segment(seq, data, AT_ONE, 1 << 20, &mut |piece| note(piece, out))
    }

    fn note(piece: Piece<'_>, out: &mut Vec<String>) {
        out.push(match piece {
            Piece::Data(data) => String::from_utf8_lossy(data).into_owned(),
            Piece::Gap(len) | Piece::Unkept(len) => format!("<{len}>"),
        });
    }

    #[test]
    fn in_order_out_of_order_and_again() {
        let (mut s, mut out) = (Stream::default(), vec![]);
        send(&mut s, 1, b"ab", &mut out);
        send(&mut s, 5, b"ef", &mut out);
        send(&mut s, 1, b"abX", &mut out);
        send(&mut s, 4, b"DEFGH", &mut out);
        assert_eq!(out.concat(), "abXDefGH");
        assert!(s.held.is_none() && s.has_unacked());
        s.acked(9, false, &mut |_| ());
        assert!(!s.has_unacked());
    }

    #[test]
    fn an_ack_turns_a_hole_into_a_gap() {
        let (mut s, mut out) = (Stream::default(), vec![]);
        send(&mut s, 1, b"ab", &mut out);
        send(&mut s, 6, b"fg", &mut out);
        s.acked(8, false, &mut |piece| note(piece, &mut out));
        assert_eq!(out, ["ab", "<3>", "fg"]);
        s.acked(12, false, &mut |piece| note(piece, &mut out));
        assert_eq!(out.last().unwrap(), "<4>");
        send(&mut s, 9, b"lat", &mut out);
        assert_eq!(out.len(), 4);
    }

    #[test]
    fn data_above_a_hole_without_acks_is_given_up() {
        let mut s = Stream::default();
        let sender = Sender { ack: 0, none_acked: true, size: 20_001 };
        let gave = s.segment(2, &[0; 20_000], sender, 1 << 20, &mut |_| ());
        assert_eq!(gave, Some(GaveUp::AboveHole));
        assert!(s.skips() && !s.has_unacked());
    }

    #[test]
    fn a_stream_with_a_hole_makes_room() {
        let (mut s, mut out) = (Stream::default(), vec![]);
        send(&mut s, 1, b"ab", &mut out);
        assert!(!s.make_room() && s.holds() == 0);
        send(&mut s, 5, b"ef", &mut out);
        assert!(s.holds() > 0 && s.make_room());
        assert_eq!((s.holds(), s.skips()), (0, true));
        send(&mut s, 3, b"cd", &mut out);
        assert_eq!(out, ["ab"]);
    }

    proptest! {
        /// Whatever the order, overlap and repetition of segments of one text, it is delivered whole
        /// and once.
        #[test]
        fn segments_in_any_order_give_the_text(
            cuts in proptest::collection::vec((0usize..200, 1usize..40), 1..60),
            rotate in 0usize..60,
        ) {
            let text: Vec<u8> = (0..240).map(|i| (i % 251) as u8).collect();
            let mut segments: Vec<(usize, usize)> =
                cuts.iter().map(|(at, len)| (*at, (*at + *len).min(240))).collect();
            segments.extend((0..24).map(|i| (i * 10, i * 10 + 10)));
            let by = rotate % segments.len();
            segments.rotate_left(by);
            let (mut s, mut got) = (Stream::default(), vec![]);
            for (from, to) in segments {
                s.segment(1 + from as u64, &text[from..to], AT_ONE, 1 << 20, &mut |piece| {
                    match piece {
                        Piece::Data(data) => got.extend_from_slice(data),
                        other => panic!("nothing is missing: {other:?}"),
                    }
                });
            }
            prop_assert_eq!(got, text);
        }
    }
}
