//! What a cluster under trouble has to do: captures to read, and what one process makes of them.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::harness::agree::alone;
use crate::harness::packets::Pcap;
use crate::harness::{kafka, split, text};

/// How often each part of mixed.pcap is in a worker's input, some 30,000 packets for each.
const SHORT: [u32; 3] = [30, 120, 30];
/// The same for a load that lasts: less than a day of packet time all the same. Services are known for a day, and
/// when one is seen depends on what else a worker sees: at the day's edge rows would differ.
const LONG: [u32; 3] = [250, 250, 250];
/// Between two copies, seconds: TCP flows that nobody ended are over by then.
const SECONDS_BETWEEN: u32 = 340;

/// Inputs of three workers, and the logs of one process that reads all of them.
#[derive(Debug, Clone)]
pub struct Load {
    /// The captures.
    pub inputs: Vec<String>,
    /// The folder of those logs.
    pub want: PathBuf,
}

impl Load {
    /// For a trouble that takes seconds.
    pub fn short() -> &'static Load {
        static SHORT_LOAD: OnceLock<Load> = OnceLock::new();
        SHORT_LOAD.get_or_init(|| Load::make("short", SHORT))
    }

    /// For one that takes minutes.
    pub fn long() -> &'static Load {
        static LONG_LOAD: OnceLock<Load> = OnceLock::new();
        LONG_LOAD.get_or_init(|| Load::make("long", LONG))
    }

    /// In the folder of the broker that is shared, which is gone with this process.
    fn make(name: &str, copies: [u32; 3]) -> Load {
        let dir = kafka::shared().dir().join("load").join(name);
        fs::create_dir_all(&dir).expect("a folder for the load");
        let mut inputs = split().to_vec();
        for (number, input) in inputs.iter_mut().enumerate() {
            let many = dir.join(format!("many-{number}.pcap"));
            Pcap::read(input).write(&many, copies[number], SECONDS_BETWEEN);
            *input = text(&many);
        }
        let want = dir.join("want");
        let logs = alone(&inputs, &want);
        assert!(logs["conn"].rows.len() > 5_000, "a load is more than that");
        Load { inputs, want }
    }
}
