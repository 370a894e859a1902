//! Flows begin, are looked at when their time has come, and end.

use crate::analyzer::{self, ftp, irc_dcc};
use crate::config::{Joins, timeout};
use crate::expected::What;
use crate::flow::{Flow, Key, Meta, Patience, Proto, Rare, Sent, seen};
use crate::history::History;
use crate::tunnel::{Around, Stack};
use crate::wheel::Entry;
use model::id::ip_proto;
use std::cmp::Reverse;
use std::net::IpAddr;

use super::assets::{awaits_end, note_end};
use super::conn_row::write_conn;
use super::*;

impl Engine {
    /// The flow of this key, after its own timers were looked at.
    pub(super) fn live_flow(&mut self, key: &Key) -> Option<u32> {
        let at = match std::mem::take(&mut self.hint) {
            Hint::At(at) if self.table.is_at(at, key) => at,
            _ => self.table.find(key)?,
        };
        if self.table.get(at)?.due > self.clock {
            return Some(at);
        }
        // By the latest packet time, not by this packet's: timers never go back.
        if self.fire(at, self.clock) { None } else { Some(at) }
    }

    pub(super) fn datagram_flow(
        &mut self,
        key: Key,
        from_high: bool,
        flip: bool,
        shard: u8,
        now: i64,
        tunnels: &Stack,
    ) -> u32 {
        self.counters.in_flows += 1;
        match self.live_flow(&key) {
            Some(at) => {
                self.check_tunnels(at, now, tunnels);
                at
            }
            None => {
                let proto = Proto::Datagram(Sent::default());
                self.new_flow(key, from_high, flip, shard, now, proto, 0, tunnels)
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what a flow is made of")]
    pub(super) fn new_flow(
        &mut self,
        key: Key,
        from_high: bool,
        flip: bool,
        shard: u8,
        now: i64,
        proto: Proto,
        repeat: u32,
        tunnels: &Stack,
    ) -> u32 {
        if let Some(oldest) = self.table.to_evict(shard) {
            self.counters.evicted += 1;
            self.end_flow(oldest, self.clock);
        }
        self.counters.flows += 1;
        self.shared.out.tunnels_used(shard, tunnels, self.clock);
        let mut meta = Meta {
            key,
            swapped: from_high,
            shard,
            number: self.table.next_number(shard),
            first: now,
            last: now,
            timeout: inactivity(key.proto()),
            packets: [0; 2],
            ip_bytes: [0; 2],
            history: History::default(),
            history_seen: 0,
            is_replaced: false,
            checksum: Default::default(),
            carrier: Default::default(),
            assets: Default::default(),
            rare: Rare::new(repeat, Around::new(tunnels, now)),
        };
        if flip && meta.tuple().resp_h != IpAddr::from([255, 255, 255, 255]) {
            meta.flip();
        }
        let app = None;
        let (due, wheel_at, asked_at) = (i64::MIN, i64::MAX, i64::MAX);
        let at = self.table.insert(Flow { meta, proto, app, due, wheel_at, asked_at });
        self.reschedule(at);
        at
    }

    /// The application side of a TCP flow that begins, `with_syn` or not, if another flow announced it.
    pub(super) fn expect_announced(&mut self, at: u32, now: i64, with_syn: bool) {
        let Some(flow) = self.table.get(at) else { return };
        let Some(expected) = self.shared.expected.get(usize::from(flow.meta.shard)) else { return };
        let expected = expected.has(flow.meta.ends(), now);
        if let Some(what) = expected {
            let (name, kind) = announced(what);
            flow.app.get_or_insert_default().expect(name, kind, now);
        }
        if self.shared.config.joins == Joins::Nothing {
            return;
        }
        let of_half = || self.shared.is_expected_of_half(&flow.meta, with_syn, now);
        if let Some(what) = expected.or_else(of_half) {
            let (name, kind) = announced(what);
            flow.app.get_or_insert_default().expect_half(name, kind, now);
        }
    }

    /// Puts a flow into the wheel if it has become due earlier than its entry there says.
    pub(super) fn reschedule(&mut self, at: u32) {
        let Some((serial, flow)) = self.table.get_numbered(at) else { return };
        // An analyzer that leaves its deadline where it was is called once a moment, not for ever.
        let end = deadline(flow);
        let due = end.min(interim(flow, self.shared.config.interim));
        let mut asked = flow.app.as_ref().map_or(i64::MAX, |app| app.deadline());
        flow.due = due.min(asked);
        let late = if end <= self.clock { seen::LATE } else { 0 };
        flow.meta.history_seen = flow.meta.history_seen & !seen::LATE | late;
        if flow.meta.carrier.carries || awaits_end(flow, &self.shared.config) {
            // Its end is a row of tunnel or of a known service, with the time of the first packet after it.
            asked = asked.min(end);
        }
        let asked = asked.max(self.clock.saturating_add(1));
        if asked < flow.asked_at {
            flow.asked_at = asked;
            self.asked.push(Reverse((asked, at, serial)));
        }
        if due < flow.wheel_at {
            flow.wheel_at = due;
            self.wheel.add(Entry { index: at, serial, at: due }, self.clock);
        }
    }

    /// Ends idle files and calls the analyzers whose deadline has passed.
    #[inline]
    pub(super) fn call_asked(&mut self) {
        let clock = self.clock;
        let is_due = |Reverse((at, ..)): &Reverse<(i64, u32, u32)>| *at <= clock;
        if self.asked.peek().is_some_and(is_due) || self.shared.files.is_due(clock) {
            self.call_due();
        }
    }

    fn call_due(&mut self) {
        self.shared.files.expire(&mut self.shared.out, self.clock);
        while let Some(Reverse((asked, at, serial))) = self.asked.peek().copied() {
            if asked > self.clock {
                return;
            }
            self.asked.pop();
            let Some(flow) = self.table.get_serial(at, serial) else { continue };
            if flow.asked_at != asked {
                continue;
            }
            flow.asked_at = i64::MAX;
            if !self.fire(at, self.clock) {
                self.reschedule(at);
            }
        }
    }

    pub(super) fn turn_wheel(&mut self) {
        while let Some(entries) = self.wheel.take(self.clock) {
            for entry in &entries {
                self.look_at(*entry);
            }
            self.wheel.give_back(entries);
        }
    }

    pub(super) fn look_at(&mut self, entry: Entry) {
        let Some(flow) = self.table.get_serial(entry.index, entry.serial) else { return };
        if flow.wheel_at != entry.at {
            return;
        }
        flow.wheel_at = i64::MAX;
        if !self.fire(entry.index, self.clock) {
            self.reschedule(entry.index);
        }
    }

    /// Does what a flow's timers say up to `now`; says whether the flow ended by it.
    pub(super) fn fire(&mut self, at: u32, now: i64) -> bool {
        loop {
            let Some(flow) = self.table.get(at) else { return true };
            let due = deadline(flow);
            let asked = flow.app.as_ref().map_or(i64::MAX, |app| app.deadline());
            let interim = interim(flow, self.shared.config.interim);
            if due.min(asked).min(interim) > now {
                return false;
            }
            // At one moment: the analyzers, how the flow stands, its end, which makes that superfluous.
            if interim < due.min(asked) {
                write_conn(flow, &mut self.shared, interim, false);
                let rare = flow.meta.rare_mut();
                rare.interims = rare.interims.saturating_add(1);
                continue;
            }
            if asked > due {
                self.end_flow(at, due);
                return true;
            }
            if let Some(app) = &mut flow.app {
                app.expire(&flow.meta, &mut self.shared, now);
                if app.over {
                    self.end_flow(at, now);
                    return true;
                }
                // An analyzer that does not move its deadline must not hold the loop.
                if app.deadline() <= now {
                    return false;
                }
            }
        }
    }

    /// Writes a flow's row and forgets it.
    pub(super) fn end_flow(&mut self, at: u32, now: i64) {
        let Some(flow) = self.table.get(at) else { return };
        if let Proto::Tcp(tcp) = &flow.proto {
            self.holes.ended(flow.meta.shard, tcp.holds());
        }
        if let Some(app) = &mut flow.app {
            app.finish(&flow.meta, &mut self.shared, now);
            app.finish_half(&flow.meta, &mut self.shared, now);
        }
        note_end(flow, &mut self.shared, self.clock);
        if flow.meta.carrier.carries {
            self.shared.out.tunnel_closed(flow.meta.order(), &flow.meta.tuple(), self.clock);
        }
        write_conn(flow, &mut self.shared, now, true);
        self.table.remove(at);
    }
}

fn inactivity(proto: u8) -> Patience {
    Patience::of(match proto {
        // TCP starts in the handshake, which has UDP's patience.
        ip_proto::TCP | ip_proto::UDP => timeout::UDP_INACTIVITY,
        ip_proto::ICMP | ip_proto::ICMP6 => timeout::ICMP_INACTIVITY,
        _ => timeout::OTHER_INACTIVITY,
    })
}

/// When the flow's next row is due that is not its last.
fn interim(flow: &Flow, every: Option<i64>) -> i64 {
    let Some(every) = every else { return i64::MAX };
    let count = i64::from(flow.meta.interims()) + 1;
    flow.meta.first.saturating_add(every.saturating_mul(count))
}

fn deadline(flow: &Flow) -> i64 {
    let meta = &flow.meta;
    let last = meta.active_at();
    let idle = last.saturating_add(meta.timeout.micros());
    match &flow.proto {
        Proto::Tcp(tcp) => idle.min(tcp.deadline(meta.first, last)),
        Proto::Syn(syn) => idle.min(syn.deadline(meta.first, last)),
        Proto::Datagram(_) => idle,
    }
}

/// The service of a flow that was announced, and its analyzer.
fn announced(what: What) -> (&'static str, &'static analyzer::Kind) {
    match what {
        What::FtpData => (ftp::DATA_SERVICE, &ftp::DATA_KIND),
        What::IrcData => (irc_dcc::DATA_SERVICE, &irc_dcc::DATA_KIND),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Link;

    const ENDS: [([u8; 4], u16); 2] = [([10, 0, 0, 1], 5001), ([10, 0, 0, 2], 5002)];
    const SYN: u8 = 2;
    const SYN_ACK: u8 = 0x12;
    const ACK: u8 = 0x10;

    fn engine(joins: Joins) -> Engine {
        let config = Config { ignore_checksums: true, joins, ..Config::new("n") };
        Engine::new(Arc::new(config), 0, 1)
    }

    /// A segment without payload of one of the ends.
    fn segment(engine: &mut Engine, ts_us: i64, from: usize, flags: u8) {
        let (src, dst) = (ENDS[from], ENDS[1 - from]);
        let mut data = vec![0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0];
        data.extend([src.0, dst.0].concat());
        data.extend([src.1.to_be_bytes(), dst.1.to_be_bytes()].concat());
        data.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
        engine.packet(&Packet { ts_us, link: Link::Raw, wire_len: 40, data: &data });
    }

    /// A datagram with some payload of one of the ends.
    fn datagram(engine: &mut Engine, ts_us: i64, from: usize) {
        let (src, dst) = (ENDS[from], ENDS[1 - from]);
        let mut data = vec![0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0];
        data.extend([src.0, dst.0].concat());
        data.extend([src.1.to_be_bytes(), dst.1.to_be_bytes()].concat());
        data.extend([0, 12, 0, 0, 1, 2, 3, 4]);
        engine.packet(&Packet { ts_us, link: Link::Raw, wire_len: 32, data: &data });
    }

    #[test]
    fn what_is_kept_of_a_half_goes_with_the_answer() {
        let mut engine = engine(Joins::Halves);
        let keeps = |engine: &mut Engine| {
            let flow = engine.table.get(0).expect("the flow");
            flow.app.as_ref().is_some_and(|app| app.is_judged_aside())
        };
        datagram(&mut engine, 1, 0);
        assert!(keeps(&mut engine));
        datagram(&mut engine, 2, 1);
        assert!(!keeps(&mut engine));
    }

    /// A column of the rows of conn.
    fn column(engine: &mut Engine, name: &str) -> Vec<String> {
        engine.finish();
        let rows = engine.out().take("n");
        let rows = rows.iter().find(|rows| rows.def.name.ends_with("conn")).expect("rows of conn");
        let Ok(cells) = model::read::text(&rows.batch, name) else { return Vec::new() };
        cells.iter().map(|cell| cell.unwrap_or_default().to_owned()).collect()
    }

    /// Whether a flow that this packet from a client's port to a server begins is told to be the one that the client
    /// announced to the server as its own port.
    fn is_announced(flags: u8, joins: Joins) -> bool {
        let mut engine = engine(joins);
        let [client, server] = ENDS;
        for expected in &mut engine.shared.aside().expected {
            expected.add((server.0.into(), client.0.into(), client.1), What::FtpData, 0, 0);
        }
        segment(&mut engine, 1, 0, flags);
        column(&mut engine, "half.confirmed").iter().any(|name| name == ftp::DATA_SERVICE)
    }

    #[test]
    fn a_flow_that_begins_is_not_the_announced_one_turned_round() {
        assert!(is_announced(SYN_ACK, Joins::Halves));
        assert!(!is_announced(SYN, Joins::Halves));
        assert!(!is_announced(SYN_ACK, Joins::Nothing));
    }

    #[test]
    fn an_answer_waits_for_its_own_end_only() {
        let rows = |joins, from| {
            let mut engine = engine(joins);
            segment(&mut engine, 0, 1, SYN_ACK);
            segment(&mut engine, 6 * crate::config::SECOND, from, ACK);
            column(&mut engine, "history")
        };
        // Both ends are seen here: no other sensor has the other half, and it is as with one process.
        assert_eq!(rows(Joins::Halves, 0), rows(Joins::Nothing, 0));
        assert_eq!(rows(Joins::Halves, 0).len(), 2);
        assert_eq!((rows(Joins::Halves, 1).len(), rows(Joins::Nothing, 1).len()), (1, 2));
    }
}
