//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A network security monitor: packets in, Zeek's logs out, on one machine or as a cluster on Kafka.
///
/// Every setting can stand in a TOML file (`--config`), in the environment (`WEIR_…`, such as
/// WEIR_SINK_ROTATE for `rotate` of `[sink]`) or be typed; what is typed wins.
#[derive(Debug, Parser)]
#[command(name = "weir", version, max_term_width = 100)]
pub struct Cli {
    /// Settings file, TOML
    #[arg(long, global = true, env = "WEIR_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Name of this node, in `sensor` and `peer` columns and on the bus [default: the host's name;
    /// `zeek` for `weir run`]
    #[arg(long, global = true, value_name = "NAME")]
    pub node: Option<String>,
    /// Kafka brokers
    #[arg(long, global = true, value_name = "HOST:PORT,…")]
    pub brokers: Option<String>,
    /// Prefix of all topics [default: weir]
    #[arg(long, global = true, value_name = "NAME")]
    pub prefix: Option<String>,
    /// Say more (-vv, -vvv: still more)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Everything in one process: read packets, write logs
    Run(RunArgs),
    /// Read packets and send rows to Kafka (Zeek's worker)
    Capture(CaptureArgs),
    /// Merge what workers saw (Zeek's proxy)
    Aggregate(AggregateArgs),
    /// Decide for the whole cluster (Zeek's manager)
    Manager(DrainArgs),
    /// Write logs (Zeek's logger)
    Sink(SinkArgs),
    /// Several consumer roles in one process
    Node(NodeArgs),
    /// Create or describe the topics
    Topics(TopicsArgs),
    /// Check, push or show what is done with notices
    Policy(PolicyArgs),
    /// Print a topic as JSON lines, following
    Tail(TailArgs),
    /// Compare what every role says that it did with what is there
    Audit(AuditArgs),
    /// Show who is there, what each holds and how far behind it is
    Status(StatusArgs),
    /// Print the streams and their columns
    Schema(SchemaArgs),
}

/// Where packets come from.
#[derive(Debug, Args)]
pub struct InputArgs {
    /// Capture files (pcap, pcapng; `-` is standard input); several are one capture in time order
    #[arg(long, short = 'r', value_name = "FILE", num_args = 1.., required_unless_present = "interface")]
    pub read: Vec<PathBuf>,
    /// Network interface
    #[arg(long, short = 'i', value_name = "IF", conflicts_with = "read")]
    pub interface: Option<String>,
    /// BPF filter for the interface
    #[arg(long, value_name = "FILTER", requires = "interface")]
    pub filter: Option<String>,
    /// Take packets with bad checksums as good, as captures made behind offloading need
    #[arg(long, short = 'C')]
    pub ignore_checksums: bool,
    /// Threads that share the packets; on an interface the kernel divides the flows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub threads: Option<u16>,
    /// How often a flow that lasts has a row of conn as it stands (`final` false), such as 1h; 0 for never
    #[arg(long, value_name = "TIME")]
    pub interim: Option<String>,
    /// Hashes that are made of every file: md5, sha1, sha256 (all unless said), or none
    #[arg(long, value_name = "HASH,…", value_delimiter = ',')]
    pub hashes: Vec<String>,
}

/// Where logs go.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// Folder for the logs
    #[arg(long, short = 'o', value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Formats: tsv, parquet, json
    #[arg(long, value_name = "FORMAT,…", value_delimiter = ',')]
    pub format: Vec<String>,
    /// Length of a rotated file, such as 1h, 15m; 0 for one file a stream
    #[arg(long, value_name = "TIME")]
    pub rotate: Option<String>,
    /// Columns of TSV: zeek, or weir for weir's own too
    #[arg(long, value_name = "WHOSE")]
    pub columns: Option<String>,
    /// Replace logs that are in the way
    #[arg(long)]
    pub force: bool,
}

/// `weir run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Where packets come from
    #[command(flatten)]
    pub input: InputArgs,
    /// What is done with notices (docs/policy.md)
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Where logs go
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `weir capture`
#[derive(Debug, Args)]
pub struct CaptureArgs {
    /// Where packets come from
    #[command(flatten)]
    pub input: InputArgs,
    /// Read a capture once more that was read to its end before, or in part by another version or with other settings
    #[arg(long)]
    pub again: bool,
    /// Folder where rows of an interface wait while Kafka does not take them (spool_max and
    /// memory_max of `[capture]` bound it) [default: they wait in memory]
    #[arg(long, value_name = "DIR", requires = "interface")]
    pub spool: Option<PathBuf>,
}

/// When a consumer role ends.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// Finish when everything up to the present end is consumed and published
    #[arg(long)]
    pub drain: bool,
}

/// Which capture files belong together.
#[derive(Debug, Args)]
pub struct SourcesArgs {
    /// Capture files being read by the cluster: windows close when so many have ended
    #[arg(long, value_name = "N")]
    pub sources: Option<usize>,
}

/// `weir aggregate`
#[derive(Debug, Args)]
pub struct AggregateArgs {
    /// Which capture files belong together
    #[command(flatten)]
    pub sources: SourcesArgs,
    /// When it ends
    #[command(flatten)]
    pub drain: DrainArgs,
}

/// `weir sink`
#[derive(Debug, Args)]
pub struct SinkArgs {
    /// Where logs go
    #[command(flatten)]
    pub output: OutputArgs,
    /// When it ends
    #[command(flatten)]
    pub drain: DrainArgs,
}

/// `weir node`
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// Which roles
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "ROLE,…",
        default_value = "aggregate,manager,sink"
    )]
    pub roles: Vec<RoleName>,
    /// Where logs go (sink)
    #[command(flatten)]
    pub output: OutputArgs,
    /// Which capture files belong together (aggregate)
    #[command(flatten)]
    pub sources: SourcesArgs,
    /// When they end
    #[command(flatten)]
    pub drain: DrainArgs,
}

/// A consumer role's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleName {
    /// Merges what workers saw
    Aggregate,
    /// Decides for the whole cluster
    Manager,
    /// Writes logs
    Sink,
}

/// `weir topics`
#[derive(Debug, Args)]
pub struct TopicsArgs {
    /// What to do with them
    #[command(subcommand)]
    pub action: TopicsAction,
}

/// What to do with the topics.
#[derive(Debug, Subcommand)]
pub enum TopicsAction {
    /// Create what is missing and check what is there
    Create {
        /// Partitions of every partitioned topic; fixed for its life
        #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=1000))]
        partitions: u32,
        /// Copies of every record [default: the broker's own]
        #[arg(long)]
        replication: Option<u16>,
    },
    /// Print the table of topics beside what the broker has
    Describe,
}

/// `weir policy`
#[derive(Debug, Args)]
pub struct PolicyArgs {
    /// What to do with it
    #[command(subcommand)]
    pub action: PolicyAction,
}

/// What to do with the policy.
#[derive(Debug, Subcommand)]
pub enum PolicyAction {
    /// Say whether a document is good, else what is wrong with it, by line and key
    Check {
        /// The document, TOML (docs/policy.md)
        file: PathBuf,
    },
    /// Check a document and hand it to every node of the cluster
    Push {
        /// The document, TOML (docs/policy.md)
        file: PathBuf,
    },
    /// Print the document in force, its version, and which nodes run it
    Show,
    /// Count a node no longer that is gone for good; one that runs comes back by itself
    Forget {
        /// Its name
        name: String,
    },
}

/// `weir tail`
#[derive(Debug, Args)]
pub struct TailArgs {
    /// A stream, such as conn, or a topic without the prefix, such as raw.conn or deadletter
    pub stream: String,
    /// From the oldest record that is kept, instead of the present
    #[arg(long)]
    pub all: bool,
    /// End at the present end instead of following
    #[arg(long)]
    pub drain: bool,
    /// End after so many lines
    #[arg(long, short = 'n', value_name = "N")]
    pub lines: Option<u64>,
    /// Only rows for which this holds: COLUMN and =, !=, <, <=, >, >= or ~ (contains) and a value; all of
    /// several have to
    #[arg(long = "where", short = 'w', value_name = "COLUMN=VALUE")]
    pub filters: Vec<String>,
    /// Only these columns
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    pub columns: Vec<String>,
}

/// `weir audit`
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Read every published file to count its rows; else only those whose size has changed
    #[arg(long)]
    pub files: bool,
}

/// `weir status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// How far back to look for members and what they dropped
    #[arg(long, default_value = "1h", value_name = "TIME")]
    pub since: String,
}

/// `weir schema`
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Only this stream
    pub stream: Option<String>,
    /// As a reference page, DuckDB views, or JSON
    #[arg(long, value_enum, default_value_t = SchemaFormat::Md)]
    pub format: SchemaFormat,
    /// Folder of the logs, for the views
    #[arg(long, default_value = "logs", value_name = "DIR")]
    pub dir: String,
}

/// How to print the streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaFormat {
    /// Markdown
    Md,
    /// DuckDB views
    Sql,
    /// JSON
    Json,
}
