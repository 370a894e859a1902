//! What a manager is told, and what it counts.

/// How a manager works.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node it runs on.
    pub node: String,
    /// Prefix of topics on the broker; dead letters say where they came from by the whole name.
    pub prefix: String,
    /// Partition count of every partitioned topic: how many aggregator lanes are waited for.
    pub lanes: u32,
    /// How long the same notice is held back where the notice does not say, microseconds.
    pub suppress_for_us: i64,
    /// Suppressions that a lane keeps; above it those that end first go.
    pub suppressions_max: usize,
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
            suppress_for_us: detect::detector::SUPPRESS_FOR_US,
            // A few hundred bytes each: tens of megabytes in the state topic of a lane.
            suppressions_max: 100_000,
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
    /// Notices held back: in + found = out + suppressed.
    pub suppressed: u64,
    /// Notices logged.
    pub notice_out: u64,
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
