//! Bodies as files: when one begins, what it is called, which transaction is told its type. Source: Zeek
//! `HTTP_Entity::SubmitData`, `base/protocols/http/files.zeek` and `entities.zeek`.

use super::Http;
use super::entity::Encoding;
use super::record::Field;
use crate::analyzer::{Cx, Dir};
use crate::files::{About, FileRef, Told};

/// Bytes that Zeek hands to a file at once (`http_entity_data_delivery_size`): where a body goes on
/// behind the end of its file, the next file begins at such a place.
const DELIVERY: usize = 1500;

impl Http {
    /// Content of an entity, all encodings undone.
    pub(super) fn submit(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize, data: &[u8]) {
        let mut rest = data;
        while !rest.is_empty() {
            let file = self.open_file(cx, dir, depth);
            let taken = self.push_file(cx, dir, depth, file, rest);
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    /// Gives the file what it takes of `data`, and says how much that was.
    fn push_file(
        &mut self,
        cx: &mut Cx<'_>,
        dir: Dir,
        depth: usize,
        file: FileRef,
        data: &[u8],
    ) -> usize {
        let Some(entity) = self.sides[dir.index()].message.entities.get_mut(depth) else {
            return data.len();
        };
        let size = if entity.range_at.is_some() { Some(entity.whole) } else { entity.length };
        let size = size.and_then(|size| u64::try_from(size).ok()).filter(|size| *size > 0);
        let counts = std::mem::take(&mut entity.length_counts);
        if let Some(size) = size.filter(|_| counts && entity.encoding == Encoding::Plain) {
            let told = cx.file_size(file, size);
            if told.is_over {
                // All of it was there before: what comes is another file.
                self.tell(dir, told);
                return 0;
            }
        }
        let fits = cx.file_missing(file).is_none_or(|missing| data.len() as u64 <= missing);
        let taken = if fits { data.len() } else { data.len().min(DELIVERY) };
        let data = data.get(..taken).unwrap_or_default();
        let told = match &mut entity.range_at {
            Some(at) => {
                let told = cx.file_chunk(file, *at, data);
                *at = at.saturating_add(taken as u64);
                told
            }
            None => cx.file_data(file, data),
        };
        self.tell(dir, told);
        taken
    }

    /// Bytes of an entity's content that were never seen.
    pub(super) fn file_gap(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize, len: u64) {
        let file = self.open_file(cx, dir, depth);
        let told = cx.file_gap(file, len);
        self.tell(dir, told);
        if let Some(at) = self.entity(dir, depth).and_then(|entity| entity.range_at.as_mut()) {
            *at = at.saturating_add(len);
        }
    }

    /// The entity's file is over, unless it may go on in another reply.
    pub(super) fn end_file(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize) {
        if dir == Dir::Resp && self.reply_code == 206 {
            return;
        }
        let file = self.entity(dir, depth).map(|entity| std::mem::take(&mut entity.file));
        let mut file = file.unwrap_or_default();
        if file == FileRef::default() && self.is_ranged(dir) {
            // A reply without a body ends the file of which others were ranges.
            let id = self.range_id(cx);
            file = cx.file_find(&id).unwrap_or_default();
        }
        let told = cx.file_end(file);
        self.tell(dir, told);
    }

    fn tell(&mut self, dir: Dir, told: Told) {
        let Some(name) = told.mime else { return };
        if let Some(record) = self.log.of(told.owner) {
            record.add_type(dir, name);
        }
    }

    fn is_ranged(&mut self, dir: Dir) -> bool {
        dir == Dir::Resp && self.log.current().is_some_and(|record| record.ranged)
    }

    /// The file of an entity; it begins now unless it has.
    fn open_file(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize) -> FileRef {
        let file = self.entity(dir, depth).map(|entity| entity.file).unwrap_or_default();
        if cx.file_is_open(file) {
            return file;
        }
        // One that ended for want of bytes may have found its type then.
        let told = cx.file_end(file);
        self.tell(dir, told);
        let file = self.new_file(cx, dir);
        if let Some(entity) = self.entity(dir, depth) {
            entity.file = file;
        }
        file
    }

    fn new_file(&mut self, cx: &mut Cx<'_>, dir: Dir) -> FileRef {
        let owner = self.log.current_depth();
        let ranged = self.is_ranged(dir);
        let id = if ranged { self.range_id(cx) } else { self.file_id(cx, dir, owner) };
        let record = self.log.current();
        let filename = record.as_ref().and_then(|record| record.entity_name());
        let about = About {
            source: "HTTP",
            is_orig: dir == Dir::Orig,
            filename,
            owner,
            ..About::default()
        };
        let (file, is_new) =
            if ranged { cx.file_join(&id, about) } else { (cx.file_begin(&id, about), true) };
        if let (true, Some(record)) = (is_new, record) {
            record.add_file(dir, &id);
        }
        file
    }

    fn file_id(&mut self, cx: &Cx<'_>, dir: Dir, owner: u64) -> String {
        let parts = self.log.current().map_or(0, |record| record.parts[dir.index()]);
        cx.fuid(&[&[dir.index() as u8], &owner.to_be_bytes(), &parts.to_be_bytes()])
    }

    /// Pieces of one file are known by who asks and for what, in whatever flow.
    fn range_id(&mut self, cx: &Cx<'_>) -> String {
        let tuple = &cx.ids.tuple;
        let record = self.log.current();
        let uri = record.as_ref().and_then(|record| record.get(Field::Uri)).unwrap_or_default();
        if memchr::memmem::find(uri, b"://").is_some() {
            return cx.shared_fuid(&[uri]);
        }
        let host = record.as_ref().and_then(|record| record.get(Field::Host));
        let host = host.map_or_else(|| tuple.resp_h.to_string().into_bytes(), <[u8]>::to_vec);
        cx.shared_fuid(&[&host, &tuple.resp_p.to_be_bytes(), uri])
    }
}
