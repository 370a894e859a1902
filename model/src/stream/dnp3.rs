//! dnp3: one row a response with its request (Zeek `base/protocols/dnp3`).

use crate::stream;

stream! {
    /// DNP3 requests and responses.
    "dnp3", Flow, version 1;
    zeek {
        /// When the response was sent; the request, if there was none.
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
        /// Function of the last request.
        fc_request "fc_request": Option<Str>,
        /// Function of the response.
        fc_reply "fc_reply": Option<Str>,
        /// The response's internal indications.
        iin "iin": Option<Count>,
    }
    policy {}
    weir {
        /// Community ID v1 of the flow, which is also its key on the bus.
        community_id "community_id": Str,
    }
}
