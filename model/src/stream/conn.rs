//! conn: one row a flow (Zeek `base/protocols/conn`, `policy/protocols/conn/community-id-logging`).

use crate::stream;

stream! {
    /// TCP, UDP, ICMP and other flows, a row when each ends; for long ones more, if asked for.
    "conn", Flow, version 1;
    zeek {
        /// Time of the first packet.
        ts "ts": Time,
        /// Unique id of the flow, the same in every run over the same capture.
        uid "uid": Str,
        /// Originator's address.
        orig_h "id.orig_h": Addr,
        /// Originator's port; for ICMP the type.
        orig_p "id.orig_p": Port,
        /// Responder's address.
        resp_h "id.resp_h": Addr,
        /// Responder's port; for ICMP the counterpart type or the code.
        resp_p "id.resp_p": Port,
        /// Transport protocol: tcp, udp, icmp, unknown_transport.
        proto "proto": Enum,
        /// Application protocols confirmed by content, comma-joined.
        service "service": Option<Str>,
        /// Last packet that counted less the first; unset for flows of one packet.
        duration "duration": Option<Interval>,
        /// Payload bytes of the originator; for TCP by sequence numbers.
        orig_bytes "orig_bytes": Option<Count>,
        /// Payload bytes of the responder; for TCP by sequence numbers.
        resp_bytes "resp_bytes": Option<Count>,
        /// How the flow went, such as S0, SF, REJ.
        conn_state "conn_state": Option<Str>,
        /// Whether the originator is in the local networks.
        local_orig "local_orig": Option<Bool>,
        /// Whether the responder is in the local networks.
        local_resp "local_resp": Option<Bool>,
        /// Bytes in content gaps.
        missed_bytes "missed_bytes": Count,
        /// Events of the flow, a letter each, upper case for the originator.
        history "history": Option<Str>,
        /// Packets of the originator.
        orig_pkts "orig_pkts": Option<Count>,
        /// IP bytes of the originator, headers included.
        orig_ip_bytes "orig_ip_bytes": Option<Count>,
        /// Packets of the responder.
        resp_pkts "resp_pkts": Option<Count>,
        /// IP bytes of the responder, headers included.
        resp_ip_bytes "resp_ip_bytes": Option<Count>,
        /// Uids of the tunnels around the flow.
        tunnel_parents "tunnel_parents": Option<Set<Str>>,
        /// Protocol number of the IP header.
        ip_proto "ip_proto": Option<Count>,
    }
    policy {
        /// Community ID v1 of the flow, which is also its key on the bus.
        community_id "community_id": Str,
    }
    weir {
        /// Nodes that saw the flow.
        observers "observers": Set<Str>,
        /// Whether this is the flow's last row; false for those that tell, at the interval set, how a long
        /// flow stands (`[capture] interim`), with all that it did so far. Unset by older writers: true.
        is_final "final": Option<Bool>,
        /// Uids that the sensors gave the flow, where its row was made of what several of them saw: the rows
        /// of other logs have their sensor's.
        observer_uids "observer_uids": Option<Set<Str>>,
    }
}
