//! Header fields of messages and parts: folding, what they say of the body, what goes into the row.
//! Source: RFC 9110, RFC 9112 section 5; Zeek's `MIME_Entity`, `HTTP_Entity::SubmitHeader`,
//! `HTTP_Analyzer::HTTP_Header` and the handlers of `http_header` in `main.zeek` and `entities.zeek`.

use super::entity::{Chunk, Encoding, HEADER_BYTES_MAX, Kind, Transfer};
use super::record::Field;
use super::transfer::Base64;
use super::{Http, field, filename, weird, weird_with};
use crate::analyzer::{Cx, Dir};

/// Bytes of a boundary that are compared; the standard allows 70.
const BOUNDARY_BYTES_MAX: usize = 1024;

/// Headers that tell of a proxy (Zeek's `HTTP::proxy_headers`).
const PROXY_HEADERS: &[&str] = &[
    "FORWARDED",
    "X-FORWARDED-FOR",
    "X-FORWARDED-FROM",
    "CLIENT-IP",
    "VIA",
    "XROXY-CONNECTION",
    "PROXY-CONNECTION",
];

impl Http {
    /// A line of an entity's header; an empty one ends it, and so does one that begins with zero.
    pub(super) fn header_line(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize, line: &[u8]) {
        match line.first() {
            None | Some(0) => {
                self.finish_header(cx, dir, depth);
                let Some(entity) = self.entity(dir, depth) else { return };
                entity.in_header = false;
                self.header_done(cx, dir, depth);
                if self.entity(dir, depth).is_some_and(|entity| !entity.ended) {
                    self.begin_body(cx, dir, depth);
                }
            }
            Some(b' ' | b'\t') => self.fold(cx, dir, depth, line),
            Some(_) => self.begin_header(cx, dir, depth, line),
        }
    }

    fn begin_header(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize, line: &[u8]) {
        self.finish_header(cx, dir, depth);
        if line.is_empty() {
            return;
        }
        let message = &mut self.side(dir).message;
        message.header.clear();
        message.header.extend_from_slice(line);
        message.header_lines = 1;
    }

    fn fold(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize, line: &[u8]) {
        let message = &mut self.side(dir).message;
        if message.header_lines == 0 {
            self.begin_header(cx, dir, depth, super::start::skip_blanks(line));
            return;
        }
        if message.header.len() >= HEADER_BYTES_MAX {
            let length = message.header.len().to_string();
            cx.gave_up = true;
            weird_with(cx, "exceeded_mime_max_header_bytes", length.as_bytes());
            return;
        }
        message.header.extend_from_slice(line);
        message.header_lines = message.header_lines.saturating_add(1);
    }

    /// The header field that was begun is complete.
    pub(super) fn finish_header(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize) {
        let message = &mut self.side(dir).message;
        let lines = std::mem::take(&mut message.header_lines);
        if lines == 0 {
            return;
        }
        let header = std::mem::take(&mut message.header);
        if let Some((name, value)) = field::split(&header) {
            if depth == 0 && lines > 1 {
                weird_with(cx, "HTTP_obsolete_line_folding", name);
            }
            self.header(cx, dir, depth, name, value);
        }
        self.side(dir).message.header = header;
    }

    fn header(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize, name: &[u8], value: &[u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let token = || field::token(value).unwrap_or_default();
        if is("content-type") {
            self.content_type(dir, depth, value);
        } else if is("content-transfer-encoding") {
            self.transfer_encoding(dir, depth, token().0);
        } else if is("content-length") {
            self.content_length(cx, dir, depth, token().0);
        } else if is("content-range") && self.reply_code == 206 {
            if !self.content_range(cx, dir, depth, value) {
                return;
            }
        } else if is("transfer-encoding") {
            self.chunked_encoding(cx, dir, depth, token());
        } else if is("content-encoding") {
            self.content_encoding(dir, depth, token().0);
        } else if is("expect") {
            self.expect(cx, dir, depth, token().0);
        }
        self.connection_header(dir, name, value);
        self.websocket.header(cx, dir, name, value);
        self.log_header(cx, dir, name, value);
    }

    fn content_type(&mut self, dir: Dir, depth: usize, value: &[u8]) {
        let Some((kind, _, parameters)) = field::media_type(value) else { return };
        let Some(entity) = self.entity(dir, depth) else { return };
        entity.kind = match kind {
            kind if kind.eq_ignore_ascii_case(b"multipart") => Kind::Multipart,
            kind if kind.eq_ignore_ascii_case(b"message") => Kind::Message,
            _ => Kind::Simple,
        };
        if entity.kind != Kind::Multipart {
            return;
        }
        if let Some(mut boundary) = field::boundary(parameters) {
            boundary.truncate(BOUNDARY_BYTES_MAX);
            entity.boundary = Some(boundary);
        }
        if entity.boundary.is_none() {
            entity.kind = Kind::Simple;
        }
    }

    fn transfer_encoding(&mut self, dir: Dir, depth: usize, token: &[u8]) {
        let Some(entity) = self.entity(dir, depth).filter(|_| !token.is_empty()) else { return };
        entity.transfer = match token {
            token if token.eq_ignore_ascii_case(b"base64") => Transfer::Base64,
            token if token.eq_ignore_ascii_case(b"quoted-printable") => Transfer::QuotedPrintable,
            _ => Transfer::Binary,
        };
    }

    fn content_length(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize, token: &[u8]) {
        let Some(entity) = self.entity(dir, depth) else { return };
        if entity.chunk != Chunk::None {
            weird(cx, "HTTP_content_length_and_chunked");
        }
        if token.is_empty() {
            return;
        }
        let Some(length) = field::number(token, 10).filter(|length| *length >= 0) else {
            weird_with(cx, "HTTP_bad_content_length", token);
            entity.length = Some(0);
            return;
        };
        if length > 0 && token.first() == Some(&b'0') {
            weird_with(cx, "HTTP_content_length_leading_zeros", token);
        }
        entity.length = Some(length);
        if entity.range_at.is_some() && entity.range_length != length {
            // The longer one counts: the shorter would be a way around inspection.
            weird(cx, "HTTP_range_not_matching_len");
            entity.length = Some(length.max(entity.range_length));
        }
        if entity.length == Some(0) && entity.continues {
            weird(cx, "HTTP_content_length_0_and_expect_100_cont");
        }
    }

    /// A Content-Range; false if it cannot be used, and then it goes no further.
    fn content_range(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize, value: &[u8]) -> bool {
        let Some(entity) = self.entity(dir, depth) else { return false };
        if entity.chunk != Chunk::None {
            weird(cx, "HTTP_content_range_and_chunked");
        }
        let (range, odd) = match field::content_range(value) {
            Ok(found) => found,
            Err((name, range)) => {
                weird_with(cx, name, range.as_deref().unwrap_or_default());
                return false;
            }
        };
        if let Some((name, range)) = odd {
            weird_with(cx, name, range.as_deref().unwrap_or_default());
        }
        entity.whole = range.whole.unwrap_or(entity.whole);
        entity.range_at = Some(range.first);
        entity.range_length = range.length;
        match entity.length.filter(|length| *length > 0) {
            None => entity.length = Some(range.length),
            Some(length) if length != range.length => {
                weird(cx, "HTTP_range_not_matching_len");
                entity.length = Some(length.max(range.length));
            }
            Some(_) => {}
        }
        true
    }

    fn chunked_encoding(
        &mut self,
        cx: &mut Cx<'_>,
        dir: Dir,
        depth: usize,
        (token, rest): (&[u8], &[u8]),
    ) {
        if depth > 0 {
            weird(cx, "HTTP_nested_transfer_encoding_header");
            return;
        }
        // As in Zeek the version of a request on its way goes before the reply's.
        let speaking = if self.side(Dir::Orig).ongoing { Dir::Orig } else { Dir::Resp };
        let version = self.side(speaking).version;
        if !token.eq_ignore_ascii_case(b"chunked") || version != (1, 1) {
            return;
        }
        let Some(entity) = self.entity(dir, depth) else { return };
        entity.chunk = Chunk::Announced;
        if !rest.is_empty() {
            weird_with(cx, "HTTP_chunked_multi", rest);
        }
        if entity.length.is_some() {
            weird(cx, "HTTP_content_length_and_chunked");
        }
    }

    fn content_encoding(&mut self, dir: Dir, depth: usize, token: &[u8]) {
        let known = [&b"gzip"[..], b"x-gzip", b"deflate"];
        let is_known = known.iter().any(|name| token.eq_ignore_ascii_case(name));
        if let Some(entity) = self.entity(dir, depth).filter(|_| is_known) {
            entity.encoding = Encoding::Compressed;
        }
    }

    fn expect(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize, token: &[u8]) {
        if !token.eq_ignore_ascii_case(b"100-continue") {
            weird_with(cx, "HTTP_expect_not_100_continue", token);
        }
        let Some(entity) = self.entity(dir, depth) else { return };
        entity.continues = true;
        if entity.length == Some(0) {
            weird(cx, "HTTP_content_length_0_and_expect_100_cont");
        }
    }

    /// What a field says of the connection.
    fn connection_header(&mut self, dir: Dir, name: &[u8], value: &[u8]) {
        let token = || field::token(value).unwrap_or_default().0;
        let is = |known: &str| token().eq_ignore_ascii_case(known.as_bytes());
        if name.eq_ignore_ascii_case(b"connection") {
            match dir {
                Dir::Orig => self.keep_alive |= is("keep-alive"),
                Dir::Resp if is("close") => self.connection_close = true,
                Dir::Resp => self.upgrade |= is("upgrade"),
            }
        } else if dir == Dir::Resp && name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade_named = !token().is_empty();
            self.upgrade_websocket = is("websocket");
        }
    }

    /// What a field says in the row.
    fn log_header(&mut self, cx: &mut Cx<'_>, dir: Dir, name: &[u8], value: &[u8]) {
        self.log.turn(cx, dir);
        if dir == Dir::Orig {
            self.log_request_header(cx, name, value);
        }
        let room = self.log.room();
        let Some(record) = self.log.current() else { return };
        if !record.in_entity {
            weird(cx, "missing_HTTP_entity");
            return;
        }
        let named = if name.eq_ignore_ascii_case(b"content-disposition") {
            filename::of_disposition(value)
        } else if name.eq_ignore_ascii_case(b"content-type") {
            filename::of_type(value)
        } else {
            None
        };
        if let Some(named) = named {
            record.name_entity(&named, room);
        }
    }

    fn log_request_header(&mut self, cx: &mut Cx<'_>, name: &[u8], value: &[u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("referer") {
            self.log.set(Field::Referrer, value);
        } else if is("host") {
            self.log.set(Field::Host, value);
        } else if is("range") {
            self.log.current().into_iter().for_each(|record| record.ranged = true);
        } else if is("origin") {
            self.log.set(Field::Origin, value);
        } else if is("user-agent") {
            self.log.set(Field::UserAgent, value);
        } else if let Some(known) = PROXY_HEADERS.iter().find(|known| is(known)) {
            let room = self.log.room();
            if let Some(record) = self.log.current() {
                record.add_proxied(known.as_bytes(), value, room);
            }
        } else if is("authorization") || is("proxy-authorization") {
            self.authorization(cx, value);
        }
    }

    /// The user of basic authentication, RFC 7617. The password is not kept, as in Zeek unless
    /// `HTTP::default_capture_password` is on.
    fn authorization(&mut self, cx: &mut Cx<'_>, value: &[u8]) {
        let basic = value.get(..6).is_some_and(|head| head.eq_ignore_ascii_case(b"basic "));
        if !basic {
            return;
        }
        let text = super::start::skip_blanks(value.get(6..).unwrap_or_default());
        let mut plain = Vec::new();
        let mut illegal = |text: String| cx.weird("base64_illegal_encoding", Some(&text), None);
        let mut decoder = Base64::default();
        decoder.decode(text, &mut plain, &mut illegal);
        if decoder.failed() {
            plain.clear();
        } else {
            decoder.finish(&mut plain, &mut illegal);
        }
        match memchr::memchr(b':', &plain) {
            Some(at) => self.log.set(Field::Username, plain.get(..at).unwrap_or_default()),
            None => {
                let problem = [b"<problem-decoding> (", value, b")"].concat();
                self.log.set(Field::Username, &problem);
            }
        }
    }
}
