//! Bodies: chunks, parts, encodings, and the end of a message. Source: RFC 9112 sections 6 and 7, RFC
//! 2046 section 5.1; Zeek's `HTTP_Entity` and `MIME_Entity` for what happens where they are broken.

use super::entity::{Chunk, DEPTH_MAX, Delimiter, Encoding, Entity, Expect, Kind, Transfer};
use super::field;
use super::inflate::Inflate;
use super::transfer::{self, Base64};
use super::{Http, weird};
use crate::analyzer::{Cx, Dir};

/// Bytes that are handed on as they are when a body ends with the flow (Zeek's `INT_MAX`).
const UNTIL_THE_END: u64 = i32::MAX as u64;

impl Http {
    /// Bytes of a message: a line without its end, or anything (`line` false).
    pub(super) fn deliver(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8], line: bool) {
        self.deliver_to(cx, dir, 0, data, line);
    }

    fn deliver_to(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize, data: &[u8], line: bool) {
        let Some(entity) = self.entity(dir, depth) else { return };
        if entity.ended {
            return;
        }
        if entity.in_header {
            if !line {
                weird(cx, "http_no_crlf_in_header_list");
            }
            self.header_line(cx, dir, depth, data);
            return;
        }
        match (entity.kind, entity.chunk, entity.length) {
            (Kind::Simple, Chunk::None, None) => self.body(cx, dir, depth, data, line),
            (Kind::Simple, Chunk::None, Some(_)) => self.sized(cx, dir, depth, data),
            (Kind::Simple, chunk, _) => self.chunked(cx, dir, depth, data, chunk),
            _ => self.structured(cx, dir, depth, data, line),
        }
    }

    /// A body of known length.
    fn sized(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize, data: &[u8]) {
        self.body(cx, dir, depth, data, false);
        if self.use_up(dir, depth, data.len()) {
            self.side(dir).lines.set_plain(0);
            self.end_entity(cx, dir, depth);
        }
    }

    /// Whether nothing is left of a body after these bytes.
    fn use_up(&mut self, dir: Dir, depth: usize, len: usize) -> bool {
        let Some(entity) = self.entity(dir, depth) else { return false };
        entity.left = entity.left.saturating_sub(i64::try_from(len).unwrap_or(i64::MAX));
        entity.left <= 0
    }

    fn structured(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize, data: &[u8], line: bool) {
        self.body(cx, dir, depth, data, line);
        let has_length = self.entity(dir, depth).is_some_and(|entity| entity.length > Some(0));
        let len = data.len() + if line { 2 } else { 0 };
        if depth == 0 && has_length && self.use_up(dir, depth, len) {
            self.side(dir).lines.set_plain(0);
            self.end_entity(cx, dir, depth);
        }
    }

    fn chunked(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize, data: &[u8], chunk: Chunk) {
        let next = match chunk {
            Chunk::Size => self.chunk_size(cx, dir, depth, data),
            Chunk::Data => {
                let all = self.use_up(dir, depth, data.len());
                if all {
                    self.side(dir).lines.set_plain(0);
                    self.set_chunk(dir, depth, Chunk::End);
                }
                self.body(cx, dir, depth, data, false);
                return;
            }
            Chunk::End => Chunk::Size,
            other => other,
        };
        self.set_chunk(dir, depth, next);
    }

    fn set_chunk(&mut self, dir: Dir, depth: usize, chunk: Chunk) {
        if let Some(entity) = self.entity(dir, depth) {
            entity.chunk = chunk;
        }
    }

    fn chunk_size(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize, line: &[u8]) -> Chunk {
        let size = field::number(line, 16);
        if size.is_none() {
            super::weird_with(cx, "HTTP_bad_chunk_size", line);
        }
        let size = size.unwrap_or(0);
        let Some(entity) = self.entity(dir, depth) else { return Chunk::Over };
        entity.left = size;
        entity.in_header = size <= 0;
        if size <= 0 {
            return Chunk::Trailer;
        }
        self.side(dir).lines.set_plain(size.unsigned_abs());
        Chunk::Data
    }

    /// Bytes of a body, as they came over the wire but for chunks.
    fn body(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize, data: &[u8], line: bool) {
        let Some(entity) = self.entity(dir, depth) else { return };
        if entity.encoding == Encoding::Plain {
            self.clear_body(cx, dir, depth, data, line);
            return;
        }
        // It is taken out, as what it holds can end the entity.
        let mut inflate = entity.inflate.take().unwrap_or_else(|| Box::new(Inflate::default()));
        let ok = inflate.push(data, &mut |piece| self.clear_body(cx, dir, depth, piece, false));
        if !ok {
            cx.weird("inflate_failed", None, Some("ZIP"));
        }
        if let Some(entity) = self.entity(dir, depth).filter(|entity| !entity.ended) {
            entity.inflate = Some(inflate);
        }
    }

    /// Bytes of a body, decompressed.
    fn clear_body(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize, data: &[u8], line: bool) {
        let mid_line = self.side(dir).message.mid_line;
        let Some(entity) = self.entity(dir, depth) else { return };
        entity.body += data.len() as u64 + if line { 2 } else { 0 };
        if entity.kind == Kind::Simple {
            self.content(cx, dir, depth, data, line);
            return;
        }
        let delimiter = match entity.kind {
            Kind::Multipart if !mid_line => entity.delimiter(data),
            _ => None,
        };
        match delimiter {
            Some(Delimiter::Next) => {
                self.end_part(cx, dir, depth);
                self.begin_part(cx, dir, depth);
            }
            Some(Delimiter::Last) => {
                self.end_part(cx, dir, depth);
                self.end_entity(cx, dir, depth);
            }
            // What stands before the first part is nobody's.
            None => self.deliver_to(cx, dir, depth + 1, data, line),
        }
    }

    /// Bytes of an entity without parts: undoes its transfer encoding.
    fn content(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize, data: &[u8], line: bool) {
        let in_multipart = depth > 0 && self.is_multipart(dir, depth - 1);
        let Some(entity) = self.entity(dir, depth) else { return };
        match entity.transfer {
            Transfer::Binary => {
                let before = std::mem::replace(&mut entity.pending_end, line && in_multipart);
                if before {
                    self.submit(cx, dir, depth, b"\r\n");
                }
                self.submit(cx, dir, depth, data);
                if line && !in_multipart {
                    self.submit(cx, dir, depth, b"\r\n");
                }
            }
            Transfer::QuotedPrintable => {
                let mut plain = Vec::with_capacity(data.len() + 2);
                transfer::quoted_printable(data, &mut plain);
                self.submit(cx, dir, depth, &plain);
            }
            Transfer::Base64 => {
                let Some(decoder) = entity.base64.as_mut() else { return };
                let mut plain = Vec::with_capacity(data.len());
                decoder.decode(data, &mut plain, &mut illegal_base64(cx));
                self.submit(cx, dir, depth, &plain);
            }
        }
    }

    fn is_multipart(&mut self, dir: Dir, depth: usize) -> bool {
        self.entity(dir, depth).is_some_and(|entity| entity.kind == Kind::Multipart)
    }

    /// The header of an entity is over: is there a body, and how does it end?
    pub(super) fn header_done(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize) {
        if depth > 0 && self.is_multipart(dir, depth - 1) {
            self.side(dir).lines.set_strict(true);
        }
        let closes = self.connection_close;
        let Some(entity) = self.entity(dir, depth) else { return };
        let structured = entity.kind != Kind::Simple;
        let chunked = entity.chunk == Chunk::Announced && entity.expect != Expect::No;
        if structured && chunked {
            weird(cx, "HTTP_chunked_transfer_for_multipart_message");
        }
        match body_of(entity, closes) {
            Body::None => {
                if entity.chunk == Chunk::Trailer {
                    entity.chunk = Chunk::Over;
                }
                self.end_entity(cx, dir, depth);
            }
            Body::Lines => {
                // Only the length of the whole body says where its last line ends.
                let length = entity.length.filter(|_| structured && depth == 0);
                match length.map(|length| (length, length.unsigned_abs())) {
                    Some((0, _)) => self.end_entity(cx, dir, depth),
                    Some((length, limit)) => {
                        entity.left = length;
                        self.side(dir).lines.set_limit(Some(limit));
                    }
                    None => {}
                }
            }
            Body::Chunks => entity.chunk = Chunk::Size,
            Body::Plain(length) => {
                entity.left = i64::try_from(length).unwrap_or(i64::MAX);
                self.side(dir).lines.set_plain(length);
            }
        }
    }

    /// The header of an entity is over, and it has not ended with it.
    pub(super) fn begin_body(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize) {
        let Some(entity) = self.entity(dir, depth) else { return };
        if entity.transfer == Transfer::Base64 {
            entity.base64 = Some(Base64::default());
        }
        if entity.kind == Kind::Message {
            self.begin_part(cx, dir, depth);
        }
    }

    fn begin_part(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize) {
        if depth >= DEPTH_MAX {
            super::weird_with(cx, "exceeded_mime_max_depth", DEPTH_MAX.to_string().as_bytes());
            return;
        }
        let message = &mut self.side(dir).message;
        let Some(part) = message.entities.get(depth).filter(|e| !e.ended).map(Entity::part) else {
            return;
        };
        message.entities.truncate(depth + 1);
        message.entities.push(part);
        message.current = Some(depth + 1);
        self.begin_entity_event(cx, dir);
    }

    fn end_part(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize) {
        if self.entity(dir, depth + 1).is_some() {
            self.end_entity(cx, dir, depth + 1);
            self.side(dir).message.entities.truncate(depth + 1);
        }
    }

    /// Nothing more belongs to an entity.
    pub(super) fn end_entity(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize) {
        let Some(entity) = self.entity(dir, depth) else { return };
        entity.inflate = None;
        entity.encoding = Encoding::Plain;
        if std::mem::replace(&mut entity.ended, true) {
            return;
        }
        if std::mem::take(&mut entity.in_header) {
            self.finish_header(cx, dir, depth);
            self.header_done(cx, dir, depth);
        } else {
            self.end_part(cx, dir, depth);
            self.finish_base64(cx, dir, depth);
        }
        if depth == 0 {
            let message = &mut self.side(dir).message;
            message.body = message.entities.first().map_or(0, |entity| entity.body);
        }
        self.log.current().into_iter().for_each(|record| record.end_entity());
        self.side(dir).message.current = depth.checked_sub(1);
        if depth > 0 && self.is_multipart(dir, depth - 1) {
            self.side(dir).lines.set_strict(false);
        }
        if depth == 0 {
            self.message_done(cx, dir);
        } else {
            self.end_file(cx, dir, depth);
        }
    }

    fn finish_base64(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize) {
        let Some(mut decoder) = self.entity(dir, depth).and_then(|entity| entity.base64.take())
        else {
            return;
        };
        let mut plain = Vec::new();
        decoder.finish(&mut plain, &mut illegal_base64(cx));
        self.submit(cx, dir, depth, &plain);
    }

    /// Bytes that were never seen. Whether they lie wholly within a body, so that it can go on.
    pub(super) fn body_gap(&mut self, cx: &mut Cx<'_>, dir: Dir, len: u64) -> bool {
        let depth = self.side(dir).message.current.unwrap_or(0);
        let Some(entity) = self.entity(dir, depth) else { return false };
        if (entity.ended && entity.in_header) || entity.body == 0 {
            return false;
        }
        self.file_gap(cx, dir, depth, len);
        let Some(entity) = self.entity(dir, depth) else { return false };
        let chunked = entity.chunk != Chunk::None;
        let fits = i64::try_from(len).is_ok_and(|len| entity.left >= len);
        let within = if chunked { entity.chunk == Chunk::Data } else { entity.length.is_some() };
        if !within || !fits {
            return false;
        }
        entity.body += len;
        entity.left -= i64::try_from(len).unwrap_or(0);
        let left = entity.left;
        if chunked && left == 0 {
            entity.chunk = Chunk::End;
        }
        self.side(dir).lines.set_plain(left.unsigned_abs());
        if !chunked && left == 0 {
            self.end_entity(cx, dir, depth);
        }
        true
    }
}

/// How a body comes.
enum Body {
    /// There is none.
    None,
    /// In lines: until the flow ends, or parts that end themselves.
    Lines,
    /// In chunks.
    Chunks,
    /// So many bytes.
    Plain(u64),
}

fn body_of(entity: &Entity, closes: bool) -> Body {
    if entity.chunk == Chunk::Trailer || entity.expect == Expect::No {
        return Body::None;
    }
    if entity.kind != Kind::Simple {
        return Body::Lines;
    }
    if entity.chunk != Chunk::None {
        return Body::Chunks;
    }
    match entity.length.map(i64::unsigned_abs) {
        Some(0) => Body::None,
        Some(length) => Body::Plain(length),
        None if closes || entity.encoding == Encoding::Compressed => Body::Plain(UNTIL_THE_END),
        None if entity.expect == Expect::Yes => Body::Lines,
        None => Body::None,
    }
}

fn illegal_base64<'a>(cx: &'a mut Cx<'_>) -> impl FnMut(String) + 'a {
    |text| cx.weird("base64_illegal_encoding", Some(&text), None)
}
