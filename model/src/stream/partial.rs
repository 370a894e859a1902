//! partial: what one lane saw of an entity, on its way to the manager; never logged.

use crate::stream;

stream! {
    /// Partial statistics by rule and entity.
    "partial", Asset, version 1;
    zeek {
        /// Start of the pane.
        ts "ts": Time,
        /// Detector that the statistic feeds.
        rule "rule": Str,
        /// What it is about, as the detector writes it.
        entity "entity": Str,
        /// First observation in the pane.
        first_ts "first_ts": Time,
        /// Last observation in the pane.
        last_ts "last_ts": Time,
        /// Rows that were observed.
        observations "observations": Count,
        /// The mergeable value, as JSON.
        state "state": Str,
        /// Nodes whose rows were observed.
        observers "observers": Set<Str>,
    }
    policy {}
    weir {}
}
