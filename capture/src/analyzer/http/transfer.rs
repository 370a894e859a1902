//! Content-Transfer-Encoding: base64 and quoted-printable (RFC 2045 section 6), a line at a time.

use super::uri::hex;

/// A base64 decoder as lenient as Zeek's (`Base64.cc`): what does not belong is skipped and told of.
#[derive(Debug, Default)]
pub struct Base64 {
    group: [u8; 4],
    filled: usize,
    padding: usize,
    padded: bool,
    errors: u32,
}

impl Base64 {
    /// Decodes `text` into `plain`; calls `illegal` with the first thing that does not belong.
    pub fn decode(&mut self, text: &[u8], plain: &mut Vec<u8>, illegal: &mut dyn FnMut(String)) {
        for byte in text {
            if *byte == b'=' {
                self.padding += 1;
            }
            let Some(value) = value(*byte) else {
                self.error(illegal, || format!("character {byte} ignored by Base64 decoding"));
                continue;
            };
            if let Some(place) = self.group.get_mut(self.filled) {
                *place = value;
            }
            self.filled += 1;
            if self.filled == 4 {
                self.flush(plain, illegal);
            }
        }
    }

    /// The text is over: an incomplete group is padded.
    pub fn finish(&mut self, plain: &mut Vec<u8>, illegal: &mut dyn FnMut(String)) {
        if self.filled == 0 {
            return;
        }
        let missing = 4 - self.filled.min(4);
        illegal(format!("incomplete base64 group, padding with {} bits of 0", missing * 6));
        self.decode(b"===".get(..missing).unwrap_or_default(), plain, illegal);
    }

    /// Whether anything did not belong.
    pub fn failed(&self) -> bool {
        self.errors > 0
    }

    fn flush(&mut self, plain: &mut Vec<u8>, illegal: &mut dyn FnMut(String)) {
        self.filled = 0;
        if self.padded {
            self.error(illegal, || "extra base64 groups after '=' padding are ignored".into());
            return;
        }
        let [a, b, c, d] = self.group;
        let bytes = [a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d];
        let count = 3usize.saturating_sub(self.padding);
        plain.extend_from_slice(bytes.get(..count).unwrap_or_default());
        self.padded = self.padding > 0;
        self.padding = 0;
    }

    fn error(&mut self, illegal: &mut dyn FnMut(String), text: impl FnOnce() -> String) {
        self.errors = self.errors.saturating_add(1);
        if self.errors == 1 {
            illegal(text());
        }
    }
}

fn value(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        b'=' => 0,
        _ => return None,
    })
}

/// Decodes one line of quoted-printable text into `plain`, with its line end unless that is soft.
pub fn quoted_printable(line: &[u8], plain: &mut Vec<u8>) {
    let end = line.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(0, |at| at + 1);
    let mut rest = line.get(..end).unwrap_or_default();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, tail) {
            (b'=', []) => return,
            (b'=', [a, b, after @ ..]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                plain.push(hex(*a) << 4 | hex(*b));
                rest = after;
            }
            _ => plain.push(*byte),
        }
    }
    plain.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base64(text: &[u8]) -> (Vec<u8>, Vec<String>) {
        let (mut plain, mut illegal) = (Vec::new(), Vec::new());
        let mut decoder = Base64::default();
        decoder.decode(text, &mut plain, &mut |text| illegal.push(text));
        decoder.finish(&mut plain, &mut |text| illegal.push(text));
        (plain, illegal)
    }

    #[test]
    fn base64_is_lenient() {
        assert_eq!(base64(b"aGVsbG8="), (b"hello".to_vec(), vec![]));
        assert_eq!(
            base64(b"aGVs bG8="),
            (b"hello".to_vec(), vec!["character 32 ignored by Base64 decoding".into()])
        );
        assert_eq!(base64(b"aGVsbG8").0, b"hello");
        assert_eq!(base64(b"aGVsbG8").1, ["incomplete base64 group, padding with 6 bits of 0"]);
        assert_eq!(base64(b"aA==aA==").1, ["extra base64 groups after '=' padding are ignored"]);
        assert_eq!(base64(b"===="), (vec![], vec![]));
    }

    #[test]
    fn quoted_printable_lines() {
        for (line, want) in [
            (&b"a=20b  "[..], &b"a b\r\n"[..]),
            (b"soft=", b"soft"),
            (b"bad=zz", b"bad=zz\r\n"),
            (b"", b"\r\n"),
        ] {
            let mut plain = Vec::new();
            quoted_printable(line, &mut plain);
            assert_eq!(plain, want);
        }
    }
}
