//! The data of DNSSEC records (RFC 4034, RFC 5155), with Zeek's oddities of them.

use super::message::{Parser, add};

/// Signature algorithms that are assigned and in use (Zeek's `DNSSEC_Algo`).
fn known_algorithm(number: u8) -> bool {
    matches!(number, 2..=8 | 10 | 12..=16)
}

impl Parser<'_> {
    /// RFC 4034 section 3: shown are the type that is signed and who signed.
    pub(super) fn rrsig(&mut self, length: usize) -> bool {
        if self.cursor.left() < 18 {
            return false;
        }
        let covered = self.cursor.short();
        let [algorithm, _labels] = self.cursor.short().to_be_bytes();
        self.cursor.take(14);
        let start = self.cursor.at();
        self.read_name(true);
        let named = self.cursor.at() - start;
        self.cursor.take(length.saturating_sub(named + 18));
        let odd = match algorithm {
            1 => Some("DNSSEC_RRSIG_NotRecommended_ZoneSignAlgo"),
            252 => Some("DNSSEC_RRSIG_Indirect_ZoneSignAlgo"),
            253 => Some("DNSSEC_RRSIG_PrivateDNS_ZoneSignAlgo"),
            254 => Some("DNSSEC_RRSIG_PrivateOID_ZoneSignAlgo"),
            known if known_algorithm(known) => None,
            _ => Some("DNSSEC_RRSIG_unknown_ZoneSignAlgo"),
        };
        if let Some(odd) = odd {
            self.weird(odd, format_args!("{algorithm}"));
        }
        add(self.text, format_args!("RRSIG {covered} "));
        match self.name.bytes() {
            [] => self.text.extend_from_slice(b"<Root>"),
            signer => self.text.extend_from_slice(signer),
        }
        self.reply();
        true
    }

    /// RFC 4034 section 2: shown is the algorithm.
    pub(super) fn dnskey(&mut self, length: usize) -> bool {
        if self.cursor.left() < 4 {
            return false;
        }
        let flags = self.cursor.short();
        let [protocol, algorithm] = self.cursor.short().to_be_bytes();
        self.cursor.take(length.saturating_sub(4));
        // Flags: zone key 0x0100, revoked 0x0080, secure entry point 0x0001.
        if flags & 0xfe7e != 0 {
            self.weird("DNSSEC_DNSKEY_Invalid_Flag", format_args!("{flags}"));
        }
        if flags & 0x0181 == 0x0181 {
            self.weird("DNSSEC_DNSKEY_Revoked_KSK", format_args!("{flags}"));
        }
        if protocol != 3 {
            self.weird("DNSSEC_DNSKEY_Invalid_Protocol", format_args!("{protocol}"));
        }
        let odd = match algorithm {
            1 => Some("DNSSEC_DNSKEY_NotRecommended_ZoneSignAlgo"),
            252 => Some("DNSSEC_DNSKEY_Indirect_ZoneSignAlgo"),
            253 => Some("DNSSEC_DNSKEY_PrivateDNS_ZoneSignAlgo"),
            254 => Some("DNSSEC_DNSKEY_PrivateOID_ZoneSignAlgo"),
            known if known_algorithm(known) => None,
            _ => Some("DNSSEC_DNSKEY_unknown_ZoneSignAlgo"),
        };
        if let Some(odd) = odd {
            self.weird(odd, format_args!("{algorithm}"));
        }
        add(self.text, format_args!("DNSKEY {algorithm}"));
        self.reply();
        true
    }

    /// RFC 4034 section 5: shown are algorithm and type of digest.
    pub(super) fn ds(&mut self, length: usize) -> bool {
        if self.cursor.left() < 4 {
            return false;
        }
        self.cursor.short();
        let [algorithm, digest] = self.cursor.short().to_be_bytes();
        self.cursor.take(length.saturating_sub(4));
        match digest {
            0 => self.weird("DNSSEC_DS_ReservedDigestType", format_args!("{digest}")),
            1..=4 => {}
            _ => self.weird("DNSSEC_DS_unknown_DigestType", format_args!("{digest}")),
        }
        add(self.text, format_args!("DS {algorithm} {digest}"));
        self.reply();
        true
    }

    /// RFC 4034 section 4: shown are this name and the next.
    pub(super) fn nsec(&mut self, length: usize) -> bool {
        let start = self.cursor.at();
        self.read_name(true);
        self.type_bitmaps(start, length, "DNSSEC_NSEC_bitmapLen0");
        for part in [&b"NSEC "[..], self.owner.bytes(), b" ", self.name.bytes()] {
            self.text.extend_from_slice(part);
        }
        self.reply();
        true
    }

    /// RFC 5155 section 3.
    pub(super) fn nsec3(&mut self, length: usize) -> bool {
        if self.cursor.left() < 6 {
            return false;
        }
        let start = self.cursor.at();
        self.cursor.take(4);
        self.counted();
        self.counted();
        self.type_bitmaps(start, length, "DNSSEC_NSEC3_bitmapLen0");
        self.shown(b"NSEC3")
    }

    /// RFC 5155 section 4.
    pub(super) fn nsec3param(&mut self) -> bool {
        if self.cursor.left() < 5 {
            return false;
        }
        self.cursor.take(4);
        self.counted();
        self.shown(b"NSEC3PARAM")
    }

    /// BIND's private record 65534, by which a zone notes how far its signing has come.
    pub(super) fn bind_signing(&mut self) -> bool {
        if self.cursor.left() < 5 {
            return false;
        }
        self.cursor.take(5);
        self.shown(b"BIND9 signing signal")
    }

    /// Bytes after their number: a salt or a hash.
    fn counted(&mut self) {
        let length = self.cursor.byte();
        self.cursor.take(length.into());
    }

    /// RFC 4034 section 4.1.2: windows of types, up to the end of the data that began at `start`.
    fn type_bitmaps(&mut self, start: usize, length: usize, empty: &'static str) {
        let mut left = length.saturating_sub(self.cursor.at() - start);
        while left > 0 && self.cursor.left() > 0 {
            let [window, bytes] = self.cursor.short().to_be_bytes();
            if bytes == 0 {
                return self.weird(empty, format_args!("{window}"));
            }
            self.cursor.take(bytes.into());
            left = left.saturating_sub(2 + usize::from(bytes));
        }
    }
}
