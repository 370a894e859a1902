//! Rows that one capture thread has written since the last flush.

use arrow_array::RecordBatch;
use model::stream::{Def, Mark, conn, dns, http, notice, ssl, weird};

use crate::analyzer::FlowIds;

/// A batch a stream, and what was counted instead of written.
#[derive(Default)]
pub struct Out {
    /// Flows that ended.
    pub conn: conn::Batch,
    /// DNS transactions.
    pub dns: dns::Batch,
    /// HTTP transactions.
    pub http: http::Batch,
    /// TLS handshakes.
    pub ssl: ssl::Batch,
    /// Oddities.
    pub weird: weird::Batch,
    /// Notices raised by capture itself.
    pub notice: notice::Batch,
    /// Weirds that were not written because the flow had raised the same, or too many.
    pub weirds_held: u64,
    seq: u64,
}

impl Out {
    /// The place of the row about to be written: packet time, the flow's order, its lane.
    pub fn mark(&mut self, write_ts: i64, flow: u64, lane: u32) -> Mark {
        self.seq += 1;
        Mark { write_ts, flow, seq: self.seq, lane }
    }

    /// A weird about a flow.
    pub fn flow_weird(
        &mut self,
        mark: Mark,
        ids: &FlowIds,
        node: &str,
        name: &str,
        addl: Option<&str>,
        source: Option<&str>,
    ) {
        self.weird.push(
            mark,
            weird::Row {
                ts: mark.write_ts,
                uid: Some(&ids.uid),
                orig_h: Some(ids.tuple.orig_h),
                orig_p: Some(ids.tuple.orig_p),
                resp_h: Some(ids.tuple.resp_h),
                resp_p: Some(ids.tuple.resp_p),
                name,
                addl,
                peer: node,
                source,
                community_id: Some(&ids.community_id),
                ..weird::Row::unset()
            },
        );
    }
}

impl Out {
    /// Rows that wait for the next flush.
    pub fn rows(&self) -> usize {
        self.conn.len()
            + self.dns.len()
            + self.http.len()
            + self.ssl.len()
            + self.weird.len()
            + self.notice.len()
    }

    /// Takes the rows out, a batch a stream, with their marks.
    pub fn take(&mut self, sensor: &str) -> Vec<Rows> {
        let mut taken = Vec::new();
        macro_rules! take {
            ($($stream:ident),*) => {$(
                if !self.$stream.is_empty() {
                    let (batch, marks) = self.$stream.finish(sensor);
                    taken.push(Rows { def: &$stream::DEF, batch, marks });
                }
            )*};
        }
        take!(conn, dns, http, ssl, weird, notice);
        taken
    }
}

/// Rows of one stream as one thread wrote them.
#[derive(Debug)]
pub struct Rows {
    /// The stream.
    pub def: &'static Def,
    /// The rows.
    pub batch: RecordBatch,
    /// Their places, one a row.
    pub marks: Vec<Mark>,
}
