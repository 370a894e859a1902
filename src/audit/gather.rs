//! What the broker has, into the ledger: the books first, then what lies on the bus, so that whatever is written
//! meanwhile is not taken for a difference.

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
    let letters = kafka.partitions(&topic::DEADLETTER).into_iter();
    kafka.skim(letters.map(|(topic, lane)| (topic, lane, None)).collect(), &mut |seen| {
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
    kafka.skim(beginnings(kafka, ledger)?, &mut |seen| {
        let rows = seen.rows();
        if rows > 0 {
            let by = seen.header(BY).and_then(|by| by.parse::<By>().ok());
            ledger.found(&seen.topic.0, seen.lane, seen.offset, rows, by.as_ref());
        }
    })?;
    Ok(())
}

/// From where on the books know each partition that has rows: since they began, and since what was read in them.
fn beginnings(kafka: &Kafka, ledger: &Ledger) -> anyhow::Result<Vec<(Topic, Lane, Option<i64>)>> {
    let topics = topic::table().into_iter().map(|spec| spec.topic).filter(topic::carries_rows);
    let places: Vec<(Topic, Lane)> = topics.flat_map(|topic| kafka.partitions(&topic)).collect();
    let since_ms = ledger.since_ms().unwrap_or(0).saturating_sub(SLACK_MS);
    let (since, ends) = (kafka.since(&places, since_ms)?, kafka.ends(&places)?);
    let from = |place: (Topic, Lane)| {
        let first_read = ledger
            .groups
            .values()
            .filter_map(|group| Some(group.input.get(&*place.0.0)?.get(&place.1)?.iter().next()?.0))
            .min();
        let from = since.get(&place).copied().into_iter().chain(first_read).min();
        let kept = ends.get(&place).map(|(kept, _)| *kept);
        (place.0, place.1, from.max(kept))
    };
    Ok(places.into_iter().map(from).collect())
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
