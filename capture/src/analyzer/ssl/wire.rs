//! A cursor over wire bytes, shared by the parsers of this folder: every read may come up short, and
//! then says `None`, which the callers take as "malformed".

/// Bytes not read yet.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A cursor at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    /// Whether all is read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes are left.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        let (byte, tail) = self.0.split_first()?;
        self.0 = tail;
        Some(*byte)
    }

    /// Two bytes, big endian.
    pub fn u16(&mut self) -> Option<u16> {
        let (head, tail) = self.0.split_first_chunk::<2>()?;
        self.0 = tail;
        Some(u16::from_be_bytes(*head))
    }

    /// Three bytes, big endian.
    pub fn u24(&mut self) -> Option<u32> {
        let (head, tail) = self.0.split_first_chunk::<3>()?;
        self.0 = tail;
        let [a, b, c] = *head;
        Some(u32::from_be_bytes([0, a, b, c]))
    }

    /// Six bytes, big endian.
    pub fn u48(&mut self) -> Option<u64> {
        let (head, tail) = self.0.split_first_chunk::<6>()?;
        self.0 = tail;
        let [a, b, c, d, e, f] = *head;
        Some(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }

    /// Bytes behind a length of one byte.
    pub fn vec8(&mut self) -> Option<&'a [u8]> {
        let n = self.u8()?;
        self.take(n.into())
    }

    /// Bytes behind a length of two bytes.
    pub fn vec16(&mut self) -> Option<&'a [u8]> {
        let n = self.u16()?;
        self.take(n.into())
    }

    /// Bytes behind a length of three bytes.
    pub fn vec24(&mut self) -> Option<&'a [u8]> {
        let n = self.u24()?;
        self.take(n as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_run_short_without_panic() {
        let mut r = Reader::new(&[1, 2, 3, 0, 0, 1, 9]);
        assert_eq!(r.u8(), Some(1));
        assert_eq!(r.u16(), Some(0x0203));
        assert_eq!(r.vec24(), Some(&[9][..]));
        assert!(r.is_empty());
        assert_eq!(r.u8(), None);
        assert_eq!(Reader::new(&[5, 1]).vec8(), None);
        assert_eq!(Reader::new(&[0]).u16(), None);
        assert_eq!(Reader::new(&[0, 0, 0, 0, 1, 0]).u48(), Some(256));
    }
}
