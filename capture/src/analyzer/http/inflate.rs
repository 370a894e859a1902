//! Undoes gzip and deflate as a stream, as zlib's automatic detection does it for Zeek (`ZIP.cc`): a
//! gzip or zlib header, or neither when a server forgot it.

use std::cell::Cell;

use flate2::{Decompress, FlushDecompress, Status};

/// Bytes that one body may grow to. A hostile server gets a thousandfold out of a byte; a body beyond
/// this is counted up to here.
pub const INFLATED_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Bytes that are handed on at once (Zeek's `unzip_size`).
const PIECE: usize = 4096;
/// Bytes that are decompressed at once: after each time the window of 32 KiB is brought up to date.
const ROOM: usize = 16 * PIECE;

thread_local! {
    /// One for all bodies of a thread, which does one at a time; those inside of another make their own.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// One body being decompressed.
#[derive(Default)]
pub struct Inflate {
    stream: Option<Decompress>,
    /// First byte of the body, when it came alone.
    first: Option<u8>,
    done: bool,
    total: u64,
}

impl std::fmt::Debug for Inflate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflate").field("total", &self.total).finish_non_exhaustive()
    }
}

impl Inflate {
    /// Decompresses the next bytes; false if they cannot be, which ends it.
    pub fn push(&mut self, data: &[u8], sink: &mut dyn FnMut(&[u8])) -> bool {
        if self.done || data.is_empty() {
            return true;
        }
        let Some(first) = self.first.take() else {
            if self.stream.is_none() && data.len() == 1 {
                self.first = data.first().copied();
                return true;
            }
            return self.run(data, sink);
        };
        let mut whole = Vec::with_capacity(data.len() + 1);
        whole.push(first);
        whole.extend_from_slice(data);
        self.run(&whole, sink)
    }

    fn run(&mut self, data: &[u8], sink: &mut dyn FnMut(&[u8])) -> bool {
        let mut room = SCRATCH.take();
        room.resize(ROOM, 0);
        let ok = self.run_in(&mut room, data, sink);
        SCRATCH.set(room);
        ok
    }

    fn run_in(&mut self, room: &mut [u8], data: &[u8], sink: &mut dyn FnMut(&[u8])) -> bool {
        let mut stream = self.stream.take().unwrap_or_else(|| begin(data));
        let mut may_restart = true;
        let mut rest = data;
        loop {
            let before = (stream.total_in(), stream.total_out());
            let result = stream.decompress(rest, room, FlushDecompress::Sync);
            let read = usize::try_from(stream.total_in() - before.0).unwrap_or(usize::MAX);
            let written = usize::try_from(stream.total_out() - before.1).unwrap_or(usize::MAX);
            let plain = room.get(..written).unwrap_or_default();
            match result {
                Ok(status @ (Status::Ok | Status::StreamEnd)) => {
                    may_restart = false;
                    rest = rest.get(read..).unwrap_or_default();
                    self.total += written as u64;
                    plain.chunks(PIECE).for_each(&mut *sink);
                    self.done = status == Status::StreamEnd || self.total > INFLATED_BYTES_MAX;
                    if self.done {
                        return true;
                    }
                    if rest.is_empty() {
                        self.stream = Some(stream);
                        return true;
                    }
                }
                Err(error) if may_restart && error.needs_dictionary().is_none() => {
                    may_restart = false;
                    stream = Decompress::new(false);
                    rest = data;
                }
                Ok(Status::BufError) | Err(_) => {
                    // Whole pieces came before it.
                    plain.chunks_exact(PIECE).for_each(&mut *sink);
                    self.done = true;
                    return false;
                }
            }
        }
    }
}

fn begin(data: &[u8]) -> Decompress {
    if data.starts_with(b"\x1f\x8b") { Decompress::new_gzip(15) } else { Decompress::new(true) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn inflate(data: &[u8], piece: usize) -> (Vec<u8>, bool) {
        let mut plain = Vec::new();
        let mut inflate = Inflate::default();
        let mut ok = true;
        for piece in data.chunks(piece) {
            ok &= inflate.push(piece, &mut |bytes| plain.extend_from_slice(bytes));
        }
        (plain, ok)
    }

    #[test]
    fn every_wrapping_at_every_cut() {
        let text: Vec<u8> = (0..20_000u32).map(|i| ((i * i) >> 7) as u8).collect();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&text).unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(&text).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
        raw.write_all(&text).unwrap();
        for data in [gzip.finish().unwrap(), zlib.finish().unwrap(), raw.finish().unwrap()] {
            for piece in [1, 2, 3, 1000, usize::MAX] {
                assert_eq!(inflate(&data, piece), (text.clone(), true), "pieces of {piece}");
            }
        }
    }

    #[test]
    fn rubbish_fails_once() {
        assert!(!inflate(&[0xff; 100], 100).1);
        assert_eq!(inflate(b"", 1), (vec![], true));
    }

    #[test]
    fn a_bomb_goes_off_no_further_than_the_limit() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        let zeros = vec![0; 1 << 20];
        for _ in 0..(INFLATED_BYTES_MAX >> 20) + 64 {
            gzip.write_all(&zeros).unwrap();
        }
        let (mut inflate, mut total) = (Inflate::default(), 0);
        for piece in gzip.finish().unwrap().chunks(1448) {
            assert!(inflate.push(piece, &mut |bytes| total += bytes.len() as u64));
        }
        assert!(
            (INFLATED_BYTES_MAX..=INFLATED_BYTES_MAX + ROOM as u64).contains(&total),
            "{total}"
        );
    }
}
