//! Packets inside packets: what the headers of tunnels say, and what flows remember of the tunnels
//! around them.
//!
//! Tunnels over IP itself ([`ip`], [`gre`]) have no flow of their own; those over UDP ([`udp`]) are
//! what a flow carries. Either way the inner packet goes through the engine again with one [`Layer`]
//! more in its [`Stack`], as in Zeek's `EncapsulationStack`.

pub mod active;
pub mod ayiya;
pub mod geneve;
pub mod gre;
pub mod gtpv1;
pub mod ip;
pub mod pairs;
pub mod teredo;
pub mod udp;
pub mod vxlan;

use model::id::{self, FiveTuple};

use crate::flow::{Key, Meta};
use crate::source::Link;
pub use active::{Proxy, Tunnels};
pub use pairs::{Over, Pair, Pairs};
pub use udp::{Carrier, Kind};

/// Tunnels in tunnels that are followed (Zeek's `Tunnel::max_depth`).
pub const DEPTH_MAX: usize = 4;
/// Changes of the tunnels around one flow that are noted (Zeek's `Tunnel::max_changes_per_connection`).
pub const CHANGES_MAX: u8 = 5;

/// One tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// Between two hosts: IP in IP and GRE.
    Hosts(Pair),
    /// Carried by a UDP flow.
    Flow {
        /// The flow's tuple.
        key: Key,
        /// Its originator is the key's higher end.
        swapped: bool,
        /// Time of its first packet.
        first: i64,
        /// Flows before it with the same tuple and first time.
        repeat: u32,
        /// What it carries.
        kind: Kind,
    },
}

impl Layer {
    /// The tunnel that a flow is.
    pub fn flow(meta: &Meta, kind: Kind) -> Layer {
        let Meta { key, swapped, first, .. } = *meta;
        Layer::Flow { key, swapped, first, repeat: meta.repeat(), kind }
    }

    /// The uid that rows name it by: the flow's own, where it is one.
    pub fn uid(&self) -> String {
        match self {
            Layer::Hosts(Pair { src, dst, first, .. }) => {
                let mut ends = [src.to_string(), dst.to_string()];
                ends.sort();
                let [a, b] = &ends;
                let parts: [&[u8]; 4] =
                    [b"tunnel", a.as_bytes(), b.as_bytes(), &first.to_be_bytes()];
                id::uid('C', &parts)
            }
            Layer::Flow { key, first, repeat, .. } => id::flow_uid(&key.tuple(), *first, *repeat),
        }
    }

    /// Its ends and the protocol that carries it; without ports where it has no flow.
    pub fn ends(&self) -> FiveTuple {
        match self {
            Layer::Hosts(Pair { src, dst, proto, .. }) => {
                FiveTuple { orig_h: *src, orig_p: 0, resp_h: *dst, resp_p: 0, proto: *proto }
            }
            Layer::Flow { key, swapped, .. } => key.tuple_from(*swapped),
        }
    }

    /// Zeek's name of its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Layer::Hosts(Pair { over: Over::Ip, .. }) => "Tunnel::IP",
            Layer::Hosts(Pair { over: Over::Gre, .. }) => "Tunnel::GRE",
            Layer::Flow { kind, .. } => kind.type_name(),
        }
    }
}

/// The tunnels around a packet, outermost first (Zeek's `EncapsulationStack`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stack([Option<Layer>; DEPTH_MAX]);

impl Stack {
    /// No tunnel.
    pub const NONE: Stack = Stack([None; DEPTH_MAX]);

    /// No tunnel is around the packet.
    pub fn is_empty(&self) -> bool {
        matches!(self.0, [None, ..])
    }

    /// No further tunnel is followed.
    pub fn is_full(&self) -> bool {
        matches!(self.0, [.., Some(_)])
    }

    /// How many there are.
    pub fn depth(&self) -> u8 {
        self.0.iter().flatten().count() as u8
    }

    /// All of them, outermost first.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.0.iter().flatten()
    }

    /// The innermost tunnel.
    pub fn last(&self) -> Option<&Layer> {
        self.0.iter().flatten().last()
    }

    /// What the innermost tunnel is, if a flow carries it.
    pub fn last_kind(&self) -> Option<Kind> {
        match self.last()? {
            Layer::Flow { kind, .. } => Some(*kind),
            Layer::Hosts(_) => None,
        }
    }

    /// The same with one more inside. A full stack stays as it is.
    #[must_use]
    pub fn with(mut self, layer: Layer) -> Stack {
        if let Some(free) = self.0.iter_mut().find(|place| place.is_none()) {
            *free = Some(layer);
        }
        self
    }
}

/// What a flow remembers of the tunnels around it.
#[derive(Debug)]
pub struct Around {
    stack: Stack,
    /// Uids of all innermost tunnels, each once: the column `tunnel_parents`; their ends, and when it was first in each.
    parents: Vec<(String, FiveTuple, i64)>,
    changes: u8,
}

impl Around {
    /// For a flow that begins in these tunnels; nothing where there are none.
    pub fn new(stack: &Stack, now: i64) -> Option<Box<Around>> {
        let mut around = Around { stack: *stack, parents: Vec::new(), changes: 0 };
        around.add_parent(now);
        (!stack.is_empty()).then(|| Box::new(around))
    }

    /// The tunnels around the flow's next packet (`Connection::CheckEncapsulation`).
    pub fn see(place: &mut Option<Box<Around>>, stack: &Stack, now: i64) -> Seen {
        if place.is_none() && stack.is_empty() {
            return Seen::Same;
        }
        let bare = || Box::new(Around { stack: Stack::NONE, parents: Vec::new(), changes: 0 });
        let around = place.get_or_insert_with(bare);
        if around.stack == *stack {
            return Seen::Same;
        }
        around.stack = *stack;
        if around.changes >= CHANGES_MAX {
            return Seen::TooOften;
        }
        around.changes += 1;
        around.add_parent(now);
        Seen::Changed
    }

    /// The packet that began the flow was a tunnel itself. Zeek keeps one stack for the flow and for
    /// what is inside it, so that the flow's next packet counts as a change.
    pub fn grow(&mut self, layer: Layer) {
        self.stack = self.stack.with(layer);
    }

    /// Uids of the tunnels that were right around the flow.
    pub fn parents(&self) -> impl Iterator<Item = &str> {
        self.parents.iter().map(|(uid, ..)| uid.as_str())
    }

    /// The same as any sensor names them that sees one direction of them, and when the flow was first in each.
    pub fn names(&self) -> impl Iterator<Item = (String, i64)> {
        self.parents.iter().map(|(_, ends, at)| (id::community_id(ends), *at))
    }

    fn add_parent(&mut self, now: i64) {
        let Some(layer) = self.stack.last() else { return };
        let uid = layer.uid();
        if self.parents.iter().all(|(known, ..)| *known != uid) {
            self.parents.push((uid, layer.ends(), now));
        }
    }
}

/// What the tunnels around a flow's packet are to those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The same.
    Same,
    /// Others.
    Changed,
    /// Others, and that too often to be of interest.
    TooOften,
}

/// A packet found inside another.
#[derive(Debug, Clone, Copy)]
pub struct Inner<'a> {
    /// Its bytes, as many as were captured.
    pub bytes: &'a [u8],
    /// What they begin with.
    pub link: Link,
}

impl<'a> Inner<'a> {
    /// An IP packet.
    pub fn ip(bytes: &'a [u8]) -> Inner<'a> {
        Inner { bytes, link: Link::Raw }
    }
}

/// A weird about a packet and no flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Oddity {
    /// Zeek's name for it.
    pub name: &'static str,
    /// Zeek's analyzer.
    pub source: Option<&'static str>,
    /// What `addl` says: words and a number.
    pub addl: Option<(&'static str, u32)>,
    /// Zeek raises it with the packet, so that it gets addresses, and `_in_tunnel` where it is in one.
    pub of_packet: bool,
}

impl Oddity {
    /// Without more to say.
    pub const fn new(name: &'static str, source: &'static str) -> Oddity {
        Oddity { name, source: Some(source), addl: None, of_packet: true }
    }

    /// With a number.
    pub const fn with(self, words: &'static str, number: u32) -> Oddity {
        Oddity { addl: Some((words, number)), ..self }
    }
}

#[cfg(test)]
mod tests;
