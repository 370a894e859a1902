//! Tunnels over UDP: which datagrams are tried as which, and what a flow has shown of being one.
//!
//! As in Zeek's `UDP` packet analyzer the responder's port decides, and where it says nothing,
//! what the datagram looks like.

use super::{Inner, Layer, Oddity, Stack, ayiya, geneve, gtpv1, teredo, vxlan};
use crate::analyzer::Dir;
use crate::flow::seen;
use crate::host::Host;

/// A tunnel over UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// AYIYA.
    Ayiya,
    /// Geneve.
    Geneve,
    /// GTP version 1.
    Gtpv1,
    /// Teredo.
    Teredo,
    /// VXLAN.
    Vxlan,
}

impl Kind {
    const ALL: [Kind; 5] = [Kind::Ayiya, Kind::Geneve, Kind::Gtpv1, Kind::Teredo, Kind::Vxlan];

    /// What a datagram is tried as.
    pub fn of(resp_p: u16, data: &[u8]) -> Option<Kind> {
        match resp_p {
            5072 => Some(Kind::Ayiya),
            6081 => Some(Kind::Geneve),
            2152 | 2123 => Some(Kind::Gtpv1),
            3544 => Some(Kind::Teredo),
            4789 => Some(Kind::Vxlan),
            _ if ayiya::detect(data) => Some(Kind::Ayiya),
            _ if teredo::detect(data) => Some(Kind::Teredo),
            _ => None,
        }
    }

    /// Its name in `service`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ayiya => "ayiya",
            Kind::Geneve => "geneve",
            Kind::Gtpv1 => "gtpv1",
            Kind::Teredo => "teredo",
            Kind::Vxlan => "vxlan",
        }
    }

    /// Its type in `tunnel`.
    pub fn type_name(self) -> &'static str {
        match self {
            Kind::Ayiya => "Tunnel::AYIYA",
            Kind::Geneve => "Tunnel::GENEVE",
            Kind::Gtpv1 => "Tunnel::GTPv1",
            Kind::Teredo => "Tunnel::TEREDO",
            Kind::Vxlan => "Tunnel::VXLAN",
        }
    }

    /// Zeek's analyzer, as weirds name it.
    pub const fn source(self) -> &'static str {
        match self {
            Kind::Ayiya => "AYIYA",
            Kind::Geneve => "GENEVE",
            Kind::Gtpv1 => "GTPV1",
            Kind::Teredo => "TEREDO",
            Kind::Vxlan => "VXLAN",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What a datagram says of its flow.
#[derive(Debug, Clone, Copy)]
pub struct Says<'a> {
    /// Whether it is the protocol that it was tried as, if that can be told.
    pub is: Option<bool>,
    /// The packet inside.
    pub inner: Option<Inner<'a>>,
    /// What is odd about it.
    pub odd: Option<Oddity>,
}

impl<'a> Says<'a> {
    /// It is not this protocol.
    pub const NO: Says<'static> = Says { is: Some(false), inner: None, odd: None };
    /// It proves nothing.
    pub const NOTHING: Says<'static> = Says { is: None, inner: None, odd: None };

    /// It is this protocol.
    pub fn yes(inner: Option<Inner<'a>>) -> Says<'a> {
        Says { is: Some(true), inner, odd: None }
    }

    /// It is this protocol, with nothing inside.
    pub fn yes_but(odd: Oddity) -> Says<'a> {
        Says { is: Some(true), inner: None, odd: Some(odd) }
    }

    /// It proves nothing, and is odd.
    pub fn nothing_but(odd: Oddity) -> Says<'a> {
        Says { odd: Some(odd), ..Says::NOTHING }
    }
}

/// What a UDP flow has shown of being a tunnel (Zeek's `AnalyzerConfirmationState`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carrier {
    /// Kinds that it was confirmed to be: they stay in `service` for good.
    confirmed: u8,
    /// Kinds that it was found not to be.
    violated: u8,
    /// Ends that have sent a valid Teredo packet.
    teredo: [bool; 2],
    /// A packet was found inside.
    pub carries: bool,
}

impl Carrier {
    /// Names for `service`.
    pub fn services(&self) -> impl Iterator<Item = &'static str> {
        let confirmed = self.confirmed;
        Kind::ALL.into_iter().filter(move |kind| confirmed & kind.bit() != 0).map(Kind::name)
    }

    /// What an end showed that is confirmed when the other shows the same.
    pub fn fits(&self, dir: Dir) -> Option<&'static str> {
        let is_valid = self.teredo[dir.index()] && !self.is_violated(Kind::Teredo);
        is_valid.then(|| Kind::Teredo.name())
    }

    fn is_violated(&self, kind: Kind) -> bool {
        self.violated & kind.bit() != 0
    }

    fn is_confirmed(&self, kind: Kind) -> bool {
        self.confirmed & kind.bit() != 0 && !self.is_violated(kind)
    }

    fn settle(&mut self, kind: Kind, is: bool) {
        if !is {
            self.violated |= kind.bit();
        } else if !self.is_violated(kind) {
            self.confirmed |= kind.bit();
        }
    }
}

/// What a flow's datagram holds of a tunnel.
#[derive(Debug, Clone, Copy, Default)]
pub struct Found<'a> {
    /// The packet inside, and the tunnel that the flow is.
    pub inner: Option<(Inner<'a>, Layer)>,
    /// A weird about the datagram.
    pub odd: Option<Oddity>,
}

/// Tries one datagram of a flow, which came in the tunnels `around`.
pub fn look<'a>(host: &mut Host<'_>, dir: Dir, data: &'a [u8], around: &Stack) -> Found<'a> {
    let Some(kind) = Kind::of(host.meta.resp_p(), data) else { return Found::default() };
    if kind != Kind::Gtpv1 {
        // GTP looks for itself, and is read on after a violation.
        if host.meta.carrier.is_violated(kind) {
            return Found::default();
        }
        if around.is_full() {
            host.meta.letter_once(Dir::Orig, seen::GAVE_UP, b'X');
            let odd = Oddity::new("exceeded_tunnel_max_depth", kind.source());
            return Found { inner: None, odd: Some(odd) };
        }
    }
    let says = match kind {
        Kind::Ayiya => ayiya::open(data),
        Kind::Geneve => geneve::open(data),
        Kind::Gtpv1 => gtpv1::open(data, around),
        Kind::Teredo => read_teredo(host, dir, data),
        Kind::Vxlan => vxlan::open(data),
    };
    if let Some(is) = says.is {
        host.meta.carrier.settle(kind, is);
    }
    host.meta.carrier.carries |= says.inner.is_some();
    let layer = Layer::flow(host.meta, kind);
    Found { inner: says.inner.map(|inner| (inner, layer)), odd: says.odd }
}

/// Teredo is confirmed by a valid packet of both ends (`Tunnel::delay_teredo_confirmation`), and its
/// weirds are the flow's.
fn read_teredo<'a>(host: &mut Host<'_>, dir: Dir, data: &'a [u8]) -> Says<'a> {
    let source = Some(Kind::Teredo.source());
    match teredo::open(data) {
        Ok(packet) => {
            if packet.padded_bubble {
                host.weird_with("Teredo_bubble_with_payload", None, source);
            }
            let valid = &mut host.meta.carrier.teredo;
            valid[dir.index()] = true;
            let is = valid.iter().all(|end| *end).then_some(true);
            Says { is, ..Says::yes(Some(Inner::ip(packet.bytes))) }
        }
        Err(weird) => {
            // Before that it would be said of anything on the port.
            if let Some(name) = weird
                && host.meta.carrier.is_confirmed(Kind::Teredo)
            {
                host.weird_with(name, None, source);
            }
            Says::NO
        }
    }
}
