//! Flows that another flow has announced, such as FTP's data connections (Zeek's scheduled analyzers).
//!
//! A flow that is expected is looked for in the table of its own virtual shard, and an analyzer puts what
//! it expects into that of the flow that announced it, so that the answer does not depend on the
//! number of threads. A flow announced between two other hosts is found only if they share a shard.

use std::collections::HashMap;
use std::net::IpAddr;

/// How long a flow is waited for, microseconds (five minutes in Zeek's `base/protocols/ftp/main.zeek`).
const WAIT: i64 = 300 * 1_000_000;

/// Flows that a virtual shard waits for; Zeek's `FTP::max_expected_data_channels`, 100000, by 64 shards.
const EXPECTED_MAX: usize = 1562;

/// A flow that is expected: originator, responder, responder's port; its originator's port may be any.
pub type Ends = (IpAddr, IpAddr, u16);

/// What one virtual shard waits for, each with the moment up to which it does.
#[derive(Debug, Default)]
pub struct Expected {
    flows: HashMap<Ends, i64>,
    /// No flow is given up before this, so that a full table is not gone through for every one that comes.
    sweep_at: i64,
}

impl Expected {
    /// A flow between these ends is to come. Beyond the limit it is forgotten at once.
    pub fn add(&mut self, ends: Ends, now: i64) {
        if self.flows.len() >= EXPECTED_MAX && now >= self.sweep_at {
            self.flows.retain(|_, until| *until > now);
            self.sweep_at = self.flows.values().copied().min().unwrap_or(now);
        }
        if self.flows.len() < EXPECTED_MAX || self.flows.contains_key(&ends) {
            self.flows.insert(ends, now.saturating_add(WAIT));
        }
    }

    /// Whether a flow that begins now was expected. It stays so for the next one.
    pub fn has(&self, ends: Ends, now: i64) -> bool {
        !self.flows.is_empty() && self.flows.get(&ends).is_some_and(|until| *until > now)
    }

    /// The flow has ended.
    pub fn remove(&mut self, ends: Ends) {
        self.flows.remove(&ends);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(port: u16) -> Ends {
        (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]), port)
    }

    #[test]
    fn for_five_minutes_or_until_it_has_ended() {
        let mut expected = Expected::default();
        expected.add(ends(1), 0);
        expected.add(ends(2), 0);
        assert!(expected.has(ends(1), WAIT - 1));
        assert!(!expected.has(ends(1), WAIT));
        assert!(!expected.has(ends(3), 0));
        expected.remove(ends(2));
        assert!(!expected.has(ends(2), 0));
    }

    #[test]
    fn a_full_table_is_gone_through_when_one_is_due() {
        let mut expected = Expected::default();
        for port in 0..EXPECTED_MAX as u16 {
            expected.add(ends(port), i64::from(port));
        }
        expected.add(ends(60_000), EXPECTED_MAX as i64);
        assert_eq!(expected.sweep_at, WAIT);
        expected.add(ends(60_000), WAIT + 9);
        assert!(expected.has(ends(60_000), WAIT + 10));
        assert_eq!((expected.flows.len(), expected.sweep_at), (EXPECTED_MAX - 9, WAIT + 10));
    }

    #[test]
    fn no_more_than_the_limit() {
        let mut expected = Expected::default();
        for port in 0..2000 {
            expected.add(ends(port), 0);
        }
        assert_eq!(expected.flows.len(), EXPECTED_MAX);
        assert!(!expected.has(ends(1999), 1));
        expected.add(ends(1999), WAIT);
        assert_eq!(expected.flows.len(), 1);
        assert!(expected.has(ends(1999), WAIT + 1));
    }
}
