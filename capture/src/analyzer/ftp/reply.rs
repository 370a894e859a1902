//! What FTP's replies say in words.

use super::text::reply_code;

/// Whether a line in the middle of a reply is one of its own, from a server that never ends the one before: a
/// code and some words.
pub fn is_like_reply(line: &[u8]) -> bool {
    const WORDS: usize = 10;
    reply_code(line).is_some_and(|code| code >= 100)
        && line.get(3) == Some(&b' ')
        && line.get(4..4 + WORDS).is_some_and(|words| words.iter().all(|b| matches!(b, 32..=126)))
}

/// The last number in a text; 0 if there is none.
pub fn last_number(text: &[u8]) -> u64 {
    let Some(last) = text.iter().rposition(u8::is_ascii_digit) else { return 0 };
    let from = text[..last].iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |at| at + 1);
    let digits = text.get(from..=last).unwrap_or_default();
    digits
        .iter()
        .fold(0, |sum: u64, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(last_number(b"Opening 2 files (1048576 bytes)."), 1_048_576);
        assert_eq!(last_number(b"154427"), 154_427);
        assert_eq!(last_number(b"none"), 0);
        assert_eq!(last_number(&[b'9'; 30]), u64::MAX);
    }

    #[test]
    fn lines_like_replies() {
        assert!(is_like_reply(b"226 Transfer complete."));
        assert!(!is_like_reply(b"   File may not have"));
        assert!(!is_like_reply(b"226 short"));
        assert!(!is_like_reply(b"026 Transfer complete."));
        assert!(!is_like_reply(b"226-Transfer complete."));
    }
}
