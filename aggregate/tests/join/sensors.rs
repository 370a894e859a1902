//! Sensors and an aggregator in one thread: the real engine on real packets, the real role on its records.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use aggregate::{Aggregate, Config};
use bus::books::Counts;
use bus::{
    Lane, Outgoing, Payload, Place, Position, Record, Restored, Role as _, Stamp, Step, Timeline,
    Topic, Wake,
};
use bytes::Bytes;
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
    /// A live one does not end: flows are over only by its timers.
    pub timeline: Timeline,
}

impl Sensor {
    pub fn new(node: &'static str, joins: Joins) -> Sensor {
        let (place, timeline) = (Place::of_node(node), Timeline::File);
        Sensor { node, place, joins, flush: FLUSH, ahead_us: 0, timeline }
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
                timeline: self.timeline,
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
        let ends = self.timeline == Timeline::File;
        if ends {
            engine.finish();
        }
        flush(&mut engine, ends);
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
    let mut run = Run::new(sent.len(), config);
    let mut queues: Vec<_> = sent.into_iter().map(Vec::into_iter).collect();
    while !queues.is_empty() {
        let which = dice(queues.len());
        match queues[which].next() {
            Some(commit) => run.give(commit),
            None => drop(queues.remove(which)),
        }
    }
    run.wake(Wake::Drained);
    run.logs()
}

/// An aggregator, and the bus as far as it has read it.
pub struct Run {
    config: Config,
    role: Aggregate,
    topics: BTreeMap<(Topic, Lane), Vec<Record>>,
    positions: BTreeMap<(Topic, Lane), Position>,
    state: BTreeMap<(Lane, Bytes), Bytes>,
    sent: Vec<Outgoing>,
    /// What its steps told of themselves.
    pub counts: Counts,
}

impl Run {
    /// One that has read nothing, of so many sources.
    pub fn new(sources: usize, change: &dyn Fn(&mut Config)) -> Run {
        let mut config = Config::new("a", LANES);
        config.sources = Some(sources);
        change(&mut config);
        let mut role = Aggregate::new(config.clone());
        (0..LANES).for_each(|lane| role.restored(lane, Restored::default()).unwrap());
        let (topics, positions, state, sent, counts) = Default::default();
        Run { config, role, topics, positions, state, sent, counts }
    }

    /// A sensor commits: what goes to the logs is there, the rest is read.
    pub fn give(&mut self, commit: Vec<Outgoing>) {
        let (read, logged): (Vec<_>, Vec<_>) =
            commit.into_iter().partition(|out| !out.topic.0.starts_with("log."));
        self.sent.extend(logged.clone());
        let observed = logged.into_iter().filter(|out| out.stamp.is_some());
        let mut records = Vec::new();
        for Outgoing { topic, lane, key, payload, stamp, .. } in read.into_iter().chain(observed) {
            let all = self.topics.entry((topic.clone(), lane)).or_default();
            let offset = all.len() as i64 + 1;
            all.push(Record { topic, lane, offset, key, payload, stamp, packed: None });
            records.extend(all.last().cloned());
        }
        self.wake(Wake::Records(records));
    }

    /// Wakes it; what it does then is lasting.
    pub fn wake(&mut self, wake: Wake) {
        let Some(step) = self.role.on(wake, 0).unwrap() else { return };
        let Step { out, state, positions, counts, .. } = step;
        self.sent.extend(out);
        self.counts.add_all(&counts);
        for change in state {
            let key = (change.lane, change.key);
            match change.value {
                Some(value) => drop(self.state.insert(key, value)),
                None => drop(self.state.remove(&key)),
            }
        }
        for position in positions {
            self.positions.insert((position.topic.clone(), position.lane), position);
        }
    }

    /// It dies, and another one goes on from what was lasting.
    pub fn restart(&mut self) {
        self.role = Aggregate::new(self.config.clone());
        for lane in 0..LANES {
            let of = |(_, position): (_, &Position)| position.clone();
            let positions = self.positions.iter().filter(|((_, of), _)| *of == lane).map(of);
            let state = self.state.iter().filter(|((of, _), _)| *of == lane);
            let state = state.map(|((_, key), value)| (key.clone(), value.clone()));
            let (positions, state) = (positions.collect(), state.collect());
            let restored = Restored { positions, state, ..Restored::default() };
            self.role.restored(lane, restored).unwrap();
        }
        let mut again = Vec::new();
        for (place, records) in &self.topics {
            let from = self.positions.get(place).map_or(0, |position| position.offset);
            again.extend(records.iter().filter(|record| record.offset >= from).cloned());
        }
        self.wake(Wake::Records(again));
    }

    /// Keys of its state that are of this kind.
    pub fn kept(&self, kind: &str) -> usize {
        let is_of = |key: &Bytes| String::from_utf8_lossy(key).contains(&format!("\"{kind}\""));
        self.state.keys().filter(|(_, key)| is_of(key)).count()
    }

    /// Records of the logs.
    pub fn logs(&self) -> Vec<Outgoing> {
        let dead = self.sent.iter().filter(|out| out.topic == bus::topic::DEADLETTER).count();
        assert_eq!(dead, 0, "dead letters");
        let is_log = |out: &&Outgoing| {
            out.topic.0.starts_with("log.") && matches!(out.payload, Payload::Rows(..))
        };
        self.sent.iter().filter(is_log).cloned().collect()
    }
}
