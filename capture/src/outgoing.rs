//! Rows as the records of a step.

use std::collections::BTreeMap;

use bus::books::Counts;
use bus::topic::{self, Topic};
use bus::{Lane, Outgoing, Stamp};
use model::stream::{weird, x509};

use crate::config::Joins;
use crate::flush::{self, Seen};
use crate::out::Rows;
use crate::tally;

/// The topics that aggregators read: on each of them a source tells its progress.
fn stamped(joins: Joins) -> Vec<Topic> {
    let merged = [topic::RAW_CONN, topic::RAW_NOTICE, topic::RAW_KNOWN];
    let mut topics = merged.to_vec();
    match joins {
        // Where taps overlap logs of flows are the aggregators' own.
        Joins::Copies => topics.extend(topic::raw_copies().map(Topic::raw)),
        _ => topics.extend(detect::detector::logs().map(Topic::log)),
    }
    topics
}

/// Puts the rows of some threads in order and addresses them. Where there is a watermark every lane is told
/// of the source's progress, with rows or without. Also says what was made, and what was logged already.
pub fn outgoing(
    threads: Vec<Vec<Rows>>,
    lanes: u32,
    seen: &mut Seen,
    stamp: &Stamp,
    joins: Joins,
) -> anyhow::Result<(Vec<Outgoing>, Counts)> {
    let mut counts = Counts::default();
    tally::made(threads.iter().flatten(), &mut counts);
    // Rows that are logged once for a time: see `Seen`.
    let mut once = [weird::DEF.name, x509::DEF.name].map(|name| (name, of(&counts, name)));
    let mut sent = Vec::new();
    let mut unstamped: BTreeMap<Topic, Vec<Lane>> =
        stamped(joins).into_iter().map(|topic| (topic, (0..lanes).collect())).collect();
    for rows in flush::merge(threads, lanes, seen)? {
        for (_, left) in once.iter_mut().filter(|(name, _)| *name == rows.def.name) {
            *left = left.saturating_sub(rows.batch.num_rows() as u64);
        }
        let topic = match rows.def.name {
            "conn" | "raw_conn" => topic::RAW_CONN,
            "notice" => topic::RAW_NOTICE,
            "known" => topic::RAW_KNOWN,
            _ if unstamped.contains_key(&Topic::raw(rows.def)) => Topic::raw(rows.def),
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
    for (stream, again) in once {
        tally::dropped("repeated", stream, again, &mut counts);
    }
    Ok((sent, counts))
}

fn of(counts: &Counts, stream: &str) -> u64 {
    counts.get(&format!("made.{stream}")).unsigned_abs()
}
