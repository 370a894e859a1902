//! SMTP (RFC 5321): who talks, when mail is on its way, and when STARTTLS (RFC 3207) hands the flow to TLS,
//! with the rules of Zeek's `SMTP.cc` for what makes a flow SMTP.

use std::collections::VecDeque;

use super::text::{self, Conversation, Cut, Then};
use super::{Analyzer, Cx, Dir, Kind, Start, Transport, Verdict, ssl};

/// SMTP, on Zeek's `SMTP::ports`.
pub static KIND: Kind = Kind {
    name: "smtp",
    tcp_ports: &[25, 587],
    udp_ports: &[],
    probe: Some(probe),
    skips_partial: true,
    new: |_| Box::<Smtp>::default(),
};

/// Commands without an answer after which all of them are forgotten (`max_pending_cmd_q_size`).
const PENDING_MAX: usize = 1000;

/// The longest argument of BDAT: the greatest number and ` LAST`.
const BDAT_ARGUMENT_MAX: usize = 25;

/// `dpd.sig`: a greeting of the server and a HELO of the client.
fn probe(start: &Start<'_>) -> Verdict {
    if start.transport != Transport::Tcp {
        return Verdict::No;
    }
    let [orig, resp] = start.bytes;
    match text::skip_space(resp) {
        [b'2', b'2', b'0', after, ..] if *after == b'-' || text::is_space(*after) => {}
        short if b"220".starts_with(short) => return Verdict::More,
        _ => return Verdict::No,
    }
    let hello = |text: &[u8]| {
        let text = text::skip_space(text);
        text::begins_with(text, b"HELO") || text::begins_with(text, b"EHLO")
    };
    if text::any_line(orig, hello) { Verdict::Yes } else { Verdict::More }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    /// No command: the server greets first.
    Greeting,
    Mail,
    Rcpt,
    Data,
    Bdat,
    EndOfData,
    Auth,
    /// A line of an exchange that AUTH began.
    AuthAnswer,
    Turn,
    StartTls,
    /// Those that end any other state: HELO, RSET, QUIT.
    Simple,
    /// Those that change nothing.
    Other,
}

impl Command {
    fn of(word: &[u8]) -> Option<Command> {
        const WORDS: &[(&[u8], Command)] = &[
            (b"EHLO", Command::Simple),
            (b"HELO", Command::Simple),
            (b"MAIL", Command::Mail),
            (b"RCPT", Command::Rcpt),
            (b"DATA", Command::Data),
            (b"QUIT", Command::Simple),
            (b"RSET", Command::Simple),
            (b"VRFY", Command::Other),
            (b"EXPN", Command::Other),
            (b"HELP", Command::Other),
            (b"NOOP", Command::Other),
            (b"STARTTLS", Command::StartTls),
            (b"X-ANONYMOUSTLS", Command::StartTls),
            (b"SEND", Command::Mail),
            (b"SOML", Command::Mail),
            (b"SAML", Command::Mail),
            (b"TURN", Command::Turn),
            (b"BDAT", Command::Bdat),
            (b"ETRN", Command::Other),
            (b"AUTH", Command::Auth),
        ];
        let found = WORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
        found.map(|(_, command)| *command)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Commands and replies.
    #[default]
    Commands,
    /// Lines of a mail, up to a dot.
    Data,
    /// A mail in chunks.
    Bdat,
    /// Lines that only AUTH's mechanism understands.
    Auth,
    /// STARTTLS was granted.
    Tls,
    /// Bytes were missed: nobody knows what the sender's lines are.
    AfterGap,
    /// The server has replied since.
    Recovery,
}

/// A chunk that BDAT announced.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    left: u64,
    is_last: bool,
}

#[derive(Debug, Default)]
struct Smtp {
    lines: Conversation,
    talk: Talk,
}

/// What was said so far.
#[derive(Debug)]
struct Talk {
    state: State,
    /// TURN was granted: the responder is the one that sends mail.
    turned: bool,
    /// Commands without an answer.
    pending: VecDeque<Command>,
    /// The code of a reply that goes on in the next line.
    continued: Option<u16>,
    chunk: Option<Chunk>,
}

impl Default for Talk {
    fn default() -> Talk {
        Talk {
            state: State::Commands,
            turned: false,
            pending: VecDeque::from([Command::Greeting]),
            continued: None,
            chunk: None,
        }
    }
}

impl Talk {
    fn piece(&mut self, cx: &mut Cx<'_>, dir: Dir, cut: Cut<'_>) -> Then {
        match cut {
            Cut::Plain(bytes) => {
                self.chunk_bytes(bytes.len() as u64);
                return Then::Lines;
            }
            Cut::Line(line) if (dir == Dir::Orig) != self.turned => {
                if !line.is_empty() {
                    self.chunk_bytes(0);
                }
                if let Some(count) = self.sent(cx, line) {
                    return Then::Plain(count);
                }
            }
            Cut::Line(line) => self.replied(cx, line),
        }
        if self.state == State::Tls { Then::Stop } else { Then::Lines }
    }

    fn chunk_bytes(&mut self, count: u64) {
        let Some(chunk) = &mut self.chunk else { return };
        chunk.left = chunk.left.saturating_sub(count);
        if chunk.is_last && chunk.left == 0 {
            self.update(Command::EndOfData, None);
        }
    }

    /// A line of the end that sends mail; the length of a chunk that follows it.
    fn sent(&mut self, cx: &mut Cx<'_>, line: &[u8]) -> Option<u64> {
        let (command, argument) = match self.state {
            State::AfterGap => return None,
            State::Data if line == b"." => (Command::EndOfData, &b""[..]),
            State::Data => return None,
            State::Auth => (Command::AuthAnswer, &b""[..]),
            _ => {
                let (word, rest) = text::word(line);
                (Command::of(word)?, text::skip_blanks(rest))
            }
        };
        self.push(cx, command);
        cx.confirm();
        if command != Command::Bdat {
            if command != Command::EndOfData && self.chunk.take().is_some() {
                cx.weird("smtp_missing_bdat_last_chunk", None, Some("SMTP"));
            }
            self.update(command, None);
            return None;
        }
        match chunk(argument) {
            Ok(chunk) => {
                self.chunk = Some(chunk);
                self.update(command, None);
                Some(chunk.left)
            }
            Err(why) => {
                cx.weird("smtp_invalid_bdat_command", Some(why), Some("SMTP"));
                None
            }
        }
    }

    fn push(&mut self, cx: &mut Cx<'_>, command: Command) {
        // The first of them is apart from Zeek's queue.
        if self.pending.len() > PENDING_MAX {
            cx.weird("smtp_excessive_pending_cmds", None, Some("SMTP"));
            self.pending.truncate(1);
        }
        self.pending.push_back(command);
    }

    /// A line of the end that takes mail.
    fn replied(&mut self, cx: &mut Cx<'_>, line: &[u8]) {
        let Some(code) = text::reply_code(line).filter(|code| (100..600).contains(code)) else {
            cx.violation();
            return;
        };
        if self.continued.is_none_or(|before| before != code) {
            if self.state == State::AfterGap {
                self.state = State::Recovery;
                cx.confirm();
            }
            let command = self.pending.pop_front();
            self.update(command.unwrap_or(Command::Other), Some(code));
        }
        self.continued = (line.get(3) == Some(&b'-')).then_some(code);
    }

    /// The state after a command, and again after its reply. Zeek takes a command for granted until then,
    /// as some clients do not wait.
    fn update(&mut self, command: Command, reply: Option<u16>) {
        match (command, reply) {
            (Command::Data, None) => self.state = State::Data,
            (Command::Data, Some(354)) => {}
            (Command::Bdat, None) => self.state = State::Bdat,
            (Command::EndOfData, None) => {
                self.chunk = None;
                self.state = State::Commands;
            }
            (Command::Auth | Command::AuthAnswer, Some(334)) => self.state = State::Auth,
            (Command::Turn, Some(250)) => {
                self.turned = !self.turned;
                self.state = State::Commands;
            }
            (Command::StartTls, Some(220)) => self.state = State::Tls,
            (Command::Mail, Some(421 | 451 | 452 | 500 | 501 | 503 | 550 | 552 | 553))
                if self.state != State::Data =>
            {
                self.state = State::Commands;
            }
            (Command::Simple | Command::Mail | Command::Rcpt, None)
            | (Command::Greeting, Some(421 | 554))
            | (Command::Data | Command::EndOfData | Command::Auth | Command::AuthAnswer, Some(_)) =>
            {
                self.state = State::Commands;
            }
            (Command::Simple, Some(421 | 500 | 501 | 504 | 550)) => self.state = State::Commands,
            (Command::Other, Some(354)) if self.state == State::Recovery => {
                self.state = State::Data;
            }
            _ => {}
        }
    }
}

/// The argument of BDAT, RFC 3030 section 2.
fn chunk(argument: &[u8]) -> Result<Chunk, &'static str> {
    if argument.is_empty() || argument.len() > BDAT_ARGUMENT_MAX {
        return Err("BDAT argument bad length");
    }
    let digits = argument.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = argument.split_at(digits);
    if number.is_empty() {
        return Err("BDAT not followed by a valid chunk-size");
    }
    if !matches!(rest, [] | [b' ', ..]) {
        return Err("BDAT chunk-size not valid");
    }
    let left = std::str::from_utf8(number).ok().and_then(|number| number.parse::<u64>().ok());
    let left = left.ok_or("BDAT chunk-size too large")?;
    let is_last = rest.eq_ignore_ascii_case(b" LAST");
    if !rest.is_empty() && !is_last {
        return Err("BDAT chunk-size followed by junk");
    }
    Ok(Chunk { left, is_last })
}

impl Analyzer for Smtp {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        let Smtp { lines, talk } = self;
        if talk.state == State::Tls {
            cx.hand_on(dir, data);
            return;
        }
        let rest = lines.cut(cx, dir, data, |cx, cut| talk.piece(cx, dir, cut));
        if talk.state == State::Tls {
            cx.carry(&ssl::KIND);
            cx.hand_on(dir, rest);
        }
    }

    fn gap(&mut self, cx: &mut Cx<'_>, _dir: Dir, _len: u64) {
        if self.talk.state == State::Tls {
            cx.done();
        }
        self.talk.chunk = None;
        self.talk.pending.clear();
        self.talk.state = State::AfterGap;
    }

    fn end(&mut self, cx: &mut Cx<'_>, dir: Dir) {
        let Smtp { lines, talk } = self;
        if talk.state != State::Tls {
            lines.end(cx, dir, |cx, cut| talk.piece(cx, dir, cut));
        }
    }

    fn finish(&mut self, _cx: &mut Cx<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Bench};
    use super::super::{Act, Signal};
    use super::*;

    fn talk(lines: &[(Dir, &str)]) -> Bench {
        let mut bench = Bench::new(&KIND, Transport::Tcp);
        for (dir, line) in lines {
            bench.feed(*dir, line.as_bytes());
        }
        bench
    }

    #[test]
    fn a_command_makes_it_smtp() {
        let bench = talk(&[
            (Dir::Resp, "220-mx\r\n220 ready\r\n"),
            (Dir::Orig, "EHLO me\r\n"),
            (Dir::Resp, "250-mx\r\n250 PIPELINING\r\n"),
            (Dir::Orig, "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"),
            (Dir::Resp, "250 ok\r\n250 ok\r\n354 go\r\n"),
            (Dir::Orig, "Subject: x\r\n\r\nSTARTTLS\r\n.\r\nQUIT\r\n"),
            (Dir::Resp, "250 taken\r\n221 bye\r\n"),
        ]);
        assert_eq!(bench.signals, [Signal::Confirmed]);
        assert!(bench.inner.acts.is_empty());
    }

    #[test]
    fn a_greeting_alone_does_not() {
        assert_eq!(talk(&[(Dir::Resp, "220 ready\r\n"), (Dir::Orig, "FOO\r\n")]).signals, []);
    }

    #[test]
    fn a_reply_without_a_code_is_not_smtp() {
        let bench = talk(&[(Dir::Orig, "EHLO a\r\n"), (Dir::Resp, "what?\r\n")]);
        assert_eq!(bench.signals, [Signal::Confirmed, Signal::Violated]);
        let bench = talk(&[(Dir::Resp, "600 no\r\n")]);
        assert_eq!(bench.signals, [Signal::Violated]);
    }

    #[test]
    fn starttls_hands_on() {
        let bench = talk(&[
            (Dir::Resp, "220 ready\r\n"),
            (Dir::Orig, "EHLO a\r\nSTARTTLS\r\n"),
            (Dir::Resp, "250 ok\r\n220 go ahead\r\n\x16"),
            (Dir::Orig, "\x16\x03"),
        ]);
        let [Act::Attach(kind), Act::Data(Dir::Resp, a), Act::Data(Dir::Orig, b)] =
            &bench.inner.acts[..]
        else {
            panic!("TLS and its bytes");
        };
        assert_eq!((kind.name, a.clone(), b.clone()), ("ssl", 0..1, 1..3));
    }

    #[test]
    fn chunks_are_no_commands() {
        let bench = talk(&[
            (Dir::Orig, "EHLO a\r\nBDAT 10\r\nSTARTTLS\r\nBDAT 4 LAST\r\nQUITSTARTTLS\r\n"),
            (Dir::Resp, "220 a\r\n250 b\r\n250 c\r\n250 d\r\n"),
        ]);
        assert!(bench.inner.acts.is_empty());
        let bench =
            talk(&[(Dir::Orig, "BDAT x\r\nSTARTTLS\r\n"), (Dir::Resp, "220 a\r\n220 b\r\n")]);
        assert_eq!(bench.weirds, ["smtp_invalid_bdat_command"]);
    }

    #[test]
    fn arguments_of_bdat() {
        let parts = |argument: &[u8]| chunk(argument).map(|chunk| (chunk.left, chunk.is_last));
        assert_eq!(parts(b"12"), Ok((12, false)));
        assert_eq!(parts(b"0 last"), Ok((0, true)));
        assert_eq!(parts(b"1 LASTx"), Err("BDAT chunk-size followed by junk"));
        assert_eq!(parts(b"1x"), Err("BDAT chunk-size not valid"));
        assert_eq!(parts(b"99999999999999999999"), Err("BDAT chunk-size too large"));
        assert_eq!(parts(b""), Err("BDAT argument bad length"));
    }

    #[test]
    fn after_a_gap_a_reply_is_enough() {
        let mut bench = Bench::new(&KIND, Transport::Tcp);
        bench.feed(Dir::Orig, b"EHLO a\r\n");
        bench.call(|analyzer, cx| analyzer.gap(cx, Dir::Orig, 100));
        bench.incomplete = true;
        bench.feed(Dir::Orig, b"anything\r\n");
        bench.feed(Dir::Resp, b"354 go\r\nno code\r\n");
        assert_eq!(bench.signals, [Signal::Confirmed]);
    }

    #[test]
    fn hostile() {
        testing::hostile(
            &KIND,
            Transport::Tcp,
            &[
                (Dir::Resp, b"220 x\r\n"),
                (Dir::Orig, b"EHLO y\r\nBDAT 3 LAST\r\nabc\r\nAUTH x\r\nTURN\r\nSTARTTLS\r\n"),
                (Dir::Resp, b"250-a\r\n250 b\r\n250 c\r\n334 d\r\n250 e\r\n220 f\r\n"),
            ],
        );
    }

    #[test]
    fn told_by_content() {
        let probe = |orig: &[u8], resp: &[u8]| {
            probe(&Start { transport: Transport::Tcp, bytes: [orig, resp], resp_p: 9 })
        };
        assert_eq!(probe(b"EHLO me", b"220 mx"), Verdict::Yes);
        assert_eq!(probe(b"x\r\n helo", b" 220-"), Verdict::Yes);
        assert_eq!(probe(b"", b"220 mx"), Verdict::More);
        assert_eq!(probe(b"EHLO me", b"22"), Verdict::More);
        assert_eq!(probe(b"EHLO me", b"2200"), Verdict::No);
        assert_eq!(probe(b"EHLO me", b"221 x"), Verdict::No);
    }
}
