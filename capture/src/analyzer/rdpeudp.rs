//! RDP over UDP: MS-RDPEUDP and its second version.
//!
//! The server's answer to the client's SYN confirms. Source: Zeek's `rdpeudp-protocol.pac`,
//! `rdpeudp-analyzer.pac`, `base/protocols/rdp/dpd.sig`.

use super::wire::Reader;
use super::{Analyzer, Cx, Dir, Kind, Start, Transport, Verdict};

/// The analyzer.
pub static KIND: Kind = Kind {
    name: "rdpeudp",
    tcp_ports: &[],
    udp_ports: &[3389],
    probe: Some(probe),
    skips_partial: false,
    new: |_| Box::<Rdpeudp>::default(),
};

/// A SYN fills the datagram to find how large one may be.
const SYN_LEN: std::ops::RangeInclusive<usize> = 1132..=1232;

fn probe(start: &Start<'_>) -> Verdict {
    if start.transport != Transport::Udp {
        return Verdict::No;
    }
    let is_syn = |bytes: &[u8]| match bytes {
        [0xff, 0xff, 0xff, 0xff, a, b, c, 1, ..] => {
            SYN_LEN.contains(&bytes.len()) && ![a, b, c].contains(&&b'\n')
        }
        _ => false,
    };
    if start.bytes.iter().any(|bytes| is_syn(bytes)) { Verdict::Yes } else { Verdict::More }
}

/// Bits of the header.
mod flag {
    pub const SYN: u16 = 0x0001;
    pub const ACK: u16 = 0x0004;
    pub const DATA: u16 = 0x0008;
    pub const ACK_OF_ACKS: u16 = 0x0100;
    pub const CORRELATION_ID: u16 = 0x0800;
    pub const SYNEX: u16 = 0x1000;
}

/// The version that has another form of packet, and a cookie in its SYN.
const VERSION_3: u16 = 0x0101;

#[derive(Default, PartialEq, Eq)]
enum State {
    #[default]
    Syn,
    SynAck,
    Open,
}

#[derive(Default)]
struct Rdpeudp {
    state: State,
    versions: [u16; 2],
    /// A SYN or its answer was seen.
    has_syn: bool,
}

impl Rdpeudp {
    fn datagram(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) -> Option<()> {
        let mut r = Reader::new(data);
        match self.state {
            State::Syn => {
                let (ack, flags, version) = syn(&mut r)?;
                self.has_syn = flags & (flag::SYN | flag::ACK) != 0;
                if dir == Dir::Orig && flags & flag::SYN != 0 && ack == u32::MAX {
                    self.versions[0] = version;
                    self.state = State::SynAck;
                }
                Some(())
            }
            State::SynAck => {
                let (_, flags, version) = syn(&mut r)?;
                if dir == Dir::Resp && flags & (flag::SYN | flag::ACK) != 0 {
                    self.versions[1] = version;
                    self.state = State::Open;
                    cx.confirm();
                }
                Some(())
            }
            State::Open if self.versions == [VERSION_3; 2] => r.skip(3),
            State::Open => ack(&mut r),
        }
    }
}

/// What a SYN and its answer have: acknowledgement, flags, version.
fn syn(r: &mut Reader<'_>) -> Option<(u32, u16, u16)> {
    let ack = r.u32()?;
    r.skip(2)?;
    let flags = r.u16()?;
    r.skip(8)?;
    if flags & flag::CORRELATION_ID != 0 {
        r.skip(32)?;
    }
    // Without the extension there is no version, which Zeek does not take.
    if flags & flag::SYNEX == 0 {
        return None;
    }
    r.skip(2)?;
    let version = r.u16()?;
    if version == VERSION_3 {
        r.skip(32)?;
    }
    Some((ack, flags, version))
}

fn ack(r: &mut Reader<'_>) -> Option<()> {
    r.skip(6)?;
    let flags = r.u16()?;
    let vector = usize::from(r.u16()?);
    r.skip(vector)?;
    r.skip((2 + vector).next_multiple_of(4) - 2 - vector)?;
    if flags & flag::ACK_OF_ACKS != 0 {
        r.skip(4)?;
    }
    if flags & flag::DATA != 0 { r.skip(8) } else { Some(()) }
}

impl Analyzer for Rdpeudp {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        // Of a half the first datagram tells, and what the rest is depends on the answer to it.
        let is_known = cx.is_half && self.has_syn;
        if !is_known && self.datagram(cx, dir, data).is_none() {
            cx.violation();
        }
    }

    fn gap(&mut self, _: &mut Cx<'_>, _: Dir, _: u64) {}
    fn end(&mut self, _: &mut Cx<'_>, _: Dir) {}
    fn finish(&mut self, _: &mut Cx<'_>) {}

    fn shows(&self, _: Dir) -> bool {
        self.has_syn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyzer::Signal;
    use crate::analyzer::testing::{Bench, endures};

    fn syn_of(ack: u8, flags: [u8; 2]) -> Vec<u8> {
        let mut bytes = vec![ack, ack, ack, ack, 0, 64, flags[0], flags[1]];
        bytes.extend_from_slice(&[0, 0, 0, 1, 4, 0xd0, 4, 0xd0, 0, 1, 0, 2]);
        bytes.resize(1232, 0);
        bytes
    }

    #[test]
    fn syn_and_its_answer_confirm() {
        let mut bench = Bench::new(&KIND, Transport::Udp);
        bench.feed(Dir::Orig, &syn_of(0xff, [0x10, 1]));
        assert!(bench.signals.is_empty());
        bench.feed(Dir::Resp, &syn_of(0, [0x10, 5]));
        bench.feed(Dir::Orig, &[0, 0, 0, 1, 0, 64, 0, 4, 0, 1, 3, 0]);
        assert_eq!(bench.signals, [Signal::Confirmed]);
        bench.feed(Dir::Orig, &[0, 0, 0, 1, 0, 64, 0, 12, 0, 1, 3, 0]);
        assert_eq!(bench.signals, [Signal::Confirmed, Signal::Violated]);
    }

    #[test]
    fn without_a_version_it_violates() {
        let mut bench = Bench::new(&KIND, Transport::Udp);
        bench.feed(Dir::Orig, &syn_of(0xff, [0, 1]));
        assert_eq!(bench.signals, [Signal::Violated]);
    }

    #[test]
    fn found_by_its_syn() {
        let bytes = syn_of(0xff, [0x10, 1]);
        let start = |orig| Start { transport: Transport::Udp, bytes: [orig, &[]], resp_p: 1 };
        assert_eq!(probe(&start(&bytes)), Verdict::Yes);
        assert_eq!(probe(&start(&bytes[..1000])), Verdict::More);
    }

    #[test]
    fn hostile_messages() {
        let (syn, answer) = (syn_of(0xff, [0x18, 1]), syn_of(0, [0x10, 5]));
        let ack: &[u8] = &[0, 0, 0, 1, 0, 64, 1, 12, 0, 1, 3, 0, 1, 1, 1, 1];
        let messages = [(Dir::Orig, &syn[..60]), (Dir::Resp, &answer[..20]), (Dir::Orig, ack)];
        endures(&KIND, Transport::Udp, &messages);
    }
}
