//! FTP under test, with conversations made here.

use std::net::IpAddr;

use model::read;

use super::super::testing::{self, Bench, START};
use super::super::{Act, Signal};
use super::*;

fn talk(lines: &[(Dir, &str)]) -> Bench {
    testing::talk(&KIND, lines)
}

fn expects(bench: &Bench, orig: [u8; 4], resp: [u8; 4], port: u16) -> bool {
    bench.expected.has((IpAddr::from(orig), IpAddr::from(resp), port), START)
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
