//! Messages of SMB 2 and 3 (MS-SMB2). Every parser says `None` for what is malformed.
//!
//! Source: Zeek's `smb2-protocol.pac` and `smb2-com-*.pac`.

use super::item;
use super::smb2_file::{create_request, create_response, ioctl, read, set_info, write};
use super::state::State;
use crate::analyzer::wire::Reader;
use crate::analyzer::{Cx, Dir};

/// Commands.
mod command {
    pub const NEGOTIATE: u16 = 0;
    pub const SESSION_SETUP: u16 = 1;
    pub const TREE_CONNECT: u16 = 3;
    pub const TREE_DISCONNECT: u16 = 4;
    pub const CREATE: u16 = 5;
    pub const CLOSE: u16 = 6;
    pub const FLUSH: u16 = 7;
    pub const READ: u16 = 8;
    pub const WRITE: u16 = 9;
    pub const LOCK: u16 = 10;
    pub const IOCTL: u16 = 11;
    pub const CANCEL: u16 = 12;
    pub const ECHO: u16 = 13;
    pub const QUERY_DIRECTORY: u16 = 14;
    pub const CHANGE_NOTIFY: u16 = 15;
    pub const QUERY_INFO: u16 = 16;
    pub const SET_INFO: u16 = 17;
    pub const OPLOCK_BREAK: u16 = 18;
}

/// What an answer says of its request.
mod status {
    pub const PENDING: u32 = 0x0000_0103;
    pub const NOTIFY_ENUM_DIR: u32 = 0x0000_010c;
    pub const BUFFER_OVERFLOW: u32 = 0x8000_0005;
    pub const INVALID_PARAMETER: u32 = 0xc000_000d;
    pub const MORE_PROCESSING_REQUIRED: u32 = 0xc000_0016;
}

/// Share of pipes.
const SHARE_PIPE: u8 = 2;
/// The dialect whose negotiation has contexts.
const DIALECT_311: u16 = 0x0311;

/// The header.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// Its own length, as it says.
    pub len: u16,
    status: u32,
    command: u16,
    next: u32,
    /// Number of the message.
    pub message: u64,
    /// The tree.
    pub tree: u32,
    /// The tree is of pipes.
    pub is_pipe: bool,
}

impl Head {
    fn parse(r: &mut Reader<'_>) -> Option<Head> {
        let len = r.le16()?;
        r.skip(2)?;
        let (status, command) = (r.le32()?, r.le16()?);
        r.skip(2 + 4)?;
        let (next, message) = (r.le32()?, r.le64()?);
        r.skip(4)?;
        let tree = r.le32()?;
        r.skip(8 + 16)?;
        Some(Head { len, status, command, next, message, tree, is_pipe: false })
    }

    /// Whether an answer has nothing but an error in it.
    fn is_error(&self) -> bool {
        use command::{CHANGE_NOTIFY, IOCTL, QUERY_INFO, READ, SESSION_SETUP};
        match self.status {
            0 => false,
            status::BUFFER_OVERFLOW => !matches!(self.command, IOCTL | QUERY_INFO | READ),
            status::INVALID_PARAMETER => self.command != IOCTL,
            status::MORE_PROCESSING_REQUIRED => self.command != SESSION_SETUP,
            status::NOTIFY_ENUM_DIR => self.command != CHANGE_NOTIFY,
            _ => true,
        }
    }

    /// The answer is not the last to its request.
    pub fn is_pending(&self) -> bool {
        self.status == status::PENDING
    }

    /// Passes over what lies before an offset from the header's start.
    pub fn pad(&self, r: &mut Reader<'_>, whole: &[u8], offset: u16) -> Option<()> {
        r.pad_to(whole, usize::from(offset).saturating_sub(self.len.into()))
    }
}

/// One message after its first four bytes; gives back what follows it, when it is one of a chain.
pub fn message<'a>(
    state: &mut State,
    cx: &mut Cx<'_>,
    dir: Dir,
    bytes: &'a [u8],
) -> Option<&'a [u8]> {
    let mut r = Reader::new(bytes);
    let mut head = Head::parse(&mut r)?;
    let tree = match dir {
        Dir::Orig => {
            state.request_in(cx, head.message, head.tree);
            head.tree
        }
        Dir::Resp => state.tree_of(head.message, head.is_pending()),
    };
    head.is_pipe = state.is_pipe(tree);
    state.script.message2(cx, dir, head.message, head.tree, head.is_pending());
    let body = r.rest();
    let mut r = Reader::new(body);
    match dir {
        Dir::Orig => request(state, cx, &head, body, &mut r)?,
        Dir::Resp if head.is_error() => {
            r.skip(4)?;
            let len = r.le32()?;
            r.skip(len as usize)?;
        }
        Dir::Resp => response(state, cx, &head, body, &mut r)?,
    }
    if head.next == 0 {
        return Some(&[]);
    }
    let pad = (head.next as usize).checked_sub(usize::from(head.len) + r.at(body))?;
    r.skip(pad)?;
    Some(r.rest())
}

fn request(
    state: &mut State,
    cx: &mut Cx<'_>,
    head: &Head,
    whole: &[u8],
    r: &mut Reader<'_>,
) -> Option<()> {
    match head.command {
        command::NEGOTIATE => {
            r.skip(2)?;
            let dialects = r.le16()?;
            r.skip(32 + 2 * usize::from(dialects))
        }
        command::SESSION_SETUP => {
            r.skip(12)?;
            let blob = located16(head, whole, r)?;
            state.token(cx, blob);
            Some(())
        }
        command::TREE_CONNECT => {
            r.skip(4)?;
            let path = located16(head, whole, r)?;
            state.script.connect2(item::name(path, true));
            Some(())
        }
        command::TREE_DISCONNECT => {
            r.skip(4)?;
            state.script.disconnect2(head.tree);
            state.unset_pipe(head.tree);
            Some(())
        }
        command::CREATE => create_request(state, head, whole, r),
        command::CLOSE => {
            r.skip(8)?;
            let file = file(r)?;
            state.script.close2(cx, file);
            state.close(file);
            Some(())
        }
        command::FLUSH | command::OPLOCK_BREAK => r.skip(24),
        command::READ => read(state, cx, head, whole, r),
        command::WRITE => write(state, cx, head, whole, r),
        command::LOCK => {
            r.skip(2)?;
            let locks = r.le16()?;
            r.skip(20 + 20 * usize::from(locks))
        }
        command::IOCTL => ioctl(state, cx, Dir::Orig, head, r),
        command::CANCEL | command::ECHO => r.skip(4),
        command::QUERY_DIRECTORY => {
            r.skip(24)?;
            let (offset, len) = (r.le16()?, r.le16()?);
            r.skip(4)?;
            head.pad(r, whole, offset)?;
            r.skip(len.into())
        }
        command::CHANGE_NOTIFY => r.skip(32),
        command::QUERY_INFO => {
            r.skip(8)?;
            let offset = r.le16()?;
            r.skip(2)?;
            let len = r.le32()?;
            r.skip(24)?;
            head.pad(r, whole, offset)?;
            r.skip(len as usize)
        }
        command::SET_INFO => set_info(state, cx, head, whole, r),
        _ => Some(()),
    }
}

fn response(
    state: &mut State,
    cx: &mut Cx<'_>,
    head: &Head,
    whole: &[u8],
    r: &mut Reader<'_>,
) -> Option<()> {
    match head.command {
        command::NEGOTIATE => {
            let blob = negotiate(head, whole, r)?;
            state.token(cx, blob);
            Some(())
        }
        command::SESSION_SETUP => {
            r.skip(4)?;
            let blob = located16(head, whole, r)?;
            state.token(cx, blob);
            Some(())
        }
        command::TREE_CONNECT => {
            r.skip(2)?;
            let share = r.u8()?;
            r.skip(13)?;
            if share == SHARE_PIPE {
                state.set_pipe(head.tree);
            }
            state.script.connected2(cx, share);
            Some(())
        }
        command::CREATE => create_response(state, cx, head, whole, r),
        command::CLOSE => r.skip(60),
        command::READ => {
            r.skip(2)?;
            let offset = r.u8()?;
            r.skip(1)?;
            let len = r.le32()?;
            r.skip(8)?;
            head.pad(r, whole, offset.into())?;
            let data = r.take(len as usize)?;
            let (file, offset) = state.read_of(head.message, head.is_pending());
            if head.is_pipe {
                state.pipe(cx, Dir::Resp, file, data);
            } else {
                state.script.data(cx, Dir::Resp, offset, data);
            }
            Some(())
        }
        command::WRITE => r.skip(16),
        command::TREE_DISCONNECT | command::FLUSH | command::LOCK | command::ECHO => r.skip(4),
        command::IOCTL => ioctl(state, cx, Dir::Resp, head, r),
        command::QUERY_DIRECTORY | command::QUERY_INFO => {
            r.skip(2)?;
            located32(head, whole, r).map(|_| ())
        }
        command::CHANGE_NOTIFY => {
            r.skip(2)?;
            let mut changes = Reader::new(located32(head, whole, r)?);
            while !changes.is_empty() {
                changes.skip(8)?;
                let name = changes.le32()?;
                changes.skip(name as usize)?;
            }
            Some(())
        }
        command::SET_INFO => r.skip(2),
        command::OPLOCK_BREAK => r.skip(24),
        _ => Some(()),
    }
}

/// The token of the server's answer to the negotiation.
fn negotiate<'a>(head: &Head, whole: &[u8], r: &mut Reader<'a>) -> Option<&'a [u8]> {
    r.skip(4)?;
    let (dialect, contexts) = (r.le16()?, r.le16()?);
    r.skip(16 + 16 + 16 + 2)?;
    let len = r.le16()?;
    let offset = r.le32()?;
    let blob = r.take(len.into())?;
    if dialect != DIALECT_311 {
        return Some(blob);
    }
    r.pad_to(whole, offset.checked_sub(head.len.into())? as usize)?;
    for i in 0..contexts {
        let left = r.len();
        context(r)?;
        let size = left - r.len();
        if i + 1 < contexts {
            r.skip(size.next_multiple_of(8) - size)?;
        }
    }
    Some(blob)
}

/// What version 3.1.1 negotiates further.
fn context(r: &mut Reader<'_>) -> Option<()> {
    let (kind, len) = (r.le16()?, r.le16()?);
    r.skip(4)?;
    match kind {
        // Hashes and a salt.
        1 => {
            let (hashes, salt) = (r.le16()?, r.le16()?);
            r.skip(2 * usize::from(hashes) + usize::from(salt))
        }
        2 => {
            let ciphers = r.le16()?;
            r.skip(2 * usize::from(ciphers))
        }
        3 => {
            let ways = r.le16()?;
            r.skip(6 + 2 * usize::from(ways))
        }
        _ => r.skip(len.into()),
    }
}

/// A file's id, as Zeek has it in one number.
pub fn file(r: &mut Reader<'_>) -> Option<u64> {
    Some(r.le64()?.wrapping_add(r.le64()?))
}

/// Bytes behind their offset and a length of two bytes, at that offset.
fn located16<'a>(head: &Head, whole: &[u8], r: &mut Reader<'a>) -> Option<&'a [u8]> {
    let (offset, len) = (r.le16()?, r.le16()?);
    head.pad(r, whole, offset)?;
    r.take(len.into())
}

/// The same with a length of four bytes.
fn located32<'a>(head: &Head, whole: &[u8], r: &mut Reader<'a>) -> Option<&'a [u8]> {
    let (offset, len) = (r.le16()?, r.le32()?);
    head.pad(r, whole, offset)?;
    r.take(len as usize)
}
