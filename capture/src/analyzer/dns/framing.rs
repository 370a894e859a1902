//! DNS over TCP: each message after its length in two bytes (RFC 1035 section 4.2.2).

/// What is expected next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The first byte of a length.
    High,
    /// The second, after this first one.
    Low(u8),
    /// A message of this length.
    Message(usize),
}

/// One direction of a stream.
#[derive(Debug)]
pub struct Framing {
    state: State,
    /// The part of a message that came in earlier segments: less than its length, so less than
    /// 64 KiB.
    part: Vec<u8>,
}

impl Default for Framing {
    fn default() -> Framing {
        Framing { state: State::High, part: Vec::new() }
    }
}

impl Framing {
    /// Takes stream bytes in, and tells of every message that they complete.
    pub fn feed(&mut self, mut data: &[u8], mut each: impl FnMut(&[u8])) {
        while let Some((first, rest)) = data.split_first() {
            match self.state {
                State::High => {
                    self.state = State::Low(*first);
                    data = rest;
                }
                State::Low(high) => {
                    self.state = State::Message(u16::from_be_bytes([high, *first]).into());
                    self.part.clear();
                    data = rest;
                }
                State::Message(length) => data = self.message(length, data, &mut each),
            }
        }
    }

    /// Takes bytes of a message, and returns those after it.
    fn message<'a>(
        &mut self,
        length: usize,
        data: &'a [u8],
        each: &mut impl FnMut(&[u8]),
    ) -> &'a [u8] {
        let missing = length.saturating_sub(self.part.len());
        let (piece, rest) = data.split_at(missing.min(data.len()));
        if piece.len() < missing {
            self.part.extend_from_slice(piece);
            return rest;
        }
        if self.part.is_empty() {
            each(piece);
        } else {
            self.part.extend_from_slice(piece);
            each(self.part.get(..length).unwrap_or_default());
            self.part.clear();
        }
        self.state = State::High;
        rest
    }

    /// One end of the connection has closed: the part of a message that waits, if any. As in Zeek it
    /// stays, and the next bytes are then taken for a message without any.
    pub fn close(&mut self) -> &[u8] {
        if !self.part.is_empty() {
            self.state = State::Message(0);
        }
        &self.part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut framing = Framing::default();
        let mut all = Vec::new();
        for piece in pieces {
            framing.feed(piece, |message| all.push(message.to_vec()));
        }
        all
    }

    #[test]
    fn any_split_gives_the_same_messages() {
        let stream = b"\0\x03abc\0\0\0\x01x\0\x05par";
        let want = [b"abc".to_vec(), Vec::new(), b"x".to_vec()];
        for at in 0..=stream.len() {
            let (left, right) = stream.split_at(at);
            assert_eq!(messages(&[left, right]), want);
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(messages(&bytes), want);
    }

    #[test]
    fn a_part_is_given_up_when_the_connection_closes() {
        let mut framing = Framing::default();
        framing.feed(b"\0\x05par", |_| unreachable!());
        assert_eq!(framing.close(), b"par");
        let mut all = Vec::new();
        framing.feed(b"\0\x01y", |message| all.push(message.to_vec()));
        assert_eq!(all, [Vec::new(), b"y".to_vec()]);
        assert_eq!(framing.close(), b"");
    }
}
