//! The capture engine alone over a capture file, one thread: packets in, rows made and thrown away. What
//! `weir run` takes longer is putting rows in order, the bus, aggregation and the sink.
//!
//!     cargo bench -p weir-capture --bench engine_pass -- FILE [THREADS]
//!
//! With THREADS it does the work of the first of so many, and all of the reading, which they share else.

#![allow(clippy::print_stdout, reason = "a bench prints")]

use std::path::PathBuf;
use std::sync::Arc;

use capture::config::Config;
use capture::engine::{AHEAD, Engine, shard_of_frame};
use capture::files::hash::Hashes;
use capture::source::{self, Several};
use capture::worker::FLUSH_PACKETS;

/// As the `weir` command has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let Some(path) = args.next() else {
        println!("engine_pass: no FILE given, nothing measured");
        return;
    };
    let threads = args.next().and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut config = Config::new("bench");
    config.ignore_checksums = true;
    config.hashes = Hashes::NONE;
    let mut engine = Engine::new(Arc::new(config), 0, threads);
    let sources = source::open_for(&[PathBuf::from(path)], threads.max(1) as usize, shard_of_frame);
    let mut source = sources.expect("a capture file").swap_remove(0);
    let began = std::time::Instant::now();
    let (mut packets, mut rows) = (0u64, 0usize);
    let mut take = |engine: &mut Engine| {
        rows += engine.out().take("bench").iter().map(|rows| rows.marks.len()).sum::<usize>();
    };
    while let Ok(Several::Packets(burst)) = source.burst() {
        let mut taken = 0;
        while taken < burst.count() {
            let room = FLUSH_PACKETS - packets % FLUSH_PACKETS;
            let count = (burst.count() - taken).min(room as usize).min(AHEAD);
            engine.packets(&burst, taken, count);
            taken += count;
            packets += count as u64;
            if packets.is_multiple_of(FLUSH_PACKETS) {
                engine.settle();
                take(&mut engine);
            }
        }
    }
    engine.finish();
    take(&mut engine);
    let took = began.elapsed().as_secs_f64();
    let flows = engine.counters().flows;
    println!("{packets} packets {flows} flows {rows} rows {took:.3} s");
}
