//! NTP, RFC 5905 (control messages: RFC 1119, private ones: the reference implementation).
//!
//! A flow is NTP with its first message that parses, as in Zeek's `ntp-protocol.pac`; each message that
//! synchronises time is a row (`base/protocols/ntp/main.zeek`).

use std::net::Ipv4Addr;

use model::id::FiveTuple;
use model::stream::ntp::Row;
use model::text;

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
    pub const BROADCAST: u8 = 5;
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
        let Ok(message) = message(data) else { return cx.violation() };
        cx.confirm();
        let mode = message.mode;
        let wrong =
            mode == mode::SERVER && dir == Dir::Orig || mode == mode::CLIENT && dir == Dir::Resp;
        let flipped = &mut self.flipped[dir.index()];
        let flips = wrong && !*flipped;
        if flips {
            *flipped = true;
            cx.flip = true;
        }
        if mode <= mode::BROADCAST {
            log(cx, &message, flips);
        }
    }

    fn gap(&mut self, _: &mut Cx<'_>, _: Dir, _: u64) {}
    fn end(&mut self, _: &mut Cx<'_>, _: Dir) {}
    fn finish(&mut self, _: &mut Cx<'_>) {}
}

/// A message that parses.
#[derive(Debug, PartialEq)]
struct Message<'a> {
    version: u8,
    mode: u8,
    /// What modes 1 to 5 have.
    standard: Option<Standard<'a>>,
}

/// The fields of a message that synchronises time, as times in microseconds.
#[derive(Debug, PartialEq)]
struct Standard<'a> {
    stratum: u8,
    poll: i64,
    precision: i64,
    root_delay: i64,
    root_disp: i64,
    ref_id: &'a [u8],
    /// Reference, origin, receive, transmit.
    times: [i64; 4],
    extensions: u32,
}

fn message(data: &[u8]) -> Result<Message<'_>, Malformed> {
    let mut r = Reader::new(data);
    let first = r.u8().ok_or(Malformed)?;
    let (version, mode) = (first >> 3 & 7, first & 7);
    let standard = match mode {
        1..=5 => Some(standard(&mut r).ok_or(Malformed)?),
        mode::CONTROL => control(&mut r).map(|()| None).ok_or(Malformed)?,
        mode::PRIVATE => private(&mut r).map(|()| None).ok_or(Malformed)?,
        _ => None,
    };
    Ok(Message { version, mode, standard })
}

fn standard<'a>(r: &mut Reader<'a>) -> Option<Standard<'a>> {
    let mut message = Standard {
        stratum: r.u8()?,
        poll: power(r.u8()? as i8),
        precision: power(r.u8()? as i8),
        root_delay: short_time(r)?,
        root_disp: short_time(r)?,
        ref_id: r.take(4)?,
        times: [time(r)?, time(r)?, time(r)?, time(r)?],
        extensions: 0,
    };
    while r.len() > MAC_LEN {
        extension(r)?;
        message.extensions += 1;
    }
    Some(message)
}

/// Seconds as a power of two, in microseconds.
fn power(exponent: i8) -> i64 {
    (f64::from(exponent).exp2() * 1e6).round() as i64
}

/// Seconds and their fraction in 16 bits each, which Zeek takes with a sign, in microseconds.
fn short_time(r: &mut Reader<'_>) -> Option<i64> {
    let (seconds, fraction) = (f64::from(r.u16()? as i16), f64::from(r.u16()? as i16));
    Some(((seconds + fraction / 65_536.0) * 1e6).round() as i64)
}

/// Seconds since 1900 and their fraction, as microseconds since 1970; nothing stays nothing.
fn time(r: &mut Reader<'_>) -> Option<i64> {
    /// From 1900 to 1970.
    const EPOCH: f64 = -2_208_988_800.0;
    let (seconds, fraction) = (r.u32()?, r.u32()?);
    if (seconds, fraction) == (0, 0) {
        return Some(0);
    }
    let seconds = EPOCH + f64::from(seconds) + f64::from(fraction) / 4_294_967_296.0;
    Some((seconds * 1e6).round() as i64)
}

/// Writes a message's row; `flips` says that its roles are the other way round.
fn log(cx: &mut Cx<'_>, message: &Message<'_>, flips: bool) {
    let (mark, ids) = (cx.mark(), cx.ids);
    let FiveTuple { orig_h, orig_p, resp_h, resp_p, .. } = ids.tuple;
    let ((orig_h, orig_p), (resp_h, resp_p)) = match flips {
        true => ((resp_h, resp_p), (orig_h, orig_p)),
        false => ((orig_h, orig_p), (resp_h, resp_p)),
    };
    let standard = message.standard.as_ref();
    let ref_id = standard.map(|standard| match (standard.stratum, standard.ref_id) {
        (2.., &[a, b, c, d]) => Ipv4Addr::new(a, b, c, d).to_string().into(),
        (_, code) => text::from_wire(code),
    });
    let times = standard.map(|standard| standard.times);
    let row = Row {
        ts: cx.now,
        uid: &ids.uid,
        orig_h,
        orig_p,
        resp_h,
        resp_p,
        version: message.version.into(),
        mode: message.mode.into(),
        stratum: standard.map(|standard| standard.stratum.into()),
        poll: standard.map(|standard| standard.poll),
        precision: standard.map(|standard| standard.precision),
        root_delay: standard.map(|standard| standard.root_delay),
        root_disp: standard.map(|standard| standard.root_disp),
        ref_id: ref_id.as_deref(),
        ref_time: times.map(|[time, ..]| time),
        org_time: times.map(|[_, time, ..]| time),
        rec_time: times.map(|[_, _, time, _]| time),
        xmt_time: times.map(|[.., time]| time),
        num_exts: standard.map_or(0, |standard| standard.extensions.into()),
        community_id: &ids.community_id,
    };
    cx.out.ntp.push(mark, row);
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
        let mode = |bytes| message(bytes).map(|message| message.mode).ok();
        assert_eq!(mode(&[0x16, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 9]), Some(6));
        assert_eq!(mode(&[0x16, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 9]), None);
        assert_eq!(mode(&[0x17, 0, 3, 0x2a, 0, 0]), Some(7));
        assert_eq!(mode(&[0x17, 0x80, 3, 0x2a, 0, 0]), None);
    }

    #[test]
    fn extension_fields_must_fit() {
        let mut bytes = request();
        let field = [1, 2, 0, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 1, 1, 1, 0, 0, 0, 0];
        bytes.extend_from_slice(&field);
        bytes.extend_from_slice(&[0; 2 + MAC_LEN]);
        assert_eq!(message(&bytes), Err(Malformed));
        bytes.truncate(48);
        let field = [1, 2, 0, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 9, 9, 0, 0, 0, 2, 8, 8];
        bytes.extend_from_slice(&field);
        bytes.extend_from_slice(&[0; 2 + MAC_LEN]);
        assert_eq!(message(&bytes).unwrap().standard.unwrap().extensions, 1);
    }

    #[test]
    fn fields_of_a_servers_message() {
        let mut bytes = vec![0x24, 2, 6, 0xec, 0, 0, 0x80, 0, 0, 1, 0x40, 0, 10, 0, 0, 1];
        bytes.extend_from_slice(&[0x83, 0xaa, 0x7e, 0x81, 0x80, 0, 0, 0]);
        bytes.resize(48, 0);
        let message = message(&bytes).unwrap();
        let standard = message.standard.unwrap();
        assert_eq!((message.version, message.mode, standard.stratum), (4, 4, 2));
        assert_eq!((standard.poll, standard.precision), (64_000_000, 1));
        assert_eq!((standard.root_delay, standard.root_disp), (-500_000, 1_250_000));
        assert_eq!(standard.ref_id, [10, 0, 0, 1]);
        assert_eq!(standard.times, [1_500_000, 0, 0, 0]);
    }

    #[test]
    fn hostile_messages() {
        endures(&KIND, Transport::Udp, &[(Dir::Orig, &request())]);
        endures(&KIND, Transport::Udp, &[(Dir::Orig, &[0x17, 0x80, 3, 0x2a, 0, 0])]);
    }
}
