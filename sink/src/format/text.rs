//! Text the way Zeek's ASCII writer escapes it, and the way JSON does.
//!
//! Zeek cuts a text at backslashes and separators. A piece in between that is clean UTF-8 passes as it
//! is; in one with a control character, an invalid byte or a private code point, every byte that is not
//! printable ASCII becomes `\xNN`.

/// What Zeek writes for an unset cell.
pub const UNSET: &[u8] = b"-";
/// What Zeek writes for an empty text, set or vector.
pub const EMPTY: &[u8] = b"(empty)";

const HEX: &[u8; 16] = b"0123456789abcdef";
/// Needs a closer look anywhere.
const SPECIAL: u8 = 1;
/// Needs a closer look between elements.
const SEPARATOR: u8 = 2;
/// Needs an escape in JSON.
const JSON: u8 = 4;

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut class = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        if byte < 0x20 || byte >= 0x7f || byte == b'\\' as usize {
            class[byte] |= SPECIAL;
        }
        if byte == b',' as usize {
            class[byte] |= SEPARATOR;
        }
        if byte < 0x20 || byte == b'\\' as usize || byte == b'"' as usize {
            class[byte] |= JSON;
        }
        byte += 1;
    }
    class
}

/// A text as a TSV cell or, with `in_list`, as an element of one.
#[inline]
pub fn push_tsv(out: &mut Vec<u8>, text: &str, in_list: bool) {
    let bytes = text.as_bytes();
    let mask = if in_list { SPECIAL | SEPARATOR } else { SPECIAL };
    if bytes.is_empty() {
        return out.extend_from_slice(EMPTY);
    }
    if matches!(bytes[0], b'-' | b'(') && (bytes == UNSET || bytes == EMPTY) {
        push_hex(out, bytes[0]);
        return out.extend_from_slice(&bytes[1..]);
    }
    if bytes.iter().all(|byte| CLASS[usize::from(*byte)] & mask == 0) {
        return out.extend_from_slice(bytes);
    }
    push_pieces(out, text, in_list);
}

/// A byte as `\xNN`.
pub fn push_hex(out: &mut Vec<u8>, byte: u8) {
    let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
    out.extend_from_slice(&[b'\\', b'x', high, low]);
}

fn push_pieces(out: &mut Vec<u8>, text: &str, in_list: bool) {
    let bytes = text.as_bytes();
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let cut = match byte {
            b'\\' => !is_wire_escape(&bytes[at..]),
            b'\t' => true,
            b',' => in_list,
            _ => false,
        };
        if !cut {
            continue;
        }
        push_piece(out, &text[start..at]);
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            byte => push_hex(out, *byte),
        }
        start = at + 1;
    }
    push_piece(out, &text[start..]);
}

/// Whether an invalid byte stands here as [`model::text`] writes it: those are never ASCII, so the
/// first digit is 8 or above.
fn is_wire_escape(bytes: &[u8]) -> bool {
    matches!(bytes, [b'\\', b'x', b'8' | b'9' | b'a'..=b'f', b'0'..=b'9' | b'a'..=b'f', ..])
}

fn push_piece(out: &mut Vec<u8>, piece: &str) {
    // A backslash within a piece is one of a wire escape.
    if !piece.contains('\\') && piece.chars().all(is_clean) {
        return out.extend_from_slice(piece.as_bytes());
    }
    for byte in piece.bytes() {
        match byte {
            b' '..=b'~' => out.push(byte),
            _ => push_hex(out, byte),
        }
    }
}

/// Whether Zeek lets a character pass (`check_ok_utf8` in its `util.cc`).
fn is_clean(c: char) -> bool {
    !matches!(c, '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}')
}

/// A text as a JSON string. Control characters keep JSON's own `\u00NN`, which can be read back;
/// Zeek's default policy writes a backslash, an x and two digits there, which cannot.
pub fn push_json(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if CLASS[usize::from(*byte)] & JSON == 0 {
            continue;
        }
        out.extend_from_slice(&bytes[start..at]);
        start = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            byte => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tsv(text: &str, in_list: bool) -> String {
        let mut out = Vec::new();
        push_tsv(&mut out, text, in_list);
        String::from_utf8(out).unwrap()
    }

    /// Cells out of Zeek's own baselines and of real logs.
    #[test]
    fn texts_as_zeek_writes_them() {
        for (wire, want) in [
            (&b"plain, with comma"[..], "plain, with comma"),
            (b"", "(empty)"),
            (b"-", "\\x2d"),
            (b"--", "--"),
            (b"(empty)", "\\x28empty)"),
            (b"(empty", "(empty"),
            (b"a\tb\nc\x7f", "a\\x09b\\x0ac\\x7f"),
            (b"foo \n\t\0 bar", "foo \\x0a\\x09\\x00 bar"),
            (b"/chunked/eicar.txt/\\013-size", "/chunked/eicar.txt/\\\\013-size"),
            (b"\\", "\\\\"),
            (b"\\x", "\\\\x"),
            (b"\\\\x\\abc\\x.exe", "\\\\\\\\x\\\\abc\\\\x.exe"),
            (b"\xc3\x28", "\\xc3("),
            (b"\xf9\xf9", "\\xf9\\xf9"),
            (b"\xed\xa0\xa1", "\\xed\\xa0\\xa1"),
            ("a rocket \u{1f680}!".as_bytes(), "a rocket \u{1f680}!"),
            (
                "a rocket \u{1f680}!\0 NUL\0".as_bytes(),
                "a rocket \\xf0\\x9f\\x9a\\x80!\\x00 NUL\\x00",
            ),
            ("\u{f1}\\\u{7}".as_bytes(), "\u{f1}\\\\\\x07"),
            ("\u{85}".as_bytes(), "\\xc2\\x85"),
            ("\u{e000}\u{f1}".as_bytes(), "\\xee\\x80\\x80\\xc3\\xb1"),
            (
                b"half-a-rocket \xf0\x9f and a rocket\xf0\x9f\x9a\x80!",
                "half-a-rocket \\xf0\\x9f and a rocket\\xf0\\x9f\\x9a\\x80!",
            ),
        ] {
            assert_eq!(tsv(&model::text::from_wire(wire), false), want);
        }
        assert_eq!(tsv(",,", true), "\\x2c\\x2c");
        assert_eq!(tsv("-", true), "\\x2d");
        assert_eq!(tsv("a,\u{f1}", true), "a\\x2c\u{f1}");
    }

    /// Back to bytes, as zeek-cut and Zeek's own reader do.
    fn unescape(cell: &str) -> Vec<u8> {
        if cell == "(empty)" {
            return Vec::new();
        }
        let bytes = cell.as_bytes();
        let (mut out, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            match &bytes[at..] {
                [b'\\', b'\\', ..] => {
                    out.push(b'\\');
                    at += 2;
                }
                [b'\\', b'x', ..] => {
                    out.push(u8::from_str_radix(&cell[at + 2..at + 4], 16).unwrap());
                    at += 4;
                }
                [byte, ..] => {
                    out.push(*byte);
                    at += 1;
                }
                [] => break,
            }
        }
        out
    }

    fn has_literal_escape(bytes: &[u8]) -> bool {
        bytes.windows(4).any(is_wire_escape)
    }

    proptest! {
        #[test]
        fn any_bytes_of_the_wire_come_back(
            wire in proptest::collection::vec(any::<u8>(), 0..64),
            in_list in any::<bool>(),
        ) {
            prop_assume!(!has_literal_escape(&wire));
            let cell = tsv(&model::text::from_wire(&wire), in_list);
            prop_assert!(!cell.contains(['\t', '\n', '\r', '\0']));
            prop_assert!(!(in_list && cell.contains(',')));
            prop_assert_eq!(unescape(&cell), wire);
        }

        #[test]
        fn any_text_comes_back_from_tsv_and_json(text in ".*") {
            let mut out = Vec::new();
            push_json(&mut out, &text);
            let json: String = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(&json, &text);
            prop_assume!(!has_literal_escape(text.as_bytes()));
            prop_assert_eq!(unescape(&tsv(&text, false)), text.as_bytes());
        }
    }
}
