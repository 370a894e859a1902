//! Segments that wait above a hole, and what they take of memory.

/// Bytes that wait above a hole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub seq: u64,
    pub len: u64,
    /// Empty where the bytes were not worth keeping.
    pub data: Vec<u8>,
}

impl Block {
    fn upper(&self) -> u64 {
        self.seq + self.len
    }
}

/// What waits. Few streams ever have any, so that it is apart from them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub blocks: Vec<Block>,
    /// Bytes of the blocks, and how many of them are kept.
    pub waiting: u64,
    kept: u64,
    /// What the kept bytes take.
    memory: u64,
}

impl Held {
    /// Where what waits ends.
    pub fn upper(&self) -> u64 {
        self.blocks.last().map_or(0, Block::upper)
    }

    /// Memory that all of it takes, the allocator's part with it.
    pub fn memory(&self) -> u64 {
        let blocks = self.blocks.capacity() * size_of::<Block>();
        allocated(size_of::<Held>()) + allocated(blocks) + self.memory
    }

    /// Keeps what of a segment above a hole is new; at most so many bytes altogether.
    pub fn add(&mut self, seq: u64, data: &[u8], kept_max: u64) {
        let (mut at, upper) = (seq, seq + data.len() as u64);
        let mut i = self.blocks.partition_point(|b| b.upper() <= seq);
        while at < upper {
            let end = self.blocks.get(i).map_or(upper, |b| b.seq.min(upper));
            if end > at {
                let bytes = data.get((at - seq) as usize..(end - seq) as usize);
                let len = end - at;
                let fits = self.kept + len <= kept_max;
                let kept = bytes.filter(|_| fits).unwrap_or_default().to_vec();
                self.kept += kept.len() as u64;
                self.memory += allocated(kept.len());
                self.waiting += len;
                self.blocks.insert(i, Block { seq: at, len, data: kept });
                i += 1;
            }
            at = end.max(self.blocks.get(i).map_or(upper, Block::upper));
            i += 1;
        }
    }

    /// Drops the first blocks.
    pub fn forget(&mut self, count: usize) {
        for block in self.blocks.drain(..count) {
            self.kept -= block.data.len() as u64;
            self.memory -= allocated(block.data.len());
            self.waiting -= block.len;
        }
    }

    /// Drops what lies below a position.
    pub fn forget_below(&mut self, seq: u64) {
        self.forget(self.blocks.partition_point(|b| b.upper() <= seq));
    }
}

/// What an allocation of so many bytes takes: jemalloc has classes 16 bytes apart up to 128, and four for each doubling
/// above.
fn allocated(bytes: usize) -> u64 {
    let step = match bytes.checked_sub(1) {
        None => return 0,
        Some(below) if below < 128 => 16,
        Some(below) => 1 << (below.ilog2() - 2),
    };
    bytes.next_multiple_of(step) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_allocator() {
        let sizes = [0, 1, 16, 17, 128, 129, 160, 161, 900, 1025, 1460, 65_536, 65_537];
        let classes = [0, 16, 16, 32, 128, 160, 160, 192, 1024, 1280, 1536, 65_536, 81_920];
        assert_eq!(sizes.map(allocated), classes);
    }

    #[test]
    fn memory_is_that_of_what_is_there() {
        let mut held = Held::default();
        assert_eq!(held.memory(), 48);
        for at in 0..5 {
            held.add(10 + at * 1000, &[0; 900], 4000);
        }
        // Four are kept, the fifth is a place only; room for eight.
        assert_eq!((held.blocks.len(), held.blocks.capacity(), held.waiting), (5, 8, 4500));
        assert_eq!(held.memory(), 48 + 320 + 4 * 1024);
        held.forget_below(1910);
        assert_eq!(held.memory(), 48 + 320 + 2 * 1024);
        held.forget(3);
        assert_eq!((held.memory(), held.waiting, held.kept), (48 + 320, 0, 0));
    }
}
