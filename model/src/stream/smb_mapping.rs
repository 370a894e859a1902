//! smb_mapping: shares that were mapped (Zeek `base/protocols/smb`).

use crate::stream;

stream! {
    /// SMB shares that clients connected to.
    "smb_mapping", Flow, version 1;
    zeek {
        /// When the share was first seen.
        ts "ts": Time,
        /// Unique id of the flow.
        uid "uid": Str,
        /// Originator's address.
        orig_h "id.orig_h": Addr,
        /// Originator's port.
        orig_p "id.orig_p": Port,
        /// Responder's address.
        resp_h "id.resp_h": Addr,
        /// Responder's port.
        resp_p "id.resp_p": Port,
        /// Its name.
        path "path": Option<Str>,
        /// What it offers, as version 1 says it.
        service "service": Option<Str>,
        /// File system, as version 1 says it.
        native_file_system "native_file_system": Option<Str>,
        /// Disk, pipe or printer.
        share_type "share_type": Str,
    }
    policy {}
    weir {
        /// Community ID v1 of the flow, which is also its key on the bus.
        community_id "community_id": Option<Str>,
    }
}
