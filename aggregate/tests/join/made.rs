//! Flows made packet by packet, for one rule of joining each: their halves are the rows of the whole.

use std::net::{IpAddr, Ipv4Addr};

use capture::config::Joins;
use capture::source::{Link, Packet};

use crate::OBSERVERS;
use crate::rows::{Row, Score};
use crate::sensors::{FLUSH, Owned, Sensor, aggregated, alone, logs};

const CLIENT: (IpAddr, u16) = (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 50_001);
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));

/// When what is made begins.
pub const BEGAN_US: i64 = 1_700_000_000_000_000;

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// Milliseconds, who sends, flags, number, acknowledgement, payload.
pub type Segment<'a> = (i64, Dir, u8, u32, u32, &'a [u8]);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dir {
    C,
    S,
}
pub use Dir::{C, S};

pub fn packets(port: u16, segments: &[Segment<'_>]) -> Vec<Owned> {
    segments.iter().map(|segment| packet(port, segment)).collect()
}

fn packet(port: u16, (ms, dir, flags, seq, ack, payload): &Segment<'_>) -> Owned {
    let mut rest = [seq.to_be_bytes(), ack.to_be_bytes()].concat();
    rest.extend([0x50, *flags, 0x20, 0, 0, 0, 0, 0]);
    rest.extend_from_slice(payload);
    carried(ms * 1000, 6, *dir, [CLIENT, (SERVER, port)], &rest)
}

/// A flow that begins then, with this initial number, and that both ends close.
pub fn closed(ms: i64, isn: u32) -> Vec<Segment<'static>> {
    vec![
        (ms, C, SYN, isn, 0, b""),
        (ms + 5, S, SYN | ACK, 500, isn + 1, b""),
        (ms + 9, C, ACK, isn + 1, 501, b""),
        (ms + 10, C, ACK, isn + 1, 501, b"x"),
        (ms + 20, S, FIN | ACK, 501, isn + 2, b""),
        (ms + 30, C, FIN | ACK, isn + 2, 502, b""),
        (ms + 40, S, ACK, 502, isn + 3, b""),
    ]
}

/// A packet so many microseconds after the beginning, between the client's end and the server's, of one family; `rest`
/// follows on the ports.
pub fn carried(us: i64, proto: u8, dir: Dir, ends: [(IpAddr, u16); 2], rest: &[u8]) -> Owned {
    let [src, dst] = if dir == C { ends } else { [ends[1], ends[0]] };
    let payload_len = 4 + rest.len() as u16;
    let mut data = match (src.0, dst.0) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let [high, low] = (20 + payload_len).to_be_bytes();
            let head = [0x45, 0, high, low, 0, 1, 0, 0, 64, proto, 0, 0];
            [&head[..], &src.octets(), &dst.octets()].concat()
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let [high, low] = payload_len.to_be_bytes();
            let head = [0x60, 0, 0, 0, high, low, proto, 64];
            [&head[..], &src.octets(), &dst.octets()].concat()
        }
        _ => panic!("ends of two families"),
    };
    data.extend([src.1.to_be_bytes(), dst.1.to_be_bytes()].concat());
    data.extend_from_slice(rest);
    let wire_len = data.len() as u32;
    Owned::of(&Packet { ts_us: BEGAN_US + us, link: Link::Raw, wire_len, data: &data })
}

/// What two sensors send of them, of which each sees one direction and flushes after so many packets.
pub fn halves(packets: &[Owned], flush: usize) -> Vec<Vec<Vec<bus::Outgoing>>> {
    let sends = |up: bool| {
        let sensor = Sensor::new(if up { "up" } else { "down" }, Joins::Halves);
        Sensor { flush, ..sensor }.sends(packets.iter().filter(|packet| packet.is_up == up))
    };
    vec![sends(true), sends(false)]
}

/// Rows of conn of the whole, which are those of the halves.
fn joined(packets: &[Owned]) -> Vec<Row> {
    let conn = |mut rows: crate::rows::Rows| rows.remove("conn").unwrap_or_default();
    let want = conn(alone(packets));
    let got = conn(aggregated(&|_| {}, halves(packets, FLUSH), &mut |_| 0));
    let (missing, left) = Score::default().count(&want, &got, &OBSERVERS);
    assert!(missing.is_empty() && left.is_empty(), "want {missing:#?}\ngot {left:#?}");
    want
}

/// Their histories in order of time, and services.
fn shown(rows: &[Row]) -> String {
    let mut rows: Vec<&Row> = rows.iter().collect();
    rows.sort_by_key(|row| row["ts"].clone());
    let show = |row: &&Row| match row["service"].as_str() {
        "-" => row["history"].clone(),
        service => format!("{}:{service}", row["history"]),
    };
    rows.iter().map(show).collect::<Vec<_>>().join(" ")
}

/// The same of a conversation: a handshake, payload each way in turn, and FINs.
fn talk(port: u16, said: &[(Dir, &[u8])]) -> String {
    let (mut seq, mut ms) = ([101u32, 501u32], 10);
    let mut all: Vec<Segment<'_>> = vec![
        (0, C, SYN, 100, 0, b""),
        (4, S, SYN | ACK, 500, 101, b""),
        (8, C, ACK, 101, 501, b""),
    ];
    for (dir, payload) in said.iter().chain([&(C, &b""[..]), &(S, b"")]) {
        let (own, other) = (*dir as usize, 1 - *dir as usize);
        let flags = if payload.is_empty() { FIN | ACK } else { ACK };
        all.push((ms, *dir, flags, seq[own], seq[other], payload));
        seq[own] += payload.len() as u32 + u32::from(payload.is_empty());
        ms += 10;
    }
    all.push((ms, C, ACK, seq[0], seq[1], b""));
    shown(&joined(&packets(port, &all)))
}

#[test]
fn a_half_is_cut_where_the_other_sensor_saw_the_end() {
    // The server's FINs that come again and again begin a flow each; the client answers each of them.
    let mut again = Vec::new();
    for n in 0..4 {
        again.push((n * 8000, S, FIN | ACK, 900, 100, &b""[..]));
        again.push((n * 8000 + 20, C, ACK, 100, 901, b""));
    }
    assert_eq!(shown(&joined(&packets(80, &again))), "^fA ^fA ^fA ^fA");
    // What comes long after a RST is another flow; of both the client's sensor sees one half.
    let reset = [
        (0, C, SYN, 100, 0, &b""[..]),
        (5, S, SYN | ACK, 500, 101, b""),
        (9, C, ACK, 101, 501, b""),
        (10, C, ACK, 101, 501, b"GET / HTTP/1.0\r\n\r\n"),
        (20, S, ACK, 501, 119, b"HTTP/1.0 200 OK\r\n\r\n"),
        (40, C, RST | ACK, 119, 520, b""),
        (19_000, S, RST | ACK, 520, 119, b""),
    ];
    assert_eq!(shown(&joined(&packets(80, &reset))), "ShADdR:http ^r");
}

#[test]
fn a_syn_that_comes_again_may_begin_another_flow() {
    let refused = [
        (0, C, SYN, 100, 0, &b""[..]),
        (1, S, RST | ACK, 0, 101, b""),
        (500, C, SYN, 100, 0, b""),
        (501, S, SYN | ACK, 700, 101, b""),
        (502, C, ACK, 101, 701, b""),
        (503, C, ACK, 101, 701, b"x"),
    ];
    assert_eq!(shown(&joined(&packets(8554, &refused))), "Sr ShAD");
    // One that comes again and again, and is refused each time.
    let again: Vec<Segment<'_>> = (0..3)
        .flat_map(|n| {
            [(n * 500, C, SYN, 100, 0, &b""[..]), (n * 500 + 1, S, RST | ACK, 0, 101, b"")]
        })
        .collect();
    let rows = joined(&packets(8554, &again));
    let counts: Vec<_> = rows.iter().map(|row| (&*row["orig_pkts"], &*row["resp_pkts"])).collect();
    assert_eq!((shown(&rows).as_str(), &counts[..]), ("Sr Sr Sr", &[("1", "1"); 3][..]));
    // A server that acknowledges, and then asks by itself.
    let split = [
        (0, C, SYN, 1000, 0, &b""[..]),
        (1, S, ACK, 2000, 1001, b""),
        (2, S, SYN, 3000, 0, b""),
        (3, C, SYN | ACK, 1000, 3001, b""),
        (4, S, ACK, 3001, 1001, b""),
    ];
    assert_eq!(shown(&joined(&packets(9, &split))), "Sa ShA");
    // A SYN-ACK with another number begins nothing anew; from then on it counts.
    let moved = [
        (0, C, SYN, 100, 0, &b""[..]),
        (10, S, SYN | ACK, 500, 101, b""),
        (20, S, SYN | ACK, 90_000, 101, b""),
        (30, C, ACK, 101, 501, b""),
        (40, S, ACK, 90_001, 101, b"hello"),
        (50, C, ACK, 101, 90_006, b""),
    ];
    let rows = joined(&packets(9, &moved));
    assert_eq!((shown(&rows).as_str(), rows[0]["resp_bytes"].as_str()), ("ShAd", "5"));
}

#[test]
fn a_flow_stays_one_though_one_of_its_sensors_begins_anew() {
    let mut segments = vec![
        (0, C, SYN, 100, 0, &b""[..]),
        (5, S, SYN | ACK, 500, 101, b""),
        (9, C, ACK, 101, 501, b""),
    ];
    for n in 0..20u32 {
        segments.push((i64::from(n) * 50 + 50, C, ACK, 101 + n, 501 + n, b"k"));
        segments.push((i64::from(n) * 50 + 55, S, ACK, 501 + n, 102 + n, b"k"));
    }
    let packets = packets(9, &segments);
    let want = alone(&packets).remove("conn").unwrap_or_default();
    // The client's sensor stops in the middle of the flow, and goes on at once.
    let (up, down): (Vec<&Owned>, Vec<&Owned>) = packets.iter().partition(|packet| packet.is_up);
    let (early, late) = up.split_at(up.len() / 2);
    let sensor = |node| Sensor::new(node, Joins::Halves);
    let mut first = sensor("up").sends(early.iter().copied());
    first.extend(sensor("up").sends(late.iter().copied()));
    let halves = vec![first, sensor("down").sends(down.iter().copied())];
    let got = aggregated(&|_| {}, halves, &mut |_| 0).remove("conn").unwrap_or_default();
    let counts = |rows: &[Row]| -> Vec<[String; 3]> {
        let of = |row: &Row| ["history", "orig_pkts", "resp_pkts"].map(|name| row[name].clone());
        rows.iter().map(of).collect()
    };
    assert_eq!(counts(&got), counts(&want));
}

#[test]
fn a_flow_that_rests_stays_one() {
    let mut idle = vec![
        (0, C, SYN, 100, 0, &b""[..]),
        (5, S, SYN | ACK, 500, 101, b""),
        (9, C, ACK, 101, 501, b""),
    ];
    for n in 1..40 {
        idle.push((n * 20_000, C, ACK, 100 + n as u32, 500 + n as u32, b"k"));
        idle.push((n * 20_000 + 5, S, ACK, 500 + n as u32, 101 + n as u32, b"k"));
    }
    let rows = joined(&packets(9, &idle));
    assert_eq!((rows.len(), rows[0]["orig_pkts"].as_str()), (1, "41"));
}

#[test]
fn what_was_acknowledged_at_any_time_was_sent() {
    let far = [
        (0, C, SYN, 100, 0, &b""[..]),
        (5, S, SYN | ACK, 500, 101, b""),
        (9, C, ACK, 101, 70_501, b""),
        (15, C, ACK, 101, 501, b"x"),
        (20, S, ACK, 501, 102, b""),
    ];
    let rows = joined(&packets(9, &far));
    assert_eq!(rows[0]["resp_bytes"], "70000");
}

#[test]
fn a_close_waits_for_numbers_that_went_further() {
    let odd = |seq| {
        vec![
            (0, C, SYN, 100, 0, &b""[..]),
            (5, S, SYN | ACK, 500, 101, b""),
            (9, C, ACK, 101, 501, b""),
            (15, C, ACK, 101, 501, b"x"),
            (18, C, ACK, seq, 501, b""),
            (20, S, ACK, 501, 102, b""),
            (30, C, FIN | ACK, 102, 501, b""),
            (40, S, FIN | ACK, 501, 103, b""),
            (50, C, ACK, 103, 502, b""),
        ]
    };
    let lasted = |seq| joined(&packets(9, &odd(seq)))[0]["duration"].clone();
    assert_eq!((lasted(102).as_str(), lasted(140).as_str()), ("0.040000", "0.050000"));
}

#[test]
fn a_fin_that_comes_again_after_a_rest_is_one() {
    let again = [
        (0, C, SYN, 100, 0, &b""[..]),
        (5, S, SYN | ACK, 500, 101, b""),
        (9, C, ACK, 101, 501, b""),
        (20, S, ACK, 501, 101, b"bye"),
        (30, S, FIN | ACK, 504, 101, b""),
        (1500, S, FIN | ACK, 501, 101, b"bye"),
        (1510, C, FIN | ACK, 101, 505, b""),
        (1520, S, ACK, 505, 102, b""),
        (9000, C, FIN | ACK, 101, 505, b""),
    ];
    assert_eq!(shown(&joined(&packets(9, &again))), "ShAdftFa F");
}

const HELLO: &[u8] = b"\x16\x03\x01\0\x2d\x01\0\0\x29\x03\x03\
    abcdefghijklmnopqrstuvwxyz012345\0\0\x02\0\x2f\x01\0";
const ANSWER: &[u8] = b"\x16\x03\x03\0\x2a\x02\0\0\x26\x03\x03\
    abcdefghijklmnopqrstuvwxyz012345\0\0\x2f\0";
const ENCRYPTS: &[u8] = b"\x14\x03\x03\0\x01\x01\x16\x03\x03\0\x04wxyz";

#[test]
fn tls_that_is_left_again() {
    let said: [(Dir, &[u8]); 6] = [
        (C, HELLO),
        (S, ANSWER),
        (C, ENCRYPTS),
        (S, ENCRYPTS),
        (C, b"no longer of TLS, as both agreed"),
        (S, b"nor is this, which nobody minds"),
    ];
    assert_eq!(talk(4433, &said), "ShADdFf:ssl");
}

#[test]
fn tls_after_what_content_alone_tells() {
    let said: [(Dir, &[u8]); 7] = [
        (S, b"+OK ready\r\n"),
        (C, b"USER a\r\n"),
        (S, b"+OK\r\n"),
        (C, b"STLS\r\n"),
        (S, b"+OK begin\r\n"),
        (C, HELLO),
        (S, ANSWER),
    ];
    assert_eq!(talk(1110, &said), "ShAdDFf:pop3,ssl");
}

#[test]
fn a_proxy_on_any_port_and_what_it_carries() {
    let said: [(Dir, &[u8]); 6] = [
        (C, b"\x05\x01\0"),
        (S, b"\x05\0"),
        (C, b"\x05\x01\0\x01\x0a\0\0\x02\0\x50"),
        (S, b"\x05\0\0\x01\x0a\0\0\x02\0\x50"),
        (C, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (S, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ];
    // On 1080 the analyzer of HTTP is there as well, and leaves.
    for port in [8124, 1080] {
        assert_eq!(talk(port, &said), "ShADdFf:socks,http", "{port}");
    }
}

#[test]
fn a_beginning_is_not_enough_where_each_end_shows_more() {
    let said: [(Dir, &[u8]); 3] =
        [(C, b"SSH-2.0-a\r\n"), (S, b"SSH-2.0-b\r\n"), (C, b"\0\0\x01\x0c\x14\0\0")];
    assert_eq!(talk(443, &said), "ShADdFf");
}

#[test]
fn http_that_becomes_something_else() {
    let said: [(Dir, &[u8]); 4] = [
        (C, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
        (S, b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
        (C, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\n"),
        (S, b"\0\0\0\x04\0\0\0\0\0\n"),
    ];
    assert_eq!(talk(8080, &said), "ShADdFf:http");
}

#[test]
fn what_is_wrong_after_the_other_end_has_done_its_part_is_not() {
    let said: [(Dir, &[u8]); 3] = [
        (S, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"),
        (C, b"GET /\r\n"),
        (S, b"this is too much.\r\n"),
    ];
    assert_eq!(talk(80, &said), "ShAdDFf:http");
}

/// A question to a server's port, so many seconds after the others.
fn question(second: i64, dir: Dir) -> Owned {
    let ends = [(CLIENT.0, 40_001), (SERVER, 40_002)];
    carried(second * 1_000_000, 17, dir, ends, &[0, 12, 0, 0, 1, 2, 3, 4])
}

/// The same rows, each written so much later.
fn later(out: &mut bus::Outgoing, by_us: i64) {
    let bus::Payload::Rows(_, rows) = &mut out.payload else { return };
    let at = rows.schema().index_of("_write_ts").unwrap();
    let times = model::read::time(rows, "_write_ts").unwrap();
    let times = times.unary::<_, arrow_array::types::TimestampMicrosecondType>(|at| at + by_us);
    let mut columns = rows.columns().to_vec();
    columns[at] = std::sync::Arc::new(times.with_timezone("UTC"));
    *rows = arrow_array::RecordBatch::try_new(rows.schema(), columns).unwrap();
}

#[test]
fn a_row_leaves_no_earlier_than_its_sensor_wrote_it() {
    const LATER: i64 = 1000 * 1_000_000;
    let packets = [(0, C), (9000, C), (9000, S), (18_000, C), (18_000, S)];
    let packets: Vec<Owned> = packets.iter().map(|(at, dir)| question(*at, *dir)).collect();
    let mut halves = halves(&packets, 1);
    halves.iter_mut().flatten().flatten().for_each(|out| later(out, LATER));
    let mut turn = 0;
    let logs = logs(&|_| {}, halves, &mut |n| {
        turn += 1;
        turn % n
    });
    let mut times = Vec::new();
    for out in &logs {
        let bus::Payload::Rows(def, rows) = &out.payload else { continue };
        if def.name == "conn" {
            let [began, left] =
                ["ts", "_write_ts"].map(|name| model::read::time(rows, name).unwrap());
            times.extend(began.values().iter().copied().zip(left.values().iter().copied()));
        }
    }
    let first = times.into_iter().min().unwrap();
    assert_eq!(first.0, BEGAN_US);
    assert!(first.1 >= first.0 + 60 * 1_000_000 + LATER, "{first:?}");
}
