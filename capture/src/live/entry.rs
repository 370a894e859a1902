//! One step's records while they wait for the bus, in memory and as bytes.
//!
//! On disk an entry is the length of its head, the head as JSON, and the payloads one after another as the
//! bus would carry them ([`bus::codec`]): a spool is read by every later version that reads the topics.

use anyhow::Context as _;
use bus::books::Counts;
use bus::codec;
use bus::topic::Topic;
use bus::{Outgoing, Payload, Record};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::position::Id;

/// What an entry takes beside its rows, bytes: records without rows have names and stamps.
const RECORD_BYTES: usize = 256;

/// A step that waits.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its place among all steps of this source.
    pub id: Id,
    /// Packets of this reading.
    pub packets: u64,
    /// Packet time reached, microseconds.
    pub time: i64,
    /// The reading ends with it.
    pub end: bool,
    /// What was counted in it.
    pub counts: Counts,
    /// Its records.
    pub out: Vec<Outgoing>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    id: Id,
    packets: u64,
    time: i64,
    end: bool,
    rows: u64,
    #[serde(default)]
    counts: Counts,
    records: Vec<RecordHead>,
}

#[derive(Serialize, Deserialize)]
struct RecordHead {
    topic: String,
    lane: u32,
    headers: Vec<(String, String)>,
    /// Length of the payload; none for punctuation.
    bytes: Option<usize>,
}

/// What is known of an entry without its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline {
    /// Its place.
    pub id: Id,
    /// Packet time reached, microseconds.
    pub time: i64,
    /// The reading ends with it.
    pub end: bool,
    /// Rows in it.
    pub rows: u64,
}

impl Entry {
    /// Rows in it.
    pub fn rows(&self) -> u64 {
        let rows = self.out.iter().map(|out| match &out.payload {
            Payload::Rows(_, rows) => rows.num_rows() as u64,
            _ => 0,
        });
        rows.sum()
    }

    /// What is known of it without its records.
    pub fn outline(&self) -> Outline {
        Outline { id: self.id, time: self.time, end: self.end, rows: self.rows() }
    }

    /// Bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        let bytes = self.out.iter().map(|out| match &out.payload {
            Payload::Rows(_, rows) => rows.get_array_memory_size() + RECORD_BYTES,
            _ => RECORD_BYTES,
        });
        bytes.sum()
    }

    /// The entry as it stands on disk.
    ///
    /// # Errors
    /// A row that no record could hold either.
    pub fn to_bytes(&self) -> anyhow::Result<Vec<u8>> {
        let (mut records, mut payloads) = (Vec::new(), Vec::new());
        for out in &self.out {
            for part in codec::encode(out)? {
                records.push(RecordHead {
                    topic: out.topic.0.to_string(),
                    lane: out.lane,
                    headers: part.headers.into_iter().map(|(k, v)| (k.into_owned(), v)).collect(),
                    bytes: part.payload.as_ref().map(Bytes::len),
                });
                payloads.extend(part.payload);
            }
        }
        let Outline { id, time, end, rows } = self.outline();
        let (packets, counts) = (self.packets, self.counts.clone());
        let head = Head { id, packets, time, end, rows, counts, records };
        let head = serde_json::to_vec(&head)?;
        let mut bytes =
            Vec::with_capacity(4 + head.len() + payloads.iter().map(Bytes::len).sum::<usize>());
        bytes.extend(u32::try_from(head.len())?.to_le_bytes());
        bytes.extend(head);
        payloads.iter().for_each(|payload| bytes.extend_from_slice(payload));
        Ok(bytes)
    }

    /// An entry that was on disk, and why records of it were left out: those that do not decode or
    /// are for lanes that there are not.
    ///
    /// # Errors
    /// Bytes that are no entry.
    pub fn from_bytes(bytes: &Bytes, lanes: u32) -> anyhow::Result<(Entry, Vec<String>)> {
        let (head, mut rest) = split(bytes)?;
        let (mut out, mut refused) = (Vec::new(), Vec::new());
        for record in head.records {
            let payload = match record.bytes {
                Some(length) if length <= rest.len() => Some(rest.split_to(length)),
                Some(length) => anyhow::bail!("{length} bytes announced, {} left", rest.len()),
                None => None,
            };
            let topic = Topic(record.topic.into());
            let headers = record.headers.iter().map(|(k, v)| (k.as_str(), v.as_bytes()));
            let Record { payload, stamp, packed, .. } =
                codec::decode(&topic, record.lane, 0, None, payload, headers);
            match payload {
                Payload::Bad(_, why) => refused.push(format!("{topic}: {why}")),
                _ if record.lane >= lanes => {
                    refused.push(format!("{topic}[{}]: there are {lanes} lanes", record.lane));
                }
                payload => {
                    let (lane, key, headers) = (record.lane, None, Vec::new());
                    out.push(Outgoing { topic, lane, key, payload, stamp, headers, packed });
                }
            }
        }
        let Head { id, packets, time, end, counts, .. } = head;
        Ok((Entry { id, packets, time, end, counts, out }, refused))
    }
}

/// What is known of the entry with these bytes, without a look at its payloads.
///
/// # Errors
/// Bytes that are no entry.
pub fn outline(bytes: &Bytes) -> anyhow::Result<Outline> {
    let (Head { id, time, end, rows, .. }, _) = split(bytes)?;
    Ok(Outline { id, time, end, rows })
}

fn split(bytes: &Bytes) -> anyhow::Result<(Head, Bytes)> {
    let mut rest = bytes.clone();
    let length = rest.first_chunk::<4>().map(|length| u32::from_le_bytes(*length) as usize);
    let length = length.filter(|length| 4 + length <= rest.len()).context("no whole head")?;
    let _ = rest.split_to(4);
    let head = rest.split_to(length);
    Ok((serde_json::from_slice(&head)?, rest))
}

#[cfg(test)]
pub(super) mod tests {
    use bus::{Stamp, Timeline, topic};
    use model::stream::{Mark, dns};

    use super::*;

    /// An entry with so many rows of dns in lane 0, and punctuation for lane 1.
    pub(in crate::live) fn entry(round: u64, number: u64, rows: i64) -> Entry {
        let mut batch = dns::Batch::default();
        for ts in 0..rows {
            let mark = Mark { write_ts: ts, flow: 1, seq: ts as u64, lane: 0 };
            batch.push(mark, dns::Row { ts, query: Some("a.example"), ..dns::Row::unset() });
        }
        let def = &dns::DEF;
        let stamp =
            Stamp { source: "n/eth0".into(), timeline: Timeline::Live, time: 9, end: false };
        let out = vec![
            Outgoing::rows(Topic::log(def), 0, def, batch.finish("n").0),
            Outgoing::punctuation(topic::RAW_CONN, 1, stamp),
        ];
        let mut counts = Counts::default();
        counts.add("made.dns", rows);
        Entry { id: Id { round, number }, packets: 5, time: 1_000_000, end: false, counts, out }
    }

    #[test]
    fn an_entry_is_the_same_after_it_was_on_disk() {
        let first = entry(3, 7, 10);
        let bytes = Bytes::from(first.to_bytes().unwrap());
        assert_eq!(outline(&bytes).unwrap(), first.outline());
        let (back, refused) = Entry::from_bytes(&bytes, 2).unwrap();
        assert!(refused.is_empty(), "{refused:?}");
        assert_eq!((back.outline(), back.packets), (first.outline(), 5));
        assert_eq!(
            (back.out[1].stamp.as_ref(), &back.counts),
            (first.out[1].stamp.as_ref(), &first.counts)
        );
        let (Payload::Rows(_, a), Payload::Rows(_, b)) =
            (&first.out[0].payload, &back.out[0].payload)
        else {
            panic!("no rows")
        };
        assert_eq!(a, b);
        // Lanes are fixed; a spool that comes from elsewhere must not stop the role.
        let (less, refused) = Entry::from_bytes(&bytes, 1).unwrap();
        assert_eq!((less.out.len(), refused.len()), (1, 1));
    }

    #[test]
    fn what_was_cut_is_refused_at_every_byte() {
        let bytes = Bytes::from(entry(1, 1, 3).to_bytes().unwrap());
        for length in 0..bytes.len() {
            assert!(Entry::from_bytes(&bytes.slice(..length), 2).is_err(), "{length}");
        }
    }
}
