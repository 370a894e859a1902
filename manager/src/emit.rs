//! What a manager sends: notices, what was held back of them, and known assets for the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow_array::{
    Array, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt32Array,
};
use arrow_select::take::take_record_batch;
use bus::{Lane, Outgoing, Stamp, Topic, topic};
use detect::policy::Action;
use detect::rows;
use model::id;
use model::read::{self, ColumnError};
use model::stream::{
    Def, Mark, known_certs, known_hosts, known_services, notice, notice_alarm, notice_tally,
};
use model::types::seconds;

use crate::decide::{Decided, TALLY, borrowed};
use crate::significance::Enough;
use crate::suppress::Over;
use crate::windows::Found;

/// Rows of notice_tally in one record.
const TALLY_ROWS: usize = 500;

/// The rows of a batch of notices that are logged, by lane: that of the identifier, else of the
/// uid, else the one they came on. `picked` are row numbers with what was decided on each.
pub fn passed(
    batch: &RecordBatch,
    picked: &[(u32, Decided)],
    home: Lane,
    lanes: u32,
) -> Result<Vec<Outgoing>> {
    let (identifier, uid) = (read::text(batch, "identifier")?, read::text(batch, "uid")?);
    let cell = |column: &StringArray, row: usize| {
        column.is_valid(row).then(|| id::partition(column.value(row).as_bytes(), lanes))
    };
    let mut by_lane: BTreeMap<Lane, Vec<&(u32, Decided)>> = BTreeMap::new();
    for pick in picked {
        let at = pick.0 as usize;
        let lane = cell(identifier, at).or_else(|| cell(uid, at)).unwrap_or(home);
        by_lane.entry(lane).or_default().push(pick);
    }
    let mut out = Vec::new();
    for (lane, picked) in by_lane {
        let indices = UInt32Array::from_iter_values(picked.iter().map(|(row, _)| *row));
        let rows = take_record_batch(batch, &indices).context("notices that are logged")?;
        let decided: Vec<&Decided> = picked.iter().map(|(_, decided)| decided).collect();
        let rows = agreed(with_decided(rows, &decided)?, &decided)?;
        let alarms = decided.iter().zip(0u32..).filter(|(d, _)| d.action == Action::Alarm);
        let alarms = UInt32Array::from_iter_values(alarms.map(|(_, row)| row));
        let alarmed = take_record_batch(&rows, &alarms).context("notices that alarm")?;
        out.extend(logged(lane, rows, alarmed));
    }
    Ok(out)
}

/// Rows with what the manager decided on them.
fn with_decided(rows: RecordBatch, decided: &[&Decided]) -> Result<RecordBatch, ColumnError> {
    let peers: StringArray = {
        let (peer, sensor) = (read::text(&rows, "peer_descr")?, read::text(&rows, "sensor")?);
        peer.iter().zip(sensor).map(|(peer, sensor)| peer.or(sensor)).collect()
    };
    let named = |action: Action| action.zeek().iter().map(|name| (*name).to_owned()).collect();
    let actions: Vec<BTreeSet<String>> = decided.iter().map(|d| named(d.action)).collect();
    let suppress_for = decided.iter().map(|d| seconds(d.suppress_for_us));
    let rows = rows::replace(rows, "peer_descr", Arc::new(peers))?;
    let rows = rows::replace(rows, "actions", rows::sets(actions.iter()))?;
    rows::replace(rows, "suppress_for", Arc::new(Float64Array::from_iter_values(suppress_for)))
}

/// Rows that a rule waited for have all that saw them, and when.
fn agreed(rows: RecordBatch, decided: &[&Decided]) -> Result<RecordBatch, ColumnError> {
    if decided.iter().all(|decided| decided.agreed.is_none()) {
        return Ok(rows);
    }
    let (own_ts, own_last) = (read::time(&rows, "ts")?, read::time(&rows, "last_ts")?);
    let (own_n, own_workers) = (read::count(&rows, "n")?, read::list(&rows, "observers")?);
    let (mut ts, mut last, mut n, mut workers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (row, decided) in decided.iter().enumerate() {
        let own = |times: &TimestampMicrosecondArray| times.is_valid(row).then(|| times.value(row));
        let Some(agreed) = &decided.agreed else {
            ts.push(own(own_ts));
            last.push(own(own_last));
            n.push(own_n.is_valid(row).then(|| own_n.value(row)));
            workers.push(read::texts(own_workers, row).into_iter().collect::<BTreeSet<String>>());
            continue;
        };
        ts.push(Some(agreed.first));
        last.push(Some(own(own_last).map_or(agreed.last, |own| own.max(agreed.last))));
        n.push(i64::try_from(agreed.workers.len()).ok());
        workers.push(agreed.workers.clone());
    }
    let times = |times| Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"));
    let rows = rows::replace(rows, "ts", times(ts))?;
    let rows = rows::replace(rows, "last_ts", times(last))?;
    let rows = rows::replace(rows, "n", Arc::new(Int64Array::from(n)))?;
    rows::replace(rows, "observers", rows::sets(workers.iter()))
}

/// A finding as a notice.
pub fn found(found: &Found, decided: &Decided, node: &str, lanes: u32) -> Vec<Outgoing> {
    let finding = &found.finding;
    let observers = borrowed(match &decided.agreed {
        Some(agreed) => &agreed.workers,
        None => &found.observers,
    });
    let row = notice::Row {
        ts: Some(decided.agreed.as_ref().map_or(finding.ts, |agreed| agreed.first)),
        proto: finding.proto,
        uid: finding.uid.as_deref(),
        note: finding.note,
        msg: Some(&finding.msg),
        sub: finding.sub.as_deref(),
        src: finding.src,
        dst: finding.dst,
        p: finding.p,
        identifier: Some(&finding.identifier),
        last_ts: Some(found.last_ts),
        ..notice::Row::unset()
    };
    let lane = id::partition(finding.identifier.as_bytes(), lanes);
    raised(lane, found.end, node, decided, &observers, row)
}

/// A rule of the policy whose hosts are enough, as a notice.
pub fn enough(
    enough: &Enough,
    (decided, msg, sub): &(Decided, String, String),
    node: &str,
    lanes: u32,
) -> Vec<Outgoing> {
    let row = notice::Row {
        ts: Some(enough.sight.last),
        note: TALLY,
        msg: Some(msg),
        sub: Some(sub),
        identifier: Some(&enough.rule),
        last_ts: Some(enough.sight.last),
        ..notice::Row::unset()
    };
    let lane = id::partition(enough.rule.as_bytes(), lanes);
    raised(lane, enough.written, node, decided, &borrowed(&enough.sight.workers), row)
}

/// A notice of our own.
fn raised(
    lane: Lane,
    written: i64,
    node: &str,
    decided: &Decided,
    observers: &[&str],
    row: notice::Row<'_>,
) -> Vec<Outgoing> {
    let row = notice::Row {
        n: Some(observers.len() as u64),
        peer_descr: Some(node),
        actions: decided.action.zeek(),
        suppress_for: decided.suppress_for_us,
        observers,
        ..row
    };
    let mut batch = notice::Batch::default();
    batch.push(Mark::at(written, lane), row);
    let rows = batch.finish(node).0;
    let alarmed = if decided.action == Action::Alarm { rows.clone() } else { rows.slice(0, 0) };
    logged(lane, rows, alarmed)
}

/// Rows for notice, and those of them that alarm for notice_alarm.
fn logged(lane: Lane, rows: RecordBatch, alarmed: RecordBatch) -> Vec<Outgoing> {
    let log = |def, rows| Outgoing::rows(Topic::log(def), lane, def, rows);
    let mut out = vec![log(&notice::DEF, rows)];
    if alarmed.num_rows() > 0 {
        out.push(log(&notice_alarm::DEF, alarmed));
    }
    out
}

/// What was held back, as rows of notice_tally.
pub fn tallies(over: &[Over], lane: Lane, node: &str) -> Vec<Outgoing> {
    let rows = |over: &[Over]| {
        let mut batch = notice_tally::Batch::default();
        for Over { kind: (_, note, identifier), span, written } in over {
            let row = notice_tally::Row {
                ts: span.first,
                note,
                identifier,
                suppressed: span.suppressed,
                last_ts: span.last,
                until: span.until,
                workers: &borrowed(&span.workers),
            };
            batch.push(Mark::at(*written, lane), row);
        }
        let rows = batch.finish(node).0;
        Outgoing::rows(Topic::log(&notice_tally::DEF), lane, &notice_tally::DEF, rows)
    };
    over.chunks(TALLY_ROWS).map(rows).collect()
}

/// Observations that are news, as rows of their logs, on the lane that they came on. `news` are row numbers
/// with what is new of the protocols.
pub fn assets(
    batch: &RecordBatch,
    news: &[(usize, Vec<String>)],
    lane: Lane,
    node: &str,
) -> Result<Vec<Outgoing>> {
    let (ts, written) = (read::time(batch, "ts")?, read::time(batch, "_write_ts")?);
    let (log, host) = (read::text(batch, "log")?, read::text(batch, "host")?);
    let (port, proto) = (read::port(batch, "port_num")?, read::text(batch, "port_proto")?);
    let (subject, issuer) = (read::text(batch, "subject")?, read::text(batch, "issuer_subject")?);
    let (serial, sensor) = (read::text(batch, "serial")?, read::text(batch, "sensor")?);
    let (mut hosts, mut services, mut certs) = (
        known_hosts::Batch::default(),
        known_services::Batch::default(),
        known_certs::Batch::default(),
    );
    let mut sensors: [Vec<&str>; 3] = Default::default();
    for (row, new) in news {
        let row = *row;
        let text =
            |column: &'_ StringArray| column.is_valid(row).then(|| column.value(row).to_owned());
        let (mark, ts) = (Mark::at(written.value(row), lane), ts.value(row));
        let host = host.value(row).parse().context("the address of an asset")?;
        let port_num = port.is_valid(row).then(|| u16::try_from(port.value(row)).unwrap_or(0));
        match log.value(row) {
            "known_hosts" => {
                sensors[0].push(sensor.value(row));
                hosts.push(mark, known_hosts::Row { ts, host });
            }
            "known_services" => {
                sensors[1].push(sensor.value(row));
                let names: Vec<&str> = new.iter().map(String::as_str).collect();
                let proto = text(proto).unwrap_or_default();
                services.push(
                    mark,
                    known_services::Row {
                        ts,
                        host,
                        port_num: port_num.unwrap_or(0),
                        port_proto: &proto,
                        service: &names,
                    },
                );
            }
            "known_certs" => {
                sensors[2].push(sensor.value(row));
                let (subject, issuer) = (text(subject), text(issuer));
                let serial = text(serial);
                certs.push(
                    mark,
                    known_certs::Row {
                        ts,
                        host,
                        port_num,
                        subject: subject.as_deref(),
                        issuer_subject: issuer.as_deref(),
                        serial: serial.as_deref(),
                    },
                );
            }
            other => anyhow::bail!("an asset for the log {other}"),
        }
    }
    let made: [(&'static Def, RecordBatch); 3] = [
        (&known_hosts::DEF, hosts.finish(node).0),
        (&known_services::DEF, services.finish(node).0),
        (&known_certs::DEF, certs.finish(node).0),
    ];
    let mut out = Vec::new();
    for ((def, rows), sensors) in made.into_iter().zip(sensors) {
        if rows.num_rows() > 0 {
            // Who saw it says more than who remembers it.
            let rows = rows::replace(rows, "sensor", Arc::new(StringArray::from(sensors)))?;
            out.push(Outgoing::rows(Topic::log(def), lane, def, rows));
        }
    }
    Ok(out)
}

/// A lane's progress, for all lanes.
pub fn punctuate(lanes: u32, stamp: &Stamp) -> impl Iterator<Item = Outgoing> {
    (0..lanes).map(|lane| Outgoing::punctuation(topic::PARTIAL, lane, stamp.clone()))
}
