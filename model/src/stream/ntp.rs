//! ntp: one row a message that synchronises time (Zeek `base/protocols/ntp`).

use crate::stream;

stream! {
    /// NTP messages of clients, servers and peers.
    "ntp", Flow, version 1;
    zeek {
        /// When the message was sent.
        ts "ts": Time,
        /// Unique id of the flow, the same in every run over the same capture.
        uid "uid": Str,
        /// Originator's address.
        orig_h "id.orig_h": Addr,
        /// Originator's port.
        orig_p "id.orig_p": Port,
        /// Responder's address.
        resp_h "id.resp_h": Addr,
        /// Responder's port.
        resp_p "id.resp_p": Port,
        /// Version of the protocol.
        version "version": Count,
        /// Mode: 1 and 2 peers, 3 client, 4 server, 5 broadcast.
        mode "mode": Count,
        /// Distance from the reference clock; 0 unknown, 1 beside it.
        stratum "stratum": Option<Count>,
        /// Longest time between messages.
        poll "poll": Option<Interval>,
        /// Precision of the clock.
        precision "precision": Option<Interval>,
        /// Round trip to the reference clock.
        root_delay "root_delay": Option<Interval>,
        /// Greatest error relative to the reference clock.
        root_disp "root_disp": Option<Interval>,
        /// A code (stratum 0), the reference clock (1), or the server's server as an address.
        ref_id "ref_id": Option<Str>,
        /// When the clock was last set.
        ref_time "ref_time": Option<Time>,
        /// When the request left the client.
        org_time "org_time": Option<Time>,
        /// When the request reached the server.
        rec_time "rec_time": Option<Time>,
        /// When this message was sent, by its sender's clock.
        xmt_time "xmt_time": Option<Time>,
        /// Extension fields.
        num_exts "num_exts": Count,
    }
    policy {}
    weir {
        /// Community ID v1 of the flow, which is also its key on the bus.
        community_id "community_id": Str,
    }
}
