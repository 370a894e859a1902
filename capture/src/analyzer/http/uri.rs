//! The target of a request with its escapes undone, as Zeek logs it (`HTTP.cc`, `unescape_URI`).

/// Undoes the escapes of `uri` into `plain`; names the oddities met.
pub fn unescape(uri: &[u8], plain: &mut Vec<u8>, weird: &mut dyn FnMut(&'static str)) {
    plain.clear();
    let mut rest = uri;
    while let Some(at) = memchr::memchr(b'%', rest) {
        plain.extend_from_slice(rest.get(..at).unwrap_or_default());
        rest = escape(rest.get(at + 1..).unwrap_or_default(), plain, weird);
    }
    plain.extend_from_slice(rest);
}

/// One escape behind its `%`; what follows it.
fn escape<'a>(
    code: &'a [u8],
    plain: &mut Vec<u8>,
    weird: &mut dyn FnMut(&'static str),
) -> &'a [u8] {
    match *code {
        [] => {
            plain.push(b'%');
            weird("illegal_%_at_end_of_URI");
            code
        }
        [one] => {
            plain.extend_from_slice(&[b'%', one]);
            weird("partial_escape_at_end_of_URI");
            &[]
        }
        [b'%', ..] => {
            // The first `%` is dropped, the second may begin an escape.
            weird("double_%_in_URI");
            code
        }
        [a, b, ref rest @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
            plain.push(hex(a) << 4 | hex(b));
            rest
        }
        [b'u', a, b, c, d, ref rest @ ..] if [a, b, c, d].iter().all(u8::is_ascii_hexdigit) => {
            // Never standard, but used: %u00AE. A zero high byte is dropped.
            if (a, b) != (b'0', b'0') {
                plain.push(hex(a) << 4 | hex(b));
            }
            plain.push(hex(c) << 4 | hex(d));
            rest
        }
        [one, ref rest @ ..] => {
            plain.extend_from_slice(&[b'%', one]);
            weird("unescaped_%_in_URI");
            rest
        }
    }
}

/// The value of a hexadecimal digit; 0 for any other byte.
pub fn hex(digit: u8) -> u8 {
    char::from(digit).to_digit(16).map_or(0, |value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        for (uri, want, weirds) in [
            (&b"/a%20b"[..], &b"/a b"[..], &[][..]),
            (b"/%e2%82%ac", "/\u{20ac}".as_bytes(), &[]),
            (b"/%", b"/%", &["illegal_%_at_end_of_URI"]),
            (b"/%4", b"/%4", &["partial_escape_at_end_of_URI"]),
            (b"/%%41", b"/A", &["double_%_in_URI"]),
            (b"/%zz", b"/%zz", &["unescaped_%_in_URI"]),
            (b"/%u0041%u4142", b"/AAB", &[]),
            (b"/%u004", b"/%u004", &["unescaped_%_in_URI"]),
        ] {
            let (mut plain, mut seen) = (Vec::new(), Vec::new());
            unescape(uri, &mut plain, &mut |name| seen.push(name));
            assert_eq!((plain.as_slice(), seen.as_slice()), (want, weirds));
        }
    }
}
