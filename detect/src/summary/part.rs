//! Rows of conn, added up for one interval.

use std::collections::HashMap;

use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{
    Array, BooleanArray, Int64Array, PrimitiveArray, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use foldhash::fast::RandomState;
use model::read::{self, ColumnError};

use crate::rows;
use crate::stat::{Top, Value};

/// The columns of conn that count.
#[derive(Debug)]
pub struct Flows<'a> {
    ts: &'a TimestampMicrosecondArray,
    duration: &'a PrimitiveArray<Float64Type>,
    is_final: &'a BooleanArray,
    proto: &'a StringArray,
    service: &'a StringArray,
    hosts: [&'a StringArray; 2],
    pkts: [&'a Int64Array; 2],
    ip_bytes: [&'a Int64Array; 2],
    payload: [&'a Int64Array; 2],
    missed: &'a Int64Array,
}

impl<'a> Flows<'a> {
    /// Of a batch.
    ///
    /// # Errors
    /// It is no batch of conn.
    pub fn of(rows: &'a RecordBatch) -> Result<Flows<'a>, ColumnError> {
        let both = |names: [&str; 2]| -> Result<_, ColumnError> {
            Ok([read::count(rows, names[0])?, read::count(rows, names[1])?])
        };
        Ok(Flows {
            ts: read::time(rows, "ts")?,
            duration: rows::seconds(rows, "duration")?,
            is_final: read::bool(rows, "final")?,
            proto: read::text(rows, "proto")?,
            service: read::text(rows, "service")?,
            hosts: [read::text(rows, "id.orig_h")?, read::text(rows, "id.resp_h")?],
            pkts: both(["orig_pkts", "resp_pkts"])?,
            ip_bytes: both(["orig_ip_bytes", "resp_ip_bytes"])?,
            payload: both(["orig_bytes", "resp_bytes"])?,
            missed: read::count(rows, "missed_bytes")?,
        })
    }

    /// When the last packet of a flow came, microseconds; `None` for a row that is not its flow's last.
    pub fn last(&self, row: usize) -> Option<i64> {
        if self.is_final.is_valid(row) && !self.is_final.value(row) {
            return None;
        }
        let lasted = if self.duration.is_valid(row) { self.duration.value(row) } else { 0.0 };
        // The cast saturates, and makes nothing of what is no number.
        Some(self.ts.value(row).saturating_add((lasted * 1e6).round() as i64))
    }
}

fn cell(column: &PrimitiveArray<Int64Type>, row: usize) -> u64 {
    if column.is_valid(row) { u64::try_from(column.value(row)).unwrap_or(0) } else { 0 }
}

fn total(columns: [&Int64Array; 2], row: usize) -> u64 {
    columns.iter().map(|column| cell(column, row)).fold(0, u64::saturating_add)
}

/// What rows of a batch come to, for one interval. Members are counted here first, where they lie: a batch has
/// many rows of few hosts.
#[derive(Debug, Default)]
pub struct Part<'a> {
    conns: u64,
    by_proto: [u64; 3],
    pkts: u64,
    bytes: u64,
    payload: u64,
    missed: u64,
    /// Bytes by originator and by responder.
    hosts: [HashMap<&'a str, u64, RandomState>; 2],
    /// Flows and bytes.
    services: HashMap<&'a str, (u64, u64), RandomState>,
    /// Packets.
    workers: HashMap<&'a str, u64, RandomState>,
}

impl<'a> Part<'a> {
    /// Adds a flow, which these workers saw: the one that wrote its row, and those that the row names.
    pub fn add(&mut self, flows: &Flows<'a>, row: usize, workers: impl Iterator<Item = &'a str>) {
        let (pkts, bytes) = (total(flows.pkts, row), total(flows.ip_bytes, row));
        self.conns += 1;
        let of = ["tcp", "udp", "icmp"].iter().position(|of| *of == flows.proto.value(row));
        if let Some(count) = of.and_then(|of| self.by_proto.get_mut(of)) {
            *count += 1;
        }
        for (sum, more) in [
            (&mut self.pkts, pkts),
            (&mut self.bytes, bytes),
            (&mut self.payload, total(flows.payload, row)),
            (&mut self.missed, cell(flows.missed, row)),
        ] {
            *sum = sum.saturating_add(more);
        }
        let [orig, resp] = flows.hosts.map(|column| column.value(row));
        // Who speaks to himself says it once.
        let ends = [(orig, bytes), (resp, if orig == resp { 0 } else { bytes })];
        for (hosts, (host, bytes)) in self.hosts.iter_mut().zip(ends) {
            let sum = hosts.entry(host).or_default();
            *sum = sum.saturating_add(bytes);
        }
        if flows.service.is_valid(row) {
            let (conns, sum) = self.services.entry(flows.service.value(row)).or_default();
            (*conns, *sum) = (*conns + 1, sum.saturating_add(bytes));
        }
        let mut workers = workers.peekable();
        let writer = workers.peek().copied();
        // The one that wrote the row may be among those that it names.
        let others = workers.enumerate().filter(|(at, worker)| *at == 0 || Some(*worker) != writer);
        for (_, worker) in others {
            let sum = self.workers.entry(worker).or_default();
            *sum = sum.saturating_add(pkts);
        }
    }

    /// How many flows.
    pub fn conns(&self) -> u64 {
        self.conns
    }

    /// Who saw them.
    pub fn workers(&self) -> impl Iterator<Item = &'a str> {
        self.workers.keys().copied()
    }

    /// Adds it to a value of summaries, member by member: that costs less than to merge with another value.
    pub fn add_to(&self, value: &mut Value) {
        let Value::Named(of) = value else { return };
        let [origs, resps] = &self.hosts;
        for (name, statistic) in of {
            match statistic {
                Value::Sum(sum) => {
                    sum.observe(self.number(name));
                }
                Value::Distinct(distinct) => {
                    let hosts = if name == "orig_hosts" { origs } else { resps };
                    // Which, not when: of two values for the same members neither differs.
                    for host in hosts.keys() {
                        distinct.observe(0, host);
                    }
                }
                Value::Top(top) => self.weigh(name, top),
                _ => {}
            }
        }
    }

    fn number(&self, name: &str) -> i64 {
        let [tcp, udp, icmp] = self.by_proto;
        let number = match name {
            "conns" => self.conns,
            "tcp" => tcp,
            "udp" => udp,
            "icmp" => icmp,
            "pkts" => self.pkts,
            "bytes" => self.bytes,
            "payload_bytes" => self.payload,
            "missed_bytes" => self.missed,
            _ => 0,
        };
        i64::try_from(number).unwrap_or(i64::MAX)
    }

    fn weigh(&self, name: &str, top: &mut Top) {
        let [origs, resps] = &self.hosts;
        match name {
            "talkers" => {
                let hosts = origs.iter().chain(resps);
                top.observe_all(hosts.map(|(host, bytes)| (*host, *bytes)));
            }
            "service_conns" => {
                top.observe_all(self.services.iter().map(|(name, (conns, _))| (*name, *conns)));
            }
            "service_bytes" => {
                top.observe_all(self.services.iter().map(|(name, (_, bytes))| (*name, *bytes)));
            }
            "workers" => top.observe_all(self.workers.iter().map(|(node, pkts)| (*node, *pkts))),
            _ => {}
        }
    }
}
