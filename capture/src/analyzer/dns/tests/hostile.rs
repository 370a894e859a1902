//! Bounds, arbitrary bytes, and streams cut anywhere.

use super::*;

#[test]
fn what_waits_is_bounded() {
    let mut bench = Bench::new(Transport::Udp);
    for id in 0..60 {
        bench.query(&query(id));
    }
    // One waits apart; the 52nd other identifier makes the 51 before it give up.
    assert_eq!(bench.out.dns.len(), 51);
    let mut bench = Bench::new(Transport::Udp);
    for _ in 0..60 {
        bench.reply(&reply(9, &[a([1, 2, 3, 4])]));
    }
    assert_eq!(bench.out.dns.len(), 51);
    let mut bench = Bench::new(Transport::Udp);
    let text = rr(POINTER, 16, 1, 1, &[&[250u8][..], &[b'x'; 250]].concat().repeat(200));
    for id in 0..40 {
        bench.reply(&reply(id, &vec![text.clone(); 100]));
    }
    assert!(bench.out.dns.len() > 30);
}

#[test]
fn at_most_a_hundred_answers_are_listed() {
    let mut bench = Bench::new(Transport::Udp);
    bench.query(&query(1));
    bench.reply(&reply(1, &vec![a([1, 2, 3, 4]); 150]));
    assert_eq!(bench.rows().cell(0, "answers").split('|').count(), 100);
}

/// A small generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// A conversation with records of all kinds.
fn samples() -> Vec<(Dir, Vec<u8>)> {
    let mut all = Vec::new();
    let types = [
        1, 2, 5, 6, 11, 12, 13, 15, 16, 28, 29, 33, 35, 41, 43, 44, 46, 47, 48, 50, 51, 64, 65, 99,
    ];
    for (id, rtype) in types.into_iter().enumerate() {
        let data = b"\x03abc\x04defg\xc0\x0c\0\x01\0\x02xyz0123456789abcdef";
        all.push((Dir::Orig, query(id as u16)));
        all.push((Dir::Resp, reply(id as u16, &[rr(POINTER, rtype, 1, 9, data), a([9; 4])])));
    }
    all
}

#[test]
fn arbitrary_bytes_do_no_harm() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let samples = samples();
    for round in 0..4000 {
        let port = [53, 137, 5353][round % 3];
        let mut bench = Bench::between(Transport::Udp, ("10.0.0.1", 40000), ("10.0.0.2", port));
        for _ in 0..6 {
            let (dir, mut bytes) = samples[random.below(samples.len())].clone();
            for _ in 0..random.below(6) {
                let at = random.below(bytes.len());
                bytes[at] = random.next() as u8;
            }
            bytes.truncate(random.below(2 * bytes.len()));
            bench.feed(dir, &bytes);
        }
        bench.finish();
    }
    for _ in 0..4000 {
        let mut bench = Bench::new(Transport::Tcp);
        for _ in 0..20 {
            let bytes: Vec<u8> =
                (0..random.below(60)).map(|_| (random.next() >> random.below(60)) as u8).collect();
            let dir = if random.below(2) == 0 { Dir::Orig } else { Dir::Resp };
            match random.below(12) {
                0 => bench.call(|analyzer, cx| analyzer.end(cx, dir)),
                1 => bench.call(|analyzer, cx| analyzer.gap(cx, dir, 5)),
                _ => bench.feed(dir, &bytes),
            }
        }
        bench.finish();
    }
}

#[test]
fn the_split_of_a_stream_does_not_matter() {
    let mut random = Random(42);
    let framed = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let run = |random: Option<&mut Random>| {
        let mut bench = Bench::new(Transport::Tcp);
        let mut random = random;
        for (dir, bytes) in samples() {
            let mut rest = &framed(&bytes)[..];
            bench.now += 1000;
            while !rest.is_empty() {
                let most = rest.len();
                let length = random.as_deref_mut().map_or(most, |r| 1 + r.below(most));
                let (piece, after) = rest.split_at(length);
                rest = after;
                bench.call(|analyzer, cx| analyzer.feed(cx, dir, piece));
            }
        }
        assert!(!bench.weirds.is_empty());
        let weirds = bench.weirds.clone();
        (bench.finish().all(), weirds)
    };
    let whole = run(None);
    for _ in 0..200 {
        assert_eq!(run(Some(&mut random)), whole);
    }
}
