//! A live interface, through libpcap.
//!
//! Several threads on one interface have a socket each, and the kernel divides the packets ([`fanout`]).

use std::os::fd::AsFd as _;
use std::time::Duration;

use pcap::{Active, Capture, Error};

use super::{Link, Next, Packet, PacketSource, SourceError, SourceStats, fanout};

/// How to open an interface.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// Kernel buffer, bytes: what bridges the time in which packets are not taken.
    pub buffer_bytes: i32,
    /// A BPF filter in libpcap's language; packets that do not match are never seen or counted.
    pub filter: Option<String>,
    /// Whether to take packets for others too.
    pub promiscuous: bool,
}

impl Default for LiveOptions {
    fn default() -> Self {
        LiveOptions { buffer_bytes: 64 << 20, filter: None, promiscuous: true }
    }
}

/// Longest packet captured, bytes: any IP packet; offloaded segments are as long at most.
const SNAPLEN: i32 = 65_535;
/// How long the kernel gathers packets before it hands over a block that is not full, milliseconds:
/// blocks of this length cost little to deliver, and nobody waits for a single packet.
const TIMEOUT_MS: i32 = 100;
/// How long to sleep when there is no packet. Far shorter than the buffer takes to fill, and long
/// enough to leave an idle machine idle.
///
/// The capture is non-blocking, with this for a wait, because libpcap's own wait on Linux has no
/// end: the kernel wakes nobody for an empty block, so on a silent interface a blocking read
/// never comes back to let the caller flush or stop.
const IDLE: Duration = Duration::from_millis(5);

/// Packets of one interface.
pub struct LiveSource {
    interface: String,
    capture: Capture<Active>,
    link: Link,
    /// What the kernel said last: its counters have 32 bits and wrap.
    last: Counts,
    total: SourceStats,
    /// Packets before this time are not given, microseconds: sockets saw them that did not share them yet.
    since: i64,
    /// What the card dropped is the same for all sockets: one of them counts it.
    counts_card: bool,
}

/// libpcap's counters.
#[derive(Clone, Copy, Default)]
struct Counts {
    received: u32,
    dropped: u32,
    interface_dropped: u32,
}

impl LiveSource {
    /// Opens an interface by name.
    pub fn open(interface: &str, options: &LiveOptions) -> Result<LiveSource, SourceError> {
        let failed = |error: Error| failure(interface, &error);
        let mut capture = Capture::from_device(interface)
            .map_err(failed)?
            .snaplen(SNAPLEN)
            .promisc(options.promiscuous)
            .immediate_mode(false)
            .timeout(TIMEOUT_MS)
            .buffer_size(options.buffer_bytes)
            .open()
            .and_then(Capture::setnonblock)
            .map_err(failed)?;
        if let Some(filter) = &options.filter {
            capture.filter(filter, true).map_err(failed)?;
        }
        let link = Link::from(u32::try_from(capture.get_datalink().0).unwrap_or(u32::MAX));
        Ok(LiveSource {
            interface: interface.to_owned(),
            capture,
            link,
            last: Counts::default(),
            total: SourceStats::default(),
            since: i64::MIN,
            counts_card: true,
        })
    }

    /// Opens an interface for so many threads, which share its packets. They begin together at `now`,
    /// called when all sockets are open, microseconds.
    pub fn open_shared(
        interface: &str,
        options: &LiveOptions,
        threads: usize,
        now: impl FnOnce() -> i64,
    ) -> Result<Vec<LiveSource>, SourceError> {
        let open = |_| LiveSource::open(interface, options);
        let mut sources: Vec<LiveSource> =
            (0..threads.max(1)).map(open).collect::<Result<_, _>>()?;
        let Some((first, rest)) = sources.split_first_mut() else { return Ok(sources) };
        if rest.is_empty() {
            return Ok(sources);
        }
        let failed = |error: std::io::Error| SourceError::Live {
            interface: interface.to_owned(),
            message: format!("its packets cannot be shared by threads (PACKET_FANOUT): {error}"),
        };
        let group = fanout::found(first.capture.as_fd()).map_err(failed)?;
        for source in rest {
            fanout::join(source.capture.as_fd(), group).map_err(failed)?;
            source.counts_card = false;
        }
        let now = now();
        for source in &mut sources {
            source.since = now;
        }
        Ok(sources)
    }
}

impl PacketSource for LiveSource {
    fn next(&mut self) -> Result<Next<'_>, SourceError> {
        match self.capture.next_packet() {
            Ok(packet) => {
                let ts_us = packet.header.ts.tv_sec * 1_000_000 + packet.header.ts.tv_usec;
                if ts_us < self.since {
                    return Ok(Next::Idle);
                }
                Ok(Next::Packet(Packet {
                    ts_us,
                    link: self.link,
                    wire_len: packet.header.len,
                    data: packet.data,
                }))
            }
            Err(Error::TimeoutExpired) => {
                std::thread::sleep(IDLE);
                Ok(Next::Idle)
            }
            Err(Error::NoMorePackets) => Ok(Next::End),
            Err(error) => Err(failure(&self.interface, &error)),
        }
    }

    /// Asks the kernel. Packets dropped by the card or its driver count as dropped.
    fn stats(&mut self) -> Result<SourceStats, SourceError> {
        let now = self.capture.stats().map_err(|error| failure(&self.interface, &error))?;
        let now = Counts {
            received: now.received,
            dropped: now.dropped,
            interface_dropped: if self.counts_card { now.if_dropped } else { 0 },
        };
        self.total = accumulate(self.total, self.last, now);
        self.last = now;
        Ok(self.total)
    }
}

/// Adds what the wrapping counters gained since they were read last.
fn accumulate(total: SourceStats, last: Counts, now: Counts) -> SourceStats {
    let gained = |last: u32, now: u32| u64::from(now.wrapping_sub(last));
    SourceStats {
        received: total.received + gained(last.received, now.received),
        dropped: total.dropped
            + gained(last.dropped, now.dropped)
            + gained(last.interface_dropped, now.interface_dropped),
    }
}

fn failure(interface: &str, error: &Error) -> SourceError {
    SourceError::Live { interface: interface.to_owned(), message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_survive_a_wrap() {
        let last = Counts { received: u32::MAX - 1, dropped: 7, interface_dropped: 0 };
        let now = Counts { received: 3, dropped: 9, interface_dropped: 1 };
        let total = accumulate(SourceStats { received: 10, dropped: 1 }, last, now);
        assert_eq!(total, SourceStats { received: 15, dropped: 4 });
    }

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        let error = LiveSource::open("weir-no-such-0", &LiveOptions::default()).err().unwrap();
        assert!(error.to_string().contains("weir-no-such-0"), "{error}");
    }
}
