//! DHCP for IPv4, RFC 2131 and 2132.
//!
//! One message that parses, with the cookie and a message type, confirms; any other violates. Options that
//! Zeek knows have the length of their value, whatever they say of it (`dhcp-options.pac`).

use super::wire::Reader;
use super::{Analyzer, Cx, Dir, Kind, Start, Transport, Verdict};

/// The analyzer. Source: Zeek's `base/protocols/dhcp/{main.zeek,dpd.sig}`.
pub static KIND: Kind = Kind {
    name: "dhcp",
    tcp_ports: &[],
    udp_ports: &[67, 4011],
    probe: Some(probe),
    skips_partial: false,
    new: |_| Box::new(Dhcp),
};

/// Where the options begin, and with what.
const COOKIE_AT: usize = 236;
const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];

fn probe(start: &Start<'_>) -> Verdict {
    if start.transport != Transport::Udp {
        return Verdict::No;
    }
    let has = |bytes: &[u8]| bytes.get(COOKIE_AT..).is_some_and(|b| b.starts_with(&COOKIE));
    if start.bytes.iter().any(|bytes| has(bytes)) { Verdict::Yes } else { Verdict::More }
}

/// What the codes of options mean, where their values have a form.
mod option {
    pub const PAD: u8 = 0;
    pub const END: u8 = 255;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const CLIENT_ID: u8 = 61;
    pub const CLIENT_FQDN: u8 = 81;
    pub const RELAY_AGENT: u8 = 82;
}

struct Dhcp;

impl Analyzer for Dhcp {
    fn feed(&mut self, cx: &mut Cx<'_>, _: Dir, data: &[u8]) {
        match message(data) {
            Some(Message { has_type: true, has_cookie: true }) => cx.confirm(),
            _ => cx.violation(),
        }
    }

    fn gap(&mut self, _: &mut Cx<'_>, _: Dir, _: u64) {}
    fn end(&mut self, _: &mut Cx<'_>, _: Dir) {}
    fn finish(&mut self, _: &mut Cx<'_>) {}
}

struct Message {
    has_cookie: bool,
    has_type: bool,
}

fn message(data: &[u8]) -> Option<Message> {
    let mut r = Reader::new(data);
    r.skip(COOKIE_AT)?;
    let mut message = Message { has_cookie: r.take(4)? == COOKIE, has_type: false };
    while !r.is_empty() {
        match r.u8()? {
            option::PAD => {}
            option::END => break,
            code => {
                let len = r.u8()?;
                let value = value(&mut r, code, len.into())?;
                if code == option::MESSAGE_TYPE && value.first().is_some_and(|kind| *kind != 0) {
                    message.has_type = true;
                }
            }
        }
    }
    Some(message)
}

/// The value of an option, which need not be as long as it says.
fn value<'a>(r: &mut Reader<'a>, code: u8, len: usize) -> Option<&'a [u8]> {
    match code {
        // Addresses, spans of time and other numbers.
        1 | 2 | 28 | 50 | 51 | 54 | 58 | 59 => r.take(4),
        3..=6 | 42 | 44 => r.take(len / 4 * 4),
        19 | 116 | option::MESSAGE_TYPE => r.take(1),
        57 => r.take(2),
        option::CLIENT_ID => {
            r.skip(1)?;
            r.take(len.checked_sub(1)?)
        }
        option::CLIENT_FQDN => {
            r.skip(3)?;
            r.take(len.checked_sub(3)?)
        }
        option::RELAY_AGENT => relay_agent(r, len),
        _ => r.take(len),
    }
}

/// Options inside of one: they end with the one that makes their lengths that of the whole.
fn relay_agent<'a>(r: &mut Reader<'a>, len: usize) -> Option<&'a [u8]> {
    let mut sum = 0u8;
    while !r.is_empty() {
        r.skip(1)?;
        let inner = r.u8()?;
        r.skip(inner.into())?;
        sum = sum.wrapping_add(inner).wrapping_add(2);
        if usize::from(sum) == len {
            break;
        }
    }
    Some(&[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyzer::Signal;
    use crate::analyzer::testing::{Bench, endures};

    fn discover(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![1, 1, 6, 0];
        bytes.resize(COOKIE_AT, 0);
        bytes.extend_from_slice(&COOKIE);
        bytes.extend_from_slice(options);
        bytes
    }

    fn signals(message: &[u8]) -> Vec<Signal> {
        let mut bench = Bench::new(&KIND, Transport::Udp);
        bench.feed(Dir::Orig, message);
        bench.signals
    }

    #[test]
    fn a_typed_message_confirms() {
        let full =
            discover(&[53, 1, 1, 61, 7, 1, 2, 3, 4, 5, 6, 7, 0, 82, 6, 1, 4, 9, 9, 9, 9, 255, 7]);
        assert_eq!(signals(&full), [Signal::Confirmed]);
        assert_eq!(signals(&discover(&[255])), [Signal::Violated]);
        assert_eq!(signals(&discover(&[53, 1, 1, 12, 9, b'a'])), [Signal::Violated]);
        let mut bootp = discover(&[53, 1, 1, 255]);
        bootp[COOKIE_AT] = 0;
        assert_eq!(signals(&bootp), [Signal::Violated]);
    }

    #[test]
    fn found_by_its_cookie() {
        let full = discover(&[53, 1, 1, 255]);
        let start = |transport| Start { transport, bytes: [&full, &[]], resp_p: 9 };
        assert_eq!(probe(&start(Transport::Udp)), Verdict::Yes);
        assert_eq!(probe(&start(Transport::Tcp)), Verdict::No);
    }

    #[test]
    fn hostile_messages() {
        endures(
            &KIND,
            Transport::Udp,
            &[(Dir::Orig, &discover(&[53, 1, 1, 61, 1, 1, 82, 2, 1, 0]))],
        );
    }
}
