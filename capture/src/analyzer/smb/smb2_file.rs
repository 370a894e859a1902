//! Messages of SMB 2 and 3 about files. Every parser says `None` for what is malformed.

use super::events::Opened;
use super::item::{self, Action, Times};
use super::smb2::{Head, file};
use super::state::State;
use crate::analyzer::wire::Reader;
use crate::analyzer::{Cx, Dir};

/// A request that writes to a pipe and reads from it at once (FSCTL_PIPE_TRANSCEIVE).
const PIPE_TRANSCEIVE: u32 = 0x0011_c017;

/// A file is opened.
pub fn create_request(
    state: &mut State,
    head: &Head,
    whole: &[u8],
    r: &mut Reader<'_>,
) -> Option<()> {
    r.skip(40)?;
    let options = r.le32()?;
    let (name_at, name_len) = (r.le16()?, r.le16()?);
    let (at, len) = (r.le32()?, r.le32()?);
    head.pad(r, whole, name_at)?;
    let name = r.take(name_len.into())?;
    contexts(head, whole, r, at, len)?;
    state.opens(head.tree, name, true);
    state.script.create2(item::name(name, true), options);
    Some(())
}

/// It is open.
pub fn create_response(
    state: &mut State,
    cx: &mut Cx<'_>,
    head: &Head,
    whole: &[u8],
    r: &mut Reader<'_>,
) -> Option<()> {
    r.skip(8)?;
    let (created, accessed) = (r.le64()?, r.le64()?);
    let (modified, changed) = (r.le64()?, r.le64()?);
    r.skip(8)?;
    let size = r.le64()?;
    r.skip(8)?;
    let fid = file(r)?;
    let (at, len) = (r.le32()?, r.le32()?);
    contexts(head, whole, r, at, len)?;
    let times = Times { created, accessed, modified, changed };
    state.script.created2(cx, Opened { fid, size, times });
    Some(())
}

fn contexts(head: &Head, whole: &[u8], r: &mut Reader<'_>, at: u32, len: u32) -> Option<()> {
    if at != 0 {
        r.pad_to(whole, at.checked_sub(head.len.into())? as usize)?;
    }
    r.skip(len as usize)
}

/// A request to read.
pub fn read(
    state: &mut State,
    cx: &mut Cx<'_>,
    head: &Head,
    whole: &[u8],
    r: &mut Reader<'_>,
) -> Option<()> {
    r.skip(8)?;
    let offset = r.le64()?;
    let file = file(r)?;
    r.skip(12)?;
    let (at, len) = (r.le16()?, r.le16()?);
    head.pad(r, whole, at)?;
    r.skip(len.into())?;
    state.script.use2(cx, file, Action::Read);
    state.reads(cx, head.message, file, offset);
    Some(())
}

/// Bytes to write.
pub fn write(
    state: &mut State,
    cx: &mut Cx<'_>,
    head: &Head,
    whole: &[u8],
    r: &mut Reader<'_>,
) -> Option<()> {
    r.skip(2)?;
    let (at, len) = (r.le16()?, r.le32()?);
    let offset = r.le64()?;
    let file = file(r)?;
    r.skip(16)?;
    head.pad(r, whole, at)?;
    let data = r.take(len as usize)?;
    state.script.use2(cx, file, Action::Write);
    if head.is_pipe {
        state.pipe(cx, Dir::Orig, file, data);
    } else {
        state.script.data(cx, Dir::Orig, offset, data);
    }
    Some(())
}

/// A control of a file or pipe, either way.
pub fn ioctl(
    state: &mut State,
    cx: &mut Cx<'_>,
    dir: Dir,
    head: &Head,
    r: &mut Reader<'_>,
) -> Option<()> {
    let is_request = dir == Dir::Orig;
    r.skip(4)?;
    let code = r.le32()?;
    let id = file(r)?;
    let (input_at, input_len) = (r.le32()?, r.le32()?);
    r.skip(if is_request { 4 } else { 0 })?;
    let (output_at, output_len) = (r.le32()?, r.le32()?);
    r.skip(if is_request { 12 } else { 8 })?;
    let fixed = if is_request { 56u32 } else { 48 };
    // Zeek has this pad the wrong way round: it is only right for one that is not there.
    if input_at != 0 {
        r.skip((fixed + u32::from(head.len)).checked_sub(input_at)? as usize)?;
    }
    let input = r.take(input_len as usize)?;
    if output_at != 0 && output_at != input_at {
        let at = fixed.checked_add(input_len)?.checked_add(head.len.into())?;
        r.skip(at.checked_sub(output_at)? as usize)?;
    }
    let output = r.take(output_len as usize)?;
    let (file, data) = if is_request {
        state.controls(cx, head.message, id);
        (id, input)
    } else {
        (state.control_of(head.message), output)
    };
    if code == PIPE_TRANSCEIVE {
        state.pipe(cx, dir, file, data);
    }
    Some(())
}

/// Properties of a file or file system are set.
pub fn set_info(
    state: &mut State,
    cx: &mut Cx<'_>,
    head: &Head,
    whole: &[u8],
    r: &mut Reader<'_>,
) -> Option<()> {
    r.skip(2)?;
    let (class, level) = (r.u8()?, r.u8()?);
    r.skip(4)?;
    let at = r.le16()?;
    r.skip(6)?;
    let fid = file(r)?;
    head.pad(r, whole, at)?;
    match (class, level) {
        (1, 0x04) => {
            r.skip(36)?;
            state.script.attributes2(cx, fid);
            Some(())
        }
        (1, 0x0a | 0x0b) => {
            r.skip(16)?;
            let len = r.le32()?;
            let name = r.take(len as usize)?;
            if level == 0x0a {
                state.script.rename2(cx, fid, item::name(name, true));
            }
            Some(())
        }
        (1, 0x0d) => {
            let is_wanted = r.u8()? > 0;
            state.script.delete2(cx, fid, is_wanted);
            Some(())
        }
        (1, 0x0e | 0x13 | 0x14 | 0x18 | 0x27) => r.skip(8),
        (1, 0x0f) => attributes(r),
        (1, 0x10) => r.skip(4),
        (1, 0x28) => {
            let name = r.le32()?;
            r.skip(name as usize)
        }
        (2, 0x06) => r.skip(48),
        (2, 0x08) => r.skip(64),
        _ => Some(()),
    }
}

/// Extended attributes, each with the offset of the next.
fn attributes(r: &mut Reader<'_>) -> Option<()> {
    while !r.is_empty() {
        let before = r.len();
        let next = r.le32()?;
        r.skip(1)?;
        let name = r.u8()?;
        let value = r.le16()?;
        r.skip(usize::from(name) + usize::from(value))?;
        r.skip((next as usize).saturating_sub(before - r.len()))?;
        if next == 0 {
            break;
        }
    }
    Some(())
}
