//! Messages: what begins one, what ends it, which reply has a body. Source: RFC 9112 sections 2 to 6;
//! Zeek's `HTTP_Analyzer`.

use super::entity::Expect;
use super::start::{self, HTTP_09, Version};
use super::upgrade::Handshake;
use super::{Http, Next, UNANSWERED_MAX, uri, weird, weird_with};
use crate::analyzer::{Cx, Dir, websocket};

impl Http {
    pub(super) fn request_line(&mut self, cx: &mut Cx<'_>, line: &[u8]) {
        let request = match start::request_line(line, &mut |name| weird(cx, name)) {
            Ok(request) => request,
            Err(start::NoRequest(version)) => {
                self.set_version(cx, Dir::Orig, version);
                self.no_request(cx, line);
                return;
            }
        };
        self.set_version(cx, Dir::Orig, request.version);
        self.requests += 1;
        if !self.keep_alive && self.requests > 1 {
            weird(cx, "unexpected_multiple_HTTP_requests");
        }
        let method = request.method;
        if self.unanswered.len() < UNANSWERED_MAX {
            self.unanswered.push_back(is_beginning_of(method, b"HEAD"));
        }
        self.connect |= is_beginning_of(method, b"CONNECT");
        cx.confirm();
        let mut plain = Vec::with_capacity(request.uri.len());
        uri::unescape(request.uri, &mut plain, &mut |name| weird(cx, name));
        self.asked_for_other |= self.websocket.asks();
        self.websocket = Handshake::default();
        self.log.request(cx, method, &plain);
        self.begin_message(cx, Dir::Orig, Expect::Maybe);
        self.is_raw = false;
        if self.side(Dir::Orig).version == HTTP_09 {
            self.is_raw = true;
            self.expect_raw(cx, method);
        }
    }

    /// A request of HTTP/0.9: the reply is a body and nothing else.
    pub(super) fn expect_raw(&mut self, cx: &mut Cx<'_>, method: &[u8]) {
        if method != b"GET" {
            weird_with(cx, "invalid_http_09_request_method", method);
        }
        if self.side(Dir::Resp).has_message {
            weird(cx, "http_09_reply_before_request");
            self.message_done(cx, Dir::Resp);
            self.side(Dir::Resp).has_message = false;
        }
        self.side(Dir::Resp).next = Next::Raw;
    }

    pub(super) fn no_request(&mut self, cx: &mut Cx<'_>, line: &[u8]) {
        let expected = self.requests == 0 || self.keep_alive;
        if !expected {
            return;
        }
        if line.is_empty() {
            weird(cx, "empty_http_request");
            return;
        }
        self.side(Dir::Orig).next = Next::Nothing;
        if cx.is_half && (self.asked_for_other || self.websocket.asks()) {
            // It was granted, as what follows shows.
            self.stopped = true;
            return cx.done();
        }
        self.violate(cx);
    }

    pub(super) fn status_line(&mut self, cx: &mut Cx<'_>, line: &[u8]) {
        let status = match start::status_line(line, &mut |name| weird(cx, name)) {
            Ok(status) => status,
            Err(version) => {
                self.set_version(cx, Dir::Resp, version);
                if !line.is_empty() {
                    self.side(Dir::Resp).next = Next::Nothing;
                    self.violate(cx);
                }
                return;
            }
        };
        self.set_version(cx, Dir::Resp, Some(status.version));
        if !self.unanswered.is_empty() {
            cx.confirm();
        }
        self.reply_code = status.code;
        self.connect &= status.code == 200;
        self.log_reply(cx, status.reason);
        let expect = self.expect_of_reply();
        self.begin_message(cx, Dir::Resp, expect);
    }

    pub(super) fn log_reply(&mut self, cx: &mut Cx<'_>, reason: Option<&[u8]>) {
        let version = self.side(Dir::Resp).version;
        self.log.reply(cx, version, self.reply_code, reason.unwrap_or(b"<empty>"));
    }

    /// Whether the reply has a body, RFC 9112 section 6.3.
    pub(super) fn expect_of_reply(&self) -> Expect {
        let to_head = self.unanswered.front() == Some(&true);
        match self.reply_code {
            100..=199 | 204 | 304 => Expect::No,
            _ if to_head => Expect::No,
            _ => Expect::Yes,
        }
    }

    pub(super) fn begin_message(&mut self, cx: &mut Cx<'_>, dir: Dir, expect: Expect) {
        let side = self.side(dir);
        if side.has_message && !side.message.finished {
            weird(cx, "HTTP_overlapping_messages");
        }
        side.has_message = true;
        side.ongoing = true;
        if side.next == Next::Start {
            side.next = Next::Message;
        }
        side.message.begin(expect);
        self.begin_entity_event(cx, dir);
    }

    pub(super) fn begin_entity_event(&mut self, cx: &mut Cx<'_>, dir: Dir) {
        self.log.turn(cx, dir);
        if let Some(record) = self.log.current() {
            record.begin_entity(dir);
        }
    }

    /// A reply of HTTP/0.9.
    pub(super) fn raw(&mut self, cx: &mut Cx<'_>, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        if !self.side(Dir::Resp).has_message {
            self.set_version(cx, Dir::Resp, Some(HTTP_09));
            if self.unanswered.pop_front().is_some() {
                cx.confirm();
            }
            self.connection_close = true;
            self.log_reply(cx, None);
            let expect = self.expect_of_reply();
            self.begin_message(cx, Dir::Resp, expect);
            self.deliver(cx, Dir::Resp, b"", true);
        }
        self.deliver(cx, Dir::Resp, data, false);
    }

    pub(super) fn set_version(&mut self, cx: &mut Cx<'_>, dir: Dir, version: Option<Version>) {
        let Some(version) = version else { return };
        let last = &mut self.side(dir).version;
        if *last != (0, 0) && *last != version {
            weird(cx, "HTTP_version_mismatch");
        }
        *last = version;
        self.keep_alive |= version >= (1, 1);
    }

    /// All of a message was seen, or nothing more will be.
    pub(super) fn message_done(&mut self, cx: &mut Cx<'_>, dir: Dir) {
        if std::mem::replace(&mut self.side(dir).message.finished, true) {
            return;
        }
        self.end_entity(cx, dir, 0);
        self.end_file(cx, dir, 0);
        let body = self.side(dir).message.body;
        self.log.message_done(cx, dir, body);
        self.made(cx, dir, false);
    }

    /// No more of the message on its way in one direction; `broken` if what follows cannot be read.
    pub(super) fn made(&mut self, cx: &mut Cx<'_>, dir: Dir, broken: bool) {
        if !std::mem::take(&mut self.side(dir).ongoing) {
            return;
        }
        if self.side(dir).has_message {
            self.message_done(cx, dir);
        }
        self.side(dir).next = if broken { Next::Nothing } else { Next::Start };
        if dir == Dir::Resp {
            self.reply_made(cx);
        }
    }

    pub(super) fn reply_made(&mut self, cx: &mut Cx<'_>) {
        if !(100..200).contains(&self.reply_code) {
            self.unanswered.pop_front();
        }
        let upgrades = self.reply_code == 101 && self.upgrade && self.upgrade_named;
        if upgrades && (self.unanswered.len() == 1 || cx.is_half) {
            self.side(Dir::Resp).next = Next::Nothing;
            let known = self.upgrade_websocket.then_some(&websocket::KIND);
            if known.is_some() {
                self.websocket.check(cx);
            }
            self.stop(cx, known);
        }
        self.reply_code = 0;
        self.upgrade = false;
        self.upgrade_named = false;
        self.upgrade_websocket = false;
    }
}

/// Zeek compares only as many characters as the method has.
fn is_beginning_of(method: &[u8], word: &[u8]) -> bool {
    word.get(..method.len()).is_some_and(|head| head.eq_ignore_ascii_case(method))
}
