//! Commands that the server has not answered, and which of them a reply answers (Zeek
//! `base/protocols/ftp/utils-commands.zeek`).

use memchr::memmem;

/// Commands that wait (`FTP::max_pending_commands`).
pub const PENDING_MAX: usize = 20;

/// Bytes of an argument that are kept: logged are half as many.
const ARGUMENT_MAX: usize = 8192;

/// A command.
#[derive(Debug, Clone, Default)]
pub struct Command {
    /// When it was sent.
    pub ts: i64,
    /// The word, upper case.
    pub word: Vec<u8>,
    /// What follows it, and how long that was.
    pub argument: Vec<u8>,
    pub argument_len: usize,
    /// The directory changed by it already.
    pub moved: bool,
    number: u64,
}

impl Command {
    /// What a reply answers where no command waits.
    pub fn unknown() -> Command {
        Command { word: b"<unknown>".to_vec(), ..Command::default() }
    }

    /// Whether a reply of this code is one to it.
    fn takes(&self, code: u16) -> bool {
        let of = |(word, codes): &&(&[u8], &[u16])| *word == self.word && codes.contains(&code);
        code == 500 || CODES.iter().any(|entry| of(&entry))
    }
}

/// Commands that wait for their replies, in order.
#[derive(Debug, Default)]
pub struct Pending {
    commands: Vec<Command>,
    number: u64,
}

impl Pending {
    /// A command was sent.
    pub fn push(&mut self, ts: i64, word: &[u8], argument: &[u8]) {
        self.number += 1;
        self.commands.push(Command {
            ts,
            word: word.to_vec(),
            argument: argument.get(..ARGUMENT_MAX).unwrap_or(argument).to_vec(),
            argument_len: argument.len(),
            moved: false,
            number: self.number,
        });
    }

    /// A command was sent that does not fit, and is passed over.
    pub fn skip(&mut self) {
        self.number += 1;
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// The command that a reply is most likely for: one that takes its code, and is named in it.
    pub fn best(&self, code: u16, message: &[u8]) -> Option<&Command> {
        // Looking for a text takes time by its length too, and many short replies may follow a long command.
        let says =
            |what: &[u8]| what.len() <= message.len() && memmem::find(message, what).is_some();
        let score = |command: &Command| {
            let mut score = 0;
            if command.takes(code) {
                score += 100;
            }
            if says(&command.word) {
                score += 20;
            }
            if says(&command.argument) {
                score += 10;
            }
            score
        };
        let scored = self.commands.iter().map(|command| (score(command), command));
        // The first of the best.
        scored.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, it)| it)
    }

    /// A command waits no more; whether it did.
    pub fn remove(&mut self, command: &Command) -> bool {
        let before = self.commands.len();
        self.commands.retain(|other| other.number != command.number);
        self.commands.len() < before
    }

    /// A command has changed the directory.
    pub fn moved(&mut self, command: &Command) {
        let same = |other: &&mut Command| other.number == command.number;
        if let Some(command) = self.commands.iter_mut().find(same) {
            command.moved = true;
        }
    }

    /// All that still wait; none does after.
    pub fn take(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.commands)
    }
}

/// Commands with the codes that answer them (`FTP::cmd_reply_code`).
#[rustfmt::skip]
const CODES: &[(&[u8], &[u16])] = &[
    (b"<init>", &[120, 220, 421, 0]),
    (b"<missing>", &[0]),
    // RFC 959
    (b"USER", &[230, 331, 332, 421, 530, 500, 501]),
    (b"PASS", &[230, 202, 332, 421, 530, 500, 501, 503]),
    (b"ACCT", &[230, 202, 421, 530, 500, 501, 503]),
    (b"CWD", &[250, 421, 500, 501, 502, 530, 550]),
    (b"CDUP", &[200, 250, 421, 500, 501, 502, 530, 550]),
    (b"SMNT", &[202, 250, 421, 500, 501, 502, 530, 550]),
    (b"REIN", &[120, 220, 421, 500, 502]),
    (b"QUIT", &[221, 500, 0]),
    (b"PORT", &[200, 421, 500, 501, 530]),
    (b"PASV", &[227, 421, 500, 501, 502, 530]),
    (b"MODE", &[200, 421, 500, 501, 502, 504, 530]),
    (b"TYPE", &[200, 421, 500, 501, 504, 530]),
    (b"STRU", &[200, 421, 500, 501, 504, 530]),
    (b"ALLO", &[200, 202, 421, 500, 501, 504, 530]),
    (b"REST", &[200, 350, 421, 500, 501, 502, 530]),
    (b"STOR", &[110, 125, 150, 226, 250, 421, 425, 426, 450, 451, 452, 500, 501, 530, 532, 550, 551, 552, 553]),
    (b"STOU", &[110, 125, 150, 226, 250, 421, 425, 426, 450, 451, 452, 500, 501, 530, 532, 550, 551, 552, 553]),
    (b"RETR", &[110, 125, 150, 226, 250, 421, 425, 426, 450, 451, 500, 501, 530, 550]),
    (b"LIST", &[125, 150, 226, 250, 421, 425, 426, 450, 451, 500, 501, 502, 530, 550]),
    (b"NLST", &[125, 150, 226, 250, 421, 425, 426, 450, 451, 500, 501, 502, 530, 550]),
    (b"APPE", &[125, 150, 226, 250, 421, 425, 426, 450, 451, 452, 500, 501, 502, 530, 532, 550, 551, 552, 553]),
    (b"RNFR", &[350, 421, 450, 550, 500, 501, 502, 530]),
    (b"RNTO", &[250, 421, 532, 553, 500, 501, 502, 503, 530]),
    (b"DELE", &[250, 421, 450, 550, 500, 501, 502, 530]),
    (b"RMD", &[250, 421, 500, 501, 502, 530, 550]),
    (b"MKD", &[257, 421, 500, 501, 502, 530, 550]),
    (b"PWD", &[257, 421, 500, 501, 502, 550]),
    (b"ABOR", &[225, 226, 421, 500, 501, 502]),
    (b"SYST", &[215, 421, 500, 501, 502, 530]),
    (b"STAT", &[211, 212, 213, 421, 450, 500, 501, 502, 530]),
    (b"HELP", &[200, 211, 214, 421, 500, 501, 502]),
    (b"SITE", &[200, 202, 214, 500, 501, 502, 530]),
    (b"NOOP", &[200, 421, 500]),
    // RFC 1639, 2389, 2428, 3659, and two without one
    (b"LPRT", &[500, 501, 521]),
    (b"FEAT", &[211, 500, 502]),
    (b"OPTS", &[200, 451, 501]),
    (b"EPSV", &[229, 500, 501]),
    (b"EPRT", &[200, 500, 501, 522]),
    (b"SIZE", &[213, 500, 501, 550]),
    (b"MDTM", &[213, 500, 501, 550]),
    (b"MLST", &[150, 226, 250, 500, 501, 550]),
    (b"MLSD", &[150, 226, 250, 500, 501, 550]),
    (b"CLNT", &[200, 500]),
    (b"MACB", &[200, 500, 550]),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn best(commands: &[(&[u8], &[u8])], code: u16, message: &[u8]) -> Vec<u8> {
        let mut pending = Pending::default();
        for (word, argument) in commands {
            pending.push(0, word, argument);
        }
        pending.best(code, message).unwrap().word.clone()
    }

    #[test]
    fn what_a_reply_answers() {
        let both: &[(&[u8], &[u8])] = &[(b"SIZE", b"a.txt"), (b"RETR", b"b.txt")];
        assert_eq!(best(both, 150, b"Opening"), b"RETR");
        assert_eq!(best(both, 213, b"7"), b"SIZE");
        assert_eq!(best(both, 550, b"b.txt: no such file"), b"RETR");
        // The first of two that are as likely; 500 may answer any.
        assert_eq!(best(both, 550, b"no"), b"SIZE");
        assert_eq!(best(&[(b"XYZ", b"x"), (b"NOOP", b"x")], 500, b"what"), b"XYZ");
        // An argument that is not there is in every text.
        assert_eq!(best(&[(b"XYZ", b"x"), (b"ZYX", b"")], 999, b"a"), b"ZYX");
        assert!(Pending::default().best(200, b"").is_none());
    }

    #[test]
    fn a_command_is_removed_once() {
        let mut pending = Pending::default();
        pending.push(0, b"NOOP", b"");
        let command = pending.best(200, b"").unwrap().clone();
        assert!(pending.remove(&command));
        assert!(!pending.remove(&command));
        assert_eq!(pending.len(), 0);
    }
}
