//! ssh: one row a flow that is SSH (Zeek `base/protocols/ssh/main.zeek`).

use crate::stream;

stream! {
    /// SSH connections: who speaks, what was agreed on, and whether somebody got in.
    "ssh", Flow, version 1;
    zeek {
        /// When the first banner was seen.
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
        /// Version of the protocol that both ends speak, 1 or 2.
        version "version": Option<Count>,
        /// Whether a login worked, told by the lengths of encrypted packets; unset where nobody can tell.
        auth_success "auth_success": Option<Bool>,
        /// Attempts to log in that were seen. A login by several methods has failed ones on its way.
        auth_attempts "auth_attempts": Count,
        /// `OUTBOUND` from one of our hosts to another's, `INBOUND` the other way; unset within or outside.
        direction "direction": Option<Enum>,
        /// The client's banner.
        client "client": Option<Str>,
        /// The server's banner.
        server "server": Option<Str>,
        /// Cipher agreed on.
        cipher_alg "cipher_alg": Option<Str>,
        /// Message authentication code agreed on; ciphers that need none have one all the same.
        mac_alg "mac_alg": Option<Str>,
        /// Compression agreed on.
        compression_alg "compression_alg": Option<Str>,
        /// Key exchange agreed on.
        kex_alg "kex_alg": Option<Str>,
        /// Algorithm of the server's key.
        host_key_alg "host_key_alg": Option<Str>,
        /// Fingerprint of the server's key: the first 24 bytes of its SHA-256, as Zeek 8.2 cuts it.
        host_key_fingerprint "host_key_fingerprint": Option<Str>,
    }
    policy {}
    weir {
        /// Community ID v1 of the flow, which is also its key on the bus.
        community_id "community_id": Str,
    }
}
