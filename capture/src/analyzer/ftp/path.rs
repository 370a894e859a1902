//! Paths of files as FTP's users and servers name them (Zeek `base/utils/paths.zeek`, `normalize_path`).

use std::net::IpAddr;

/// Whether a path does not depend on the directory: `/…`, `C:\…` or `C:/…`.
fn is_absolute(path: &[u8]) -> bool {
    prefix(path) > 0
}

/// Bytes of the beginning of an absolute path; 0 if it is none.
fn prefix(path: &[u8]) -> usize {
    match path {
        [b'/', ..] => 1,
        [drive, b':', b'/' | b'\\', ..] if drive.is_ascii_alphabetic() => 3,
        _ => 0,
    }
}

/// `name` seen from a directory that is [compressed](compress), without what does not matter.
pub fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if is_absolute(name) || dir.is_empty() {
        return compress(name);
    }
    // Only the name is looked at: the directory is the same for many.
    let mut path = dir.to_vec();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => up(&mut path),
            _ => push(&mut path, part),
        }
    }
    path
}

fn push(path: &mut Vec<u8>, part: &[u8]) {
    if !path.is_empty() && !path.ends_with(b"/") {
        path.push(b'/');
    }
    path.extend_from_slice(part);
}

/// Goes up by one from a path that is compressed, as far as it can go.
fn up(path: &mut Vec<u8>) {
    let slash = memchr::memrchr(b'/', path);
    let last = path.get(slash.map_or(0, |at| at + 1)..).unwrap_or_default();
    match last {
        b"" | b"~" | b".." => push(path, b".."),
        b"." => path.push(b'.'),
        // Of `/a` the root is left.
        _ => path.truncate(slash.map_or(0, |at| at.max(1))),
    }
}

/// Without `.`, `..` and double slashes, as far as they can go.
pub fn compress(path: &[u8]) -> Vec<u8> {
    let has = |what: &[u8]| memchr::memmem::find(path, what).is_some();
    if !has(b"/.") && !has(b"//") {
        return match path {
            [head @ .., b'/'] if !head.is_empty() => head.to_vec(),
            _ => path.to_vec(),
        };
    }
    let mut kept: Vec<&[u8]> = Vec::new();
    for (i, part) in path.split(|byte| *byte == b'/').enumerate() {
        if part.is_empty() || (part == b"." && i > 0) {
            continue;
        }
        if part != b".." {
            kept.push(part);
            continue;
        }
        match kept.last_mut() {
            None => kept.push(part),
            Some(last) if *last == b"~" || *last == b".." => kept.push(part),
            Some(last) if *last == b"." => *last = part,
            Some(_) => _ = kept.pop(),
        }
    }
    let root: &[u8] = if path.starts_with(b"/") { b"/" } else { b"" };
    [root, &kept.join(&b'/')].concat()
}

/// The first absolute path in a text, as far as a quote or a space that is not escaped; empty if there is none.
pub fn find(text: &[u8]) -> &[u8] {
    let from = (0..text.len()).find(|at| text.get(*at..).is_some_and(is_absolute));
    let Some(rest) = from.and_then(|from| text.get(from..)) else { return b"" };
    let mut end = prefix(rest);
    while let Some(byte) = rest.get(end) {
        let escaped = end > prefix(rest) && rest.get(end - 1) == Some(&b'\\');
        if *byte == b'"' || (*byte == b' ' && !escaped) {
            break;
        }
        end += 1;
    }
    rest.get(..end).unwrap_or_default()
}

/// A file of a server as a URL.
pub fn url(server: IpAddr, dir: &[u8], name: &[u8]) -> Vec<u8> {
    let path = join(dir, name);
    let host = match server {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let slash: &[u8] = if path.starts_with(b"/") { b"" } else { b"/" };
    [b"ftp://", host.as_bytes(), slash, &path].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed() {
        for (path, want) in [
            ("/1/2/3", "/1/2/3"),
            ("/1/./2/3", "/1/2/3"),
            ("/1/2/../3", "/1/3"),
            ("1/2/3/", "1/2/3"),
            ("1/2//3///", "1/2/3"),
            ("/", "/"),
            ("//", "/"),
            ("/..", "/.."),
            ("/../..", "/../.."),
            ("./a", "./a"),
            ("./a/..", "."),
            ("./a/../..", ".."),
            ("./a/../../..", "../.."),
            ("~/..", "~/.."),
            ("~/a/b/../././.", "~/a"),
            ("a/..", ""),
            ("a/../..", ".."),
            ("", ""),
        ] {
            assert_eq!(compress(path.as_bytes()), want.as_bytes(), "{path}");
        }
    }

    proptest::proptest! {
        /// From a directory that is compressed it is the same as all at once.
        #[test]
        fn joined_a_name_at_a_time(dir in "[/~.a]{1,9}", name in "[/~.a]{0,9}") {
            let dir = compress(dir.as_bytes());
            if !dir.is_empty() && !is_absolute(name.as_bytes()) {
                let whole = compress(&[&dir, &b"/"[..], name.as_bytes()].concat());
                assert_eq!(join(&dir, name.as_bytes()), whole);
            }
        }
    }

    #[test]
    fn joined() {
        for (dir, name, want) in [
            (".", "index.html", "./index.html"),
            ("/pub", "a", "/pub/a"),
            ("/pub", "../a", "/a"),
            ("/", "a", "/a"),
            ("/", "..", "/.."),
            (".", "../a", "../a"),
            ("/pub", "/etc/b", "/etc/b"),
            ("/pub", "C:\\x", "C:\\x"),
            ("", "a", "a"),
            ("/a/b", "", "/a/b"),
        ] {
            let joined = join(dir.as_bytes(), name.as_bytes());
            assert_eq!(String::from_utf8_lossy(&joined), want, "{dir} {name}");
        }
    }

    #[test]
    fn found() {
        for (text, want) in [
            ("\"/pub/linux\" is current directory", "/pub/linux"),
            ("in /a\\ b now", "/a\\ b"),
            ("C:\\ x", "C:\\"),
            ("at D:/x y", "D:/x"),
            ("nowhere", ""),
        ] {
            assert_eq!(find(text.as_bytes()), want.as_bytes(), "{text}");
        }
    }

    #[test]
    fn urls() {
        let url = |ip: &str, dir: &str, name: &str| {
            String::from_utf8(url(ip.parse().unwrap(), dir.as_bytes(), name.as_bytes())).unwrap()
        };
        assert_eq!(url("10.0.0.1", ".", "a.txt"), "ftp://10.0.0.1/./a.txt");
        assert_eq!(url("2001:db8::1", "/pub", "a"), "ftp://[2001:db8::1]/pub/a");
    }
}
