//! Capture files of every flavour, broken ones, and random ones.

use std::io::{self, Cursor, Read};

use super::testing::{Random, pcap, read_all};
use super::*;

fn open_bytes(bytes: &[u8]) -> Result<CaptureFile, SourceError> {
    CaptureFile::from_reader("test", Box::new(Cursor::new(bytes.to_vec())), None)
}

fn packets(bytes: &[u8]) -> Vec<(i64, Link, u32, Vec<u8>)> {
    let mut file = open_bytes(bytes).unwrap();
    let mut out = Vec::new();
    while let Next::Packet(packet) = file.next().unwrap() {
        out.push((packet.ts_us, packet.link, packet.wire_len, packet.data.to_vec()));
    }
    out
}

/// Writes numbers in one byte order.
struct Writer {
    big: bool,
    out: Vec<u8>,
}

impl Writer {
    fn u32s(&mut self, fields: &[u32]) -> &mut Self {
        for field in fields {
            self.out.extend(if self.big { field.to_be_bytes() } else { field.to_le_bytes() });
        }
        self
    }

    fn u16s(&mut self, fields: &[u16]) -> &mut Self {
        for field in fields {
            self.out.extend(if self.big { field.to_be_bytes() } else { field.to_le_bytes() });
        }
        self
    }

    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    /// A pcapng block around a body, padded.
    fn block(&mut self, kind: u32, body: impl FnOnce(&mut Writer)) -> &mut Self {
        let mut inner = Writer { big: self.big, out: Vec::new() };
        body(&mut inner);
        inner.out.resize(inner.out.len().next_multiple_of(4), 0);
        let len = inner.out.len() as u32 + 12;
        self.u32s(&[kind, len]).raw(&inner.out).u32s(&[len])
    }

    fn section(&mut self) -> &mut Self {
        self.block(0x0a0d_0d0a, |w| {
            w.u32s(&[0x1a2b_3c4d]).u16s(&[1, 0]).u32s(&[u32::MAX, u32::MAX]);
        })
    }

    fn interface(
        &mut self,
        link: u16,
        snaplen: u32,
        options: impl FnOnce(&mut Writer),
    ) -> &mut Self {
        self.block(1, |w| {
            w.u16s(&[link, 0]).u32s(&[snaplen]);
            options(w);
        })
    }

    fn enhanced(&mut self, interface: u32, ticks: u64, wire: u32, data: &[u8]) -> &mut Self {
        self.block(6, |w| {
            w.u32s(&[interface, (ticks >> 32) as u32, ticks as u32, data.len() as u32, wire]);
            w.raw(data);
        })
    }
}

#[test]
fn pcap_in_both_orders_and_resolutions() {
    for big in [false, true] {
        for (magic, fraction) in [(0xa1b2_c3d4, 123_456), (0xa1b2_3c4d, 123_456_789)] {
            let mut w = Writer { big, out: Vec::new() };
            w.u32s(&[magic]).u16s(&[2, 4]).u32s(&[0, 0, 65_535, 101]);
            w.u32s(&[1_700_000_000, fraction, 3, 90]).raw(b"abc");
            w.u32s(&[1_700_000_001, 0, 0, 0]);
            let expected = [
                (1_700_000_000_123_456, Link::Raw, 90, b"abc".to_vec()),
                (1_700_000_001_000_000, Link::Raw, 0, vec![]),
            ];
            assert_eq!(packets(&w.out), expected, "big-endian {big}, magic {magic:x}");
        }
    }
}

#[test]
fn pcapng_sections_interfaces_and_clocks() {
    let mut w = Writer { big: false, out: Vec::new() };
    w.section();
    w.interface(1, 0, |_| {});
    // Nanoseconds, two seconds late.
    w.interface(113, 0, |w| {
        w.u16s(&[9, 1]).raw(&[9, 0, 0, 0]).u16s(&[14, 8]).raw(&2i64.to_le_bytes());
    });
    // A resolution of 2^-10 s.
    w.interface(101, 0, |w| {
        w.u16s(&[9, 1]).raw(&[0x8a, 0, 0, 0]).u16s(&[0, 0]);
    });
    w.block(0x0bad, |w| {
        w.raw(b"whatever this is");
    });
    w.enhanced(0, 5_000_001, 60, b"first");
    w.enhanced(1, 5_000_000_999, 4, b"nano");
    w.block(6, |w| {
        w.u32s(&[2, 0, 1024 * 7 + 512, 3, 3]).raw(b"bin\0").u16s(&[1, 4]).raw(b"note").u32s(&[0]);
    });
    w.block(2, |w| {
        w.u16s(&[0, 9]).u32s(&[0, 8_000_000, 3, 3]).raw(b"old");
    });
    // The second section is of the other byte order and knows none of the interfaces before.
    w.big = true;
    w.section();
    w.interface(1, 4, |w| {
        w.u16s(&[14, 8]).raw(&1i64.to_be_bytes());
    });
    w.enhanced(0, 9_000_000, 3, b"big");
    w.block(3, |w| {
        w.u32s(&[6]).raw(b"simp");
    });
    let expected = [
        (5_000_001, Link::Ethernet, 60, b"first".to_vec()),
        (7_000_000, Link::LinuxSll, 4, b"nano".to_vec()),
        (7_500_000, Link::Raw, 3, b"bin".to_vec()),
        (8_000_000, Link::Ethernet, 3, b"old".to_vec()),
        (10_000_000, Link::Ethernet, 3, b"big".to_vec()),
        (10_000_000, Link::Ethernet, 6, b"simp".to_vec()),
    ];
    assert_eq!(packets(&w.out), expected);
}

#[test]
fn impossible_records_are_corrupt() {
    let mut lengthy = pcap(&[(1, b"good")]);
    lengthy.extend([0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0]);
    let mut stranger = Writer { big: false, out: Vec::new() };
    stranger.section().interface(1, 0, |_| {}).enhanced(0, 1, 4, b"good").enhanced(1, 1, 3, b"bad");
    for bytes in [lengthy, stranger.out] {
        let (packets, errors) = read_all(&mut open_bytes(&bytes).unwrap());
        assert_eq!(packets.len(), 1);
        assert!(matches!(errors[..], [SourceError::Corrupt { packet: 2, .. }]), "{errors:?}");
    }
}

#[test]
fn a_cut_file_gives_all_before_the_cut_and_says_where() {
    let whole = pcap(&[(1, b"abc"), (2, b"defg")]);
    for cut in 24..whole.len() {
        let (packets, errors) = read_all(&mut open_bytes(&whole[..cut]).unwrap());
        let (complete, start) = if cut < 24 + 19 { (0, 24) } else { (1, 24 + 19) };
        assert_eq!(packets.len(), complete, "cut at {cut}");
        match &errors[..] {
            [] => assert!(cut == 24 || cut == 24 + 19, "cut at {cut}"),
            [SourceError::Truncated { packet, offset, name }] => {
                assert_eq!((*packet, *offset), (complete as u64 + 1, start));
                assert_eq!(name, "test");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn other_files_are_told_apart() {
    for bytes in
        [&b""[..], b"\xd4\xc3", b"GIF89a and so on and on and on", b"\x0a\x0d\x0d\x0aabcdefghij"]
    {
        assert!(matches!(open_bytes(bytes), Err(SourceError::NotCapture { .. })), "{bytes:?}");
    }
    let missing = CaptureFile::open(std::path::Path::new("/no/such.pcap")).err().unwrap();
    assert!(missing.to_string().contains("/no/such.pcap"), "{missing}");
}

/// Gives a few bytes a read, as a pipe may.
struct Trickle(Cursor<Vec<u8>>, Random);

impl Read for Trickle {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let some = (1 + self.1.below(5)).min(out.len());
        self.0.read(&mut out[..some])
    }
}

#[test]
fn records_across_reads_and_larger_than_the_first_window() {
    let mut random = Random(7);
    let sizes = [0, 1, 100_000, 3, 200_000, 262_144, 9];
    let data: Vec<Vec<u8>> = sizes.iter().map(|&size| random.bytes(size)).collect();
    let records: Vec<(u32, &[u8])> = data.iter().map(|data| (5, &data[..])).collect();
    let file = pcap(&records);
    let got: Vec<_> = packets(&file).into_iter().map(|(_, _, _, data)| data).collect();
    assert!(got == data);
    let trickle = Trickle(Cursor::new(file), Random(9));
    let mut source = CaptureFile::from_reader("test", Box::new(trickle), None).unwrap();
    let (got, errors) = read_all(&mut source);
    assert!(errors.is_empty() && got.iter().map(|(_, data)| data).eq(&data));
}

#[test]
fn no_bytes_make_the_readers_panic_or_loop() {
    let mut ng = Writer { big: false, out: Vec::new() };
    ng.section().interface(1, 0, |w| {
        w.u16s(&[9, 1]).raw(&[9, 0, 0, 0]).u16s(&[14, 8]).raw(&[1; 8]);
    });
    for n in 0..4 {
        ng.enhanced(0, n, 8, b"12345678");
    }
    let classic = pcap(&[(1, b"12345678"), (2, b"12345678"), (3, b"")]);
    let mut random = Random(0x5eed);
    for round in 0..30_000 {
        let mut bytes = if round % 2 == 0 { ng.out.clone() } else { classic.clone() };
        for _ in 0..1 + random.below(6) {
            let at = random.below(bytes.len());
            let edges = [0, 1, 0x7f, 0x80, 0xff, random.next() as u8];
            bytes[at] = edges[random.below(edges.len())];
        }
        bytes.truncate(random.below(bytes.len() * 2).max(1));
        if let Ok(mut file) = open_bytes(&bytes) {
            let (packets, errors) = read_all(&mut file);
            assert!(packets.len() <= bytes.len() && errors.len() <= 1);
            assert!(packets.iter().all(|(ts, _)| *ts >= 0));
        }
    }
}

/// Everything a source gives by bursts, and how many there were.
fn read_bursts(source: &mut dyn PacketSource) -> (Vec<(i64, Vec<u8>)>, usize, usize) {
    let (mut packets, mut errors, mut bursts) = (Vec::new(), 0, 0);
    loop {
        match source.burst() {
            Ok(Several::Packets(burst)) => {
                assert!(burst.count() > 0);
                bursts += 1;
                // In parts, as they are taken.
                for from in (0..burst.count()).step_by(7) {
                    let part = burst.some(from, 7);
                    packets.extend(part.map(|packet| (packet.ts_us, packet.data.to_vec())));
                }
            }
            Ok(Several::Idle) => {}
            Ok(Several::End) => return (packets, errors, bursts),
            Err(_) => errors += 1,
        }
    }
}

#[test]
fn bursts_give_what_comes_one_by_one() {
    let mut random = Random(11);
    let mut ng = Writer { big: false, out: Vec::new() };
    ng.section().interface(1, 0, |_| {});
    let mut classic = Vec::new();
    for n in 0..20_000u64 {
        let size = random.below(600);
        let data = random.bytes(size);
        if n % 50 == 0 {
            // What is no packet is longer than what is in memory now and then.
            let other = random.bytes((n as usize % 3) * 40_000);
            ng.block(0x0bad, |w| {
                w.raw(&other);
            });
        }
        ng.enhanced(0, n, size as u32, &data);
        classic.push((n as u32, data));
    }
    let classic: Vec<(u32, &[u8])> = classic.iter().map(|(n, data)| (*n, &data[..])).collect();
    for mut file in [pcap(&classic), ng.out] {
        for cut in [0, 3] {
            file.truncate(file.len() - cut);
            let (one_by_one, errors) = read_all(&mut open_bytes(&file).unwrap());
            let (packets, broken, bursts) = read_bursts(&mut open_bytes(&file).unwrap());
            assert_eq!((packets.len(), broken), (20_000 - cut.min(1), errors.len()));
            assert!(packets == one_by_one && bursts < 400, "{bursts} bursts");
            let trickle = Trickle(Cursor::new(file[..3000].to_vec()), Random(9));
            let mut slow = CaptureFile::from_reader("test", Box::new(trickle), None).unwrap();
            let (packets, ..) = read_bursts(&mut slow);
            assert!(packets.len() > 3 && one_by_one.starts_with(&packets));
        }
    }
}
