//! A flow of which one direction is seen, while another sensor may see the other: what that direction alone says of its
//! protocol, for the aggregators that join both.

use super::aside::{Told, What};
use super::{App, Slot};
use crate::analyzer::{self, Dir, Kind, Transport, peers};
use crate::config::Joins;
use crate::flow::Meta;
use crate::host::Shared;

/// Protocols of which a half may go on as TLS with nothing in it that says so to its analyzer.
const BEFORE_TLS: [&str; 9] =
    ["ftp", "http", "imap", "irc", "mysql", "pop3", "rdp", "smtp", "xmpp"];

/// Whether that is what a later payload of such a protocol does. Nobody turns to the form of SSL 2.0, which other bytes
/// look like.
fn turns_to_tls(name: &str, dir: Dir, data: &[u8]) -> bool {
    BEFORE_TLS.contains(&name) && data.first() == Some(&0x16) && analyzer::ssl::begins(dir, data)
}

impl App {
    /// What the flow's analyzers are told those hear too that judge it as a half, while it may be one.
    pub(super) fn beside(&mut self, meta: &Meta, shared: &mut Shared, told: Told, data: &[u8]) {
        if self.is_half || shared.config.joins == Joins::Nothing {
            return;
        }
        // The packet at hand is counted later, so that it is the others that tell; a RST is of no direction here.
        let is_whole = match told.what {
            What::Reset => !meta.packets.contains(&0),
            What::Data(..) | What::Gap(_) | What::End => {
                meta.packets[told.dir.other().index()] != 0
            }
        };
        if is_whole {
            self.aside = None;
            return;
        }
        let aside = match told.what {
            What::Data(..) | What::Gap(_) => self.aside.get_or_insert_default(),
            What::End | What::Reset => match &mut self.aside {
                Some(aside) => aside,
                None => return,
            },
        };
        aside.tell(meta, shared, told, data);
    }

    /// The next thing that analyzers are told.
    pub(super) fn hear(&mut self, meta: &Meta, shared: &mut Shared, told: Told, data: &[u8]) {
        let Told { now, dir, transport, what } = told;
        match what {
            What::Data(_, partial) => self.data(meta, transport, shared, now, dir, data, partial),
            What::Gap(len) => self.gap(meta, shared, now, dir, len),
            What::End => self.end(meta, shared, now, dir),
            What::Reset => self.reset(meta, shared, now),
        }
    }

    /// The flow begins and was announced by a half.
    pub fn expect_half(&mut self, name: &'static str, kind: &'static Kind, now: i64) {
        self.aside.get_or_insert_default().expect(name, kind, now);
    }

    /// The flow is over: what it is as a half is known from here on.
    pub fn finish_half(&mut self, meta: &Meta, shared: &mut Shared, now: i64) {
        match &mut self.aside {
            Some(aside) if meta.packets.contains(&0) => aside.finish(meta, shared, now),
            _ => self.aside = None,
        }
    }

    /// What the flow is as a half; of one without payload there is nothing else to tell.
    pub fn as_half(&self) -> &App {
        self.aside.as_ref().and_then(|aside| aside.app()).unwrap_or(self)
    }

    /// Whether anything is kept to judge the half by.
    #[cfg(test)]
    pub fn is_judged_aside(&self) -> bool {
        self.aside.is_some()
    }

    /// Whether an analyzer of the half has given up at a limit.
    pub fn gave_up_half(&self) -> bool {
        self.aside.as_ref().and_then(|aside| aside.app()).is_some_and(|app| app.gave_up)
    }

    /// Protocols that the flow is not, and when that was known; none where its beginning tells that it is not of the
    /// protocol from the outset.
    pub fn ruled_out(&self, dir: Dir) -> impl Iterator<Item = (&'static str, Option<i64>)> {
        let [_, strange] = self.beginning(dir);
        let strange = peers::STRICT.iter().enumerate().filter(move |(i, _)| strange >> i & 1 == 1);
        let violated =
            self.slots.iter().filter_map(|slot| Some((slot.name, Some(slot.violated_at?))));
        let is_violated = |name: &str| self.slots.iter().any(|s| s.name == name && s.is_violated());
        let removed = self.services.removed().filter(move |(name, _)| !is_violated(name));
        // Unless it came to be of the protocol later.
        let is_there = |name: &str| self.slots.iter().any(|s| s.name == name && !s.is_violated());
        let strange = strange.map(|(_, kind)| (kind.name, None));
        let all = violated.chain(removed.map(|(name, at)| (name, Some(at)))).chain(strange);
        all.filter(move |(name, _)| !is_there(name))
    }

    /// Protocols that a client's first payload is of by itself, but which are told nothing of a flow whose beginning
    /// was not seen.
    pub fn begins(&self, dir: Dir) -> impl Iterator<Item = &'static str> {
        let late = if dir == Dir::Orig { self.late } else { 0 };
        let of_client = analyzer::ALL.iter().enumerate().filter(move |(i, _)| late >> i & 1 == 1);
        of_client.filter(|(_, kind)| kind.skips_partial).map(|(_, kind)| kind.name)
    }

    /// What the beginning of the one direction that was seen fits, and what it rules out.
    fn beginning(&self, dir: Dir) -> [u8; 2] {
        match &self.probing {
            _ if self.transport != Some(Transport::Tcp) => [0; 2],
            Some(probing) => {
                // What is inside comes after what was begun with.
                let ([fits, strange], [more, _]) = (self.beginning, probing.beginning(dir));
                if probing.carrier.is_some() {
                    [fits | more, strange]
                } else {
                    probing.beginning(dir)
                }
            }
            None => self.beginning,
        }
    }

    /// Protocols that one direction showed, of those that it takes both to confirm, and when; none where its beginning
    /// is enough.
    pub fn fits(&self, dir: Dir) -> impl Iterator<Item = (&'static str, Option<i64>)> {
        let [begins, _] = self.beginning(dir);
        let begins = peers::ALL.iter().enumerate().filter(move |(i, _)| begins >> i & 1 == 1);
        let shows = |peers: &peers::Peers| {
            let is = |slot: &Slot| slot.name == peers.kind.name && slot.confirmed;
            !peers.shows_later || self.slots.iter().any(is)
        };
        let begins = begins.filter(move |(_, peers)| shows(peers));
        let begins = begins.map(|(_, peers)| (peers.kind.name, None));
        let shown = self.slots.iter().filter_map(|slot| Some((slot.name, Some(slot.shown_at?))));
        begins.chain(shown)
    }

    /// Of a half the other direction is missing, which agreed to TLS: then what follows what was said before is known
    /// by its first bytes, and nobody else is told of it.
    pub(super) fn changes_to_tls(
        &mut self,
        transport: Transport,
        dir: Dir,
        data: &[u8],
        partial: bool,
    ) {
        let may = self.is_half
            && self.payload > 0
            && !partial
            && !self.incomplete
            && transport == Transport::Tcp;
        let is_tls = |slot: &Slot| slot.name == analyzer::ssl::KIND.name;
        let turns = |slot: &Slot| !slot.stopped && turns_to_tls(slot.name, dir, data);
        if may && self.slots.iter().any(turns) && !self.slots.iter().any(is_tls) {
            self.slots.iter_mut().for_each(|slot| slot.stopped = true);
            self.attach(&analyzer::ssl::KIND, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_to_tls() {
        let (hello, reply) = (b"\x16\x03\x01\0\x50\x01", b"\x16\x03\x01\0\x50\x02");
        assert!(turns_to_tls("smtp", Dir::Orig, hello));
        assert!(turns_to_tls("smtp", Dir::Resp, reply));
        assert!(!turns_to_tls("smtp", Dir::Orig, reply));
        assert!(!turns_to_tls("ssh", Dir::Orig, hello));
        let old = b"\x80\x50\x01\x03\x01\0";
        assert!(analyzer::ssl::begins(Dir::Orig, old));
        assert!(!turns_to_tls("smtp", Dir::Orig, old));
        let known = |name: &&str| analyzer::ALL.iter().any(|kind| kind.name == *name);
        assert!(BEFORE_TLS.iter().all(known));
    }
}
