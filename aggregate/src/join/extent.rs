//! When a flow was seen, and by which numbers it began: by what copies of it know each other.

use super::flows::{DATAGRAM_US, SKEW_US};

/// What is compared of two rows of one tuple.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Whether its transport is TCP.
    pub is_tcp: bool,
    /// The initial numbers of the lower end and of the other, where both directions were seen.
    pub starts: [Option<u32>; 2],
    /// First packet.
    pub first: i64,
    /// Last packet.
    pub last: i64,
}

impl Extent {
    /// Whether two sensors that both saw both directions saw one flow.
    pub fn is_same(&self, other: &Extent) -> bool {
        if self.is_tcp && self.starts.iter().chain(&other.starts).all(Option::is_some) {
            // A flow that begins anew has other numbers; clocks do not matter.
            return self.starts == other.starts && self.meets(other, DATAGRAM_US);
        }
        self.meets(other, 0)
    }

    /// Whether two overlap in time, or nearly.
    pub fn meets(&self, other: &Extent, within: i64) -> bool {
        let within = SKEW_US.saturating_add(within);
        self.first <= other.last.saturating_add(within)
            && other.first <= self.last.saturating_add(within)
    }
}
