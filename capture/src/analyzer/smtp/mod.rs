//! SMTP (RFC 5321): who talks, when mail is on its way, and when STARTTLS (RFC 3207) hands the flow to TLS,
//! with the rules of Zeek's `SMTP.cc` for what makes a flow SMTP.

use std::collections::VecDeque;

use super::mail::{Mail, Whose};
use super::text::{self, Conversation, Cut, Then};
use super::{Analyzer, Cx, Dir, Kind, Start, Transport, Verdict, ssl};
use bdat::Chunk;
use transaction::Transaction;

mod bdat;
#[cfg(test)]
mod tests;
mod transaction;

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
    transaction: Transaction,
    chunk: Option<Chunk>,
    chunk_lines: bdat::Lines,
    mail: Option<Box<Mail>>,
    /// Entities of all mails so far.
    entities: u64,
}

impl Default for Talk {
    fn default() -> Talk {
        Talk {
            state: State::Commands,
            turned: false,
            pending: VecDeque::from([Command::Greeting]),
            continued: None,
            transaction: Transaction::default(),
            chunk: None,
            chunk_lines: bdat::Lines::default(),
            mail: None,
            entities: 0,
        }
    }
}

impl Talk {
    fn piece(&mut self, cx: &mut Cx<'_>, dir: Dir, cut: Cut<'_>) -> Then {
        match cut {
            Cut::Plain(bytes) => {
                self.chunk_bytes(cx, bytes);
                return Then::Lines;
            }
            Cut::Line(line) if (dir == Dir::Orig) != self.turned => {
                if !line.is_empty() {
                    self.chunk_bytes(cx, b"");
                }
                if let Some(count) = self.sent(cx, line) {
                    return Then::Plain(count);
                }
            }
            Cut::Line(line) => self.replied(cx, line),
        }
        if self.state == State::Tls { Then::Stop } else { Then::Lines }
    }

    fn chunk_bytes(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) {
        let Some(chunk) = &mut self.chunk else { return };
        chunk.left = chunk.left.saturating_sub(bytes.len() as u64);
        let is_over = chunk.is_last && chunk.left == 0;
        if let Some(mail) = self.mail.as_mut().filter(|_| !bytes.is_empty()) {
            self.chunk_lines.feed(cx, mail, bytes);
            if is_over {
                self.chunk_lines.flush(cx, mail);
            }
        }
        if is_over {
            self.update(cx, Command::EndOfData, None);
        }
    }

    fn begin_mail(&mut self, cx: &mut Cx<'_>) {
        if self.mail.is_some() {
            cx.weird("smtp_nested_mail_transaction", None, Some("SMTP"));
            self.end_mail(cx);
        }
        let whose = Whose { source: "SMTP", is_orig: !self.turned, has_depth: true };
        self.mail = Some(Box::new(Mail::begin(whose, self.entities)));
    }

    fn end_mail(&mut self, cx: &mut Cx<'_>) {
        if self.chunk.take().is_some_and(|chunk| chunk.left > 0) {
            cx.weird("smtp_bdat_remaining_at_end_data", None, Some("SMTP"));
        }
        let Some(mut mail) = self.mail.take() else {
            return cx.weird("smtp_unmatched_end_of_data", None, Some("SMTP"));
        };
        self.chunk_lines.end(cx, &mut mail);
        mail.end(cx);
        self.entities = mail.count();
    }

    /// A line of a mail.
    fn mail_line(&mut self, cx: &mut Cx<'_>, line: &[u8]) {
        if self.mail.is_none() {
            self.begin_mail(cx);
        }
        if let Some(mail) = &mut self.mail {
            mail.line(cx, line.strip_prefix(b".").unwrap_or(line), true);
        }
    }

    /// A line of the end that sends mail; the length of a chunk that follows it.
    fn sent(&mut self, cx: &mut Cx<'_>, line: &[u8]) -> Option<u64> {
        let (command, name, argument) = match self.state {
            State::AfterGap => return None,
            State::Data if line == b"." => (Command::EndOfData, &b"."[..], &b""[..]),
            State::Data => {
                self.mail_line(cx, line);
                return None;
            }
            State::Auth => (Command::AuthAnswer, &b""[..], &b""[..]),
            _ => {
                let (word, rest) = text::word(line);
                (Command::of(word)?, word, text::skip_blanks(rest))
            }
        };
        self.push(cx, command);
        cx.confirm();
        self.transaction.command(cx, command, name, argument);
        if command != Command::Bdat {
            if command != Command::EndOfData && self.chunk.is_some() {
                cx.weird("smtp_missing_bdat_last_chunk", None, Some("SMTP"));
                self.end_mail(cx);
            }
            self.update(cx, command, None);
            return None;
        }
        match bdat::chunk(argument) {
            Ok(Chunk { left, .. }) if i64::try_from(left).is_err() => {
                cx.weird("smtp_huge_bdat_chunk", Some(&left.to_string()), Some("SMTP"));
                None
            }
            Ok(chunk) => {
                if self.chunk.is_none() {
                    self.begin_mail(cx);
                }
                self.chunk = Some(chunk);
                self.update(cx, command, None);
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
            self.update(cx, command.unwrap_or(Command::Other), Some(code));
        }
        self.continued = (line.get(3) == Some(&b'-')).then_some(code);
    }

    /// The state after a command, and again after its reply. Zeek takes a command for granted until then,
    /// as some clients do not wait.
    fn update(&mut self, cx: &mut Cx<'_>, command: Command, reply: Option<u16>) {
        match (command, reply) {
            (Command::Data, None) => {
                self.begin_mail(cx);
                self.state = State::Data;
            }
            (Command::Data, Some(354)) => {}
            (Command::Data, Some(_)) if self.state == State::Data => {
                self.end_mail(cx);
                self.state = State::Commands;
            }
            (Command::Bdat, None) => self.state = State::Bdat,
            (Command::EndOfData, None) => {
                self.end_mail(cx);
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
                self.begin_mail(cx);
                self.state = State::Data;
            }
            _ => {}
        }
    }
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

    fn gap(&mut self, cx: &mut Cx<'_>, _dir: Dir, len: u64) {
        match self.talk.state {
            State::Tls => cx.done(),
            State::Data | State::Bdat => {
                if let Some(mail) = &mut self.talk.mail {
                    mail.gap(cx, len);
                }
                self.talk.end_mail(cx);
                self.lines.stop_plain();
            }
            _ => {}
        }
        self.talk.pending.clear();
        self.talk.state = State::AfterGap;
    }

    fn end(&mut self, cx: &mut Cx<'_>, dir: Dir) {
        let Smtp { lines, talk } = self;
        if talk.state != State::Tls {
            lines.end(cx, dir, |cx, cut| talk.piece(cx, dir, cut));
        }
    }

    fn finish(&mut self, cx: &mut Cx<'_>) {
        if self.talk.mail.is_some() {
            self.talk.end_mail(cx);
        }
    }
}
