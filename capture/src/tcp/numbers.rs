//! What a segment says besides its state: numbers, history letters, windows, acknowledgements.

use model::conn_state::Endpoint as State;

use super::Tcp;
use super::end::{TOO_LARGE_DELTA, delta, two};
use crate::analyzer::Dir;
use crate::decode::{TcpFlags, TcpSegment};
use crate::flow::seen;
use crate::host::Host;

/// FINs or RSTs of one side, at most a second apart, that make a storm.
const STORM: u16 = 1000;
/// Largest window scale (RFC 7323 section 2.3).
const SCALE_MAX: u8 = 14;

impl Tcp {
    pub(super) fn init_end(
        &mut self,
        dir: Dir,
        flags: TcpFlags,
        seq: u32,
        upper: u32,
        host: &mut Host<'_>,
    ) {
        let other = self.ends[dir.other().index()].state;
        let end = &mut self.ends[dir.index()];
        let moved = seq != end.start_seq;
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
    pub(super) fn history(
        &mut self,
        mut dir: Dir,
        flags: TcpFlags,
        rel_seq: u64,
        len: u32,
        host: &mut Host<'_>,
    ) -> Dir {
        let Some(letter) = letter_of(flags, len) else { return dir };
        if let b'A' | b'D' = letter {
            let mask = if letter == b'A' { seen::ACK } else { seen::DATA };
            if *host.meta.history == *b"H" {
                self.flip(host);
                // Another sensor sees who asked.
                self.seen_elsewhere(host);
                host.meta.history = b"^h".iter().copied().collect();
                self.first_seen[0] = true;
                dir = dir.other();
            }
            host.meta.letter_once(dir, mask, letter);
            return dir;
        }
        if let b'I' | b'Q' = letter {
            let mask = if letter == b'I' { seen::FIN_RST } else { seen::MULTI };
            host.meta.letter_once(dir, mask, letter);
            return dir;
        }
        let end = &mut self.ends[dir.index()];
        let (mask, last, at) = match letter {
            b'F' => (seen::FIN, &mut end.last_fin, rel_seq.wrapping_add(u64::from(len))),
            b'R' => (seen::RST, &mut end.last_rst, rel_seq),
            _ => (seen::SYN, &mut end.last_syn, rel_seq),
        };
        if host.meta.letter_once(dir, mask, letter) && *last != at as u32 {
            host.meta.letter(dir, letter);
        }
        *last = at as u32;
        dir
    }

    pub(super) fn window(&mut self, dir: Dir, seg: &TcpSegment<'_>, host: &mut Host<'_>) {
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
    pub(super) fn control_counts(
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
            end.fins = end.fins.saturating_add(1);
            if end.fins >= STORM && soon {
                host.weird("FIN_storm");
            }
            end.fin_seq = rel_seq.wrapping_add(u64::from(seg_len));
        }
        if flags.rst() {
            end.rsts = end.rsts.saturating_add(1);
            if end.rsts >= STORM && soon {
                host.weird("RST_storm");
            }
            host.reset();
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
    pub(super) fn acknowledgement(
        &mut self,
        dir: Dir,
        seg: &TcpSegment<'_>,
        host: &mut Host<'_>,
    ) -> u64 {
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
    pub(super) fn advance(
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
        if flags.fin() && i64::from(end.last_seq) == i64::from(end.start_seq) + 1 {
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
}

/// The letter that a segment has by its flags; none without flags and payload.
pub(super) fn letter_of(flags: TcpFlags, len: u32) -> Option<u8> {
    let [syn, fin, rst] = [flags.syn(), flags.fin(), flags.rst()];
    match u8::from(syn) + u8::from(fin) + u8::from(rst) {
        0 if len > 0 => Some(b'D'),
        0 => flags.ack().then_some(b'A'),
        1 if syn => Some(if flags.ack() { b'H' } else { b'S' }),
        1 => Some(if fin { b'F' } else { b'R' }),
        _ => Some(if fin && rst { b'I' } else { b'Q' }),
    }
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
