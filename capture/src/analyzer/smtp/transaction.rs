//! The order of commands in which a mail is handed over, and how many it may be for
//! (`base/protocols/smtp/main.zeek`).

use std::collections::HashSet;
use std::hash::BuildHasher as _;

use super::Command;
use crate::analyzer::{Cx, text};

/// Commands out of order after which nothing is looked at any more (`max_invalid_mail_transactions`).
const INVALID_MAX: u32 = 25;
/// Recipients of one mail (`max_rcptto_addresses`).
const RECIPIENTS_MAX: usize = 1000;

/// What was said of the mail at hand.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    has_sender: bool,
    has_recipient: bool,
    invalid: u32,
    /// Hashes of them.
    recipients: HashSet<u64>,
}

impl Transaction {
    /// A command with its argument; `word` is how it was written.
    pub fn command(&mut self, cx: &mut Cx<'_>, command: Command, word: &[u8], argument: &[u8]) {
        match command {
            Command::Rcpt if text::begins_with(argument, b"TO:") => {
                self.recipient(cx, argument);
                self.has_recipient = true;
                if !self.has_sender {
                    self.invalid(cx, "rcpt to missing mail from");
                }
            }
            Command::Mail
                if word.eq_ignore_ascii_case(b"MAIL") && text::begins_with(argument, b"FROM:") =>
            {
                self.recipients.clear();
                (self.has_sender, self.has_recipient) = (true, false);
            }
            Command::Data | Command::Bdat => {
                if !self.has_recipient {
                    self.invalid(cx, "data missing rcpt to");
                }
                if command == Command::Bdat && argument.ends_with(b" LAST") {
                    (self.has_sender, self.has_recipient) = (false, false);
                }
            }
            Command::EndOfData => {
                self.recipients.clear();
                (self.has_sender, self.has_recipient) = (false, false);
            }
            _ => {}
        }
    }

    fn recipient(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        if !argument.contains(&b'@') {
            return;
        }
        if self.recipients.len() >= RECIPIENTS_MAX {
            return cx.weird("smtp_too_many_rcptto_addresses", None, None);
        }
        let hash = self.recipients.hasher().hash_one(argument);
        self.recipients.insert(hash);
    }

    fn invalid(&mut self, cx: &mut Cx<'_>, why: &str) {
        cx.weird("smtp_mail_transaction_invalid", Some(why), Some("SMTP"));
        self.invalid += 1;
        if self.invalid > INVALID_MAX {
            cx.weird("smtp_excessive_invalid_mail_transactions", None, Some("SMTP"));
            cx.done();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::KIND;
    use crate::analyzer::Dir::{Orig, Resp};
    use crate::analyzer::testing::talk;

    #[test]
    fn a_mail_needs_a_sender_and_then_a_recipient() {
        let hello = [(Resp, "220 here\r\n"), (Orig, "HELO you\r\n"), (Resp, "250 hi\r\n")];
        let after = |said: &[&str]| {
            let said = said.iter().flat_map(|line| [(Orig, *line), (Resp, "250 ok\r\n")]);
            let bench = talk(&KIND, &hello.into_iter().chain(said).collect::<Vec<_>>());
            (bench.weirds, bench.gone)
        };
        let (sender, recipient) = ("MAIL FROM:<a@b>\r\n", "rcpt to:<c@d>\r\n");
        let odd = vec!["smtp_mail_transaction_invalid"];
        assert_eq!(after(&[sender, recipient, "DATA\r\n"]), (vec![], false));
        assert_eq!(after(&[recipient]), (odd.clone(), false));
        assert_eq!(after(&[sender, "DATA\r\n"]), (odd.clone(), false));
        let many = vec![recipient; 26];
        let gone = vec![odd[0], "smtp_excessive_invalid_mail_transactions"];
        assert_eq!(after(&many[..25]), (odd, false));
        assert_eq!(after(&many), (gone, true));
    }

    #[test]
    fn recipients_are_bounded() {
        let mut lines =
            vec![(Resp, "220 here\r\n".to_owned()), (Orig, "MAIL FROM:<a@b>\r\n".to_owned())];
        lines.extend((0..1000).map(|n| (Orig, format!("RCPT TO:<a{n}@b>\r\n"))));
        let said = |lines: &[(super::super::Dir, String)]| {
            let lines: Vec<_> = lines.iter().map(|(dir, line)| (*dir, line.as_str())).collect();
            talk(&KIND, &lines).weirds
        };
        assert!(!said(&lines).contains(&"smtp_too_many_rcptto_addresses"));
        lines.push((Orig, "RCPT TO:<c@d>\r\n".to_owned()));
        assert!(said(&lines).contains(&"smtp_too_many_rcptto_addresses"));
    }
}
