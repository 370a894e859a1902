//! The contract of a bus on a real Kafka broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use bus::contract::{Fixture, LANES};
use bus::kafka::{Config, Kafka, admin};

#[path = "../../tests/harness/kafka.rs"]
mod kafka;

/// A member that is not seen for so long has lost its lanes.
const POLL_INTERVAL: Duration = Duration::from_secs(12);
const SESSION: Duration = Duration::from_secs(3);

/// Topics of its own on the one broker, made and checked.
fn config() -> Config {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::SeqCst);
    let option = |key: &str, time: Duration| (key.to_owned(), time.as_millis().to_string());
    Config {
        brokers: kafka::shared().brokers(),
        prefix: format!("t{}-{number}", std::process::id()),
        options: [
            option("session.timeout.ms", SESSION),
            option("max.poll.interval.ms", POLL_INTERVAL),
            option("heartbeat.interval.ms", Duration::from_millis(300)),
        ]
        .into(),
    }
}

fn fixture() -> Fixture {
    let config = config();
    let rows = admin::create_topics(&config, LANES, 1).expect("topics are made");
    let wrong: Vec<_> = rows.iter().filter(|row| !row.created || !row.matches()).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let bus = Kafka::connect(config).expect("a broker");
    let lapse = Box::new(|_: &bus::Member| {
        thread::sleep(POLL_INTERVAL + SESSION + Duration::from_secs(1));
    });
    Fixture { bus: Arc::new(bus), lapse, costly: true }
}

bus::contract_tests!(fixture());
