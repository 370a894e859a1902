//! Pieces of a file that came before those in front of them (Zeek's `FileReassembler.cc`). What came
//! first wins where they overlap.

/// Bytes that one file may keep (Zeek's `Files::reassembly_buffer_size`).
pub const FILE_BYTES_MAX: usize = 524_288;
/// Pieces that one file may keep: a flood of tiny ones would cost more in place than in bytes.
pub const BLOCKS_MAX: usize = 2048;

/// The pieces, in order, none of them over another.
#[derive(Debug, Default)]
pub struct Blocks {
    list: Vec<(u64, Vec<u8>)>,
    bytes: usize,
}

impl Blocks {
    /// Bytes kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Pieces kept.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Where the first piece begins.
    pub fn first(&self) -> Option<u64> {
        self.list.first().map(|(from, _)| *from)
    }

    /// Keeps what is new of bytes at an offset. They must not reach over the end of 64 bits.
    pub fn insert(&mut self, offset: u64, data: &[u8]) {
        let end = offset.saturating_add(data.len() as u64);
        let mut at = offset;
        let mut i = self.list.partition_point(|(from, kept)| from + kept.len() as u64 <= offset);
        while at < end {
            let next = self.list.get(i).map_or(end, |(from, _)| (*from).min(end));
            if next > at {
                let piece = data.get((at - offset) as usize..(next - offset) as usize);
                let piece = piece.unwrap_or_default().to_vec();
                self.bytes += piece.len();
                self.list.insert(i, (at, piece));
                i += 1;
            }
            at = self.list.get(i).map_or(end, |(from, kept)| from + kept.len() as u64).max(next);
            i += 1;
        }
    }

    /// Takes the first piece out if it begins at or before `at`.
    pub fn take_at(&mut self, at: u64) -> Option<(u64, Vec<u8>)> {
        self.list.first().filter(|(from, _)| *from <= at)?;
        self.take_first()
    }

    /// Takes the first piece out if it begins before `limit`.
    pub fn take_below(&mut self, limit: u64) -> Option<(u64, Vec<u8>)> {
        self.list.first().filter(|(from, _)| *from < limit)?;
        self.take_first()
    }

    fn take_first(&mut self) -> Option<(u64, Vec<u8>)> {
        let first = self.list.remove(0);
        self.bytes -= first.1.len();
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_first_wins() {
        let mut blocks = Blocks::default();
        blocks.insert(10, b"abc");
        blocks.insert(16, b"gh");
        blocks.insert(8, b"XXXXXXXXXXXX");
        assert_eq!(blocks.bytes(), 12);
        let mut all = Vec::new();
        let mut at = 8;
        while let Some((from, piece)) = blocks.take_at(at) {
            assert_eq!(from, at);
            at += piece.len() as u64;
            all.extend(piece);
        }
        assert_eq!(all, b"XXabcXXXghXX");
        assert_eq!((blocks.bytes(), blocks.len()), (0, 0));
    }

    #[test]
    fn the_last_byte_of_all() {
        let mut blocks = Blocks::default();
        blocks.insert(u64::MAX - 3, b"abc");
        blocks.insert(u64::MAX - 9, b"0123456789"[..9].as_ref());
        assert_eq!(blocks.bytes(), 9);
        assert_eq!(blocks.take_at(0), None);
        assert_eq!(blocks.take_below(u64::MAX).map(|(from, _)| from), Some(u64::MAX - 9));
    }
}
