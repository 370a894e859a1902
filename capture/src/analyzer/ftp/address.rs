//! Addresses in FTP's commands and replies: PORT and PASV (RFC 959), EPRT and EPSV (RFC 2428), as lenient as
//! Zeek's `functions.bif`.

use std::net::{IpAddr, Ipv4Addr};

use super::text::is_space;

/// `10,0,0,1,4,31`: four bytes of an address, two of a port. What follows does not matter.
pub fn list(text: &[u8]) -> Option<(IpAddr, u16)> {
    /// Six digits and the commas between them.
    const SHORTEST: usize = 11;
    if text.len() < SHORTEST {
        return None;
    }
    let mut rest = text;
    let mut bytes = [0; 6];
    for (i, byte) in bytes.iter_mut().enumerate() {
        if i > 0 {
            rest = rest.strip_prefix(b",")?;
        }
        *byte = u8::try_from(number(&mut rest)?).ok()?;
    }
    let [a, b, c, d, high, low] = bytes;
    Some((Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low])))
}

/// The message of a reply to PASV: a list in brackets, behind `PORT`, or where its first comma says.
pub fn passive(message: &[u8]) -> Option<(IpAddr, u16)> {
    let find = |byte: u8| message.iter().position(|at| *at == byte);
    let from = if let Some(at) = find(b'(') {
        at + 1
    } else if let Some(at) = memchr::memmem::find(message, b"PORT") {
        at + 5
    } else {
        let comma = find(b',')?;
        let before = message.get(..comma)?;
        before.iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |at| at + 1)
    };
    list(message.get(from..)?)
}

/// `|1|10.0.0.1|1055|`, with any delimiter. The address may be left out.
pub fn extended(text: &[u8]) -> Option<(Option<IpAddr>, u16)> {
    let text = text.iter().position(|byte| !is_space(*byte)).and_then(|at| text.get(at..))?;
    let (delimiter, rest) = text.split_first()?;
    let mut fields = rest.split(|byte| byte == delimiter);
    let family = fields.next()?;
    if !family.is_empty() && std::str::from_utf8(family).ok()?.trim().parse::<i64>().is_err() {
        return None;
    }
    let address = fields.next()?;
    let address = match std::str::from_utf8(address).ok()? {
        "" => None,
        text => Some(text.parse().ok()?),
    };
    let (mut port, after) = (fields.next()?, fields.next());
    let number = number(&mut port).unwrap_or(0);
    // The delimiter must follow it at once.
    (port.is_empty() && after.is_some()).then_some(())?;
    Some((address, u16::try_from(number).ok()?))
}

/// The message of a reply to EPSV: the same in brackets.
pub fn extended_passive(message: &[u8]) -> Option<(Option<IpAddr>, u16)> {
    let open = message.iter().position(|byte| *byte == b'(')?;
    extended(message.get(open + 1..)?)
}

/// A decimal number, as C reads one: behind white space, and as far as its digits go.
fn number(rest: &mut &[u8]) -> Option<u32> {
    let from = rest.iter().position(|byte| !is_space(*byte))?;
    let text = rest.get(from..)?;
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, after) = text.split_at(end);
    let value = std::str::from_utf8(digits).ok()?.parse().ok()?;
    *rest = after;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
        IpAddr::from([a, b, c, d])
    }

    #[test]
    fn lists() {
        assert_eq!(list(b"10,0,0,1,4,31"), Some((v4(10, 0, 0, 1), 1055)));
        assert_eq!(list(b" 10, 0,0,1,4,31)."), Some((v4(10, 0, 0, 1), 1055)));
        assert_eq!(list(b"10,0,0,1,4"), None);
        assert_eq!(list(b"10,0,0,1,4,256"), None);
        assert_eq!(list(b"10,0,0,1;4,31"), None);
        assert_eq!(list(b"99999999999,0,0,1,4,31"), None);
    }

    #[test]
    fn replies_to_pasv() {
        let want = Some((v4(10, 0, 0, 1), 1055));
        assert_eq!(passive(b"Entering Passive Mode (10,0,0,1,4,31)."), want);
        assert_eq!(passive(b"use PORT 10,0,0,1,4,31"), want);
        assert_eq!(passive(b"Passive 10,0,0,1,4,31"), want);
        assert_eq!(passive(b"10,0,0,1,4,31"), want);
        assert_eq!(passive(b"Passive"), None);
        assert_eq!(passive(b"PORT"), None);
        assert_eq!(passive(b""), None);
    }

    #[test]
    fn extended_ones() {
        assert_eq!(extended(b"|1|10.0.0.1|1055|"), Some((Some(v4(10, 0, 0, 1)), 1055)));
        let v6 = "2001:db8::1".parse().ok();
        assert_eq!(extended(b" !2!2001:db8::1!1055!"), Some((v6, 1055)));
        assert_eq!(extended(b"|||6446|"), Some((None, 6446)));
        assert_eq!(extended(b"|||6446"), None);
        assert_eq!(extended(b"|1|nowhere|6446|"), None);
        assert_eq!(extended(b"|||66000|"), None);
        assert_eq!(extended(b""), None);
        assert_eq!(extended_passive(b"Extended (|||6446|)"), Some((None, 6446)));
        assert_eq!(extended_passive(b"Extended |||6446|"), None);
    }
}
