//! NTP, RFC 5905 (control messages: RFC 1119, private ones: the reference implementation).
//!
//! A flow is NTP with its first message that parses, as in Zeek's `ntp-protocol.pac`.

use super::units::Malformed;
use super::wire::Reader;
use super::{Analyzer, Cx, Dir, Kind};

/// The analyzer; Zeek knows it by port only.
pub static KIND: Kind = Kind {
    name: "ntp",
    tcp_ports: &[],
    udp_ports: &[123],
    probe: None,
    skips_partial: false,
    new: |_| Box::<Ntp>::default(),
};

/// What the low bits of the first byte say.
mod mode {
    pub const CLIENT: u8 = 3;
    pub const SERVER: u8 = 4;
    pub const CONTROL: u8 = 6;
    pub const PRIVATE: u8 = 7;
}

/// Key and digest that may end a message, by digest.
const MAC_LEN: usize = 24;

/// The analyzer.
#[derive(Default)]
struct Ntp {
    /// By [`Dir::index`]: messages of this end have turned the flow.
    flipped: [bool; 2],
}

impl Analyzer for Ntp {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        let Ok(mode) = message(data) else { return cx.violation() };
        cx.confirm();
        let wrong =
            mode == mode::SERVER && dir == Dir::Orig || mode == mode::CLIENT && dir == Dir::Resp;
        let flipped = &mut self.flipped[dir.index()];
        if wrong && !*flipped {
            *flipped = true;
            cx.flip = true;
        }
    }

    fn gap(&mut self, _: &mut Cx<'_>, _: Dir, _: u64) {}
    fn end(&mut self, _: &mut Cx<'_>, _: Dir) {}
    fn finish(&mut self, _: &mut Cx<'_>) {}
}

/// The mode of a message that parses.
fn message(data: &[u8]) -> Result<u8, Malformed> {
    let mut r = Reader::new(data);
    let mode = r.u8().ok_or(Malformed)? & 7;
    let parsed = match mode {
        1..=5 => standard(&mut r).map(|_| ()),
        mode::CONTROL => control(&mut r),
        mode::PRIVATE => private(&mut r),
        _ => Some(()),
    };
    parsed.map(|()| mode).ok_or(Malformed)
}

/// Number of extension fields.
fn standard(r: &mut Reader<'_>) -> Option<u32> {
    r.skip(47)?;
    let mut extensions = 0;
    while r.len() > MAC_LEN {
        extension(r)?;
        extensions += 1;
    }
    Some(extensions)
}

fn extension(r: &mut Reader<'_>) -> Option<()> {
    let whole = r.len();
    r.skip(2)?;
    let len = u32::from(r.u16()?);
    r.skip(10)?;
    let value = r.u32()?;
    if len < 18 || value > len - 18 {
        return None;
    }
    r.skip(value as usize)?;
    let signature = r.u32()?;
    if len < 22 || value > len - 22 {
        return None;
    }
    r.skip(signature as usize)?;
    r.skip((len as usize).saturating_sub(whole - r.len()))
}

fn control(r: &mut Reader<'_>) -> Option<()> {
    r.skip(9)?;
    let count = r.u16()?;
    r.skip(count.into())
}

fn private(r: &mut Reader<'_>) -> Option<()> {
    let has_mac = r.u8()? & 0x80 != 0;
    r.skip(2)?;
    let len = r.u16()? & 0x0fff;
    r.skip(len.into())?;
    if has_mac { r.skip(20) } else { Some(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyzer::testing::{Bench, endures};
    use crate::analyzer::{Signal, Transport};

    /// A client's request, version 4.
    fn request() -> Vec<u8> {
        let mut bytes = vec![0x23, 0, 6, 0xec];
        bytes.resize(48, 0);
        bytes
    }

    #[test]
    fn a_request_confirms_and_a_short_one_violates() {
        let mut bench = Bench::new(&KIND, Transport::Udp);
        bench.feed(Dir::Orig, &request());
        assert_eq!(bench.signals, [Signal::Confirmed]);
        bench.feed(Dir::Resp, &request()[..47]);
        assert_eq!(bench.signals, [Signal::Confirmed, Signal::Violated]);
        assert!(bench.gone);
    }

    #[test]
    fn a_server_that_speaks_first_turns_the_flow_once() {
        let mut bench = Bench::new(&KIND, Transport::Udp);
        let mut reply = request();
        reply[0] = 0x24;
        bench.feed(Dir::Orig, &reply);
        assert_eq!(bench.ids.tuple.orig_p, 123);
        bench.feed(Dir::Orig, &reply);
        assert_eq!(bench.ids.tuple.orig_p, 123);
    }

    #[test]
    fn control_and_private_messages_carry_their_length() {
        assert_eq!(message(&[0x16, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 9]), Ok(6));
        assert_eq!(message(&[0x16, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 9]), Err(Malformed));
        assert_eq!(message(&[0x17, 0, 3, 0x2a, 0, 0]), Ok(7));
        assert_eq!(message(&[0x17, 0x80, 3, 0x2a, 0, 0]), Err(Malformed));
    }

    #[test]
    fn extension_fields_must_fit() {
        let mut bytes = request();
        let field = [1, 2, 0, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 1, 1, 1, 0, 0, 0, 0];
        bytes.extend_from_slice(&field);
        bytes.extend_from_slice(&[0; 2 + MAC_LEN]);
        assert_eq!(message(&bytes), Err(Malformed));
        bytes[48 + 13..48 + 17].copy_from_slice(&[0, 0, 0, 4]);
        assert_eq!(standard(&mut Reader::new(&request()[1..])), Some(0));
    }

    #[test]
    fn hostile_messages() {
        endures(&KIND, Transport::Udp, &[(Dir::Orig, &request())]);
        endures(&KIND, Transport::Udp, &[(Dir::Orig, &[0x17, 0x80, 3, 0x2a, 0, 0])]);
    }
}
