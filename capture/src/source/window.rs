//! The part of a stream that is in memory: grows to hold the record at hand, never past a limit.

use std::io::{self, Read};

/// Where reading starts, bytes. Small, because a merge of many rotated files opens them all.
const FIRST: usize = 64 << 10;
/// What a window grows to once its file is really read, bytes: large enough to make the system calls
/// cheap, and a core's cache has room for it beside the flows.
const FULL: usize = 256 << 10;

/// A window on a stream of bytes.
pub(super) struct Window {
    input: Box<dyn Read + Send>,
    buf: Vec<u8>,
    /// Where unread data begins in `buf`.
    pos: usize,
    /// Where it ends.
    end: usize,
    /// Place of `pos` in the stream.
    offset: u64,
    /// The last read filled the window: there is more to read.
    is_full: bool,
    /// Nothing is read: to need what is not in memory is an error.
    is_still: bool,
}

impl Window {
    pub(super) fn new(input: Box<dyn Read + Send>) -> Window {
        Window {
            input,
            buf: Vec::new(),
            pos: 0,
            end: 0,
            offset: 0,
            is_full: false,
            is_still: false,
        }
    }

    /// Place in the stream of the first unread byte.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Keeps what is in memory where it is, or lets it be read on.
    pub(super) fn hold_still(&mut self, is_still: bool) {
        self.is_still = is_still;
    }

    /// All that is in memory, read or unread.
    pub(super) fn buffer(&self) -> &[u8] {
        &self.buf
    }

    /// Where unread bytes begin in [`buffer`](Self::buffer).
    #[inline]
    pub(super) fn pos(&self) -> usize {
        self.pos
    }

    /// The unread bytes in memory.
    #[inline]
    pub(super) fn data(&self) -> &[u8] {
        self.buf.get(self.pos..self.end).unwrap_or_default()
    }

    /// The first of them.
    #[inline]
    pub(super) fn head<const N: usize>(&self) -> Option<&[u8; N]> {
        self.data().first_chunk()
    }

    /// Makes sure that `need` unread bytes are in memory; false when the stream ends before.
    /// Callers check `need` against a limit of their own first.
    #[inline]
    pub(super) fn fill(&mut self, need: usize) -> io::Result<bool> {
        if self.end - self.pos >= need {
            return Ok(true);
        }
        self.refill(need)
    }

    #[cold]
    fn refill(&mut self, need: usize) -> io::Result<bool> {
        if self.is_still {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let held = self.end - self.pos;
        let size = match self.buf.len() {
            0 => FIRST,
            _ if self.is_full => FULL,
            len => len,
        };
        if self.buf.len() < size.max(need) {
            let mut larger = vec![0; size.max(need)];
            if let Some(start) = larger.get_mut(..held) {
                start.copy_from_slice(self.data());
            }
            self.buf = larger;
        } else {
            self.buf.copy_within(self.pos..self.end, 0);
        }
        self.pos = 0;
        self.end = held;
        while self.end < need {
            let space = self.buf.get_mut(self.end..).unwrap_or_default();
            match self.input.read(space) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    self.end += n;
                    self.is_full = self.end == self.buf.len();
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    /// Moves past `n` bytes that are in memory.
    #[inline]
    pub(super) fn consume(&mut self, n: usize) {
        let n = n.min(self.end - self.pos);
        self.pos += n;
        self.offset += n as u64;
    }

    /// Moves past `n` bytes, in memory or not; false when the stream ends before.
    pub(super) fn skip(&mut self, mut n: u64) -> io::Result<bool> {
        if self.is_still && n > (self.end - self.pos) as u64 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        loop {
            let part = n.min((self.end - self.pos) as u64);
            self.consume(part as usize);
            n -= part;
            if n == 0 {
                return Ok(true);
            }
            if !self.fill(1)? {
                return Ok(false);
            }
        }
    }

    /// Gives all that is in memory away; what is unread goes on in another buffer.
    pub(super) fn replace(&mut self, mut buf: Vec<u8>) -> Vec<u8> {
        buf.resize(self.buf.len(), 0);
        let unread = self.data();
        if let Some(start) = buf.get_mut(..unread.len()) {
            start.copy_from_slice(unread);
        }
        self.end -= self.pos;
        self.pos = 0;
        std::mem::replace(&mut self.buf, buf)
    }

    /// Gives the memory back, for a stream that is done.
    pub(super) fn close(&mut self) {
        self.consume(usize::MAX);
        self.buf = Vec::new();
        self.pos = 0;
        self.end = 0;
        self.input = Box::new(io::empty());
    }
}
