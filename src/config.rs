//! Settings: defaults, a TOML file, the environment, what was typed; each wins over the one before.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use capture::config::{FLUSH_INTERVAL_MAX, FLUSH_INTERVAL_MIN};
use capture::files::hash::Hashes;
use capture::nets::Nets;
use serde::Deserialize;

use crate::cli::{Cli, InputArgs, OutputArgs};

mod environment;

/// The settings or the command line are wrong: exit code 2.
#[derive(Debug)]
pub struct BadConfig(pub String);

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadConfig {}

/// All settings, as they stand in the file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of the node.
    pub node: Option<String>,
    /// Kafka brokers.
    pub brokers: Option<String>,
    /// Prefix of all topics.
    pub prefix: Option<String>,
    /// Handed to librdkafka as it is: TLS, SASL, tuning.
    pub kafka: BTreeMap<String, toml::Value>,
    /// Reading packets.
    pub capture: CaptureConfig,
    /// What is done with notices.
    pub policy: PolicyConfig,
    /// What the nodes of the cluster must agree on.
    pub cluster: ClusterConfig,
    /// Writing logs.
    pub sink: SinkConfig,
    /// Thresholds of detectors, by rule.
    pub detect: crate::detectors::Rules,
}

/// `[capture]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaptureConfig {
    /// Threads that share the packets; one a core at most is of use.
    pub threads: Option<usize>,
    /// Take packets with bad checksums as good.
    pub ignore_checksums: Option<bool>,
    /// Local networks; default: the private address space.
    pub local_nets: Option<Vec<String>>,
    /// Flows held at once; the oldest goes first.
    pub flows_max: Option<usize>,
    /// How often a flow that lasts has a row of conn with `final` false, such as `1h`; `0`, which is the
    /// default, for one row when it ends.
    pub interim: Option<String>,
    /// Folder where rows of an interface wait on disk while Kafka does not take them; none: no spool.
    pub spool: Option<PathBuf>,
    /// Bytes that they may take there.
    pub spool_max: Option<u64>,
    /// Bytes of rows that wait in memory before they go to the spool, or without one are dropped.
    pub memory_max: Option<usize>,
    /// Hashes that are made of every file: `md5`, `sha1`, `sha256`, or `none`.
    pub hashes: Option<Vec<String>>,
    /// Packets of a file between two steps: a kill costs as many to be read once more, and batches have their rows.
    pub flush_packets: Option<u64>,
    /// Time between two steps of an interface, such as `5s`, the default; sooner where much waits or a notice does.
    pub flush_interval: Option<String>,
    /// Bytes above holes in TCP streams that are held at once, over all flows; a stream that would need
    /// more is given up.
    pub reassembly_max: Option<u64>,
    /// The same for each direction of one flow; bytes beyond it count as a gap.
    pub reassembly_flow_max: Option<u64>,
}

/// `[policy]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// The document of `weir run`; a cluster has the one that was pushed.
    pub file: Option<PathBuf>,
}

/// `[cluster]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterConfig {
    /// Capture files being read: windows close when so many have ended.
    pub sources: Option<usize>,
    /// How long to wait for further sources once all that were seen have ended, milliseconds.
    pub grace_ms: Option<i64>,
    /// The network that this node taps: flows of different sites have nothing to do with each other, whatever
    /// their addresses. Default: all are one.
    pub site: Option<String>,
    /// The tap: nodes that share the packets of one tap name the same. Default: the node's name.
    pub tap: Option<String>,
    /// Taps overlap: what several of them saw of a flow is one row, and its rows in other logs come from one of
    /// them. The same for all nodes; rows of flows then take one way more.
    pub overlap: Option<bool>,
    /// How long a half of a flow waits for the other one, which another tap may have seen, such as `330s`. A half
    /// that sees no end lasts five minutes longer than one that does.
    pub join_window: Option<String>,
    /// Length of an interval of `cluster_summary`, such as `15m`, which is the default in a cluster; `0` for no
    /// summary, which is that of `weir run`.
    pub summary_interval: Option<String>,
}

/// `[sink]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SinkConfig {
    /// Folder for the logs.
    pub out: Option<String>,
    /// Formats: tsv, parquet, json.
    pub format: Option<Vec<String>>,
    /// Length of a rotated file, such as `1h`; `0` for one file a stream.
    pub rotate: Option<String>,
    /// A rotated file is closed when it has grown to so many bytes.
    pub size_max: Option<u64>,
    /// A rotated file is closed so long after its first row by the wall clock, milliseconds.
    pub age_max_ms: Option<i64>,
    /// Columns of TSV: `zeek` or `weir`.
    pub columns: Option<String>,
}

/// Variables that begin like settings and are none: the command's own.
const NOT_SETTINGS: [&str; 2] = ["WEIR_CONFIG", "WEIR_LOG"];
/// So begin the variables of weir's own tests, whose children inherit them.
const OF_TESTS: &str = "WEIR_TEST_";

/// Whether a variable is meant as a setting, so that one that is none is an error.
fn is_setting(variable: &str) -> bool {
    variable.starts_with("WEIR_")
        && !variable.starts_with(OF_TESTS)
        && !NOT_SETTINGS.contains(&variable)
}

impl Config {
    /// Reads file and environment and lays what was typed over them.
    pub fn load(cli: &Cli) -> anyhow::Result<Config> {
        let (name, text) = match &cli.config {
            None => ("environment".to_owned(), String::new()),
            Some(path) => {
                let name = path.display().to_string();
                let read = std::fs::read_to_string(path);
                let text = read.map_err(|e| BadConfig(format!("cannot read {name}: {e}")))?;
                (name, text)
            }
        };
        let wrong = |e: &dyn fmt::Display| BadConfig(format!("{name}: {}", one_line(e)));
        // Once for its own sake, so that messages have the file's lines.
        let _: Config = toml::from_str(&text).map_err(|e| wrong(&e))?;
        let mut table: toml::Table = toml::from_str(&text).map_err(|e| wrong(&e))?;
        for (key, value) in std::env::vars().filter(|(key, _)| is_setting(key)) {
            environment::set(&mut table, &key, &value)?;
        }
        let mut config: Config =
            table.try_into().map_err(|e| BadConfig(format!("environment: {}", one_line(&e))))?;
        for (typed, slot) in [
            (&cli.node, &mut config.node),
            (&cli.brokers, &mut config.brokers),
            (&cli.prefix, &mut config.prefix),
        ] {
            if typed.is_some() {
                slot.clone_from(typed);
            }
        }
        Ok(config)
    }

    /// The node's name, by default the host's.
    pub fn node_name(&self) -> anyhow::Result<String> {
        if let Some(node) = &self.node {
            return Ok(node.clone());
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
        let host = host.context("cannot read the host's name: give --node")?;
        Ok(host.trim().to_owned())
    }

    /// How to reach Kafka.
    pub fn kafka(&self) -> anyhow::Result<bus::kafka::Config> {
        let brokers = self.brokers.clone().ok_or_else(|| {
            BadConfig("no `brokers`: give --brokers HOST:PORT, or set it in the file".into())
        })?;
        let options = self.kafka.iter().map(|(key, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (key.clone(), text)
        });
        Ok(bus::kafka::Config { brokers, prefix: self.prefix(), options: options.collect() })
    }

    /// Prefix of all topics.
    pub fn prefix(&self) -> String {
        self.prefix.clone().unwrap_or_else(|| "weir".into())
    }

    /// Settings of a capture node.
    pub fn capture(
        &self,
        node: &str,
        lanes: u32,
        args: &InputArgs,
    ) -> Result<capture::Config, BadConfig> {
        let mut config = capture::Config::new(node);
        config.lanes = lanes;
        config.threads = args.threads.map(usize::from).or(self.capture.threads).unwrap_or(1).max(1);
        config.ignore_checksums =
            args.ignore_checksums || self.capture.ignore_checksums.unwrap_or(false);
        config.memory_max = self.capture.memory_max.unwrap_or(config.memory_max);
        config.flush_packets = self.capture.flush_packets.unwrap_or(config.flush_packets).max(1);
        if let Some(text) = &self.capture.flush_interval {
            config.flush_interval = flush_interval_us(text)?;
        }
        config.place = self.place(node)?;
        config.flows_max = self.capture.flows_max.unwrap_or(config.flows_max);
        if let Some(text) = args.interim.as_ref().or(self.capture.interim.as_ref()) {
            config.interim = interim_us(text)?;
        }
        let typed = Some(&args.hashes).filter(|typed| !typed.is_empty());
        if let Some(names) = typed.or(self.capture.hashes.as_ref()) {
            config.hashes = Hashes::named(names).map_err(|name| {
                let known = "there are md5, sha1, sha256; none stands by itself";
                BadConfig(format!("capture.hashes: no `{name}`: {known}"))
            })?;
        }
        let capture = &self.capture;
        config.reassembly_max = capture.reassembly_max.unwrap_or(config.reassembly_max);
        config.reassembly_flow_max =
            capture.reassembly_flow_max.unwrap_or(config.reassembly_flow_max);
        if let Some(nets) = &self.capture.local_nets {
            config.local_nets = Nets::default();
            for net in nets {
                let added = config.local_nets.add(net);
                added.map_err(|e| BadConfig(format!("capture.local_nets: {e}")))?;
            }
        }
        Ok(config)
    }

    /// Folder of spools, where there is to be one.
    pub fn spool_dir(&self, typed: Option<&Path>) -> Option<PathBuf> {
        typed.map(Path::to_owned).or_else(|| self.capture.spool.clone())
    }

    /// Where a node taps the network.
    fn place(&self, node: &str) -> Result<bus::Place, BadConfig> {
        let mut place = bus::Place::of_node(node);
        for (key, name, slot) in [
            ("site", &self.cluster.site, &mut place.site),
            ("tap", &self.cluster.tap, &mut place.tap),
        ] {
            let Some(name) = name else { continue };
            if !bus::Place::is_name(name) {
                return Err(BadConfig(format!(
                    "cluster.{key}: `{name}` is no name: no / or # in it"
                )));
            }
            slot.clone_from(name);
        }
        Ok(place)
    }

    /// What rows of conn say so that aggregators can join them.
    pub fn joins(&self) -> capture::config::Joins {
        if self.overlap() { capture::config::Joins::Copies } else { capture::config::Joins::Halves }
    }

    /// Whether taps overlap.
    pub fn overlap(&self) -> bool {
        self.cluster.overlap.unwrap_or(false)
    }

    /// How long halves of flows wait, microseconds, if it is set.
    pub fn join_window_us(&self) -> Result<Option<i64>, BadConfig> {
        let text = self.cluster.join_window.as_ref();
        text.map(|text| duration_us("cluster.join_window", text)).transpose()
    }

    /// Where a capture node on a bus that lasts keeps what the bus does not take.
    pub fn spool(&self, config: &mut capture::Config, typed: Option<&Path>) {
        config.spool = self.spool_dir(typed);
        config.spool_max = self.capture.spool_max.unwrap_or(config.spool_max);
    }

    /// Settings of the sinks, one a format.
    pub fn sinks(
        &self,
        node: &str,
        args: &OutputArgs,
        rotate_default: &str,
    ) -> Result<Vec<sink::Config>, BadConfig> {
        let mine = &self.sink;
        let out = args.out.clone().or_else(|| mine.out.clone().map(Into::into));
        let out = out.ok_or_else(|| BadConfig("no folder for the logs: give --out DIR".into()))?;
        let mut formats = args.format.clone();
        if formats.is_empty() {
            formats = mine.format.clone().unwrap_or_else(|| vec!["tsv".into()]);
        }
        let rotate = args.rotate.as_ref().or(mine.rotate.as_ref());
        let rotate = duration_us("sink.rotate", rotate.map_or(rotate_default, String::as_str))?;
        let columns = match args.columns.as_ref().or(mine.columns.as_ref()).map(String::as_str) {
            None | Some("zeek") => sink::Columns::Zeek,
            Some("weir") => sink::Columns::Weir,
            Some(other) => {
                return Err(BadConfig(format!("sink.columns: `{other}`: say zeek or weir")));
            }
        };
        let known: Vec<&str> = sink::format::ALL.iter().map(|format| format.name()).collect();
        let mut sinks: Vec<sink::Config> = Vec::new();
        for format in formats {
            if !known.contains(&format.as_str()) {
                let known = known.join(", ");
                return Err(BadConfig(format!("sink.format: no `{format}`: there are {known}")));
            }
            if sinks.iter().any(|sink| sink.format == format) {
                continue;
            }
            let mut config = sink::Config::new(out.clone(), &format, node);
            config.rotate = (rotate > 0).then_some(rotate);
            config.columns = columns;
            config.force = args.force;
            config.prefix = self.prefix();
            config.size_max = mine.size_max.unwrap_or(config.size_max);
            config.age_max_ms = mine.age_max_ms.or(config.age_max_ms);
            sinks.push(config);
        }
        Ok(sinks)
    }
}

/// A message without line breaks and source excerpts' tails.
fn one_line(error: &dyn fmt::Display) -> String {
    let text = error.to_string();
    text.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("\n  ")
}

/// `1h`, `15m`, `30s`, `1d` or a number of seconds, as microseconds.
pub fn duration_us(key: &str, text: &str) -> Result<i64, BadConfig> {
    let wrong = || BadConfig(format!("{key}: `{text}` is no length of time; write 1h, 15m"));
    detect::policy::terms::length_us(text).ok_or_else(wrong)
}

/// The same as whole minutes, at least one.
pub fn minutes(key: &str, text: &str) -> Result<i64, BadConfig> {
    Ok((duration_us(key, text)? / 60_000_000).max(1))
}

/// The same for `capture.interim`; none is never.
fn interim_us(text: &str) -> Result<Option<i64>, BadConfig> {
    Ok(Some(duration_us("capture.interim", text)?).filter(|every| *every > 0))
}

/// The same for `capture.flush_interval`.
fn flush_interval_us(text: &str) -> Result<i64, BadConfig> {
    let interval = duration_us("capture.flush_interval", text)?;
    if (FLUSH_INTERVAL_MIN..=FLUSH_INTERVAL_MAX).contains(&interval) {
        return Ok(interval);
    }
    Err(BadConfig(format!("capture.flush_interval: `{text}` is not from 1s to 10s")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_no_setting_is_one_of_ours_or_not_read() {
        for setting in ["WEIR_NODE", "WEIR_SINK_ROTATE", "WEIR_SINK_ROTAT", "WEIR_TESTS"] {
            assert!(is_setting(setting), "{setting}");
        }
        for other in ["WEIR_CONFIG", "WEIR_LOG", "WEIR_TEST_CASES", "WEIRD_NODE", "NODE"] {
            assert!(!is_setting(other), "{other}");
        }
    }

    #[test]
    fn lengths_of_time() {
        assert_eq!(duration_us("k", "1h").unwrap(), 3_600_000_000);
        assert_eq!(duration_us("k", "90").unwrap(), 90_000_000);
        assert_eq!(duration_us("k", "0").unwrap(), 0);
        assert_eq!(interim_us("0").unwrap(), None);
        assert_eq!(interim_us("15m").unwrap(), Some(900_000_000));
        assert_eq!(flush_interval_us("10s").unwrap(), 10_000_000);
        for wrong in ["500", "0", "1m", "11s"] {
            assert!(flush_interval_us(wrong).unwrap_err().0.contains("capture.flush_interval"));
        }
        for wrong in ["", "h", "1x", "-1s", "99999999999999d"] {
            assert!(duration_us("k", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = toml::from_str::<Config>("[sink]\nrotat = 1\n").unwrap_err();
        assert!(error.to_string().contains("rotat"));
    }
}
