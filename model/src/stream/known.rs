//! known: an asset was seen by a worker, on its way to the manager, who remembers assets for a day and
//! writes `known_hosts`, `known_services` and `known_certs`; never logged itself.

use crate::stream;

stream! {
    /// Observations of assets.
    "known", Asset, version 1;
    zeek {
        /// When it was seen, as the log will have it.
        ts "ts": Time,
        /// The log it belongs to.
        log "log": Enum,
        /// What is remembered, as text: all that makes two observations the same asset, services aside.
        asset "asset": Str,
        /// The host.
        host "host": Addr,
        /// The port that it serves.
        port_num "port_num": Option<Port>,
        /// Transport protocol of the port.
        port_proto "port_proto": Option<Enum>,
        /// Protocols that were spoken there; an empty text where none is known.
        service "service": Set<Str>,
        /// Subject of the certificate.
        subject "subject": Option<Str>,
        /// Issuer of the certificate.
        issuer_subject "issuer_subject": Option<Str>,
        /// Serial number of the certificate.
        serial "serial": Option<Str>,
    }
    policy {}
    weir {}
}
