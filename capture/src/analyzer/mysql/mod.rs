//! MySQL's client/server protocol: its packets, the handshake, and the switch to TLS.
//!
//! The client's answer to the server's greeting confirms; whatever does not parse before or after it
//! violates. Source: Zeek's `MySQL.cc`, `mysql-protocol.pac`; what packets are made of is in
//! [`packet`].

use super::units::{Framed, Malformed, Units};
use super::{Analyzer, Cx, Dir, Kind, ssl};

mod packet;
#[cfg(test)]
mod tests;

/// The analyzer; Zeek knows it by port only.
pub static KIND: Kind = Kind {
    name: "mysql",
    tcp_ports: &[1434, 3306],
    udp_ports: &[],
    probe: None,
    skips_partial: true,
    new: |_| Box::<Mysql>::default(),
};

/// Length and number of a packet.
const HEAD_LEN: usize = 4;

#[derive(Default)]
struct Mysql {
    units: [Units; 2],
    session: packet::Session,
    had_gap: bool,
}

impl Framed for packet::Session {
    fn size(&self, _: Dir, bytes: &[u8]) -> usize {
        match bytes {
            [a, b, c, _, ..] => HEAD_LEN + u32::from_le_bytes([*a, *b, *c, 0]) as usize,
            _ => HEAD_LEN,
        }
    }

    fn unit(&mut self, cx: &mut Cx<'_>, dir: Dir, unit: &[u8]) -> Result<(), Malformed> {
        let had_handshake = self.has_handshake;
        // Of a half the answers are missing that tell what comes next.
        if cx.is_half && (self.has_greeting || had_handshake) {
            return Ok(());
        }
        let parsed = match dir {
            Dir::Orig if cx.is_half => self.answer_of_half(unit),
            Dir::Orig => self.client(unit),
            Dir::Resp => self.server(unit),
        };
        parsed.ok_or(Malformed)?;
        if cx.is_half {
            self.has_greeting = dir == Dir::Resp;
        }
        if self.has_handshake && !had_handshake {
            if !cx.is_half {
                cx.confirm();
            }
            if self.is_tls {
                cx.carry(&ssl::KIND);
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.is_tls
    }
}

impl Analyzer for Mysql {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        if self.session.is_tls {
            return cx.hand_on(dir, data);
        }
        if self.had_gap {
            return;
        }
        let Some(units) = self.units.get_mut(dir.index()) else { return };
        if units.feed(&mut self.session, cx, dir, data).is_err() {
            cx.violation();
        }
        if self.session.is_tls {
            self.units = Default::default();
        }
    }

    fn gap(&mut self, cx: &mut Cx<'_>, dir: Dir, len: u64) {
        if self.session.is_tls {
            cx.hand_on_gap(dir, len);
        }
        self.had_gap = true;
    }

    fn end(&mut self, cx: &mut Cx<'_>, dir: Dir) {
        if self.session.is_tls {
            cx.hand_on_end(dir);
        }
    }

    fn finish(&mut self, _: &mut Cx<'_>) {}

    fn shows(&self, _: Dir) -> bool {
        self.session.has_greeting || self.session.has_handshake
    }
}
