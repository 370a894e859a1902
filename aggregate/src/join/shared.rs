//! Rows of other streams than conn that several taps may have seen, on their way to the log where those overlap.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use arrow_array::{Array, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_select::filter::filter_record_batch;
use arrow_select::interleave::interleave_record_batch;
use bus::{Outgoing, Timeline, Topic};
use detect::rows;
use model::id;
use model::read::{self, ColumnError};
use model::stream::{Def, x509};

use super::copies::{Chosen, Item, Observer};
use super::key_of;
use super::sites::Sites;
use crate::lane::Work;
use crate::observe::{self, Written};
use crate::sources::Input;
use crate::windows::{Outlet, Windows};

/// Takes the rows that wait out of a batch; gives back the others.
///
/// # Errors
/// It is no batch of that stream.
pub fn take(
    windows: &mut Windows,
    want: &'static Def,
    def: &Def,
    batch: &RecordBatch,
    written: Written,
    sites: &Sites,
    work: &mut Work<'_>,
) -> Result<Option<RecordBatch>, ColumnError> {
    if def.name != want.name {
        return Err(ColumnError { column: def.name.to_owned(), wanted: want.name });
    }
    let rows = Arc::new(rows::conform(want, batch)?);
    let count = rows.num_rows();
    if count == 0 {
        return Ok(None);
    }
    if !written.is_again {
        work.counters.copied_in += count as u64;
    }
    let (of, sensor) = (Subject::of(want, &rows)?, read::text(&rows, "sensor")?);
    let times = read::time(&rows, "_write_ts")?;
    let hosts: Vec<&StringArray> = ["id.orig_h", "id.resp_h"]
        .into_iter()
        .filter_map(|name| read::text(&rows, name).ok())
        .collect();
    let timeline = windows.timeline();
    let (site, tap) = sites.place(timeline, sensor.value(0));
    let is_alone = match timeline {
        Timeline::File => work.config.sources == Some(1),
        Timeline::Live => sites.count(timeline, &site) < 2,
    };
    let by = Observer { sensor: sensor.value(0).into(), tap };
    let mut goes = vec![true; count];
    for (row, goes) in goes.iter_mut().enumerate() {
        let Some(subject) = of.name(row) else { continue };
        if hosts.iter().any(|of| !of.is_null(row) && is_for_many(of.value(row))) {
            continue;
        }
        let flow = key_of(&site, &subject);
        let item = Item { def: want, rows: rows.clone(), row, flow, by: by.clone() };
        if written.is_again && !windows.copies.holds(want.name, written.from.1, row) {
            windows.copies.witness(&item, times.value(row), written.from.1);
            continue;
        }
        if is_alone && !written.is_again {
            continue;
        }
        *goes = false;
        if !written.has_source {
            windows.reach(times.value(row));
        }
        windows.copies.take(item, times.value(row), written.from.1, row);
    }
    let going = filter_record_batch(&rows, &BooleanArray::from(goes))
        .map_err(|_| ColumnError { column: want.name.to_owned(), wanted: "consistent" })?;
    if going.num_rows() == 0 {
        return Ok(None);
    }
    let late = observe::show(windows, want, &going, written, work.detectors)?;
    if !written.is_again {
        work.counters.late += late;
        work.counters.copied_out += going.num_rows() as u64;
    }
    Ok(Some(going))
}

/// What the rows of a stream are about, so that those of several observers can be the same.
enum Subject<'a> {
    /// A flow.
    Flow(&'a StringArray),
    /// A certificate in one of its roles, which no row says the flow of: a node logs each once a day.
    Certificate(&'a StringArray, [&'a BooleanArray; 2]),
}

impl<'a> Subject<'a> {
    fn of(def: &Def, rows: &'a RecordBatch) -> Result<Subject<'a>, ColumnError> {
        if def.name != x509::DEF.name {
            return Ok(Subject::Flow(read::text(rows, "community_id")?));
        }
        let roles = [read::bool(rows, "host_cert")?, read::bool(rows, "client_cert")?];
        Ok(Subject::Certificate(read::text(rows, "fingerprint")?, roles))
    }

    /// A name for it that no other of its kind has; `None` where a row tells of nothing.
    fn name(&self, row: usize) -> Option<Cow<'a, str>> {
        match self {
            Subject::Flow(ids) => (!ids.is_null(row)).then(|| ids.value(row).into()),
            Subject::Certificate(prints, roles) => {
                let [host, client] = roles.map(|of| of.value(row));
                Some(format!("{} {host} {client}", prints.value(row)).into())
            }
        }
    }
}

/// Whether a host as text is of many or of a link; what is no address is nobody's to join.
fn is_for_many(host: &str) -> bool {
    host.parse().map_or(true, |ip| id::is_for_many(&ip))
}

/// Sends rows that were chosen, and shows them to the detectors.
///
/// # Errors
/// Batches of one stream that do not fit each other.
pub fn send(
    windows: &mut Windows,
    (chosen, merged): (Vec<Chosen>, u64),
    to: &mut Outlet<'_>,
) -> anyhow::Result<()> {
    to.counters.copied_out += chosen.len() as u64;
    to.counters.copied_merged += merged;
    let mut streams: BTreeMap<&str, Vec<Chosen>> = BTreeMap::new();
    for row in chosen {
        streams.entry(row.item.def.name).or_default().push(row);
    }
    for chosen in streams.into_values() {
        let Some(def) = chosen.first().map(|row| row.item.def) else { continue };
        let batches: Vec<&RecordBatch> = chosen.iter().map(|row| row.item.rows.as_ref()).collect();
        let picks: Vec<(usize, usize)> =
            chosen.iter().enumerate().map(|(batch, row)| (batch, row.item.row)).collect();
        let rows = interleave_record_batch(&batches, &picks)
            .with_context(|| format!("rows of {} that waited", def.name))?;
        let times = chosen.iter().map(|row| row.at);
        let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
        let rows = rows::replace(rows, "_write_ts", Arc::new(times))?;
        let oldest = chosen.iter().map(|row| row.offset).min().unwrap_or(0);
        let from = (Input::Raw(def), oldest);
        let written = Written { from, is_again: false, has_source: true };
        observe::show(windows, def, &rows, written, to.detectors)?;
        to.out.push(Outgoing::rows(Topic::log(def), windows.lane(), def, rows));
    }
    Ok(())
}
