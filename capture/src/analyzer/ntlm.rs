//! NTLM inside other protocols' tokens (MS-NLMP): not an analyzer of the flow, but one of its protocols.
//!
//! A message that parses confirms. What does not is passed over: Zeek ignores violations of this protocol
//! (`DPD::ignore_violations`). Source: Zeek's `NTLM.cc`, `ntlm-protocol.pac`.

use super::Cx;
use super::wire::Reader;

/// Name in `service`.
const NAME: &str = "ntlm";

/// What each message begins with.
pub const MAGIC: &[u8] = b"NTLMSSP";

/// Bits of the flags that say what a message has.
mod flag {
    pub const VERSION: u32 = 0x0200_0000;
    pub const TARGET_INFO: u32 = 0x0080_0000;
    pub const WORKSTATION: u32 = 0x2000;
    pub const DOMAIN: u32 = 0x1000;
    pub const TARGET: u32 = 0x4;
}

/// NTLM at work.
#[derive(Debug, Default)]
pub struct Inside {
    confirmed: bool,
}

impl Inside {
    /// A message.
    pub fn feed(&mut self, cx: &mut Cx<'_>, data: &[u8]) {
        if message(data).is_some() && !self.confirmed {
            self.confirmed = true;
            cx.confirm_inside(NAME);
        }
    }
}

/// Parses a message.
fn message(data: &[u8]) -> Option<()> {
    let mut r = Reader::new(data);
    r.skip(8)?;
    match r.le32()? {
        1 => negotiate(data, &mut r),
        2 => challenge(data, &mut r),
        3 => authenticate(data, &mut r),
        _ => Some(()),
    }
}

/// A text behind the fixed part: its length, and where it begins in the message.
#[derive(Debug, Clone, Copy)]
struct Text {
    len: u16,
    at: u32,
}

fn text(r: &mut Reader<'_>) -> Option<Text> {
    let len = r.le16()?;
    r.skip(2)?;
    Some(Text { len, at: r.le32()? })
}

/// What follows the fixed part.
struct Payload<'a> {
    bytes: &'a [u8],
    /// Where it begins in the message.
    at: u32,
}

impl Payload<'_> {
    fn new<'a>(data: &'a [u8], r: &mut Reader<'a>) -> Payload<'a> {
        let at = u32::try_from(r.at(data)).unwrap_or(u32::MAX);
        Payload { bytes: r.rest(), at }
    }

    /// The version, if it comes before all texts.
    fn version(&self, flags: u32, texts: &[Text]) -> Option<()> {
        let first = texts.iter().map(|text| text.at).min()?;
        if flags & flag::VERSION != 0 && self.at < first {
            return Reader::new(self.bytes).skip(8);
        }
        Some(())
    }

    fn text(&self, text: Text) -> Option<()> {
        let mut r = Reader::new(self.bytes);
        r.skip(text.at.checked_sub(self.at)? as usize)?;
        r.skip(text.len.into())
    }
}

fn negotiate(data: &[u8], r: &mut Reader<'_>) -> Option<()> {
    let mut r = *r;
    let flags = r.le32()?;
    let (domain, workstation) = (text(&mut r)?, text(&mut r)?);
    let payload = Payload::new(data, &mut r);
    payload.version(flags, &[domain, workstation])?;
    if flags & flag::DOMAIN != 0 {
        payload.text(domain)?;
    }
    if flags & flag::WORKSTATION != 0 {
        payload.text(workstation)?;
    }
    Some(())
}

fn challenge(data: &[u8], r: &mut Reader<'_>) -> Option<()> {
    let mut r = *r;
    let target = text(&mut r)?;
    let flags = r.le32()?;
    r.skip(8 + 8)?;
    let info = text(&mut r)?;
    let payload = Payload::new(data, &mut r);
    payload.version(flags, &[target, info])?;
    if flags & flag::TARGET != 0 {
        payload.text(target)?;
    }
    if flags & flag::TARGET_INFO == 0 {
        return Some(());
    }
    // Zeek keeps 16 bits of where it begins.
    let at = info.at.wrapping_sub(payload.at) as u16;
    let mut pairs = Reader::new(payload.bytes);
    pairs.skip(at.into())?;
    target_info(&mut pairs)
}

/// Pairs up to the one that ends them, or the end of the message.
fn target_info(r: &mut Reader<'_>) -> Option<()> {
    while !r.is_empty() {
        let (kind, len) = (r.le16()?, r.le16()?);
        match kind {
            0 => break,
            1..=5 | 9 => r.skip(len.into())?,
            6 => r.skip(4)?,
            7 => r.skip(8)?,
            8 => {
                r.skip(8)?;
                let has_custom = r.le32()? & 1 != 0;
                r.skip(if has_custom { 8 } else { 4 })?;
            }
            10 => r.skip(2)?,
            _ => return None,
        }
    }
    Some(())
}

fn authenticate(data: &[u8], r: &mut Reader<'_>) -> Option<()> {
    let mut r = *r;
    text(&mut r)?;
    let response = text(&mut r)?;
    let names = [text(&mut r)?, text(&mut r)?, text(&mut r)?];
    let key = text(&mut r)?;
    let flags = r.le32()?;
    let payload = Payload::new(data, &mut r);
    let [domain, user, workstation] = names;
    payload.version(flags, &[domain, user, workstation, key])?;
    for field in [response, domain, user, workstation, key] {
        if field.len > 0 {
            payload.text(field)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(kind: u8) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&[0, kind, 0, 0, 0]);
        bytes
    }

    /// A challenge from the server `S`, with the pairs given.
    fn challenge_of(pairs: &[u8]) -> Vec<u8> {
        let mut bytes = head(2);
        bytes.extend_from_slice(&[2, 0, 2, 0, 48, 0, 0, 0, 5, 0, 0x80, 0]);
        bytes.extend_from_slice(&[7; 16]);
        bytes.extend_from_slice(&[pairs.len() as u8, 0, 9, 0, 50, 0, 0, 0, b'S', 0]);
        bytes.extend_from_slice(pairs);
        bytes
    }

    #[test]
    fn messages_of_all_kinds() {
        let mut negotiate = head(1);
        negotiate.extend_from_slice(&[7, 0x10, 0, 0, 1, 0, 1, 0, 32, 0, 0, 0]);
        negotiate.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, b'D']);
        assert_eq!(message(&negotiate), Some(()));
        assert_eq!(message(&negotiate[..32]), None);
        assert_eq!(message(&challenge_of(&[1, 0, 2, 0, b'S', 0, 0, 0, 0, 0])), Some(()));
        assert_eq!(message(&challenge_of(&[1, 0, 2, 0, b'S', 0])), Some(()));
        assert_eq!(message(&challenge_of(&[])), Some(()));
        assert_eq!(message(&challenge_of(&[99, 0, 0, 0])), None);
        let mut authenticate = head(3);
        authenticate.extend_from_slice(&[0; 8 * 3]);
        authenticate.extend_from_slice(&[1, 0, 1, 0, 64, 0, 0, 0]);
        authenticate.extend_from_slice(&[0; 8 * 2 + 4]);
        assert_eq!(message(&authenticate), None);
        authenticate.push(b'U');
        assert_eq!(message(&authenticate), Some(()));
    }

    #[test]
    fn cut_anywhere() {
        let whole = challenge_of(&[8, 0, 48, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1]);
        for cut in 0..whole.len() {
            message(&whole[..cut]);
        }
    }
}
