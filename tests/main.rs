//! Tests of the whole: the `weir` command on real captures, alone and as a cluster on a real Kafka.
//!
//! One binary, so that one broker serves all of it. `WEIR_TEST_BLESS=1` writes the golden files anew.

#[allow(dead_code, reason = "each test binary needs another part of it")]
mod harness;

mod books;
mod cli;
mod cluster;
mod crash;
mod detect;
mod duckdb_reads;
mod facts;
mod fingerprints;
mod golden;
mod interim;
mod live;
mod policy;
mod tidy;
