//! DCC: messages of IRC in which a client offers another one a file, and the flow that the file comes in
//! (Zeek's `IRC.cc` and `base/protocols/irc/dcc-send.zeek`).

use std::net::{IpAddr, Ipv4Addr};

use super::{Analyzer, Cx, Dir, Kind};
use crate::expected::What;
use crate::files::{About, FileRef};

/// What a flow that DCC announced has as `service`.
pub const DATA_SERVICE: &str = "irc-dcc-data";

/// The flow that a file comes in.
pub static DATA_KIND: Kind = Kind {
    name: "irc-data",
    tcp_ports: &[],
    udp_ports: &[],
    probe: None,
    skips_partial: false,
    new: |_| Box::<Data>::default(),
};

/// What is said to somebody by PRIVMSG, if it is DCC.
pub fn message(cx: &mut Cx<'_>, said: &[u8]) {
    let said = said.strip_prefix(b":").unwrap_or(said);
    let said = said.strip_prefix(b"\x01").unwrap_or(said);
    if said.len() <= 3 || !said.starts_with(b"DCC") {
        return;
    }
    let said = said.strip_suffix(b"\x01").unwrap_or(said);
    let words = || said.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let (mut parts, count) = (words(), words().count());
    let (Some(_), Some(kind), Some(_), Some(host), Some(port)) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return weird(cx, "irc_invalid_dcc_message_format", None);
    };
    // Turbo DCC says so at the end.
    if count > 6 && !(count == 7 && parts.nth(1) == Some(b"T")) {
        return weird(cx, "irc_invalid_dcc_message_format", None);
    }
    let Some(host) = number(host) else { return weird(cx, "irc_invalid_dcc_host", None) };
    let port = number(port);
    let Some(port) = port.and_then(|port| u16::try_from(port).ok()) else {
        // Zeek has it as a signed number.
        let addl = (port.unwrap_or(0) as i32).to_string();
        return weird(cx, "irc_invalid_dcc_port", Some(&addl));
    };
    if kind == b"SEND" {
        expect(cx, Ipv4Addr::from(host).into(), port);
    }
}

/// Somebody takes the file from there. Who is not said: the other end of this flow is waited for, as another
/// host's flow may be another thread's.
fn expect(cx: &mut Cx<'_>, host: IpAddr, port: u16) {
    let tuple = &cx.ids.tuple;
    let taker = match host {
        host if host == tuple.orig_h => tuple.resp_h,
        host if host == tuple.resp_h => tuple.orig_h,
        _ => return,
    };
    cx.expected.add((taker, host, port), What::IrcData, cx.now, cx.ids.order);
}

fn weird(cx: &mut Cx<'_>, name: &'static str, addl: Option<&str>) {
    cx.weird(name, addl, Some("IRC"));
}

/// A number as lenient as Zeek's `atoi_n`: digits as far as they go, but one at least.
fn number(word: &[u8]) -> Option<u32> {
    let (digits, is_negative) = match word {
        [b'-', rest @ ..] => (rest, true),
        word => (word, false),
    };
    if digits.first().is_some_and(|byte| !byte.is_ascii_digit()) {
        return None;
    }
    let value = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0u32, |sum, digit| sum.wrapping_mul(10).wrapping_add(u32::from(digit - b'0')));
    Some(if is_negative { value.wrapping_neg() } else { value })
}

/// The responder sends the file, the originator says how much it has.
#[derive(Debug, Default)]
struct Data {
    file: Option<FileRef>,
}

impl Data {
    fn file(&mut self, cx: &mut Cx<'_>) -> FileRef {
        if let Some(file) = self.file.filter(|file| cx.file_is_open(*file)) {
            return file;
        }
        let fuid = cx.fuid(&[b"irc-data"]);
        let about = About { source: "IRC_DATA", is_orig: false, ..About::default() };
        *self.file.insert(cx.file_begin(&fuid, about))
    }
}

impl Analyzer for Data {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        if dir == Dir::Resp {
            let file = self.file(cx);
            cx.file_data(file, data);
        } else if !data.len().is_multiple_of(4) {
            cx.weird("irc_invalid_dcc_send_ack", None, Some("IRC_DATA"));
        }
    }

    fn gap(&mut self, cx: &mut Cx<'_>, dir: Dir, len: u64) {
        if dir == Dir::Resp {
            let file = self.file(cx);
            cx.file_gap(file, len);
        }
    }

    fn end(&mut self, _cx: &mut Cx<'_>, _dir: Dir) {}

    fn finish(&mut self, cx: &mut Cx<'_>) {
        if let Some(file) = self.file {
            cx.file_end(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::irc::KIND;
    use super::super::testing::{self, Bench};
    use super::super::{Dir, Transport};
    use super::*;

    fn said(message: &str) -> Bench {
        testing::talk(&KIND, &[(Dir::Orig, &format!("PRIVMSG you :\x01DCC {message}\x01\r\n"))])
    }

    #[test]
    fn offers_are_checked() {
        let odd = |message| said(message).weirds;
        assert!(odd("SEND a.txt 167772161 5000 12").is_empty());
        assert!(odd("SEND a.txt 167772161 5000 12 T").is_empty());
        assert_eq!(odd("SEND a.txt 167772161"), ["irc_invalid_dcc_message_format"]);
        assert_eq!(odd("SEND a b c d e f"), ["irc_invalid_dcc_message_format"]);
        assert_eq!(odd("SEND a.txt here 5000"), ["irc_invalid_dcc_host"]);
        assert_eq!(odd("SEND a.txt 167772161 x"), ["irc_invalid_dcc_port"]);
        assert_eq!(odd("CHAT chat 167772161 65536"), ["irc_invalid_dcc_port"]);
        let numbers = [&b"12x"[..], b"-1", b"", b"x1"].map(number);
        assert_eq!(numbers, [Some(12), Some(u32::MAX), Some(0), None]);
    }

    #[test]
    fn what_is_offered_is_expected() {
        let bench = Bench::new(&KIND, Transport::Tcp);
        let tuple = bench.ids.tuple;
        let IpAddr::V4(host) = tuple.orig_h else { panic!("IPv4") };
        let offer = |kind: &str| said(&format!("{kind} a.txt {} 5000 12", u32::from(host)));
        let ends = (tuple.resp_h, tuple.orig_h, 5000);
        assert_eq!(offer("SEND").expected.has(ends, 0), Some(What::IrcData));
        assert_eq!(offer("CHAT").expected.has(ends, 0), None);
    }

    #[test]
    fn the_responder_sends_a_file() {
        let mut bench = Bench::new(&DATA_KIND, Transport::Tcp);
        bench.feed(Dir::Resp, b"content");
        bench.feed(Dir::Orig, &[0, 0, 0, 7]);
        assert!(bench.weirds.is_empty());
        bench.feed(Dir::Orig, &[0]);
        assert_eq!(bench.weirds, ["irc_invalid_dcc_send_ack"]);
        bench.call(|analyzer, cx| analyzer.finish(cx));
        let (batch, _) = bench.out.files.finish("s");
        assert_eq!(model::read::count(&batch, "seen_bytes").unwrap().values().to_vec(), [7]);
        testing::hostile(&DATA_KIND, Transport::Tcp, &[(Dir::Resp, b"x"), (Dir::Orig, b"abcd")]);
    }
}
