//! A flow under test: an analyzer with what the engine would give it, and what it said.

use std::sync::Arc;

use model::id::FiveTuple;

use super::repeats::Repeats;
use super::{Analyzer, Cx, Dir, FlowIds, Inner, Kind, Signal, Transport};
use crate::config::Config;
use crate::expected::Expected;
use crate::files::Files;
use crate::nets::Nets;
use crate::out::Out;
use crate::services::Services;

/// Time of a flow's first packet, microseconds.
pub const START: i64 = 1_000_000_000_000_000;

/// An analyzer and what it works with.
pub struct Bench {
    /// The flow.
    pub ids: Arc<FlowIds>,
    /// What was written.
    pub out: Out,
    /// Files that are open.
    pub files: Files,
    /// Weirds of the flow.
    pub weirds: Vec<&'static str>,
    /// The same as the analyzer has them.
    pub repeats: Repeats,
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
    pub services: Services,
    /// The analyzer.
    pub analyzer: Box<dyn Analyzer>,
    /// Packet time.
    pub now: i64,
    /// Bytes of the flow were not seen.
    pub incomplete: bool,
    /// What HTTP left to the one inside of it.
    pub http_log: Option<Box<super::http::Log>>,
    /// A TLS handshake is complete.
    pub tls_established: bool,
    /// One direction alone is seen.
    pub is_half: bool,
    /// Payload so far.
    pub seen: u64,
    /// Networks that are ours.
    pub local_nets: Nets,
    /// Flows that it waits for.
    pub expected: Expected,
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
        let ids = Arc::new(FlowIds {
            uid: "Cuid".into(),
            community_id: "1:cid".into(),
            tuple,
            lane: 0,
            order: 0,
            first: START,
        });
        let config = Arc::new(Config::new("zeek"));
        Bench {
            ids,
            out: Out::default(),
            files: Files::new(config),
            weirds: Vec::new(),
            repeats: Repeats::default(),
            signals: Vec::new(),
            confirmed: false,
            gone: false,
            gave_up: false,
            over: false,
            inner: Inner::default(),
            services: Services::default(),
            analyzer: (kind.new)(transport),
            now: START,
            incomplete: false,
            http_log: None,
            tls_established: false,
            is_half: false,
            seen: 0,
            local_nets: Nets::private(),
            expected: Expected::default(),
        }
    }

    /// Any call of the analyzer, even of one that is gone.
    pub fn call(&mut self, f: impl FnOnce(&mut dyn Analyzer, &mut Cx<'_>)) {
        let mut cx = Cx {
            now: self.now,
            ids: &self.ids,
            out: &mut self.out,
            files: &mut self.files,
            node: "zeek",
            local_nets: &self.local_nets,
            signal: Signal::None,
            signal_at: 0,
            weirds: &mut self.repeats,
            confirmed: self.confirmed,
            is_done: false,
            flip: false,
            gave_up: false,
            over: false,
            inner: &mut self.inner,
            seen: self.seen,
            incomplete: self.incomplete,
            pauses: false,
            expected: &mut self.expected,
            services: &mut self.services,
            http_log: &mut self.http_log,
            tls_established: self.tls_established,
            is_half: self.is_half,
        };
        f(self.analyzer.as_mut(), &mut cx);
        let names = cx.weirds.names();
        let (signal, flip) = (cx.signal, cx.flip);
        self.weirds = names;
        self.gone |= cx.is_done || signal == Signal::Violated;
        self.gave_up |= cx.gave_up;
        self.over |= cx.over;
        self.confirmed |= signal == Signal::Confirmed;
        if signal != Signal::None {
            self.signals.push(signal);
        }
        if flip {
            let tuple = &mut Arc::make_mut(&mut self.ids).tuple;
            std::mem::swap(&mut tuple.orig_h, &mut tuple.resp_h);
            std::mem::swap(&mut tuple.orig_p, &mut tuple.resp_p);
        }
    }

    /// Feeds, unless the analyzer is gone.
    pub fn feed(&mut self, dir: Dir, data: &[u8]) {
        self.seen += data.len() as u64;
        if !self.gone {
            self.call(|analyzer, cx| analyzer.feed(cx, dir, data));
        }
    }

    /// The flow is over.
    pub fn finish(&mut self) {
        self.call(|analyzer, cx| analyzer.finish(cx));
    }
}

/// An analyzer that was fed these lines of a conversation over TCP.
pub fn talk(kind: &Kind, lines: &[(Dir, &str)]) -> Bench {
    let mut bench = Bench::new(kind, Transport::Tcp);
    for (dir, line) in lines {
        bench.feed(*dir, line.as_bytes());
    }
    bench
}

/// A conversation that works, cut at every byte, with every byte changed, with gaps, and random bytes and
/// endless lines instead of it. The analyzer has only to live through it, in bounded room.
pub fn hostile(kind: &Kind, transport: Transport, talk: &[(Dir, &[u8])]) {
    let play = |talk: &mut dyn Iterator<Item = (Dir, Vec<u8>)>| {
        let mut bench = Bench::new(kind, transport);
        for (i, (dir, data)) in talk.enumerate() {
            bench.feed(dir, &data);
            if i % 7 == 5 && !bench.gone {
                bench.call(|analyzer, cx| analyzer.gap(cx, dir, 10));
            }
        }
        for dir in [Dir::Orig, Dir::Resp] {
            if !bench.gone {
                bench.call(|analyzer, cx| analyzer.end(cx, dir));
            }
        }
        bench.finish();
        assert!(bench.weirds.len() <= super::repeats::FLOW_WEIRDS_MAX);
    };
    let all: Vec<(Dir, u8)> =
        talk.iter().flat_map(|(dir, data)| data.iter().map(|byte| (*dir, *byte))).collect();
    // Byte by byte.
    play(&mut all.iter().map(|(dir, byte)| (*dir, vec![*byte])));
    for at in 0..all.len() {
        let whole = |skip: usize| talk.iter().skip(skip).map(|(dir, data)| (*dir, data.to_vec()));
        // Cut short, with what follows it on the wire.
        let mut left = at;
        play(&mut talk.iter().map(|(dir, data)| {
            let count = left.min(data.len());
            left -= count;
            (*dir, data.get(..count).unwrap_or_default().to_vec())
        }));
        // One byte changed.
        let mut place = at;
        let mut changed: Vec<(Dir, Vec<u8>)> = whole(0).collect();
        for (_, data) in &mut changed {
            if let Some(byte) = data.get_mut(place) {
                *byte ^= (at as u8).wrapping_mul(37) | 1;
                break;
            }
            place -= data.len();
        }
        play(&mut changed.into_iter());
        play(&mut whole(at % talk.len().max(1)));
    }
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for _ in 0..200 {
        let pieces: Vec<(Dir, Vec<u8>)> = (0..20)
            .map(|_| {
                let dir = if random() & 1 == 0 { Dir::Orig } else { Dir::Resp };
                (dir, (0..random() % 200).map(|_| random() as u8).collect())
            })
            .collect();
        play(&mut pieces.into_iter());
    }
    let endless = vec![b'x'; 300_000];
    play(&mut [(Dir::Orig, endless.clone()), (Dir::Resp, endless)].into_iter());
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
