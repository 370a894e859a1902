//! DNP3 from literal frames.

use super::*;
use crate::analyzer::Signal;
use crate::analyzer::testing::{Bench, endures};

/// A read of class 0 from master 1 to outstation 4.
fn read() -> Vec<u8> {
    let mut frame = vec![5, 0x64, 11, 0xc4, 4, 0, 1, 0];
    frame.extend_from_slice(&checksum(&frame));
    let body = [0xc0, 0xc1, 1, 60, 1, 6];
    frame.extend_from_slice(&body);
    frame.extend_from_slice(&checksum(&body));
    frame
}

#[test]
fn the_checksum_is_that_of_the_standard() {
    // A frame of Zeek's documentation of the link layer: reset of the link.
    assert_eq!(checksum(&[5, 0x64, 5, 0xc0, 1, 0, 0, 4]), [0xe9, 0x21]);
}

#[test]
fn a_header_confirms_in_pieces_as_well() {
    let mut bench = Bench::new(&TCP_KIND, Transport::Tcp);
    let frame = read();
    bench.feed(Dir::Orig, &frame[..10]);
    assert!(bench.signals.is_empty());
    bench.feed(Dir::Orig, &frame[10..]);
    bench.feed(Dir::Orig, &frame);
    assert_eq!(bench.signals, [Signal::Confirmed]);
    assert!(bench.weirds.is_empty());
    bench.feed(Dir::Resp, &frame);
    assert_eq!(bench.weirds, ["dnp3_unexpected_flow_direction"]);
}

#[test]
fn a_response_is_a_row_with_its_request() {
    let mut bench = Bench::new(&TCP_KIND, Transport::Tcp);
    bench.feed(Dir::Orig, &read());
    let mut answer = vec![5, 0x64, 10, 0x44, 1, 0, 4, 0];
    answer.extend_from_slice(&checksum(&answer));
    let body = [0xc0, 0xc1, 0x81, 0x80, 2];
    answer.extend_from_slice(&body);
    answer.extend_from_slice(&checksum(&body));
    bench.feed(Dir::Resp, &answer);
    bench.feed(Dir::Orig, &read());
    bench.finish();
    let (batch, _) = bench.out.dnp3.finish("s");
    assert_eq!(batch.num_rows(), 2);
    assert!(bench.weirds.is_empty());
}

#[test]
fn broken_checksums() {
    let mut bench = Bench::new(&TCP_KIND, Transport::Tcp);
    let mut frame = read();
    frame[12] ^= 1;
    bench.feed(Dir::Orig, &frame);
    assert_eq!(bench.signals, [Signal::Confirmed]);
    assert_eq!(bench.weirds, ["dnp3_corrupt_app_chunk_checksum"]);
    let mut bench = Bench::new(&UDP_KIND, Transport::Udp);
    frame[3] ^= 1;
    bench.feed(Dir::Orig, &frame);
    assert_eq!(bench.signals, [Signal::Violated]);
}

#[test]
fn only_a_server_is_found_by_content_over_tcp() {
    let start = |transport, bytes| Start { transport, bytes, resp_p: 9 };
    let frame = read();
    assert_eq!((TCP_KIND.probe.unwrap())(&start(Transport::Tcp, [&frame, &[]])), Verdict::More);
    assert_eq!((TCP_KIND.probe.unwrap())(&start(Transport::Tcp, [&[], &frame])), Verdict::Yes);
    assert_eq!((TCP_KIND.probe.unwrap())(&start(Transport::Tcp, [&[], b"HT"])), Verdict::No);
    assert_eq!((UDP_KIND.probe.unwrap())(&start(Transport::Udp, [&frame, &[]])), Verdict::Yes);
}

#[test]
fn hostile_messages() {
    endures(&TCP_KIND, Transport::Tcp, &[(Dir::Orig, &read()), (Dir::Resp, &read())]);
    endures(&UDP_KIND, Transport::Udp, &[(Dir::Orig, &read())]);
}
