//! Captures divided by direction, as two sensors of an asymmetric route see them.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes before the first packet, and before each.
const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;
/// Where the addresses of an Ethernet frame with IPv4 stand.
const ADDRESSES: usize = 14 + 12;

/// Writes one direction of a capture of `tests/traces` into a folder, and says where.
pub fn write(name: &str, is_up: bool, dir: &Path) -> PathBuf {
    let path = dir.join(format!("{}-{name}", if is_up { "up" } else { "down" }));
    if path.exists() {
        return path;
    }
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces").join(name);
    let whole = fs::read(from).unwrap();
    let (head, mut rest) = whole.split_at(FILE_HEADER);
    let mut half = head.to_vec();
    while rest.len() > PACKET_HEADER {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let (packet, after) = rest.split_at(PACKET_HEADER + length);
        let address = |at: usize| packet.get(PACKET_HEADER + at..PACKET_HEADER + at + 4);
        if (address(ADDRESSES) <= address(ADDRESSES + 4)) == is_up {
            half.extend_from_slice(packet);
        }
        rest = after;
    }
    fs::write(&path, half).unwrap();
    path
}
