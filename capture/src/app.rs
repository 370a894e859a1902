//! The application side of one flow: which analyzers it has, and how they are told of its payload.
//!
//! Analyzers are attached by the responder's port and by content, as in Zeek's dynamic protocol
//! detection: the first bytes are kept, every analyzer's probe sees them, and one that says yes is
//! given them again.

use model::id;

use crate::analyzer::{
    self, ALL, Act, Analyzer, Cx, Dir, FlowIds, Inner, Kind, PROBE_BYTES_MAX, Signal, Start,
    Transport, Verdict,
};
use crate::flow::Meta;
use crate::host::Shared;

/// Segments or datagrams of a flow that detection looks at (Zeek's `dpd_max_packets`).
const PROBE_PIECES_MAX: usize = 100;

/// Analyzers that a flow may have had at once or one after another: protocols can carry each other without end.
const SLOTS_MAX: usize = 16;

/// One analyzer of the flow.
struct Slot {
    name: &'static str,
    /// The slot of the analyzer that carries it; none: it is fed what the flow itself carries.
    carrier: Option<usize>,
    skips_partial: bool,
    analyzer: Box<dyn Analyzer>,
    confirmed: bool,
    /// It is told nothing more, but still writes what it has when the flow ends.
    stopped: bool,
    /// The flow was not its protocol.
    violated: bool,
}

/// The first bytes, while it is not known whose they are.
#[derive(Default)]
struct Probing {
    /// As in [`Slot`]: whose payload this is.
    carrier: Option<usize>,
    bytes: [Vec<u8>; 2],
    pieces: Vec<(Dir, usize)>,
    /// The flow's beginning was not seen.
    partial: bool,
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
    /// Payload so far, both ways, with what was never seen of it.
    bytes: u64,
    transport: Option<Transport>,
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
        self.transport.is_none()
            || self.probing.is_some()
            || self.slots.iter().any(|slot| !slot.stopped)
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
        if self.transport.is_none() {
            self.start(meta, transport, partial);
        }
        self.bytes += data.len() as u64;
        for i in 0..self.slots.len() {
            if self.slots[i].carrier.is_some() {
                continue;
            }
            let skips = partial && self.slots[i].skips_partial;
            self.call(i, meta, shared, now, |analyzer, cx| {
                if skips {
                    analyzer.feed_partial(cx, dir, data)
                } else {
                    analyzer.feed(cx, dir, data)
                }
            });
        }
        if self.probing.as_ref().is_some_and(|probing| probing.carrier.is_none()) {
            self.probe(meta, shared, now, dir, data);
        }
    }

    /// Bytes of one direction that were never seen.
    pub fn gap(&mut self, meta: &Meta, shared: &mut Shared, now: i64, dir: Dir, len: u64) {
        if self.transport.is_none() {
            // Only TCP has gaps. Those on its port are told of one that comes before all payload.
            self.start(meta, Transport::Tcp, false);
        }
        self.bytes = self.bytes.saturating_add(len);
        self.gap_of(None, meta, shared, now, dir, len);
    }

    fn gap_of(
        &mut self,
        carrier: Option<usize>,
        meta: &Meta,
        shared: &mut Shared,
        now: i64,
        dir: Dir,
        len: u64,
    ) {
        self.probing.take_if(|probing| probing.carrier == carrier);
        for i in 0..self.slots.len() {
            if self.slots[i].carrier == carrier {
                self.call(i, meta, shared, now, |analyzer, cx| analyzer.gap(cx, dir, len));
            }
        }
    }

    /// A packet with RST was seen.
    pub fn reset(&mut self, meta: &Meta, shared: &mut Shared, now: i64) {
        for i in 0..self.slots.len() {
            self.call(i, meta, shared, now, |analyzer, cx| analyzer.reset(cx));
        }
    }

    /// One direction is complete.
    pub fn end(&mut self, meta: &Meta, shared: &mut Shared, now: i64, dir: Dir) {
        self.end_of(None, meta, shared, now, dir);
    }

    fn end_of(
        &mut self,
        carrier: Option<usize>,
        meta: &Meta,
        shared: &mut Shared,
        now: i64,
        dir: Dir,
    ) {
        for i in 0..self.slots.len() {
            if self.slots[i].carrier == carrier {
                self.call(i, meta, shared, now, |analyzer, cx| analyzer.end(cx, dir));
            }
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

    fn start(&mut self, meta: &Meta, transport: Transport, partial: bool) {
        self.transport = Some(transport);
        let port = meta.resp_p();
        for kind in ALL {
            let ports = match transport {
                Transport::Tcp => kind.tcp_ports,
                Transport::Udp => kind.udp_ports,
            };
            if ports.contains(&port) {
                self.attach(kind, None);
            }
        }
        self.look_for(None, partial);
    }

    /// Begins to look for protocols by content. One that leaves the flow again may be called back.
    fn look_for(&mut self, carrier: Option<usize>, partial: bool) {
        let open = analyzer::probed();
        self.probing = Some(Box::new(Probing { carrier, partial, open, ..Probing::default() }));
    }

    fn attach(&mut self, kind: &Kind, carrier: Option<usize>) {
        if self.slots.len() >= SLOTS_MAX {
            return;
        }
        let transport = self.transport.unwrap_or(Transport::Tcp);
        self.slots.push(Slot {
            name: kind.name,
            carrier,
            skips_partial: kind.skips_partial,
            analyzer: (kind.new)(transport),
            confirmed: false,
            stopped: false,
            violated: false,
        });
    }

    /// Shows the beginning of the flow to those analyzers that have not answered yet.
    fn probe(&mut self, meta: &Meta, shared: &mut Shared, now: i64, dir: Dir, data: &[u8]) {
        let Some(mut probing) = self.probing.take() else { return };
        let transport = self.transport.unwrap_or(Transport::Tcp);
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
            let start = Start { transport, bytes, resp_p: meta.resp_p() };
            let verdict = kind.probe.map_or(Verdict::No, |probe| probe(&start));
            if verdict == Verdict::More {
                continue;
            }
            probing.open &= !(1 << i);
            let is_there = |slot: &Slot| {
                slot.name == kind.name && slot.carrier == probing.carrier && !slot.violated
            };
            if verdict == Verdict::Yes && !self.slots.iter().any(is_there) {
                let slot = self.slots.len();
                self.attach(kind, probing.carrier);
                if self.slots.len() > slot && !(probing.partial && kind.skips_partial) {
                    self.replay(slot, meta, shared, now, &probing);
                }
            }
        }
        let full = probing.bytes.iter().any(|bytes| bytes.len() >= PROBE_BYTES_MAX);
        let is_last = probing.open == 0 || full || probing.pieces.len() >= PROBE_PIECES_MAX;
        // An analyzer that was called meanwhile may have begun to look inside of itself.
        if !is_last && self.probing.is_none() {
            self.probing = Some(probing);
        }
    }

    /// Gives a new analyzer what came before it.
    fn replay(
        &mut self,
        slot: usize,
        meta: &Meta,
        shared: &mut Shared,
        now: i64,
        probing: &Probing,
    ) {
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
        at: usize,
        meta: &Meta,
        shared: &mut Shared,
        now: i64,
        f: impl FnOnce(&mut dyn Analyzer, &mut Cx<'_>),
    ) {
        let lanes = shared.config.lanes;
        let ids = self.ids.get_or_insert_with(|| Box::new(make_ids(meta, lanes)));
        let slot = &mut self.slots[at];
        let mut inner = std::mem::take(&mut shared.inner);
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
            inner: &mut inner,
            services: &mut self.services,
            flow_bytes: self.bytes,
        };
        f(slot.analyzer.as_mut(), &mut cx);
        self.wants_flip |= cx.flip;
        self.gave_up |= cx.gave_up;
        self.over |= cx.over;
        let (signal, is_done) = (cx.signal, cx.is_done);
        match signal {
            Signal::None => {}
            Signal::Confirmed => {
                slot.confirmed = true;
                if !self.services.contains(&slot.name) {
                    self.services.push(slot.name);
                }
            }
            Signal::Violated => {
                slot.stopped = true;
                slot.violated = true;
                self.services.retain(|name| *name != slot.name);
            }
        }
        slot.stopped |= is_done;
        self.carried(at, meta, shared, now, &inner);
        inner.clear();
        shared.inner = inner;
    }

    /// Gives the analyzers inside another what that one has handed on.
    fn carried(&mut self, at: usize, meta: &Meta, shared: &mut Shared, now: i64, inner: &Inner) {
        let carrier = Some(at);
        for act in &inner.acts {
            match act {
                Act::Attach(kind) => self.attach(kind, carrier),
                Act::Probe => self.look_for(carrier, false),
                Act::Gap(dir, len) => self.gap_of(carrier, meta, shared, now, *dir, *len),
                Act::End(dir) => self.end_of(carrier, meta, shared, now, *dir),
                Act::Data(dir, range) => {
                    let data = inner.bytes.get(range.clone()).unwrap_or_default();
                    for i in 0..self.slots.len() {
                        if self.slots[i].carrier == carrier {
                            self.call(i, meta, shared, now, |inside, cx| {
                                inside.feed(cx, *dir, data)
                            });
                        }
                    }
                    if self.probing.as_ref().is_some_and(|probing| probing.carrier == carrier) {
                        self.probe(meta, shared, now, *dir, data);
                    }
                }
            }
        }
    }

    fn cx<'a>(&'a mut self, shared: &'a mut Shared, now: i64) -> Option<Cx<'a>> {
        Some(Cx {
            inner: &mut shared.inner,
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
            services: &mut self.services,
            flow_bytes: self.bytes,
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
