//! What a manager is told, and what it counts.

use std::sync::Arc;

use crate::decide::Document;

/// How a manager works.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node it runs on.
    pub node: String,
    /// Prefix of topics on the broker; dead letters say where they came from by the whole name.
    pub prefix: String,
    /// Partition count of every partitioned topic: how many aggregator lanes are waited for.
    pub lanes: u32,
    /// The policy where none was pushed.
    pub policy: Option<Arc<Document>>,
    /// Suppressions that a lane keeps; above it those that end first go.
    pub suppressions_max: usize,
    /// Workers' counts, and hosts, that a lane keeps for rules of the policy; above it the oldest go.
    pub significance_max: usize,
    /// Known assets that a lane keeps; above it those seen first go.
    pub assets_max: usize,
    /// Members of statistics that a lane keeps; above it the oldest panes are judged and go.
    pub held_max: usize,
    /// Which addresses are local.
    pub site: detect::Site,
    /// Thresholds and windows of detectors; aggregators and managers must have the same.
    pub detect: detect::detector::Settings,
}

impl Config {
    /// Who buries records here.
    pub(crate) fn consumer(&self) -> bus::dead::Consumer<'_> {
        let Config { prefix, node, lanes, .. } = self;
        bus::dead::Consumer { prefix, name: "manager", node, lanes: *lanes }
    }

    /// The defaults, for a node and a partition count.
    pub fn new(node: &str, lanes: u32) -> Config {
        Config {
            node: node.to_owned(),
            prefix: "weir".to_owned(),
            lanes: lanes.max(1),
            policy: None,
            // A few hundred bytes each: tens of megabytes in the state topic of a lane.
            suppressions_max: 100_000,
            significance_max: 100_000,
            // Some 300 bytes each: 60 MB for a lane, 2.4 million assets for the cluster.
            assets_max: 200_000,
            // About 100 bytes each.
            held_max: 1_000_000,
            site: detect::Site::default(),
            detect: detect::detector::Settings::default(),
        }
    }
}

/// What a manager counted since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Rows of notice read.
    pub notice_in: u64,
    /// Rows of partial read.
    pub partial_in: u64,
    /// Notices that detectors here raised.
    pub found: u64,
    /// Notices held back: in + found = out + suppressed + ignored.
    pub suppressed: u64,
    /// Notices that policy ignores.
    pub ignored: u64,
    /// Notices logged.
    pub notice_out: u64,
    /// Those of them that alarm.
    pub alarms: u64,
    /// Rows of notice_tally written.
    pub tally_out: u64,
    /// Counts of significance that went before their time because the lane kept too many.
    pub significance_lost: u64,
    /// Suppressions that went before their time because the lane kept too many.
    pub suppressions_lost: u64,
    /// Policy documents refused.
    pub policy_refused: u64,
    /// Observations of assets read.
    pub asset_in: u64,
    /// Assets logged; the others were known.
    pub asset_out: u64,
    /// Assets forgotten before their day was over because the lane knew too many.
    pub assets_forgotten: u64,
    /// Panes that went before their window was over because the lane kept too much.
    pub early: u64,
    /// Rows of partial whose rule or statistic is not known here.
    pub unknown: u64,
    /// Records that retention took before they were read.
    pub records_gone: u64,
    /// Records that could not be used.
    pub dead_letters: u64,
}
