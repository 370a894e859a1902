//! What a role has heard of the document that it follows: the newest good one is taken whole, a bad one is refused
//! whole, and the one before stays.
//!
//! Beside the document lies the last good one, under a name of its own: who begins while the newest is bad finds there
//! what applies. Whoever pushes a document writes both, and so does who decides by it, in the step that takes it.

use bytes::Bytes;

use super::{Refused, put};
use crate::{Outgoing, Topic};

/// What the keys of last good documents begin with.
const GOOD: &str = "good/";

/// Reads a document of some kind, or says what is wrong with it.
pub type Reads<T> = fn(&[u8]) -> Result<T, String>;

/// A document as one role on one node has it.
#[derive(Debug)]
pub struct Follower<T> {
    name: &'static str,
    read: Reads<T>,
    version: fn(&[u8]) -> String,
    /// The one that applies.
    taken: Option<(T, Bytes)>,
    /// The newest, where it is bad.
    refused: Option<Refused>,
    /// What was read last under the name and beside it; nothing yet.
    last: Option<[Option<Bytes>; 2]>,
}

/// What hearing of documents came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Nothing new.
    Same,
    /// Another document applies, or none does.
    Other,
    /// A bad one was found that was not known.
    Bad,
}

impl<T> Follower<T> {
    /// Of the document of this name; nothing was heard yet.
    pub fn new(name: &'static str, read: Reads<T>, version: fn(&[u8]) -> String) -> Follower<T> {
        Follower { name, read, version, taken: None, refused: None, last: None }
    }

    /// A session begins: all is to be heard again.
    pub fn forget(&mut self) {
        self.last = None;
    }

    /// The topic was read.
    pub fn hear(&mut self, documents: &[(Bytes, Bytes)]) -> Heard {
        let found = [find(documents, self.name), find(documents, &good(self.name))];
        if self.last.as_ref() == Some(&found) {
            return Heard::Same;
        }
        let [newest, kept] = found.clone();
        self.last = Some(found);
        let (before, refused) =
            (self.taken.as_ref().map(|(_, bytes)| bytes.clone()), self.refused.take());
        match newest.map(|bytes| ((self.read)(&bytes), bytes)) {
            None => self.taken = None,
            Some((Ok(document), bytes)) => self.taken = Some((document, bytes)),
            Some((Err(why), bytes)) => {
                self.refused = Some(Refused { version: (self.version)(&bytes), why });
                // What was kept is newer than what was heard here, or the same.
                let kept = kept.and_then(|bytes| Some(((self.read)(&bytes).ok()?, bytes)));
                self.taken = kept.or(self.taken.take());
            }
        }
        if self.refused.is_some() && self.refused != refused {
            return Heard::Bad;
        }
        let is_same = before.as_ref() == self.taken.as_ref().map(|(_, bytes)| bytes);
        if is_same { Heard::Same } else { Heard::Other }
    }

    /// The document that applies.
    pub fn document(&self) -> Option<&T> {
        self.taken.as_ref().map(|(document, _)| document)
    }

    /// Its version; empty where there is none.
    pub fn version(&self) -> String {
        self.taken.as_ref().map_or_else(String::new, |(_, bytes)| (self.version)(bytes))
    }

    /// The newest, where it is bad.
    pub fn refused(&self) -> Option<&Refused> {
        self.refused.as_ref()
    }

    /// The record that keeps what was taken for those who begin while the newest is bad, unless it is there.
    pub fn kept(
        &self,
        topic: &Topic,
        documents: &[(Bytes, Bytes)],
        lanes: u32,
    ) -> Option<Outgoing> {
        if self.refused.is_some() {
            return None;
        }
        let (name, taken) = (good(self.name), self.taken.as_ref().map(|(_, bytes)| bytes.clone()));
        (find(documents, &name) != taken).then(|| put(topic, &name, taken, lanes))
    }
}

/// A document that was found good, as the records that push it.
pub fn push(topic: &Topic, name: &str, bytes: &Bytes, lanes: u32) -> Vec<Outgoing> {
    let each = |name: &str| put(topic, name, Some(bytes.clone()), lanes);
    vec![each(name), each(&good(name))]
}

fn good(name: &str) -> String {
    format!("{GOOD}{name}")
}

fn find(documents: &[(Bytes, Bytes)], name: &str) -> Option<Bytes> {
    let found = documents.iter().find(|(key, _)| key[..] == *name.as_bytes());
    found.map(|(_, bytes)| bytes.clone())
}

#[cfg(test)]
mod tests {
    use crate::Payload;
    use crate::topic::POLICY;

    use super::*;

    /// Numbers are good.
    fn follower() -> Follower<u32> {
        let read: Reads<u32> = |bytes| {
            let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
            text.parse().map_err(|_| format!("`{text}` is no number"))
        };
        Follower::new("n", read, |bytes| format!("v{}", String::from_utf8_lossy(bytes)))
    }

    fn topic(of: &[(&'static str, &'static str)]) -> Vec<(Bytes, Bytes)> {
        of.iter().map(|(key, text)| (Bytes::from(*key), Bytes::from(*text))).collect()
    }

    fn kept(follower: &Follower<u32>, documents: &[(Bytes, Bytes)]) -> Option<Option<Bytes>> {
        let out = follower.kept(&POLICY, documents, 3)?;
        assert_eq!(out.key.as_deref(), Some(&b"good/n"[..]));
        Some(if let Payload::Bytes(bytes) = out.payload { Some(bytes) } else { None })
    }

    #[test]
    fn the_newest_good_one_applies_while_the_newest_is_bad() {
        let mut follower = follower();
        assert_eq!((follower.hear(&[]), follower.version()), (Heard::Same, String::new()));
        let one = topic(&[("n", "1"), ("ack/x", "y")]);
        assert_eq!(follower.hear(&one), Heard::Other);
        assert_eq!((follower.document(), follower.version()), (Some(&1), "v1".to_owned()));
        assert_eq!(kept(&follower, &one), Some(Some("1".into())));
        let both = topic(&[("n", "1"), ("good/n", "1")]);
        assert_eq!((follower.hear(&both), kept(&follower, &both)), (Heard::Same, None));
        let bad = topic(&[("n", "x"), ("good/n", "1")]);
        assert_eq!((follower.hear(&bad), follower.hear(&bad)), (Heard::Bad, Heard::Same));
        assert_eq!(
            (follower.document(), follower.refused().unwrap().version.as_str()),
            (Some(&1), "vx")
        );
        assert_eq!(kept(&follower, &bad), None);
        // One that begins now.
        let mut other = self::follower();
        assert_eq!((other.hear(&bad), other.document()), (Heard::Bad, Some(&1)));
        // Another has taken one that was not heard of here.
        assert_eq!(follower.hear(&topic(&[("n", "x"), ("good/n", "2")])), Heard::Other);
        assert_eq!((follower.version(), follower.refused().is_some()), ("v2".to_owned(), true));
        // What was kept is gone, or bad as well.
        assert_eq!(follower.hear(&topic(&[("n", "x"), ("good/n", "y")])), Heard::Same);
        assert_eq!(follower.document(), Some(&2));
        assert_eq!(self::follower().hear(&topic(&[("n", "x"), ("good/n", "y")])), Heard::Bad);
        // Withdrawn: what was kept of it goes too.
        let withdrawn = topic(&[("good/n", "2")]);
        assert_eq!((follower.hear(&withdrawn), follower.document()), (Heard::Other, None));
        assert_eq!((kept(&follower, &withdrawn), follower.refused()), (Some(None), None));
        follower.forget();
        assert_eq!(follower.hear(&one), Heard::Other);
    }

    #[test]
    fn a_push_keeps_what_it_pushes() {
        let out = push(&POLICY, "n", &Bytes::from("5"), 3);
        let pairs: Vec<(Bytes, Bytes)> = out
            .into_iter()
            .filter_map(|out| match out.payload {
                Payload::Bytes(bytes) => Some((out.key?, bytes)),
                _ => None,
            })
            .collect();
        let mut follower = follower();
        assert_eq!(follower.hear(&pairs), Heard::Other);
        assert_eq!((kept(&follower, &pairs), follower.document()), (None, Some(&5)));
    }
}
