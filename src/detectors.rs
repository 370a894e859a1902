//! `[detect.<rule>]`: the thresholds of detectors; and the interval of the cluster's summary.

use std::collections::BTreeMap;

use detect::detector::Settings;
use detect::detector::limits::Change;
use detect::summary::{INTERVAL_MAX_US, INTERVAL_MIN_US, INTERVAL_US};
use serde::Deserialize;

use crate::config::{BadConfig, Config, duration_us};

/// All of `[detect]`, by the names of rules.
pub type Rules = BTreeMap<String, Rule>;

/// `[detect.<rule>]`; what is not set is Zeek's default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// How many it takes.
    pub threshold: Option<usize>,
    /// How many it takes of a local host, where the detector tells them apart.
    pub threshold_local: Option<usize>,
    /// How far apart they may be, such as `5m`.
    pub window: Option<String>,
}

/// The keys of a rule, the longest first, so that a variable of the environment is read right.
pub const KEYS: [&str; 3] = ["threshold_local", "threshold", "window"];

/// The settings that detectors are made with.
pub fn settings(config: &Config) -> Result<Settings, BadConfig> {
    let mut settings = Settings::default();
    for (name, rule) in &config.detect {
        let window = rule.window.as_ref();
        let window_us =
            window.map(|text| duration_us(&format!("detect.{name}.window"), text)).transpose()?;
        let Rule { threshold, threshold_local, .. } = *rule;
        let set = settings.set(name, Change { threshold, threshold_local, window_us });
        set.map_err(|why| BadConfig(format!("detect.{why}")))?;
    }
    Ok(settings)
}

/// Length of an interval of the cluster's summary, microseconds; `None` for no summary.
pub fn summary_us(config: &Config) -> Result<Option<i64>, BadConfig> {
    let Some(text) = &config.cluster.summary_interval else { return Ok(Some(INTERVAL_US)) };
    let length = duration_us("cluster.summary_interval", text)?;
    if length != 0 && !(INTERVAL_MIN_US..=INTERVAL_MAX_US).contains(&length) {
        let range = "from 30s to 1d, or 0 for no summary";
        return Err(BadConfig(format!("cluster.summary_interval: `{text}`: {range}")));
    }
    Ok(Some(length).filter(|length| *length > 0))
}

/// Which addresses are local: those that capture takes as local.
pub fn site(config: &Config) -> Result<detect::Site, BadConfig> {
    let Some(nets) = &config.capture.local_nets else { return Ok(detect::Site::default()) };
    let local = nets.iter().map(|net| net.parse()).collect::<Result<_, _>>();
    let wrong = |e: detect::site::NetError| BadConfig(format!("capture.local_nets: {e}"));
    Ok(detect::Site { local: local.map_err(wrong)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_by_its_key() {
        let read = |text: &str| settings(&toml::from_str::<Config>(text).unwrap());
        let set = read("[detect.port-scan]\nthreshold = 9\nwindow = '10m'\n").unwrap();
        let limits = set.of("port-scan", detect::detector::port_scan::LIMITS);
        assert_eq!(limits, detect::detector::Limits::new(9, 600_000_000));
        for (text, named) in [
            ("[detect.port-scan]\nthreshold = 0\n", "detect.port-scan.threshold:"),
            ("[detect.port-scan]\nwindow = '1s'\n", "detect.port-scan.window:"),
            ("[detect.port-scan]\nwindow = 'x'\n", "detect.port-scan.window:"),
            ("[detect.no-scan]\n", "detect.no-scan:"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.0.contains(named), "{error}");
        }
        assert!(toml::from_str::<Config>("[detect.port-scan]\nlimit = 1\n").is_err());
    }

    #[test]
    fn the_summary_has_an_interval_or_is_off() {
        let read = |text: &str| summary_us(&toml::from_str::<Config>(text).unwrap());
        assert_eq!(read("").unwrap(), Some(900_000_000));
        assert_eq!(read("[cluster]\nsummary_interval = '1h'\n").unwrap(), Some(3_600_000_000));
        assert_eq!(read("[cluster]\nsummary_interval = '0'\n").unwrap(), None);
        for wrong in ["29s", "2d", "often"] {
            let error = read(&format!("[cluster]\nsummary_interval = '{wrong}'\n")).unwrap_err();
            assert!(error.0.contains("cluster.summary_interval"), "{error}");
        }
    }

    #[test]
    fn local_is_what_capture_takes_as_local() {
        let config: Config = toml::from_str("[capture]\nlocal_nets = ['8.0.0.0/8']\n").unwrap();
        let site = site(&config).unwrap();
        assert!(site.is_local([8, 8, 8, 8].into()) && !site.is_local([10, 0, 0, 1].into()));
        let config: Config = toml::from_str("[capture]\nlocal_nets = ['8.0.0.0/99']\n").unwrap();
        assert!(super::site(&config).unwrap_err().0.contains("capture.local_nets"));
    }
}
