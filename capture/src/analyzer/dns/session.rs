//! The transactions of one flow: which reply belongs to which query, and when a row is written
//! (Zeek `base/protocols/dns/main.zeek`: `set_session`, `do_reply`, `dns_end`, `finalize_dns`).
//!
//! The oldest query without a reply waits apart from the others, as in Zeek, where that is for
//! speed; it also decides which queries are given up together.

use std::collections::VecDeque;

use super::transaction::Transaction;
use super::wire::Header;
use crate::analyzer::Cx;
use crate::few;

/// Transactions of one identifier that wait, from which all of them are given up (Zeek's
/// `DNS::max_pending_msgs`).
pub const PENDING_MESSAGES_MAX: usize = 50;
/// Identifiers that wait, from which all are given up (Zeek's `DNS::max_pending_query_ids`).
pub const PENDING_IDS_MAX: usize = 50;
/// Bytes that a flow's transactions may take before those that wait are given up. Zeek has no such
/// limit: 5,000 replies that nobody asked for, with names that repeat, would take gigabytes.
pub const HELD_BYTES_MAX: usize = 1 << 20;

/// Place of a transaction in [`Session::all`].
type Slot = usize;

/// The transactions of one flow.
#[derive(Default)]
pub struct Session {
    all: Vec<Transaction>,
    free: Vec<Slot>,
    held_bytes: usize,
    /// The transaction that the last message belongs to, until its row is written.
    current: Option<Slot>,
    /// The query that waits apart.
    query: Option<Slot>,
    queries: Pending,
    replies: Pending,
    /// Whether the flow was found to run the other way round in this call: until its end the engine
    /// does not know, and rows must name the ends so.
    pub flipped: bool,
}

impl Session {
    /// A message begins whose operation is followed: finds or makes its transaction.
    pub fn message(&mut self, cx: &mut Cx<'_>, header: &Header) {
        let slot = if header.reply() {
            self.of_reply(cx, header.id)
        } else {
            self.of_query(cx, header.id)
        };
        self.make_current(Some(slot));
        self.with_current(|transaction| transaction.message(header));
    }

    fn of_query(&mut self, cx: &mut Cx<'_>, id: u16) -> Slot {
        if let Some(slot) = self.replies.pop(id) {
            return self.taken(slot);
        }
        let slot = self.begin(cx.now, id);
        if self.query.is_none() {
            self.query = Some(slot);
        } else {
            self.give_up(cx, Side::Queries, id);
            self.queries.put(id, slot);
        }
        slot
    }

    fn of_reply(&mut self, cx: &mut Cx<'_>, id: u16) -> Slot {
        if let Some(slot) = self.query
            && self.all.get(slot).is_some_and(|query| query.id == id)
        {
            self.query = self.queries.pop(id).or_else(|| self.queries.pop_any());
            return self.taken(slot);
        }
        if let Some(slot) = self.queries.pop(id) {
            return self.taken(slot);
        }
        let slot = self.begin(cx.now, id);
        self.give_up(cx, Side::Replies, id);
        self.replies.put(id, slot);
        slot
    }

    /// Marks a transaction that left its queue for the message at hand.
    fn taken(&mut self, slot: Slot) -> Slot {
        if let Some(transaction) = self.all.get_mut(slot) {
            transaction.queued = false;
        }
        slot
    }

    /// A new transaction, which a queue is about to hold.
    fn begin(&mut self, now: i64, id: u16) -> Slot {
        let transaction = Transaction::queued(now, id);
        self.held_bytes += transaction.bytes();
        if let Some(slot) = self.free.pop()
            && let Some(place) = self.all.get_mut(slot)
        {
            *place = transaction;
            return slot;
        }
        few::push(&mut self.all, transaction);
        self.all.len() - 1
    }

    /// Makes room in a queue before one more of `id` is put there.
    fn give_up(&mut self, cx: &mut Cx<'_>, side: Side, id: u16) {
        if self.held_bytes > HELD_BYTES_MAX {
            self.write_queue(cx, Side::Queries, None);
            self.write_queue(cx, Side::Replies, None);
            return;
        }
        let waiting = self.side(side).waiting(id);
        let ids = self.side(side).0.len();
        match waiting {
            None if ids > PENDING_IDS_MAX => self.write_queue(cx, side, None),
            Some(waiting) if waiting > PENDING_MESSAGES_MAX => {
                self.write_queue(cx, side, Some(id));
            }
            _ => {}
        }
    }

    fn side(&mut self, side: Side) -> &mut Pending {
        match side {
            Side::Queries => &mut self.queries,
            Side::Replies => &mut self.replies,
        }
    }

    /// Writes what waits, of one identifier or of all.
    fn write_queue(&mut self, cx: &mut Cx<'_>, side: Side, id: Option<u16>) {
        while let Some(slot) = match id {
            Some(id) => self.side(side).pop(id),
            None => self.side(side).pop_any(),
        } {
            self.write(cx, slot);
            self.unqueue(slot);
        }
    }

    fn write(&self, cx: &mut Cx<'_>, slot: Slot) {
        if let Some(transaction) = self.all.get(slot) {
            transaction.write(cx, self.flipped);
        }
    }

    /// No queue holds it any more.
    fn unqueue(&mut self, slot: Slot) {
        self.taken(slot);
        self.release(slot);
    }

    /// Forgets a transaction that neither a queue nor the message at hand needs.
    fn release(&mut self, slot: Slot) {
        let Some(transaction) = self.all.get_mut(slot) else { return };
        if transaction.queued || self.current == Some(slot) {
            return;
        }
        self.held_bytes = self.held_bytes.saturating_sub(transaction.bytes());
        *transaction = Transaction::default();
        self.free.push(slot);
    }

    fn make_current(&mut self, next: Option<Slot>) {
        let before = std::mem::replace(&mut self.current, next);
        if let Some(slot) = before
            && next != before
        {
            self.release(slot);
        }
    }

    /// Changes the transaction of the message at hand, if there is one.
    pub fn with_current(&mut self, change: impl FnOnce(&mut Transaction)) {
        let Some(transaction) = self.current.and_then(|slot| self.all.get_mut(slot)) else {
            return;
        };
        let before = transaction.bytes();
        change(transaction);
        self.held_bytes = (self.held_bytes + transaction.bytes()).saturating_sub(before);
    }

    /// A message is over: its transaction's row is written if that is complete.
    pub fn end(&mut self, cx: &mut Cx<'_>, header: &Header) {
        let Some(slot) = self.current else { return };
        let mut complete = false;
        self.with_current(|transaction| complete = transaction.end(header));
        if complete {
            self.write(cx, slot);
            self.make_current(None);
        }
    }

    /// The flow is over: writes what still waits.
    pub fn finish(&mut self, cx: &mut Cx<'_>) {
        self.make_current(None);
        if let Some(slot) = self.query.take() {
            self.write(cx, slot);
            self.unqueue(slot);
        }
        self.write_queue(cx, Side::Queries, None);
        self.write_queue(cx, Side::Replies, None);
    }
}

/// One of a session's two queues.
#[derive(Debug, Clone, Copy)]
enum Side {
    Queries,
    Replies,
}

/// Transactions that wait, by identifier: first in, first out.
#[derive(Default)]
struct Pending(Vec<(u16, VecDeque<Slot>)>);

impl Pending {
    fn waiting(&self, id: u16) -> Option<usize> {
        self.0.iter().find(|entry| entry.0 == id).map(|entry| entry.1.len())
    }

    fn put(&mut self, id: u16, slot: Slot) {
        match self.0.iter_mut().find(|entry| entry.0 == id) {
            Some(entry) => entry.1.push_back(slot),
            None => self.0.push((id, VecDeque::from([slot]))),
        }
    }

    fn pop(&mut self, id: u16) -> Option<Slot> {
        let at = self.0.iter().position(|entry| entry.0 == id)?;
        self.pop_at(at)
    }

    fn pop_any(&mut self) -> Option<Slot> {
        self.pop_at(0)
    }

    fn pop_at(&mut self, at: usize) -> Option<Slot> {
        let entry = self.0.get_mut(at)?;
        let slot = entry.1.pop_front();
        if entry.1.is_empty() {
            self.0.remove(at);
        }
        slot
    }
}
