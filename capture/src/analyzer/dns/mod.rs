//! DNS over UDP and TCP, with multicast DNS, LLMNR and the NetBIOS name service, which share its
//! format (RFC 1035, 6762, 4795, 1002). Rows as Zeek's `base/protocols/dns` writes them.
//!
//! A datagram or framed message ([`framing`]) goes through the parser ([`message`], and [`rr`],
//! [`dnssec`], [`svcb`] for record data), which tells what it finds to the [`session`]: that pairs
//! queries with replies and writes a row for each [`transaction`].

use std::fmt;
use std::net::IpAddr;

use self::framing::Framing;
use self::message::{Handler, Reply, Section, Setting};
use self::session::Session;
use self::wire::{Header, Weirds, opcode};
use super::{Analyzer, Cx, Dir, Kind, Start, Transport, Verdict};

mod dnssec;
mod framing;
mod message;
mod names;
mod netbios;
mod rr;
mod session;
mod svcb;
#[cfg(test)]
mod tests;
mod transaction;
mod wire;

/// Port of the NetBIOS name service.
const NETBIOS_PORT: u16 = 137;
/// How long a flow over UDP is kept for a reply, microseconds (Zeek's `dns_session_timeout`).
const SESSION_TIMEOUT: i64 = 10_000_000;
/// Silence that makes a flow over UDP end when its time is up: a second less, as Zeek has it.
const SESSION_SILENCE: i64 = SESSION_TIMEOUT - 1_000_000;
/// Payload after which a violation no longer counts (Zeek's `DPD::ignore_violations_after`).
const VIOLATION_BYTES_MAX: u64 = 10 * 1024;
/// The analyzer's name in `source` of a weird.
const SOURCE: &str = "DNS";

/// The DNS analyzer. Zeek knows it by port only.
pub static KIND: Kind = Kind {
    name: "dns",
    tcp_ports: &[53],
    udp_ports: &[53, NETBIOS_PORT, 5353, 5355],
    skips_partial: false,
    probe: Some(probe),
    new,
};

fn probe(_: &Start<'_>) -> Verdict {
    Verdict::No
}

fn new(transport: Transport) -> Box<dyn Analyzer> {
    Box::new(Dns {
        transport,
        framing: [Framing::default(), Framing::default()],
        session: Session::default(),
        text: Vec::new(),
        first: true,
        violated: false,
        payload: 0,
        last: 0,
        deadline: None,
    })
}

struct Dns {
    transport: Transport,
    /// What waits of each direction's stream.
    framing: [Framing; 2],
    session: Session,
    /// A buffer for the text of records.
    text: Vec<u8>,
    /// Whether no message has come yet.
    first: bool,
    /// Whether the flow was found not to be DNS: nothing further is read.
    violated: bool,
    /// Bytes seen of both directions.
    payload: u64,
    /// When the last datagram came.
    last: i64,
    deadline: Option<i64>,
}

impl Dns {
    /// One message. Its direction is not known if it was cut short by the end of its stream.
    fn message(&mut self, cx: &mut Cx<'_>, dir: Option<Dir>, message: &[u8]) {
        let tuple = cx.ids.tuple;
        let netbios = tuple.orig_p == NETBIOS_PORT || tuple.resp_p == NETBIOS_PORT;
        let Some(header) = Header::parse(message, netbios) else {
            return cx.weird("DNS_truncated_len_lt_hdr_len", None, Some(SOURCE));
        };
        if !header.known_opcode() {
            cx.gave_up = true;
            let code = header.opcode().to_string();
            return cx.weird("DNS_unknown_opcode", Some(&code), Some(SOURCE));
        }
        if std::mem::replace(&mut self.first, false) && header.reply() && dir == Some(Dir::Orig) {
            // A reply comes from the server: the flow was seen the wrong way round.
            self.session.flipped = !multicast(tuple.resp_h);
            cx.flip |= self.session.flipped;
        }
        let server_p = if self.session.flipped { tuple.orig_p } else { tuple.resp_p };
        let datagram = self.transport == Transport::Udp;
        let setting = Setting { netbios_server: server_p == NETBIOS_PORT, datagram };
        let mut script = Script {
            cx,
            session: &mut self.session,
            netbios_server: setting.netbios_server && datagram,
            violated: &mut self.violated,
        };
        message::parse(message, &header, setting, &mut self.text, &mut script);
    }

    /// After a violation: ends the reading, unless the flow was DNS for long. What waits is written
    /// when the flow ends, as in Zeek.
    fn judge(&mut self, cx: &mut Cx<'_>) {
        self.violated &= self.payload <= VIOLATION_BYTES_MAX;
        if self.violated {
            cx.violate();
        }
    }
}

impl Analyzer for Dns {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        if self.violated {
            return;
        }
        self.session.flipped = false;
        self.payload += data.len() as u64;
        match self.transport {
            Transport::Udp => {
                self.last = cx.now;
                self.deadline.get_or_insert(cx.now + SESSION_TIMEOUT);
                self.message(cx, Some(dir), data);
            }
            Transport::Tcp => {
                // Taken out so that the messages in it can change the rest of the state.
                let mut framing = std::mem::take(&mut self.framing[dir.index()]);
                framing.feed(data, |message| self.message(cx, Some(dir), message));
                self.framing[dir.index()] = framing;
            }
        }
        self.judge(cx);
    }

    /// What was lost is not made up for: the bytes after it are read as if they came next.
    fn gap(&mut self, _: &mut Cx<'_>, _: Dir, _: u64) {}

    fn end(&mut self, cx: &mut Cx<'_>, _: Dir) {
        self.session.flipped = false;
        for at in 0..self.framing.len() {
            if self.violated {
                return;
            }
            let mut framing = std::mem::take(&mut self.framing[at]);
            let part = framing.close();
            if !part.is_empty() {
                self.message(cx, None, part);
            }
            self.framing[at] = framing;
        }
        self.judge(cx);
    }

    fn finish(&mut self, cx: &mut Cx<'_>) {
        self.session.flipped = false;
        self.session.finish(cx);
    }

    fn deadline(&self) -> Option<i64> {
        self.deadline
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        if cx.now - self.last < SESSION_SILENCE {
            self.deadline = Some(cx.now + SESSION_TIMEOUT);
            return;
        }
        self.deadline = None;
        cx.over = true;
    }
}

fn multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_multicast(),
        IpAddr::V6(v6) => v6.is_multicast(),
    }
}

/// What Zeek's script does with the events of one message.
struct Script<'a, 'c> {
    cx: &'a mut Cx<'c>,
    session: &'a mut Session,
    /// Whether the server's port is that of the NetBIOS name service over UDP.
    netbios_server: bool,
    violated: &'a mut bool,
}

impl Weirds for Script<'_, '_> {
    fn weird(&mut self, name: &'static str, addl: fmt::Arguments<'_>) {
        match addl.as_str() {
            Some("") => self.cx.weird(name, None, Some(SOURCE)),
            _ => self.cx.weird(name, Some(&addl.to_string()), Some(SOURCE)),
        }
    }
}

impl Handler for Script<'_, '_> {
    fn message(&mut self, header: &Header) {
        if header.tracked() {
            self.session.message(self.cx, header);
        }
    }

    fn request(&mut self, header: &Header, name: &[u8], qtype: u16, qclass: u16) {
        if !header.tracked() {
            return;
        }
        let netbios_server = self.netbios_server;
        self.session.with_current(|transaction| {
            transaction.request(header, name, (qtype, qclass), netbios_server);
        });
    }

    fn rejected(&mut self) {
        self.session.with_current(|transaction| transaction.reject());
    }

    fn reply(&mut self, header: &Header, reply: Reply<'_>) {
        if !header.tracked() || !header.reply() {
            return;
        }
        let added = header.opcode() == opcode::UPDATE
            && reply.section == Section::Update
            && !reply.text.starts_with(b"del:");
        let prefix = if added { "add: " } else { "" };
        let now = self.cx.now;
        self.session.with_current(|transaction| {
            transaction.record(header, now, reply.owner);
            if !reply.text.is_empty() {
                transaction.answer(prefix, reply.text, reply.ttl);
            }
        });
    }

    fn end(&mut self, header: &Header) {
        self.session.end(self.cx, header);
    }

    fn confirm(&mut self) {
        self.cx.confirm();
    }

    fn violation(&mut self) {
        *self.violated = true;
    }
}
