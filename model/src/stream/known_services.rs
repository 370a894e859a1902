//! known_services: one row a day for every service of a local host (Zeek
//! `policy/protocols/conn/known-services`).

use crate::stream;

stream! {
    /// Ports of local hosts that answered, with what is spoken there.
    "known_services", Asset, version 1;
    zeek {
        /// When it was seen.
        ts "ts": Time,
        /// The host.
        host "host": Addr,
        /// Its port.
        port_num "port_num": Port,
        /// Transport protocol of the port.
        port_proto "port_proto": Enum,
        /// Protocols that were not known there before, as Zeek names its analyzers; one empty text where none
        /// was recognised.
        service "service": Set<Str>,
    }
    policy {}
    weir {}
}
