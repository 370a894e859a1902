//! The classic pcap format (draft-ietf-opsawg-pcap): a header, then records.
//!
//! `pcap-parser` parses both. Its own reader is not used: it hands out a record in a way that
//! cannot be kept until the next call without a copy.

use pcap_parser::nom::IResult;
use pcap_parser::pcap::{
    LegacyPcapBlock, parse_pcap_frame, parse_pcap_frame_be, parse_pcap_frame_modified,
    parse_pcap_header,
};
use pcap_parser::{PcapError, PcapHeader};

use super::Link;
use super::file::{Fault, MAX_PACKET, Record};
use super::window::Window;

/// Length of the file header, bytes.
const FILE_HEADER: usize = 24;
/// The link type field: above are the length of the frame check sequence and reserved bits.
const LINK_MASK: u32 = 0x03ff_ffff;

type ParseRecord =
    for<'a> fn(&'a [u8]) -> IResult<&'a [u8], LegacyPcapBlock<'a>, PcapError<&'a [u8]>>;

/// Reads the records of one file.
pub(super) struct PcapFile {
    link: Link,
    /// Divides the fraction of a second to microseconds.
    fraction: i32,
    big_endian: bool,
    /// Length of a record's header, bytes.
    record_header: usize,
    parse: ParseRecord,
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
        let big_endian = header.is_bigendian();
        let (parse, record_header): (ParseRecord, usize) = if header.is_modified_format() {
            // Kuznetzov's patched libpcap of old Linux distributions: eight bytes more a record.
            (parse_pcap_frame_modified, 24)
        } else if big_endian {
            (parse_pcap_frame_be, 16)
        } else {
            (parse_pcap_frame, 16)
        };
        PcapFile {
            link: Link::from(header.network.0 as u32 & LINK_MASK),
            fraction: if header.is_nanosecond_precision() { 1000 } else { 1 },
            big_endian,
            record_header,
            parse,
        }
    }

    /// Brings the next record whole into the window.
    #[inline]
    pub(super) fn next(&mut self, window: &mut Window) -> Result<Option<Record>, Fault> {
        if !window.fill(self.record_header)? {
            return if window.data().is_empty() { Ok(None) } else { Err(Fault::Truncated) };
        }
        let captured = self.captured(window.data());
        if captured > MAX_PACKET {
            return Err(Fault::Corrupt("captured length larger than any packet"));
        }
        let len = self.record_header + captured;
        if !window.fill(len)? {
            return Err(Fault::Truncated);
        }
        // The record is in memory, so the parser cannot ask for more.
        let (_, record) = (self.parse)(window.data()).map_err(|_| Fault::Truncated)?;
        // libpcap, and so Zeek, takes the fraction of a broken file for a signed number.
        let fraction = i64::from(record.ts_usec.cast_signed() / self.fraction);
        Ok(Some(Record {
            ts_us: (i64::from(record.ts_sec) * 1_000_000 + fraction).max(0),
            link: self.link,
            wire_len: record.origlen,
            data_at: self.record_header,
            data_len: captured,
            len,
        }))
    }

    /// The captured length in a record header.
    fn captured(&self, header: &[u8]) -> usize {
        let field = header.get(8..12).and_then(|field| field.first_chunk::<4>().copied());
        let field = field.unwrap_or_default();
        let len =
            if self.big_endian { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) };
        len as usize
    }
}
