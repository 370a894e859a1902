//! What made the rows of a reading: a version of weir, and the settings that rows depend on.
//!
//! A position in a file is a number of packets. Which rows are complete after so many is the same for a restart only
//! where the same makes them; anything else would lose rows or send some twice, and nobody would see it.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::config::Config;

/// What made rows. Of a position that says nothing of it, as those of older versions, it is an unknown version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Maker {
    version: String,
    /// Checksums of the settings, by name: some are long lists.
    settings: BTreeMap<String, u32>,
}

impl Maker {
    /// This version with these settings.
    pub fn of(config: &Config) -> Maker {
        // Every field is named, so that whoever adds one says here whether rows depend on it.
        let Config {
            ignore_checksums,
            local_nets,
            flows_max,
            interim,
            joins,
            place,
            hashes,
            reassembly_max,
            reassembly_flow_max,
            // Part of the source's name, and fixed for the life of the topics.
            node: _,
            lanes: _,
            // Rows and their order are the same for any.
            threads: _,
            flush_packets: _,
            // Of interfaces, which are not read again.
            flush_interval: _,
            spool: _,
            spool_max: _,
            memory_max: _,
        } = config;
        let shaping: [(&str, &dyn Debug); 9] = [
            ("ignore_checksums", ignore_checksums),
            ("local_nets", local_nets),
            ("flows_max", flows_max),
            ("interim", interim),
            ("overlap", joins),
            ("site or tap", place),
            ("hashes", hashes),
            ("reassembly_max", reassembly_max),
            ("reassembly_flow_max", reassembly_flow_max),
        ];
        let checksum = |value: &dyn Debug| crc32fast::hash(format!("{value:?}").as_bytes());
        let settings = shaping.map(|(name, value)| (name.to_owned(), checksum(value)));
        Maker { version: env!("CARGO_PKG_VERSION").to_owned(), settings: settings.into() }
    }

    /// Whether it is not known.
    pub fn is_unknown(&self) -> bool {
        self.version.is_empty()
    }

    /// How what made earlier rows differs from this, in words; nothing where it does not.
    pub fn differs_from(&self, earlier: &Maker) -> Option<String> {
        if earlier.is_unknown() {
            return Some(format!("by an older version of weir than this, {}", self.version));
        }
        if self.version != earlier.version {
            return Some(format!("by weir {}, and this is {}", earlier.version, self.version));
        }
        let names = self.settings.keys().chain(earlier.settings.keys());
        let mut names: Vec<&str> = names
            .filter(|name| self.settings.get(*name) != earlier.settings.get(*name))
            .map(String::as_str)
            .collect();
        names.sort_unstable();
        names.dedup();
        (!names.is_empty()).then(|| format!("with other settings: {}", names.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Joins;
    use crate::files::hash::Hashes;
    use crate::nets::Nets;

    #[test]
    fn only_what_shapes_rows_makes_a_difference() {
        let now = Maker::of(&Config::new("n"));
        let differs = |change: fn(&mut Config)| {
            let mut config = Config::new("n");
            change(&mut config);
            now.differs_from(&Maker::of(&config))
        };
        assert_eq!(differs(|_| {}), None);
        let no_matter = differs(|config| {
            (config.threads, config.flush_packets, config.flush_interval) = (7, 7, 7);
            (config.spool, config.spool_max, config.memory_max) = (Some("x".into()), 7, 7);
        });
        assert_eq!(no_matter, None);
        let all = differs(|config| {
            (config.ignore_checksums, config.joins) = (true, Joins::Copies);
            (config.flows_max, config.interim) = (7, Some(7));
            (config.local_nets, config.hashes) = (Nets::default(), Hashes::NONE);
            (config.reassembly_max, config.reassembly_flow_max) = (7, 7);
            config.place.tap = "t".into();
        });
        assert_eq!(
            all.unwrap(),
            "with other settings: flows_max, hashes, ignore_checksums, interim, local_nets, overlap, \
             reassembly_flow_max, reassembly_max, site or tap"
        );
    }

    #[test]
    fn versions_are_named() {
        let now = Maker::of(&Config::new("n"));
        let old = Maker { version: "0.0.9".into(), ..now.clone() };
        let said = now.differs_from(&old).unwrap();
        assert_eq!(said, format!("by weir 0.0.9, and this is {}", env!("CARGO_PKG_VERSION")));
        assert!(now.differs_from(&Maker::default()).unwrap().contains("older version"));
    }
}
