//! Messages of SMB 1 about bytes of files. Every parser says `None` for what is malformed.

use super::events::Opened;
use super::item::{Action, Times};
use super::smb1::{Body, Head};
use super::state::State;
use crate::analyzer::{Cx, Dir};

/// A request to read.
pub fn read_request(state: &mut State, head: &Head, words: u8, body: &mut Body<'_>) -> Option<()> {
    let fid = body.r.le16()?;
    let low = u64::from(body.r.le32()?);
    body.r.skip(10)?;
    let high = if words == 0x0c { body.r.le32()? } else { 0 };
    body.r.skip(2)?;
    state.script.use1(fid, Action::Read);
    // The high half counts too little in Zeek.
    let high = if high == u32::MAX { 0 } else { u64::from(high) };
    state.reads1(head.message, (high << 16) + low);
    Some(())
}

/// A request to write, with the bytes.
pub fn write_request(
    state: &mut State,
    cx: &mut Cx<'_>,
    head: &Head,
    words: u8,
    body: &mut Body<'_>,
) -> Option<()> {
    let fid = body.r.le16()?;
    let low = body.r.le32()?;
    body.r.skip(8)?;
    let [len_high, len_low] = [body.r.le16()?, body.r.le16()?];
    let offset = body.r.le16()?;
    let high = if words == 0x0e { body.r.le32()? } else { 0 };
    body.r.skip(2)?;
    let data = data(body, (len_high, len_low, offset))?;
    state.script.use1(fid, Action::Write);
    // Zeek adds the halves up in 32 bits.
    let at = high.wrapping_shl(16).wrapping_add(low);
    deliver(state, cx, Dir::Orig, head, data, at.into());
    Some(())
}

/// What was read.
pub fn read_response(
    state: &mut State,
    cx: &mut Cx<'_>,
    head: &Head,
    body: &mut Body<'_>,
) -> Option<()> {
    body.r.skip(6)?;
    let low = body.r.le16()?;
    let [offset, high] = [body.r.le16()?, body.r.le16()?];
    body.r.skip(10)?;
    let data = data(body, (high, low, offset))?;
    let is_kept = head.is_pipe || data.is_empty();
    let at = if is_kept { 0 } else { state.read1_of(head.message) };
    deliver(state, cx, Dir::Resp, head, data, at);
    Some(())
}

/// A file is open.
pub fn created(state: &mut State, cx: &mut Cx<'_>, body: &mut Body<'_>) -> Option<()> {
    body.r.skip(1)?;
    let fid = body.r.le16()?.into();
    body.r.skip(4)?;
    let (created, accessed) = (body.r.le64()?, body.r.le64()?);
    let (modified, changed) = (body.r.le64()?, body.r.le64()?);
    body.r.skip(4 + 8)?;
    let size = body.r.le64()?;
    body.r.skip(7)?;
    let times = Times { created, accessed, modified, changed };
    state.script.created1(cx, Opened { fid, size, times });
    Some(())
}

/// What is read or written, by the high and low half of its length and its offset in the message.
fn data<'a>(body: &mut Body<'a>, (high, low, offset): (u16, u16, u16)) -> Option<&'a [u8]> {
    body.pad_to(offset)?;
    body.r.take(usize::from(high) << 16 | usize::from(low))
}

/// Hands it to the pipe or file, where it belongs at `at`.
fn deliver(state: &mut State, cx: &mut Cx<'_>, dir: Dir, head: &Head, data: &[u8], at: u64) {
    if head.is_pipe {
        state.pipe(cx, dir, 0, data);
    } else {
        state.script.data(cx, dir, at, data);
    }
}
