//! Files and shares from literal messages.

use arrow_array::{Array, RecordBatch};
use model::read;

use super::*;
use crate::analyzer::testing::{Bench, endures};

/// 2015-01-01, in units of 100 ns since 1601.
const WRITTEN: u64 = 130_645_440_000_000_000;

fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(body);
    bytes
}

/// A message of version 2 in tree 5.
fn smb2(command: u8, message: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = SMB2.to_vec();
    bytes.extend_from_slice(&[64, 0, 0, 0, 0, 0, 0, 0, command, 0]);
    bytes.resize(24, 0);
    bytes.push(message);
    bytes.resize(36, 0);
    bytes.push(5);
    bytes.resize(64, 0);
    bytes.extend_from_slice(body);
    framed(&bytes)
}

/// A message of version 1 in tree 5.
fn smb1(command: u8, message: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = SMB1.to_vec();
    bytes.push(command);
    bytes.resize(24, 0);
    bytes.extend_from_slice(&[5, 0, 0, 0, 0, 0, message, 0]);
    bytes.extend_from_slice(body);
    framed(&bytes)
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Bytes with these at their places.
fn laid(len: usize, parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; len];
    for (at, part) in parts {
        bytes.resize(bytes.len().max(at + part.len()), 0);
        bytes[*at..at + part.len()].copy_from_slice(part);
    }
    bytes
}

/// TREE_CONNECT and its answer: a share of this kind.
fn connect(share: u8) -> [Vec<u8>; 2] {
    let path = wide(r"\\h\s");
    let request = laid(8, &[(4, &[72, 0, path.len() as u8, 0]), (8, &path)]);
    [smb2(3, 1, &request), smb2(3, 1, &laid(16, &[(2, &[share])]))]
}

/// CREATE and its answer: file 7 of so many bytes.
fn create(name: &str, options: u16, size: u64) -> [Vec<u8>; 2] {
    let name = wide(name);
    let (at, options) = ([120, 0, name.len() as u8, 0], options.to_le_bytes());
    let request = laid(56, &[(40, &options), (44, &at), (56, &name)]);
    let written = WRITTEN.to_le_bytes();
    let answer = laid(88, &[(24, &written), (48, &size.to_le_bytes()), (64, &[7])]);
    [smb2(5, 2, &request), smb2(5, 2, &answer)]
}

fn read(message: u8, offset: u64) -> Vec<u8> {
    smb2(8, message, &laid(48, &[(8, &offset.to_le_bytes()), (16, &[7])]))
}

fn bytes_read(message: u8, data: &[u8]) -> Vec<u8> {
    smb2(8, message, &laid(16, &[(2, &[80]), (4, &[data.len() as u8]), (16, data)]))
}

fn write(offset: u64, data: &[u8]) -> Vec<u8> {
    let parts: [(usize, &[u8]); 4] =
        [(2, &[112, 0, data.len() as u8]), (8, &offset.to_le_bytes()), (16, &[7]), (48, data)];
    smb2(9, 6, &laid(48, &parts))
}

fn close() -> Vec<u8> {
    smb2(6, 7, &laid(24, &[(8, &[7])]))
}

/// Both ends of a conversation in turn.
fn exchange(bench: &mut Bench, messages: &[Vec<u8>; 2]) {
    bench.feed(Dir::Orig, &messages[0]);
    bench.feed(Dir::Resp, &messages[1]);
}

fn texts(batch: &RecordBatch, name: &str) -> Vec<String> {
    let column = read::text(batch, name).expect("a column of texts");
    (0..batch.num_rows())
        .map(|row| if column.is_null(row) { "-".into() } else { column.value(row).to_owned() })
        .collect()
}

fn counts(batch: &RecordBatch, name: &str) -> Vec<Option<i64>> {
    read::count(batch, name).expect("a column of counts").iter().collect()
}

#[test]
fn pieces_that_are_read_are_one_file_whatever_their_order() {
    let mut bench = Bench::new(&KIND, Transport::Tcp);
    exchange(&mut bench, &connect(1));
    exchange(&mut bench, &create(r"d\a.txt", 0, 10));
    bench.feed(Dir::Orig, &read(3, 0));
    bench.feed(Dir::Orig, &read(4, 6));
    bench.feed(Dir::Resp, &bytes_read(4, b"orld"));
    bench.feed(Dir::Resp, &bytes_read(3, b"hello "));
    // It is complete: what is read again is a file anew, up to where it is closed.
    bench.feed(Dir::Orig, &read(5, 0));
    bench.feed(Dir::Resp, &bytes_read(5, b"hel"));
    bench.feed(Dir::Orig, &close());
    bench.feed(Dir::Orig, &close());
    let (files, _) = bench.out.files.finish("s");
    assert_eq!(texts(&files, "filename"), [r"d\a.txt", r"d\a.txt"]);
    assert_eq!(texts(&files, "source"), ["SMB", "SMB"]);
    assert_eq!(counts(&files, "seen_bytes"), [Some(10), Some(3)]);
    assert_eq!(counts(&files, "total_bytes"), [Some(10), Some(10)]);
    assert_eq!(texts(&files, "md5")[0], "f525229d65c2b70b6950a05e3e078912");
    let ids = texts(&files, "fuid");
    assert_eq!(ids[0], ids[1]);
    let (rows, _) = bench.out.smb_files.finish("s");
    assert_eq!(texts(&rows, "action"), ["SMB::FILE_OPEN"]);
    assert_eq!(texts(&rows, "path"), [r"\\h\s"]);
    assert_eq!(counts(&rows, "size"), [Some(10)]);
    let (shares, _) = bench.out.smb_mapping.finish("s");
    assert_eq!(texts(&shares, "share_type"), ["DISK"]);
}

#[test]
fn what_is_written_ends_where_the_file_is_closed() {
    let mut bench = Bench::new(&KIND, Transport::Tcp);
    exchange(&mut bench, &connect(1));
    exchange(&mut bench, &create("", 0x1000, 0));
    bench.feed(Dir::Orig, &write(0, b"abc"));
    bench.feed(Dir::Orig, &write(5, b"def"));
    assert_eq!(bench.files.open(), 1);
    bench.feed(Dir::Orig, &close());
    let (files, _) = bench.out.files.finish("s");
    assert_eq!(texts(&files, "filename"), ["<share_root>"]);
    assert_eq!(counts(&files, "seen_bytes"), [Some(6)]);
    assert_eq!(counts(&files, "total_bytes"), [None]);
    assert_eq!(counts(&files, "missing_bytes"), [Some(2)]);
    let (rows, _) = bench.out.smb_files.finish("s");
    assert_eq!(texts(&rows, "action"), ["SMB::FILE_OPEN", "SMB::FILE_DELETE"]);
}

#[test]
fn renamed_and_deleted() {
    let set = |level: u8, body: &[u8]| {
        let parts: [(usize, &[u8]); 4] = [(2, &[1, level]), (8, &[96]), (16, &[7]), (32, body)];
        smb2(17, 8, &laid(32, &parts))
    };
    let mut bench = Bench::new(&KIND, Transport::Tcp);
    exchange(&mut bench, &connect(1));
    exchange(&mut bench, &create("a", 0, 1));
    bench.feed(Dir::Orig, &set(0x0a, &laid(20, &[(16, &[2]), (20, b"b\0")])));
    bench.feed(Dir::Orig, &set(0x0d, &[1]));
    let (rows, _) = bench.out.smb_files.finish("s");
    assert_eq!(texts(&rows, "action"), ["SMB::FILE_OPEN", "SMB::FILE_RENAME", "SMB::FILE_DELETE"]);
    assert_eq!(texts(&rows, "name"), ["a", "b", "b"]);
    assert_eq!(texts(&rows, "prev_name"), ["-", "a", "a"]);
}

#[test]
fn pipes_are_no_files() {
    let mut bench = Bench::new(&KIND, Transport::Tcp);
    exchange(&mut bench, &connect(2));
    exchange(&mut bench, &create("p", 0, 0));
    bench.feed(Dir::Orig, &write(0, b"abc"));
    bench.feed(Dir::Orig, &close());
    assert!(bench.out.files.is_empty());
    assert!(bench.out.smb_files.is_empty());
    let (shares, _) = bench.out.smb_mapping.finish("s");
    assert_eq!(texts(&shares, "share_type"), ["PIPE"]);
}

#[test]
fn bytes_of_a_file_without_a_name_are_none() {
    let mut bench = Bench::new(&KIND, Transport::Tcp);
    bench.feed(Dir::Orig, &write(0, b"abc"));
    bench.feed(Dir::Orig, &read(3, 0));
    bench.feed(Dir::Resp, &bytes_read(3, b"abc"));
    assert_eq!(bench.files.open(), 0);
}

/// Version 1: a share, a file that is opened, written and closed.
fn old() -> [(Dir, Vec<u8>); 6] {
    const NONE: [u8; 4] = [0xff, 0, 0, 0];
    let connect = [&[4], &NONE[..], &[0, 0, 0, 0, 0, 0], b"\\\\h\\s\0A:\0"].concat();
    let connected = [&[3], &NONE[..], &[0, 0, 8, 0], b"A:\0NTFS\0"].concat();
    let create = laid(51, &[(0, &[24]), (1, &NONE), (51, b"\\x\0")]);
    let written = WRITTEN.to_le_bytes();
    let created = laid(71, &[(0, &[34]), (1, &NONE), (6, &[9]), (28, &written), (56, &[0])]);
    let parts: [(usize, &[u8]); 5] =
        [(0, &[12]), (1, &NONE), (5, &[9]), (21, &[3, 0, 59]), (27, b"abc")];
    let write = laid(27, &parts);
    let close = laid(9, &[(0, &[3]), (1, &[9])]);
    [
        (Dir::Orig, smb1(0x75, 1, &connect)),
        (Dir::Resp, smb1(0x75, 1, &connected)),
        (Dir::Orig, smb1(0xa2, 2, &create)),
        (Dir::Resp, smb1(0xa2, 2, &created)),
        (Dir::Orig, smb1(0x2f, 3, &write)),
        (Dir::Orig, smb1(0x04, 4, &close)),
    ]
}

#[test]
fn version_1() {
    let mut bench = Bench::new(&KIND, Transport::Tcp);
    for (dir, message) in old() {
        bench.feed(dir, &message);
    }
    let (files, _) = bench.out.files.finish("s");
    assert_eq!(texts(&files, "filename"), [r"\x"]);
    assert_eq!(texts(&files, "md5"), ["900150983cd24fb0d6963f7d28e17f72"]);
    let (shares, _) = bench.out.smb_mapping.finish("s");
    assert_eq!(texts(&shares, "path"), [r"\\h\s"]);
    assert_eq!(texts(&shares, "service"), ["A:"]);
    assert_eq!(texts(&shares, "native_file_system"), ["NTFS"]);
    let (rows, _) = bench.out.smb_files.finish("s");
    assert_eq!(texts(&rows, "action"), ["SMB::FILE_OPEN"]);
    assert_eq!(texts(&rows, "name"), [r"\x"]);
    assert_eq!(texts(&rows, "path"), ["-"]);
}

#[test]
fn requests_without_answers_are_forgotten() {
    let mut bench = Bench::new(&KIND, Transport::Tcp);
    let mut request = read(0, 0);
    for number in 0..3000u16 {
        request[4 + 24..4 + 26].copy_from_slice(&number.to_le_bytes());
        request[4 + 64 + 16..4 + 64 + 18].copy_from_slice(&number.to_le_bytes());
        bench.feed(Dir::Orig, &request);
    }
    assert_eq!(bench.weirds, ["SMB_discarded_messages_state"]);
}

#[test]
fn hostile_messages_about_files() {
    let old = old();
    let old: Vec<(Dir, &[u8])> = old.iter().map(|(dir, bytes)| (*dir, bytes.as_slice())).collect();
    endures(&KIND, Transport::Tcp, &old);
    let (share, file) = (connect(1), create("a", 0x1000, 9));
    let (ask, answer, close) = (read(3, 0), bytes_read(3, b"abc"), close());
    let new: [(Dir, &[u8]); 7] = [
        (Dir::Orig, &share[0]),
        (Dir::Resp, &share[1]),
        (Dir::Orig, &file[0]),
        (Dir::Resp, &file[1]),
        (Dir::Orig, &ask),
        (Dir::Resp, &answer),
        (Dir::Orig, &close),
    ];
    endures(&KIND, Transport::Tcp, &new);
}
