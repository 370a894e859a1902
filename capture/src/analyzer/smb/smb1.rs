//! Messages of SMB 1 (MS-CIFS). Every parser says `None` for what is malformed.
//!
//! Commands may be chained; each says where the next begins. Source: Zeek's `smb1-protocol.pac` and
//! `smb1-com-*.pac`.

use super::item;
use super::smb1_file as file;
use super::smb1_transaction as transaction;
use super::state::State;
use crate::analyzer::wire::Reader;
use crate::analyzer::{Cx, Dir};

/// Commands.
mod command {
    pub const CLOSE: u8 = 0x04;
    pub const QUERY_INFORMATION: u8 = 0x08;
    pub const CHECK_DIRECTORY: u8 = 0x10;
    pub const TRANSACTION: u8 = 0x25;
    pub const TRANSACTION_SECONDARY: u8 = 0x26;
    pub const ECHO: u8 = 0x2b;
    pub const READ_ANDX: u8 = 0x2e;
    pub const WRITE_ANDX: u8 = 0x2f;
    pub const TRANSACTION2: u8 = 0x32;
    pub const TRANSACTION2_SECONDARY: u8 = 0x33;
    pub const TREE_DISCONNECT: u8 = 0x71;
    pub const NEGOTIATE: u8 = 0x72;
    pub const SESSION_SETUP_ANDX: u8 = 0x73;
    pub const LOGOFF_ANDX: u8 = 0x74;
    pub const TREE_CONNECT_ANDX: u8 = 0x75;
    pub const NT_TRANSACT: u8 = 0xa0;
    pub const NT_CREATE_ANDX: u8 = 0xa2;
    pub const NT_CANCEL: u8 = 0xa4;
    /// No further one.
    pub const NONE: u8 = 0xff;
}

/// Bytes of the header, from which offsets count.
pub const HEAD_LEN: usize = 32;
/// A message with nothing but empty lists, with its header.
const EMPTY_LEN: usize = 35;
/// Chained commands that are followed (Zeek's `SMB::max_andx_depth`).
const CHAIN_MAX: usize = 10;
/// The server does security by tokens, among its capabilities.
const EXTENDED_SECURITY: u32 = 0x8000_0000;

/// The header.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    command: u8,
    /// Texts are UTF-16.
    pub is_wide: bool,
    /// The tree.
    pub tree: u16,
    /// Number of the message.
    pub message: u16,
    /// The tree is of pipes.
    pub is_pipe: bool,
}

impl Head {
    fn parse(r: &mut Reader<'_>) -> Option<Head> {
        let command = r.u8()?;
        r.skip(4 + 1)?;
        let is_wide = r.le16()? & 0x8000 != 0;
        r.skip(2 + 8 + 2)?;
        let tree = r.le16()?;
        r.skip(4)?;
        Some(Head { command, is_wide, tree, message: r.le16()?, is_pipe: false })
    }
}

/// A command in the message: all bytes after the header, where it begins in them, and the rest of it.
pub struct Body<'a> {
    whole: &'a [u8],
    start: usize,
    /// Not read yet.
    pub r: Reader<'a>,
}

impl<'a> Body<'a> {
    /// Where it is, from the header's start.
    fn at(&self) -> usize {
        HEAD_LEN + self.r.at(self.whole)
    }

    /// Passes over what lies before an offset, which Zeek counts from the command.
    pub fn pad_to(&mut self, offset: u16) -> Option<()> {
        let to = usize::from(offset).saturating_sub(HEAD_LEN);
        self.r.pad_to(self.whole, self.start + to)
    }

    /// A text up to its end or that of the message; UTF-16 begins at an even byte.
    pub fn text(&mut self, is_wide: bool) -> Option<&'a [u8]> {
        if is_wide && (self.r.at(self.whole) - self.start) & 1 == 1 {
            self.r.skip(1)?;
        }
        let mut ahead = self.r;
        let rest = ahead.rest();
        let len = if is_wide {
            let end = rest.chunks_exact(2).position(|pair| pair == [0, 0]);
            end.map_or(rest.len(), |pairs| 2 * pairs + 2)
        } else {
            rest.iter().position(|byte| *byte == 0).map_or(rest.len(), |at| at + 1)
        };
        self.r.take(len)
    }

    /// Bytes behind a length of two bytes.
    fn counted(&mut self) -> Option<&'a [u8]> {
        let len = self.r.le16()?;
        self.r.take(len.into())
    }
}

/// What follows a command.
#[derive(Debug, Clone, Copy)]
struct Next {
    command: u8,
    offset: u16,
}

/// One message after its first four bytes; `len` is that of the message with them.
pub fn message(
    state: &mut State,
    cx: &mut Cx<'_>,
    dir: Dir,
    bytes: &[u8],
    len: usize,
) -> Option<()> {
    let mut r = Reader::new(bytes);
    let mut head = Head::parse(&mut r)?;
    head.is_pipe = state.is_pipe(head.tree.into());
    state.script.message1(cx, dir, head.message, head.tree);
    if len == EMPTY_LEN {
        return r.skip(3);
    }
    let whole = r.rest();
    let mut body = Body { whole, start: 0, r: Reader::new(whole) };
    let mut command = head.command;
    for depth in 0..=CHAIN_MAX {
        let start = body.at();
        body.start = start - HEAD_LEN;
        let next = match dir {
            Dir::Orig => request(state, cx, &head, command, &mut body)?,
            Dir::Resp => response(state, cx, &head, command, &mut body)?,
        };
        let Some(next) = next else { return Some(()) };
        tail(&mut body, next)?;
        if next.command == command::NONE {
            return Some(());
        }
        if usize::from(next.offset) <= start {
            cx.weird("smb_andx_offset_not_advancing", None, Some("SMB"));
            cx.gave_up = true;
            return Some(());
        }
        if depth == CHAIN_MAX {
            cx.weird("smb_andx_depth_exceeded", None, Some("SMB"));
            cx.gave_up = true;
        }
        command = next.command;
    }
    Some(())
}

/// Passes over what lies before the next command.
fn tail(body: &mut Body<'_>, next: Next) -> Option<()> {
    let (at, offset) = (body.at(), usize::from(next.offset));
    if offset == 0 || offset >= at + 2 {
        return Some(());
    }
    body.r.skip(offset.checked_sub(at)?)
}

fn chain(body: &mut Body<'_>) -> Option<Next> {
    let command = body.r.u8()?;
    body.r.skip(1)?;
    Some(Next { command, offset: body.r.le16()? })
}

/// What comes after a request, if more can.
fn request(
    state: &mut State,
    cx: &mut Cx<'_>,
    head: &Head,
    command: u8,
    body: &mut Body<'_>,
) -> Option<Option<Next>> {
    // Other commands have a body that nobody reads, which may be nothing at all.
    let is_known = matches!(
        command,
        command::CLOSE
            | command::QUERY_INFORMATION
            | command::CHECK_DIRECTORY
            | command::TRANSACTION..=command::TRANSACTION_SECONDARY
            | command::ECHO
            | command::READ_ANDX
            | command::WRITE_ANDX
            | command::TRANSACTION2..=command::TRANSACTION2_SECONDARY
            | command::TREE_DISCONNECT..=command::TREE_CONNECT_ANDX
            | command::NT_TRANSACT
            | command::NT_CREATE_ANDX
            | command::NT_CANCEL
    );
    if !is_known {
        return Some(None);
    }
    let words = body.r.u8()?;
    match command {
        command::NEGOTIATE => {
            body.counted()?;
        }
        command::SESSION_SETUP_ANDX => return session_request(state, cx, head, words, body),
        command::LOGOFF_ANDX => {
            let next = chain(body)?;
            body.r.skip(2)?;
            return Some(Some(next));
        }
        command::TREE_CONNECT_ANDX => {
            let next = chain(body)?;
            body.r.skip(2)?;
            let password = body.r.le16()?;
            body.r.skip(2 + usize::from(password))?;
            let path = body.text(head.is_wide)?;
            let service = body.text(false)?;
            let texts = (item::name(path, head.is_wide), item::name(service, false));
            state.script.connect1(cx, texts.0, texts.1);
            return Some(Some(next));
        }
        command::NT_CREATE_ANDX => {
            let next = chain(body)?;
            body.r.skip(46)?;
            let name = body.text(head.is_wide)?;
            state.opens(head.tree.into(), name, head.is_wide);
            state.script.create1(cx, item::name(name, head.is_wide));
            return Some(Some(next));
        }
        command::READ_ANDX => {
            let next = chain(body)?;
            file::read_request(state, head, words, body)?;
            return Some(Some(next));
        }
        command::WRITE_ANDX => {
            let next = chain(body)?;
            file::write_request(state, cx, head, words, body)?;
            return Some(Some(next));
        }
        command::TRANSACTION => transaction::request(state, cx, head, words, body)?,
        command::TRANSACTION_SECONDARY => transaction::secondary(body, 0)?,
        command::TRANSACTION2 => transaction::request2(body)?,
        command::TRANSACTION2_SECONDARY => transaction::secondary(body, 2)?,
        command::CLOSE => {
            let fid = body.r.le16()?;
            body.r.skip(6)?;
            state.script.close1(cx, fid);
        }
        command::QUERY_INFORMATION | command::CHECK_DIRECTORY => {
            body.r.skip(3)?;
            body.text(head.is_wide)?;
        }
        command::ECHO => {
            body.r.skip(2)?;
            body.counted()?;
        }
        command::TREE_DISCONNECT | command::NT_CANCEL => body.r.skip(2)?,
        _ => {}
    }
    Some(None)
}

/// What comes after an answer, if more can.
fn response(
    state: &mut State,
    cx: &mut Cx<'_>,
    head: &Head,
    command: u8,
    body: &mut Body<'_>,
) -> Option<Option<Next>> {
    match command {
        command::NEGOTIATE => negotiated(state, cx, head, body)?,
        command::SESSION_SETUP_ANDX => return session_response(state, cx, head, body),
        command::LOGOFF_ANDX => {
            body.r.skip(1)?;
            let next = chain(body)?;
            body.r.skip(2)?;
            return Some(Some(next));
        }
        command::TREE_CONNECT_ANDX => {
            let words = body.r.u8()?;
            let next = chain(body)?;
            if words >= 3 {
                body.r.skip(2 + 2 * usize::from(words - 3))?;
            }
            let count = usize::from(body.r.le16()?);
            let service = body.text(false)?;
            let native = if count > service.len() {
                item::name(body.text(head.is_wide)?, head.is_wide)
            } else {
                String::new()
            };
            if service.starts_with(b"IPC") {
                state.set_pipe(head.tree.into());
            }
            state.script.connected1(cx, head.tree, item::name(service, false), native);
            return Some(Some(next));
        }
        command::NT_CREATE_ANDX => {
            body.r.skip(1)?;
            let next = chain(body)?;
            file::created(state, cx, body)?;
            return Some(Some(next));
        }
        command::READ_ANDX => {
            body.r.skip(1)?;
            let next = chain(body)?;
            file::read_response(state, cx, head, body)?;
            return Some(Some(next));
        }
        command::WRITE_ANDX => {
            body.r.skip(1)?;
            let next = chain(body)?;
            body.r.skip(10)?;
            return Some(Some(next));
        }
        command::TRANSACTION => transaction::response(state, cx, head, body)?,
        command::TRANSACTION2 => {
            body.r.skip(1 + 18 + 2)?;
            body.counted()?;
        }
        command::NT_TRANSACT => body.r.skip(1)?,
        command::QUERY_INFORMATION => body.r.skip(23)?,
        command::CLOSE | command::CHECK_DIRECTORY | command::TREE_DISCONNECT => body.r.skip(3)?,
        command::ECHO => {
            body.r.skip(3)?;
            body.counted()?;
        }
        _ => {}
    }
    Some(None)
}

/// The server's answer to the negotiation.
fn negotiated(state: &mut State, cx: &mut Cx<'_>, head: &Head, body: &mut Body<'_>) -> Option<()> {
    let words = body.r.u8()?;
    body.r.skip(2)?;
    match words {
        0x01 => body.r.skip(2),
        0x0d => {
            body.r.skip(20)?;
            let key = body.r.le16()?;
            body.r.skip(4 + usize::from(key))?;
            body.text(head.is_wide).map(|_| ())
        }
        0x11 => {
            body.r.skip(17)?;
            let capabilities = body.r.le32()?;
            body.r.skip(10)?;
            let key = body.r.u8()?;
            let count = body.r.le16()?;
            if capabilities & EXTENDED_SECURITY == 0 {
                body.r.skip(key.into())?;
                return body.text(head.is_wide).map(|_| ());
            }
            body.r.skip(16)?;
            let blob = body.r.take(usize::from(count).checked_sub(16)?)?;
            state.token(cx, blob);
            Some(())
        }
        _ => None,
    }
}

fn session_request(
    state: &mut State,
    cx: &mut Cx<'_>,
    head: &Head,
    words: u8,
    body: &mut Body<'_>,
) -> Option<Option<Next>> {
    if !matches!(words, 0x0a | 0x0c | 0x0d) {
        return None;
    }
    let next = chain(body)?;
    body.r.skip(10)?;
    let first = usize::from(body.r.le16()?);
    let texts = match words {
        0x0a => {
            body.r.skip(4 + 2 + first)?;
            4
        }
        0x0c => {
            body.r.skip(4 + 4 + 2)?;
            let blob = body.r.take(first)?;
            state.token(cx, blob);
            2
        }
        _ => {
            let second = usize::from(body.r.le16()?);
            body.r.skip(4 + 4 + 2 + first + second)?;
            4
        }
    };
    for _ in 0..texts {
        body.text(head.is_wide)?;
    }
    Some(Some(next))
}

fn session_response(
    state: &mut State,
    cx: &mut Cx<'_>,
    head: &Head,
    body: &mut Body<'_>,
) -> Option<Option<Next>> {
    let words = body.r.u8()?;
    if !matches!(words, 3 | 4) {
        return body.r.skip(2).map(|()| None);
    }
    let next = chain(body)?;
    body.r.skip(2)?;
    let mut texts = 3;
    if words == 4 {
        let blob = usize::from(body.r.le16()?);
        body.r.skip(2)?;
        let blob = body.r.take(blob)?;
        state.token(cx, blob);
        texts = 2;
    } else if body.r.le16()? == 0 {
        texts = 0;
    }
    for _ in 0..texts {
        body.text(head.is_wide)?;
    }
    Some(Some(next))
}
