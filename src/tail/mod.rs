//! `weir tail`: a topic as JSON lines, following. It is a member of no group, so that nothing waits for it.

mod filter;

use std::io::{self, BufWriter, Write as _};

use anyhow::Context as _;
use bus::kafka::{From, Kafka};
use bus::{Payload, Record, Topic, topic};
use model::stream::{self, Def};
use serde_json::{Map, Value, json};

use self::filter::Filter;
use crate::cli::TailArgs;
use crate::config::{BadConfig, Config};

/// Prints a topic.
pub fn tail(args: &TailArgs, config: &Config) -> anyhow::Result<()> {
    let (topic, def) = topic_of(&args.stream)?;
    let filters: Vec<Filter> =
        args.filters.iter().map(|text| Filter::parse(text)).collect::<Result<_, _>>()?;
    if let Some(def) = def {
        let asked = args.columns.iter().map(String::as_str);
        known_columns(def, asked.chain(filters.iter().map(|filter| filter.column.as_str())))?;
    }
    let kafka = Kafka::connect(config.kafka()?)?;
    let stop = crate::stop::on_signal()?;
    let (from, follow) = (if args.all { From::Beginning } else { From::Now }, !args.drain);
    let mut printer = Printer {
        out: BufWriter::new(io::stdout().lock()),
        filters,
        columns: &args.columns,
        left: args.lines.unwrap_or(u64::MAX),
    };
    let mut failed = None;
    kafka.tail(&topic, from, follow, &mut |record| {
        let done = match record {
            Some(record) => printer.record(&record),
            None => printer.out.flush().map_err(anyhow::Error::from),
        };
        failed = done.err();
        failed.is_none() && printer.left > 0 && !stop.requested()
    })?;
    match failed {
        Some(error) => Err(error),
        None => Ok(printer.out.flush()?),
    }
}

/// The topic of a stream or of its own name, and the stream whose rows it carries.
fn topic_of(name: &str) -> anyhow::Result<(Topic, Option<&'static Def>)> {
    if let Some(def) = stream::ALL.iter().copied().find(|def| def.name == name) {
        return Ok((Topic::log(def), Some(def)));
    }
    let topics = topic::table();
    let Some(spec) = topics.iter().find(|spec| spec.topic.0 == name) else {
        let streams: Vec<&str> = stream::ALL.iter().map(|def| def.name).collect();
        let topics: Vec<&str> = topics.iter().map(|spec| &*spec.topic.0).collect();
        return Err(BadConfig(format!(
            "no stream or topic `{name}`: there are {}; {}",
            streams.join(", "),
            topics.join(", ")
        ))
        .into());
    };
    let stream = name.rsplit('.').next().unwrap_or(name).replace('-', "_");
    let def = topic::carries_rows(&spec.topic).then(|| stream::find(&stream)).flatten();
    Ok((spec.topic.clone(), def))
}

fn known_columns<'a>(def: &Def, names: impl Iterator<Item = &'a str>) -> Result<(), BadConfig> {
    for name in names {
        if !def.columns.iter().any(|column| column.name == name) {
            return Err(BadConfig(format!(
                "{} has no column `{name}`: `weir schema {}` lists them",
                def.name, def.name
            )));
        }
    }
    Ok(())
}

struct Printer<'a, W: io::Write> {
    out: W,
    filters: Vec<Filter>,
    columns: &'a [String],
    left: u64,
}

impl<W: io::Write> Printer<'_, W> {
    fn record(&mut self, record: &Record) -> anyhow::Result<()> {
        match &record.payload {
            Payload::Rows(def, rows) => {
                let mut lines = Vec::new();
                sink::format::json::push_lines(&mut lines, def, rows)?;
                for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    self.row(line)?;
                }
            }
            // Progress of a source, with no row.
            Payload::Empty if record.key.is_none() => {}
            _ => self.object(&document(record))?,
        }
        Ok(())
    }

    /// A row as a line of JSON, taken apart only where that is asked for.
    fn row(&mut self, line: &[u8]) -> anyhow::Result<()> {
        if !self.filters.is_empty() || !self.columns.is_empty() {
            let row = serde_json::from_slice(line).context("a row as JSON")?;
            return self.object(&row);
        }
        if self.left > 0 {
            self.left -= 1;
            self.out.write_all(line)?;
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }

    fn object(&mut self, row: &Map<String, Value>) -> anyhow::Result<()> {
        if self.left == 0 || !self.filters.iter().all(|filter| filter.holds(row)) {
            return Ok(());
        }
        self.left -= 1;
        let wanted = |name: &String| row.get(name).map(|value| (name.clone(), value.clone()));
        match self.columns {
            [] => serde_json::to_writer(&mut self.out, row)?,
            names => {
                let only: Map<String, Value> = names.iter().filter_map(wanted).collect();
                serde_json::to_writer(&mut self.out, &only)?;
            }
        }
        Ok(self.out.write_all(b"\n")?)
    }
}

/// A record that is no rows, with its place. What is no JSON is text, with what is no text replaced.
fn document(record: &Record) -> Map<String, Value> {
    let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes));
    let value = match &record.payload {
        Payload::Bytes(bytes) | Payload::Bad(bytes, _) => {
            serde_json::from_slice(bytes).unwrap_or_else(|_| text(bytes))
        }
        _ => Value::Null,
    };
    let mut object = Map::new();
    object.insert("_topic".into(), json!(record.topic.0));
    object.insert("_partition".into(), json!(record.lane));
    object.insert("_offset".into(), json!(record.offset));
    if let Some(key) = &record.key {
        object.insert("key".into(), text(key));
    }
    if let Payload::Bad(_, reason) = &record.payload {
        object.insert("bad".into(), json!(reason));
    }
    object.insert("value".into(), value);
    object
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn streams_and_topics_are_found_by_name() {
        let find = |name| topic_of(name).map(|(topic, def)| (topic.0, def.map(|def| def.name)));
        assert_eq!(find("conn").unwrap(), ("log.conn".into(), Some("conn")));
        assert_eq!(find("raw.conn").unwrap(), ("raw.conn".into(), Some("conn")));
        // The log has the name; what goes to the manager is named in full nowhere else.
        assert_eq!(find("log.notice").unwrap(), ("log.notice".into(), Some("notice")));
        assert_eq!(find("partial").unwrap(), ("partial".into(), Some("partial")));
        assert_eq!(find("files").unwrap().1, stream::find("files").map(|def| def.name));
        let error = find("con").unwrap_err();
        assert!(
            error.downcast_ref::<BadConfig>().is_some() && error.to_string().contains("conn, ")
        );
    }

    #[test]
    fn lines_are_filtered_cut_and_counted() {
        let mut printer = Printer {
            out: Vec::new(),
            filters: vec![Filter::parse("id.resp_p>=443").unwrap()],
            columns: &["uid".to_owned(), "service".to_owned()],
            left: 2,
        };
        for port in [80, 443, 8443, 9443] {
            let line = format!("{{\"uid\":\"C{port}\",\"id.resp_p\":{port},\"x\":null}}");
            printer.row(line.as_bytes()).unwrap();
        }
        let text = String::from_utf8(printer.out).unwrap();
        assert_eq!(text, "{\"uid\":\"C443\"}\n{\"uid\":\"C8443\"}\n");
        assert_eq!(printer.left, 0);
    }

    #[test]
    fn documents_say_where_they_lie() {
        let record = |payload| Record {
            topic: topic::FILES,
            lane: 3,
            offset: 7,
            key: Some(Bytes::from_static(b"a\xff")),
            payload,
            stamp: None,
            packed: None,
        };
        let print = |payload| Value::from(document(&record(payload))).to_string();
        let place = "\"_offset\":7,\"_partition\":3,\"_topic\":\"files\"";
        assert_eq!(
            print(Payload::Bytes(Bytes::from_static(b"{\"rows\":1}"))),
            format!("{{{place},\"key\":\"a\u{fffd}\",\"value\":{{\"rows\":1}}}}")
        );
        assert!(
            print(Payload::Bad(Bytes::from_static(b"x"), "cut".into())).contains("\"bad\":\"cut\"")
        );
        assert!(print(Payload::Empty).ends_with("\"value\":null}"));
    }
}
