//! pcap files taken apart and put together anew, with nothing of weir's own reader.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

/// Bytes before the first packet.
const FILE_HEADER: usize = 24;
/// Bytes before each packet.
const PACKET_HEADER: usize = 16;
/// Little-endian, microseconds.
const MAGIC: [u8; 4] = [0xd4, 0xc3, 0xb2, 0xa1];
/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// A capture.
#[derive(Debug)]
pub struct Pcap {
    header: Vec<u8>,
    packets: Vec<Packet>,
}

#[derive(Debug, Clone)]
struct Packet {
    seconds: u32,
    /// Microseconds and lengths, as they stand in the file.
    rest: [u8; 12],
    bytes: Vec<u8>,
}

impl Pcap {
    /// Reads a file up to its end or to a packet that is cut.
    pub fn read(path: &str) -> Pcap {
        let file = fs::read(path).expect("a capture");
        assert_eq!(file[..4], MAGIC, "{path} is no pcap as tcpdump writes it");
        let mut packets = Vec::new();
        let mut rest = &file[FILE_HEADER..];
        while rest.len() >= PACKET_HEADER {
            let (header, after) = rest.split_at(PACKET_HEADER);
            let length = word(&header[8..]) as usize;
            let Some(bytes) = after.get(..length) else { break };
            let fixed = header[4..].try_into().expect("twelve bytes");
            packets.push(Packet { seconds: word(header), rest: fixed, bytes: bytes.to_vec() });
            rest = &after[length..];
        }
        Pcap { header: file[..FILE_HEADER].to_vec(), packets }
    }

    /// How many packets there are.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// The packets whose frames these are.
    pub fn only(&self, which: impl Fn(&[u8]) -> bool) -> Pcap {
        let packets = self.packets.iter().filter(|packet| which(&packet.bytes)).cloned();
        Pcap { header: self.header.clone(), packets: packets.collect() }
    }

    /// Writes the capture so many times into one file, each so much later than the one before.
    pub fn write(&self, path: &Path, copies: u32, seconds_between: u32) {
        let file = File::create(path).expect("a file for the capture");
        let mut file = BufWriter::new(file);
        let mut put = |bytes: &[u8]| file.write_all(bytes).expect("room for the capture");
        put(&self.header);
        for copy in 0..copies {
            for packet in &self.packets {
                let seconds = packet.seconds + copy * seconds_between;
                put(&seconds.to_le_bytes());
                put(&packet.rest);
                put(&packet.bytes);
            }
        }
        file.flush().expect("room for the capture");
    }

    /// Counts flows over Ethernet by protocol (6: TCP, 17: UDP): pairs of endpoints, in no direction.
    pub fn flows(&self) -> BTreeMap<u8, usize> {
        let mut flows = BTreeSet::new();
        for packet in &self.packets {
            flows.extend(flow(&packet.bytes));
        }
        let mut counts = BTreeMap::new();
        for (protocol, _) in flows {
            *counts.entry(protocol).or_default() += 1;
        }
        counts
    }
}

type Flow = (u8, BTreeSet<Vec<u8>>);

/// Protocol and endpoints of a TCP or UDP packet that has its ports.
fn flow(frame: &[u8]) -> Option<Flow> {
    let ip = frame.get(ETHERNET..)?;
    let half = |at: usize| half_at(ip, at);
    // Where the first address begins, its length, and where the ports are.
    let (protocol, addresses, length, ports) = match half_at(frame, ETHERNET - 2)? {
        0x0800 if half(6)? & 0x1fff == 0 => (*ip.get(9)?, 12, 4, usize::from(ip[0] & 0xf) * 4),
        0x86dd if *ip.get(6)? != 44 => (ip[6], 8, 16, 40),
        0x86dd if half(42)? & 0xfff8 == 0 => (*ip.get(40)?, 8, 16, 48),
        _ => return None,
    };
    let end = |address: usize, port: usize| {
        Some([ip.get(address..address + length)?, ip.get(port..port + 2)?].concat())
    };
    let ends = [end(addresses, ports)?, end(addresses + length, ports + 2)?];
    matches!(protocol, 6 | 17).then(|| (protocol, BTreeSet::from(ends)))
}

/// Both addresses of a packet over Ethernet, fragments included.
fn hosts(frame: &[u8]) -> Option<[&[u8]; 2]> {
    let (at, length) = match half_at(frame, ETHERNET - 2)? {
        0x0800 => (ETHERNET + 12, 4),
        0x86dd => (ETHERNET + 8, 16),
        _ => return None,
    };
    Some([frame.get(at..at + length)?, frame.get(at + length..at + 2 * length)?])
}

/// Which of the two directions between its hosts a frame has; what is not IP goes up.
pub fn is_up(frame: &[u8]) -> bool {
    hosts(frame).is_none_or(|[from, to]| from <= to)
}

/// A number of the two hosts of a frame, the same both ways.
pub fn pair(frame: &[u8]) -> u64 {
    hosts(frame).into_iter().flatten().flatten().map(|byte| u64::from(*byte)).sum()
}

fn half_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"))
}
