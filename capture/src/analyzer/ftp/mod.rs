//! FTP (RFC 959): commands and replies, the data connections that they announce, and TLS that AUTH begins
//! (RFC 4217; RFC 2228 for GSSAPI), with the rules of Zeek's `FTP.cc` for what makes a flow FTP and what is said in
//! it. [`session`] makes rows of that.

use super::text;
use super::{Analyzer, Cx, Dir, Kind, Start, Transport, Verdict, ssl};
use adat::Adat;
use data::Data;
use nvt::Nvt;
use session::Session;

mod adat;
mod address;
mod data;
mod nvt;
mod path;
mod pending;
mod reply;
mod session;
#[cfg(test)]
mod tests;

/// FTP's control connection, on Zeek's `FTP::ports`.
pub static KIND: Kind = Kind {
    name: "ftp",
    tcp_ports: &[21, 2811],
    udp_ports: &[],
    probe: Some(probe),
    skips_partial: false,
    new: |_| Box::<Ftp>::default(),
};

/// Name in `service` of a data connection that was announced.
pub const DATA_SERVICE: &str = "ftp-data";

/// A data connection. It has no signs of its own.
pub static DATA_KIND: Kind = Kind {
    name: DATA_SERVICE,
    tcp_ports: &[],
    udp_ports: &[],
    probe: None,
    skips_partial: false,
    new: |_| Box::<Data>::default(),
};

/// The longest command (`FTP::max_command_length`).
const COMMAND_MAX: usize = 100;

/// Bytes of a data connection by which its type is told to the control connection (Zeek's `File.h`).
const DATA_MIME_BYTES: usize = 1024;

/// Bytes kept of the argument of AUTH; the names of mechanisms are far shorter.
const MECHANISM_MAX: usize = 64;

/// `dpd.sig`: a client that logs in, and a server that greets and then asks for a password or welcomes.
fn probe(start: &Start<'_>) -> Verdict {
    if start.transport != Transport::Tcp {
        return Verdict::No;
    }
    let [orig, resp] = start.bytes;
    let skip = |text: &'_ [u8], ends: bool| {
        let is = |byte: &u8| *byte == b' ' || (ends && matches!(byte, b'\r' | b'\n'));
        text.iter().position(|byte| !is(byte)).unwrap_or(text.len())
    };
    let code = |text: &[u8], codes: [u16; 2]| {
        let known = text::reply_code(text).is_some_and(|code| codes.contains(&code));
        known && text.get(3).is_some_and(|byte| !byte.is_ascii_digit())
    };
    let greeting = resp.get(skip(resp, true)..).unwrap_or_default();
    if greeting.len() < 4 {
        return Verdict::More;
    }
    if !code(greeting, [120, 220]) {
        return Verdict::No;
    }
    let answered = text::any_line(greeting.get(4..).unwrap_or_default(), |text| {
        code(text.get(skip(text, false)..).unwrap_or_default(), [230, 331])
    });
    let user = |text: &[u8]| {
        let text = text.get(skip(text, false)..).unwrap_or_default();
        text::begins_with(text, b"USER ")
    };
    if answered && text::any_line(orig, user) { Verdict::Yes } else { Verdict::More }
}

#[derive(Debug, Default)]
struct Ftp {
    sides: [Nvt; 2],
    talk: Talk,
}

#[derive(Debug, Default)]
struct Talk {
    /// The mechanism that the last AUTH asked for.
    auth: Vec<u8>,
    /// The code of a reply that goes on in the next line.
    continued: Option<u16>,
    session: Session,
    tls: bool,
    gssapi: Option<Adat>,
}

impl Talk {
    fn line(&mut self, cx: &mut Cx<'_>, dir: Dir, line: &[u8]) {
        if line.is_empty() {
            return;
        }
        let used = match dir {
            Dir::Orig => self.request(cx, line),
            Dir::Resp => self.reply(cx, line),
        };
        if let (true, Some(adat)) = (used, &mut self.gssapi) {
            adat.line(cx, dir, line);
        }
        if cx.is_half && dir == Dir::Orig {
            // The reply that grants them another sensor sees.
            self.tokens_follow(cx);
        }
    }

    /// A command; whether it is one.
    fn request(&mut self, cx: &mut Cx<'_>, line: &[u8]) -> bool {
        let (word, rest) = text::word(text::skip_blanks(line));
        let argument = text::skip_blanks(rest);
        if word.len() < 3 || !word.iter().all(u8::is_ascii_graphic) {
            if cx.is_confirmed() {
                cx.weird("FTP_invalid_command", None, Some("FTP"));
            }
            return false;
        }
        if word.len() > COMMAND_MAX {
            if cx.is_confirmed() {
                let addl = word.len().to_string();
                cx.weird("FTP_max_command_length_exceeded", Some(&addl), Some("FTP"));
            }
            return false;
        }
        cx.confirm();
        cx.pauses = true;
        let command = word.to_ascii_uppercase();
        if b"AUTH".starts_with(&command) {
            self.auth = argument.get(..MECHANISM_MAX).unwrap_or(argument).to_vec();
        }
        self.session.request(cx, &command, argument);
        true
    }

    /// A line of a reply; whether it is one.
    fn reply(&mut self, cx: &mut Cx<'_>, line: &[u8]) -> bool {
        let code = text::reply_code(line);
        let after = |at: usize| text::skip_blanks(line.get(at..).unwrap_or_default());
        if let Some(continued) = self.continued {
            if code == Some(continued) && line.get(3) == Some(&b' ') {
                self.continued = None;
                self.secures(cx, continued);
                self.session.reply(cx, continued, after(3), false);
            } else {
                self.session.reply(cx, 0, line, true);
            }
            return true;
        }
        let Some(code) = code.filter(|code| *code >= 100) else {
            cx.violation();
            return false;
        };
        let goes_on = match line.get(3) {
            Some(b'-') => true,
            None | Some(b' ') => false,
            Some(_) => {
                cx.violation();
                return false;
            }
        };
        self.secures(cx, code);
        self.continued = goes_on.then_some(code);
        self.session.reply(cx, code, after(if goes_on { 4 } else { 3 }), goes_on);
        true
    }

    /// Whether a reply grants what AUTH asked for.
    fn secures(&mut self, cx: &mut Cx<'_>, code: u16) {
        if code == 234 && self.auth == b"TLS" {
            cx.carry(&ssl::KIND);
            self.tls = true;
        } else if code == 334 {
            self.tokens_follow(cx);
        }
    }

    /// What AUTH asked for is granted, with tokens.
    fn tokens_follow(&mut self, cx: &mut Cx<'_>) {
        if self.auth == b"GSSAPI" && self.gssapi.is_none() {
            cx.carry(&ssl::KIND);
            self.gssapi = Some(Adat::default());
        }
    }

    /// An AUTH of GSSAPI that ended in TLS is how GridFTP begins (`base/protocols/ftp/gridftp.zeek`).
    fn is_grid(&self, cx: &Cx<'_>) -> bool {
        cx.tls_established && memchr::memmem::find(&self.auth, b"GSSAPI").is_some()
    }
}

impl Analyzer for Ftp {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        let Ftp { sides, talk } = self;
        let side = &mut sides[dir.index()];
        let mut rest = data;
        while !talk.tls && side.next(&mut rest) {
            while let Some(name) = side.weird() {
                cx.weird(name, None, Some("NVT"));
            }
            talk.line(cx, dir, side.line());
            side.clear();
        }
        if talk.tls && !rest.is_empty() {
            cx.hand_on(dir, rest);
        }
        if talk.is_grid(cx) {
            cx.name_service("gridftp");
        }
    }

    fn gap(&mut self, cx: &mut Cx<'_>, dir: Dir, len: u64) {
        if self.talk.tls {
            cx.hand_on_gap(dir, len);
        }
    }

    fn end(&mut self, cx: &mut Cx<'_>, dir: Dir) {
        if !self.talk.tls && self.sides[dir.index()].is_partial() {
            self.feed(cx, dir, b"\n");
        }
    }

    fn finish(&mut self, cx: &mut Cx<'_>) {
        if self.talk.is_grid(cx) {
            cx.name_service("gridftp");
        }
        self.talk.session.finish(cx);
    }
}
