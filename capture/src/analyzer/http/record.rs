//! What is known of one request and its reply, until its row is written.

use std::borrow::Cow;

use model::stream::http;
use model::text::{self, CELL_BYTES_MAX};

use super::start::Version;
use crate::analyzer::{Cx, Dir};
use crate::few;

/// Text that one transaction keeps. Zeek logs up to 256 000 bytes a row; the rest of a longer one is
/// cut.
pub const TEXT_BYTES_MAX: usize = 256_000;

/// Files of one direction that a row tells of (Zeek's `HTTP::max_files_orig`, `max_files_resp`).
const FILES_MAX: usize = 15;

/// Headers of proxies that a row tells of: far more than any request has.
const PROXIED_MAX: usize = 64;

/// A text cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Verb.
    Method,
    /// Host header.
    Host,
    /// Target.
    Uri,
    /// Referer header.
    Referrer,
    /// User-Agent header.
    UserAgent,
    /// Origin header.
    Origin,
    /// Reason phrase.
    StatusMsg,
    /// Reason phrase of the last 1xx reply.
    InfoMsg,
    /// User of basic authentication.
    Username,
}

const FIELDS: usize = 9;

/// A place in a record's text.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    at: u32,
    len: u32,
}

/// Files of one direction.
#[derive(Debug, Default)]
struct Files {
    fuids: Vec<String>,
    names: Vec<Span>,
    types: Vec<&'static str>,
}

/// One transaction.
#[derive(Debug, Default)]
pub struct Record {
    /// When it began.
    pub ts: i64,
    /// Its number in the flow, which no other transaction of it has.
    pub depth: u64,
    /// Version of the reply.
    pub version: Option<Version>,
    /// Status.
    pub status: Option<u16>,
    /// Last 1xx status.
    pub info: Option<u16>,
    /// Bytes of the bodies.
    pub body: [u64; 2],
    /// Parts of the bodies so far.
    pub parts: [u32; 2],
    /// The target looks like an SQL injection.
    pub injects: bool,
    /// The request asked for a range.
    pub ranged: bool,
    /// An entity is open.
    pub in_entity: bool,
    entity_name: Option<Span>,
    fields: [Option<Span>; FIELDS],
    proxied: Vec<Span>,
    files: [Files; 2],
    text: Vec<u8>,
}

impl Record {
    /// Makes it as new, keeping its room.
    pub fn reset(&mut self, ts: i64, depth: u64) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        *self = Record { ts, depth, text, ..Record::default() };
    }

    /// Bytes of text it holds.
    pub fn text_len(&self) -> usize {
        self.text.len()
    }

    /// The text of a cell.
    pub fn get(&self, field: Field) -> Option<&[u8]> {
        self.fields.get(field as usize).copied().flatten().map(|span| self.bytes(span))
    }

    /// Sets a text cell; at most `room` bytes are added to what the record holds.
    pub fn set(&mut self, field: Field, bytes: &[u8], room: usize) {
        let old = self.fields.get(field as usize).copied().flatten();
        // A header that comes again and again takes room once.
        let span = match old.filter(|old| old.len as usize >= bytes.len()) {
            Some(old) => self.overwrite(old, bytes),
            None => self.add(&[bytes], room),
        };
        if let Some(place) = self.fields.get_mut(field as usize) {
            *place = Some(span);
        }
    }

    /// Adds a header that tells of a proxy, unless it is known.
    pub fn add_proxied(&mut self, name: &[u8], value: &[u8], room: usize) {
        if self.proxied.len() >= PROXIED_MAX {
            return;
        }
        let span = self.add(&[name, b" -> ", value], room);
        let known = self.proxied.iter().any(|old| self.bytes(*old) == self.bytes(span));
        if !known {
            self.proxied.push(span);
        }
    }

    /// An entity begins.
    pub fn begin_entity(&mut self, dir: Dir) {
        let [orig, resp] = &mut self.parts;
        let parts = if dir == Dir::Orig { orig } else { resp };
        *parts = parts.saturating_add(1);
        self.in_entity = true;
        self.entity_name = None;
    }

    /// Names the file that the open entity is.
    pub fn name_entity(&mut self, name: &[u8], room: usize) {
        self.entity_name = Some(self.add(&[name], room));
    }

    /// What the open entity is called.
    pub fn entity_name(&self) -> Option<&[u8]> {
        self.entity_name.map(|span| self.bytes(span))
    }

    /// The open entity is over.
    pub fn end_entity(&mut self) {
        self.in_entity = false;
        self.entity_name = None;
    }

    /// A file begins.
    pub fn add_file(&mut self, dir: Dir, fuid: &str) {
        let name = self.entity_name;
        let Some(files) = self.files.get_mut(dir.index()) else { return };
        if files.fuids.len() < FILES_MAX {
            few::push(&mut files.fuids, fuid.to_owned());
            files.names.extend(name);
        }
    }

    /// A file's type is known.
    pub fn add_type(&mut self, dir: Dir, name: &'static str) {
        let Some(files) = self.files.get_mut(dir.index()) else { return };
        if files.types.len() < FILES_MAX {
            files.types.push(name);
        }
    }

    fn bytes(&self, span: Span) -> &[u8] {
        let at = span.at as usize;
        self.text.get(at..at + span.len as usize).unwrap_or_default()
    }

    fn add(&mut self, pieces: &[&[u8]], room: usize) -> Span {
        let at = self.text.len();
        let mut room = room.min(TEXT_BYTES_MAX.saturating_sub(at));
        for piece in pieces {
            let piece = piece.get(..room).unwrap_or(piece);
            self.text.extend_from_slice(piece);
            room -= piece.len();
        }
        Span { at: at as u32, len: (self.text.len() - at) as u32 }
    }

    fn overwrite(&mut self, old: Span, bytes: &[u8]) -> Span {
        let at = old.at as usize;
        if let Some(place) = self.text.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        Span { at: old.at, len: bytes.len() as u32 }
    }

    /// Writes the row.
    pub fn write(&self, cx: &mut Cx<'_>) {
        let version = self.version.map(|(major, minor)| [b'0' + major, b'.', b'0' + minor]);
        let version = version.as_ref().and_then(|text| std::str::from_utf8(text).ok());
        let cell = |field| self.get(field).map(wire);
        let cells: [Option<Cow<'_, str>>; FIELDS] = [
            cell(Field::Method),
            cell(Field::Host),
            cell(Field::Uri),
            cell(Field::Referrer),
            cell(Field::UserAgent),
            cell(Field::Origin),
            cell(Field::StatusMsg),
            cell(Field::InfoMsg),
            cell(Field::Username),
        ];
        let [method, host, uri, referrer, user_agent, origin, status_msg, info_msg, username] =
            cells.each_ref().map(Option::as_deref);
        let proxied: Vec<_> = self.proxied.iter().map(|span| wire(self.bytes(*span))).collect();
        let proxied: Vec<&str> = proxied.iter().map(|text| &**text).collect();
        let [orig, resp] = &self.files;
        let (orig_fuids, resp_fuids) = (texts(&orig.fuids), texts(&resp.fuids));
        let names = |files: &Files| -> Vec<String> {
            files.names.iter().map(|span| wire(self.bytes(*span)).into_owned()).collect()
        };
        let (orig_names, resp_names) = (names(orig), names(resp));
        let (orig_names, resp_names) = (texts(&orig_names), texts(&resp_names));
        let (mark, ids) = (cx.mark(), cx.ids);
        let row = http::Row {
            ts: self.ts,
            uid: &ids.uid,
            orig_h: ids.tuple.orig_h,
            orig_p: ids.tuple.orig_p,
            resp_h: ids.tuple.resp_h,
            resp_p: ids.tuple.resp_p,
            trans_depth: self.depth,
            method,
            host,
            uri,
            referrer,
            version,
            user_agent,
            origin,
            request_body_len: self.body[0],
            response_body_len: self.body[1],
            status_code: self.status.map(u64::from),
            status_msg,
            info_code: self.info.map(u64::from),
            info_msg,
            tags: if self.injects { &[super::sqli::TAG] } else { &[] },
            username,
            proxied: some(&proxied),
            orig_fuids: some(&orig_fuids),
            orig_filenames: some(&orig_names),
            orig_mime_types: some(&orig.types),
            resp_fuids: some(&resp_fuids),
            resp_filenames: some(&resp_names),
            resp_mime_types: some(&resp.types),
            community_id: &ids.community_id,
            ..http::Row::unset()
        };
        cx.out.http.push(mark, row);
    }
}

fn texts(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

fn some<'a>(list: &'a [&'a str]) -> Option<&'a [&'a str]> {
    (!list.is_empty()).then_some(list)
}

/// Wire bytes as text. http.log alone has no limit for a cell (`HTTP::default_max_field_string_bytes`),
/// so what is longer than [`text::from_wire`] takes is given to it in pieces, cut between characters.
pub fn wire(bytes: &[u8]) -> Cow<'_, str> {
    if bytes.len() <= CELL_BYTES_MAX {
        return text::from_wire(bytes);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut whole = String::with_capacity(bytes.len() + 64);
    let mut rest = bytes;
    while !rest.is_empty() {
        let is_inside = |at: &usize| rest.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
        let back = (0..3).take_while(|back| is_inside(&(CELL_BYTES_MAX - back))).count();
        let (head, tail) = rest.split_at_checked(CELL_BYTES_MAX - back).unwrap_or((rest, &[]));
        whole.push_str(&text::from_wire(head));
        rest = tail;
    }
    Cow::Owned(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_not_cut() {
        let mut bytes = "\u{20ac}".repeat(3000).into_bytes();
        bytes.push(0xff);
        assert_eq!(wire(&bytes), format!("{}\\xff", "\u{20ac}".repeat(3000)));
        let cut = &bytes[1..];
        assert_eq!(wire(cut), format!("\\x82\\xac{}\\xff", "\u{20ac}".repeat(2999)));
    }

    #[test]
    fn a_cell_that_comes_again_takes_no_room() {
        let mut record = Record::default();
        for _ in 0..1000 {
            record.set(Field::Host, b"abc", usize::MAX);
            record.set(Field::Host, b"ab", usize::MAX);
        }
        assert_eq!(record.get(Field::Host), Some(&b"ab"[..]));
        assert!(record.text_len() < 4000);
        record.set(Field::Uri, b"abcdef", 3);
        assert_eq!(record.get(Field::Uri), Some(&b"abc"[..]));
    }
}
