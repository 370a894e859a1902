//! A flow's row of conn.

use super::half;
use crate::analyzer::Dir;
use crate::app::{App, make_ids};
use crate::config::Joins;
use crate::flow::{Flow, Meta, Proto};
use crate::host::Shared;
use crate::tcp::Tcp;
use model::conn_state;
use model::id::ip_proto;
use model::stream::conn;

/// The row as the flow stands; `is_final` if it ends with it.
pub(super) fn write_conn(flow: &Flow, shared: &mut Shared, now: i64, is_final: bool) {
    let meta = &flow.meta;
    let config = shared.config.clone();
    let none;
    let app = match &flow.app {
        Some(app) => &**app,
        None => {
            none = App::default();
            &none
        }
    };
    let service = service(meta, app);
    let made;
    let ids = match app.known_ids() {
        Some(ids) => ids,
        None => {
            made = make_ids(meta, config.lanes);
            &made
        }
    };
    let opened;
    let tcp = match &flow.proto {
        Proto::Tcp(tcp) => Some(&**tcp),
        Proto::Syn(syn) => {
            opened = syn.open();
            Some(&opened)
        }
        Proto::Datagram(_) => None,
    };
    let (state, sizes) = match (&flow.proto, tcp) {
        (_, Some(tcp)) => tcp_summary(tcp, meta),
        (Proto::Datagram(sent), _) => {
            let sent = [Dir::Orig, Dir::Resp].map(|dir| sent.of(dir));
            let state = match meta.key.proto() {
                ip_proto::UDP => conn_state::udp(sent[0].is_some(), sent[1].is_some()),
                _ => conn_state::OTHER,
            };
            (state, sent.map(|bytes| bytes.unwrap_or(0)))
        }
        _ => (conn_state::OTHER, [0, 0]),
    };
    let duration = meta.last - meta.first;
    let lasted = duration > 0;
    let local = |ip| (!config.local_nets.is_empty()).then(|| config.local_nets.contains(ip));
    let tunnels: Vec<&str> = meta.around().iter().flat_map(|around| around.parents()).collect();
    let mark = shared.out.mark(now, ids.order, ids.lane);
    let row = conn::Row {
        ts: meta.first,
        uid: &ids.uid,
        orig_h: ids.tuple.orig_h,
        orig_p: ids.tuple.orig_p,
        resp_h: ids.tuple.resp_h,
        resp_p: ids.tuple.resp_p,
        proto: ids.tuple.proto_name(),
        service: service.as_deref(),
        duration: lasted.then_some(duration),
        orig_bytes: lasted.then_some(sizes[0]),
        resp_bytes: lasted.then_some(sizes[1]),
        conn_state: Some(state),
        local_orig: local(ids.tuple.orig_h),
        local_resp: local(ids.tuple.resp_h),
        missed_bytes: meta.missed_bytes(),
        history: (!meta.history.is_empty()).then(|| letters(&meta.history)),
        orig_pkts: Some(meta.packets[0]),
        orig_ip_bytes: Some(meta.ip_bytes[0]),
        resp_pkts: Some(meta.packets[1]),
        resp_ip_bytes: Some(meta.ip_bytes[1]),
        tunnel_parents: (!tunnels.is_empty()).then_some(&tunnels),
        ip_proto: Some(u64::from(ids.tuple.proto)),
        community_id: &ids.community_id,
        observers: &[&config.node],
        is_final: Some(is_final),
        observer_uids: None,
    };
    shared.out.conn.push(mark, row);
    if config.joins != Joins::Nothing {
        let tells = is_final && half::is_joinable(meta, &ids.tuple, config.joins);
        half::write(
            &mut shared.out,
            mark,
            (meta, app),
            tcp.filter(|_| tells),
            sizes,
            tells,
            config.joins,
        );
    }
}

/// Confirmed protocols: what the flow is a tunnel for, and what its payload is.
fn service(meta: &Meta, app: &App) -> Option<String> {
    let names: Vec<&str> = meta.carrier.services().collect();
    match (names.is_empty(), app.service()) {
        (true, service) => service,
        (false, None) => Some(names.join(",")),
        (false, Some(service)) => Some(format!("{},{service}", names.join(","))),
    }
}

fn tcp_summary(tcp: &Tcp, meta: &Meta) -> (&'static str, [u64; 2]) {
    let [orig, resp] = &tcp.ends;
    let sizes = [orig.size(resp.state), resp.size(orig.state)];
    let state = conn_state::tcp(conn_state::Tcp {
        orig: orig.state,
        resp: resp.state,
        has_payload: sizes != [0, 0],
        history: &meta.history,
    });
    (state, sizes)
}

/// History is ASCII by construction.
fn letters(history: &[u8]) -> &str {
    std::str::from_utf8(history).unwrap_or_default()
}
