//! A flow under test: an analyzer with what the engine would give it, and what it said.

use model::id::FiveTuple;

use super::{Analyzer, Cx, Dir, FlowIds, Inner, Kind, Signal, Transport};
use crate::out::Out;

/// Time of a flow's first packet, microseconds.
pub const START: i64 = 1_000_000_000_000_000;

/// An analyzer and what it works with.
pub struct Bench {
    /// The flow.
    pub ids: FlowIds,
    /// What was written.
    pub out: Out,
    /// Weirds of the flow.
    pub weirds: Vec<&'static str>,
    /// What was signalled, in order.
    pub signals: Vec<Signal>,
    /// The analyzer has confirmed.
    pub confirmed: bool,
    /// It is done, or the flow is not its protocol: it is fed no more.
    pub gone: bool,
    /// It gave up at a limit.
    pub gave_up: bool,
    /// It wants the flow to end.
    pub over: bool,
    /// What it handed on to analyzers inside of it.
    pub inner: Inner,
    /// Protocols that it confirmed inside of itself.
    pub services: Vec<&'static str>,
    /// Payload so far.
    pub flow_bytes: u64,
    /// The analyzer.
    pub analyzer: Box<dyn Analyzer>,
    /// Packet time.
    pub now: i64,
}

impl Bench {
    /// A flow between two hosts, to the first of the analyzer's ports.
    pub fn new(kind: &Kind, transport: Transport) -> Bench {
        let ports = if transport == Transport::Tcp { kind.tcp_ports } else { kind.udp_ports };
        let port = ports.first().copied().unwrap_or(9999);
        Bench::between(kind, transport, ("10.0.0.1", 40000), ("10.0.0.2", port))
    }

    /// A flow between two ends.
    pub fn between(
        kind: &Kind,
        transport: Transport,
        orig: (&str, u16),
        resp: (&str, u16),
    ) -> Bench {
        let tuple = FiveTuple {
            orig_h: orig.0.parse().expect("an address"),
            orig_p: orig.1,
            resp_h: resp.0.parse().expect("an address"),
            resp_p: resp.1,
            proto: if transport == Transport::Tcp { 6 } else { 17 },
        };
        let ids = FlowIds {
            uid: "Cuid".into(),
            community_id: "1:cid".into(),
            tuple,
            lane: 0,
            order: 0,
            first: START,
        };
        Bench {
            ids,
            out: Out::default(),
            weirds: Vec::new(),
            signals: Vec::new(),
            confirmed: false,
            gone: false,
            gave_up: false,
            over: false,
            inner: Inner::default(),
            services: Vec::new(),
            flow_bytes: 0,
            analyzer: (kind.new)(transport),
            now: START,
        }
    }

    /// Any call of the analyzer, even of one that is gone.
    pub fn call(&mut self, f: impl FnOnce(&mut dyn Analyzer, &mut Cx<'_>)) {
        let mut cx = Cx {
            now: self.now,
            ids: &self.ids,
            out: &mut self.out,
            node: "zeek",
            signal: Signal::None,
            weirds: &mut self.weirds,
            confirmed: self.confirmed,
            is_done: false,
            flip: false,
            gave_up: false,
            over: false,
            inner: &mut self.inner,
            services: &mut self.services,
            flow_bytes: self.flow_bytes,
        };
        f(self.analyzer.as_mut(), &mut cx);
        let (signal, flip) = (cx.signal, cx.flip);
        self.gone |= cx.is_done || signal == Signal::Violated;
        self.gave_up |= cx.gave_up;
        self.over |= cx.over;
        self.confirmed |= signal == Signal::Confirmed;
        if signal != Signal::None {
            self.signals.push(signal);
        }
        if flip {
            let tuple = &mut self.ids.tuple;
            std::mem::swap(&mut tuple.orig_h, &mut tuple.resp_h);
            std::mem::swap(&mut tuple.orig_p, &mut tuple.resp_p);
        }
    }

    /// Feeds, unless the analyzer is gone.
    pub fn feed(&mut self, dir: Dir, data: &[u8]) {
        self.flow_bytes += data.len() as u64;
        if !self.gone {
            self.call(|analyzer, cx| analyzer.feed(cx, dir, data));
        }
    }

    /// The flow is over.
    pub fn finish(&mut self) {
        self.call(|analyzer, cx| analyzer.finish(cx));
    }
}

/// A message cut at every byte, one that is nothing but noise, and one with every byte changed in
/// turn: an analyzer takes all of it without a panic.
pub fn endures(kind: &Kind, transport: Transport, messages: &[(Dir, &[u8])]) {
    for (at, (dir, message)) in messages.iter().enumerate() {
        for cut in 0..message.len() {
            let mut bench = Bench::new(kind, transport);
            for (dir, before) in &messages[..at] {
                bench.feed(*dir, before);
            }
            bench.feed(*dir, &message[..cut]);
            if transport == Transport::Tcp {
                bench.feed(*dir, &message[cut..]);
            }
            bench.finish();
            let mut bench = Bench::new(kind, transport);
            for (dir, before) in &messages[..at] {
                bench.feed(*dir, before);
            }
            let mut changed = message.to_vec();
            for byte in [0, 0xff, changed[cut] ^ 0x80, changed[cut].wrapping_add(1)] {
                changed[cut] = byte;
                bench.feed(*dir, &changed);
            }
            bench.finish();
        }
    }
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    for round in 0..200usize {
        let mut bench = Bench::new(kind, transport);
        for (dir, message) in messages.iter().take(round % (messages.len() + 1)) {
            bench.feed(*dir, message);
        }
        let mut noise = Vec::new();
        for _ in 0..round {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            noise.push((state >> 33) as u8);
        }
        bench.feed(if round % 2 == 0 { Dir::Orig } else { Dir::Resp }, &noise);
        bench.call(|analyzer, cx| analyzer.gap(cx, Dir::Orig, 10));
        bench.feed(Dir::Orig, &noise);
        bench.finish();
    }
}
