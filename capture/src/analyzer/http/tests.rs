//! Bytes in, rows out.

use std::collections::BTreeMap;
use std::io::Write as _;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use model::read;

use super::*;
use crate::analyzer::testing::Bench;
use crate::analyzer::{Act, Signal};

mod random;

/// What happens in one direction.
#[derive(Debug, Clone)]
enum Step {
    Data(Dir, Vec<u8>),
    Gap(Dir, u64),
    End(Dir),
}

type Row = BTreeMap<String, String>;

#[derive(Debug, PartialEq)]
struct Found {
    rows: Vec<Row>,
    weirds: Vec<String>,
    confirmed: bool,
    /// Protocols that were handed on to, and what they were given.
    carried: Vec<&'static str>,
    handed_on: Vec<u8>,
    last: Option<Signal>,
}

fn orig(bytes: impl AsRef<[u8]>) -> Step {
    Step::Data(Dir::Orig, bytes.as_ref().to_vec())
}

fn resp(bytes: impl AsRef<[u8]>) -> Step {
    Step::Data(Dir::Resp, bytes.as_ref().to_vec())
}

fn run(steps: &[Step]) -> Found {
    let mut bench = Bench::new(&super::KIND, Transport::Tcp);
    for step in steps {
        bench.now += 1;
        bench.call(|http, cx| match step {
            Step::Data(dir, bytes) => http.feed(cx, *dir, bytes),
            Step::Gap(dir, len) => http.gap(cx, *dir, *len),
            Step::End(dir) => http.end(cx, *dir),
        });
        if bench.gone {
            break;
        }
    }
    let carried = bench.inner.acts.iter().filter_map(|act| match act {
        Act::Attach(kind) => Some(kind.name),
        Act::Probe => Some("anything"),
        _ => None,
    });
    let (carried, handed_on) = (carried.collect(), bench.inner.bytes.clone());
    bench.finish();
    let last = bench.signals.last().copied();
    let (confirmed, mut out) = (bench.confirmed, bench.out);
    let (batch, _) = out.http.finish("s");
    let (odd, _) = out.weird.finish("s");
    let names = read::text(&odd, "name").unwrap();
    let weirds = names.iter().flatten().map(str::to_owned).collect();
    Found {
        rows: (0..batch.num_rows()).map(|at| row(&batch, at)).collect(),
        weirds,
        confirmed,
        carried,
        handed_on,
        last,
    }
}

fn row(batch: &RecordBatch, at: usize) -> Row {
    let mut row = Row::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if column.is_null(at) {
            continue;
        }
        let cell = if let Some(texts) = column.as_string_opt::<i32>() {
            texts.value(at).to_owned()
        } else if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
            numbers.value(at).to_string()
        } else if let Some(list) = column.as_list_opt::<i32>() {
            read::texts(list, at).join(",")
        } else {
            continue;
        };
        row.insert(field.name().clone(), cell);
    }
    row
}

/// Checks cells of a row; `-` for unset.
fn has(row: &Row, cells: &[(&str, &str)]) {
    for (name, want) in cells {
        assert_eq!(row.get(*name).map_or("-", String::as_str), *want, "{name} of {row:#?}");
    }
}

#[test]
fn a_request_and_its_reply() {
    let found = run(&[
        orig(
            "GET /a%20b?c HTTP/1.1\r\nHost: h:81\r\nUser-Agent: ua\r\nReferer: r\r\nOrigin: o\r\n\
             Via: 1.1 p\r\nAuthorization: Basic dXNlcjpwYXNz\r\n\r\n",
        ),
        resp("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello, world"),
    ]);
    assert_eq!(found.rows.len(), 1);
    assert!(found.confirmed && found.weirds.is_empty(), "{found:?}");
    has(
        &found.rows[0],
        &[
            ("trans_depth", "1"),
            ("method", "GET"),
            ("host", "h:81"),
            ("uri", "/a b?c"),
            ("referrer", "r"),
            ("version", "1.1"),
            ("user_agent", "ua"),
            ("origin", "o"),
            ("request_body_len", "0"),
            ("response_body_len", "12"),
            ("status_code", "200"),
            ("status_msg", "OK"),
            ("info_code", "-"),
            ("username", "user"),
            ("password", "-"),
            ("proxied", "VIA -> 1.1 p"),
            ("orig_fuids", "-"),
            ("resp_mime_types", "text/plain"),
        ],
    );
    assert!(found.rows[0]["resp_fuids"].starts_with('F'));
}

#[test]
fn pipelined_requests() {
    let found = run(&[
        orig("GET /1 HTTP/1.1\r\n\r\nHEAD /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n"),
        resp("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"),
        resp("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"),
        resp("HTTP/1.1 204 None\r\nContent-Length: 5\r\n\r\n"),
    ]);
    let uris: Vec<_> = found.rows.iter().map(|row| (&*row["uri"], &*row["status_code"])).collect();
    assert_eq!(uris, [("/1", "200"), ("/2", "200"), ("/3", "204")]);
    assert_eq!(found.rows[2]["trans_depth"], "3");
}

#[test]
fn informational_replies() {
    let found = run(&[
        orig("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"),
        resp("HTTP/1.1 100 Continue\r\n\r\n"),
        orig("abc"),
        resp("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        resp("5;x\r\nhello\r\n0\r\nTrailer: t\r\n\r\n"),
    ]);
    assert_eq!(found.rows.len(), 1);
    has(
        &found.rows[0],
        &[
            ("info_code", "100"),
            ("info_msg", "Continue"),
            ("status_code", "200"),
            ("request_body_len", "3"),
            ("response_body_len", "5"),
        ],
    );
}

#[test]
fn a_body_until_the_end() {
    let head = "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n";
    let found =
        run(&[orig("GET / HTTP/1.0\r\n\r\n"), resp(head), resp("a\nb"), Step::End(Dir::Resp)]);
    has(&found.rows[0], &[("response_body_len", "3"), ("version", "1.0")]);
    // Without Connection: close Zeek counts two bytes for every line end.
    let found = run(&[
        orig("GET / HTTP/1.0\r\n\r\n"),
        resp("HTTP/1.0 200 OK\r\n\r\na\nb"),
        Step::End(Dir::Resp),
    ]);
    has(&found.rows[0], &[("response_body_len", "6")]);
}

#[test]
fn compressed_bodies_count_what_they_hold() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&b"<html>".repeat(1000)).unwrap();
    let body = gzip.finish().unwrap();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let found = run(&[orig("GET / HTTP/1.1\r\n\r\n"), resp(head), resp(body)]);
    has(&found.rows[0], &[("response_body_len", "6000"), ("resp_mime_types", "text/html")]);
}

#[test]
fn parts_are_files() {
    let body = "--xyz\r\nContent-Disposition: form-data; name=\"a\"; filename=\"a.txt\"\r\n\r\n\
                first file\r\n--xyz\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\n\
                <html>\r\n--xyz--\r\n";
    let head = format!(
        "POST / HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=xyz\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let found =
        run(&[orig(head), orig(body), resp("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")]);
    assert_eq!(found.weirds, Vec::<String>::new());
    has(
        &found.rows[0],
        &[
            ("request_body_len", &(body.len()).to_string()),
            ("orig_filenames", "a.txt"),
            ("orig_mime_types", "text/plain,text/html"),
        ],
    );
    assert_eq!(found.rows[0]["orig_fuids"].split(',').count(), 2);
}

#[test]
fn gaps() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
    let next = "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n";
    let gets = orig("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n");
    // Within a body: it goes on.
    let found = run(&[gets.clone(), resp(head), resp("ab"), Step::Gap(Dir::Resp, 8), resp(next)]);
    has(&found.rows[0], &[("response_body_len", "10"), ("status_code", "200")]);
    has(&found.rows[1], &[("status_code", "404")]);
    // Over its end: nothing more is understood.
    let found = run(&[gets, resp(head), resp("ab"), Step::Gap(Dir::Resp, 9), resp(next)]);
    has(&found.rows[0], &[("response_body_len", "2")]);
    has(&found.rows[1], &[("status_code", "-"), ("uri", "/2")]);
}

#[test]
fn http_09() {
    let found = run(&[orig("GET /a\r\n"), resp("<html>"), resp("x"), Step::End(Dir::Resp)]);
    has(
        &found.rows[0],
        &[
            ("version", "0.9"),
            ("status_code", "0"),
            ("status_msg", "<empty>"),
            ("response_body_len", "7"),
        ],
    );
    assert_eq!(found.weirds, Vec::<String>::new());
}

#[test]
fn connect_and_upgrade_end_http() {
    let found = run(&[
        orig("CONNECT h:443 HTTP/1.1\r\n\r\n"),
        resp("HTTP/1.1 200 OK\r\n\r\n\x16"),
        orig("GET / HTTP/1.1\r\n\r\n"),
    ]);
    assert_eq!(found.carried, ["anything"]);
    assert_eq!(found.handed_on, b"\x16GET / HTTP/1.1\r\n\r\n");
    assert_eq!(found.rows.len(), 1);
    assert_eq!(found.weirds, ["protocol_data_with_HTTP_CONNECT_reply"]);
    has(&found.rows[0], &[("method", "CONNECT"), ("status_code", "200")]);

    let upgrade = "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let found = run(&[orig("GET / HTTP/1.1\r\n\r\n"), resp(upgrade), orig(b"\x81\0")]);
    assert_eq!((&found.carried[..], &found.handed_on[..]), (&["websocket"][..], &b"\x81\0"[..]));
    has(&found.rows[0], &[("status_code", "101"), ("info_code", "101")]);
}

#[test]
fn what_is_not_http_is_left() {
    let found = run(&[orig("\x16\x03\x01\r\n\r\n")]);
    assert_eq!((found.last, found.rows.len()), (Some(Signal::Violated), 0));
    assert_eq!(found.weirds, ["bad_HTTP_request"]);
    // What came with the same packet still counts, what comes later does not.
    let found = run(&[orig("\x01\r\nGET / HTTP/1.1\r\n\r\n"), orig("GET / HTTP/1.1\r\n\r\n")]);
    assert_eq!((found.last, found.rows.len()), (Some(Signal::Violated), 0));
    let found = run(&[orig("GET / HTTP/1.1\r\n\r\n"), resp("SSH-2.0-x\r\n")]);
    assert_eq!(found.last, Some(Signal::Violated));
    has(&found.rows[0], &[("uri", "/"), ("status_code", "-")]);
}

#[test]
fn what_is_pending_is_bounded() {
    let found = run(&[orig("GET / HTTP/1.1\r\n\r\n".repeat(500))]);
    assert_eq!(found.rows.len(), 500);
    assert_eq!(found.weirds, ["HTTP_excessive_pipelining"]);
}

#[test]
fn ranges_of_one_file_are_one_file() {
    let get = "GET /f HTTP/1.1\r\nHost: h\r\nRange: bytes=0-4\r\n\r\n";
    let reply = |from: u32| {
        format!(
            "HTTP/1.1 206 Partial\r\nContent-Range: bytes {from}-{}/20\r\nContent-Length: 10\r\n\r\n\
             hello, you",
            from + 9
        )
    };
    let found = run(&[orig(get), resp(reply(0)), orig(get), resp(reply(10)), orig(get)]);
    has(&found.rows[0], &[("response_body_len", "10"), ("resp_mime_types", "-")]);
    assert!(found.rows[0].contains_key("resp_fuids"));
    // The type is told to the reply with which the file began, whose row is written.
    has(&found.rows[1], &[("resp_fuids", "-"), ("resp_mime_types", "-")]);
}

/// Two flows that ask for parts of the same thing carry one file.
#[test]
fn ranges_in_two_flows_are_one_file() {
    let get = "GET /f HTTP/1.1\r\nHost: h\r\nRange: bytes=0-4\r\n\r\n";
    let reply = |from: u32, body: &str| {
        let (last, len) = (from as usize + body.len() - 1, body.len());
        format!(
            "HTTP/1.1 206 P\r\nContent-Range: bytes {from}-{last}/6\r\nContent-Length: {len}\r\n\r\n{body}"
        )
    };
    let flow = |port| {
        let (orig, resp) = (("10.0.0.1", port), ("10.0.0.2", 80));
        Bench::between(&super::KIND, Transport::Tcp, orig, resp)
    };
    let (mut one, mut two) = (flow(1), flow(2));
    for bench in [&mut one, &mut two] {
        bench.feed(Dir::Orig, get.as_bytes());
    }
    one.feed(Dir::Resp, reply(3, "def").as_bytes());
    std::mem::swap(&mut one.files, &mut two.files);
    two.feed(Dir::Resp, reply(0, "abc").as_bytes());
    let (rows, _) = two.out.files.finish("s");
    assert_eq!(rows.num_rows(), 2, "a row for each flow");
    let cell = |name| read::text(&rows, name).unwrap().value(0).to_owned();
    // By md5sum, of abcdef.
    assert_eq!(cell("md5"), "e80b5017098950fc58aad83c8c14978e");
    assert_eq!(read::count(&rows, "seen_bytes").unwrap().value(0), 6);
}

#[test]
fn oddities() {
    for (request, want) in [
        ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", &["HTTP_obsolete_line_folding"][..]),
        ("FOO / HTTP/1.1\r\n\r\n", &["unknown_HTTP_method"]),
        ("GET / HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\n\r\n", &["unexpected_multiple_HTTP_requests"]),
        ("GET / HTTP/1.1\r\n\r\n\r\n", &["bad_HTTP_request", "empty_http_request"]),
        ("GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", &["HTTP_bad_content_length"]),
        ("GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n", &["line_terminated_with_single_CR"]),
        ("GET / HTTP/1.1\r\nAuthorization: Basic !\r\n\r\n", &["base64_illegal_encoding"]),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n\r\n",
            &["HTTP_bad_chunk_size"],
        ),
        ("FOOBAR /x\r\n", &["unknown_HTTP_method", "invalid_http_09_request_method"]),
    ] {
        assert_eq!(run(&[orig(request)]).weirds, want, "{request:?}");
    }
}

/// Where Zeek's rule hangs on the segments: the last line of a multipart body needs no end if the body
/// begins a segment.
#[test]
fn a_last_boundary_without_a_line_end() {
    let body = "--b\r\n\r\nx\r\n--b--";
    let head = format!(
        "POST / HTTP/1.1\r\nContent-Type: multipart/x; boundary=b\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let reply = resp("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let found = run(&[orig(&head), orig(body), reply.clone()]);
    assert_eq!(found.weirds, ["line_terminated_without_CRLF"]);
    has(&found.rows[0], &[("request_body_len", &(body.len() + 2).to_string())]);
    let found = run(&[orig(format!("{head}{body}")), reply]);
    assert_eq!(found.weirds, Vec::<String>::new());
    has(&found.rows[0], &[("request_body_len", "0"), ("status_code", "200")]);
    has(&found.rows[1], &[("request_body_len", "10"), ("status_code", "-")]);
}

#[test]
fn a_connect_that_is_granted_makes_the_server_a_proxy() {
    for (method, code, tunnels) in [("CONNECT", 200, 1), ("CONNECT", 407, 0), ("GET", 200, 0)] {
        let mut bench = Bench::new(&super::KIND, Transport::Tcp);
        bench.feed(Dir::Orig, format!("{method} h:443 HTTP/1.1\r\n\r\n").as_bytes());
        bench.feed(Dir::Resp, format!("HTTP/1.1 {code} x\r\n\r\n").as_bytes());
        assert_eq!(bench.out.tunnel.finish("n").0.num_rows(), tunnels, "{method} {code}");
    }
}
