//! Where packets come from: capture files, standard input, and live interfaces, behind one trait.
//!
//! A packet is borrowed from its source's buffer until the next call, so reading allocates nothing.

mod burst;
mod fanout;
mod file;
mod fingerprint;
mod live;
mod merge;
mod pcap_file;
mod pcapng_file;
pub mod shared;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod window;

use std::io;
use std::path::{Path, PathBuf};

pub use burst::{Burst, Several};
pub use file::CaptureFile;
pub use fingerprint::fingerprint;
pub use live::{LiveOptions, LiveSource};
pub use merge::Merged;

/// The name that stands for standard input.
pub const STDIN: &str = "-";

/// One captured frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// When it was captured, epoch microseconds; finer clocks are truncated.
    pub ts_us: i64,
    /// What the first header of `data` is.
    pub link: Link,
    /// Length on the wire, bytes; `data` may have been cut shorter.
    pub wire_len: u32,
    /// The bytes captured.
    pub data: &'a [u8],
}

/// Link type, by what decoding makes of it. Numbers are those of capture files, LINKTYPE_ in
/// <https://www.tcpdump.org/linktypes.html>, and of libpcap where they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// Ethernet (1).
    Ethernet,
    /// IPv4 or IPv6 with nothing before it (101, 228, 229; 12 and 14 in libpcap).
    Raw,
    /// BSD loopback (0), address family in host byte order.
    Null,
    /// OpenBSD loopback (108), address family in network byte order.
    Loop,
    /// Linux cooked capture, version 1 (113).
    LinuxSll,
    /// Linux cooked capture, version 2 (276).
    LinuxSll2,
    /// PPP, with or without HDLC-like framing (9).
    Ppp,
    /// PPP with HDLC-like framing (50).
    PppSerial,
    /// PPPoE with no Ethernet header (51).
    PppEther,
    /// FDDI (10).
    Fddi,
    /// Linux firewall log (239).
    Nflog,
    /// Anything else, by number.
    Other(u32),
}

impl From<u32> for Link {
    fn from(number: u32) -> Link {
        match number {
            0 => Link::Null,
            1 => Link::Ethernet,
            9 => Link::Ppp,
            10 => Link::Fddi,
            12 | 14 | 101 | 228 | 229 => Link::Raw,
            50 => Link::PppSerial,
            51 => Link::PppEther,
            108 => Link::Loop,
            113 => Link::LinuxSll,
            239 => Link::Nflog,
            276 => Link::LinuxSll2,
            other => Link::Other(other),
        }
    }
}

/// What a source has at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A packet.
    Packet(Packet<'a>),
    /// None for now; ask again. Live sources only.
    Idle,
    /// None any more.
    End,
}

/// Packets counted by whoever captured them, from the opening of the source on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceStats {
    /// Packets delivered to this source, for live ones with those it did not take yet.
    pub received: u64,
    /// Packets lost before they reached it, in the kernel or on the card.
    pub dropped: u64,
}

/// A stream of packets.
pub trait PacketSource: Send {
    /// The next packet. After an error a source goes on with what it still has: other files, or
    /// its end.
    fn next(&mut self) -> Result<Next<'_>, SourceError>;

    /// The next packet with those behind it that are in memory already; then as [`next`](Self::next).
    fn burst(&mut self) -> Result<Several<'_>, SourceError> {
        Ok(match self.next()? {
            Next::Packet(packet) => Several::Packets(Burst::one(packet)),
            Next::Idle => Several::Idle,
            Next::End => Several::End,
        })
    }

    /// Packets received and dropped so far.
    fn stats(&mut self) -> Result<SourceStats, SourceError>;

    /// Bytes read and bytes in all, where both can be known: regular files.
    fn progress(&self) -> Option<Progress> {
        None
    }
}

/// How far files have been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes delivered or skipped.
    pub read: u64,
    /// Size of the files when they were opened.
    pub total: u64,
}

/// Why a source has no packet where it should have one.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file could not be opened.
    #[error("cannot open {name}: {error}")]
    Open {
        /// The file as it was given.
        name: String,
        /// What the system said.
        error: io::Error,
    },
    /// Reading failed.
    #[error("cannot read {name} at byte {offset}: {error}")]
    Read {
        /// The file as it was given.
        name: String,
        /// Where it failed.
        offset: u64,
        /// What the system said.
        error: io::Error,
    },
    /// Neither pcap nor pcapng by its first bytes.
    #[error("{name} is not a capture file (pcap or pcapng)")]
    NotCapture {
        /// The file as it was given.
        name: String,
    },
    /// The file ends inside a record. Everything before has been delivered.
    #[error("{name} is truncated in packet {packet}, at byte {offset}")]
    Truncated {
        /// The file as it was given.
        name: String,
        /// Number of the packet that is not there, from 1.
        packet: u64,
        /// Where its record begins; the file's end if it lies in a block without a packet.
        offset: u64,
    },
    /// A record that cannot be. Everything before has been delivered; there is no way to find the
    /// next record.
    #[error("{name} is corrupt at packet {packet}, byte {offset}: {what}")]
    Corrupt {
        /// The file as it was given.
        name: String,
        /// Number of the packet, from 1.
        packet: u64,
        /// Where its record begins.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A fingerprint was asked of something that can be read only once.
    #[error("{name} is not a regular file, so its content has no fingerprint")]
    NotRegular {
        /// The file as it was given.
        name: String,
    },
    /// libpcap refused.
    #[error("interface {interface}: {message}")]
    Live {
        /// The interface.
        interface: String,
        /// libpcap's own words.
        message: String,
    },
}

/// Opens a capture file, or standard input for `-`, by what its first bytes say.
pub fn open(path: &Path) -> Result<Box<dyn PacketSource>, SourceError> {
    Ok(Box::new(CaptureFile::open(path)?))
}

/// Opens files as one capture in time order; a single one as itself.
pub fn open_all(paths: &[PathBuf]) -> Result<Box<dyn PacketSource>, SourceError> {
    if let [path] = paths {
        return open(path);
    }
    let files: Result<Vec<_>, _> = paths.iter().map(|path| CaptureFile::open(path)).collect();
    Ok(Box::new(Merged::new(files?)))
}

/// The same for so many threads, each of which sees all packets. A single file is read once for all of them.
pub fn open_for(
    paths: &[PathBuf],
    threads: usize,
    shard_of: shared::ShardOf,
) -> Result<Vec<Box<dyn PacketSource>>, SourceError> {
    match paths {
        [path] if threads > 1 => Ok(shared::open(path, threads, shard_of)?
            .into_iter()
            .map(|source| Box::new(source) as Box<dyn PacketSource>)
            .collect()),
        _ => (0..threads).map(|_| open_all(paths)).collect(),
    }
}
