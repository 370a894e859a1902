//! TCP: the state of both ends, sequence numbers, history, and the two streams.
//!
//! Rules: Zeek's `TCPSessionAdapter.cc`, `TCP_Endpoint.cc`; RFC 9293. The order of the checks matters
//! to what is logged and is Zeek's.

use model::conn_state::Endpoint as State;

use crate::analyzer::Dir;
use crate::config::timeout;
use crate::decode::{TcpFlags, TcpSegment};
use crate::flow::{Scaled, seen};
use crate::host::Host;
use crate::stream::{GaveUp, Piece, Sender, Stream};

/// A jump of sequence numbers that is taken for an error rather than for data.
const TOO_LARGE_DELTA: i32 = 1_048_576;
/// FINs or RSTs of one side, at most a second apart, that make a storm.
const STORM: u32 = 1000;
/// Largest window scale (RFC 7323 section 2.3).
const SCALE_MAX: u8 = 14;

/// One end.
#[derive(Debug, Default)]
pub struct End {
    /// What it has done.
    pub state: State,
    /// What it had done before that.
    pub prev: State,
    start_seq: i64,
    last_seq: u32,
    ack_seq: u32,
    seq_wraps: u32,
    ack_wraps: u32,
    window: u32,
    window_seq: u32,
    window_ack_seq: u32,
    window_scale: u8,
    /// Its close was taken note of.
    pub did_close: bool,
    fins: u32,
    rsts: u32,
    fin_seq: u64,
    last_syn: u64,
    last_fin: u64,
    last_rst: u64,
    last_time: i64,
    gaps: Scaled,
    repeats: Scaled,
    zero_windows: Scaled,
    stream: Stream,
}

impl End {
    fn full_seq(seq: u32, wraps: u32) -> i64 {
        i64::from(wraps) << 32 | i64::from(seq)
    }

    /// Highest position acknowledged, relative to the start.
    fn relative_ack(&self) -> u64 {
        Self::full_seq(self.ack_seq, self.ack_wraps).wrapping_sub(self.start_seq) as u64
    }

    fn none_acked(&self) -> bool {
        let ack = Self::full_seq(self.ack_seq, self.ack_wraps);
        ack == self.start_seq || ack == self.start_seq + 1
    }

    fn start_at(&mut self, seq: u32, last: u32) {
        self.start_seq = i64::from(seq);
        self.ack_seq = seq;
        self.last_seq = last;
    }

    fn update_last(&mut self, seq: u32) {
        if seq < self.last_seq {
            self.seq_wraps += 1;
        }
        self.last_seq = seq;
    }

    fn update_ack(&mut self, ack: u32) {
        let delta = delta(ack, self.ack_seq);
        // A number of zero far ahead is a broken ACK rather than a long connection.
        if (ack == 0 && delta > TOO_LARGE_DELTA) || delta <= 0 {
            return;
        }
        if ack < self.ack_seq {
            self.ack_wraps += 1;
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
        let size = last.max(acked).wrapping_sub(self.start_seq) as u64;
        // The SYN and the FIN take a number each.
        size.saturating_sub(1).saturating_sub(u64::from(self.fins > 0))
    }

    fn is_clean(&self) -> bool {
        self.state == State::Established
            || (self.state == State::Closed && self.prev == State::Established)
    }

    /// Position of a number, as Zeek computes it, and whether it lies before the start.
    fn relative(&self, seq: u32, last: u32, mut wraps: u32) -> (u64, bool) {
        let d = delta(seq, last);
        if d < 0 {
            if wraps > 0 && seq > last {
                wraps -= 1;
            }
        } else if d > 0 && seq < last {
            wraps += 1;
        }
        if wraps == 0 {
            let from_start = delta(seq, self.start_seq as u32);
            return (i64::from(from_start) as u64, from_start < 0);
        }
        (Self::full_seq(seq, wraps).wrapping_sub(self.start_seq) as u64, false)
    }
}

fn delta(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

fn is_handshake(state: State) -> bool {
    matches!(state, State::Inactive | State::SynSent | State::SynAckSent)
}

/// A TCP flow's own state.
#[derive(Debug)]
pub struct Tcp {
    /// Both ends, by [`Dir::index`].
    pub ends: [End; 2],
    first_seen: [bool; 2],
    is_partial: bool,
    /// Neither finished nor reset: only then do the attempt and expiry timers act.
    is_active: bool,
    close_deferred: bool,
    deferred_event: bool,
    /// Unanswered SYN: when the flow is given up. 0: no such timer.
    attempt_at: i64,
    /// Fully closed: when it is removed. 0: not yet.
    delete_at: i64,
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
    /// Whether both ends are closed in the sense of a 5-tuple's reuse.
    fn both_closed(&self) -> bool {
        self.ends.iter().all(|end| end.did_close)
    }

    /// Whether a first SYN on a known key begins a new flow (Zeek's `IsReuse`).
    pub fn is_reuse(&self, seg: &TcpSegment<'_>, now: i64, host: &mut Host<'_>) -> bool {
        if seg.broken.is_some() || !seg.flags.syn() {
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
            if i64::from(seg.seq) == end.start_seq {
                return false;
            }
            let swapped_handshake = !seg.flags.ack()
                && end.state == State::SynAckSent
                && resp.state == State::Inactive
                && i64::from(seg.seq) == resp.start_seq;
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
        dir = self.history(dir, flags, rel_seq, len, host);
        self.window(dir, seg, host);
        if !self.both_closed() {
            host.meta.last = host.now;
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

    fn init_end(&mut self, dir: Dir, flags: TcpFlags, seq: u32, upper: u32, host: &mut Host<'_>) {
        let other = self.ends[dir.other().index()].state;
        let end = &mut self.ends[dir.index()];
        let moved = i64::from(seq) != end.start_seq;
        match end.state {
            State::Inactive if flags.syn() => end.start_at(seq, upper),
            // As though a SYN had been seen, so that positions stay the same.
            State::Inactive => end.start_at(seq.wrapping_sub(1), seq),
            State::SynSent | State::SynAckSent if flags.syn() && moved => {
                host.core_weird("SYN_seq_jump");
                end.start_at(seq, upper);
            }
            State::Established | State::Partial if flags.syn() => {
                if end.size(other) > 0 {
                    host.core_weird("SYN_inside_connection");
                }
                if moved {
                    host.core_weird("SYN_seq_jump");
                }
                end.start_at(seq, upper);
            }
            // The RST that came first may have been forged.
            State::Reset if flags.syn() && end.prev == State::Inactive => end.start_at(seq, upper),
            _ => {}
        }
    }

    /// Writes history letters; a flow that began with a SYN-ACK may flip here.
    fn history(
        &mut self,
        mut dir: Dir,
        flags: TcpFlags,
        rel_seq: u64,
        len: u32,
        host: &mut Host<'_>,
    ) -> Dir {
        let bits = u8::from(flags.syn()) + u8::from(flags.fin()) + u8::from(flags.rst());
        if bits == 0 {
            let (mask, letter) = match (len, flags.ack()) {
                (0, false) => return dir,
                (0, true) => (seen::ACK, b'A'),
                _ => (seen::DATA, b'D'),
            };
            if host.meta.history == b"H" {
                self.flip(host);
                host.meta.history = b"^h".to_vec();
                self.first_seen[0] = true;
                dir = dir.other();
            }
            host.meta.letter_once(dir, mask, letter);
            return dir;
        }
        if bits > 1 {
            let both = flags.fin() && flags.rst();
            let (mask, letter) = if both { (seen::FIN_RST, b'I') } else { (seen::MULTI, b'Q') };
            host.meta.letter_once(dir, mask, letter);
            return dir;
        }
        let end = &mut self.ends[dir.index()];
        let (mask, letter, last, at) = if flags.syn() {
            let letter = if flags.ack() { b'H' } else { b'S' };
            (seen::SYN, letter, &mut end.last_syn, rel_seq)
        } else if flags.fin() {
            (seen::FIN, b'F', &mut end.last_fin, rel_seq.wrapping_add(u64::from(len)))
        } else {
            (seen::RST, b'R', &mut end.last_rst, rel_seq)
        };
        if host.meta.letter_once(dir, mask, letter) && *last != at {
            host.meta.letter(dir, letter);
        }
        *last = at;
        dir
    }

    fn window(&mut self, dir: Dir, seg: &TcpSegment<'_>, host: &mut Host<'_>) {
        let peer = self.ends[dir.other().index()].state;
        let end = &mut self.ends[dir.index()];
        let (flags, scale) = (seg.flags, end.window_scale);
        let window = u32::from(seg.window) << scale;
        let boring = flags.rst() || peer == State::Closed || end.state == State::Reset;
        if window == 0 && !boring && end.zero_windows.hit() {
            host.meta.letter(dir, b'W');
        }
        let closing = flags.syn() || flags.fin() || flags.rst();
        if closing || matches!(end.state, State::Closed | State::Reset) {
            return;
        }
        if delta(seg.seq, end.window_seq) < 0 || delta(seg.ack, end.window_ack_seq) < 0 {
            return;
        }
        let new_edge = seg.ack.wrapping_add(window);
        let old_edge = end.window_ack_seq.wrapping_add(end.window);
        let advance = delta(new_edge, old_edge);
        // Scaling loses the low bits: that much is no recision.
        if advance < 0 && advance.unsigned_abs() >= 1 << scale {
            host.core_weird("window_recision");
        }
        end.window = window;
        end.window_ack_seq = seg.ack;
        end.window_seq = seg.seq;
    }

    /// What SYN, FIN and RST carry besides a change of state.
    fn control_counts(
        &mut self,
        dir: Dir,
        seg: &TcpSegment<'_>,
        rel_seq: u64,
        seg_len: u32,
        host: &mut Host<'_>,
    ) {
        let flags = seg.flags;
        if flags.syn() {
            syn_weirds(seg, host);
            self.init_window(dir, seg, host);
        }
        let end = &mut self.ends[dir.index()];
        let soon = host.now < end.last_time + crate::config::SECOND;
        if flags.fin() {
            end.fins += 1;
            if end.fins >= STORM && soon {
                host.weird("FIN_storm");
            }
            end.fin_seq = rel_seq.wrapping_add(u64::from(seg_len));
        }
        if flags.rst() {
            end.rsts += 1;
            if end.rsts >= STORM && soon {
                host.weird("RST_storm");
            }
        }
    }

    fn init_window(&mut self, dir: Dir, seg: &TcpSegment<'_>, host: &mut Host<'_>) {
        let scale = window_scale(seg.options);
        let (end, peer) = two(&mut self.ends, dir);
        let Some(scale) = scale else {
            end.window_scale = 0;
            if seg.flags.ack() {
                peer.window_scale = 0;
            }
            return;
        };
        if scale > SCALE_MAX && !host.did_weird() {
            host.weird_with("TCP_scale_range", Some(&scale.to_string()), Some("TCP"));
        }
        end.window_scale = scale.min(SCALE_MAX);
        end.window_seq = seg.seq;
        end.window_ack_seq = seg.ack;
        peer.window_seq = seg.ack;
        peer.window_ack_seq = seg.seq;
    }

    /// Takes an acknowledgement; returns its position in the other side's stream.
    fn acknowledgement(&mut self, dir: Dir, seg: &TcpSegment<'_>, host: &mut Host<'_>) -> u64 {
        let (end, peer) = two(&mut self.ends, dir);
        if peer.state == State::Inactive {
            let flags = seg.flags;
            let plain = !flags.syn() && !flags.fin() && !flags.rst();
            let opened =
                matches!(end.state, State::SynSent | State::SynAckSent | State::Established);
            if plain && opened && !host.did_weird() {
                host.core_weird("possible_split_routing");
            }
            let before = seg.ack.wrapping_sub(1);
            peer.start_at(before, before);
            return 1;
        }
        let (rel_ack, underflow) = peer.relative(seg.ack, peer.ack_seq, peer.ack_wraps);
        if underflow {
            host.weird("TCP_ack_underflow_or_misorder");
            return 0;
        }
        if !seg.flags.rst() {
            peer.update_ack(seg.ack);
        }
        rel_ack
    }

    /// Moves the sender's last number; returns by how much (negative for a retransmission).
    fn advance(
        &mut self,
        dir: Dir,
        upper: u32,
        flags: TcpFlags,
        len: u32,
        host: &mut Host<'_>,
    ) -> i32 {
        let end = &mut self.ends[dir.index()];
        let by = delta(upper, end.last_seq);
        let outlandish = !(-TOO_LARGE_DELTA..=TOO_LARGE_DELTA).contains(&by);
        if (flags.syn() || flags.rst()) && outlandish {
            return by;
        }
        // Only the SYN and the FIN of a connection of over 2 GB were seen.
        if flags.fin() && i64::from(end.last_seq) == end.start_seq + 1 {
            end.update_last(upper);
        } else if end.state == State::Reset {
            return by;
        } else if by > 0 {
            end.update_last(upper);
        } else if len > 0 && end.repeats.hit() {
            host.meta.letter(dir, b'T');
        }
        by
    }

    fn state_machine(
        &mut self,
        dir: Dir,
        seg: &TcpSegment<'_>,
        len: u32,
        advance: i32,
        host: &mut Host<'_>,
        close: &mut Close,
    ) -> Dir {
        let flags = seg.flags;
        match self.ends[dir.index()].state {
            State::Inactive => return self.while_inactive(dir, seg, len, host, close),
            State::SynSent | State::SynAckSent => {
                self.while_syn_sent(dir, flags, len, host, close);
            }
            State::Established | State::Partial => self.while_established(dir, flags, host, close),
            State::Closed => self.while_closed(dir, flags, advance, host, close),
            State::Reset => {
                for (odd, name) in [
                    (flags.syn(), "SYN_after_reset"),
                    (flags.fin(), "FIN_after_reset"),
                    (len > 0 && !flags.rst(), "data_after_reset"),
                ] {
                    if odd {
                        host.weird(name);
                    }
                }
            }
        }
        dir
    }

    fn while_inactive(
        &mut self,
        mut dir: Dir,
        seg: &TcpSegment<'_>,
        len: u32,
        host: &mut Host<'_>,
        close: &mut Close,
    ) -> Dir {
        let flags = seg.flags;
        if flags.syn() {
            dir = match dir {
                Dir::Orig => self.first_syn(flags, host),
                Dir::Resp => self.syn_reply(seg, host),
            };
        }
        let peer = self.ends[dir.other().index()].state;
        if flags.fin() {
            self.set_state(dir, State::Closed, host);
            *close = Close { close: true, event: true };
            if peer != State::Partial && !flags.syn() {
                host.weird("spontaneous_FIN");
            }
        }
        if flags.rst() {
            self.set_state(dir, State::Reset, host);
            let reject = match dir {
                // A SYN-ACK was answered by a RST: a reverse scan.
                Dir::Orig => peer == State::Established,
                Dir::Resp => matches!(peer, State::SynSent | State::SynAckSent),
            };
            *close = Close { close: true, event: !reject };
            if !reject && peer == State::Inactive {
                host.weird("spontaneous_RST");
            }
        }
        if self.ends[dir.index()].state != State::Inactive {
            return dir;
        }
        // Some stacks acknowledge a SYN before they answer it.
        let early_ack = dir == Dir::Resp && len == 0 && peer == State::SynSent;
        if early_ack {
            return dir;
        }
        if flags.ack() && peer == State::Established {
            // The SYN was missed, the SYN-ACK was not.
            self.set_state(dir, State::Established, host);
            self.is_partial = false;
            self.first_seen[dir.index()] = true;
        } else {
            self.set_state(dir, State::Partial, host);
        }
        dir
    }

    fn first_syn(&mut self, flags: TcpFlags, host: &mut Host<'_>) -> Dir {
        if flags.ack() {
            host.weird("connection_originator_SYN_ack");
        }
        let state = if flags.ack() { State::SynAckSent } else { State::SynSent };
        self.set_state(Dir::Orig, state, host);
        self.attempt_at = host.now + timeout::TCP_ATTEMPT;
        Dir::Orig
    }

    fn syn_reply(&mut self, seg: &TcpSegment<'_>, host: &mut Host<'_>) -> Dir {
        let mut dir = Dir::Resp;
        let (end, peer) = two(&mut self.ends, dir);
        let unopened = peer.state.is_unopened();
        if seg.flags.ack() {
            let start = peer.start_seq as u32;
            let between = delta(seg.ack, start) >= 0 && delta(seg.ack, peer.last_seq) <= 0;
            if !unopened && !between {
                host.weird("bad_SYN_ack");
            }
        } else if peer.state == State::SynAckSent && i64::from(seg.seq) == end.start_seq {
            // The SYN and its SYN-ACK arrived in the wrong order.
            self.is_partial = false;
            self.flip(host);
            dir = Dir::Orig;
            self.set_state(Dir::Resp, State::Established, host);
            self.first_seen[0] = true;
        } else {
            host.weird("simultaneous_open");
        }
        let peer = self.ends[dir.other().index()].state;
        if peer == State::SynSent {
            self.set_state(dir.other(), State::Established, host);
        } else if peer == State::Inactive {
            host.weird("unsolicited_SYN_response");
        }
        self.set_state(dir, State::Established, host);
        if self.ends[dir.other().index()].state != State::Partial {
            host.established(self.ends[0].state == State::Inactive);
        }
        dir
    }

    fn while_syn_sent(
        &mut self,
        dir: Dir,
        flags: TcpFlags,
        len: u32,
        host: &mut Host<'_>,
        close: &mut Close,
    ) {
        let (end, peer) = (self.ends[dir.index()].state, self.ends[dir.other().index()].state);
        if flags.syn() {
            let with_ack = flags.ack() && !flags.fin() && !flags.rst() && end != State::SynAckSent;
            match dir {
                Dir::Orig if with_ack => host.weird("repeated_SYN_with_ack"),
                Dir::Resp if !flags.ack() && end != State::SynSent => {
                    host.weird("repeated_SYN_reply_wo_ack");
                }
                _ => {}
            }
        }
        if flags.fin() {
            if matches!(peer, State::Inactive | State::SynSent) {
                host.weird("inappropriate_FIN");
            }
            self.set_state(dir, State::Closed, host);
            *close = Close { close: true, event: true };
        }
        if flags.rst() {
            self.set_state(dir, State::Reset, host);
            self.is_active = false;
            close.close = true;
        } else if len > 0 {
            host.weird("data_before_established");
        }
    }

    fn while_established(
        &mut self,
        dir: Dir,
        flags: TcpFlags,
        host: &mut Host<'_>,
        close: &mut Close,
    ) {
        let peer = &self.ends[dir.other().index()];
        let (peer_state, peer_prev) = (peer.state, peer.prev);
        let partial = self.ends[dir.index()].state == State::Partial;
        if flags.syn() && partial && peer_state == State::Inactive && !flags.ack() {
            host.weird("SYN_after_partial");
            self.set_state(dir, State::SynSent, host);
        }
        if flags.fin() && !flags.rst() {
            self.set_state(dir, State::Closed, host);
            // A FIN and then a RST of the other side was a normal end after all.
            if peer_state == State::Reset && peer_prev == State::Closed {
                self.set_state(dir.other(), State::Closed, host);
            }
            *close = Close { close: true, event: true };
        }
        if flags.rst() {
            self.set_state(dir, State::Reset, host);
            close.close = true;
            if peer_state != State::Reset || peer_prev != State::Established {
                self.is_active = false;
            }
        }
    }

    fn while_closed(
        &mut self,
        dir: Dir,
        flags: TcpFlags,
        advance: i32,
        host: &mut Host<'_>,
        close: &mut Close,
    ) {
        if flags.syn() {
            host.weird("SYN_after_close");
        }
        if flags.fin() && advance > 0 {
            host.weird("FIN_advanced_last_seq");
        }
        // A RST after both FINs changes nothing.
        if flags.rst() && self.ends[dir.other().index()].state != State::Closed {
            self.set_state(dir, State::Reset, host);
            if !self.ends[dir.index()].did_close {
                close.close = true;
            }
        }
    }

    fn set_state(&mut self, dir: Dir, state: State, host: &mut Host<'_>) {
        let (end, peer) = two(&mut self.ends, dir);
        if end.state == state {
            return;
        }
        if !is_handshake(state) && is_handshake(end.state) && is_handshake(peer.state) {
            host.meta.timeout = timeout::TCP_INACTIVITY;
        }
        end.prev = end.state;
        end.state = state;
    }

    /// Payload of a segment into its stream.
    fn payload(&mut self, dir: Dir, seg: &TcpSegment<'_>, rel_seq: u64, host: &mut Host<'_>) {
        if (seg.payload.len() as u64) < u64::from(seg.payload_len) {
            host.weird("truncated_tcp_payload");
            return;
        }
        let seq = if seg.flags.syn() { rel_seq.wrapping_add(1) } else { rel_seq };
        let peer_state = self.ends[dir.other().index()].state;
        let clean = self.ends.iter().all(End::is_clean);
        let keep = host.wants_payload();
        let end = &mut self.ends[dir.index()];
        let sender = Sender {
            ack: end.relative_ack(),
            none_acked: end.none_acked(),
            size: end.size(peer_state),
        };
        let (stream, gaps) = (&mut end.stream, &mut end.gaps);
        let gave_up = stream.segment(seq, seg.payload, sender, keep, &mut |piece| {
            deliver(host, dir, piece, clean, gaps);
        });
        match gave_up {
            Some(GaveUp::AboveHole) => host.weird("above_hole_data_without_any_acks"),
            Some(GaveUp::Unacked) => host.weird("excessive_data_without_further_acks"),
            None => {}
        }
    }

    /// The other side acknowledged this side's stream up to a position.
    fn acked(&mut self, dir: Dir, mut rel_ack: u64, host: &mut Host<'_>) {
        let clean = self.ends.iter().all(End::is_clean);
        let partial = self.is_partial;
        let end = &mut self.ends[dir.index()];
        if end.fins > 0 && rel_ack >= end.fin_seq {
            rel_ack = end.fin_seq.wrapping_sub(1);
        }
        let (stream, gaps) = (&mut end.stream, &mut end.gaps);
        stream.acked(rel_ack, partial, &mut |piece| deliver(host, dir, piece, clean, gaps));
        self.check_end(dir, host);
    }

    fn data_pending(&self, dir: Dir) -> bool {
        let end = &self.ends[dir.index()];
        if end.stream.skip {
            return false;
        }
        let delivered = end.start_seq.wrapping_add(end.stream.next as i64);
        let last = End::full_seq(end.last_seq, end.seq_wraps);
        if last < delivered {
            return false;
        }
        if delivered != last - 1 && delivered != last {
            return true;
        }
        end.state != State::Reset && self.ends[dir.other().index()].stream.has_unacked()
    }

    /// Tells the analyzers when a side's stream is complete.
    fn check_end(&mut self, dir: Dir, host: &mut Host<'_>) {
        let end = &self.ends[dir.index()];
        let over = end.fins > 0 || matches!(end.state, State::Closed | State::Reset);
        if end.stream.ended || !over || self.data_pending(dir) {
            return;
        }
        self.ends[dir.index()].stream.ended = true;
        host.end(dir);
        if self.close_deferred {
            if self.data_pending(dir) && self.both_closed() {
                host.weird("pending_data_when_closed");
            }
            self.closed(dir, self.deferred_event, host);
            self.close_deferred = false;
        }
    }

    fn closed(&mut self, dir: Dir, mut event: bool, host: &mut Host<'_>) {
        if self.data_pending(dir) {
            self.close_deferred = true;
            self.deferred_event |= event;
            return;
        }
        self.close_deferred = false;
        let (end, peer) = two(&mut self.ends, dir);
        if end.did_close {
            return;
        }
        end.did_close = true;
        let complete = end.state == State::Reset || peer.did_close || peer.state == State::Inactive;
        if !complete {
            if end.prev != State::Inactive {
                self.half_closed_at = host.meta.last;
            }
            return;
        }
        if end.prev != State::Inactive || peer.state != State::Inactive {
            event |= std::mem::take(&mut self.deferred_event);
            if event {
                self.is_active = false;
            }
        }
        self.attempt_at = 0;
        self.delete_at = host.meta.last + timeout::TCP_CLOSE;
    }

    fn flip(&mut self, host: &mut Host<'_>) {
        self.ends.swap(0, 1);
        self.first_seen.swap(0, 1);
        self.is_partial = false;
        host.flip();
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
        let unanswered = matches!(orig.state, State::SynSent | State::SynAckSent)
            && resp.state == State::Inactive;
        if self.attempt_at > 0 && unanswered {
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
    let idle = last + timeout::TCP_LINGER + 1;
    if idle <= base {
        return base;
    }
    let periods = (idle - base + timeout::TCP_SESSION - 1) / timeout::TCP_SESSION;
    base + periods * timeout::TCP_SESSION
}

fn two(ends: &mut [End; 2], dir: Dir) -> (&mut End, &mut End) {
    let [orig, resp] = ends;
    match dir {
        Dir::Orig => (orig, resp),
        Dir::Resp => (resp, orig),
    }
}

/// Hands one piece of a stream on; gaps count only between cleanly opened or closing ends, as
/// elsewhere they come of numbers that cannot be trusted.
fn deliver(host: &mut Host<'_>, dir: Dir, piece: Piece<'_>, clean: bool, gaps: &mut Scaled) {
    match piece {
        Piece::Data(data) => host.data(dir, data),
        Piece::Gap(len) => {
            if clean {
                host.meta.missed_bytes += len;
                if gaps.hit() {
                    host.meta.letter(dir, b'G');
                }
            }
            host.gap(dir, len);
        }
        Piece::Unkept(len) => host.gap(dir, len),
    }
}

/// Numbers that a segment takes: payload and a number each for SYN and FIN; a RST's payload is none.
fn segment_len(len: u32, flags: TcpFlags) -> u32 {
    let len = if flags.rst() { 0 } else { len };
    len + u32::from(flags.syn()) + u32::from(flags.fin())
}

fn syn_weirds(seg: &TcpSegment<'_>, host: &mut Host<'_>) {
    for (odd, name) in [
        (seg.flags.rst(), "TCP_christmas"),
        (seg.flags.urg(), "baroque_SYN"),
        (seg.payload_len > 0, "SYN_with_data"),
    ] {
        if odd {
            host.weird_with(name, None, Some("TCP"));
        }
    }
}

/// The window scale option (RFC 7323 section 2.2), if it is there.
fn window_scale(options: &[u8]) -> Option<u8> {
    let mut rest = options;
    loop {
        match rest {
            [] | [0, ..] => return None,
            [1, tail @ ..] => rest = tail,
            [3, len, scale, ..] if *len >= 3 && usize::from(*len) <= rest.len() => {
                return Some(*scale);
            }
            [_, len, ..] if *len > 0 => rest = rest.get(usize::from(*len)..)?,
            _ => return None,
        }
    }
}
