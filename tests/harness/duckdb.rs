//! DuckDB, by its Python module, as the reader that people will use on the Parquet.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use super::root;

/// Runs the statements in the first argument; prints the rows of the last as JSON.
const SCRIPT: &str = "
import json, sys, duckdb
db = duckdb.connect()
# It draws one on standard output where a query takes seconds.
db.execute('SET enable_progress_bar = false')
rows = db.execute(sys.argv[1]).fetchall()
print(json.dumps(rows, default=str))
";

/// Runs SQL, several statements or one; gives the rows of the last.
pub fn sql(statements: &str) -> Vec<Vec<Value>> {
    try_sql(statements).unwrap_or_else(|error| panic!("DuckDB: {error}\nfor: {statements}"))
}

/// Runs SQL that may fail.
pub fn try_sql(statements: &str) -> Result<Vec<Vec<Value>>, String> {
    let done = Command::new(python()).args(["-c", SCRIPT, statements]).output();
    let done = done.expect("python starts");
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).into_owned());
    }
    let rows = serde_json::from_slice(&done.stdout);
    Ok(rows.unwrap_or_else(|e| panic!("{e}: {:?}", String::from_utf8_lossy(&done.stdout))))
}

/// Runs SQL that gives one number.
pub fn number(statement: &str) -> u64 {
    let rows = sql(statement);
    rows[0][0].as_u64().unwrap_or_else(|| panic!("{statement} gave {rows:?}"))
}

/// Whether DuckDB is there; says so where it is not. With `WEIR_TEST_PYTHON` set, as by `./dev test`, it
/// has to be.
pub fn is_here() -> bool {
    static HERE: OnceLock<bool> = OnceLock::new();
    let here = *HERE.get_or_init(|| {
        let mut import = Command::new(python());
        import.args(["-c", "import duckdb"]).stdout(Stdio::null()).stderr(Stdio::null());
        import.status().is_ok_and(|status| status.success())
    });
    let must = std::env::var_os("WEIR_TEST_PYTHON").is_some();
    assert!(here || !must, "{} has no duckdb", python().display());
    if !here {
        eprintln!("skipped: no Python with duckdb here (./dev setup test makes one)");
    }
    here
}

fn python() -> PathBuf {
    if let Some(python) = std::env::var_os("WEIR_TEST_PYTHON") {
        return python.into();
    }
    let own = root().join(".venv/bin/python");
    if own.exists() { own } else { "python3".into() }
}
