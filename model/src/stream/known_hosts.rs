//! known_hosts: one row a day for every local host (Zeek `policy/protocols/conn/known-hosts`).

use crate::stream;

stream! {
    /// Local hosts that took part in a TCP handshake.
    "known_hosts", Asset, version 1;
    zeek {
        /// When it was seen.
        ts "ts": Time,
        /// The host.
        host "host": Addr,
    }
    policy {}
    weir {}
}
