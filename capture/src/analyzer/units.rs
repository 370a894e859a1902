//! A stream as a row of units, such as messages behind their length: whole ones are handed to the
//! analyzer, what is short of one is kept.

use super::{Cx, Dir};

/// The longest unit that is kept; a longer one is passed over. Zeek keeps what it must; nothing that is
/// looked into is nearly so long, and each direction of a flow may cost so much.
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
    /// Bytes still to come of a unit that is too long.
    passing: usize,
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
                self.passing = need - self.kept.len();
                self.kept.clear();
                break;
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
            if self.passing > 0 {
                let (passed, rest) = data.split_at(data.len().min(self.passing));
                self.passing -= passed.len();
                data = rest;
                continue;
            }
            let need = framed.size(dir, data).max(1);
            if need > UNIT_BYTES_MAX {
                self.passing = need;
                continue;
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyzer::testing::Bench;
    use crate::analyzer::{Transport, radius};

    /// Units behind a length of four bytes; what it was given.
    #[derive(Default)]
    struct Lengths(Vec<Vec<u8>>);

    impl Framed for Lengths {
        fn size(&self, _: Dir, bytes: &[u8]) -> usize {
            let head = bytes.first_chunk::<4>();
            4 + head.map_or(0, |head| u32::from_be_bytes(*head) as usize)
        }

        fn unit(&mut self, _: &mut Cx<'_>, _: Dir, unit: &[u8]) -> Result<(), Malformed> {
            self.0.push(unit.to_vec());
            if unit.ends_with(b"!") { Err(Malformed) } else { Ok(()) }
        }
    }

    fn fed(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<bool>) {
        let (mut units, mut framed, mut fine) = (Units::default(), Lengths::default(), vec![]);
        // Any analyzer: only what it works with is wanted.
        Bench::new(&radius::KIND, Transport::Udp).call(|_, cx| {
            for piece in pieces {
                fine.push(units.feed(&mut framed, cx, Dir::Orig, piece).is_ok());
            }
        });
        (framed.0, fine)
    }

    #[test]
    fn the_same_units_however_the_stream_is_cut() {
        let stream = [0, 0, 0, 2, b'a', b'b', 0, 0, 0, 0, 0, 0, 0, 1, b'c'];
        let whole = fed(&[&stream]).0;
        assert_eq!(whole.len(), 3);
        for cut in 0..stream.len() {
            assert_eq!(fed(&[&stream[..cut], &stream[cut..]]).0, whole, "{cut}");
        }
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(fed(&single).0, whole);
    }

    #[test]
    fn a_malformed_unit_costs_what_came_with_it() {
        let (units, fine) = fed(&[&[0, 0, 0, 1, b'!', 0, 0], &[0, 0, 0, 1, b'a']]);
        assert_eq!(units.len(), 2);
        assert_eq!(fine, [false, true]);
    }

    #[test]
    fn a_unit_that_is_too_long_is_passed_over() {
        let len = u32::try_from(UNIT_BYTES_MAX).unwrap();
        let long = vec![7; UNIT_BYTES_MAX];
        let head = len.to_be_bytes();
        let (units, _) = fed(&[&head[..2], &head[2..], &long, &[0, 0, 0, 1, b'a']]);
        assert_eq!(units, [[0, 0, 0, 1, b'a']]);
    }
}
