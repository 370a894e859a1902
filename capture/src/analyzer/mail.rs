//! Mail as SMTP and POP3 carry it: entities within entities (RFC 2045, RFC 2046), each a file. Source:
//! Zeek's `MIME_Entity`, `MIME_Mail` and `base/protocols/smtp/entities.zeek`.

use super::http::entity::{DEPTH_MAX, Delimiter, HEADER_BYTES_MAX, Kind, Transfer};
use super::http::transfer::{self, Base64};
use super::http::{field, filename};
use super::{Cx, text};
use crate::files::{About, FileRef};

/// Bytes of a boundary that are compared; the standard allows 70.
const BOUNDARY_BYTES_MAX: usize = 1024;

/// Whose mail it is.
#[derive(Debug, Clone, Copy)]
pub struct Whose {
    /// The protocol in files.log, such as `SMTP`; weirds are its as well.
    pub source: &'static str,
    /// The originator sends it.
    pub is_orig: bool,
    /// Its files say the how manieth entity of the flow they are.
    pub has_depth: bool,
}

/// A header with what follows it, or a part of that.
#[derive(Debug, Default)]
struct Entity {
    in_header: bool,
    ended: bool,
    kind: Kind,
    boundary: Option<Vec<u8>>,
    transfer: Transfer,
    base64: Option<Base64>,
    /// A line end that belongs to the content unless a boundary follows.
    pending_end: bool,
}

impl Entity {
    fn delimiter(&self, line: &[u8]) -> Option<Delimiter> {
        let rest = line.strip_prefix(b"--")?.strip_prefix(self.boundary.as_deref()?)?;
        Some(if rest.starts_with(b"--") { Delimiter::Last } else { Delimiter::Next })
    }
}

/// A mail on its way. The flow's count of entities outlives it.
#[derive(Debug)]
pub struct Mail {
    whose: Whose,
    /// The top and, each within the one before, the parts open at present.
    entities: Vec<Entity>,
    /// A header field that may go on in the next line, and whether there is one.
    header: Vec<u8>,
    has_header: bool,
    /// Of the entity that began last.
    filename: Option<Vec<u8>>,
    file: Option<FileRef>,
    /// Entities of the flow so far.
    count: u64,
}

impl Mail {
    /// A mail begins; so many entities the flow had before it.
    pub fn begin(whose: Whose, count: u64) -> Mail {
        let mut mail = Mail {
            whose,
            entities: Vec::new(),
            header: Vec::new(),
            has_header: false,
            filename: None,
            file: None,
            count,
        };
        mail.begin_entity();
        mail
    }

    /// Entities of the flow so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    fn begin_entity(&mut self) {
        let transfer = self.entities.last().map(|parent| parent.transfer).unwrap_or_default();
        self.entities.push(Entity { in_header: true, transfer, ..Entity::default() });
        self.count += 1;
        self.filename = None;
        self.file = None;
    }

    /// The next bytes: a line without its end, or with `ends` false a part of one.
    pub fn line(&mut self, cx: &mut Cx<'_>, line: &[u8], ends: bool) {
        let mut depth = 0;
        while let Some(entity) = self.entities.get(depth) {
            if entity.in_header {
                return self.header_line(cx, depth, line);
            }
            let delimiter = match entity.kind {
                Kind::Simple => return self.content(cx, depth, line, ends),
                Kind::Multipart => entity.delimiter(line),
                Kind::Message => None,
            };
            match delimiter {
                None => depth += 1,
                Some(Delimiter::Next) => {
                    self.end_parts(cx, depth);
                    if self.entities.get(depth).is_some_and(|entity| !entity.ended) {
                        self.begin_part(cx, depth);
                    }
                    return;
                }
                Some(Delimiter::Last) => {
                    self.end_parts(cx, depth);
                    return self.end_entity(cx, depth);
                }
            }
        }
    }

    fn header_line(&mut self, cx: &mut Cx<'_>, depth: usize, line: &[u8]) {
        match line.first() {
            None | Some(0) => {
                self.finish_field(depth);
                self.begin_body(cx, depth);
            }
            Some(b' ' | b'\t') if self.has_header => {
                if self.header.len() < HEADER_BYTES_MAX {
                    return self.header.extend_from_slice(line);
                }
                cx.gave_up = true;
                let addl = self.header.len().to_string();
                let source = Some(self.whose.source);
                cx.weird("exceeded_mime_max_header_bytes", Some(&addl), source);
            }
            Some(_) => {
                self.finish_field(depth);
                let line = text::skip_blanks(line);
                self.has_header = !line.is_empty();
                self.header.extend_from_slice(line);
            }
        }
    }

    /// The field that was begun is complete.
    fn finish_field(&mut self, depth: usize) {
        let mut header = std::mem::take(&mut self.header);
        let field = field::split(&header).filter(|_| self.has_header);
        if let Some((name, value)) = field {
            self.field(depth, name, value);
        }
        self.has_header = false;
        header.clear();
        self.header = header;
    }

    fn field(&mut self, depth: usize, name: &[u8], value: &[u8]) {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        let Some(entity) = self.entities.get_mut(depth) else { return };
        if is(b"content-type") {
            content_type(entity, value);
            self.filename = filename::of_type(value).or(self.filename.take());
        } else if is(b"content-disposition") {
            self.filename = filename::of_disposition(value).or(self.filename.take());
        } else if is(b"content-transfer-encoding") {
            let token = field::token(value).map(|(token, _)| token);
            entity.transfer = match token {
                None => entity.transfer,
                Some(token) if token.eq_ignore_ascii_case(b"base64") => Transfer::Base64,
                Some(token) if token.eq_ignore_ascii_case(b"quoted-printable") => {
                    Transfer::QuotedPrintable
                }
                Some(_) => Transfer::Binary,
            };
        }
    }

    fn begin_body(&mut self, cx: &mut Cx<'_>, depth: usize) {
        let Some(entity) = self.entities.get_mut(depth) else { return };
        entity.in_header = false;
        if entity.transfer == Transfer::Base64 {
            entity.base64 = Some(Base64::default());
        }
        if entity.kind == Kind::Message {
            self.begin_part(cx, depth);
        }
    }

    fn begin_part(&mut self, cx: &mut Cx<'_>, depth: usize) {
        if depth >= DEPTH_MAX {
            let (addl, source) = (DEPTH_MAX.to_string(), Some(self.whose.source));
            return cx.weird("exceeded_mime_max_depth", Some(&addl), source);
        }
        self.begin_entity();
    }

    /// Bytes of an entity without parts: undoes its encoding.
    fn content(&mut self, cx: &mut Cx<'_>, depth: usize, line: &[u8], ends: bool) {
        let parent = depth.checked_sub(1).and_then(|at| self.entities.get(at));
        let in_multipart = parent.is_some_and(|parent| parent.kind == Kind::Multipart);
        let Some(entity) = self.entities.get_mut(depth) else { return };
        let mut plain = Vec::with_capacity(line.len() + 4);
        match entity.transfer {
            Transfer::Binary => {
                if std::mem::replace(&mut entity.pending_end, ends && in_multipart) {
                    plain.extend_from_slice(b"\r\n");
                }
                plain.extend_from_slice(line);
                if ends && !in_multipart {
                    plain.extend_from_slice(b"\r\n");
                }
            }
            Transfer::QuotedPrintable => transfer::quoted_printable(line, &mut plain),
            Transfer::Base64 => {
                let Some(decoder) = entity.base64.as_mut() else { return };
                decoder.decode(line, &mut plain, &mut |what| illegal(cx, &what));
            }
        }
        self.submit(cx, &plain);
    }

    /// Content as the sender had it.
    fn submit(&mut self, cx: &mut Cx<'_>, data: &[u8]) {
        if !data.is_empty() {
            let file = self.file(cx);
            cx.file_data(file, data);
        }
    }

    fn file(&mut self, cx: &mut Cx<'_>) -> FileRef {
        if let Some(file) = self.file.filter(|file| cx.file_is_open(*file)) {
            return file;
        }
        let Whose { source, is_orig, has_depth } = self.whose;
        let fuid = cx.fuid(&[source.as_bytes(), &self.count.to_be_bytes()]);
        let filename = self.filename.as_deref().filter(|_| has_depth);
        let depth = if has_depth { self.count } else { 0 };
        let about = About { source, is_orig, depth, filename, ..About::default() };
        *self.file.insert(cx.file_begin(&fuid, about))
    }

    /// So many bytes were never seen.
    pub fn gap(&mut self, cx: &mut Cx<'_>, len: u64) {
        let file = self.file(cx);
        cx.file_gap(file, len);
    }

    /// The mail is over.
    pub fn end(&mut self, cx: &mut Cx<'_>) {
        self.end_parts(cx, 0);
        self.end_entity(cx, 0);
    }

    /// Ends what is open within an entity, the innermost first.
    fn end_parts(&mut self, cx: &mut Cx<'_>, depth: usize) {
        for at in (depth + 1..self.entities.len()).rev() {
            self.end_entity(cx, at);
            self.entities.truncate(at);
        }
    }

    fn end_entity(&mut self, cx: &mut Cx<'_>, depth: usize) {
        let Some(entity) = self.entities.get_mut(depth) else { return };
        if std::mem::replace(&mut entity.ended, true) {
            return;
        }
        if std::mem::take(&mut entity.in_header) {
            self.finish_field(depth);
        } else if let Some(mut decoder) = entity.base64.take() {
            let mut plain = Vec::new();
            decoder.finish(&mut plain, &mut |what| illegal(cx, &what));
            self.submit(cx, &plain);
        }
        if let Some(file) = self.file.take() {
            cx.file_end(file);
        }
    }
}

fn illegal(cx: &mut Cx<'_>, what: &str) {
    cx.weird("base64_illegal_encoding", Some(what), None);
}

fn content_type(entity: &mut Entity, value: &[u8]) {
    let Some((kind, _, parameters)) = field::media_type(value) else { return };
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

#[cfg(test)]
mod tests {
    use model::read;

    use super::super::Transport;
    use super::super::testing::Bench;
    use super::*;

    const WHOSE: Whose = Whose { source: "SMTP", is_orig: true, has_depth: true };

    /// Depth, size, and name of each file.
    fn files(lines: &[&str]) -> (Vec<(i64, i64, String)>, Vec<&'static str>) {
        let mut bench = Bench::new(&super::super::smtp::KIND, Transport::Tcp);
        bench.call(|_, cx| {
            let mut mail = Mail::begin(WHOSE, 0);
            for line in lines {
                mail.line(cx, line.as_bytes(), true);
            }
            mail.end(cx);
            mail.end(cx);
        });
        let (batch, _) = bench.out.files.finish("s");
        let depth = read::count(&batch, "depth").unwrap();
        let size = read::count(&batch, "seen_bytes").unwrap();
        let name = read::text(&batch, "filename").unwrap();
        let row = |at| {
            let name = name.iter().nth(at).flatten().unwrap_or("-");
            (depth.value(at), size.value(at), name.to_owned())
        };
        ((0..batch.num_rows()).map(row).collect(), bench.weirds)
    }

    #[test]
    fn a_plain_mail() {
        let (files, weirds) = files(&["Subject: x", " and y", "", "hello", ""]);
        assert_eq!(files, [(1, 9, "-".to_owned())]);
        assert!(weirds.is_empty());
    }

    #[test]
    fn parts_are_files() {
        let (files, weirds) = files(&[
            "Content-Type: multipart/mixed; boundary=b",
            "",
            "nobody's",
            "--b",
            "",
            "one",
            "two",
            "--b",
            "Content-Disposition: attachment; filename=\"n.txt\"",
            "Content-Transfer-Encoding: base64",
            "",
            "aGVsbG8=",
            "--b--",
            "nobody's either",
        ]);
        assert_eq!(files, [(2, 8, "-".to_owned()), (3, 5, "n.txt".to_owned())]);
        assert!(weirds.is_empty());
    }

    #[test]
    fn a_mail_within_a_mail() {
        let (files, _) = files(&[
            "Content-Type: message/rfc822",
            "",
            "Content-Transfer-Encoding: quoted-printable",
            "",
            "a=20=",
            "b",
        ]);
        assert_eq!(files, [(2, 5, "-".to_owned())]);
    }

    #[test]
    fn bounded() {
        let mut deep = Vec::new();
        for _ in 0..150 {
            deep.extend(["Content-Type: message/rfc822", ""]);
        }
        assert_eq!(files(&deep).1, ["exceeded_mime_max_depth"]);
        let long = format!(" {}", "x".repeat(1000));
        let mut lines = vec!["A: b"];
        lines.extend([&*long; 100]);
        assert_eq!(files(&lines).1, ["exceeded_mime_max_header_bytes"]);
        assert_eq!(files(&["Content-Transfer-Encoding: base64", "", "a!"]).1.len(), 1);
    }
}
