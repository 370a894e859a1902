//! What one direction alone says of a flow's protocol, told apart from what the flow's own analyzers make of it.
//!
//! Those work as in a process that is alone, whatever another sensor may see. A second set judges the same payload
//! as that of a half, for the aggregators, and its rows are nobody's. It is dropped with the first packet of the other
//! direction. Over UDP, where that may well come after payload, it begins only when there is more than a little of it or
//! the flow ends: a flow that is whole costs a copy of its first bytes at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::App;
use crate::analyzer::{Dir, Kind, Transport};
use crate::config::SHARDS;
use crate::flow::Meta;
use crate::host::Shared;

/// Bytes and pieces that are kept before anybody looks at them: more than a question, and nearly all of what a
/// client says before it is answered.
const BYTES_MAX: usize = 2048;
const PIECES_MAX: usize = 16;

/// Bytes that are kept so in all: some hundred thousand questions that nobody answers. Each virtual shard has its part, so
/// that it makes no difference how many threads there are. Of a flow for which there is no room only its own analyzers
/// tell.
const KEPT_MAX: u64 = 64 << 20;

/// What is kept, by virtual shard.
#[derive(Clone)]
pub struct Shelves(Arc<[AtomicU64; SHARDS as usize]>);

impl Default for Shelves {
    fn default() -> Shelves {
        Shelves(Arc::new(std::array::from_fn(|_| AtomicU64::new(0))))
    }
}

/// One flow's part of it, which goes with it.
struct Kept {
    shelves: Shelves,
    shard: u8,
    bytes: u64,
}

impl Kept {
    fn of_shard(&self) -> Option<&AtomicU64> {
        self.shelves.0.get(usize::from(self.shard))
    }

    /// Takes room; false if there is none.
    fn grow(&mut self, by: usize) -> bool {
        let by = by as u64;
        let Some(held) = self.of_shard() else { return false };
        // Who shares the shelves has no flows of this shard.
        if held.load(Ordering::Relaxed) + by > KEPT_MAX / u64::from(SHARDS) {
            return false;
        }
        held.fetch_add(by, Ordering::Relaxed);
        self.bytes += by;
        true
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(held) = self.of_shard() {
            held.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

/// What analyzers are told.
#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    /// Payload of this length; whether the flow's beginning was not seen.
    Data(usize, bool),
    /// So many bytes were not seen.
    Gap(u64),
    /// The direction is complete.
    End,
    /// A packet with RST was seen.
    Reset,
}

/// The same with its time, microseconds, and direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) now: i64,
    pub(super) dir: Dir,
    pub(super) transport: Transport,
    pub(super) what: What,
}

/// A flow of which one direction has been seen so far.
#[derive(Default)]
pub(super) struct Aside {
    /// What was told that nobody has looked at, and its bytes.
    told: Vec<Told>,
    bytes: Vec<u8>,
    kept: Option<Kept>,
    /// There was no room to keep it.
    gave_up: bool,
    /// Another flow announced this one, as what, and when it began.
    announced: Option<(&'static str, &'static Kind, i64)>,
    /// The analyzers, once they have begun.
    app: Option<Box<App>>,
}

impl Aside {
    /// Another flow announced this one.
    pub(super) fn expect(&mut self, name: &'static str, kind: &'static Kind, now: i64) {
        self.announced = Some((name, kind, now));
    }

    /// A new flow takes the place of this one, and is what was announced as well.
    pub(super) fn reused(&mut self) {
        if let Some(app) = &mut self.app {
            app.reused();
        }
    }

    /// The roles changed sides.
    pub(super) fn flip(&mut self) {
        self.told.iter_mut().for_each(|told| told.dir = told.dir.other());
        if let Some(app) = &mut self.app {
            app.flip();
        }
    }

    /// Whether payload is of use.
    pub(super) fn wants_payload(&self) -> bool {
        !self.gave_up && self.app.as_ref().is_none_or(|app| app.wants_payload())
    }

    /// What was judged so far.
    pub(super) fn app(&self) -> Option<&App> {
        self.app.as_deref()
    }

    /// The next thing, which is looked at now or later.
    pub(super) fn tell(&mut self, meta: &Meta, shared: &mut Shared, told: Told, data: &[u8]) {
        if self.gave_up {
            return;
        }
        // A stream that has payload was answered, mostly elsewhere: no answer will come here.
        let may_be_answered = told.transport == Transport::Udp;
        let is_little = self.bytes.len() + data.len() <= BYTES_MAX && self.told.len() < PIECES_MAX;
        if self.app.is_none() && is_little && may_be_answered {
            return self.keep(meta, shared, told, data);
        }
        self.begun(meta, shared).hear(meta, shared.aside(), told, data);
    }

    fn keep(&mut self, meta: &Meta, shared: &mut Shared, told: Told, data: &[u8]) {
        let (shelves, shard) = (&shared.shelves, meta.shard);
        let kept =
            self.kept.get_or_insert_with(|| Kept { shelves: shelves.clone(), shard, bytes: 0 });
        if kept.grow(size_of::<Told>() + data.len()) {
            self.told.push(told);
            self.bytes.extend_from_slice(data);
            return;
        }
        *self = Aside { gave_up: true, ..Aside::default() };
        shared.out.halves_unjudged += 1;
    }

    /// The flow is over: looks at all that was kept.
    pub(super) fn finish(&mut self, meta: &Meta, shared: &mut Shared, now: i64) {
        if self.gave_up {
            return;
        }
        self.begun(meta, shared).finish(meta, shared.aside(), now);
    }

    /// The analyzers, who are told what was kept.
    fn begun(&mut self, meta: &Meta, shared: &mut Shared) -> &mut App {
        let app = self.app.get_or_insert_with(|| {
            let mut app = Box::new(App { is_half: true, ..App::default() });
            if let Some((name, kind, now)) = self.announced {
                app.expect(name, kind, now);
            }
            app
        });
        self.kept = None;
        let bytes = std::mem::take(&mut self.bytes);
        let mut rest = bytes.as_slice();
        for told in std::mem::take(&mut self.told) {
            let len = if let What::Data(len, _) = told.what { len } else { 0 };
            let (data, after) = rest.split_at(len.min(rest.len()));
            rest = after;
            app.hear(meta, shared.aside(), told, data);
        }
        app
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Joins};
    use crate::engine::Engine;
    use crate::source::{Link, Packet};

    /// Payload of a datagram.
    const PAYLOAD: usize = 1000;

    /// A datagram from this port to another host, or the answer to it.
    fn datagram(engine: &mut Engine, ts_us: i64, port: u16, is_answer: bool) {
        let mut hosts = [[10, 0, 0, 1], [10, 0, 0, 2]];
        let mut ports = [port, 5002];
        if is_answer {
            hosts.reverse();
            ports.reverse();
        }
        let [len, udp_len] = [PAYLOAD + 28, PAYLOAD + 8].map(|len| (len as u16).to_be_bytes());
        let mut data = vec![0x45, 0, len[0], len[1], 0, 1, 0, 0, 64, 17, 0, 0];
        data.extend(hosts.concat());
        data.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
        data.extend([udp_len[0], udp_len[1], 0, 0]);
        data.extend([7; PAYLOAD]);
        let wire_len = data.len() as u32;
        engine.packet(&Packet { ts_us, link: Link::Raw, wire_len, data: &data });
    }

    fn held(engine: &Engine) -> u64 {
        engine.shared.shelves.0.iter().map(|held| held.load(Ordering::Relaxed)).sum()
    }

    #[test]
    fn a_flood_that_nobody_answers_is_kept_up_to_a_limit() {
        let (room, flows) = (KEPT_MAX / u64::from(SHARDS), 1200);
        let config = Config { joins: Joins::Halves, ignore_checksums: true, ..Config::new("n") };
        let mut engine = Engine::new(Arc::new(config), 0, 1);
        for port in 0..flows {
            datagram(&mut engine, 1, 10_000 + port, false);
        }
        let each = (PAYLOAD + size_of::<Told>()) as u64;
        let kept = room / each;
        assert_eq!(held(&engine), kept * each);
        assert_eq!(engine.counters().halves_unjudged, u64::from(flows) - kept);
        // One that is answered makes room.
        datagram(&mut engine, 2, 10_000, true);
        assert_eq!(held(&engine), (kept - 1) * each);
        datagram(&mut engine, 3, 30_000, false);
        assert_eq!(held(&engine), kept * each);
        // So does one whose end comes.
        engine.finish();
        assert_eq!(held(&engine), 0);
        let rows: usize = engine.out().take("n").iter().map(|rows| rows.marks.len()).sum();
        assert_eq!(rows, usize::from(flows) + 1, "all are logged");
    }
}
