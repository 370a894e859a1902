//! A broker that is killed while roles work: every record is copied once, with nobody's help.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use bus::clock::System;
use bus::contract::{
    DOCUMENTS, IN, LANES, OUT, PATIENCE, after, assigned, commit, note, open, reader, text, texts,
    to_the_end, write, writer,
};
use bus::drive::{Stop, Until, drive};
use bus::kafka::{Config, Kafka, admin};
use bus::{
    Bus, BusError, Change, Gap, Lane, Member, Outgoing, Record, Restored, Role, Session, Step,
    Topic, Wake,
};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

#[path = "../../tests/harness/kafka.rs"]
mod kafka;

/// Writes numbers, one step each; where it stands is its state.
struct Counts<'a> {
    next: u64,
    written: &'a AtomicU64,
}

impl Role for Counts<'_> {
    fn opened(&mut self, _: &mut dyn Session) -> anyhow::Result<()> {
        Ok(())
    }
    fn restored(&mut self, _: Lane, from: Restored) -> anyhow::Result<()> {
        let value =
            from.state.first().map(|(_, value)| String::from_utf8_lossy(value).into_owned());
        self.next = value.map_or(0, |value| value.parse().expect("a number"));
        Ok(())
    }
    fn on(&mut self, wake: Wake, _: i64) -> anyhow::Result<Option<Step>> {
        if !matches!(wake, Wake::Idle) {
            return Ok(None);
        }
        let number = self.next;
        self.next += 1;
        let lane = number as u32 % LANES;
        let value = Some(self.next.to_string().into());
        let state = vec![Change { lane: 1, key: "next".into(), value }];
        let out = vec![note(IN, lane, &format!("{number:06}"))];
        Ok(Some(Step { out, state, ..Step::default() }))
    }
    fn committed(&mut self) -> anyhow::Result<()> {
        self.written.store(self.next, Ordering::SeqCst);
        Ok(())
    }
    fn wait(&self) -> Duration {
        Duration::from_millis(5)
    }
}

/// Copies records, one step a wake.
struct Copies;

impl Role for Copies {
    fn opened(&mut self, _: &mut dyn Session) -> anyhow::Result<()> {
        Ok(())
    }
    fn restored(&mut self, _: Lane, _: Restored) -> anyhow::Result<()> {
        Ok(())
    }
    fn on(&mut self, wake: Wake, _: i64) -> anyhow::Result<Option<Step>> {
        let Wake::Records(records) = wake else { return Ok(None) };
        let copy = |record: &Record| note(OUT, record.lane, &text(record));
        let out = records.iter().map(copy).collect();
        let positions = records.iter().map(|record| after(record, "")).collect();
        Ok(Some(Step { out, positions, ..Step::default() }))
    }
    fn committed(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

fn options() -> std::collections::BTreeMap<String, String> {
    [("session.timeout.ms".to_owned(), "5000".to_owned())].into()
}

#[test]
fn no_broker_is_an_error_with_its_name() {
    let config = Config { brokers: "127.0.0.1:1".into(), prefix: "x".into(), options: options() };
    let error = Kafka::connect(config).map(|_| ()).expect_err("nobody listens there");
    assert!(error.to_string().starts_with("cannot reach Kafka at 127.0.0.1:1: "), "{error}");
}

#[test]
fn what_retention_took_is_a_gap_and_the_lane_goes_on() {
    let brokers = kafka::shared().brokers();
    let config = Config { brokers: brokers.clone(), prefix: "gone".into(), options: options() };
    admin::create_topics(&config, LANES, 1).expect("topics are made");
    let bus = Kafka::connect(config).expect("a broker");
    write(&bus, (0..10).map(|i| note(IN, 0, &i.to_string())).collect());
    let me = reader("late", "a", &[IN]);
    let mut session = open(&bus, &me);
    let (lanes, _) = assigned(&mut *session);
    let records = to_the_end(&mut *session, &lanes, 1);
    let positions = vec![after(&records[3], "")];
    drop(commit(session, Step { positions, ..Step::default() }));

    delete_before(&brokers, &IN.full("gone"), 7);
    let mut session = open(&bus, &me);
    let wake = session.next(PATIENCE).expect("an assignment");
    assert!(matches!(&wake, Wake::Assigned(lanes) if lanes[0] == 0), "{wake:?}");
    let positions = session.restore(0, &mut |_, _| {}).expect("the lane goes on");
    assert_eq!(positions.iter().map(|at| at.offset).collect::<Vec<_>>(), [7]);
    let gap = Gap { topic: IN, lane: 0, from: 4, to: 7 };
    assert_eq!(session.gaps(), [gap]);
    assert!(session.gaps().is_empty(), "told once");
    let records = to_the_end(&mut *session, &[0], 1);
    assert_eq!(records.iter().map(text).collect::<Vec<_>>(), ["7", "8", "9"]);
}

/// What retention does to partition 0.
fn delete_before(brokers: &str, topic: &str, offset: i64) {
    use rdkafka::admin::{AdminClient, AdminOptions};
    use rdkafka::client::DefaultClientContext;
    let mut config = rdkafka::ClientConfig::new();
    let admin: AdminClient<DefaultClientContext> =
        config.set("bootstrap.servers", brokers).create().expect("a client");
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition_offset(topic, 0, rdkafka::Offset::Offset(offset)).expect("a place");
    let (options, mut context) = (AdminOptions::new(), Context::from_waker(Waker::noop()));
    let mut deleted = pin!(admin.delete_records(&list, &options));
    let until = Instant::now() + PATIENCE;
    while deleted.as_mut().poll(&mut context).is_pending() {
        assert!(Instant::now() < until, "records are not deleted");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Tells what it hears of the documents that it follows.
struct Hears(mpsc::Sender<Vec<String>>);

impl Role for Hears {
    fn opened(&mut self, _: &mut dyn Session) -> anyhow::Result<()> {
        Ok(())
    }
    fn restored(&mut self, _: Lane, _: Restored) -> anyhow::Result<()> {
        Ok(())
    }
    fn on(&mut self, wake: Wake, _: i64) -> anyhow::Result<Option<Step>> {
        let Wake::Documents(_, documents) = wake else { return Ok(None) };
        let keys = documents.iter().map(|(key, _)| String::from_utf8_lossy(key).into_owned());
        let mut keys: Vec<String> = keys.collect();
        keys.sort();
        self.0.send(keys).expect("somebody listens");
        Ok(None)
    }
    fn committed(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
    fn follows(&self) -> Vec<Topic> {
        vec![DOCUMENTS]
    }
    fn wait(&self) -> Duration {
        Duration::from_millis(20)
    }
}

/// Somebody who writes to a topic of documents dies in the middle of a transaction: who follows it goes on with what
/// is decided, and hears of what is behind once it is over.
#[test]
fn an_open_transaction_holds_up_nobody_who_follows_documents() {
    const WELL_BEFORE_IT_ENDS: Duration = Duration::from_secs(20);
    let config =
        Config { brokers: kafka::shared().brokers(), prefix: "held".into(), options: options() };
    admin::create_topics(&config, LANES, 1).expect("topics are made");
    let bus = Kafka::connect(config.clone()).expect("a broker");
    let put = |lane: Lane, key: &'static str| {
        write(&bus, vec![Outgoing::document(DOCUMENTS, lane, key.into(), Some("x".into()))]);
    };
    let mut dead = rdkafka::ClientConfig::new();
    dead.set("bootstrap.servers", &config.brokers).set("transactional.id", "dead");
    let dead: BaseProducer = dead.create().expect("a producer");
    dead.init_transactions(PATIENCE).expect("transactions");
    dead.begin_transaction().expect("one of them");
    let topic = DOCUMENTS.full(&config.prefix);
    dead.send(BaseRecord::to(&topic).partition(0).key("open").payload("x")).expect("a record");
    dead.flush(PATIENCE).expect("the broker has it");
    put(0, "behind");
    put(1, "beside");

    let (hears, heard) = mpsc::channel();
    let stop = Stop::new();
    thread::scope(|scope| {
        let run = || {
            drive(
                &bus,
                &reader("hears", "a", &[IN]),
                &mut Hears(hears),
                &System,
                &stop,
                Until::Forever,
            )
        };
        let runs = scope.spawn(run);
        let hear = || heard.recv_timeout(WELL_BEFORE_IT_ENDS).expect("it hears");
        assert_eq!(hear(), ["beside"], "when it begins");
        put(2, "later");
        assert_eq!(hear(), ["beside", "later"], "and while it is at work");
        let mut shown = Vec::new();
        bus.documents(&DOCUMENTS, &mut |key, _| shown.push(key)).expect("documents");
        assert_eq!(shown, ["beside", "later"], "who only looks");
        dead.commit_transaction(PATIENCE).expect("its end");
        assert_eq!(hear(), ["behind", "beside", "later", "open"], "what was behind");
        stop.request();
        runs.join().expect("its end").expect("a good one");
    });
}

#[test]
fn a_broker_that_dies_costs_nothing_but_time() {
    let mut broker = kafka::Kafka::start();
    let config = Config { brokers: broker.brokers(), prefix: "out".into(), options: options() };
    let error = Kafka::connect(config.clone()).map(|_| ()).expect_err("no topics yet");
    assert!(
        matches!(&error, BusError::Fatal(why) if why.contains("weir topics create")),
        "{error}"
    );
    admin::create_topics(&config, LANES, 1).expect("topics are made");
    let again = admin::create_topics(&config, LANES, 1).expect("and are there");
    assert!(again.iter().all(|row| !row.created && row.matches()), "{again:?}");
    let more = admin::create_topics(&config, LANES + 1, 1).expect("and are there");
    assert!(more.iter().all(|row| row.problems.len() == 1), "{more:?}");

    let bus = Kafka::connect(config).expect("a broker");
    let (written, stop) = (AtomicU64::new(0), Stop::new());
    let run = |me: Member, role: &mut dyn Role| {
        drive(&bus, &me, role, &System, &stop, Until::Forever).expect("it goes on");
    };
    thread::scope(|scope| {
        scope.spawn(|| run(writer("w"), &mut Counts { next: 0, written: &written }));
        scope.spawn(|| run(reader("copies", "a", &[IN]), &mut Copies));
        scope.spawn(|| run(reader("copies", "b", &[IN]), &mut Copies));
        for round in 1..=3 {
            wait_until(&written, round * 50);
            broker.restart();
        }
        let last = written.load(Ordering::SeqCst) + 50;
        wait_until(&written, last);
        stop.request();
    });
    // What the stop left.
    let me = reader("copies", "a", &[IN]);
    drive(&bus, &me, &mut Copies, &System, &Stop::new(), Until::Drained).expect("the rest");

    let count = written.load(Ordering::SeqCst);
    let expected: Vec<String> = (0..count).map(|number| format!("{number:06}")).collect();
    let mut input = texts(&bus, IN);
    input.sort();
    assert_eq!(input, expected, "what was written");
    let mut output = texts(&bus as &dyn Bus, OUT);
    output.sort();
    assert_eq!(output, expected, "what was copied");
}

fn wait_until(written: &AtomicU64, count: u64) {
    let until = Instant::now() + PATIENCE * 2;
    while written.load(Ordering::SeqCst) < count {
        let now = written.load(Ordering::SeqCst);
        assert!(Instant::now() < until, "{now} steps, and {count} did not come");
        thread::sleep(Duration::from_millis(20));
    }
}
