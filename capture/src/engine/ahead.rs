//! A look at packets before their turn: whose they are, and where their flows lie.
//!
//! A flow lies somewhere in megabytes, in pieces that lead to each other. To handle a packet is mostly to wait for
//! them, one after another. Those of some packets that are fetched together come in the time of one.

use std::hint::black_box;
use std::net::IpAddr;

use super::{Engine, shard_of};
use crate::decode;
use crate::flow::{Flow, Key};
use crate::source::{Burst, Packet};

/// Packets that are looked at together. More would push each other out of the nearest cache before their turn.
pub const AHEAD: usize = 32;

/// The virtual shard of a frame, where that can be told at once.
pub fn shard_of_frame(packet: &Packet<'_>) -> Option<u8> {
    let seen = decode::glance(packet.link, packet.wire_len, packet.data)?;
    Some(shard_of(IpAddr::V4(seen.src), IpAddr::V4(seen.dst)))
}

/// Where the flow of a packet may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Hint {
    /// Not known.
    #[default]
    None,
    /// Of a shard of another thread.
    Foreign,
    /// In the table, under this hash of its key.
    Hash(u32),
    /// At this place, if it is still there.
    At(u32),
}

impl Hint {
    pub(super) fn is_foreign(self) -> bool {
        self == Hint::Foreign
    }
}

impl Engine {
    /// Looks for the flows of packets, and brings them near.
    pub(super) fn look_ahead(
        &mut self,
        burst: &Burst<'_>,
        from: usize,
        count: usize,
    ) -> [Hint; AHEAD] {
        let mut hints = [Hint::None; AHEAD];
        let packets = burst.some(from, count).zip(burst.shards(from, count));
        for (hint, (packet, shard)) in hints.iter_mut().zip(packets) {
            let is_foreign = shard.is_some_and(|shard| !self.is_mine(shard));
            *hint = if is_foreign { Hint::Foreign } else { self.glance(&packet) };
        }
        // Each round waits for what the one before brought, but no packet for another.
        for hint in &mut hints {
            if let Hint::Hash(hash) = *hint {
                *hint = self.table.guess(hash).map_or(Hint::None, Hint::At);
            }
        }
        let rounds: [fn(&Flow) -> u64; 3] = [Flow::touch, Flow::touch_parts, Flow::touch_inside];
        let mut seen = 0;
        for round in rounds {
            for hint in &hints {
                if let Hint::At(at) = hint
                    && let Some(flow) = self.table.get(*at)
                {
                    seen ^= round(flow);
                }
            }
        }
        black_box(seen);
        hints
    }

    pub(super) fn glance(&self, packet: &Packet<'_>) -> Hint {
        let seen = decode::glance(packet.link, packet.wire_len, packet.data);
        let Some(seen) = seen else { return Hint::None };
        let [src, dst] = [seen.src, seen.dst].map(IpAddr::V4);
        let shard = shard_of(src, dst);
        if !self.is_mine(shard) {
            return Hint::Foreign;
        }
        let Some((src_port, dst_port)) = seen.ports else { return Hint::None };
        let realm = self.realm(shard);
        let (key, _) = Key::new(realm, (src, src_port), (dst, dst_port), seen.proto, false);
        Hint::Hash(self.table.hash(&key))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Config;
    use crate::source::{Several, open};

    /// All that is logged of a capture, its packets taken so many together.
    fn rows(trace: &str, together: usize) -> Vec<(Vec<model::stream::Mark>, String)> {
        let path = format!("{}/../tests/traces/{trace}", env!("CARGO_MANIFEST_DIR"));
        let mut source = open(std::path::Path::new(&path)).unwrap();
        let mut engine = Engine::new(Arc::new(Config::new("n")), 0, 1);
        while let Ok(Several::Packets(burst)) = source.burst() {
            for from in (0..burst.count()).step_by(together) {
                if together == 1 {
                    burst.some(from, 1).for_each(|packet| engine.packet(&packet));
                } else {
                    engine.packets(&burst, from, together.min(burst.count() - from));
                }
            }
        }
        engine.finish();
        let rows = engine.out().take("n");
        rows.into_iter().map(|rows| (rows.marks, format!("{:?}", rows.batch))).collect()
    }

    #[test]
    fn to_look_ahead_changes_nothing() {
        for trace in ["mixed.pcap", "scan.pcap", "vlan.pcap"] {
            let one_by_one = rows(trace, 1);
            assert!(!one_by_one.is_empty());
            for together in [2, AHEAD] {
                assert!(rows(trace, together) == one_by_one, "{trace}, {together} together");
            }
        }
    }
}
