//! Assets that a flow shows: hosts by its handshake, a service by what it was confirmed to be, and at the
//! latest by its end.

use crate::analyzer::Dir;
use crate::config::Config;
use crate::flow::{Flow, Meta, Proto};
use crate::host::Shared;
use crate::known::{By, ServicePort};
use model::conn_state::Endpoint as State;
use model::id::ip_proto;

use super::Engine;

impl Engine {
    /// A packet of a flow is through.
    pub(super) fn note_assets(&mut self, at: u32) {
        let Some(flow) = self.table.get(at) else { return };
        let assets = &flow.meta.assets;
        if assets.is_established || confirmations(flow) != assets.confirmed {
            note(flow, &mut self.shared, self.clock);
        }
    }
}

/// Whether the time of a flow's end is of interest: then its service is noted, if nothing was before.
pub(super) fn awaits_end(flow: &mut Flow, config: &Config) -> bool {
    !flow.meta.assets.is_done && is_local(&mut flow.meta, config) && is_answered(flow)
}

/// A flow is over.
pub(super) fn note_end(flow: &mut Flow, shared: &mut Shared, now: i64) {
    note(flow, shared, now);
    if !flow.meta.assets.is_done {
        let names = names(flow);
        note_service(flow, &names, shared, now);
    }
}

/// Protocols that were confirmed so far, whether or not they still are in `service`.
fn confirmations(flow: &Flow) -> u8 {
    let of_app = flow.app.as_ref().map_or(0, |app| app.services().confirmations());
    let all = of_app + flow.meta.carrier.services().count() as u32;
    u8::try_from(all).unwrap_or(u8::MAX)
}

fn names(flow: &Flow) -> Vec<&'static str> {
    let of_app = flow.app.iter().flat_map(|app| app.services().names());
    flow.meta.carrier.services().chain(of_app).collect()
}

fn note(flow: &mut Flow, shared: &mut Shared, now: i64) {
    if std::mem::take(&mut flow.meta.assets.is_established) {
        note_hosts(flow, shared, now);
    }
    let confirmed = confirmations(flow);
    let new = usize::from(confirmed.saturating_sub(flow.meta.assets.confirmed));
    flow.meta.assets.confirmed = confirmed;
    if new == 0 {
        return;
    }
    // Each was an event of its own, that knew of those before it.
    let names = names(flow);
    for known in (names.len() + 1).saturating_sub(new).max(1)..=names.len() {
        note_service(flow, names.get(..known).unwrap_or_default(), shared, now);
    }
}

fn note_hosts(flow: &Flow, shared: &mut Shared, now: i64) {
    let Proto::Tcp(tcp) = &flow.proto else { return };
    if tcp.ends.iter().any(|end| end.state != State::Established) {
        return;
    }
    let (by, ends) = (by(&flow.meta), flow.meta.tuple());
    for host in [ends.orig_h, ends.resp_h] {
        if shared.config.local_nets.contains(host) {
            shared.out.host_seen(by, host, now);
        }
    }
}

/// A service is noted when it was confirmed, or when the flow ends.
fn note_service(flow: &mut Flow, names: &[&'static str], shared: &mut Shared, now: i64) {
    // Of a transfer the control connection tells, and a DNS server is one that answers.
    let is_none = match names {
        ["ftp-data"] => true,
        ["dns"] => resp_size(flow) == 0,
        _ => false,
    };
    if is_none || !is_answered(flow) || !is_local(&mut flow.meta, &shared.config) {
        return;
    }
    flow.meta.assets.is_done = true;
    let (by, ends) = (by(&flow.meta), flow.meta.tuple());
    let port = ServicePort { host: ends.resp_h, port: ends.resp_p, proto: ends.proto_name() };
    if names.is_empty() {
        shared.out.unnamed_service_seen(by, port, now);
    } else {
        shared.out.service_seen(by, port, names, now);
    }
}

fn by(meta: &Meta) -> By {
    By { shard: meta.shard, order: meta.order() }
}

fn resp_size(flow: &Flow) -> u64 {
    match &flow.proto {
        Proto::Tcp(tcp) => {
            let [orig, resp] = &tcp.ends;
            resp.size(orig.state)
        }
        Proto::Syn(_) => 0,
        Proto::Datagram(sent) => sent.of(Dir::Resp).unwrap_or(0),
    }
}

/// Whether there is a server: it has done its part of a handshake, or sent a datagram.
fn is_answered(flow: &Flow) -> bool {
    match &flow.proto {
        Proto::Tcp(tcp) => {
            let state = tcp.ends[1].state;
            matches!(state, State::Established | State::Closed | State::Partial)
                || flow.meta.history.contains(&b'h')
        }
        Proto::Syn(_) => false,
        Proto::Datagram(sent) => {
            flow.meta.key.proto() == ip_proto::UDP && sent.of(Dir::Resp).is_some()
        }
    }
}

/// Whether the responder is local; asked once for each side that has been responder.
fn is_local(meta: &mut Meta, config: &Config) -> bool {
    if let Some(is_local) = meta.assets.is_local {
        return is_local;
    }
    let is_local = config.local_nets.contains(meta.tuple().resp_h);
    meta.assets.is_local = Some(is_local);
    is_local
}
