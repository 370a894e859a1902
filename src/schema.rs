//! `weir schema`: the definitions, printed.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use model::stream::{self, Def};

use crate::cli::{SchemaArgs, SchemaFormat};
use crate::config::BadConfig;

/// Prints one stream or all.
pub fn schema(args: &SchemaArgs) -> anyhow::Result<()> {
    let defs: Vec<&Def> = match &args.stream {
        None => stream::ALL.to_vec(),
        Some(name) => {
            let names = || stream::ALL.iter().map(|def| def.name).collect::<Vec<_>>().join(", ");
            let found = stream::ALL.iter().copied().find(|def| def.name == name);
            let wrong = || BadConfig(format!("no stream `{name}`: there are {}", names()));
            vec![found.ok_or_else(wrong)?]
        }
    };
    let text = match args.format {
        SchemaFormat::Md => model::schema::markdown(&defs),
        SchemaFormat::Sql => sql(&defs, &args.dir),
        SchemaFormat::Json => serde_json::to_string_pretty(&model::schema::json(&defs))?,
    };
    writeln!(std::io::stdout(), "{}", text.trim_end()).context("cannot write to standard output")
}

fn sql(defs: &[&Def], dir: &str) -> String {
    let mut names = Vec::new();
    // Of a folder that is not there yet everything is to come.
    let there = list(Path::new(dir), &mut names, 0).is_ok();
    let exists = |def: &Def| {
        let is_of = |name: &String| {
            let rest = name.strip_prefix(def.name);
            rest.is_some_and(|rest| rest.starts_with(['.', '-']) && rest.ends_with("parquet"))
        };
        !there || names.iter().any(is_of)
    };
    model::schema::sql(defs, dir, &exists)
}

/// Folders in folders that logs have: stream, date, hour.
const DEPTH_MAX: usize = 4;

/// Names of all files below a folder.
fn list(dir: &Path, names: &mut Vec<String>, depth: usize) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        } else if depth < DEPTH_MAX {
            list(&entry.path(), names, depth + 1)?;
        }
    }
    Ok(())
}
