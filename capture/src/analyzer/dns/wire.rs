//! Bytes of a DNS message: the header, a cursor that never runs out, and names with compression
//! (RFC 1035 section 4; limits and leniency as in Zeek's `DNS.cc`).
//!
//! Zeek reads on where a strict parser would stop: a number that is cut off is zero, a name that is
//! cut off ends where it was cut. What comes after such a place is logged by Zeek, so it is here.

use std::fmt;

/// Names are cut where Zeek's buffer for them ends: 512 bytes, dots included.
pub const NAME_BYTES_MAX: usize = 512;
/// The same for the algorithm's name in a TSIG record, which has a larger buffer in Zeek.
pub const TSIG_NAME_BYTES_MAX: usize = 1023;
/// Pointers that one name may chain (Zeek's `dns_max_compression_chain_depth`).
pub const COMPRESSION_DEPTH_MAX: u8 = 20;
/// Length from which a name is odd: RFC 1035 section 2.3.4 allows 255 with its length bytes.
const NAME_LONG: usize = 255;
/// Longest label (RFC 1035 section 2.3.4).
const LABEL_BYTES_MAX: usize = 63;
/// Bytes of the header.
const HEADER_BYTES: usize = 12;

/// Where oddities of a message go.
pub trait Weirds {
    /// Zeek's name of it, and what more there is to say.
    fn weird(&mut self, name: &'static str, addl: fmt::Arguments<'_>);
}

/// Raises a weird that has nothing to add.
pub fn plain(weirds: &mut (impl Weirds + ?Sized), name: &'static str) {
    weirds.weird(name, format_args!(""));
}

/// Operation codes that weir treats apart (RFC 1035, 1996, 2136).
pub mod opcode {
    /// A standard query.
    pub const QUERY: u8 = 0;
    /// A zone has changed.
    pub const NOTIFY: u8 = 4;
    /// Dynamic update; in NetBIOS a registration.
    pub const UPDATE: u8 = 5;
}

/// The first twelve bytes (RFC 1035 section 4.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Transaction identifier.
    pub id: u16,
    /// Flag bits and codes as they came.
    flags: u16,
    /// Questions; zones of an update.
    pub questions: u16,
    /// Answers; prerequisites of an update.
    pub answers: u16,
    /// Authority records; updates of an update.
    pub authority: u16,
    /// Additional records.
    pub additional: u16,
    /// Whether either port is that of the NetBIOS name service.
    pub netbios: bool,
}

impl Header {
    /// Reads it, if it is all there.
    pub fn parse(message: &[u8], netbios: bool) -> Option<Header> {
        let bytes: &[u8; HEADER_BYTES] = message.first_chunk()?;
        let short = |i: usize| u16::from_be_bytes([bytes[2 * i], bytes[2 * i + 1]]);
        Some(Header {
            id: short(0),
            flags: short(1),
            questions: short(2),
            answers: short(3),
            authority: short(4),
            additional: short(5),
            netbios,
        })
    }

    fn bit(&self, mask: u16) -> bool {
        self.flags & mask != 0
    }

    /// Whether this is a reply.
    pub fn reply(&self) -> bool {
        self.bit(0x8000)
    }

    /// Operation.
    pub fn opcode(&self) -> u8 {
        (self.flags >> 11 & 0xf) as u8
    }

    /// Authoritative answer.
    pub fn aa(&self) -> bool {
        self.bit(0x0400)
    }

    /// Truncated.
    pub fn tc(&self) -> bool {
        self.bit(0x0200)
    }

    /// Recursion desired.
    pub fn rd(&self) -> bool {
        self.bit(0x0100)
    }

    /// Recursion available.
    pub fn ra(&self) -> bool {
        self.bit(0x0080)
    }

    /// The three reserved bits, of which DNSSEC took two.
    pub fn z(&self) -> u8 {
        (self.flags >> 4 & 0x7) as u8
    }

    /// Response code.
    pub fn rcode(&self) -> u8 {
        (self.flags & 0xf) as u8
    }

    /// Whether the sections are those of RFC 2136: in NetBIOS the same code means a registration.
    pub fn dynamic_update(&self) -> bool {
        self.opcode() == opcode::UPDATE && !self.netbios
    }

    /// Whether Zeek's script follows such a transaction.
    pub fn tracked(&self) -> bool {
        matches!(self.opcode(), opcode::QUERY | opcode::NOTIFY | opcode::UPDATE)
    }

    /// Whether the parser knows the operation; NetBIOS uses further codes for what looks the same.
    pub fn known_opcode(&self) -> bool {
        self.netbios || self.tracked()
    }
}

/// A place in a message.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// After the header.
    pub fn after_header(message: &'a [u8]) -> Cursor<'a> {
        Cursor { message, at: HEADER_BYTES.min(message.len()) }
    }

    /// At the start of some bytes.
    pub fn over(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { message: bytes, at: 0 }
    }

    /// Offset from the start of the message.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Bytes that are left.
    pub fn left(&self) -> usize {
        self.message.len().saturating_sub(self.at)
    }

    /// The next bytes: as many as wanted, or as there are.
    pub fn take(&mut self, wanted: usize) -> &'a [u8] {
        let end = self.at.saturating_add(wanted).min(self.message.len());
        let bytes = self.message.get(self.at..end).unwrap_or_default();
        self.at = end.max(self.at);
        bytes
    }

    /// One byte, or zero if there is none.
    pub fn byte(&mut self) -> u8 {
        self.number::<1>()[0]
    }

    /// Two bytes; zero, and nothing taken, if they are not there.
    pub fn short(&mut self) -> u16 {
        u16::from_be_bytes(self.number())
    }

    /// Four bytes; zero, and nothing taken, if they are not there.
    pub fn long(&mut self) -> u32 {
        u32::from_be_bytes(self.number())
    }

    fn number<const N: usize>(&mut self) -> [u8; N] {
        let Some(bytes) = self.message.get(self.at..).and_then(|rest| rest.first_chunk::<N>())
        else {
            return [0; N];
        };
        self.at += N;
        *bytes
    }
}

/// How a name is read.
#[derive(Debug, Clone, Copy)]
pub struct NameRules {
    /// Where it is cut; at most [`TSIG_NAME_BYTES_MAX`].
    pub room: usize,
    /// Whether its letters become small.
    pub lower: bool,
    /// Whether labels may be longer than 63 bytes, as in the NetBIOS name service.
    pub long_labels: bool,
}

/// A name as text: labels with dots between them, none at the end.
pub struct Name {
    bytes: [u8; TSIG_NAME_BYTES_MAX],
    len: usize,
}

impl Name {
    /// The root.
    pub fn new() -> Name {
        Name { bytes: [0; TSIG_NAME_BYTES_MAX], len: 0 }
    }

    /// The text, any bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Reads the name at the cursor and leaves the cursor after it.
    pub fn read(
        &mut self,
        cursor: &mut Cursor<'_>,
        rules: NameRules,
        weirds: &mut (impl Weirds + ?Sized),
    ) {
        self.len = 0;
        self.append(cursor, rules, 0, weirds);
    }

    fn append(
        &mut self,
        cursor: &mut Cursor<'_>,
        rules: NameRules,
        depth: u8,
        weirds: &mut (impl Weirds + ?Sized),
    ) {
        if depth > COMPRESSION_DEPTH_MAX {
            return plain(weirds, "DNS_max_compression_chain_depth_exceeded");
        }
        let start = self.len;
        while self.label(cursor, rules, depth, weirds) {}
        let added = self.len - start;
        if added >= NAME_LONG {
            plain(weirds, "DNS_NAME_too_long");
        }
        if added >= 2 && self.bytes().ends_with(b".") {
            self.len -= 1;
        }
        if rules.lower
            && let Some(part) = self.bytes.get_mut(start..self.len)
        {
            part.make_ascii_lowercase();
        }
    }

    /// Reads one label, or the rest of the name where the label is a pointer. Whether more follow.
    fn label(
        &mut self,
        cursor: &mut Cursor<'_>,
        rules: NameRules,
        depth: u8,
        weirds: &mut (impl Weirds + ?Sized),
    ) -> bool {
        let here = cursor.at;
        let length = usize::from(cursor.byte());
        if length == 0 || cursor.left() == 0 {
            return false;
        }
        if length & 0xc0 == 0xc0 {
            let offset = (length & 0x3f) << 8 | usize::from(cursor.byte());
            if offset >= here {
                plain(weirds, "DNS_label_forward_compress_offset");
                return false;
            }
            // The part pointed to ends before the pointer, so every jump goes further back.
            let message = cursor.message.get(..here).unwrap_or_default();
            // What is pointed to is in small letters even where the rest keeps its case.
            let rules = NameRules { lower: true, ..rules };
            self.append(&mut Cursor { message, at: offset }, rules, depth + 1, weirds);
            return false;
        }
        if length > cursor.left() {
            plain(weirds, "DNS_label_len_gt_pkt");
            cursor.at = cursor.message.len();
            return false;
        }
        if length > LABEL_BYTES_MAX && !rules.long_labels {
            plain(weirds, "DNS_label_too_long");
            return false;
        }
        if self.len + length >= rules.room.min(TSIG_NAME_BYTES_MAX) {
            plain(weirds, "DNS_label_len_gt_name_len");
            return false;
        }
        let Some(place) = self.bytes.get_mut(self.len..self.len + length + 1) else {
            return false;
        };
        let (text, dot) = place.split_at_mut(length);
        text.copy_from_slice(cursor.take(length));
        dot.fill(b'.');
        self.len += length + 1;
        true
    }
}
