//! Tunnels in use, and the rows that say when one is found, closed and out of use
//! (`base/frameworks/tunnels`).
//!
//! A tunnel counts as found when a flow begins in it or moves into it. One that a flow carries is
//! closed with that flow; any that no flow has begun in for an hour is out of use.

use std::collections::{BTreeMap, HashMap};

use model::id::{self, FiveTuple};
use model::stream::tunnel;

use super::{Layer, Stack};
use crate::config::{SECOND, SHARDS};
use crate::out::Out;

/// How long a tunnel stays in use after the last flow began in it (`Tunnel::expiration_interval`).
const EXPIRATION: i64 = 3600 * SECOND;
/// How often that is looked at (`table_expire_interval`).
const LOOK_EVERY: i64 = 10 * SECOND;
/// Tunnels in use that a shard remembers; above it the one that was used least lately goes, with its
/// row. Some 200 bytes each: 50 MB where somebody opens one after the other.
const ACTIVE_MAX: usize = 4096;

/// What a tunnel is seen as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    /// CONNECT of HTTP.
    Http,
    /// SOCKS.
    Socks,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Discover,
    Close,
    Expire,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Action::Discover => "Tunnel::DISCOVER",
            Action::Close => "Tunnel::CLOSE",
            Action::Expire => "Tunnel::EXPIRE",
        }
    }
}

/// A tunnel in use.
#[derive(Debug, Clone)]
struct Active {
    kind: &'static str,
    uid: Option<String>,
    /// A flow carries it.
    has_flow: bool,
    /// When a flow last began in it, and its place among all uses.
    used: (i64, u64),
}

#[derive(Debug, Default)]
struct Shard {
    by: HashMap<FiveTuple, Active>,
    uses: BTreeMap<(i64, u64), FiveTuple>,
    count: u64,
}

impl Shard {
    /// Notes that a flow began in the tunnel; says whether it is known.
    fn is_used(&mut self, ends: &FiveTuple, now: i64) -> bool {
        let Some(active) = self.by.get_mut(ends) else { return false };
        self.uses.remove(&active.used);
        self.count += 1;
        active.used = (now, self.count);
        self.uses.insert(active.used, *ends);
        true
    }

    fn add(&mut self, ends: FiveTuple, mut active: Active, now: i64) {
        self.count += 1;
        active.used = (now, self.count);
        self.uses.insert(active.used, ends);
        self.by.insert(ends, active);
    }

    fn remove(&mut self, ends: &FiveTuple) -> Option<Active> {
        let active = self.by.remove(ends)?;
        self.uses.remove(&active.used);
        Some(active)
    }
}

/// Tunnels in use, by virtual shard: those of one are the same for any number of threads.
#[derive(Debug)]
pub struct Tunnels {
    shards: Vec<Shard>,
    /// Time of the first packet, and when to look for what is out of use.
    start: Option<i64>,
    look_at: i64,
}

impl Default for Tunnels {
    fn default() -> Tunnels {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Tunnels { shards, start: None, look_at: i64::MIN }
    }
}

impl Tunnels {
    fn shard(&mut self, shard: u8) -> Option<&mut Shard> {
        self.shards.get_mut(usize::from(shard))
    }
}

impl Out {
    /// A flow begins in these tunnels, or moves into them.
    pub fn tunnels_used(&mut self, shard: u8, stack: &Stack, now: i64) {
        for layer in stack.layers() {
            let ends = layer.ends();
            let make = || Active {
                kind: layer.type_name(),
                uid: Some(layer.uid()),
                has_flow: matches!(layer, Layer::Flow { .. }),
                used: (0, 0),
            };
            self.tunnel_used(shard, ends, make, now);
        }
    }

    /// A flow asks its responder to be its proxy. All flows of one client to one proxy are one tunnel.
    pub fn proxy_used(&mut self, shard: u8, flow: &FiveTuple, proxy: Proxy, now: i64) {
        let kind = match proxy {
            Proxy::Http => "Tunnel::HTTP",
            Proxy::Socks => "Tunnel::SOCKS",
        };
        let make = || Active { kind, uid: None, has_flow: false, used: (0, 0) };
        self.tunnel_used(shard, FiveTuple { orig_p: 0, ..*flow }, make, now);
    }

    fn tunnel_used(&mut self, shard: u8, ends: FiveTuple, make: impl FnOnce() -> Active, now: i64) {
        let Some(of) = self.tunnels.shard(shard) else { return };
        if of.is_used(&ends, now) {
            return;
        }
        let excess = of.uses.values().next().copied().filter(|_| of.by.len() >= ACTIVE_MAX);
        let oldest = excess.and_then(|ends| Some((ends, of.remove(&ends)?)));
        let active = make();
        let order = u64::from(shard) << 56;
        of.add(ends, active.clone(), now);
        if let Some((ends, active)) = oldest {
            self.tunnels_forgotten += 1;
            self.tunnel_row(order, &ends, &active, Action::Expire, now);
        }
        self.tunnel_row(order, &ends, &active, Action::Discover, now);
    }

    /// A flow is over, and with it the tunnel that it carried, if it did.
    /// `order` is the flow's: of flows that end at once a thread with other shards ends them in other order.
    pub fn tunnel_closed(&mut self, order: u64, flow: &FiveTuple, now: i64) {
        let Some(of) = self.tunnels.shard((order >> 56) as u8) else { return };
        if let Some(active) = of.remove(flow) {
            self.tunnel_row(order, flow, &active, Action::Close, now);
        }
    }

    /// The latest packet time has come to `now`: writes what is out of use. Zeek counts whole seconds
    /// from the first packet, and looks once in a while.
    #[inline]
    pub fn expire_tunnels(&mut self, now: i64) {
        if now >= self.tunnels.look_at {
            self.look_at_tunnels(now);
        }
    }

    fn look_at_tunnels(&mut self, now: i64) {
        let start = *self.tunnels.start.get_or_insert(now);
        self.tunnels.look_at = now.saturating_add(LOOK_EVERY);
        for shard in 0..SHARDS as u8 {
            while let Some(of) = self.tunnels.shard(shard)
                && let Some(((used, _), ends)) =
                    of.uses.iter().next().map(|(at, ends)| (*at, *ends))
                && used - (used - start).rem_euclid(SECOND) + EXPIRATION < now
                && let Some(active) = of.remove(&ends)
            {
                self.tunnel_row(u64::from(shard) << 56, &ends, &active, Action::Expire, now);
            }
        }
    }

    fn tunnel_row(
        &mut self,
        order: u64,
        ends: &FiveTuple,
        active: &Active,
        action: Action,
        now: i64,
    ) {
        let community_id = id::community_id(ends);
        let lane = id::partition(community_id.as_bytes(), self.lanes);
        let mark = self.mark(now, order, lane);
        let row = tunnel::Row {
            ts: now,
            uid: active.uid.as_deref(),
            orig_h: ends.orig_h,
            orig_p: ends.orig_p,
            resp_h: ends.resp_h,
            resp_p: ends.resp_p,
            tunnel_type: active.kind,
            action: action.name(),
            community_id: active.has_flow.then_some(&community_id),
        };
        self.tunnel.push(mark, row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::{Over, Pair};

    fn stack(dst: [u8; 4]) -> Stack {
        let src = [10, 0, 0, 1].into();
        let pair = Pair { src, dst: dst.into(), over: Over::Gre, proto: 47, first: 0 };
        Stack::NONE.with(Layer::Hosts(pair))
    }

    fn flow(orig_p: u16) -> FiveTuple {
        let (orig_h, resp_h) = ([10, 0, 0, 1].into(), [10, 0, 0, 9].into());
        FiveTuple { orig_h, orig_p, resp_h, resp_p: 1080, proto: 6 }
    }

    /// Time, responder and what happened, row by row.
    fn rows(out: &mut Out) -> Vec<(i64, String, String)> {
        let (batch, _) = out.tunnel.finish("n");
        let text = |name: &str, row: usize| {
            model::read::text(&batch, name).expect("a column").value(row).to_owned()
        };
        let ts = model::read::time(&batch, "ts").expect("a column");
        (0..batch.num_rows())
            .map(|row| (ts.value(row), text("id.resp_h", row), text("action", row)))
            .collect()
    }

    #[test]
    fn found_once_and_out_of_use_an_hour_after_the_last_use() {
        let mut out = Out::new(1);
        out.expire_tunnels(500);
        out.tunnels_used(0, &stack([10, 0, 0, 2]), 500);
        let last = 500 + 7 * SECOND / 2;
        out.tunnels_used(0, &stack([10, 0, 0, 2]), last);
        // The last use counts as that of the whole second before.
        out.expire_tunnels(500 + 3 * SECOND + EXPIRATION);
        let gone = 500 + 13 * SECOND + EXPIRATION;
        out.expire_tunnels(gone - 1);
        out.expire_tunnels(gone);
        out.expire_tunnels(gone + LOOK_EVERY);
        let row = |at, action: &str| (at, "10.0.0.2".to_owned(), format!("Tunnel::{action}"));
        assert_eq!(rows(&mut out), [row(500, "DISCOVER"), row(gone, "EXPIRE")]);
    }

    #[test]
    fn all_flows_to_a_proxy_are_one_tunnel_and_do_not_close_it() {
        let mut out = Out::new(1);
        for port in [1000, 1001] {
            out.proxy_used(0, &flow(port), Proxy::Socks, 5);
            out.tunnel_closed(1, &flow(port), 6);
        }
        assert_eq!(rows(&mut out), [(5, "10.0.0.9".to_owned(), "Tunnel::DISCOVER".to_owned())]);
        out.tunnel_closed(1, &flow(0), 6);
        assert_eq!(rows(&mut out).len(), 1);
    }

    #[test]
    fn tunnels_closed_at_once_are_in_the_order_of_their_flows() {
        let mut hosts = Vec::new();
        for numbers in [[1, 2], [2, 1]] {
            let mut out = Out::new(1);
            let proxy = |n: u64| FiveTuple { resp_p: n as u16, ..flow(0) };
            numbers.iter().for_each(|n| out.proxy_used(5, &proxy(*n), Proxy::Http, 1));
            out.tunnel.finish("n");
            numbers.iter().for_each(|n| out.tunnel_closed(5 << 56 | n, &proxy(*n), 2));
            let (batch, marks) = out.tunnel.finish("n");
            let ports = model::read::port(&batch, "id.resp_p").expect("a column").values().to_vec();
            let mut rows: Vec<_> = marks.into_iter().zip(ports).collect();
            rows.sort_unstable();
            hosts.push(rows.into_iter().map(|(_, port)| port).collect::<Vec<_>>());
        }
        assert_eq!(hosts, [[1, 2], [1, 2]]);
    }

    #[test]
    fn the_least_lately_used_goes_where_there_are_too_many() {
        let mut out = Out::new(1);
        let of = |n: usize| stack([10, 1, (n >> 8) as u8, n as u8]);
        (0..ACTIVE_MAX).for_each(|n| out.tunnels_used(0, &of(n), n as i64));
        out.tunnels_used(0, &of(0), 9_000);
        rows(&mut out);
        out.tunnels_used(0, &stack([10, 2, 0, 0]), 9_001);
        let row = |host: &str, action: &str| (9_001, host.to_owned(), format!("Tunnel::{action}"));
        assert_eq!(rows(&mut out), [row("10.1.0.1", "EXPIRE"), row("10.2.0.0", "DISCOVER")]);
        assert_eq!(out.tunnels_forgotten, 1);
        let shard = &out.tunnels.shards[0];
        assert_eq!((shard.by.len(), shard.uses.len()), (ACTIVE_MAX, ACTIVE_MAX));
    }
}
