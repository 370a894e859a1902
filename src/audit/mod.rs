//! `weir audit`: whether the books balance. What every role told of its steps on `metrics` is compared with the
//! records on the bus, the positions of groups, the catalogue of files and the files themselves; what does not
//! agree is named with its role, stream and partition.

mod files;
mod gather;
mod report;

use std::io::Write as _;

use bus::books::ledger::Ledger;
use bus::kafka::Kafka;

use crate::cli::AuditArgs;
use crate::config::Config;

pub use gather::used;

/// What an audit has found out beside the ledger.
#[derive(Debug, Default)]
struct Notes {
    /// Records of `metrics` that are none of ours.
    strange: u64,
    /// Files that lie where this process cannot look.
    elsewhere: u64,
    /// Files that were looked at.
    files: u64,
}

/// Audits, prints what was found, and fails where something does not balance.
pub fn audit(args: &AuditArgs, config: &Config) -> anyhow::Result<()> {
    let kafka = Kafka::connect(config.kafka()?)?;
    let (mut ledger, mut notes) = (Ledger::new(), Notes::default());
    gather::books(&kafka, &mut ledger, &mut notes)?;
    anyhow::ensure!(
        !ledger.writers.is_empty(),
        "no role has kept books here: {}.metrics is empty (they are kept for a day)",
        config.prefix()
    );
    gather::bus(&kafka, &mut ledger)?;
    gather::positions(&kafka, &mut ledger)?;
    files::catalogue(&kafka, args.files, &mut ledger, &mut notes)?;
    let differences = ledger.balance();
    let mut out = std::io::stdout().lock();
    if args.json {
        let report = report::json(&ledger, &notes, &differences);
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        report::print(&mut out, &ledger, &notes, &differences)?;
    }
    let count = differences.len();
    anyhow::ensure!(count == 0, "the books do not balance: {count} differences");
    Ok(())
}
