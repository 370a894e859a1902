//! The application side of one flow: which analyzers it has, and how they are told of its payload.
//!
//! Analyzers are attached by the responder's port and by content, as in Zeek's dynamic protocol
//! detection: the first bytes are kept, every analyzer's probe sees them, and one that says yes is
//! given them again.

use model::id;

use crate::analyzer::{
    self, ALL, Analyzer, Cx, Dir, FlowIds, Kind, PROBE_BYTES_MAX, Signal, Start, Transport, Verdict,
};
use crate::flow::Meta;
use crate::host::Shared;

/// Segments or datagrams of a flow that detection looks at (Zeek's `dpd_max_packets`).
const PROBE_PIECES_MAX: usize = 100;

/// One analyzer of the flow.
struct Slot {
    name: &'static str,
    skips_partial: bool,
    analyzer: Box<dyn Analyzer>,
    confirmed: bool,
    /// It is told nothing more, but still writes what it has when the flow ends.
    stopped: bool,
}

/// The first bytes, while it is not known whose they are.
#[derive(Default)]
struct Probing {
    bytes: [Vec<u8>; 2],
    pieces: Vec<(Dir, usize)>,
    /// Analyzers that have not said no, by their place in [`ALL`].
    open: u64,
}

/// The application side of one flow.
#[derive(Default)]
pub struct App {
    ids: Option<Box<FlowIds>>,
    slots: Vec<Slot>,
    probing: Option<Box<Probing>>,
    services: Vec<&'static str>,
    weirds: Vec<&'static str>,
    started: bool,
    /// An analyzer found the roles the wrong way round.
    pub wants_flip: bool,
    /// An analyzer gave up at a limit.
    pub gave_up: bool,
    /// An analyzer wants the flow to end.
    pub over: bool,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("services", &self.services).finish_non_exhaustive()
    }
}

impl App {
    /// Who the flow is; made when first needed, as most flows of a scan never need it.
    pub fn ids(&mut self, meta: &Meta, lanes: u32) -> &FlowIds {
        self.ids.get_or_insert_with(|| Box::new(make_ids(meta, lanes)))
    }

    /// The roles changed sides.
    pub fn flip(&mut self) {
        self.ids = None;
    }

    /// Confirmed protocols, joined as `service` has them.
    pub fn service(&self) -> Option<String> {
        (!self.services.is_empty()).then(|| self.services.join(","))
    }

    /// Whether any weird was raised.
    pub fn did_weird(&self) -> bool {
        !self.weirds.is_empty()
    }

    /// Whether payload is of use to anybody.
    pub fn wants_payload(&self) -> bool {
        !self.started || self.probing.is_some() || self.slots.iter().any(|slot| !slot.stopped)
    }

    /// A weird of the transport.
    pub fn weird(
        &mut self,
        meta: &Meta,
        shared: &mut Shared,
        now: i64,
        name: &'static str,
        addl: Option<&str>,
        source: Option<&str>,
    ) {
        self.ids(meta, shared.config.lanes);
        if let Some(mut cx) = self.cx(shared, now) {
            cx.weird(name, addl, source);
        }
    }

    /// The next payload of one direction. `partial` says that the flow's beginning was not seen.
    #[expect(clippy::too_many_arguments, reason = "a flow's parts are borrowed apart")]
    pub fn data(
        &mut self,
        meta: &Meta,
        transport: Transport,
        shared: &mut Shared,
        now: i64,
        dir: Dir,
        data: &[u8],
        partial: bool,
    ) {
        if !self.started {
            self.start(meta, transport);
        }
        for i in 0..self.slots.len() {
            if partial && self.slots[i].skips_partial {
                continue;
            }
            self.call(i, meta, shared, now, |analyzer, cx| analyzer.feed(cx, dir, data));
        }
        if self.probing.is_some() {
            self.probe(meta, transport, shared, now, dir, data, partial);
        }
    }

    /// Bytes of one direction that were never seen.
    pub fn gap(&mut self, meta: &Meta, shared: &mut Shared, now: i64, dir: Dir, len: u64) {
        self.probing = None;
        for i in 0..self.slots.len() {
            self.call(i, meta, shared, now, |analyzer, cx| analyzer.gap(cx, dir, len));
        }
    }

    /// One direction is complete.
    pub fn end(&mut self, meta: &Meta, shared: &mut Shared, now: i64, dir: Dir) {
        for i in 0..self.slots.len() {
            self.call(i, meta, shared, now, |analyzer, cx| analyzer.end(cx, dir));
        }
    }

    /// When an analyzer wants to be called, [`i64::MAX`] for never.
    pub fn deadline(&self) -> i64 {
        self.slots.iter().filter_map(|slot| slot.analyzer.deadline()).min().unwrap_or(i64::MAX)
    }

    /// Calls the analyzers whose time has come.
    pub fn expire(&mut self, meta: &Meta, shared: &mut Shared, now: i64) {
        for slot in 0..self.slots.len() {
            let due = self.slots[slot].analyzer.deadline().is_some_and(|at| at <= now);
            if due {
                self.call_any(slot, meta, shared, now, |analyzer, cx| analyzer.expire(cx));
            }
        }
    }

    /// The flow is over.
    pub fn finish(&mut self, meta: &Meta, shared: &mut Shared, now: i64) {
        for i in 0..self.slots.len() {
            self.call_any(i, meta, shared, now, |analyzer, cx| analyzer.finish(cx));
        }
    }

    fn start(&mut self, meta: &Meta, transport: Transport) {
        self.started = true;
        let port = meta.resp_p();
        let mut open = 0;
        for (i, kind) in ALL.iter().enumerate() {
            let ports = match transport {
                Transport::Tcp => kind.tcp_ports,
                Transport::Udp => kind.udp_ports,
            };
            if ports.contains(&port) {
                self.attach(kind, transport);
            } else {
                open |= 1 << i;
            }
        }
        self.probing = Some(Box::new(Probing { open, ..Probing::default() }));
    }

    fn attach(&mut self, kind: &Kind, transport: Transport) {
        self.slots.push(Slot {
            name: kind.name,
            skips_partial: kind.skips_partial,
            analyzer: (kind.new)(transport),
            confirmed: false,
            stopped: false,
        });
    }

    /// Shows the beginning of the flow to those analyzers that have not answered yet.
    #[expect(clippy::too_many_arguments, reason = "a flow's parts are borrowed apart")]
    fn probe(
        &mut self,
        meta: &Meta,
        transport: Transport,
        shared: &mut Shared,
        now: i64,
        dir: Dir,
        data: &[u8],
        partial: bool,
    ) {
        let Some(mut probing) = self.probing.take() else { return };
        probing.bytes[dir.index()].extend_from_slice(data);
        probing.pieces.push((dir, data.len()));
        let cut = |bytes: &[u8]| bytes.len().min(PROBE_BYTES_MAX);
        for (i, kind) in ALL.iter().enumerate() {
            if probing.open >> i & 1 == 0 {
                continue;
            }
            let [orig, resp] = &probing.bytes;
            let mut bytes = [&orig[..cut(orig)], &resp[..cut(resp)]];
            if transport == Transport::Udp {
                bytes = [&[], &[]];
                bytes[dir.index()] = data;
            }
            let verdict = (kind.probe)(&Start { transport, bytes, resp_p: meta.resp_p() });
            if verdict == Verdict::More {
                continue;
            }
            probing.open &= !(1 << i);
            if verdict == Verdict::Yes {
                self.attach(kind, transport);
                if partial && kind.skips_partial {
                    continue;
                }
                self.replay(meta, shared, now, &probing);
            }
        }
        let full = probing.bytes.iter().any(|bytes| bytes.len() >= PROBE_BYTES_MAX);
        if probing.open != 0 && !full && probing.pieces.len() < PROBE_PIECES_MAX {
            self.probing = Some(probing);
        }
    }

    /// Gives the newest analyzer what came before it.
    fn replay(&mut self, meta: &Meta, shared: &mut Shared, now: i64, probing: &Probing) {
        let slot = self.slots.len() - 1;
        let mut at = [0; 2];
        for (dir, len) in &probing.pieces {
            let from = at[dir.index()];
            at[dir.index()] = from + len;
            let piece = probing.bytes[dir.index()].get(from..from + len).unwrap_or_default();
            self.call(slot, meta, shared, now, |analyzer, cx| analyzer.feed(cx, *dir, piece));
        }
    }

    fn call(
        &mut self,
        slot: usize,
        meta: &Meta,
        shared: &mut Shared,
        now: i64,
        f: impl FnOnce(&mut dyn Analyzer, &mut Cx<'_>),
    ) {
        if !self.slots[slot].stopped {
            self.call_any(slot, meta, shared, now, f);
        }
    }

    fn call_any(
        &mut self,
        slot: usize,
        meta: &Meta,
        shared: &mut Shared,
        now: i64,
        f: impl FnOnce(&mut dyn Analyzer, &mut Cx<'_>),
    ) {
        let lanes = shared.config.lanes;
        let ids = self.ids.get_or_insert_with(|| Box::new(make_ids(meta, lanes)));
        let slot = &mut self.slots[slot];
        let mut cx = Cx {
            now,
            ids,
            out: &mut shared.out,
            node: &shared.config.node,
            signal: Signal::None,
            weirds: &mut self.weirds,
            confirmed: slot.confirmed,
            flip: false,
            gave_up: false,
            over: false,
            is_done: false,
        };
        f(slot.analyzer.as_mut(), &mut cx);
        self.wants_flip |= cx.flip;
        self.gave_up |= cx.gave_up;
        self.over |= cx.over;
        let (signal, is_done) = (cx.signal, cx.is_done);
        match signal {
            Signal::None | Signal::Done => {}
            Signal::Confirmed => {
                slot.confirmed = true;
                if !self.services.contains(&slot.name) {
                    self.services.push(slot.name);
                }
            }
            Signal::Violated => {
                slot.stopped = true;
                self.services.retain(|name| *name != slot.name);
            }
        }
        slot.stopped |= is_done;
    }

    fn cx<'a>(&'a mut self, shared: &'a mut Shared, now: i64) -> Option<Cx<'a>> {
        Some(Cx {
            now,
            ids: self.ids.as_deref()?,
            out: &mut shared.out,
            node: &shared.config.node,
            signal: Signal::None,
            weirds: &mut self.weirds,
            confirmed: true,
            flip: false,
            gave_up: false,
            over: false,
            is_done: false,
        })
    }
}

/// What every row of a flow says of it.
pub fn make_ids(meta: &Meta, lanes: u32) -> analyzer::FlowIds {
    let tuple = meta.tuple();
    let community_id = id::community_id(&tuple);
    let lane = id::partition(community_id.as_bytes(), lanes);
    FlowIds {
        // Of the ends in the key's order, as it must not change when the roles do.
        uid: id::flow_uid(&meta.key.tuple(), meta.first, meta.repeat),
        community_id,
        tuple,
        lane,
        order: meta.order(),
        first: meta.first,
    }
}
