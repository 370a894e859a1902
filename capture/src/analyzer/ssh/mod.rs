//! SSH: banners and the key exchange up to where it is encrypted (RFC 4253), with the rules of Zeek's
//! `ssh-protocol.pac` for what makes a flow SSH: a NEWKEYS was met, and all before it could be read. Of what is
//! encrypted the lengths are seen, until somebody is in.

use super::{Analyzer, Cx, Dir, Kind, Start, Transport, Verdict};
use auth::Auth;
use kex::{Exchange, Negotiation};
use log::Record;

mod auth;
mod kex;
mod log;
#[cfg(test)]
mod tests;
mod v1;

/// SSH, on Zeek's `SSH::ports`.
pub static KIND: Kind = Kind {
    name: "ssh",
    tcp_ports: &[22],
    udp_ports: &[],
    probe: Some(probe),
    skips_partial: true,
    new: |_| Box::<Ssh>::default(),
};

/// Bytes of a packet or banner that are kept until it is complete. RFC 4253 section 6.1 asks for 35000;
/// Zeek would keep 8 MiB.
const KEPT_MAX: usize = 256 * 1024;

/// The longest packet (`SSH::max_packet_length`); a longer one is cut there.
const PACKET_MAX: u32 = 8 * 1024 * 1024;

/// `dpd.sig`: both ends begin with a banner.
fn probe(start: &Start<'_>) -> Verdict {
    if start.transport != Transport::Tcp {
        return Verdict::No;
    }
    let side = |bytes: &[u8]| {
        let head = bytes.get(..4).unwrap_or(bytes);
        if !b"SSH-".get(..head.len()).is_some_and(|want| want.eq_ignore_ascii_case(head)) {
            return Verdict::No;
        }
        match bytes.get(4..).unwrap_or_default() {
            [b'1' | b'2', b'.', ..] => Verdict::Yes,
            [] | [b'1' | b'2'] => Verdict::More,
            _ => Verdict::No,
        }
    };
    match start.bytes.map(side) {
        [Verdict::Yes, Verdict::Yes] => Verdict::Yes,
        [Verdict::No, _] | [_, Verdict::No] => Verdict::No,
        _ => Verdict::More,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    /// Speaks both.
    Either,
    Two,
}

impl Version {
    fn of(banner: &[u8]) -> Option<Version> {
        match banner.get(4)? {
            b'2' => Some(Version::Two),
            b'1' if banner.len() >= 8 && banner.get(6..8) == Some(b"99") => Some(Version::Either),
            b'1' => Some(Version::One),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Banner,
    KexInit,
    Exchange(Exchange),
    Encrypted,
}

/// One direction.
#[derive(Debug, Default)]
struct Side {
    state: State,
    kept: Vec<u8>,
    version: Option<Version>,
    /// The last line ended in CR: an LF that follows belongs to it.
    after_cr: bool,
    /// Bytes at the start of what is kept that were searched for the end of a line: each is looked at once, however
    /// small the segments are.
    searched: usize,
}

/// The first message of version 2.
const KEXINIT: u8 = 20;

/// What cannot be read.
#[derive(Debug)]
struct Malformed;

#[derive(Debug, Default)]
struct Ssh {
    sides: [Side; 2],
    negotiation: Negotiation,
    auth: Auth,
    record: Record,
    /// Nothing more is wanted.
    over: bool,
    /// Of a half: what comes next depends on the other end.
    depends: bool,
}

impl Ssh {
    /// The version that both ends have agreed on; none while it is not known, or if there is none.
    fn version(&self) -> Option<Version> {
        match [self.sides[0].version?, self.sides[1].version?] {
            [Version::One, Version::Two] | [Version::Two, Version::One] => None,
            [Version::One, _] | [_, Version::One] => Some(Version::One),
            _ => Some(Version::Two),
        }
    }

    /// Follows what one direction has sent, as far as it is complete; how many bytes of it are encrypted.
    fn follow(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) -> Result<usize, Malformed> {
        let i = dir.index();
        let mut kept = std::mem::take(&mut self.sides[i].kept);
        kept.extend_from_slice(data);
        let mut at = 0;
        while self.sides[i].state != State::Encrypted {
            let rest = kept.get(at..).unwrap_or_default();
            let used = match self.sides[i].state {
                State::Banner => self.banner(cx, dir, rest)?,
                _ => self.packet(cx, dir, rest)?,
            };
            match used {
                Some(count) => at += count,
                None => break,
            }
        }
        if self.sides[i].state == State::Encrypted {
            return Ok(kept.len().saturating_sub(at));
        }
        kept.drain(..at.min(kept.len()));
        self.over |= kept.len() > KEPT_MAX;
        self.sides[i].kept = kept;
        Ok(0)
    }

    /// A line before the exchange; how many bytes it has, once it is complete.
    fn banner(
        &mut self,
        cx: &mut Cx<'_>,
        dir: Dir,
        bytes: &[u8],
    ) -> Result<Option<usize>, Malformed> {
        let side = &mut self.sides[dir.index()];
        if side.after_cr && bytes.first() == Some(&b'\n') {
            side.after_cr = false;
            return Ok(Some(1));
        }
        let searched = std::mem::take(&mut side.searched).min(bytes.len());
        let unseen = bytes.get(searched..).unwrap_or_default();
        let Some(end) = memchr::memchr2(b'\r', b'\n', unseen) else {
            side.searched = bytes.len();
            return Ok(None);
        };
        let end = searched + end;
        let (line, rest) = bytes.split_at(end);
        side.after_cr = rest.first() == Some(&b'\r') && rest.len() == 1;
        if line.starts_with(b"SSH-") {
            side.state = State::KexInit;
            side.version = Version::of(line);
            let version = self.version();
            self.record.banner(cx, dir, line, version);
        } else if dir == Dir::Orig {
            // A server may say something first, a client may not (RFC 4253 section 4.2).
            return Err(Malformed);
        }
        Ok(Some(if rest.starts_with(b"\r\n") { end + 2 } else { end + 1 }))
    }

    /// A packet of the exchange; how many bytes it has, once it is complete.
    fn packet(
        &mut self,
        cx: &mut Cx<'_>,
        dir: Dir,
        bytes: &[u8],
    ) -> Result<Option<usize>, Malformed> {
        let side = &mut self.sides[dir.index()];
        if side.after_cr && bytes.first() == Some(&b'\n') {
            side.after_cr = false;
            return Ok(Some(1));
        }
        let Some((head, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
        let told = u32::from_be_bytes(*head);
        let side = &mut self.sides[dir.index()];
        if cx.is_half && side.version == Some(Version::Either) && rest.get(1) == Some(&KEXINIT) {
            // That is of version 2 alone, which the other end has chosen then.
            side.version = Some(Version::Two);
        }
        if cx.is_half
            && (told > PACKET_MAX || self.sides[dir.index()].version != Some(Version::Two))
        {
            (self.over, self.depends) = (true, true);
            return Ok(None);
        }
        if told > PACKET_MAX {
            cx.gave_up = true;
            let addl = format!("{told} > {PACKET_MAX}");
            cx.weird("SSH_max_packet_length_exceeded", Some(&addl), Some("SSH"));
        }
        let len = told.min(PACKET_MAX) as usize;
        let own = || self.sides[dir.index()].version.filter(|_| cx.is_half);
        let version = self.version().or_else(own).ok_or(Malformed)?;
        // Version 1 pads in front, to a multiple of eight, and does not count that.
        let whole = if version == Version::One { len + 8 - len % 8 } else { len };
        let Some(packet) = rest.get(..whole) else { return Ok(None) };
        match version {
            Version::One => {
                self.message_v1(cx, dir, packet.get(8 - len % 8..).unwrap_or_default())?
            }
            _ => self.message(cx, dir, packet)?,
        }
        Ok(Some(4 + whole))
    }

    /// The two messages of version 1 that are in the clear.
    fn message_v1(&mut self, cx: &mut Cx<'_>, dir: Dir, message: &[u8]) -> Result<(), Malformed> {
        if v1::check(message)? == v1::Message::SessionKey {
            self.confirm(cx);
        }
        self.sides[dir.index()].state = State::Encrypted;
        Ok(())
    }

    /// A message of version 2 with its padding, RFC 4253 section 6.
    fn message(&mut self, cx: &mut Cx<'_>, dir: Dir, packet: &[u8]) -> Result<(), Malformed> {
        const NEWKEYS: u8 = 21;
        let [padding, kind, rest @ ..] = packet else { return Err(Malformed) };
        let len = rest.len().checked_sub(usize::from(*padding)).ok_or(Malformed)?;
        let body = rest.get(..len).unwrap_or_default();
        if *kind == NEWKEYS {
            self.sides[dir.index()].state = State::Encrypted;
            self.confirm(cx);
            return Ok(());
        }
        match self.sides[dir.index()].state {
            // Of a half the other end's offer is missing: what comes after the own one cannot be read.
            State::KexInit if cx.is_half && *kind != KEXINIT => {}
            State::KexInit => {
                if let Some((exchange, algorithms)) = self.negotiation.offer(cx, dir, body)? {
                    self.record.agreed(algorithms);
                    for side in &mut self.sides {
                        side.state = exchange.map_or(side.state, State::Exchange);
                    }
                }
            }
            // Behind it comes padding, which Zeek reads on into.
            State::Exchange(exchange) => {
                if let Some(key) = exchange.check(cx, *kind, body, rest)? {
                    self.record.host_key(key);
                }
            }
            State::Banner | State::Encrypted => {}
        }
        Ok(())
    }

    fn confirm(&mut self, cx: &mut Cx<'_>) {
        self.record.begin(cx);
        cx.confirm();
    }

    /// Encrypted bytes that came together. Of version 1 nobody knows what they mean.
    fn encrypted(&mut self, cx: &mut Cx<'_>, dir: Dir, len: usize) {
        if len == 0 || self.version() != Some(Version::Two) {
            return;
        }
        if let Some(worked) = self.auth.segment(dir, len) {
            self.record.attempt(cx, worked);
        }
    }
}

impl Analyzer for Ssh {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        if self.over {
            return cx.done();
        }
        let i = dir.index();
        if self.sides[i].state == State::Encrypted {
            self.encrypted(cx, dir, data.len());
        } else {
            match self.follow(cx, dir, data) {
                Ok(len) => self.encrypted(cx, dir, len),
                Err(Malformed) => {
                    cx.violation();
                    // What comes next is looked at afresh.
                    self.sides[i].kept.clear();
                    self.sides[i].searched = 0;
                }
            }
            if cx.is_confirmed() {
                cx.pauses = true;
            }
        }
        let encrypted = self.sides.iter().all(|side| side.state == State::Encrypted);
        let told = self.auth.decided || self.version() != Some(Version::Two);
        if self.over || (encrypted && told) {
            cx.done();
        }
    }

    fn gap(&mut self, cx: &mut Cx<'_>, _dir: Dir, _len: u64) {
        // Nothing behind it can be understood.
        self.over = true;
        cx.done();
    }

    fn end(&mut self, _cx: &mut Cx<'_>, _dir: Dir) {}

    fn shows(&self, _dir: Dir) -> bool {
        self.depends
    }

    fn finish(&mut self, cx: &mut Cx<'_>) {
        self.record.write(cx);
    }
}
