//! Rows as the records of a step.

use std::collections::BTreeMap;

use bus::topic::{self, Topic};
use bus::{Lane, Outgoing, Stamp};

use crate::flush::{self, Seen};
use crate::out::Rows;

/// The topics that aggregators read: on each of them a source tells its progress.
fn stamped() -> impl Iterator<Item = Topic> {
    let merged = [topic::RAW_CONN, topic::RAW_NOTICE, topic::RAW_KNOWN];
    merged.into_iter().chain(detect::detector::logs().map(Topic::log))
}

/// Puts the rows of some threads in order and addresses them. Where there is a watermark every lane is told
/// of the source's progress, with rows or without.
pub fn outgoing(
    threads: Vec<Vec<Rows>>,
    lanes: u32,
    seen: &mut Seen,
    stamp: &Stamp,
) -> anyhow::Result<Vec<Outgoing>> {
    let mut sent = Vec::new();
    let mut unstamped: BTreeMap<Topic, Vec<Lane>> =
        stamped().map(|topic| (topic, (0..lanes).collect())).collect();
    for rows in flush::merge(threads, lanes, seen)? {
        let topic = match rows.def.name {
            "conn" => topic::RAW_CONN,
            "notice" => topic::RAW_NOTICE,
            "known" => topic::RAW_KNOWN,
            _ => Topic::log(rows.def),
        };
        let mut out = Outgoing::rows(topic.clone(), rows.lane, rows.def, rows.batch);
        if let Some(lanes) = unstamped.get_mut(&topic) {
            lanes.retain(|lane| *lane != rows.lane);
            out = out.stamped(stamp.clone());
        }
        sent.push(out);
    }
    for (topic, lanes) in unstamped {
        for lane in lanes {
            sent.push(Outgoing::punctuation(topic.clone(), lane, stamp.clone()));
        }
    }
    Ok(sent)
}
