//! files: one row a file and flow that carried it (Zeek `base/frameworks/files`).

use crate::stream;

stream! {
    /// Files that were seen within protocols.
    "files", Flow, version 1;
    zeek {
        /// When the file was first seen.
        ts "ts": Time,
        /// Unique id of the file, the same in every run over the same capture.
        fuid "fuid": Str,
        /// Unique id of the flow that carried it.
        uid "uid": Option<Str>,
        /// Originator's address.
        orig_h "id.orig_h": Option<Addr>,
        /// Originator's port.
        orig_p "id.orig_p": Option<Port>,
        /// Responder's address.
        resp_h "id.resp_h": Option<Addr>,
        /// Responder's port.
        resp_p "id.resp_p": Option<Port>,
        /// Protocol that carried it, in upper case.
        source "source": Option<Str>,
        /// Depth within what carried it: the part of a mail.
        depth "depth": Count,
        /// What looked into it.
        analyzers "analyzers": Set<Str>,
        /// Type by its content.
        mime_type "mime_type": Option<Str>,
        /// Name that the protocol gave it.
        filename "filename": Option<Str>,
        /// From its first to its last byte.
        duration "duration": Interval,
        /// It came from a local network.
        local_orig "local_orig": Option<Bool>,
        /// The originator sent it.
        is_orig "is_orig": Option<Bool>,
        /// Bytes seen.
        seen_bytes "seen_bytes": Count,
        /// Bytes that it should have.
        total_bytes "total_bytes": Option<Count>,
        /// Bytes that were never seen.
        missing_bytes "missing_bytes": Count,
        /// Bytes that could not be put in order.
        overflow_bytes "overflow_bytes": Count,
        /// It ended because nothing more of it came.
        timedout "timedout": Bool,
        /// Id of the file that it is part of.
        parent_fuid "parent_fuid": Option<Str>,
        /// MD5 of its bytes, in lower-case hex; unset where some were missing.
        md5 "md5": Option<Str>,
        /// SHA-1 of its bytes.
        sha1 "sha1": Option<Str>,
        /// SHA-256 of its bytes.
        sha256 "sha256": Option<Str>,
        /// Name of the copy that was kept.
        extracted "extracted": Option<Str>,
        /// The copy is cut.
        extracted_cutoff "extracted_cutoff": Option<Bool>,
        /// Bytes of the copy.
        extracted_size "extracted_size": Option<Count>,
    }
    policy {}
    weir {
        /// Community ID v1 of the flow, which is also its key on the bus.
        community_id "community_id": Option<Str>,
    }
}
