//! RADIUS, RFC 2865: the header and attributes that fill the datagram (Zeek's `radius-protocol.pac`).

use super::wire::Reader;
use super::{Analyzer, Cx, Dir, Kind};

/// The analyzer; Zeek knows it by port only.
pub static KIND: Kind = Kind {
    name: "radius",
    tcp_ports: &[],
    udp_ports: &[1812],
    probe: None,
    skips_partial: false,
    new: |_| Box::new(Radius),
};

struct Radius;

impl Analyzer for Radius {
    fn feed(&mut self, cx: &mut Cx<'_>, _: Dir, data: &[u8]) {
        match message(data) {
            Some(()) => cx.confirm(),
            None => cx.violation(),
        }
    }

    fn gap(&mut self, _: &mut Cx<'_>, _: Dir, _: u64) {}
    fn end(&mut self, _: &mut Cx<'_>, _: Dir) {}
    fn finish(&mut self, _: &mut Cx<'_>) {}
}

fn message(data: &[u8]) -> Option<()> {
    let mut r = Reader::new(data);
    // Code, identifier, length (which Zeek does not use), authenticator.
    r.skip(20)?;
    while !r.is_empty() {
        r.skip(1)?;
        let len = r.u8()?;
        r.skip(len.checked_sub(2)?.into())?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyzer::testing::{Bench, endures};
    use crate::analyzer::{Signal, Transport};

    /// Access-Request with a User-Name.
    fn request() -> Vec<u8> {
        let mut bytes = vec![1, 7, 0, 25];
        bytes.resize(20, 0xaa);
        bytes.extend_from_slice(&[1, 5, b'b', b'o', b'b']);
        bytes
    }

    #[test]
    fn attributes_must_fill_the_datagram() {
        let mut bench = Bench::new(&KIND, Transport::Udp);
        bench.feed(Dir::Orig, &request());
        assert_eq!(bench.signals, [Signal::Confirmed]);
        bench.feed(Dir::Orig, &request()[..24]);
        assert_eq!(bench.signals, [Signal::Confirmed, Signal::Violated]);
        let mut short = request();
        short[21] = 1;
        assert_eq!(message(&short), None);
    }

    #[test]
    fn hostile_messages() {
        endures(&KIND, Transport::Udp, &[(Dir::Orig, &request())]);
    }
}
