//! Tells HTTP by content (Zeek `base/protocols/http/dpd.sig`): a request begins with a known method, a
//! reply with `HTTP/` and a digit.

use crate::analyzer::{Start, Transport, Verdict};

/// Methods of RFC 9110, 3253, 3744, 4437, 5323, 5789, 5842 and of Microsoft's Exchange and RPC.
const METHODS: &[&[u8]] = &[
    b"ACL",
    b"BASELINE-CONTROL",
    b"BCOPY",
    b"BDELETE",
    b"BIND",
    b"BMOVE",
    b"BPROPFIND",
    b"BPROPPATCH",
    b"CHECKIN",
    b"CHECKOUT",
    b"CONNECT",
    b"COPY",
    b"DELETE",
    b"GET",
    b"HEAD",
    b"LABEL",
    b"LINK",
    b"LOCK",
    b"MERGE",
    b"MKACTIVITY",
    b"MKCALENDAR",
    b"MKCOL",
    b"MKREDIRECTREF",
    b"MKWORKSPACE",
    b"MOVE",
    b"NOTIFY",
    b"OPTIONS",
    b"ORDERPATCH",
    b"PATCH",
    b"POLL",
    b"POST",
    b"PROPFIND",
    b"PROPPATCH",
    b"PUT",
    b"REBIND",
    b"REPORT",
    b"RPC_IN_DATA",
    b"RPC_OUT_DATA",
    b"SEARCH",
    b"SUBSCRIBE",
    b"TRACE",
    b"UNBIND",
    b"UNCHECKOUT",
    b"UNLINK",
    b"UNLOCK",
    b"UNSUBSCRIBE",
    b"UPDATE",
    b"VERSION-CONTROL",
    b"X-MS-ENUMATTS",
];

/// The probe of [`super::KIND`]. Either side will do: the other may be missing or too long.
pub fn probe(start: &Start<'_>) -> Verdict {
    if start.transport != Transport::Tcp {
        return Verdict::No;
    }
    let [orig, resp] = start.bytes;
    match (client(orig), server(resp)) {
        (Verdict::Yes, _) | (_, Verdict::Yes) => Verdict::Yes,
        (Verdict::No, Verdict::No) => Verdict::No,
        _ => Verdict::More,
    }
}

fn client(bytes: &[u8]) -> Verdict {
    let text = bytes.iter().position(|byte| !matches!(byte, b'\t'..=b'\r' | b' '));
    let text = text.and_then(|at| bytes.get(at..)).unwrap_or_default();
    // All begin with a capital letter, which tells most other flows at once.
    if text.first().is_some_and(|byte| !byte.is_ascii_uppercase()) {
        return Verdict::No;
    }
    if METHODS.iter().any(|method| text.starts_with(method)) {
        return Verdict::Yes;
    }
    if METHODS.iter().any(|method| method.starts_with(text)) { Verdict::More } else { Verdict::No }
}

fn server(bytes: &[u8]) -> Verdict {
    const SIGN: &[u8] = b"HTTP/";
    let head = bytes.get(..SIGN.len()).unwrap_or(bytes);
    if !SIGN.get(..head.len()).is_some_and(|sign| sign.eq_ignore_ascii_case(head)) {
        return Verdict::No;
    }
    match bytes.get(SIGN.len()) {
        None => Verdict::More,
        Some(b'0'..=b'9') => Verdict::Yes,
        Some(_) => Verdict::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings() {
        for (orig, resp, want) in [
            ("GET / HTTP/1.1", "", Verdict::Yes),
            ("\r\n POST", "", Verdict::Yes),
            ("GE", "", Verdict::More),
            ("", "", Verdict::More),
            ("HELO", "220 hello", Verdict::No),
            ("HELO", "", Verdict::More),
            ("HELO", "http/1", Verdict::Yes),
            ("", "HTTP/", Verdict::More),
            ("x", "HTTP/x", Verdict::No),
        ] {
            let bytes = [orig.as_bytes(), resp.as_bytes()];
            let start = Start { transport: Transport::Tcp, bytes, resp_p: 1 };
            assert_eq!(probe(&start), want, "{orig:?} {resp:?}");
        }
    }
}
