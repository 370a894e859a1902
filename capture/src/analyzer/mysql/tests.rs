//! MySQL from literal packets.

use super::*;
use crate::analyzer::testing::{Bench, endures};
use crate::analyzer::{Act, Signal, Transport};

/// A packet of this number.
fn packet(number: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![body.len() as u8, 0, 0, number];
    bytes.extend_from_slice(body);
    bytes
}

/// The server's greeting, version 10.
fn greeting() -> Vec<u8> {
    let mut body = vec![10, b'8', 0];
    body.extend_from_slice(&[0; 4 + 8 + 1 + 2 + 1 + 2]);
    body.extend_from_slice(&[8, 0, 21]);
    body.extend_from_slice(&[0; 10 + 13]);
    body.extend_from_slice(b"plug\0");
    packet(0, &body)
}

/// The client's answer.
fn answer(flags: u32) -> Vec<u8> {
    let mut body = flags.to_le_bytes().to_vec();
    body.extend_from_slice(&[0; 4 + 1 + 23]);
    if flags & 0x800 == 0 {
        body.extend_from_slice(b"root\0\x02pw");
    }
    packet(1, &body)
}

#[test]
fn a_session_with_a_result() {
    let mut bench = Bench::new(&KIND, Transport::Tcp);
    bench.feed(Dir::Resp, &greeting());
    assert!(bench.signals.is_empty());
    bench.feed(Dir::Orig, &answer(0));
    assert_eq!(bench.signals, [Signal::Confirmed]);
    bench.feed(Dir::Resp, &packet(2, &[0, 0, 0]));
    bench.feed(Dir::Orig, &packet(0, b"\x03SELECT 1"));
    bench.feed(Dir::Resp, &packet(1, &[1]));
    let mut column = vec![3, b'd', b'e', b'f', 0, 0, 0, 1, b'1', 0, 12];
    column.extend_from_slice(&[0; 12]);
    bench.feed(Dir::Resp, &packet(2, &column));
    bench.feed(Dir::Resp, &packet(3, &[0xfe, 0, 0, 2, 0]));
    bench.feed(Dir::Resp, &packet(4, &[1, b'1']));
    bench.feed(Dir::Resp, &packet(5, &[0xfe, 0, 0, 2, 0]));
    bench.feed(Dir::Orig, &packet(0, &[1]));
    assert_eq!(bench.signals, [Signal::Confirmed]);
    assert!(!bench.gone);
}

#[test]
fn tls_is_handed_on() {
    let mut bench = Bench::new(&KIND, Transport::Tcp);
    bench.feed(Dir::Resp, &greeting());
    bench.feed(Dir::Orig, &answer(0x800));
    assert_eq!(bench.signals, [Signal::Confirmed]);
    bench.feed(Dir::Orig, b"\x16\x03\x01");
    let acts = &bench.inner.acts;
    assert!(matches!(acts[..], [Act::Attach(kind), Act::Data(Dir::Orig, _)] if kind.name == "ssl"));
    assert_eq!(bench.inner.bytes, b"\x16\x03\x01");
}

#[test]
fn what_is_not_mysql_violates() {
    for (dir, bytes) in [
        (Dir::Orig, answer(0)),
        (Dir::Resp, packet(0, &[10, b'8'])),
        (Dir::Resp, packet(1, &[7, 7, 7])),
    ] {
        let mut bench = Bench::new(&KIND, Transport::Tcp);
        bench.feed(dir, &bytes);
        assert_eq!(bench.signals, [Signal::Violated]);
    }
}

#[test]
fn hostile_packets() {
    let (greeting, answer) = (greeting(), answer(0x818_0008));
    let query = packet(0, &[3, 1, 1, 0, 1, 0xfd, 0, 1, b'a', 1, b'v', b'S']);
    let messages: [(Dir, &[u8]); 4] = [
        (Dir::Resp, &greeting),
        (Dir::Orig, &answer),
        (Dir::Resp, &[3, 0, 0, 2, 0, 0, 0]),
        (Dir::Orig, &query),
    ];
    endures(&KIND, Transport::Tcp, &messages);
}
