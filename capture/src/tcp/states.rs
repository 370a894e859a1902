//! The state machine: what a segment makes of its sender's state.

use model::conn_state::Endpoint as State;

use super::end::{delta, is_handshake, two};
use super::{Close, Tcp};
use crate::analyzer::Dir;
use crate::config::{Joins, timeout};
use crate::decode::{TcpFlags, TcpSegment};
use crate::flow::Patience;
use crate::host::Host;

impl Tcp {
    pub(super) fn state_machine(
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
        if flags.ack() {
            self.seen_elsewhere(host);
        }
        Dir::Orig
    }

    fn syn_reply(&mut self, seg: &TcpSegment<'_>, host: &mut Host<'_>) -> Dir {
        let mut dir = Dir::Resp;
        let (end, peer) = two(&mut self.ends, dir);
        let unopened = peer.state.is_unopened();
        if seg.flags.ack() {
            let start = peer.start_seq;
            let between = delta(seg.ack, start) >= 0 && delta(seg.ack, peer.last_seq) <= 0;
            if !unopened && !between {
                host.weird("bad_SYN_ack");
            }
        } else if peer.state == State::SynAckSent && seg.seq == end.start_seq {
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
        if dir == Dir::Orig && flags.ack() && peer == State::Inactive {
            self.answered_elsewhere(flags, host);
        }
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

    /// The originator acknowledges what another sensor saw. Where there are such the flow is not given up as
    /// an attempt: its other half lasts as long as it does.
    fn answered_elsewhere(&mut self, flags: TcpFlags, host: &mut Host<'_>) {
        if !flags.syn() && !flags.rst() {
            self.seen_elsewhere(host);
        }
    }

    /// Another sensor sees what this one does not: where there are such the flow lasts, unless it turns out that
    /// there are none ([`Tcp::is_outlived`]).
    pub(super) fn seen_elsewhere(&mut self, host: &mut Host<'_>) {
        if host.shared.config.joins != Joins::Nothing {
            self.attempt_at = -self.attempt_at.abs();
            let patience = host.meta.timeout.max(Patience::of(timeout::TCP_INACTIVITY));
            host.meta.wait(patience);
            host.pause_if_interactive(host.meta.resp_p());
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
            host.meta.wait(Patience::of(timeout::TCP_INACTIVITY));
        }
        end.prev = end.state;
        end.state = state;
    }
}
