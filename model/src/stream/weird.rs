//! weird: one row a surprise in the protocol (Zeek `base/frameworks/notice/weird`).

use crate::stream;

stream! {
    /// Odd or broken traffic.
    "weird", Flow, version 1;
    zeek {
        /// When it was seen.
        ts "ts": Time,
        /// Unique id of the flow, where there is one.
        uid "uid": Option<Str>,
        /// Originator's address.
        orig_h "id.orig_h": Option<Addr>,
        /// Originator's port.
        orig_p "id.orig_p": Option<Port>,
        /// Responder's address.
        resp_h "id.resp_h": Option<Addr>,
        /// Responder's port.
        resp_p "id.resp_p": Option<Port>,
        /// Which oddity.
        name "name": Str,
        /// More on it.
        addl "addl": Option<Str>,
        /// It also raised a notice.
        notice "notice": Bool,
        /// Node that saw it.
        peer "peer": Str,
        /// Analyzer that saw it.
        source "source": Option<Str>,
    }
    policy {}
    weir {
        /// Community ID v1 of the flow, where there is one.
        community_id "community_id": Option<Str>,
    }
}
