//! Messages of RDP before encryption: X.224, MCS and GCC, and their blocks of parameters.
//!
//! Every parser says `None` for what is malformed. Source: Zeek's `rdp-protocol.pac`.

use super::Security;
use crate::analyzer::asn1;
use crate::analyzer::wire::Reader;

/// What a message has shown.
#[derive(Debug, Default)]
pub struct Seen<'a> {
    /// Parameters of an end: it is RDP.
    pub parameters: bool,
    /// How the connection goes on from here.
    pub security: Security,
    /// Channels that the client asks for.
    pub channels: u32,
    /// Certificates of the server.
    pub certificates: Vec<&'a [u8]>,
}

/// Most channels and certificates, and most bytes of a key or certificate, that Zeek takes.
const COUNT_MAX: u32 = 1000;
const DATA_LEN_MAX: u32 = 262_144;
/// Bytes of the client's core parameters up to the last that Zeek reads.
const CLIENT_CORE_LEN: usize = 206;

/// A TPKT with what is in it.
pub fn tpkt<'a>(unit: &'a [u8], seen: &mut Seen<'a>) -> Option<()> {
    let mut r = Reader::new(unit);
    r.skip(4)?;
    let len = usize::from(r.u8()?);
    match r.u8()? {
        0xd0 => confirm(&mut r, len, seen),
        0xe0 => request(&mut r, len),
        0xf0 => {
            r.skip(2)?;
            match r.u8()? {
                0x65 => client(&mut r, seen),
                0x66 => server(&mut r, seen),
                _ => Some(()),
            }
        }
        _ => Some(()),
    }
}

/// Connection request; `len` is its length without its own byte.
fn request(r: &mut Reader<'_>, len: usize) -> Option<()> {
    let before = r.len();
    r.skip(5)?;
    let mut cookie = *r;
    if cookie.take(17) == Some(b"Cookie: mstshash=") {
        *r = cookie;
        let value = cookie.rest();
        let end = value.iter().position(|byte| *byte == b'\r')?;
        r.skip(end)?;
        if r.take(2)? != b"\r\n" {
            return None;
        }
    }
    if before - r.len() + 1 == len {
        return Some(());
    }
    r.skip(2)?;
    if r.le16()? != 8 {
        return None;
    }
    r.skip(4)
}

/// Connection confirm.
fn confirm(r: &mut Reader<'_>, len: usize, seen: &mut Seen<'_>) -> Option<()> {
    r.skip(5)?;
    if len == 6 {
        return Some(());
    }
    match r.u8()? {
        2 => {
            r.skip(1)?;
            if r.le16()? != 8 {
                return None;
            }
            if r.le32()? > 0 {
                seen.security = Security::Tls;
            }
            Some(())
        }
        3 => r.skip(7),
        _ => None,
    }
}

fn client<'a>(r: &mut Reader<'a>, seen: &mut Seen<'a>) -> Option<()> {
    // The rest of the type's length, domains and a flag; three sets of limits.
    for _ in 0..7 {
        asn1::element(r)?;
    }
    r.skip(4)?;
    let key = r.u16()?;
    r.skip(key.into())?;
    r.skip(2 + 8)?;
    if r.take(4)? != b"Duca" {
        return None;
    }
    r.skip(2)?;
    blocks(r, seen)
}

fn server<'a>(r: &mut Reader<'a>, seen: &mut Seen<'a>) -> Option<()> {
    r.skip(3)?;
    for _ in 0..3 {
        asn1::element(r)?;
    }
    r.skip(4)?;
    let key = r.u16()?;
    r.skip(key.into())?;
    r.skip(1 + 9)?;
    if r.take(4)? != b"McDn" {
        return None;
    }
    r.skip(2)?;
    seen.parameters = true;
    blocks(r, seen)
}

fn blocks<'a>(r: &mut Reader<'a>, seen: &mut Seen<'a>) -> Option<()> {
    while !r.is_empty() {
        let (kind, len) = (r.le16()?, r.le16()?);
        let mut block = Reader::new(r.take(usize::from(len).checked_sub(4)?)?);
        match kind {
            0xc001 => {
                block.skip(CLIENT_CORE_LEN)?;
                seen.parameters = true;
            }
            0xc002 | 0xc004 => block.skip(8)?,
            0xc003 => {
                let channels = block.le32()?;
                if channels > COUNT_MAX {
                    return None;
                }
                block.skip(channels as usize * 12)?;
                seen.channels = channels;
            }
            0x0c01 => block.skip(if len == 8 { 4 } else { 8 })?,
            0x0c02 => security(&mut block, seen)?,
            0x0c03 => block.skip(4)?,
            _ => {}
        }
    }
    Some(())
}

fn security<'a>(r: &mut Reader<'a>, seen: &mut Seen<'a>) -> Option<()> {
    let (method, level, random) = (r.le32()?, r.le32()?, r.le32()?);
    if !(random == 0x20 || (method, level, random) == (0, 0, 0)) {
        return None;
    }
    let certificate = r.le32()?;
    r.skip(random as usize)?;
    certificates(&mut Reader::new(r.take(certificate as usize)?), seen)?;
    if method > 0 && level > 0 {
        seen.security = Security::Native;
    }
    seen.parameters = true;
    Some(())
}

fn certificates<'a>(r: &mut Reader<'a>, seen: &mut Seen<'a>) -> Option<()> {
    match r.le32()? & 0x7fff_ffff {
        1 => {
            r.skip(4 + 4 + 2)?;
            let len = r.le16()?;
            let mut key = Reader::new(r.take(len.into())?);
            key.skip(4)?;
            let modulus = key.le32()?;
            key.skip(8)?;
            if modulus > DATA_LEN_MAX {
                return None;
            }
            key.skip(modulus as usize)?;
            r.skip(2)?;
            let signature = r.le16()?;
            r.skip(signature.into())
        }
        2 => {
            let count = r.le32()?;
            if count > COUNT_MAX {
                return None;
            }
            for _ in 0..count {
                let len = r.le32()?;
                if len > DATA_LEN_MAX {
                    return None;
                }
                seen.certificates.push(r.take(len as usize)?);
            }
            Some(())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::analyzer::testing::Bench;
    use crate::analyzer::{Dir, Transport};

    /// A client's message that asks for so many channels.
    fn asks(channels: u8) -> Vec<u8> {
        let names = vec![b'x'; 12 * usize::from(channels)];
        let block = [&[3, 0xc0][..], &(8 + names.len() as u16).to_le_bytes(), &[channels, 0, 0, 0]];
        let blocks = [&block.concat(), &names[..]].concat();
        let mut said = vec![2, 0xf0, 0x80, 0x7f, 0x65, 0x82, 1, 0];
        said.extend([4, 1, 1, 4, 1, 1, 1, 1, 0xff, 0x30, 0, 0x30, 0, 0x30, 0, 4, 0x82, 1, 0]);
        said.extend([0; 12].iter().chain(b"Duca\x81\x00"));
        said.extend(blocks);
        [&[3, 0][..], &(4 + said.len() as u16).to_be_bytes(), &said].concat()
    }

    #[test]
    fn too_many_channels_are_odd() {
        let weirds = |channels| {
            let mut bench = Bench::new(&crate::analyzer::rdp::KIND, Transport::Tcp);
            bench.feed(Dir::Orig, &asks(channels));
            (bench.weirds, bench.gone)
        };
        assert_eq!(weirds(31), (vec![], false));
        assert_eq!(weirds(32), (vec!["RDP_channels_requested_exceeds_max"], false));
    }
}
