//! Modbus over TCP (Modbus Messaging on TCP/IP 1.0b, Application Protocol 1.1b).
//!
//! Each message is a row. The first that parses whole confirms; one that does not, or with a value that its
//! function does not have, violates. Source: Zeek's `modbus-protocol.pac`, `modbus-analyzer.pac`.

use model::stream::modbus::Row;

mod names;

use self::names::{exception_name, function_name};
use super::units::{Framed, Malformed, Units};
use super::wire::Reader;
use super::{Analyzer, Cx, Dir, Kind};

/// The analyzer; Zeek knows it by port only.
pub static KIND: Kind = Kind {
    name: "modbus",
    tcp_ports: &[502],
    udp_ports: &[],
    probe: None,
    skips_partial: false,
    new: |_| Box::<Modbus>::default(),
};

/// Transaction, protocol and length, before what the length counts.
const HEAD_LEN: usize = 6;

#[derive(Default)]
struct Modbus {
    units: [Units; 2],
    parser: Parser,
}

#[derive(Default)]
struct Parser;

impl Framed for Parser {
    fn size(&self, _: Dir, bytes: &[u8]) -> usize {
        match bytes {
            // Zeek reads the whole head before it looks at it.
            [_, _, _, _, a, b, _, _, ..] => {
                HEAD_LEN + usize::from(u16::from_be_bytes([*a, *b])).max(2)
            }
            _ => HEAD_LEN + 2,
        }
    }

    fn unit(&mut self, cx: &mut Cx<'_>, dir: Dir, unit: &[u8]) -> Result<(), Malformed> {
        let mut r = Reader::new(unit);
        let head = Head::parse(&mut r).ok_or(Malformed)?;
        if head.function < EXCEPTION {
            head.log(cx, dir, None);
        }
        let fits = match dir {
            Dir::Orig => request(&mut r, head.function),
            Dir::Resp if head.function >= EXCEPTION => {
                let code = r.u8().ok_or(Malformed)?;
                head.log(cx, dir, Some(code));
                Some(true)
            }
            Dir::Resp => response(&mut r, head.function),
        };
        if !fits.ok_or(Malformed)? {
            cx.violation();
        }
        cx.confirm();
        Ok(())
    }
}

/// Bit of a function that failed.
const EXCEPTION: u8 = 0x80;

/// Head of a message.
struct Head {
    transaction: u16,
    unit: u8,
    function: u8,
}

impl Head {
    fn parse(r: &mut Reader<'_>) -> Option<Head> {
        let (transaction, protocol, len) = (r.u16()?, r.u16()?, r.u16()?);
        if protocol != 0 || len < 2 {
            return None;
        }
        Some(Head { transaction, unit: r.u8()?, function: r.u8()? })
    }

    /// Writes the message's row.
    fn log(&self, cx: &mut Cx<'_>, dir: Dir, exception: Option<u8>) {
        let (mark, ids) = (cx.mark(), cx.ids);
        let exception = exception.map(exception_name);
        let row = Row {
            ts: cx.now,
            uid: &ids.uid,
            orig_h: ids.tuple.orig_h,
            orig_p: ids.tuple.orig_p,
            resp_h: ids.tuple.resp_h,
            resp_p: ids.tuple.resp_p,
            tid: self.transaction.into(),
            unit: self.unit.into(),
            func: &function_name(self.function),
            pdu_type: if dir == Dir::Orig { "REQ" } else { "RESP" },
            exception: exception.as_deref(),
            community_id: &ids.community_id,
        };
        cx.out.modbus.push(mark, row);
    }
}

fn request(r: &mut Reader<'_>, function: u8) -> Option<bool> {
    match function {
        1..=4 | 6 => r.skip(4)?,
        5 => return coil(r),
        8 => r.skip(2)?,
        15 => {
            r.skip(4)?;
            r.vec8()?;
        }
        16 => return registers(r, 2),
        20 => {
            let mut files = Reader::new(r.vec8()?);
            while !files.is_empty() {
                files.skip(7)?;
            }
        }
        21 => file_records(r)?,
        22 => r.skip(6)?,
        23 => return registers(r, 6),
        24 => r.skip(2)?,
        0x2b => r.skip(1)?,
        _ => {}
    }
    Some(true)
}

fn response(r: &mut Reader<'_>, function: u8) -> Option<bool> {
    match function {
        1 | 2 => {
            r.vec8()?;
        }
        3 | 4 | 23 => return Some(r.vec8()?.len() % 2 == 0),
        5 => return coil(r),
        6 | 15 | 16 => r.skip(4)?,
        8 => r.skip(2)?,
        20 => {
            let mut files = Reader::new(r.vec8()?);
            while !files.is_empty() {
                let len = files.u8()?;
                files.skip(1 + usize::from(len))?;
            }
        }
        21 => file_records(r)?,
        22 => r.skip(6)?,
        24 => {
            let bytes = r.u16()?;
            let count = r.u16()?;
            r.skip(usize::from(count) * 2)?;
            return Some(bytes % 2 == 0);
        }
        0x2b => r.skip(1)?,
        _ => {}
    }
    Some(true)
}

/// A coil is on or off.
fn coil(r: &mut Reader<'_>) -> Option<bool> {
    r.skip(2)?;
    let value = r.u16()?;
    Some(matches!(value, 0 | 0xff00))
}

/// Registers that are written, behind `before` bytes: so many as it says, in so many bytes.
fn registers(r: &mut Reader<'_>, before: usize) -> Option<bool> {
    r.skip(before)?;
    let count = r.u16()?;
    let bytes = r.vec8()?;
    (bytes.len() >= usize::from(count) * 2).then_some(bytes.len() % 2 == 0)
}

fn file_records(r: &mut Reader<'_>) -> Option<()> {
    let mut files = Reader::new(r.vec8()?);
    while !files.is_empty() {
        files.skip(5)?;
        let len = files.u16()?;
        files.skip(usize::from(len) * 2)?;
    }
    Some(())
}

impl Analyzer for Modbus {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        let Some(units) = self.units.get_mut(dir.index()) else { return };
        if units.feed(&mut self.parser, cx, dir, data).is_err() {
            cx.violation();
        }
    }

    /// Passed over: a message that began before it goes on behind it, as in Zeek.
    fn gap(&mut self, _: &mut Cx<'_>, _: Dir, _: u64) {}
    fn end(&mut self, _: &mut Cx<'_>, _: Dir) {}
    fn finish(&mut self, _: &mut Cx<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyzer::testing::{Bench, endures};
    use crate::analyzer::{Signal, Transport};

    const READ: &[u8] = &[0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, 2];
    const VALUES: &[u8] = &[0, 1, 0, 0, 0, 7, 1, 3, 4, 0, 1, 0, 2];

    #[test]
    fn a_whole_message_confirms() {
        let mut bench = Bench::new(&KIND, Transport::Tcp);
        bench.feed(Dir::Orig, &READ[..7]);
        assert!(bench.signals.is_empty());
        bench.feed(Dir::Orig, &READ[7..]);
        bench.feed(Dir::Resp, VALUES);
        assert_eq!(bench.signals, [Signal::Confirmed]);
    }

    #[test]
    fn a_gap_is_passed_over() {
        let mut bench = Bench::new(&KIND, Transport::Tcp);
        bench.feed(Dir::Orig, &[0, 1, 0, 0, 0, 10, 1, 0x26]);
        bench.call(|analyzer, cx| analyzer.gap(cx, Dir::Orig, 48));
        bench.feed(Dir::Orig, &READ[..8]);
        bench.feed(Dir::Orig, READ);
        let (batch, _) = bench.out.modbus.finish("s");
        assert_eq!(batch.num_rows(), 2);
        assert_eq!(bench.signals, [Signal::Confirmed]);
    }

    #[test]
    fn what_does_not_fit_violates() {
        for bad in [
            &[0, 1, 0, 9, 0, 6, 1, 3, 0, 0, 0, 2][..],
            &[0, 1, 0, 0, 0, 5, 1, 3, 0, 0, 0],
            &[0, 1, 0, 0, 0, 6, 1, 5, 0, 0, 1, 2],
            &[0, 1, 0, 0, 0, 9, 1, 16, 0, 0, 0, 2, 2, 0, 0],
        ] {
            let mut bench = Bench::new(&KIND, Transport::Tcp);
            bench.feed(Dir::Orig, bad);
            assert_eq!(bench.signals, [Signal::Violated], "{bad:?}");
        }
        assert_eq!(response(&mut Reader::new(&[1, 0]), 3), Some(false));
    }

    #[test]
    fn an_exception_is_one_row() {
        let mut bench = Bench::new(&KIND, Transport::Tcp);
        bench.feed(Dir::Orig, READ);
        bench.feed(Dir::Resp, &[0, 1, 0, 0, 0, 3, 1, 0x83, 2]);
        let (batch, _) = bench.out.modbus.finish("s");
        assert_eq!(batch.num_rows(), 2);
    }

    #[test]
    fn hostile_messages() {
        endures(&KIND, Transport::Tcp, &[(Dir::Orig, READ), (Dir::Resp, VALUES)]);
        let write: &[u8] = &[0, 1, 0, 0, 0, 11, 1, 21, 8, 6, 0, 1, 0, 1, 0, 0, 0];
        endures(&KIND, Transport::Tcp, &[(Dir::Orig, write)]);
    }
}
