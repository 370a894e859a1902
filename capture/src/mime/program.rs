//! Programs: executables, byte code, scripts. See the module above for what a row says.

use super::Magic;
use super::pattern::Bytes;
use super::pattern::Step::{Any, I, In, Later, Opt, Or, Rep, S};

/// Every byte.
const ALL: Bytes = &[(0x00, 0xff)];
/// White space between tokens.
const BLANKS: Bytes = &[(0x09, 0x0a), (0x0d, 0x0d), (0x20, 0x20)];
/// Every byte but the line feed.
const IN_LINE: Bytes = &[(0x00, 0x09), (0x0b, 0xff)];
/// The space alone.
const SPACE: Bytes = &[(0x20, 0x20)];
/// White space of any kind.
const SPACES: Bytes = &[(0x09, 0x0d), (0x20, 0x20)];
/// Space and tab.
const TABS: Bytes = &[(0x09, 0x09), (0x20, 0x20)];

pub(super) static TABLE: &[Magic] = &[
    (51, "application/x-dosexec", &[S(b"MZ")]),
    (
        50,
        "application/x-object",
        &[
            S(b"\x7fELF"),
            In(&[(0x01, 0x02)]),
            Or(&[&[S(b"\x01"), Any(10), S(b"\x01\0")], &[S(b"\x02"), Any(10), S(b"\0\x01")]]),
        ],
    ),
    (
        50,
        "application/x-executable",
        &[
            S(b"\x7fELF"),
            In(&[(0x01, 0x02)]),
            Or(&[&[S(b"\x01"), Any(10), S(b"\x02\0")], &[S(b"\x02"), Any(10), S(b"\0\x02")]]),
        ],
    ),
    (
        50,
        "application/x-sharedlib",
        &[
            S(b"\x7fELF"),
            In(&[(0x01, 0x02)]),
            Or(&[&[S(b"\x01"), Any(10), S(b"\x03\0")], &[S(b"\x02"), Any(10), S(b"\0\x03")]]),
        ],
    ),
    (
        50,
        "application/x-coredump",
        &[
            S(b"\x7fELF"),
            In(&[(0x01, 0x02)]),
            Or(&[&[S(b"\x01"), Any(10), S(b"\x04\0")], &[S(b"\x02"), Any(10), S(b"\0\x04")]]),
        ],
    ),
    (100, "application/x-mach-o-executable", &[In(&[(0xce, 0xcf)]), S(b"\xfa\xed\xfe")]),
    (
        100,
        "application/x-mach-o-executable",
        &[S(b"\xca\xfe\xba\xbe"), Any(2), S(b"\0"), In(&[(0x01, 0x14)])],
    ),
    (10, "application/x-elc", &[S(b";ELC"), In(&[(0x00, 0x1f), (0x80, 0xff)])]),
    (
        100,
        "application/java-archive",
        &[S(b"PK\x03\x04"), Rep(ALL, 1, 200), S(b"\x14\0"), Any(2), S(b"META-INF/MANIFEST.MF")],
    ),
    (71, "application/x-java-applet", &[S(b"\xca\xfe\xba\xbe"), Any(3), In(&[(b'-', b'4')])]),
    (1, "application/x-java-pack200", &[S(b"\xca\xfe\xd0\r"), Any(1)]),
    (100, "application/x-java-jnlp-file", &[S(b"<jnlp ")]),
    (70, "application/x-java-keystore", &[S(b"\xfe\xed\xfe\xed")]),
    (70, "application/x-java-jce-keystore", &[S(b"\xce\xce\xce\xce")]),
    (
        250,
        "text/x-shellscript",
        &[
            S(b"#!"),
            Rep(IN_LINE, 1, 15),
            S(b"bin/"),
            Opt(&[S(b"env"), Rep(SPACES, 1, usize::MAX)]),
            Opt(&[Or(&[
                &[S(b"ba")],
                &[S(b"tc")],
                &[S(b"c")],
                &[S(b"z")],
                &[S(b"fa")],
                &[S(b"ae")],
                &[S(b"k")],
            ])]),
            S(b"sh"),
        ],
    ),
    (
        60,
        "text/x-perl",
        &[
            S(b"#!"),
            Rep(IN_LINE, 1, 15),
            S(b"bin/"),
            Opt(&[S(b"env"), Rep(SPACES, 1, usize::MAX)]),
            S(b"perl"),
        ],
    ),
    (
        60,
        "text/x-ruby",
        &[
            S(b"#!"),
            Rep(IN_LINE, 1, 15),
            S(b"bin/"),
            Opt(&[S(b"env"), Rep(SPACES, 1, usize::MAX)]),
            S(b"ruby"),
        ],
    ),
    (
        60,
        "text/x-python",
        &[
            S(b"#!"),
            Rep(IN_LINE, 1, 15),
            S(b"bin/"),
            Opt(&[S(b"env"), Rep(SPACES, 1, usize::MAX)]),
            S(b"python"),
        ],
    ),
    (
        60,
        "text/x-awk",
        &[
            S(b"#!"),
            Rep(IN_LINE, 1, 15),
            S(b"bin/"),
            Opt(&[S(b"env"), Rep(SPACES, 1, usize::MAX)]),
            Opt(&[Or(&[&[S(b"g")], &[S(b"n")]])]),
            S(b"awk"),
        ],
    ),
    (
        60,
        "text/x-tcl",
        &[
            S(b"#!"),
            Rep(IN_LINE, 1, 15),
            S(b"bin/"),
            Opt(&[S(b"env"), Rep(SPACES, 1, usize::MAX)]),
            Or(&[&[S(b"wish")], &[S(b"tcl")]]),
        ],
    ),
    (
        49,
        "text/x-lua",
        &[
            S(b"#!"),
            Rep(IN_LINE, 1, 15),
            S(b"bin/"),
            Opt(&[S(b"env"), Rep(SPACES, 1, usize::MAX)]),
            S(b"lua"),
        ],
    ),
    (
        60,
        "application/javascript",
        &[
            S(b"#!"),
            Rep(IN_LINE, 1, 15),
            S(b"bin/"),
            Opt(&[S(b"env"), Rep(SPACES, 1, usize::MAX)]),
            S(b"node"),
            Opt(&[S(b"js")]),
        ],
    ),
    (
        60,
        "application/javascript",
        &[
            Rep(BLANKS, 0, usize::MAX),
            I(b"<script"),
            Rep(TABS, 1, usize::MAX),
            Or(&[&[I(b"type")], &[I(b"language")]]),
            S(b"="),
            Opt(&[In(&[(b'"', b'"'), (0x27, 0x27)])]),
            Opt(&[I(b"text/")]),
            I(b"javascript"),
        ],
    ),
    (60, "application/javascript", &[Rep(BLANKS, 0, usize::MAX), S(b"for (;;);")]),
    (
        60,
        "application/javascript",
        &[
            Rep(BLANKS, 0, usize::MAX),
            S(b"document.write"),
            Opt(&[S(b"ln")]),
            Opt(&[In(&[(b':', b':'), (b'a', b'b'), (b'k', b'l'), (b'n', b'n')])]),
            S(b"("),
        ],
    ),
    (
        60,
        "application/javascript",
        &[S(b"(function()"), Rep(&[(0x09, 0x0a), (0x20, 0x20)], 0, usize::MAX), S(b"{")],
    ),
    (
        60,
        "application/javascript",
        &[
            Rep(BLANKS, 0, usize::MAX),
            S(b"<script>"),
            Rep(BLANKS, 0, usize::MAX),
            Or(&[&[S(b"var")], &[S(b"function")]]),
            S(b" "),
        ],
    ),
    (
        60,
        "text/x-php",
        &[
            S(b"#!"),
            Rep(IN_LINE, 1, 15),
            S(b"bin/"),
            Opt(&[S(b"env"), Rep(SPACES, 1, usize::MAX)]),
            S(b"php"),
        ],
    ),
    (40, "text/x-php", &[Later, S(b"<?php")]),
    (
        110,
        "text/x-msdos-batch",
        &[S(b"@"), Rep(SPACE, 0, usize::MAX), I(b"echo"), Rep(SPACE, 1, usize::MAX), I(b"off")],
    ),
    (60, "text/x-msdos-batch", &[I(b"@rem")]),
    (70, "text/x-msdos-batch", &[I(b"@set"), Rep(SPACE, 1, usize::MAX)]),
    (40, "text/x-m4", &[S(b"dnl ")]),
    (80, "application/x-python-bytecode", &[Or(&[&[S(b"\xfc\xc4")], &[S(b"\x99N")]]), S(b"\r\n")]),
    (
        80,
        "application/x-python-bytecode",
        &[
            Or(&[
                &[S(b"\x87\xc6")],
                &[In(&[(b'*', b'*'), (b'-', b'-')]), S(b"\xed")],
                &[
                    In(&[
                        (b';', b';'),
                        (b'E', b'E'),
                        (b'Y', b'Y'),
                        (b'c', b'c'),
                        (b'm', b'm'),
                        (b'w', b'w'),
                        (0x81, 0x81),
                        (0x8b, 0x8c),
                        (0x95, 0x95),
                        (0x9f, 0x9f),
                        (0xa9, 0xa9),
                        (0xb3, 0xb3),
                        (0xc7, 0xc7),
                        (0xd1, 0xd1),
                        (0xdb, 0xdb),
                        (0xe5, 0xe5),
                        (0xef, 0xef),
                        (0xf9, 0xf9),
                    ]),
                    S(b"\xf2"),
                ],
                &[S(b"\x03\xf3")],
            ]),
            S(b"\r\n"),
        ],
    ),
    (
        80,
        "application/x-python-bytecode",
        &[
            Or(&[
                &[
                    In(&[
                        (0xb8, 0xb8),
                        (0xc2, 0xc2),
                        (0xcc, 0xcc),
                        (0xd6, 0xd6),
                        (0xe0, 0xe0),
                        (0xea, 0xea),
                        (0xf4, 0xf5),
                        (0xff, 0xff),
                    ]),
                    S(b"\x0b"),
                ],
                &[
                    In(&[
                        (0x09, 0x09),
                        (0x13, 0x13),
                        (0x1d, 0x1d),
                        (0x1f, 0x1f),
                        (0x27, 0x27),
                        (b';', b';'),
                    ]),
                    S(b"\x0c"),
                ],
            ]),
            S(b"\r\n"),
        ],
    ),
    (80, "application/x-python-bytecode", &[In(&[(b'E', b'E'), (b'O', b'O')]), S(b"\x0c\r\n")]),
    (
        80,
        "application/x-python-bytecode",
        &[In(&[(b'X', b'X'), (b'b', b'b'), (b'l', b'l')]), S(b"\x0c\r\n")],
    ),
    (
        80,
        "application/x-python-bytecode",
        &[In(&[(b'v', b'v'), (0x80, 0x80), (0x94, 0x94), (0x9e, 0x9e)]), S(b"\x0c\r\n")],
    ),
    (
        80,
        "application/x-python-bytecode",
        &[
            In(&[
                (0xb2, 0xb2),
                (0xc6, 0xc6),
                (0xcc, 0xcc),
                (0xd0, 0xd0),
                (0xda, 0xda),
                (0xe4, 0xe4),
                (0xee, 0xee),
            ]),
            S(b"\x0c\r\n"),
        ],
    ),
    (
        80,
        "application/x-python-bytecode",
        &[
            Or(&[&[S(b"\xf8\x0c")], &[In(&[(0x02, 0x02), (0x0c, 0x0c), (0x16, 0x17)]), S(b"\r")]]),
            S(b"\r\n"),
        ],
    ),
    (
        80,
        "application/x-python-bytecode",
        &[In(&[(0x20, b'!'), (b'*', b'-'), (b'/', b'3')]), S(b"\r\r\n")],
    ),
    (80, "application/x-python-bytecode", &[In(&[(b'>', b'B')]), S(b"\r\r\n")]),
    (80, "application/x-python-bytecode", &[In(&[(b'H', b'I'), (b'R', b'U')]), S(b"\r\r\n")]),
    (80, "application/x-python-bytecode", &[In(&[(0x5c, b'a')]), S(b"\r\r\n")]),
    (80, "application/x-python-bytecode", &[In(&[(b'f', b'o')]), S(b"\r\r\n")]),
    (80, "application/x-python-bytecode", &[In(&[(b'z', 0xa7)]), S(b"\r\r\n")]),
    (80, "application/x-python-bytecode", &[In(&[(0xac, 0xcb)]), S(b"\r\r\n")]),
    (80, "application/x-python-bytecode", &[In(&[(0xde, 0xf3)]), S(b"\r\r\n")]),
    (80, "application/x-python-bytecode", &[In(&[(0x10, 0x19)]), S(b"\x0e\r\n")]),
];
