//! Bytes in, rows out.

use arrow_array::Array as _;
use model::read;

use super::{DTLS_KIND, KIND};
use crate::analyzer::testing::{Bench, START};
use crate::analyzer::{Dir, Signal, Transport};

fn bench(transport: Transport) -> Bench {
    let kind = if transport == Transport::Tcp { &KIND } else { &DTLS_KIND };
    Bench::between(kind, transport, ("10.0.0.1", 40000), ("10.0.0.2", 443))
}

fn finish(mut bench: Bench) -> Rows {
    if !bench.gone {
        bench.finish();
    }
    let (batch, _) = bench.out.ssl.finish("s");
    Rows { batch, weirds: bench.weirds, signals: bench.signals, gone: bench.gone }
}

/// What came out.
struct Rows {
    batch: arrow_array::RecordBatch,
    weirds: Vec<&'static str>,
    signals: Vec<Signal>,
    gone: bool,
}

impl Rows {
    fn text(&self, column: &str) -> Option<String> {
        let array = read::text(&self.batch, column).expect("a text column");
        (!array.is_null(0)).then(|| array.value(0).to_owned())
    }

    fn truth(&self, column: &str) -> Option<bool> {
        let array = read::bool(&self.batch, column).expect("a truth column");
        (!array.is_null(0)).then(|| array.value(0))
    }

    fn history(&self) -> String {
        self.text("ssl_history").unwrap_or_default()
    }

    /// All of it, to compare.
    fn all(&self) -> String {
        format!("{:?} {:?} {:?}", self.batch, self.weirds, self.signals)
    }
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).expect("a short body").to_be_bytes();
    [&[kind, 3, 3][..], &len, body].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).expect("a short body").to_be_bytes();
    [&[kind], &len[1..], body].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len()).expect("short data").to_be_bytes();
    [&kind.to_be_bytes()[..], &len, data].concat()
}

fn client_hello(session: &[u8], extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(session.len() as u8);
    body.extend(session);
    body.extend([0, 2, 0x13, 1, 1, 0, 0, 0]);
    body.extend(extensions.concat());
    message(1, &body)
}

fn server_hello(session: &[u8], cipher: u16, extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([9; 32]);
    body.push(session.len() as u8);
    body.extend(session);
    body.extend(cipher.to_be_bytes());
    body.extend([0, 0, 0]);
    body.extend(extensions.concat());
    message(2, &body)
}

fn sni(host: &str) -> Vec<u8> {
    let n = host.len() as u8;
    extension(0, &[&[0, n + 3, 0, 0, n][..], host.as_bytes()].concat())
}

const CCS: [u8; 6] = [20, 3, 3, 0, 1, 1];

/// A handshake of TLS 1.2, with messages that share records and a record that splits one.
fn tls12() -> Vec<(Dir, Vec<u8>)> {
    let hello = client_hello(b"", &[sni("www.example.com"), extension(16, b"\0\x03\x02h2")]);
    let chain = message(11, b"\0\0\x06\0\0\x03abc");
    let curve = message(12, b"\x03\0\x17\x01x\x04\x01\0\x01s");
    let flight = [
        server_hello(&[5; 32], 0xc02f, &[extension(16, b"\0\x03\x02h2")]),
        chain,
        curve,
        message(14, b""),
    ]
    .concat();
    let (a, b) = flight.split_at(60);
    let server = [record(22, a), record(22, b)].concat();
    let client =
        [record(22, &message(16, b"key")), CCS.to_vec(), record(22, b"encrypted!!!")].concat();
    let last = [record(22, &message(4, b"\0\0\0\0\0\x01t")), CCS.to_vec(), record(22, b"crypted")];
    vec![
        (Dir::Orig, record(22, &hello)),
        (Dir::Resp, server),
        (Dir::Orig, client),
        (Dir::Resp, last.concat()),
    ]
}

fn run(steps: &[(Dir, Vec<u8>)], pieces: usize) -> Rows {
    let mut bench = bench(Transport::Tcp);
    for (dir, bytes) in steps {
        for piece in bytes.chunks(pieces) {
            bench.feed(*dir, piece);
        }
    }
    finish(bench)
}

#[test]
fn full_handshake_of_tls12() {
    let rows = run(&tls12(), 10_000);
    assert_eq!(rows.batch.num_rows(), 1);
    assert_eq!(rows.text("version").as_deref(), Some("TLSv12"));
    assert_eq!(rows.text("cipher").as_deref(), Some("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"));
    assert_eq!(rows.text("curve").as_deref(), Some("secp256r1"));
    assert_eq!(rows.text("server_name").as_deref(), Some("www.example.com"));
    assert_eq!(rows.text("next_protocol").as_deref(), Some("h2"));
    assert_eq!(rows.history(), "CsxknGIti");
    assert_eq!(rows.truth("established"), Some(true));
    assert_eq!(rows.truth("resumed"), Some(false));
    // What was sent is no certificate, so it has no fingerprint and nothing is compared.
    assert_eq!(rows.truth("sni_matches_cert"), None);
    assert_eq!(rows.signals, [Signal::Confirmed]);
    assert!(rows.gone);
    let time = read::time(&rows.batch, "ts").expect("a time column");
    assert_eq!(time.value(0), START);
}

#[test]
fn segments_make_no_difference() {
    let whole = run(&tls12(), 10_000).all();
    for pieces in 1..80 {
        assert_eq!(run(&tls12(), pieces).all(), whole, "in pieces of {pieces}");
    }
}

#[test]
fn tls13_is_established_by_application_data() {
    let share = extension(51, &[0, 29, 0, 1, 9]);
    let steps = [
        (Dir::Orig, record(22, &client_hello(&[4; 32], &[sni("a.example")]))),
        (
            Dir::Resp,
            [
                record(22, &server_hello(&[4; 32], 0x1301, &[extension(43, &[3, 4]), share])),
                CCS.to_vec(),
                record(23, b"extensions and more"),
            ]
            .concat(),
        ),
        (Dir::Orig, [CCS.to_vec(), record(23, b"finished")].concat()),
    ];
    let rows = run(&steps, 10_000);
    assert_eq!(rows.history(), "CsiI");
    assert_eq!(rows.text("version").as_deref(), Some("TLSv13"));
    assert_eq!(rows.text("curve").as_deref(), Some("x25519"));
    assert_eq!(rows.truth("established"), Some(true));
    assert_eq!(rows.truth("resumed"), Some(false));
}

#[test]
fn resumption_by_session_and_by_ticket() {
    let ccs = |dir| (dir, [CCS.to_vec(), record(22, b"x")].concat());
    let by_session = [
        (Dir::Orig, record(22, &client_hello(&[4; 32], &[]))),
        (Dir::Resp, record(22, &server_hello(&[4; 32], 0xc02f, &[]))),
        ccs(Dir::Resp),
        ccs(Dir::Orig),
    ];
    let rows = run(&by_session, 10_000);
    assert_eq!((rows.truth("resumed"), rows.history()), (Some(true), "CsiI".to_owned()));
    let by_ticket = [
        (Dir::Orig, record(22, &client_hello(b"", &[extension(35, b"ticket")]))),
        (Dir::Resp, record(22, &server_hello(b"", 0xc02f, &[]))),
        ccs(Dir::Resp),
        ccs(Dir::Orig),
    ];
    assert_eq!(run(&by_ticket, 10_000).truth("resumed"), Some(true));
}

#[test]
fn hello_of_ssl2_may_lead_to_tls() {
    let mut hello = vec![0x80, 9 + 3 + 16, 1, 3, 1, 0, 3, 0, 0, 0, 16, 0, 0, 5];
    hello.extend([8; 16]);
    let steps = [(Dir::Orig, hello), (Dir::Resp, record(22, &server_hello(&[1; 32], 0x0005, &[])))];
    let rows = run(&steps, 10_000);
    assert_eq!(rows.history(), "Cs");
    assert_eq!(rows.text("cipher").as_deref(), Some("TLS_RSA_WITH_RC4_128_SHA"));
    assert_eq!(rows.signals, [Signal::Confirmed]);
    assert_eq!(rows.truth("established"), Some(false));
}

#[test]
fn a_reply_that_is_no_tls_ends_it_with_a_row() {
    let steps = [
        (Dir::Orig, record(22, &client_hello(b"", &[sni("a.example")]))),
        (Dir::Resp, b"HTTP/1.1 400 Bad Request\r\n".to_vec()),
    ];
    let rows = run(&steps, 10_000);
    assert_eq!((rows.batch.num_rows(), rows.history()), (1, "C".to_owned()));
    assert_eq!(rows.signals, [Signal::Confirmed, Signal::Violated]);
    let never = run(&[(Dir::Orig, b"GET / HTTP/1.1\r\n".to_vec())], 10_000);
    assert_eq!((never.batch.num_rows(), never.signals), (0, vec![Signal::Violated]));
}

#[test]
fn swapped_ends_alerts_and_gaps() {
    let steps =
        [(Dir::Resp, record(22, &client_hello(b"", &[]))), (Dir::Orig, record(21, &[2, 40]))];
    let rows = run(&steps, 10_000);
    assert_eq!(rows.history(), "^Cl");
    assert_eq!(rows.text("last_alert").as_deref(), Some("handshake_failure"));

    let mut bench = bench(Transport::Tcp);
    bench.feed(Dir::Orig, &record(22, &client_hello(b"", &[])));
    bench.call(|analyzer, cx| analyzer.gap(cx, Dir::Resp, 100));
    bench.feed(Dir::Resp, &record(22, &server_hello(b"", 0xc02f, &[])));
    let rows = finish(bench);
    assert_eq!((rows.batch.num_rows(), rows.history()), (1, "C".to_owned()));
}

#[test]
fn dtls_with_cookie() {
    let wrap = |number: u8, kind: u8, body: &[u8]| {
        let len = u16::try_from(body.len()).expect("a short body").to_be_bytes();
        [&[kind, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, number][..], &len, body].concat()
    };
    let handshake = |number: u8, message: &[u8]| {
        let (head, body) = message.split_at(4);
        let (len, n) = (&head[1..], [0, number]);
        wrap(number, 22, &[&head[..1], len, &n, &[0, 0, 0], len, body].concat())
    };
    let mut hello = client_hello(b"", &[]);
    hello.splice(4..6, [0xfe, 0xfd]);
    hello.insert(4 + 2 + 32 + 1, 0);
    hello[3] += 1;
    let mut bench = bench(Transport::Udp);
    bench.feed(Dir::Orig, &handshake(0, &hello));
    bench.feed(Dir::Resp, &handshake(0, &message(3, b"\xfe\xfd\x02ok")));
    bench.feed(Dir::Orig, &handshake(1, &hello));
    let mut answer = server_hello(b"", 0xc02b, &[]);
    answer.splice(4..6, [0xfe, 0xfd]);
    bench.feed(Dir::Resp, &handshake(1, &answer));
    bench.feed(Dir::Resp, &wrap(2, 20, &[1]));
    bench.feed(Dir::Orig, &wrap(2, 20, &[1]));
    bench.feed(Dir::Orig, &[22, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 9]);
    let rows = finish(bench);
    assert_eq!(rows.history(), "CvCsiI");
    assert_eq!(rows.text("version").as_deref(), Some("DTLSv12"));
    assert_eq!(rows.truth("established"), Some(true));
}

#[test]
fn long_messages_and_histories_are_bounded() {
    let mut bench = bench(Transport::Tcp);
    bench.feed(Dir::Orig, &record(22, &client_hello(b"", &[])));
    bench.feed(Dir::Resp, &record(22, &[11, 0xff, 0xff, 0xff]));
    for _ in 0..70 {
        bench.feed(Dir::Resp, &record(22, &[0; 16384]));
    }
    let rows = finish(bench);
    assert_eq!(rows.weirds, ["SSL_handshake_message_too_long"]);
    assert_eq!(rows.history(), "C");

    let steps = vec![(Dir::Resp, record(22, &message(14, b""))); 300];
    let rows = run(&steps, 10_000);
    assert_eq!(rows.history().len(), 100);
    assert_eq!(rows.weirds, ["SSL_max_ssl_history_length_reached"]);
}

/// Numbers without a pattern, the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap_or(0) % sides.max(1)
    }
}

#[test]
fn damaged_handshakes_do_not_panic() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for round in 0..4000 {
        let mut steps = tls12();
        for _ in 0..=dice.roll(4) {
            let which = dice.roll(steps.len());
            let bytes = &mut steps[which].1;
            let (at, value) = (dice.roll(bytes.len()), dice.roll(256) as u8);
            match dice.roll(3) {
                0 => bytes[at] = value,
                1 => bytes.truncate(at + 1),
                _ => bytes.insert(at, value),
            }
        }
        let whole = run(&steps, 100_000);
        assert!(whole.batch.num_rows() <= 1);
        // A violation ends the analysis with the segment that brought it, so what follows it in
        // that segment may still count; only undisturbed runs have to agree.
        if !whole.gone {
            assert_eq!(run(&steps, 1 + round % 50).batch, whole.batch);
        }
    }
}

#[test]
fn noise_does_not_panic() {
    let mut dice = Dice(1);
    for round in 0..3000 {
        let transport = if round % 2 == 0 { Transport::Tcp } else { Transport::Udp };
        let mut bench = bench(transport);
        for _ in 0..6 {
            let mut bytes: Vec<u8> = (0..dice.roll(120)).map(|_| dice.roll(256) as u8).collect();
            let heads: [&[u8]; 6] = [
                b"\x16\x03\x01\0\x50",
                b"\x80\x30\x01\x03\x01",
                b"\x80\x30\x04\0\x01",
                b"\x15\x03\x03\0\x03",
                b"\x16\xfe\xfd\0\0\0\0\0\0\0\x01\0\x30",
                b"\x2c\0\x01",
            ];
            bytes.splice(0..0, heads[dice.roll(heads.len())].iter().copied());
            let dir = if dice.roll(2) == 0 { Dir::Orig } else { Dir::Resp };
            bench.feed(dir, &bytes);
        }
        assert!(finish(bench).batch.num_rows() <= 1);
    }
}
