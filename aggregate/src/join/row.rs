//! Rows of conn out of pieces.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::cast::AsArray as _;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_select::interleave::interleave_record_batch;
use detect::rows;
use model::id::{self, FiveTuple};
use model::stream::{Mark, conn};
use model::{conn_state, read};

use super::flows::{self, Kind};
use super::piece::{Half, Piece};
use super::services;
use super::stream::Stream;
use super::tcp::Told;

/// Nodes and uids named in one row; a cluster has fewer.
const OBSERVERS_MAX: usize = 64;

/// A flow that goes out.
#[derive(Debug)]
pub struct Ready {
    /// The time that completed it.
    pub at: i64,
    /// What its pieces are to each other.
    pub kind: Kind,
    /// The pieces; there is at least one.
    pub pieces: Vec<Piece>,
}

/// A row for each flow: those that a sensor wrote, and those made of several.
pub fn batches(ready: &[Ready], does_overlap: bool) -> Result<Vec<RecordBatch>> {
    let (copies, joined): (Vec<&Ready>, Vec<&Ready>) =
        ready.iter().partition(|flow| flow.kind == Kind::Copies);
    let mut out = Vec::new();
    if !copies.is_empty() {
        out.push(chosen(&copies)?);
    }
    if !joined.is_empty() {
        out.push(made(&joined, does_overlap)?);
    }
    Ok(out)
}

/// The rows of the first pieces, as their sensors wrote them.
fn chosen(flows: &[&Ready]) -> Result<RecordBatch> {
    let mut batches: Vec<&RecordBatch> = Vec::new();
    let mut places: BTreeMap<*const RecordBatch, usize> = BTreeMap::new();
    let mut picks = Vec::with_capacity(flows.len());
    for piece in flows.iter().filter_map(|flow| flow.pieces.first()) {
        let place = *places.entry(Arc::as_ptr(&piece.rows)).or_insert_with(|| {
            batches.push(&piece.rows);
            batches.len() - 1
        });
        picks.push((place, piece.row));
    }
    let picked = interleave_record_batch(&batches, &picks).context("rows that waited")?;
    let times = flows.iter().map(|flow| flow.at);
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
    let picked = rows::replace(picked, "_write_ts", Arc::new(times))?;
    if flows.iter().all(|flow| flow.pieces.len() == 1) {
        return Ok(picked);
    }
    let picked = rows::replace(picked, "observers", names(flows, false, &|_| true)?)?;
    Ok(rows::replace(picked, "observer_uids", names(flows, true, &|flow| flow.pieces.len() > 1)?)?)
}

/// A cell a flow: the nodes that saw it, or the uids that they gave it.
fn names(flows: &[&Ready], uids: bool, is_set: &dyn Fn(&Ready) -> bool) -> Result<ArrayRef> {
    let column = if uids { "uid" } else { "observers" };
    // All pieces have the columns of conn: to look for one by its name takes longer than all else here.
    let at = conn::DEF.schema().index_of(column)?;
    let mut builder = ListBuilder::new(StringBuilder::new());
    let mut names = Vec::new();
    for flow in flows {
        names.clear();
        for piece in &flow.pieces {
            let cells = piece.rows.columns().get(at).context("rows of conn")?;
            if uids {
                names.push(cells.as_string_opt::<i32>().context(column)?.value(piece.row));
            } else {
                names.extend(read::each_text(cells.as_list_opt().context(column)?, piece.row));
            }
        }
        names.sort_unstable();
        names.dedup();
        names.iter().take(OBSERVERS_MAX).for_each(|name| builder.values().append_value(name));
        builder.append(is_set(flow));
    }
    Ok(Arc::new(builder.finish()))
}

/// Rows made of halves.
fn made(flows: &[&Ready], does_overlap: bool) -> Result<RecordBatch> {
    let mut batch = conn::Batch::default();
    for flow in flows {
        push(&mut batch, flow, does_overlap)?;
    }
    let rows = batch.finish("").0;
    let first = |flow: &&Ready| flow.pieces.first().map_or(String::new(), |p| p.sensor.to_string());
    let sensors = StringArray::from_iter_values(flows.iter().map(first));
    let rows = rows::replace(rows, "sensor", Arc::new(sensors))?;
    let rows = rows::replace(rows, "observers", names(flows, false, &|_| true)?)?;
    Ok(rows::replace(rows, "observer_uids", names(flows, true, &|_| true)?)?)
}

/// A cell of a piece's row.
struct Cells<'a>(&'a Piece);

impl<'a> Cells<'a> {
    fn text(&self, name: &str) -> Result<Option<&'a str>> {
        let (column, row) = (read::text(&self.0.rows, name)?, self.0.row);
        Ok((!column.is_null(row)).then(|| column.value(row)))
    }

    fn count(&self, name: &str) -> Result<u64> {
        let (column, row) = (read::count(&self.0.rows, name)?, self.0.row);
        let is_set = !column.is_null(row);
        Ok(if is_set { u64::try_from(column.value(row)).unwrap_or(0) } else { 0 })
    }

    fn is(&self, name: &str) -> Result<Option<bool>> {
        let (column, row) = (read::bool(&self.0.rows, name)?, self.0.row);
        Ok((!column.is_null(row)).then(|| column.value(row)))
    }

    fn address(&self, name: &str) -> Result<IpAddr> {
        let text = self.text(name)?.unwrap_or_default();
        text.parse().with_context(|| format!("{name} `{text}` is no address"))
    }
}

/// What one end sent.
#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    bytes: u64,
    packets: u64,
    ip_bytes: u64,
}

fn push(batch: &mut conn::Batch, flow: &Ready, does_overlap: bool) -> Result<()> {
    let pieces = &flow.pieces;
    let used = if does_overlap { one_tap_each(pieces) } else { (0..pieces.len()).collect() };
    let told = flows::tell(pieces, &used, None);
    let first = Cells(&pieces[0]);
    let is_tcp = pieces[0].is_tcp;
    let mut sent = [Sent::default(); 2];
    for end in [0, 1] {
        sent[end] = what_was_sent(pieces, &used, end, is_tcp, &told)?;
    }
    let [orig, resp] = [sent[told.orig], sent[1 - told.orig]];
    let history = std::str::from_utf8(&told.history).unwrap_or_default();
    let offset = flows::offset(pieces, &used, &pieces[0]);
    let last = |piece: &Piece| match piece.end() == pieces[0].end() {
        true => piece.last,
        false => piece.last.saturating_add(offset),
    };
    let last = used.iter().map(|i| last(&pieces[*i])).max().unwrap_or(0);
    let last = told.closed_at.filter(|_| is_tcp).unwrap_or(last);
    let duration = last.saturating_sub(pieces[0].first);
    let lasted = duration > 0;
    let proto = first.text("proto")?.unwrap_or_default();
    let state = match proto {
        "tcp" => conn_state::tcp(conn_state::Tcp {
            orig: told.ends[told.orig].state,
            resp: told.ends[1 - told.orig].state,
            has_payload: orig.bytes != 0 || resp.bytes != 0,
            history: &told.history,
        }),
        "udp" => conn_state::udp(history.contains('D'), history.contains('d')),
        _ => conn_state::OTHER,
    };
    // The first row's ends, the other way round where that sensor took them so.
    let is_turned = pieces[0].is_orig_low != (told.orig == 0);
    let (o, r) = if is_turned { (1, 0) } else { (0, 1) };
    let hosts = [first.address("id.orig_h")?, first.address("id.resp_h")?];
    let local = [first.is("local_orig")?, first.is("local_resp")?];
    let port = |at: usize| u16::try_from(pieces[0].ports[at]).unwrap_or(0);
    let uid = uid(&first, [(hosts[0], port(0)), (hosts[1], port(1))])?;
    let service = services::of(pieces);
    let tunnels = tunnels(pieces, &told)?;
    let tunnels: Vec<&str> = tunnels.iter().map(String::as_str).collect();
    let row = conn::Row {
        ts: pieces[0].first,
        uid: &uid,
        orig_h: hosts[o],
        orig_p: port(o),
        resp_h: hosts[r],
        resp_p: port(r),
        proto,
        service: service.as_deref(),
        duration: lasted.then_some(duration),
        orig_bytes: lasted.then_some(orig.bytes),
        resp_bytes: lasted.then_some(resp.bytes),
        conn_state: Some(state),
        local_orig: local[o],
        local_resp: local[r],
        missed_bytes: told.missed_bytes,
        history: Some(history).filter(|history| !history.is_empty()),
        orig_pkts: Some(orig.packets),
        orig_ip_bytes: Some(orig.ip_bytes),
        resp_pkts: Some(resp.packets),
        resp_ip_bytes: Some(resp.ip_bytes),
        tunnel_parents: (!tunnels.is_empty()).then_some(&tunnels),
        ip_proto: Some(first.count("ip_proto")?),
        community_id: first.text("community_id")?.unwrap_or_default(),
        observers: &[],
        is_final: Some(true),
        observer_uids: None,
    };
    batch.push(Mark::at(flow.at, 0), row);
    Ok(())
}

/// The uid that its sensor gave a flow; of a later part of one it is the one that a flow which began so would have.
fn uid(first: &Cells<'_>, ends: [(IpAddr, u16); 2]) -> Result<String> {
    if !first.0.is_cut[0] {
        return Ok(first.text("uid")?.unwrap_or_default().to_owned());
    }
    let [low, high] = if ends[0] <= ends[1] { ends } else { [ends[1], ends[0]] };
    let proto = u8::try_from(first.count("ip_proto")?).unwrap_or(0);
    let ((orig_h, orig_p), (resp_h, resp_p)) = (low, high);
    let tuple = FiveTuple { orig_h, orig_p, resp_h, resp_p, proto };
    Ok(id::flow_uid(&tuple, first.0.first, 0))
}

/// The tunnels that were around its packets; the uid of one whose halves are joined as well is that of the piece that
/// was first inside of it.
fn tunnels(pieces: &[Piece], told: &Told) -> Result<Vec<String>> {
    let (mut uids, mut names) = (Vec::new(), BTreeSet::new());
    for piece in pieces {
        let parents = read::texts(read::list(&piece.rows, "tunnel_parents")?, piece.row);
        let known = piece.half.iter().flat_map(|half| half.tunnels.clone());
        for (uid, (at, name)) in parents.into_iter().zip(known) {
            // Of those that come after too many changes nobody takes note.
            if at < told.given_up_at && names.insert(name) {
                uids.push(uid);
            }
        }
    }
    Ok(uids)
}

/// Where taps overlap each direction counts as the one of them saw it that saw most.
fn one_tap_each(pieces: &[Piece]) -> Vec<usize> {
    let mut packets: BTreeMap<(usize, &str), i64> = BTreeMap::new();
    for piece in pieces {
        let sum = packets.entry((piece.end(), &piece.tap)).or_default();
        *sum = sum.saturating_add(piece.packets);
    }
    let best = |end: usize| {
        let of = packets.iter().filter(|((of, _), _)| *of == end);
        of.max_by_key(|((_, tap), packets)| (**packets, std::cmp::Reverse(*tap)))
            .map(|((_, tap), _)| *tap)
    };
    let best = [best(0), best(1)];
    (0..pieces.len()).filter(|i| best[pieces[*i].end()] == Some(&*pieces[*i].tap)).collect()
}

fn what_was_sent(
    pieces: &[Piece],
    used: &[usize],
    end: usize,
    is_tcp: bool,
    told: &Told,
) -> Result<Sent> {
    let mut sent = Sent::default();
    let mut first: Option<&Piece> = None;
    for piece in used.iter().map(|i| &pieces[*i]) {
        let Some(half) = &piece.half else { continue };
        if piece.end() != end {
            continue;
        }
        // Of both roles one has zero, and it need not be the one that the sender has at last.
        let more = |sum: u64, n: i64| sum.saturating_add(u64::try_from(n).unwrap_or(0));
        sent.packets = more(sent.packets, piece.packets);
        sent.ip_bytes = more(sent.ip_bytes, piece.ip_bytes);
        match first {
            _ if !is_tcp => sent.bytes = sent.bytes.saturating_add(half.reached),
            None => (first, sent.bytes) = (Some(piece), half.reached),
            // Who sends another SYN begins to count anew.
            Some(_) if piece.begins_stream() => {
                (first, sent.bytes) = (Some(piece), half.reached);
            }
            Some(first) => {
                let reached = piece.upper().and_then(|upper| first.position(upper));
                sent.bytes = sent.bytes.max(reached.unwrap_or(0));
            }
        }
    }
    let Some(first) = first else { return Ok(sent) };
    // What the other side acknowledged was sent, whoever missed it.
    let others = used.iter().map(|i| &pieces[*i]).filter(|piece| piece.end() != end);
    let acks = others.filter_map(|piece| piece.half.as_deref()).flat_map(Half::acks);
    sent.bytes = sent.bytes.max(Stream::of(first).furthest(acks));
    // The SYN and the FIN take a number each.
    let fin = u64::from(told.ends[end].has_finished);
    sent.bytes = sent.bytes.saturating_sub(1).saturating_sub(fin);
    Ok(sent)
}
