//! IPv6 extension headers (RFC 8200 section 4): where the transport header is, and what the
//! routing and mobility headers say about the true ends.

use std::net::Ipv6Addr;

use super::bytes::{array_at, u8_at, u16_at, u32_at};
use super::{Fragment, MAX_LAYERS, Weird, WeirdSet, proto};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

/// Destination option with the home address of a mobile node (RFC 6275 section 6.3).
const HOME_ADDRESS: u8 = 201;

/// What a walk along the extension headers found.
pub(super) struct Chain {
    pub(super) src: Ipv6Addr,
    pub(super) dst: Ipv6Addr,
    /// Protocol of what follows. ESP and mobility headers end the chain and are what follows.
    pub(super) next: u8,
    /// Bytes of extension headers before `next`.
    pub(super) len: usize,
    /// Bytes of headers seen, with the one that ended the chain: what Zeek checks lengths with.
    pub(super) seen: usize,
    pub(super) fragment: Option<Fragment>,
    pub(super) weirds: WeirdSet,
    home: bool,
    routed: bool,
}

impl Chain {
    pub(super) fn new(src: Ipv6Addr, dst: Ipv6Addr, next: u8) -> Chain {
        Chain {
            src,
            dst,
            next,
            len: 0,
            seen: 0,
            fragment: None,
            weirds: WeirdSet::NONE,
            home: false,
            routed: false,
        }
    }
}

/// Follows the chain through `data`, which begins behind the fixed header. It stops at a fragment
/// header (the rest may be elsewhere), at a header that was not captured whole, and at
/// [`MAX_LAYERS`]; `next` then is the header not taken, which no transport protocol has.
pub(super) fn walk(chain: &mut Chain, data: &[u8]) {
    for _ in 0..MAX_LAYERS {
        let rest = data.get(chain.len..).unwrap_or_default();
        let Some(len) = header_len(chain.next, rest) else { return };
        let Some(header) = rest.get(..len) else { return };
        chain.seen = chain.len + len;
        match chain.next {
            proto::ESP => return,
            proto::MOBILITY => {
                if u8_at(header, 0) != Some(proto::NO_NEXT) {
                    chain.weirds.insert(Weird::MobilityPiggyback);
                }
                return;
            }
            ROUTING => routing(chain, header),
            DESTINATION => destination(chain, header),
            _ => {}
        }
        let at_fragment = chain.next == FRAGMENT;
        if at_fragment {
            chain.fragment = fragment(header);
        }
        chain.next = u8_at(header, 0).unwrap_or(proto::NO_NEXT);
        chain.len = chain.seen;
        if at_fragment {
            return;
        }
    }
}

/// Length of the extension header `kind`; `None` if it is none or too short to say.
fn header_len(kind: u8, header: &[u8]) -> Option<usize> {
    let stated = u8_at(header, 1).map(usize::from)?;
    match kind {
        HOP_BY_HOP | ROUTING | DESTINATION | proto::MOBILITY => Some(8 + 8 * stated),
        FRAGMENT | proto::ESP => Some(8),
        // The one header that counts in four bytes (RFC 4302 section 2.2).
        AUTHENTICATION => Some(8 + 4 * stated),
        _ => None,
    }
}

fn fragment(header: &[u8]) -> Option<Fragment> {
    let word = u16_at(header, 2)?;
    Some(Fragment {
        id: u32_at(header, 4)?,
        offset: u32::from(word & 0xfff8),
        more: word & 1 != 0,
        dont: false,
    })
}

/// A routing header that is not yet used up ends at the true receiver.
fn routing(chain: &mut Chain, header: &[u8]) {
    if chain.routed {
        chain.weirds.insert(Weird::MultipleRoutingHeaders);
        return;
    }
    let stated = u8_at(header, 1).unwrap_or(0);
    let left = u8_at(header, 3).unwrap_or(0);
    let last = header.last_chunk::<16>().copied().map(Ipv6Addr::from);
    let take = |chain: &mut Chain| {
        if let Some(dst) = last {
            chain.dst = dst;
            chain.routed = true;
        }
    };
    match u8_at(header, 2).unwrap_or(u8::MAX) {
        // Deprecated by RFC 5095.
        0 => {
            if left > 0 && stated >= 2 {
                if stated.is_multiple_of(2) {
                    take(chain);
                } else {
                    chain.weirds.insert(Weird::OddRouting0Length);
                }
            }
            chain.weirds.insert(Weird::Routing0Header);
        }
        // Mobile IPv6 (RFC 6275 section 6.4): exactly one address.
        2 if left > 0 => {
            if stated == 2 {
                take(chain);
            } else {
                chain.weirds.insert(Weird::BadRouting2Length);
            }
        }
        2 => {}
        _ => chain.weirds.insert(Weird::UnknownRoutingType),
    }
}

/// Looks for the home address among the destination options.
fn destination(chain: &mut Chain, header: &[u8]) {
    let mut options = header.get(2..).unwrap_or_default();
    while let Some(&kind) = options.first() {
        // Pad1 has no length (RFC 8200 section 4.2).
        if kind == 0 {
            options = options.get(1..).unwrap_or_default();
            continue;
        }
        let len = u8_at(options, 1).map(usize::from);
        let Some(value) = len.and_then(|len| options.get(2..2 + len)) else {
            chain.weirds.insert(Weird::BadDestinationOption);
            return;
        };
        if kind == HOME_ADDRESS {
            home_address(chain, value);
        }
        options = options.get(2 + value.len()..).unwrap_or_default();
    }
}

fn home_address(chain: &mut Chain, value: &[u8]) {
    match array_at::<16>(value, 0) {
        Some(home) if value.len() == 16 => {
            if chain.home {
                chain.weirds.insert(Weird::MultipleHomeAddresses);
                return;
            }
            chain.home = true;
            chain.src = Ipv6Addr::from(home);
        }
        _ => chain.weirds.insert(Weird::BadHomeAddressLength),
    }
}
