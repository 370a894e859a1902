//! A cursor over wire bytes, shared by the analyzers: every read may come up short, and then says
//! `None`, which the callers take as "malformed". Numbers are big endian but for those of `le`.

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

    /// Four bytes, big endian.
    pub fn u32(&mut self) -> Option<u32> {
        let (head, tail) = self.0.split_first_chunk::<4>()?;
        self.0 = tail;
        Some(u32::from_be_bytes(*head))
    }

    /// Two bytes, little endian.
    pub fn le16(&mut self) -> Option<u16> {
        self.u16().map(u16::swap_bytes)
    }

    /// Four bytes, little endian.
    pub fn le32(&mut self) -> Option<u32> {
        self.u32().map(u32::swap_bytes)
    }

    /// Eight bytes, little endian.
    pub fn le64(&mut self) -> Option<u64> {
        let (head, tail) = self.0.split_first_chunk::<8>()?;
        self.0 = tail;
        Some(u64::from_le_bytes(*head))
    }

    /// Passes over `n` bytes.
    pub fn skip(&mut self, n: usize) -> Option<()> {
        self.take(n).map(|_| ())
    }

    /// How far it is into `whole`, at whose start it was made.
    pub fn at(&self, whole: &[u8]) -> usize {
        whole.len().saturating_sub(self.0.len())
    }

    /// Passes over what lies before offset `to` of `whole`; nothing where it is past that already.
    pub fn pad_to(&mut self, whole: &[u8], to: usize) -> Option<()> {
        self.skip(to.saturating_sub(self.at(whole)))
    }

    /// Bytes up to a zero byte, which is taken as well.
    pub fn text0(&mut self) -> Option<&'a [u8]> {
        let n = self.0.iter().position(|byte| *byte == 0)?;
        let text = self.take(n)?;
        self.skip(1)?;
        Some(text)
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

    #[test]
    fn little_endian_padding_and_text() {
        let whole = [1, 2, 3, 4, 0, 0, b'a', 0, 9];
        let mut r = Reader::new(&whole);
        assert_eq!(r.le16(), Some(0x0201));
        assert_eq!(r.at(&whole), 2);
        assert_eq!(r.pad_to(&whole, 1), Some(()));
        assert_eq!(r.at(&whole), 2);
        assert_eq!(r.pad_to(&whole, 6), Some(()));
        assert_eq!(r.text0(), Some(&b"a"[..]));
        assert_eq!(r.text0(), None);
        assert_eq!(r.pad_to(&whole, 10), None);
        assert_eq!(Reader::new(&[1, 0, 0, 0, 0, 0, 0, 0]).le64(), Some(1));
        assert_eq!(Reader::new(&[1, 0, 0, 0]).le32(), Some(1));
    }
}
