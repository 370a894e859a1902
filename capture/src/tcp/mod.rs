//! TCP: the state of both ends, sequence numbers, history, and the two streams.
//!
//! Rules: Zeek's `TCPSessionAdapter.cc`, `TCP_Endpoint.cc`; RFC 9293. The order of the checks matters
//! to what is logged and is Zeek's.

mod close;
mod end;
mod numbers;
mod states;
mod syn;

use model::conn_state::Endpoint as State;

pub use end::End;
pub use syn::Syn;

use crate::analyzer::Dir;
use crate::config::timeout;
use crate::decode::{TcpFlags, TcpSegment, Weird};
use crate::host::Host;
use crate::trace::{Packet, Start};

/// A TCP flow's own state.
#[derive(Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Both ends, by [`Dir::index`].
    pub ends: [End; 2],
    first_seen: [bool; 2],
    is_partial: bool,
    /// Neither finished nor reset: only then do the attempt and expiry timers act.
    is_active: bool,
    close_deferred: bool,
    deferred_event: bool,
    /// Unanswered SYN: when the flow is given up. 0: no such timer; less: when it would have been, were nobody thought
    /// to see its other half.
    attempt_at: i64,
    /// Fully closed: when it is removed. 0: not yet.
    delete_at: i64,
    /// It is among those that wait to make room for others.
    pub in_line: bool,
    /// Base of the second chain of expiry checks, begun by a half close. 0: none.
    half_closed_at: i64,
}

impl Default for Tcp {
    fn default() -> Tcp {
        Tcp {
            ends: Default::default(),
            first_seen: [false; 2],
            is_partial: false,
            is_active: true,
            close_deferred: false,
            deferred_event: false,
            attempt_at: 0,
            delete_at: 0,
            in_line: false,
            half_closed_at: 0,
        }
    }
}

/// What closing means for the flow.
#[derive(Default)]
struct Close {
    close: bool,
    event: bool,
}

impl Tcp {
    /// What one direction left before its second packet, for a trace of it: how far it went, and the packet, which
    /// [`took_number`] or not.
    pub fn before(&self, dir: Dir, took_number: bool) -> (u64, Packet) {
        let (end, peer) = (&self.ends[dir.index()], &self.ends[dir.other().index()]);
        let reached = end.reached();
        let upper = end.initial().filter(|_| took_number);
        let upper = upper.map(|start| start.wrapping_add(reached as u32));
        (reached, Packet { at: 0, end: upper, ack: peer.last_acked() })
    }

    /// Reads something of all of it, only to have it near.
    #[inline]
    pub fn touch(&self) -> u64 {
        let [orig, resp] = &self.ends;
        let ends = orig.stream.next ^ orig.fin_seq ^ resp.stream.next ^ resp.fin_seq;
        ends ^ (self.half_closed_at ^ self.attempt_at ^ orig.last_time ^ resp.last_time) as u64
    }

    /// Memory that waits with its streams, bytes.
    pub fn holds(&self) -> u64 {
        self.ends[0].stream.holds() + self.ends[1].stream.holds()
    }

    /// Gives up streams with holes for the sake of others; says how many there were.
    pub fn make_room(&mut self) -> u64 {
        self.ends.iter_mut().map(|end| u64::from(end.stream.make_room())).sum()
    }

    /// Whether both ends are closed in the sense of a 5-tuple's reuse.
    fn both_closed(&self) -> bool {
        self.ends.iter().all(|end| end.did_close)
    }

    /// Whether a first SYN on a known key begins a new flow (Zeek's `IsReuse`, which cares for the least
    /// length of the header only).
    pub fn is_reuse(&self, seg: &TcpSegment<'_>, now: i64, host: &mut Host<'_>) -> bool {
        if seg.broken == Some(Weird::BadTcpHeaderLength) || !seg.flags.syn() {
            return false;
        }
        let (orig, resp) = (&self.ends[0], &self.ends[1]);
        let mut end = orig;
        if seg.flags.ack() {
            if orig.state != State::Inactive {
                return false;
            }
            end = resp;
        }
        let reset = orig.state == State::Reset || resp.state == State::Reset;
        let open = |end: &End| end.state != State::Inactive && !end.did_close;
        if !(orig.did_close || resp.did_close) {
            if seg.seq == end.start_seq {
                return false;
            }
            let swapped_handshake = !seg.flags.ack()
                && end.state == State::SynAckSent
                && resp.state == State::Inactive
                && seg.seq == resp.start_seq;
            if swapped_handshake {
                return false;
            }
            let syn_sent = end.state == State::SynSent;
            host.weird(if syn_sent { "SYN_seq_jump" } else { "active_connection_reuse" });
        } else if (open(orig) || open(resp)) && !reset {
            host.weird("active_connection_reuse");
        } else if !reset && now - host.meta.last < timeout::TCP_LINGER {
            host.weird("premature_connection_reuse");
        }
        true
    }

    /// One good segment. Returns the sender's direction, which may have flipped meanwhile.
    pub fn segment(&mut self, mut dir: Dir, seg: &TcpSegment<'_>, host: &mut Host<'_>) -> Dir {
        let flags = seg.flags;
        let len = seg.payload_len;
        self.set_partial(flags, dir);
        let seg_len = segment_len(len, flags);
        let upper = seg.seq.wrapping_add(seg_len);
        self.init_end(dir, flags, seg.seq, upper, host);
        let end = &self.ends[dir.index()];
        let (rel_seq, underflow) = end.relative(seg.seq, end.last_seq, end.seq_wraps);
        if underflow && !flags.rst() {
            host.weird("TCP_seq_underflow_or_misorder");
        }
        if (len > 0 || (flags.fin() && self.ends[dir.index()].fins == 0))
            && !underflow
            && !flags.rst()
            && let Some(trace) = host.meta.trace_mut()
        {
            trace.data(rel_seq.wrapping_add(u64::from(flags.syn())), len);
        }
        dir = self.history(dir, flags, rel_seq, len, host);
        self.window(dir, seg, host);
        if !self.both_closed() {
            host.meta.seen_at(host.now);
        }
        self.control_counts(dir, seg, rel_seq, seg_len, host);
        let mut rel_ack = 0;
        if flags.ack() {
            rel_ack = self.acknowledgement(dir, seg, host);
        }
        let advance = self.advance(dir, upper, flags, len, host);
        self.ends[dir.index()].last_time = host.now;
        let mut close = Close::default();
        dir = self.state_machine(dir, seg, len, advance, host, &mut close);
        host.partial = self.is_partial;
        if flags.ack() {
            self.acked(dir.other(), rel_ack, host);
        }
        self.first_seen[dir.index()] = true;
        host.partial = self.is_partial;
        if len > 0 && !flags.rst() && !underflow {
            self.payload(dir, seg, rel_seq, host);
        }
        self.check_end(dir, host);
        if close.close {
            self.closed(dir, close.event, host);
        }
        dir
    }

    fn set_partial(&mut self, flags: TcpFlags, dir: Dir) {
        match dir {
            Dir::Orig if !self.first_seen[0] => self.is_partial = !flags.syn() || flags.ack(),
            Dir::Resp if !self.first_seen[1] && !self.is_partial => self.is_partial = !flags.syn(),
            _ => {}
        }
    }

    fn flip(&mut self, host: &mut Host<'_>) {
        self.ends.swap(0, 1);
        self.first_seen.swap(0, 1);
        self.is_partial = false;
        host.flip();
    }

    fn is_unanswered(&self) -> bool {
        let [orig, resp] = &self.ends;
        matches!(orig.state, State::SynSent | State::SynAckSent) && resp.state == State::Inactive
    }

    /// Whether the flow would have been given up as an attempt by now, had another sensor not been thought to see
    /// its other half.
    pub fn is_outlived(&self, clock: i64) -> bool {
        self.attempt_at < 0
            && self.is_active
            && self.is_unanswered()
            && clock >= self.attempt_at.saturating_neg()
    }

    /// When a timer of this flow is due next, inactivity aside; [`i64::MAX`] for none.
    pub fn deadline(&self, first: i64, last: i64) -> i64 {
        let mut due = i64::MAX;
        if self.delete_at > 0 {
            due = self.delete_at;
        }
        let (orig, resp) = (&self.ends[0], &self.ends[1]);
        if !self.is_active {
            return due;
        }
        if self.attempt_at > 0 && self.is_unanswered() {
            due = due.min(self.attempt_at);
        }
        let closed = orig.did_close || resp.did_close;
        let any = |state| orig.state == state || resp.state == state;
        let ended = closed && (self.both_closed() || any(State::Reset) || any(State::Inactive));
        let nothing = orig.state == State::Inactive && resp.state == State::Inactive;
        // A complete close cancelled these timers.
        if (ended || nothing) && self.delete_at == 0 {
            due = due.min(next_check(first + timeout::TCP_SYN, last));
            if self.half_closed_at > 0 {
                due = due.min(next_check(self.half_closed_at + timeout::TCP_SESSION, last));
            }
        }
        due
    }
}

/// The first check of a chain that begins at `base` at which the flow has lingered long enough.
fn next_check(base: i64, last: i64) -> i64 {
    let idle = last + timeout::TCP_LINGER;
    if idle <= base {
        return base;
    }
    let periods = (idle - base + timeout::TCP_SESSION - 1) / timeout::TCP_SESSION;
    base + periods * timeout::TCP_SESSION
}

/// Whether the first packet of a flow took a sequence number, by the letters that it wrote.
pub fn took_number(history: &[u8]) -> bool {
    history.iter().any(|letter| b"SHDFIQ".contains(&letter.to_ascii_uppercase()))
}

/// A segment as a trace of its flow has it.
pub fn packet_of(seg: &TcpSegment<'_>, at: i64) -> Packet {
    let len = segment_len(seg.payload_len, seg.flags);
    let end = (len > 0).then(|| seg.seq.wrapping_add(len));
    Packet { at, end, ack: seg.flags.ack().then_some(seg.ack) }
}

/// What a flow begins with that begins with this segment.
pub fn start_of(seg: &TcpSegment<'_>) -> Start {
    Start { seq: seg.seq, letter: numbers::letter_of(seg.flags, seg.payload_len) }
}

/// Numbers that a segment takes: payload and a number each for SYN and FIN; a RST's payload is none.
fn segment_len(len: u32, flags: TcpFlags) -> u32 {
    let len = if flags.rst() { 0 } else { len };
    len + u32::from(flags.syn()) + u32::from(flags.fin())
}
