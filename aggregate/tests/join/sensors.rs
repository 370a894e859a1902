//! Sensors and an aggregator in one thread: the real engine on real packets, the real role on its records.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use aggregate::{Aggregate, Config};
use bus::{Outgoing, Payload, Place, Record, Restored, Role as _, Stamp, Timeline, Topic, Wake};
use capture::config::Joins;
use capture::decode::{Decoded, Decoder, Transport};
use capture::engine::Engine;
use capture::outgoing::Outbox;
use capture::source::{self, Next, Packet};

use crate::rows::{Rows, rows_of};

pub const LANES: u32 = 2;

/// A packet that was read.
pub struct Owned {
    pub ts_us: i64,
    link: source::Link,
    wire_len: u32,
    data: Vec<u8>,
    /// Which direction of its flow it has; both are told apart whichever is the first.
    pub is_up: bool,
    /// A number of its flow, the same both ways.
    pub flow: u64,
}

impl Owned {
    /// A packet that is kept.
    pub fn of(packet: &Packet<'_>) -> Owned {
        Owned {
            ts_us: packet.ts_us,
            link: packet.link,
            wire_len: packet.wire_len,
            data: packet.data.to_vec(),
            is_up: ends(packet).is_none_or(|(from, to)| from <= to),
            flow: ends(packet).map_or(0, |(from, to)| number(from) ^ number(to)),
        }
    }
}

/// All packets of a capture.
pub fn read(path: &Path) -> Vec<Owned> {
    let mut packets = Vec::new();
    let Ok(mut source) = source::open_all(&[path.to_owned()]) else { return packets };
    // After an error a source goes on with what it has, and at last ends.
    for _ in 0..10_000_000 {
        match source.next() {
            Ok(Next::Packet(packet)) => packets.push(Owned::of(&packet)),
            Ok(Next::End) => break,
            _ => {}
        }
    }
    packets
}

type End = (IpAddr, u16);

fn number(end: End) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    end.hash(&mut hasher);
    hasher.finish()
}

fn ends(packet: &Packet<'_>) -> Option<(End, End)> {
    let decoder = Decoder { ignore_checksums: true };
    let Ok(Decoded::Ip(ip)) = decoder.decode(packet.link, packet.wire_len, packet.data) else {
        return None;
    };
    let ports = match ip.transport() {
        Ok(Transport::Tcp(segment)) => (segment.src_port, segment.dst_port),
        Ok(Transport::Udp(datagram)) => (datagram.src_port, datagram.dst_port),
        _ => (0, 0),
    };
    Some(((ip.src, ports.0), (ip.dst, ports.1)))
}

/// Packets between two flushes, unless a test says otherwise.
pub const FLUSH: usize = 1000;

/// A sensor.
#[derive(Clone)]
pub struct Sensor {
    pub node: &'static str,
    pub place: Place,
    pub joins: Joins,
    /// Packets between two flushes.
    pub flush: usize,
    /// How far its clock is ahead.
    pub ahead_us: i64,
}

impl Sensor {
    pub fn new(node: &'static str, joins: Joins) -> Sensor {
        Sensor { node, place: Place::of_node(node), joins, flush: FLUSH, ahead_us: 0 }
    }

    /// What it sends of the packets that it sees.
    pub fn sends<'a>(&self, packets: impl Iterator<Item = &'a Owned>) -> Vec<Vec<Outgoing>> {
        let mut config = capture::Config::new(self.node);
        (config.lanes, config.joins, config.ignore_checksums) = (LANES, self.joins, true);
        config.hashes = capture::files::hash::Hashes::NONE;
        config.place = self.place.clone();
        let mut engine = Engine::new(Arc::new(config), 0, 1);
        let (mut outbox, mut sent) = (Outbox::default(), Vec::new());
        let mut flush = |engine: &mut Engine, end: bool| {
            let rows = engine.out().take(self.node);
            let stamp = Stamp {
                source: self.place.source(&format!("{}/x", self.node)),
                timeline: Timeline::File,
                time: if end { i64::MAX } else { engine.clock() },
                end,
            };
            sent.push(outbox.outgoing(vec![rows], LANES, &stamp, self.joins).unwrap());
        };
        for (n, packet) in packets.enumerate() {
            engine.packet(&Packet {
                ts_us: packet.ts_us + self.ahead_us,
                link: packet.link,
                wire_len: packet.wire_len,
                data: &packet.data,
            });
            if n % self.flush == self.flush - 1 {
                engine.settle();
                flush(&mut engine, false);
            }
        }
        engine.finish();
        flush(&mut engine, true);
        sent.into_iter().map(|(out, _)| out).collect()
    }
}

/// The rows of a sensor that is alone, by stream.
pub fn alone(packets: &[Owned]) -> Rows {
    let sent = Sensor::new("alone", Joins::Nothing).sends(packets.iter());
    rows_of(sent.iter().flatten())
}

/// What aggregators make of what these sensors sent, by stream, in an order that the dice throw.
pub fn aggregated(
    config: &dyn Fn(&mut Config),
    sent: Vec<Vec<Vec<Outgoing>>>,
    dice: &mut dyn FnMut(usize) -> usize,
) -> Rows {
    rows_of(logs(config, sent, dice).iter())
}

/// The same as records.
pub fn logs(
    config: &dyn Fn(&mut Config),
    sent: Vec<Vec<Vec<Outgoing>>>,
    dice: &mut dyn FnMut(usize) -> usize,
) -> Vec<Outgoing> {
    let mut settings = Config::new("a", LANES);
    settings.sources = Some(sent.len());
    config(&mut settings);
    let mut role = Aggregate::new(settings);
    (0..LANES).for_each(|lane| role.restored(lane, Restored::default()).unwrap());
    let mut queues: Vec<_> = sent.into_iter().map(Vec::into_iter).collect();
    let mut offsets: BTreeMap<(Topic, u32), i64> = BTreeMap::new();
    let mut out = Vec::new();
    while !queues.is_empty() {
        let which = dice(queues.len());
        let Some(commit) = queues[which].next() else {
            drop(queues.remove(which));
            continue;
        };
        let (read, logged): (Vec<_>, Vec<_>) =
            commit.into_iter().partition(|out| !out.topic.0.starts_with("log."));
        out.extend(logged.clone());
        let observed = logged.into_iter().filter(|out| out.stamp.is_some());
        let records = read.into_iter().chain(observed).map(|out| {
            let offset = offsets.entry((out.topic.clone(), out.lane)).or_default();
            *offset += 1;
            let Outgoing { topic, lane, key, payload, stamp, .. } = out;
            Record { topic, lane, offset: *offset, key, payload, stamp, packed: None }
        });
        let step = role.on(Wake::Records(records.collect()), 0).unwrap();
        out.extend(step.into_iter().flat_map(|step| step.out));
    }
    let step = role.on(Wake::Drained, 0).unwrap();
    out.extend(step.into_iter().flat_map(|step| step.out));
    let dead = out.iter().filter(|out| out.topic == bus::topic::DEADLETTER).count();
    assert_eq!(dead, 0, "dead letters");
    let is_log = |out: &&Outgoing| {
        out.topic.0.starts_with("log.") && matches!(out.payload, Payload::Rows(..))
    };
    out.retain(|out| is_log(&out));
    out
}
