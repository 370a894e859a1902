//! Telling the protocol of a flow, or of what an analyzer carries, by its first bytes.

use super::{App, Slot};
use crate::analyzer::{self, ALL, Dir, PROBE_BYTES_MAX, Start, Transport, Verdict, peers};
use crate::flow::Meta;
use crate::host::Shared;

/// Segments or datagrams of a flow that detection looks at (Zeek's `dpd_max_packets`).
const PROBE_PIECES_MAX: usize = 100;

/// The first bytes, while it is not known whose they are.
#[derive(Default)]
pub(super) struct Probing {
    /// As in [`Slot`]: whose payload this is.
    pub(super) carrier: Option<usize>,
    bytes: [Vec<u8>; 2],
    pieces: Vec<(Dir, usize)>,
    /// The flow's beginning was not seen.
    partial: bool,
    /// The responder's port.
    resp_p: u16,
    /// Analyzers that have not said no, by their place in [`ALL`].
    pub(super) open: u64,
}

impl Probing {
    /// Protocols whose other end would make this direction's beginning theirs, by their place in [`peers::ALL`], and
    /// those of [`peers::STRICT`] that it does not begin as.
    pub(super) fn beginning(&self, dir: Dir) -> [u8; 2] {
        let [own, other] = [dir, dir.other()].map(|dir| self.bytes[dir.index()].as_slice());
        if !other.is_empty() || own.is_empty() {
            return [0; 2];
        }
        let own = &own[..own.len().min(PROBE_BYTES_MAX)];
        let bits = |all: u8, (i, is): (usize, bool)| all | u8::from(is) << i;
        let fits = peers::ALL.iter().map(|peers| peers.fit(dir, own, self.resp_p));
        let strange =
            peers::STRICT.iter().map(|kind| peers::is_strange(kind, dir, own, self.resp_p));
        [fits.enumerate().fold(0, bits), strange.enumerate().fold(0, bits)]
    }

    fn add(&mut self, dir: Dir, data: &[u8]) {
        self.bytes[dir.index()].extend_from_slice(data);
        self.pieces.push((dir, data.len()));
    }
}

impl App {
    /// Begins to look for protocols by content. One that leaves the flow again may be called back.
    pub(super) fn look_for(&mut self, carrier: Option<usize>, partial: bool, resp_p: u16) {
        let open = analyzer::probed();
        self.probing =
            Some(Box::new(Probing { carrier, partial, resp_p, open, ..Probing::default() }));
    }

    /// Shows the beginning of the flow to those analyzers that have not answered yet.
    pub(super) fn probe(
        &mut self,
        meta: &Meta,
        shared: &mut Shared,
        now: i64,
        dir: Dir,
        data: &[u8],
    ) {
        let Some(mut probing) = self.probing.take() else { return };
        let transport = self.transport.unwrap_or(Transport::Tcp);
        // Most flows are told by their first piece, which then is not copied.
        let is_first = probing.pieces.is_empty();
        if !is_first {
            probing.add(dir, data);
        }
        let cut = |bytes: &[u8]| bytes.len().min(PROBE_BYTES_MAX);
        // A bit each, as most have said no after the first piece.
        let mut asked = probing.open;
        while let Some(kind) = ALL.get(asked.trailing_zeros() as usize) {
            let i = asked.trailing_zeros();
            asked &= asked - 1;
            let [orig, resp] = &probing.bytes;
            let mut bytes = [&orig[..cut(orig)], &resp[..cut(resp)]];
            if is_first || transport == Transport::Udp {
                bytes = [&[], &[]];
                bytes[dir.index()] = match transport {
                    Transport::Udp => data,
                    Transport::Tcp => &data[..cut(data)],
                };
            }
            let start = Start { transport, bytes, resp_p: meta.resp_p() };
            let verdict = kind.probe.map_or(Verdict::No, |probe| probe(&start));
            if verdict == Verdict::More {
                continue;
            }
            probing.open &= !(1 << i);
            if probing.partial && verdict == Verdict::Yes {
                self.late |= 1 << i;
            }
            let is_there = |slot: &Slot| {
                slot.name == kind.name && slot.carrier == probing.carrier && !slot.is_violated()
            };
            if verdict == Verdict::Yes && !self.slots.iter().any(is_there) {
                let slot = self.slots.len();
                self.attach(kind, probing.carrier);
                if self.slots.len() > slot && !(probing.partial && kind.skips_partial) {
                    self.replay(slot, meta, shared, now, &probing);
                    if is_first {
                        self.call(slot, meta, shared, now, |analyzer, cx| {
                            analyzer.feed(cx, dir, data)
                        });
                    }
                }
            }
        }
        if self.is_half && transport == Transport::Tcp && !probing.partial {
            self.presume(meta, shared, now, (dir, data), &probing);
        }
        let full = data.len() >= PROBE_BYTES_MAX
            || probing.bytes.iter().any(|bytes| bytes.len() >= PROBE_BYTES_MAX);
        let is_last = probing.open == 0 || full || probing.pieces.len() >= PROBE_PIECES_MAX;
        if is_first && (self.is_half || !is_last) {
            probing.add(dir, data);
        }
        // An analyzer that was called meanwhile may have begun to look inside of itself.
        if !is_last && self.probing.is_none() {
            self.probing = Some(probing);
        } else if self.is_half {
            let [fits, strange] = probing.beginning(dir);
            self.beginning[0] |= fits;
            self.beginning[1] |= if probing.carrier.is_none() { strange } else { 0 };
        }
    }

    /// Gives a half's beginning to those analyzers that it is for if the other direction is of their protocol as well.
    fn presume(
        &mut self,
        meta: &Meta,
        shared: &mut Shared,
        now: i64,
        (dir, data): (Dir, &[u8]),
        probing: &Probing,
    ) {
        let is_first = probing.pieces.is_empty();
        let own = if is_first { data } else { &probing.bytes[dir.index()] };
        let own = &own[..own.len().min(PROBE_BYTES_MAX)];
        for peers in &peers::ALL {
            let is_there = |slot: &Slot| slot.name == peers.kind.name;
            if self.slots.iter().any(is_there) || !peers.fit(dir, own, probing.resp_p) {
                continue;
            }
            let slot = self.slots.len();
            self.attach(peers.kind, probing.carrier);
            let Some(presumed) = self.slots.get_mut(slot) else { return };
            presumed.presumed = true;
            self.replay(slot, meta, shared, now, probing);
            if is_first {
                self.call(slot, meta, shared, now, |analyzer, cx| analyzer.feed(cx, dir, data));
            }
        }
    }

    /// Gives a new analyzer what came before it.
    fn replay(
        &mut self,
        slot: usize,
        meta: &Meta,
        shared: &mut Shared,
        now: i64,
        probing: &Probing,
    ) {
        let mut at = [0; 2];
        for (dir, len) in &probing.pieces {
            let from = at[dir.index()];
            at[dir.index()] = from + len;
            let piece = probing.bytes[dir.index()].get(from..from + len).unwrap_or_default();
            self.call(slot, meta, shared, now, |analyzer, cx| analyzer.feed(cx, *dir, piece));
        }
    }
}
