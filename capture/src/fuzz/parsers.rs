//! Targets of what is not a conversation: capture files, frames, fragments, files, certificates.

use std::io::Cursor;

use crate::analyzer::testing::Bench;
use crate::analyzer::{Transport, ssl};
use crate::checksum;
use crate::decode::{Decoded, Decoder, Undecodable};
use crate::files::About;
use crate::files::x509::{self as certificates, Role};
use crate::fragment::{Limits, Reassembler};
use crate::source::{CaptureFile, Link, Next, PacketSource};

/// A capture file: read to its end, and once more as one of two.
pub(super) fn source(data: &[u8]) {
    let open = || CaptureFile::from_reader("fuzz", Box::new(Cursor::new(data.to_vec())), None).ok();
    let Some(mut file) = open() else { return };
    let mut packets = 0;
    loop {
        match file.next() {
            Ok(Next::Packet(packet)) => {
                assert!(packet.data.len() <= data.len());
                packets += 1;
            }
            Ok(_) => break,
            Err(_) => assert!(matches!(file.next(), Ok(Next::End)), "it goes on after an error"),
        }
    }
    assert!(packets <= data.len());
    let mut both = crate::source::Merged::new(open().into_iter().chain(open()).collect());
    let mut merged = 0;
    loop {
        match both.next() {
            Ok(Next::Packet(_)) => merged += 1,
            Ok(Next::End) => break,
            Ok(Next::Idle) | Err(_) => {}
        }
    }
    assert_eq!(merged, 2 * packets);
}

/// Link types that are decoded, and one that is not.
const LINKS: &[u32] = &[1, 101, 0, 108, 113, 276, 9, 50, 51, 10, 239, 7777, 105, 127];

/// A frame; its first byte says of what link.
pub(super) fn decode(data: &[u8]) {
    let [first, frame @ ..] = data else { return };
    let link = Link::from(LINKS[usize::from(*first) % LINKS.len()]);
    for ignore_checksums in [true, false] {
        let decoder = Decoder { ignore_checksums };
        for wire_len in [frame.len() as u32, frame.len() as u32 + 40, u32::MAX] {
            let look = |one: Result<Decoded<'_>, Undecodable>| {
                let Ok(Decoded::Ip(ip)) = one else { return };
                assert!(ip.payload.len() <= frame.len());
                let _ = (ip.transport(), checksum::verify_ip(&ip), checksum::verify_transport(&ip));
            };
            match decoder.decode(link, wire_len, frame) {
                Ok(Decoded::Aggregate(several)) => several.for_each(look),
                one => look(one),
            }
        }
    }
}

/// IPv4 or IPv6 packets, each behind its length and the ticks since the last one, into one reassembler.
pub(super) fn fragments(data: &[u8]) {
    const LIMITS: Limits =
        Limits { datagrams: 8, bytes: 1 << 16, fragments: 64, timeout_us: 1_000_000 };
    let (mut reassembler, mut now, mut rest) = (Reassembler::new(LIMITS), 0, data);
    let decoder = Decoder { ignore_checksums: true };
    while let [ticks, len, after @ ..] = rest {
        now += i64::from(*ticks) * 10_000;
        let (frame, after) = after.split_at(usize::from(*len).min(after.len()));
        rest = after;
        if let Ok(Decoded::Ip(ip)) = decoder.decode(Link::Raw, frame.len() as u32, frame) {
            let _ = reassembler.add(now, &ip);
        }
        assert!(reassembler.len() <= LIMITS.datagrams);
    }
}

/// The beginning of a file.
pub(super) fn mime(data: &[u8]) {
    crate::mime::detect(data);
}

/// A certificate, as TLS shows it.
pub(super) fn x509(data: &[u8]) {
    let mut bench = Bench::new(&ssl::KIND, Transport::Tcp);
    bench.call(|_, cx| {
        certificates::seen(cx, data, Role { host: true, client: false }, &[b"fuzz"]);
    });
}

/// Pieces of two files, at any place and in any order.
pub(super) fn files(data: &[u8]) {
    let mut bench = Bench::new(&ssl::KIND, Transport::Tcp);
    bench.call(|_, cx| {
        let mut files = [b"a", b"b"].map(|name| {
            let fuid = cx.shared_fuid(&[name]);
            cx.file_join(&fuid, About { source: "fuzz", ..About::default() }).0
        });
        let mut rest = data;
        while let [what, high, low, len, after @ ..] = rest {
            let file = files[usize::from(what >> 7)];
            let (piece, after) = after.split_at(usize::from(*len).min(after.len()));
            rest = after;
            let mut at = u64::from(u16::from_be_bytes([*high, *low]));
            if what & 0x40 != 0 {
                at = u64::MAX - at;
            }
            match what & 7 {
                0 => cx.file_gap(file, at),
                1 => cx.file_size(file, at),
                2 => cx.file_end(file),
                3 | 4 => cx.file_data(file, piece),
                _ => cx.file_chunk(file, at, piece),
            };
            if what & 0x3f == 2 {
                let fuid = cx.shared_fuid(&[piece]);
                files[0] = cx.file_join(&fuid, About { source: "fuzz", ..About::default() }).0;
            }
        }
    });
}
