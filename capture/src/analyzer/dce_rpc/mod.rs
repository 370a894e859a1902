//! DCE/RPC (C706 chapter 12, MS-RPCE) over TCP, and in the pipes of SMB.
//!
//! A message that parses confirms. What does not is passed over: Zeek ignores violations of this protocol
//! (`DPD::ignore_violations`). What authenticates a message is told on the way.
//! Source: Zeek's `DCE_RPC.cc`, `dce_rpc-protocol.pac`, `dce_rpc-auth.pac`, `dpd.sig`.

use super::units::{Framed, Units};
use super::{Analyzer, Cx, Dir, Kind, Start, Transport, Verdict};

mod pdu;
mod session;
#[cfg(test)]
mod tests;

use session::Session;

/// The analyzer.
pub static KIND: Kind = Kind {
    name: "dce_rpc",
    tcp_ports: &[135],
    udp_ports: &[],
    probe: Some(probe),
    skips_partial: false,
    new: |_| Box::<DceRpc>::default(),
};

/// Version, minor version, type, at the start of either side.
fn probe(start: &Start<'_>) -> Verdict {
    if start.transport != Transport::Tcp {
        return Verdict::No;
    }
    let side = |bytes: &[u8]| match bytes {
        [5, 0 | 1, 0..=0x13, ..] => Verdict::Yes,
        [] | [5] | [5, 0 | 1] => Verdict::More,
        _ => Verdict::No,
    };
    match start.bytes.map(side) {
        [Verdict::Yes, _] | [_, Verdict::Yes] => Verdict::Yes,
        [Verdict::No, Verdict::No] => Verdict::No,
        _ => Verdict::More,
    }
}

/// Streams of both ends, whatever carries them.
#[derive(Default)]
struct Streams {
    units: [Units; 2],
    session: Session,
    had_gap: bool,
}

impl Streams {
    /// Says whether a message was complete.
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) -> bool {
        if self.had_gap || self.session.is_done() {
            return false;
        }
        if let Some(units) = self.units.get_mut(dir.index()) {
            // What is malformed costs what came with it.
            units.feed(&mut self.session, cx, dir, data).unwrap_or_default();
        }
        std::mem::take(&mut self.session.has_message)
    }
}

#[derive(Default)]
struct DceRpc {
    streams: Streams,
}

impl Analyzer for DceRpc {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        if self.streams.feed(cx, dir, data) {
            cx.confirm();
        }
    }

    fn gap(&mut self, _: &mut Cx<'_>, _: Dir, _: u64) {
        self.streams.had_gap = true;
    }

    fn end(&mut self, _: &mut Cx<'_>, _: Dir) {}
    fn finish(&mut self, _: &mut Cx<'_>) {}
}

/// One pipe inside another protocol.
#[derive(Default)]
pub struct Pipe {
    streams: Streams,
    confirmed: bool,
}

impl Pipe {
    /// The next bytes of one end.
    pub fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        if self.streams.feed(cx, dir, data) && !self.confirmed {
            self.confirmed = true;
            cx.confirm_inside(KIND.name);
        }
    }
}
