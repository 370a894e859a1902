//! One row in the making: what Zeek calls `DNS::Info`.

use model::stream::dns;
use model::text::{CELL_BYTES_MAX, from_wire};

use super::names;
use super::netbios;
use super::wire::Header;
use crate::analyzer::Cx;

/// Answers that a row lists (Zeek's `Log::default_max_field_container_elements`).
pub const ANSWERS_MAX: usize = 100;
/// Bytes of answers that a row lists (Zeek's `Log::default_max_total_string_bytes`).
pub const ANSWER_BYTES_MAX: usize = 256_000;
/// Bytes that a transaction takes without its texts, for the account of what a flow holds.
const BARE_BYTES: usize = size_of::<Transaction>();

/// A question as far as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Question {
    qtype: u16,
    qclass: u16,
    /// Whether the type has its NetBIOS meaning.
    node_status: bool,
}

/// A query, its reply, or both.
#[derive(Debug, Default)]
pub struct Transaction {
    /// When the first of its messages came, microseconds.
    ts: i64,
    /// Its identifier.
    pub id: u16,
    /// Whether a queue holds it.
    pub queued: bool,
    saw_query: bool,
    saw_reply: bool,
    rtt: Option<i64>,
    query: Option<String>,
    question: Option<Question>,
    rcode: Option<u8>,
    opcode: u8,
    netbios: bool,
    aa: bool,
    tc: bool,
    rd: bool,
    ra: bool,
    z: u8,
    rejected: bool,
    /// Texts of the answers one after the other, and where each ends.
    answers: String,
    ends: Vec<u32>,
    ttls: Vec<i64>,
}

impl Transaction {
    /// One that begins now, in a queue.
    pub fn queued(ts: i64, id: u16) -> Transaction {
        Transaction { ts, id, queued: true, ..Transaction::default() }
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        BARE_BYTES
            + self.query.as_ref().map_or(0, String::len)
            + self.answers.len()
            + self.ends.len() * size_of::<u32>()
            + self.ttls.len() * size_of::<i64>()
    }

    /// A message of it begins.
    pub fn message(&mut self, header: &Header) {
        if header.reply() {
            self.rcode = Some(header.rcode());
            self.rejected |= header.rcode() != 0 && header.questions == 0;
        }
        self.opcode = header.opcode();
        self.netbios = header.netbios;
    }

    /// A question; `netbios_server` tells whether it went to the NetBIOS name service.
    pub fn request(
        &mut self,
        header: &Header,
        name: &[u8],
        (qtype, qclass): (u16, u16),
        netbios_server: bool,
    ) {
        self.rd = header.rd();
        self.tc = header.tc();
        self.z = header.z();
        // NetBIOS had given 33 to the node status before SRV got it.
        let node_status = netbios_server && qtype == 33;
        self.question = Some(Question { qtype, qclass, node_status });
        let decoded = if netbios_server { netbios::decode(name) } else { None };
        let name = decoded.as_ref().map_or(name, netbios::Decoded::bytes);
        self.query = Some(from_wire(name).into_owned());
    }

    /// The reply has no records.
    pub fn reject(&mut self) {
        self.rejected = true;
    }

    /// A record of the reply, about `owner`.
    pub fn record(&mut self, header: &Header, now: i64, owner: &[u8]) {
        if self.query.is_none() {
            self.query = Some(from_wire(owner).into_owned());
        }
        self.aa = header.aa();
        self.ra = header.ra();
        if self.rtt.is_none() && now != self.ts {
            self.rtt = Some(now - self.ts);
        }
    }

    /// What the record says, in parts.
    pub fn answer(&mut self, prefix: &str, text: &[u8], ttl: u32) {
        if self.ends.len() >= ANSWERS_MAX {
            return;
        }
        let room = ANSWER_BYTES_MAX.saturating_sub(self.answers.len());
        let room = room.min(CELL_BYTES_MAX).saturating_sub(prefix.len());
        self.answers.push_str(prefix);
        self.answers.push_str(&from_wire(text.get(..room).unwrap_or(text)));
        self.ends.push(u32::try_from(self.answers.len()).unwrap_or(u32::MAX));
        self.ttls.push(i64::from(ttl) * 1_000_000);
    }

    /// A message of it is over. Whether it is complete.
    pub fn end(&mut self, header: &Header) -> bool {
        if header.reply() {
            self.saw_reply = true;
        } else {
            self.saw_query = true;
        }
        self.saw_query && self.saw_reply
    }

    /// Writes the row; `flipped` if the flow runs the other way than the engine believes.
    pub fn write(&self, cx: &mut Cx<'_>, flipped: bool) {
        let mark = cx.mark();
        let ids = cx.ids;
        let (mut orig, mut resp) =
            ((ids.tuple.orig_h, ids.tuple.orig_p), (ids.tuple.resp_h, ids.tuple.resp_p));
        if flipped {
            std::mem::swap(&mut orig, &mut resp);
        }
        let qclass_name = self.question.map(|question| names::qclass(question.qclass));
        let qtype_name = self.question.map(|question| match question.node_status {
            true => "NBSTAT".into(),
            false => names::qtype(question.qtype),
        });
        let rcode_name = self.rcode.map(names::rcode);
        let opcode_name = names::opcode(self.opcode, self.netbios);
        let mut texts = [""; ANSWERS_MAX];
        let answers = self.texts(&mut texts);
        cx.out.dns.push(
            mark,
            dns::Row {
                ts: self.ts,
                uid: &ids.uid,
                orig_h: orig.0,
                orig_p: orig.1,
                resp_h: resp.0,
                resp_p: resp.1,
                proto: ids.tuple.proto_name(),
                trans_id: Some(self.id.into()),
                rtt: self.rtt,
                query: self.query.as_deref(),
                qclass: self.question.map(|question| question.qclass.into()),
                qclass_name: qclass_name.as_deref(),
                qtype: self.question.map(|question| question.qtype.into()),
                qtype_name: qtype_name.as_deref(),
                rcode: self.rcode.map(u64::from),
                rcode_name: rcode_name.as_deref(),
                aa: self.aa,
                tc: self.tc,
                rd: self.rd,
                ra: self.ra,
                z: self.z.into(),
                answers: (!answers.is_empty()).then_some(answers),
                ttls: (!self.ttls.is_empty()).then_some(&self.ttls[..]),
                rejected: self.rejected,
                opcode: Some(self.opcode.into()),
                opcode_name: Some(&opcode_name),
                community_id: &ids.community_id,
            },
        );
    }

    /// The answers' texts, laid out in `room`.
    fn texts<'a>(&'a self, room: &'a mut [&'a str; ANSWERS_MAX]) -> &'a [&'a str] {
        let mut start = 0;
        for (place, end) in room.iter_mut().zip(&self.ends) {
            let end = *end as usize;
            *place = self.answers.get(start..end).unwrap_or_default();
            start = end;
        }
        room.get(..self.ends.len()).unwrap_or_default()
    }
}
