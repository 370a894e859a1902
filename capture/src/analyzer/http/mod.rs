//! HTTP/1: requests, replies and their bodies (RFC 9110, RFC 9112), with Zeek's rules for what a row
//! says and for what is odd (`src/analyzer/protocol/http/HTTP.cc`, `base/protocols/http`).
//!
//! A segment's way: [`super::lines`] cuts it, `exchange` begins a message with a request or status line
//! ([`start`]), `headers` and `body` follow a message through its [`entity`] and the parts in it, `body_file`
//! sees its content as a file, [`log`] joins replies to requests and writes the rows.

use std::collections::VecDeque;

use model::text;

use super::lines::{self, LineWeird, Lines, Piece};
use super::{Analyzer, Cx, Dir, Kind, Transport};
use entity::{Entity, Message};
pub use log::Log;
use start::Version;
use upgrade::Handshake;

mod body;
mod body_file;
pub(super) mod entity;
mod exchange;
pub(super) mod field;
pub(super) mod filename;
mod headers;
mod inflate;
mod log;
mod probe;
mod record;
mod sqli;
mod start;
pub(super) mod transfer;
mod upgrade;
mod uri;

#[cfg(test)]
mod tests;

/// HTTP/1, on the ports where Zeek expects it (`HTTP::ports`).
pub static KIND: Kind = Kind {
    name: "http",
    tcp_ports: &[80, 81, 631, 1080, 3128, 8000, 8080, 8888],
    udp_ports: &[],
    probe: Some(probe::probe),
    skips_partial: true,
    new: |_: Transport| Box::<Http>::default(),
};

/// Payload after which a broken line no longer ends the analysis (Zeek's
/// `DPD::ignore_violations_after`).
const VIOLATION_BYTES_MAX: u64 = 10 * 1024;

/// Requests whose method is remembered for the reply. Zeek has no limit; a flow that has so many open
/// has no replies that could be matched.
const UNANSWERED_MAX: usize = 4096;

/// What comes next in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Next {
    /// A request or status line.
    #[default]
    Start,
    /// The rest of a message.
    Message,
    /// Nothing that could be understood.
    Nothing,
    /// A reply of HTTP/0.9: only a body.
    Raw,
}

/// One direction.
#[derive(Debug, Default)]
struct Side {
    lines: Lines,
    next: Next,
    /// A message is on its way.
    ongoing: bool,
    /// The last version seen.
    version: Version,
    /// There is, or was, a message.
    has_message: bool,
    message: Message,
}

/// The analyzer of one flow.
#[derive(Debug, Default)]
struct Http {
    sides: [Side; 2],
    log: Log,
    requests: u64,
    /// Whether each unanswered request was HEAD.
    unanswered: VecDeque<bool>,
    reply_code: u16,
    keep_alive: bool,
    /// A reply said that the connection closes behind it.
    connection_close: bool,
    /// A CONNECT was not refused.
    connect: bool,
    /// A request asked for another protocol to follow.
    asked_for_other: bool,
    /// The reply upgrades, and says to what.
    upgrade: bool,
    upgrade_named: bool,
    upgrade_websocket: bool,
    websocket: Handshake,
    /// What follows another protocol's analyzer is given.
    carries: bool,
    /// Bytes of both directions so far.
    seen: u64,
    /// When a line was met that is not HTTP. Zeek takes the analyzer away only once it has seen all that
    /// came with the same packet.
    broken_at: Option<i64>,
    /// The flow's beginning was not seen.
    is_partial: bool,
    /// What follows is not HTTP.
    stopped: bool,
    /// The last request was of HTTP/0.9.
    is_raw: bool,
}

/// An oddity of the protocol.
fn weird(cx: &mut Cx<'_>, name: &'static str) {
    cx.weird(name, None, Some("HTTP"));
}

/// An oddity with what was odd.
fn weird_with(cx: &mut Cx<'_>, name: &'static str, what: &[u8]) {
    let what = what.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = text::from_wire(what);
    cx.weird(name, Some(&*text).filter(|text| !text.is_empty()), Some("HTTP"));
}

impl Http {
    fn side(&mut self, dir: Dir) -> &mut Side {
        &mut self.sides[dir.index()]
    }

    fn entity(&mut self, dir: Dir, depth: usize) -> Option<&mut Entity> {
        self.sides[dir.index()].message.entities.get_mut(depth)
    }

    /// Cuts bytes of one direction into pieces and follows each.
    fn cut(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        let mut rest = data;
        while !self.stopped {
            if self.side(dir).next == Next::Raw {
                self.raw(cx, rest);
                return;
            }
            let may_overflow = self.side(dir).lines.may_overflow(rest.len());
            let parts = may_overflow && self.is_in_body(dir);
            let lines = &mut self.side(dir).lines;
            let piece = lines.next(&mut rest, parts);
            while let Some(odd) = lines.weird() {
                line_weird(cx, odd);
            }
            let Some(piece) = piece else { return };
            let (bytes, is_line) = match piece {
                Piece::Plain(bytes) => {
                    self.plain(cx, dir, bytes);
                    continue;
                }
                Piece::Line(bytes) => (Ok(bytes), true),
                Piece::Part(bytes) => (Ok(bytes), false),
                Piece::KeptLine => (Err(lines.take()), true),
                Piece::KeptPart => (Err(lines.take()), false),
            };
            match bytes {
                Ok(bytes) => self.line_or_part(cx, dir, bytes, is_line, rest.len()),
                Err(kept) => {
                    self.line_or_part(cx, dir, &kept, is_line, rest.len());
                    self.side(dir).lines.give(kept);
                }
            }
        }
        if self.carries && !rest.is_empty() {
            cx.hand_on(dir, rest);
        }
    }

    /// Whether a line would be content, so that it may come in parts.
    fn is_in_body(&mut self, dir: Dir) -> bool {
        let side = self.side(dir);
        let in_header = side.message.entities.last().is_none_or(|entity| entity.in_header);
        side.next == Next::Message && !in_header && !side.message.finished
    }

    fn line_or_part(
        &mut self,
        cx: &mut Cx<'_>,
        dir: Dir,
        bytes: &[u8],
        is_line: bool,
        left: usize,
    ) {
        if is_line {
            self.line(cx, dir, bytes, left);
            self.side(dir).lines.arm_limit(left);
            self.side(dir).message.mid_line = false;
        } else {
            self.deliver(cx, dir, bytes, false);
            self.side(dir).message.mid_line = true;
        }
    }

    fn plain(&mut self, cx: &mut Cx<'_>, dir: Dir, bytes: &[u8]) {
        if self.side(dir).has_message {
            self.deliver(cx, dir, bytes, false);
            return;
        }
        weird(
            cx,
            match dir {
                Dir::Orig => "unexpected_client_HTTP_data",
                Dir::Resp => "unexpected_server_HTTP_data",
            },
        );
    }

    fn line(&mut self, cx: &mut Cx<'_>, dir: Dir, line: &[u8], left: usize) {
        match (self.side(dir).next, dir) {
            (Next::Start, Dir::Orig) => self.request_line(cx, line),
            (Next::Start, Dir::Resp) => self.status_line(cx, line),
            (Next::Message, Dir::Orig) => {
                self.deliver(cx, dir, line, true);
                if cx.is_half && line.is_empty() {
                    self.changes_by_request(cx);
                }
            }
            (Next::Message, Dir::Resp) => {
                self.deliver(cx, dir, line, true);
                if self.stopped {
                    odd_rest(cx, "protocol_data_with_HTTP_upgrade_reply", left);
                } else if self.connect && line.is_empty() {
                    odd_rest(cx, "protocol_data_with_HTTP_CONNECT_reply", left);
                    self.stop(cx, None);
                }
            }
            (Next::Nothing | Next::Raw, _) => {}
        }
    }

    /// Of a half the reply is missing that would grant what a request asks for: it is taken for granted.
    fn changes_by_request(&mut self, cx: &mut Cx<'_>) {
        if self.connect {
            self.stop(cx, None);
        } else if self.websocket.is_asked() {
            self.stop(cx, Some(&super::websocket::KIND));
        }
    }

    /// What follows is another protocol, which its content tells if it is not known.
    fn stop(&mut self, cx: &mut Cx<'_>, known: Option<&'static Kind>) {
        self.stopped = true;
        self.carries = true;
        *cx.http_log = Some(Box::new(std::mem::take(&mut self.log)));
        match known {
            Some(kind) => cx.carry(kind),
            None => cx.carry_any(),
        }
    }

    /// The flow is not HTTP, unless it went well for long.
    fn violate(&mut self, cx: &Cx<'_>) {
        if self.seen <= VIOLATION_BYTES_MAX {
            self.broken_at.get_or_insert(cx.now);
        }
    }

    /// Whether this call is for nothing; leaves the flow if an earlier packet was not HTTP.
    fn is_over(&mut self, cx: &mut Cx<'_>) -> bool {
        if self.broken_at.is_some_and(|at| at < cx.now) && !self.stopped {
            self.stopped = true;
            self.made(cx, Dir::Orig, true);
            self.made(cx, Dir::Resp, true);
            cx.violate();
        }
        self.stopped
    }
}

/// What follows a reply that ends HTTP should not come with it.
fn odd_rest(cx: &mut Cx<'_>, name: &'static str, left: usize) {
    if left > 0 {
        weird_with(cx, name, left.to_string().as_bytes());
    }
}

fn line_weird(cx: &mut Cx<'_>, odd: LineWeird) {
    cx.weird(odd.name(), None, Some(lines::SOURCE));
}

impl Analyzer for Http {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        self.seen = self.seen.saturating_add(data.len() as u64);
        if self.carries {
            cx.hand_on(dir, data);
            return;
        }
        if let Some(log) = cx.http_log.take() {
            self.log = *log;
        }
        if !self.is_over(cx) {
            self.cut(cx, dir, data);
        }
    }

    fn gap(&mut self, cx: &mut Cx<'_>, dir: Dir, len: u64) {
        self.seen = self.seen.saturating_add(len);
        if self.carries {
            return cx.hand_on_gap(dir, len);
        }
        if self.is_over(cx) || (self.side(dir).has_message && self.body_gap(cx, dir, len)) {
            return;
        }
        if dir == Dir::Orig {
            // Whether a reply has a body may depend on the method that was lost.
            self.made(cx, Dir::Orig, true);
        }
        self.made(cx, Dir::Resp, true);
        self.side(dir).lines.close();
    }

    fn end(&mut self, cx: &mut Cx<'_>, dir: Dir) {
        if self.is_over(cx) || self.is_partial {
            return;
        }
        if self.side(dir).lines.is_partial() && self.side(dir).next != Next::Raw {
            self.cut(cx, dir, b"\n");
        }
        self.made(cx, dir, false);
    }

    fn shows(&self, dir: Dir) -> bool {
        // To a request of HTTP/0.9 whatever comes is the answer.
        dir == Dir::Orig && self.is_raw
    }

    fn feed_partial(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        // Zeek cuts a request into lines even then, and may find their ends odd.
        self.is_partial = true;
        if dir == Dir::Resp {
            return;
        }
        let mut rest = data;
        loop {
            let piece = self.side(dir).lines.next(&mut rest, false);
            while let Some(odd) = self.side(dir).lines.weird() {
                line_weird(cx, odd);
            }
            match piece {
                Some(Piece::KeptLine | Piece::KeptPart) => {
                    let kept = self.side(dir).lines.take();
                    self.side(dir).lines.give(kept);
                }
                Some(_) => {}
                None => return,
            }
        }
    }

    fn reset(&mut self, cx: &mut Cx<'_>) {
        if !self.is_over(cx) {
            self.made(cx, Dir::Orig, true);
            self.made(cx, Dir::Resp, true);
        }
    }

    fn finish(&mut self, cx: &mut Cx<'_>) {
        if self.broken_at.is_some() {
            cx.violate();
        }
        if self.carries {
            // Unless HTTP inside of it goes on with it, and writes it.
            let Some(log) = cx.http_log.take() else { return };
            self.log = *log;
        }
        self.made(cx, Dir::Orig, true);
        self.made(cx, Dir::Resp, true);
        self.log.finish(cx);
    }
}
