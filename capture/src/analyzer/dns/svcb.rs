//! Records that are lists of options: SVCB and HTTPS (RFC 9460), OPT (RFC 6891). Zeek logs nothing of
//! them, but it reads them and finds oddities.

use super::message::Parser;
use super::wire::Cursor;

/// Bytes of an option's code and length.
const OPTION_HEAD: usize = 4;

impl Parser<'_> {
    /// RFC 9460 section 2.2.
    pub(super) fn service(&mut self, length: usize) -> bool {
        let start = self.cursor.at();
        if self.cursor.left() < 3 {
            self.plain("DNS_SVCB_wrong_length");
            return false;
        }
        let priority = self.cursor.short();
        self.read_name(false);
        let left = length.saturating_sub(self.cursor.at() - start);
        if left > 0 {
            if priority == 0 {
                self.plain("DNS_SVCB_aliasmode_with_params");
            }
            self.service_params(left);
        }
        true
    }

    fn service_params(&mut self, mut left: usize) {
        while left >= OPTION_HEAD {
            let key = self.cursor.short();
            let mut length = usize::from(self.cursor.short());
            left -= OPTION_HEAD;
            if length > left {
                let addl = format_args!("{length} capped to {left}");
                self.on.weird("DNS_SVCB_param_value_toobig", addl);
                length = left;
                self.cursor.take(length);
            } else if let Some(odd) = odd_param(key, self.cursor.take(length)) {
                self.plain(odd);
            }
            left -= length;
        }
    }

    /// The options of an OPT record: as in Zeek, all the rest of the message.
    pub(super) fn options(&mut self) -> bool {
        while self.cursor.left() >= OPTION_HEAD {
            let code = self.cursor.short();
            let length = usize::from(self.cursor.short());
            if length > self.cursor.left() {
                break;
            }
            let data = self.cursor.take(length);
            match code {
                8 => self.client_subnet(data),
                // RFC 7828 section 3.2 has this option in TCP only.
                11 if self.setting.datagram && matches!(length, 0 | 2) => {
                    self.plain("EDNS_TCP_Keepalive_In_UDP");
                }
                _ => {}
            }
        }
        if self.cursor.left() > 0 {
            self.plain("EDNS_truncated_option");
            return false;
        }
        true
    }

    /// RFC 7871 section 6.
    fn client_subnet(&mut self, data: &[u8]) {
        let &[family_high, family_low, source, _scope, ref address @ ..] = data else {
            return self.plain("EDNS_ECS_invalid_option_len");
        };
        if address.is_empty() {
            return self.plain("EDNS_ECS_invalid_option_len");
        }
        let (bits, long, short) = match u16::from_be_bytes([family_high, family_low]) {
            1 => (32, "EDNS_ECS_invalid_addr_v4_prefix", "EDNS_ECS_invalid_addr_v4"),
            2 => (128, "EDNS_ECS_invalid_addr_v6_prefix", "EDNS_ECS_invalid_addr_v6"),
            _ => return,
        };
        let have = address.len() * 8;
        if source > bits {
            self.weird(long, format_args!("{source} bits"));
        } else if usize::from(source) > have {
            self.weird(short, format_args!("need {source} bits, have {have} bits"));
        }
    }
}

/// What is wrong with a service parameter (RFC 9460 sections 7 and 8).
fn odd_param(key: u16, value: &[u8]) -> Option<&'static str> {
    let length = value.len();
    match key {
        0 if length == 0 || !length.is_multiple_of(2) => Some("DNS_SVCB_mandatory_length_invalid"),
        1 if !alpn_whole(value) => Some("DNS_SVCB_alpn_length_invalid"),
        2 if length > 0 => Some("DNS_SVCB_nodefaultalpn_value"),
        3 if length != 2 => Some("DNS_SVCB_port_length_invalid"),
        4 if !length.is_multiple_of(4) => Some("DNS_SVCB_hint_length_invalid"),
        6 if !length.is_multiple_of(16) => Some("DNS_SVCB_hint_length_invalid"),
        0..=6 => None,
        _ => Some("DNS_SVCB_key_reserved_or_invalid"),
    }
}

/// Whether the value is counted names to its end, none of them empty.
fn alpn_whole(value: &[u8]) -> bool {
    let mut rest = Cursor::over(value);
    while rest.left() >= 2 {
        let length = usize::from(rest.byte());
        if length == 0 || length > rest.left() {
            return false;
        }
        rest.take(length);
    }
    rest.left() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_parameters_are_judged_as_zeek_does() {
        assert_eq!(odd_param(1, b"\x02h2\x02h3"), None);
        assert_eq!(odd_param(1, b""), None);
        assert_eq!(odd_param(1, b"\x03h2"), Some("DNS_SVCB_alpn_length_invalid"));
        assert_eq!(odd_param(1, b"\x02h2\x05"), Some("DNS_SVCB_alpn_length_invalid"));
        assert_eq!(odd_param(3, b"\x01"), Some("DNS_SVCB_port_length_invalid"));
        assert_eq!(odd_param(4, &[1; 8]), None);
        assert_eq!(odd_param(6, &[1; 15]), Some("DNS_SVCB_hint_length_invalid"));
        assert_eq!(odd_param(5, b"anything"), None);
        assert_eq!(odd_param(7, b""), Some("DNS_SVCB_key_reserved_or_invalid"));
    }
}
