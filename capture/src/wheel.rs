//! Timers: a ring of slots, each for a stretch of packet time.
//!
//! An entry is a hint that a flow should be looked at. The flow itself knows its deadline exactly, so
//! an entry that comes too early is put back, and one that is stale is dropped.

/// Stretch of one slot, microseconds. Exactness does not depend on it: a flow's own next packet looks at
/// its deadline first.
const SLOT: i64 = 250_000;
/// Slots: together 17 minutes; later deadlines wait in the last slot and are put back.
const SLOTS: i64 = 4096;

/// A flow to look at: its place in the table, its serial number there, and when.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Place in the table.
    pub index: u32,
    /// Serial number of the flow, as places are used again.
    pub serial: u32,
    /// Deadline for which it was put in.
    pub at: i64,
}

/// The ring.
#[derive(Debug)]
pub struct Wheel {
    slots: Vec<Vec<Entry>>,
    /// Number of the slot that is next to be emptied.
    next: i64,
}

impl Default for Wheel {
    fn default() -> Wheel {
        Wheel { slots: vec![Vec::new(); SLOTS as usize], next: i64::MIN }
    }
}

impl Wheel {
    /// Puts a flow in, as of `now`: the first one says where the ring stands. By the time alone, so that it stands at the
    /// same slot in all threads: one whose first flow is late already would end that at once, the others with the slot.
    pub fn add(&mut self, entry: Entry, now: i64) {
        if self.next == i64::MIN {
            self.next = now.div_euclid(SLOT);
        }
        let slot = entry.at.div_euclid(SLOT).clamp(self.next, self.next + SLOTS - 1);
        self.slots[slot.rem_euclid(SLOTS) as usize].push(entry);
    }

    /// Whether [`Wheel::take`] would find a slot that has passed.
    #[inline]
    pub fn is_due(&self, now: i64) -> bool {
        self.next != i64::MIN && self.next.saturating_add(1).saturating_mul(SLOT) <= now
    }

    /// The entries of the next slot that has passed by `now`; the caller gives the vector back.
    pub fn take(&mut self, now: i64) -> Option<Vec<Entry>> {
        if !self.is_due(now) {
            return None;
        }
        // Beyond a full turn all slots are empty or seen: no need to walk the years of a pause.
        let last = now.div_euclid(SLOT);
        self.next = self.next.max(last - SLOTS);
        let slot = &mut self.slots[self.next.rem_euclid(SLOTS) as usize];
        self.next += 1;
        Some(std::mem::take(slot))
    }

    /// Gives an emptied vector back, so that its memory is used again.
    pub fn give_back(&mut self, mut entries: Vec<Entry>) {
        entries.clear();
        let slot = &mut self.slots[(self.next - 1).rem_euclid(SLOTS) as usize];
        if slot.is_empty() {
            *slot = entries;
        }
    }

    /// All entries of the slot that `now` lies in.
    pub fn current(&self, now: i64) -> &[Entry] {
        if self.next == i64::MIN {
            return &[];
        }
        &self.slots[now.div_euclid(SLOT).rem_euclid(SLOTS) as usize]
    }
}
