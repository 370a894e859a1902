//! The data of resource records, and the text that Zeek's `base/protocols/dns/main.zeek` makes of it.
//!
//! Each reader returns whether the message can be read on. Some leave the cursor where Zeek leaves
//! it, which is not always at the record's end.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::message::{Parser, add};

/// Type of a start of authority.
pub const SOA: u16 = 6;
/// Class, and type, that stands for all.
pub const ANY: u16 = 255;
/// Class that stands for none (RFC 2136).
pub const NONE: u16 = 254;

const HEX: &[u8; 16] = b"0123456789abcdef";

impl<'a> Parser<'a> {
    /// Reads the data of a record of which `length` bytes are announced and present.
    pub(super) fn data(&mut self, length: usize) -> bool {
        match self.rtype {
            1 => self.a(length),
            28 | 38 => self.aaaa(),
            2 | 5 | 12 => self.named(length, 0),
            15 => self.named(length, 2),
            // In NetBIOS this is a node status, which is not read.
            33 if self.setting.netbios_server => true,
            33 => self.named(length, 6),
            SOA => self.soa(length),
            11 => self.shown(b""),
            16 => self.strings(length, "TXT"),
            99 => self.strings(length, "SPF"),
            29 => self.loc(),
            35 => self.naptr(length),
            41 => self.options(),
            44 => self.sshfp(length),
            64 | 65 => self.service(length),
            250 => self.tsig(),
            43 => self.ds(length),
            46 => self.rrsig(length),
            47 => self.nsec(length),
            48 => self.dnskey(length),
            50 => self.nsec3(length),
            51 => self.nsec3param(),
            65534 => self.bind_signing(),
            // HINFO, NB, TKEY and CAA: Zeek's scripts show none of them.
            13 | 32 | 249 | 257 => {
                self.cursor.take(length);
                true
            }
            _ => self.unknown(length),
        }
    }

    fn unknown(&mut self, length: usize) -> bool {
        let rtype = self.rtype;
        add(self.text, format_args!("<unknown type={rtype}>"));
        self.reply();
        self.weird("DNS_RR_unknown_type", format_args!("{rtype}"));
        self.cursor.take(length);
        true
    }

    /// Tells of the record with this text.
    pub(super) fn shown(&mut self, text: &[u8]) -> bool {
        self.text.extend_from_slice(text);
        self.reply();
        true
    }

    /// Tells of the record with the name in its data.
    fn name_shown(&mut self) -> bool {
        self.text.extend_from_slice(self.name.bytes());
        self.reply();
        true
    }

    /// RFC 1035 section 3.4.1.
    fn a(&mut self, length: usize) -> bool {
        if length != 4 {
            self.plain("DNS_RR_bad_length");
            return false;
        }
        let address = Ipv4Addr::from_bits(self.cursor.long());
        self.address_prefix("A");
        add(self.text, format_args!("{address}"));
        self.reply();
        true
    }

    /// RFC 3596 section 2.2; A6 (RFC 2874) is read the same way. The announced length is not heeded.
    fn aaaa(&mut self) -> bool {
        let mut bits = 0u128;
        for _ in 0..4 {
            bits = bits << 32 | u128::from(self.cursor.long());
        }
        self.address_prefix(if self.rtype == 28 { "AAAA" } else { "A6" });
        add_ipv6(self.text, Ipv6Addr::from_bits(bits));
        self.reply();
        true
    }

    /// In an update the log names the record's type and owner.
    fn address_prefix(&mut self, rtype: &str) {
        if self.header.dynamic_update() {
            add(self.text, format_args!("{rtype} "));
            self.text.extend_from_slice(self.owner.bytes());
            self.text.push(b' ');
        }
    }

    /// A name after some numbers: NS, CNAME, PTR, MX and SRV (RFC 1035 section 3.3, RFC 2782).
    fn named(&mut self, length: usize, numbers: usize) -> bool {
        let start = self.cursor.at();
        for _ in 0..numbers / 2 {
            self.cursor.short();
        }
        self.read_name(true);
        self.check_length(start, length);
        self.name_shown()
    }

    fn check_length(&mut self, start: usize, length: usize) {
        if self.cursor.at() - start != length {
            self.plain("DNS_RR_length_mismatch");
        }
    }

    /// RFC 1035 section 3.3.13: shown is the primary server.
    fn soa(&mut self, length: usize) -> bool {
        let start = self.cursor.at();
        self.read_name(true);
        self.text.extend_from_slice(self.name.bytes());
        self.read_name(true);
        if self.cursor.left() < 20 {
            return false;
        }
        self.cursor.take(20);
        self.check_length(start, length);
        self.reply();
        true
    }

    /// A `<character-string>` (RFC 1035 section 3.3), if `left` bytes of data hold one.
    fn string(&mut self, left: &mut usize) -> Option<&'a [u8]> {
        if *left == 0 {
            return None;
        }
        let length = usize::from(self.cursor.byte());
        *left -= 1;
        if length > *left {
            self.plain("DNS_TXT_char_str_past_rdlen");
            return None;
        }
        *left -= length;
        Some(self.cursor.take(length))
    }

    /// TXT and SPF (RFC 1035 section 3.3.14, RFC 4408): each string with its length.
    fn strings(&mut self, length: usize, label: &str) -> bool {
        let mut left = length;
        while let Some(string) = self.string(&mut left) {
            if !self.text.is_empty() {
                self.text.push(b' ');
            }
            add(self.text, format_args!("{label} {} ", string.len()));
            self.text.extend_from_slice(string);
        }
        self.reply();
        left == 0
    }

    /// RFC 1876 section 2.
    fn loc(&mut self) -> bool {
        if self.cursor.left() < 15 {
            return false;
        }
        let [version, size] = self.cursor.short().to_be_bytes();
        let [horizontal, vertical] = self.cursor.short().to_be_bytes();
        for _ in 0..3 {
            self.cursor.long();
        }
        if version != 0 {
            self.weird("DNS_LOC_version_unrecognized", format_args!("{version}"));
        }
        add(self.text, format_args!("LOC:  {size} {horizontal} {vertical}"));
        self.reply();
        true
    }

    /// RFC 3403 section 4.1.
    fn naptr(&mut self, length: usize) -> bool {
        let (order, preference) = (self.cursor.short(), self.cursor.short());
        let Some(mut left) = length.checked_sub(4).filter(|left| *left > 0) else {
            self.on.violation();
            return false;
        };
        let flags = self.string(&mut left);
        let service = self.string(&mut left);
        let expression = self.string(&mut left);
        self.read_name(false);
        let (Some(flags), Some(service), Some(expression)) = (flags, service, expression) else {
            self.on.violation();
            return false;
        };
        add(self.text, format_args!("NAPTR {order} {preference} "));
        for part in [flags, b" ", service, b" ", expression] {
            self.text.extend_from_slice(part);
        }
        if !expression.is_empty() && !self.name.bytes().is_empty() {
            self.text.push(b' ');
        }
        self.name_shown()
    }

    /// RFC 4255 section 3.1.
    fn sshfp(&mut self, length: usize) -> bool {
        if self.cursor.left() < 2 {
            return false;
        }
        self.cursor.short();
        self.text.extend_from_slice(b"SSHFP: ");
        for byte in self.cursor.take(length.saturating_sub(2)) {
            for half in [byte >> 4, byte & 0xf] {
                self.text.extend(HEX.get(usize::from(half)));
            }
        }
        self.reply();
        true
    }

    /// RFC 8945 section 4.2: passed over, nothing is shown.
    fn tsig(&mut self) -> bool {
        self.read_tsig_name();
        self.cursor.long();
        self.cursor.short();
        self.cursor.short();
        self.octets();
        self.cursor.short();
        self.cursor.short();
        self.octets();
        true
    }

    fn octets(&mut self) {
        let length = self.cursor.short();
        self.cursor.take(length.into());
    }
}

/// An IPv6 address as Zeek prints it: mapped ones as IPv4, and the last 32 bits of IPv4-compatible
/// and -translated ones with dots.
fn add_ipv6(text: &mut Vec<u8>, address: Ipv6Addr) {
    let v4 = Ipv4Addr::from_bits(address.to_bits() as u32);
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] => add(text, format_args!("{v4}")),
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => add(text, format_args!("::{v4}")),
        [0, 0, 0, 0, 0xffff, 0, ..] => add(text, format_args!("::ffff:0:{v4}")),
        _ => add(text, format_args!("{address}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_printed_as_zeek_does() {
        for (address, want) in [
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("::10.0.0.1", "::10.0.0.1"),
            ("::5", "::5"),
            ("::", "::"),
            ("::ffff:0:10.0.0.1", "::ffff:0:10.0.0.1"),
        ] {
            let mut text = Vec::new();
            add_ipv6(&mut text, address.parse().expect("an address"));
            assert_eq!(String::from_utf8_lossy(&text), want);
        }
    }
}
