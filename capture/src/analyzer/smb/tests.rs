//! SMB from literal messages.

use super::*;
use crate::analyzer::Signal;
use crate::analyzer::testing::{Bench, endures};

fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, body.len() as u8];
    bytes.extend_from_slice(body);
    bytes
}

/// A message of version 2 in tree 1.
fn smb2(command: u8, status: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = SMB2.to_vec();
    bytes.extend_from_slice(&[64, 0, 0, 0]);
    bytes.extend_from_slice(&status.to_le_bytes());
    bytes.extend_from_slice(&[command, 0]);
    bytes.resize(24, 0);
    bytes.extend_from_slice(&[9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    bytes.resize(64, 0);
    bytes.extend_from_slice(body);
    framed(&bytes)
}

/// A message of version 1.
fn smb1(command: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = SMB1.to_vec();
    bytes.push(command);
    bytes.resize(32, 0);
    bytes.extend_from_slice(body);
    framed(&bytes)
}

/// SESSION_SETUP with a bare token of NTLM.
fn session_setup() -> Vec<u8> {
    let mut body = vec![25, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 88, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    body.extend_from_slice(b"NTLMSSP\0\x09\0\0\0");
    smb2(1, 0, &body)
}

/// A bind of DCE/RPC.
fn bind() -> Vec<u8> {
    let mut bytes = vec![5, 0, 11, 3, 0x10, 0, 0, 0, 28, 0, 0, 0, 1, 0, 0, 0];
    bytes.resize(28, 0);
    bytes
}

/// WRITE of a bind.
fn write() -> Vec<u8> {
    let mut body = vec![49, 0, 112, 0, 28, 0, 0, 0];
    body.resize(48, 0);
    body.extend_from_slice(&bind());
    smb2(9, 0, &body)
}

#[test]
fn three_pieces_confirm_and_what_is_inside_comes_as_it_comes() {
    let mut bench = Bench::new(&KIND, Transport::Tcp);
    bench.feed(Dir::Orig, &session_setup());
    assert_eq!(bench.services.names(), ["ntlm"]);
    let share = [16, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bench.feed(Dir::Resp, &smb2(3, 0, &share));
    assert!(bench.signals.is_empty());
    bench.feed(Dir::Orig, &write());
    assert_eq!(bench.signals, [Signal::Confirmed]);
    assert_eq!(bench.services.names(), ["ntlm", "dce_rpc"]);
}

#[test]
fn nothing_is_looked_at_before_a_message_begins() {
    let mut bench = Bench::new(&KIND, Transport::Tcp);
    for _ in 0..5 {
        bench.feed(Dir::Orig, b"not of this protocol");
    }
    assert!(bench.signals.is_empty());
    bench.feed(Dir::Orig, &smb2(9, 0, &[1]));
    assert_eq!(bench.signals, [Signal::Violated]);
}

#[test]
fn an_error_has_a_body_of_its_own() {
    let mut bench = Bench::new(&KIND, Transport::Tcp);
    bench.feed(Dir::Resp, &smb2(5, 0xc000_0034, &[9, 0, 0, 0, 0, 0, 0, 0, 0]));
    bench.feed(Dir::Resp, &smb2(5, 0xc000_0034, &[9, 0, 0, 0, 9, 0, 0, 0, 0]));
    assert_eq!(bench.signals, [Signal::Violated]);
}

#[test]
fn commands_of_version_1_are_followed() {
    let mut bench = Bench::new(&KIND, Transport::Tcp);
    // LOGOFF, then TREE_DISCONNECT at 39, which is cut.
    bench.feed(Dir::Orig, &smb1(0x74, &[2, 0x71, 0, 39, 0, 0, 0, 0]));
    assert_eq!(bench.signals, [Signal::Violated]);
    let mut bench = Bench::new(&KIND, Transport::Tcp);
    bench.feed(Dir::Orig, &smb1(0x74, &[2, 0x71, 0, 39, 0, 0, 0, 0, 0, 0]));
    bench.feed(Dir::Orig, &smb1(0x74, &[2, 0x71, 0, 39, 0, 0, 0, 0, 0, 0]));
    bench.feed(Dir::Resp, &smb1(0x71, &[0, 0, 0]));
    assert_eq!(bench.signals, [Signal::Confirmed]);
}

#[test]
fn a_transaction_of_a_pipe() {
    let mut body = vec![16, 0, 0, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    body.extend_from_slice(&[0, 0, 0, 0, 28, 0, 74, 0, 0, 0, 0, 0]);
    body.extend_from_slice(b"\\PIPE\\x\0");
    body.resize(74 - 32, 0);
    body.extend_from_slice(&bind());
    let mut bench = Bench::new(&KIND, Transport::Tcp);
    bench.feed(Dir::Orig, &smb1(0x25, &body));
    assert_eq!(bench.services.names(), ["dce_rpc"]);
}

#[test]
fn found_by_what_a_message_begins_with() {
    let write = write();
    let start = |bytes| Start { transport: Transport::Tcp, bytes, resp_p: 1 };
    assert_eq!(probe(&start([&write, &[]])), Verdict::Yes);
    assert_eq!(probe(&start([&write[..5], &[]])), Verdict::More);
    assert_eq!(probe(&start([b"GET / HTTP", b"HTTP/1.1 "])), Verdict::No);
}

#[test]
fn hostile_messages() {
    let (setup, write) = (session_setup(), write());
    let logoff = smb1(0x74, &[2, 0x71, 0, 39, 0, 0, 0, 0, 0, 0]);
    let mut negotiated = vec![0x11, 0, 0];
    negotiated.resize(20, 0);
    negotiated.extend_from_slice(&[0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0]);
    negotiated.extend_from_slice(&[0; 24]);
    let negotiated = smb1(0x72, &negotiated);
    endures(&KIND, Transport::Tcp, &[(Dir::Orig, &setup), (Dir::Orig, &write)]);
    endures(&KIND, Transport::Tcp, &[(Dir::Orig, &logoff), (Dir::Resp, &negotiated)]);
}
