//! Payload into the streams, and the close of a flow, which waits for them.

use model::conn_state::Endpoint as State;

use super::Tcp;
use super::end::{End, two};
use crate::analyzer::Dir;
use crate::config::timeout;
use crate::decode::TcpSegment;
use crate::flow::Scaled;
use crate::host::Host;
use crate::stream::{GaveUp, Piece, Sender};

impl Tcp {
    /// Payload of a segment into its stream.
    pub(super) fn payload(
        &mut self,
        dir: Dir,
        seg: &TcpSegment<'_>,
        rel_seq: u64,
        host: &mut Host<'_>,
    ) {
        if (seg.payload.len() as u64) < u64::from(seg.payload_len) {
            host.weird("truncated_tcp_payload");
            return;
        }
        let seq = if seg.flags.syn() { rel_seq.wrapping_add(1) } else { rel_seq };
        let peer_state = self.ends[dir.other().index()].state;
        let clean = self.ends.iter().all(End::is_clean);
        let kept_max = host.kept_max();
        let end = &mut self.ends[dir.index()];
        let sender = Sender {
            ack: end.relative_ack(),
            none_acked: end.none_acked(),
            size: end.size(peer_state),
        };
        let (stream, gaps) = (&mut end.stream, &mut end.gaps);
        let gave_up = stream.segment(seq, seg.payload, sender, kept_max, &mut |piece| {
            deliver(host, dir, piece, clean, gaps);
        });
        match gave_up {
            Some(GaveUp::AboveHole) => host.weird("above_hole_data_without_any_acks"),
            Some(GaveUp::Unacked) => host.weird("excessive_data_without_further_acks"),
            None => {}
        }
    }

    /// The other side acknowledged this side's stream up to a position.
    pub(super) fn acked(&mut self, dir: Dir, mut rel_ack: u64, host: &mut Host<'_>) {
        let clean = self.ends.iter().all(End::is_clean);
        let partial = self.is_partial;
        let end = &mut self.ends[dir.index()];
        if end.fins > 0 && rel_ack >= end.fin_seq {
            rel_ack = end.fin_seq.saturating_sub(1);
        }
        let (stream, gaps) = (&mut end.stream, &mut end.gaps);
        stream.acked(rel_ack, partial, &mut |piece| deliver(host, dir, piece, clean, gaps));
        self.check_end(dir, host);
    }

    fn data_pending(&self, dir: Dir) -> bool {
        let end = &self.ends[dir.index()];
        if end.stream.skips() {
            return false;
        }
        let delivered = end.start().wrapping_add(end.stream.next as i64);
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
    pub(super) fn check_end(&mut self, dir: Dir, host: &mut Host<'_>) {
        let end = &self.ends[dir.index()];
        let over = end.fins > 0 || matches!(end.state, State::Closed | State::Reset);
        if end.ended || !over || self.data_pending(dir) {
            return;
        }
        self.ends[dir.index()].ended = true;
        host.end(dir);
        if self.close_deferred {
            if self.data_pending(dir) && self.both_closed() {
                host.weird("pending_data_when_closed");
            }
            self.closed(dir, self.deferred_event, host);
            self.close_deferred = false;
        }
    }

    pub(super) fn closed(&mut self, dir: Dir, mut event: bool, host: &mut Host<'_>) {
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
}

/// Hands one piece of a stream on; gaps count only between cleanly opened or closing ends, as
/// elsewhere they come of numbers that cannot be trusted.
fn deliver(host: &mut Host<'_>, dir: Dir, piece: Piece<'_>, clean: bool, gaps: &mut Scaled) {
    match piece {
        Piece::Data(data) => host.data(dir, data),
        Piece::Gap(len) => {
            if clean {
                host.meta.rare_mut().missed_bytes += len;
                if gaps.hit() {
                    host.meta.letter(dir, b'G');
                }
            }
            host.gap(dir, len);
        }
        Piece::Unkept(len) => host.gap(dir, len),
    }
}
