//! A stream as a row of units, such as messages behind their length: whole ones are handed to the
//! analyzer, what is short of one is kept.

use super::{Cx, Dir};

/// The longest unit that is kept. Zeek keeps what it must; nothing that is looked into is nearly so long,
/// and each direction of a flow may cost so much.
pub const UNIT_BYTES_MAX: usize = 1024 * 1024;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// What takes units.
pub trait Framed {
    /// How many bytes the unit that begins here has, or how many are needed to tell. Never zero, and
    /// the same for more bytes once that many are there.
    fn size(&self, dir: Dir, bytes: &[u8]) -> usize;
    /// A whole unit.
    fn unit(&mut self, cx: &mut Cx<'_>, dir: Dir, unit: &[u8]) -> Result<(), Malformed>;
    /// The analyzer wants no more units.
    fn is_done(&self) -> bool {
        false
    }
}

/// What is kept of one direction.
#[derive(Debug, Default)]
pub struct Units {
    kept: Vec<u8>,
}

impl Units {
    /// Hands over the units that `data` completes and keeps the rest. A malformed unit costs what
    /// came with it.
    pub fn feed(
        &mut self,
        framed: &mut dyn Framed,
        cx: &mut Cx<'_>,
        dir: Dir,
        mut data: &[u8],
    ) -> Result<(), Malformed> {
        while !self.kept.is_empty() {
            let need = framed.size(dir, &self.kept).max(1);
            if need > UNIT_BYTES_MAX {
                return self.malformed();
            }
            if need > self.kept.len() {
                let (more, rest) = data.split_at(data.len().min(need - self.kept.len()));
                self.kept.extend_from_slice(more);
                data = rest;
                if self.kept.len() < need {
                    return Ok(());
                }
                continue;
            }
            let mut kept = std::mem::take(&mut self.kept);
            let unit = kept.get(..need).unwrap_or_default();
            framed.unit(cx, dir, unit)?;
            kept.drain(..need);
            self.kept = kept;
            if framed.is_done() {
                return Ok(());
            }
        }
        while !data.is_empty() && !framed.is_done() {
            let need = framed.size(dir, data).max(1);
            if need > UNIT_BYTES_MAX {
                return self.malformed();
            }
            let Some((unit, rest)) = data.split_at_checked(need) else {
                self.kept.extend_from_slice(data);
                return Ok(());
            };
            framed.unit(cx, dir, unit)?;
            data = rest;
        }
        Ok(())
    }

    /// Forgets what is kept.
    pub fn clear(&mut self) {
        self.kept.clear();
    }

    fn malformed(&mut self) -> Result<(), Malformed> {
        self.kept.clear();
        Err(Malformed)
    }
}
