//! What ftp.log says of a control connection (Zeek `base/protocols/ftp/main.zeek`): a row for each command
//! that moves files or announces a data connection, once the next command comes or the flow is over.

use std::net::IpAddr;

use model::stream::{failed_auth, ftp};
use model::text;

use super::super::Cx;
use super::pending::{Command, PENDING_MAX, Pending};
use super::reply::{is_like_reply, last_number};
use super::{address, path};
use crate::expected::What;

/// Commands that make rows (`FTP::logged_commands`).
const LOGGED: [&[u8]; 10] =
    [b"APPE", b"DELE", b"RETR", b"STOR", b"STOU", b"ACCT", b"PORT", b"PASV", b"EPRT", b"EPSV"];

/// Commands whose argument names a file or directory (`FTP::file_cmds`).
const OF_FILES: [&[u8]; 13] = [
    b"APPE", b"CWD", b"DELE", b"MKD", b"RETR", b"RMD", b"RNFR", b"RNTO", b"STOR", b"STOU", b"REST",
    b"SIZE", b"MDTM",
];

/// Users whose passwords are no secret (`FTP::guest_ids`).
const GUESTS: [&[u8]; 4] = [b"anonymous", b"ftp", b"ftpuser", b"guest"];

/// Bytes logged of a name or password (`FTP::max_user_length`, `FTP::max_password_length`).
const NAME_MAX: usize = 128;

/// Bytes logged of an argument or reply (`FTP::max_arg_length`, `FTP::max_reply_msg_length`).
const TEXT_MAX: usize = 4096;

/// Bytes kept of the current directory, which a client can make longer with every command. It stands in every row
/// of a file, and nine bytes make one: a long one would make gigabytes of rows out of few packets.
const DIR_MAX: usize = 512;

/// Bytes of a URL before its path, at most: `ftp://[` and an address.
const HOST_MAX: usize = 64;

/// Bytes of text in the rows of a connection: so many, and [`ROWS_FOR_BYTE`] for each that was heard. Directory, user
/// and password stand in every row and nine bytes make one, so that rows beyond all proportion to what was said
/// fill a flush's columns (2 GiB). People's sessions stay far below: their directories are shorter than eight
/// times a command with its reply.
const ROWS_FREE: u64 = 16 * 1024;
const ROWS_FOR_BYTE: u64 = 8;

/// Rejected logins of one connection that detectors hear of: far more than any threshold, and servers hang up long
/// before.
const FAILED_MAX: u32 = 1000;

/// A data connection that was announced.
#[derive(Debug, Clone, Copy)]
struct Channel {
    passive: bool,
    orig: IpAddr,
    resp: IpAddr,
    port: u16,
}

/// A control connection.
#[derive(Debug, Default)]
pub struct Session {
    begun: bool,
    user: Option<Vec<u8>>,
    password: Option<Vec<u8>>,
    pending: Pending,
    /// The command that the last reply was for.
    current: Option<Command>,
    /// The last reply.
    reply: Option<(u16, Vec<u8>)>,
    file_size: Option<u64>,
    channel: Option<Channel>,
    dir: Option<Vec<u8>>,
    /// Logins that were rejected.
    failed: u32,
    /// Bytes of commands and replies, and of texts in rows.
    heard: u64,
    written: u64,
}

impl Session {
    /// A command with its argument.
    pub fn request(&mut self, cx: &mut Cx<'_>, word: &[u8], argument: &[u8]) {
        self.heard += (word.len() + argument.len()) as u64;
        // The one before it is complete.
        if self.reply.is_some()
            && let Some(command) = self.current.take()
            && self.pending.remove(&command)
        {
            self.message(cx, &command);
            self.current = Some(command);
        }
        self.begin(cx);
        if self.pending.len() < PENDING_MAX {
            self.pending.push(cx.now, word, argument);
        } else {
            self.pending.skip();
            let addl = self.pending.len().to_string();
            cx.weird("FTP_too_many_pending_commands", Some(&addl), Some("FTP"));
        }
        match word {
            b"USER" => self.user = Some(name(cx, argument, "FTP_user_too_long")),
            b"PASS" => self.password = Some(name(cx, argument, "FTP_password_too_long")),
            b"PORT" => self.announced_active(cx, address::list(argument)),
            b"EPRT" => {
                let unspecified = IpAddr::from([0; 16]);
                let found = address::extended(argument);
                let found = found.map(|(ip, port)| (ip.unwrap_or(unspecified), port));
                self.announced_active(cx, found);
            }
            _ => {}
        }
    }

    /// A line of a reply. `goes_on` says that more of it follows, and a code of 0 that it is in the middle.
    pub fn reply(&mut self, cx: &mut Cx<'_>, code: u16, message: &[u8], goes_on: bool) {
        self.heard += message.len() as u64;
        self.begin(cx);
        if goes_on && code == 0 && self.reply.is_some() && !is_like_reply(message) {
            return;
        }
        let found = self.pending.best(code, message).cloned();
        let command = found.unwrap_or_else(Command::unknown);
        self.reply = Some((code, message.to_vec()));
        if matches!(&command.word[..], b"USER" | b"PASS") && (500..600).contains(&code) {
            self.rejected(cx);
        }
        if goes_on {
            self.current = Some(command);
            return;
        }
        let is_passive = cx.is_half || matches!(&command.word[..], b"PASV" | b"EPSV");
        match (code, &command.word[..]) {
            (150, b"RETR") | (213, b"SIZE") => self.file_size = Some(last_number(message)),
            (227, _) if is_passive => self.announced_passive(cx, address::passive(message)),
            (229, _) if is_passive => {
                let server = cx.ids.tuple.resp_h;
                let found = address::extended_passive(message);
                let found = found.map(|(ip, port)| (ip.unwrap_or(server), port));
                self.announced_passive(cx, found);
            }
            _ => {}
        }
        self.change_dir(&command, code, message);
        if self.pending.len() > 1 {
            // Several wait: there may be no next command that tells that this one is complete.
            self.pending.remove(&command);
            self.message(cx, &command);
        }
        self.current = Some(command);
    }

    /// The flow is over: what waits is logged with the last reply that there was.
    pub fn finish(&mut self, cx: &mut Cx<'_>) {
        for command in self.pending.take() {
            self.message(cx, &command);
        }
        cx.expected.forget(cx.ids.order);
    }

    /// A login was rejected. As in Zeek's detector, a reply of several lines counts for its first and its last.
    fn rejected(&mut self, cx: &mut Cx<'_>) {
        if self.failed >= FAILED_MAX {
            return;
        }
        self.failed += 1;
        let (ids, mark) = (cx.ids.clone(), cx.mark());
        let row = failed_auth::Row {
            ts: cx.now,
            uid: &ids.uid,
            orig_h: ids.tuple.orig_h,
            orig_p: ids.tuple.orig_p,
            resp_h: ids.tuple.resp_h,
            resp_p: ids.tuple.resp_p,
            service: "ftp",
            community_id: &ids.community_id,
        };
        cx.out.failed_auth.push(mark, row);
    }

    fn begin(&mut self, cx: &Cx<'_>) {
        if !std::mem::replace(&mut self.begun, true) {
            // The server greets first, to no command.
            self.pending.push(cx.now, b"<init>", b"");
        }
    }

    fn announced_active(&mut self, cx: &mut Cx<'_>, to: Option<(IpAddr, u16)>) {
        let Some((resp, port)) = to else { return };
        let orig = cx.ids.tuple.resp_h;
        self.announced(cx, Channel { passive: false, orig, resp, port });
    }

    fn announced_passive(&mut self, cx: &mut Cx<'_>, to: Option<(IpAddr, u16)>) {
        let Some((resp, port)) = to else { return };
        let orig = cx.ids.tuple.orig_h;
        self.announced(cx, Channel { passive: true, orig, resp, port });
    }

    fn announced(&mut self, cx: &mut Cx<'_>, channel: Channel) {
        let ends = (channel.orig, channel.resp, channel.port);
        cx.expected.add(ends, What::FtpData, cx.now, cx.ids.order);
        self.channel = Some(channel);
    }

    /// The directory after a command that was answered (`FTP::directory_cmds`).
    fn change_dir(&mut self, command: &Command, code: u16, message: &[u8]) {
        if command.moved {
            return;
        }
        let dir = self.dir.as_deref().unwrap_or(b".");
        let mut dir = match (&command.word[..], code) {
            (b"CWD", 250) => path::join(dir, &command.argument),
            (b"CDUP", 200 | 250) => path::join(dir, b"/.."),
            (b"PWD" | b"XPWD", 257) => path::compress(path::find(message)),
            _ => return,
        };
        if dir.len() > DIR_MAX {
            // A cut may leave the start of a name that means something by itself.
            dir.truncate(DIR_MAX);
            dir = path::compress(&dir);
        }
        self.dir = Some(dir);
        self.pending.moved(command);
    }

    fn is_guest(&self) -> bool {
        let user = self.user.as_deref().unwrap_or_default();
        GUESTS.iter().any(|guest| guest.eq_ignore_ascii_case(user))
    }

    /// A command is complete (`FTP::ftp_message`).
    fn message(&mut self, cx: &mut Cx<'_>, command: &Command) {
        let logged = LOGGED.contains(&&command.word[..]);
        let may_be_long = command.argument_len.saturating_add(DIR_MAX + HOST_MAX) > TEXT_MAX;
        let (mut arg, mut len) = (Vec::new(), 0);
        if logged || may_be_long {
            (arg, len) = (command.argument.clone(), command.argument_len);
        }
        // What makes no row needs its URL only where that is too long.
        if (logged || may_be_long) && OF_FILES.contains(&&command.word[..]) {
            let dir = self.dir.as_deref().unwrap_or(b".");
            arg = path::url(cx.ids.tuple.resp_h, dir, &arg);
            len = arg.len() + command.argument_len.saturating_sub(command.argument.len());
        }
        if len > TEXT_MAX {
            cx.weird("FTP_arg_too_long", Some(&len.to_string()), Some("FTP"));
            arg.truncate(TEXT_MAX);
        }
        if let Some((_, message)) = &mut self.reply
            && message.len() > TEXT_MAX
        {
            cx.weird("FTP_reply_msg_too_long", Some(&message.len().to_string()), Some("FTP"));
            message.truncate(TEXT_MAX);
        }
        if self.password.is_some() && !self.is_guest() {
            self.password = Some(b"<hidden>".to_vec());
        }
        let (fuid, mime) = cx.expected.take_file(cx.ids.order);
        let (file_size, channel) = (self.file_size.take(), self.channel.take());
        if !logged {
            return;
        }
        let ids = cx.ids.clone();
        let user = self.user.as_deref().map(text::from_wire);
        let password = self.password.as_deref().map(text::from_wire);
        let (command_text, arg) = (text::from_wire(&command.word), text::from_wire(&arg));
        let reply = self.reply.as_ref();
        let message = reply.map(|(_, message)| text::from_wire(message));
        let texts = [user.as_deref(), password.as_deref(), Some(&*arg), message.as_deref()];
        let bytes: u64 = texts.into_iter().flatten().map(|text| text.len() as u64).sum();
        if self.written + bytes > ROWS_FREE + ROWS_FOR_BYTE * self.heard {
            cx.weird("FTP_too_many_rows", None, Some("FTP"));
            return;
        }
        self.written += bytes;
        let row = ftp::Row {
            ts: command.ts,
            uid: &ids.uid,
            orig_h: ids.tuple.orig_h,
            orig_p: ids.tuple.orig_p,
            resp_h: ids.tuple.resp_h,
            resp_p: ids.tuple.resp_p,
            user: user.as_deref().unwrap_or("<unknown>"),
            password: password.as_deref(),
            command: Some(&command_text),
            arg: Some(&*arg).filter(|arg| !arg.is_empty()),
            mime_type: mime,
            file_size,
            reply_code: reply.map(|(code, _)| u64::from(*code)),
            reply_msg: message.as_deref(),
            data_channel_passive: channel.map(|channel| channel.passive),
            data_channel_orig_h: channel.map(|channel| channel.orig),
            data_channel_resp_h: channel.map(|channel| channel.resp),
            data_channel_resp_p: channel.map(|channel| channel.port),
            fuid: fuid.as_deref(),
            community_id: &ids.community_id,
        };
        let mark = cx.mark();
        cx.out.ftp.push(mark, row);
    }
}

/// A user's name or password.
fn name(cx: &mut Cx<'_>, argument: &[u8], too_long: &'static str) -> Vec<u8> {
    if argument.len() > NAME_MAX {
        cx.weird(too_long, Some(&argument.len().to_string()), Some("FTP"));
    }
    argument.get(..NAME_MAX).unwrap_or(argument).to_vec()
}
