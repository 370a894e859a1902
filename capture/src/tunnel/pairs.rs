//! Tunnels between two hosts, which have no flow to remember them: what the first packet said stands for
//! all that follow (`IPTunnelAnalyzer::ip_tunnels`).

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use crate::config::{SHARDS, timeout};

/// Pairs that a shard remembers; above it the oldest goes and is a new tunnel when it comes back. A few
/// hundred bytes each: 80 MB where somebody makes up the addresses of all.
const PAIRS_MAX: usize = 4096;

/// What the hosts exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// IP in IP.
    Ip,
    /// GRE, over IP or over UDP.
    Gre,
}

/// A tunnel between two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Sender of its first packet.
    pub src: IpAddr,
    /// Receiver of that.
    pub dst: IpAddr,
    /// What that packet was.
    pub over: Over,
    /// Number of the protocol that carried it.
    pub proto: u8,
    /// Its time, microseconds.
    pub first: i64,
}

/// A pair with its timer.
#[derive(Debug)]
struct Entry {
    pair: Pair,
    last: i64,
    /// When Zeek looks whether it is idle: once in the timeout, so that it may live for two of them.
    look_at: i64,
}

impl Entry {
    fn is_over(&mut self, now: i64) -> bool {
        while self.look_at <= now {
            if self.look_at.saturating_sub(self.last) >= timeout::IP_TUNNEL {
                return true;
            }
            self.look_at = self.look_at.saturating_add(timeout::IP_TUNNEL);
        }
        false
    }
}

/// Pairs of one shard.
#[derive(Debug, Default)]
struct Shard {
    by: HashMap<(IpAddr, IpAddr), Entry>,
    ages: BTreeSet<(i64, (IpAddr, IpAddr))>,
}

impl Shard {
    fn remove(&mut self, ends: &(IpAddr, IpAddr)) {
        if let Some(entry) = self.by.remove(ends) {
            self.ages.remove(&(entry.pair.first, *ends));
        }
    }
}

/// Pairs by virtual shard: those of one are the same for any number of threads.
#[derive(Debug)]
pub struct Pairs(Vec<Shard>);

impl Default for Pairs {
    fn default() -> Pairs {
        Pairs((0..SHARDS).map(|_| Shard::default()).collect())
    }
}

impl Pairs {
    /// The tunnel that a packet belongs to; `found` is what it would be as the first.
    pub fn of(&mut self, shard: u8, found: Pair) -> Pair {
        let Some(shard) = self.0.get_mut(usize::from(shard)) else { return found };
        let ends = (found.src.min(found.dst), found.src.max(found.dst));
        let now = found.first;
        if let Some(entry) = shard.by.get_mut(&ends) {
            if !entry.is_over(now) {
                entry.last = entry.last.max(now);
                return entry.pair;
            }
            shard.remove(&ends);
        }
        if shard.by.len() >= PAIRS_MAX
            && let Some((_, oldest)) = shard.ages.first().copied()
        {
            shard.remove(&oldest);
        }
        let look_at = now.saturating_add(timeout::IP_TUNNEL);
        shard.by.insert(ends, Entry { pair: found, last: now, look_at });
        shard.ages.insert((now, ends));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SECOND;

    const HOUR: i64 = 3600 * SECOND;

    fn pair(src: u32, dst: u32, over: Over, first: i64) -> Pair {
        let ip = |n: u32| IpAddr::from(n.to_be_bytes());
        Pair { src: ip(src), dst: ip(dst), over, proto: 47, first }
    }

    #[test]
    fn the_first_packet_stands_for_all() {
        let mut pairs = Pairs::default();
        let first = pair(2, 1, Over::Gre, 5);
        assert_eq!(pairs.of(3, first), first);
        assert_eq!(pairs.of(3, pair(1, 2, Over::Ip, 9)), first);
        let other = pair(1, 3, Over::Ip, 9);
        assert_eq!(pairs.of(3, other), other);
        let elsewhere = pair(1, 2, Over::Ip, 9);
        assert_eq!(pairs.of(4, elsewhere), elsewhere, "another shard");
    }

    #[test]
    fn idle_ones_are_forgotten_when_they_are_looked_at() {
        let mut pairs = Pairs::default();
        let first = pairs.of(0, pair(1, 2, Over::Gre, 0));
        for at in [0, 1, 24, 40] {
            assert_eq!(pairs.of(0, pair(2, 1, Over::Gre, at * HOUR)), first, "{at} h");
        }
        // Looked at after 48 h it had been idle for 8, after 72 h for 32.
        assert_eq!(pairs.of(0, pair(2, 1, Over::Gre, 72 * HOUR - 1)), first);
        let again = pair(2, 1, Over::Gre, 121 * HOUR);
        assert_eq!(pairs.of(0, again), again);
    }

    #[test]
    fn the_oldest_goes_where_there_are_too_many() {
        let mut pairs = Pairs::default();
        let first = pair(1, 2, Over::Gre, 0);
        for n in 0..PAIRS_MAX as i64 {
            pairs.of(0, pair(1, 2 + n as u32, Over::Gre, n));
        }
        assert_eq!(pairs.of(0, pair(1, 2, Over::Gre, 9_999)), first);
        pairs.of(0, pair(9, 9, Over::Gre, 10_000));
        let again = pair(1, 2, Over::Gre, 10_001);
        assert_eq!(pairs.of(0, again), again);
        assert_eq!((pairs.0[0].by.len(), pairs.0[0].ages.len()), (PAIRS_MAX, PAIRS_MAX));
    }
}
