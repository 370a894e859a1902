//! Which reply belongs to which request, and when a row is written. Source: Zeek
//! `base/protocols/http/main.zeek` and `entities.zeek`, whose events are the methods here.

use super::record::{Field, Record};
use super::start::Version;
use crate::analyzer::{Cx, Dir};
use crate::few;
use crate::tunnel::Proxy;

/// Requests that may wait for a reply before all are written (Zeek's `HTTP::max_pending_requests`).
const PENDING_MAX: usize = 100;

/// Text that all pending transactions of one flow keep: what comes beyond it is cut.
const FLOW_TEXT_BYTES_MAX: usize = 1024 * 1024;

/// Methods that are not worth a word (Zeek's `HTTP::http_methods`).
const METHODS: &[&[u8]] = &[
    b"GET",
    b"POST",
    b"HEAD",
    b"OPTIONS",
    b"PUT",
    b"DELETE",
    b"TRACE",
    b"CONNECT",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"POLL",
    b"REPORT",
    b"SUBSCRIBE",
    b"BMOVE",
    b"SEARCH",
];

/// The transactions of a flow whose rows are not written.
#[derive(Debug, Default)]
pub struct Log {
    /// By number of request or reply, which both count from 1.
    pending: Vec<(u64, Record)>,
    /// Numbers of the current request and reply.
    numbers: [u64; 2],
    depth: u64,
    /// Depth of the transaction that was spoken of last (Zeek's `c$http`), which may be written already.
    current: u64,
    spare: Option<Record>,
}

impl Log {
    /// A request line was seen.
    pub fn request(&mut self, cx: &mut Cx<'_>, method: &[u8], uri: &[u8]) {
        let [requests, replies] = self.numbers;
        if requests < replies {
            cx.weird("HTTP_response_before_request", None, None);
            self.numbers[0] = replies;
        }
        if self.pending.len() > PENDING_MAX {
            cx.weird("HTTP_excessive_pipelining", None, None);
            self.flush_requests(cx);
        }
        self.numbers[0] += 1;
        self.turn(cx, Dir::Orig);
        self.set(Field::Method, method);
        self.set(Field::Uri, uri);
        let injects = super::sqli::is_injection(uri);
        self.current().into_iter().for_each(|record| record.injects = injects);
        if !METHODS.contains(&method) {
            cx.weird("unknown_HTTP_method", Some(&super::record::wire(method)), None);
        }
    }

    /// Writes the requests that were not answered, all but the last.
    fn flush_requests(&mut self, cx: &mut Cx<'_>) {
        self.numbers[1] = self.numbers[1].max(1);
        while self.numbers[1] < self.numbers[0] {
            self.write(cx, self.numbers[1]);
            self.numbers[1] += 1;
        }
    }

    /// A status line was seen.
    pub fn reply(&mut self, cx: &mut Cx<'_>, version: Version, code: u16, reason: &[u8]) {
        let number = self.numbers[1];
        let open = self.pending.iter().find(|(at, _)| *at == number);
        let waits = open.is_some_and(|(_, record)| record.status.is_none_or(is_info));
        if !waits {
            self.numbers[1] += 1;
        }
        self.turn(cx, Dir::Resp);
        self.set(Field::StatusMsg, reason);
        if is_info(code) {
            self.set(Field::InfoMsg, reason);
        }
        let Some(record) = self.current() else { return };
        record.status = Some(code);
        record.version = Some(version);
        if is_info(code) {
            record.info = Some(code);
        }
        if code == 200 && record.get(Field::Method) == Some(b"CONNECT") {
            cx.proxy(Proxy::Http);
        }
    }

    /// Speaks of the current request or reply from now on; it begins if it is not open.
    pub fn turn(&mut self, cx: &Cx<'_>, dir: Dir) {
        let number = self.numbers[dir.index()];
        if let Some((_, record)) = self.pending.iter().find(|(at, _)| *at == number) {
            self.current = record.depth;
            return;
        }
        self.depth += 1;
        self.current = self.depth;
        let mut record = self.spare.take().unwrap_or_default();
        record.reset(cx.now, self.depth);
        few::push(&mut self.pending, (number, record));
    }

    /// The transaction that is spoken of, unless its row is written.
    pub fn current(&mut self) -> Option<&mut Record> {
        self.of(self.current)
    }

    /// The transaction of this depth, unless its row is written.
    pub fn of(&mut self, depth: u64) -> Option<&mut Record> {
        // The newest is the likeliest.
        self.pending.iter_mut().rev().map(|(_, record)| record).find(|record| record.depth == depth)
    }

    /// Depth of the transaction that is spoken of.
    pub fn current_depth(&self) -> u64 {
        self.current
    }

    /// Bytes of text that may be added.
    pub fn room(&self) -> usize {
        let used: usize = self.pending.iter().map(|(_, record)| record.text_len()).sum();
        FLOW_TEXT_BYTES_MAX.saturating_sub(used)
    }

    /// Sets a text cell of the transaction that is spoken of.
    pub fn set(&mut self, field: Field, bytes: &[u8]) {
        let room = self.room();
        if let Some(record) = self.current() {
            record.set(field, bytes, room);
        }
    }

    /// A message is complete, or nothing more comes of it. A final reply completes the transaction.
    pub fn message_done(&mut self, cx: &mut Cx<'_>, dir: Dir, body: u64) {
        self.turn(cx, dir);
        let Some(record) = self.current() else { return };
        record.body[dir.index()] = body;
        let is_final = dir == Dir::Resp && !record.status.is_some_and(is_info);
        if is_final {
            self.write(cx, self.numbers[1]);
        }
    }

    /// The flow is over: writes what is open.
    pub fn finish(&mut self, cx: &mut Cx<'_>) {
        for (number, record) in std::mem::take(&mut self.pending) {
            // As in Zeek, number 0 is nobody's.
            if number > 0 {
                record.write(cx);
            }
        }
    }

    fn write(&mut self, cx: &mut Cx<'_>, number: u64) {
        let Some(at) = self.pending.iter().position(|(n, _)| *n == number) else { return };
        let (_, record) = self.pending.remove(at);
        record.write(cx);
        self.spare = Some(record);
    }
}

fn is_info(code: u16) -> bool {
    (100..200).contains(&code)
}
