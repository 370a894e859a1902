//! MQTT 3.1.1.
//!
//! As Zeek's `mqtt-protocol.pac` does, each piece of the stream that is delivered is taken for one packet:
//! what follows the first in it is not looked at, and one that is cut by the end of a segment violates.

use super::wire::Reader;
use super::{Analyzer, Cx, Dir, Kind, Start, Transport, Verdict};

/// The analyzer. Source: Zeek's `base/protocols/mqtt/{main.zeek,dpd.sig}`.
pub static KIND: Kind = Kind {
    name: "mqtt",
    tcp_ports: &[1883],
    udp_ports: &[],
    probe: Some(probe),
    skips_partial: false,
    new: |_| Box::new(Mqtt),
};

/// `MQ` after four to seven bytes of any kind but a line feed, at the start of either side.
fn probe(start: &Start<'_>) -> Verdict {
    if start.transport != Transport::Tcp {
        return Verdict::No;
    }
    let side = |bytes: &[u8]| {
        let found = |at: usize| {
            bytes.get(at..at + 2) == Some(b"MQ")
                && !bytes.get(..at).is_some_and(|before| before.contains(&b'\n'))
        };
        match (4..=7).any(found) {
            true => Verdict::Yes,
            false if bytes.len() < 9 => Verdict::More,
            false => Verdict::No,
        }
    };
    match start.bytes.map(side) {
        [Verdict::Yes, _] | [_, Verdict::Yes] => Verdict::Yes,
        [Verdict::No, Verdict::No] => Verdict::No,
        _ => Verdict::More,
    }
}

/// Types of packets.
mod packet {
    pub const CONNECT: u8 = 1;
    pub const CONNACK: u8 = 2;
    pub const PUBLISH: u8 = 3;
    pub const PUBACK: u8 = 4;
    pub const PUBCOMP: u8 = 7;
    pub const SUBSCRIBE: u8 = 8;
    pub const SUBACK: u8 = 9;
    pub const UNSUBSCRIBE: u8 = 10;
    pub const UNSUBACK: u8 = 11;
}

/// Bytes of a length that Zeek takes; the standard allows one more.
const LENGTH_BYTES_MAX: usize = 3;

struct Mqtt;

impl Analyzer for Mqtt {
    fn feed(&mut self, cx: &mut Cx<'_>, _: Dir, data: &[u8]) {
        match message(data) {
            Some(true) => cx.confirm(),
            Some(false) => {}
            None => cx.violation(),
        }
    }

    fn gap(&mut self, _: &mut Cx<'_>, _: Dir, _: u64) {}
    fn end(&mut self, _: &mut Cx<'_>, _: Dir) {}
    fn finish(&mut self, _: &mut Cx<'_>) {}
}

/// Whether it is a packet that confirms; none if it does not parse.
fn message(data: &[u8]) -> Option<bool> {
    let mut r = Reader::new(data);
    let first = r.u8()?;
    let mut len = 0;
    for i in 0.. {
        let byte = r.u8()?;
        if i >= LENGTH_BYTES_MAX {
            return None;
        }
        len |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = Reader::new(r.take(len)?);
    match first >> 4 {
        packet::CONNECT => connect(&mut body).map(|()| true),
        packet::PUBLISH => {
            body.vec16()?;
            if first & 0x06 != 0 {
                body.skip(2)?;
            }
            Some(true)
        }
        packet::CONNACK | packet::PUBACK..=packet::PUBCOMP | packet::UNSUBACK => {
            body.skip(2).map(|()| false)
        }
        packet::SUBACK => body.skip(3).map(|()| false),
        packet::SUBSCRIBE => topics(&mut body, 1),
        packet::UNSUBSCRIBE => topics(&mut body, 0),
        _ => Some(false),
    }
}

fn connect(r: &mut Reader<'_>) -> Option<()> {
    r.vec16()?;
    r.skip(1)?;
    let flags = r.u8()?;
    r.skip(2)?;
    r.vec16()?;
    let will = if flags & 0x04 != 0 { 2 } else { 0 };
    let texts = will + u32::from(flags >> 7) + u32::from(flags >> 6 & 1);
    for _ in 0..texts {
        r.vec16()?;
    }
    Some(())
}

/// Topics, each with `after` bytes behind it.
fn topics(r: &mut Reader<'_>, after: usize) -> Option<bool> {
    r.skip(2)?;
    while !r.is_empty() {
        r.vec16()?;
        r.skip(after)?;
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyzer::Signal;
    use crate::analyzer::testing::{Bench, endures};

    /// CONNECT of the client `a` with a user's name.
    const CONNECT: &[u8] =
        &[0x10, 16, 0, 4, b'M', b'Q', b'T', b'T', 4, 0x82, 0, 60, 0, 1, b'a', 0, 1, b'u'];

    #[test]
    fn connect_and_publish_confirm() {
        let mut bench = Bench::new(&KIND, Transport::Tcp);
        bench.feed(Dir::Orig, &[0xc0, 0]);
        assert!(bench.signals.is_empty());
        bench.feed(Dir::Orig, CONNECT);
        assert_eq!(bench.signals, [Signal::Confirmed]);
        assert_eq!(message(&[0x32, 6, 0, 1, b't', 0, 9, b'x']), Some(true));
        assert_eq!(message(&[0x82, 6, 0, 9, 0, 1, b't', 1]), Some(false));
    }

    #[test]
    fn what_is_cut_or_too_long_violates() {
        let mut bench = Bench::new(&KIND, Transport::Tcp);
        bench.feed(Dir::Orig, &CONNECT[..10]);
        assert_eq!(bench.signals, [Signal::Violated]);
        assert_eq!(message(&[0x30, 0x80, 0x80, 0x80, 1]), None);
    }

    #[test]
    fn found_by_its_name() {
        let start = |orig| Start { transport: Transport::Tcp, bytes: [orig, &[]], resp_p: 1 };
        assert_eq!(probe(&start(CONNECT)), Verdict::Yes);
        assert_eq!(probe(&start(&CONNECT[..5])), Verdict::More);
        assert_eq!(probe(&start(b"GET / HTTP/1.1")), Verdict::More);
    }

    #[test]
    fn hostile_messages() {
        endures(&KIND, Transport::Tcp, &[(Dir::Orig, CONNECT)]);
        endures(&KIND, Transport::Tcp, &[(Dir::Orig, &[0x82, 6, 0, 9, 0, 1, b't', 1])]);
    }
}
