//! SOCKS 4 (and 4a) and 5 (RFC 1928, RFC 1929): until both ends are through with it; what they say then is
//! told by its content. As in Zeek's `socks-protocol.pac` each segment stands for one message.

use super::{Analyzer, Cx, Dir, Kind, Start, Transport, Verdict};
use crate::tunnel::Proxy;

/// SOCKS, on Zeek's `SOCKS::ports`.
pub static KIND: Kind = Kind {
    name: "socks",
    tcp_ports: &[1080],
    udp_ports: &[],
    probe: Some(probe),
    skips_partial: true,
    new: |_| Box::<Socks>::default(),
};

/// The longest user name in `dpd.sig`.
const USER_MAX: usize = 32;

/// `dpd.sig`: a request and the reply to it, of version 4 either way round, of version 5 from the client.
fn probe(start: &Start<'_>) -> Verdict {
    if start.transport != Transport::Tcp {
        return Verdict::No;
    }
    let [orig, resp] = start.bytes;
    let pairs = [
        [request_v4(orig), reply_v4(resp)],
        [request_v4(resp), reply_v4(orig)],
        [method_v5(orig, 2, false), method_v5(resp, 1, true)],
    ];
    let mut all = Verdict::No;
    for pair in pairs {
        match pair {
            [Verdict::Yes, Verdict::Yes] => return Verdict::Yes,
            [Verdict::No, _] | [_, Verdict::No] => {}
            _ => all = Verdict::More,
        }
    }
    all
}

fn request_v4(bytes: &[u8]) -> Verdict {
    match bytes {
        [] | [4] => Verdict::More,
        [4, 1 | 2, rest @ ..] => {
            let name = rest.get(..=USER_MAX).unwrap_or(rest);
            match name.contains(&0) {
                true => Verdict::Yes,
                false if rest.len() > USER_MAX => Verdict::No,
                false => Verdict::More,
            }
        }
        _ => Verdict::No,
    }
}

fn reply_v4(bytes: &[u8]) -> Verdict {
    match bytes {
        [] | [0] => Verdict::More,
        [0, 0x5a..=0x5d, ..] => Verdict::Yes,
        _ => Verdict::No,
    }
}

/// A method of authentication at a place behind the version; a server may refuse all of them.
fn method_v5(bytes: &[u8], at: usize, may_refuse: bool) -> Verdict {
    if bytes.first().is_some_and(|version| *version != 5) {
        return Verdict::No;
    }
    match bytes.get(at) {
        None => Verdict::More,
        Some(0..=3 | 5..=9) => Verdict::Yes,
        Some(0xff) if may_refuse => Verdict::Yes,
        Some(_) => Verdict::No,
    }
}

#[derive(Debug, Default)]
struct Socks {
    /// Which ends are through.
    done: [bool; 2],
    /// The server has chosen a method of authentication (version 5).
    method: Option<u8>,
    authenticating: bool,
    carries: bool,
    over: bool,
}

/// The message is not of SOCKS.
struct Malformed;

type Parsed = Result<(), Malformed>;

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], Malformed> {
    let (head, rest) = bytes.split_at_checked(count).ok_or(Malformed)?;
    *bytes = rest;
    Ok(head)
}

fn byte(bytes: &mut &[u8]) -> Result<u8, Malformed> {
    take(bytes, 1).map(|head| head.first().copied().unwrap_or_default())
}

/// Bytes up to a zero.
fn text(bytes: &mut &[u8]) -> Parsed {
    let end = bytes.iter().position(|byte| *byte == 0).ok_or(Malformed)?;
    take(bytes, end + 1).map(|_| ())
}

impl Socks {
    fn message(&mut self, cx: &mut Cx<'_>, dir: Dir, bytes: &mut &[u8]) -> Parsed {
        if self.authenticating {
            return self.authentication(cx, dir, bytes);
        }
        match byte(bytes)? {
            4 => self.v4(cx, dir, bytes),
            5 if self.method.is_none() => {
                self.choice(dir, bytes)?;
                if cx.is_half {
                    // What was chosen another sensor saw; mostly it is no authentication.
                    self.method.get_or_insert(0);
                }
                Ok(())
            }
            5 => self.v5(cx, dir, bytes),
            // A name and password, which the server wanted.
            1 if cx.is_half => Ok(()),
            _ => Err(Malformed),
        }
    }

    /// Which method of authentication, RFC 1928 section 3.
    fn choice(&mut self, dir: Dir, bytes: &mut &[u8]) -> Parsed {
        if dir == Dir::Orig {
            let count = byte(bytes)?;
            return take(bytes, usize::from(count)).map(|_| ());
        }
        let method = byte(bytes)?;
        self.method = Some(method);
        self.authenticating = !matches!(method, 0 | 0xff);
        Ok(())
    }

    /// Name and password, RFC 1929. Of other methods nothing is known.
    fn authentication(&mut self, cx: &mut Cx<'_>, dir: Dir, bytes: &mut &[u8]) -> Parsed {
        const PASSWORD: u8 = 2;
        if dir == Dir::Resp {
            self.authenticating = false;
        }
        let method = self.method.unwrap_or_default();
        if method != PASSWORD {
            let addl = method.to_string();
            cx.weird("socks5_unsupported_authentication_method", Some(&addl), Some("SOCKS"));
            return Ok(());
        }
        match (byte(bytes)?, dir) {
            (1, Dir::Orig) => {
                let len = byte(bytes)?;
                take(bytes, usize::from(len))?;
                let len = byte(bytes)?;
                take(bytes, usize::from(len)).map(|_| ())
            }
            (1, Dir::Resp) => byte(bytes).map(|_| ()),
            (version, _) => {
                let addl = format!("method {method}, version {version}");
                cx.weird("socks5_unsupported_authentication", Some(&addl), Some("SOCKS"));
                Ok(())
            }
        }
    }

    /// A request or a reply, RFC 1928 sections 4 and 6.
    fn v5(&mut self, cx: &mut Cx<'_>, dir: Dir, bytes: &mut &[u8]) -> Parsed {
        let (code, reserved, kind) = (byte(bytes)?, byte(bytes)?, byte(bytes)?);
        let len = match kind {
            1 => 4,
            3 => usize::from(byte(bytes)?),
            4 => 16,
            _ => return Err(Malformed),
        };
        take(bytes, len + 2)?;
        if dir == Dir::Orig && (reserved != 0 || !(1..=3).contains(&code)) {
            self.over = true;
            return Err(Malformed);
        }
        self.through(cx, dir);
        Ok(())
    }

    fn v4(&mut self, cx: &mut Cx<'_>, dir: Dir, bytes: &mut &[u8]) -> Parsed {
        if dir == Dir::Resp {
            // A zero, the status, a port and an address.
            take(bytes, 8)?;
        } else {
            let _command_and_port = take(bytes, 3)?;
            let address = take(bytes, 4)?;
            text(bytes)?;
            // Version 4a has a name instead.
            if address.starts_with(&[0, 0, 0]) {
                text(bytes)?;
            }
        }
        self.through(cx, dir);
        Ok(())
    }

    fn through(&mut self, cx: &mut Cx<'_>, dir: Dir) {
        self.done[dir.index()] = true;
        if dir == Dir::Resp {
            cx.confirm();
        } else {
            cx.proxy(Proxy::Socks);
        }
    }
}

impl Analyzer for Socks {
    fn feed(&mut self, cx: &mut Cx<'_>, dir: Dir, data: &[u8]) {
        if self.over {
            return;
        }
        if self.done == [true; 2] || (cx.is_half && self.done[dir.index()]) {
            if !std::mem::replace(&mut self.carries, true) {
                cx.carry_any();
            }
            cx.hand_on(dir, data);
            return;
        }
        let mut bytes = data;
        if self.message(cx, dir, &mut bytes).is_err() {
            cx.violation();
        }
    }

    fn gap(&mut self, cx: &mut Cx<'_>, dir: Dir, len: u64) {
        if self.carries {
            cx.hand_on_gap(dir, len);
        }
    }

    fn end(&mut self, _cx: &mut Cx<'_>, _dir: Dir) {}

    fn shows(&self, dir: Dir) -> bool {
        self.done[dir.index()]
    }

    fn finish(&mut self, _cx: &mut Cx<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Bench};
    use super::super::{Act, Signal};
    use super::*;

    fn play(talk: &[(Dir, &[u8])]) -> Bench {
        let mut bench = Bench::new(&KIND, Transport::Tcp);
        for (dir, data) in talk {
            bench.feed(*dir, data);
        }
        bench
    }

    const NAMED: &[u8] = b"\x05\x01\0\x03\x03a.b\0\x50";
    const REPLY: &[u8] = b"\x05\0\0\x01\x0a\0\0\x01\0\x50";

    #[test]
    fn version_5_and_what_it_carries() {
        let bench = play(&[
            (Dir::Orig, b"\x05\x01\0"),
            (Dir::Resp, b"\x05\0"),
            (Dir::Orig, NAMED),
            (Dir::Resp, REPLY),
            (Dir::Orig, b"GET / HTTP/1.0\r\n\r\n"),
            (Dir::Resp, b"HTTP/1.0 200 OK\r\n"),
        ]);
        assert_eq!(bench.signals, [Signal::Confirmed]);
        let [Act::Probe, Act::Data(Dir::Orig, a), Act::Data(Dir::Resp, b)] = &bench.inner.acts[..]
        else {
            panic!("what is carried");
        };
        assert_eq!((a.clone(), b.clone()), (0..18, 18..35));
    }

    #[test]
    fn with_a_password() {
        let bench = play(&[
            (Dir::Orig, b"\x05\x01\x02"),
            (Dir::Resp, b"\x05\x02"),
            (Dir::Orig, b"\x01\x01u\x01p"),
            (Dir::Resp, b"\x01\0"),
            (Dir::Orig, NAMED),
            (Dir::Resp, REPLY),
        ]);
        assert_eq!(bench.signals, [Signal::Confirmed]);
        assert!(bench.weirds.is_empty());
    }

    /// Rows of tunnel.
    fn tunnels(bench: &mut Bench) -> usize {
        bench.out.tunnel.finish("n").0.num_rows()
    }

    #[test]
    fn a_request_makes_the_server_a_proxy() {
        let greeting: [(Dir, &[u8]); 2] = [(Dir::Orig, b"\x05\x01\0"), (Dir::Resp, b"\x05\0")];
        assert_eq!(tunnels(&mut play(&greeting)), 0);
        let mut bench = play(&[&greeting[..], &[(Dir::Orig, NAMED)]].concat());
        assert_eq!(tunnels(&mut bench), 1);
        let v4: &[u8] = b"\x04\x01\0\x50\x01\x02\x03\x04u\0";
        assert_eq!(tunnels(&mut play(&[(Dir::Orig, v4)])), 1);
        assert_eq!(tunnels(&mut play(&[(Dir::Orig, b"\x05\x04\0\x01abcdef")])), 0);
    }

    #[test]
    fn what_is_no_socks() {
        for data in [&b"\x06"[..], b"GET /", b"\x05\x05\0", b"\x04\x01\0\x50\x01\x02\x03\x04x"] {
            assert_eq!(play(&[(Dir::Orig, data)]).signals, [Signal::Violated], "{data:?}");
        }
        let bench = play(&[
            (Dir::Orig, b"\x05\x01\0"),
            (Dir::Resp, b"\x05\0"),
            (Dir::Orig, b"\x05\x04\0\x01abcdef"),
        ]);
        assert_eq!(bench.signals, [Signal::Violated]);
    }

    #[test]
    fn hostile() {
        testing::hostile(
            &KIND,
            Transport::Tcp,
            &[
                (Dir::Orig, b"\x05\x01\x02"),
                (Dir::Resp, b"\x05\x02"),
                (Dir::Orig, b"\x01\x01u\x01p"),
                (Dir::Resp, b"\x01\0"),
                (Dir::Orig, NAMED),
                (Dir::Resp, REPLY),
                (Dir::Orig, b"x"),
            ],
        );
    }

    #[test]
    fn told_by_content() {
        let probe = |orig: &[u8], resp: &[u8]| {
            probe(&Start { transport: Transport::Tcp, bytes: [orig, resp], resp_p: 9 })
        };
        assert_eq!(probe(b"\x05\x01\0", b"\x05\0"), Verdict::Yes);
        assert_eq!(probe(b"\x04\x01\0\x50\x01\x02\x03\x04u\0", b"\0\x5a"), Verdict::Yes);
        assert_eq!(probe(b"\x04\x01\x01\x50\x01\x02\x03\x04u", b"\0\x5a"), Verdict::More);
        assert_eq!(probe(b"\x05\x01\x04", b"\x05\0"), Verdict::No);
        assert_eq!(probe(b"\x05\x01", b""), Verdict::More);
    }
}
