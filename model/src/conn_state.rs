//! The state of a flow's ends and the summary that conn.log gives of them.
//!
//! Order of decisions: Zeek's `base/protocols/conn/main.zeek`, as told in the reference notes.

/// What one TCP end has done so far (Zeek's `TCP_Endpoint` states).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Endpoint {
    /// Nothing that opens a connection.
    #[default]
    Inactive,
    /// Sent a SYN.
    SynSent,
    /// Its first packet was a SYN-ACK though it is the originator.
    SynAckSent,
    /// Sent data without ever a SYN.
    Partial,
    /// Opened.
    Established,
    /// Sent a FIN.
    Closed,
    /// Sent a RST.
    Reset,
}

impl Endpoint {
    /// Inactive or mid-stream: it never opened.
    pub fn is_unopened(self) -> bool {
        matches!(self, Endpoint::Inactive | Endpoint::Partial)
    }
}

/// What the TCP summary depends on.
#[derive(Debug, Clone, Copy)]
pub struct Tcp<'a> {
    /// The originator's state.
    pub orig: Endpoint,
    /// The responder's state.
    pub resp: Endpoint,
    /// Whether either sent payload.
    pub has_payload: bool,
    /// The flow's history so far.
    pub history: &'a [u8],
}

/// `conn_state` of a TCP flow.
pub fn tcp(flow: Tcp<'_>) -> &'static str {
    use Endpoint::{Closed, Established, Inactive, Reset, SynAckSent, SynSent};
    let Tcp { orig, resp, has_payload, history } = flow;
    if resp == Reset {
        let refused = matches!(orig, SynSent | SynAckSent) || (orig == Reset && !has_payload);
        return match () {
            () if refused => "REJ",
            () if orig.is_unopened() => "RSTRH",
            () => "RSTR",
        };
    }
    if orig == Reset {
        return match () {
            () if !resp.is_unopened() => "RSTO",
            () if is_syn_then_reset(history) => "RSTOS0",
            () => "OTH",
        };
    }
    match (orig, resp) {
        (Closed, Closed) => "SF",
        (Closed, r) if r.is_unopened() => "SH",
        (Closed, _) => "S2",
        (o, Closed) if o.is_unopened() => "SHR",
        (_, Closed) => "S3",
        (SynSent, Inactive) => "S0",
        (Established, Established) => "S1",
        _ => "OTH",
    }
}

/// Whether the history reads `^?S[^HAFGIQ]*R.*`: a SYN and a RST with nothing said in between.
fn is_syn_then_reset(history: &[u8]) -> bool {
    let history = history.strip_prefix(b"^").unwrap_or(history);
    let Some(rest) = history.strip_prefix(b"S") else { return false };
    for letter in rest {
        match letter {
            b'R' => return true,
            b'H' | b'A' | b'F' | b'G' | b'I' | b'Q' => return false,
            _ => {}
        }
    }
    false
}

/// `conn_state` of a UDP flow, from which ends sent a datagram with a good checksum.
pub fn udp(orig_sent: bool, resp_sent: bool) -> &'static str {
    match (orig_sent, resp_sent) {
        (true, true) => "SF",
        (true, false) => "S0",
        (false, true) => "SHR",
        (false, false) => "OTH",
    }
}

/// `conn_state` of ICMP and of protocols weir does not know.
pub const OTHER: &str = "OTH";

#[cfg(test)]
mod tests {
    use super::Endpoint::*;
    use super::*;

    fn state(orig: Endpoint, resp: Endpoint, has_payload: bool, history: &str) -> &'static str {
        tcp(Tcp { orig, resp, has_payload, history: history.as_bytes() })
    }

    #[test]
    fn every_row_of_the_decision_table() {
        assert_eq!(state(SynSent, Reset, false, "Sr"), "REJ");
        assert_eq!(state(SynAckSent, Reset, false, "Hr"), "REJ");
        assert_eq!(state(Reset, Reset, false, "SrR"), "REJ");
        assert_eq!(state(Reset, Reset, true, "ShADrR"), "RSTR");
        assert_eq!(state(Inactive, Reset, false, "r"), "RSTRH");
        assert_eq!(state(Established, Reset, true, "ShADr"), "RSTR");
        assert_eq!(state(Reset, Inactive, false, "SR"), "RSTOS0");
        assert_eq!(state(Reset, Inactive, false, "^SWR"), "RSTOS0");
        assert_eq!(state(Reset, Partial, false, "SaR"), "RSTOS0");
        assert_eq!(state(Reset, Inactive, false, "SAR"), "OTH");
        assert_eq!(state(Reset, Inactive, false, "R"), "OTH");
        assert_eq!(state(Reset, Established, true, "ShADR"), "RSTO");
        assert_eq!(state(Closed, Closed, true, "ShADFf"), "SF");
        assert_eq!(state(Closed, Inactive, false, "SF"), "SH");
        assert_eq!(state(Closed, Established, true, "ShADF"), "S2");
        assert_eq!(state(Inactive, Closed, false, "hf"), "SHR");
        assert_eq!(state(Established, Closed, true, "ShADf"), "S3");
        assert_eq!(state(SynSent, Inactive, false, "S"), "S0");
        assert_eq!(state(Established, Established, true, "ShA"), "S1");
        assert_eq!(state(Partial, Partial, true, "Aa"), "OTH");
        assert_eq!(state(SynSent, Established, true, "Sh"), "OTH");
    }

    #[test]
    fn udp_by_direction() {
        assert_eq!(udp(true, true), "SF");
        assert_eq!(udp(true, false), "S0");
        assert_eq!(udp(false, true), "SHR");
        assert_eq!(udp(false, false), "OTH");
    }
}
