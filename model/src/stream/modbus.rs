//! modbus: one row a message (Zeek `base/protocols/modbus`).

use crate::stream;

stream! {
    /// Modbus requests and responses.
    "modbus", Flow, version 1;
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
        /// Identifier of the transaction.
        tid "tid": Count,
        /// The terminal unit that is spoken to.
        unit "unit": Count,
        /// The function.
        func "func": Str,
        /// `REQ` from the originator, else `RESP`.
        pdu_type "pdu_type": Str,
        /// Why the function failed.
        exception "exception": Option<Str>,
    }
    policy {}
    weir {
        /// Community ID v1 of the flow, which is also its key on the bus.
        community_id "community_id": Str,
    }
}
