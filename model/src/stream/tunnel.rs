//! tunnel: one row a thing that happened to a tunnel (Zeek `base/frameworks/tunnels`).

use crate::stream;

stream! {
    /// Tunnels found, closed and fallen out of use.
    "tunnel", Flow, version 1;
    zeek {
        /// When it happened.
        ts "ts": Time,
        /// Unique id of the tunnel: that of the flow that carries it; unset for proxies, of which many flows
        /// are one tunnel.
        uid "uid": Option<Str>,
        /// Address of the end that was seen to send first.
        orig_h "id.orig_h": Addr,
        /// Its port; 0 where the tunnel has no ports, and for proxies.
        orig_p "id.orig_p": Port,
        /// Address of the other end.
        resp_h "id.resp_h": Addr,
        /// Its port; 0 where the tunnel has no ports.
        resp_p "id.resp_p": Port,
        /// What carries it.
        tunnel_type "tunnel_type": Enum,
        /// What happened: found, closed with its flow, or not used for an hour.
        action "action": Enum,
    }
    policy {}
    weir {
        /// Community ID v1 of the flow that carries it, where there is one.
        community_id "community_id": Option<Str>,
    }
}
