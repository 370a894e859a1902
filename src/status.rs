//! `weir status`: who is there, what each holds, how far behind it is, what was dropped or went before its time, and who is
//! silent; from `metrics` and the positions of groups.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use bus::books::{Counts, HEARTBEAT_MS, Record};
use bus::clock::{Clock as _, System};
use bus::kafka::{From, Kafka};
use bus::{Bus as _, Lane, Payload, Topic, topic};
use serde_json::{Value, json};

use crate::audit::used;
use crate::cli::StatusArgs;
use crate::config::{Config, minutes};

/// Who has said nothing for so long is silent: some heartbeats, and what a busy machine adds.
const SILENT_MS: i64 = 3 * HEARTBEAT_MS;
/// Of a partition with fewer offsets to read it is looked how many are records: transactions leave marks.
const LOOK_MOST: i64 = 1_000;

/// Stretch of time by which the counts of all members are added up, by their clocks.
const BUCKET_MS: i64 = 60_000;

/// Counts of aggregators and managers that nobody should have to look for: what was refused, came too late, or went before
/// its time as it was more than a limit allows.
const TROUBLES: [&str; 11] = [
    "early",
    "late",
    "hurried",
    "copies_forgotten",
    "significance_lost",
    "suppressions_lost",
    "assets_forgotten",
    "policy_refused",
    "sources_refused",
    "unknown.partial",
    "records_gone",
];

/// What is known of a member.
#[derive(Debug, Default)]
pub struct Member {
    last: Record,
    /// What it counted in the time looked at, by the beginning of each bucket.
    buckets: BTreeMap<i64, Counts>,
}

impl Member {
    /// All that it counted.
    fn counts(&self) -> Counts {
        let mut all = Counts::default();
        self.buckets.values().for_each(|counts| all.add_all(counts));
        all
    }

    /// Packets that the kernel dropped.
    fn packets_dropped(&self) -> i64 {
        self.counts().get("kernel_drops")
    }

    fn rows_dropped(&self) -> i64 {
        let counts = self.counts();
        let dropped = counts.0.iter().filter(|(name, _)| {
            // What was logged already is not lost.
            name.starts_with("dropped.") && !name.starts_with("dropped.repeated.")
        });
        dropped.map(|(_, by)| by).sum()
    }

    fn troubles(&self) -> Vec<String> {
        let counts = self.counts();
        let told = TROUBLES.iter().map(|name| (name, counts.get(name)));
        told.filter(|(_, by)| *by != 0).map(|(name, by)| format!("{name} {by}")).collect()
    }
}

/// Members by group and node.
pub type Members = BTreeMap<(String, String), Member>;

/// Records not read yet, by group and lane.
type Lag = BTreeMap<String, BTreeMap<Lane, u64>>;

/// Prints who is there.
pub fn status(args: &StatusArgs, config: &Config) -> anyhow::Result<()> {
    let kafka = Kafka::connect(config.kafka()?)?;
    let now_ms = System.now_ms();
    let back_ms = minutes("--since", &args.since)?.saturating_mul(60_000);
    let members = members(&kafka, now_ms.saturating_sub(back_ms))?;
    let lag = lag(&kafka, &members, config.overlap())?;
    let mut out = std::io::stdout().lock();
    if args.json {
        let all = as_json(&members, &lag, kafka.lanes(), now_ms);
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?);
    }
    if members.is_empty() {
        return Ok(writeln!(out, "nobody was heard of in the last {}", args.since)?);
    }
    let table = table(&members, &lag, kafka.lanes(), now_ms);
    Ok(out.write_all(table.as_bytes())?)
}

/// A line for each member, what went wrong, and what nobody holds.
fn table(members: &Members, lag: &Lag, lanes: Lane, now_ms: i64) -> String {
    let mut lines = vec![format!(
        "{:16} {:14} {:8} {:12} {:8} {:12} {:>9} {:>9} {:>9}  last seen",
        "node", "role", "state", "lanes", "weir", "policy", "lag", "lost pkts", "lost rows"
    )];
    for ((role, node), member) in members {
        let Record { lanes, weir, facts, at_ms, .. } = &member.last;
        let policy = facts.get("policy").map_or("-", String::as_str);
        let lanes = if role == "capture" { "-".to_owned() } else { ranges(lanes) };
        lines.push(format!(
            "{node:16} {role:14} {:8} {lanes:12} {weir:8} {policy:12} {:>9} {:>9} {:>9}  {} s ago",
            state(member, now_ms),
            of(lag, role, member),
            member.packets_dropped(),
            member.rows_dropped(),
            (now_ms - at_ms).max(0) / 1000,
        ));
    }
    for ((role, node), member) in members {
        let troubles = member.troubles();
        if !troubles.is_empty() {
            lines.push(format!("{node} {role}: {}", troubles.join(", ")));
        }
    }
    for (role, lanes) in unheld(members, lanes, now_ms) {
        lines.push(format!("nobody holds lanes {} of {role}", ranges(&lanes)));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Who was heard of since then.
pub fn members(kafka: &Kafka, since_ms: i64) -> anyhow::Result<Members> {
    let mut members = Members::new();
    kafka.tail(&topic::METRICS, From::Time(since_ms), false, &mut |record| {
        if let Some(Payload::Bytes(json)) = record.map(|record| record.payload)
            && let Ok(told) = serde_json::from_slice::<Record>(&json)
        {
            hear(&mut members, told);
        }
        true
    })?;
    Ok(members)
}

fn hear(members: &mut Members, told: Record) {
    let member = members.entry((told.group.clone(), told.node.clone())).or_default();
    let bucket = told.at_ms.div_euclid(BUCKET_MS) * BUCKET_MS;
    member.buckets.entry(bucket).or_default().add_all(&told.counts);
    member.last = told;
}

/// Whether a role on a node is at work, as far as its word goes.
pub fn is_running(members: &Members, role: &str, node: &str, now_ms: i64) -> bool {
    let member = members.get(&(role.to_owned(), node.to_owned()));
    member.is_some_and(|member| state(member, now_ms) == "running")
}

fn state(member: &Member, now_ms: i64) -> &'static str {
    if member.last.end {
        "ended"
    } else if now_ms - member.last.at_ms > SILENT_MS {
        "SILENT"
    } else {
        "running"
    }
}

/// What a group reads.
fn topics(role: &str, overlap: bool) -> Vec<Topic> {
    match role.strip_prefix("sink.") {
        Some(format) => sink::member(format, "").topics,
        None if role == "aggregate" => aggregate::member("", overlap).topics,
        None if role == "manager" => manager::member("").topics,
        None => Vec::new(),
    }
}

fn lag(kafka: &Kafka, members: &Members, overlap: bool) -> anyhow::Result<Lag> {
    let mut lag = Lag::new();
    let roles: BTreeSet<&String> = members.keys().map(|(role, _)| role).collect();
    for role in roles {
        let topics = topics(role, overlap);
        if topics.is_empty() {
            continue;
        }
        let mut at: BTreeMap<(Topic, Lane), i64> = BTreeMap::new();
        for position in kafka.positions(role, &topics)? {
            at.insert((position.topic.clone(), position.lane), used(role, &position));
        }
        let of_role = lag.entry(role.clone()).or_default();
        let mut places = Vec::new();
        for topic in topics {
            places.extend(kafka.partitions(&topic));
        }
        let mut near = Vec::new();
        for ((topic, lane), (first, end)) in kafka.ends(&places)? {
            let next = at.get(&(topic.clone(), lane)).copied().unwrap_or(first).max(first);
            let count = of_role.entry(lane).or_default();
            match end - next {
                ..=0 => {}
                1..LOOK_MOST => near.push((topic, lane, Some(next))),
                far => *count += far.unsigned_abs(),
            }
        }
        if !near.is_empty() {
            kafka.skim(near, &mut |seen| *of_role.entry(seen.lane).or_default() += 1)?;
        }
    }
    Ok(lag)
}

/// What the lanes of a member have waiting.
fn of(lag: &Lag, role: &str, member: &Member) -> String {
    let Some(lanes) = lag.get(role) else { return "-".to_owned() };
    let mine = member.last.lanes.iter().filter_map(|lane| lanes.get(lane));
    mine.sum::<u64>().to_string()
}

/// Lanes of groups that no running member holds.
fn unheld(members: &Members, lanes: Lane, now_ms: i64) -> BTreeMap<String, Vec<Lane>> {
    let mut held: BTreeMap<String, BTreeSet<Lane>> = BTreeMap::new();
    for ((role, _), member) in members.iter().filter(|((role, _), _)| role != "capture") {
        let held = held.entry(role.clone()).or_default();
        if state(member, now_ms) == "running" {
            held.extend(&member.last.lanes);
        }
    }
    let free = |held: BTreeSet<Lane>| (0..lanes).filter(|lane| !held.contains(lane)).collect();
    let all = held.into_iter().map(|(role, held)| (role, free(held)));
    all.filter(|(_, free): &(_, Vec<Lane>)| !free.is_empty()).collect()
}

fn as_json(members: &Members, lag: &Lag, lanes: Lane, now_ms: i64) -> Value {
    let each = members.iter().map(|((role, node), member)| {
        let Record { lanes, weir, facts, at_ms, run, .. } = &member.last;
        json!({
            "node": node, "role": role, "state": state(member, now_ms).to_lowercase(),
            "lanes": lanes, "weir": weir, "facts": facts, "last_seen_ms": at_ms,
            "silent_for_ms": (now_ms - at_ms).max(0), "since_ms": run,
            "packets_dropped": member.packets_dropped(), "rows_dropped": member.rows_dropped(),
            "counts": member.counts(),
        })
    });
    json!({
        "lanes": lanes,
        "members": each.collect::<Vec<_>>(),
        "lag": lag,
        "unheld": unheld(members, lanes, now_ms),
        "minutes": buckets(members),
    })
}

/// What all members of a role counted together, by the beginning of the minute in milliseconds.
fn buckets(members: &Members) -> BTreeMap<i64, BTreeMap<&str, Counts>> {
    let mut all: BTreeMap<i64, BTreeMap<&str, Counts>> = BTreeMap::new();
    for ((role, _), member) in members {
        for (start_ms, counts) in &member.buckets {
            all.entry(*start_ms).or_default().entry(role).or_default().add_all(counts);
        }
    }
    all
}

/// Lanes as `0-3,7`.
fn ranges(lanes: &[Lane]) -> String {
    let mut sorted = lanes.to_vec();
    sorted.sort_unstable();
    let runs = sorted.chunk_by(|a, b| a + 1 == *b);
    let texts: Vec<String> = runs
        .filter_map(|run| match (run.first()?, run.last()?) {
            (first, last) if first == last => Some(first.to_string()),
            (first, last) => Some(format!("{first}-{last}")),
        })
        .collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(group: &str, node: &str, at_ms: i64, lanes: &[Lane]) -> Record {
        Record {
            group: group.into(),
            node: node.into(),
            at_ms,
            lanes: lanes.to_vec(),
            ..Record::default()
        }
    }

    #[test]
    fn who_ended_or_is_silent_is_not_at_work() {
        let mut members = Members::new();
        hear(&mut members, told("capture", "w1", 1_000, &[]));
        hear(&mut members, Record { end: true, ..told("capture", "w2", 1_000, &[]) });
        let is = |node: &str, now_ms| is_running(&members, "capture", node, now_ms);
        assert!(is("w1", 1_000 + SILENT_MS) && !is("w1", 1_001 + SILENT_MS));
        assert!(!is("w2", 1_000) && !is("w3", 1_000));
    }

    #[test]
    fn the_silent_are_shown_as_such_and_their_lanes_as_nobodys() {
        let mut members = Members::new();
        let mut w0 = told("capture", "w0", 90_000, &[2]);
        w0.counts.add("kernel_drops", 4);
        w0.counts.add("dropped.queue_full.dns", 3);
        w0.counts.add("dropped.repeated.weird", 9);
        hear(&mut members, w0.clone());
        hear(&mut members, w0);
        hear(&mut members, told("manager", "m0", 10_000, &[0, 1]));
        hear(&mut members, told("manager", "m1", 99_000, &[2]));
        hear(&mut members, Record { end: true, ..told("sink.tsv", "s0", 1_000, &[0, 1, 2]) });
        let state = |role: &str, node: &str| state(&members[&(role.into(), node.into())], 100_000);
        assert_eq!(state("capture", "w0"), "running");
        assert_eq!((state("manager", "m0"), state("manager", "m1")), ("SILENT", "running"));
        assert_eq!(state("sink.tsv", "s0"), "ended");
        let unheld = unheld(&members, 3, 100_000);
        assert_eq!(unheld["manager"], [0, 1]);
        assert_eq!(unheld["sink.tsv"], [0, 1, 2]);
        assert!(!unheld.contains_key("capture"));
        let w0 = &members[&("capture".into(), "w0".into())];
        assert_eq!((w0.packets_dropped(), w0.rows_dropped()), (8, 6));
        let lag = Lag::from([("manager".into(), [(0, 5), (1, 6), (2, 7)].into())]);
        let json = as_json(&members, &lag, 3, 100_000);
        assert_eq!(json["members"][1]["state"], "silent");
        assert_eq!(of(&lag, "manager", &members[&("manager".into(), "m0".into())]), "11");
    }

    #[test]
    fn counts_are_added_up_by_minute_and_role_over_all_nodes() {
        let mut members = Members::new();
        for (role, node, at_ms, packets) in [
            ("capture", "w0", 60_000, 1),
            ("capture", "w1", 119_999, 2),
            ("capture", "w0", 120_000, 4),
            ("manager", "w0", 60_000, 8),
        ] {
            let mut told = told(role, node, at_ms, &[]);
            told.counts.add("packets", packets);
            hear(&mut members, told);
        }
        let minutes = &as_json(&members, &Lag::new(), 1, 200_000)["minutes"];
        let want = json!({
            "60000": {"capture": {"packets": 3}, "manager": {"packets": 8}},
            "120000": {"capture": {"packets": 4}},
        });
        assert_eq!(*minutes, want);
    }

    #[test]
    fn all_that_there_is_to_know_of_a_member_is_shown() {
        let mut members = Members::new();
        let mut manager = told("manager", "m0", 90_000, &[0, 1, 3]);
        manager.weir = "0.1.0".into();
        manager.facts.insert("policy".into(), "0123456789ab".into());
        manager.counts.add("policy_refused", 1);
        hear(&mut members, manager.clone());
        manager.counts.add("suppressions_lost", 5);
        manager.counts.add("found.notice", 2);
        hear(&mut members, manager);
        let mut capture = told("capture", "w0", 99_000, &[2]);
        capture.counts.add("kernel_drops", 7);
        capture.counts.add("dropped.queue_full.dns", 3);
        hear(&mut members, capture);
        let lag = Lag::from([("manager".into(), [(0, 5), (2, 6), (3, 7)].into())]);
        let table = table(&members, &lag, 4, 100_000);
        let cells: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            cells[0].join(" "),
            "node role state lanes weir policy lag lost pkts lost rows last seen"
        );
        assert_eq!(cells[1].join(" "), "w0 capture running - - - 7 3 1 s ago");
        assert_eq!(
            cells[2].join(" "),
            "m0 manager running 0-1,3 0.1.0 0123456789ab 12 0 0 10 s ago"
        );
        assert_eq!(cells[3].join(" "), "m0 manager: suppressions_lost 5, policy_refused 2");
        assert_eq!(cells[4].join(" "), "nobody holds lanes 2 of manager");
        let json = as_json(&members, &lag, 4, 100_000);
        assert_eq!(
            json["members"][1],
            json!({
                "node": "m0", "role": "manager", "state": "running", "lanes": [0, 1, 3],
                "weir": "0.1.0", "facts": {"policy": "0123456789ab"}, "last_seen_ms": 90_000,
                "silent_for_ms": 10_000, "since_ms": 0, "packets_dropped": 0, "rows_dropped": 0,
                "counts": {"found.notice": 2, "policy_refused": 2, "suppressions_lost": 5},
            })
        );
        assert_eq!(
            (&json["members"][0]["packets_dropped"], &json["lag"]["manager"]["3"]),
            (&json!(7), &json!(7))
        );
    }

    #[test]
    fn lanes_are_short() {
        assert_eq!(ranges(&[3, 0, 1, 7, 2]), "0-3,7");
        assert_eq!(ranges(&[]), "none");
    }
}
