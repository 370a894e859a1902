//! known_certs: one row a day for every certificate of a local server (Zeek
//! `policy/protocols/ssl/known-certs`).

use crate::stream;

stream! {
    /// Certificates that local servers have shown.
    "known_certs", Asset, version 1;
    zeek {
        /// When it was seen.
        ts "ts": Time,
        /// The server.
        host "host": Addr,
        /// Its port.
        port_num "port_num": Option<Port>,
        /// Who the certificate is for.
        subject "subject": Option<Str>,
        /// Who signed it.
        issuer_subject "issuer_subject": Option<Str>,
        /// Its serial number.
        serial "serial": Option<Str>,
    }
    policy {}
    weir {}
}
