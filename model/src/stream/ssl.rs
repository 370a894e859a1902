//! ssl: one row a TLS handshake (Zeek `base/protocols/ssl`).

use crate::stream;

stream! {
    /// TLS and SSL handshakes.
    "ssl", Flow, version 1;
    zeek {
        /// When the handshake was first seen.
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
        /// Version that the server chose.
        version "version": Option<Str>,
        /// Cipher suite that the server chose.
        cipher "cipher": Option<Str>,
        /// Elliptic curve that the server chose.
        curve "curve": Option<Str>,
        /// Server name the client asked for.
        server_name "server_name": Option<Str>,
        /// The session was resumed.
        resumed "resumed": Bool,
        /// Last alert seen.
        last_alert "last_alert": Option<Str>,
        /// Application protocol agreed by ALPN.
        next_protocol "next_protocol": Option<Str>,
        /// The handshake was completed.
        established "established": Bool,
        /// Handshake messages, a letter each, upper case for the client.
        ssl_history "ssl_history": Str,
        /// SHA-256 of the server's certificates.
        cert_chain_fps "cert_chain_fps": Option<Vector<Str>>,
        /// SHA-256 of the client's certificates.
        client_cert_chain_fps "client_cert_chain_fps": Option<Vector<Str>>,
        /// The server name is one the certificate is for.
        sni_matches_cert "sni_matches_cert": Option<Bool>,
    }
    policy {}
    weir {
        /// Community ID v1 of the flow, which is also its key on the bus.
        community_id "community_id": Str,
        /// JA3 fingerprint of the client's first hello.
        ja3 "ja3": Option<Str>,
        /// JA3S fingerprint of the server's hello.
        ja3s "ja3s": Option<Str>,
        /// JA4 fingerprint of the client's first hello.
        ja4 "ja4": Option<Str>,
    }
}
