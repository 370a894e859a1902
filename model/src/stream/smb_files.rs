//! smb_files: what was done to files of shares (Zeek `base/protocols/smb`).

use crate::stream;

stream! {
    /// Files of SMB shares that were opened, renamed or deleted.
    "smb_files", Flow, version 1;
    zeek {
        /// When the file was first named.
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
        /// Its id in files.log, where bytes of it were seen before.
        fuid "fuid": Option<Str>,
        /// What was done.
        action "action": Option<Enum>,
        /// Share that it is in.
        path "path": Option<Str>,
        /// Its name.
        name "name": Option<Str>,
        /// Its size when it was opened.
        size "size": Count,
        /// Its name before it got this one.
        prev_name "prev_name": Option<Str>,
        /// When it was last written.
        modified "times.modified": Option<Time>,
        /// When it was last read.
        accessed "times.accessed": Option<Time>,
        /// When it was made.
        created "times.created": Option<Time>,
        /// When its properties last changed.
        changed "times.changed": Option<Time>,
    }
    policy {}
    weir {
        /// Community ID v1 of the flow, which is also its key on the bus.
        community_id "community_id": Option<Str>,
    }
}
