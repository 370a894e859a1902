//! The classic pcap format (draft-ietf-opsawg-pcap): a header, then records.
//!
//! `pcap-parser` parses the header of the file. Those of records are four numbers, which are read here: every
//! thread reads all of them, so that what a record costs is what threads cannot share.

use pcap_parser::PcapHeader;
use pcap_parser::pcap::parse_pcap_header;

use super::Link;
use super::file::{Fault, MAX_PACKET, Record};
use super::window::Window;

/// Length of the file header, bytes.
const FILE_HEADER: usize = 24;
/// The link type field: above are the length of the frame check sequence and reserved bits.
const LINK_MASK: u32 = 0x03ff_ffff;

/// Reads the records of one file.
pub(super) struct PcapFile {
    link: Link,
    /// Fractions of a second are nanoseconds, not microseconds.
    has_nanos: bool,
    big_endian: bool,
    /// Length of a record's header, bytes.
    record_header: usize,
}

impl PcapFile {
    pub(super) fn open(window: &mut Window) -> Result<PcapFile, Fault> {
        if !window.fill(FILE_HEADER)? {
            return Err(Fault::NotCapture);
        }
        let (_, header) = parse_pcap_header(window.data()).map_err(|_| Fault::NotCapture)?;
        let file = PcapFile::from_header(&header);
        window.consume(FILE_HEADER);
        Ok(file)
    }

    fn from_header(header: &PcapHeader) -> PcapFile {
        PcapFile {
            link: Link::from(header.network.0 as u32 & LINK_MASK),
            has_nanos: header.is_nanosecond_precision(),
            big_endian: header.is_bigendian(),
            // Kuznetzov's patched libpcap of old Linux distributions: eight bytes more a record.
            record_header: if header.is_modified_format() { 24 } else { 16 },
        }
    }

    /// Brings the next record whole into the window; false at the end.
    #[inline]
    pub(super) fn next(&self, window: &mut Window, record: &mut Record) -> Result<bool, Fault> {
        if !window.fill(self.record_header)? {
            return if window.data().is_empty() { Ok(false) } else { Err(Fault::Truncated) };
        }
        let Some(header) = window.head::<16>() else { return Err(Fault::Truncated) };
        let [seconds, fraction, captured, wire_len] = self.fields(header);
        let captured = captured as usize;
        if captured > MAX_PACKET {
            return Err(Fault::Corrupt("captured length larger than any packet"));
        }
        let len = self.record_header + captured;
        if !window.fill(len)? {
            return Err(Fault::Truncated);
        }
        // libpcap, and so Zeek, takes the fraction of a broken file for a signed number.
        let fraction = fraction.cast_signed();
        let micros = if self.has_nanos { fraction / 1000 } else { fraction };
        record.ts_us = (i64::from(seconds) * 1_000_000 + i64::from(micros)).max(0);
        record.link = self.link;
        record.wire_len = wire_len;
        record.data_at = self.record_header;
        record.data_len = captured;
        record.len = len;
        Ok(true)
    }

    /// A record's header: seconds, fraction of a second, length captured, length on the wire.
    #[inline]
    fn fields(&self, h: &[u8; 16]) -> [u32; 4] {
        let le = |at: usize| u32::from_le_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]);
        let fields = [le(0), le(4), le(8), le(12)];
        if self.big_endian { fields.map(u32::swap_bytes) } else { fields }
    }
}
