//! Kerberos 5 over UDP and TCP, and inside of other protocols' tokens (RFC 4120).
//!
//! Each message that parses confirms, what does not violates. Source: Zeek's `KRB.cc`, `KRB_TCP.cc`,
//! `dpd.sig`; messages are in [`message`].

use super::units::{Framed, Malformed, Units};
use super::{Analyzer, Cx, Dir, Kind, Start, Transport, Verdict};

mod message;
mod types;

/// Over UDP.
pub static KIND: Kind = Kind {
    name: "krb",
    tcp_ports: &[],
    udp_ports: &[88],
    probe: Some(|start| probe(start, Transport::Udp)),
    skips_partial: false,
    new: |_| Box::new(Udp),
};

/// Over TCP, where messages have a length before them.
pub static TCP_KIND: Kind = Kind {
    name: "krb_tcp",
    tcp_ports: &[88],
    udp_ports: &[],
    probe: Some(|start| probe(start, Transport::Tcp)),
    skips_partial: true,
    new: |_| Box::<Tcp>::default(),
};

/// Version 5 and the type of the message, behind the heads of requests and replies.
const REQUEST: &[u8] = &[0xa1, 3, 2, 1, 5, 0xa2, 3, 2, 1];
const REPLY: &[u8] = &[0xa0, 3, 2, 1, 5, 0xa1, 3, 2, 1];

fn probe(start: &Start<'_>, transport: Transport) -> Verdict {
    if start.transport != transport {
        return Verdict::No;
    }
    let side = |bytes: &&[u8]| match transport {
        Transport::Udp => begins(bytes),
        Transport::Tcp => bytes
            .split_at_checked(4)
            .is_some_and(|(len, message)| !len.contains(&b'\n') && begins(message)),
    };
    if start.bytes.iter().any(side) { Verdict::Yes } else { Verdict::More }
}

/// Whether a message begins as it should, with up to four bytes of length in each head.
fn begins(bytes: &[u8]) -> bool {
    let rest = match bytes.first() {
        Some(0x6a | 0x6c) => REQUEST,
        Some(0x6b | 0x6d | 0x7e) => REPLY,
        _ => return false,
    };
    let gaps = |from: usize| {
        (1..=4).filter_map(move |len| {
            let gap = bytes.get(from..from + len)?;
            (!gap.contains(&b'\n')).then_some(from + len)
        })
    };
    gaps(1)
        .filter(|at| bytes.get(*at) == Some(&0x30))
        .flat_map(|at| gaps(at + 1))
        .any(|at| bytes.get(at..).is_some_and(|bytes| bytes.starts_with(rest)))
}

struct Udp;

impl Analyzer for Udp {
    fn feed(&mut self, cx: &mut Cx<'_>, _: Dir, data: &[u8]) {
        let mut seen = message::Seen::default();
        let parsed = message::message(data, &mut seen);
        if seen.message {
            cx.confirm();
        }
        if parsed.is_none() {
            cx.violation();
        }
    }

    fn gap(&mut self, _: &mut Cx<'_>, _: Dir, _: u64) {}
    fn end(&mut self, _: &mut Cx<'_>, _: Dir) {}
    fn finish(&mut self, _: &mut Cx<'_>) {}
}

#[derive(Default)]
struct Tcp {
    units: [Units; 2],
    had_gap: bool,
}

struct Messages;

impl Framed for Messages {
    fn size(&self, _: Dir, bytes: &[u8]) -> usize {
        bytes.first_chunk::<4>().map_or(4, |head| u32::from_be_bytes(*head) as usize + 4)
    }

    fn unit(&mut self, cx: &mut Cx<'_>, _: Dir, unit: &[u8]) -> Result<(), Malformed> {
        let mut seen = message::Seen::default();
        let parsed = message::message(unit.get(4..).unwrap_or_default(), &mut seen);
        if seen.message {
            cx.confirm();
        }
        parsed.ok_or(Malformed)
    }
}

impl Analyzer for Tcp {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        if self.had_gap {
            return;
        }
        let Some(units) = self.units.get_mut(dir.index()) else { return };
        if units.feed(&mut Messages, cx, dir, data).is_err() {
            cx.violation();
        }
    }

    fn gap(&mut self, _: &mut Cx<'_>, _: Dir, _: u64) {
        self.had_gap = true;
    }

    fn end(&mut self, _: &mut Cx<'_>, _: Dir) {}
    fn finish(&mut self, _: &mut Cx<'_>) {}
}

/// Kerberos inside another protocol's token: no analyzer of the flow, but one of its protocols.
#[derive(Debug, Default)]
pub struct Inside {
    confirmed: bool,
}

impl Inside {
    /// A message.
    pub fn feed(&mut self, cx: &mut Cx<'_>, data: &[u8]) {
        let mut seen = message::Seen::default();
        let parsed = message::message(data, &mut seen);
        if seen.message && !self.confirmed {
            self.confirmed = true;
            cx.confirm_inside(KIND.name);
        }
        if parsed.is_none() {
            cx.violation_inside(KIND.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyzer::Signal;
    use crate::analyzer::testing::{Bench, endures};

    /// An error: version, type, server's time and its part of a second, code, realm, name of the server.
    const ERROR: &[u8] = &[
        0x7e, 0x45, 0x30, 0x43, 0xa0, 3, 2, 1, 5, 0xa1, 3, 2, 1, 30, 0xa4, 0x11, 0x18, 0x0f, b'2',
        b'0', b'2', b'0', b'0', b'1', b'0', b'1', b'0', b'0', b'0', b'0', b'0', b'0', b'Z', 0xa5,
        3, 2, 1, 9, 0xa6, 3, 2, 1, 6, 0xa9, 4, 4, 2, b'E', b'X', 0xaa, 20, 0x30, 18, 0xa0, 3, 2, 1,
        2, 0xa1, 11, 0x30, 9, 4, 2, b'k', b'r', 4, 3, b't', b'g', b't',
    ];

    #[test]
    fn an_error_confirms() {
        let mut bench = Bench::new(&KIND, Transport::Udp);
        bench.feed(Dir::Resp, ERROR);
        assert_eq!(bench.signals, [Signal::Confirmed]);
        bench.feed(Dir::Resp, &ERROR[..ERROR.len() - 1]);
        assert_eq!(bench.signals, [Signal::Confirmed, Signal::Violated]);
    }

    #[test]
    fn over_tcp_in_pieces() {
        let mut bench = Bench::new(&TCP_KIND, Transport::Tcp);
        let mut framed = vec![0, 0, 0, ERROR.len() as u8];
        framed.extend_from_slice(ERROR);
        bench.feed(Dir::Resp, &framed[..9]);
        assert!(bench.signals.is_empty());
        bench.feed(Dir::Resp, &framed[9..]);
        assert_eq!(bench.signals, [Signal::Confirmed]);
    }

    #[test]
    fn found_by_its_heads() {
        assert!(begins(ERROR));
        assert!(begins(&[0x6a, 0x81, 0xb1, 0x30, 0x81, 0xae, 0xa1, 3, 2, 1, 5, 0xa2, 3, 2, 1, 10]));
        assert!(!begins(&[0x6a, b'\n', 0x30, 9, 0xa1, 3, 2, 1, 5, 0xa2, 3, 2, 1, 10]));
        assert!(!begins(&[0x7e, 0x45]));
    }

    #[test]
    fn hostile_messages() {
        endures(&KIND, Transport::Udp, &[(Dir::Resp, ERROR)]);
        let mut framed = vec![0, 0, 0, ERROR.len() as u8];
        framed.extend_from_slice(ERROR);
        endures(&TCP_KIND, Transport::Tcp, &[(Dir::Resp, &framed)]);
    }
}
