//! POP3 (RFC 1939): which command a reply belongs to, and when STLS (RFC 2595) hands the flow to TLS, with
//! the rules of Zeek's `POP3.cc` for what makes a flow POP3.

use std::collections::VecDeque;

use memchr::memmem;
use model::text as wire;

use super::http::transfer::Base64;
use super::mail::{Mail, Whose};
use super::text::{self, Cut, Talking, Then};
use super::{Cx, Dir, Kind, Start, Transport, Verdict};

/// POP3, which Zeek finds by content only.
pub static KIND: Kind = Kind {
    name: "pop3",
    tcp_ports: &[],
    udp_ports: &[],
    probe: Some(probe),
    skips_partial: true,
    new: |_| Box::new(Talking::<Talk>::default()),
};

/// Commands that may wait for their reply (`POP3::max_pending_commands`); the oldest is dropped beyond it.
const PENDING_MAX: usize = 10;

/// Unknown commands that are put up with (`POP3::max_unknown_client_commands`).
const UNKNOWN_MAX: u32 = 10;

/// Bytes of a line that are looked at; a command is far shorter (RFC 2449 section 4: 255).
const LOOKED_AT: usize = 512;

/// `dpd.sig`: a command of a client, and a server that is fine.
fn probe(start: &Start<'_>) -> Verdict {
    if start.transport != Transport::Tcp {
        return Verdict::No;
    }
    let [orig, resp] = start.bytes;
    if !resp.starts_with(b"+OK") {
        return if b"+OK".starts_with(resp) { Verdict::More } else { Verdict::No };
    }
    let command = |text: &[u8]| {
        let text = text::skip_space(text);
        let with_space = [&b"USER"[..], b"APOP"].iter().any(|word| {
            text::begins_with(text, word)
                && text.get(word.len()).is_some_and(|byte| text::is_space(*byte))
        });
        with_space || [&b"CAPA"[..], b"AUTH", b"STLS"].iter().any(|w| text::begins_with(text, w))
    };
    if text::any_line(orig, command) { Verdict::Yes } else { Verdict::More }
}

/// Where a session is, RFC 1939 section 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Start,
    Authorization,
    Transaction,
    /// After QUIT.
    Over,
}

/// The command that a reply is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Start,
    User,
    /// PASS and APOP.
    Login,
    Auth,
    /// Commands of a transaction whose reply is a line.
    Simple,
    /// LIST, UIDL.
    List,
    /// RETR, TOP.
    Mail,
    Capa,
    Stls,
    Quit,
}

#[derive(Debug, Default)]
struct Talk {
    phase: Phase,
    state: State,
    /// What the command would be if the session had begun earlier than it seems.
    guess: Option<State>,
    /// AUTH is on its way: lines are the mechanism's.
    authenticating: bool,
    /// The mechanism is PLAIN.
    is_plain: bool,
    /// A good reply will go on up to a dot, and does.
    wants_more_lines: bool,
    in_lines: bool,
    pending: VecDeque<Vec<u8>>,
    unknown: u32,
    tls: bool,
    mail: Option<Box<Mail>>,
    /// Entities of all mails so far.
    entities: u64,
}

/// A line as Zeek reads it: up to a NUL, without blanks at its ends, its first word, and the rest.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let line = text::skip_blanks(line);
    let line = line.get(..LOOKED_AT).unwrap_or(line);
    let end = line.iter().rposition(|byte| *byte != b' ').map_or(0, |at| at + 1);
    let line = line.get(..end).unwrap_or_default();
    let word = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let (word, rest) = line.split_at(word);
    let from = rest.iter().position(|byte| *byte != b' ').unwrap_or(rest.len());
    (word, rest.get(from..).unwrap_or_default())
}

/// All words of either end. Zeek takes a sign off before each comparison, so that only `OK` may have one.
const WORDS: [&[u8]; 19] = [
    b"OK", b"ERR", b"USER", b"PASS", b"APOP", b"AUTH", b"STAT", b"LIST", b"RETR", b"DELE", b"RSET",
    b"NOOP", b"LAST", b"QUIT", b"TOP", b"CAPA", b"UIDL", b"STLS", b"XSENDER",
];

/// A known word, in upper case.
fn known(mut word: &[u8]) -> Option<&'static [u8]> {
    WORDS.into_iter().find(|known| {
        if let [b'+' | b'-', rest @ ..] = word {
            word = rest;
        }
        known.eq_ignore_ascii_case(word)
    })
}

fn weird(cx: &mut Cx<'_>, name: &'static str, word: Option<&[u8]>) {
    let word = word.map(|word| if word.is_empty() { &b"???"[..] } else { word });
    let addl = word.map(wire::from_wire);
    cx.weird(name, addl.as_deref(), Some("POP3"));
}

impl Talk {
    fn request(&mut self, cx: &mut Cx<'_>, line: &[u8]) {
        if line.is_empty() {
            return;
        }
        if self.authenticating {
            return self.credentials(cx, line);
        }
        self.pending.push_back(line.get(..LOOKED_AT).unwrap_or(line).to_vec());
        if self.pending.len() > PENDING_MAX {
            weird(cx, "pop3_client_too_many_pending_commands", None);
            self.pending.pop_front();
        }
        if self.pending.len() == 1 {
            self.command(cx);
        }
        if cx.is_half {
            // Its reply another sensor sees.
            self.pending.clear();
        }
    }

    /// A line of a mechanism, which is in base64.
    fn credentials(&mut self, cx: &mut Cx<'_>, line: &[u8]) {
        let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
        let line = line.get(..LOOKED_AT).unwrap_or(line);
        let mut illegal = |what: String| cx.weird("base64_illegal_encoding", Some(&what), None);
        let (mut decoder, mut plain) = (Base64::default(), Vec::new());
        decoder.decode(line, &mut plain, &mut illegal);
        if decoder.failed() {
            return weird(cx, "pop3_bad_base64_encoding", None);
        }
        decoder.finish(&mut plain, &mut illegal);
        // RFC 4616: whom to act for, who it is and the password, with a NUL between.
        let mut parts = plain.splitn(3, |byte| *byte == 0).skip(2);
        if self.is_plain && parts.next().is_none_or(<[u8]>::is_empty) {
            weird(cx, "pop3_malformed_auth_plain", None);
        }
    }

    /// The oldest command has its reply.
    fn answered(&mut self, cx: &mut Cx<'_>) {
        if self.pending.pop_front().is_some() {
            self.command(cx);
        }
    }

    /// Looks at the oldest command.
    fn command(&mut self, cx: &mut Cx<'_>) {
        let Some(line) = self.pending.front() else { return };
        let (word, message) = split(line);
        let Some(known) = known(word) else {
            weird(cx, "pop3_client_command_unknown", Some(word));
            self.unknown += 1;
            if self.unknown > UNKNOWN_MAX {
                cx.violation();
            }
            return;
        };
        let (bare, phase) = (message.is_empty(), self.phase);
        match known {
            b"OK" | b"ERR" => weird(cx, "pop3_client_sending_server_commands", None),
            b"USER" if phase == Phase::Authorization => self.state = State::User,
            b"PASS" if phase == Phase::Authorization && self.state == State::User => {
                self.state = State::Login;
            }
            b"APOP" if phase == Phase::Authorization => self.state = State::Login,
            b"AUTH" if phase == Phase::Authorization => {
                self.state = State::Auth;
                self.wants_more_lines |= bare;
                self.authenticating = !bare;
                let says = |name| memmem::find(message, name).is_some();
                self.is_plain = !says(b"LOGIN") && says(b"PLAIN");
            }
            b"USER" | b"PASS" | b"APOP" | b"AUTH" => {}
            b"STAT" if phase != Phase::Transaction => {}
            b"LIST" | b"UIDL" => {
                self.wants_more_lines |= bare;
                self.in_transaction(State::List);
            }
            b"RETR" | b"TOP" => {
                self.wants_more_lines = true;
                self.in_transaction(State::Mail);
            }
            b"QUIT" if phase != Phase::Over => self.state = State::Quit,
            b"CAPA" => {
                self.state = State::Capa;
                self.wants_more_lines = true;
            }
            b"STLS" => self.state = State::Stls,
            _ => self.in_transaction(State::Simple),
        }
    }

    fn in_transaction(&mut self, state: State) {
        if self.phase == Phase::Transaction {
            self.state = state;
        } else {
            self.guess = Some(state);
        }
    }

    fn reply(&mut self, cx: &mut Cx<'_>, line: &[u8]) {
        if self.in_lines {
            if line == b"." {
                self.wants_more_lines = false;
                self.in_lines = false;
                self.end_mail(cx);
                self.answered(cx);
            } else if self.state == State::Mail {
                self.mail_line(cx, line);
            }
            return;
        }
        let (word, _) = split(line);
        match known(word) {
            None if self.authenticating => {}
            // Of a half the commands are missing that tell which replies go on in further lines.
            None if cx.is_half && self.phase != Phase::Start => {}
            None => {
                cx.violation();
                weird(cx, "pop3_server_command_unknown", Some(word));
            }
            Some(b"OK") => self.fine(cx, line),
            Some(b"ERR") => self.error(cx),
            Some(_) => weird(cx, "pop3_server_sending_client_commands", None),
        }
    }

    fn mail_line(&mut self, cx: &mut Cx<'_>, line: &[u8]) {
        let whose = Whose { source: "POP3", is_orig: false, has_depth: false };
        let count = self.entities;
        let mail = self.mail.get_or_insert_with(|| Box::new(Mail::begin(whose, count)));
        mail.line(cx, line, true);
    }

    fn end_mail(&mut self, cx: &mut Cx<'_>) {
        if let Some(mut mail) = self.mail.take() {
            mail.end(cx);
            self.entities = mail.count();
        }
    }

    fn fine(&mut self, cx: &mut Cx<'_>, line: &[u8]) {
        if let Some(state) = self.guess.take() {
            self.phase = Phase::Transaction;
            self.state = state;
        }
        let mut goes_on = false;
        match self.state {
            State::Start => self.phase = Phase::Authorization,
            State::User => {
                self.phase = Phase::Authorization;
                cx.confirm();
            }
            State::Login | State::Simple => self.phase = Phase::Transaction,
            State::Auth => {
                goes_on = true;
                if std::mem::take(&mut self.authenticating) {
                    self.phase = Phase::Transaction;
                }
            }
            State::Capa => {
                cx.confirm();
                goes_on = true;
            }
            State::List => goes_on = true,
            State::Mail => {
                // Zeek takes the reply for the mail's first line.
                self.mail_line(cx, line);
                goes_on = true;
            }
            State::Stls => {
                cx.confirm();
                self.tls = true;
                return;
            }
            State::Quit => self.phase = Phase::Over,
        }
        self.in_lines |= goes_on && self.wants_more_lines;
        if !self.in_lines {
            self.answered(cx);
        }
    }

    fn error(&mut self, cx: &mut Cx<'_>) {
        self.wants_more_lines = false;
        self.guess = None;
        self.authenticating = false;
        match self.state {
            State::User | State::Login | State::Auth => {
                self.phase = Phase::Authorization;
                self.state = State::Start;
            }
            State::Simple | State::List | State::Mail => self.phase = Phase::Transaction,
            State::Quit => self.phase = Phase::Over,
            State::Start | State::Capa | State::Stls => {}
        }
        self.answered(cx);
    }
}

impl text::Talk for Talk {
    fn piece(&mut self, cx: &mut Cx<'_>, dir: Dir, cut: Cut<'_>) -> Then {
        let Cut::Line(line) = cut else { return Then::Lines };
        match dir {
            Dir::Orig => self.request(cx, line),
            Dir::Resp => self.reply(cx, line),
        }
        if self.tls { Then::Stop } else { Then::Lines }
    }

    fn is_tls(&self) -> bool {
        self.tls
    }

    fn finish(&mut self, cx: &mut Cx<'_>) {
        self.end_mail(cx);
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
    fn a_user_that_is_welcome() {
        let bench = talk(&[
            (Dir::Resp, "+OK ready\r\n"),
            (Dir::Orig, "USER me\r\n"),
            (Dir::Resp, "+OK\r\n"),
            (Dir::Orig, "PASS secret\r\nLIST\r\nRETR 1\r\nQUIT\r\n"),
            (
                Dir::Resp,
                "+OK in\r\n+OK\r\n1 20\r\nwhat\r\n.\r\n+OK\r\nSubject: x\r\n\r\n.\r\n+OK\r\n",
            ),
        ]);
        assert_eq!(bench.signals, [Signal::Confirmed]);
        assert!(bench.weirds.is_empty());
    }

    #[test]
    fn a_refused_user_is_not_enough() {
        let bench =
            talk(&[(Dir::Resp, "+OK\r\n"), (Dir::Orig, "USER me\r\n"), (Dir::Resp, "-ERR no\r\n")]);
        assert_eq!(bench.signals, []);
    }

    #[test]
    fn a_server_that_says_something_else() {
        let bench = talk(&[(Dir::Resp, "220 ftp\r\n")]);
        assert_eq!(bench.signals, [Signal::Violated]);
        assert_eq!(bench.weirds, ["pop3_server_command_unknown"]);
    }

    #[test]
    fn a_client_that_says_too_much_else() {
        let mut bench = talk(&[(Dir::Resp, "+OK\r\n")]);
        for _ in 0..11 {
            bench.feed(Dir::Orig, b"FOO\r\n");
            bench.feed(Dir::Resp, b"+OK\r\n");
        }
        assert_eq!(bench.signals, [Signal::Violated]);
        assert_eq!(bench.weirds, ["pop3_client_command_unknown"]);
    }

    #[test]
    fn credentials_are_in_base64() {
        let weirds = |mechanism: &str, line: &str| {
            let (auth, line) = (format!("AUTH {mechanism}\r\n"), format!("{line}\r\n"));
            talk(&[
                (Dir::Resp, "+OK\r\n"),
                (Dir::Orig, &auth),
                (Dir::Resp, "+ \r\n"),
                (Dir::Orig, &line),
            ])
            .weirds
        };
        // NUL, x, NUL, y; the same without y; x alone.
        assert!(weirds("PLAIN", "AHgAeQ==").is_empty());
        assert_eq!(weirds("PLAIN", "AHgA"), ["pop3_malformed_auth_plain"]);
        assert_eq!(weirds("PLAIN", "eA=="), ["pop3_malformed_auth_plain"]);
        assert!(weirds("LOGIN", "eA==").is_empty());
        assert_eq!(weirds("LOGIN", "eA"), ["base64_illegal_encoding"]);
        assert_eq!(weirds("XOAUTH2", "*"), ["base64_illegal_encoding", "pop3_bad_base64_encoding"]);
    }

    #[test]
    fn stls_hands_on() {
        let bench = talk(&[
            (Dir::Resp, "+OK\r\n"),
            (Dir::Orig, "STLS\r\n"),
            (Dir::Resp, "+OK go\r\n"),
            (Dir::Orig, "\x16\x03"),
        ]);
        assert_eq!(bench.signals, [Signal::Confirmed]);
        assert!(matches!(bench.inner.acts[0], Act::Attach(kind) if kind.name == "ssl"));
        assert_eq!(bench.inner.bytes, b"\x16\x03");
    }

    #[test]
    fn words() {
        assert_eq!(known(b"+ok"), Some(&b"OK"[..]));
        assert_eq!(known(b"-ERR"), Some(&b"ERR"[..]));
        assert_eq!(known(b"++OK"), None);
        assert_eq!(split(b"  USER   me  "), (&b"USER"[..], &b"me"[..]));
        assert_eq!(split(b"\0x"), (&b""[..], &b""[..]));
    }

    #[test]
    fn hostile() {
        testing::hostile(
            &KIND,
            Transport::Tcp,
            &[
                (Dir::Resp, b"+OK\r\n"),
                (Dir::Orig, b"AUTH\r\nAUTH PLAIN\r\nAHgAeQ==\r\nLIST\r\nTOP 1 2\r\nSTLS\r\n"),
                (Dir::Resp, b"+OK\r\nPLAIN\r\n.\r\n+OK\r\n-ERR\r\n+OK\r\n.\r\n+OK\r\n"),
            ],
        );
    }

    #[test]
    fn told_by_content() {
        let probe = |orig: &[u8], resp: &[u8]| {
            probe(&Start { transport: Transport::Tcp, bytes: [orig, resp], resp_p: 9 })
        };
        assert_eq!(probe(b"user me", b"+OK hello"), Verdict::Yes);
        assert_eq!(probe(b"CAPA", b"+OK"), Verdict::Yes);
        assert_eq!(probe(b"USERme", b"+OK"), Verdict::More);
        assert_eq!(probe(b"CAPA", b"+O"), Verdict::More);
        assert_eq!(probe(b"CAPA", b"-ERR"), Verdict::No);
    }
}
