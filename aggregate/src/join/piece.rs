//! What one sensor saw of a flow: a row of `raw.conn` as joining looks at it.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{
    Array, BooleanArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use model::read::{self, ColumnError};

use super::tcp::Event;

/// Letters and holes of a half that are looked at: a sensor sends fewer.
const EVENTS_MAX: usize = 256;
/// Distance of sequence numbers within which one is ahead of the other.
const HALF_OF_NUMBERS: u32 = 1 << 31;

/// The columns that are looked at, of one batch.
pub struct Columns<'a> {
    /// When rows were written.
    pub written: &'a TimestampMicrosecondArray,
    ts: &'a TimestampMicrosecondArray,
    sensor: &'a StringArray,
    community_id: &'a StringArray,
    proto: &'a StringArray,
    hosts: [&'a StringArray; 2],
    ports: [&'a Int32Array; 2],
    packets: [&'a Int64Array; 2],
    /// Set where a row may be joined.
    pub last: &'a Int64Array,
    /// Set where it is a half.
    pub is_orig: &'a BooleanArray,
    letters: &'a StringArray,
    times: &'a ListArray,
    start: &'a Int64Array,
    peer_start: &'a Int64Array,
    reached: &'a Int64Array,
    ack: &'a Int64Array,
    fin_ack: &'a Int64Array,
    last_data: &'a Int64Array,
    data: &'a Int64Array,
    alive: &'a StringArray,
    open: &'a StringArray,
    by_port: &'a StringArray,
    holes: &'a ListArray,
}

impl<'a> Columns<'a> {
    /// Of a batch of `raw_conn`.
    ///
    /// # Errors
    /// It is none.
    pub fn of(rows: &'a RecordBatch) -> Result<Columns<'a>, ColumnError> {
        Ok(Columns {
            written: read::time(rows, "_write_ts")?,
            ts: read::time(rows, "ts")?,
            sensor: read::text(rows, "sensor")?,
            community_id: read::text(rows, "community_id")?,
            proto: read::text(rows, "proto")?,
            hosts: [read::text(rows, "id.orig_h")?, read::text(rows, "id.resp_h")?],
            ports: [read::port(rows, "id.orig_p")?, read::port(rows, "id.resp_p")?],
            packets: [read::count(rows, "orig_pkts")?, read::count(rows, "resp_pkts")?],
            last: read::count(rows, "half.last")?,
            is_orig: read::bool(rows, "half.is_orig")?,
            letters: read::text(rows, "half.letters")?,
            times: read::list(rows, "half.times")?,
            start: read::count(rows, "half.start")?,
            peer_start: read::count(rows, "half.peer_start")?,
            reached: read::count(rows, "half.reached")?,
            ack: read::count(rows, "half.ack")?,
            fin_ack: read::count(rows, "half.fin_ack")?,
            last_data: read::count(rows, "half.last_data")?,
            data: read::count(rows, "half.data")?,
            alive: read::text(rows, "half.alive")?,
            open: read::text(rows, "half.open")?,
            by_port: read::text(rows, "half.by_port")?,
            holes: read::list(rows, "half.holes")?,
        })
    }

    /// The node that wrote a row.
    pub fn sensor(&self, row: usize) -> &'a str {
        self.sensor.value(row)
    }

    /// The flow that a row is of.
    pub fn community_id(&self, row: usize) -> &'a str {
        self.community_id.value(row)
    }
}

/// One direction of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Half {
    /// It was taken for the originator's.
    pub is_orig: bool,
    /// Letters with their times.
    pub letters: Vec<(i64, u8)>,
    /// Holes: when found, and where.
    pub holes: Vec<(i64, u64, u64)>,
    /// Initial sequence number.
    pub start: Option<u32>,
    /// How far its numbers went, or its payload.
    pub reached: u64,
    /// The number that it acknowledged last.
    pub ack: Option<u32>,
    /// The number that its first FIN acknowledged.
    pub fin_ack: Option<u32>,
    /// How far its payload went.
    pub data: u64,
    /// When it had new payload last.
    pub last_data: Option<i64>,
    /// Protocols that it looks like, those that are not ruled out, and those that its port speaks for.
    pub alive: [String; 3],
}

/// What one sensor saw of a flow.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The batch that its row stands in, and which it is.
    pub rows: Arc<RecordBatch>,
    /// Its row.
    pub row: usize,
    /// Which row of its record it was.
    pub origin: usize,
    /// The record it came in.
    pub offset: i64,
    /// `_write_ts`.
    pub written: i64,
    /// First and last packet.
    pub first: i64,
    /// The last.
    pub last: i64,
    /// The node, and its tap.
    pub sensor: Arc<str>,
    /// Where it taps.
    pub tap: Arc<str>,
    /// Whether the lower of the two ends is the originator: how directions of two pieces compare.
    pub is_orig_low: bool,
    /// Whether its transport is TCP.
    pub is_tcp: bool,
    /// Ports of both ends.
    pub ports: [i32; 2],
    /// Packets, both ways.
    pub packets: i64,
    /// Of a flow seen one way, that; `None` where both were.
    pub half: Option<Half>,
    /// Of a flow seen both ways, the initial numbers of the lower end and of the other.
    pub starts: [Option<u32>; 2],
}

impl Piece {
    /// A row of a batch, which stands in `rows` at `at`.
    pub fn read(
        columns: &Columns<'_>,
        (rows, at): (&Arc<RecordBatch>, usize),
        row: usize,
        offset: i64,
        (sensor, tap): (&Arc<str>, &Arc<str>),
    ) -> Piece {
        let end = |which: usize| (columns.hosts[which].value(row), columns.ports[which].value(row));
        let first = columns.ts.value(row);
        let is_orig_low = end(0) <= end(1);
        let number = |column: &Int64Array| optional(column, row).map(|n| n as u32);
        let half = (!columns.is_orig.is_null(row)).then(|| half(columns, row, first));
        let mut starts = [number(columns.start), number(columns.peer_start)];
        if !is_orig_low {
            starts.swap(0, 1);
        }
        Piece {
            rows: rows.clone(),
            row: at,
            origin: row,
            offset,
            written: columns.written.value(row),
            first,
            last: first.saturating_add(optional(columns.last, row).unwrap_or(0).max(0)),
            sensor: sensor.clone(),
            tap: tap.clone(),
            is_orig_low,
            is_tcp: columns.proto.value(row) == "tcp",
            ports: [end(0).1, end(1).1],
            packets: columns.packets.iter().filter_map(|of| optional(of, row)).sum(),
            half,
            starts,
        }
    }

    /// Which end was seen sending: 0 for the lower one; of both that of the originator.
    pub fn end(&self) -> usize {
        let is_orig = self.half.as_ref().is_none_or(|half| half.is_orig);
        usize::from(is_orig != self.is_orig_low)
    }

    /// Whether the sender of its first packet was taken for the responder because of its port.
    pub fn is_turned(&self) -> bool {
        let letters = self.half.as_ref().and_then(|half| half.letters.first());
        letters.is_some_and(|(_, letter)| *letter == b'^')
    }

    /// Whether it begins with a SYN, and of which number.
    pub fn syn(&self) -> Option<u32> {
        let half = self.half.as_ref()?;
        let (_, letter) = half.letters.iter().find(|(_, letter)| *letter != b'^')?;
        half.start.filter(|_| *letter == b'S')
    }

    /// The number after the last that it sent.
    pub fn upper(&self) -> Option<u32> {
        let half = self.half.as_ref()?;
        Some(half.start?.wrapping_add(half.reached as u32))
    }

    /// What happened in it. `acked` is the number that the other side acknowledged last: holes below are gaps.
    pub fn events(&self, acked: Option<u32>, peers: &[&Piece]) -> Vec<Event> {
        let Some(half) = &self.half else { return Vec::new() };
        let end = self.end();
        // What is turned at once is known from the piece that comes first, and after a SYN-ACK follows from it.
        let mut before = Vec::new();
        let mut events: Vec<Event> = Vec::new();
        for (at, letter) in &half.letters {
            let follows = *letter == b'^' && (before.is_empty() || before == b"H");
            before.push(*letter);
            let turns = before.iter().filter(|letter| **letter == b'^').count();
            let mut event = Event::letter(*at, end, *letter);
            event.to_orig = turns.is_multiple_of(2);
            event.waits = *letter == b'F' && self.leaves_unacknowledged(*at, peers);
            if !follows {
                events.push(event);
            }
        }
        let Some(acked) = acked.and_then(|ack| self.position(ack)) else { return events };
        // A hole is a gap when the other side acknowledges what lies above: when it next says anything new.
        let acknowledged = |at: i64| {
            let letters = peers.iter().filter(|peer| peer.end() != end);
            let letters = letters.flat_map(|peer| peer.half.iter().flat_map(|half| &half.letters));
            let says = letters.filter(|(time, letter)| *time >= at && b"AD".contains(letter));
            says.map(|(time, _)| *time).min().unwrap_or(at)
        };
        for (at, from, to) in &half.holes {
            let missing = (*to).min(acked).saturating_sub(*from);
            events.push(Event { missing, ..Event::letter(acknowledged(*at), end, b'G') });
        }
        // What the other side has and this sensor has not, after all that it saw. A FIN takes a number.
        let has_finished = half.letters.iter().any(|(_, letter)| *letter == b'F');
        let missing = acked.saturating_sub(half.data);
        if missing > 0 && !has_finished {
            let at = acknowledged(half.last_data.unwrap_or(self.first));
            events.push(Event { missing, ..Event::letter(at, end, b'G') });
        }
        events
    }

    /// Whether its FIN came before it had acknowledged what the other side had sent by then, and never did.
    fn leaves_unacknowledged(&self, at: i64, peers: &[&Piece]) -> bool {
        let Some(half) = &self.half else { return false };
        let Some(acked) = half.fin_ack else { return false };
        peers.iter().filter(|peer| peer.end() != self.end()).any(|peer| {
            let Some(other) = &peer.half else { return false };
            let has_finished = other.letters.iter().any(|(_, letter)| *letter == b'F');
            let top = other.reached.saturating_sub(u64::from(has_finished));
            let is_below = |ack: u32| peer.position(ack).is_some_and(|position| position < top);
            other.last_data.is_some_and(|last| last <= at)
                && is_below(acked)
                && half.ack.is_none_or(is_below)
        })
    }

    /// Where a sequence number lies, counted from the initial one.
    pub fn position(&self, number: u32) -> Option<u64> {
        let half = self.half.as_ref()?;
        let ahead = number.wrapping_sub(self.upper()?);
        if ahead < HALF_OF_NUMBERS {
            return Some(half.reached.saturating_add(u64::from(ahead)));
        }
        Some(half.reached.saturating_sub(u64::from(ahead.wrapping_neg())))
    }
}

fn half(columns: &Columns<'_>, row: usize, first: i64) -> Half {
    let times = numbers(columns.times, row);
    let letters = if columns.letters.is_null(row) { "" } else { columns.letters.value(row) };
    let at = |after: i64| first.saturating_add(after.max(0));
    let number = |column: &Int64Array| optional(column, row).map(|n| n as u32);
    let holes = numbers(columns.holes, row);
    let place = |at: i64| u64::try_from(at).unwrap_or(0);
    Half {
        is_orig: columns.is_orig.value(row),
        letters: times.iter().map(|time| at(*time)).zip(letters.bytes()).collect(),
        holes: holes.chunks_exact(3).map(|h| (at(h[0]), place(h[1]), place(h[2]))).collect(),
        start: number(columns.start),
        reached: place(optional(columns.reached, row).unwrap_or(0)),
        data: {
            let data = optional(columns.data, row).or_else(|| optional(columns.reached, row));
            place(data.unwrap_or(0))
        },
        ack: number(columns.ack),
        fin_ack: number(columns.fin_ack),
        last_data: optional(columns.last_data, row).map(at),
        alive: [columns.alive, columns.open, columns.by_port]
            .map(|of| if of.is_null(row) { String::new() } else { of.value(row).to_owned() }),
    }
}

fn optional(column: &Int64Array, row: usize) -> Option<i64> {
    (!column.is_null(row)).then(|| column.value(row))
}

fn numbers(column: &ListArray, row: usize) -> Vec<i64> {
    if column.is_null(row) {
        return Vec::new();
    }
    let cell = column.value(row);
    let Some(numbers) = cell.as_primitive_opt::<Int64Type>() else { return Vec::new() };
    numbers.iter().flatten().take(EVENTS_MAX).collect()
}
