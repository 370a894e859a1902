//! What an aggregator is told, and what it counts.

/// How an aggregator works.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node it runs on.
    pub node: String,
    /// Prefix of topics on the broker; dead letters say where they came from by the whole name.
    pub prefix: String,
    /// Partition count of every partitioned topic.
    pub lanes: u32,
    /// How many file sources belong together: file windows move once so many were seen and close when
    /// all have ended. Without it they wait for the end of every source seen, and for `grace_ms`.
    pub sources: Option<usize>,
    /// How long after the last that a lane heard of files another file source may still show up,
    /// milliseconds.
    pub grace_ms: i64,
    /// How long a live source may be silent before nobody waits for it, milliseconds.
    pub live_silence_ms: i64,
    /// How long a notice waits for its copies, microseconds of event time.
    pub notice_hold_us: i64,
    /// Length of a pane, microseconds.
    pub pane_us: i64,
    /// Members of statistics, notices and observations of assets that a lane holds; above it the oldest go early.
    pub held_max: usize,
    /// How long a half of a flow waits for the other one after it was written, microseconds of event time.
    pub join_window_us: i64,
    /// Taps overlap: what several saw of a flow is one row.
    pub overlap: bool,
    /// How long a row waits for its copies there, microseconds of event time.
    pub copies_us: i64,
    /// Length of an interval of the cluster's summary, microseconds; none: there is no summary.
    pub summary_us: Option<i64>,
    /// Which addresses are local.
    pub site: detect::Site,
    /// Thresholds and windows of detectors; aggregators and managers must have the same.
    pub detect: detect::detector::Settings,
}

/// Microseconds in a second.
pub const SECOND: i64 = 1_000_000;

/// A half that saw no end lasts five minutes longer than one that did (`tcp_inactivity_timeout`), and some
/// seconds pass until it is written.
const JOIN_WINDOW_US: i64 = 330 * SECOND;
/// Sensors that see the same packets write the same rows at the same time, as far as their clocks agree.
const COPIES_US: i64 = 10 * SECOND;

impl Config {
    /// Who buries records here.
    pub(crate) fn consumer(&self) -> bus::dead::Consumer<'_> {
        let Config { prefix, node, lanes, .. } = self;
        bus::dead::Consumer { prefix, name: "aggregate", node, lanes: *lanes }
    }

    /// The defaults, for a node and a partition count.
    pub fn new(node: &str, lanes: u32) -> Config {
        Config {
            node: node.to_owned(),
            prefix: "weir".to_owned(),
            lanes: lanes.max(1),
            sources: None,
            grace_ms: 5_000,
            live_silence_ms: 30_000,
            notice_hold_us: 5_000_000,
            pane_us: detect::PANE_US,
            // About 100 bytes each: 100 MB for a lane under attack.
            held_max: 1_000_000,
            join_window_us: JOIN_WINDOW_US,
            overlap: false,
            copies_us: COPIES_US,
            summary_us: Some(detect::summary::INTERVAL_US),
            site: detect::Site::default(),
            detect: detect::detector::Settings::default(),
        }
    }
}

/// What an aggregator counted since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Rows of conn read.
    pub conn_in: u64,
    /// Rows of conn passed on.
    pub conn_out: u64,
    /// Rows of logs read for detectors.
    pub log_in: u64,
    /// Rows of conn that became part of another: in + cut = out + merged + still held.
    pub conn_merged: u64,
    /// Rows of conn that came of another, which was cut.
    pub conn_cut: u64,
    /// Rows of other flow streams read, where taps overlap.
    pub copied_in: u64,
    /// Those passed on.
    pub copied_out: u64,
    /// Those that were another observer's: in = out + merged + still held.
    pub copied_merged: u64,
    /// Rows of notice read.
    pub notice_in: u64,
    /// Rows of notice passed on.
    pub notice_out: u64,
    /// Notices that became part of another: in = out + merged + still held.
    pub notice_merged: u64,
    /// Observations of assets read.
    pub known_in: u64,
    /// Observations of assets passed on: in = out + still held.
    pub known_out: u64,
    /// Rows of partial written.
    pub partial_out: u64,
    /// Rows that came after their window had been released.
    pub late: u64,
    /// Windows released before their time because the lane held too much.
    pub early: u64,
    /// Flows that went before all of them could be there, as a tuple or the lane had too many pieces.
    pub hurried: u64,
    /// Flows of which a late copy is another row, as a lane remembered too many.
    pub copies_forgotten: u64,
    /// Records that could not be used.
    pub dead_letters: u64,
    /// Records that retention took before they were read.
    pub records_gone: u64,
    /// Stamps of sources beyond the number a lane follows.
    pub sources_refused: u64,
}
