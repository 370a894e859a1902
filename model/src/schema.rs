//! The stream definitions as a reference page (Markdown), DuckDB views (SQL) and JSON: what
//! `weir schema` prints.

use std::fmt::Write as _;

use serde_json::json;

use crate::stream::{Def, Key, Origin};

fn key_name(key: Key) -> &'static str {
    match key {
        Key::Flow => "flow (Community ID)",
        Key::Node => "node",
        Key::Asset => "asset",
    }
}

fn origin_name(origin: Origin) -> &'static str {
    match origin {
        Origin::Zeek => "zeek",
        Origin::Policy => "zeek policy",
        Origin::Weir => "weir",
    }
}

/// The reference page of some streams.
pub fn markdown(defs: &[&Def]) -> String {
    let mut page = String::new();
    for def in defs {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "## {}\n\n{}\n", def.name, def.doc.trim());
        let _ = writeln!(page, "Key: {}. Version {}.\n", key_name(def.key), def.version);
        page.push_str("| column | type | unset | from | what it holds |\n|---|---|---|---|---|\n");
        for c in def.columns {
            let unset = if c.optional { "may be" } else { "" };
            let (ty, from, doc) = (c.kind.zeek(), origin_name(c.origin), c.doc.trim());
            let _ = writeln!(page, "| `{}` | {ty} | {unset} | {from} | {doc} |", c.name);
        }
        page.push('\n');
    }
    page
}

/// DuckDB views over the Parquet that the sink leaves below `dir`, rotated or not. A stream of which
/// there is no file, by `exists`, has a view without rows: DuckDB takes no pattern that matches nothing.
pub fn sql(defs: &[&Def], dir: &str, exists: &dyn Fn(&Def) -> bool) -> String {
    let mut text = String::new();
    let dir = dir.trim_end_matches('/').replace('\'', "''");
    for def in defs {
        let _ = writeln!(text, "-- {}", def.doc.trim());
        for c in def.columns {
            let _ = writeln!(text, "--   {} {}: {}", c.name, c.kind.duckdb(), c.doc.trim());
        }
        let name = def.name;
        if exists(def) {
            let _ = writeln!(
                text,
                "CREATE OR REPLACE VIEW {name} AS SELECT * FROM read_parquet(\n    \
                 '{dir}/**/{name}[.-]*parquet', union_by_name = true);\n"
            );
        } else {
            let columns = empty_columns(def).join(",\n    ");
            let _ = writeln!(
                text,
                "CREATE OR REPLACE VIEW {name} AS SELECT\n    {columns}\n    WHERE false;\n"
            );
        }
    }
    text
}

/// Every column as a typed NULL, nested at the dot as Parquet is.
fn empty_columns(def: &Def) -> Vec<String> {
    let mut columns = Vec::new();
    let mut nested: Vec<&str> = Vec::new();
    for c in def.columns {
        let Some((outer, _)) = c.name.split_once('.') else {
            columns.push(format!("NULL::{} AS \"{}\"", c.kind.duckdb(), c.name));
            continue;
        };
        if nested.contains(&outer) {
            continue;
        }
        nested.push(outer);
        let members: Vec<String> = def
            .columns
            .iter()
            .filter_map(|c| Some((c.name.strip_prefix(outer)?.strip_prefix('.')?, c.kind)))
            .map(|(name, kind)| format!("\"{name}\" {}", kind.duckdb()))
            .collect();
        columns.push(format!("NULL::STRUCT({}) AS \"{outer}\"", members.join(", ")));
    }
    columns
}

/// The definitions as JSON, for programs.
pub fn json(defs: &[&Def]) -> serde_json::Value {
    defs.iter()
        .map(|def| {
            let columns: Vec<_> = def
                .columns
                .iter()
                .map(|c| {
                    json!({
                        "name": c.name,
                        "type": c.kind.zeek(),
                        "duckdb": c.kind.duckdb(),
                        "optional": c.optional,
                        "origin": origin_name(c.origin),
                        "doc": c.doc.trim(),
                    })
                })
                .collect();
            json!({
                "stream": def.name,
                "doc": def.doc.trim(),
                "key": key_name(def.key),
                "version": def.version,
                "columns": columns,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{ALL, conn};

    #[test]
    fn conn_columns_stand_in_zeeks_order() {
        let names: Vec<_> = conn::DEF.columns.iter().map(|c| c.name).collect();
        assert_eq!(names[..4], ["ts", "uid", "id.orig_h", "id.orig_p"]);
        assert_eq!(
            names[20..],
            [
                "tunnel_parents",
                "ip_proto",
                "community_id",
                "_write_ts",
                "sensor",
                "observers",
                "final",
                "observer_uids"
            ]
        );
    }

    #[test]
    fn every_column_is_documented_in_every_form() {
        let (page, json) = (markdown(ALL), json(ALL).to_string());
        for def in ALL {
            for c in def.columns {
                assert!(!c.doc.trim().is_empty(), "{}.{}", def.name, c.name);
                assert!(page.contains(c.doc.trim()) && json.contains(c.name));
            }
        }
        assert!(sql(&[&conn::DEF], "out/", &|_| true).contains("'out/**/conn[.-]*parquet'"));
    }

    #[test]
    fn a_stream_without_files_has_a_view_without_rows() {
        let text = sql(&[&conn::DEF], "out", &|_| false);
        assert!(!text.contains("read_parquet") && text.contains("NULL::STRUCT(\"orig_h\" VARCHAR"));
    }

    #[test]
    fn a_row_comes_back_from_its_batch() {
        let mut batch = conn::Batch::default();
        let mark = crate::stream::Mark::at(7, 0);
        batch.push(
            mark,
            conn::Row {
                ts: 5,
                uid: "Cx",
                orig_h: "10.200.3.44".parse().unwrap(),
                duration: Some(1_500_000),
                observers: &["a", "b"],
                ..conn::Row::unset()
            },
        );
        let (rows, marks) = batch.finish("node-1");
        assert_eq!(marks, [mark]);
        assert_eq!(crate::read::text(&rows, "id.orig_h").unwrap().value(0), "10.200.3.44");
        assert_eq!(crate::read::text(&rows, "sensor").unwrap().value(0), "node-1");
        assert_eq!(crate::read::time(&rows, "_write_ts").unwrap().value(0), 7);
        let observers = crate::read::list(&rows, "observers").unwrap();
        assert_eq!(crate::read::texts(observers, 0), ["a", "b"]);
        assert!(crate::read::text(&rows, "ts").is_err());
    }
}
