//! Tokens of AUTH GSSAPI (RFC 2228 section 3): base64 in ADAT commands and in replies to them. Those of
//! Globus' GSI are TLS, which is what they are handed on as. Source: Zeek's `FTP_ADAT_Analyzer`.

use super::super::http::transfer::Base64;
use super::super::{Cx, Dir};
use super::text;

/// An exchange on its way.
#[derive(Debug, Default)]
pub struct Adat {
    /// The client's first token was met.
    begun: bool,
    over: bool,
}

impl Adat {
    /// Any line of the control connection.
    pub fn line(&mut self, cx: &mut Cx<'_>, dir: Dir, line: &[u8]) {
        if self.over {
            return;
        }
        let token = match dir {
            Dir::Orig => self.request(cx, line),
            Dir::Resp => self.reply(cx, line),
        };
        if let Some(token) = token {
            cx.hand_on(dir, &token);
        }
    }

    fn request(&mut self, cx: &mut Cx<'_>, line: &[u8]) -> Option<Vec<u8>> {
        let (word, rest) = text::word(text::skip_blanks(line));
        if b"AUTH".starts_with(word) {
            self.over = true;
        }
        if !b"ADAT".starts_with(word) {
            return None;
        }
        let token = decode(cx, text::skip_blanks(rest));
        if std::mem::replace(&mut self.begun, true) {
            return token;
        }
        if token.is_none() {
            cx.weird("ftp_adat_bad_first_token_encoding", None, Some("FTP_ADAT"));
        }
        let token = token.filter(|token| is_handshake(token));
        self.over |= token.is_none();
        token
    }

    fn reply(&mut self, cx: &mut Cx<'_>, line: &[u8]) -> Option<Vec<u8>> {
        let code = text::reply_code(line)?;
        self.over |=
            matches!(code, 232 | 234 | 235 | 421 | 431 | 500 | 501 | 503 | 535 | 631 | 632 | 633);
        if !matches!(code, 235 | 334 | 335) {
            return None;
        }
        let rest = line.get(3..)?;
        let rest = text::skip_blanks(rest.strip_prefix(b"-").unwrap_or(rest));
        decode(cx, rest.strip_prefix(b"ADAT=")?)
    }
}

/// Whether a token is one record of a TLS handshake.
fn is_handshake(token: &[u8]) -> bool {
    match token {
        [0x16, _, _, high, low, rest @ ..] => {
            rest.len() == usize::from(u16::from_be_bytes([*high, *low]))
        }
        _ => false,
    }
}

fn decode(cx: &mut Cx<'_>, text: &[u8]) -> Option<Vec<u8>> {
    let (mut base64, mut plain) = (Base64::default(), Vec::new());
    let mut illegal = |what: String| cx.weird("base64_illegal_encoding", Some(&what), None);
    base64.decode(text, &mut plain, &mut illegal);
    base64.finish(&mut plain, &mut illegal);
    (!base64.failed()).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::super::super::Transport;
    use super::super::super::testing::Bench;
    use super::super::KIND;
    use super::*;

    #[test]
    fn tokens() {
        let mut bench = Bench::new(&KIND, Transport::Tcp);
        bench.call(|_, cx| {
            assert_eq!(decode(cx, b"FgMBAAEB"), Some(vec![0x16, 3, 1, 0, 1, 1]));
            assert_eq!(decode(cx, b"Fg!"), None);
        });
        assert_eq!(bench.weirds, ["base64_illegal_encoding"]);
        assert!(is_handshake(&[0x16, 3, 1, 0, 1, 1]));
        assert!(!is_handshake(&[0x16, 3, 1, 0, 2, 1]));
        assert!(!is_handshake(&[0x60, 3, 1, 0, 1, 1]));
    }

    #[test]
    fn replies() {
        let mut adat = Adat::default();
        Bench::new(&KIND, Transport::Tcp).call(|_, cx| {
            assert_eq!(adat.reply(cx, b"335 ADAT=AAEC"), Some(vec![0, 1, 2]));
            assert_eq!(adat.reply(cx, b"335-more"), None);
            assert!(!adat.over);
            assert_eq!(adat.reply(cx, b"235 ADAT=AAEC"), Some(vec![0, 1, 2]));
            assert!(adat.over);
        });
    }
}
