//! The application side of one flow: which analyzers it has, and how they are told of its payload.
//!
//! Analyzers are attached by the responder's port and by content, as in Zeek's dynamic protocol
//! detection: the first bytes are kept, every analyzer's probe sees them, and one that says yes is
//! given them again.

use std::sync::Arc;

use model::id;

use crate::analyzer::repeats::Repeats;
use crate::analyzer::{self, Act, Analyzer, Cx, Dir, FlowIds, Kind, Signal, Transport};
use crate::few;
use crate::flow::Meta;
use crate::host::Shared;
use crate::services::Services;
use aside::{Aside, Told, What};
use probing::Probing;
use slot::Slot;

pub use aside::Shelves;

mod aside;
mod halves;
mod probing;
mod slot;

/// Analyzers that a flow may have had at once or one after another: protocols can carry each other without end.
const SLOTS_MAX: usize = 16;

/// The application side of one flow.
#[derive(Default)]
pub struct App {
    ids: Option<Arc<FlowIds>>,
    slots: Vec<Slot>,
    probing: Option<Box<Probing>>,
    /// What the beginning of the one direction that was seen fits and rules out, as it was when detection ended, by
    /// the place in [`peers::ALL`] and [`peers::STRICT`].
    beginning: [u8; 2],
    /// Analyzers that say yes to the payload of a flow whose beginning was not seen, by their place in
    /// [`analyzer::ALL`].
    late: u64,
    /// These analyzers judge one direction for itself, as that of a half.
    is_half: bool,
    /// Those that do so beside the flow's own, while one direction alone has been seen of it and another sensor may see
    /// the other.
    aside: Option<Box<Aside>>,
    services: Services,
    weirds: Repeats,
    transport: Option<Transport>,
    /// An analyzer found the roles the wrong way round.
    pub wants_flip: bool,
    /// An analyzer gave up at a limit.
    pub gave_up: bool,
    /// An analyzer wants the flow to end.
    pub over: bool,
    /// An analyzer found a protocol whose users may pause for long.
    pub pauses: bool,
    /// Payload so far, seen or not.
    payload: u64,
    /// The flow's beginning or any of its bytes was not seen.
    incomplete: bool,
    /// A TLS handshake is complete.
    tls_established: bool,
    /// What HTTP left to the one inside of it.
    http_log: Option<Box<analyzer::http::Log>>,
    /// Another flow announced this one.
    is_expected: bool,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("services", &self.services).finish_non_exhaustive()
    }
}

impl App {
    /// Reads something of it, only to have it near.
    #[inline]
    pub fn touch(&self) -> u64 {
        self.payload ^ self.late ^ self.slots.len() as u64 ^ u64::from(self.is_half)
    }

    /// The same of what it leads to.
    #[inline]
    pub fn touch_inside(&self) -> u64 {
        self.slots.iter().fold(0, |seen, slot| seen ^ u64::from(slot.stopped))
    }

    /// Who the flow is; made when first needed, as most flows of a scan never need it.
    pub fn ids(&mut self, meta: &Meta, lanes: u32) -> &FlowIds {
        self.ids.get_or_insert_with(|| Arc::new(make_ids(meta, lanes)))
    }

    /// The same, where it was needed already.
    pub fn known_ids(&self) -> Option<&FlowIds> {
        self.ids.as_deref()
    }

    /// The roles changed sides.
    pub fn flip(&mut self) {
        self.ids = None;
        if let Some(aside) = &mut self.aside {
            aside.flip();
        }
    }

    /// The flow begins and was announced by another: it is `name`, which `kind` looks at.
    pub fn expect(&mut self, name: &'static str, kind: &Kind, now: i64) {
        self.is_expected = true;
        self.services.add(name, now);
        self.attach(kind, None);
    }

    /// A new flow takes the place of this one, and is what was announced as well.
    pub fn reused(&mut self) {
        self.is_expected = false;
        if let Some(aside) = &mut self.aside {
            aside.reused();
        }
    }

    /// Confirmed protocols, joined as `service` has them.
    pub fn service(&self) -> Option<String> {
        let names = self.services.names();
        (!names.is_empty()).then(|| names.join(","))
    }

    /// Confirmed protocols, in the order that they were.
    pub fn services(&self) -> &Services {
        &self.services
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
            || self.aside.as_ref().is_some_and(|aside| aside.wants_payload())
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
        if let Some(mut cx) = self.cx(meta, shared, now) {
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
        let told = Told { now, dir, transport, what: What::Data(data.len(), partial) };
        self.beside(meta, shared, told, data);
        self.changes_to_tls(transport, dir, data, partial);
        self.payload = self.payload.saturating_add(data.len() as u64);
        self.incomplete |= partial;
        if self.transport.is_none() {
            self.start(meta, transport, partial);
        }
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
        let told = Told { now, dir, transport: Transport::Tcp, what: What::Gap(len) };
        self.beside(meta, shared, told, &[]);
        self.payload = self.payload.saturating_add(len);
        self.incomplete = true;
        if self.transport.is_none() {
            // Only TCP has gaps. Those on its port are told of one that comes before all payload.
            self.start(meta, Transport::Tcp, false);
        }
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
        let told = Told { now, dir: Dir::Orig, transport: Transport::Tcp, what: What::Reset };
        self.beside(meta, shared, told, &[]);
        for i in 0..self.slots.len() {
            self.call(i, meta, shared, now, |analyzer, cx| analyzer.reset(cx));
        }
    }

    /// One direction is complete.
    pub fn end(&mut self, meta: &Meta, shared: &mut Shared, now: i64, dir: Dir) {
        let told = Told { now, dir, transport: Transport::Tcp, what: What::End };
        self.beside(meta, shared, told, &[]);
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
        if self.is_expected {
            shared.expected[usize::from(meta.shard)].remove(meta.ends());
        }
    }

    fn start(&mut self, meta: &Meta, transport: Transport, partial: bool) {
        self.transport = Some(transport);
        if !self.is_expected {
            for kind in analyzer::on_port(transport, meta.resp_p()) {
                self.attach(kind, None);
            }
        }
        self.look_for(None, partial, meta.resp_p());
    }

    fn attach(&mut self, kind: &Kind, carrier: Option<usize>) {
        if self.slots.len() >= SLOTS_MAX {
            return;
        }
        let transport = self.transport.unwrap_or(Transport::Tcp);
        few::push(&mut self.slots, Slot::new(kind, carrier, transport));
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
        let Shared { config, out, files, inner: room, expected, .. } = shared;
        let ids = self.ids.get_or_insert_with(|| Arc::new(make_ids(meta, config.lanes)));
        let slot = &mut self.slots[at];
        let mut inner = std::mem::take(room);
        let mut cx = Cx {
            now,
            ids,
            out,
            files,
            node: &config.node,
            local_nets: &config.local_nets,
            signal: Signal::None,
            signal_at: 0,
            weirds: &mut self.weirds,
            confirmed: slot.confirmed,
            flip: false,
            gave_up: false,
            over: false,
            is_done: false,
            inner: &mut inner,
            seen: self.payload,
            incomplete: self.incomplete,
            pauses: false,
            expected: &mut expected[usize::from(meta.shard)],
            services: &mut self.services,
            http_log: &mut self.http_log,
            tls_established: self.tls_established,
            is_half: self.is_half,
        };
        f(slot.analyzer.as_mut(), &mut cx);
        self.wants_flip |= cx.flip;
        self.gave_up |= cx.gave_up && !slot.presumed;
        self.over |= cx.over;
        self.pauses |= cx.pauses;
        self.tls_established = cx.tls_established;
        let (signal, signal_at, is_done) = (cx.signal, cx.signal_at, cx.is_done);
        let (before, after) = inner.acts.split_at(signal_at.min(inner.acts.len()));
        self.carried(at, meta, shared, now, before, &inner.bytes);
        self.signalled(at, signal, is_done, now);
        self.carried(at, meta, shared, now, after, &inner.bytes);
        inner.clear();
        shared.inner = inner;
    }

    fn signalled(&mut self, at: usize, signal: Signal, is_done: bool, now: i64) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        slot.stopped |= is_done;
        match signal {
            Signal::None => {}
            Signal::Confirmed if slot.presumed => slot.confirmed = true,
            Signal::Confirmed => {
                slot.confirmed = true;
                self.services.add(slot.name, now);
            }
            // Another of its name may have been found meanwhile, inside of a third.
            Signal::Violated if slot.is_violated() => {}
            Signal::Violated => {
                slot.stopped = true;
                slot.violated_at = Some(now);
                let name = slot.name;
                // Of a half it stays if it is that inside of another, which a reply would confirm once more.
                let is_inside = |slot: &Slot| slot.name == name && slot.is_confirmed();
                if !self.is_half || !self.slots.iter().any(is_inside) {
                    self.services.remove(name);
                }
            }
        }
        if let Some(slot) = self.slots.get_mut(at).filter(|_| self.is_half) {
            slot.note_shown(now);
        }
    }

    /// Gives the analyzers inside another what that one has handed on.
    fn carried(
        &mut self,
        at: usize,
        meta: &Meta,
        shared: &mut Shared,
        now: i64,
        acts: &[Act],
        bytes: &[u8],
    ) {
        let carrier = Some(at);
        for act in acts {
            match act {
                Act::Attach(kind) => self.attach(kind, carrier),
                Act::Probe => self.look_for(carrier, false, meta.resp_p()),
                Act::Gap(dir, len) => self.gap_of(carrier, meta, shared, now, *dir, *len),
                Act::End(dir) => self.end_of(carrier, meta, shared, now, *dir),
                Act::Data(dir, range) => {
                    let data = bytes.get(range.clone()).unwrap_or_default();
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

    fn cx<'a>(&'a mut self, meta: &Meta, shared: &'a mut Shared, now: i64) -> Option<Cx<'a>> {
        Some(Cx {
            inner: &mut shared.inner,
            seen: self.payload,
            incomplete: self.incomplete,
            pauses: false,
            expected: &mut shared.expected[usize::from(meta.shard)],
            services: &mut self.services,
            http_log: &mut self.http_log,
            tls_established: self.tls_established,
            is_half: self.is_half,
            now,
            ids: self.ids.as_ref()?,
            out: &mut shared.out,
            files: &mut shared.files,
            node: &shared.config.node,
            local_nets: &shared.config.local_nets,
            signal: Signal::None,
            signal_at: 0,
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
        uid: id::flow_uid(&meta.key.tuple(), meta.first, meta.repeat()),
        community_id,
        tuple,
        lane,
        order: meta.order(),
        first: meta.first,
    }
}
