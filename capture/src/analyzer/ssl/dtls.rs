//! DTLS: records of datagrams, handshake messages out of their fragments.
//!
//! Source: RFC 6347 section 4.1 and 4.2, RFC 9147 section 4 (unified header); Zeek
//! `dtls-protocol.pac`, `dtls-analyzer.pac`, `DTLS.cc`.

use super::names::version;
use super::record::{Common, Malformed, content};
use super::wire::Reader;
use crate::analyzer::{Analyzer, Cx, Dir};

/// The longest fragmented message that is put together (Zeek's `MAX_DTLS_HANDSHAKE_RECORD`).
const MESSAGE_BYTES_MAX: usize = 100_000;
/// How far record numbers of one message's fragments may lie apart: bits of the set of those seen.
const WINDOW: u64 = 32;
/// More fragments than this make no message (Zeek's).
const FRAGMENTS_MAX: u64 = 30;
/// Records of another version after which nothing more is parsed (Zeek's
/// `SSL::dtls_max_version_errors`).
const VERSION_ERRORS_MAX: u32 = 10;

/// The analyzer.
pub struct Dtls {
    common: Common,
    fragments: [Fragments; 2],
    version_errors: u32,
    version_error_told: bool,
}

/// A handshake message of which fragments were seen.
#[derive(Default)]
struct Fragments {
    /// Its number and length; `None` before the first fragment.
    message: Option<(u16, usize)>,
    bytes: Vec<u8>,
    /// Record number that bit 0 of `seen` stands for.
    first: u64,
    /// The fragment at offset 0 was seen.
    has_first: bool,
    /// Record number of the fragment that ends the message.
    last: u64,
    seen: u32,
}

/// One handshake fragment.
struct Fragment<'a> {
    kind: u8,
    len: usize,
    message: u16,
    offset: usize,
    /// Length that it claims for itself.
    fragment_len: usize,
    data: &'a [u8],
}

fn fragment(body: &[u8]) -> Option<Fragment<'_>> {
    let mut r = Reader::new(body);
    Some(Fragment {
        kind: r.u8()?,
        len: r.u24()? as usize,
        message: r.u16()?,
        offset: r.u24()? as usize,
        fragment_len: r.u24()? as usize,
        data: r.rest(),
    })
}

/// A fragment that does not fit the others.
struct Misfit;

impl Fragments {
    /// Adds a fragment; says whether the message is complete.
    fn add(&mut self, part: &Fragment<'_>, record: u64) -> Result<bool, Misfit> {
        if part.len > MESSAGE_BYTES_MAX {
            return Err(Misfit);
        }
        if self.message != Some((part.message, part.len)) {
            *self = Fragments {
                message: Some((part.message, part.len)),
                first: record,
                ..Fragments::default()
            };
        }
        if self.first.abs_diff(record) >= WINDOW {
            return Err(Misfit);
        }
        if self.first > record {
            if self.has_first {
                return Err(Misfit);
            }
            self.seen <<= self.first - record;
            self.first = record;
        }
        self.has_first |= part.offset == 0;
        let bit = 1u32 << (record - self.first);
        if self.seen & bit != 0 {
            return Ok(false);
        }
        let end = part.offset + part.fragment_len;
        if part.data.len() != part.fragment_len || end > part.len {
            return Err(Misfit);
        }
        self.seen |= bit;
        self.copy(part.offset, end, part.data);
        if end == part.len {
            self.last = record;
        }
        self.is_complete()
    }

    fn copy(&mut self, start: usize, end: usize, data: &[u8]) {
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        if let Some(place) = self.bytes.get_mut(start..end) {
            place.copy_from_slice(data);
        }
    }

    fn is_complete(&self) -> Result<bool, Misfit> {
        if self.last == 0 || !self.has_first {
            return Ok(false);
        }
        // The first may have turned out to be a later record than the last: that is no message.
        let span = self.last.checked_sub(self.first).ok_or(Misfit)?;
        if span > FRAGMENTS_MAX {
            return Err(Misfit);
        }
        let all = (1u32 << (span + 1)) - 1;
        Ok(!self.seen & all == 0)
    }
}

impl Dtls {
    /// Nothing seen yet.
    pub fn new() -> Dtls {
        Dtls {
            common: Common::new("DTLS"),
            fragments: Default::default(),
            version_errors: 0,
            version_error_told: false,
        }
    }

    fn datagram(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) -> Result<(), Malformed> {
        let mut r = Reader::new(data);
        while !r.is_empty() {
            let kind = r.u8().ok_or(Malformed)?;
            if cx.is_half && kind & 0xe0 == 0x20 {
                // The version that has such records the other end has chosen.
                return Ok(());
            }
            let tls13 = self.common.handshake.version() == version::DTLSV13;
            if tls13 && kind & 0xe0 == 0x20 {
                self.unified(cx, dir, kind, r)?;
                return Ok(());
            }
            let version = r.u16().ok_or(Malformed)?;
            let epoch = r.u16().ok_or(Malformed)?;
            let record = r.u48().ok_or(Malformed)?;
            let len = r.u16().ok_or(Malformed)?;
            if !self.version_fits(cx, version) {
                return Ok(());
            }
            let body = r.take(len.into()).ok_or(Malformed)?;
            self.record(cx, dir, kind.into(), epoch, record, body)?;
        }
        Ok(())
    }

    /// A record with the unified header of DTLS 1.3. There is no ChangeCipherSpec, so one from each
    /// end completes the handshake. It takes the rest of the datagram: where a connection id is in
    /// use, its length is not known here.
    fn unified(
        &mut self,
        cx: &mut Cx<'_>,
        dir: Dir,
        first: u8,
        mut r: Reader<'_>,
    ) -> Result<(), Malformed> {
        if first & 0x10 == 0 {
            r.take(if first & 0x08 != 0 { 2 } else { 1 }).ok_or(Malformed)?;
            if first & 0x04 != 0 {
                r.u16().ok_or(Malformed)?;
            }
        }
        self.common.encrypt(dir);
        self.common.ciphertext(cx, dir);
        Ok(())
    }

    /// Whether a record's version is one of DTLS. Others are put up with, so many of them.
    fn version_fits(&mut self, cx: &mut Cx<'_>, version: u16) -> bool {
        let session = &mut self.common.session;
        if matches!(version, version::DTLSV10 | version::DTLSV12) {
            if session.confirmed {
                self.version_errors = 0;
            }
            return true;
        }
        self.version_errors += 1;
        if session.confirmed && !self.version_error_told {
            self.version_error_told = true;
            session.violation(cx);
        }
        session.skip |= self.version_errors > VERSION_ERRORS_MAX;
        false
    }

    fn record(
        &mut self,
        cx: &mut Cx<'_>,
        dir: Dir,
        kind: u16,
        epoch: u16,
        record: u64,
        mut body: &[u8],
    ) -> Result<(), Malformed> {
        while !body.is_empty() {
            if epoch != 0 {
                self.common.ciphertext(cx, dir);
                return Ok(());
            }
            let used = if kind == content::HANDSHAKE {
                self.handshake(cx, dir, record, &fragment(body).ok_or(Malformed)?);
                body.len()
            } else {
                self.common.plaintext(cx, dir, kind, body)?
            };
            self.common.session.plaintext(cx, kind == content::APPLICATION_DATA);
            body = body.get(used.max(1)..).unwrap_or_default();
        }
        Ok(())
    }

    /// A handshake fragment. A whole message goes on with all that follows it in the record, as in
    /// Zeek.
    fn handshake(&mut self, cx: &mut Cx<'_>, dir: Dir, record: u64, part: &Fragment<'_>) {
        let Common { handshake, session, .. } = &mut self.common;
        if part.offset == 0 && part.len == part.fragment_len {
            handshake.push_message(cx, session, dir, part.kind, part.len, part.data);
            return;
        }
        let [orig, resp] = &mut self.fragments;
        let fragments = match dir {
            Dir::Orig => orig,
            Dir::Resp => resp,
        };
        match fragments.add(part, record) {
            Ok(false) => {}
            Ok(true) => {
                let bytes = fragments.bytes.get(..part.len).unwrap_or_default();
                handshake.push_message(cx, session, dir, part.kind, part.len, bytes);
            }
            Err(Misfit) => session.violation(cx),
        }
    }
}

/// Whether a datagram is a STUN message, which shares the ports with DTLS in WebRTC (RFC 7983).
fn is_stun(data: &[u8]) -> bool {
    data.len() > 20 && data.get(4..8) == Some(&[0x21, 0x12, 0xa4, 0x42])
}

impl Analyzer for Dtls {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        self.common.bytes += data.len() as u64;
        let skip = self.common.is_over() || is_stun(data);
        if !skip && self.datagram(cx, dir, data).is_err() {
            self.common.session.violation(cx);
        }
        if self.common.is_over() {
            self.fragments = Default::default();
        }
        self.common.settle(cx);
    }

    fn gap(&mut self, _cx: &mut Cx<'_>, _dir: Dir, _len: u64) {}

    fn end(&mut self, _cx: &mut Cx<'_>, _dir: Dir) {}

    fn finish(&mut self, cx: &mut Cx<'_>) {
        self.common.session.log(cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(offset: usize, data: &[u8], len: usize) -> Fragment<'_> {
        Fragment { kind: 1, len, message: 0, offset, fragment_len: data.len(), data }
    }

    #[test]
    fn fragments_in_any_order() {
        for order in [[0u64, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
            let mut fragments = Fragments::default();
            let mut complete = Vec::new();
            for n in order {
                let data: &[u8] = [&b"ab"[..], b"cd", b"e"].get(n as usize).copied().unwrap_or(b"");
                complete.push(fragments.add(&part(2 * n as usize, data, 5), 7 + n).ok());
            }
            assert_eq!(complete, [Some(false), Some(false), Some(true)], "{order:?}");
            assert_eq!(fragments.bytes, b"abcde");
        }
    }

    #[test]
    fn misfits() {
        let mut fragments = Fragments::default();
        assert!(fragments.add(&part(0, b"ab", MESSAGE_BYTES_MAX + 1), 1).is_err());
        assert!(fragments.add(&part(4, b"ab", 5), 1).is_err());
        assert!(fragments.add(&part(0, b"ab", 5), 1).is_ok());
        assert!(fragments.add(&part(2, b"cd", 5), 40).is_err());
        assert!(fragments.add(&part(2, b"cd", 5), 0).is_err());
    }
}
