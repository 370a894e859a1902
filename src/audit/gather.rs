//! What the broker has, into the ledger: the books first, then what lies on the bus, so that whatever is written
//! meanwhile is not taken for a difference.

use std::collections::BTreeMap;

use aggregate::state::Note;
use bus::books::ledger::Ledger;
use bus::books::{BY, By};
use bus::kafka::{From, Kafka};
use bus::{Lane, Payload, Topic, topic};

use super::Notes;

/// Records of one step are not all taken by the broker in the same moment.
const SLACK_MS: i64 = 120_000;

/// Everything that roles told.
pub fn books(kafka: &Kafka, ledger: &mut Ledger, notes: &mut Notes) -> anyhow::Result<()> {
    kafka.tail(&topic::METRICS, From::Beginning, false, &mut |record| {
        if let Some(Payload::Bytes(json)) = record.map(|record| record.payload) {
            match serde_json::from_slice(&json) {
                Ok(told) => ledger.enter(told),
                Err(_) => notes.strange += 1,
            }
        }
        true
    })?;
    Ok(())
}

/// Dead letters, and every record that has rows, as far back as the books go.
pub fn bus(kafka: &Kafka, ledger: &mut Ledger) -> anyhow::Result<()> {
    kafka.skim(&topic::DEADLETTER, &BTreeMap::new(), &mut |seen| {
        let of = |name: &str| seen.header(&format!("__connect.errors.{name}"));
        let place = of("topic").zip(of("partition")).zip(of("offset"));
        let (Some(((full, lane), offset)), Some(group)) = (place, of("connector.name")) else {
            return;
        };
        let name = full.strip_prefix(&format!("{}.", kafka.config().prefix));
        if let (Some(name), Ok(lane), Ok(offset)) = (name, lane.parse(), offset.parse()) {
            ledger.letter(group, name, lane, offset, seen.rows());
        }
    })?;
    let topics = topic::table().into_iter().map(|spec| spec.topic);
    for topic in topics.filter(topic::carries_rows) {
        let from = beginning(kafka, ledger, &topic)?;
        kafka.skim(&topic, &from, &mut |seen| {
            let rows = seen.rows();
            if rows > 0 {
                let by = seen.header(BY).and_then(|by| by.parse::<By>().ok());
                ledger.found(&topic.0, seen.lane, seen.offset, rows, by.as_ref());
            }
        })?;
    }
    Ok(())
}

/// From where on the books know a topic: since they began, and since what was read in them.
fn beginning(kafka: &Kafka, ledger: &Ledger, topic: &Topic) -> anyhow::Result<BTreeMap<Lane, i64>> {
    let since_ms = ledger.since_ms().unwrap_or(0).saturating_sub(SLACK_MS);
    let mut from = kafka.since(topic, since_ms)?;
    for (lane, from) in &mut from {
        let first = ledger
            .groups
            .values()
            .filter_map(|group| Some(group.input.get(&*topic.0)?.get(lane)?.iter().next()?.0));
        let (kept, _) = kafka.ends(topic, *lane)?;
        *from = first.fold(*from, i64::min).max(kept);
    }
    Ok(from)
}

/// Where the groups of the books stand.
pub fn positions(kafka: &Kafka, ledger: &mut Ledger) -> anyhow::Result<()> {
    let groups: Vec<(String, Vec<Topic>)> = ledger
        .groups
        .iter()
        .map(|(name, group)| {
            (name.clone(), group.input.keys().map(|topic| Topic(topic.clone().into())).collect())
        })
        .collect();
    for (group, topics) in groups.into_iter().filter(|(_, topics): &(_, Vec<_>)| !topics.is_empty())
    {
        for position in kafka.positions(&group, &topics)? {
            let used = used(&group, &position);
            ledger.position(&group, &position.topic.0, position.lane, used);
        }
    }
    Ok(())
}

/// Up to where a group is done with a partition.
pub fn used(group: &str, position: &bus::Position) -> i64 {
    if group != "aggregate" {
        return position.offset;
    }
    Note::of(position).map_or(position.offset, |note| note.read.max(position.offset))
}
