//! The key exchange of SSH: which method both ends choose (RFC 4253 section 7), and whether its messages
//! are whole.

use model::text;

use super::super::{Cx, Dir};
use super::Malformed;

/// Algorithms of a list that count (`SSH::max_kexinit_kex_algorithms` and its like).
const ALGORITHMS_MAX: usize = 100;

/// The longest string (`SSH::max_string_length`); a longer one is cut there.
const STRING_MAX: u32 = 2 * 1024 * 1024;

/// Lists of names in a KEXINIT, each with the weird where it is too long. The last two are of languages.
const LISTS: [&str; 10] = [
    "SSH_max_kexinit_kex_algorithms_exceeded",
    "SSH_max_kexinit_hostkey_algorithms_exceeded",
    "SSH_max_kexinit_encryption_algorithms_exceeded",
    "SSH_max_kexinit_encryption_algorithms_exceeded",
    "SSH_max_kexinit_mac_algorithms_exceeded",
    "SSH_max_kexinit_mac_algorithms_exceeded",
    "SSH_max_kexinit_compression_algorithms_exceeded",
    "SSH_max_kexinit_compression_algorithms_exceeded",
    "SSH_max_kexinit_languages_exceeded",
    "SSH_max_kexinit_languages_exceeded",
];

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
    /// into; of those, and of GSS and RSA, it knows no others. The server's key, where it is in the message.
    pub fn check<'a>(
        self,
        cx: &mut Cx<'_>,
        kind: u8,
        body: &'a [u8],
        rest: &'a [u8],
    ) -> Result<Option<&'a [u8]>, Malformed> {
        let (strings, bytes) = match (self, kind) {
            (Exchange::Ecc, 30) => (1, rest),
            (Exchange::Ecc, 31) => (3, rest),
            (Exchange::Dh, 30) | (Exchange::Gex, 32) | (Exchange::Gss, 31 | 33) => (1, body),
            (Exchange::Gex, 31) | (Exchange::Gss, 30 | 41) => (2, body),
            (Exchange::Dh, 31) | (Exchange::Gex, 33) => (3, body),
            (Exchange::Rsa, 30) => (2, body),
            (Exchange::Rsa, 31 | 32) => (1, body),
            (Exchange::Gex, 30) => return whole(rest.len() >= 4).map(|()| None),
            (Exchange::Gex, 34) | (Exchange::Gss, 40) => {
                return whole(rest.len() >= 12).map(|()| None);
            }
            (Exchange::Gss, 32) => (2, body),
            (Exchange::Gss, 34) => (2, body.get(8..).ok_or(Malformed)?),
            (Exchange::Dh | Exchange::Gex, _) => return Ok(None),
            (Exchange::Ecc | Exchange::Gss | Exchange::Rsa, _) => return Err(Malformed),
        };
        let mut bytes = bytes;
        let first = string(cx, &mut bytes)?;
        for _ in 1..strings {
            string(cx, &mut bytes)?;
        }
        let has_key = matches!(
            (self, kind),
            (Exchange::Ecc | Exchange::Dh, 31) | (Exchange::Gex | Exchange::Gss, 33)
        );
        Ok(has_key.then_some(first))
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

/// What both ends agree on; `Algorithm negotiation failed` where they do not.
#[derive(Debug, Default)]
pub struct Algorithms {
    pub kex: String,
    pub host_key: String,
    pub cipher: String,
    pub mac: String,
    pub compression: String,
}

/// The lists of one end, without the languages.
type Offer = [Vec<u8>; 8];

/// The names of a list, as many as count.
fn names(list: &[u8]) -> Vec<&[u8]> {
    list.split(|byte| *byte == b',').take(ALGORITHMS_MAX).collect()
}

/// The client's first name that the server has too.
fn choose<'a>(client: &'a [u8], server: &[u8]) -> Option<&'a [u8]> {
    let server = names(server);
    names(client).into_iter().find(|name| server.contains(name))
}

impl Algorithms {
    fn of(client: &Offer, server: &Offer) -> Algorithms {
        let one = |i: usize| match choose(&client[i], &server[i]) {
            Some(name) => text::from_wire(name).into_owned(),
            None => "Algorithm negotiation failed".to_owned(),
        };
        // One for each direction, which may differ.
        let both = |i: usize| {
            let (to_server, to_client) = (one(i), one(i + 1));
            if to_server == to_client {
                return to_server;
            }
            format!("To server: {to_server}, to client: {to_client}")
        };
        Algorithms {
            kex: one(0),
            host_key: one(1),
            cipher: both(2),
            mac: both(4),
            compression: both(6),
        }
    }
}

/// What both ends offer.
#[derive(Debug, Default)]
pub struct Negotiation {
    /// Whose offer came first, and what it was.
    first: Option<(Dir, Box<Offer>)>,
}

impl Negotiation {
    /// A KEXINIT; once both ends have sent theirs, the family of the method that is chosen, if it is known,
    /// and all that was agreed on.
    pub fn offer(
        &mut self,
        cx: &mut Cx<'_>,
        dir: Dir,
        body: &[u8],
    ) -> Result<Option<(Option<Exchange>, Algorithms)>, Malformed> {
        const COOKIE: usize = 16;
        /// Whether a guess follows, and a reserved number.
        const TAIL: usize = 5;
        let mut bytes = body.get(COOKIE..).ok_or(Malformed)?;
        let mut lists = [&[][..]; LISTS.len()];
        for list in &mut lists {
            *list = string(cx, &mut bytes)?;
        }
        whole(bytes.len() >= TAIL)?;
        let offer = std::array::from_fn(|i| lists[i].to_vec());
        let mut agreed = None;
        match &self.first {
            None => self.first = Some((dir, Box::new(offer))),
            Some((whose, _)) if *whose == dir => {}
            Some((_, other)) => {
                let (client, server) = match dir {
                    Dir::Orig => (&offer, &**other),
                    Dir::Resp => (&**other, &offer),
                };
                agreed = Some((exchange(cx, client, server), Algorithms::of(client, server)));
            }
        }
        for (list, weird) in lists.iter().zip(LISTS) {
            let count = list.split(|byte| *byte == b',').count();
            if count > ALGORITHMS_MAX {
                cx.gave_up = true;
                let addl = format!("{count} > {ALGORITHMS_MAX}");
                cx.weird(weird, Some(&addl), Some("SSH"));
            }
        }
        Ok(agreed)
    }
}

/// The family of the method that both ends choose.
fn exchange(cx: &mut Cx<'_>, client: &Offer, server: &Offer) -> Option<Exchange> {
    let chosen = choose(&client[0], &server[0])?;
    let exchange = Exchange::of(chosen);
    if exchange.is_none() {
        let name = text::from_wire(chosen);
        cx.weird("ssh_unknown_kex_algorithm", Some(&name), Some("SSH"));
    }
    exchange
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(lists: [&str; 8]) -> Offer {
        lists.map(|list| list.as_bytes().to_vec())
    }

    #[test]
    fn the_client_chooses() {
        let client = offer(["a,b", "k", "c1,c2", "c1", "m", "m", "none,zlib", "none"]);
        let server = offer(["b,a", "l", "c2,c1", "c2,c1", "m", "n", "zlib", "none"]);
        let found = Algorithms::of(&client, &server);
        assert_eq!((&*found.kex, &*found.host_key), ("a", "Algorithm negotiation failed"));
        assert_eq!(found.cipher, "c1");
        assert_eq!(found.mac, "To server: m, to client: Algorithm negotiation failed");
        assert_eq!(found.compression, "To server: zlib, to client: none");
    }

    #[test]
    fn names_beyond_the_limit_do_not_count() {
        let mut many = vec![b','; ALGORITHMS_MAX];
        many.extend_from_slice(b"a");
        assert_eq!(choose(&many, b"a"), None);
        assert_eq!(choose(&many[1..], b"a"), Some(&b"a"[..]));
        assert_eq!(choose(b"", b""), Some(&b""[..]));
    }
}
