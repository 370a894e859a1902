//! Protocol analyzers: one file each, the same shape, listed once in [`ALL`].
//!
//! An analyzer sees the payload of one flow: for TCP the ordered stream of each direction, for UDP one
//! call a datagram. It knows no packets, no bus, no clock but [`Cx::now`]. What it finds goes out
//! through [`Cx`]: rows, weirds, and the word that the flow is (or is not) its protocol.

use std::sync::Arc;

use std::sync::LazyLock;

use model::id::FiveTuple;
use model::stream::{Mark, weird};

use crate::expected::Expected;
use crate::files::Files;
use crate::known::{By, Cert, ServicePort};
use crate::nets::Nets;
use crate::out::Out;
use crate::services::Services;
use crate::tunnel::Proxy;
use crate::weirds;
use repeats::Repeats;

mod asn1;
pub mod dce_rpc;
pub mod dhcp;
pub mod dnp3;
pub mod dns;
pub mod ftp;
mod gssapi;
pub mod http;
pub mod imap;
pub mod irc;
pub mod irc_dcc;
pub mod krb;
pub mod lines;
pub mod mail;
pub mod modbus;
pub mod mqtt;
pub mod mysql;
mod ntlm;
pub mod ntp;
pub mod peers;
pub mod pop3;
pub mod radius;
pub mod rdp;
pub mod rdpeudp;
pub mod repeats;
pub mod rfb;
pub mod sip;
pub mod smb;
pub mod smtp;
pub mod snmp;
pub mod socks;
pub mod ssh;
pub mod ssl;
#[cfg(any(test, feature = "fuzz"))]
pub mod testing;
pub mod text;
mod units;
pub mod websocket;
mod wire;
pub mod xmpp;

/// Every analyzer, in the order in which they are asked. Adding one is a file and a line here.
#[rustfmt::skip]
pub static ALL: &[&Kind] = &[
    &dce_rpc::KIND,
    &dhcp::KIND,
    &dnp3::TCP_KIND,
    &dnp3::UDP_KIND,
    &dns::KIND,
    &ftp::KIND,
    &http::KIND,
    &imap::KIND,
    &irc::KIND,
    &krb::KIND,
    &krb::TCP_KIND,
    &modbus::KIND,
    &mqtt::KIND,
    &mysql::KIND,
    &ntp::KIND,
    &pop3::KIND,
    &radius::KIND,
    &rdp::KIND,
    &rdpeudp::KIND,
    &rfb::KIND,
    &sip::KIND,
    &smb::KIND,
    &smtp::KIND,
    &snmp::KIND,
    &socks::KIND,
    &ssh::KIND,
    &ssl::KIND,
    &ssl::DTLS_KIND,
    &xmpp::KIND,
];

/// Those of [`ALL`] on each port of TCP and of UDP, in order of ports.
static BY_PORT: LazyLock<[Vec<(u16, &'static Kind)>; 2]> = LazyLock::new(|| {
    let sorted = |ports: fn(&Kind) -> &'static [u16]| {
        let of_kind =
            |kind: &&'static Kind| ports(kind).iter().map(|port| (*port, *kind)).collect();
        let mut all: Vec<_> = ALL.iter().flat_map(|kind| -> Vec<_> { of_kind(kind) }).collect();
        // Stable: several kinds of one port stay in their order.
        all.sort_by_key(|(port, _)| *port);
        all
    };
    [sorted(|kind| kind.tcp_ports), sorted(|kind| kind.udp_ports)]
});

/// Those of [`ALL`] that are attached on a responder's port.
pub fn on_port(transport: Transport, port: u16) -> impl Iterator<Item = &'static Kind> {
    let [tcp, udp] = &*BY_PORT;
    let all = if transport == Transport::Tcp { tcp } else { udp };
    let first = all.partition_point(|(at, _)| *at < port);
    all[first..].iter().take_while(move |(at, _)| *at == port).map(|(_, kind)| *kind)
}

/// Those of [`ALL`] that are found by content, a bit each.
pub fn probed() -> u64 {
    let bits = ALL.iter().enumerate().filter(|(_, kind)| kind.probe.is_some());
    bits.fold(0, |open, (i, _)| open | 1 << i)
}

/// Transport that carries a flow's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// An ordered stream each way.
    Tcp,
    /// Datagrams.
    Udp,
}

/// Which end sent something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dir {
    /// The originator.
    Orig,
    /// The responder.
    Resp,
}

impl Dir {
    /// 0 for the originator, 1 for the responder: for pairs of state.
    pub fn index(self) -> usize {
        match self {
            Dir::Orig => 0,
            Dir::Resp => 1,
        }
    }

    /// The other end.
    pub fn other(self) -> Dir {
        match self {
            Dir::Orig => Dir::Resp,
            Dir::Resp => Dir::Orig,
        }
    }
}

/// The beginning of a flow's payload, for [`Kind::probe`].
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// Transport.
    pub transport: Transport,
    /// First bytes of each direction, by [`Dir::index`], at most [`PROBE_BYTES_MAX`]; for UDP the
    /// datagram at hand alone.
    pub bytes: [&'a [u8]; 2],
    /// The responder's port.
    pub resp_p: u16,
}

/// Bytes of each direction that are kept to tell the protocol (Zeek's `dpd_buffer_size`).
pub const PROBE_BYTES_MAX: usize = 1024;

/// What a probe says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// This analyzer wants the flow.
    Yes,
    /// It never will.
    No,
    /// More bytes are needed to tell.
    More,
}

/// One entry of [`ALL`].
pub struct Kind {
    /// Name in `service`, lower case, such as `http`.
    pub name: &'static str,
    /// TCP ports on which it is attached from the first byte, as Zeek registers them.
    pub tcp_ports: &'static [u16],
    /// The same for UDP.
    pub udp_ports: &'static [u16],
    /// Tells by content whether the flow is for it, whatever its port; none for a protocol that is met
    /// on its ports or inside of another only.
    pub probe: Option<fn(&Start<'_>) -> Verdict>,
    /// It is told nothing of a TCP flow whose beginning was not seen (Zeek's `IsPartial`).
    pub skips_partial: bool,
    /// A new analyzer for one flow.
    pub new: fn(Transport) -> Box<dyn Analyzer>,
}

/// An analyzer at work on one flow.
pub trait Analyzer: Send {
    /// Payload of one direction: the next bytes of a stream, or one datagram.
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]);
    /// So many bytes of the stream were never seen.
    fn gap(&mut self, cx: &mut Cx<'_>, dir: Dir, len: u64);
    /// This end sends no more (FIN, in order).
    fn end(&mut self, cx: &mut Cx<'_>, dir: Dir);
    /// Payload of a flow whose beginning was not seen, for a kind that has [`Kind::skips_partial`].
    fn feed_partial(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        let _ = (cx, dir, data);
    }
    /// Of a half: this direction has done its part, and confirms if the other, which another sensor may have seen,
    /// does its own.
    fn shows(&self, dir: Dir) -> bool {
        let _ = dir;
        false
    }
    /// A packet with RST was seen; called before it changes the state of an end.
    fn reset(&mut self, cx: &mut Cx<'_>) {
        let _ = cx;
    }
    /// The flow is over: write what is still open. Called once.
    fn finish(&mut self, cx: &mut Cx<'_>);
    /// Moment by which [`Analyzer::expire`] wants to be called, packet time in microseconds.
    fn deadline(&self) -> Option<i64> {
        None
    }
    /// The deadline has passed; `cx.now` is the time of the first packet of the capture after it.
    fn expire(&mut self, cx: &mut Cx<'_>) {
        let _ = cx;
    }
}

/// Who a flow is, as every row of it says.
#[derive(Debug, Clone)]
pub struct FlowIds {
    /// Zeek's unique id.
    pub uid: String,
    /// Community ID, also the key on the bus.
    pub community_id: String,
    /// Ends and protocol, in the direction of the flow.
    pub tuple: FiveTuple,
    /// Lane of the Community ID.
    pub lane: u32,
    /// Virtual shard and number in it, for the order of rows.
    pub order: u64,
    /// Time of the flow's first packet, microseconds.
    pub first: i64,
}

impl FlowIds {
    /// The virtual shard, the upper part of [`FlowIds::order`].
    pub fn shard(&self) -> u8 {
        (self.order >> 56) as u8
    }
}

/// What an analyzer says of the flow after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Signal {
    /// Nothing new.
    #[default]
    None,
    /// The flow is this protocol: it goes into `service`.
    Confirmed,
    /// The flow is not (or no longer) this protocol: the analyzer is removed.
    Violated,
}

/// What an analyzer hands on to analyzers inside of it.
pub enum Act {
    /// It carries this protocol.
    Attach(&'static Kind),
    /// It carries one that its content tells.
    Probe,
    /// Payload, a range of [`Inner::bytes`].
    Data(Dir, std::ops::Range<usize>),
    /// Bytes that were never seen.
    Gap(Dir, u64),
    /// An end sends no more.
    End(Dir),
}

/// Payload that one call of an analyzer has found to be another protocol's.
#[derive(Default)]
pub struct Inner {
    /// In the order of the stream.
    pub acts: Vec<Act>,
    /// The payload.
    pub bytes: Vec<u8>,
}

impl Inner {
    /// Forgets what was handed on; its memory is kept.
    pub fn clear(&mut self) {
        self.acts.clear();
        self.bytes.clear();
    }
}

/// Payload after which an analyzer's [`Cx::violation`] no longer takes it away (Zeek's
/// `DPD::ignore_violations_after`).
pub const VIOLATION_BYTES_MAX: u64 = 10 * 1024;

/// What an analyzer works with during a call.
pub struct Cx<'a> {
    /// Packet time, microseconds: the latest seen, so that it never goes back.
    pub now: i64,
    /// The flow.
    pub ids: &'a Arc<FlowIds>,
    /// Where rows go.
    pub out: &'a mut Out,
    /// Files that are open; see [`crate::files`].
    pub files: &'a mut Files,
    /// This node's name, for `peer` columns.
    pub node: &'a str,
    /// Networks that are ours.
    pub local_nets: &'a Nets,
    /// What the call has said so far.
    pub signal: Signal,
    /// What had been handed on when it said so, in acts: `service` has protocols in the order in which they
    /// were confirmed.
    pub signal_at: usize,
    /// Weirds that the flow raised already: each name once a flow.
    pub weirds: &'a mut Repeats,
    /// Whether the analyzer has confirmed already.
    pub confirmed: bool,
    /// The analyzer is done with the flow, which stays its protocol (encrypted from here on, say).
    pub is_done: bool,
    /// The analyzer sets this when the roles are the wrong way round: they change sides after the call.
    pub flip: bool,
    /// The analyzer sets this when a limit made it give up: history gets an `X`.
    pub gave_up: bool,
    /// The analyzer sets this in [`Analyzer::expire`] when the flow is to end there.
    pub over: bool,
    /// What is handed on to analyzers inside this one.
    pub inner: &'a mut Inner,
    /// Payload of the flow so far, both directions, with what is at hand and what was never seen.
    pub seen: u64,
    /// The flow's beginning or any of its bytes was not seen.
    pub incomplete: bool,
    /// The analyzer sets this when users of its protocol may pause for long (`conn/inactivity.zeek`).
    pub pauses: bool,
    /// Flows that the analyzer knows are to come.
    pub expected: &'a mut Expected,
    /// The flow's protocols.
    pub services: &'a mut Services,
    /// HTTP's transactions that are not written, while HTTP carries another protocol. All HTTP of a flow counts on,
    /// as in Zeek, where this state belongs to the connection.
    pub http_log: &'a mut Option<Box<http::Log>>,
    /// A TLS handshake in the flow is complete; its analyzer sets this.
    pub tls_established: bool,
    /// One direction is judged for itself, as another sensor may see the other: what does not fit for want of that is
    /// no violation. What is written then is nobody's.
    pub is_half: bool,
}

impl Cx<'_> {
    /// The place of the row about to be written.
    pub fn mark(&mut self) -> Mark {
        self.out.mark(self.now, self.ids.order, self.ids.lane)
    }

    /// The flow is this protocol.
    pub fn confirm(&mut self) {
        if !self.confirmed && self.signal == Signal::None {
            self.signal = Signal::Confirmed;
            self.signal_at = self.inner.acts.len();
        }
    }

    /// Whether the flow is known to be this protocol, by this call or an earlier one.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed || self.signal == Signal::Confirmed
    }

    /// The flow is not this protocol.
    pub fn violate(&mut self) {
        self.signal = Signal::Violated;
        self.signal_at = self.inner.acts.len();
    }

    /// What was met is not this protocol. It counts only early in a flow of which everything was seen, as
    /// later on and behind a gap nobody can be sure (`TCP.cc`, `base/frameworks/analyzer/dpd.zeek`).
    pub fn violation(&mut self) {
        if !self.incomplete && self.seen <= VIOLATION_BYTES_MAX {
            self.violate();
        }
    }

    /// The flow asks its responder to be its proxy, for `tunnel` (Zeek's `Tunnel::register` in the scripts of
    /// SOCKS and HTTP). Call it at every request; the first of a client makes a row.
    pub fn proxy(&mut self, proxy: Proxy) {
        let shard = self.ids.shard();
        self.out.proxy_used(shard, &self.ids.tuple, proxy, self.now);
    }

    /// The flow is also this protocol, which has no analyzer of its own in the flow.
    pub fn confirm_inside(&mut self, name: &'static str) {
        self.services.add(name, self.now);
    }

    /// The flow is also called this in `service`, by a rule and not by an analyzer (`add c$service` in a script).
    pub fn name_service(&mut self, name: &'static str) {
        self.services.name(name, self.now);
    }

    /// The flow is not that protocol; as for [`Cx::violation`].
    pub fn violation_inside(&mut self, name: &'static str) {
        if !self.incomplete && self.seen <= VIOLATION_BYTES_MAX {
            self.services.remove(name);
        }
    }

    /// Whether the responder is one of our hosts.
    pub fn is_server_local(&self) -> bool {
        self.local_nets.contains(self.ids.tuple.resp_h)
    }

    /// A local server showed a certificate in a handshake that was completed: it is a known asset
    /// (`policy/protocols/ssl/known-certs`).
    pub fn certificate_shown(&mut self, cert: Cert<'_>) {
        let FiveTuple { resp_h: host, resp_p: port, .. } = self.ids.tuple;
        let proto = self.ids.tuple.proto_name();
        let by = By { shard: self.ids.shard(), order: self.ids.order };
        self.out.cert_seen(by, ServicePort { host, port, proto }, cert, self.now);
    }

    /// Nothing further of the flow is wanted.
    pub fn done(&mut self) {
        self.is_done = true;
    }

    /// From here on this analyzer carries another protocol, which is known. What is handed on with
    /// [`Cx::hand_on`] goes to it; the analyzer that carries stays at work (do not call [`Cx::done`]).
    pub fn carry(&mut self, kind: &'static Kind) {
        self.inner.acts.push(Act::Attach(kind));
    }

    /// The same where the protocol inside is to be told by its content.
    pub fn carry_any(&mut self) {
        self.inner.acts.push(Act::Probe);
    }

    /// Payload of the protocol inside: the next bytes of its stream, or one datagram.
    pub fn hand_on(&mut self, dir: Dir, data: &[u8]) {
        let from = self.inner.bytes.len();
        self.inner.bytes.extend_from_slice(data);
        self.inner.acts.push(Act::Data(dir, from..from + data.len()));
    }

    /// So many bytes of the stream inside were never seen.
    pub fn hand_on_gap(&mut self, dir: Dir, len: u64) {
        self.inner.acts.push(Act::Gap(dir, len));
    }

    /// This end of the stream inside sends no more.
    pub fn hand_on_end(&mut self, dir: Dir) {
        self.inner.acts.push(Act::End(dir));
    }

    /// Writes a weird row for the flow, as far as [`Repeats`] lets it.
    pub fn weird(&mut self, name: &'static str, addl: Option<&str>, source: Option<&str>) {
        if !self.weirds.permit(name, self.now) {
            self.out.weirds_held += 1;
            return;
        }
        if weirds::action(name) == weirds::Action::Ignore {
            return;
        }
        let (mark, node) = (self.mark(), self.node);
        self.out.flow_weird(mark, self.ids, node, name, addl, source);
    }

    /// Writes a weird row without the flow, where Zeek's analyzer does not say whose it is.
    pub fn weird_of_nobody(
        &mut self,
        name: &'static str,
        addl: Option<&str>,
        source: Option<&str>,
    ) {
        if !self.weirds.permit(name, self.now) {
            self.out.weirds_held += 1;
            return;
        }
        let mark = self.mark();
        let row =
            weird::Row { ts: self.now, name, addl, peer: self.node, source, ..weird::Row::unset() };
        self.out.weird.push(mark, row);
    }
}
