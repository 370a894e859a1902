//! What is kept between the messages of DCE/RPC: fragments, and what authenticates.

use std::collections::BTreeMap;

use super::pdu::{self, Head};
use crate::analyzer::units::{Framed, Malformed};
use crate::analyzer::{Cx, Dir, gssapi, ntlm};

/// Calls of one end that may be in fragments at once (Zeek's `DCE_RPC::max_cmd_reassembly`).
const CALLS_MAX: usize = 20;
/// Bytes of fragments of one call (Zeek's `DCE_RPC::max_frag_data`).
const FRAGMENT_BYTES_MAX: usize = 30_000;
/// The analyzer's name in `source` of a weird.
const SOURCE: &str = "DCE_RPC";

/// A connection or pipe.
#[derive(Default)]
pub struct Session {
    /// A message was parsed; whoever feeds takes it.
    pub has_message: bool,
    /// By [`Dir::index`] and call.
    fragments: [BTreeMap<u32, Vec<u8>>; 2],
    gssapi: gssapi::Inside,
    ntlm: ntlm::Inside,
    skip: bool,
}

impl Framed for Session {
    fn size(&self, _: Dir, bytes: &[u8]) -> usize {
        match pdu::Head::parse(bytes) {
            Some(head) => head.len.max(pdu::HEAD_LEN),
            None => pdu::HEAD_LEN,
        }
    }

    fn unit(&mut self, cx: &mut Cx<'_>, dir: Dir, unit: &[u8]) -> Result<(), Malformed> {
        self.pdu(cx, dir, unit).ok_or(Malformed)?;
        self.has_message = true;
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.skip
    }
}

impl Session {
    fn pdu(&mut self, cx: &mut Cx<'_>, dir: Dir, unit: &[u8]) -> Option<()> {
        let head = Head::parse(unit)?;
        let parts = head.split(unit)?;
        if let Some((kind, blob)) = parts.auth {
            self.authenticate(cx, kind, blob);
        }
        match self.reassemble(cx, dir, &head, parts.body) {
            Some(Body::Here) => head.body(parts.body),
            Some(Body::Kept(bytes)) => head.body(&bytes),
            None => Some(()),
        }
    }

    fn authenticate(&mut self, cx: &mut Cx<'_>, kind: u8, blob: &[u8]) {
        let name = match kind {
            0x09 => return self.gssapi.feed(cx, blob),
            0x0a => return self.ntlm.feed(cx, blob),
            // Kerberos: Zeek hands it over in a way that nobody takes.
            0x10 => return,
            0x0e => "tls_dce_rpc_auth_type",
            0x44 => "netlogon_dce_rpc_auth_type",
            _ => "unknown_dce_rpc_auth_type",
        };
        cx.weird(name, Some(&kind.to_string()), Some(SOURCE));
    }

    /// The body of a call once all of it is there.
    fn reassemble(&mut self, cx: &mut Cx<'_>, dir: Dir, head: &Head, body: &[u8]) -> Option<Body> {
        let calls = self.fragments.get_mut(dir.index())?;
        if head.is_first {
            if calls.contains_key(&head.call) {
                self.stop(cx, "multiple_first_fragments_in_dce_rpc_reassembly");
                return None;
            }
            if head.is_last {
                return Some(Body::Here);
            }
            calls.insert(head.call, body.to_vec());
            let (many, much) = (calls.len() > CALLS_MAX, body.len() > FRAGMENT_BYTES_MAX);
            if many {
                self.stop(cx, "too_many_dce_rpc_msgs_in_reassembly");
            }
            if much {
                self.stop(cx, "too_much_dce_rpc_fragment_data");
            }
            return None;
        }
        let kept = calls.get_mut(&head.call)?;
        kept.extend_from_slice(body);
        let much = kept.len() > FRAGMENT_BYTES_MAX;
        let whole = head.is_last.then(|| calls.remove(&head.call)).flatten();
        if much {
            self.stop(cx, "too_much_dce_rpc_fragment_data");
        }
        whole.map(Body::Kept)
    }

    fn stop(&mut self, cx: &mut Cx<'_>, weird: &'static str) {
        cx.weird(weird, None, Some(SOURCE));
        self.skip = true;
        self.fragments = Default::default();
    }
}

/// Where a whole body is.
enum Body {
    /// In the message at hand.
    Here,
    /// Put together of fragments.
    Kept(Vec<u8>),
}
