//! Rows that one capture thread has written since the last flush.

use arrow_array::RecordBatch;
use model::stream::{
    Def, Mark, conn, dnp3, dns, failed_auth, files, ftp, half, http, known, modbus, notice, ntp,
    raw_conn, smb_files, smb_mapping, ssh, ssl, tunnel, weird, x509,
};

use crate::analyzer::FlowIds;
use crate::known::Known;
use crate::tunnel::Tunnels;
use crate::weirds;

/// A batch a stream, and what was counted instead of written.
#[derive(Default)]
pub struct Out {
    /// Flows that ended.
    pub conn: conn::Batch,
    /// What joining them takes: a row each, or none at all.
    pub half: half::Batch,
    /// DNS transactions.
    pub dns: dns::Batch,
    /// HTTP transactions.
    pub http: http::Batch,
    /// Modbus messages.
    pub modbus: modbus::Batch,
    /// DNP3 requests with their responses.
    pub dnp3: dnp3::Batch,
    /// NTP messages.
    pub ntp: ntp::Batch,
    /// Files of SMB shares.
    pub smb_files: smb_files::Batch,
    /// SMB shares.
    pub smb_mapping: smb_mapping::Batch,
    /// SSH connections.
    pub ssh: ssh::Batch,
    /// FTP commands.
    pub ftp: ftp::Batch,
    /// Logins that were rejected, for detectors.
    pub failed_auth: failed_auth::Batch,
    /// TLS handshakes.
    pub ssl: ssl::Batch,
    /// Tunnels found and gone.
    pub tunnel: tunnel::Batch,
    /// Files.
    pub files: files::Batch,
    /// Certificates.
    pub x509: x509::Batch,
    /// Observations of assets.
    pub known: known::Batch,
    /// Oddities.
    pub weird: weird::Batch,
    /// Notices raised by capture itself.
    pub notice: notice::Batch,
    /// Weirds that were not written because the flow had raised the same, or too many.
    pub weirds_held: u64,
    /// Flows seen one way of which only their own analyzers tell, as there was no room to keep what they had.
    pub halves_unjudged: u64,
    /// Assets seen lately.
    pub assets: Known,
    /// Services that did not wait for their name, as there were too many.
    pub services_hurried: u64,
    /// Tunnels in use.
    pub tunnels: Tunnels,
    /// Tunnels that were forgotten while in use, as there were too many.
    pub tunnels_forgotten: u64,
    /// Partitions of a topic, for rows that have another key than their flow.
    pub(crate) lanes: u32,
    seq: u64,
    /// Batches that were long enough.
    full: Vec<Out>,
}

/// Bytes of a column at which its batch is long enough: far from the 2 GiB that Arrow counts, and far more than a
/// flush has but when flows end in millions.
const COLUMN_BYTES_MAX: usize = 256 << 20;

/// Rows after which lengths are looked at: no row has more than some megabytes.
const LOOK_ROWS: u64 = 64;

impl Out {
    /// Empty, for so many partitions.
    pub fn new(lanes: u32) -> Out {
        Out { lanes, ..Out::default() }
    }

    /// The place of the row about to be written: packet time, the flow's order, its lane.
    pub fn mark(&mut self, write_ts: i64, flow: u64, lane: u32) -> Mark {
        self.seq += 1;
        if self.seq.is_multiple_of(LOOK_ROWS) {
            self.begin_anew(COLUMN_BYTES_MAX);
        }
        Mark { write_ts, flow, seq: self.seq, lane }
    }

    /// How many rows had a place.
    pub fn rows(&self) -> u64 {
        self.seq
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
        let notice = weirds::action(name) == weirds::Action::NoticePerOrig;
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
                notice,
                peer: node,
                source,
                community_id: Some(&ids.community_id),
            },
        );
        if notice {
            self.weird_notice(mark, ids, node, name, addl);
        }
    }

    /// The notice that some weirds are worth (Zeek's `Weird::Activity`), one for each originator.
    fn weird_notice(
        &mut self,
        mark: Mark,
        ids: &FlowIds,
        node: &str,
        name: &str,
        addl: Option<&str>,
    ) {
        let identifier = format!("{name} {}", ids.tuple.orig_h);
        let row = notice::Row {
            ts: Some(mark.write_ts),
            uid: Some(&ids.uid),
            orig_h: Some(ids.tuple.orig_h),
            orig_p: Some(ids.tuple.orig_p),
            resp_h: Some(ids.tuple.resp_h),
            resp_p: Some(ids.tuple.resp_p),
            proto: Some(ids.tuple.proto_name()),
            note: "Weird::Activity",
            msg: Some(name),
            sub: addl,
            src: Some(ids.tuple.orig_h),
            dst: Some(ids.tuple.resp_h),
            p: Some(ids.tuple.resp_p),
            peer_descr: Some(node),
            suppress_for: WEIRD_NOTICE_HOLD,
            community_id: Some(&ids.community_id),
            identifier: Some(&identifier),
            observers: &[node],
            ..notice::Row::unset()
        };
        let lane = model::id::partition(identifier.as_bytes(), self.lanes);
        self.notice.push(Mark { lane, ..mark }, row);
    }
}

impl Out {
    /// A certificate, whose key on the bus is its fingerprint.
    pub fn certificate(&mut self, mark: Mark, row: x509::Row<'_>) {
        let lane = model::id::partition(row.fingerprint.as_bytes(), self.lanes);
        self.x509.push(Mark { lane, ..mark }, row);
    }
}

/// How long such a notice is not repeated (Zeek's `did_notice`), microseconds.
const WEIRD_NOTICE_HOLD: i64 = 24 * 3600 * crate::config::SECOND;

impl Out {
    /// Takes the rows out, a batch a stream, with their marks.
    pub fn take(&mut self, sensor: &str) -> Vec<Rows> {
        let full = std::mem::take(&mut self.full);
        let mut taken: Vec<Rows> =
            full.into_iter().flat_map(|mut full| full.take(sensor)).collect();
        macro_rules! take {
            ($($stream:ident),*) => {$(
                if !self.$stream.is_empty() {
                    let (batch, marks) = self.$stream.finish(sensor);
                    taken.push(Rows { def: &$stream::DEF, batch, marks });
                }
            )*};
        }
        take!(smb_files, smb_mapping, ssh, ftp, failed_auth);
        if !self.half.is_empty() {
            let (batch, marks) = self.conn.finish(sensor);
            let (halves, _) = self.half.finish(sensor);
            let both = raw_conn::beside(&batch, &halves);
            debug_assert!(both.is_ok(), "a row of half for each of conn");
            taken.push(match both {
                Ok(batch) => Rows { def: &raw_conn::DEF, batch, marks },
                Err(_) => Rows { def: &conn::DEF, batch, marks },
            });
        }
        take!(conn, dns, http, ntp, modbus, dnp3, ssl, files, x509, tunnel, known, weird, notice);
        taken
    }
}

impl Out {
    /// Lays the batches aside if a column of one is too long for more. All of them, so that rows of conn stay
    /// beside those of half.
    fn begin_anew(&mut self, column_bytes_max: usize) {
        let mut is_full = false;
        macro_rules! each {
            ($($stream:ident)*) => {
                $(is_full |= self.$stream.bytes() > column_bytes_max;)*
                if is_full {
                    let mut full = Out::default();
                    $(std::mem::swap(&mut self.$stream, &mut full.$stream);)*
                    self.full.push(full);
                }
            };
        }
        each!(
            conn half dns http modbus dnp3 ntp smb_files smb_mapping ssh ftp failed_auth ssl tunnel
            files x509 known weird notice
        );
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_columns_begin_another_batch_and_conn_stays_beside_half() {
        let mut out = Out::new(1);
        for n in 0..10 {
            let mark = out.mark(n, 0, 0);
            out.begin_anew(2000);
            out.conn.push(mark, conn::Row { uid: &"x".repeat(900), ..conn::Row::unset() });
            out.half.push(mark, half::Row::unset());
        }
        out.mark(10, 0, 0);
        out.begin_anew(2000);
        let taken = out.take("n");
        let lengths: Vec<usize> = taken.iter().map(|rows| rows.batch.num_rows()).collect();
        assert_eq!(lengths, [3, 3, 3, 1]);
        assert!(taken.iter().all(|rows| rows.def.name == "raw_conn"));
        let times: Vec<i64> =
            taken.iter().flat_map(|rows| &rows.marks).map(|mark| mark.write_ts).collect();
        assert_eq!(times, (0..10).collect::<Vec<i64>>());
        assert!(out.take("n").is_empty());
    }
}
