//! IRC (RFC 1459, RFC 2812): commands and numeric replies, and when STARTTLS hands the flow to TLS, with
//! the rules of Zeek's `IRC.cc` for what makes a flow IRC.

use super::text::{self, Cut, Talking, Then};
use super::{Cx, Dir, Kind, Start, Transport, Verdict, irc_dcc};

/// IRC, on Zeek's `IRC::ports`.
pub static KIND: Kind = Kind {
    name: "irc",
    tcp_ports: &[6666, 6667, 6668, 6669],
    udp_ports: &[],
    probe: Some(probe),
    skips_partial: false,
    new: |_| Box::new(Talking::<Talk>::with_cut(CUT)),
};

/// Bytes after which a line is cut, the longest line that is looked at, and the longest command. All of
/// these are Zeek's; RFC 2812 section 2.3 allows 512 for a line.
const CUT: u64 = 1000;
const LINE_MAX: usize = 512;
const COMMAND_MAX: usize = 20;

/// Commands that are too long before the flow is something else (`invalid_msg_max_count`).
const INVALID_MAX: u32 = 20;

/// The reply that grants STARTTLS.
const STARTTLS_GRANTED: u16 = 670;

const COMMANDS: &[&[u8]] = &[
    b"ADMIN",
    b"AWAY",
    b"CNOTICE",
    b"CPRIVMSG",
    b"CONNECT",
    b"DIE",
    b"ENCAP",
    b"ERROR",
    b"INFO",
    b"INVITE",
    b"ISON",
    b"JOIN",
    b"KICK",
    b"KILL",
    b"KNOCK",
    b"LINKS",
    b"LIST",
    b"LUSERS",
    b"MODE",
    b"MOTD",
    b"NAMES",
    b"NICK",
    b"NOTICE",
    b"OPER",
    b"PART",
    b"PASS",
    b"PING",
    b"PONG",
    b"PRIVMSG",
    b"QUIT",
    b"REHASH",
    b"RULES",
    b"SERVER",
    b"SERVICE",
    b"SERVLIST",
    b"SETNAME",
    b"SILENCE",
    b"SQUERY",
    b"SQUIT",
    b"STARTTLS",
    b"STATS",
    b"SUMMON",
    b"TIME",
    b"TOPIC",
    b"TRACE",
    b"USER",
    b"USERHOST",
    b"USERS",
    b"VERSION",
    b"WALLOPS",
    b"WHO",
    b"WHOIS",
    b"WHOWAS",
];

/// `dpd.sig`: a client that registers and a server that replies with numbers, or two servers that
/// introduce each other.
fn probe(start: &Start<'_>) -> Verdict {
    if start.transport != Transport::Tcp {
        return Verdict::No;
    }
    let [orig, resp] = start.bytes;
    // Either way both ends have to say something: so long there is nothing to look for.
    if orig.is_empty() || resp.is_empty() {
        return Verdict::More;
    }
    // What a client or a server begins a line with; most flows have none of it.
    let words: [&[u8]; 3] = [b"USER", b"NICK", b"SERVER"];
    if !text::any_line(orig, |text| words.iter().any(|word| after_word(text, word).is_some())) {
        return Verdict::More;
    }
    let clients = text::any_line(resp, is_numeric)
        && (registers(orig, b"USER", b"NICK", true) || registers(orig, b"NICK", b"USER", false));
    let servers = || [orig, resp].iter().all(|side| text::any_line(side, is_server));
    if clients || servers() { Verdict::Yes } else { Verdict::More }
}

fn skip_spaces(text: &[u8]) -> &[u8] {
    let from = text.iter().position(|byte| *byte != b' ').unwrap_or(text.len());
    text.get(from..).unwrap_or_default()
}

/// A word of a command and the blank behind it; what follows.
fn after_word<'a>(text: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    let text = skip_spaces(text);
    text::begins_with(text, word).then(|| text.get(word.len()..))?.filter(|t| t.starts_with(b" "))
}

/// Splits behind the first line end; the line is without it.
fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
    let (line, rest) = text.split_at(end);
    let from = rest.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
    Some((line, rest.get(from..).unwrap_or_default()))
}

/// Two commands, one after the other. The second need not say anything where `may_be_empty`.
fn registers(text: &[u8], first: &[u8], second: &[u8], may_be_empty: bool) -> bool {
    let said = |text, word, may_be_empty: bool| {
        let (said, rest) = after_word(text, word).and_then(line)?;
        (may_be_empty || !skip_spaces(said).is_empty()).then_some(rest)
    };
    let rest = text::in_lines(text, |text| said(text, first, false));
    rest.is_some_and(|rest| text::in_lines(rest, |text| said(text, second, may_be_empty)).is_some())
}

fn is_numeric(text: &[u8]) -> bool {
    let text = match text {
        [b':', rest @ ..] => {
            let end = rest.iter().position(|byte| matches!(byte, b' ' | b'\r' | b'\n'));
            match end.and_then(|at| rest.get(at..)) {
                Some([b' ', after @ ..]) => after,
                _ => return false,
            }
        }
        _ => text,
    };
    text::reply_code(text).is_some() && text.get(3) == Some(&b' ')
}

/// `SERVER name hops :what it is`
fn is_server(text: &[u8]) -> bool {
    let Some((args, _)) = after_word(text, b"SERVER").and_then(line) else { return false };
    let mut words = args.splitn(4, |byte| *byte == b' ').skip(1);
    let (Some(name), Some(hops), Some(what)) = (words.next(), words.next(), words.next()) else {
        return false;
    };
    let number = !hops.is_empty() && hops.iter().all(u8::is_ascii_digit);
    !name.is_empty() && number && what.starts_with(b":") && what.len() > 1
}

#[derive(Debug, Default)]
struct Talk {
    invalid: u32,
    tls: bool,
}

fn weird(cx: &mut Cx<'_>, name: &'static str) {
    cx.weird(name, None, Some("IRC"));
}

/// An oddity that is none before the flow is known to be IRC.
fn weird_if_known(cx: &mut Cx<'_>, name: &'static str) {
    if cx.is_confirmed() {
        weird(cx, name);
    }
}

impl Talk {
    fn line(&mut self, cx: &mut Cx<'_>, dir: Dir, line: &[u8]) {
        if line.len() > LINE_MAX {
            return weird_if_known(cx, "irc_line_size_exceeded");
        }
        let mut rest = skip_spaces(line);
        if rest.len() < 3 {
            return weird_if_known(cx, "irc_line_too_short");
        }
        if rest.starts_with(b"@") {
            // Tags (IRCv3), which need no command behind them.
            let Some(at) = rest.iter().position(|byte| *byte == b' ') else { return };
            rest = rest.get(at + 1..).unwrap_or_default();
        }
        if rest.starts_with(b":") {
            let Some(at) = rest.iter().position(|byte| *byte == b' ') else {
                return weird_if_known(cx, "irc_invalid_line");
            };
            rest = skip_spaces(rest.get(at + 1..).unwrap_or_default());
        }
        if rest.len() < 3 {
            weird_if_known(cx, "irc_invalid_line");
            return cx.violation();
        }
        if rest.first().is_some_and(u8::is_ascii_digit) {
            match text::reply_code(rest).filter(|_| rest.get(3) == Some(&b' ')) {
                Some(STARTTLS_GRANTED) => self.tls = true,
                Some(_) => {}
                None => {
                    weird_if_known(cx, "irc_invalid_reply_number");
                    cx.violation();
                }
            }
            return;
        }
        self.command(cx, dir, rest);
    }

    fn command(&mut self, cx: &mut Cx<'_>, dir: Dir, line: &[u8]) {
        let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
        let (command, params) = line.split_at(end);
        let params = skip_spaces(params);
        let is = |word: &[u8]| word.eq_ignore_ascii_case(command);
        if dir == Dir::Orig && COMMANDS.iter().any(|word| is(word)) {
            cx.confirm();
        }
        if command.len() > COMMAND_MAX {
            weird(cx, "irc_invalid_command");
            self.invalid += 1;
            if self.invalid > INVALID_MAX {
                weird(cx, "irc_too_many_invalid");
                cx.violation();
            }
        } else if is(b"PRIVMSG") {
            match params.iter().position(|byte| *byte == b' ') {
                None => weird(cx, "irc_invalid_privmsg_message_format"),
                Some(at) => {
                    irc_dcc::message(cx, skip_spaces(params.get(at..).unwrap_or_default()));
                }
            }
        } else if is(b"JOIN") && skip_spaces(params.strip_prefix(b":").unwrap_or(params)).is_empty()
        {
            weird(cx, "irc_invalid_join_line");
        }
    }
}

impl text::Talk for Talk {
    fn piece(&mut self, cx: &mut Cx<'_>, dir: Dir, cut: Cut<'_>) -> Then {
        if let Cut::Line(line) = cut {
            self.line(cx, dir, line);
        }
        if self.tls { Then::Stop } else { Then::Lines }
    }

    fn is_tls(&self) -> bool {
        self.tls
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Bench};
    use super::super::{Act, Signal};
    use super::*;

    fn talk(lines: &[(Dir, &str)]) -> Bench {
        testing::talk(&KIND, lines)
    }

    #[test]
    fn a_command_of_the_client_makes_it_irc() {
        let bench = talk(&[
            (Dir::Resp, ":irc.example NOTICE * :hello\r\n"),
            (Dir::Orig, "@time=1 :me nick n\r\n"),
            (Dir::Resp, ":irc.example 001 n :welcome\r\n"),
        ]);
        assert_eq!(bench.signals, [Signal::Confirmed]);
        assert!(bench.weirds.is_empty());
    }

    #[test]
    fn the_server_alone_does_not() {
        assert_eq!(talk(&[(Dir::Resp, "NICK x\r\n"), (Dir::Orig, "FOO x\r\n")]).signals, []);
    }

    #[test]
    fn what_is_no_irc() {
        for line in ["2a0 x\r\n", "220- x\r\n", ":a b\r\n"] {
            let bench = talk(&[(Dir::Resp, line)]);
            assert_eq!(bench.signals, [Signal::Violated], "{line}");
        }
        let long = format!("NICK n\r\n{}", "ABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n".repeat(21));
        let bench = talk(&[(Dir::Orig, &long)]);
        assert_eq!(bench.signals, [Signal::Violated]);
        assert_eq!(bench.weirds, ["irc_invalid_command", "irc_too_many_invalid"]);
    }

    #[test]
    fn long_lines_are_cut_and_passed_over() {
        // Two pieces are too long, the third is short enough to be read.
        let long = format!("NICK n\r\nPRIVMSG a {}PING x\r\n", "x".repeat(1992));
        let bench = talk(&[(Dir::Orig, &long)]);
        assert_eq!(bench.weirds, ["contentline_size_exceeded", "irc_line_size_exceeded"]);
    }

    #[test]
    fn starttls_hands_on() {
        let bench = talk(&[
            (Dir::Orig, "STARTTLS\r\n"),
            (Dir::Resp, ":s 670 * :go\r\n"),
            (Dir::Orig, "\x16\x03"),
        ]);
        assert!(matches!(bench.inner.acts[0], Act::Attach(kind) if kind.name == "ssl"));
        assert_eq!(bench.inner.bytes, b"\x16\x03");
    }

    #[test]
    fn hostile() {
        testing::hostile(
            &KIND,
            Transport::Tcp,
            &[
                (Dir::Orig, b"@a=b :x PRIVMSG y :z\r\nJOIN #c\r\nSTARTTLS\r\n"),
                (Dir::Resp, b":s 001 n :w\r\n:s 670 n :go\r\n"),
            ],
        );
    }

    #[test]
    fn told_by_content() {
        let probe = |orig: &[u8], resp: &[u8]| {
            probe(&Start { transport: Transport::Tcp, bytes: [orig, resp], resp_p: 9 })
        };
        assert_eq!(probe(b"NICK a\r\nUSER b c d e\r\n", b":s 001 a :hi"), Verdict::Yes);
        assert_eq!(probe(b"x\r\nuser b c\r\ny\r\nnick a\r\n", b"a\r\n020 * :wait"), Verdict::Yes);
        assert_eq!(probe(b"NICK a\r\n", b":s 001 a :hi"), Verdict::More);
        assert_eq!(probe(b"NICK a\r\nUSER b\r\n", b"hello"), Verdict::More);
        let server = b"SERVER a.b 1 :x y\r\n";
        assert_eq!(probe(server, server), Verdict::Yes);
    }
}
