//! http: one row a request and its reply (Zeek `base/protocols/http`).

use crate::stream;

stream! {
    /// HTTP requests with their replies.
    "http", Flow, version 1;
    zeek {
        /// When the request was seen.
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
        /// Number of the request within the flow.
        trans_depth "trans_depth": Count,
        /// Verb of the request.
        method "method": Option<Str>,
        /// Host header.
        host "host": Option<Str>,
        /// Target of the request.
        uri "uri": Option<Str>,
        /// Referer header.
        referrer "referrer": Option<Str>,
        /// Version of the protocol.
        version "version": Option<Str>,
        /// User-Agent header.
        user_agent "user_agent": Option<Str>,
        /// Origin header.
        origin "origin": Option<Str>,
        /// Bytes of the request's body, decoded.
        request_body_len "request_body_len": Count,
        /// Bytes of the reply's body, decoded.
        response_body_len "response_body_len": Count,
        /// Status of the reply.
        status_code "status_code": Option<Count>,
        /// Reason phrase of the reply.
        status_msg "status_msg": Option<Str>,
        /// Last 1xx status.
        info_code "info_code": Option<Count>,
        /// Last 1xx reason phrase.
        info_msg "info_msg": Option<Str>,
        /// Attributes found by detectors.
        tags "tags": Set<Enum>,
        /// User of basic authentication.
        username "username": Option<Str>,
        /// Password of basic authentication, where recording it is on.
        password "password": Option<Str>,
        /// Headers that tell of a proxy.
        proxied "proxied": Option<Set<Str>>,
        /// Files the originator sent.
        orig_fuids "orig_fuids": Option<Vector<Str>>,
        /// Names of the files the originator sent.
        orig_filenames "orig_filenames": Option<Vector<Str>>,
        /// Types of the files the originator sent.
        orig_mime_types "orig_mime_types": Option<Vector<Str>>,
        /// Files the responder sent.
        resp_fuids "resp_fuids": Option<Vector<Str>>,
        /// Names of the files the responder sent.
        resp_filenames "resp_filenames": Option<Vector<Str>>,
        /// Types of the files the responder sent.
        resp_mime_types "resp_mime_types": Option<Vector<Str>>,
    }
    policy {}
    weir {
        /// Community ID v1 of the flow, which is also its key on the bus.
        community_id "community_id": Str,
    }
}
