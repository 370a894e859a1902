//! What a capture thread is told: names, limits, what is local.

use std::path::PathBuf;
use std::sync::Arc;

use bus::Place;

use crate::files::hash::Hashes;
use crate::nets::Nets;
use crate::worker::FLUSH_PACKETS;

pub use crate::worker::{FLUSH_INTERVAL, FLUSH_INTERVAL_MAX, FLUSH_INTERVAL_MIN};

/// Virtual shards. Flows are spread over them by host pair whatever the number of threads, so that
/// order, limits and results do not depend on it. More threads than this gain nothing.
pub const SHARDS: u32 = 64;

/// Settings of capture, shared by its threads.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of the node: `sensor` and `peer` columns.
    pub node: Arc<str>,
    /// Partitions of every topic: 1 where rows stay in the process.
    pub lanes: u32,
    /// Threads that share the packets.
    pub threads: usize,
    /// Packets between two barriers of a file. The files of a reading that is gone on with may have been
    /// begun with another number.
    pub flush_packets: u64,
    /// Packet time between two flushes of an interface, microseconds; sooner where much waits or a notice does.
    pub flush_interval: i64,
    /// Take packets with bad checksums as good (`-C`), for captures made behind offloading.
    pub ignore_checksums: bool,
    /// What `local_orig` and `local_resp` mean.
    pub local_nets: Nets,
    /// Flows held at once, over all shards; the oldest goes first. 4 million fit a 3 GiB sensor.
    pub flows_max: usize,
    /// How often a flow that lasts is written as it stands, microseconds, a second at least: one
    /// without packets may last for hours, and has a row each time. None: when it ends only.
    pub interim: Option<i64>,
    /// What is said of flows so that aggregators can join what several sensors saw of them.
    pub joins: Joins,
    /// Where the node taps the network.
    pub place: Place,
    /// Hashes that are made of every file.
    pub hashes: Hashes,
    /// Memory of bytes above holes, over all streams and shards. Where there is more, streams that began to wait first are given up.
    pub reassembly_max: u64,
    /// The same for each direction of one flow; further bytes are known by place only, and are a gap.
    pub reassembly_flow_max: u64,
    /// Folder below which what an interface gives waits on disk while the bus does not take it.
    pub spool: Option<PathBuf>,
    /// Bytes that it may take there: a day and more of a link with 1000 rows a second.
    pub spool_max: u64,
    /// Bytes of rows that wait in memory before they go to the spool, or without one are dropped.
    pub memory_max: usize,
}

impl Config {
    /// Zeek's defaults for a node of this name.
    pub fn new(node: &str) -> Config {
        Config {
            node: node.into(),
            lanes: 1,
            threads: 1,
            flush_packets: FLUSH_PACKETS,
            flush_interval: FLUSH_INTERVAL,
            ignore_checksums: false,
            local_nets: Nets::private(),
            flows_max: 4_000_000,
            interim: None,
            joins: Joins::Nothing,
            place: Place::of_node(node),
            hashes: Hashes::ALL,
            reassembly_max: 512 << 20,
            reassembly_flow_max: 1 << 20,
            spool: None,
            spool_max: 8 << 30,
            memory_max: 256 << 20,
        }
    }
}

/// What rows of conn say beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Joins {
    /// Nothing: there is no other sensor.
    Nothing,
    /// Of flows that were seen in one direction, what joins them with the other.
    Halves,
    /// Of all flows, as others may have seen the same; rows of all flow streams pass through the aggregators.
    Copies,
}

/// Microseconds in a second.
pub const SECOND: i64 = 1_000_000;

/// Timeouts of `init-bare.zeek`, microseconds.
pub mod timeout {
    use super::SECOND;

    /// TCP out of the handshake without packets.
    pub const TCP_INACTIVITY: i64 = 300 * SECOND;
    /// UDP without packets, and TCP in the handshake.
    pub const UDP_INACTIVITY: i64 = 60 * SECOND;
    /// ICMP without packets.
    pub const ICMP_INACTIVITY: i64 = 60 * SECOND;
    /// Other protocols without packets.
    pub const OTHER_INACTIVITY: i64 = 60 * SECOND;
    /// A tunnel between two hosts without packets (`Tunnel::ip_tunnel_timeout`).
    pub const IP_TUNNEL: i64 = 24 * 3600 * SECOND;
    /// Interactive services (`conn/inactivity.zeek`).
    pub const INTERACTIVE: i64 = 3600 * SECOND;
    /// An unanswered SYN.
    pub const TCP_ATTEMPT: i64 = 5 * SECOND;
    /// First look at whether a TCP flow has ended.
    pub const TCP_SYN: i64 = 5 * SECOND;
    /// Between later looks.
    pub const TCP_SESSION: i64 = 6 * SECOND;
    /// Idle time after which a half-closed flow counts as ended.
    pub const TCP_LINGER: i64 = 5 * SECOND;
    /// A closed flow stays this long, for stragglers.
    pub const TCP_CLOSE: i64 = 5 * SECOND;
}
