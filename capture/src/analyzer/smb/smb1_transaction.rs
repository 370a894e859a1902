//! Transactions of SMB 1, in which pipes are used. Every parser says `None` for what is malformed.

use super::smb1::{Body, Head};
use super::state::State;
use crate::analyzer::{Cx, Dir};

/// What the name of a transaction begins with if it is of a pipe; one of the LAN Manager is not.
const PIPE: &[u8] = b"\\PIPE\\";
const LANMAN: &[u8] = b"LANMAN";

/// What the counts and offsets of a transaction place.
struct Parts {
    param_len: u16,
    param_at: u16,
    data_at: u16,
}

impl Parts {
    /// Passes over the parameters to the data.
    fn to_data(&self, body: &mut Body<'_>) -> Option<()> {
        body.pad_to(self.param_at)?;
        body.r.skip(self.param_len.into())?;
        body.pad_to(self.data_at)
    }
}

fn is_pipe(name: &[u8], is_wide: bool) -> bool {
    let step = if is_wide { 2 } else { 1 };
    let begins = |from: usize, with: &[u8]| {
        let have = name.iter().skip(from * step).step_by(step).take(with.len());
        have.eq(with)
    };
    begins(0, PIPE) && !begins(PIPE.len(), LANMAN)
}

/// Begins one, after the number of its words.
pub fn request(
    state: &mut State,
    cx: &mut Cx<'_>,
    head: &Head,
    _words: u8,
    body: &mut Body<'_>,
) -> Option<()> {
    body.r.skip(18)?;
    let (param_len, param_at) = (body.r.le16()?, body.r.le16()?);
    body.r.skip(2)?;
    let data_at = body.r.le16()?;
    let setup = body.r.u8()?;
    body.r.skip(1 + 2 * usize::from(setup) + 2)?;
    let name = body.text(head.is_wide)?;
    Parts { param_len, param_at, data_at }.to_data(body)?;
    let data = body.r.rest();
    let named = is_pipe(name, head.is_wide);
    if named {
        state.pipe(cx, Dir::Orig, 0, data);
    }
    let lanman = name.len() > PIPE.len() && !named && is_lanman(name, head.is_wide);
    state.transacts(head.message, named || !lanman && head.is_pipe);
    Some(())
}

fn is_lanman(name: &[u8], is_wide: bool) -> bool {
    let step = if is_wide { 2 } else { 1 };
    let wanted = PIPE.iter().chain(LANMAN);
    name.iter().step_by(step).take(PIPE.len() + LANMAN.len()).eq(wanted)
}

/// Goes on with one; `extra` bytes stand before the count of bytes.
pub fn secondary(body: &mut Body<'_>, extra: usize) -> Option<()> {
    body.r.skip(4)?;
    let (param_len, param_at) = (body.r.le16()?, body.r.le16()?);
    body.r.skip(2)?;
    let (data_len, data_at) = (body.r.le16()?, body.r.le16()?);
    body.r.skip(2 + extra + 2)?;
    Parts { param_len, param_at, data_at }.to_data(body)?;
    // Of the first kind Zeek takes all that is left.
    if extra > 0 { body.r.skip(data_len.into()) } else { Some(()) }
}

/// Answers one.
pub fn response(
    state: &mut State,
    cx: &mut Cx<'_>,
    head: &Head,
    body: &mut Body<'_>,
) -> Option<()> {
    body.r.skip(1 + 6)?;
    let (param_len, param_at) = (body.r.le16()?, body.r.le16()?);
    body.r.skip(2)?;
    let (data_len, data_at) = (body.r.le16()?, body.r.le16()?);
    body.r.skip(2)?;
    let setup = body.r.u8()?;
    body.r.skip(1 + 2 * usize::from(setup) + 2)?;
    Parts { param_len, param_at, data_at }.to_data(body)?;
    let was_pipe = state.was_pipe(head.message);
    if data_len > 0 && was_pipe {
        let data = body.r.rest();
        state.pipe(cx, Dir::Resp, 0, data);
    }
    Some(())
}

/// Begins one of the second kind.
pub fn request2(body: &mut Body<'_>) -> Option<()> {
    body.r.skip(18)?;
    body.r.skip(2)?;
    let param_at = body.r.le16()?;
    body.r.skip(4 + 2)?;
    let command = body.r.le16()?;
    body.r.skip(2)?;
    body.pad_to(param_at)?;
    match command {
        0x01 => body.r.skip(12),
        0x05 => body.r.skip(6),
        0x07 => body.r.skip(4),
        0x10 => body.r.skip(2),
        _ => Some(()),
    }
}
