//! DCE/RPC (C706 chapter 12, MS-RPCE) over TCP, and in the pipes of SMB.
//!
//! A message that parses confirms, what does not violates. What authenticates it is told on the way.
//! Source: Zeek's `DCE_RPC.cc`, `dce_rpc-protocol.pac`, `dce_rpc-auth.pac`, `dpd.sig`.

use super::units::{Framed, Malformed, Units};
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
    /// Says whether the bytes are well formed.
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) -> Result<(), Malformed> {
        if self.had_gap || self.session.is_done() {
            return Ok(());
        }
        let Some(units) = self.units.get_mut(dir.index()) else { return Ok(()) };
        units.feed(&mut self.session, cx, dir, data)
    }
}

#[derive(Default)]
struct DceRpc {
    streams: Streams,
}

impl Analyzer for DceRpc {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        let result = self.streams.feed(cx, dir, data);
        if std::mem::take(&mut self.streams.session.has_message) {
            cx.confirm();
        }
        if result.is_err() {
            cx.violation();
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
        let result = self.streams.feed(cx, dir, data);
        if std::mem::take(&mut self.streams.session.has_message) && !self.confirmed {
            self.confirmed = true;
            cx.confirm_inside(KIND.name);
        }
        if result.is_err() {
            cx.violation_inside(KIND.name);
        }
    }
}
