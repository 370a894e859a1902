//! dns: one row a query and its answers (Zeek `base/protocols/dns`).

use crate::stream;

stream! {
    /// DNS queries with their answers.
    "dns", Flow, version 1;
    zeek {
        /// When the query was sent; the answer, if no query was seen.
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
        /// Transport protocol.
        proto "proto": Enum,
        /// Identifier of the transaction.
        trans_id "trans_id": Option<Count>,
        /// From the query to the answer.
        rtt "rtt": Option<Interval>,
        /// Name that was asked for, lower case.
        query "query": Option<Str>,
        /// Class of the question, as a number.
        qclass "qclass": Option<Count>,
        /// Class of the question.
        qclass_name "qclass_name": Option<Str>,
        /// Type of the question, as a number.
        qtype "qtype": Option<Count>,
        /// Type of the question.
        qtype_name "qtype_name": Option<Str>,
        /// Response code, as a number.
        rcode "rcode": Option<Count>,
        /// Response code.
        rcode_name "rcode_name": Option<Str>,
        /// The answering server is an authority for the name.
        aa "AA": Bool,
        /// The message was cut.
        tc "TC": Bool,
        /// The client asked for recursion.
        rd "RD": Bool,
        /// The server offers recursion.
        ra "RA": Bool,
        /// The reserved field of the header.
        z "Z": Count,
        /// Resource records of the answer section.
        answers "answers": Option<Vector<Str>>,
        /// How long each answer may be cached.
        ttls "TTLs": Option<Vector<Interval>>,
        /// The server refused the query.
        rejected "rejected": Bool,
        /// Operation, as a number.
        opcode "opcode": Option<Count>,
        /// Operation.
        opcode_name "opcode_name": Option<Str>,
    }
    policy {}
    weir {
        /// Community ID v1 of the flow, which is also its key on the bus.
        community_id "community_id": Str,
    }
}
