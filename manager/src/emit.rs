//! What a manager sends: notices and known assets for the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow_array::{Array, Float64Array, RecordBatch, StringArray, UInt32Array};
use arrow_select::take::take_record_batch;
use bus::{Lane, Outgoing, Topic};
use detect::rows;
use model::id;
use model::read::{self, ColumnError};
use model::stream::{Def, Mark, known_certs, known_hosts, known_services, notice};
use model::types::seconds;

use crate::windows::Found;

/// What is done with every notice; policy will add to it.
const ACTION_LOG: &str = "Notice::ACTION_LOG";

/// The rows of a batch of notices that go to the log, by lane: that of the identifier, else of the
/// uid, else the one they came on. `picked` are row numbers with how long each holds back its like,
/// microseconds.
pub fn passed(
    batch: &RecordBatch,
    picked: &[(u32, i64)],
    home: Lane,
    lanes: u32,
) -> Result<Vec<Outgoing>> {
    let (identifier, uid) = (read::text(batch, "identifier")?, read::text(batch, "uid")?);
    let cell = |column: &StringArray, row: usize| {
        column.is_valid(row).then(|| id::partition(column.value(row).as_bytes(), lanes))
    };
    let mut by_lane: BTreeMap<Lane, Vec<(u32, i64)>> = BTreeMap::new();
    for (row, suppress_for_us) in picked {
        let at = *row as usize;
        let lane = cell(identifier, at).or_else(|| cell(uid, at)).unwrap_or(home);
        by_lane.entry(lane).or_default().push((*row, *suppress_for_us));
    }
    let mut out = Vec::new();
    for (lane, picked) in by_lane {
        let indices = UInt32Array::from_iter_values(picked.iter().map(|(row, _)| *row));
        let rows = take_record_batch(batch, &indices).context("notices that are logged")?;
        let suppress_for = picked.iter().map(|(_, us)| seconds(*us)).collect();
        out.push(log(lane, decided(rows, suppress_for)?));
    }
    Ok(out)
}

/// Rows with what the manager decided on them.
fn decided(rows: RecordBatch, suppress_for: Vec<f64>) -> Result<RecordBatch, ColumnError> {
    let actions = BTreeSet::from([ACTION_LOG.to_owned()]);
    let peers: StringArray = {
        let (peer, sensor) = (read::text(&rows, "peer_descr")?, read::text(&rows, "sensor")?);
        peer.iter().zip(sensor).map(|(peer, sensor)| peer.or(sensor)).collect()
    };
    let actions = rows::sets(std::iter::repeat_n(&actions, rows.num_rows()));
    let rows = rows::replace(rows, "peer_descr", Arc::new(peers))?;
    let rows = rows::replace(rows, "actions", actions)?;
    rows::replace(rows, "suppress_for", Arc::new(Float64Array::from(suppress_for)))
}

/// A finding as a notice.
pub fn found(found: &Found, node: &str, lanes: u32) -> Outgoing {
    let finding = &found.finding;
    let observers: Vec<&str> = found.observers.iter().map(String::as_str).collect();
    let lane = id::partition(finding.identifier.as_bytes(), lanes);
    let row = notice::Row {
        ts: Some(finding.ts),
        proto: finding.proto,
        uid: finding.uid.as_deref(),
        note: finding.note,
        msg: Some(&finding.msg),
        sub: finding.sub.as_deref(),
        src: finding.src,
        dst: finding.dst,
        p: finding.p,
        n: Some(observers.len() as u64),
        peer_descr: Some(node),
        actions: &[ACTION_LOG],
        suppress_for: finding.suppress_for_us,
        identifier: Some(&finding.identifier),
        observers: &observers,
        last_ts: Some(found.last_ts),
        ..notice::Row::unset()
    };
    let mut batch = notice::Batch::default();
    batch.push(Mark::at(found.end, lane), row);
    log(lane, batch.finish(node).0)
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

fn log(lane: Lane, rows: RecordBatch) -> Outgoing {
    Outgoing::rows(Topic::log(&notice::DEF), lane, &notice::DEF, rows)
}
