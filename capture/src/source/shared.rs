//! One reading of a file for several threads.
//!
//! Each of them sees all packets, but what it takes to have them in memory and to tell whose they are is done once, by
//! whoever comes to a block first. Blocks are numbered; one goes when all have had it. Who is far ahead waits for the
//! last: no more than that waits for anybody.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::burst::{Burst, Place, Several};
use super::{CaptureFile, Next, Packet, PacketSource, Progress, SourceError, SourceStats};

/// Blocks that wait for the last thread: some milliseconds of work, and 8 MiB.
const BLOCKS_MAX: usize = 32;

/// Tells the virtual shard of a packet, where that can be told at once.
pub type ShardOf = fn(&Packet<'_>) -> Option<u8>;

/// Packets with the memory that they lie in.
#[derive(Default)]
struct Block {
    buffer: Vec<u8>,
    places: Vec<Place>,
    progress: Option<Progress>,
}

struct Shared {
    file: Mutex<CaptureFile>,
    shard_of: ShardOf,
    queue: Mutex<Queue>,
    /// Somebody has taken a block, or left.
    moved: Condvar,
}

#[derive(Default)]
struct Queue {
    blocks: VecDeque<Arc<Block>>,
    /// Number of the first of them.
    first: u64,
    /// Number of the block that each thread takes next; none for one that has left.
    next: Vec<Option<u64>>,
    ended: bool,
    /// Memory that is used again.
    spare: Vec<Block>,
}

/// The file as one of the threads sees it.
pub struct SharedFile {
    shared: Arc<Shared>,
    /// Which thread this is.
    index: usize,
    block: Arc<Block>,
    /// The packet of the block that [`PacketSource::next`] gives next.
    at: usize,
    /// Packets given.
    packets: u64,
}

/// Opens a file for so many threads.
pub fn open(
    path: &Path,
    threads: usize,
    shard_of: ShardOf,
) -> Result<Vec<SharedFile>, SourceError> {
    Ok(share(CaptureFile::open(path)?, threads, shard_of))
}

fn share(file: CaptureFile, threads: usize, shard_of: ShardOf) -> Vec<SharedFile> {
    let queue = Queue { next: vec![Some(0); threads], ..Queue::default() };
    let (file, queue) = (Mutex::new(file), Mutex::new(queue));
    let shared = Arc::new(Shared { file, shard_of, queue, moved: Condvar::new() });
    let of = |index| {
        let block = Arc::default();
        SharedFile { shared: Arc::clone(&shared), index, block, at: 0, packets: 0 }
    };
    (0..threads).map(of).collect()
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next block of a thread; none at the end of the file.
    fn next(&self, index: usize) -> Result<Option<Arc<Block>>, SourceError> {
        loop {
            if let Some(block) = self.take(index) {
                return Ok(Some(block));
            }
            // Whoever is first here reads; those that waited for it look again.
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            let mut queue = self.queue();
            if queue.has(index) {
                continue;
            }
            if queue.ended {
                return Ok(None);
            }
            let Block { buffer, places, .. } = queue.spare.pop().unwrap_or_default();
            drop(queue);
            let read = file.take(buffer, places);
            let Ok(Some((buffer, mut places))) = read else {
                self.queue().ended |= read.is_ok();
                return read.map(|_| None);
            };
            for place in &mut places {
                place.shard = (self.shard_of)(&place.packet(&buffer));
            }
            let block = Block { buffer, places, progress: file.progress() };
            self.queue().blocks.push_back(Arc::new(block));
        }
    }

    /// A block that was read already. Waits where the last thread is too far behind.
    fn take(&self, index: usize) -> Option<Arc<Block>> {
        let mut queue = self.queue();
        while !queue.has(index) && queue.blocks.len() >= BLOCKS_MAX {
            queue = self.moved.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let next = queue.next.get(index).copied().flatten()?;
        let block = queue.blocks.get(usize::try_from(next - queue.first).ok()?)?.clone();
        queue.go_on(index, Some(next + 1));
        drop(queue);
        self.moved.notify_all();
        Some(block)
    }
}

impl Queue {
    /// Whether the next block of a thread is there.
    fn has(&self, index: usize) -> bool {
        let next = self.next.get(index).copied().flatten();
        next.is_some_and(|next| next < self.first + self.blocks.len() as u64)
    }

    /// Says which block a thread takes next, and lets those go that all have had.
    fn go_on(&mut self, index: usize, next: Option<u64>) {
        if let Some(of) = self.next.get_mut(index) {
            *of = next;
        }
        let Some(last) = self.next.iter().flatten().min() else { return };
        while self.first < *last && self.blocks.pop_front().is_some() {
            self.first += 1;
        }
    }
}

impl PacketSource for SharedFile {
    fn next(&mut self) -> Result<Next<'_>, SourceError> {
        if self.at >= self.block.places.len() && !self.advance()? {
            return Ok(Next::End);
        }
        self.at += 1;
        let place = self.block.places.get(self.at - 1);
        Ok(place.map_or(Next::End, |place| Next::Packet(place.packet(&self.block.buffer))))
    }

    fn burst(&mut self) -> Result<Several<'_>, SourceError> {
        if self.at >= self.block.places.len() && !self.advance()? {
            return Ok(Several::End);
        }
        let places = self.block.places.get(self.at..).unwrap_or_default();
        self.at = self.block.places.len();
        Ok(Several::Packets(Burst::of(&self.block.buffer, places)))
    }

    fn stats(&mut self) -> Result<SourceStats, SourceError> {
        Ok(SourceStats { received: self.packets, dropped: 0 })
    }

    fn progress(&self) -> Option<Progress> {
        self.block.progress
    }
}

impl SharedFile {
    /// Moves to the next block; false at the end.
    fn advance(&mut self) -> Result<bool, SourceError> {
        self.give_back();
        let Some(block) = self.shared.next(self.index)? else { return Ok(false) };
        self.packets += block.places.len() as u64;
        self.block = block;
        Ok(true)
    }

    /// The last that had a block leaves its memory to the next.
    fn give_back(&mut self) {
        self.at = 0;
        let progress = self.block.progress;
        let rest = Block { progress, ..Block::default() };
        if let Some(block) = Arc::into_inner(std::mem::replace(&mut self.block, Arc::new(rest))) {
            self.shared.queue().spare.push(block);
        }
    }
}

impl Drop for SharedFile {
    fn drop(&mut self) {
        self.shared.queue().go_on(self.index, None);
        self.shared.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::{Random, pcap, read_all};

    fn file(bytes: &[u8]) -> CaptureFile {
        let input = Box::new(std::io::Cursor::new(bytes.to_vec()));
        CaptureFile::from_reader("test", input, None).unwrap()
    }

    fn big() -> Vec<u8> {
        let mut random = Random(3);
        let data: Vec<_> = (0..60_000u32).map(|n| (n, random.bytes(n as usize % 700))).collect();
        let packets: Vec<(u32, &[u8])> = data.iter().map(|(n, data)| (*n, &data[..])).collect();
        pcap(&packets)
    }

    #[test]
    fn each_thread_sees_the_whole_file() {
        let bytes = big();
        // Broken at its end, which one of them tells.
        let bytes = &bytes[..bytes.len() - 1];
        let (alone, broken) = read_all(&mut file(bytes));
        assert_eq!((alone.len(), broken.len()), (59_999, 1));
        let threads: Vec<_> = share(file(bytes), 3, |packet| packet.data.first().copied())
            .into_iter()
            .map(|mut source| {
                std::thread::spawn(move || {
                    let (mut all, mut errors) = (Vec::new(), 0);
                    loop {
                        match source.burst() {
                            Ok(Several::Packets(burst)) => {
                                let count = burst.count();
                                let packets = burst.some(0, count).zip(burst.shards(0, count));
                                all.extend(packets.map(|(packet, shard)| {
                                    assert_eq!(shard, packet.data.first().copied());
                                    (packet.ts_us, packet.data.to_vec())
                                }));
                            }
                            Ok(_) => return (all, errors),
                            Err(_) => errors += 1,
                        }
                    }
                })
            })
            .collect();
        let got: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(got.iter().all(|(all, _)| *all == alone));
        assert_eq!(got.iter().map(|(_, errors)| errors).sum::<i32>(), 1);
    }

    #[test]
    fn who_leaves_is_not_waited_for() {
        let mut both = share(file(&big()), 2, |_| None);
        let mut left = both.pop().unwrap();
        assert!(matches!(left.next(), Ok(Next::Packet(_))));
        drop(left);
        let (all, errors) = read_all(&mut both[0]);
        assert_eq!((all.len(), errors.len()), (60_000, 0));
        // What was read is gone but for one block.
        let queue = both[0].shared.queue();
        assert!(queue.blocks.is_empty() && queue.spare.len() <= 2, "{}", queue.spare.len());
    }
}
