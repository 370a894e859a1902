//! Archives and compressed data. See the module above for what a row says.

use super::Magic;
use super::pattern::Bytes;
use super::pattern::Step::{Any, I, In, Opt, Or, Rep, S};

/// Digits of a number field, padded with spaces.
const PADDED: Bytes = &[(0x20, 0x20), (b'0', b'9')];

pub(super) static TABLE: &[Magic] = &[
    (
        100,
        "application/x-tar",
        &[
            Rep(&[(0x00, 0x00), (0x20, b'~')], 100, 100),
            Rep(PADDED, 7, 7),
            S(b"\0"),
            Rep(PADDED, 7, 7),
            S(b"\0"),
            Rep(PADDED, 7, 7),
            S(b"\0"),
            Rep(PADDED, 11, 11),
            S(b"\0"),
            Rep(PADDED, 11, 11),
            S(b"\0"),
            Rep(&[(0x00, 0x00), (0x20, 0x20), (b'0', b'9')], 7, 7),
            In(&[(0x00, 0x00), (0x20, 0x20)]),
            In(&[(0x00, 0x00), (b'0', b'7')]),
        ],
    ),
    (10, "application/zip", &[S(b"PK\x03\x04"), Any(2)]),
    (10, "application/zip", &[S(b"PK\x07\x08PK\x03\x04")]),
    (70, "application/x-rar", &[S(b"Rar!")]),
    (100, "application/x-gzip", &[S(b"\x1f\x8b")]),
    (110, "application/vnd.ms-cab-compressed", &[S(b"MSCF\0\0\0\0")]),
    (
        100,
        "application/x-dmg",
        &[Or(&[
            &[S(b"x\x01s\rbb`")],
            &[S(b"x\xdac`\x18\x05")],
            &[S(b"x\x01c`\x18\x05")],
            &[S(b"x\xdas\r")],
            &[S(b"x"), In(&[(0x01, 0x01), (0xda, 0xda)]), S(b"\xed"), In(&[(0xd0, 0xd9)])],
        ])],
    ),
    (100, "application/x-xar", &[S(b"xar!")]),
    (70, "application/x-rpm", &[Or(&[&[S(b"drpm")], &[S(b"\xed\xab\xee\xdb")]])]),
    (171, "application/x-debian-package", &[S(b"!<arch>\ndebian")]),
    (70, "application/x-stuffit", &[Or(&[&[S(b"SIT!")], &[S(b"StuffIt")]])]),
    (70, "application/x-archive", &[Opt(&[S(b"!")]), S(b"<ar"), Opt(&[S(b"ch")]), S(b">")]),
    (
        70,
        "application/x-arc",
        &[Rep(&[(0x00, 0x7f)], 2, 2), In(&[(0x02, 0x0a), (0x14, 0x14), (b'H', b'H')]), S(b"\x1a")],
    ),
    (70, "application/x-eet", &[S(b"\x1e\xe7\xff\0")]),
    (70, "application/x-zoo", &[Any(20), S(b"\xdc\xa7\xc4\xfd")]),
    (70, "application/x-lz4", &[S(b"\x02!L\x18")]),
    (70, "application/x-lz4", &[S(b"\x04\"M\x18")]),
    (1, "application/x-lrzip", &[S(b"LRZI")]),
    (70, "application/x-lzip", &[S(b"LZIP")]),
    (
        340,
        "application/zip",
        &[
            S(b"MZ"),
            Any(28),
            Or(&[&[S(b"Copyright 1989-1990 PKWARE Inc")], &[S(b"PKLITE Copr")]]),
            S(b"."),
        ],
    ),
    (
        80,
        "application/x-lzh",
        &[
            Any(2),
            S(b"-"),
            Or(&[
                &[S(b"lh"), In(&[(0x20, 0x20), (b'0', b'9'), (b'a', b'e'), (b'x', b'x')])],
                &[S(b"lz"), In(&[(b'2', b'8'), (b's', b's')])],
                &[S(b"lz"), In(&[(b'2', b'8'), (b's', b's')])],
                &[S(b"pm"), In(&[(b'0', b'2'), (b's', b's')])],
                &[S(b"pc1")],
            ]),
            S(b"-"),
        ],
    ),
    (50, "application/warc", &[S(b"WARC/")]),
    (50, "application/x-7z-compressed", &[S(b"7z\xbc\xaf'\x1c")]),
    (90, "application/x-xz", &[S(b"\xfd7zXZ\0")]),
    (120, "application/x-lha", &[S(b"MZ"), Any(34), S(b"LH"), I(b"a'"), S(b"s SFX")]),
    (50, "application/x-arj", &[S(b"`\xea")]),
    (50, "application/x-cpio", &[Or(&[&[S(b"q\xc7")], &[S(b"\xc7q")]])]),
    (50, "application/x-cpio", &[Or(&[&[S(b"\xc7q")], &[S(b"q\xc7")]])]),
    (50, "application/x-compress", &[S(b"\x1f\x9d")]),
    (71, "application/x-lzma", &[S(b"]\0\0")]),
    (100, "application/x-ace", &[Any(7), S(b"**ACE**")]),
    (60, "application/x-bzip2", &[S(b"BZh")]),
];
