//! First-level encoded NetBIOS names (RFC 1001 section 14.1), decoded as Zeek's
//! `decode_netbios_name` does.

/// Bytes of a NetBIOS name, the last of which is its type.
const NAME_BYTES: usize = 16;

/// A decoded name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    bytes: [u8; NAME_BYTES],
    len: usize,
}

impl Decoded {
    /// The name without padding and type.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// The name in `encoded`; none if it is not one, or empty.
pub fn decode(encoded: &[u8]) -> Option<Decoded> {
    let encoded: &[u8; 2 * NAME_BYTES] = encoded.try_into().ok()?;
    let mut name = Decoded { bytes: [0; NAME_BYTES], len: 0 };
    for (pair, place) in encoded.chunks_exact(2).zip(&mut name.bytes) {
        let &[high, low] = pair else { return None };
        let byte = half(high)? << 4 | half(low)?;
        *place = byte;
        // The first bytes 1 and 2 mark a browser's names; others below the printable end a name.
        if !(byte.is_ascii_graphic() || byte == b' ' || byte < 3) {
            break;
        }
        name.len += 1;
    }
    name.len = name.len.min(NAME_BYTES - 1);
    while matches!(name.bytes().last()?, b' ' | 0) {
        name.len -= 1;
    }
    Some(name)
}

fn half(letter: u8) -> Option<u8> {
    match letter.to_ascii_uppercase() {
        letter @ b'A'..=b'P' => Some(letter - b'A'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(encoded: &[u8]) -> Option<Vec<u8>> {
        decode(encoded).map(|name| name.bytes().to_vec())
    }

    #[test]
    fn names_decode() {
        assert_eq!(
            text(b"FEEIEFCAEOEFFEECEJEPFDCAEOEBENEF").as_deref(),
            Some(&b"THE NETBIOS NAM"[..])
        );
        assert_eq!(text(b"fhepfcelehfcepfffacacacacacacabl").as_deref(), Some(&b"WORKGROUP"[..]));
        assert_eq!(text(b"CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").as_deref(), Some(&b"*"[..]));
        assert_eq!(text(b"CACACACACACACACACACACACACACACACA"), None);
        assert_eq!(text(b"ZKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), None);
        assert_eq!(text(b"CKAA"), None);
        // A control byte ends the name; what follows is not looked at.
        assert_eq!(text(b"EBABACADZZZZZZZZZZZZZZZZZZZZZZZZ").as_deref(), Some(&b"A\x01\x02"[..]));
    }
}
