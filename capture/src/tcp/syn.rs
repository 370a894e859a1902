//! A TCP flow of which one SYN was seen, in a few bytes: a flood makes nothing else.

use model::conn_state::Endpoint as State;

use super::{End, Tcp};
use crate::config::timeout;

/// What a first SYN says; everything else is as in a new [`Tcp`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Syn {
    /// There was one.
    seen: bool,
    at: i64,
    seq: u32,
    /// The window scale, and the acknowledgement number that came with it.
    scale: u8,
    window_seq: u32,
    window_ack_seq: u32,
}

impl Syn {
    /// The small form, for a flow that has one.
    pub fn of(tcp: &Tcp) -> Option<Syn> {
        let end = &tcp.ends[0];
        if end.state != State::SynSent {
            return None;
        }
        let syn = Syn {
            seen: true,
            at: end.last_time,
            seq: end.start_seq,
            scale: end.window_scale,
            window_seq: end.window_seq,
            window_ack_seq: end.window_ack_seq,
        };
        // So it does not matter what else a flow may have: what the small form would lose, it has not.
        (syn.open() == *tcp).then_some(syn)
    }

    /// The flow as every other has it.
    pub fn open(&self) -> Tcp {
        let mut tcp = Tcp::default();
        if !self.seen {
            return tcp;
        }
        tcp.first_seen[0] = true;
        tcp.attempt_at = self.at + timeout::TCP_ATTEMPT;
        tcp.ends[0] = End {
            state: State::SynSent,
            start_seq: self.seq,
            ack_seq: self.seq,
            last_seq: self.seq.wrapping_add(1),
            last_time: self.at,
            window_scale: self.scale,
            window_seq: self.window_seq,
            window_ack_seq: self.window_ack_seq,
            ..End::default()
        };
        tcp.ends[1].window_seq = self.window_ack_seq;
        tcp.ends[1].window_ack_seq = self.window_seq;
        tcp
    }

    /// As [`Tcp::deadline`].
    pub fn deadline(&self, first: i64, last: i64) -> i64 {
        if self.seen {
            return self.at + timeout::TCP_ATTEMPT;
        }
        Tcp::default().deadline(first, last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syn_is_small_and_comes_back_whole() {
        let syn = Syn { seen: true, at: 7, seq: 1, scale: 3, window_seq: 1, window_ack_seq: 0 };
        let mut tcp = syn.open();
        assert_eq!(Syn::of(&tcp), Some(syn));
        assert_eq!(tcp.deadline(7, 7), syn.deadline(7, 7));
        assert_eq!(Tcp::default().deadline(7, 7), Syn::default().deadline(7, 7));
        tcp.ends[1].gaps.hit();
        assert_eq!(Syn::of(&tcp), None);
        assert_eq!(Syn::of(&Tcp::default()), None);
    }

    #[test]
    fn sizes() {
        // A class of sizes of the allocator's.
        assert_eq!([size_of::<Syn>(), size_of::<Tcp>()], [24, 256]);
        // With the index, the timer and the place 262 bytes of memory for a half-open flow, by the `flows` bench.
        assert!(size_of::<crate::flow::Flow>() <= 208, "{}", size_of::<crate::flow::Flow>());
    }
}
