//! failed_auth: logins that a server rejected and that no log has a row of, for detectors. It is not logged.

use crate::stream;

stream! {
    /// Logins that were rejected.
    "failed_auth", Flow, version 1;
    zeek {
        /// When the server rejected it.
        ts "ts": Time,
        /// Unique id of the flow.
        uid "uid": Str,
        /// Originator's address: who tried.
        orig_h "id.orig_h": Addr,
        /// Originator's port.
        orig_p "id.orig_p": Port,
        /// Responder's address: where.
        resp_h "id.resp_h": Addr,
        /// Responder's port.
        resp_p "id.resp_p": Port,
        /// The protocol, as `service` in conn has it.
        service "service": Enum,
    }
    policy {}
    weir {
        /// Community ID v1 of the flow, which is also its key on the bus.
        community_id "community_id": Str,
    }
}
