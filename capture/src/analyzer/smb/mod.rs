//! SMB, versions 1 to 3, and what is inside of it: GSS-API and NTLM, and DCE/RPC in its pipes.
//!
//! The third piece of the stream that parses confirms; one that does not violates. Source: Zeek's
//! `SMB.cc`, `smb.pac`, `dpd.sig`. [`smb1`] and [`smb2`] have the messages,
//! [`state`] what they share, [`script`] and [`events`] what they say of files, [`rows`] what comes of it.

use super::units::{Framed, Malformed, Units};
use super::wire::Reader;
use super::{Analyzer, Cx, Dir, Kind, Start, Transport, Verdict};

mod events;
#[cfg(test)]
mod file_tests;
mod item;
mod rows;
mod script;
mod smb1;
mod smb1_file;
mod smb1_transaction;
mod smb2;
mod smb2_file;
mod state;
#[cfg(test)]
mod tests;

use state::State;

/// The analyzer.
pub static KIND: Kind = Kind {
    name: "smb",
    tcp_ports: &[139, 445],
    udp_ports: &[],
    probe: Some(probe),
    skips_partial: false,
    new: |_| Box::new(Smb::default()),
};

/// What messages begin with, by version; the third is encrypted.
const SMB1: &[u8] = b"\xffSMB";
const SMB2: &[u8] = b"\xfeSMB";
const SMB3: &[u8] = b"\xfdSMB";
/// Type and length before a message, as NetBIOS has them.
const HEAD_LEN: usize = 4;
/// Pieces of the stream that must parse.
const PIECES_TO_CONFIRM: u32 = 3;

fn probe(start: &Start<'_>) -> Verdict {
    if start.transport != Transport::Tcp {
        return Verdict::No;
    }
    let side = |bytes: &[u8]| match bytes {
        bytes if bytes.len() < HEAD_LEN + 4 => Verdict::More,
        [head @ .., _, _, _, _] if head.len() == HEAD_LEN && head.contains(&b'\n') => Verdict::No,
        bytes if has_head(bytes) && !bytes.iter().take(HEAD_LEN).any(|b| *b == b'\n') => {
            Verdict::Yes
        }
        _ => Verdict::No,
    };
    match start.bytes.map(side) {
        [Verdict::Yes, _] | [_, Verdict::Yes] => Verdict::Yes,
        [Verdict::No, Verdict::No] => Verdict::No,
        _ => Verdict::More,
    }
}

/// Whether a message begins here.
fn has_head(bytes: &[u8]) -> bool {
    let rest = bytes.get(HEAD_LEN..).unwrap_or_default();
    rest.starts_with(SMB1) || rest.starts_with(SMB2)
}

struct Smb {
    units: [Units; 2],
    state: State,
    /// Pieces of each end.
    pieces: [u32; 2],
    /// Nothing is looked at until a piece begins with a message.
    is_lost: bool,
}

impl Default for Smb {
    fn default() -> Smb {
        Smb { units: Default::default(), state: State::default(), pieces: [0; 2], is_lost: true }
    }
}

impl Smb {
    fn lose(&mut self) {
        self.units = Default::default();
        self.is_lost = true;
    }
}

impl Framed for State {
    fn size(&self, _: Dir, bytes: &[u8]) -> usize {
        match bytes {
            [_, a, b, c, ..] => HEAD_LEN + u32::from_be_bytes([0, *a, *b, *c]) as usize,
            _ => HEAD_LEN,
        }
    }

    fn unit(&mut self, cx: &mut Cx<'_>, dir: Dir, unit: &[u8]) -> Result<(), Malformed> {
        let Some((&[kind, _, _, _], mut rest)) = unit.split_first_chunk::<HEAD_LEN>() else {
            return Ok(());
        };
        let len = rest.len();
        while kind == 0 && !rest.is_empty() {
            let (protocol, message) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
            rest = match protocol.as_slice() {
                SMB1 => {
                    smb1::message(self, cx, dir, message, len).ok_or(Malformed)?;
                    &[]
                }
                SMB2 => smb2::message(self, cx, dir, message).ok_or(Malformed)?,
                SMB3 => {
                    Reader::new(message).skip(48).ok_or(Malformed)?;
                    &[]
                }
                _ => &[],
            };
        }
        Ok(())
    }
}

impl Analyzer for Smb {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        if self.is_lost && !has_head(data) {
            return;
        }
        self.is_lost = false;
        let Some(units) = self.units.get_mut(dir.index()) else { return };
        if units.feed(&mut self.state, cx, dir, data).is_err() {
            cx.violation();
            return self.lose();
        }
        let pieces = &mut self.pieces[dir.index()];
        *pieces = pieces.saturating_add(1);
        if self.pieces[0].saturating_add(self.pieces[1]) == PIECES_TO_CONFIRM {
            cx.confirm();
        }
    }

    fn gap(&mut self, _: &mut Cx<'_>, _: Dir, _: u64) {
        self.lose();
    }

    fn end(&mut self, _: &mut Cx<'_>, _: Dir) {}
    fn finish(&mut self, _: &mut Cx<'_>) {}

    fn shows(&self, dir: Dir) -> bool {
        // Each of a client's is answered before its next one.
        let of_client = PIECES_TO_CONFIRM.div_ceil(2);
        let least = if dir == Dir::Orig { of_client } else { PIECES_TO_CONFIRM - of_client };
        self.pieces[dir.index()] >= least
    }
}
