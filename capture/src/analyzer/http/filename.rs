//! The file name in a Content-Disposition or Content-Type value, by the rule of Zeek's
//! `extract_filename_from_content_disposition` (`base/utils/files.zeek`).

use super::uri;

/// The file name that the value of a Content-Disposition field gives.
pub fn of_disposition(value: &[u8]) -> Option<Vec<u8>> {
    after_key(value, b"filename", true).map(|_| extract(value))
}

/// The file name that the value of a Content-Type field gives.
pub fn of_type(value: &[u8]) -> Option<Vec<u8>> {
    after_key(value, b"name", false).map(|_| extract(value))
}

/// What follows the last `name =` (or `name *=`), unquoted, without charset and language, unescaped.
fn extract(value: &[u8]) -> Vec<u8> {
    let mut name = value;
    while let Some(rest) = after_key(name, b"name", true) {
        name = rest;
    }
    if let Some(quoted) = name.strip_prefix(b"\"") {
        name = quoted.split(|byte| *byte == b'"').next().unwrap_or_default();
    }
    let mut plain = Vec::with_capacity(name.len());
    uri::unescape(without_charset(name), &mut plain, &mut |_| {});
    plain
}

/// What follows the first `key`, blanks, perhaps `*`, `=`, blanks.
fn after_key<'a>(text: &'a [u8], key: &[u8], star: bool) -> Option<&'a [u8]> {
    (0..text.len()).find_map(|at| {
        let rest = text.get(at..)?;
        let head = rest.get(..key.len())?;
        if !head.eq_ignore_ascii_case(key) {
            return None;
        }
        let rest = skip_blanks(rest.get(key.len()..)?);
        let rest = rest.strip_prefix(b"*").filter(|_| star).unwrap_or(rest);
        rest.strip_prefix(b"=").map(skip_blanks)
    })
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    super::start::skip_blanks(text)
}

/// Drops `charset'language'`, RFC 8187; all up to the last quote goes.
fn without_charset(name: &[u8]) -> &[u8] {
    let charset =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&+,-./:;<=>?@[\\]^_`{}~".contains(byte);
    let first = name.iter().take_while(|byte| charset(byte)).count();
    let Some(rest) = name.get(first..).and_then(|rest| rest.strip_prefix(b"'")) else {
        return name;
    };
    let language = rest.iter().take_while(|byte| charset(byte)).count();
    if first == 0 || rest.get(language) != Some(&b'\'') {
        return name;
    }
    match memchr::memrchr(b'\'', name) {
        Some(last) => name.get(last + 1..).unwrap_or_default(),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (value, want) in [
            ("attachment; filename=eicar.txt", Some("eicar.txt")),
            ("attachment; filename=\"a b.txt\"; size=3", Some("a b.txt")),
            ("attachment; filename=a.txt; size=3", Some("a.txt; size=3")),
            ("attachment; FileName *= UTF-8'en'a%20b", Some("a b")),
            ("form-data; name=\"x\"; filename=\"y\"", Some("y")),
            ("attachment; filename=\"open", Some("open")),
            ("inline", None),
        ] {
            let name = of_disposition(value.as_bytes());
            assert_eq!(name.as_deref(), want.map(str::as_bytes), "{value}");
        }
        assert_eq!(of_type(b"text/plain; name=a"), Some(b"a".to_vec()));
    }
}
