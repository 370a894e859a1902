//! Bodies as files: when one begins, what it is called, when its type is told. Source: Zeek
//! `HTTP_Entity::SubmitData`, `base/protocols/http/files.zeek` and `entities.zeek`.

use std::net::IpAddr;

use model::id;

use super::Http;
use super::entity::{Encoding, Link};
use super::files::Sniffed;
use super::record::Field;
use crate::analyzer::{Cx, Dir};

/// Bytes that Zeek hands to a file at once (`http_entity_data_delivery_size`): where a body goes on
/// behind the end of its file, the next file begins at such a place.
const DELIVERY: usize = 1500;

impl Http {
    /// Content of an entity, all encodings undone.
    pub(super) fn submit(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize, data: &[u8]) {
        let mut rest = data;
        while !rest.is_empty() {
            let link = self.entity(dir, depth).map(|entity| std::mem::take(&mut entity.file));
            let Some(link) = link else { return };
            let link = self.open_file(cx, dir, link);
            let taken = self.push_file(cx, dir, depth, link, rest);
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    /// Gives the file what it takes of `data`, and the file back to the entity.
    fn push_file(
        &mut self,
        cx: &mut Cx<'_>,
        dir: Dir,
        depth: usize,
        mut link: Link,
        data: &[u8],
    ) -> usize {
        let Some(entity) = self.sides[dir.index()].message.entities.get_mut(depth) else {
            return data.len();
        };
        let size = if entity.range_at.is_some() { Some(entity.whole) } else { entity.length };
        let size = size.and_then(|size| u64::try_from(size).ok()).filter(|size| *size > 0);
        let counts = std::mem::take(&mut entity.length_counts);
        let size = size.filter(|_| counts && entity.encoding == Encoding::Plain);
        let file = match &mut link {
            Link::Own(file) => Some(&mut **file),
            Link::Ranged(id) => self.ranged.find(id, cx.now),
            Link::None => None,
        };
        let Some(file) = file else { return data.len() };
        if let Some(size) = size {
            file.set_size(size);
        }
        let fits = file.missing().is_none_or(|missing| data.len() as u64 <= missing);
        let taken = if fits { data.len() } else { data.len().min(DELIVERY) };
        let data = data.get(..taken).unwrap_or_default();
        // Pieces of a file that come out of order are not put together.
        let in_order = entity.range_at.is_none_or(|at| at == file.at());
        let sniffed = if in_order { file.push(data) } else { None };
        if let Some(at) = &mut entity.range_at {
            *at = at.saturating_add(taken as u64);
        }
        if file.is_complete() {
            self.tell(dir, sniffed);
            self.close_file(dir, link);
        } else {
            entity.file = link;
            self.tell(dir, sniffed);
        }
        taken
    }

    /// Bytes of an entity's content that were never seen.
    pub(super) fn file_gap(&mut self, cx: &mut Cx<'_>, dir: Dir, depth: usize, len: u64) {
        let link = self.entity(dir, depth).map(|entity| std::mem::take(&mut entity.file));
        let mut link = self.open_file(cx, dir, link.unwrap_or_default());
        let sniffed = match &mut link {
            Link::Own(file) => file.gap(len),
            Link::Ranged(id) => self.ranged.find(id, cx.now).and_then(|file| file.gap(len)),
            Link::None => None,
        };
        self.tell(dir, sniffed);
        if let Some(entity) = self.entity(dir, depth) {
            entity.file = link;
            if let Some(at) = &mut entity.range_at {
                *at = at.saturating_add(len);
            }
        }
    }

    /// The entity's file is over, unless it may go on in another reply.
    pub(super) fn end_file(&mut self, dir: Dir, depth: usize) {
        if dir == Dir::Resp && self.reply_code == 206 {
            return;
        }
        let link = self.entity(dir, depth).map(|entity| std::mem::take(&mut entity.file));
        self.close_file(dir, link.unwrap_or_default());
    }

    fn close_file(&mut self, dir: Dir, link: Link) {
        match link {
            Link::None => {}
            Link::Own(mut file) => {
                let sniffed = file.sniff();
                self.tell(dir, sniffed);
                self.spare_file = Some(file);
            }
            Link::Ranged(id) => {
                let sniffed = self.ranged.remove(&id).and_then(|mut file| file.sniff());
                self.tell(dir, sniffed);
            }
        }
    }

    fn tell(&mut self, dir: Dir, sniffed: Option<Sniffed>) {
        let Some((owner, name)) = sniffed else { return };
        if let Some(record) = self.log.of(owner) {
            record.add_type(dir, name);
        }
    }

    /// The file of an entity; it begins now unless it has already.
    fn open_file(&mut self, cx: &mut Cx<'_>, dir: Dir, link: Link) -> Link {
        match link {
            Link::Own(mut file) => {
                if !file.is_idle(cx.now) {
                    return Link::Own(file);
                }
                self.close_file(dir, Link::Own(file));
            }
            Link::Ranged(id) => {
                if self.ranged.find(&id, cx.now).is_some() {
                    return Link::Ranged(id);
                }
            }
            Link::None => {}
        }
        self.new_file(cx, dir)
    }

    fn new_file(&mut self, cx: &mut Cx<'_>, dir: Dir) -> Link {
        let owner = self.log.current_depth();
        let mut file = self.spare_file.take().unwrap_or_default();
        let ranged = dir == Dir::Resp && self.log.current().is_some_and(|record| record.ranged);
        if !ranged {
            let parts = self.log.current().map_or(0, |record| record.parts[dir.index()]);
            let id = id::uid(
                'F',
                &[
                    cx.ids.uid.as_bytes(),
                    &[dir.index() as u8],
                    &owner.to_be_bytes(),
                    &parts.to_be_bytes(),
                ],
            );
            self.add_file(dir, &id);
            file.begin(owner, cx.now);
            return Link::Own(file);
        }
        let id = self.range_id(cx);
        if self.ranged.find(&id, cx.now).is_none() {
            self.add_file(dir, &id);
            file.begin(owner, cx.now);
            self.ranged.insert(id.clone(), *file);
        }
        Link::Ranged(id)
    }

    fn add_file(&mut self, dir: Dir, id: &str) {
        if let Some(record) = self.log.current() {
            record.add_file(dir, id);
        }
    }

    /// Pieces of one file are known by who asks and for what, in whatever flow.
    fn range_id(&mut self, cx: &Cx<'_>) -> String {
        let tuple = &cx.ids.tuple;
        let orig = match tuple.orig_h {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        let record = self.log.current();
        let uri = record.as_ref().and_then(|record| record.get(Field::Uri)).unwrap_or_default();
        if memchr::memmem::find(uri, b"://").is_some() {
            return id::uid('F', &[&orig, uri]);
        }
        let host = record.as_ref().and_then(|record| record.get(Field::Host));
        let host = host.map_or_else(|| tuple.resp_h.to_string().into_bytes(), <[u8]>::to_vec);
        id::uid('F', &[&orig, &host, &tuple.resp_p.to_be_bytes(), uri])
    }
}
