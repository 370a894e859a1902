//! What one sensor saw of a flow: a row of `raw.conn` as joining looks at it.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{
    Array, BooleanArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use model::read::{self, ColumnError};

use super::extent::Extent;
use super::part::Rest;
use super::stream;
use super::tcp::{self, Event};
use crate::config::SECOND;

/// Protocols of a half that are looked at: a flow has a few.
const SERVICES_MAX: usize = 32;
/// Numbers of one list of a half that are looked at: a sensor sends fewer.
const EVENTS_MAX: usize = 256;
/// Tunnels around a half that are looked at: a sensor follows fewer into each other.
const TUNNELS_MAX: usize = 8;
/// A flow that is not TCP is over so long after its last packet, whatever time its sensor took to notice.
const OVER_US: i64 = 60 * SECOND;

/// Types of ICMP's messages, which rows have as the originator's port, that others answer: echo, solicitation, timestamp,
/// information, mask; the same of version 6 and its queries of neighbours and nodes.
const ASKING: [i32; 9] = [8, 10, 13, 15, 17, 128, 133, 135, 139];

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
    ip_bytes: [&'a Int64Array; 2],
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
    ends: &'a ListArray,
    acks: &'a ListArray,
    is_late: &'a BooleanArray,
    is_replaced: &'a BooleanArray,
    data: &'a Int64Array,
    confirmed: &'a StringArray,
    confirmed_at: &'a ListArray,
    fits: &'a StringArray,
    fits_at: &'a ListArray,
    begins: &'a StringArray,
    ruled_out: &'a StringArray,
    ruled_out_at: &'a ListArray,
    tunnels: &'a ListArray,
    tunnels_at: &'a ListArray,
    holes: &'a ListArray,
    rests: &'a ListArray,
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
            ip_bytes: [read::count(rows, "orig_ip_bytes")?, read::count(rows, "resp_ip_bytes")?],
            last: read::count(rows, "half.last")?,
            is_orig: read::bool(rows, "half.is_orig")?,
            letters: read::text(rows, "half.letters")?,
            times: read::list(rows, "half.times")?,
            start: read::count(rows, "half.start")?,
            peer_start: read::count(rows, "half.peer_start")?,
            reached: read::count(rows, "half.reached")?,
            ack: read::count(rows, "half.ack")?,
            ends: read::list(rows, "half.ends")?,
            acks: read::list(rows, "half.acks")?,
            is_late: read::bool(rows, "half.is_late")?,
            is_replaced: read::bool(rows, "half.is_replaced")?,
            data: read::count(rows, "half.data")?,
            confirmed: read::text(rows, "half.confirmed")?,
            confirmed_at: read::list(rows, "half.confirmed_at")?,
            fits: read::text(rows, "half.fits")?,
            fits_at: read::list(rows, "half.fits_at")?,
            begins: read::text(rows, "half.begins")?,
            ruled_out: read::text(rows, "half.ruled_out")?,
            ruled_out_at: read::list(rows, "half.ruled_out_at")?,
            tunnels: read::list(rows, "half.tunnels")?,
            tunnels_at: read::list(rows, "half.tunnels_at")?,
            holes: read::list(rows, "half.holes")?,
            rests: read::list(rows, "half.rests")?,
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Half {
    /// It was taken for the originator's.
    pub is_orig: bool,
    /// Packets that are told of.
    pub marks: Vec<Mark>,
    /// What was not seen of it.
    pub holes: Vec<(u64, u64)>,
    /// Where the flow may have been over.
    pub rests: Vec<Rest>,
    /// Its time was over before its last packet came.
    pub is_late: bool,
    /// Initial sequence number.
    pub start: Option<u32>,
    /// How far its numbers went, or its payload.
    pub reached: u64,
    /// The number that it acknowledged last.
    pub ack: Option<u32>,
    /// How far its payload went.
    pub data: u64,
    /// Protocols that it confirmed, and when.
    pub confirmed: Vec<(i64, String)>,
    /// Protocols that it would confirm with the other direction, and when; none where its first payload says so.
    pub fits: Vec<(Option<i64>, String)>,
    /// Those that its first payload is of, though the beginning of the flow was not seen.
    pub begins: Vec<String>,
    /// Those that it is not, and when that was known; none where its first payload is not theirs.
    pub ruled_out: Vec<(Option<i64>, String)>,
    /// Names of the tunnels around it, as its row lists them, and when it was first in each.
    pub tunnels: Vec<(i64, String)>,
}

/// A packet with a letter, or one that went further or acknowledged more than those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// When.
    pub at: i64,
    /// The letter in upper case, or [`NO_LETTER`]; in lower case it is none unless the flow began with the last rest before it.
    pub letter: u8,
    /// The number that follows it, where that went further than before.
    pub end: Option<u32>,
    /// The number that it acknowledged.
    pub ack: Option<u32>,
}

impl Mark {
    /// What it acknowledged; a RST's number is nobody's.
    pub fn acked(&self) -> Option<u32> {
        self.ack.filter(|_| !matches!(self.letter.to_ascii_uppercase(), b'R' | b'I'))
    }

    /// Whether it is of a packet that was not ignored.
    pub fn is_packet(&self) -> bool {
        ![b'^', IGNORED].contains(&self.letter)
    }
}

/// Of a packet that wrote none.
pub const NO_LETTER: u8 = b'-';
/// Of one whose checksum was wrong, and which the sensor went by in nothing else.
pub const IGNORED: u8 = b'C';

impl Half {
    /// When it had payload first.
    pub fn first_data(&self) -> i64 {
        self.marks.iter().find(|mark| mark.letter == b'D').map_or(i64::MAX, |mark| mark.at)
    }

    /// Whether it is of an originator, and nothing in it ends the flow.
    fn was_open(&self) -> bool {
        let has = |letters: &[u8]| self.marks.iter().any(|mark| letters.contains(&mark.letter));
        self.is_orig && has(b"AD") && !has(b"FRI")
    }

    /// What its packets acknowledged, in order.
    pub fn acks(&self) -> impl Iterator<Item = u32> {
        self.marks.iter().filter_map(Mark::acked).chain(self.ack)
    }

    /// The first letter of a packet that was not ignored.
    pub fn first_letter(&self) -> Option<u8> {
        let of_packets = |letter: &u8| ![b'^', NO_LETTER, IGNORED].contains(letter);
        self.marks.iter().map(|mark| mark.letter).find(of_packets)
    }
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
    /// `_write_ts`: it does not leave before. A restart reads the row again, and finds its pane closed.
    pub stamped: i64,
    /// The same, or when its flow was over where that was before: it comes into its group then.
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
    /// Whether it is of messages of ICMP that ask.
    pub asks: bool,
    /// Ports of both ends.
    pub ports: [i32; 2],
    /// Packets, both ways, and their bytes of IP.
    pub packets: i64,
    /// The same of bytes of IP.
    pub ip_bytes: i64,
    /// Of the part of a row whether others come before it and after it.
    pub is_cut: [bool; 2],
    /// It ended as its originator began anew: before any timer of a flow that was open.
    pub is_replaced: bool,
    /// Of a flow seen one way, that; `None` where both were.
    pub half: Option<Box<Half>>,
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
        let mut half = (!columns.is_orig.is_null(row)).then(|| Box::new(half(columns, row, first)));
        let mut starts = [number(columns.start), number(columns.peer_start)];
        if !is_orig_low {
            starts.swap(0, 1);
        }
        let is_tcp = columns.proto.value(row) == "tcp";
        let last = first.saturating_add(optional(columns.last, row).unwrap_or(0).max(0));
        // There must be a time after it.
        let stamped = columns.written.value(row).min(i64::MAX - 1);
        let over = if is_tcp { i64::MAX } else { last.saturating_add(OVER_US) };
        let sum = |of: [&Int64Array; 2]| {
            let counts = of.iter().filter_map(|of| optional(of, row));
            counts.fold(0, |sum: i64, n| sum.saturating_add(n.max(0)))
        };
        let (packets, ip_bytes) = (sum(columns.packets), sum(columns.ip_bytes));
        let rests = half.iter_mut().flat_map(|half| &mut half.rests);
        rests.for_each(|rest| rest.count_at_most(packets, ip_bytes));
        let was_open = half.as_deref().is_some_and(Half::was_open);
        Piece {
            rows: rows.clone(),
            row: at,
            origin: row,
            offset,
            stamped,
            written: stamped.min(over),
            first,
            last,
            sensor: sensor.clone(),
            tap: tap.clone(),
            is_orig_low,
            is_tcp,
            asks: columns.proto.value(row) == "icmp" && ASKING.contains(&end(0).1),
            ports: [end(0).1, end(1).1],
            packets,
            ip_bytes,
            is_cut: [false; 2],
            is_replaced: is_tcp
                && was_open
                && !columns.is_replaced.is_null(row)
                && columns.is_replaced.value(row)
                && stamped < last.saturating_add(tcp::ATTEMPT_US),
            half,
            starts,
        }
    }

    /// By what its copies know it.
    pub fn extent(&self) -> Extent {
        let Piece { is_tcp, starts, first, last, .. } = *self;
        Extent { is_tcp, starts, first, last }
    }

    /// Which end was seen sending: 0 for the lower one; of both that of the originator.
    pub fn end(&self) -> usize {
        let is_orig = self.half.as_deref().is_none_or(|half| half.is_orig);
        usize::from(is_orig != self.is_orig_low)
    }

    /// Whether the sender of its first packet was taken for the responder because of its port.
    pub fn is_turned(&self) -> bool {
        let first = self.half.as_deref().and_then(|half| half.marks.first());
        first.is_some_and(|mark| mark.letter == b'^')
    }

    /// Whether it begins with a SYN, and of which number.
    pub fn syn(&self) -> Option<u32> {
        let half = self.half.as_deref()?;
        half.start.filter(|_| half.first_letter() == Some(b'S'))
    }

    /// Whether it begins with a SYN, with or without an answer in it.
    pub fn begins_stream(&self) -> bool {
        let first = self.half.as_deref().and_then(Half::first_letter);
        matches!(first, Some(b'S' | b'H'))
    }

    /// The number after the last that it sent.
    pub fn upper(&self) -> Option<u32> {
        let half = self.half.as_deref()?;
        Some(half.start?.wrapping_add(half.reached as u32))
    }

    /// Whether it was over before it was silent for long, and is of this protocol.
    pub fn ended_as(&self, name: &str) -> bool {
        let is = |half: &Half| half.confirmed.iter().any(|(_, of)| of == name);
        self.written < self.last.saturating_add(OVER_US) && self.half.as_deref().is_some_and(is)
    }

    /// Whether it is one packet that came when its time was over: nothing belongs to it.
    pub fn is_alone(&self) -> bool {
        self.packets == 1 && self.half.as_deref().is_some_and(|half| half.is_late)
    }

    /// What happened in it, which is the piece of this number.
    pub fn events(&self, piece: usize) -> Vec<Event> {
        let Some(half) = &self.half else { return Vec::new() };
        let end = self.end();
        // What is turned at once is known from the piece that comes first, and after a SYN-ACK follows from it.
        let mut before = Vec::new();
        let mut events: Vec<Event> = Vec::new();
        for mark in &half.marks {
            let follows = mark.letter == b'^' && (before.is_empty() || before == b"H");
            if mark.letter != NO_LETTER {
                before.push(mark.letter);
            }
            let turns = before.iter().filter(|letter| **letter == b'^').count();
            let to_orig = turns.is_multiple_of(2);
            if !follows {
                events.push(Event { mark: *mark, end, to_orig, piece });
            }
        }
        events
    }

    /// Where a sequence number lies, counted from the initial one.
    pub fn position(&self, number: u32) -> Option<u64> {
        let half = self.half.as_deref()?;
        Some(stream::position(half.start?, half.reached, number))
    }
}

fn half(columns: &Columns<'_>, row: usize, first: i64) -> Half {
    let times = numbers(columns.times, row);
    let [ends, acks] = [columns.ends, columns.acks].map(|of| numbers(of, row));
    let letters = if columns.letters.is_null(row) { "" } else { columns.letters.value(row) };
    let at = |after: i64| first.saturating_add(after.max(0));
    let number = |column: &Int64Array| optional(column, row).map(|n| n as u32);
    let listed = |list: &[i64], i: usize| u32::try_from(*list.get(i)?).ok();
    let holes = numbers(columns.holes, row);
    let place = |at: i64| u64::try_from(at).unwrap_or(0);
    let mark = |(i, (time, letter)): (usize, (&i64, u8))| {
        let (end, ack) = (listed(&ends, i), listed(&acks, i));
        Mark { at: first.saturating_add(*time), letter, end, ack }
    };
    let names = |of: &StringArray| -> Vec<String> {
        let text = if of.is_null(row) { "" } else { of.value(row) };
        let names = text.split(',').filter(|name| !name.is_empty());
        names.take(SERVICES_MAX).map(str::to_owned).collect()
    };
    let timed = |of: &StringArray, times: &ListArray| -> Vec<(Option<i64>, String)> {
        let times = numbers(times, row).into_iter().map(Some).chain(std::iter::repeat(None));
        let at = |time: Option<i64>| {
            time.filter(|time| *time >= 0).map(|time| first.saturating_add(time))
        };
        times.map(at).zip(names(of)).collect()
    };
    // Rows of sensors that do not tell when count from the first packet on.
    let [confirmed_at, tunnels_at] = [columns.confirmed_at, columns.tunnels_at]
        .map(|of| numbers(of, row).into_iter().chain(std::iter::repeat(0)).map(at));
    Half {
        is_orig: columns.is_orig.value(row),
        marks: times.iter().zip(letters.bytes()).enumerate().map(mark).collect(),
        holes: holes.chunks_exact(2).map(|hole| (place(hole[0]), place(hole[1]))).collect(),
        rests: Rest::all(&numbers(columns.rests, row), first),
        is_late: !columns.is_late.is_null(row) && columns.is_late.value(row),
        start: number(columns.start),
        reached: place(optional(columns.reached, row).unwrap_or(0)),
        data: {
            let data = optional(columns.data, row).or_else(|| optional(columns.reached, row));
            place(data.unwrap_or(0))
        },
        ack: number(columns.ack),
        confirmed: confirmed_at.zip(names(columns.confirmed)).collect(),
        fits: timed(columns.fits, columns.fits_at),
        begins: names(columns.begins),
        ruled_out: timed(columns.ruled_out, columns.ruled_out_at),
        tunnels: tunnels_at.zip(read::texts(columns.tunnels, row)).take(TUNNELS_MAX).collect(),
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
