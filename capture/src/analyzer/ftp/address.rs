//! Addresses in FTP's commands and replies: PORT and PASV (RFC 959), EPRT and EPSV (RFC 2428), as lenient as
//! Zeek's `functions.bif`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// `|1|10.0.0.1|1055|`, with any delimiter. The address may be left out, or be none in particular.
pub fn extended(text: &[u8]) -> Option<(Option<IpAddr>, u16)> {
    let text = text.iter().position(|byte| !is_space(*byte)).and_then(|at| text.get(at..))?;
    let (delimiter, mut rest) = text.split_first()?;
    _ = number(&mut rest);
    let mut good = rest.first() == Some(delimiter);
    let rest = rest.get(1..).unwrap_or_default();
    let end = rest.iter().position(|byte| byte == delimiter);
    let mut ip = None;
    let host = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
    if !host.is_empty() {
        // Zeek does not care about the family where there is an address.
        ip = address(host);
        good = ip.is_some();
    }
    let Some(end) = end else { return good.then_some((ip, 0)) };
    let mut rest = rest.get(end + 1..).unwrap_or_default();
    let port = number(&mut rest).unwrap_or(0);
    // The delimiter must follow it at once.
    good &= rest.first() == Some(delimiter);
    let port = u16::try_from(port).ok()?;
    good.then_some((ip.filter(|ip| !is_any(*ip)), port))
}

/// No address in particular, of version 6: as if there were none.
fn is_any(ip: IpAddr) -> bool {
    ip == IpAddr::from([0; 16])
}

/// An address as Zeek reads it: that of version 4 with zeros before its numbers too.
fn address(text: &[u8]) -> Option<IpAddr> {
    if text.contains(&b':') {
        let ip: Ipv6Addr = std::str::from_utf8(text).ok()?.parse().ok()?;
        return Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4));
    }
    let (mut rest, mut bytes) = (text, [0; 4]);
    for (i, byte) in bytes.iter_mut().enumerate() {
        if i > 0 {
            rest = rest.strip_prefix(b".")?;
        }
        *byte = u8::try_from(number(&mut rest)?).ok()?;
    }
    rest.is_empty().then(|| bytes.into())
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
        assert_eq!(extended(b"|x||6446|"), None);
        // As lenient as Zeek where there is an address.
        assert_eq!(extended(b"|x|10.0.0.01|6446|"), None);
        assert_eq!(extended(b"||10.0.0.01|6446|"), Some((Some(v4(10, 0, 0, 1)), 6446)));
        assert_eq!(extended(b"|1|10.0.0.1"), Some((Some(v4(10, 0, 0, 1)), 0)));
        assert_eq!(extended(b"|2|::|6446|"), Some((None, 6446)));
        assert_eq!(extended(b"|1|nowhere|6446|"), None);
        assert_eq!(extended(b"|||66000|"), None);
        assert_eq!(extended(b""), None);
        assert_eq!(extended_passive(b"Extended (|||6446|)"), Some((None, 6446)));
        assert_eq!(extended_passive(b"Extended |||6446|"), None);
    }
}
