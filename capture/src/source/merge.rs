//! Several capture files as one, in time order.
//!
//! The heads of the files are compared; a file's own order is never changed. On equal times the
//! file given first goes first, and one file keeps going as long as it is not later than another.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use super::{CaptureFile, Next, PacketSource, Progress, SourceError, SourceStats};

/// When a file's next packet was captured, and which file it is: earliest first.
type Head = Reverse<(i64, usize)>;

/// A merge of files. All are open from the start.
pub struct Merged {
    files: Vec<CaptureFile>,
    /// Heads of all files that have one, but the current.
    heads: BinaryHeap<Head>,
    /// The file that the last packet came from.
    current: Option<usize>,
    /// Files before this one have been asked for their first packet.
    primed: usize,
}

impl Merged {
    /// Merges files, in the order in which equal times are resolved.
    pub fn new(files: Vec<CaptureFile>) -> Merged {
        let heads = BinaryHeap::with_capacity(files.len());
        Merged { files, heads, current: None, primed: 0 }
    }

    /// Moves a file to its next packet: the head to compare, or none when it has ended.
    fn advance(&mut self, file: usize) -> Result<Option<Head>, SourceError> {
        let Some(source) = self.files.get_mut(file) else { return Ok(None) };
        source.advance()?;
        Ok(source.current().map(|packet| Reverse((packet.ts_us, file))))
    }

    /// Asks every file for its first packet. A file that fails is left out, and the next call goes
    /// on behind it.
    fn prime(&mut self) -> Result<(), SourceError> {
        while self.primed < self.files.len() {
            let file = self.primed;
            self.primed += 1;
            let head = self.advance(file)?;
            self.heads.extend(head);
        }
        Ok(())
    }

    /// Makes the file with the earliest head current.
    fn choose(&mut self) -> Result<(), SourceError> {
        self.prime()?;
        let head = match self.current.take() {
            Some(file) => self.advance(file)?,
            None => None,
        };
        let Some(head) = head else {
            self.current = self.heads.pop().map(|Reverse((_, file))| file);
            return Ok(());
        };
        let mut chosen = head;
        // A heap of `Reverse` has the earliest on top, so the greater of two is the earlier.
        if let Some(mut earliest) = self.heads.peek_mut()
            && *earliest > chosen
        {
            std::mem::swap(&mut *earliest, &mut chosen);
            drop::<PeekMut<'_, Head>>(earliest);
        }
        self.current = Some(chosen.0.1);
        Ok(())
    }
}

impl PacketSource for Merged {
    fn next(&mut self) -> Result<Next<'_>, SourceError> {
        self.choose()?;
        let source = self.current.and_then(|file| self.files.get(file));
        Ok(source.and_then(CaptureFile::current).map_or(Next::End, Next::Packet))
    }

    fn stats(&mut self) -> Result<SourceStats, SourceError> {
        let received = self.files.iter().map(CaptureFile::packets).sum();
        Ok(SourceStats { received, dropped: 0 })
    }

    fn progress(&self) -> Option<Progress> {
        let mut sum = Progress::default();
        for file in &self.files {
            let one = file.progress()?;
            sum.read += one.read;
            sum.total += one.total;
        }
        Some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::{pcap, read_all};

    fn merged(files: &[&[u8]]) -> Merged {
        let open = |bytes: &&[u8]| {
            CaptureFile::from_reader("test", Box::new(std::io::Cursor::new(bytes.to_vec())), None)
        };
        Merged::new(files.iter().map(|bytes| open(bytes).unwrap()).collect())
    }

    #[test]
    fn earliest_first_ties_by_order_own_order_kept() {
        let a = pcap(&[(1, b"a1"), (5, b"a5"), (3, b"a3"), (9, b"a9")]);
        let b = pcap(&[(1, b"b1"), (4, b"b4"), (5, b"b5")]);
        let c = pcap(&[]);
        let (packets, error) = read_all(&mut merged(&[&a, &b, &c]));
        let order: Vec<_> = packets.iter().map(|(_, data)| String::from_utf8_lossy(data)).collect();
        assert_eq!(order, ["a1", "b1", "b4", "a5", "a3", "b5", "a9"]);
        assert!(error.is_empty());
    }

    #[test]
    fn a_broken_file_does_not_stop_the_others() {
        let a = pcap(&[(1, b"a1"), (2, b"a2")]);
        let b = pcap(&[(1, b"b1"), (7, b"b7")]);
        let (packets, errors) = read_all(&mut merged(&[&a[..a.len() - 1], &b]));
        assert_eq!(packets.len(), 3);
        assert_eq!(errors.len(), 1);
    }
}
