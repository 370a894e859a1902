//! What messages of DCE/RPC are made of.
//!
//! Every parser says `None` for what is malformed. Source: C706 section 12.6; Zeek's
//! `dce_rpc-protocol.pac`.

use crate::analyzer::wire::Reader;

/// Bytes of the header that all messages have.
pub const HEAD_LEN: usize = 16;
/// Bytes before what authenticates a message.
const AUTH_HEAD_LEN: usize = 8;

/// Types of messages whose body is looked into.
mod kind {
    pub const REQUEST: u8 = 0;
    pub const RESPONSE: u8 = 2;
    pub const BIND: u8 = 11;
    pub const BIND_ACK: u8 = 12;
    pub const ALTER_CONTEXT: u8 = 14;
    pub const ALTER_CONTEXT_RESP: u8 = 15;
}

/// The header.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    kind: u8,
    has_object: bool,
    is_little: bool,
    auth_len: usize,
    /// First fragment of a call.
    pub is_first: bool,
    /// Last one.
    pub is_last: bool,
    /// Bytes of the whole message.
    pub len: usize,
    /// The call that it belongs to.
    pub call: u32,
}

/// A message's parts.
pub struct Parts<'a> {
    /// The body, maybe a fragment of one.
    pub body: &'a [u8],
    /// How it is authenticated, and the token of that.
    pub auth: Option<(u8, &'a [u8])>,
}

impl Head {
    /// Of the first bytes of a message.
    pub fn parse(bytes: &[u8]) -> Option<Head> {
        let mut r = Reader::new(bytes);
        if r.u8()? != 5 {
            return None;
        }
        r.skip(1)?;
        let (kind, flags) = (r.u8()?, r.u8()?);
        let is_little = r.u8()? >> 4 != 0;
        r.skip(3)?;
        let [len, auth_len] = [short(&mut r, is_little)?, short(&mut r, is_little)?];
        let call = if is_little { r.le32()? } else { r.u32()? };
        Some(Head {
            kind,
            has_object: flags & 0x80 != 0,
            is_little,
            auth_len: auth_len.into(),
            is_first: flags & 1 != 0,
            is_last: flags & 2 != 0,
            len: len.into(),
            call,
        })
    }

    /// The parts of the whole message.
    pub fn split<'a>(&self, unit: &'a [u8]) -> Option<Parts<'a>> {
        let auth_head = if self.auth_len > 0 { AUTH_HEAD_LEN } else { 0 };
        let body_len = self.len.checked_sub(HEAD_LEN + self.auth_len + auth_head)?;
        let mut r = Reader::new(unit);
        r.skip(HEAD_LEN)?;
        let body = r.take(body_len)?;
        let auth = if self.auth_len > 0 {
            let kind = r.u8()?;
            r.skip(AUTH_HEAD_LEN - 1)?;
            Some((kind, r.take(self.auth_len)?))
        } else {
            None
        };
        Some(Parts { body, auth })
    }

    /// A whole body.
    pub fn body(&self, body: &[u8]) -> Option<()> {
        let mut r = Reader::new(body);
        match self.kind {
            kind::REQUEST => r.skip(if self.has_object { 24 } else { 8 }),
            kind::RESPONSE => r.skip(8),
            kind::BIND | kind::ALTER_CONTEXT => {
                r.skip(8)?;
                let contexts = r.u8()?;
                r.skip(3)?;
                for _ in 0..contexts {
                    r.skip(2)?;
                    let syntaxes = usize::from(r.u8()?);
                    r.skip(1 + 20 + 20 * syntaxes)?;
                }
                Some(())
            }
            kind::BIND_ACK | kind::ALTER_CONTEXT_RESP => {
                r.skip(8)?;
                let address = short(&mut r, self.is_little)?;
                r.skip(address.into())?;
                let at = r.at(body);
                r.pad_to(body, at.next_multiple_of(4))?;
                let contexts = usize::from(r.u8()?);
                r.skip(3 + 24 * contexts)
            }
            _ => Some(()),
        }
    }
}

fn short(r: &mut Reader<'_>, is_little: bool) -> Option<u16> {
    if is_little { r.le16() } else { r.u16() }
}
