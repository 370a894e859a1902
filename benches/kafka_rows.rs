//! Rows of conn onto a real Kafka, for `benches/kafka.sh`: made and encoded as capture does, sent as steps, or,
//! for comparison, by a bare producer that promises nothing.
//!
//! `kafka_rows BROKERS TOPIC ROWS [steps|bare]`: TOPIC is `raw.conn` or `log.conn`. Prints seconds, rows a second,
//! records and bytes a record.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use bus::clock::System;
use bus::drive::{AHEAD, Stop, Until, drive};
use bus::kafka::{Config, Kafka};
use bus::topic::{self, Topic};
use bus::{Lane, Member, Outgoing, Role, Session, Stamp, Step, Timeline, Wake, codec};
use model::id::{self, FiveTuple};
use model::stream::{Mark, conn};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

/// The same as weir has.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Rows of a step, unless `BENCH_STEP_ROWS` says otherwise: what a busy worker has for one flush.
const STEP_ROWS: usize = 48_000;
/// What the topics of the bench begin with, unless `BENCH_PREFIX` says otherwise.
const PREFIX: &str = "bench";
/// Time between two flows, microseconds.
const GAP_US: i64 = 10;
/// When the first flow began: any day.
const FIRST_US: i64 = 1_750_000_000_000_000;

fn main() -> Result<()> {
    // `cargo bench` adds an argument of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let [brokers, topic, rows, rest @ ..] = &args[..] else {
        bail!("usage: kafka_rows BROKERS raw.conn|log.conn ROWS [steps|bare]");
    };
    let topic = match topic.as_str() {
        "raw.conn" => topic::RAW_CONN,
        "log.conn" => Topic::log(&conn::DEF),
        other => bail!("{other}: raw.conn or log.conn is what rows of conn are sent to"),
    };
    let rows: usize = rows.parse().context("ROWS is a number")?;
    let prefix = std::env::var("BENCH_PREFIX").unwrap_or_else(|_| PREFIX.to_owned());
    let mut config = Config { brokers: brokers.clone(), prefix, ..Config::default() };
    // Of librdkafka, on top of what Arrow does.
    if let Ok(codec) = std::env::var("CODEC") {
        config.options.insert("compression.type".into(), codec);
    }
    let kafka = Kafka::connect(config)?;
    let lanes = bus::Bus::lanes(&kafka);
    let step_rows = match std::env::var("BENCH_STEP_ROWS") {
        Ok(rows) => rows.parse().context("BENCH_STEP_ROWS is a number")?,
        Err(_) => STEP_ROWS,
    };
    let mut flows = Flows { lanes, topic, step_rows, left: rows, made: 0, records: 0, bytes: 0 };
    let began = Instant::now();
    match rest.first().map(String::as_str) {
        None | Some("steps") => steps(&kafka, &mut flows)?,
        Some("bare") => bare(&kafka, &mut flows)?,
        Some(other) => bail!("{other}: steps or bare"),
    }
    let seconds = began.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss, clippy::print_stdout)]
    {
        println!(
            "{seconds:.3} s {:.0} rows/s {} records {} bytes/record",
            rows as f64 / seconds,
            flows.records,
            flows.bytes.checked_div(flows.records).unwrap_or(0),
        );
    }
    Ok(())
}

/// Makes rows, the same in every run.
struct Flows {
    lanes: u32,
    topic: Topic,
    step_rows: usize,
    left: usize,
    made: u64,
    records: usize,
    bytes: usize,
}

impl Flows {
    /// Rows for one step, a record a lane; the last says that nothing follows.
    fn next(&mut self) -> Vec<Outgoing> {
        let count = self.left.min(self.step_rows);
        self.left -= count;
        let mut batches: Vec<conn::Batch> =
            (0..self.lanes).map(|_| conn::Batch::default()).collect();
        for _ in 0..count {
            self.push(&mut batches);
        }
        let time = if self.left == 0 { i64::MAX } else { self.at() };
        let end = self.left == 0;
        let stamp = Stamp { source: "bench/1".into(), timeline: Timeline::File, time, end };
        let is_raw = self.topic == topic::RAW_CONN;
        let mut out: Vec<Outgoing> = (0..)
            .zip(&mut batches)
            .map(|(lane, batch)| {
                let rows = batch.finish("bench").0;
                let out = Outgoing::rows(self.topic.clone(), lane, &conn::DEF, rows);
                if is_raw { out.stamped(stamp.clone()) } else { out }
            })
            .collect();
        if is_raw {
            for topic in [topic::RAW_NOTICE, topic::RAW_KNOWN] {
                out.extend(
                    (0..self.lanes)
                        .map(|lane| Outgoing::punctuation(topic.clone(), lane, stamp.clone())),
                );
            }
        }
        out
    }

    fn at(&self) -> i64 {
        FIRST_US + i64::try_from(self.made).unwrap_or(i64::MAX / 2) * GAP_US
    }

    fn push(&mut self, batches: &mut [conn::Batch]) {
        self.made += 1;
        let ts = self.at();
        // A number without a pattern out of one with.
        let mix = self.made.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
        let byte = |n: u32| mix.to_le_bytes()[n as usize % 8];
        let port = u16::from_le_bytes([byte(5), byte(6)]);
        let tuple = FiveTuple {
            orig_h: IpAddr::V4(Ipv4Addr::new(10, 1, byte(0) & 15, byte(1))),
            orig_p: port | 1024,
            resp_h: IpAddr::V4(Ipv4Addr::new(192, 0, byte(2) & 7, byte(3))),
            resp_p: [53, 80, 443, 443, 22, 123, 445, 8080][usize::from(byte(4) & 7)],
            proto: if byte(4) & 7 == 0 { 17 } else { 6 },
        };
        let community_id = id::community_id(&tuple);
        let lane = id::partition(community_id.as_bytes(), self.lanes);
        let uid = id::flow_uid(&tuple, ts, 0);
        let row = conn::Row {
            ts,
            uid: &uid,
            orig_h: tuple.orig_h,
            orig_p: tuple.orig_p,
            resp_h: tuple.resp_h,
            resp_p: tuple.resp_p,
            proto: tuple.proto_name(),
            service: [Some("dns"), Some("http"), Some("ssl"), None][usize::from(byte(4) & 3)],
            duration: Some(i64::from(port) * 1000),
            orig_bytes: Some(u64::from(port)),
            resp_bytes: Some(u64::from(port) * 7),
            conn_state: Some(["SF", "S0", "SF", "RSTO"][usize::from(byte(7) & 3)]),
            local_orig: Some(true),
            local_resp: Some(false),
            history: Some(["ShADadFf", "S", "Dd", "ShADadR"][usize::from(byte(7) & 3)]),
            orig_pkts: Some(u64::from(byte(0))),
            orig_ip_bytes: Some(u64::from(port) + 400),
            resp_pkts: Some(u64::from(byte(1))),
            resp_ip_bytes: Some(u64::from(port) * 7 + 400),
            ip_proto: Some(u64::from(tuple.proto)),
            community_id: &community_id,
            observers: &["bench"],
            is_final: Some(true),
            ..conn::Row::unset()
        };
        batches[lane as usize].push(Mark::at(ts, lane), row);
    }
}

/// As every role sends: a transaction a step, fenced, acknowledged by all replicas.
fn steps(kafka: &Kafka, flows: &mut Flows) -> Result<()> {
    let me = Member {
        group: "bench".into(),
        node: "bench".into(),
        topics: Vec::new(),
        state: None,
        home: vec![0],
    };
    drive(kafka, &me, &mut Sender(flows), &System, &Stop::new(), Until::Forever)?;
    Ok(())
}

struct Sender<'a>(&'a mut Flows);

impl Role for Sender<'_> {
    fn opened(&mut self, _: &mut dyn Session) -> Result<()> {
        Ok(())
    }

    fn restored(&mut self, _: Lane, _: bus::Restored) -> Result<()> {
        Ok(())
    }

    fn on(&mut self, wake: Wake, _: i64) -> Result<Option<Step>> {
        if !matches!(wake, Wake::Idle) || self.done() {
            return Ok(None);
        }
        let out = self.0.next();
        self.0.records += out.len();
        Ok(Some(Step { out, ..Step::default() }))
    }

    fn committed(&mut self) -> Result<()> {
        Ok(())
    }

    fn works_ahead(&self) -> bool {
        true
    }

    fn done(&self) -> bool {
        self.0.left == 0
    }

    fn wait(&self) -> Duration {
        Duration::ZERO
    }
}

/// The same records from a producer without transactions or idempotence, acknowledged by one replica. They are encoded
/// beside the making of the next ones, as those of steps are.
fn bare(kafka: &Kafka, flows: &mut Flows) -> Result<()> {
    let producer: BaseProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", &kafka.config().brokers)
        .set("acks", "1")
        .set("linger.ms", "5")
        .set("message.max.bytes", (8 << 20).to_string())
        .set("queue.buffering.max.kbytes", (128 << 10).to_string())
        .create()?;
    let (sender, made) = sync_channel::<Vec<Outgoing>>(AHEAD as usize);
    let (records, bytes) = std::thread::scope(|scope| {
        let sending = scope.spawn(|| send_bare(&producer, &kafka.config().prefix, made));
        // It ends early only where sending failed, which says why.
        while flows.left > 0 && sender.send(flows.next()).is_ok() {}
        drop(sender);
        sending.join().map_err(|_| anyhow!("the producer broke off"))?
    })?;
    (flows.records, flows.bytes) = (records, bytes);
    Ok(())
}

/// Sends until nothing more is made, and all has arrived; gives records and their bytes.
fn send_bare(
    producer: &BaseProducer<DefaultProducerContext>,
    prefix: &str,
    made: Receiver<Vec<Outgoing>>,
) -> Result<(usize, usize)> {
    let (mut records, mut bytes) = (0, 0);
    for out in made.into_iter().flatten() {
        let full = out.topic.full(prefix);
        for part in codec::encode(&out)? {
            records += 1;
            bytes += part.payload.as_deref().map_or(0, <[u8]>::len);
            let mut record = BaseRecord::<[u8], [u8]>::to(&full).partition(out.lane.try_into()?);
            record.payload = part.payload.as_deref();
            while let Err((_, back)) = producer.send(record) {
                record = back;
                producer.poll(Duration::from_millis(10));
            }
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(60))?;
    Ok((records, bytes))
}
