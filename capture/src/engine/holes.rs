//! Memory of what waits above holes, by virtual shard: where there is too much, the streams that began to wait first
//! are given up.

use std::collections::VecDeque;

use super::Engine;
use crate::config::SHARDS;
use crate::flow::Proto;
use crate::table::Table;

/// Entries in line beside twice those that wait, before those that wait no longer are looked for.
const LINE_SLACK: usize = 1024;

/// Flows whose streams have holes.
#[derive(Default)]
struct Line {
    /// Memory of all of them, bytes.
    held: u64,
    /// Places and serial numbers in the order that they began to wait. Those that are over or wait no longer are
    /// skipped when they come up.
    flows: VecDeque<(u32, u32)>,
    /// How many there were when they were last looked through.
    looked_through: usize,
}

/// The holes of a thread's flows.
pub(super) struct Holes {
    /// By virtual shard, so that it makes no difference how many threads there are.
    lines: [Line; SHARDS as usize],
    /// What a shard may hold.
    shard_max: u64,
    /// Streams that were given up.
    pub given_up: u64,
}

impl Holes {
    /// Room for so many bytes in all shards.
    pub fn new(reassembly_max: u64) -> Holes {
        let shard_max = reassembly_max / u64::from(SHARDS);
        Holes { lines: std::array::from_fn(|_| Line::default()), shard_max, given_up: 0 }
    }

    /// A flow is over that held so much.
    pub fn ended(&mut self, shard: u8, held: u64) {
        if let Some(line) = self.lines.get_mut(usize::from(shard)) {
            line.held = line.held.saturating_sub(held);
        }
    }
}

impl Engine {
    /// What waits with a flow's streams takes another amount of memory.
    pub(super) fn holes_changed(&mut self, at: u32, before: u64, now: u64) {
        let Some((serial, flow)) = self.table.get_numbered(at) else { return };
        let Some(line) = self.holes.lines.get_mut(usize::from(flow.meta.shard)) else { return };
        line.held = (line.held + now).saturating_sub(before);
        if let Proto::Tcp(tcp) = &mut flow.proto
            && now > 0
            && !tcp.in_line
        {
            tcp.in_line = true;
            line.flows.push_back((at, serial));
            if line.flows.len() > 2 * line.looked_through + LINE_SLACK {
                line.look_through(&mut self.table);
            }
        }
        while line.held > self.holes.shard_max {
            let Some((at, serial)) = line.flows.pop_front() else { return };
            let Some(flow) = self.table.get_serial(at, serial) else { continue };
            let Proto::Tcp(tcp) = &mut flow.proto else { continue };
            tcp.in_line = false;
            line.held = line.held.saturating_sub(tcp.holds());
            self.holes.given_up += tcp.make_room();
        }
    }
}

impl Line {
    /// Forgets those that wait no longer.
    fn look_through(&mut self, table: &mut Table) {
        self.flows.retain(|(at, serial)| {
            let Some(flow) = table.get_serial(*at, *serial) else { return false };
            let Proto::Tcp(tcp) = &mut flow.proto else { return false };
            tcp.in_line = tcp.holds() > 0;
            tcp.in_line
        });
        self.looked_through = self.flows.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::source::{Link, Packet};
    use std::sync::Arc;

    /// Bytes of one shard.
    const SHARD_MAX: u64 = 16 * 1024;

    /// A packet of a flow between two hosts, which its client's port tells from the others.
    fn send(engine: &mut Engine, client_p: u16, back: bool, seq: u32, flags: u8, data: &[u8]) {
        let (src, dst): ([u8; 4], [u8; 4]) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let (ends, ports) =
            if back { ([dst, src], [443, client_p]) } else { ([src, dst], [client_p, 443]) };
        let mut ip = vec![0x45, 0];
        ip.extend((40 + data.len() as u16).to_be_bytes());
        ip.extend([0, 0, 0, 0, 64, 6, 0, 0]);
        ip.extend(ends.concat());
        ip.extend(ports.map(u16::to_be_bytes).concat());
        ip.extend(seq.to_be_bytes());
        ip.extend(u32::to_be_bytes(if back { 101 } else { 201 }));
        ip.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
        ip.extend(data);
        let wire_len = ip.len() as u32;
        engine.packet(&Packet { ts_us: 1, link: Link::Raw, wire_len, data: &ip });
    }

    fn holds(engine: &mut Engine) -> Vec<bool> {
        let places: Vec<u32> = engine.table.places().collect();
        let holds = |at: u32| match engine.table.get(at).map(|flow| &flow.proto) {
            Some(Proto::Tcp(tcp)) => tcp.holds() > 0,
            _ => false,
        };
        places.into_iter().map(holds).collect()
    }

    #[test]
    fn the_oldest_holes_go_first_and_the_limit_holds() {
        let reassembly_max = SHARD_MAX * u64::from(SHARDS);
        let config = Config { reassembly_max, ignore_checksums: true, ..Config::new("holes") };
        let mut engine = Engine::new(Arc::new(config), 0, 1);
        for port in 1..=40 {
            send(&mut engine, port, false, 100, 2, b"");
            send(&mut engine, port, true, 200, 18, b"");
            send(&mut engine, port, false, 101, 16, b"");
            send(&mut engine, port, true, 201, 16, b"x");
            send(&mut engine, port, false, 102, 16, &[b'y'; 1000]);
            let held: u64 = engine.holes.lines.iter().map(|line| line.held).sum();
            assert!(held <= SHARD_MAX, "{held}");
        }
        // A segment with its place, and what few streams have: 1248 bytes, of which thirteen fit.
        let holds = holds(&mut engine);
        assert_eq!((holds.len(), engine.counters().streams_given_up), (40, 27));
        assert!(holds.iter().enumerate().all(|(i, holds)| *holds == (i >= 27)), "{holds:?}");
        // What is filled, or over, makes room.
        for port in 1..=40 {
            send(&mut engine, port, false, 101, 16, b"y");
        }
        assert!(engine.holes.lines.iter().all(|line| line.held == 0));
        engine.finish();
        assert!(engine.holes.lines.iter().all(|line| line.held == 0));
    }

    #[test]
    fn a_flow_stands_in_line_once() {
        let config = Config { ignore_checksums: true, ..Config::new("holes") };
        let mut engine = Engine::new(Arc::new(config), 0, 1);
        for port in 0..3 * LINE_SLACK as u16 {
            send(&mut engine, port, false, 100, 2, b"");
            send(&mut engine, port, true, 200, 18, b"");
            for n in 0..3 {
                send(&mut engine, port, false, 102 + 2 * n, 16, b"y");
                send(&mut engine, port, false, 101 + 2 * n, 16, b"y");
            }
        }
        let lines = engine.holes.lines.iter().map(|line| line.flows.len());
        assert!(lines.sum::<usize>() <= LINE_SLACK + 1);
    }
}
