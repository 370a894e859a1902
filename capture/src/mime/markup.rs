//! Markup and JSON: types whose sign stands behind white space, comments and an XML declaration.

use memchr::memmem::{self, Finder};

/// Marks with which a text may begin and which do not count.
const BYTE_ORDER_MARKS: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];

/// A tag that gives a type: its strength, its name, the test on what follows `<`, and whether a byte
/// order mark may go before.
type Tag = (i16, &'static str, fn(&[u8]) -> bool, bool);

/// Source: Zeek `base/frameworks/files/magic/general.sig`.
const TAGS: &[Tag] = &[
    (100, "text/html", is_document, true),
    (49, "text/html", is_html_doctype, true),
    (20, "text/html", is_html_part, true),
    (90, "text/rss", |tag| word(tag, b"rss"), true),
    (100, "text/atom", is_atom, true),
    (49, "application/soap+xml", is_soap, true),
    (49, "text/x-cross-domain-policy", is_policy, false),
    (49, "application/xml-rpc", |tag| word(tag, b"methodresponse>"), true),
    (49, "application/f4m", is_f4m, true),
];

/// Tells each markup type that the beginning of a file has.
pub fn each(data: &[u8], found: &mut dyn FnMut(i16, &'static str)) {
    let skipped = byte_order_mark(data);
    for mark in [0, skipped] {
        // Without a mark the first round has seen everything.
        if mark == 0 || skipped > 0 {
            tags(data, mark, found);
        }
    }
    if json(data.get(skipped..).unwrap_or_default()) {
        found(1, "text/json");
    }
}

fn byte_order_mark(data: &[u8]) -> usize {
    BYTE_ORDER_MARKS.iter().find(|mark| data.starts_with(mark)).map_or(0, |mark| mark.len())
}

fn tags(data: &[u8], from: usize, found: &mut dyn FnMut(i16, &'static str)) {
    let mut places = Places::new(data);
    places.reach(from);
    for at in places.all() {
        let tag = data.get(at..).unwrap_or_default();
        if is_xml_declaration(tag) {
            found(10, "application/xml");
        }
        if from == 0 && is_cold_fusion(tag) {
            found(20, "magnus-internal/cold-fusion");
        }
    }
    places.reach_past_declaration();
    for at in places.all() {
        let Some((b'<', tag)) = data.get(at..).unwrap_or_default().split_first() else { continue };
        for (strength, name, test, mark_allowed) in TAGS {
            if (from == 0 || *mark_allowed) && test(tag) {
                found(*strength, name);
            }
        }
    }
}

/// Places of a file that are reached over white space and comments only.
struct Places<'a> {
    data: &'a [u8],
    found: Vec<usize>,
    /// Ends of comments before this were looked for already.
    searched: usize,
}

impl<'a> Places<'a> {
    fn new(data: &'a [u8]) -> Places<'a> {
        Places { data, found: Vec::new(), searched: 0 }
    }

    fn all(&self) -> impl Iterator<Item = usize> {
        self.found.iter().copied()
    }

    /// Adds what is reached from `at`. A comment may end at any `-->` behind its beginning, and so the
    /// first comment reaches whatever a later one does: each end is looked at once.
    fn reach(&mut self, at: usize) {
        let mut next = Some(at);
        let closing = Finder::new(b"-->");
        let mut ends = None;
        while let Some(from) = next {
            let tail = self.data.get(from..).unwrap_or_default();
            let at = from + blanks(tail);
            self.found.push(at);
            let rest = self.data.get(at..).unwrap_or_default();
            if ends.is_none() && rest.starts_with(b"<!--") && at >= self.searched {
                self.searched = self.data.len();
                ends =
                    Some((at + 4, closing.find_iter(self.data.get(at + 4..).unwrap_or_default())));
            }
            next = ends.as_mut().and_then(|(base, ends)| ends.next().map(|end| *base + end + 3));
        }
    }

    /// Adds what is reached when one XML declaration is stepped over.
    fn reach_past_declaration(&mut self) {
        let declared =
            self.all().find(|at| self.data.get(*at..).unwrap_or_default().starts_with(b"<?xml "));
        let Some(at) = declared else { return };
        let from = at + 6;
        let tail = self.data.get(from..).unwrap_or_default();
        let ends: Vec<usize> = memmem::find_iter(tail, b"?>").map(|end| from + end + 2).collect();
        for end in ends {
            self.reach(end);
        }
    }
}

fn blanks(data: &[u8]) -> usize {
    data.iter().take_while(|byte| matches!(byte, b'\r' | b'\n' | b' ' | b'\t')).count()
}

fn word(data: &[u8], word: &[u8]) -> bool {
    data.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word))
}

/// What follows `word` and at least one blank.
fn after_blank<'a>(data: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = data.get(name.len()..).filter(|_| word(data, name))?;
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    rest.get(spaces..).filter(|_| spaces > 0)
}

fn is_html_doctype(tag: &[u8]) -> bool {
    after_blank(tag, b"!doctype").is_some_and(|rest| word(rest, b"html"))
}

fn is_document(tag: &[u8]) -> bool {
    word(tag, b"html")
        || is_html_doctype(tag)
        || after_blank(tag, b"meta").is_some_and(|rest| word(rest, b"http-equiv"))
}

fn is_html_part(tag: &[u8]) -> bool {
    [&b"head"[..], b"html", b"title", b"body"].iter().any(|name| word(tag, name))
}

fn is_atom(tag: &[u8]) -> bool {
    let inside = tag.split(|byte| *byte == b'>').next().unwrap_or_default();
    if word(tag, b"rss") {
        return memmem::find(inside, b"xmlns:atom").is_some();
    }
    word(tag, b"feed") && names_atom(inside)
}

/// Looks for Atom's name space among the attributes of a tag.
fn names_atom(attributes: &[u8]) -> bool {
    const SPACE: &[u8] = b"http://www.w3.org/2005/Atom";
    memmem::find_iter(attributes, b"xmlns=").any(|at| {
        let value = attributes.get(at + 6..).unwrap_or_default();
        let quoted = matches!(value.first(), Some(b'"' | b'\''));
        value.get(usize::from(quoted)..).unwrap_or_default().starts_with(SPACE)
    })
}

fn is_soap(tag: &[u8]) -> bool {
    word(tag, b"soap:envelope") || word(tag, b"soap-env:envelope")
}

fn is_policy(tag: &[u8]) -> bool {
    word(tag, b"cross-domain-policy")
        || after_blank(tag, b"!doctype").is_some_and(|rest| word(rest, b"cross-domain-policy"))
}

fn is_f4m(tag: &[u8]) -> bool {
    let Some(rest) = tag.get(8..).filter(|_| word(tag, b"manifest")) else { return false };
    let spaces = blanks(rest);
    spaces > 0
        && rest
            .get(spaces..)
            .is_some_and(|rest| rest.starts_with(b"xmlns=\"http://ns.adobe.com/f4m/"))
}

fn is_cold_fusion(tag: &[u8]) -> bool {
    [&b"<CFPARAM"[..], b"<CFSET", b"<CFIF"].iter().any(|name| tag.starts_with(name))
}

/// `<?xml ` with a zero byte allowed before each character but the last: also UTF-16.
fn is_xml_declaration(tag: &[u8]) -> bool {
    let mut rest = tag;
    for want in b"<?xml " {
        if let [0, tail @ ..] = rest {
            rest = tail;
        }
        match rest {
            [byte, tail @ ..] if byte == want => rest = tail,
            _ => return false,
        }
    }
    true
}

/// The beginning of a JSON document, as far as Zeek's signatures tell it: an object's first key and the
/// beginning of its value (no `null`, no minus), or an array's first element with its comma. They do
/// not see empty documents.
fn json(data: &[u8]) -> bool {
    let data = trim(data);
    match data.split_first() {
        Some((b'{', rest)) => json_object(trim(rest)).is_some(),
        Some((b'[', rest)) => json_array(trim(rest)),
        _ => false,
    }
}

fn json_object(data: &[u8]) -> Option<()> {
    let after_key = match data.first()? {
        b'"' => json_string(data)?,
        byte if byte.is_ascii_alphabetic() => {
            let name = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'\\' | b'_');
            data.get(data.iter().take_while(name).count()..)?
        }
        _ => return None,
    };
    let (b':', value) = trim(after_key).split_first()? else { return None };
    let value = trim(value);
    let starts = matches!(value.first()?, b'"' | b'[' | b'{' | b'0'..=b'9');
    (starts || value.starts_with(b"true") || value.starts_with(b"false")).then_some(())
}

fn json_array(data: &[u8]) -> bool {
    let after = match data.first() {
        Some(b'{' | b'[') => return true,
        Some(b'"') => json_string(data),
        Some(b'0'..=b'9') => json_number(data),
        _ => data.strip_prefix(b"true").or_else(|| data.strip_prefix(b"false")),
    };
    after.is_some_and(|rest| trim(rest).first() == Some(&b','))
}

/// What follows a string that is not empty; a backslash means nothing here.
fn json_string(data: &[u8]) -> Option<&[u8]> {
    let rest = data.get(1..)?;
    let end = memchr::memchr(b'"', rest)?;
    rest.get(end + 1..).filter(|_| end > 0)
}

fn json_number(data: &[u8]) -> Option<&[u8]> {
    let digits = |data: &[u8]| data.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = data.get(digits(data)..)?;
    let Some((b'.', fraction)) = rest.split_first() else { return Some(rest) };
    fraction.get(digits(fraction)..).filter(|_| digits(fraction) > 0)
}

fn trim(data: &[u8]) -> &[u8] {
    data.get(blanks(data)..).unwrap_or_default()
}
