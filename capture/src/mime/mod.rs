//! The type of a file from its first bytes, as Zeek's signatures tell it
//! (`base/frameworks/files/magic/*.sig`): of all that match, the strongest; of equals, the first by
//! name. What the sender claims in a header plays no part.

use std::sync::OnceLock;

mod archive;
mod document;
mod markup;
mod media;
mod office;
mod pattern;
mod program;

use pattern::{Pattern, Step};

/// Bytes of a file that are looked at (Zeek's `default_file_bof_buffer_size`).
pub const SNIFF_BYTES: usize = 4096;

/// One row of a table: strength, type, pattern from the first byte on.
type Magic = (i16, &'static str, &'static [Step]);

static TABLES: &[&[Magic]] =
    &[archive::TABLE, document::TABLE, media::TABLE, office::TABLE, program::TABLE];

/// Strength of plain text: anything else that matches is stronger.
const PLAIN_TEXT: i16 = -20;

/// Characters with which a file must begin to be plain text.
const PLAIN_TEXT_BYTES: usize = 10;

/// The type of a file that begins with `data`; at most [`SNIFF_BYTES`] of it count.
pub fn detect(data: &[u8]) -> Option<&'static str> {
    let data = data.get(..SNIFF_BYTES).unwrap_or(data);
    let mut best: Option<(i16, &'static str)> = None;
    let mut found = |strength: i16, name: &'static str| {
        let better = best.is_none_or(|(s, n)| strength > s || (strength == s && name < n));
        if better {
            best = Some((strength, name));
        }
    };
    let first = data.first().map_or(&[][..], |byte| index().beginning_with(*byte));
    for (strength, name, pattern) in first {
        if pattern.matches(data) {
            found(*strength, name);
        }
    }
    markup::each(data, &mut found);
    if is_plain_text(data) {
        found(PLAIN_TEXT, "text/plain");
    }
    best.map(|(_, name)| name)
}

/// The tables by the byte that a file begins with: most rows are out of question by that.
struct Index {
    rows: Vec<Vec<(i16, &'static str, Pattern)>>,
}

impl Index {
    fn new() -> Index {
        let rows = |first: u8| {
            let rows = TABLES.iter().copied().flatten();
            rows.filter(|(_, _, steps)| pattern::may_begin_with(steps, first))
                .map(|(strength, name, steps)| (*strength, *name, Pattern::new(steps)))
                .collect()
        };
        Index { rows: (0..=u8::MAX).map(rows).collect() }
    }

    fn beginning_with(&self, byte: u8) -> &[(i16, &'static str, Pattern)] {
        self.rows.get(usize::from(byte)).map_or(&[], Vec::as_slice)
    }
}

fn index() -> &'static Index {
    static INDEX: OnceLock<Index> = OnceLock::new();
    INDEX.get_or_init(Index::new)
}

fn is_plain_text(data: &[u8]) -> bool {
    const MARKS: [&[u8]; 6] =
        [b"", b"\xef\xbb\xbf", b"\xfe\xff", b"\0\0\xfe\xff", b"\xff\xfe", b"\xff\xfe\0\0"];
    MARKS.iter().any(|mark| {
        let text = data.strip_prefix(*mark).and_then(|rest| rest.get(..PLAIN_TEXT_BYTES));
        text.is_some_and(|text| text.iter().all(|byte| matches!(byte, b'\t'..=b'\r' | b' '..=b'~')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_bodies() {
        for (data, want) in [
            (&b"<!DOCTYPE html><html>"[..], Some("text/html")),
            (b"\xef\xbb\xbf\r\n<html lang=en>", Some("text/html")),
            (b"<?xml version=\"1.0\"?>\n<html xmlns=\"x\">", Some("text/html")),
            (b"<!-- a\n --> <!-- b --><HTML>", Some("text/html")),
            (b"<!-- a --> b --><HEAD>  ", Some("text/html")),
            (b"<?xml version=\"1.0\"?><a/>", Some("application/xml")),
            (
                b"<?xml version=\"1.0\"?><!-- x --><feed xmlns=\"http://www.w3.org/2005/Atom\">",
                Some("text/atom"),
            ),
            (b"<?xml version=\"1.0\"?><rss version=\"2.0\">", Some("text/rss")),
            (b"<?xml version=\"1.0\"?><svg>", Some("image/svg+xml")),
            (b"<SOAP-ENV:Envelope>", Some("application/soap+xml")),
            (b"{\"a\": 1}", Some("text/json")),
            (b"[{\"a\": 1}]", Some("text/json")),
            (b"{\"a\": null, \"b\": 1}", Some("text/plain")),
            (b"{}", None),
            (b"hello", None),
            (b"hello, you", Some("text/plain")),
            (b"hello, \x01\x02 you", None),
            (b"\x89PNG\r\n\x1a\n", Some("image/png")),
            (b"\xff\xd8\xff\xe0", Some("image/jpeg")),
            (b"GIF89a", Some("image/gif")),
            (b"%PDF-1.4 ", Some("application/pdf")),
            (b"PK\x03\x04\x14\0", Some("application/zip")),
            (b"\x1f\x8b\x08\0", Some("application/x-gzip")),
            (b"MZ\x90\0", Some("application/x-dosexec")),
            (b"#!/bin/sh\necho", Some("text/x-shellscript")),
            (b"#!/usr/bin/env python\n", Some("text/x-python")),
            (b"(function(){ var x", Some("application/javascript")),
            (b"\n document.write(x)", Some("application/javascript")),
            (b"[section]\nkey=value\n", Some("text/ini")),
            (b"<a> <?php echo 1; ?>", Some("text/x-php")),
            (b"\0\0\0\x20ftypisom", Some("video/mp4")),
            (b"", None),
        ] {
            assert_eq!(detect(data), want, "{}", data.escape_ascii());
        }
    }

    #[test]
    fn hostile_markup_takes_linear_time() {
        let mut data = b"<!---->".repeat(300);
        data.extend_from_slice(&b"<?xml ?>".repeat(300));
        assert_eq!(detect(&data), Some("application/xml"));
    }
}
