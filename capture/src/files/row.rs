//! A file's rows in files.log: one for each flow that carried it.

use model::stream::files;

use super::file::File;
use super::hash::Hashes;
use crate::out::Out;

/// Analyzer by type (`Files::register_for_mime_type` in `base/files`).
fn by_mime(mime: &str) -> Option<&'static str> {
    Some(match mime {
        "application/ocsp-response" => "OCSP_REPLY",
        "application/x-dosexec" => "PE",
        _ => return None,
    })
}

/// Writes them.
pub fn write(out: &mut Out, now: i64, file: &mut File, hashes: Hashes, timed_out: bool) {
    let digests = file.digests(hashes);
    let mut analyzers: Vec<&str> = hashes.analyzers().collect();
    analyzers.extend(file.mime.and_then(by_mime));
    for ids in &file.flows {
        let mark = out.mark(now, ids.order, ids.lane);
        let row = files::Row {
            ts: file.ts,
            fuid: &file.fuid,
            uid: Some(&ids.uid),
            orig_h: Some(ids.tuple.orig_h),
            orig_p: Some(ids.tuple.orig_p),
            resp_h: Some(ids.tuple.resp_h),
            resp_p: Some(ids.tuple.resp_p),
            source: Some(file.source),
            depth: file.depth,
            analyzers: &analyzers,
            mime_type: file.mime,
            filename: file.filename.as_deref(),
            duration: file.active - file.ts,
            local_orig: file.local_orig,
            is_orig: Some(file.is_orig),
            seen_bytes: file.seen,
            total_bytes: file.size,
            missing_bytes: file.missing,
            overflow_bytes: file.overflow,
            timedout: timed_out,
            parent_fuid: file.parent.as_deref(),
            md5: digests.md5.as_deref(),
            sha1: digests.sha1.as_deref(),
            sha256: digests.sha256.as_deref(),
            community_id: Some(&ids.community_id),
            ..files::Row::unset()
        };
        out.files.push(mark, row);
    }
}
