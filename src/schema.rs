//! `weir schema`: the definitions, printed.

use std::io::Write as _;

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
        SchemaFormat::Sql => model::schema::sql(&defs, &args.dir),
        SchemaFormat::Json => serde_json::to_string_pretty(&model::schema::json(&defs))?,
    };
    writeln!(std::io::stdout(), "{}", text.trim_end()).context("cannot write to standard output")
}
