//! SMTP under test, with conversations made here.

use model::read;

use super::super::testing::{self, Bench};
use super::super::{Act, Signal};
use super::bdat::chunk;
use super::*;

fn talk(lines: &[(Dir, &str)]) -> Bench {
    testing::talk(&KIND, lines)
}

#[test]
fn a_command_makes_it_smtp() {
    let bench = talk(&[
        (Dir::Resp, "220-mx\r\n220 ready\r\n"),
        (Dir::Orig, "EHLO me\r\n"),
        (Dir::Resp, "250-mx\r\n250 PIPELINING\r\n"),
        (Dir::Orig, "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"),
        (Dir::Resp, "250 ok\r\n250 ok\r\n354 go\r\n"),
        (Dir::Orig, "Subject: x\r\n\r\nSTARTTLS\r\n.\r\nQUIT\r\n"),
        (Dir::Resp, "250 taken\r\n221 bye\r\n"),
    ]);
    assert_eq!(bench.signals, [Signal::Confirmed]);
    assert!(bench.inner.acts.is_empty());
}

#[test]
fn a_greeting_alone_does_not() {
    assert_eq!(talk(&[(Dir::Resp, "220 ready\r\n"), (Dir::Orig, "FOO\r\n")]).signals, []);
}

#[test]
fn a_reply_without_a_code_is_not_smtp() {
    let bench = talk(&[(Dir::Orig, "EHLO a\r\n"), (Dir::Resp, "what?\r\n")]);
    assert_eq!(bench.signals, [Signal::Confirmed, Signal::Violated]);
    let bench = talk(&[(Dir::Resp, "600 no\r\n")]);
    assert_eq!(bench.signals, [Signal::Violated]);
}

#[test]
fn starttls_hands_on() {
    let bench = talk(&[
        (Dir::Resp, "220 ready\r\n"),
        (Dir::Orig, "EHLO a\r\nSTARTTLS\r\n"),
        (Dir::Resp, "250 ok\r\n220 go ahead\r\n\x16"),
        (Dir::Orig, "\x16\x03"),
    ]);
    let [Act::Attach(kind), Act::Data(Dir::Resp, a), Act::Data(Dir::Orig, b)] =
        &bench.inner.acts[..]
    else {
        panic!("TLS and its bytes");
    };
    assert_eq!((kind.name, a.clone(), b.clone()), ("ssl", 0..1, 1..3));
}

#[test]
fn chunks_are_no_commands() {
    let bench = talk(&[
        (Dir::Orig, "EHLO a\r\nBDAT 10\r\nSTARTTLS\r\nBDAT 4 LAST\r\nQUITSTARTTLS\r\n"),
        (Dir::Resp, "220 a\r\n250 b\r\n250 c\r\n250 d\r\n"),
    ]);
    assert!(bench.inner.acts.is_empty());
    let bench = talk(&[(Dir::Orig, "BDAT x\r\nSTARTTLS\r\n"), (Dir::Resp, "220 a\r\n220 b\r\n")]);
    assert_eq!(bench.weirds, ["smtp_mail_transaction_invalid", "smtp_invalid_bdat_command"]);
}

#[test]
fn arguments_of_bdat() {
    let parts = |argument: &[u8]| chunk(argument).map(|chunk| (chunk.left, chunk.is_last));
    assert_eq!(parts(b"12"), Ok((12, false)));
    assert_eq!(parts(b"0 last"), Ok((0, true)));
    assert_eq!(parts(b"1 LASTx"), Err("BDAT chunk-size followed by junk"));
    assert_eq!(parts(b"1x"), Err("BDAT chunk-size not valid"));
    assert_eq!(parts(b"99999999999999999999"), Err("BDAT chunk-size too large"));
    assert_eq!(parts(b""), Err("BDAT argument bad length"));
}

#[test]
fn after_a_gap_a_reply_is_enough() {
    let mut bench = Bench::new(&KIND, Transport::Tcp);
    bench.feed(Dir::Orig, b"EHLO a\r\n");
    bench.call(|analyzer, cx| analyzer.gap(cx, Dir::Orig, 100));
    bench.incomplete = true;
    bench.feed(Dir::Orig, b"anything\r\n");
    bench.feed(Dir::Resp, b"354 go\r\nno code\r\n");
    assert_eq!(bench.signals, [Signal::Confirmed]);
}

#[test]
fn hostile() {
    testing::hostile(
        &KIND,
        Transport::Tcp,
        &[
            (Dir::Resp, b"220 x\r\n"),
            (Dir::Orig, b"EHLO y\r\nBDAT 3 LAST\r\nabc\r\nAUTH x\r\nTURN\r\nSTARTTLS\r\n"),
            (Dir::Resp, b"250-a\r\n250 b\r\n250 c\r\n334 d\r\n250 e\r\n220 f\r\n"),
        ],
    );
}

#[test]
fn told_by_content() {
    let probe = |orig: &[u8], resp: &[u8]| {
        probe(&Start { transport: Transport::Tcp, bytes: [orig, resp], resp_p: 9 })
    };
    assert_eq!(probe(b"EHLO me", b"220 mx"), Verdict::Yes);
    assert_eq!(probe(b"x\r\n helo", b" 220-"), Verdict::Yes);
    assert_eq!(probe(b"", b"220 mx"), Verdict::More);
    assert_eq!(probe(b"EHLO me", b"22"), Verdict::More);
    assert_eq!(probe(b"EHLO me", b"2200"), Verdict::No);
    assert_eq!(probe(b"EHLO me", b"221 x"), Verdict::No);
}

#[test]
fn mail_is_a_file() {
    let bench = talk(&[
        (Dir::Orig, "EHLO a\r\nDATA\r\n"),
        (Dir::Orig, "Subject: x\r\n\r\n..dot\r\n.\r\n"),
        (Dir::Orig, "BDAT 9\r\nA: b\r\n\r\nxBDAT 4 LAST\r\ny\r\nz"),
    ]);
    let mut out = bench.out;
    let (batch, _) = out.files.finish("s");
    let cells = |name| read::count(&batch, name).unwrap().values().to_vec();
    // The first by lines, each with its end, without the dot that SMTP adds; the second in chunks.
    assert_eq!(cells("seen_bytes"), [6, 5]);
    assert_eq!(cells("depth"), [1, 2]);
}

#[test]
fn lines_of_chunks_that_end_oddly() {
    let weirds = |chunks: &[&str]| {
        let whole: usize = chunks.iter().map(|chunk| chunk.len()).sum();
        let mut bench = talk(&[(Dir::Orig, "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n")]);
        bench.feed(Dir::Orig, format!("BDAT {whole} LAST\r\n").as_bytes());
        chunks.iter().for_each(|chunk| bench.feed(Dir::Orig, chunk.as_bytes()));
        bench.weirds
    };
    assert!(weirds(&["A: b\r", "\nC: d\r\n\r\nno end"]).is_empty());
    assert_eq!(weirds(&["A: b\n"]), ["smtp_bdat_line_lf_only"]);
    assert_eq!(weirds(&["A: b\r", "x"]), ["smtp_bdat_line_cr_only"]);
    assert!(weirds(&["A: b\rx\r\n"]).is_empty());
    assert!(weirds(&[&"x".repeat(4096), "\r\n"]).is_empty());
    assert_eq!(weirds(&[&"x".repeat(4097)]), ["smtp_bdat_line_too_long"]);
}

#[test]
fn a_chunk_that_is_not_whole() {
    let mut bench = talk(&[(Dir::Orig, "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n")]);
    bench.feed(Dir::Orig, b"BDAT 18446744073709551615\r\nBDAT 20\r\nA: b");
    bench.call(|analyzer, cx| analyzer.gap(cx, Dir::Orig, 4));
    bench.feed(Dir::Resp, b"250 ok\r\n");
    bench.feed(Dir::Orig, b"DATA\r\n");
    let odd = [
        "smtp_huge_bdat_chunk",
        "smtp_bdat_remaining_at_end_data",
        "smtp_bdat_undelivered_at_done",
    ];
    assert_eq!(bench.weirds, odd);
}
