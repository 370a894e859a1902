//! Records as bytes: a batch is a self-contained Arrow IPC stream that any Arrow reader opens, what
//! is said about it (stream, version, rows, times, the source's progress) is text in headers.
//!
//! [`encode`] and [`decode`] are each other's inverse. Decoding never fails: bytes that make no sense
//! come out as [`Payload::Bad`] with the reason, and the lane moves on. [`unpack`] is the part that
//! looks at hostile bytes.

use std::borrow::Cow;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use bytes::Bytes;
use model::stream::{self, Def};

use crate::topic::{self, Topic};
use crate::{BusError, Lane, Outgoing, Payload, Record, Stamp, Timeline};

#[cfg(test)]
mod tests;
mod unpack;

/// What a payload may take: topics accept 8 MiB a record batch, which also holds key and headers.
pub const MAX_PAYLOAD: usize = (8 << 20) - (64 << 10);

/// What the columns of one record may take unpacked: LZ4 packs repetition up to 255 times, and a
/// reader has to hold what it unpacks.
pub const MAX_UNPACKED: usize = 64 << 20;

/// Names of headers.
mod header {
    pub(super) const STREAM: &str = "stream";
    pub(super) const SCHEMA: &str = "schema";
    pub(super) const ROWS: &str = "rows";
    pub(super) const FIRST: &str = "first";
    pub(super) const LAST: &str = "last";
    pub(super) const SOURCE: &str = "source";
    pub(super) const TIMELINE: &str = "timeline";
    pub(super) const TIME: &str = "time";
    pub(super) const END: &str = "end";
}

/// The header with the number of rows.
pub const ROWS: &str = header::ROWS;

/// A header: name and text.
pub type Header = (Cow<'static, str>, String);

/// A record as Kafka carries it.
#[derive(Debug, Clone, Default)]
pub struct Encoded {
    /// The value; `None` is Kafka's null: a tombstone or punctuation.
    pub payload: Option<Bytes>,
    /// Headers in order.
    pub headers: Vec<Header>,
}

/// A record as bytes and headers. Rows that are too much for one record come out as several, in
/// order; the stamp goes with the last, as it speaks for all of them.
///
/// # Errors
/// [`BusError::Fatal`] when a single row is larger than [`MAX_PAYLOAD`], naming topic and lane; the
/// size of documents is the business of [`crate::Member::check`].
pub fn encode(out: &Outgoing) -> Result<Vec<Encoded>, BusError> {
    let mut parts = Vec::with_capacity(1);
    match &out.payload {
        Payload::Rows(def, rows) => match &out.packed {
            Some(bytes) => parts
                .push(Encoded { payload: Some(bytes.clone()), headers: row_headers(def, rows) }),
            None => encode_rows(out, def, rows, &mut parts)?,
        },
        Payload::Bytes(bytes) | Payload::Bad(bytes, _) => {
            parts.push(Encoded { payload: Some(bytes.clone()), headers: Vec::new() });
        }
        Payload::Empty => parts.push(Encoded::default()),
    }
    for part in &mut parts {
        let further = out.headers.iter().map(|(name, text)| (name.clone().into(), text.clone()));
        part.headers.extend(further);
    }
    if let (Some(stamp), Some(last)) = (&out.stamp, parts.last_mut()) {
        push_stamp(&mut last.headers, stamp);
    }
    Ok(parts)
}

fn encode_rows(
    out: &Outgoing,
    def: &'static Def,
    rows: &RecordBatch,
    parts: &mut Vec<Encoded>,
) -> Result<(), BusError> {
    if unpacked_size(rows) <= MAX_UNPACKED {
        let bytes = pack(rows).map_err(|e| {
            BusError::Fatal(format!("{}[{}]: rows of {}: {e}", out.topic, out.lane, def.name))
        })?;
        if bytes.len() <= MAX_PAYLOAD {
            parts.push(Encoded { payload: Some(bytes.into()), headers: row_headers(def, rows) });
            return Ok(());
        }
    }
    if rows.num_rows() < 2 {
        return Err(too_large(out, unpacked_size(rows), "a row"));
    }
    let half = rows.num_rows() / 2;
    encode_rows(out, def, &rows.slice(0, half), parts)?;
    encode_rows(out, def, &rows.slice(half, rows.num_rows() - half), parts)
}

pub(crate) fn too_large(out: &Outgoing, size: usize, what: &str) -> BusError {
    let key = out.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    BusError::Fatal(format!(
        "{}[{}]: {what} (key `{key}`) takes {size} bytes, and a record holds {MAX_PAYLOAD}: \
         whatever made it must bound it",
        out.topic, out.lane
    ))
}

/// Bytes that these rows take, counting a slice as what it shows.
fn unpacked_size(rows: &RecordBatch) -> usize {
    let column = |c: &arrow_array::ArrayRef| c.to_data().get_slice_memory_size().unwrap_or(0);
    rows.columns().iter().map(column).sum()
}

fn pack(rows: &RecordBatch) -> Result<Vec<u8>, arrow_schema::ArrowError> {
    let options =
        IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &rows.schema(), options)?;
    writer.write(rows)?;
    writer.into_inner()
}

fn row_headers(def: &Def, rows: &RecordBatch) -> Vec<Header> {
    let mut headers = vec![
        (header::STREAM.into(), def.name.to_owned()),
        (header::SCHEMA.into(), def.version.to_string()),
        (header::ROWS.into(), rows.num_rows().to_string()),
    ];
    if let Some((first, last)) = write_times(rows) {
        headers.push((header::FIRST.into(), first.to_string()));
        headers.push((header::LAST.into(), last.to_string()));
    }
    headers
}

/// Least and greatest `_write_ts`, microseconds; `None` without rows or without the column.
pub fn write_times(rows: &RecordBatch) -> Option<(i64, i64)> {
    let column = rows.column_by_name("_write_ts")?;
    let times = column.as_primitive_opt::<TimestampMicrosecondType>()?;
    let all = || times.iter().flatten();
    Some((all().min()?, all().max()?))
}

fn push_stamp(headers: &mut Vec<Header>, stamp: &Stamp) {
    let timeline = match stamp.timeline {
        Timeline::Live => "live",
        Timeline::File => "file",
    };
    headers.push((header::SOURCE.into(), stamp.source.clone()));
    headers.push((header::TIMELINE.into(), timeline.to_owned()));
    headers.push((header::TIME.into(), stamp.time.to_string()));
    headers.push((header::END.into(), stamp.end.to_string()));
}

/// A record out of what was read. `headers` are names and raw values; of a name that comes twice the
/// first counts.
pub fn decode<'a>(
    topic: &Topic,
    lane: Lane,
    offset: i64,
    key: Option<Bytes>,
    bytes: Option<Bytes>,
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Record {
    let found = Found::of(headers);
    let stamp = found.stamp();
    let (payload, packed) = match (&stamp, bytes) {
        (Err(reason), bytes) => (Payload::Bad(bytes.unwrap_or_default(), reason.clone()), None),
        (Ok(_), bytes) => found.payload(topic, bytes),
    };
    let stamp = stamp.unwrap_or_default();
    Record { topic: topic.clone(), lane, offset, key, payload, stamp, packed }
}

/// Of packed rows ([`Record::packed`]) the first columns alone, which are those of `def`, without unpacking them.
pub fn narrow(packed: &Bytes, def: &'static Def) -> Option<Bytes> {
    unpack::narrow(def, packed).map(Bytes::from)
}

/// The headers that say something here, as text.
#[derive(Default)]
struct Found<'a> {
    stream: Option<&'a [u8]>,
    schema: Option<&'a [u8]>,
    rows: Option<&'a [u8]>,
    source: Option<&'a [u8]>,
    timeline: Option<&'a [u8]>,
    time: Option<&'a [u8]>,
    end: Option<&'a [u8]>,
}

impl<'a> Found<'a> {
    fn of(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Found<'a> {
        let mut found = Found::default();
        for (name, value) in headers {
            let slot = match name {
                header::STREAM => &mut found.stream,
                header::SCHEMA => &mut found.schema,
                header::ROWS => &mut found.rows,
                header::SOURCE => &mut found.source,
                header::TIMELINE => &mut found.timeline,
                header::TIME => &mut found.time,
                header::END => &mut found.end,
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        found
    }

    /// What it holds, and the bytes of its rows where those say no more.
    fn payload(&self, topic: &Topic, bytes: Option<Bytes>) -> (Payload, Option<Bytes>) {
        let Some(stream) = self.stream else {
            let payload = match bytes {
                None => Payload::Empty,
                Some(bytes) if topic::carries_rows(topic) => {
                    Payload::Bad(bytes, format!("no `{}` header", header::STREAM))
                }
                Some(bytes) => Payload::Bytes(bytes),
            };
            return (payload, None);
        };
        let Some(bytes) = bytes else {
            let why = "a stream is named but there are no rows".into();
            return (Payload::Bad(Bytes::new(), why), None);
        };
        match self.rows(topic, stream, &bytes) {
            Ok((def, rows, is_all)) => (Payload::Rows(def, rows), is_all.then_some(bytes)),
            Err(reason) => (Payload::Bad(bytes, reason), None),
        }
    }

    fn rows(
        &self,
        topic: &Topic,
        stream: &[u8],
        bytes: &[u8],
    ) -> Result<(&'static Def, RecordBatch, bool), String> {
        let name = text(header::STREAM, stream)?;
        let def = stream::find(name).ok_or_else(|| format!("unknown stream `{}`", short(name)))?;
        if topic.0.starts_with("log.") && *topic != Topic::log(def) {
            return Err(format!("rows of {name} in the topic of another stream"));
        }
        let version: u32 = match self.schema {
            Some(value) => number(header::SCHEMA, value)?,
            None => def.version,
        };
        if version > def.version {
            let ours = def.version;
            return Err(format!(
                "{name} has schema version {version}, this weir knows up to {ours}: upgrade readers first"
            ));
        }
        let (rows, is_all) = unpack::unpack(def, bytes)?;
        if let Some(value) = self.rows {
            let said: usize = number(header::ROWS, value)?;
            if said != rows.num_rows() {
                return Err(format!("{said} rows announced, {} found", rows.num_rows()));
            }
        }
        Ok((def, rows, is_all))
    }

    fn stamp(&self) -> Result<Option<Stamp>, String> {
        let (Some(source), Some(time)) = (self.source, self.time) else {
            return Ok(None);
        };
        let timeline = match self.timeline {
            Some(b"live") => Timeline::Live,
            Some(b"file") => Timeline::File,
            other => {
                let other = String::from_utf8_lossy(other.unwrap_or_default());
                return Err(format!("header `{}` is `{}`", header::TIMELINE, short(&other)));
            }
        };
        let end = match self.end {
            None | Some(b"false") => false,
            Some(b"true") => true,
            Some(other) => {
                let other = String::from_utf8_lossy(other);
                return Err(format!("header `{}` is `{}`", header::END, short(&other)));
            }
        };
        let source = text(header::SOURCE, source)?.to_owned();
        Ok(Some(Stamp { source, timeline, time: number(header::TIME, time)?, end }))
    }
}

fn text<'a>(name: &str, value: &'a [u8]) -> Result<&'a str, String> {
    std::str::from_utf8(value).map_err(|_| format!("header `{name}` is not UTF-8"))
}

fn number<T: std::str::FromStr>(name: &str, value: &[u8]) -> Result<T, String> {
    let value = text(name, value)?;
    value.parse().map_err(|_| format!("header `{name}` is `{}`", short(value)))
}

/// The beginning of somebody else's text, for a message.
fn short(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_default).collect()
}
