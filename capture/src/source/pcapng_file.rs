//! The pcapng format (draft-ietf-opsawg-pcapng): blocks, in sections with their own byte order and
//! interfaces.
//!
//! Blocks are framed here, so that a block of no interest is skipped whatever is in it, and a
//! packet costs no allocation for its options; `pcap-parser` parses the interface descriptions.

use pcap_parser::pcapng::{
    InterfaceDescriptionBlock, parse_interfacedescriptionblock_be,
    parse_interfacedescriptionblock_le,
};
use pcap_parser::{OptionCode, PcapNGOption};

use super::Link;
use super::file::{Fault, MAX_PACKET, Record};
use super::window::Window;

/// Type of a section header block; reads the same in both byte orders.
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
/// The packet block of the first drafts.
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
/// In a section header, tells the byte order.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;

/// Least bytes of a block: type, length, length again.
const FRAME: usize = 12;
/// Least bytes of a section header: it is longer by byte order, version and section length.
const SECTION_HEADER: usize = 28;
/// Longest block of those that are read, bytes: a packet with room for options.
const MAX_BLOCK: usize = MAX_PACKET + (1 << 20);
/// Interfaces in a section; a file that has more is out to fill the memory.
const MAX_INTERFACES: usize = 65_536;
/// Latest time taken, the end of the year 9999 in epoch microseconds. Offsets in a hostile file can
/// give any number; a limit here lets everyone behind add intervals without a thought.
const MAX_TS_US: i64 = 253_402_300_799_999_999;

/// Reads the blocks of one file.
#[derive(Default)]
pub(super) struct PcapngFile {
    big_endian: bool,
    /// Of the current section.
    interfaces: Vec<Interface>,
    /// Time of the last packet that had one: simple packet blocks have none and take it.
    last_us: i64,
}

#[derive(Clone, Copy)]
struct Interface {
    link: Link,
    /// Limit of a simple packet's data, bytes; zero for none.
    snaplen: u32,
    clock: Clock,
}

/// How an interface counts time.
#[derive(Clone, Copy)]
struct Clock {
    ticks_per_second: u64,
    offset_us: i64,
}

impl PcapngFile {
    /// Whether a file that begins so is pcapng.
    pub(super) fn knows(magic: [u8; 4]) -> bool {
        u32::from_be_bytes(magic) == SECTION
    }

    /// Checks the first section header. It stays in the window, to be read like the others.
    pub(super) fn open(window: &mut Window) -> Result<PcapngFile, Fault> {
        if !window.fill(FRAME)? {
            return Err(Fault::NotCapture);
        }
        let mut file = PcapngFile::default();
        file.set_byte_order(window.data()).map_err(|_| Fault::NotCapture)?;
        Ok(file)
    }

    /// Brings the next packet block whole into the window; false at the end.
    pub(super) fn next(&mut self, window: &mut Window, record: &mut Record) -> Result<bool, Fault> {
        loop {
            if !window.fill(FRAME)? {
                return if window.data().is_empty() { Ok(false) } else { Err(Fault::Truncated) };
            }
            let kind = self.u32_at(window.data(), 0);
            if kind == SECTION {
                self.set_byte_order(window.data())?;
            }
            let len = self.u32_at(window.data(), 4) as usize;
            if len < FRAME || !len.is_multiple_of(4) {
                return Err(Fault::Corrupt("impossible block length"));
            }
            if !matches!(kind, SECTION | INTERFACE | OLD_PACKET | SIMPLE_PACKET | ENHANCED_PACKET) {
                skip(window, len)?;
                continue;
            }
            if len > MAX_BLOCK {
                return Err(Fault::Corrupt("block larger than any packet"));
            }
            if !window.fill(len)? {
                return Err(Fault::Truncated);
            }
            let block = window.data().get(..len).unwrap_or_default();
            if self.u32_at(block, len - 4) as usize != len {
                return Err(Fault::Corrupt("block lengths disagree"));
            }
            let found = match kind {
                SECTION => self.section(block).map(|()| None)?,
                INTERFACE => self.interface(block).map(|()| None)?,
                SIMPLE_PACKET => Some(self.simple(block)?),
                OLD_PACKET => Some(self.stamped(block, u32::from(self.u16_at(block, 8)))?),
                _ => Some(self.stamped(block, self.u32_at(block, 8))?),
            };
            if let Some(found) = found {
                *record = found;
                return Ok(true);
            }
            skip(window, len)?;
        }
    }

    /// Takes the byte order from a section header.
    fn set_byte_order(&mut self, block: &[u8]) -> Result<(), Fault> {
        let magic = block.get(8..).and_then(|rest| rest.first_chunk::<4>().copied());
        let magic = magic.map(u32::from_le_bytes).unwrap_or_default();
        self.big_endian = match magic {
            BYTE_ORDER => false,
            magic if magic.swap_bytes() == BYTE_ORDER => true,
            _ => return Err(Fault::Corrupt("section header without byte order")),
        };
        Ok(())
    }

    fn section(&mut self, block: &[u8]) -> Result<(), Fault> {
        if block.len() < SECTION_HEADER {
            return Err(Fault::Corrupt("section header too short"));
        }
        if self.u16_at(block, 12) != 1 {
            return Err(Fault::Corrupt("unknown version of pcapng"));
        }
        self.interfaces.clear();
        Ok(())
    }

    fn interface(&mut self, block: &[u8]) -> Result<(), Fault> {
        let parsed = if self.big_endian {
            parse_interfacedescriptionblock_be(block)
        } else {
            parse_interfacedescriptionblock_le(block)
        };
        let (_, described) = parsed.map_err(|_| Fault::Corrupt("interface description"))?;
        if self.interfaces.len() >= MAX_INTERFACES {
            return Err(Fault::Corrupt("too many interfaces"));
        }
        self.interfaces.push(Interface {
            link: Link::from(described.linktype.0 as u32),
            snaplen: described.snaplen,
            clock: self.clock(&described)?,
        });
        Ok(())
    }

    /// An interface's clock, microseconds unless its options say otherwise. (The parser's own
    /// reading of these options has neither binary resolutions nor big-endian offsets.)
    fn clock(&self, interface: &InterfaceDescriptionBlock<'_>) -> Result<Clock, Fault> {
        let value = |code| {
            let found = interface.options.iter().find(|option| option.code == code);
            found.and_then(|option: &PcapNGOption<'_>| option.as_bytes().ok())
        };
        let resolution = value(OptionCode::IfTsresol).and_then(|v| v.first().copied()).unwrap_or(6);
        let offset = value(OptionCode::IfTsoffset).and_then(|v| v.first_chunk::<8>().copied());
        let offset = offset.unwrap_or_default();
        let seconds =
            if self.big_endian { i64::from_be_bytes(offset) } else { i64::from_le_bytes(offset) };
        Ok(Clock {
            ticks_per_second: ticks_per_second(resolution)
                .ok_or(Fault::Corrupt("impossible time resolution"))?,
            offset_us: seconds.saturating_mul(1_000_000),
        })
    }

    /// An enhanced packet block, or an old packet block: after the interface they are alike.
    #[inline]
    fn stamped(&mut self, block: &[u8], interface: u32) -> Result<Record, Fault> {
        const DATA: usize = 28;
        let interface = usize::try_from(interface).ok().and_then(|n| self.interfaces.get(n));
        let interface = *interface.ok_or(Fault::Corrupt("packet of an unknown interface"))?;
        let ticks = u64::from(self.u32_at(block, 12)) << 32 | u64::from(self.u32_at(block, 16));
        let data_len = self.u32_at(block, 20) as usize;
        let wire_len = self.u32_at(block, 24);
        check_data(block, DATA, data_len)?;
        self.last_us = interface.clock.micros(ticks);
        let (ts_us, link) = (self.last_us, interface.link);
        Ok(Record { ts_us, link, wire_len, data_at: DATA, data_len, len: block.len() })
    }

    /// A simple packet block: no time, the first interface, and a length that is what the block,
    /// the snap length and the wire length leave.
    fn simple(&mut self, block: &[u8]) -> Result<Record, Fault> {
        const DATA: usize = 12;
        let interface = self.interfaces.first();
        let interface = *interface.ok_or(Fault::Corrupt("packet of an unknown interface"))?;
        let wire_len = self.u32_at(block, 8);
        let limit = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen };
        let room = block.len().saturating_sub(DATA + 4);
        let data_len = room.min(wire_len.min(limit) as usize);
        check_data(block, DATA, data_len)?;
        let (ts_us, link) = (self.last_us, interface.link);
        Ok(Record { ts_us, link, wire_len, data_at: DATA, data_len, len: block.len() })
    }

    /// A number in the section's byte order; what is not there reads as zero.
    #[inline]
    fn u32_at(&self, data: &[u8], at: usize) -> u32 {
        let bytes = data.get(at..).and_then(|rest| rest.first_chunk::<4>().copied());
        let bytes = bytes.unwrap_or_default();
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    fn u16_at(&self, data: &[u8], at: usize) -> u16 {
        let bytes = data.get(at..).and_then(|rest| rest.first_chunk::<2>().copied());
        let bytes = bytes.unwrap_or_default();
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }
}

impl Clock {
    /// Epoch microseconds of a time stamp, truncated, between 1970 and 9999.
    #[inline]
    fn micros(self, ticks: u64) -> i64 {
        let since = match self.ticks_per_second {
            1_000_000 => ticks,
            1_000_000_000 => ticks / 1000,
            per_second => {
                let micros = u128::from(ticks) * 1_000_000 / u128::from(per_second);
                u64::try_from(micros).unwrap_or(u64::MAX)
            }
        };
        let since = i64::try_from(since).unwrap_or(i64::MAX);
        since.saturating_add(self.offset_us).clamp(0, MAX_TS_US)
    }
}

/// The option `if_tsresol`: the top bit chooses powers of two, else of ten.
fn ticks_per_second(resolution: u8) -> Option<u64> {
    let exponent = u32::from(resolution & 0x7f);
    if resolution & 0x80 != 0 { 1u64.checked_shl(exponent) } else { 10u64.checked_pow(exponent) }
}

/// Whether the packet's bytes are inside its block, and not too many.
fn check_data(block: &[u8], at: usize, len: usize) -> Result<(), Fault> {
    // The block ends with its length.
    if at + len + 4 > block.len() {
        return Err(Fault::Corrupt("packet larger than its block"));
    }
    if len > MAX_PACKET {
        return Err(Fault::Corrupt("captured length larger than any packet"));
    }
    Ok(())
}

fn skip(window: &mut Window, len: usize) -> Result<(), Fault> {
    if window.skip(len as u64)? { Ok(()) } else { Err(Fault::Truncated) }
}
