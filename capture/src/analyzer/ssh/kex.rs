//! The key exchange of SSH: which method both ends choose (RFC 4253 section 7), and whether its messages
//! are whole.

use model::text;

use super::super::{Cx, Dir};
use super::Malformed;

/// Algorithms of a list that count (`SSH::max_kexinit_kex_algorithms`).
const ALGORITHMS_MAX: usize = 100;

/// The longest string (`SSH::max_string_length`); a longer one is cut there.
const STRING_MAX: u32 = 2 * 1024 * 1024;

/// Lists of names in a KEXINIT.
const LISTS: usize = 10;

/// A family of methods, whose messages look alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchange {
    /// A fixed group, RFC 4253 section 8.
    Dh,
    /// A group that is asked for, RFC 4419.
    Gex,
    /// Elliptic curves and what is written like them, RFC 5656 and 8731.
    Ecc,
    /// GSS-API, RFC 4462.
    Gss,
    /// RSA, RFC 4432.
    Rsa,
}

impl Exchange {
    fn of(method: &[u8]) -> Option<Exchange> {
        const WHOLE: &[(&[u8], Exchange)] = &[
            (b"rsa1024-sha1", Exchange::Rsa),
            (b"rsa2048-sha256", Exchange::Rsa),
            (b"diffie-hellman-group1-sha1", Exchange::Dh),
            (b"diffie-hellman-group14-sha1", Exchange::Dh),
            (b"diffie-hellman-group14-sha256", Exchange::Dh),
            (b"diffie-hellman-group16-sha512", Exchange::Dh),
            (b"diffie-hellman-group-exchange-sha1", Exchange::Gex),
            (b"diffie-hellman-group-exchange-sha256", Exchange::Gex),
            (b"ecmqv-sha2", Exchange::Ecc),
        ];
        const BEGINNINGS: &[(&[u8], Exchange)] = &[
            (b"gss-", Exchange::Gss),
            (b"ecdh-sha2-", Exchange::Ecc),
            (b"curve25519-sha256", Exchange::Ecc),
            (b"sntrup761x25519-sha512", Exchange::Ecc),
            (b"mlkem", Exchange::Ecc),
        ];
        let whole = WHOLE.iter().find(|(name, _)| *name == method);
        let found = whole.or_else(|| BEGINNINGS.iter().find(|(name, _)| method.starts_with(name)));
        found.map(|(_, exchange)| *exchange)
    }

    /// Whether a message is whole. `rest` is it with the padding, which Zeek lets the messages of curves run
    /// into; of those, and of GSS and RSA, it knows no others.
    pub fn check(
        self,
        cx: &mut Cx<'_>,
        kind: u8,
        body: &[u8],
        rest: &[u8],
    ) -> Result<(), Malformed> {
        let (strings, bytes) = match (self, kind) {
            (Exchange::Ecc, 30) => (1, rest),
            (Exchange::Ecc, 31) => (3, rest),
            (Exchange::Dh, 30) | (Exchange::Gex, 32) | (Exchange::Gss, 31 | 33) => (1, body),
            (Exchange::Gex, 31) | (Exchange::Gss, 30 | 41) => (2, body),
            (Exchange::Dh, 31) | (Exchange::Gex, 33) => (3, body),
            (Exchange::Rsa, 30) => (2, body),
            (Exchange::Rsa, 31 | 32) => (1, body),
            (Exchange::Gex, 30) => return whole(rest.len() >= 4),
            (Exchange::Gex, 34) | (Exchange::Gss, 40) => return whole(rest.len() >= 12),
            (Exchange::Gss, 32) => (2, body),
            (Exchange::Gss, 34) => (2, body.get(8..).ok_or(Malformed)?),
            (Exchange::Dh | Exchange::Gex, _) => return Ok(()),
            (Exchange::Ecc | Exchange::Gss | Exchange::Rsa, _) => return Err(Malformed),
        };
        let mut bytes = bytes;
        for _ in 0..strings {
            string(cx, &mut bytes)?;
        }
        Ok(())
    }
}

fn whole(is: bool) -> Result<(), Malformed> {
    if is { Ok(()) } else { Err(Malformed) }
}

fn string<'a>(cx: &mut Cx<'_>, bytes: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let (head, rest) = bytes.split_first_chunk::<4>().ok_or(Malformed)?;
    let told = u32::from_be_bytes(*head);
    if told > STRING_MAX {
        cx.gave_up = true;
        let addl = format!("{told} > {STRING_MAX}");
        cx.weird("SSH_max_string_length_exceeded", Some(&addl), Some("SSH"));
    }
    let len = told.min(STRING_MAX) as usize;
    let (value, rest) = rest.split_at_checked(len).ok_or(Malformed)?;
    *bytes = rest;
    Ok(value)
}

/// What both ends offer.
#[derive(Debug, Default)]
pub struct Negotiation {
    /// Whose offer came first, and its methods.
    first: Option<(Dir, Vec<u8>)>,
}

impl Negotiation {
    /// A KEXINIT; the family of the method that is chosen, once both ends have sent theirs.
    pub fn offer(
        &mut self,
        cx: &mut Cx<'_>,
        dir: Dir,
        body: &[u8],
    ) -> Result<Option<Exchange>, Malformed> {
        const COOKIE: usize = 16;
        /// Whether a guess follows, and a reserved number.
        const TAIL: usize = 5;
        let mut bytes = body.get(COOKIE..).ok_or(Malformed)?;
        let methods = string(cx, &mut bytes)?;
        for _ in 1..LISTS {
            string(cx, &mut bytes)?;
        }
        whole(bytes.len() >= TAIL)?;
        let Some((whose, other)) = &self.first else {
            self.first = Some((dir, methods.to_vec()));
            return Ok(None);
        };
        if *whose == dir {
            return Ok(None);
        }
        let (client, server) = match dir {
            Dir::Orig => (methods, other.as_slice()),
            Dir::Resp => (other.as_slice(), methods),
        };
        let names = |list: &'_ [u8]| -> Vec<Vec<u8>> {
            list.split(|byte| *byte == b',').take(ALGORITHMS_MAX).map(<[u8]>::to_vec).collect()
        };
        let server = names(server);
        let Some(chosen) = names(client).into_iter().find(|name| server.contains(name)) else {
            return Ok(None);
        };
        let exchange = Exchange::of(&chosen);
        if exchange.is_none() {
            let name = text::from_wire(&chosen);
            cx.weird("ssh_unknown_kex_algorithm", Some(&name), Some("SSH"));
        }
        Ok(exchange)
    }
}
