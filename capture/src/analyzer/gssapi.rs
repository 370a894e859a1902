//! GSS-API with SPNEGO inside other protocols (RFC 2743, 4178), and what its tokens carry: NTLM or
//! Kerberos. Not an analyzer of the flow, but one of its protocols.
//!
//! Source: Zeek's `GSSAPI.cc`, `gssapi-protocol.pac`, `gssapi-analyzer.pac`.

use super::wire::Reader;
use super::{Cx, asn1, krb, ntlm};

/// Name in `service`.
const NAME: &str = "gssapi";

/// Tag of a token that begins a negotiation.
const INIT: u8 = 0x60;

/// GSS-API at work.
#[derive(Debug, Default)]
pub struct Inside {
    confirmed: bool,
    ntlm: ntlm::Inside,
    krb: krb::Inside,
}

impl Inside {
    /// A token.
    pub fn feed(&mut self, cx: &mut Cx<'_>, data: &[u8]) {
        if self.token(cx, data).is_none() {
            return cx.violation_inside(NAME);
        }
        if !self.confirmed {
            self.confirmed = true;
            cx.confirm_inside(NAME);
        }
    }

    fn token(&mut self, cx: &mut Cx<'_>, data: &[u8]) -> Option<()> {
        let mut r = Reader::new(data);
        // Tokens that sign or wrap, by their first two bytes.
        let is_message = matches!(data, [4 | 5, 4, ..]);
        let wrapper = asn1::meta(&mut r)?;
        if is_message {
            return Some(());
        }
        let is_init = wrapper.tag == INIT;
        if is_init {
            asn1::element(&mut r)?;
            asn1::meta(&mut r)?;
        }
        asn1::meta(&mut r)?;
        while !r.is_empty() {
            let meta = asn1::meta(&mut r)?;
            let mut value = Reader::new(r.take(meta.len)?);
            match meta.index() {
                0 | 1 | 3 => {
                    asn1::element(&mut value)?;
                }
                2 => self.mechanism(cx, asn1::element(&mut value)?.1)?,
                _ => return None,
            }
        }
        Some(())
    }

    /// A token of the mechanism that is negotiated.
    fn mechanism(&mut self, cx: &mut Cx<'_>, token: &[u8]) -> Option<()> {
        match token.first() {
            Some(b'N') if token.starts_with(ntlm::MAGIC) => self.ntlm.feed(cx, token),
            Some(&INIT) => {
                let mut r = Reader::new(token);
                asn1::meta(&mut r)?;
                asn1::element(&mut r)?;
                r.skip(2)?;
                self.krb.feed(cx, r.rest());
            }
            Some(0x6e | 0x6f) => self.krb.feed(cx, token),
            _ => {}
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyzer::testing::Bench;
    use crate::analyzer::{Transport, radius};

    /// An answer with a token of NTLM, of a kind that has no form.
    const ANSWER: &[u8] = &[
        0xa1, 0x1a, 0x30, 0x18, 0xa0, 3, 10, 1, 1, 0xa2, 0x11, 4, 0x0f, b'N', b'T', b'L', b'M',
        b'S', b'S', b'P', 0, 9, 0, 0, 0, 1, 2, 3,
    ];

    fn services(token: &[u8]) -> Vec<&'static str> {
        // Any analyzer: only what it works with is wanted.
        let mut bench = Bench::new(&radius::KIND, Transport::Udp);
        bench.call(|_, cx| Inside::default().feed(cx, token));
        bench.services.names().to_vec()
    }

    #[test]
    fn the_mechanism_comes_first() {
        assert_eq!(services(ANSWER), ["ntlm", "gssapi"]);
        assert_eq!(services(&ANSWER[..ANSWER.len() - 1]), [""; 0]);
        assert_eq!(services(&[4, 4, 1]), ["gssapi"]);
        assert_eq!(services(&[5, 4, 1, 2, 3, 4]), ["gssapi"]);
        assert_eq!(services(&[0x60, 8, 6, 2, 1, 1, 0xa0, 2, 0x30, 0]), ["gssapi"]);
    }

    #[test]
    fn cut_or_changed_anywhere() {
        for at in 0..ANSWER.len() {
            services(&ANSWER[..at]);
            let mut changed = ANSWER.to_vec();
            for byte in [0, 0xff, 0x60, 0x84] {
                changed[at] = byte;
                services(&changed);
            }
        }
    }
}
