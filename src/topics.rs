//! `weir topics`: create and describe.

use std::io::Write as _;

use bus::kafka::admin::{self, Described};

use crate::cli::{TopicsAction, TopicsArgs};
use crate::config::Config;

/// Creates what is missing, or prints what there is.
pub fn topics(args: &TopicsArgs, config: &Config) -> anyhow::Result<()> {
    let kafka = config.kafka()?;
    let rows = match args.action {
        TopicsAction::Create { partitions, replication } => {
            // -1 leaves it to the broker's own default.
            let replication = replication.map_or(-1, i32::from);
            admin::create_topics(&kafka, partitions, replication)?
        }
        TopicsAction::Describe => admin::describe(&kafka, None)?,
    };
    let mut out = std::io::stdout().lock();
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    writeln!(out, "{:width$}  partitions  copies  cleanup  kept      state", "topic")?;
    for row in &rows {
        writeln!(
            out,
            "{:width$}  {:>10}  {:>6}  {:7}  {:8}  {}",
            row.name,
            row.partitions,
            row.replication,
            row.cleanup,
            kept(row.retention_ms),
            state(row)
        )?;
    }
    let wrong: Vec<&str> =
        rows.iter().filter(|row| !row.matches()).map(|row| row.name.as_str()).collect();
    anyhow::ensure!(wrong.is_empty(), "not as they should be: {}", wrong.join(", "));
    Ok(())
}

fn kept(retention_ms: Option<i64>) -> String {
    match retention_ms {
        None => "newest".into(),
        Some(ms) if ms < 0 => "all".into(),
        Some(ms) => format!("{} h", ms / 3_600_000),
    }
}

fn state(row: &Described) -> String {
    match (row.exists, row.created) {
        (false, _) => "missing: weir topics create".into(),
        (true, _) if !row.problems.is_empty() => row.problems.join("; "),
        (true, true) => "created".into(),
        (true, false) => "ok".into(),
    }
}
