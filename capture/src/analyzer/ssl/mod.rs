//! TLS, SSL and DTLS: one row a handshake.
//!
//! A connection's bytes go through [`tls`] or [`dtls`] (records), [`record`] (what both have in
//! common), [`handshake`] (messages), [`hello`], [`messages`], [`cert`] (their parsers), and end in
//! [`session`], which writes the row: when both ends turn to encryption, when it turns out to be
//! something else, or when the flow ends.

use super::{Dir, Kind};

pub mod cert;
mod ciphers;
mod dtls;
mod fingerprint;
mod handshake;
mod hello;
mod messages;
pub mod names;
mod probe;
mod record;
mod session;
#[cfg(test)]
mod tests;
mod tls;
mod v2;
use super::wire;

/// TLS and SSL over TCP. Ports as in Zeek's `base/protocols/ssl/main.zeek`.
pub static KIND: Kind = Kind {
    name: "ssl",
    tcp_ports: &[443, 465, 563, 585, 614, 636, 989, 990, 992, 993, 995, 5223],
    udp_ports: &[],
    probe: Some(probe::tls),
    skips_partial: true,
    new: |_| Box::new(tls::Tls::new()),
};

/// Whether what an end sends begins with its hello.
pub fn begins(dir: Dir, data: &[u8]) -> bool {
    let hello = if dir == Dir::Orig { 1 } else { 2 };
    // The form of SSL 2.0 may lead to TLS as well.
    let is_v2 = matches!(data, [0x80..=0xff, _, 1, 3, 0..=3, ..]) && dir == Dir::Orig;
    is_v2 || matches!(data, [0x16, 3, 0..=4, _, _, kind, ..] if *kind == hello)
}

/// DTLS, which Zeek's `service` names apart.
pub static DTLS_KIND: Kind = Kind {
    name: "dtls",
    tcp_ports: &[],
    udp_ports: &[443],
    probe: Some(probe::dtls),
    skips_partial: true,
    new: |_| Box::new(dtls::Dtls::new()),
};
