//! SNMP versions 1, 2c and 3 over UDP: RFC 1157, 3416, 3412, 3414.
//!
//! A flow is SNMP once its responder has sent a header that parses; what does not parse, in the header
//! or after it, is a violation, as in Zeek's `snmp-protocol.pac`.

use super::asn1::{self, tag};
use super::wire::Reader;
use super::{Analyzer, Cx, Dir, Kind};

/// The analyzer; Zeek knows it by port only.
pub static KIND: Kind = Kind {
    name: "snmp",
    tcp_ports: &[],
    udp_ports: &[161, 162],
    probe: None,
    skips_partial: false,
    new: |_| Box::new(Snmp),
};

/// Octets that an INTEGER may have: 64 bits and a sign.
const INTEGER_LEN_MAX: usize = 9;

/// Octets that a number of an OID may have: seven bits each.
const OID_NUMBER_MAX: usize = 10;

/// Tags of the messages, and of values in them.
mod pdu {
    pub const TRAP: u8 = 0xa4;
    pub const FIRST: u8 = 0xa0;
    pub const LAST: u8 = 0xa8;
    pub const IP_ADDRESS: u8 = 0x40;
    pub const TIME_TICKS: u8 = 0x43;
}

struct Snmp;

impl Analyzer for Snmp {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        let mut r = Reader::new(data);
        let Some(header) = header(&mut r) else { return cx.violation() };
        if header.bad_flags {
            cx.violation();
        }
        if dir == Dir::Resp {
            cx.confirm();
        }
        let mut too_long = None;
        if header.has_pdu && pdu(&mut r, &mut too_long).is_none() {
            return cx.violation();
        }
        if let Some(octets) = too_long {
            let octets = octets.to_string();
            cx.weird_of_nobody("asn_oid_subidentifier_too_long", Some(&octets), None);
        }
    }

    fn gap(&mut self, _: &mut Cx<'_>, _: Dir, _: u64) {}
    fn end(&mut self, _: &mut Cx<'_>, _: Dir) {}
    fn finish(&mut self, _: &mut Cx<'_>) {}
}

/// What comes before the message proper.
struct Header {
    /// The message proper follows, and not encrypted.
    has_pdu: bool,
    /// Version 3 has flags of one octet.
    bad_flags: bool,
}

fn header(r: &mut Reader<'_>) -> Option<Header> {
    sequence(r)?;
    let version = integer(r)?;
    let plain = Header { has_pdu: true, bad_flags: false };
    match version {
        0 | 1 => asn1::tagged(r, tag::OCTETS).map(|_| plain),
        3 => header_v3(r),
        _ => Some(Header { has_pdu: false, ..plain }),
    }
}

fn header_v3(r: &mut Reader<'_>) -> Option<Header> {
    sequence(r)?;
    integer(r)?;
    integer(r)?;
    let flags = asn1::tagged(r, tag::OCTETS)?;
    let model = integer(r)?;
    let security = asn1::tagged(r, tag::OCTETS)?;
    let next = asn1::meta(r)?;
    let has_pdu = next.tag == tag::SEQUENCE;
    if has_pdu {
        asn1::tagged(r, tag::OCTETS)?;
        asn1::tagged(r, tag::OCTETS)?;
    }
    if model == 3 {
        user_security(&mut Reader::new(security))?;
    }
    Some(Header { has_pdu, bad_flags: flags.len() != 1 })
}

fn user_security(r: &mut Reader<'_>) -> Option<()> {
    sequence(r)?;
    asn1::tagged(r, tag::OCTETS)?;
    integer(r)?;
    integer(r)?;
    asn1::tagged(r, tag::OCTETS)?;
    asn1::tagged(r, tag::OCTETS)?;
    asn1::tagged(r, tag::OCTETS).map(|_| ())
}

/// The message proper; `too_long` is told how long the first number of an OID is that is longer than any may be.
fn pdu(r: &mut Reader<'_>, too_long: &mut Option<usize>) -> Option<()> {
    let mut note = |oid: &[u8]| *too_long = too_long.or(too_long_of(oid));
    match asn1::meta(r)?.tag {
        pdu::TRAP => {
            note(asn1::tagged(r, tag::OID)?);
            asn1::tagged(r, pdu::IP_ADDRESS)?;
            integer(r)?;
            integer(r)?;
            asn1::tagged(r, pdu::TIME_TICKS)?;
        }
        pdu::FIRST..=pdu::LAST => {
            integer(r)?;
            integer(r)?;
            integer(r)?;
        }
        _ => return Some(()),
    }
    sequence(r)?;
    while !r.is_empty() {
        sequence(r)?;
        note(asn1::tagged(r, tag::OID)?);
        let value = asn1::element(r)?;
        if value.0.tag == tag::OID {
            note(value.1);
        }
    }
    Some(())
}

/// Octets of the first number of an OID that has too many.
fn too_long_of(oid: &[u8]) -> Option<usize> {
    let is_last = |octet: &u8| octet & 0x80 == 0;
    // One that breaks off has no numbers.
    oid.last().filter(|octet| is_last(octet))?;
    oid.split_inclusive(is_last).map(<[u8]>::len).find(|octets| *octets > OID_NUMBER_MAX)
}

/// The head of a SEQUENCE, whose length nobody looks at.
fn sequence(r: &mut Reader<'_>) -> Option<()> {
    (asn1::meta(r)?.tag == tag::SEQUENCE).then_some(())
}

fn integer(r: &mut Reader<'_>) -> Option<u64> {
    let bytes = asn1::tagged(r, tag::INTEGER)?;
    match bytes.len() {
        0..=8 => Some(asn1::number(bytes)),
        // Zeek has no room for more than eight and takes it for nothing.
        INTEGER_LEN_MAX => Some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyzer::testing::{Bench, endures};
    use crate::analyzer::{Signal, Transport};

    /// GetRequest for 1.3.6.1.2.1.1.1.0 in the community `public`, version 2c.
    const GET: &[u8] = &[
        0x30, 0x26, 2, 1, 1, 4, 6, b'p', b'u', b'b', b'l', b'i', b'c', 0xa0, 0x19, 2, 1, 9, 2, 1,
        0, 2, 1, 0, 0x30, 0x0e, 0x30, 0x0c, 6, 8, 0x2b, 6, 1, 2, 1, 1, 1, 0, 5, 0,
    ];

    #[test]
    fn the_responder_confirms() {
        let mut bench = Bench::new(&KIND, Transport::Udp);
        bench.feed(Dir::Orig, GET);
        assert!(bench.signals.is_empty() && !bench.gone);
        let mut reply = GET.to_vec();
        reply[13] = 0xa2;
        bench.feed(Dir::Resp, &reply);
        assert_eq!(bench.signals, [Signal::Confirmed]);
    }

    #[test]
    fn a_value_that_is_cut_violates() {
        let mut bench = Bench::new(&KIND, Transport::Udp);
        bench.feed(Dir::Resp, &GET[..GET.len() - 1]);
        assert_eq!(bench.signals, [Signal::Violated]);
    }

    #[test]
    fn an_unknown_version_has_no_message() {
        let mut bench = Bench::new(&KIND, Transport::Udp);
        bench.feed(Dir::Resp, &[0x30, 3, 2, 1, 7, 9, 9]);
        assert_eq!(bench.signals, [Signal::Confirmed]);
    }

    #[test]
    fn a_number_of_an_oid_that_is_too_long_is_odd() {
        let long = [&[0x2b][..], &[0x80; 10], &[1]].concat();
        assert_eq!(too_long_of(&long), Some(11));
        assert_eq!(
            [too_long_of(&long[..11]), too_long_of(&long[2..]), too_long_of(&[])],
            [None; 3]
        );
        let mut get = GET[..26].to_vec();
        get.extend([0x30, 16, 6, 12].iter().chain(&long).chain(&[5, 0]));
        let mut bench = Bench::new(&KIND, Transport::Udp);
        bench.feed(Dir::Orig, &get);
        assert_eq!(bench.weirds, ["asn_oid_subidentifier_too_long"]);
    }

    #[test]
    fn hostile_messages() {
        endures(&KIND, Transport::Udp, &[(Dir::Orig, GET), (Dir::Resp, GET)]);
    }
}
