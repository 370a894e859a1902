//! Variables of the environment, `WEIR_SECTION_KEY`, laid over what the file says.

use super::{BadConfig, Config, one_line};

/// Lays `WEIR_SECTION_KEY=value` over the table.
pub(super) fn set(table: &mut toml::Table, variable: &str, value: &str) -> Result<(), BadConfig> {
    let name = variable.trim_start_matches("WEIR_").to_ascii_lowercase();
    if let Some(name) = name.strip_prefix("detect_") {
        return set_detect(table, variable, name, value);
    }
    let (section, key) = match name.split_once('_') {
        Some((section @ ("capture" | "cluster" | "policy" | "sink"), key)) => {
            (Some(section), key.to_owned())
        }
        // Names in librdkafka are dotted.
        Some(("kafka", key)) => (Some("kafka"), key.replace('_', ".")),
        _ => (None, name.clone()),
    };
    let target = match section {
        None => table,
        Some(section) => table
            .entry(section)
            .or_insert_with(|| toml::Table::new().into())
            .as_table_mut()
            .ok_or_else(|| BadConfig(format!("`{section}` is no section")))?,
    };
    target.insert(key.clone(), typed(&key, value));
    let checked: Result<Config, _> = match section {
        None => toml::Table::from_iter([(key.clone(), typed(&key, value))]).try_into(),
        Some(section) => {
            let inner = toml::Table::from_iter([(key.clone(), typed(&key, value))]);
            toml::Table::from_iter([(section.to_owned(), inner.into())]).try_into()
        }
    };
    match checked {
        Ok(_) => Ok(()),
        Err(error) => Err(BadConfig(format!("{variable}: {}", one_line(&error)))),
    }
}

/// Lays `WEIR_DETECT_PORT_SCAN_THRESHOLD=value` over the table; rules are written with `-`.
fn set_detect(
    table: &mut toml::Table,
    variable: &str,
    name: &str,
    value: &str,
) -> Result<(), BadConfig> {
    let parts = crate::detectors::KEYS
        .iter()
        .find_map(|key| Some((name.strip_suffix(key)?.strip_suffix('_')?.replace('_', "-"), *key)));
    let wrong = || BadConfig(format!("{variable}: no such key of a detector"));
    let (rule, key) = parts.ok_or_else(wrong)?;
    let rules = table.entry("detect").or_insert_with(|| toml::Table::new().into());
    let rules = rules.as_table_mut().ok_or_else(wrong)?;
    let rule = rules.entry(rule).or_insert_with(|| toml::Table::new().into());
    rule.as_table_mut().ok_or_else(wrong)?.insert(key.to_owned(), typed(key, value));
    Ok(())
}

/// Keys whose values are text, though they may look like numbers.
const TEXTS: [&str; 8] = [
    "rotate",
    "interim",
    "flush_interval",
    "window",
    "join_window",
    "summary_interval",
    "site",
    "tap",
];

/// A value of the environment with the type that its key has.
fn typed(key: &str, value: &str) -> toml::Value {
    if matches!(key, "format" | "local_nets" | "hashes") {
        let items = value.split(',').map(|item| item.trim().to_owned().into());
        return toml::Value::Array(items.collect());
    }
    if let Ok(number) = value.parse::<i64>()
        && !TEXTS.contains(&key)
    {
        return number.into();
    }
    match value {
        "true" => true.into(),
        "false" => false.into(),
        text => text.to_owned().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_environment_lies_over_the_file_and_is_checked() {
        let mut table: toml::Table = toml::from_str("[sink]\nrotate = '1h'\n").unwrap();
        set(&mut table, "WEIR_SINK_ROTATE", "5m").unwrap();
        set(&mut table, "WEIR_KAFKA_SECURITY_PROTOCOL", "SSL").unwrap();
        set(&mut table, "WEIR_CAPTURE_THREADS", "2").unwrap();
        set(&mut table, "WEIR_CAPTURE_SPOOL", "/data/spool").unwrap();
        set(&mut table, "WEIR_CAPTURE_SPOOL_MAX", "1000000").unwrap();
        set(&mut table, "WEIR_SINK_FORMAT", "tsv,parquet").unwrap();
        set(&mut table, "WEIR_CAPTURE_HASHES", "md5,sha1").unwrap();
        set(&mut table, "WEIR_DETECT_PORT_SCAN_THRESHOLD_LOCAL", "9").unwrap();
        set(&mut table, "WEIR_DETECT_PORT_SCAN_WINDOW", "600").unwrap();
        assert!(set(&mut table, "WEIR_DETECT_PORT_SCAN_LIMIT", "9").is_err());
        let config: Config = table.clone().try_into().unwrap();
        let rule = &config.detect["port-scan"];
        assert_eq!((rule.threshold_local, rule.window.as_deref()), (Some(9), Some("600")));
        assert_eq!(config.sink.rotate.as_deref(), Some("5m"));
        assert_eq!(config.kafka["security.protocol"].as_str(), Some("SSL"));
        assert_eq!(config.capture.threads, Some(2));
        assert_eq!(config.capture.spool.as_deref(), Some(Path::new("/data/spool")));
        assert_eq!(config.capture.spool_max, Some(1_000_000));
        assert_eq!(config.capture.hashes.unwrap(), ["md5", "sha1"]);
        assert_eq!(config.sink.format.unwrap(), ["tsv", "parquet"]);
        set(&mut table, "WEIR_CLUSTER_OVERLAP", "true").unwrap();
        set(&mut table, "WEIR_CLUSTER_TAP", "7").unwrap();
        set(&mut table, "WEIR_CLUSTER_JOIN_WINDOW", "60").unwrap();
        let config: Config = table.clone().try_into().unwrap();
        assert!(config.overlap() && config.join_window_us().unwrap() == Some(60_000_000));
        let place = bus::Place { site: String::new(), tap: "7".into() };
        assert_eq!(config.place("w1").unwrap(), place);
        set(&mut table, "WEIR_CLUSTER_SITE", "a/b").unwrap();
        let config: Config = table.clone().try_into().unwrap();
        assert!(config.place("w1").unwrap_err().0.contains("cluster.site"));
        let error = set(&mut table, "WEIR_SINK_ROTAT", "5m").unwrap_err();
        assert!(error.0.contains("WEIR_SINK_ROTAT"), "{error}");
    }
}
