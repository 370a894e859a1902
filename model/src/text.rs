//! Bytes from the wire as text.
//!
//! Arrow, JSON and Parquet need UTF-8; the wire does not care. Valid UTF-8 is kept as it is, every
//! other byte becomes `\xNN` (lower-case hex), which is also what Zeek prints for it. A text in which
//! the wire itself had a backslash, an `x` and two hex digits cannot be told from that; see
//! docs/differences.md.

use std::borrow::Cow;

/// The longest text a cell holds, in bytes of the wire (Zeek's `Log::max_field_string_bytes`).
pub const CELL_BYTES_MAX: usize = 4096;

/// `bytes` as text, cut at [`CELL_BYTES_MAX`].
pub fn from_wire(bytes: &[u8]) -> Cow<'_, str> {
    let bytes = &bytes[..bytes.len().min(CELL_BYTES_MAX)];
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(escape_invalid(bytes)),
    }
}

fn escape_invalid(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_invalid_bytes_are_escaped() {
        assert_eq!(from_wire(b"plain"), "plain");
        assert_eq!(from_wire("h\u{e9}".as_bytes()), "h\u{e9}");
        assert_eq!(from_wire(b"a\xff\xfeb\0"), "a\\xff\\xfeb\0");
        assert_eq!(from_wire(&[b'x'; 5000]).len(), CELL_BYTES_MAX);
    }
}
