//! One end of a TCP flow: its state and its sequence numbers, relative and wrapped.

use model::conn_state::Endpoint as State;

use crate::analyzer::Dir;
use crate::flow::Scaled;
use crate::stream::Stream;

/// A jump of sequence numbers that is taken for an error rather than for data.
pub(super) const TOO_LARGE_DELTA: i32 = 1_048_576;

/// One end.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct End {
    /// What it has done.
    pub state: State,
    /// What it had done before that.
    pub prev: State,
    pub(super) start_seq: u32,
    pub(super) last_seq: u32,
    pub(super) ack_seq: u32,
    /// Times that the numbers went round, each four gigabytes; 16 bits, to keep the flow small.
    pub(super) seq_wraps: u16,
    pub(super) ack_wraps: u16,
    pub(super) window: u32,
    pub(super) window_seq: u32,
    pub(super) window_ack_seq: u32,
    pub(super) window_scale: u8,
    /// Its close was taken note of.
    pub did_close: bool,
    /// Its stream is complete, which the analyzers were told.
    pub(super) ended: bool,
    pub(super) fins: u16,
    pub(super) rsts: u16,
    pub(super) fin_seq: u64,
    /// Positions of the last of each, the low half of the bits: told apart from one more only.
    pub(super) last_syn: u32,
    pub(super) last_fin: u32,
    pub(super) last_rst: u32,
    pub(super) last_time: i64,
    pub(super) gaps: Scaled,
    pub(super) repeats: Scaled,
    pub(super) zero_windows: Scaled,
    pub(super) stream: Stream,
}

impl End {
    pub(super) fn full_seq(seq: u32, wraps: u16) -> i64 {
        i64::from(wraps) << 32 | i64::from(seq)
    }

    /// Where the stream starts, in the terms of [`End::full_seq`].
    pub(super) fn start(&self) -> i64 {
        i64::from(self.start_seq)
    }

    /// Highest position acknowledged, relative to the start.
    pub(super) fn relative_ack(&self) -> u64 {
        Self::full_seq(self.ack_seq, self.ack_wraps).wrapping_sub(self.start()) as u64
    }

    /// How far its numbers went, relative to the start.
    pub fn reached(&self) -> u64 {
        let last = Self::full_seq(self.last_seq, self.seq_wraps);
        // Numbers that begin just below their wrap seem to go back.
        u64::try_from(last.wrapping_sub(self.start())).unwrap_or(0)
    }

    /// The initial number, if it is known.
    pub fn initial(&self) -> Option<u32> {
        (self.state != State::Inactive).then_some(self.start_seq)
    }

    /// The number that the other side acknowledged last, if it did.
    pub fn last_acked(&self) -> Option<u32> {
        // Of an end that was never seen only that is known.
        let is_acked = self.last_seq != 0 || self.ack_seq != 0;
        is_acked.then(|| self.ack_seq.wrapping_add(u32::from(self.state == State::Inactive)))
    }

    pub(super) fn none_acked(&self) -> bool {
        let ack = Self::full_seq(self.ack_seq, self.ack_wraps);
        ack == self.start() || ack == self.start() + 1
    }

    pub(super) fn start_at(&mut self, seq: u32, last: u32) {
        self.start_seq = seq;
        self.ack_seq = seq;
        self.last_seq = last;
    }

    pub(super) fn update_last(&mut self, seq: u32) {
        if seq < self.last_seq {
            self.seq_wraps = self.seq_wraps.saturating_add(1);
        }
        self.last_seq = seq;
    }

    pub(super) fn update_ack(&mut self, ack: u32) {
        let delta = delta(ack, self.ack_seq);
        // A number of zero far ahead is a broken ACK rather than a long connection.
        if (ack == 0 && delta > TOO_LARGE_DELTA) || delta <= 0 {
            return;
        }
        if ack < self.ack_seq {
            self.ack_wraps = self.ack_wraps.saturating_add(1);
        }
        self.ack_seq = ack;
    }

    /// Payload bytes by sequence numbers. `peer` is the other end's state.
    pub fn size(&self, peer: State) -> u64 {
        let aborted = self.prev == State::SynSent
            && self.state == State::Reset
            && peer == State::Inactive
            && !self.none_acked();
        if aborted {
            return 0;
        }
        let last = Self::full_seq(self.last_seq, self.seq_wraps);
        let acked = Self::full_seq(self.ack_seq, self.ack_wraps);
        let size = last.max(acked).wrapping_sub(self.start()) as u64;
        // The SYN and the FIN take a number each.
        size.saturating_sub(1).saturating_sub(u64::from(self.fins > 0))
    }

    pub(super) fn is_clean(&self) -> bool {
        self.state == State::Established
            || (self.state == State::Closed && self.prev == State::Established)
    }

    /// Position of a number, as Zeek computes it, and whether it lies before the start.
    pub(super) fn relative(&self, seq: u32, last: u32, mut wraps: u16) -> (u64, bool) {
        let d = delta(seq, last);
        if d < 0 {
            if wraps > 0 && seq > last {
                wraps -= 1;
            }
        } else if d > 0 && seq < last {
            wraps = wraps.saturating_add(1);
        }
        if wraps == 0 {
            let from_start = delta(seq, self.start_seq);
            return (i64::from(from_start) as u64, from_start < 0);
        }
        (Self::full_seq(seq, wraps).wrapping_sub(self.start()) as u64, false)
    }
}

pub(super) fn delta(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

pub(super) fn is_handshake(state: State) -> bool {
    matches!(state, State::Inactive | State::SynSent | State::SynAckSent)
}

pub(super) fn two(ends: &mut [End; 2], dir: Dir) -> (&mut End, &mut End) {
    let [orig, resp] = ends;
    match dir {
        Dir::Orig => (orig, resp),
        Dir::Resp => (resp, orig),
    }
}
