//! Streams cut at random, and rubbish.

use super::*;

/// A generator of numbers, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    fn split(&mut self, dir: Dir, mut bytes: &[u8], most: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        while !bytes.is_empty() {
            let count = (1 + self.below(most)).min(bytes.len());
            steps.push(Step::Data(dir, bytes[..count].to_vec()));
            bytes = &bytes[count..];
        }
        steps
    }
}

/// Exchanges with much in them: requests, then replies.
fn exchanges() -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&b"{\"a\": 1} ".repeat(1000)).unwrap();
    let gzip = gzip.finish().unwrap();
    let part = "--b\r\nContent-Disposition: form-data; filename=x\r\n\r\na\rb\nc\r\r\n";
    let parts = format!(
        "{part}{part}--b\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQ=\r\n--b--\r\n"
    );
    let mut requests = format!(
        "GET /1 HTTP/1.1\r\nHost: a\r\n  folded\r\n\r\nPOST /2 HTTP/1.1\r\nContent-Type: multipart/x; \
         boundary=b\r\nContent-Length: {}\r\n\r\n{parts}GET /3 HTTP/1.1\r\n\r\nGET /4%zz HTTP/1.1\r\n\r\n",
        parts.len()
    )
    .into_bytes();
    requests.extend_from_slice(b"GET /5 HTTP/1.1\r\n\r\n");
    let mut replies = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n<html>\r\n3\r\nabc\r\n0\r\n\r\n\
        HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n"
        .to_vec();
    let head = format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", gzip.len());
    replies.extend_from_slice(head.as_bytes());
    replies.extend_from_slice(&gzip);
    replies.extend_from_slice(
        b"HTTP/1.1 304 NM\nX: y\n\nHTTP/1.1 200 OK\r\n\r\nline\rline\nline\r\n\r\nlast",
    );
    let second = "GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2);
    vec![(requests, replies), (second.into_bytes(), b"HTTP/1.1 200 OK\r\n\r\nx\n".to_vec())]
}

#[test]
fn segments_make_no_difference() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for (requests, replies) in exchanges() {
        let ends = [Step::End(Dir::Orig), Step::End(Dir::Resp)];
        let whole = [&[orig(&requests), resp(&replies)][..], &ends].concat();
        let want = run(&whole);
        assert!(!want.rows.is_empty(), "{want:#?}");
        for most in [1, 2, 3, 7, 50, 1000] {
            for _ in 0..30 {
                let mut steps = random.split(Dir::Orig, &requests, most);
                steps.extend(random.split(Dir::Resp, &replies, most));
                steps.extend_from_slice(&ends);
                assert_eq!(run(&steps), want, "segments of up to {most}");
            }
        }
    }
}

#[test]
fn rubbish_does_no_harm() {
    const WORDS: &[&[u8]] = &[
        b"GET ",
        b"HEAD",
        b"CONNECT",
        b" / ",
        b" HTTP/1.1",
        b"HTTP/1.1 200 OK",
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"Content-Length: ",
        b"Transfer-Encoding: chunked",
        b"5",
        b"-1",
        b"0",
        b": ",
        b"--b",
        b"Content-Type: multipart/x; boundary=b",
        b"Content-Type: message/x",
        b"Content-Encoding: gzip",
        b"Content-Transfer-Encoding: base64",
        b"Content-Range: bytes 1-5/9",
        b"HTTP/1.1 206 P",
        b"%",
        b"\x1f\x8b",
        b"Range: x",
        b"Authorization: Basic ",
        b"(",
        b"\"",
        b"\\",
        b"\0",
        b"\xff",
        b"HTTP/1.1 101 S",
        b"Upgrade: x",
        b"Connection: upgrade",
        b"Connection: close",
        b"Content-Disposition: filename=",
        b"'",
        b"99999999999",
        b"HTTP/1.1 100 C",
        b" ",
        b"Content-Transfer-Encoding: quoted-printable",
        b"=",
    ];
    let mut random = Random(42);
    for _ in 0..20_000 {
        let mut steps = Vec::new();
        for _ in 0..random.below(30) {
            let dir = if random.below(2) == 0 { Dir::Orig } else { Dir::Resp };
            let mut bytes = Vec::new();
            for _ in 0..random.below(12) {
                match random.below(8) {
                    0 => bytes.push(random.below(256) as u8),
                    _ => bytes.extend_from_slice(WORDS[random.below(WORDS.len())]),
                }
            }
            steps.push(match random.below(20) {
                0 => Step::Gap(dir, 1 + random.below(1 << 33) as u64),
                1 => Step::End(dir),
                _ => Step::Data(dir, bytes),
            });
        }
        run(&steps);
    }
}
