//! DCE/RPC from literal messages.

use super::*;
use crate::analyzer::Signal;
use crate::analyzer::testing::{Bench, endures};

/// A message of this type and flags, for call 1.
fn message(kind: u8, flags: u8, body: &[u8], auth: Option<(u8, &[u8])>) -> Vec<u8> {
    let auth_len = auth.map_or(0, |(_, token)| token.len());
    let len = 16 + body.len() + auth.map_or(0, |_| 8 + auth_len);
    let mut bytes = vec![5, 0, kind, flags, 0x10, 0, 0, 0, len as u8, 0, auth_len as u8, 0];
    bytes.extend_from_slice(&[1, 0, 0, 0]);
    bytes.extend_from_slice(body);
    if let Some((kind, token)) = auth {
        bytes.extend_from_slice(&[kind, 2, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(token);
    }
    bytes
}

/// A bind with one context.
fn bind(auth: Option<(u8, &[u8])>) -> Vec<u8> {
    let mut body = vec![0xd0, 0x16, 0xd0, 0x16, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0];
    body.extend_from_slice(&[7; 40]);
    message(11, 3, &body, auth)
}

#[test]
fn a_bind_confirms_in_pieces_as_well() {
    let mut bench = Bench::new(&KIND, Transport::Tcp);
    let bytes = bind(None);
    bench.feed(Dir::Orig, &bytes[..20]);
    assert!(bench.signals.is_empty());
    bench.feed(Dir::Orig, &bytes[20..]);
    assert_eq!(bench.signals, [Signal::Confirmed]);
}

#[test]
fn what_authenticates_comes_first() {
    let mut bench = Bench::new(&KIND, Transport::Tcp);
    bench.feed(Dir::Orig, &bind(Some((0x0a, b"NTLMSSP\0\x09\0\0\0"))));
    assert_eq!(bench.services.names(), ["ntlm"]);
    assert_eq!(bench.signals, [Signal::Confirmed]);
    bench.feed(Dir::Orig, &bind(Some((0x44, b"x"))));
    assert_eq!(bench.weirds, ["netlogon_dce_rpc_auth_type"]);
}

#[test]
fn another_version_or_a_short_body_is_passed_over() {
    let mut bytes = bind(None);
    bytes[0] = 4;
    let mut bench = Bench::new(&KIND, Transport::Tcp);
    bench.feed(Dir::Orig, &bytes);
    bench.feed(Dir::Orig, &message(0, 3, &[0; 7], None));
    assert!(bench.signals.is_empty());
    bench.feed(Dir::Orig, &bind(None));
    assert_eq!(bench.signals, [Signal::Confirmed]);
}

#[test]
fn fragments_are_put_together_and_bounded() {
    let mut bench = Bench::new(&KIND, Transport::Tcp);
    bench.feed(Dir::Orig, &message(0, 1, &[0; 5], None));
    bench.feed(Dir::Orig, &message(0, 2, &[0; 5], None));
    assert_eq!(bench.signals, [Signal::Confirmed]);
    bench.feed(Dir::Orig, &message(0, 1, &[0; 5], None));
    bench.feed(Dir::Orig, &message(0, 1, &[0; 5], None));
    assert_eq!(bench.weirds, ["multiple_first_fragments_in_dce_rpc_reassembly"]);
}

#[test]
fn found_by_its_version() {
    let start = |bytes| Start { transport: Transport::Tcp, bytes, resp_p: 1 };
    let bind = bind(None);
    assert_eq!(probe(&start([&bind, &[]])), Verdict::Yes);
    assert_eq!(probe(&start([&[5, 0], &[]])), Verdict::More);
    assert_eq!(probe(&start([&[5, 0, 0x20], b"HT"])), Verdict::No);
}

#[test]
fn hostile_messages() {
    let (bind, part) = (bind(Some((9, &[0xa1, 2, 0x30, 0]))), message(0, 1, &[0; 9], None));
    let answer = message(12, 3, &[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], None);
    endures(&KIND, Transport::Tcp, &[(Dir::Orig, &bind), (Dir::Resp, &answer), (Dir::Orig, &part)]);
}
