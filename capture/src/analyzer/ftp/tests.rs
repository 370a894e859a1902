//! FTP under test, with conversations made here.

use std::net::IpAddr;

use arrow_array::Array;
use model::read;

use super::super::testing::{self, Bench, START};
use super::super::{Act, Signal};
use super::*;

fn talk(lines: &[(Dir, &str)]) -> Bench {
    testing::talk(&KIND, lines)
}

fn expects(bench: &Bench, orig: [u8; 4], resp: [u8; 4], port: u16) -> bool {
    bench.expected.has((IpAddr::from(orig), IpAddr::from(resp), port), START).is_some()
}

const CLIENT: [u8; 4] = [10, 0, 0, 1];
const SERVER: [u8; 4] = [10, 0, 0, 2];

#[test]
fn a_command_makes_it_ftp() {
    let bench = talk(&[
        (Dir::Resp, "220-hello\r\n who\r\n220 are you\r\n"),
        (Dir::Orig, "USER me\r\nPASS x\r\n"),
        (Dir::Resp, "331 well\n230 in\r\n"),
    ]);
    assert_eq!(bench.signals, [Signal::Confirmed]);
    assert_eq!(talk(&[(Dir::Orig, "A\r\n\x01xyz\r\n"), (Dir::Resp, "220\r\n")]).signals, []);
}

#[test]
fn replies_that_are_none() {
    for reply in ["hello\r\n", "020 x\r\n", "220x\r\n"] {
        let bench = talk(&[(Dir::Orig, "USER me\r\n"), (Dir::Resp, reply)]);
        assert_eq!(bench.signals, [Signal::Confirmed, Signal::Violated], "{reply}");
    }
}

#[test]
fn data_connections_are_announced() {
    let bench = talk(&[(Dir::Orig, "PORT 10,0,0,1,4,31\r\nEPRT |1|10.0.0.1|1056|\r\n")]);
    assert!(expects(&bench, SERVER, CLIENT, 1055));
    assert!(expects(&bench, SERVER, CLIENT, 1056));
    let bench = talk(&[
        (Dir::Orig, "PASV\r\n"),
        (Dir::Resp, "227 Entering Passive Mode (10,0,0,2,4,31)\r\n"),
        (Dir::Orig, "epsv\r\n"),
        (Dir::Resp, "229 Extended (|||1056|)\r\n"),
    ]);
    assert!(expects(&bench, CLIENT, SERVER, 1055));
    assert!(expects(&bench, CLIENT, SERVER, 1056));
    let bench = talk(&[(Dir::Resp, "227 Passive (10,0,0,2,4,31)\r\n")]);
    assert!(!expects(&bench, CLIENT, SERVER, 1055));
}

/// Columns of text or numbers of the rows that were written, `-` where unset.
fn cells(bench: &mut Bench, names: &[&str]) -> Vec<String> {
    let (batch, _) = bench.out.ftp.finish("s");
    let cell = |name: &&str, row: usize| match read::text(&batch, name) {
        Ok(texts) if texts.is_null(row) => "-".to_owned(),
        Ok(texts) => texts.value(row).to_owned(),
        Err(_) => match read::count(&batch, name).unwrap() {
            numbers if numbers.is_null(row) => "-".to_owned(),
            numbers => numbers.value(row).to_string(),
        },
    };
    let row = |row| names.iter().map(|name| cell(name, row)).collect::<Vec<_>>().join(" ");
    (0..batch.num_rows()).map(row).collect()
}

#[test]
fn rows_of_a_session() {
    let mut bench = talk(&[
        (Dir::Resp, "220 hello\r\n"),
        (Dir::Orig, "USER me\r\n"),
        (Dir::Resp, "331 password\r\n"),
        (Dir::Orig, "PASS secret\r\n"),
        (Dir::Resp, "230-welcome\r\n230 in\r\n"),
        (Dir::Orig, "CWD pub\r\n"),
        (Dir::Resp, "250 done\r\n"),
        (Dir::Orig, "PASV\r\n"),
        (Dir::Resp, "227 Passive (10,0,0,2,4,31)\r\n"),
        (Dir::Orig, "RETR a.txt\r\n"),
        (Dir::Resp, "150 Opening a.txt (77 bytes)\r\n"),
    ]);
    let names = ["command", "arg", "user", "password", "data_channel.resp_h", "reply_code"];
    assert_eq!(cells(&mut bench, &names), ["PASV - me <hidden> 10.0.0.2 227"]);
    // The data connection tells of its file before the next command.
    bench.expected.file_of(bench.ids.order, "F1");
    bench.feed(Dir::Resp, b"226 sent\r\n");
    bench.feed(Dir::Orig, b"DELE /b\r\n");
    let names = ["command", "arg", "fuid", "mime_type", "file_size", "reply_msg"];
    let want = ["RETR ftp://10.0.0.2/./pub/a.txt F1 - 77 sent"];
    assert_eq!(cells(&mut bench, &names), want);
    // What was not answered has the last reply.
    bench.finish();
    assert_eq!(cells(&mut bench, &names), ["DELE ftp://10.0.0.2/b - - - sent"]);
}

#[test]
fn a_guests_password_is_no_secret() {
    let mut bench = talk(&[
        (Dir::Orig, "USER FTP\r\nPASS me@here\r\nEPSV\r\n"),
        (Dir::Resp, "220 a\r\n331 b\r\n230 c\r\n229 Extended (|||1056|)\r\n"),
    ]);
    bench.finish();
    assert_eq!(cells(&mut bench, &["command", "user", "password"]), ["EPSV FTP me@here"]);
}

#[test]
fn rejected_logins_are_told() {
    let login = "USER me\r\nPASS x\r\n";
    let mut bench = talk(&[
        (Dir::Resp, "220 hello\r\n"),
        (Dir::Orig, "USER me\r\n"),
        (Dir::Resp, "331 password\r\n"),
        (Dir::Orig, "PASS x\r\n"),
        (Dir::Resp, "530-no\r\n530 no\r\n"),
        (Dir::Orig, "CWD x\r\n"),
        (Dir::Resp, "530 not logged in\r\n"),
    ]);
    assert_eq!(bench.out.failed_auth.len(), 2);
    for _ in 0..1100 {
        bench.feed(Dir::Orig, login.as_bytes());
        bench.feed(Dir::Resp, b"331 a\r\n530 b\r\n");
    }
    assert_eq!(bench.out.failed_auth.len(), 1000);
}

#[test]
fn commands_that_nobody_answers() {
    let mut bench = talk(&[(Dir::Orig, &"PASV\r\n".repeat(50))]);
    assert_eq!(bench.weirds, ["FTP_too_many_pending_commands"]);
    bench.finish();
    assert_eq!(cells(&mut bench, &["command", "user", "reply_code"]), ["PASV <unknown> -"; 19]);
}

#[test]
fn texts_that_are_too_long() {
    let long = "x".repeat(5000);
    let mut bench = talk(&[
        (Dir::Orig, &format!("USER {long}\r\nPASS {long}\r\nACCT {long}\r\n")),
        (Dir::Resp, &format!("220 a\r\n331 b\r\n230 c\r\n230 {long}\r\n")),
    ]);
    bench.finish();
    let weirds = ["FTP_user_too_long", "FTP_password_too_long", "FTP_arg_too_long"];
    assert_eq!(bench.weirds[..3], weirds);
    assert_eq!(bench.weirds[3..], ["FTP_reply_msg_too_long"]);
    let row = &cells(&mut bench, &["user", "arg", "reply_msg"])[0];
    let lens: Vec<usize> = row.split(' ').map(str::len).collect();
    assert_eq!(lens, [128, 4096, 4096]);
}

#[test]
fn a_long_directory_is_cut() {
    let mut bench = talk(&[
        (Dir::Orig, &format!("CWD /{}\r\n", "d".repeat(8000))),
        (Dir::Resp, "220 hello\r\n250 done\r\n"),
    ]);
    for _ in 0..100 {
        bench.feed(Dir::Orig, b"DELE\n");
        bench.feed(Dir::Resp, b"250\n");
    }
    bench.finish();
    assert_eq!(bench.weirds, ["FTP_arg_too_long"]);
    let args = cells(&mut bench, &["arg"]);
    assert_eq!(args.len(), 100);
    let want = format!("ftp://10.0.0.2/{}", "d".repeat(511));
    assert!(args.iter().all(|arg| *arg == want), "{}", args[0].len());
}

#[test]
fn rows_are_in_proportion_to_what_was_said() {
    let mut bench = talk(&[
        (Dir::Orig, &format!("CWD /{}\r\n", "d".repeat(500))),
        (Dir::Resp, "220 hello\r\n250 done\r\n"),
    ]);
    for _ in 0..10_000 {
        bench.feed(Dir::Orig, b"DELE\n");
        bench.feed(Dir::Resp, b"250\n");
    }
    assert_eq!(bench.weirds[0], "FTP_too_many_rows");
    let bytes: usize = cells(&mut bench, &["arg"]).iter().map(String::len).sum();
    // Four bytes a command are heard, none of the reply.
    assert!((300_000..400_000).contains(&bytes), "{bytes}");
}

#[test]
fn auth_tls_hands_on() {
    let bench =
        talk(&[(Dir::Orig, "AUTH TLS\r\n"), (Dir::Resp, "234 go\r\n"), (Dir::Orig, "\x16\x03")]);
    assert!(matches!(bench.inner.acts[0], Act::Attach(kind) if kind.name == "ssl"));
    assert_eq!(bench.inner.bytes, b"\x16\x03");
    let bench = talk(&[(Dir::Orig, "AUTH SSL\r\n"), (Dir::Resp, "234 go\r\n")]);
    assert!(bench.inner.acts.is_empty());
}

#[test]
fn auth_gssapi_hands_its_tokens_on() {
    let mut bench = talk(&[
        (Dir::Orig, "AUTH GSSAPI\r\n"),
        (Dir::Resp, "334 go\r\n"),
        (Dir::Orig, "ADAT FgMBAAEB\r\n"),
        (Dir::Resp, "335 ADAT=AAEC\r\n"),
    ]);
    assert_eq!(bench.inner.bytes, [0x16, 3, 1, 0, 1, 1, 0, 1, 2]);
    assert!(bench.services.names().is_empty());
    bench.tls_established = true;
    bench.feed(Dir::Resp, b"235 done\r\n");
    assert_eq!(bench.services.names(), ["gridftp"]);
}

#[test]
fn hostile() {
    testing::hostile(
        &KIND,
        Transport::Tcp,
        &[
            (Dir::Resp, b"220-a\r\n220 b\r\n"),
            (Dir::Orig, b"EPSV\r\nPASV\r\nPORT 1,2,3,4,5,6\r\nAUTH GSSAPI\r\n"),
            (Dir::Resp, b"229 (|||1|)\r\n227 (1,2,3,4,5,6)\r\n334 c\r\n"),
            (Dir::Orig, b"ADAT FgMBAAEB\r\nAUTH TLS\r\n"),
            (Dir::Resp, b"334 ADAT=AAEC\r\n234 d\r\n"),
        ],
    );
    testing::hostile(&DATA_KIND, Transport::Tcp, &[(Dir::Orig, b"x")]);
}

#[test]
fn told_by_content() {
    let probe = |orig: &[u8], resp: &[u8]| {
        probe(&Start { transport: Transport::Tcp, bytes: [orig, resp], resp_p: 9 })
    };
    assert_eq!(probe(b"USER me\r\n", b"220 hi\r\n331 pass"), Verdict::Yes);
    assert_eq!(probe(b"x\r\n user me\r\n", b"\r\n 120-hi\r\n 230 in"), Verdict::Yes);
    assert_eq!(probe(b"USER me\r\n", b"220 hi\r\n"), Verdict::More);
    assert_eq!(probe(b"USER me\r\n", b"221 hi\r\n"), Verdict::No);
}

#[test]
fn the_control_connection_hears_of_files() {
    let mut bench = Bench::new(&DATA_KIND, Transport::Tcp);
    let tuple = &bench.ids.tuple;
    let ends = (tuple.orig_h, tuple.resp_h, tuple.resp_p);
    bench.expected.add(ends, crate::expected::What::FtpData, START, 5);
    bench.feed(Dir::Resp, &b"plain text ".repeat(90));
    let (fuid, mime) = bench.expected.take_file(5);
    assert_eq!((fuid.map(|fuid| fuid.starts_with('F')), mime), (Some(true), None));
    bench.feed(Dir::Resp, &b"plain text ".repeat(9));
    assert_eq!(bench.expected.take_file(5), (None, Some("text/plain")));
    bench.finish();
    assert_eq!(bench.expected.take_file(5), (None, Some("text/plain")));
}

#[test]
fn what_an_end_sends_is_a_file() {
    let mut bench = Bench::new(&DATA_KIND, Transport::Tcp);
    bench.feed(Dir::Resp, b"hello, ");
    bench.feed(Dir::Resp, b"world\n");
    bench.feed(Dir::Orig, b"x");
    bench.call(|analyzer, cx| analyzer.gap(cx, Dir::Orig, 5));
    bench.finish();
    let (batch, _) = bench.out.files.finish("s");
    assert_eq!(batch.num_rows(), 2);
    let sizes = |name| read::count(&batch, name).unwrap().values().to_vec();
    assert_eq!(sizes("seen_bytes"), [1, 13]);
    assert_eq!(sizes("missing_bytes"), [5, 0]);
}
