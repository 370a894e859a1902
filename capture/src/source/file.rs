//! A capture file of either format, read one record at a time.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::burst::{Burst, Place, Several};
use super::pcap_file::PcapFile;
use super::pcapng_file::PcapngFile;
use super::window::Window;
use super::{Link, Next, Packet, PacketSource, Progress, STDIN, SourceError, SourceStats};

/// Longest packet taken, bytes: libpcap's own limit for what a network can carry (offloaded
/// segments are a quarter of it). A longer one means that the file is corrupt.
pub(super) const MAX_PACKET: usize = 262_144;

/// Packets of a burst at most: more than a full window has, but of the smallest.
const BURST_MAX: usize = 8192;

/// A pcap or pcapng file, or a stream with the content of one.
pub struct CaptureFile {
    name: String,
    window: Window,
    format: Format,
    /// Size of a regular file.
    size: Option<u64>,
    /// Packets delivered.
    packets: u64,
    /// What is at the start of the window, which [`current`](Self::current) shows.
    record: Record,
    /// What was given together last; it lies before the start of the window.
    burst: Vec<Place>,
    ended: bool,
}

enum Format {
    Pcap(PcapFile),
    Pcapng(PcapngFile),
}

/// The packet at the start of the window. It is written in place: to hand it up by value costs as much as to
/// read it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) ts_us: i64,
    pub(super) link: Link,
    pub(super) wire_len: u32,
    /// Where the packet's bytes begin in the record.
    pub(super) data_at: usize,
    /// How many there are.
    pub(super) data_len: usize,
    /// Length of the whole record; 0 where there is none.
    pub(super) len: usize,
}

impl Record {
    const NONE: Record =
        Record { ts_us: 0, link: Link::Raw, wire_len: 0, data_at: 0, data_len: 0, len: 0 };
}

/// A buffer, and where in it packets are.
pub(super) type Taken = (Vec<u8>, Vec<Place>);

/// Why the next record could not be had; the file adds its name and the place.
#[derive(Debug)]
pub(super) enum Fault {
    /// The stream ends inside the record.
    Truncated,
    /// The record cannot be.
    Corrupt(&'static str),
    /// The first bytes are of no format known.
    NotCapture,
    Read(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Read(error)
    }
}

impl CaptureFile {
    /// Opens a file, or standard input for `-`.
    pub fn open(path: &Path) -> Result<CaptureFile, SourceError> {
        let name = path.display().to_string();
        if path.as_os_str() == STDIN {
            return CaptureFile::from_reader("standard input", Box::new(io::stdin()), None);
        }
        let opened = File::open(path).and_then(|file| file.metadata().map(|about| (file, about)));
        let (file, about) =
            opened.map_err(|error| SourceError::Open { name: name.clone(), error })?;
        let size = about.is_file().then_some(about.len());
        CaptureFile::from_reader(&name, Box::new(file), size)
    }

    /// Reads a stream. `name` is for messages; `size` in bytes is for progress.
    pub fn from_reader(
        name: &str,
        input: Box<dyn Read + Send>,
        size: Option<u64>,
    ) -> Result<CaptureFile, SourceError> {
        let mut window = Window::new(input);
        let format =
            open_format(&mut window).map_err(|fault| describe(fault, name, window.offset(), 1))?;
        let name = name.to_owned();
        Ok(CaptureFile {
            name,
            window,
            format,
            size,
            packets: 0,
            record: Record::NONE,
            burst: Vec::new(),
            ended: false,
        })
    }

    /// Moves to the next packet; false at the end of the file. After an error the file has ended.
    #[inline]
    pub(super) fn advance(&mut self) -> Result<bool, SourceError> {
        if self.ended {
            return Ok(false);
        }
        self.window.consume(self.record.len);
        let found = match &mut self.format {
            Format::Pcap(file) => file.next(&mut self.window, &mut self.record),
            Format::Pcapng(file) => file.next(&mut self.window, &mut self.record),
        };
        if let Ok(true) = found {
            self.packets += 1;
            return Ok(true);
        }
        let found = found
            .map_err(|fault| describe(fault, &self.name, self.window.offset(), self.packets + 1));
        self.end();
        found
    }

    /// Moves past the packets that are in memory, as far as they fit a burst. What is wrong behind them is met
    /// again when it is their turn.
    fn gather(&mut self) {
        self.window.hold_still(true);
        while self.record.len > 0 {
            let Record { ts_us, link, wire_len, data_at, data_len, len } = self.record;
            let at = (self.window.pos() + data_at) as u32;
            self.burst.push(Place { ts_us, link, wire_len, at, len: data_len as u32, shard: None });
            self.window.consume(len);
            self.record.len = 0;
            if self.burst.len() >= BURST_MAX {
                break;
            }
            let found = match &mut self.format {
                Format::Pcap(file) => file.next(&mut self.window, &mut self.record),
                Format::Pcapng(file) => file.next(&mut self.window, &mut self.record),
            };
            if !matches!(found, Ok(true)) {
                self.record.len = 0;
            }
        }
        self.window.hold_still(false);
        self.packets += self.burst.len() as u64 - 1;
    }

    /// As a burst, but with its buffer, for which this one is used from now on; none at the end of the file.
    pub(super) fn take(
        &mut self,
        buffer: Vec<u8>,
        places: Vec<Place>,
    ) -> Result<Option<Taken>, SourceError> {
        self.burst = places;
        self.burst.clear();
        if !self.advance()? {
            return Ok(None);
        }
        self.gather();
        Ok(Some((self.window.replace(buffer), std::mem::take(&mut self.burst))))
    }

    /// The packet that [`advance`](Self::advance) moved to.
    #[inline]
    pub(super) fn current(&self) -> Option<Packet<'_>> {
        let record = &self.record;
        if record.len == 0 {
            return None;
        }
        let data = self.window.data().get(record.data_at..)?.get(..record.data_len)?;
        Some(Packet { ts_us: record.ts_us, link: record.link, wire_len: record.wire_len, data })
    }

    /// Packets delivered so far.
    pub(super) fn packets(&self) -> u64 {
        self.packets
    }

    #[cold]
    fn end(&mut self) {
        self.ended = true;
        self.record = Record::NONE;
        self.window.close();
    }
}

impl PacketSource for CaptureFile {
    #[inline]
    fn next(&mut self) -> Result<Next<'_>, SourceError> {
        if !self.advance()? {
            return Ok(Next::End);
        }
        Ok(self.current().map_or(Next::End, Next::Packet))
    }

    fn burst(&mut self) -> Result<Several<'_>, SourceError> {
        self.burst.clear();
        if !self.advance()? {
            return Ok(Several::End);
        }
        self.gather();
        Ok(Several::Packets(Burst::of(self.window.buffer(), &self.burst)))
    }

    fn stats(&mut self) -> Result<SourceStats, SourceError> {
        Ok(SourceStats { received: self.packets, dropped: 0 })
    }

    fn progress(&self) -> Option<Progress> {
        let total = self.size?;
        let read = if self.ended { total } else { self.window.offset().min(total) };
        Some(Progress { read, total })
    }
}

/// Tells the format by the first four bytes and reads its header.
fn open_format(window: &mut Window) -> Result<Format, Fault> {
    if !window.fill(4)? {
        return Err(Fault::NotCapture);
    }
    let magic = window.data().first_chunk::<4>().copied().unwrap_or_default();
    if PcapngFile::knows(magic) {
        return PcapngFile::open(window).map(Format::Pcapng);
    }
    PcapFile::open(window).map(Format::Pcap)
}

#[cold]
fn describe(fault: Fault, name: &str, offset: u64, packet: u64) -> SourceError {
    let name = name.to_owned();
    match fault {
        Fault::Truncated => SourceError::Truncated { name, packet, offset },
        Fault::Corrupt(what) => SourceError::Corrupt { name, packet, offset, what },
        Fault::NotCapture => SourceError::NotCapture { name },
        Fault::Read(error) => SourceError::Read { name, offset, error },
    }
}
