//! SSH under test, with conversations made here.

use model::read;

use super::super::Signal;
use super::super::testing::{self, Bench};
use super::*;

fn string(value: &[u8]) -> Vec<u8> {
    let mut bytes = (value.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(value);
    bytes
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32 + 2 + 4).to_be_bytes().to_vec();
    bytes.extend([4, kind]);
    bytes.extend_from_slice(body);
    bytes.extend([0; 4]);
    bytes
}

fn kexinit(methods: &[u8]) -> Vec<u8> {
    let mut body = vec![7; 16];
    body.extend(string(methods));
    for _ in 0..9 {
        body.extend(string(b"x"));
    }
    body.extend([0; 5]);
    packet(20, &body)
}

fn curves() -> Vec<(Dir, Vec<u8>)> {
    vec![
        (Dir::Resp, b"SSH-2.0-here\r\n".to_vec()),
        (Dir::Orig, b"SSH-2.0-there\r\n".to_vec()),
        (Dir::Orig, kexinit(b"foo,curve25519-sha256")),
        (Dir::Resp, kexinit(b"curve25519-sha256,bar")),
        (Dir::Orig, packet(30, &string(b"q"))),
        (Dir::Resp, packet(31, &[string(b"k"), string(b"q"), string(b"s")].concat())),
        (Dir::Resp, packet(21, b"")),
        (Dir::Orig, packet(21, b"")),
    ]
}

fn play(talk: &[(Dir, Vec<u8>)]) -> Bench {
    let mut bench = Bench::new(&KIND, Transport::Tcp);
    for (dir, data) in talk {
        bench.feed(*dir, data);
    }
    bench
}

#[test]
fn new_keys_make_it_ssh() {
    let talk = curves();
    assert_eq!(play(&talk[..6]).signals, []);
    assert_eq!(play(&talk[..7]).signals, [Signal::Confirmed]);
    assert!(!play(&talk).gone);
}

#[test]
fn whatever_the_segments() {
    let mut bench = Bench::new(&KIND, Transport::Tcp);
    for (dir, data) in curves() {
        for byte in data {
            bench.feed(dir, &[byte]);
        }
    }
    assert_eq!(bench.signals, [Signal::Confirmed]);
}

#[test]
fn a_server_may_speak_before_its_banner() {
    let mut talk = curves();
    talk.insert(0, (Dir::Resp, b"be quick\r\nplease\n".to_vec()));
    assert_eq!(play(&talk).signals, [Signal::Confirmed]);
    assert_eq!(play(&[(Dir::Orig, b"GET / HTTP/1.1\r\n".to_vec())]).signals, [Signal::Violated]);
}

#[test]
fn versions() {
    for (one, other, want) in [
        ("SSH-2.0-a", "SSH-1.99-b", Some(Version::Two)),
        ("SSH-1.99-a", "SSH-1.99-b", Some(Version::Two)),
        ("SSH-1.5-a", "SSH-1.99-b", Some(Version::One)),
        ("SSH-1.5-a", "SSH-2.0-b", None),
        ("SSH-x", "SSH-2.0-b", None),
    ] {
        let mut ssh = Ssh::default();
        ssh.sides[0].version = Version::of(one.as_bytes());
        ssh.sides[1].version = Version::of(other.as_bytes());
        assert_eq!(ssh.version(), want, "{one} {other}");
    }
}

#[test]
fn version_1() {
    let message = [&[3, 1][..], &[0; 8], &[0, 3, 5], &[0; 8]].concat();
    let mut key = (message.len() as u32).to_be_bytes().to_vec();
    key.extend(vec![0; 8 - message.len() % 8]);
    key.extend(message);
    let talk = [
        (Dir::Resp, b"SSH-1.5-a\n".to_vec()),
        (Dir::Orig, b"SSH-1.5-b\n".to_vec()),
        (Dir::Orig, key),
    ];
    let mut bench = play(&talk);
    assert_eq!(bench.signals, [Signal::Confirmed]);
    bench.finish();
    assert_eq!(cells(&mut bench, "version"), ["1"]);
}

/// A column of text or numbers of the rows that were written.
fn cells(bench: &mut Bench, name: &str) -> Vec<String> {
    let (batch, _) = bench.out.ssh.finish("s");
    if let Ok(texts) = read::text(&batch, name) {
        return texts.iter().flatten().map(str::to_owned).collect();
    }
    let numbers = read::count(&batch, name).unwrap();
    numbers.iter().flatten().map(|number| number.to_string()).collect()
}

#[test]
fn a_login_makes_the_row_at_once() {
    let mut talk = curves();
    talk.extend([
        (Dir::Orig, vec![1; 52]),
        (Dir::Resp, vec![1; 52]),
        (Dir::Resp, vec![1; 84]),
        (Dir::Resp, vec![1; 84]),
        (Dir::Resp, vec![1; 36]),
        (Dir::Resp, vec![1; 36]),
    ]);
    let mut bench = play(&talk);
    assert!(bench.gone);
    assert_eq!(bench.out.ssh.len(), 1);
    bench.finish();
    assert_eq!(cells(&mut bench, "auth_attempts"), ["2"]);
}

#[test]
fn encrypted_bytes_behind_new_keys_count() {
    let mut talk = curves();
    // The client sends its first encrypted packet in one segment with NEWKEYS.
    talk[7].1.extend([1; 52]);
    talk.extend([(Dir::Resp, vec![1; 52]), (Dir::Resp, vec![1; 36])]);
    assert_eq!(play(&talk).out.ssh.len(), 1);
}

#[test]
fn what_is_not_told_is_unset() {
    let mut bench = play(&curves()[..1]);
    bench.finish();
    assert_eq!(cells(&mut bench, "server"), ["SSH-2.0-here"]);
    let mut bench = play(&[(Dir::Resp, b"hello\r\n".to_vec())]);
    bench.finish();
    assert_eq!(bench.out.ssh.len(), 0);
}

#[test]
fn the_key_has_zeeks_fingerprint() {
    let mut bench = play(&curves());
    bench.finish();
    // The first 32 characters of: echo -n k | openssl sha256 -binary | base64
    assert_eq!(
        cells(&mut bench, "host_key_fingerprint"),
        ["SHA256:glTDKakoUPbVOd03b0gW7idkUX2l4CNV"]
    );
}

#[test]
fn versions_that_do_not_fit() {
    let talk = [
        (Dir::Resp, b"SSH-1.5-a\n".to_vec()),
        (Dir::Orig, b"SSH-2.0-b\n".to_vec()),
        (Dir::Orig, b"x".to_vec()),
    ];
    assert_eq!(play(&talk).weirds, ["SSH_version_mismatch"]);
    let talk = [(Dir::Resp, b"SSH-\n".to_vec()), (Dir::Orig, b"SSH-2.0-b\n".to_vec())];
    assert_eq!(play(&talk).weirds, ["SSH_cannot_determine_version"]);
}

#[test]
fn too_many_names() {
    let mut talk = curves();
    talk[2].1 = kexinit(&b"foo,".repeat(101));
    let bench = play(&talk[..3]);
    assert_eq!(bench.weirds, ["SSH_max_kexinit_kex_algorithms_exceeded"]);
    assert!(bench.gave_up);
}

#[test]
fn messages_that_are_not_whole() {
    let mut talk = curves();
    talk[4].1 = packet(30, &[0, 0, 9, 9]);
    talk[4].1.truncate(14);
    talk[4].1[3] = 10;
    assert_eq!(play(&talk[..5]).signals, [Signal::Violated]);
    let mut talk = curves();
    talk[4].1 = packet(7, b"");
    assert_eq!(play(&talk[..5]).signals, [Signal::Violated]);
}

#[test]
fn too_long() {
    let mut talk = curves();
    talk[2].1 = vec![0xff; 8];
    let bench = play(&talk[..3]);
    assert_eq!(bench.weirds, ["SSH_max_packet_length_exceeded"]);
    assert!(bench.gave_up);
}

#[test]
fn hostile() {
    let talk = curves();
    let talk: Vec<(Dir, &[u8])> = talk.iter().map(|(dir, data)| (*dir, &data[..])).collect();
    testing::hostile(&KIND, Transport::Tcp, &talk);
}

#[test]
fn told_by_content() {
    let probe = |orig: &[u8], resp: &[u8]| {
        probe(&Start { transport: Transport::Tcp, bytes: [orig, resp], resp_p: 9 })
    };
    assert_eq!(probe(b"SSH-2.0-a", b"ssh-1.5-b"), Verdict::Yes);
    assert_eq!(probe(b"SSH-2.0-a", b"SSH-"), Verdict::More);
    assert_eq!(probe(b"SSH-3.0-a", b""), Verdict::No);
}
