//! Records that nobody can use, on every topic; and a group whose positions the broker has forgotten.

use std::collections::BTreeMap;
use std::path::Path;

use arrow_array::RecordBatch;
use bus::kafka::Kafka;
use bus::{Bus as _, Lane, Member, Outgoing, Payload, Step, Topic, codec, topic};
use bytes::Bytes;
use model::stream::{Def, Mark, conn, dns, failed_auth, notice};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;

use crate::SETTINGS;
use crate::harness::agree::{alone, assert_agree};
use crate::harness::cluster::{Cluster, node, workers};
use crate::harness::weir::Running;
use crate::harness::{PATIENCE, files, kafka, split, text};

/// The lane that bad records are written to.
const LANE: Lane = 1;
/// Partitions of a topic.
const LANES: i32 = 4;
/// What a letter's headers are called before their own names.
const HEADER: &str = "__connect.errors.";

/// Writes records as anybody might.
fn write(cluster: &Cluster, out: Vec<Outgoing>) {
    let config = bus::kafka::Config {
        brokers: cluster.brokers().to_owned(),
        prefix: cluster.prefix().to_owned(),
        ..Default::default()
    };
    let bus = Kafka::connect(config).expect("the broker");
    let (group, node) = ("stranger".to_owned(), "x".to_owned());
    let me = Member { group, node, topics: Vec::new(), state: None, home: Vec::new() };
    let session = bus.open(&me).expect("a session");
    drop(session.commit(Step { out, ..Step::default() }).expect("a commit"));
}

/// A row of each of these from a weir to come: of a log, and of what aggregators read.
fn newer() -> [Outgoing; 3] {
    let (mut queries, mut flows, mut notices) =
        (dns::Batch::default(), conn::Batch::default(), notice::Batch::default());
    queries.push(Mark::at(1, 0), dns::Row { query: Some("new.example"), ..dns::Row::unset() });
    flows.push(Mark::at(1, 0), conn::Row { uid: "Cnew", ..conn::Row::unset() });
    notices.push(Mark::at(1, 0), notice::Row { note: "New::Note", ..notice::Row::unset() });
    [
        newer_of(Topic::log(&dns::DEF), &dns::DEF, queries.finish("x").0),
        newer_of(topic::RAW_CONN, &conn::DEF, flows.finish("x").0),
        newer_of(topic::RAW_NOTICE, &notice::DEF, notices.finish("x").0),
    ]
}

fn newer_of(topic: Topic, def: &'static Def, rows: RecordBatch) -> Outgoing {
    let out = Outgoing::rows(topic.clone(), LANE, def, rows);
    let mut parts = codec::encode(&out).expect("rows as bytes");
    let part = parts.remove(0);
    let headers = part.headers.into_iter().map(|(name, value)| match &*name {
        "schema" => (name.into_owned(), (def.version + 1).to_string()),
        _ => (name.into_owned(), value),
    });
    let payload = Payload::Bytes(part.payload.expect("rows"));
    Outgoing {
        payload,
        headers: headers.collect(),
        ..Outgoing::document(topic, LANE, "k".into(), None)
    }
}

fn text_of(topic: &Topic) -> String {
    format!("poison in {topic}")
}

/// Headers and value.
type Letter = (BTreeMap<String, String>, String);

/// Letters by the topic they came from, as any consumer sees them.
fn letters(cluster: &Cluster) -> BTreeMap<String, Vec<Letter>> {
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.brokers())
        .set("group.id", "anybody")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer");
    let deadletter = topic::DEADLETTER.full(cluster.prefix());
    let mut places = TopicPartitionList::new();
    for lane in 0..LANES {
        let added = places.add_partition_offset(&deadletter, lane, Offset::Beginning);
        added.expect("a place to read from");
    }
    reader.assign(&places).expect("an assignment");
    let (mut letters, mut ends) = (BTreeMap::<_, Vec<Letter>>::new(), 0);
    while ends < LANES {
        match reader.poll(PATIENCE).expect("a letter or an end") {
            Ok(message) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let headers = message.headers().expect("headers").iter().filter_map(|header| {
                    let name = header.key.strip_prefix(HEADER)?;
                    Some((name.to_owned(), text(header.value?)))
                });
                let headers: BTreeMap<String, String> = headers.collect();
                let value = text(message.payload().unwrap_or_default());
                letters.entry(headers["topic"].clone()).or_default().push((headers, value));
            }
            Err(KafkaError::PartitionEOF(_)) => ends += 1,
            Err(error) => panic!("{error}"),
        }
    }
    letters
}

/// Bad records and newer ones on every topic, also on those of rows of flows where taps overlap: all go to the dead letters,
/// and the partition goes on.
pub fn all(overlap: bool) {
    let settings = format!("{SETTINGS}[cluster]\noverlap = {overlap}\n");
    let cluster = Cluster::on(kafka::shared().brokers(), &settings);
    let (inputs, want, out) = (split(), cluster.path("alone"), cluster.path("out"));
    alone(&inputs, &want);
    let topics: Vec<Topic> = topic::table().into_iter().map(|spec| spec.topic).collect();
    // Rows of flows on their way to their log are read where taps overlap, and rejected logins, which have none, where not.
    let unread: Vec<Topic> = match overlap {
        true => vec![Topic::log(&failed_auth::DEF)],
        false => topic::raw_copies().map(Topic::raw).collect(),
    };
    let is_read = |topic: &&Topic| topic::carries_rows(topic) && !unread.contains(topic);
    let read: Vec<&Topic> = topics.iter().filter(is_read).collect();
    let bad = || {
        let all = topics.iter().filter(|topic| **topic != topic::DEADLETTER);
        let bytes = |topic: &Topic| Bytes::from(text_of(topic));
        let document = |topic: &Topic| {
            Outgoing::document(topic.clone(), LANE, "poison".into(), Some(bytes(topic)))
        };
        all.map(document).chain(newer()).collect::<Vec<_>>()
    };
    // Before there is anything else, and behind it.
    write(&cluster, bad());
    for worker in cluster.start_all(&workers(&inputs)) {
        worker.wait().ok();
    }
    write(&cluster, bad());
    let sinks = cluster.sinks(&out, "1h");
    for nodes in [cluster.aggregators(), cluster.managers(), sinks.clone()] {
        cluster.drain(&nodes);
    }
    assert_agree(&want, &out);

    let letters = letters(&cluster);
    let of = |topic: &Topic| {
        let letters = letters.get(&topic.full(cluster.prefix()));
        letters.unwrap_or_else(|| panic!("no dead letter of {topic}"))
    };
    read.into_iter().for_each(|topic| assert_lettered(topic, of(topic)));
    for out in newer() {
        let newer = of(&out.topic).iter().filter(|(headers, _)| is_newer(headers));
        assert!(newer.count() >= 2, "rows of a newer version: {letters:?}");
    }

    audited(&cluster);
    forgotten(&cluster, &out);
    assert_agree(&want, &out);
}

/// Both bad records of a topic are among its letters, with where they were read and why they are there.
fn assert_lettered(topic: &Topic, letters: &[Letter]) {
    let of_it: Vec<_> = letters.iter().filter(|(_, value)| *value == text_of(topic)).collect();
    // Two, by each group that reads the topic.
    assert!(of_it.len() >= 2, "{topic}: {letters:?}");
    for (headers, _) in of_it {
        assert_eq!(headers["partition"], LANE.to_string());
        assert!(headers["offset"].parse::<i64>().is_ok_and(|offset| offset >= 0), "{headers:?}");
        assert_eq!(headers["exception.message"], "no `stream` header", "{headers:?}");
    }
}

fn is_newer(headers: &BTreeMap<String, String>) -> bool {
    headers["exception.message"].contains("upgrade readers first")
}

/// The books balance but for what no role wrote: both rows of a newer version in a log, and documents among those of ours.
/// Anybody may write to what aggregators read.
fn audited(cluster: &Cluster) {
    let done = cluster.run(&["audit", "--files", "--json"]);
    let report: Value = serde_json::from_str(&done.out).expect("JSON");
    let differences = report["differences"].as_array().expect("differences");
    let named: Vec<_> = differences
        .iter()
        .map(|found| {
            let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
            (text("role"), text("of"), found["partition"].as_u64(), found["rows"].as_i64())
        })
        .collect();
    let foreign = ("nobody".into(), "log.dns".into(), Some(u64::from(LANE)), Some(2));
    assert_eq!((done.code, named), (Some(1), vec![foreign]), "{report:#}");
    // Two among the books, and the newest of their key among the files.
    assert_eq!(report["strange_records"], 3, "{report:#}");
}

/// The broker forgets where groups stood, as it does after a week without them; they go on where their state or their
/// files say.
fn forgotten(cluster: &Cluster, out: &Path) {
    let before = files(out, "").len();
    std::thread::sleep(crate::field::PATIENCE_OF_GROUPS + std::time::Duration::from_secs(1));
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", cluster.brokers())
        .create()
        .expect("an admin client");
    let groups = ["aggregate", "manager", "sink.tsv", "sink.parquet"]
        .map(|group| format!("{}.{group}", cluster.prefix()));
    let names = groups.each_ref().map(String::as_str);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let options = AdminOptions::new();
    let deleted = runtime.block_on(admin.delete_groups(&names, &options)).expect("an answer");
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    let out = text(out);
    let args = ["sink", "--format", "tsv,parquet", "--rotate", "1h", "--out", &out];
    // Had one read again, there were rows for the next.
    for node in
        [node("a9", &["aggregate", "--sources", "3"]), node("m9", &["manager"]), node("s9", &args)]
    {
        let said = Running::start(cluster.command_of(&node, &["--drain"])).wait().ok().err;
        assert!(said.contains("the group has no position here"), "{}: {said}", node.name);
    }
    assert_eq!(files(Path::new(&out), "").len(), before);
}

#[test]
fn what_nobody_can_use_goes_to_the_dead_letters_and_the_partition_goes_on() {
    all(false);
}

#[test]
fn where_taps_overlap_what_nobody_can_use_goes_to_the_dead_letters_too() {
    all(true);
}
