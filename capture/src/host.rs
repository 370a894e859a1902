//! What a protocol works with while it handles one packet of one flow.

use std::sync::Arc;

use crate::analyzer::{Dir, Inner, Transport};
use crate::app::{App, Shelves};
use crate::config::{Config, SHARDS, timeout};
use crate::expected::{Expected, What};
use crate::files::Files;
use crate::flow::{Meta, Patience, seen};
use crate::out::Out;
use crate::ports::Ports;

/// What all flows of a thread share.
pub struct Shared {
    /// Settings.
    pub config: Arc<Config>,
    /// Rows.
    pub out: Out,
    /// Files that are open.
    pub files: Files,
    /// Ports of servers.
    pub ports: Ports,
    /// Room for what analyzers hand on to those inside of them.
    pub inner: Inner,
    /// Flows that are to come, by virtual shard.
    pub expected: [Expected; SHARDS as usize],
    /// What is kept of flows that may be answered yet.
    pub shelves: Shelves,
    /// The same for those who judge halves, whose rows are nobody's; where there are any.
    aside: Option<Box<Shared>>,
}

/// Rows that nobody wants before they are thrown away.
const ASIDE_ROWS_MAX: u64 = 16;

impl Shared {
    /// Nothing yet.
    pub fn new(config: Arc<Config>) -> Shared {
        Shared {
            out: Out::new(config.lanes),
            files: Files::new(config.clone()),
            ports: Ports::default(),
            inner: Inner::default(),
            expected: std::array::from_fn(|_| Expected::default()),
            shelves: Shelves::default(),
            aside: None,
            config,
        }
    }

    /// What those work with who judge halves: what they write is nobody's, and no file begins.
    pub fn aside(&mut self) -> &mut Shared {
        let config = &self.config;
        let aside = self.aside.get_or_insert_with(|| {
            let files = Files::none(config.clone());
            Box::new(Shared { files, ..Shared::new(config.clone()) })
        });
        if aside.out.rows() > ASIDE_ROWS_MAX {
            aside.out = Out::new(config.lanes);
        }
        aside
    }

    /// As what a half announced this flow, if one did, either way round: its beginning another sensor may have seen.
    pub fn is_expected_of_half(&self, meta: &Meta, with_syn: bool, now: i64) -> Option<What> {
        let expected = self.aside.as_ref()?.expected.get(usize::from(meta.shard))?;
        let tuple = meta.tuple();
        let turned = || expected.has((tuple.resp_h, tuple.orig_h, tuple.orig_p), now);
        expected.has(meta.ends(), now).or_else(|| if with_syn { None } else { turned() })
    }
}

/// TCP services whose users pause for long (`conn/inactivity.zeek`).
const INTERACTIVE_PORTS: [u16; 4] = [21, 22, 23, 513];

/// One flow and one moment.
pub struct Host<'a> {
    /// This packet's time, microseconds.
    pub now: i64,
    /// The latest packet time: what is logged of an event, as captures are not always in order.
    pub clock: i64,
    /// The flow's beginning was not seen.
    pub partial: bool,
    /// What all flows have.
    pub meta: &'a mut Meta,
    /// Its application side.
    pub app: &'a mut Option<Box<App>>,
    /// What the thread shares.
    pub shared: &'a mut Shared,
    /// What carries its payload.
    pub transport: Transport,
}

impl<'a> Host<'a> {
    /// One packet of one flow; `times` are the packet's own and the latest.
    pub fn new(
        times: (i64, i64),
        transport: Transport,
        meta: &'a mut Meta,
        app: &'a mut Option<Box<App>>,
        shared: &'a mut Shared,
    ) -> Host<'a> {
        let (now, clock) = times;
        Host { now, clock, partial: false, meta, app, shared, transport }
    }

    fn app(&mut self) -> &mut App {
        self.app.get_or_insert_default()
    }

    /// A weird that the TCP analyzer raises.
    pub fn weird(&mut self, name: &'static str) {
        self.weird_with(name, None, Some("TCP"));
    }

    /// A weird that Zeek's core raises without saying who.
    pub fn core_weird(&mut self, name: &'static str) {
        self.weird_with(name, None, None);
    }

    /// A weird about the flow with more on it.
    pub fn weird_with(&mut self, name: &'static str, addl: Option<&str>, source: Option<&str>) {
        let app = self.app.get_or_insert_default();
        app.weird(self.meta, self.shared, self.clock, name, addl, source);
    }

    /// Whether the flow has raised any weird.
    pub fn did_weird(&self) -> bool {
        self.app.as_ref().is_some_and(|app| app.did_weird())
    }

    /// Whether payload is of use to anybody.
    pub fn wants_payload(&self) -> bool {
        self.app.as_ref().is_none_or(|app| app.wants_payload())
    }

    /// How many bytes of payload may be kept above holes: none where nobody wants them.
    pub fn kept_max(&self) -> u64 {
        if self.wants_payload() { self.shared.config.reassembly_flow_max } else { 0 }
    }

    /// Payload of one direction.
    pub fn data(&mut self, dir: Dir, data: &[u8]) {
        // A datagram without payload is one all the same: Zeek's analyzers see it.
        let nothing = data.is_empty() && self.transport == Transport::Tcp;
        if nothing || !self.wants_payload() {
            return;
        }
        let (meta, transport, now) = (&*self.meta, self.transport, self.clock);
        let app = self.app.get_or_insert_default();
        app.data(meta, transport, self.shared, now, dir, data, self.partial);
        let gave_up = app.gave_up;
        if std::mem::take(&mut app.pauses) {
            self.meta.wait(Patience::of(timeout::INTERACTIVE));
        }
        if std::mem::take(&mut app.wants_flip) {
            self.flip();
        }
        if gave_up {
            self.meta.letter_once(Dir::Orig, seen::GAVE_UP, b'X');
        }
        self.tell_half();
    }

    /// What a half's analyzers gave up at is told with its letters.
    fn tell_half(&mut self) {
        let gave_up = self.app.as_ref().is_some_and(|app| app.gave_up_half());
        if let Some(trace) = self.meta.trace_mut().filter(|_| gave_up) {
            trace.gave_up();
        }
    }

    /// Bytes that were never seen.
    pub fn gap(&mut self, dir: Dir, len: u64) {
        let app = self.app.get_or_insert_default();
        app.gap(self.meta, self.shared, self.clock, dir, len);
    }

    /// A packet with RST was seen.
    pub fn reset(&mut self) {
        if let Some(app) = self.app {
            app.reset(self.meta, self.shared, self.clock);
        }
    }

    /// One direction is complete.
    pub fn end(&mut self, dir: Dir) {
        if let Some(app) = self.app {
            app.end(self.meta, self.shared, self.clock, dir);
        }
    }

    /// The roles change sides.
    pub fn flip(&mut self) {
        self.meta.flip();
        self.app().flip();
    }

    /// A TCP handshake is complete; `orig_unseen` says that only its answer was seen.
    pub fn established(&mut self, orig_unseen: bool) {
        self.meta.assets.is_established = true;
        let tuple = self.meta.tuple();
        let ports = &self.shared.ports;
        let half = orig_unseen && !ports.tcp(tuple.resp_p) && ports.tcp(tuple.orig_p);
        let port = if half { tuple.orig_p } else { tuple.resp_p };
        self.pause_if_interactive(port);
    }

    /// Users of some services pause for long.
    pub fn pause_if_interactive(&mut self, port: u16) {
        if INTERACTIVE_PORTS.contains(&port) {
            self.meta.wait(Patience::of(timeout::INTERACTIVE));
        }
    }
}
